//! Connect sessions: a host's backend names the user who connects, and may require its own confirmation.
//!
//! ```text
//!   open ──▶ connected                              a page of a listed origin started it, and the user consented
//!     └────▶ awaiting_confirmation ──▶ connected    the backend has confirmed the user
//!     └────▶ expired      └─────────▶ cancelled     the backend cancelled, named another user, or was silent for a week
//! ```
//!
//! The connection belongs to the host's user and to no browser session. So neither the browser in which the user
//! consented gains access by it, nor an attacker who made a user consent elsewhere: unless a page of the host, or our
//! own page for a link, is verified as the opener, nothing is connected (cross-user fixation, RFC 9700 section 4.7).

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use url::Url;

use super::rules::Rules;
use crate::domain::clock::Clock;
use crate::domain::connect_session::ConnectSessionStatus;
use crate::domain::external::ExternalUserId;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectSessionId, ConnectionId, PortalId};
use crate::domain::origin::{AllowedOrigins, Origin, ReturnUrl};
use crate::domain::project::ProjectId;
use crate::domain::random::Random;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;
use crate::hubspot::HubSpot;
use crate::services::connections::Terms;
use crate::services::pending_grants::{AcceptError, PendingGrants};
use crate::services::platform::{Base, Tasks, joined};
use crate::store::{
    ConnectSession, ConnectSessionFilter, ConnectStore, ConnectionStore, PendingGrant, PlatformStore,
    StoreError,
};

/// The lifetime of a session for a page, unless the backend sets another.
const PAGE_SESSION_LIFE: Duration = Duration::from_secs(1800);
/// The same for a hosted link, which is sent to an administrator.
const LINK_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The parameters of a new connect session.
#[derive(Debug, Default)]
pub struct NewSession {
    /// The project of the backend.
    pub project: ProjectId,
    /// The host's user; if missing, the owner of the connection to reconnect.
    pub external_id: Option<ExternalUserId>,
    /// The connection to reconnect.
    pub connection: Option<ConnectionId>,
    /// The required scopes, if other than the configured ones.
    pub scopes: Option<Scopes>,
    /// The scopes that the account may lack, if other than the configured ones.
    pub optional_scopes: Option<Scopes>,
    /// Whether connecting fails without all required scopes, if other than configured.
    pub require_scopes: Option<bool>,
    /// The only account that may be connected.
    pub portal_id: Option<PortalId>,
    /// The pages that may use the session, out of those of its project.
    pub allowed_origins: Option<Vec<String>>,
    /// The URL that the browser returns to at the end.
    pub return_url: Option<String>,
    /// The metadata that the host keeps with the connection, as JSON.
    pub metadata: Option<String>,
    /// The name of the requester, for the user who opens the hosted link.
    pub requested_by: Option<String>,
    /// Whether the backend has to confirm the connection. A session with a hosted link always requires that.
    pub confirm: bool,
    /// Whether the session has a hosted link, which another user may open.
    pub hosted: bool,
    /// The lifetime of the session.
    pub life: Option<Duration>,
}

/// A new session, as its backend receives it once.
#[derive(Debug)]
pub struct NewlyMade {
    /// The session.
    pub session: ConnectSession,
    /// The token for the page, which sends it in the body of a POST and nowhere else.
    pub token: Secret,
}

