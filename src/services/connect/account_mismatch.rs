//! Another account than the expected one: nothing is overwritten. The grant waits until the person has said what is to
//! become of it.

use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use crate::domain::auth_request::{AuthRequest, FlowStatus};
use crate::domain::clock::Moment;
use crate::domain::connect_session::ConnectSession;
use crate::domain::connection::UnknownWord;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PortalId, UserId};
use crate::domain::secret::Secret;
use crate::hubspot::Grant;
use crate::keyring::{Context, OpenError};
use crate::services::Services;
use crate::services::connections::GrantedTokens;
use crate::services::connections::{Disconnected, REVOKE_WAIT};
use crate::services::platform::Key;
use crate::services::platform::{joined, retry_write};
use crate::store::{ParkedGrant, Source, StoreError};

/// How long a person may think about it.
const TIME_TO_CHOOSE: Duration = Duration::from_secs(600);
/// How long a backend may think about it: a person there may have to look.
const TIME_TO_CONFIRM: Duration = Duration::from_secs(24 * 3600);
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

impl Services {
    /// Parks a grant until the person has chosen, if it is for another account than the flow expected, or until the
    /// host's backend has confirmed it. `false` if that one wants none any more.
    pub(in crate::services) async fn park(
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

    /// What the person is asked about a flow, if anything.
    pub(in crate::services) async fn choice(
        &self,
        request: &AuthRequest,
    ) -> Result<Option<Choice>, StoreError> {
        let now = self.0.clock.now();
        let is_open = request.status_at(now) == FlowStatus::Exchanging && request.connect_session.is_none();
        let (Some(expected), true) = (request.portal_id, is_open) else {
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
    /// [`DecideError`] says why nothing has happened; the question stays open then.
    pub async fn decide(
        &self,
        flow: FlowId,
        binding: &Secret,
        user: Option<UserId>,
        decision: Decision,
    ) -> Result<Option<UserId>, DecideError> {
        let parts = &self.0;
        let Some(request) = parts.store.flow(flow, binding.hash()).await? else { return Ok(None) };
        if self.choice(&request).await?.is_none() {
            return Ok(None);
        }
        let Some(parked) = parts.store.parked_grant(flow).await? else { return Ok(None) };
        // Another user has logged in here meanwhile, or the session has ended: neither may decide on this user's
        // connections, nor open them.
        let allowed = match user {
            Some(user) => user == parked.user,
            None => self.may_sign_in(parked.user).await?,
        };
        if !allowed {
            return Err(DecideError::NotYours);
        }
        let services = self.clone();
        let work = parts.tasks.detach(async move {
            match decision {
                Decision::Back => {
                    services.give_back(flow, "wrong_account").await?;
                    Ok(None)
                }
                Decision::Keep | Decision::Switch => {
                    services.take_up(&request, &parked, None, decision).await
                }
            }
        });
        joined(work).await
    }

    pub(in crate::services) async fn take_up(
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
                self.give_back(parked.flow, "integrity_error").await?;
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
            self.connections.intake.save(received, Source::Parked { flow: parked.flow, replaces }).await?
        else {
            return Ok(None);
        };
        let ending = stored
            .ended
            .and_then(|(old, removed)| self.connections.disconnects.ending(old, parked.user, removed));
        self.connections.intake.welcome(received, stored.connection).await;
        if let Some(ending) = ending {
            ending.wait(Instant::now() + REVOKE_WAIT).await;
        }
        Ok(Some(parked.user))
    }

    /// Ends a grant that nobody wants.
    async fn give_back(&self, flow: FlowId, code: &'static str) -> Result<(), StoreError> {
        let parts = &self.0;
        if parts.store.end_parked(flow, code, parts.clock.now()).await? {
            tracing::warn!(flow = %flow, code, "a connect has failed");
        }
        parts.notifier.wake(Key::Flow(flow));
        Ok(())
    }

    /// Ends all connections of a user, and the grants that wait for the user's word.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; what has ended by then stays ended.
    pub async fn disconnect_all(&self, user: UserId, revoke: bool) -> Result<Vec<Disconnected>, StoreError> {
        self.give_back_of(user).await?;
        self.connections.disconnects.disconnect_all(user, revoke).await
    }

    /// Ends the grants about which a user who leaves has said nothing.
    pub(in crate::services) async fn give_back_of(&self, user: UserId) -> Result<(), StoreError> {
        for flow in self.0.store.parked_of(user).await? {
            self.give_back_at_last(flow, None).await;
        }
        Ok(())
    }

    /// Ends grants about which nobody has said anything in time.
    pub(in crate::services) async fn end_forgotten_grants(&self, now: Moment) -> Result<(), StoreError> {
        for (flow, session) in self.0.store.expired_grants(now, AT_ONCE).await? {
            self.give_back_at_last(flow, session).await;
        }
        Ok(())
    }

    /// One that cannot be ended does not keep the others, nor whoever wants to leave.
    async fn give_back_at_last(&self, flow: FlowId, session: Option<ConnectSessionId>) {
        let ended = match session {
            Some(session) => self.end_connect_session(session, Some(flow), "not_confirmed").await.map(|_| ()),
            None => self.give_back(flow, "wrong_account").await,
        };
        if let Err(why) = ended {
            tracing::error!(flow = %flow, error = %why, "could not end a grant that nobody has chosen");
        }
    }
}
