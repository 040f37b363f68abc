//! Finishes a connect: the browser is back from HubSpot.

use std::time::Duration;

use thiserror::Error;

use crate::crash;
use crate::domain::auth_request::{AuthRequest, FlowStatus, HANDOFF_WINDOW};
use crate::domain::id::{FlowId, UserId};
use crate::domain::secret::Secret;
use crate::services::Services;
use crate::services::connect::start::pkce_context;
use crate::services::connections::GrantedTokens;
use crate::services::platform::{Key, joined, retry_write};
use crate::store::{Consumed, Source, StoreError};

/// How long a write is tried again while the person waits.
const PATIENCE: Duration = Duration::from_secs(10);

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
        if self.connections.list.connections(user).await?.is_empty() {
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
        let grant = self.connections.intake.complete(grant).await;
        let refresh = grant.refresh.as_ref().ok_or("no_refresh_token")?;
        self.connections.intake.refuse_missing_scopes(&request.scopes, &grant, refresh).await?;
        let portal = grant.portal_id;
        let session = session.as_ref();
        let received = GrantedTokens::by(request, &grant, refresh, owner, session, portal, asked_at);
        if let Some(session) = session {
            return self.settle(request, received, session).await;
        }
        if let (Some(expected), Some(portal)) = (request.portal_id, portal)
            && expected != portal
        {
            if self.park(request.id, received, portal).await.is_err() {
                self.connections.intake.end_unused(refresh).await;
                return Err("storage_unavailable");
            }
            return Ok(End::Asking);
        }
        match self.connections.intake.save(received, Source::Exchange(request.id)).await {
            Ok(Some(stored)) => self.connections.intake.welcome(received, stored.connection).await,
            Ok(None) | Err(_) => {
                self.connections.intake.end_unused(refresh).await;
                return Err("storage_unavailable");
            }
        }
        Ok(End::Connected)
    }

    pub(in crate::services) fn pkce(&self, request: &AuthRequest) -> Result<Option<Secret>, &'static str> {
        let Some(sealed) = &request.pkce else {
            return Ok(None);
        };
        let context_row = request.id.to_string();
        let opened = self.0.keyring.open(sealed, pkce_context(&context_row, &request.client_id));
        opened.map(Some).map_err(|_| "integrity_error")
    }
}
