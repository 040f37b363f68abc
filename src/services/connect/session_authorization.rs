//! Attempts to connect that began with a connect session: who may begin one, and what becomes of what HubSpot gives.

use crate::domain::auth_request::AuthRequest;
use crate::domain::connect_session::{ConnectSession, SessionStatus};
use crate::domain::id::{ConnectSessionId, FlowId};
use crate::domain::origin::Origin;
use crate::domain::secret::Secret;
use crate::services::connect::finish::End;
use crate::services::connections::GrantedTokens;
use crate::services::platform::Key;
use crate::services::{Services, StartError};
use crate::store::{Source, StoreError};

impl Services {
    /// The session behind a hosted link, for the person who has opened it.
    pub async fn hosted_session(&self, token: &Secret) -> Result<Option<ConnectSession>, StoreError> {
        let found = self.0.store.connect_session_of(token.hash()).await?;
        let now = self.0.clock.now();
        Ok(found.filter(|session| session.hosted && session.status_at(now) == SessionStatus::Open))
    }

    /// Exchanges the token of a hosted link, once, for a token that the page behind the link keeps to itself: the link
    /// stays in mailboxes and in the browser's history.
    pub async fn open_link(&self, link: &Secret) -> Result<Option<Secret>, StoreError> {
        let page = Secret::random(&self.0.chance);
        let opened = self.0.store.open_link(link.hash(), page.hash(), self.0.clock.now()).await?;
        Ok(opened.then_some(page))
    }

    /// The session that a page begins an attempt with. A hosted link is for our own page alone, once it is opened.
    pub(in crate::services) async fn session_for(
        &self,
        token: &Secret,
        page: &Origin,
    ) -> Result<ConnectSession, StartError> {
        let now = self.0.clock.now();
        let found = self.0.store.connect_session_of(token.hash()).await?;
        let open = found.filter(|session| {
            session.status_at(now) == SessionStatus::Open && session.client_id == self.0.hubspot.client_id()
        });
        let session = open.ok_or(StartError::SessionEnded)?;
        let own = *page == self.0.rules.own_origin;
        if !(if session.hosted { own } else { session.admits(page) }) {
            return Err(StartError::OriginNotAllowed);
        }
        if session.hosted && session.opened_at.is_none() {
            return Err(StartError::SessionEnded);
        }
        Ok(session)
    }

    /// The session of an attempt that has come back from HubSpot. Nothing is exchanged for one that can lead nowhere.
    pub(in crate::services) async fn session_of(
        &self,
        request: &AuthRequest,
    ) -> Result<Option<ConnectSession>, &'static str> {
        let Some(id) = request.connect_session else { return Ok(None) };
        let found = self.0.store.connect_session(id).await.map_err(|_| "storage_unavailable")?;
        // An attempt that began in time may end a little later.
        let open = found.filter(|session| session.status == SessionStatus::Open);
        let session = open.ok_or("connect_session_ended")?;
        // Whoever may have a backend confirm can do so for a grant that another person gave. So its word is something
        // that is asked for besides, and never instead.
        if request.evidence.is_none() {
            return Err("opener_unproven");
        }
        Ok(Some(session))
    }

    /// Connects what HubSpot has given for a session, or lets it wait for the backend's word.
    pub(in crate::services) async fn settle(
        &self,
        request: &AuthRequest,
        received: GrantedTokens<'_>,
        session: &ConnectSession,
    ) -> Result<End, &'static str> {
        let outcome = self.settle_or_refuse(request, received, session).await;
        if outcome.is_err() {
            self.connections.intake.end_unused(received.refresh).await;
        }
        outcome
    }

    async fn settle_or_refuse(
        &self,
        request: &AuthRequest,
        received: GrantedTokens<'_>,
        session: &ConnectSession,
    ) -> Result<End, &'static str> {
        // A backend that names an account means that one: nobody is asked about another.
        if let Some(expected) = request.portal_id
            && received.portal != Some(expected)
        {
            return Err(if received.portal.is_some() { "wrong_account" } else { "provider_unavailable" });
        }
        if session.confirm {
            let portal = received.portal.ok_or("provider_unavailable")?;
            let held = self.park(request.id, received, portal).await.map_err(|_| "storage_unavailable")?;
            self.0.notifier.wake(Key::Flow(request.id));
            return if held { Ok(End::Held) } else { Err("connect_session_ended") };
        }
        let saved = self
            .connections
            .intake
            .save(received, Source::Exchange(request.id))
            .await
            .map_err(|_| "storage_unavailable")?;
        let stored = saved.ok_or("connect_session_ended")?;
        self.connections.intake.welcome(received, stored.connection).await;
        Ok(End::Connected)
    }

    /// Notes for the backend why an attempt came to nothing. The session stays open for another one.
    pub(in crate::services) async fn note_failed_attempt(&self, id: ConnectSessionId, flow: FlowId) {
        let noted = self.0.store.note_failed_attempt(id, flow).await;
        if let Err(why) = noted {
            tracing::warn!(session = %id, error = %why, "could not note a failed attempt");
        }
    }

    /// Whether an attempt waits for its backend's word.
    pub(in crate::services) async fn is_held(&self, request: &AuthRequest) -> Result<bool, StoreError> {
        match request.connect_session {
            Some(_) => Ok(self.0.store.parked_grant(request.id).await?.is_some()),
            None => Ok(false),
        }
    }
}
