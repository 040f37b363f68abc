//! Grants that await a decision before they become connections.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::connections::{Connections, Disconnects, GrantedTokens, Intake, REVOKE_WAIT, Stored, Terms};
use super::platform::{Base, Key, Notifier, retry_write};
use crate::crash;
use crate::domain::auth_request::AuthRequest;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::failure::FailureCode;
use crate::domain::id::{
    ConnectSessionId, ConnectionId, FlowId, InstallId, PendingGrantId, PortalId, UserId,
};
use crate::domain::pending_grant::GrantSource;
use crate::domain::random::Random;
use crate::domain::secret::Secret;
use crate::domain::text_enum::{UnknownText, text_enum};
use crate::hubspot::{Grant, HubSpot};
use crate::keyring::{Context, Keyring, OpenError};
use crate::store::{ConnectStore, PendingGrant, Source, StoreError, Undecided};
use crate::telemetry::metrics::Metrics;

/// The time that a user has to decide.
const TIME_TO_CHOOSE: Duration = Duration::from_secs(600);
/// The time that a backend has to confirm: it may need a manual check.
const TIME_TO_CONFIRM: Duration = Duration::from_secs(7 * 24 * 3600);
/// The time for which a write is retried while the user waits.
const CONNECT_WRITE_RETRY: Duration = Duration::from_secs(10);
/// The number of expired grants that one round ends.
const DISCARDS_PER_ROUND: u64 = 100;

text_enum! {
    /// The user's decision.
    pub enum Decision: UnknownText {
        /// Connects the new account in addition to the expected one.
        Keep = "keep",
        /// Connects the new account in place of the expected one, which is disconnected.
        Switch = "switch",
        /// Discards the new grant; nothing else changes.
        Back = "back",
    }
}

/// The reason for not accepting a grant.
#[derive(Debug, Error)]
pub(super) enum AcceptError {
    /// The tokens are sealed with a key that is not configured. The grant stays pending.
    #[error("the encryption key is missing")]
    KeyMissing,
    /// The stored tokens are damaged or misplaced. The grant has ended.
    #[error("the stored tokens are damaged")]
    Damaged,
    /// The database failed. The grant stays pending.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Pending grants. Clones share everything.
#[derive(Debug, Clone)]
pub(super) struct PendingGrants {
    store: ConnectStore,
    hubspot: Arc<HubSpot>,
    keyring: Arc<Keyring>,
    clock: Clock,
    random: Random,
    metrics: Arc<Metrics>,
    notifier: Notifier,
    intake: Intake,
    disconnects: Disconnects,
}

impl PendingGrants {
    pub fn new(base: &Base, connections: &Connections) -> Self {
        let (intake, disconnects) = (connections.intake.clone(), connections.disconnects.clone());
        let Base { store, hubspot, keyring, clock, random, metrics, notifier, .. } = base.clone();
        Self { store: store.connect, hubspot, keyring, clock, random, metrics, notifier, intake, disconnects }
    }

    /// Holds a grant until the user has decided, if it is for another account than the expected one, or until the
    /// host's backend has confirmed it. `false` if the connect session has ended, or awaits a decision on another
    /// grant.
    pub async fn hold(
        &self,
        flow: FlowId,
        received: GrantedTokens<'_>,
        portal: PortalId,
    ) -> Result<bool, StoreError> {
        let session = received.terms.session;
        let (source, time) = match session {
            Some(_) => (GrantSource::Confirmation, TIME_TO_CONFIRM),
            None => (GrantSource::AccountMismatch, TIME_TO_CHOOSE),
        };
        let GrantedTokens { grant, refresh, at, .. } = received;
        let sealed = PendingGrant {
            user_id: Some(received.terms.owner),
            connect_session_id: session.map(|session| session.id),
            ..self.seal((flow.into(), source, time), received.client_id, grant, refresh, portal, at)
        };
        self.keep(sealed, &grant.access).await
    }

