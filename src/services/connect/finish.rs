//! Finishes a connect: the browser is back from HubSpot.

use std::time::Duration;

use thiserror::Error;

use crate::crash;
use crate::domain::auth_request::{AuthRequest, FlowStatus, HANDOFF_WINDOW};
use crate::domain::clock::Moment;
use crate::domain::connect_session::ConnectSession;
use crate::domain::id::{ConnectionId, FlowId, PortalId, UserId};
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;
use crate::domain::token::missing;
use crate::hubspot::Grant;
use crate::keyring::Context;
use crate::services::Services;
use crate::services::connect::start::pkce_context;
use crate::services::connections::account_details::Lacking;
use crate::services::platform::Key;
use crate::services::platform::{joined, retry_write};
use crate::store::{Consumed, NewTokens, Removed, Saved, Source, StoreError};

/// How long a write is tried again while the person waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// When the background asks for an account's details, should the callback not get to it.
const DETAILS_LATER: Duration = Duration::from_secs(30);

/// What the browser brings back.
#[derive(Debug)]
pub struct FinishConnect {
    /// The state (RFC 6749 section 4.1.2).
    pub state: Secret,
    /// The flow's cookie.
    pub binding: Option<Secret>,
    /// The session's user, if there is a session.
    pub user: Option<UserId>,
    /// What HubSpot says.
    pub answer: Answer,
}

/// What HubSpot says.
#[derive(Debug)]
pub enum Answer {
    /// Here is a code.
    Code(Secret),
    /// The person said no (`access_denied`).
    Denied,
    /// Something else went wrong there.
    Error,
}

/// A flow that has come to its outcome, now or before.
#[derive(Debug)]
pub struct Finished {
    /// The flow; [`Services::outcome`] tells what it came to.
    pub flow: FlowId,
    /// Who now has a connection by it: the browser's session is this user's from here on.
    pub user: Option<UserId>,
    /// Where the browser goes, if the attempt has taken its page's own window.
    pub return_to: Option<String>,
}

/// What HubSpot has given, and what it was asked for.
#[derive(Debug, Clone, Copy)]
pub(in crate::services) struct Received<'a> {
    /// The attempt it came by; none for an install that began at HubSpot.
    pub flow: Option<FlowId>,
    pub client_id: &'a str,
    pub scopes: &'a Scopes,
    pub optional_scopes: &'a Scopes,
    pub grant: &'a Grant,
    pub refresh: &'a Secret,
    /// Whose connection it is to be.
    pub owner: UserId,
    /// The connect session it came by.
    pub session: Option<&'a ConnectSession>,
    /// Which account it is for, where it is known.
    pub portal: Option<PortalId>,
    /// What the host keeps with the connection, as JSON.
    pub metadata: Option<&'a str>,
    pub at: Moment,
}

impl<'a> Received<'a> {
    /// What came by an attempt.
    pub fn by(
        request: &'a AuthRequest,
        grant: &'a Grant,
        refresh: &'a Secret,
        owner: UserId,
        session: Option<&'a ConnectSession>,
        portal: Option<PortalId>,
        at: Moment,
    ) -> Self {
        Self {
            flow: Some(request.id),
            client_id: &request.client_id,
            scopes: &request.scopes,
            optional_scopes: &request.optional_scopes,
            grant,
            refresh,
            owner,
            session,
            portal,
            metadata: session.and_then(|session| session.metadata.as_deref()),
            at,
        }
    }
}

/// A connection that is stored.
#[derive(Debug)]
pub(in crate::services) struct Stored {
    pub connection: ConnectionId,
    /// The connection whose place it has taken, and what became of that one's grant.
    pub ended: Option<(ConnectionId, Removed)>,
}

/// What has become of a flow whose answer came just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::services) enum End {
    Connected,
    /// It is another account than the expected one.
    Asking,
    /// The host's backend has the last word.
    Held,
    Failed,
}

