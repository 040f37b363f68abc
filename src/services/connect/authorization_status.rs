//! The status of an authorization request, for the page that started it: it polls with a secret that only that page
//! has, without cookies.

use std::sync::Arc;

use super::outcome::{Outcome, Outcomes};
use super::rules::Rules;
use crate::domain::auth_request::{AUTH_REQUEST_RETENTION, AuthRequest, AuthorizationStatus};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId};
use crate::domain::secret::Secret;
use crate::keyring::Keyring;
use crate::services::connections::open_access;
use crate::services::pending_grants::PendingGrants;
use crate::services::platform::{Base, Key, Notifier};
use crate::store::{ConnectStore, StoreError};

/// An authorization request as its page may see it.
#[derive(Debug)]
pub struct AuthRequestView {
    /// The public id of the authorization request.
    pub flow: FlowId,
    /// The status.
    pub status: AuthorizationStatus,
    /// The outcome, once there is one.
    pub outcome: Option<Outcome>,
    /// The pickup code, which the page exchanges once for the access token.
    pub pickup_code: Option<String>,
    /// The end of the time in which HubSpot must respond.
    pub expires_at: Timestamp,
    /// The time at which this view changes without any event.
    pub changes_at: Timestamp,
    /// The connect session that the host's backend has to confirm now.
    pub awaiting_confirmation: Option<AwaitedSession>,
    /// Whether the outcome is withheld from the caller, because the opener is not verified.
    pub withheld: bool,
}

/// A connect session that awaits confirmation by the host's backend.
#[derive(Debug)]
pub struct AwaitedSession {
    /// The id of the session.
    pub id: ConnectSessionId,
    /// The connection that the session reconnects, if it was created for one.
    pub connection: Option<ConnectionId>,
}

/// An access token for the page that started the authorization request.
#[derive(Debug)]
pub struct AccessToken {
    /// The token.
    pub token: Secret,
    /// The time at which the token expires.
    pub expires_at: Timestamp,
}

/// The reason for returning no access token.
#[derive(Debug)]
pub enum PickupCodeError {
    /// No authorization request matches this secret, or another page started it.
    Unknown,
    /// The pickup code is invalid or has expired.
    Rejected,
    /// The access token was picked up before.
    Taken,
    /// The stored token cannot be opened.
    Unreadable,
    /// The database failed; no token was returned.
    Store(StoreError),
}

impl From<StoreError> for PickupCodeError {
    fn from(why: StoreError) -> Self {
        Self::Store(why)
    }
}

/// The status of authorization requests, for their pages. Clones share everything.
#[derive(Debug, Clone)]
pub struct AuthorizationStatuses {
    store: ConnectStore,
    clock: Clock,
    keyring: Arc<Keyring>,
    notifier: Notifier,
    rules: Arc<Rules>,
    outcomes: Outcomes,
    pending_grants: PendingGrants,
}

impl AuthorizationStatuses {
    pub(super) fn new(
        base: &Base,
        rules: &Arc<Rules>,
        outcomes: &Outcomes,
        pending_grants: &PendingGrants,
    ) -> Self {
        let Base { store, clock, keyring, notifier, .. } = base.clone();
        Self {
            store: store.connect,
            clock,
            keyring,
            notifier,
            rules: Arc::clone(rules),
            outcomes: outcomes.clone(),
            pending_grants: pending_grants.clone(),
        }
    }

