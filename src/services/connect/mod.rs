//! The authorization flow: start, callback, and hand-off of the outcome.

mod account_mismatch;
mod authorization_status;
mod connect_sessions;
mod finish;
mod handoff;
mod outcome;
mod pkce;
mod rules;
mod sign_in;
mod start;

use std::sync::Arc;

pub use account_mismatch::{AccountChoice, AccountMismatches, DecideError};
pub use authorization_status::{AuthRequestView, AuthorizationStatuses, PickupCodeError};
pub use connect_sessions::{CompleteError, ConnectSessions, NewSession, SessionError, SessionView};
pub use finish::{Answer, FinishConnect, FinishError, Finished, Finishes};
pub use handoff::{FlowOutcome, HandoffResult, Handoffs, Message};
pub use outcome::Outcome;
pub use sign_in::SignIns;
pub use start::{StartConnect, StartError, Started, Starts, flow_of_state};

use super::connections::{Connections, Disconnected, Disconnects};
use super::pending_grants::PendingGrants;
use super::platform::Base;
use crate::config::Config;
use crate::domain::id::UserId;
use crate::store::StoreError;
use outcome::Outcomes;
use rules::Rules;

/// The authorization flow. Clones share everything.
#[derive(Debug, Clone)]
pub struct Connect {
    /// Starts authorization requests.
    pub starts: Starts,
    /// Finishes authorization requests.
    pub(crate) finishes: Finishes,
    /// Hands off outcomes to popups.
    pub(crate) handoffs: Handoffs,
    /// The status of authorization requests, for the pages that started them.
    pub(crate) statuses: AuthorizationStatuses,
    /// Pending grants for another account than the expected one.
    pub(crate) mismatches: AccountMismatches,
    /// Browser sessions that were lost with a response.
    pub(crate) sign_ins: SignIns,
    /// Connect sessions, in which the host's backend names the user who connects.
    pub sessions: ConnectSessions,
    pending_grants: PendingGrants,
    disconnects: Disconnects,
}

impl Connect {
    pub(super) fn new(
        base: &Base,
        config: &Config,
        connections: &Connections,
        pending_grants: &PendingGrants,
    ) -> Self {
        let rules = Arc::new(Rules::new(config));
        let outcomes = Outcomes::new(base, &rules);
        let sign_ins = SignIns::new(base, &connections.list);
        let mismatches = AccountMismatches::new(base, &rules, &sign_ins, pending_grants);
        Self {
            starts: Starts::new(base, &rules),
            finishes: Finishes::new(base, &sign_ins, &connections.intake, pending_grants),
            handoffs: Handoffs::new(base, &rules, &outcomes, &mismatches, pending_grants),
            statuses: AuthorizationStatuses::new(base, &rules, &outcomes, pending_grants),
            sessions: ConnectSessions::new(base, &rules, pending_grants),
            mismatches,
            sign_ins,
            pending_grants: pending_grants.clone(),
            disconnects: connections.disconnects.clone(),
        }
    }

    /// Ends all connections of a user, and discards the grants that await the user's decision.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; connections that have ended by then stay ended.
    pub(crate) async fn disconnect_all(
        &self,
        user: UserId,
        revoke: bool,
    ) -> Result<Vec<Disconnected>, StoreError> {
        self.pending_grants.discard_of(user).await?;
        self.disconnects.disconnect_all(user, revoke).await
    }
}
