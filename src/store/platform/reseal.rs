//! Rows that are sealed under another key than the newest: find them, and write them back sealed anew.

use crate::crash;
use crate::domain::secret::Sealed;
use crate::store::db::Row;
use crate::store::{PlatformStore, StoreError, Tx};

/// A table with ciphertext that has to outlive its key. What is sealed for a day at most is not here: a PKCE verifier, the
/// answer to a repeated request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedTable {
    /// Its name. Its key is the column `id`, and the column `key_id` names the encryption key.
    pub name: &'static str,
    /// The column with its main secret.
    sealed: &'static str,
    /// What kind of secret that one is.
    pub kind: &'static str,
    /// How its rows say for what they are sealed: `bound_to`, `client_id`, `generation`; and their `access_sealed`.
    bound: &'static str,
    /// Whether its rows stay when their encryption key is lost for good.
    pub(in crate::store) outlives_key: bool,
}

impl SealedTable {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self {
            name: "token",
            sealed: "refresh_sealed",
            kind: "refresh",
            bound: "id AS bound_to, client_id, generation, access_sealed",
            outlives_key: true,
        },
        Self {
            name: "revocation_job",
            sealed: "refresh_sealed",
            kind: "refresh",
            bound: "connection_id AS bound_to, client_id, generation, NULL AS access_sealed",
            outlives_key: false,
        },
        Self {
            name: "pending_grant",
            sealed: "refresh_sealed",
            kind: "refresh",
            bound: "connection_id AS bound_to, client_id, CAST(1 AS bigint) AS generation, access_sealed",
            outlives_key: false,
        },
        Self {
            name: "webhook_endpoint",
            sealed: "secrets_sealed",
            kind: "webhook",
            bound: "id AS bound_to, '' AS client_id, generation, NULL AS access_sealed",
            outlives_key: true,
        },
    ];
}

/// A row's secrets, with all that they are bound to.
#[derive(Debug, Clone)]
pub struct SealedRow {
    /// The row's key in its table.
    pub key: String,
    /// The connection or the endpoint it is sealed for.
    pub bound_to: String,
    /// The generation it is sealed for.
    pub generation: i64,
    /// The HubSpot app; empty where there is none.
    pub client_id: String,
    /// The access token, where the table has one.
    pub access: Option<Sealed>,
    /// The refresh token, or what else the table seals ([`SealedTable::kind`]).
    pub refresh: Sealed,
}

impl PlatformStore {
    /// Rows that are sealed under another key than this one, by their keys, from after `after` on.
    pub async fn sealed_before(
        &self,
        table: SealedTable,
        newest: &str,
        after: &str,
        limit: u32,
    ) -> Result<Vec<SealedRow>, StoreError> {
        let SealedTable { name, sealed, bound, .. } = table;
        let sql = format!(
            "SELECT id AS row_key, {bound}, key_id, {sealed} AS main_sealed FROM {name} \
             WHERE key_id <> $1 AND key_id NOT LIKE 'lost/%' AND id > $2 ORDER BY id LIMIT $3"
        );
        let values = [newest.to_owned().into(), after.to_owned().into(), i64::from(limit).into()];
        self.db.all(&sql, values).await?.iter().map(read).collect()
    }

    /// Writes tokens back that were sealed anew. A row that has got others since they were read keeps those. Says how
    /// many were written.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; none is written then.
    pub async fn reseal(
        &self,
        table: SealedTable,
        rows: Vec<(SealedRow, SealedRow)>,
    ) -> Result<u64, StoreError> {
        self.db
            .write(move |tx| {
                let rows = rows.clone();
                Box::pin(async move {
                    let mut written = 0;
                    for (before, after) in &rows {
                        written += write(tx, table, before, after).await?;
                        crash::point("rotate.half_moved");
                    }
                    Ok(written)
                })
            })
            .await
    }

    /// Forgets the check text of a key that is not used any more.
    pub async fn forget_check_text(&self, key_id: &str) -> Result<(), StoreError> {
        self.db.run("DELETE FROM crypto_meta WHERE key_id = $1", [key_id.into()]).await.map(|_| ())
    }
}

/// The old ciphertext says whether the row is as it was: no two are alike, whatever they seal.
async fn write(
    tx: &Tx<'_>,
    table: SealedTable,
    before: &SealedRow,
    after: &SealedRow,
) -> Result<u64, StoreError> {
    let SealedTable { name, sealed, .. } = table;
    let access = if after.access.is_some() { ", access_sealed = $5" } else { "" };
    let sql = format!("UPDATE {name} SET key_id = $3, {sealed} = $4{access} WHERE id = $1 AND {sealed} = $2");
    let mut values: Vec<sea_orm::Value> = vec![
        before.key.clone().into(),
        before.refresh.ciphertext.clone().into(),
        after.refresh.key_id.clone().into(),
        after.refresh.ciphertext.clone().into(),
    ];
    values.extend(after.access.as_ref().map(|access| access.ciphertext.clone().into()));
    tx.run(&sql, values).await
}

fn read(row: &Row) -> Result<SealedRow, StoreError> {
    let key_id: String = row.get("key_id")?;
    let access: Option<String> = row.get("access_sealed")?;
    Ok(SealedRow {
        key: row.get("row_key")?,
        bound_to: row.get("bound_to")?,
        generation: row.get("generation")?,
        client_id: row.get("client_id")?,
        access: access.map(|ciphertext| Sealed { key_id: key_id.clone(), ciphertext }),
        refresh: row.sealed("key_id", "main_sealed")?,
    })
}
