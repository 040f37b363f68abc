//! Starts an authorization request: stores it and returns the URL at which the user consents.

use std::sync::Arc;

use thiserror::Error;
use url::Url;

use super::pkce::{open_pkce, seal_pkce};
use super::rules::Rules;
use crate::config::HubSpot as Settings;
use crate::domain::auth_request::{AuthRequest, FlowState, Mode, OpenerVerification};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::connect_session::ConnectSessionStatus;
use crate::domain::failure::FailureCode;
use crate::domain::id::{FlowId, PortalId, UserId};
use crate::domain::origin::{Origin, ReturnUrl};
use crate::domain::random::Random;
use crate::domain::scopes::Scopes;
use crate::domain::secret::{Hash, Secret};
use crate::hubspot::{Authorize, HubSpot};
use crate::keyring::Keyring;
use crate::services::platform::{Base, Key, Notifier};
use crate::store::{ConnectSession, ConnectStore, ConnectionStore, NewAuthRequest, StoreError};
use crate::telemetry::metrics::Metrics;

/// The parameters of a new authorization request.
#[derive(Debug, Default)]
pub struct StartConnect {
    /// The user of the session; a new user is created if there is none.
    pub user: Option<UserId>,
    /// The origin of the page to notify, as the page named it.
    pub origin: Option<String>,
    /// The expected account.
    pub portal_id: Option<PortalId>,
    /// The token of the connect session, if the host's backend created one.
    pub connect_session: Option<Secret>,
    /// The hash of the secret with which the page will poll the status.
    pub challenge: Option<Hash>,
    /// The hash of the key with which the opener can verify later that it started this.
    pub opener_challenge: Option<Hash>,
    /// The URL that the browser returns to at the end, as the page named it.
    pub return_url: Option<String>,
    /// The window in which the authorization takes place.
    pub mode: Mode,
    /// The origin of the page that sent the request, if the browser sent it: a page cannot forge that. A link that
    /// was followed has no sender, because anyone may have placed it on the page.
    pub sender: Option<String>,
}

/// A started authorization request.
#[derive(Debug)]
pub struct Started {
    /// The public id.
    pub flow: FlowId,
    /// The binding to the browser, for its cookie only.
    pub binding: Secret,
    /// The state (RFC 6749 section 4.1.1).
    pub state: Secret,
    /// The URL at which the user consents.
    pub authorize_url: Url,
    /// The only origin that is notified.
    pub opener: Origin,
    /// Whether the opener is verified to be a page of that origin.
    pub is_verified: bool,
    /// The time at which the authorization request expires.
    pub expires_at: Timestamp,
}

