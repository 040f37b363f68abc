//! Installs that start in HubSpot's Marketplace: kept until a backend has named their user, then claimed.
//!
//! Such an install has no authorization request of ours, so it says nothing about the browser that brings it: the
//! code may be an attacker's, or the browser a victim's (RFC 9700 section 4.7). No session learns of it or receives
//! it.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::crash;
use crate::domain::clock::Clock;
use crate::domain::external::ExternalUserId;
use crate::domain::failure::FailureCode;
use crate::domain::id::{InstallId, PortalId};
use crate::domain::pending_grant::GrantSource;
use crate::domain::project::ProjectId;
use crate::domain::random::Random;
use crate::domain::secret::Secret;
use crate::hubspot::HubSpot;
use crate::services::connections::{Intake, Terms};
use crate::services::pending_grants::{AcceptError, PendingGrants};
use crate::services::platform::{Base, Tasks, joined};
use crate::store::{ClaimedInstall, ConnectStore, MarketplaceStore, PendingGrant, PlatformStore, StoreError};

/// The lifetime of a state that is sent to HubSpot.
const STATE_TTL: Duration = Duration::from_secs(600);
/// The time for which a code is remembered. HubSpot's codes expire sooner.
const CODE_RETENTION: Duration = Duration::from_secs(3600);

/// The reason for not keeping an install.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The state is not one of ours, was used before, or has expired. The code was not exchanged.
    #[error("the state is invalid")]
    StateRejected,
    /// HubSpot did not return what is needed; the code names the reason.
    #[error("the install failed: {0}")]
    Failed(FailureCode),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason for refusing a claim.
#[derive(Debug, Error)]
pub enum ClaimInstallError {
    /// There is no such install, or it has ended.
    #[error("the install was not found")]
    Unknown,
    /// Another user has claimed it.
    #[error("another user has claimed the install")]
    Taken,
    /// The tokens are sealed with a key that is not configured.
    #[error("the encryption key is missing")]
    KeyMissing,
    /// The stored tokens are damaged or misplaced; the install has ended.
    #[error("the stored tokens are damaged")]
    Damaged,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AcceptError> for ClaimInstallError {
    fn from(why: AcceptError) -> Self {
        match why {
            AcceptError::KeyMissing => Self::KeyMissing,
            AcceptError::Damaged => Self::Damaged,
            AcceptError::Store(why) => Self::Store(why),
        }
    }
}

/// Installs that start in HubSpot's Marketplace. Clones share everything.
#[derive(Debug, Clone)]
pub struct Installs(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    connect_store: ConnectStore,
    marketplace_store: MarketplaceStore,
    platform_store: PlatformStore,
    hubspot: Arc<HubSpot>,
    clock: Clock,
    random: Random,
    tasks: Tasks,
    intake: Intake,
    pending_grants: PendingGrants,
    /// The time for which an install waits to be claimed.
    claim_time: Duration,
}

impl Installs {
    pub(super) fn new(
        base: &Base,
        intake: &Intake,
        pending_grants: &PendingGrants,
        claim_time: Duration,
    ) -> Self {
        let Base { store, hubspot, clock, random, tasks, .. } = base.clone();
        let (intake, pending_grants) = (intake.clone(), pending_grants.clone());
        Self(Arc::new(Parts {
            connect_store: store.connect,
            marketplace_store: store.marketplace,
            platform_store: store.platform,
            hubspot,
            clock,
            random,
            tasks,
            intake,
            pending_grants,
            claim_time,
        }))
    }

    /// Returns a state for HubSpot to return with the code. It shows that the code belongs to an install that HubSpot
    /// started with us, but not which browser brings it, so there is no cookie for it.
    pub async fn begin_install(&self) -> Result<Secret, StoreError> {
        let parts = &self.0;
        let state = Secret::random(&parts.random);
        let expires_at = parts.clock.now().plus(STATE_TTL);
        parts.marketplace_store.note_install_state(state.hash(), expires_at).await?;
        Ok(state)
    }

    /// Keeps the tokens of an install until they are claimed. A code that has brought an install is not exchanged
    /// again and is no error. A code that was refused is refused again, so that reloading the page afterwards does
    /// not look like success.
    ///
    /// # Errors
    /// [`InstallError`] names the reason.
    pub async fn install(
        &self,
        code: Secret,
        state: Option<Secret>,
        redirect_uri: String,
    ) -> Result<(), InstallError> {
        // Continues when the user leaves: a code can be sent only once.
        let installs = self.clone();
        let work = self.0.tasks.detach(async move {
            let now = installs.0.clock.now();
            if let Some(state) = state
                && !installs.0.marketplace_store.take_install_state(state.hash(), now).await?
            {
                return Err(InstallError::StateRejected);
            }
            if !installs.0.marketplace_store.take_install_code(code.hash(), now.plus(CODE_RETENTION)).await? {
                return Ok(());
            }
            let kept = installs.keep_install(&code, &redirect_uri).await;
            if kept.is_err()
                && let Err(why) = installs.0.marketplace_store.forget_install_code(code.hash()).await
            {
                tracing::error!(error = %why, "failed to delete a rejected authorization code");
            }
            kept
        });
        let kept = joined(work).await;
        if let Err(why) = &kept {
            tracing::warn!(error = %why, "marketplace install failed");
        }
        kept
    }

