//! Another account than the expected one: nothing is overwritten. The grant waits until the person has said what is to
//! become of it.

use std::str::FromStr;
use std::time::Duration;

use super::waiting::Key;
use super::{Finished, Flows};
use crate::domain::auth_request::{AuthRequest, FlowStatus};
use crate::domain::clock::Moment;
use crate::domain::connection::UnknownWord;
use crate::domain::id::{ConnectionId, FlowId, PortalId, UserId};
use crate::domain::secret::Secret;
use crate::hubspot::Grant;
use crate::keyring::Context;
use crate::store::{ParkedGrant, RevocationJob, StoreError};

/// How long a person may think about it.
const TIME_TO_CHOOSE: Duration = Duration::from_secs(600);
/// How long a write is tried again while the person waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many forgotten grants one round ends.
const AT_ONCE: u32 = 100;

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

/// What a person answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The new account is connected beside the expected one.
    Keep,
    /// The new account takes the place of the expected one, which is disconnected.
    Switch,
    /// The new grant ends; everything stays as it was.
    Back,
}

impl FromStr for Decision {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "keep" => Ok(Self::Keep),
            "switch" => Ok(Self::Switch),
            "back" => Ok(Self::Back),
            _ => Err(UnknownWord),
        }
    }
}

impl Flows {
    /// Parks a grant for another account than the flow expected.
    pub(super) async fn park(
        &self,
        request: &AuthRequest,
        grant: &Grant,
        refresh: &Secret,
        user: UserId,
        portal: PortalId,
        obtained_at: Moment,
    ) -> Result<(), StoreError> {
        let parts = &self.0;
        let connection = ConnectionId::random(&parts.chance);
        let row = connection.to_string();
        let context = |kind| Context { kind, row: &row, generation: 1, client_id: &request.client_id };
        // The person is told the account's name, if HubSpot tells it now.
        let identity = parts.hubspot.introspect(&grant.access).await.ok();
        let parked = ParkedGrant {
            flow: request.id,
            user,
            connection,
            client_id: request.client_id.clone(),
            portal,
            hub_domain: identity.and_then(|identity| identity.hub_domain),
            scopes: grant.scopes.clone(),
            access: parts.keyring.seal(&grant.access, context("access")),
            refresh: parts.keyring.seal(refresh, context("refresh")),
            refresh_fingerprint: parts.keyring.fingerprint(refresh),
            obtained_at,
            token_expires_at: obtained_at.plus(grant.expires_in),
            expires_at: obtained_at.plus(TIME_TO_CHOOSE),
        };
        tracing::info!(flow = %request.id, portal = portal.0, "another account than the expected one; the person is asked");
        parts.insist(PATIENCE, || parts.store.park_grant(parked.clone())).await
    }

    /// What the person is asked about a flow, if anything.
    pub(super) async fn choice(&self, request: &AuthRequest) -> Result<Option<Choice>, StoreError> {
        let now = self.0.clock.now();
        let (Some(expected), FlowStatus::Exchanging) = (request.portal_id, request.status_at(now)) else {
            return Ok(None);
        };
        let Some(parked) = self.0.store.parked_grant(request.id).await? else { return Ok(None) };
        let known = self.0.store.token_for(parked.user, &parked.client_id, expected).await?;
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
    /// [`StoreError`] if the database fails; the question stays open then.
    pub async fn decide(
        &self,
        flow: FlowId,
        binding: &Secret,
        decision: Decision,
    ) -> Result<Option<Finished>, StoreError> {
        let Some(request) = self.0.store.flow(flow, binding.hash()).await? else { return Ok(None) };
        if self.choice(&request).await?.is_none() {
            return Ok(None);
        }
        let Some(parked) = self.0.store.parked_grant(flow).await? else { return Ok(None) };
        let (flows, return_to) = (self.clone(), request.return_to());
        let work = self.0.detach(async move {
            match decision {
                Decision::Back => flows.give_back(&parked).await.map(|()| None),
                Decision::Keep | Decision::Switch => flows.take_up(&request, &parked, decision).await,
            }
        });
        let user = work.await.unwrap_or(Err(StoreError::Closed))?;
        Ok(Some(Finished { flow, user, return_to }))
    }

    async fn take_up(
        &self,
        request: &AuthRequest,
        parked: &ParkedGrant,
        decision: Decision,
    ) -> Result<Option<UserId>, StoreError> {
        let parts = &self.0;
        let row = parked.connection.to_string();
        let context = |kind| Context { kind, row: &row, generation: 1, client_id: &parked.client_id };
        let opened = |sealed, kind| parts.keyring.open(sealed, context(kind));
        let (Ok(access), Ok(refresh)) =
            (opened(&parked.access, "access"), opened(&parked.refresh, "refresh"))
        else {
            tracing::error!(flow = %parked.flow, "a parked grant cannot be opened");
            parts.metrics.integrity_errors.inc();
            self.failed(parked.flow, "integrity_error").await;
            parts.store.forget_parked(parked.flow).await?;
            return Ok(None);
        };
        let grant = Grant {
            access,
            refresh: Some(refresh.clone()),
            expires_in: parked.token_expires_at.since(parked.obtained_at),
            scopes: parked.scopes.clone(),
            portal_id: Some(parked.portal),
        };
        let connection = self
            .save(request, &grant, &refresh, parked.user, Some(parked.portal), parked.obtained_at)
            .await?;
        parts.store.forget_parked(parked.flow).await?;
        self.welcome(request, connection, &grant, parked.user).await;
        if let (Decision::Switch, Some(expected)) = (decision, request.portal_id)
            && let Some(old) = parts.store.token_for(parked.user, &parked.client_id, expected).await?
        {
            self.disconnect(parked.user, old.id, true).await?;
        }
        Ok(Some(parked.user))
    }

    /// Ends a grant that nobody wants: it is queued to end at HubSpot before it is forgotten here.
    async fn give_back(&self, parked: &ParkedGrant) -> Result<(), StoreError> {
        let parts = &self.0;
        if !parts.store.is_in_use(&parked.refresh_fingerprint).await? {
            let orphan = RevocationJob {
                id: format!("{}/1", parked.connection),
                connection_id: parked.connection,
                client_id: parked.client_id.clone(),
                refresh: parked.refresh.clone(),
                refresh_fingerprint: parked.refresh_fingerprint.clone(),
                generation: 1,
                created_at: parts.clock.now(),
                attempts: 0,
            };
            parts.store.queue_revocation(orphan).await?;
        }
        self.failed(parked.flow, "wrong_account").await;
        parts.store.forget_parked(parked.flow).await
    }

    /// Ends grants about which nobody has said anything.
    pub(super) async fn end_forgotten_grants(&self, now: Moment) -> Result<(), StoreError> {
        for parked in self.0.store.expired_grants(now, AT_ONCE).await? {
            self.give_back(&parked).await?;
            self.0.waiting.wake(Key::Flow(parked.flow));
        }
        Ok(())
    }
}
