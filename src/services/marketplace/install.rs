//! Installs that begin at HubSpot's Marketplace: kept until somebody has shown whose they are, then claimed.
//!
//! What comes from there comes without an attempt of ours, so it proves nothing about the browser that brings it: the
//! code may be an attacker's, or the browser a victim's (RFC 9700 section 4.7). No session learns of it and none gets it.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::crash;
use crate::domain::chance::Chance;
use crate::domain::clock::{Clock, Moment};
use crate::domain::external::ExternalUserId;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectionId, InstallId, PortalId, UserId};
use crate::domain::secret::Secret;
use crate::hubspot::{Grant, HubSpot};
use crate::keyring::{Context, Keyring, OpenError};
use crate::services::connections::{GrantedTokens, Intake};
use crate::services::platform::{Base, Changes, Tasks, joined, retry_write};
use crate::store::{Install, InstallGrant, InstallState, Source, Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// How long a state is good that HubSpot is to bring back.
const STATE_TTL: Duration = Duration::from_secs(600);
/// How long a code is remembered. HubSpot forgets it sooner.
const CODE_MEMORY: Duration = Duration::from_secs(3600);
/// How long a write is tried again while the person waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many unclaimed installs one round ends.
const AT_ONCE: u32 = 100;

/// Why an install is not kept.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The state is not one of ours, was brought back before, or is too old. The code was not exchanged.
    #[error("the state is not good")]
    StateRejected,
    /// HubSpot did not give what is needed; why.
    #[error("the install has failed: {0}")]
    Failed(FailureCode),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An install that has become a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedInstall {
    /// The connection.
    pub connection: ConnectionId,
    /// The account.
    pub portal: PortalId,
}

/// Why an install is not claimed.
#[derive(Debug, Error)]
pub enum ClaimInstallError {
    /// There is none of that id, or it has ended.
    #[error("there is no such install")]
    Unknown,
    /// Another user has it.
    #[error("another user has claimed it")]
    Taken,
    /// The tokens are sealed with a key that is not configured.
    #[error("the key is missing")]
    KeyMissing,
    /// The stored tokens cannot be trusted; the install has ended.
    #[error("the stored tokens are damaged")]
    Damaged,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Installs that begin at HubSpot's Marketplace. Clones share everything.
#[derive(Debug, Clone)]
pub struct Installs(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    hubspot: Arc<HubSpot>,
    keyring: Arc<Keyring>,
    clock: Clock,
    chance: Chance,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    changes: Changes,
    intake: Intake,
    /// How long an install waits to be claimed.
    claim_time: Duration,
}

impl Installs {
    pub(super) fn new(base: &Base, intake: &Intake, claim_time: Duration) -> Self {
        Self(Arc::new(Parts {
            store: base.store.clone(),
            hubspot: Arc::clone(&base.hubspot),
            keyring: Arc::clone(&base.keyring),
            clock: base.clock.clone(),
            chance: base.chance.clone(),
            metrics: Arc::clone(&base.metrics),
            tasks: base.tasks.clone(),
            changes: base.changes(),
            intake: intake.clone(),
            claim_time,
        }))
    }

    /// A state for HubSpot to bring back with the code. It shows that the code belongs to an install that HubSpot began
    /// with us, and nothing about who brings it; so no cookie goes with it.
    pub async fn begin_install(&self) -> Result<Secret, StoreError> {
        let parts = &self.0;
        let state = Secret::random(&parts.chance);
        let expires_at = parts.clock.now().plus(STATE_TTL);
        parts.store.note_install_state(state.hash(), expires_at).await?;
        Ok(state)
    }

    /// Keeps the tokens of an install until they are claimed. A code that has brought an install is not exchanged again
    /// and is no error. A code that was refused is refused again, so that reloading the page afterwards does not look like success.
    ///
    /// # Errors
    /// [`InstallError`] as it says.
    pub async fn install(
        &self,
        code: Secret,
        state: Option<Secret>,
        redirect_uri: String,
    ) -> Result<(), InstallError> {
        // It goes on although the person leaves: a code that was sent is spent.
        let installs = self.clone();
        let work = self.0.tasks.detach(async move {
            let now = installs.0.clock.now();
            if let Some(state) = state
                && !installs.0.store.take_install_state(state.hash(), now).await?
            {
                return Err(InstallError::StateRejected);
            }
            if !installs.0.store.take_install_code(code.hash(), now.plus(CODE_MEMORY)).await? {
                return Ok(());
            }
            let kept = installs.keep_install(&code, &redirect_uri).await;
            if kept.is_err()
                && let Err(why) = installs.0.store.forget_install_code(code.hash()).await
            {
                tracing::error!(error = %why, "could not forget a refused code");
            }
            kept
        });
        let kept = joined(work).await;
        if let Err(why) = &kept {
            tracing::warn!(error = %why, "an install from the marketplace has failed");
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
        let grant = self.0.intake.complete(grant).await;
        let refresh = grant.refresh.as_ref().ok_or(InstallError::Failed(FailureCode::NoRefreshToken))?;
        let required = &parts.hubspot.settings().scopes;
        self.0.intake.refuse_missing_scopes(required, &grant, refresh).await.map_err(InstallError::Failed)?;
        // Without the account, nobody could say whose install it is.
        let Some(portal) = grant.portal_id else {
            self.0.intake.end_unused(refresh).await;
            return Err(InstallError::Failed(FailureCode::ProviderBadResponse));
        };
        let install = self.seal_install(&grant, refresh, portal, asked_at);
        let id = install.id;
        if let Err(why) = retry_write(PATIENCE, || parts.store.save_install(install.clone())).await {
            self.0.intake.end_unused(refresh).await;
            return Err(why.into());
        }
        crash::point("install.kept");
        tracing::info!(install = %id, portal = portal.0, "an install from the marketplace waits to be claimed");
        // The account's name helps the host to tell whose it is. The grant is safe by then.
        if let Ok(identity) = parts.hubspot.introspect(&grant.access).await
            && let Err(why) = parts.store.name_install(id, identity.hub_domain, identity.hub_user).await
        {
            tracing::warn!(install = %id, error = %why, "could not note an account's name");
        }
        Ok(())
    }

    fn seal_install(&self, grant: &Grant, refresh: &Secret, portal: PortalId, at: Moment) -> Install {
        let parts = &self.0;
        let connection = ConnectionId::random(&parts.chance);
        let (row, client_id) = (connection.to_string(), parts.hubspot.client_id());
        let context = |kind| Context { kind, row: &row, generation: 1, client_id };
        Install {
            id: InstallId::random(&parts.chance),
            client_id: client_id.to_owned(),
            portal,
            hub_domain: None,
            hub_user: None,
            scopes: grant.scopes.clone(),
            obtained_at: at,
            expires_at: parts.clock.now().plus(parts.claim_time),
            state: InstallState::Waiting(InstallGrant {
                connection,
                access: parts.keyring.seal(&grant.access, context("access")),
                refresh: parts.keyring.seal(refresh, context("refresh")),
                refresh_fingerprint: parts.keyring.fingerprint(refresh),
                token_expires_at: at.plus(grant.expires_in),
            }),
        }
    }

    /// Installs that wait to be claimed, by their ids, from after `after` on; of one account, or of all.
    pub async fn waiting_installs(
        &self,
        portal: Option<PortalId>,
        after: Option<InstallId>,
        limit: u32,
    ) -> Result<Vec<Install>, StoreError> {
        let parts = &self.0;
        let (app, now) = (parts.hubspot.client_id(), parts.clock.now());
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        parts.store.waiting_installs(app, portal, &after, now, limit).await
    }

    /// Makes an install a connection of this user of the host's, or renews the one that the user has to that account.
    /// For the same user it may be claimed again, with the same answer.
    ///
    /// Whoever asks vouches for it that the account is that user's.
    ///
    /// # Errors
    /// [`ClaimInstallError`] as it says; the install waits on unless it says that it has ended.
    pub async fn claim_install(
        &self,
        id: InstallId,
        external: ExternalUserId,
        metadata: Option<String>,
    ) -> Result<ClaimedInstall, ClaimInstallError> {
        let installs = self.clone();
        let work =
            self.0.tasks.detach(async move { installs.claim(id, &external, metadata.as_deref()).await });
        joined(work).await
    }

    async fn claim(
        &self,
        id: InstallId,
        external: &ExternalUserId,
        metadata: Option<&str>,
    ) -> Result<ClaimedInstall, ClaimInstallError> {
        let parts = &self.0;
        loop {
            let now = parts.clock.now();
            let found = parts.store.install(id, parts.hubspot.client_id()).await?;
            let install =
                found.filter(|install| install.expires_at > now).ok_or(ClaimInstallError::Unknown)?;
            match &install.state {
                InstallState::Claimed { by, connection } => {
                    let is_same = parts.store.find_external(external).await? == Some(*by);
                    let (connection, portal) = (*connection, install.portal);
                    return is_same
                        .then_some(ClaimedInstall { connection, portal })
                        .ok_or(ClaimInstallError::Taken);
                }
                InstallState::Waiting(grant) => {
                    let user = parts.store.user_of_external(external.clone(), &parts.chance).await?;
                    if let Some(claimed) = self.take_install(&install, grant, user, metadata).await? {
                        return Ok(claimed);
                    }
                }
            }
        }
    }

    /// `None` if somebody else was quicker, or it has ended meanwhile.
    async fn take_install(
        &self,
        install: &Install,
        sealed: &InstallGrant,
        user: UserId,
        metadata: Option<&str>,
    ) -> Result<Option<ClaimedInstall>, ClaimInstallError> {
        let parts = &self.0;
        let settings = parts.hubspot.settings();
        let (access, refresh) = self.open_install(install, sealed).await?;
        let grant = Grant {
            access,
            refresh: None,
            expires_in: sealed.token_expires_at.since(install.obtained_at),
            scopes: install.scopes.clone(),
            portal_id: Some(install.portal),
        };
        let received = GrantedTokens {
            flow: None,
            client_id: &install.client_id,
            scopes: &settings.scopes,
            optional_scopes: &settings.optional_scopes,
            grant: &grant,
            refresh: &refresh,
            owner: user,
            portal: Some(install.portal),
            session: None,
            metadata,
            // A token that has grown old while it waited is due for its refresh at once.
            at: install.obtained_at,
        };
        let Some(stored) = self.0.intake.save(received, Source::Install(install.id)).await? else {
            return Ok(None);
        };
        crash::point("install.claimed");
        tracing::info!(install = %install.id, connection = %stored.connection, "an install was claimed");
        if sealed.token_expires_at > parts.clock.now() {
            self.0.intake.welcome(received, stored.connection).await;
        } else {
            // HubSpot tells nothing to whoever has an old token; the background asks once there is a new one.
            parts.changes.publish(user);
            parts.metrics.flows_connected.inc();
        }
        Ok(Some(ClaimedInstall { connection: stored.connection, portal: install.portal }))
    }

    async fn open_install(
        &self,
        install: &Install,
        sealed: &InstallGrant,
    ) -> Result<(Secret, Secret), ClaimInstallError> {
        let parts = &self.0;
        let row = sealed.connection.to_string();
        let context = |kind| Context { kind, row: &row, generation: 1, client_id: &install.client_id };
        let opened = |sealed, kind| parts.keyring.open(sealed, context(kind));
        match (opened(&sealed.access, "access"), opened(&sealed.refresh, "refresh")) {
            (Ok(access), Ok(refresh)) => Ok((access, refresh)),
            // The key may come back, and the host may ask again.
            (Err(OpenError::UnknownKey(_)), _) | (_, Err(OpenError::UnknownKey(_))) => {
                tracing::error!(install = %install.id, "the key of an install is missing");
                Err(ClaimInstallError::KeyMissing)
            }
            _ => {
                tracing::error!(install = %install.id, "an install cannot be opened");
                parts.metrics.integrity_errors.inc();
                parts.store.end_install(install.id, parts.clock.now()).await?;
                Err(ClaimInstallError::Damaged)
            }
        }
    }

    /// Ends installs that nobody has claimed in time, and forgets what was seen of others.
    pub(in crate::services) async fn end_unclaimed_installs(&self, now: Moment) -> Result<(), StoreError> {
        let parts = &self.0;
        parts.store.sweep_install_attempts(now).await?;
        for install in parts.store.expired_installs(now, AT_ONCE).await? {
            // One that cannot be ended does not keep the others.
            match parts.store.end_install(install, now).await {
                Ok(true) => {
                    tracing::info!(install = %install, "nobody has claimed an install; its grant ends");
                }
                Ok(false) => {}
                Err(why) => {
                    tracing::error!(install = %install, error = %why, "could not end an unclaimed install");
                }
            }
        }
        Ok(())
    }
}