    /// Holds the grant of an install until it is claimed, for this long.
    pub async fn hold_install(
        &self,
        grant: &Grant,
        refresh: &Secret,
        portal: PortalId,
        at: Timestamp,
        time: Duration,
    ) -> Result<(), StoreError> {
        let id = InstallId::random(&self.random).into();
        let client_id = self.hubspot.client_id();
        let sealed = self.seal((id, GrantSource::Marketplace, time), client_id, grant, refresh, portal, at);
        self.keep(sealed, &grant.access).await.map(|_| ())
    }

    fn seal(
        &self,
        (id, source, time): (PendingGrantId, GrantSource, Duration),
        client_id: &str,
        grant: &Grant,
        refresh: &Secret,
        portal: PortalId,
        at: Timestamp,
    ) -> PendingGrant {
        let connection = ConnectionId::at(at, &self.random);
        let row = connection.to_string();
        let context = |kind| Context { kind, row: &row, generation: 1, client_id };
        let access = self.keyring.seal(&grant.access, context("access"));
        let sealed = self.keyring.seal(refresh, context("refresh"));
        PendingGrant {
            id,
            source,
            user_id: None,
            connection_id: connection,
            client_id: client_id.to_owned(),
            portal_id: portal,
            hub_domain: None,
            hub_user: None,
            scopes: grant.scopes.clone(),
            key_id: sealed.key_id,
            access_sealed: access.ciphertext,
            refresh_sealed: sealed.ciphertext,
            refresh_fingerprint: self.keyring.fingerprint(refresh),
            obtained_at: at,
            token_expires_at: at.plus(grant.expires_in),
            expires_at: self.clock.now().plus(time),
            connect_session_id: None,
        }
    }

    async fn keep(&self, grant: PendingGrant, access: &Secret) -> Result<bool, StoreError> {
        if !retry_write(CONNECT_WRITE_RETRY, || self.store.hold_grant(grant.clone())).await? {
            return Ok(false);
        }
        let PendingGrant { id, source, portal_id, .. } = grant;
        crash::point("pending_grant.held");
        tracing::info!(pending_grant = %id, source = %source, portal = portal_id.0, "pending grant created");
        // The account's domain helps to decide. The grant is stored by then.
        if let Ok(identity) = self.hubspot.introspect(access).await
            && let Err(why) = self.store.name_pending_grant(id, identity.hub_domain, identity.hub_user).await
        {
            tracing::warn!(pending_grant = %id, error = %why, "failed to save the account name of a pending grant");
        }
        Ok(true)
    }

    /// Turns a pending grant into a connection, which replaces the connection `replaces`, if any. `None` if the grant
    /// is no longer pending.
    ///
    /// # Errors
    /// [`AcceptError`]; its variants state whether the grant stays pending.
    pub async fn accept(
        &self,
        pending: &PendingGrant,
        terms: Terms<'_>,
        replaces: Option<ConnectionId>,
    ) -> Result<Option<Stored>, AcceptError> {
        let (access, refresh) = self.open(pending).await?;
        let grant = Grant {
            access,
            refresh: None,
            expires_in: pending.token_expires_at.since(pending.obtained_at),
            scopes: pending.scopes.clone(),
            portal_id: Some(pending.portal_id),
        };
        let received = GrantedTokens {
            flow: pending.flow(),
            client_id: &pending.client_id,
            grant: &grant,
            refresh: &refresh,
            portal: Some(pending.portal_id),
            // A token that has aged while it was pending is due for its refresh at once.
            at: pending.obtained_at,
            terms,
        };
        let source = Source::Pending { id: pending.id, replaces };
        let Some(mut stored) = self.intake.save(received, source).await? else { return Ok(None) };
        crash::point("pending_grant.accepted");
        let replaced = stored.ended.take();
        let pending_revocation =
            replaced.and_then(|(old, removed)| self.disconnects.begin_revocation(old, terms.owner, removed));
        self.intake.after_connected(received, stored.connection).await;
        if let Some(pending_revocation) = pending_revocation {
            pending_revocation.wait(Instant::now() + REVOKE_WAIT).await;
        }
        Ok(Some(stored))
    }