    async fn keep_install(&self, code: &Secret, redirect_uri: &str) -> Result<(), InstallError> {
        let parts = &self.0;
        crash::point("install.taken");
        let asked_at = parts.clock.now();
        let answer = parts.hubspot.exchange(code, redirect_uri, None).await;
        let grant = answer.map_err(|failure| InstallError::Failed(failure.code))?;
        crash::point("install.answered");
        let grant = parts.intake.complete(grant).await;
        let refresh = grant.refresh.as_ref().ok_or(InstallError::Failed(FailureCode::NoRefreshToken))?;
        let required = &parts.hubspot.settings().scopes;
        let refused = parts.intake.refuse_missing_scopes(required, None, &grant, refresh).await;
        refused.map_err(InstallError::Failed)?;
        // Without the account, no backend could determine whose install it is.
        let Some(portal) = grant.portal_id else {
            parts.intake.revoke_unused(refresh).await;
            return Err(InstallError::Failed(FailureCode::ProviderBadResponse));
        };
        let held =
            parts.pending_grants.hold_install(&grant, refresh, portal, asked_at, parts.claim_time).await;
        if held.is_err() {
            parts.intake.revoke_unused(refresh).await;
        }
        Ok(held?)
    }

    /// Returns installs that wait to be claimed, ordered by id, starting after `after`; of one account, or of all.
    pub async fn waiting_installs(
        &self,
        portal: Option<PortalId>,
        after: Option<InstallId>,
        limit: u64,
    ) -> Result<Vec<PendingGrant>, StoreError> {
        let parts = &self.0;
        let (app, now) = (parts.hubspot.client_id(), parts.clock.now());
        parts.connect_store.waiting_installs(app, portal, after, now, limit).await
    }

    /// Makes an install a connection of this user of a project, or reconnects the one that the user has to that
    /// account. For the same user it may be claimed again, with the same result.
    ///
    /// The caller vouches that the account belongs to that user.
    ///
    /// # Errors
    /// [`ClaimInstallError`] names the reason; the install continues to wait unless it has ended.
    pub async fn claim_install(
        &self,
        id: InstallId,
        project: ProjectId,
        external: ExternalUserId,
        metadata: Option<String>,
    ) -> Result<ClaimedInstall, ClaimInstallError> {
        let installs = self.clone();
        let work = self
            .0
            .tasks
            .detach(async move { installs.claim(id, &project, &external, metadata.as_deref()).await });
        joined(work).await
    }

    async fn claim(
        &self,
        id: InstallId,
        project: &ProjectId,
        external: &ExternalUserId,
        metadata: Option<&str>,
    ) -> Result<ClaimedInstall, ClaimInstallError> {
        let parts = &self.0;
        let (settings, app) = (parts.hubspot.settings(), parts.hubspot.client_id());
        loop {
            let now = parts.clock.now();
            let found = parts.connect_store.pending_grant(id.into()).await?;
            let is_waiting = |grant: &PendingGrant| {
                grant.source == GrantSource::Marketplace && grant.client_id == app && grant.expires_at > now
            };
            let Some(install) = found.filter(is_waiting) else {
                let known = parts.marketplace_store.claimed_install(id, app, now).await?;
                let claimed = known.ok_or(ClaimInstallError::Unknown)?;
                let is_same =
                    parts.platform_store.find_external(project, external).await? == Some(claimed.user_id);
                return is_same.then_some(claimed).ok_or(ClaimInstallError::Taken);
            };
            let owner = parts
                .platform_store
                .user_of_external(project.clone(), external.clone(), &parts.random)
                .await?;
            let terms = Terms {
                owner,
                project,
                scopes: &settings.scopes,
                optional_scopes: &settings.optional_scopes,
                session: None,
                metadata,
            };
            // If it is no longer pending, another request has claimed it, or it has ended.
            if let Some(stored) = parts.pending_grants.accept(&install, terms, None).await? {
                tracing::info!(install = %id, connection = %stored.connection, "install claimed");
                return Ok(ClaimedInstall {
                    id,
                    client_id: install.client_id,
                    portal_id: install.portal_id,
                    user_id: owner,
                    connection_id: stored.connection,
                    expires_at: install.expires_at,
                });
            }
        }
    }
}
