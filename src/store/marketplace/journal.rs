//! Rows of JournalReader: the position in HubSpot's Webhooks Journal, and the lease under which one process reads it.

use std::collections::HashMap;

use sea_orm::{ColumnTrait, DbBackend, EntityTrait, FromQueryResult, QueryFilter, Value};

use crate::crash;
use crate::domain::clock::Timestamp;
use crate::domain::id::{ConnectionId, PortalId, UserId};
use crate::domain::journal::{JOURNAL_LEASE, Notice, concerned_until};
use crate::store::db::{placeholders, placeholders_from, values};
use crate::store::entity::journal_reader::{Column, Entity};
use crate::store::{MarketplaceStore, StoreError, Tx};

/// The maximum number of accounts or connections per statement.
const MAX_ROWS_PER_STATEMENT: usize = 500;

/// The lease on reading the journal.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct JournalLease {
    /// The HubSpot app that the journal belongs to.
    pub client_id: String,
    /// Incremented with every lease; the holder of an older number has lost the lease.
    pub fence: i64,
    /// The offset of the entry that was read last; `None` before the first.
    pub position: Option<String>,
}

/// The changes caused by an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Advanced {
    /// The owner of each affected connection.
    pub users: Vec<UserId>,
}

impl MarketplaceStore {
    /// Acquires or extends the lease on an app's journal. `None` if another process holds it.
    pub async fn acquire_journal(
        &self,
        client_id: &str,
        owner: &str,
    ) -> Result<Option<JournalLease>, StoreError> {
        let (client_id, owner) = (client_id.to_owned(), owner.to_owned());
        self.db.write(move |tx| Box::pin(acquire(tx, client_id.clone(), owner.clone()))).await
    }

    /// Stores the new position, together with the entry's effects on connections, and extends the lease. `None` if
    /// another process has the lease by now.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the entry is then read again.
    pub async fn advance_journal(
        &self,
        lease: &JournalLease,
        position: Option<String>,
        notices: Vec<Notice>,
    ) -> Result<Option<Advanced>, StoreError> {
        let lease = lease.clone();
        self.db.write(move |tx| Box::pin(advance(tx, lease.clone(), position.clone(), notices.clone()))).await
    }

    /// Returns the notices about accounts with connections here: an app may be uninstalled from thousands of other
    /// accounts in a day.
    pub async fn notices_of_known(
        &self,
        client_id: &str,
        notices: Vec<Notice>,
    ) -> Result<Vec<Notice>, StoreError> {
        let mut known = Vec::new();
        for page in notices.chunks(MAX_ROWS_PER_STATEMENT) {
            let sql = format!(
                "SELECT DISTINCT portal_id FROM token WHERE {}",
                of_accounts(self.db.backend(), page.len())
            );
            let rows = self.db.all(&sql, accounts(page, client_id)).await?;
            let found: Vec<PortalId> =
                rows.iter().map(|row| row.get("portal_id")).collect::<Result<_, StoreError>>()?;
            known.extend(page.iter().copied().filter(|notice| found.contains(&notice.portal_id)));
        }
        Ok(known)
    }
}

/// Returns the condition for connections of a number of accounts with one app; its values are those of [`accounts`].
fn of_accounts(backend: DbBackend, count: usize) -> String {
    let (accounts, app) = (placeholders(backend, count), placeholders_from(backend, count, 1));
    format!("portal_id IN ({accounts}) AND client_id = {app} AND state = 'active'")
}

fn accounts<'a>(page: &'a [Notice], client_id: &str) -> impl Iterator<Item = Value> + use<'a> {
    page.iter().map(|notice| Value::from(notice.portal_id)).chain([Value::from(client_id)])
}

async fn acquire(tx: &Tx<'_>, client_id: String, owner: String) -> Result<Option<JournalLease>, StoreError> {
    let now = tx.now().await?;
    let sql = "INSERT INTO journal_reader (client_id, lease_owner, lease_until, fence) VALUES ($1, $2, $3, 1) \
               ON CONFLICT (client_id) DO UPDATE SET lease_owner = $2, lease_until = $3, \
               fence = journal_reader.fence + 1 \
               WHERE journal_reader.lease_until IS NULL OR journal_reader.lease_until <= $4 \
               OR journal_reader.lease_owner = $2 RETURNING client_id, fence, position";
    let values = [client_id.into(), owner.into(), now.plus(JOURNAL_LEASE).into(), now.into()];
    tx.one(sql, values).await?.map(|row| row.model()).transpose()
}