/// The reason for not creating a session.
#[derive(Debug, Error)]
pub enum SessionError {
    /// Neither a user nor a connection is named.
    #[error("no user was named")]
    NoUser,
    /// There is no such connection, it belongs to another user or to no user of the host, or its account is not known
    /// yet.
    #[error("the connection belongs to another user")]
    UnknownConnection,
    /// One of the origins is not listed in HOST_ORIGINS, or does not belong to the project.
    #[error("an origin is not listed")]
    OriginNotListed,
    /// The return URL is of no allowed origin.
    #[error("the return URL is not on a listed origin")]
    ReturnUrlNotAllowed,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session as its backend sees it.
#[derive(Debug)]
pub struct SessionView {
    /// The session.
    pub session: ConnectSession,
    /// The grant that awaits the backend's confirmation, if there is one.
    pub awaiting: Option<PendingGrant>,
}

/// The reason for not completing a session.
#[derive(Debug, Error)]
pub enum CompleteError {
    /// There is no such session.
    #[error("the connect session was not found")]
    Unknown,
    /// The user has not consented yet.
    #[error("the connect session is not authorized yet")]
    NotYet,
    /// The session has ended.
    #[error("the connect session has ended")]
    Ended,
    /// The session was created for another user: it is cancelled now, and its grant discarded.
    #[error("the connect session was created for another user")]
    Mismatch,
    /// The stored grant is sealed with a key that is not configured. The key may be configured again.
    #[error("the encryption key is missing")]
    KeyMissing,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Connect sessions. Clones share everything.
#[derive(Debug, Clone)]
pub struct ConnectSessions(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    connect_store: ConnectStore,
    connection_store: ConnectionStore,
    platform_store: PlatformStore,
    hubspot: Arc<HubSpot>,
    clock: Clock,
    random: Random,
    tasks: Tasks,
    rules: Arc<Rules>,
    pending_grants: PendingGrants,
}

impl ConnectSessions {
    pub(super) fn new(base: &Base, rules: &Arc<Rules>, pending_grants: &PendingGrants) -> Self {
        let Base { store, hubspot, clock, random, tasks, .. } = base.clone();
        let (rules, pending_grants) = (Arc::clone(rules), pending_grants.clone());
        Self(Arc::new(Parts {
            connect_store: store.connect,
            connection_store: store.connections,
            platform_store: store.platform,
            hubspot,
            clock,
            random,
            tasks,
            rules,
            pending_grants,
        }))
    }

    /// Creates a connect session.
    ///
    /// # Errors
    /// [`SessionError`] names the parameter that is not accepted.
    pub async fn create_connect_session(&self, new: NewSession) -> Result<NewlyMade, SessionError> {
        let parts = &self.0;
        let reconnected = match new.connection {
            Some(id) => Some(self.reconnectable(&new.project, id, new.external_id.as_ref()).await?),
            None => None,
        };
        let portal_id = reconnected.as_ref().map_or(new.portal_id, |(_, portal)| Some(*portal));
        let external_id =
            reconnected.map(|(owner, _)| owner).or(new.external_id).ok_or(SessionError::NoUser)?;
        let allowed_origins = self.listed(&new.project, new.allowed_origins).await?;
        if let Some(url) = &new.return_url {
            self.returnable(url, allowed_origins.as_ref())?;
        }
        let (project, user) = (new.project.clone(), external_id.clone());
        let user_id = parts.platform_store.user_of_external(project, user, &parts.random).await?;
        let (now, token) = (parts.clock.now(), Secret::random(&parts.random));
        let usual = if new.hosted { LINK_LIFE } else { PAGE_SESSION_LIFE };
        let session = ConnectSession {
            id: ConnectSessionId::at(now, &parts.random),
            token_hash: token.hash(),
            external_id,
            user_id,
            client_id: parts.hubspot.client_id().to_owned(),
            scopes: new.scopes.map(|scopes| scopes.with_oauth()),
            optional_scopes: new.optional_scopes,
            require_scopes: new.require_scopes.map(Into::into),
            portal_id,
            allowed_origins,
            return_url: new.return_url,
            metadata: new.metadata,
            requested_by: new.requested_by,
            confirm: (new.confirm || new.hosted).into(),
            hosted: new.hosted.into(),
            status: ConnectSessionStatus::Open,
            error_code: None,
            flow_id: None,
            connection_id: new.connection,
            created_at: now,
            expires_at: now.plus(new.life.unwrap_or(usual)),
            finished_at: None,
            opened_at: None,
            project_id: new.project,
        };
        parts.connect_store.insert_connect_session(session.clone()).await?;
        Ok(NewlyMade { session, token })
    }

