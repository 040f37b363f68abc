//! New connections: seals and stores the tokens that HubSpot has granted.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::account_details::{AccountDetails, MissingDetails};
use crate::config::Config;
use crate::crash;
use crate::domain::auth_request::AuthRequest;
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::connection::StoredState;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectionId, FlowId, PortalId, UserId};
use crate::domain::project::ProjectId;
use crate::domain::random::Random;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;
use crate::domain::token::{RefreshPolicy, missing};
use crate::hubspot::{Grant, HubSpot};
use crate::keyring::{Context, Keyring};
use crate::services::platform::{Base, Changes, Key, Notifier, retry_write};
use crate::store::{
    ConnectSession, ConnectStore, ConnectionStore, NewTokens, Removed, Saved, Source, StoreError, TokenRow,
};
use crate::telemetry::metrics::Metrics;

/// The time for which a write is retried while the user waits.
const CONNECT_WRITE_RETRY: Duration = Duration::from_secs(10);
/// The same for an import.
const IMPORT_WRITE_RETRY: Duration = Duration::from_secs(24 * 3600);
/// The delay after which the background job asks for an account's details, if the callback has not done so.
const DETAILS_DELAY: Duration = Duration::from_secs(30);

/// The owner of a new connection, and the requested scopes.
#[derive(Debug, Clone, Copy)]
pub(in crate::services) struct Terms<'a> {
    pub owner: UserId,
    /// The owner's project.
    pub project: &'a ProjectId,
    pub scopes: &'a Scopes,
    pub optional_scopes: &'a Scopes,
    /// The connect session that started it.
    pub session: Option<&'a ConnectSession>,
    /// The metadata that the host keeps with the connection, as JSON.
    pub metadata: Option<&'a str>,
}

impl<'a> Terms<'a> {
    /// Returns the terms of an authorization request. Without a connect session, the owner belongs to the default
    /// project.
    pub fn of(request: &'a AuthRequest, owner: UserId, session: Option<&'a ConnectSession>) -> Self {
        static DEFAULT: LazyLock<ProjectId> = LazyLock::new(ProjectId::default);
        Self {
            owner,
            project: session.map_or(&DEFAULT, |session| &session.project_id),
            scopes: &request.scopes,
            optional_scopes: &request.optional_scopes,
            session,
            metadata: session.and_then(|session| session.metadata.as_deref()),
        }
    }
}

/// The tokens that HubSpot has granted, and their terms.
#[derive(Debug, Clone, Copy)]
pub(in crate::services) struct GrantedTokens<'a> {
    /// The authorization request; `None` for an install that started at HubSpot, and for an import.
    pub flow: Option<FlowId>,
    pub client_id: &'a str,
    pub grant: &'a Grant,
    pub refresh: &'a Secret,
    /// The account, if it is known.
    pub portal: Option<PortalId>,
    pub at: Timestamp,
    pub terms: Terms<'a>,
}

/// A stored connection.
#[derive(Debug)]
pub(in crate::services) struct Stored {
    pub connection: ConnectionId,
    /// The connection that it replaced, and what to do about that one's grant.
    pub ended: Option<(ConnectionId, Removed)>,
}

/// New connections. Clones share everything.
#[derive(Debug, Clone)]
pub(in crate::services) struct Intake(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    connect_store: ConnectStore,
    connection_store: ConnectionStore,
    hubspot: Arc<HubSpot>,
    keyring: Arc<Keyring>,
    clock: Clock,
    random: Random,
    metrics: Arc<Metrics>,
    notifier: Notifier,
    changes: Changes,
    policy: RefreshPolicy,
    details: AccountDetails,
    /// Whether a user has at most one connection.
    one_per_user: bool,
}

impl Intake {
    pub(super) fn new(base: &Base, config: &Config, details: &AccountDetails) -> Self {
        let Base { store, hubspot, keyring, clock, random, metrics, notifier, changes, .. } = base.clone();
        let details = details.clone();
        Self(Arc::new(Parts {
            connect_store: store.connect,
            connection_store: store.connections,
            hubspot,
            keyring,
            clock,
            random,
            metrics,
            notifier,
            changes,
            policy: config.refresh.policy,
            details,
            one_per_user: config.security.one_connection_per_user,
        }))
    }

    /// Fetches the account details of a stored connection and publishes it.
    pub(in crate::services) async fn after_connected(
        &self,
        received: GrantedTokens<'_>,
        connection: ConnectionId,
    ) {
        crash::point("callback.stored");
        let (parts, flow) = (&self.0, received.flow);
        parts.changes.forget(received.terms.owner);
        let portal = received.portal.map(|id| id.0);
        tracing::info!(flow = flow.map(tracing::field::display), connection = %connection, portal, "connected");
        parts.metrics.flows.connected.inc();
        // HubSpot returns no details for an expired token; the background job asks once there is a new one. A page
        // waits for the first response, whatever it is.
        let is_valid = received.at.plus(received.grant.expires_in) > parts.clock.now();
        if is_valid || flow.is_some() {
            parts
                .details
                .fetch_account_details(connection, &received.grant.access, MissingDetails::ALL, 0)
                .await;
        }
        crash::point("callback.introduced");
        parts.changes.publish(received.terms.owner);
        if let Some(flow) = flow {
            parts.notifier.wake(Key::Flow(flow));
        }
    }

