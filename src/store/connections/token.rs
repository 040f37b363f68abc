//! Rows of Token: load, list, details, states.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, DbBackend, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::domain::clock::Timestamp;
use crate::domain::connection::StoredState;
use crate::domain::event::EventType;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectionId, PortalId, UserId};
use crate::domain::scopes::Scopes;
use crate::domain::token::Token;
use crate::store::connections::revocation;
use crate::store::db::{Row, placeholders, placeholders_from};
use crate::store::entity::columns;
use crate::store::entity::token::{ActiveModel, Column, Entity};
use crate::store::webhooks::event;
use crate::store::{ConnectionStore, StoreError, TokenRow, Tx};

/// An account's details, as HubSpot reports them. `None` leaves the stored value unchanged.
#[derive(Debug, Clone, Default)]
pub struct Details {
    /// The account.
    pub portal_id: Option<PortalId>,
    /// The customer's website.
    pub hub_domain: Option<String>,
    /// The e-mail address of the user who granted access.
    pub hub_user: Option<String>,
    /// The account's time zone.
    pub time_zone: Option<String>,
    /// The granted scopes.
    pub scopes: Option<Scopes>,
}

/// The number of connections that are suspended per statement.
const CONNECTIONS_PER_TRANSACTION: usize = 500;

impl ConnectionStore {
    /// Returns a connection of any user: for jobs and the command line. Browsers must use
    /// [`ConnectionStore::tokens_of`].
    pub async fn token(&self, id: ConnectionId) -> Result<Option<Token>, StoreError> {
        Ok(self.db.find(Entity::find_by_id(id)).await?.map(Token::from))
    }

    /// Returns a user's connections, the newest first, with the times of their next refreshes.
    pub async fn tokens_of(&self, user: UserId) -> Result<Vec<(Token, Option<Timestamp>)>, StoreError> {
        let sql = format!(
            "SELECT {}, job.run_at FROM token LEFT JOIN token_refresh_job AS job ON job.connection_id = id \
             WHERE user_id = $1 ORDER BY connected_at DESC, id",
            columns::<Entity>()
        );
        let rows = self.db.all(&sql, [user.into()]).await?;
        rows.iter().map(|row| Ok((row.model::<TokenRow>()?.into(), row.get("run_at")?))).collect()
    }

    /// Returns a version for each of these users, which changes with the result of [`ConnectionStore::tokens_of`].
    pub async fn connection_versions(&self, users: &[UserId]) -> Result<Vec<(UserId, u64)>, StoreError> {
        let sql = format!(
            "SELECT id, user_id, state, generation, connected_at, portal_id, hub_domain, time_zone, job.run_at \
             FROM token LEFT JOIN token_refresh_job AS job ON job.connection_id = id WHERE user_id IN ({})",
            placeholders(self.db.backend(), users.len())
        );
        let mut versions: HashMap<UserId, u64> = users.iter().map(|user| (*user, 0)).collect();
        for row in self.db.all(&sql, users.iter().map(|user| (*user).into())).await? {
            let mut hasher = DefaultHasher::new();
            let (id, state): (String, String) = (row.get("id")?, row.get("state")?);
            let (portal, domain): (Option<i64>, Option<String>) =
                (row.get("portal_id")?, row.get("hub_domain")?);
            let (zone, due): (Option<String>, Option<i64>) = (row.get("time_zone")?, row.get("run_at")?);
            let (generation, since): (i64, i64) = (row.get("generation")?, row.get("connected_at")?);
            (id, state, generation, since, portal, domain, zone, due).hash(&mut hasher);
            // A sum, because the order of the rows is not defined.
            let version = versions.entry(row.get("user_id")?).or_default();
            *version = version.wrapping_add(hasher.finish());
        }
        Ok(versions.into_iter().collect())
    }

    /// Returns the user's connection to this account, if any.
    pub async fn token_for(
        &self,
        user: UserId,
        client_id: &str,
        portal: PortalId,
    ) -> Result<Option<Token>, StoreError> {
        let query = Entity::find()
            .filter(Column::UserId.eq(user))
            .filter(Column::ClientId.eq(client_id))
            .filter(Column::PortalId.eq(portal));
        Ok(self.db.find(query).await?.map(Token::from))
    }

    /// Returns the user's connection that was created with this refresh token, by an import or otherwise.
    pub async fn imported(
        &self,
        user: UserId,
        client_id: &str,
        refresh_fingerprint: &str,
    ) -> Result<Option<ConnectionId>, StoreError> {
        let sql = "SELECT id FROM token WHERE user_id = $1 AND client_id = $2 \
                   AND (refresh_fingerprint = $3 OR imported_fingerprint = $3) LIMIT 1";
        let found = self.db.one(sql, [user.into(), client_id.into(), refresh_fingerprint.into()]).await?;
        found.map(|row| row.get("id")).transpose()
    }

    /// Returns whether a connection was imported with this refresh token, which HubSpot may have replaced since.
    pub async fn was_imported(&self, refresh_fingerprint: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 AS found FROM token WHERE imported_fingerprint = $1 LIMIT 1";
        Ok(self.db.one(sql, [refresh_fingerprint.into()]).await?.is_some())
    }