/// Why the flow is not touched.
#[derive(Debug, Error)]
pub enum FinishError {
    /// Nobody began it, or it is long forgotten.
    #[error("nobody began this flow")]
    StateUnknown,
    /// Another browser began it.
    #[error("another browser began this flow")]
    FlowNotYours,
    /// The database failed; nothing is consumed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Services {
    /// Finishes a connect.
    ///
    /// # Errors
    /// [`FinishError`] if the flow is not this browser's to finish. Every other trouble is an outcome of the flow.
    pub async fn finish(&self, back: FinishConnect) -> Result<Finished, FinishError> {
        // It goes on although the person closes the popup: what is consumed is followed by its exchange, and a code
        // that was sent is spent.
        let services = self.clone();
        let work = self.0.tasks.detach(async move { services.finish_all(back).await });
        joined(work).await
    }

    async fn finish_all(&self, back: FinishConnect) -> Result<Finished, FinishError> {
        let parts = &self.0;
        let binding = back.binding.as_ref().map(Secret::hash);
        let client_id = parts.hubspot.client_id();
        let now = parts.clock.now();
        let request =
            match parts.store.consume_auth_request(back.state.hash(), binding, client_id, now).await? {
                Consumed::Now(request) => *request,
                Consumed::Before(request) => {
                    let user = match back.user {
                        Some(_) => None,
                        None => self.lost_session_of(&request).await?,
                    };
                    // While it is under way, or the person is being asked, our own page is the place to be.
                    let ended = request.status_at(now) != FlowStatus::Exchanging;
                    let return_to = request.return_to().filter(|_| ended);
                    return Ok(Finished { flow: request.id, user, return_to });
                }
                Consumed::Expired(request) => {
                    return Ok(Finished { flow: request.id, user: None, return_to: request.return_to() });
                }
                Consumed::Over(flow) => return Ok(Finished { flow, user: None, return_to: None }),
                Consumed::NotYours => return Err(FinishError::FlowNotYours),
                Consumed::Unknown => return Err(FinishError::StateUnknown),
            };
        crash::point("callback.consumed");
        let (flow, return_to) = (request.id, request.return_to());
        let (end, owner) = match self.take(&request, back.answer, back.user).await {
            Ok((end, owner)) => (end, Some(owner)),
            Err(error) => (self.failed(flow, error).await, None),
        };
        if let (Some(session), End::Failed) = (request.connect_session, end) {
            self.note_failed_attempt(session, flow).await;
        }
        Ok(Finished {
            flow,
            user: owner.filter(|_| end == End::Connected && request.connect_session.is_none()),
            return_to: return_to.filter(|_| end != End::Asking),
        })
    }