    /// Returns the owner and the account of a connection to reconnect. Only the backend of its owner may ask for
    /// that.
    async fn reconnectable(
        &self,
        project: &ProjectId,
        id: ConnectionId,
        named: Option<&ExternalUserId>,
    ) -> Result<(ExternalUserId, PortalId), SessionError> {
        if self.0.connection_store.project_of(id).await?.as_ref() != Some(project) {
            return Err(SessionError::UnknownConnection);
        }
        let token = self.0.connection_store.token(id).await?.ok_or(SessionError::UnknownConnection)?;
        let owner = self.0.platform_store.external_of(token.user_id).await?;
        let owner = owner.filter(|owner| named.is_none_or(|named| named == owner));
        // Without an account, the reconnect could not be held to the same one.
        let account = token.portal_id.ok_or(SessionError::UnknownConnection)?;
        Ok((owner.ok_or(SessionError::UnknownConnection)?, account))
    }

    /// Returns the origins that may use a session: the named ones, if the project has them all.
    async fn listed(
        &self,
        project: &ProjectId,
        named: Option<Vec<String>>,
    ) -> Result<Option<AllowedOrigins>, SessionError> {
        // The project has just been deleted, and its origins with it.
        let project = self.0.platform_store.project(project).await?.ok_or(SessionError::OriginNotListed)?;
        let known = project.host_origins;
        let Some(named) = named else { return Ok(known) };
        let all = &self.0.rules.host_origins;
        let find = |origin: String| {
            all.find(&origin)
                .filter(|_| known.as_ref().is_none_or(|known| known.find(&origin).is_some()))
                .cloned()
        };
        let listed: Option<Vec<_>> = named.into_iter().map(find).collect();
        listed.map(|listed| Some(AllowedOrigins::new(listed))).ok_or(SessionError::OriginNotListed)
    }

    fn returnable(&self, url: &str, allowed: Option<&AllowedOrigins>) -> Result<(), SessionError> {
        let fits = |origin: &Origin| ReturnUrl::parse(url, origin).is_some();
        let found = allowed.unwrap_or(&self.0.rules.host_origins).iter().any(fits);
        if found { Ok(()) } else { Err(SessionError::ReturnUrlNotAllowed) }
    }

    /// Returns a session of this project, with the grant that awaits the backend's confirmation.
    pub async fn connect_session(
        &self,
        project: &ProjectId,
        id: ConnectSessionId,
    ) -> Result<Option<SessionView>, StoreError> {
        let found = self.0.connect_store.connect_session(id).await?;
        let Some(mut session) = found.filter(|session| session.project_id == *project) else {
            return Ok(None);
        };
        session.status = session.status_at(self.0.clock.now());
        let awaiting = match (session.status, session.flow_id) {
            (ConnectSessionStatus::AwaitingConfirmation, Some(flow)) => {
                self.0.connect_store.pending_grant(flow.into()).await?
            }
            _ => None,
        };
        Ok(Some(SessionView { session, awaiting }))
    }

    /// Returns the sessions that match the filter, newest first, at most `limit`.
    pub async fn connect_sessions(
        &self,
        filter: ConnectSessionFilter,
        limit: u32,
    ) -> Result<Vec<ConnectSession>, StoreError> {
        let now = self.0.clock.now();
        let mut sessions = self.0.connect_store.connect_sessions(filter, now, limit).await?;
        sessions.iter_mut().for_each(|session| session.status = session.status_at(now));
        Ok(sessions)
    }