    /// Returns the authorization request whose challenge belongs to this verifier.
    ///
    /// If the opener is not verified, the request appears as still awaiting its user: an attacker may have started it
    /// for a user who then consented (cross-user fixation).
    pub async fn find(
        &self,
        verifier: &Secret,
        named: Option<FlowId>,
    ) -> Result<Option<AuthRequestView>, StoreError> {
        let now = self.clock.now();
        let Some(request) = self.store.flow_of_challenge(verifier.hash(), named).await? else {
            return Ok(None);
        };
        let (flow, mut expires_at) = (request.id, request.expires_at);
        if request.opener_verification.is_none() {
            // As at the start: a changed expiry would reveal the status.
            expires_at = request.created_at.plus(self.rules.flow_ttl);
            if expires_at.plus(AUTH_REQUEST_RETENTION) <= now {
                return Ok(None);
            }
            let status = if expires_at <= now {
                AuthorizationStatus::Expired
            } else {
                AuthorizationStatus::AwaitingUser
            };
            return Ok(Some(AuthRequestView {
                flow,
                status,
                outcome: None,
                pickup_code: None,
                expires_at,
                changes_at: expires_at,
                awaiting_confirmation: None,
                withheld: true,
            }));
        }
        let outcome = self.outcomes.outcome_of(&request).await?;
        let (status, changes_at) = match (request.state_at(now).status(), &outcome) {
            // The account is not known yet.
            (AuthorizationStatus::Connected, Outcome::Pending { until }) => {
                (AuthorizationStatus::Exchanging, *until)
            }
            // The connection has been deleted since.
            (AuthorizationStatus::Connected, Outcome::Failed { .. }) => {
                (AuthorizationStatus::Failed, expires_at)
            }
            (status, Outcome::Pending { until }) => (status, *until),
            (status, Outcome::Connected(connection)) => (status, connection.token.expires_at),
            (status, Outcome::Failed { .. }) => (status, expires_at),
        };
        let pickup_code = self.outcomes.pickup_code_for(&request, status, now);
        let awaiting_confirmation = match request.connect_session {
            Some(id) if status == AuthorizationStatus::Exchanging => self.awaited(id, &request).await?,
            _ => None,
        };
        let outcome = Some(outcome).filter(|outcome| !matches!(outcome, Outcome::Pending { .. }));
        Ok(Some(AuthRequestView {
            flow,
            status,
            outcome,
            pickup_code,
            expires_at,
            changes_at,
            awaiting_confirmation,
            withheld: false,
        }))
    }

    async fn awaited(
        &self,
        id: ConnectSessionId,
        request: &AuthRequest,
    ) -> Result<Option<AwaitedSession>, StoreError> {
        if !self.pending_grants.is_held(request).await? {
            return Ok(None);
        }
        let session = self.store.connect_session(id).await?;
        Ok(Some(AwaitedSession { id, connection: session.and_then(|session| session.connection_id) }))
    }

    /// Returns the access token of an authorization request, once, to the page that started it.
    ///
    /// # Errors
    /// [`PickupCodeError`] names the reason.
    pub async fn redeem(
        &self,
        flow: FlowId,
        pickup_code: &str,
        verifier: &Secret,
        origin: &str,
    ) -> Result<AccessToken, PickupCodeError> {
        let now = self.clock.now();
        let request = self.store.flow_of_challenge(verifier.hash(), Some(flow)).await?;
        let is_its_page = |request: &AuthRequest| {
            request.opener_verification.is_some()
                && request.opener.as_ref().is_some_and(|page| page.as_str() == origin)
        };
        let request = request.filter(is_its_page).ok_or(PickupCodeError::Unknown)?;
        if !self.keyring.is_pickup_code(flow, pickup_code, now) {
            return Err(PickupCodeError::Rejected);
        }
        let Outcome::Connected(connection) = self.outcomes.outcome_of(&request).await? else {
            return Err(PickupCodeError::Unknown);
        };
        let token = open_access(&self.keyring, &connection.token).map_err(|_| PickupCodeError::Unreadable)?;
        if !self.store.take_token(flow, now).await? {
            return Err(PickupCodeError::Taken);
        }
        Ok(AccessToken { token, expires_at: connection.token.expires_at })
    }

    /// Cancels an authorization request that HubSpot has not answered yet, and returns its status after that.
    pub async fn cancel(
        &self,
        flow: Option<FlowId>,
        verifier: &Secret,
    ) -> Result<Option<AuthRequestView>, StoreError> {
        let Some(authorization) = self.find(verifier, flow).await? else { return Ok(None) };
        self.store.cancel_auth_request(authorization.flow, verifier.hash(), self.clock.now()).await?;
        self.notifier.wake(Key::Flow(authorization.flow));
        self.find(verifier, Some(authorization.flow)).await
    }
}
