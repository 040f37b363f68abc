//! Rows that are sealed under an older key: find them, and replace their ciphertexts.

use crate::crash;
use crate::domain::secret::Sealed;
use crate::store::db::Row;
use crate::store::{PlatformStore, StoreError, Tx};

/// A table with ciphertext that must outlive its key. Tables whose ciphertext lives for at most a day are not listed:
/// PKCE verifiers, responses of idempotent requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedTable {
    /// Its name. Its primary key is the column `id`; the column `key_id` names the encryption key.
    pub name: &'static str,
    /// The column with its main secret.
    sealed: &'static str,
    /// The kind of that secret.
    pub kind: &'static str,
    /// The columns that its rows are sealed for: `bound_to`, `client_id`, `generation`; and `access_sealed`.
    bound: &'static str,
    /// Whether its rows stay when their encryption key is lost.
    pub(in crate::store) outlives_key: bool,
}

impl SealedTable {
    /// All such tables.
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

/// The secrets of a row, with the context that they are sealed for.
#[derive(Debug, Clone)]
pub struct SealedRow {
    /// The primary key of the row.
    pub key: String,
    /// The connection or endpoint that it is sealed for.
    pub bound_to: String,
    /// The generation that it is sealed for.
    pub generation: i64,
    /// The HubSpot app; empty if there is none.
    pub client_id: String,
    /// The access token, if the table has one.
    pub access: Option<Sealed>,
    /// The refresh token, or the table's other kind of secret ([`SealedTable::kind`]).
    pub refresh: Sealed,
}

impl PlatformStore {
    /// Returns rows that are sealed under another key than this one, in order of their primary keys, after `after`.
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

    /// Writes resealed secrets back. A row whose secrets have changed since they were read keeps them. Returns the
    /// number of written rows.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; then nothing is written.
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

    /// Deletes the check text of a key that is no longer used.
    pub async fn forget_check_text(&self, key_id: &str) -> Result<(), StoreError> {
        self.db.run("DELETE FROM crypto_meta WHERE key_id = $1", [key_id.into()]).await.map(|_| ())
    }
}

/// Writes a row if its ciphertext is unchanged: no two ciphertexts are equal, whatever they contain.
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