    /// Stores an account's details, and when to fetch the missing ones. If the same user turns out to have connected
    /// this account already, the older connection is removed.
    pub async fn save_details(
        &self,
        id: ConnectionId,
        details: Details,
        due: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        self.db.write(move |tx| Box::pin(save_details(tx, id, details.clone(), due))).await
    }

    /// Replaces the host's metadata of a connection.
    pub async fn set_metadata(&self, id: ConnectionId, metadata: Option<String>) -> Result<(), StoreError> {
        let changed = ActiveModel { metadata: Set(metadata), ..Default::default() };
        self.db.change(Entity::update_many().set(changed).filter(Column::Id.eq(id))).await.map(|_| ())
    }

    /// Returns connections whose details are due to be fetched.
    pub async fn details_due(&self, now: Timestamp, limit: u64) -> Result<Vec<Token>, StoreError> {
        let due = Entity::find().filter(Column::DetailsDueAt.lte(now)).order_by_asc(Column::DetailsDueAt);
        Ok(self.db.find_all(due.limit(limit)).await?.into_iter().map(Token::from).collect())
    }

    /// Suspends the other connections of this app to the same account whose tokens were received by `received_until`:
    /// the app was uninstalled. Returns the owner of each.
    pub async fn suspend_siblings(
        &self,
        id: ConnectionId,
        received_until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<UserId>, StoreError> {
        self.db.write(move |tx| Box::pin(suspend_siblings(tx, id, received_until, now))).await
    }

    /// Suspends a connection as damaged, if it still has the tokens of this generation. Nothing is deleted.
    pub async fn mark_damaged(
        &self,
        id: ConnectionId,
        generation: i64,
        error: FailureCode,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let lock = tx.for_update();
                    let sql =
                        format!("SELECT 1 AS found FROM token WHERE id = $1 AND generation = $2 {lock}");
                    match tx.one(&sql, [id.into(), generation.into()]).await? {
                        Some(_) => suspend(tx, id, StoredState::IntegrityError, error, now).await,
                        // It was reconnected in the meantime, and works.
                        None => Ok(()),
                    }
                })
            })
            .await
    }
}

async fn suspend_siblings(
    tx: &Tx<'_>,
    id: ConnectionId,
    received_until: Timestamp,
    now: Timestamp,
) -> Result<Vec<UserId>, StoreError> {
    let Some(own) = Entity::find_by_id(id).one(&tx.db).await? else { return Ok(Vec::new()) };
    let Some(portal) = own.portal_id else { return Ok(Vec::new()) };
    let siblings = Entity::find()
        .filter(Column::PortalId.eq(portal))
        .filter(Column::ClientId.eq(own.client_id))
        .filter(Column::Id.ne(id))
        .filter(Column::State.eq(StoredState::Active))
        .filter(Column::ObtainedAt.lte(received_until))
        .order_by_asc(Column::Id);
    // A token that is stored concurrently is not one of those that were revoked.
    let siblings = if tx.backend() == DbBackend::Postgres { siblings.lock_exclusive() } else { siblings };
    let siblings = siblings.all(&tx.db).await?;
    for page in siblings.chunks(CONNECTIONS_PER_TRANSACTION) {
        let ids: Vec<_> = page.iter().map(|sibling| sibling.id).collect();
        suspend_all(tx, &ids, StoredState::NeedsReauth, FailureCode::GrantDead, now).await?;
    }
    Ok(siblings.into_iter().map(|sibling| sibling.user_id).collect())
}

async fn save_details(
    tx: &Tx<'_>,
    id: ConnectionId,
    details: Details,
    due: Option<Timestamp>,
) -> Result<(), StoreError> {
    let sql = format!(
        "SELECT portal_id, hub_domain, generation, scopes, unsettled_scopes FROM token WHERE id = $1 {}",
        tx.for_update()
    );
    let Some(known) = tx.one(&sql, [id.into()]).await? else { return Ok(()) };
    // A connection that already has this account has been the only one since.
    let known_portal: Option<PortalId> = known.get("portal_id")?;
    let portal = details.portal_id.filter(|portal| known_portal != Some(*portal));
    if let Some(portal) = portal {
        let older = "SELECT CASE WHEN other.connected_at > self.connected_at THEN self.id ELSE other.id END AS id \
                     FROM token AS other JOIN token AS self ON self.id = $1 WHERE other.id <> self.id \
                     AND other.user_id = self.user_id AND other.client_id = self.client_id AND other.portal_id = $2";
        if let Some(row) = tx.one(older, [id.into(), portal.into()]).await? {
            let older = row.get("id")?;
            revocation::remove_because(tx, older, true, tx.clock.now(), "replaced").await?;
        }
    }
    // Scopes that HubSpot names for a new connection after its token response are not a change.
    let is_new = known.get::<i64>("generation")? == 1;
    let introduced = known.get::<Option<String>>("hub_domain")?.is_none();
    let hub_domain = details.hub_domain.clone().filter(|_| introduced);
    let changed = !is_new && differ(&known, details.scopes.as_ref())?;
    // The account is part of two indexes, so it is set only if it changes.
    let account = if portal.is_some() { ", portal_id = $7" } else { "" };
    let sql = format!(
        "UPDATE token SET hub_domain = COALESCE($2, hub_domain), hub_user = COALESCE($3, hub_user), \
         time_zone = COALESCE($4, time_zone), scopes = COALESCE($5, scopes), details_due_at = $6, \
         details_attempts = CASE WHEN $6 IS NULL THEN 0 ELSE details_attempts + 1 END{account} WHERE id = $1"
    );
    let values = [
        id.into(),
        details.hub_domain.into(),
        details.hub_user.into(),
        details.time_zone.into(),
        details.scopes.clone().into(),
        due.into(),
    ];
    let values = values.into_iter().chain(portal.map(Into::into));
    tx.run(&sql, values).await?;
    if let Some(domain) = hub_domain {
        event::release_created_event(tx, id, &domain).await?;
    }
    if changed {
        event::append(tx, EventType::ConnectionScopesChanged, id, None).await?;
    }
    match &details.scopes {
        Some(granted) if known.get::<Option<String>>("unsettled_scopes")?.is_some() => {
            settle_scopes(tx, id, granted).await
        }
        _ => Ok(()),
    }
}