/// The reason for refusing a start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The origin of the page is not listed in HOST_ORIGINS.
    #[error("the origin is not listed")]
    OriginNotAllowed,
    /// The return URL is not of the opener's origin.
    #[error("the return URL is not on the opener's origin")]
    ReturnUrlNotAllowed,
    /// Another authorization request has this challenge.
    #[error("the challenge was already used")]
    ChallengeUsed,
    /// The connect session is unknown, or has ended.
    #[error("the connect session is unknown, or has ended")]
    SessionEnded {
        /// The failed authorization request, which reports this to the page that started it, if that page is
        /// verified.
        flow: Option<FlowId>,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Returns the id of the flow that a state belongs to.
pub fn flow_of_state(state: &Secret) -> FlowId {
    FlowId::of_state_hash(state.hash().bytes())
}

/// Starts authorization requests. Clones share everything.
#[derive(Debug, Clone)]
pub struct Starts(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    connect_store: ConnectStore,
    connection_store: ConnectionStore,
    hubspot: Arc<HubSpot>,
    keyring: Arc<Keyring>,
    clock: Clock,
    random: Random,
    metrics: Arc<Metrics>,
    notifier: Notifier,
    rules: Arc<Rules>,
}

impl Starts {
    pub(super) fn new(base: &Base, rules: &Arc<Rules>) -> Self {
        let Base { store, hubspot, keyring, clock, random, metrics, notifier, .. } = base.clone();
        Self(Arc::new(Parts {
            connect_store: store.connect,
            connection_store: store.connections,
            hubspot,
            keyring,
            clock,
            random,
            metrics,
            notifier,
            rules: Arc::clone(rules),
        }))
    }

    /// Starts an authorization request.
    ///
    /// The origin is checked before anything is written, and bound to the request: nothing that the popup or its
    /// opener sends later can change who is notified.
    ///
    /// # Errors
    /// [`StartError`] names the reason.
    pub async fn start(&self, ask: StartConnect) -> Result<Started, StartError> {
        let parts = &self.0;
        let opener = self.opener(ask.origin.as_deref())?;
        let opener_verification = verify_sender(ask.sender.as_deref(), &opener)?;
        let session = match &ask.connect_session {
            Some(token) => match self.session_for(token, &opener).await? {
                Some(session) => Some(session),
                None => return Err(self.refused(&ask, &opener, opener_verification).await?),
            },
            None => None,
        };
        let return_url = match &ask.return_url {
            Some(url) => Some(ReturnUrl::parse(url, &opener).ok_or(StartError::ReturnUrlNotAllowed)?),
            None => session.as_ref().and_then(|session| self.return_url_of(session, &opener)),
        };
        if ask.mode == Mode::Redirect && return_url.is_none() {
            return Err(StartError::ReturnUrlNotAllowed);
        }
        let settings = parts.hubspot.settings();
        let (state, binding) = (Secret::random(&parts.random), Secret::random(&parts.random));
        let flow = flow_of_state(&state);
        let pkce = settings.pkce.then(|| Secret::random(&parts.random));
        let now = parts.clock.now();
        let mut effective = EffectiveRequest::of(session.as_ref(), &ask, settings);
        if let (Some(user), Some(portal)) = (effective.user, effective.portal_id)
            && let Some(connection) =
                parts.connection_store.token_for(user, &settings.client_id, portal).await?
        {
            effective.keep(&connection.scopes.unwrap_or_default());
        }
        let authorize_url = parts.hubspot.authorize_url(&Authorize {
            state: &state,
            scopes: &effective.scopes,
            optional_scopes: &effective.optional_scopes,
            pkce: pkce.as_ref(),
            portal_id: effective.portal_id,
        });
        let plain = self.plain_request(flow, now, &opener, opener_verification, &ask);
        let request = AuthRequest {
            user_id: effective.user.unwrap_or(plain.user_id),
            scopes: effective.scopes,
            optional_scopes: effective.optional_scopes,
            opener_challenge: ask.opener_challenge,
            return_url,
            connect_session: session.as_ref().map(|session| session.id),
            portal_id: effective.portal_id,
            pkce: pkce.map(|verifier| seal_pkce(&parts.keyring, &verifier, flow, &settings.client_id)),
            ..plain
        };
        let expires_at = request.expires_at;
        let (state_hash, binding_hash) = (state.hash(), binding.hash());
        let new = NewAuthRequest { request, state_hash, binding_hash };
        if !parts.connect_store.insert_auth_request(new).await? {
            return Err(StartError::ChallengeUsed);
        }
        parts.metrics.flows.started.inc();
        tracing::info!(flow = %flow, "authorization started");
        Ok(Started {
            flow,
            binding,
            state,
            authorize_url,
            opener,
            is_verified: opener_verification.is_some(),
            expires_at,
        })
    }

    /// Stores an authorization request that has failed already, so that a page whose connect session has ended learns
    /// this by polling with its verifier. The status reveals nothing to an unverified page, so nothing is stored for
    /// one.
    async fn refused(
        &self,
        ask: &StartConnect,
        opener: &Origin,
        opener_verification: Option<OpenerVerification>,
    ) -> Result<StartError, StoreError> {
        let parts = &self.0;
        if ask.challenge.is_none() || opener_verification.is_none() {
            return Ok(StartError::SessionEnded { flow: None });
        }
        // The state and the binding are sent to no browser, so HubSpot's callback cannot find this request.
        let (state, binding) = (Secret::random(&parts.random), Secret::random(&parts.random));
        let (flow, now) = (flow_of_state(&state), parts.clock.now());
        let request = self.plain_request(flow, now, opener, opener_verification, ask);
        let new = NewAuthRequest { request, state_hash: state.hash(), binding_hash: binding.hash() };
        if !parts.connect_store.insert_auth_request(new).await? {
            return Ok(StartError::ChallengeUsed);
        }
        parts.connect_store.fail_auth_request(flow, FailureCode::ConnectSessionEnded, now).await?;
        parts.metrics.flows.failed(FailureCode::ConnectSessionEnded);
        parts.notifier.wake(Key::Flow(flow));
        Ok(StartError::SessionEnded { flow: Some(flow) })
    }

    /// Returns an authorization request of a new user with the scopes of the settings.
    fn plain_request(
        &self,
        flow: FlowId,
        now: Timestamp,
        opener: &Origin,
        opener_verification: Option<OpenerVerification>,
        ask: &StartConnect,
    ) -> AuthRequest {
        let settings = self.0.hubspot.settings();
        AuthRequest {
            id: flow,
            user_id: UserId::at(now, &self.0.random),
            client_id: settings.client_id.clone(),
            redirect_uri: settings.redirect_uri.to_string(),
            scopes: settings.scopes.clone(),
            optional_scopes: settings.optional_scopes.clone(),
            opener: Some(opener.clone()),
            challenge: ask.challenge,
            opener_challenge: None,
            opener_verification,
            return_url: None,
            mode: ask.mode,
            connect_session: None,
            portal_id: None,
            pkce: None,
            state: FlowState::AwaitingUser,
            created_at: now,
            expires_at: now.plus(self.0.rules.flow_ttl),
            is_handed_off: false,
            is_token_taken: false,
        }
    }

    /// Returns the authorization request with this state, for the page that holds its binding. `None` if it is unknown,
    /// expired or already back from HubSpot.
    pub async fn started(&self, state: Secret, binding: Secret) -> Result<Option<Started>, StoreError> {
        let hubspot = &self.0.hubspot;
        let flow = flow_of_state(&state);
        let found = self.0.connect_store.flow(flow, binding.hash()).await?;
        let awaited = |request: &AuthRequest| {
            request.state_at(self.0.clock.now()) == FlowState::AwaitingUser
                && request.client_id == hubspot.client_id()
        };
        let Some(request) = found.filter(awaited) else { return Ok(None) };
        let (Ok(pkce), Some(opener)) = (open_pkce(&self.0.keyring, &request), request.opener.clone()) else {
            return Ok(None);
        };
        let authorize_url = hubspot.authorize_url(&Authorize {
            state: &state,
            scopes: &request.scopes,
            optional_scopes: &request.optional_scopes,
            pkce: pkce.as_ref(),
            portal_id: request.portal_id,
        });
        let (is_verified, expires_at) = (request.opener_verification.is_some(), request.expires_at);
        Ok(Some(Started { flow, binding, state, authorize_url, opener, is_verified, expires_at }))
    }

    /// Records that the opener has shown the key of its challenge, which verifies it. Returns the time by which
    /// HubSpot must respond; `None` if it is another key, or too late.
    pub async fn verify_opener(
        &self,
        flow: FlowId,
        binding: &Secret,
        key: &Secret,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.0.connect_store.verify_opener(flow, binding.hash(), key.hash()).await
    }

    /// Returns the origin to notify of the outcome: the named one, the only listed one, or our own.
    ///
    /// # Errors
    /// [`StartError::OriginNotAllowed`] if the named one is not listed.
    pub fn opener(&self, named: Option<&str>) -> Result<Origin, StartError> {
        let rules = &self.0.rules;
        match named {
            Some(named) if named == rules.own_origin.as_str() => Ok(rules.own_origin.clone()),
            Some(named) => rules.host_origins.find(named).cloned().ok_or(StartError::OriginNotAllowed),
            None => Ok(rules.host_origins.only().unwrap_or(&rules.own_origin).clone()),
        }
    }

    /// Returns the return URL of a session if it has the page's origin: pages of several origins may use one session.
    /// The page behind a link is our own, and leads back to any page that may use the session.
    fn return_url_of(&self, session: &ConnectSession, page: &Origin) -> Option<ReturnUrl> {
        let url = session.return_url.as_deref()?;
        if !session.hosted.is_set() {
            return ReturnUrl::parse(url, page);
        }
        let mut admitted = self.0.rules.host_origins.iter().filter(|origin| session.admits(origin));
        admitted.find_map(|origin| ReturnUrl::parse(url, origin))
    }

    /// Returns the open session that a page starts with. Only our own page may use a session with a hosted link,
    /// after the link has been opened.
    async fn session_for(&self, token: &Secret, page: &Origin) -> Result<Option<ConnectSession>, StartError> {
        let found = self.0.connect_store.connect_session_of(token.hash()).await?;
        let Some(session) = found else { return Ok(None) };
        let own = *page == self.0.rules.own_origin;
        // Before the status: a page that may not use the session does not learn whether it has ended.
        if !(if session.hosted.is_set() { own } else { session.admits(page) }) {
            return Err(StartError::OriginNotAllowed);
        }
        let is_open = session.status_at(self.0.clock.now()) == ConnectSessionStatus::Open
            && session.client_id == self.0.hubspot.client_id()
            && (!session.hosted.is_set() || session.opened_at.is_some());
        Ok(is_open.then_some(session))
    }
}

/// The user and the parameters of the request to HubSpot. A connect session overrides the caller and the settings.
struct EffectiveRequest {
    user: Option<UserId>,
    scopes: Scopes,
    optional_scopes: Scopes,
    portal_id: Option<PortalId>,
}

impl EffectiveRequest {
    fn of(session: Option<&ConnectSession>, ask: &StartConnect, settings: &Settings) -> Self {
        let Some(session) = session else {
            return Self {
                user: ask.user,
                scopes: settings.scopes.clone(),
                optional_scopes: settings.optional_scopes.clone(),
                portal_id: ask.portal_id,
            };
        };
        Self {
            user: Some(session.user_id),
            scopes: session.scopes.clone().unwrap_or_else(|| settings.scopes.clone()),
            optional_scopes: session
                .optional_scopes
                .clone()
                .unwrap_or_else(|| settings.optional_scopes.clone()),
            portal_id: session.portal_id.or(ask.portal_id),
        }
    }

    /// Also requests the scopes that the existing connection has. They are optional, because the account may have lost the
    /// product that they belong to, and HubSpot then refuses required ones.
    fn keep(&mut self, granted: &Scopes) {
        let more = granted.missing_from(&self.scopes);
        self.optional_scopes = self.optional_scopes.and(&more);
    }
}

/// Verifies that the request comes from a page of the opener's origin. A request from a page of another origin is
/// refused; one without an origin is not verified.
fn verify_sender(sender: Option<&str>, opener: &Origin) -> Result<Option<OpenerVerification>, StartError> {
    match sender {
        None => Ok(None),
        Some(origin) if origin == opener.as_str() => Ok(Some(OpenerVerification::OriginHeader)),
        Some(_) => Err(StartError::OriginNotAllowed),
    }
}
