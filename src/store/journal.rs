//! Rows of JournalReader: how far HubSpot's Webhooks Journal is read, and the lease under which one process reads it.

use sea_orm::Value;

use super::{Store, StoreError, Tx};
use crate::crash;
use crate::domain::clock::Moment;
use crate::domain::id::UserId;
use crate::domain::journal::{LEASE, Notice, concerned_until};

/// The right to read the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalLease {
    /// The HubSpot app whose journal it is.
    pub client_id: String,
    /// Rises with every claim; whoever holds an older number has lost the lease.
    pub fence: i64,
    /// The offset of the entry that was read last; `None` before the first.
    pub position: Option<String>,
}

/// What reading an entry has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Advanced {
    /// For each connection that it concerns, whose it is.
    pub users: Vec<UserId>,
}

impl Store {
    /// Takes the lease on an app's journal, or takes it anew. `None` if another process has it.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; nothing is taken then.
    pub async fn claim_journal(
        &self,
        client_id: &str,
        owner: &str,
    ) -> Result<Option<JournalLease>, StoreError> {
        let (client_id, owner) = (client_id.to_owned(), owner.to_owned());
        self.write(move |tx| {
            let (client_id, owner) = (client_id.clone(), owner.clone());
            Box::pin(async move { claim(tx, client_id, owner).await })
        })
        .await
    }

    /// Notes how far the journal is read now, with what the entry meant for connections: both or nothing. The lease
    /// begins anew. `None` if it is another process's by now.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the entry is read again then.
    pub async fn advance_journal(
        &self,
        lease: &JournalLease,
        position: Option<String>,
        notices: Vec<Notice>,
    ) -> Result<Option<Advanced>, StoreError> {
        let lease = lease.clone();
        self.write(move |tx| {
            let (lease, position, notices) = (lease.clone(), position.clone(), notices.clone());
            Box::pin(async move { advance(tx, lease, position, &notices).await })
        })
        .await
    }
}

/// How many accounts one statement looks for.
const PAGE: usize = 500;

impl Store {
    /// Of these notices those about accounts that somebody has connected: an app may be uninstalled from thousands of
    /// others in a day.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn notices_of_known(
        &self,
        client_id: &str,
        notices: Vec<Notice>,
    ) -> Result<Vec<Notice>, StoreError> {
        let mut known = Vec::new();
        for page in notices.chunks(PAGE) {
            let places: Vec<_> = (2..=page.len() + 1).map(|at| format!("${at}")).collect();
            let sql = format!(
                "SELECT DISTINCT portal_id FROM token WHERE client_id = $1 AND state = 'active' AND portal_id IN ({})",
                places.join(", ")
            );
            let accounts = page.iter().map(|notice| Value::from(notice.portal_id.0));
            let rows = self.all(&sql, [Value::from(client_id)].into_iter().chain(accounts)).await?;
            let found: Vec<i64> =
                rows.iter().map(|row| row.get("portal_id")).collect::<Result<_, StoreError>>()?;
            known.extend(page.iter().copied().filter(|notice| found.contains(&notice.portal_id.0)));
        }
        Ok(known)
    }
}

async fn claim(tx: &Tx<'_>, client_id: String, owner: String) -> Result<Option<JournalLease>, StoreError> {
    let now = tx.now().await?;
    let sql = "INSERT INTO journal_reader (client_id, lease_owner, lease_until, fence) VALUES ($1, $2, $3, 1) \
               ON CONFLICT (client_id) DO UPDATE SET lease_owner = $2, lease_until = $3, \
               fence = journal_reader.fence + 1 \
               WHERE journal_reader.lease_until IS NULL OR journal_reader.lease_until <= $4 \
               OR journal_reader.lease_owner = $2 RETURNING fence, position";
    let values: [Value; 4] =
        [client_id.clone().into(), owner.into(), now.plus(LEASE).unix_ms().into(), now.unix_ms().into()];
    let Some(row) = tx.one(sql, values).await? else { return Ok(None) };
    Ok(Some(JournalLease { client_id, fence: row.get("fence")?, position: row.get("position")? }))
}

async fn advance(
    tx: &Tx<'_>,
    lease: JournalLease,
    position: Option<String>,
    notices: &[Notice],
) -> Result<Option<Advanced>, StoreError> {
    let now = tx.now().await?;
    let sql = "UPDATE journal_reader SET position = $3, lease_until = $4 WHERE client_id = $1 AND fence = $2";
    let until = now.plus(LEASE).unix_ms();
    let values: [Value; 4] =
        [lease.client_id.clone().into(), lease.fence.into(), position.into(), until.into()];
    if tx.run(sql, values).await? == 0 {
        return Ok(None);
    }
    crash::point("journal.half_stored");
    let mut advanced = Advanced::default();
    for notice in notices {
        announce(tx, &lease.client_id, *notice, now, &mut advanced).await?;
    }
    Ok(Some(advanced))
}

/// Which jobs a notice concerns: `$1` the account, `$2` the app, `$3` until when their tokens were received.
const CONCERNED: &str = "connection_id IN (SELECT id FROM token \
                         WHERE portal_id = $1 AND client_id = $2 AND state = 'active' AND obtained_at <= $3)";

/// Makes the refreshes due that a notice concerns, and notes that their refusal is announced. The time of a refresh that
/// is under way is left alone, and who waits after a failure keeps waiting: that is a minute where HubSpot has refused.
async fn announce(
    tx: &Tx<'_>,
    client_id: &str,
    notice: Notice,
    now: Moment,
    advanced: &mut Advanced,
) -> Result<(), StoreError> {
    let values = || -> [Value; 3] {
        [notice.portal_id.0.into(), client_id.into(), concerned_until(notice.at).unix_ms().into()]
    };
    // In the order of their ids, as all that changes several jobs at once.
    let jobs = format!(
        "SELECT connection_id FROM token_refresh_job WHERE {CONCERNED} ORDER BY connection_id {}",
        tx.for_update()
    );
    if tx.all(&jobs, values()).await?.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "UPDATE token_refresh_job SET announced_at = $5, run_at = CASE WHEN attempts = 0 AND run_at > $4 \
         AND (lease_until IS NULL OR lease_until <= $4) THEN $4 ELSE run_at END WHERE {CONCERNED} \
         RETURNING (SELECT user_id FROM token WHERE token.id = connection_id) AS user_id"
    );
    let times: [Value; 2] = [now.unix_ms().into(), notice.at.unix_ms().into()];
    let rows = tx.all(&sql, values().into_iter().chain(times)).await?;
    for row in &rows {
        advanced.users.extend(row.maybe::<UserId>("user_id")?);
    }
    Ok(())
}