    /// Asks token introspection for the account and the scopes of a grant if the token response lacks them. Without
    /// the account, a second account of the same user would look like a reconnect. If HubSpot does not answer, they
    /// stay unknown, and the background job asks again.
    pub(in crate::services) async fn complete(&self, mut grant: Grant) -> Grant {
        if grant.portal_id.is_some() && grant.scopes.is_some() {
            return grant;
        }
        if let Ok(identity) = self.0.hubspot.introspect(&grant.access).await {
            grant.portal_id = grant.portal_id.or(Some(identity.portal_id));
            grant.scopes = grant.scopes.or(identity.scopes);
        }
        grant
    }

    /// Refuses a grant that lacks required scopes, if the session or the configuration requires them all.
    pub(in crate::services) async fn refuse_missing_scopes(
        &self,
        required: &Scopes,
        session: Option<&ConnectSession>,
        grant: &Grant,
        refresh: &Secret,
    ) -> Result<(), FailureCode> {
        if !self.requires_scopes(session) || missing(required, grant.scopes.as_ref()).is_empty() {
            return Ok(());
        }
        self.revoke_unused(refresh).await;
        Err(FailureCode::ScopesMissing)
    }

    fn requires_scopes(&self, session: Option<&ConnectSession>) -> bool {
        let configured = self.0.hubspot.settings().require_all_scopes;
        session.and_then(ConnectSession::requires_scopes).unwrap_or(configured)
    }

    /// Revokes a grant that will not be used, unless a connection has the same one. No row remains from which to
    /// retry, so this is the only attempt.
    pub(in crate::services) async fn revoke_unused(&self, refresh: &Secret) {
        let parts = &self.0;
        match parts.connection_store.is_in_use(&parts.keyring.fingerprint(refresh)).await {
            Ok(false) => {}
            Ok(true) => return,
            Err(why) => {
                return tracing::error!(error = %why, "failed to check whether a grant is in use; grant kept");
            }
        }
        if let Err(failure) = parts.hubspot.revoke(refresh).await {
            tracing::warn!(code = failure.code.as_str(), "failed to revoke an unused grant");
        }
    }

    /// Seals the tokens for their row and saves them. If the row changes in the meantime, they are sealed again.
    /// `None` if they were pending and have been accepted or discarded since.
    pub(in crate::services) async fn save(
        &self,
        received: GrantedTokens<'_>,
        source: Source,
    ) -> Result<Option<Stored>, StoreError> {
        let parts = &self.0;
        // No user waits for an import, and HubSpot may have replaced the refresh token: the new one is stored nowhere
        // else.
        let retry_for =
            if matches!(source, Source::Import(_)) { IMPORT_WRITE_RETRY } else { CONNECT_WRITE_RETRY };
        loop {
            let known = match received.portal {
                Some(portal) => {
                    let find =
                        || parts.connection_store.token_for(received.terms.owner, received.client_id, portal);
                    retry_write(retry_for, find).await?
                }
                None => None,
            };
            let place = known.map_or((ConnectionId::at(received.at, &parts.random), 1), |token| {
                (token.id, token.generation + 1)
            });
            let tokens = self.seal(received, &source, place);
            let save = || parts.connect_store.save_connected(source.clone(), tokens.clone());
            match retry_write(retry_for, save).await? {
                Saved::Done(ended) => return Ok(Some(Stored { connection: place.0, ended })),
                Saved::Gone => return Ok(None),
                Saved::Stale => {}
            }
        }
    }

    fn seal(
        &self,
        received: GrantedTokens<'_>,
        source: &Source,
        (connection, generation): (ConnectionId, i64),
    ) -> NewTokens {
        let GrantedTokens { client_id, grant, refresh, portal, at, terms, .. } = received;
        let Terms { owner, project, scopes, optional_scopes, session, metadata } = terms;
        let parts = &self.0;
        let row = connection.to_string();
        let context = |kind| Context { kind, row: &row, generation, client_id };
        let (now, expires_at) = (parts.clock.now(), at.plus(grant.expires_in));
        // An import requires no scopes. The background job asks for its missing details, because it may be one of many.
        let is_import = matches!(source, Source::Import(_));
        let is_strict = self.requires_scopes(session) && !is_import;
        let access = parts.keyring.seal(&grant.access, context("access"));
        let sealed = parts.keyring.seal(refresh, context("refresh"));
        let token = TokenRow {
            id: connection,
            user_id: owner,
            client_id: client_id.to_owned(),
            portal_id: portal,
            hub_domain: None,
            hub_user: None,
            time_zone: None,
            scopes: grant.scopes.clone().unwrap_or_default(),
            wanted_scopes: scopes.and(optional_scopes),
            state: StoredState::Active,
            generation,
            key_id: sealed.key_id,
            access_sealed: access.ciphertext,
            refresh_sealed: sealed.ciphertext,
            refresh_fingerprint: parts.keyring.fingerprint(refresh),
            obtained_at: at,
            expires_at,
            last_error: None,
            error_since: None,
            details_due_at: Some(if is_import { now } else { now.plus(DETAILS_DELAY) }),
            details_attempts: 0,
            created_at: at,
            connected_at: now,
            degraded_since: None,
            metadata: metadata.map(str::to_owned),
            imported_fingerprint: None,
            unsettled_scopes: (is_strict && grant.scopes.is_none()).then(|| scopes.clone()),
            project_id: project.clone(),
        };
        let refresh_at = parts.policy.refresh_at(at, expires_at, parts.random.unit());
        NewTokens {
            token,
            refresh_at,
            connect_session: session.map(|session| session.id),
            // An import does not say which of a user's accounts is the one to keep.
            is_only: parts.one_per_user && !is_import,
        }
    }
}