    async fn open(&self, pending: &PendingGrant) -> Result<(Secret, Secret), AcceptError> {
        let row = pending.connection_id.to_string();
        let context = |kind| Context { kind, row: &row, generation: 1, client_id: &pending.client_id };
        let access = self.keyring.open(&pending.access(), context("access"));
        match (access, self.keyring.open(&pending.refresh(), context("refresh"))) {
            (Ok(access), Ok(refresh)) => Ok((access, refresh)),
            // The key may be configured again, and the caller may retry.
            (Err(OpenError::UnknownKey(_)), _) | (_, Err(OpenError::UnknownKey(_))) => {
                tracing::error!(pending_grant = %pending.id, "encryption key of a pending grant is missing");
                Err(AcceptError::KeyMissing)
            }
            _ => {
                tracing::error!(pending_grant = %pending.id, "pending grant could not be decrypted");
                self.metrics.integrity_errors.inc();
                self.discard(pending.id, pending.source, FailureCode::IntegrityError).await?;
                Err(AcceptError::Damaged)
            }
        }
    }

    /// Discards a grant.
    pub async fn discard(
        &self,
        id: PendingGrantId,
        source: GrantSource,
        code: FailureCode,
    ) -> Result<(), StoreError> {
        let ended = self.store.end_pending_grant(id, code, self.clock.now()).await?;
        let Some(flow) = source.flow(id) else {
            if ended {
                tracing::info!(install = %id, "unclaimed install expired; grant discarded");
            }
            return Ok(());
        };
        if ended {
            tracing::warn!(flow = %flow, code = code.as_str(), "authorization failed");
            self.metrics.flows.failed(code);
        }
        self.notifier.wake(Key::Flow(flow));
        Ok(())
    }

    /// Discards the undecided grants of a user who disconnects everything.
    pub async fn discard_of(&self, user: UserId) -> Result<(), StoreError> {
        for pending in self.store.pending_grants_of(user).await? {
            self.discard_undecided(pending).await;
        }
        Ok(())
    }

    /// Discards grants that were not decided in time.
    pub async fn end_forgotten_grants(&self, now: Timestamp) -> Result<(), StoreError> {
        for pending in self.store.expired_grants(now, DISCARDS_PER_ROUND).await? {
            self.discard_undecided(pending).await;
        }
        Ok(())
    }

    /// Discards one grant. A failure must not keep the others, nor the user from disconnecting.
    async fn discard_undecided(&self, Undecided { id, source, connect_session_id }: Undecided) {
        let code = source.code_if_expired();
        let ended = match connect_session_id {
            Some(session) => self.end_connect_session(session, source.flow(id), code).await,
            None => self.discard(id, source, code).await,
        };
        if let Err(why) = ended {
            tracing::error!(pending_grant = %id, error = %why, "failed to discard a pending grant");
        }
    }

    /// Returns whether an authorization request awaits its backend's confirmation.
    pub async fn is_held(&self, request: &AuthRequest) -> Result<bool, StoreError> {
        match request.connect_session {
            Some(_) => Ok(self.store.pending_grant(request.id.into()).await?.is_some()),
            None => Ok(false),
        }
    }

    /// Ends a connect session that is not connected yet, and its pending grant.
    pub async fn end_connect_session(
        &self,
        id: ConnectSessionId,
        flow: Option<FlowId>,
        code: FailureCode,
    ) -> Result<(), StoreError> {
        if self.store.cancel_connect_session(id, code, self.clock.now()).await? {
            self.metrics.flows.failed(code);
        }
        if let Some(flow) = flow {
            self.notifier.wake(Key::Flow(flow));
        }
        Ok(())
    }
}
