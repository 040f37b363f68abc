//! Another account than the expected one: nothing is overwritten. The grant waits until the person has said what is to
//! become of it.

use super::sign_in::SignIns;
use crate::domain::auth_request::{AuthRequest, FlowStatus};
use crate::domain::clock::Clock;
use crate::domain::failure::FailureCode;
use crate::domain::id::{FlowId, PortalId, UserId};
use crate::domain::secret::Secret;
use crate::services::pending_grants::{DecideError, Decision, PendingGrants};
use crate::services::platform::{Base, Tasks, joined};
use crate::store::{Store, StoreError};

/// What a person is asked.
#[derive(Debug)]
pub struct Choice {
    /// The account that was chosen at HubSpot.
    pub portal: PortalId,
    /// Its website, where HubSpot has told it.
    pub hub_domain: Option<String>,
    /// The account that was expected.
    pub expected: PortalId,
    /// Its website, if there is a connection to it.
    pub expected_domain: Option<String>,
    /// Whether there is a connection to the expected account.
    pub is_connected: bool,
}

/// Grants for another account than the expected one. Clones share everything.
#[derive(Debug, Clone)]
pub struct AccountMismatches {
    store: Store,
    clock: Clock,
    tasks: Tasks,
    sign_ins: SignIns,
    pending_grants: PendingGrants,
}

impl AccountMismatches {
    pub(super) fn new(base: &Base, sign_ins: &SignIns, pending_grants: &PendingGrants) -> Self {
        Self {
            store: base.store.clone(),
            clock: base.clock.clone(),
            tasks: base.tasks.clone(),
            sign_ins: sign_ins.clone(),
            pending_grants: pending_grants.clone(),
        }
    }

    /// What the person is asked about a flow, if anything.
    pub(super) async fn choice(&self, request: &AuthRequest) -> Result<Option<Choice>, StoreError> {
        let now = self.clock.now();
        let is_open = request.status_at(now) == FlowStatus::Exchanging && request.connect_session.is_none();
        let (Some(expected), true) = (request.portal_id, is_open) else {
            return Ok(None);
        };
        let Some(parked) = self.store.parked_grant(request.id).await? else { return Ok(None) };
        let known = self.store.token_for(parked.user, &parked.client_id, expected).await?;
        Ok(Some(Choice {
            portal: parked.portal,
            hub_domain: parked.hub_domain,
            expected,
            is_connected: known.is_some(),
            expected_domain: known.and_then(|token| token.hub_domain),
        }))
    }

    /// Does what the person has decided, in the browser that holds the flow's cookie. `None` if there was nothing to
    /// decide.
    ///
    /// # Errors
    /// [`DecideError`] says why nothing has happened; the question stays open then.
    pub async fn decide(
        &self,
        flow: FlowId,
        binding: &Secret,
        user: Option<UserId>,
        decision: Decision,
    ) -> Result<Option<UserId>, DecideError> {
        let Some(request) = self.store.flow(flow, binding.hash()).await? else { return Ok(None) };
        if self.choice(&request).await?.is_none() {
            return Ok(None);
        }
        let Some(parked) = self.store.parked_grant(flow).await? else { return Ok(None) };
        // Another user has logged in here meanwhile, or the session has ended: neither may decide on this user's
        // connections, nor open them.
        let allowed = match user {
            Some(user) => user == parked.user,
            None => self.sign_ins.may_sign_in(parked.user).await?,
        };
        if !allowed {
            return Err(DecideError::NotYours);
        }
        let pending_grants = self.pending_grants.clone();
        let work = self.tasks.detach(async move {
            match decision {
                Decision::Back => {
                    pending_grants.discard(flow, FailureCode::WrongAccount).await?;
                    Ok(None)
                }
                Decision::Keep | Decision::Switch => {
                    pending_grants.accept(&request, &parked, None, decision).await
                }
            }
        });
        joined(work).await
    }
}