    /// Confirms, for the host's backend, that this user is the one who consented. The backend names the user again,
    /// from the browser that it serves now. If that is another user, the session is cancelled: an attacker has tried
    /// to have one user consent for another.
    ///
    /// # Errors
    /// [`CompleteError`] names the reason; nothing is connected then.
    pub async fn complete_connect_session(
        &self,
        project: &ProjectId,
        id: ConnectSessionId,
        user: &ExternalUserId,
    ) -> Result<SessionView, CompleteError> {
        let view = self.connect_session(project, id).await?.ok_or(CompleteError::Unknown)?;
        let session = &view.session;
        let is_over =
            matches!(session.status, ConnectSessionStatus::Cancelled | ConnectSessionStatus::Expired);
        if *user != session.external_id {
            if !is_over && session.status != ConnectSessionStatus::Connected {
                tracing::warn!(session = %id, "connect session ended: completed for a different user");
                self.0
                    .pending_grants
                    .end_connect_session(id, session.flow_id, FailureCode::ExternalUserMismatch)
                    .await?;
            }
            return Err(CompleteError::Mismatch);
        }
        match session.status {
            ConnectSessionStatus::Connected => return Ok(view),
            ConnectSessionStatus::Open => return Err(CompleteError::NotYet),
            ConnectSessionStatus::Cancelled | ConnectSessionStatus::Expired => {
                return Err(CompleteError::Ended);
            }
            ConnectSessionStatus::AwaitingConfirmation => {}
        }
        let Some((flow, pending)) = session.flow_id.zip(view.awaiting) else {
            return self.connected_meanwhile(project, id).await;
        };
        let request = self.0.connect_store.flow_of_session(flow, id).await?.ok_or(CompleteError::Ended)?;
        let (pending_grants, session) = (self.0.pending_grants.clone(), view.session);
        let work = self.0.tasks.detach(async move {
            let terms = Terms::of(&request, session.user_id, Some(&session));
            pending_grants.accept(&pending, terms, None).await
        });
        match joined(work).await {
            Ok(Some(_)) => self.connect_session(project, id).await?.ok_or(CompleteError::Unknown),
            // The session has just been ended, or its grant cannot be opened.
            Ok(None) | Err(AcceptError::Damaged) => {
                self.0
                    .pending_grants
                    .end_connect_session(id, Some(flow), FailureCode::IntegrityError)
                    .await?;
                self.connected_meanwhile(project, id).await
            }
            Err(AcceptError::KeyMissing) => Err(CompleteError::KeyMissing),
            Err(AcceptError::Store(why)) => Err(why.into()),
        }
    }

    /// Returns the session that another request has completed, or an error if it was cancelled.
    async fn connected_meanwhile(
        &self,
        project: &ProjectId,
        id: ConnectSessionId,
    ) -> Result<SessionView, CompleteError> {
        let view = self.connect_session(project, id).await?.ok_or(CompleteError::Unknown)?;
        if view.session.status == ConnectSessionStatus::Connected {
            Ok(view)
        } else {
            Err(CompleteError::Ended)
        }
    }

    /// Cancels a session that is not connected yet, for the host's backend. `None` if there is no such session.
    pub(crate) async fn cancel_connect_session(
        &self,
        project: &ProjectId,
        id: ConnectSessionId,
    ) -> Result<Option<SessionView>, StoreError> {
        let Some(found) = self.connect_session(project, id).await? else { return Ok(None) };
        self.0.pending_grants.end_connect_session(id, found.session.flow_id, FailureCode::Cancelled).await?;
        self.connect_session(project, id).await
    }

    /// Returns the open session of a hosted link, for the user who opens it.
    pub(crate) async fn hosted_session(&self, token: &Secret) -> Result<Option<ConnectSession>, StoreError> {
        let found = self.0.connect_store.connect_session_of(token.hash()).await?;
        let now = self.0.clock.now();
        Ok(found.filter(|session| {
            session.hosted.is_set() && session.status_at(now) == ConnectSessionStatus::Open
        }))
    }

    /// Exchanges the token of a hosted link, once, for a token that only the page behind the link has: the link
    /// itself stays in mailboxes and in the browser's history.
    pub async fn open_link(&self, link: &Secret) -> Result<Option<Secret>, StoreError> {
        let page = Secret::random(&self.0.random);
        let opened = self.0.connect_store.open_link(link.hash(), page.hash(), self.0.clock.now()).await?;
        Ok(opened.then_some(page))
    }

    /// Returns the URL of a hosted link. The token is in the fragment, which browsers send to no server.
    pub(crate) fn hosted_link(&self, token: &Secret) -> Option<Url> {
        let base = Url::parse(self.0.rules.own_origin.as_str()).ok()?;
        let mut link = base.join("/connect").ok()?;
        link.set_fragment(Some(token.expose()));
        Some(link)
    }
}