/// Checks the required scopes of a connection that was stored before HubSpot had named the granted ones. If some are
/// missing, the connection is suspended.
pub(in crate::store) async fn settle_scopes(
    tx: &Tx<'_>,
    id: ConnectionId,
    granted: &Scopes,
) -> Result<(), StoreError> {
    let sql = "SELECT unsettled_scopes FROM token WHERE id = $1 AND unsettled_scopes IS NOT NULL";
    let Some(row) = tx.one(sql, [id.into()]).await? else { return Ok(()) };
    let missing = row.get::<Scopes>("unsettled_scopes")?.missing_from(granted);
    let sql = "UPDATE token SET unsettled_scopes = NULL WHERE id = $1";
    tx.run(sql, [id.into()]).await?;
    if missing.is_empty() {
        return Ok(());
    }
    suspend(tx, id, StoredState::NeedsReauth, FailureCode::ScopesMissing, tx.clock.now()).await
}

/// Returns the user's other connections.
pub(in crate::store) async fn others_of_user(
    tx: &Tx<'_>,
    user: UserId,
    own: ConnectionId,
) -> Result<Vec<ConnectionId>, StoreError> {
    let sql = "SELECT id FROM token WHERE user_id = $1 AND id <> $2 ORDER BY id";
    tx.all(sql, [user.into(), own.into()]).await?.iter().map(|row| row.get("id")).collect()
}

/// Returns whether a connection is known to have other scopes than these, in any order.
pub(in crate::store) async fn scopes_differ(
    tx: &Tx<'_>,
    id: ConnectionId,
    granted: Option<&Scopes>,
) -> Result<bool, StoreError> {
    if granted.is_none() {
        return Ok(false);
    }
    let sql = format!("SELECT scopes FROM token WHERE id = $1 {}", tx.for_update());
    match tx.one(&sql, [id.into()]).await? {
        Some(row) => differ(&row, granted),
        None => Ok(false),
    }
}

fn differ(row: &Row, granted: Option<&Scopes>) -> Result<bool, StoreError> {
    let known = row.granted_scopes("scopes")?;
    Ok(known.zip(granted).is_some_and(|(known, granted)| !known.is_same_as(granted)))
}

/// Suspends a connection: sets a state in which it is not refreshed, deletes its job, and reports it.
pub(in crate::store) async fn suspend(
    tx: &Tx<'_>,
    id: ConnectionId,
    state: StoredState,
    error: FailureCode,
    now: Timestamp,
) -> Result<(), StoreError> {
    suspend_all(tx, &[id], state, error, now).await
}

/// Suspends many connections.
async fn suspend_all(
    tx: &Tx<'_>,
    ids: &[ConnectionId],
    state: StoredState,
    error: FailureCode,
    now: Timestamp,
) -> Result<(), StoreError> {
    let all = || ids.iter().map(|id| (*id).into());
    // A suspended connection that works again, because of a late response, counts as recovered.
    let sql = format!(
        "UPDATE token SET state = $1, last_error = $2, error_since = COALESCE(error_since, $3), \
         degraded_since = COALESCE(degraded_since, $3), details_due_at = NULL WHERE state <> $1 AND id IN ({}) \
         RETURNING id",
        placeholders_from(tx.backend(), 3, ids.len())
    );
    let values = [state.into(), error.into(), now.into()].into_iter().chain(all());
    let rows = tx.all(&sql, values).await?;
    let suspended = rows.iter().map(|row| row.get("id")).collect::<Result<Vec<ConnectionId>, _>>()?;
    let jobs = placeholders(tx.backend(), ids.len());
    tx.run(&format!("DELETE FROM token_refresh_job WHERE connection_id IN ({jobs})"), all()).await?;
    if error == FailureCode::GrantDead {
        event::append_all(tx, EventType::ConnectionRevokedAtProvider, &suspended, None).await?;
    }
    event::append_all(tx, EventType::ConnectionNeedsReauth, &suspended, None).await
}
