//! Grants that wait for somebody's word before they become connections.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::connections::{Connections, Disconnects, GrantedTokens, Intake, REVOKE_WAIT};
use super::platform::{Base, Key, Notifier, retry_write};
use crate::domain::auth_request::AuthRequest;
use crate::domain::chance::Chance;
use crate::domain::clock::{Clock, Moment};
use crate::domain::connect_session::ConnectSession;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PortalId, UserId};
use crate::domain::words::UnknownWord;
use crate::hubspot::{Grant, HubSpot};
use crate::keyring::{Context, Keyring, OpenError};
use crate::store::{ParkedGrant, Source, Store, StoreError};
use crate::telemetry::metrics::Metrics;

/// How long a person may think about it.
const TIME_TO_CHOOSE: Duration = Duration::from_secs(600);
/// How long a backend may think about it: a person there may have to look.
const TIME_TO_CONFIRM: Duration = Duration::from_secs(24 * 3600);
/// How long a write is tried again while the person waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many forgotten grants one round ends.
const AT_ONCE: u32 = 100;

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

/// Why a decision has no effect.
#[derive(Debug, Error)]
pub enum DecideError {
    /// The browser belongs to another user by now, or the session of the user who is asked has ended.
    #[error("another user is asked")]
    NotYours,
    /// The tokens are sealed with a key that is not configured.
    #[error("the key is missing")]
    KeyMissing,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Grants that wait. Clones share everything.
#[derive(Debug, Clone)]
pub(super) struct PendingGrants(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: Store,
    hubspot: Arc<HubSpot>,
    keyring: Arc<Keyring>,
    clock: Clock,
    chance: Chance,
    metrics: Arc<Metrics>,
    notifier: Notifier,
    intake: Intake,
    disconnects: Disconnects,
}

impl PendingGrants {
    pub fn new(base: &Base, connections: &Connections) -> Self {
        Self(Arc::new(Parts {
            store: base.store.clone(),
            hubspot: Arc::clone(&base.hubspot),
            keyring: Arc::clone(&base.keyring),
            clock: base.clock.clone(),
            chance: base.chance.clone(),
            metrics: Arc::clone(&base.metrics),
            notifier: base.notifier.clone(),
            intake: connections.intake.clone(),
            disconnects: connections.disconnects.clone(),
        }))
    }

    /// Parks a grant until the person has chosen, if it is for another account than the flow expected, or until the
    /// host's backend has confirmed it. `false` if that one wants none any more.
    pub async fn hold(
        &self,
        flow: FlowId,
        received: GrantedTokens<'_>,
        portal: PortalId,
    ) -> Result<bool, StoreError> {
        let GrantedTokens { client_id, grant, refresh, owner, session, at, .. } = received;
        let parts = &self.0;
        let connection = ConnectionId::random(&parts.chance);
        let row = connection.to_string();
        let context = |kind| Context { kind, row: &row, generation: 1, client_id };
        let parked = ParkedGrant {
            flow,
            user: owner,
            connection,
            client_id: client_id.to_owned(),
            portal,
            hub_domain: None,
            scopes: grant.scopes.clone(),
            access: parts.keyring.seal(&grant.access, context("access")),
            refresh: parts.keyring.seal(refresh, context("refresh")),
            refresh_fingerprint: parts.keyring.fingerprint(refresh),
            obtained_at: at,
            token_expires_at: at.plus(grant.expires_in),
            expires_at: parts.clock.now().plus(match session {
                Some(_) => TIME_TO_CONFIRM,
                None => TIME_TO_CHOOSE,
            }),
            connect_session: session.map(|session| session.id),
        };
        if !retry_write(PATIENCE, || parts.store.park_grant(parked.clone())).await? {
            return Ok(false);
        }
        tracing::info!(flow = %flow, portal = portal.0, "a grant waits for somebody's word");
        // The person is told the account's name, if HubSpot tells it now. The grant is safe by then.
        if let Ok(identity) = parts.hubspot.introspect(&grant.access).await
            && let Err(why) = parts.store.name_parked(flow, identity.hub_domain).await
        {
            tracing::warn!(flow = %flow, error = %why, "could not note an account's name");
        }
        Ok(true)
    }

