//! The outcome of an authorization request, and its pickup code.

use std::sync::Arc;

use super::rules::Rules;
use crate::config::TokenDelivery;
use crate::domain::auth_request::{AuthRequest, AuthorizationStatus, EXCHANGE_GRACE, FlowState};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::failure::FailureCode;
use crate::keyring::Keyring;
use crate::services::platform::{Base, Connection};
use crate::store::{ConnectionStore, StoreError};

/// The lifetime of a pickup code. Each poll returns a fresh one.
const PICKUP_CODE_LIFETIME: std::time::Duration = std::time::Duration::from_secs(60);

/// The outcome of an authorization request.
#[derive(Debug)]
pub enum Outcome {
    /// The user is at HubSpot, the code is being exchanged, or HubSpot is being asked for the account.
    Pending {
        /// The time by which the outcome is known.
        until: Timestamp,
    },
    /// The connection exists.
    Connected(Box<Connection>),
    /// The authorization request failed.
    Failed {
        /// The reason.
        code: FailureCode,
    },
}

/// Outcomes of authorization requests. Clones share everything.
#[derive(Debug, Clone)]
pub(super) struct Outcomes {
    store: ConnectionStore,
    clock: Clock,
    keyring: Arc<Keyring>,
    rules: Arc<Rules>,
}

impl Outcomes {
    pub fn new(base: &Base, rules: &Arc<Rules>) -> Self {
        let Base { store, clock, keyring, .. } = base.clone();
        Self { store: store.connections, clock, keyring, rules: Arc::clone(rules) }
    }

    pub(super) async fn outcome_of(&self, request: &AuthRequest) -> Result<Outcome, StoreError> {
        let failed = |code| Outcome::Failed { code };
        let now = self.clock.now();
        Ok(match request.state_at(now) {
            FlowState::AwaitingUser => Outcome::Pending { until: request.expires_at },
            FlowState::Exchanging => Outcome::Pending { until: request.expires_at.plus(EXCHANGE_GRACE) },
            FlowState::Connected { connection, at } => match self.store.token(connection).await? {
                // A page is notified of its connection once, with the account details. If a later authorization
                // request has reconnected it, they are known already.
                Some(token) => match token.details_awaited_until(now) {
                    Some(until) if at == token.connected_at => Outcome::Pending { until },
                    _ => Outcome::Connected(Box::new(Connection { token, refresh_at: None })),
                },
                None => failed(FailureCode::Disconnected),
            },
            FlowState::Failed { code, .. } => failed(code),
            FlowState::Expired => failed(FailureCode::FlowExpired),
            FlowState::Cancelled { .. } => failed(FailureCode::Cancelled),
        })
    }

    /// Returns a pickup code for a connected authorization request whose token has not been taken.
    pub(super) fn pickup_code_for(
        &self,
        request: &AuthRequest,
        status: AuthorizationStatus,
        now: Timestamp,
    ) -> Option<String> {
        let given = match self.rules.token_delivery {
            // The backend started it, so the backend gets the token.
            TokenDelivery::Auto => request.connect_session.is_none(),
            TokenDelivery::Handle => false,
            TokenDelivery::AccessToken | TokenDelivery::PickupCode => true,
        };
        let open = status == AuthorizationStatus::Connected && !request.is_token_taken;
        let listed = request.challenge.is_some() && self.rules.is_listed(request);
        (given && open && listed && request.opener_verification.is_some())
            .then(|| self.keyring.pickup_code(request.id, now.plus(PICKUP_CODE_LIFETIME)))
    }
}
