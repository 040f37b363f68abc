//! The account that the user chose is not the expected one: nothing is overwritten. The grant stays pending until the
//! user has decided.

use std::sync::Arc;

use thiserror::Error;

use super::rules::Rules;
use super::sign_in::SignIns;
use crate::domain::auth_request::{AuthRequest, FlowState};
use crate::domain::clock::Clock;
use crate::domain::failure::FailureCode;
use crate::domain::id::{FlowId, PortalId, UserId};
use crate::domain::secret::Secret;
use crate::domain::token::Token;
use crate::services::connections::Terms;
use crate::services::pending_grants::{AcceptError, Decision, PendingGrants};
use crate::services::platform::{Base, Tasks, joined};
use crate::store::{ConnectStore, ConnectionStore, PendingGrant, StoreError};

/// The question to a user who chose another account than the expected one.
#[derive(Debug)]
pub struct AccountChoice {
    /// The account that the user chose at HubSpot.
    pub portal: PortalId,
    /// The domain of the chosen account, if HubSpot returned it.
    pub hub_domain: Option<String>,
    /// The expected account.
    pub expected: PortalId,
    /// The domain of the expected account, if the user has a connection to it.
    pub expected_domain: Option<String>,
    /// Whether the user has a connection to the expected account.
    pub is_connected: bool,
    /// Whether the user may have a connection to both accounts.
    pub can_keep: bool,
}

/// The reason for refusing a decision.
#[derive(Debug, Error)]
pub enum DecideError {
    /// The browser now belongs to another user, or the session of the user who is asked has ended.
    #[error("the decision belongs to another user")]
    NotYours,
    /// The tokens are sealed with a key that is not configured.
    #[error("the encryption key is missing")]
    KeyMissing,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Pending grants for another account than the expected one. Clones share everything.
#[derive(Debug, Clone)]
pub struct AccountMismatches {
    connect_store: ConnectStore,
    connection_store: ConnectionStore,
    clock: Clock,
    tasks: Tasks,
    sign_ins: SignIns,
    rules: Arc<Rules>,
    pending_grants: PendingGrants,
}

impl AccountMismatches {
    pub(super) fn new(
        base: &Base,
        rules: &Arc<Rules>,
        sign_ins: &SignIns,
        pending_grants: &PendingGrants,
    ) -> Self {
        let Base { store, clock, tasks, .. } = base.clone();
        let (sign_ins, pending_grants) = (sign_ins.clone(), pending_grants.clone());
        Self {
            connect_store: store.connect,
            connection_store: store.connections,
            clock,
            tasks,
            sign_ins,
            rules: Arc::clone(rules),
            pending_grants,
        }
    }

    /// Returns the question to the user about an authorization request, if it is open.
    pub(super) async fn choice(&self, request: &AuthRequest) -> Result<Option<AccountChoice>, StoreError> {
        let now = self.clock.now();
        let is_open = request.state_at(now) == FlowState::Exchanging && request.connect_session.is_none();
        let (Some(expected), true) = (request.portal_id, is_open) else {
            return Ok(None);
        };
        let Some(pending) = self.connect_store.pending_grant(request.id.into()).await? else {
            return Ok(None);
        };
        let known = self.connected(&pending, expected).await?;
        Ok(Some(AccountChoice {
            portal: pending.portal_id,
            hub_domain: pending.hub_domain,
            expected,
            is_connected: known.is_some(),
            can_keep: !self.rules.one_connection_per_user,
            expected_domain: known.and_then(|token| token.hub_domain),
        }))
    }

    /// Carries out the user's decision, in the browser that holds the cookie of the authorization request. `None` if
    /// there is nothing to decide.
    ///
    /// # Errors
    /// [`DecideError`]: nothing has happened, and the question stays open.
    pub async fn decide(
        &self,
        flow: FlowId,
        binding: &Secret,
        user: Option<UserId>,
        decision: Decision,
    ) -> Result<Option<UserId>, DecideError> {
        let Some(request) = self.connect_store.flow(flow, binding.hash()).await? else { return Ok(None) };
        if self.choice(&request).await?.is_none() {
            return Ok(None);
        }
        let Some(pending) = self.connect_store.pending_grant(flow.into()).await? else { return Ok(None) };
        let Some(owner) = pending.user_id else { return Ok(None) };
        // Another user has logged in here, or the session has ended: that browser may neither decide on this user's
        // connections nor open them.
        let allowed = match user {
            Some(user) => user == owner,
            None => self.sign_ins.may_sign_in(owner).await?,
        };
        if !allowed {
            return Err(DecideError::NotYours);
        }
        let replaces = match (decision, request.portal_id) {
            (Decision::Switch, Some(expected)) => self.connected(&pending, expected).await?.map(|old| old.id),
            _ => None,
        };
        let pending_grants = self.pending_grants.clone();
        let work = self.tasks.detach(async move {
            if decision == Decision::Back {
                pending_grants.discard(pending.id, pending.source, FailureCode::WrongAccount).await?;
                return Ok(None);
            }
            match pending_grants.accept(&pending, Terms::of(&request, owner, None), replaces).await {
                Ok(stored) => Ok(stored.map(|_| owner)),
                Err(AcceptError::Damaged) => Ok(None),
                Err(AcceptError::KeyMissing) => Err(DecideError::KeyMissing),
                Err(AcceptError::Store(why)) => Err(why.into()),
            }
        });
        joined(work).await
    }

    /// Returns the connection of the user who is asked to the expected account.
    async fn connected(
        &self,
        pending: &PendingGrant,
        expected: PortalId,
    ) -> Result<Option<Token>, StoreError> {
        match pending.user_id {
            Some(user) => self.connection_store.token_for(user, &pending.client_id, expected).await,
            None => Ok(None),
        }
    }
}
