//! Rows of ApiKey: create, find by hash, list, revoke, note a use.

use super::db::Row;
use super::{Store, StoreError};
use crate::domain::api_key::{AT_ONCE, ApiKey, ApiScope};
use crate::domain::clock::Moment;
use crate::domain::id::ApiKeyId;
use crate::domain::secret::Hash;

const COLUMNS: &str = "id, name, scopes, created_at, last_used_at, revoked_at";

impl Store {
    /// Keeps a new key. `false` if as many of its name are in use already as may be.
    pub async fn insert_api_key(&self, key: ApiKey, hash: Hash) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let key = key.clone();
            Box::pin(async move {
                let lock = tx.for_update();
                let active = format!("SELECT id FROM api_key WHERE name = $1 AND revoked_at IS NULL {lock}");
                if tx.all(&active, [key.name.clone().into()]).await?.len() >= AT_ONCE {
                    return Ok(false);
                }
                let sql = "INSERT INTO api_key (id, name, key_hash, scopes, created_at) \
                           VALUES ($1, $2, $3, $4, $5)";
                let words: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
                let values = [
                    key.id.to_string().into(),
                    key.name.clone().into(),
                    hash.text().into(),
                    words.join(" ").into(),
                    key.created_at.unix_ms().into(),
                ];
                tx.run(sql, values).await.map(|_| true)
            })
        })
        .await
    }

    /// The key with this hash, unless it was revoked.
    pub async fn api_key(&self, hash: Hash) -> Result<Option<ApiKey>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM api_key WHERE key_hash = $1 AND revoked_at IS NULL");
        self.one(&sql, [hash.text().into()]).await?.map(|row| read(&row)).transpose()
    }

    /// All keys, revoked ones too, the oldest first.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM api_key ORDER BY created_at, id");
        self.all(&sql, []).await?.iter().map(read).collect()
    }

    /// Revokes a key; `false` if there is none that could be.
    pub async fn revoke_api_key(&self, id: ApiKeyId, now: Moment) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let sql = "UPDATE api_key SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
            let values = [id.to_string().into(), now.unix_ms().into()];
            Box::pin(async move { Ok(tx.run(sql, values).await? == 1) })
        })
        .await
    }

    /// Notes that a key was used.
    pub async fn touch_api_key(&self, id: ApiKeyId, now: Moment) -> Result<(), StoreError> {
        self.write(move |tx| {
            let sql = "UPDATE api_key SET last_used_at = $2 WHERE id = $1";
            let values = [id.to_string().into(), now.unix_ms().into()];
            Box::pin(async move { tx.run(sql, values).await.map(|_| ()) })
        })
        .await
    }
}

fn read(row: &Row) -> Result<ApiKey, StoreError> {
    let words: String = row.get("scopes")?;
    Ok(ApiKey {
        id: row.parsed("id")?,
        name: row.get("name")?,
        // A scope that only a later release knows is good for nothing here.
        scopes: words.split_whitespace().filter_map(|word| word.parse::<ApiScope>().ok()).collect(),
        created_at: row.moment("created_at")?,
        last_used_at: row.maybe_moment("last_used_at")?,
        revoked_at: row.maybe_moment("revoked_at")?,
    })
}
