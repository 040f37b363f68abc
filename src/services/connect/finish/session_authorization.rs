//! Authorization requests that started with a connect session: what follows the exchange.

use super::{FinishResult, Finishes};
use crate::domain::auth_request::AuthRequest;
use crate::domain::connect_session::ConnectSessionStatus;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectSessionId, FlowId};
use crate::services::connections::GrantedTokens;
use crate::services::platform::Key;
use crate::store::{ConnectSession, Source};

impl Finishes {
    /// Returns the connect session of an authorization request. If the request cannot succeed, it fails before the
    /// code is exchanged.
    pub(super) async fn session_of(
        &self,
        request: &AuthRequest,
    ) -> Result<Option<ConnectSession>, FailureCode> {
        let Some(id) = request.connect_session else { return Ok(None) };
        let found = self.0.store.connect_session(id).await;
        let found = found.map_err(|_| FailureCode::StorageUnavailable)?;
        // An authorization request that was started in time may end after the session has expired.
        let open = found.filter(|session| session.status == ConnectSessionStatus::Open);
        let session = open.ok_or(FailureCode::ConnectSessionEnded)?;
        // An attacker who can make a backend confirm could do so for a grant of another user. So the confirmation is
        // required in addition to the verification of the opener, and never replaces it.
        if request.opener_verification.is_none() {
            return Err(FailureCode::OpenerUnproven);
        }
        Ok(Some(session))
    }

    /// Connects the grant of a session, or holds it until the backend confirms.
    pub(super) async fn finish_session(
        &self,
        request: &AuthRequest,
        received: GrantedTokens<'_>,
        session: &ConnectSession,
    ) -> Result<FinishResult, FailureCode> {
        let outcome = self.finish_session_or_refuse(request, received, session).await;
        if outcome.is_err() {
            self.0.intake.revoke_unused(received.refresh).await;
        }
        outcome
    }

    async fn finish_session_or_refuse(
        &self,
        request: &AuthRequest,
        received: GrantedTokens<'_>,
        session: &ConnectSession,
    ) -> Result<FinishResult, FailureCode> {
        // A backend that names an account means that one: the user is not asked about another.
        if let Some(expected) = request.portal_id
            && received.portal != Some(expected)
        {
            return Err(if received.portal.is_some() {
                FailureCode::WrongAccount
            } else {
                FailureCode::ProviderUnavailable
            });
        }
        if session.confirm.is_set() {
            let portal = received.portal.ok_or(FailureCode::ProviderUnavailable)?;
            let held = self
                .0
                .pending_grants
                .hold(request.id, received, portal)
                .await
                .map_err(|_| FailureCode::StorageUnavailable)?;
            self.0.notifier.wake(Key::Flow(request.id));
            return if held { Ok(FinishResult::Held) } else { Err(FailureCode::ConnectSessionEnded) };
        }
        let saved = self
            .0
            .intake
            .save(received, Source::Exchange(request.id))
            .await
            .map_err(|_| FailureCode::StorageUnavailable)?;
        let stored = saved.ok_or(FailureCode::ConnectSessionEnded)?;
        self.0.intake.after_connected(received, stored.connection).await;
        Ok(FinishResult::Connected)
    }

    /// Records for the backend why an authorization request failed. The session stays open for another one.
    pub(super) async fn note_failed_auth_request(&self, id: ConnectSessionId, flow: FlowId) {
        if let Err(why) = self.0.store.note_failed_auth_request(id, flow).await {
            tracing::warn!(session = %id, error = %why, "failed to record a failed authorization on its connect session");
        }
    }
}