    /// Makes a pending grant a connection. `None` if it is there no more, or cannot be opened.
    ///
    /// # Errors
    /// [`DecideError`] says why nothing has happened; the grant waits on.
    pub async fn accept(
        &self,
        request: &AuthRequest,
        parked: &ParkedGrant,
        session: Option<&ConnectSession>,
        decision: Decision,
    ) -> Result<Option<UserId>, DecideError> {
        let parts = &self.0;
        let row = parked.connection.to_string();
        let context = |kind| Context { kind, row: &row, generation: 1, client_id: &parked.client_id };
        let opened = |sealed, kind| parts.keyring.open(sealed, context(kind));
        let (access, refresh) = match (opened(&parked.access, "access"), opened(&parked.refresh, "refresh")) {
            (Ok(access), Ok(refresh)) => (access, refresh),
            // The key may come back, and the person may ask again.
            (Err(OpenError::UnknownKey(_)), _) | (_, Err(OpenError::UnknownKey(_))) => {
                tracing::error!(flow = %parked.flow, "the key of a parked grant is missing");
                return Err(DecideError::KeyMissing);
            }
            _ => {
                tracing::error!(flow = %parked.flow, "a parked grant cannot be opened");
                parts.metrics.integrity_errors.inc();
                self.discard(parked.flow, FailureCode::IntegrityError).await?;
                return Ok(None);
            }
        };
        let grant = Grant {
            access,
            refresh: None,
            expires_in: parked.token_expires_at.since(parked.obtained_at),
            scopes: parked.scopes.clone(),
            portal_id: Some(parked.portal),
        };
        let (owner, portal, at) = (parked.user, Some(parked.portal), parked.obtained_at);
        let received = GrantedTokens::by(request, &grant, &refresh, owner, session, portal, at);
        let replaces = match (decision, request.portal_id) {
            (Decision::Switch, Some(expected)) => {
                parts.store.token_for(parked.user, &parked.client_id, expected).await?.map(|old| old.id)
            }
            _ => None,
        };
        let Some(stored) =
            self.0.intake.save(received, Source::Parked { flow: parked.flow, replaces }).await?
        else {
            return Ok(None);
        };
        let ending =
            stored.ended.and_then(|(old, removed)| self.0.disconnects.ending(old, parked.user, removed));
        self.0.intake.welcome(received, stored.connection).await;
        if let Some(ending) = ending {
            ending.wait(Instant::now() + REVOKE_WAIT).await;
        }
        Ok(Some(parked.user))
    }

    /// Ends a grant that nobody wants.
    pub async fn discard(&self, flow: FlowId, code: FailureCode) -> Result<(), StoreError> {
        let parts = &self.0;
        if parts.store.end_parked(flow, code, parts.clock.now()).await? {
            tracing::warn!(flow = %flow, code = code.as_str(), "a connect has failed");
        }
        parts.notifier.wake(Key::Flow(flow));
        Ok(())
    }

    /// Ends the grants about which a user who leaves has said nothing.
    pub async fn discard_of(&self, user: UserId) -> Result<(), StoreError> {
        for flow in self.0.store.parked_of(user).await? {
            self.discard_at_last(flow, None).await;
        }
        Ok(())
    }

    /// Ends grants about which nobody has said anything in time.
    pub async fn end_forgotten_grants(&self, now: Moment) -> Result<(), StoreError> {
        for (flow, session) in self.0.store.expired_grants(now, AT_ONCE).await? {
            self.discard_at_last(flow, session).await;
        }
        Ok(())
    }

    /// One that cannot be ended does not keep the others, nor whoever wants to leave.
    async fn discard_at_last(&self, flow: FlowId, session: Option<ConnectSessionId>) {
        let ended = match session {
            Some(session) => {
                self.end_connect_session(session, Some(flow), FailureCode::NotConfirmed).await.map(|_| ())
            }
            None => self.discard(flow, FailureCode::WrongAccount).await,
        };
        if let Err(why) = ended {
            tracing::error!(flow = %flow, error = %why, "could not end a grant that nobody has chosen");
        }
    }

    /// Whether an attempt waits for its backend's word.
    pub async fn is_held(&self, request: &AuthRequest) -> Result<bool, StoreError> {
        match request.connect_session {
            Some(_) => Ok(self.0.store.parked_grant(request.id).await?.is_some()),
            None => Ok(false),
        }
    }

    /// Ends a connect session that has led to nothing yet, and the grant that waits for its word.
    pub async fn end_connect_session(
        &self,
        id: ConnectSessionId,
        flow: Option<FlowId>,
        code: FailureCode,
    ) -> Result<bool, StoreError> {
        let ended = self.0.store.cancel_connect_session(id, code, self.0.clock.now()).await?;
        if let Some(flow) = flow {
            self.0.notifier.wake(Key::Flow(flow));
        }
        Ok(ended)
    }
}
