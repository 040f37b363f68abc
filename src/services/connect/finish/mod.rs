//! Finishes an authorization request when the browser returns from HubSpot.

mod session_authorization;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::pkce::open_pkce;
use super::sign_in::SignIns;
use crate::crash;
use crate::domain::auth_request::{AuthRequest, FlowState};
use crate::domain::clock::Clock;
use crate::domain::failure::FailureCode;
use crate::domain::id::{FlowId, UserId};
use crate::domain::random::Random;
use crate::domain::secret::Secret;
use crate::hubspot::HubSpot;
use crate::keyring::Keyring;
use crate::services::connections::{GrantedTokens, Intake, Terms};
use crate::services::pending_grants::PendingGrants;
use crate::services::platform::{Base, Key, Notifier, Tasks, joined, retry_write};
use crate::store::{ConnectStore, Consumed, Source, StoreError};
use crate::telemetry::metrics::Metrics;

/// The time for which a write is retried while the user waits.
const CONNECT_WRITE_RETRY: Duration = Duration::from_secs(10);

/// The parameters of the callback.
#[derive(Debug)]
pub struct FinishConnect {
    /// The state (RFC 6749 section 4.1.2).
    pub state: Secret,
    /// The binding, from the cookie of the authorization request.
    pub binding: Option<Secret>,
    /// The user of the browser session, if there is one.
    pub user: Option<UserId>,
    /// HubSpot's response.
    pub answer: Answer,
}

/// HubSpot's response to an authorization request.
#[derive(Debug)]
pub enum Answer {
    /// The authorization code.
    Code(Secret),
    /// The user denied access (`access_denied`).
    Denied,
    /// Any other error.
    Error,
}

/// A finished authorization request, finished now or before.
#[derive(Debug)]
pub struct Finished {
    /// The flow; [`Handoffs::outcome`](super::handoff::Handoffs::outcome) returns its outcome.
    pub flow: FlowId,
    /// The owner of the new connection: the browser session belongs to this user from now on.
    pub user: Option<UserId>,
    /// The URL that the browser returns to, if the authorization took place in the page's own window.
    pub return_to: Option<String>,
}

/// The reason for not finishing an authorization request.
#[derive(Debug, Error)]
pub enum FinishError {
    /// The state is unknown, or its authorization request was deleted long ago.
    #[error("the authorization request was not found")]
    StateUnknown,
    /// Another browser started the authorization request.
    #[error("another browser started the authorization request")]
    FlowNotYours,
    /// The database failed; the state is not consumed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The result of an authorization request that was finished just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FinishResult {
    Connected,
    /// The account is not the expected one, so the user is asked.
    Asking,
    /// The host's backend has to confirm.
    Held,
    Failed,
}

/// Finishes authorization requests. Clones share everything.
#[derive(Debug, Clone)]
pub struct Finishes(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    store: ConnectStore,
    hubspot: Arc<HubSpot>,
    keyring: Arc<Keyring>,
    clock: Clock,
    random: Random,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    notifier: Notifier,
    sign_ins: SignIns,
    intake: Intake,
    pending_grants: PendingGrants,
}

impl Finishes {
    pub(super) fn new(
        base: &Base,
        sign_ins: &SignIns,
        intake: &Intake,
        pending_grants: &PendingGrants,
    ) -> Self {
        let Base { store, hubspot, keyring, clock, random, metrics, tasks, notifier, .. } = base.clone();
        let (sign_ins, intake, pending_grants) = (sign_ins.clone(), intake.clone(), pending_grants.clone());
        Self(Arc::new(Parts {
            store: store.connect,
            hubspot,
            keyring,
            clock,
            random,
            metrics,
            tasks,
            notifier,
            sign_ins,
            intake,
            pending_grants,
        }))
    }

    /// Finishes an authorization request.
    ///
    /// # Errors
    /// [`FinishError`] if the authorization request is not this browser's to finish. Every other failure is an
    /// outcome of the request.
    pub async fn finish(&self, back: FinishConnect) -> Result<Finished, FinishError> {
        // Continues when the user closes the popup: a consumed state must be followed by its exchange, and a code can
        // be sent only once.
        let finishes = self.clone();
        let work = self.0.tasks.detach(async move { finishes.finish_all(back).await });
        joined(work).await
    }

