//! Stores refreshed tokens: the most frequent write of all, so tokens that arrive together are written together.

use std::collections::HashSet;

use crate::crash;
use crate::domain::clock::Timestamp;
use crate::domain::event::EventType;
use crate::domain::id::ConnectionId;
use crate::domain::refresh_job::TokenRefreshJob;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Sealed;
use crate::store::connections::degraded_connections;
use crate::store::connections::refresh_job;
use crate::store::connections::token;
use crate::store::db::{parts, placeholders, values};
use crate::store::webhooks::event;
use crate::store::{ConnectionStore, StoreError, Tx, Work};

/// New tokens from a refresh, sealed for the generation after the one that was read.
#[derive(Debug, Clone)]
pub struct RefreshedTokens {
    /// The job under whose lease they were fetched.
    pub job: TokenRefreshJob,
    /// The generation that was read.
    pub generation: i64,
    /// The access token.
    pub access: Sealed,
    /// The refresh token, new or kept.
    pub refresh: Sealed,
    /// The keyed hash of the refresh token.
    pub refresh_fingerprint: String,
    /// The granted scopes, if HubSpot named them.
    pub scopes: Option<Scopes>,
    /// Whether they differ from the scopes of the connection when it was read.
    pub other_scopes: bool,
    /// Whether the scopes were unknown when it was read.
    pub first_scopes: bool,
    /// The time at which the access token was received.
    pub obtained_at: Timestamp,
    /// The expiry time of the access token.
    pub expires_at: Timestamp,
    /// The time of the next refresh.
    pub refresh_at: Timestamp,
}

const COLUMNS: usize = 9;

/// The number of endpoints, of any project, that subscribe to refreshes. A statement counts them once for all its rows.
const SUBSCRIBERS: &str = "(SELECT COUNT(*) FROM webhook_endpoint WHERE enabled = 1 \
                     AND types LIKE '% connection.refreshed %')";

/// Selects, of these connections, those whose project has such an endpoint.
const HAVE_SUBSCRIBERS: &str = "SELECT id FROM token WHERE EXISTS (SELECT 1 FROM webhook_endpoint WHERE enabled = 1 \
                                AND types LIKE '% connection.refreshed %' \
                                AND webhook_endpoint.project_id = token.project_id) AND id IN";

impl ConnectionStore {
    /// Stores refreshed tokens and reschedules the job. Returns `false` if the connection is deleted or has other
    /// tokens by now.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails: the tokens are still only in memory, so retry.
    pub async fn commit_refresh(&self, new: RefreshedTokens) -> Result<bool, StoreError> {
        self.refresh_commits.write(new).await
    }
}

/// Stores refreshed tokens, and returns for each whether it was stored: not if the connection is deleted or has other
/// tokens by now. No connection occurs twice, because a process refreshes it only once at a time.
///
/// Only the generation is compared, not the fence: if the lease was taken over, the new holder used the old refresh
/// token, so these tokens are the only valid ones. The connection works whatever response the new holder got, and the
/// raised fence rejects it.
pub(in crate::store) fn store_all<'a>(tx: &'a Tx<'a>, new: &'a [RefreshedTokens]) -> Work<'a, Vec<bool>> {
    Box::pin(async move {
        // In order of their ids, so that two replicas that write the same rows wait for each other instead of
        // deadlocking.
        let mut ordered: Vec<&RefreshedTokens> = new.iter().collect();
        ordered.sort_unstable_by_key(|one| one.job.connection_id);
        let other_scopes = with_other_scopes(tx, &ordered).await?;
        let stored = replace(tx, &ordered).await?;
        crash::point("refresh.half_stored");
        ordered.retain(|one| stored.ids.contains(&one.job.connection_id));
        for part in parts(tx.backend(), &ordered) {
            let due = part.iter().map(|one| (one.job.connection_id, one.refresh_at));
            refresh_job::schedule(tx, due).await?;
        }
        append_events(tx, &stored, &other_scopes).await?;
        for one in ordered.iter().filter(|one| one.first_scopes) {
            if let Some(granted) = &one.scopes {
                token::settle_scopes(tx, one.job.connection_id, granted).await?;
            }
        }
        Ok(new.iter().map(|one| stored.ids.contains(&one.job.connection_id)).collect())
    })
}

/// The indexed columns, set only for rows that differ from [`INDEXED_UNCHANGED`]: SQLite rewrites the index entry of
/// each column that a statement sets, even to the same value.
const INDEXED: &str =
    ", state = 'active', error_since = NULL, key_id = new.column3, refresh_fingerprint = new.column6";
