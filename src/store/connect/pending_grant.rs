//! Rows of PendingGrant: hold, find, name, end.

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::domain::clock::Timestamp;
use crate::domain::event::InstallData;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectSessionId, ConnectionId, InstallId, PendingGrantId, PortalId, UserId};
use crate::domain::pending_grant::GrantSource;
use crate::store::connect::auth_request;
use crate::store::connect::connect_session;
use crate::store::connections::revocation;
use crate::store::entity::pending_grant::{ActiveModel, Column, Entity, Undecided};
use crate::store::entity::{claimed_install, columns};
use crate::store::webhooks::event;
use crate::store::{ClaimedInstall, ConnectStore, PendingGrant, RevocationJob, StoreError, Tx};

impl ConnectStore {
    /// Holds a grant until a decision is made, and keeps its flow open until then. An install replaces an older one of
    /// the same account. Returns `false` if the grant's connect session awaits a decision on another grant, or has
    /// ended: then nothing is held.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails: the tokens are still only in memory, so retry.
    pub async fn hold_grant(&self, grant: PendingGrant) -> Result<bool, StoreError> {
        self.db.write(move |tx| Box::pin(hold(tx, grant.clone()))).await
    }

    /// Returns a pending grant.
    pub async fn pending_grant(&self, id: PendingGrantId) -> Result<Option<PendingGrant>, StoreError> {
        self.db.find(Entity::find_by_id(id)).await
    }

    /// Returns grants whose time for a decision has ended, the oldest first.
    pub async fn expired_grants(&self, now: Timestamp, limit: u64) -> Result<Vec<Undecided>, StoreError> {
        let expired = Entity::find().filter(Column::ExpiresAt.lte(now));
        self.db.find_parts(expired.order_by_asc(Column::ExpiresAt).limit(limit)).await
    }

    /// Returns the pending grants of a user.
    pub async fn pending_grants_of(&self, user: UserId) -> Result<Vec<Undecided>, StoreError> {
        self.db.find_parts(Entity::find().filter(Column::UserId.eq(user))).await
    }

    /// Returns unclaimed installs of an app, of one account or of all, in order of their ids, after `after`.
    pub async fn waiting_installs(
        &self,
        client_id: &str,
        portal: Option<PortalId>,
        after: Option<InstallId>,
        now: Timestamp,
        limit: u64,
    ) -> Result<Vec<PendingGrant>, StoreError> {
        let mut waiting = Entity::find()
            .filter(Column::Source.eq(GrantSource::Marketplace))
            .filter(Column::ClientId.eq(client_id))
            .filter(Column::ExpiresAt.gt(now));
        if let Some(portal) = portal {
            waiting = waiting.filter(Column::PortalId.eq(portal));
        }
        if let Some(after) = after {
            waiting = waiting.filter(Column::Id.gt(PendingGrantId::from(after)));
        }
        self.db.find_all(waiting.order_by_asc(Column::Id).limit(limit)).await
    }

    /// Stores the names that HubSpot reports for the account of a pending grant.
    pub async fn name_pending_grant(
        &self,
        id: PendingGrantId,
        hub_domain: Option<String>,
        hub_user: Option<String>,
    ) -> Result<(), StoreError> {
        let named =
            ActiveModel { hub_domain: Set(hub_domain), hub_user: Set(hub_user), ..Default::default() };
        self.db.change(Entity::update_many().set(named).filter(Column::Id.eq(id))).await.map(|_| ())
    }

    /// Ends a pending grant, and fails its flow with this code. The grant is queued for revocation at HubSpot, unless a
    /// connection or another flow has the same one. Returns `false` if it is no longer pending.
    pub async fn end_pending_grant(
        &self,
        id: PendingGrantId,
        code: FailureCode,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.db.write(move |tx| Box::pin(end(tx, id, code, now))).await
    }

    /// Cancels a session that has no connection yet, with its pending grant, if any. Returns whether a pending
    /// grant has ended with it.
    pub async fn cancel_connect_session(
        &self,
        id: ConnectSessionId,
        code: FailureCode,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let Some(flow) = connect_session::cancel(tx, id, code, now).await? else {
                        return Ok(false);
                    };
                    match flow {
                        Some(flow) => end(tx, flow.into(), code, now).await,
                        None => Ok(false),
                    }
                })
            })
            .await
    }
}