    /// Exchanges the code that HubSpot has given, if it has, for its owner.
    async fn take(
        &self,
        request: &AuthRequest,
        answer: Answer,
        user: Option<UserId>,
    ) -> Result<(End, UserId), &'static str> {
        let code = match answer {
            Answer::Code(code) => code,
            Answer::Denied => return Err("user_denied"),
            Answer::Error => return Err("provider_error"),
        };
        let owner = retry_write(PATIENCE, || self.owner(request, user)).await;
        let owner = owner.map_err(|_| "storage_unavailable")?;
        Ok((self.exchange(request, &code, owner).await?, owner))
    }

    /// Returns the owner of the new connection: the session's user, or else the user that the request was started for.
    ///
    /// If the session has ended in the meantime, a new user owns the connection. The cookie of the request outlives the
    /// session: the next person at the computer could finish the request with an account of their own, and must not get
    /// the older connections with it.
    async fn owner(&self, request: &AuthRequest, user: Option<UserId>) -> Result<UserId, StoreError> {
        let begun_for = request.user_id;
        match user {
            // What a backend has begun for a user of the host's is that user's, in any browser.
            _ if request.connect_session.is_some() => Ok(begun_for),
            Some(user) => Ok(user),
            None if self.may_sign_in(begun_for).await? => Ok(begun_for),
            None => Ok(UserId::random(&self.0.chance)),
        }
    }

    /// Returns whether a browser without a session can be signed in as this user: the user has no connections, or has
    /// just been given a session by an answer that has not arrived.
    pub(in crate::services) async fn may_sign_in(&self, user: UserId) -> Result<bool, StoreError> {
        let store = &self.0.store;
        if self.connections(user).await?.is_empty() {
            return Ok(true);
        }
        let since = self.0.clock.now().minus(HANDOFF_WINDOW);
        Ok(!store.has_seen_session(user).await? && store.has_unseen_session(user, since).await?)
    }

    /// Returns the user whose session was lost with the answer to the callback, for the browser that holds the cookie of
    /// the request. `None` if the session has been seen, or if the outcome is older than [`HANDOFF_WINDOW`].
    pub async fn lost_session(&self, flow: FlowId, binding: &Secret) -> Result<Option<UserId>, StoreError> {
        match self.0.store.flow(flow, binding.hash()).await? {
            Some(request) => self.lost_session_of(&request).await,
            None => Ok(None),
        }
    }

    async fn lost_session_of(&self, request: &AuthRequest) -> Result<Option<UserId>, StoreError> {
        let store = &self.0.store;
        let (Some(connection), None) = (request.connection_id, request.connect_session) else {
            return Ok(None);
        };
        if request.is_over(self.0.clock.now()) {
            return Ok(None);
        }
        let Some(token) = store.token(connection).await? else { return Ok(None) };
        Ok((!store.has_seen_session(token.user_id).await?).then_some(token.user_id))
    }

    pub(in crate::services) async fn failed(&self, flow: FlowId, error: &'static str) -> End {
        tracing::warn!(flow = %flow, code = error, "a connect has failed");
        let now = self.0.clock.now();
        let noted = retry_write(PATIENCE, || self.0.store.fail_auth_request(flow, error, now)).await;
        if let Err(why) = noted {
            tracing::error!(flow = %flow, error = %why, "could not note a failed connect");
        }
        self.0.notifier.wake(Key::Flow(flow));
        End::Failed
    }

    async fn exchange(
        &self,
        request: &AuthRequest,
        code: &Secret,
        owner: UserId,
    ) -> Result<End, &'static str> {
        let parts = &self.0;
        let session = self.session_of(request).await?;
        let pkce = self.pkce(request)?;
        let asked_at = parts.clock.now();
        let grant = parts
            .hubspot
            .exchange(code, &request.redirect_uri, pkce.as_ref())
            .await
            .map_err(|failure| failure.code)?;
        crash::point("callback.answered");
        let grant = self.complete(grant).await;
        let refresh = grant.refresh.as_ref().ok_or("no_refresh_token")?;
        self.refuse_missing_scopes(&request.scopes, &grant, refresh).await?;
        let portal = grant.portal_id;
        let session = session.as_ref();
        let received = Received::by(request, &grant, refresh, owner, session, portal, asked_at);
        if let Some(session) = session {
            return self.settle(request, received, session).await;
        }
        if let (Some(expected), Some(portal)) = (request.portal_id, portal)
            && expected != portal
        {
            if self.park(request.id, received, portal).await.is_err() {
                self.end_unused(refresh).await;
                return Err("storage_unavailable");
            }
            return Ok(End::Asking);
        }
        match self.save(received, Source::Exchange(request.id)).await {
            Ok(Some(stored)) => self.welcome(received, stored.connection).await,
            Ok(None) | Err(_) => {
                self.end_unused(refresh).await;
                return Err("storage_unavailable");
            }
        }
        Ok(End::Connected)
    }

    /// What follows once a connection is stored.
    pub(in crate::services) async fn welcome(&self, received: Received<'_>, connection: ConnectionId) {
        crash::point("callback.stored");
        let (parts, flow) = (&self.0, received.flow);
        parts.row_cache.forget_connections(received.owner);
        let portal = received.portal.map(|id| id.0);
        tracing::info!(flow = flow.map(tracing::field::display), connection = %connection, portal, "connected");
        parts.metrics.flows_connected.inc();
        self.ask_details(connection, &received.grant.access, Lacking::ALL, 0).await;
        crash::point("callback.introduced");
        parts.changes.publish(received.owner);
        if let Some(flow) = flow {
            parts.notifier.wake(Key::Flow(flow));
        }
    }

    pub(in crate::services) fn pkce(&self, request: &AuthRequest) -> Result<Option<Secret>, &'static str> {
        let Some(sealed) = &request.pkce else {
            return Ok(None);
        };
        let context_row = request.id.to_string();
        let opened = self.0.keyring.open(sealed, pkce_context(&context_row, &request.client_id));
        opened.map(Some).map_err(|_| "integrity_error")
    }

    /// Asks introspection for the account and the scopes of a grant where the token response leaves them out. Without
    /// the account, a second account of the same user could not be told from a reconnect. If HubSpot does not answer,
    /// they stay unknown, and the background asks again.
    pub(in crate::services) async fn complete(&self, mut grant: Grant) -> Grant {
        if grant.portal_id.is_some() && grant.scopes.is_some() {
            return grant;
        }
        if let Ok(identity) = self.0.hubspot.introspect(&grant.access).await {
            grant.portal_id = grant.portal_id.or(Some(identity.portal_id));
            grant.scopes = grant.scopes.or(identity.scopes);
        }
        grant
    }

    pub(in crate::services) async fn refuse_missing_scopes(
        &self,
        required: &Scopes,
        grant: &Grant,
        refresh: &Secret,
    ) -> Result<(), &'static str> {
        let is_strict = self.0.hubspot.settings().require_all_scopes;
        if !is_strict || missing(required, grant.scopes.as_ref()).is_empty() {
            return Ok(());
        }
        self.end_unused(refresh).await;
        Err("scopes_missing")
    }

    /// Ends a grant that is not going to be used, unless a connection has the same one. There is no row of it to try
    /// again from: this is the one attempt.
    pub(in crate::services) async fn end_unused(&self, refresh: &Secret) {
        let parts = &self.0;
        match parts.store.is_in_use(&parts.keyring.fingerprint(refresh)).await {
            Ok(false) => {}
            Ok(true) => return,
            Err(why) => {
                return tracing::error!(error = %why, "could not tell whether a grant is in use; it is kept");
            }
        }
        if let Err(failure) = parts.hubspot.revoke(refresh).await {
            tracing::warn!(code = failure.code, "could not revoke a grant that is not used");
        }
    }

    /// Seals the tokens for the place they will have and saves them; if the place changes meanwhile, once more. `None`
    /// if they were parked and are no more.
    pub(in crate::services) async fn save(
        &self,
        received: Received<'_>,
        source: Source,
    ) -> Result<Option<Stored>, StoreError> {
        let parts = &self.0;
        loop {
            let known = match received.portal {
                Some(portal) => {
                    let find = || parts.store.token_for(received.owner, received.client_id, portal);
                    retry_write(PATIENCE, find).await?
                }
                None => None,
            };
            let place = known
                .map_or((ConnectionId::random(&parts.chance), 1), |token| (token.id, token.generation + 1));
            let tokens = self.seal(received, place);
            let save = || parts.store.save_connected(source, tokens.clone());
            match retry_write(PATIENCE, save).await? {
                Saved::Done(ended) => return Ok(Some(Stored { connection: place.0, ended })),
                Saved::Gone => return Ok(None),
                Saved::Stale => {}
            }
        }
    }

    fn seal(&self, received: Received<'_>, (connection, generation): (ConnectionId, i64)) -> NewTokens {
        let Received { client_id, scopes, optional_scopes, grant, refresh, .. } = received;
        let Received { owner, session, portal, metadata, at, .. } = received;
        let parts = &self.0;
        let row = connection.to_string();
        let context = |kind| Context { kind, row: &row, generation, client_id };
        let (now, expires_at) = (parts.clock.now(), at.plus(grant.expires_in));
        let is_strict = parts.hubspot.settings().require_all_scopes;
        NewTokens {
            connection,
            generation,
            user: owner,
            client_id: client_id.to_owned(),
            portal,
            scopes: grant.scopes.clone(),
            unsettled_scopes: (is_strict && grant.scopes.is_none()).then(|| scopes.clone()),
            wanted_scopes: scopes.and(optional_scopes),
            access: parts.keyring.seal(&grant.access, context("access")),
            refresh: parts.keyring.seal(refresh, context("refresh")),
            refresh_fingerprint: parts.keyring.fingerprint(refresh),
            obtained_at: at,
            connected_at: now,
            expires_at,
            refresh_at: parts.rules.refresh.refresh_at(at, expires_at, parts.chance.unit()),
            connect_session: session.map(|session| session.id),
            metadata: metadata.map(str::to_owned),
            details_due_at: now.plus(DETAILS_LATER),
        }
    }
}