    async fn finish_all(&self, back: FinishConnect) -> Result<Finished, FinishError> {
        let parts = &self.0;
        let binding = back.binding.as_ref().map(Secret::hash);
        let client_id = parts.hubspot.client_id();
        let now = parts.clock.now();
        let request =
            match parts.store.consume_auth_request(back.state.hash(), binding, client_id, now).await? {
                Consumed::Now(request) => *request,
                Consumed::Before(request) => {
                    let user = match back.user {
                        Some(_) => None,
                        None => parts.sign_ins.lost_session_of(&request).await?,
                    };
                    // While the exchange is running, or the user is being asked, the browser stays on our own page.
                    let ended = request.state_at(now) != FlowState::Exchanging;
                    let return_to = request.return_to().filter(|_| ended);
                    return Ok(Finished { flow: request.id, user, return_to });
                }
                Consumed::Expired(request) => {
                    return Ok(Finished { flow: request.id, user: None, return_to: request.return_to() });
                }
                Consumed::Over(flow) => return Ok(Finished { flow, user: None, return_to: None }),
                Consumed::NotYours => return Err(FinishError::FlowNotYours),
                Consumed::Unknown => return Err(FinishError::StateUnknown),
            };
        crash::point("callback.consumed");
        let (flow, return_to) = (request.id, request.return_to());
        let (end, owner) = match self.handle_answer(&request, back.answer, back.user).await {
            Ok((end, owner)) => (end, Some(owner)),
            Err(error) => (self.failed(flow, error).await, None),
        };
        if let (Some(session), FinishResult::Failed) = (request.connect_session, end) {
            self.note_failed_auth_request(session, flow).await;
        }
        Ok(Finished {
            flow,
            user: owner.filter(|_| end == FinishResult::Connected && request.connect_session.is_none()),
            return_to: return_to.filter(|_| end != FinishResult::Asking),
        })
    }

    /// Exchanges the authorization code, if HubSpot returned one, for the owner.
    async fn handle_answer(
        &self,
        request: &AuthRequest,
        answer: Answer,
        user: Option<UserId>,
    ) -> Result<(FinishResult, UserId), FailureCode> {
        let code = match answer {
            Answer::Code(code) => code,
            Answer::Denied => return Err(FailureCode::UserDenied),
            Answer::Error => return Err(FailureCode::ProviderError),
        };
        let owner = retry_write(CONNECT_WRITE_RETRY, || self.owner(request, user)).await;
        let owner = owner.map_err(|_| FailureCode::StorageUnavailable)?;
        Ok((self.exchange(request, &code, owner).await?, owner))
    }

    /// Returns the owner of the new connection: the session's user, or else the user that the request was started for.
    ///
    /// If the session has ended in the meantime, a new user owns the connection. The cookie of the request outlives the
    /// session: the next user of the computer could finish the request with an account of their own, and must not get
    /// the older connections with it.
    async fn owner(&self, request: &AuthRequest, user: Option<UserId>) -> Result<UserId, StoreError> {
        let begun_for = request.user_id;
        match user {
            // A request that a backend started for a user of the host belongs to that user, in any browser.
            _ if request.connect_session.is_some() => Ok(begun_for),
            Some(user) => Ok(user),
            None if self.0.sign_ins.may_sign_in(begun_for).await? => Ok(begun_for),
            None => Ok(UserId::at(self.0.clock.now(), &self.0.random)),
        }
    }

    async fn failed(&self, flow: FlowId, error: FailureCode) -> FinishResult {
        tracing::warn!(flow = %flow, code = error.as_str(), "authorization failed");
        self.0.metrics.flows.failed(error);
        let now = self.0.clock.now();
        let noted =
            retry_write(CONNECT_WRITE_RETRY, || self.0.store.fail_auth_request(flow, error, now)).await;
        if let Err(why) = noted {
            tracing::error!(flow = %flow, error = %why, "failed to record a failed authorization");
        }
        self.0.notifier.wake(Key::Flow(flow));
        FinishResult::Failed
    }

    async fn exchange(
        &self,
        request: &AuthRequest,
        code: &Secret,
        owner: UserId,
    ) -> Result<FinishResult, FailureCode> {
        let parts = &self.0;
        let session = self.session_of(request).await?;
        let pkce = open_pkce(&parts.keyring, request)?;
        let asked_at = parts.clock.now();
        let grant = parts
            .hubspot
            .exchange(code, &request.redirect_uri, pkce.as_ref())
            .await
            .map_err(|failure| failure.code)?;
        crash::point("callback.answered");
        let grant = parts.intake.complete(grant).await;
        let refresh = grant.refresh.as_ref().ok_or(FailureCode::NoRefreshToken)?;
        parts.intake.refuse_missing_scopes(&request.scopes, session.as_ref(), &grant, refresh).await?;
        let received = GrantedTokens {
            flow: Some(request.id),
            client_id: &request.client_id,
            grant: &grant,
            refresh,
            portal: grant.portal_id,
            at: asked_at,
            terms: Terms::of(request, owner, session.as_ref()),
        };
        if let Some(session) = &session {
            return self.finish_session(request, received, session).await;
        }
        if let (Some(expected), Some(portal)) = (request.portal_id, received.portal)
            && expected != portal
        {
            if parts.pending_grants.hold(request.id, received, portal).await.is_err() {
                parts.intake.revoke_unused(refresh).await;
                return Err(FailureCode::StorageUnavailable);
            }
            return Ok(FinishResult::Asking);
        }
        match parts.intake.save(received, Source::Exchange(request.id)).await {
            Ok(Some(stored)) => parts.intake.after_connected(received, stored.connection).await,
            Ok(None) | Err(_) => {
                parts.intake.revoke_unused(refresh).await;
                return Err(FailureCode::StorageUnavailable);
            }
        }
        Ok(FinishResult::Connected)
    }
}
