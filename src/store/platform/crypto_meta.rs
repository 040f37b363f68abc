//! Rows of CryptoMeta: the keys that the stored rows need, and a known text sealed under each.

use std::collections::BTreeSet;

use sea_orm::{EntityTrait, Insert, IntoActiveModel};

use crate::domain::clock::Timestamp;
use crate::domain::event::EventType;
use crate::store::entity::crypto_meta;
use crate::store::webhooks::event;
use crate::store::{PlatformStore, SealedTable, StoreError, Tx};

/// The prefix of the id of a lost key, which is then no longer looked for.
const LOST_PREFIX: &str = "lost/";
/// The number of connections that are given up per transaction.
const ROWS_PER_TRANSACTION: u32 = 1_000;

impl PlatformStore {
    /// Returns the keys that rows are sealed under, each with the number of its rows.
    pub async fn keys_in_use(&self) -> Result<Vec<(String, i64)>, StoreError> {
        let keys = SealedTable::ALL.map(|table| format!("SELECT key_id FROM {}", table.name));
        let sql = format!(
            "SELECT key_id, COUNT(*) AS uses FROM ({}) AS sealed WHERE key_id NOT LIKE 'lost/%' \
             GROUP BY key_id ORDER BY key_id",
            keys.join(" UNION ALL ")
        );
        let rows = self.db.all(&sql, []).await?;
        rows.iter().map(|row| Ok((row.get("key_id")?, row.get("uses")?))).collect()
    }

    /// Returns the ids of the keys that rows are sealed under. Every start asks for them, so the query skips from key
    /// to key instead of reading each row.
    pub async fn key_ids_in_use(&self) -> Result<Vec<String>, StoreError> {
        let mut ids = BTreeSet::new();
        for SealedTable { name, .. } in SealedTable::ALL {
            let sql = format!("SELECT MIN(key_id) AS key_id FROM {name} WHERE key_id > $1");
            let mut seen = String::new();
            while let Some(row) = self.db.one(&sql, [seen.into()]).await?
                && let Some(key_id) = row.get::<Option<String>>("key_id")?
            {
                ids.insert(key_id.clone());
                seen = key_id;
            }
        }
        Ok(ids.into_iter().filter(|id| !id.starts_with(LOST_PREFIX)).collect())
    }

    /// Gives up the rows that are sealed under a lost key. Its connections are kept, and their users have to
    /// reconnect. Its revocations and pending grants can never be carried out, and are deleted. Returns the number of
    /// connections. Works page by page; after an interruption, another call continues.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; what was given up by then stays so.
    pub async fn give_up_key(&self, key_id: &str, now: Timestamp) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let key = key_id.to_owned();
            match self.db.write(move |tx| Box::pin(give_up_page(tx, key.clone(), now))).await? {
                0 => break,
                given_up => all += given_up,
            }
        }
        let key = key_id.to_owned();
        self.db.write(move |tx| Box::pin(forget_key(tx, key.clone()))).await?;
        Ok(all)
    }

    /// Returns the stored check text of a key.
    pub async fn check_text(&self, key_id: &str) -> Result<Option<String>, StoreError> {
        let known = self.db.find(crypto_meta::Entity::find_by_id(key_id)).await?;
        Ok(known.map(|meta| meta.check_sealed))
    }

    /// Stores the check text of a key that has none yet.
    pub async fn save_check_text(
        &self,
        key_id: &str,
        sealed: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (key_id, check_sealed) = (key_id.to_owned(), sealed.to_owned());
        let meta = crypto_meta::Model { key_id, check_sealed, created_at: now };
        let query = Insert::one(meta.into_active_model()).on_conflict_do_nothing();
        self.db.change(query).await.map(|_| ())
    }
}

async fn give_up_page(tx: &Tx<'_>, key_id: String, now: Timestamp) -> Result<u64, StoreError> {
    let page = format!("(SELECT id FROM token WHERE key_id = $1 ORDER BY id LIMIT {ROWS_PER_TRANSACTION})");
    let jobs = format!("DELETE FROM token_refresh_job WHERE connection_id IN {page}");
    tx.run(&jobs, [key_id.clone().into()]).await?;
    let tokens = format!(
        "UPDATE token SET state = 'needs_reauth', last_error = 'key_lost', \
         error_since = COALESCE(error_since, $2), degraded_since = COALESCE(degraded_since, $2), details_due_at = NULL, key_id = $3 \
         WHERE id IN {page} RETURNING id"
    );
    let lost = format!("{LOST_PREFIX}{key_id}");
    let rows = tx.all(&tokens, [key_id.into(), now.into(), lost.into()]).await?;
    let ids = rows.iter().map(|row| row.get("id")).collect::<Result<Vec<_>, _>>()?;
    event::append_all(tx, EventType::ConnectionNeedsReauth, &ids, None).await?;
    Ok(ids.len() as u64)
}

async fn forget_key(tx: &Tx<'_>, key_id: String) -> Result<(), StoreError> {
    let endpoints = "UPDATE webhook_endpoint SET enabled = 0, disabled_reason = 'key_lost', key_id = $2 \
                     WHERE key_id = $1";
    tx.run(endpoints, [key_id.clone().into(), format!("{LOST_PREFIX}{key_id}").into()]).await?;
    let gone = SealedTable::ALL.into_iter().filter(|table| !table.outlives_key).map(|table| table.name);
    for table in gone.chain(["crypto_meta"]) {
        tx.run(&format!("DELETE FROM {table} WHERE key_id = $1"), [key_id.clone().into()]).await?;
    }
    Ok(())
}
