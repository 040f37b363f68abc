//! Saves a new connection: the Token, its TokenRefreshJob and the outcome of its AuthRequest, all or nothing.

use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter};

use crate::crash;
use crate::domain::clock::Timestamp;
use crate::domain::event::EventType;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PendingGrantId, UserId};
use crate::store::connect::auth_request;
use crate::store::connect::connect_session;
use crate::store::connect::pending_grant;
use crate::store::connections::refresh_job;
use crate::store::connections::revocation;
use crate::store::connections::revocation::Removed;
use crate::store::connections::token;
use crate::store::entity::token::{ActiveModel, Column, Entity};
use crate::store::webhooks::event;
use crate::store::{ConnectStore, StoreError, TokenRow, Tx};

/// New tokens, sealed for their connection and generation.
#[derive(Debug, Clone)]
pub struct NewTokens {
    /// The connection: either an existing one, with the generation after the one that was read, or a new one of
    /// generation 1. Unknown details do not overwrite those of an existing one.
    pub token: TokenRow,
    /// The time of the first refresh.
    pub refresh_at: Timestamp,
    /// The connect session that permits this one connection, if there is one.
    pub connect_session: Option<ConnectSessionId>,
    /// Whether the connection replaces all others of its user.
    pub is_only: bool,
}

/// The origin of new tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A code of this flow that was just exchanged.
    Exchange(FlowId),
    /// A pending grant that was accepted.
    Pending {
        /// The grant.
        id: PendingGrantId,
        /// The connection that it replaces.
        replaces: Option<ConnectionId>,
    },
    /// An import of the refresh token with this keyed hash, which HubSpot may have replaced by now.
    Import(String),
}

/// The result of saving new tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// They are stored. Contains the result of removing the connection that they replace, if there was one.
    Done(Option<(ConnectionId, Removed)>),
    /// The connection has changed since it was read: seal for the new generation and retry.
    Stale,
    /// They are no longer pending (decided elsewhere, or expired), or their connect session has ended.
    Gone,
}

impl ConnectStore {
    /// Saves a new connection or reconnects one, with its job, and finishes its flow or grant.
    pub async fn save_connected(&self, source: Source, tokens: NewTokens) -> Result<Saved, StoreError> {
        self.db.write(move |tx| Box::pin(save(tx, source.clone(), tokens.clone()))).await
    }
}

async fn save(tx: &Tx<'_>, source: Source, tokens: NewTokens) -> Result<Saved, StoreError> {
    // The session is locked before its grant, as in every transaction that ends a session, to avoid deadlocks.
    let session = match tokens.connect_session {
        Some(id) => match connect_session::lock(tx, id).await? {
            Some(session) => Some(session),
            None => return Ok(Saved::Gone),
        },
        None => None,
    };
    let pending = match &source {
        Source::Pending { id, .. } => match pending_grant::lock(tx, *id).await? {
            Some(grant) => Some(grant),
            None => return Ok(Saved::Gone),
        },
        Source::Exchange(_) | Source::Import(_) => None,
    };
    let mut token = tokens.token;
    if let Some(grant) = &pending {
        // HubSpot reported them while the grant was pending; the access token for asking again may have expired since.
        token.hub_domain.clone_from(&grant.hub_domain);
        token.hub_user.clone_from(&grant.hub_user);
    }
    let token = &token;
    if tokens.is_only {
        lock_user(tx, token.user_id).await?;
    }
    if !put(tx, token).await? {
        return Ok(Saved::Stale);
    }
    crash::point("callback.half_stored");
    let connection = token.id;
    refresh_job::schedule(tx, [(connection, tokens.refresh_at)].into_iter()).await?;
    if let Some(session) = session {
        connect_session::take(tx, session, connection).await?;
    }
    if let Some(grant) = pending {
        pending_grant::accepted(tx, grant, token.user_id, connection, token.connected_at).await?;
    }
    // The user is present, so unclaimed installs of this account are unnecessary. An import does not show that.
    if let Some(portal) = token.portal_id
        && !matches!(source, Source::Import(_))
    {
        pending_grant::end_installs(tx, &token.client_id, portal, None).await?;
    }
    let replaced = match source {
        Source::Exchange(flow) => {
            auth_request::connected(tx, flow, connection, token.connected_at).await?;
            None
        }
        Source::Import(brought) => {
            let imported = ActiveModel { imported_fingerprint: Set(Some(brought)), ..Default::default() };
            tx.change(Entity::update_many().set(imported).filter(Column::Id.eq(connection))).await?;
            None
        }
        Source::Pending { replaces, .. } => replaces.filter(|old| *old != connection),
    };
    let remove = async |old| revocation::remove_because(tx, old, true, tx.clock.now(), "replaced").await;
    let replaced = match replaced {
        Some(old) => Some((old, remove(old).await?)),
        None => None,
    };
    if tokens.is_only {
        for other in token::others_of_user(tx, token.user_id, connection).await? {
            remove(other).await?;
        }
    }
    Ok(Saved::Done(replaced))
}