async fn advance(
    tx: &Tx<'_>,
    lease: JournalLease,
    position: Option<String>,
    notices: Vec<Notice>,
) -> Result<Option<Advanced>, StoreError> {
    let now = tx.now().await?;
    let reader = Entity::update_many()
        .col_expr(Column::Position, position.into())
        .col_expr(Column::LeaseUntil, now.plus(JOURNAL_LEASE).into())
        .filter(Column::ClientId.eq(&lease.client_id))
        .filter(Column::Fence.eq(lease.fence));
    if tx.change(reader).await? == 0 {
        return Ok(None);
    }
    crash::point("journal.half_stored");
    let mut advanced = Advanced::default();
    for page in concerned(tx, &lease.client_id, &notices).await?.chunks(MAX_ROWS_PER_STATEMENT) {
        announce(tx, page, now, &mut advanced).await?;
    }
    Ok(Some(advanced))
}

/// A connection that a notice concerns.
struct Concerned {
    connection: ConnectionId,
    /// The time of the uninstall.
    at: Timestamp,
    /// The latest receipt time of tokens that the uninstall concerns.
    received_until: Timestamp,
}

/// Returns the connections that notices concern, in order of their ids: every transaction that locks several
/// connections does so in this order, because two of them could deadlock otherwise.
async fn concerned(tx: &Tx<'_>, client_id: &str, notices: &[Notice]) -> Result<Vec<Concerned>, StoreError> {
    let mut found = Vec::new();
    for page in notices.chunks(MAX_ROWS_PER_STATEMENT) {
        let by_account: HashMap<_, _> = page.iter().map(|notice| (notice.portal_id, notice.at)).collect();
        let sql = format!(
            "SELECT id, portal_id, obtained_at FROM token WHERE {}",
            of_accounts(tx.backend(), page.len())
        );
        for row in tx.all(&sql, accounts(page, client_id)).await? {
            let Some(at) = by_account.get(&row.get::<PortalId>("portal_id")?).copied() else { continue };
            let received_until = concerned_until(at);
            if row.get::<Timestamp>("obtained_at")? <= received_until {
                found.push(Concerned { connection: row.get("id")?, at, received_until });
            }
        }
    }
    found.sort_unstable_by_key(|one| one.connection);
    Ok(found)
}

/// Makes the refreshes of these connections due, and records the announced uninstall. A refresh in progress keeps its
/// time, and a job that waits after a failure keeps waiting: after an `invalid_grant`, that is a minute.
async fn announce(
    tx: &Tx<'_>,
    page: &[Concerned],
    now: Timestamp,
    advanced: &mut Advanced,
) -> Result<(), StoreError> {
    let jobs = format!(
        "SELECT connection_id FROM token_refresh_job WHERE connection_id IN ({}) ORDER BY connection_id {}",
        placeholders(tx.backend(), page.len()),
        tx.for_update()
    );
    tx.all(&jobs, page.iter().map(|one| one.connection.into())).await?;
    // Tokens that were stored since the selection are not concerned.
    let sql = format!(
        "UPDATE token_refresh_job SET announced_at = new.column2, run_at = CASE WHEN attempts = 0 AND run_at > {now} \
         AND (lease_until IS NULL OR lease_until <= {now}) THEN {now} ELSE run_at END FROM ({}) AS new \
         WHERE connection_id = new.column1 AND EXISTS (SELECT 1 FROM token WHERE token.id = connection_id \
         AND state = 'active' AND obtained_at <= new.column3) \
         RETURNING (SELECT user_id FROM token WHERE token.id = connection_id) AS user_id",
        values(tx.backend(), page.len(), 3, ""),
        now = now.unix_ms(),
    );
    let columns = page
        .iter()
        .flat_map(|one| -> [Value; 3] { [one.connection.into(), one.at.into(), one.received_until.into()] });
    for row in &tx.all(&sql, columns).await? {
        advanced.users.extend(row.get::<Option<UserId>>("user_id")?);
    }
    Ok(())
}