const INDEXED_UNCHANGED: &str = "state = new.column10 AND error_since IS NULL AND key_id = new.column3 AND refresh_fingerprint = new.column6";

/// The result of a batch. The statement that writes also returns what must be reported: nearly always there is nothing,
/// and reporting then costs nothing.
#[derive(Default)]
struct Stored {
    ids: HashSet<ConnectionId>,
    /// Connections that were degraded or suspended.
    degraded_ids: Vec<ConnectionId>,
    /// Whether any endpoint subscribes to refreshes.
    has_subscribers: bool,
}

async fn append_events(
    tx: &Tx<'_>,
    stored: &Stored,
    other_scopes: &[ConnectionId],
) -> Result<(), StoreError> {
    if stored.has_subscribers {
        let sql = format!("{HAVE_SUBSCRIBERS} ({})", placeholders(tx.backend(), stored.ids.len()));
        let rows = tx.all(&sql, stored.ids.iter().map(|id| (*id).into())).await?;
        let subscribed = rows.iter().map(|row| row.get("id")).collect::<Result<Vec<_>, _>>()?;
        event::append_all(tx, EventType::ConnectionRefreshed, &subscribed, None).await?;
    }
    degraded_connections::recovered(tx, &stored.degraded_ids).await?;
    let other: Vec<_> = other_scopes.iter().copied().filter(|id| stored.ids.contains(id)).collect();
    event::append_all(tx, EventType::ConnectionScopesChanged, &other, None).await
}

/// Returns the connections whose scopes are about to change. Only those that differed when they were read are compared.
async fn with_other_scopes(tx: &Tx<'_>, new: &[&RefreshedTokens]) -> Result<Vec<ConnectionId>, StoreError> {
    let mut found = Vec::new();
    for one in new.iter().filter(|one| one.other_scopes) {
        let id = one.job.connection_id;
        if let Some(granted) = &one.scopes
            && token::scopes_differ(tx, id, Some(granted)).await?
        {
            found.push(id);
        }
    }
    Ok(found)
}

/// Replaces the tokens in two passes, each in order of the ids. If another transaction locks the rows in another order,
/// the database aborts one of the two, which is then retried.
async fn replace(tx: &Tx<'_>, new: &[&RefreshedTokens]) -> Result<Stored, StoreError> {
    let mut stored = Stored::default();
    for part in parts(tx.backend(), new) {
        set(tx, "", &format!("AND {INDEXED_UNCHANGED}"), part, &mut stored).await?;
    }
    let others: Vec<_> =
        new.iter().copied().filter(|one| !stored.ids.contains(&one.job.connection_id)).collect();
    for part in parts(tx.backend(), &others) {
        set(tx, INDEXED, "", part, &mut stored).await?;
    }
    Ok(stored)
}

/// Sets the tokens, and `more` columns, of connections that are unchanged since they were read and meet `condition`.
async fn set(
    tx: &Tx<'_>,
    more: &str,
    condition: &str,
    new: &[&RefreshedTokens],
    stored: &mut Stored,
) -> Result<(), StoreError> {
    // Both databases give the columns of a VALUES list these names. The tenth is a constant that SQLite does not
    // recognise as one: it must find the rows by their ids, not by the index of the state.
    let sql = format!(
        "UPDATE token SET generation = generation + 1, access_sealed = new.column4, refresh_sealed = new.column5, \
         obtained_at = new.column7, expires_at = new.column8, scopes = COALESCE(new.column9, scopes), \
         last_error = NULL {more} FROM ({}) AS new WHERE id = new.column1 AND generation = new.column2 {condition} \
         RETURNING id, degraded_since, {SUBSCRIBERS} AS heard",
        values(tx.backend(), new.len(), COLUMNS, ", 'active'")
    );
    for row in tx.all(&sql, new.iter().flat_map(|one| columns(one))).await? {
        let id = row.get("id")?;
        stored.ids.insert(id);
        stored.has_subscribers |= row.get::<i64>("heard")? != 0;
        if row.get::<Option<Timestamp>>("degraded_since")?.is_some() {
            stored.degraded_ids.push(id);
        }
    }
    Ok(())
}

fn columns(new: &RefreshedTokens) -> [sea_orm::Value; COLUMNS] {
    [
        new.job.connection_id.into(),
        new.generation.into(),
        new.refresh.key_id.clone().into(),
        new.access.ciphertext.clone().into(),
        new.refresh.ciphertext.clone().into(),
        new.refresh_fingerprint.clone().into(),
        new.obtained_at.into(),
        new.expires_at.into(),
        new.scopes.clone().into(),
    ]
}