/// Locks a user until the transaction ends, so that of two connections that are saved concurrently, one sees the other.
/// A user of a browser session has no row to lock.
async fn lock_user(tx: &Tx<'_>, user: UserId) -> Result<(), StoreError> {
    if tx.locks_rows() {
        let sql = "SELECT 1 AS locked FROM pg_advisory_xact_lock(hashtextextended($1, 0))";
        tx.one(sql, [user.into()]).await?;
    }
    Ok(())
}

/// Writes a connection and its event. Returns `false` if the connection has changed since it was read.
async fn put(tx: &Tx<'_>, token: &TokenRow) -> Result<bool, StoreError> {
    let is_new = token.generation == 1;
    let granted = Some(&token.scopes).filter(|scopes| !scopes.is_empty());
    if !is_new {
        revocation::lock_with_grant(tx, token.id).await?;
    }
    let other_scopes = !is_new && token::scopes_differ(tx, token.id, granted).await?;
    let fits = if is_new { insert(tx, token).await? } else { reconnect(tx, token).await? };
    if !fits {
        return Ok(false);
    }
    let kind = if is_new { EventType::ConnectionCreated } else { EventType::ConnectionReconnected };
    event::append(tx, kind, token.id, None).await?;
    if other_scopes {
        event::append(tx, EventType::ConnectionScopesChanged, token.id, None).await?;
    }
    Ok(true)
}

/// Inserts a connection. Returns `false` if the user has already connected this account.
async fn insert(tx: &Tx<'_>, new: &TokenRow) -> Result<bool, StoreError> {
    let its_account = [Column::UserId, Column::ClientId, Column::PortalId];
    let row = Entity::insert(new.clone().into_active_model());
    Ok(tx.change(row.on_conflict_do_nothing_on(its_account)).await? == 1)
}

/// Replaces the tokens of a connection, clears its errors, and queues the revocation of the replaced grant unless it is
/// shared. Returns `false` if the connection has changed since it was read.
async fn reconnect(tx: &Tx<'_>, new: &TokenRow) -> Result<bool, StoreError> {
    let before = new.generation - 1;
    revocation::queue_replaced(tx, new.id, before, &new.refresh_fingerprint, new.obtained_at).await?;
    let reconnected = new.clone();
    let reconnected = ActiveModel {
        // If HubSpot has not named the scopes yet, the older ones stay, to be compared when it does.
        scopes: if reconnected.scopes.is_empty() { NotSet } else { Set(reconnected.scopes) },
        wanted_scopes: Set(reconnected.wanted_scopes),
        unsettled_scopes: Set(reconnected.unsettled_scopes),
        state: Set(reconnected.state),
        generation: Set(reconnected.generation),
        key_id: Set(reconnected.key_id),
        access_sealed: Set(reconnected.access_sealed),
        refresh_sealed: Set(reconnected.refresh_sealed),
        refresh_fingerprint: Set(reconnected.refresh_fingerprint),
        obtained_at: Set(reconnected.obtained_at),
        expires_at: Set(reconnected.expires_at),
        details_due_at: Set(reconnected.details_due_at),
        details_attempts: Set(0),
        last_error: Set(None),
        error_since: Set(None),
        degraded_since: Set(None),
        connected_at: Set(reconnected.connected_at),
        metadata: if reconnected.metadata.is_none() { NotSet } else { Set(reconnected.metadata) },
        ..Default::default()
    };
    let place = Entity::update_many().set(reconnected).filter(Column::Id.eq(new.id));
    Ok(tx.change(place.filter(Column::Generation.eq(before))).await? == 1)
}