/// Reads a pending grant inside a transaction, and keeps it pending until the transaction ends.
pub(in crate::store) async fn lock(
    tx: &Tx<'_>,
    id: PendingGrantId,
) -> Result<Option<PendingGrant>, StoreError> {
    tx.find_locked(Entity::find_by_id(id)).await
}

/// Deletes a grant whose tokens now belong to a connection, inside the transaction that stores the connection, and
/// finishes its flow. A claimed install is recorded, so that a repeated claim succeeds.
pub(in crate::store) async fn accepted(
    tx: &Tx<'_>,
    grant: PendingGrant,
    user_id: UserId,
    connection_id: ConnectionId,
    connected_at: Timestamp,
) -> Result<(), StoreError> {
    tx.change(Entity::delete_by_id(grant.id)).await?;
    if let Some(flow) = grant.flow() {
        return auth_request::connected(tx, flow, connection_id, connected_at).await;
    }
    let claimed = ClaimedInstall {
        id: grant.id.install(),
        client_id: grant.client_id,
        portal_id: grant.portal_id,
        user_id,
        connection_id,
        expires_at: grant.expires_at,
    };
    tx.insert_new(claimed).await.map(|_| ())
}

/// Ends the unclaimed installs of this account, except `but`, inside the transaction that makes them unnecessary.
pub(in crate::store) async fn end_installs(
    tx: &Tx<'_>,
    client_id: &str,
    portal: PortalId,
    but: Option<PendingGrantId>,
) -> Result<(), StoreError> {
    let waiting = Entity::find()
        .filter(Column::Source.eq(GrantSource::Marketplace))
        .filter(Column::ClientId.eq(client_id))
        .filter(Column::PortalId.eq(portal));
    for install in waiting.order_by_asc(Column::Id).all(&tx.db).await? {
        if Some(install.id) != but {
            end(tx, install.id, install.source.code_if_expired(), tx.clock.now()).await?;
        }
    }
    Ok(())
}

async fn hold(tx: &Tx<'_>, grant: PendingGrant) -> Result<bool, StoreError> {
    if let Some(session) = grant.connect_session_id
        && !connect_session::hold(tx, session, grant.id.flow()).await?
    {
        return Ok(false);
    }
    // It may have been written before, although the response was lost; an install may even have been claimed since.
    if grant.source == GrantSource::Marketplace {
        let claimed = claimed_install::Entity::find_by_id(grant.id.install());
        if claimed.one(&tx.db).await?.is_some() {
            return Ok(true);
        }
    }
    let is_new = tx.insert_new(grant.clone()).await?;
    if let Some(flow) = grant.flow() {
        auth_request::keep_open(tx, flow, grant.expires_at).await?;
    } else if is_new {
        let (install_id, portal_id) = (grant.id.install(), grant.portal_id);
        let expires_at = grant.expires_at.rfc3339();
        event::append_install(tx, InstallData { install_id, portal_id, expires_at }).await?;
        end_installs(tx, &grant.client_id, portal_id, Some(grant.id)).await?;
    }
    Ok(true)
}

async fn end(tx: &Tx<'_>, id: PendingGrantId, code: FailureCode, now: Timestamp) -> Result<bool, StoreError> {
    let Some(seen) = Entity::find_by_id(id).one(&tx.db).await? else { return Ok(false) };
    revocation::lock_grant(tx, &seen.refresh_fingerprint).await?;
    let sql = format!("DELETE FROM pending_grant WHERE id = $1 RETURNING {}", columns::<Entity>());
    let deleted = Entity::find().from_raw_sql(tx.statement(&sql, [id.into()]));
    let Some(grant) = deleted.one(&tx.db).await? else { return Ok(false) };
    if let Some(flow) = grant.flow() {
        auth_request::fail(tx, flow, code, now).await?;
    }
    if !revocation::is_in_use(tx, &grant.refresh_fingerprint).await? {
        let (refresh, fingerprint) = (grant.refresh(), grant.refresh_fingerprint);
        let orphan = RevocationJob::new(grant.connection_id, 1, grant.client_id, refresh, fingerprint, now);
        tx.insert_new(orphan).await?;
    }
    Ok(true)
}
