//! Rows of WebhookEndpoint: who is told. The secrets are ciphertext here.

use super::row::Row;
use super::{Store, StoreError, Tx};
use crate::domain::clock::Moment;
use crate::domain::event::EventType;
use crate::domain::id::WebhookId;
use crate::domain::secret::Sealed;
use crate::domain::webhook::{Endpoint, MAX_ENDPOINTS};

pub(super) const COLUMNS: &str = "id, url, types, enabled, disabled_reason, key_id, secrets_sealed, generation, \
    overlap_until, created_at";

impl Store {
    /// Saves a new endpoint. `false` if there are as many as there may be.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn add_endpoint(&self, endpoint: Endpoint) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let endpoint = endpoint.clone();
            Box::pin(async move { insert(tx, &endpoint).await })
        })
        .await
    }

    /// All endpoints, in the order in which they were made.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM webhook_endpoint ORDER BY created_at, id");
        self.all(&sql, []).await?.iter().map(read).collect()
    }

    /// One endpoint.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn endpoint(&self, id: WebhookId) -> Result<Option<Endpoint>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM webhook_endpoint WHERE id = $1");
        self.one(&sql, [id.to_string().into()]).await?.map(|row| read(&row)).transpose()
    }

    /// Changes where an endpoint is, what it hears of and whether it is told. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn save_endpoint(&self, endpoint: Endpoint) -> Result<Option<Endpoint>, StoreError> {
        self.write(move |tx| {
            let sql = format!(
                "UPDATE webhook_endpoint SET url = $2, types = $3, enabled = $4, disabled_reason = $5 \
                 WHERE id = $1 RETURNING {COLUMNS}"
            );
            let values: [sea_orm::Value; 5] = [
                endpoint.id.to_string().into(),
                endpoint.url.clone().into(),
                endpoint.types.as_deref().map(written).into(),
                i64::from(endpoint.enabled).into(),
                endpoint.disabled_reason.clone().into(),
            ];
            Box::pin(async move { tx.one(&sql, values).await?.map(|row| read(&row)).transpose() })
        })
        .await
    }

    /// Gives an endpoint new secrets, sealed for the generation after `generation`. `false` if it is gone or has others
    /// by now.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn save_endpoint_secrets(
        &self,
        id: WebhookId,
        generation: i64,
        secrets: Sealed,
        overlap_until: Option<Moment>,
    ) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let sql = "UPDATE webhook_endpoint SET key_id = $3, secrets_sealed = $4, overlap_until = $5, \
                       generation = generation + 1 WHERE id = $1 AND generation = $2";
            let values: [sea_orm::Value; 5] = [
                id.to_string().into(),
                generation.into(),
                secrets.key_id.clone().into(),
                secrets.ciphertext.clone().into(),
                overlap_until.map(Moment::unix_ms).into(),
            ];
            Box::pin(async move { Ok(tx.run(sql, values).await? == 1) })
        })
        .await
    }

    /// Removes an endpoint and its deliveries. `false` if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn remove_endpoint(&self, id: WebhookId) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let values = [id.to_string().into()];
            let sql = "DELETE FROM webhook_endpoint WHERE id = $1";
            Box::pin(async move { Ok(tx.run(sql, values).await? == 1) })
        })
        .await
    }
}

async fn insert(tx: &Tx<'_>, endpoint: &Endpoint) -> Result<bool, StoreError> {
    let sql = "INSERT INTO webhook_endpoint (id, url, types, key_id, secrets_sealed, created_at) \
               SELECT $1, $2, $3, $4, $5, $6 WHERE (SELECT COUNT(*) FROM webhook_endpoint) < $7";
    let most = i64::try_from(MAX_ENDPOINTS).unwrap_or(i64::MAX);
    let values: [sea_orm::Value; 7] = [
        endpoint.id.to_string().into(),
        endpoint.url.clone().into(),
        endpoint.types.as_deref().map(written).into(),
        endpoint.secrets.key_id.clone().into(),
        endpoint.secrets.ciphertext.clone().into(),
        endpoint.created_at.unix_ms().into(),
        most.into(),
    ];
    Ok(tx.run(sql, values).await? == 1)
}

/// Stops an endpoint inside a transaction, for this reason.
pub(super) async fn disable(tx: &Tx<'_>, id: WebhookId, reason: &'static str) -> Result<(), StoreError> {
    let sql = "UPDATE webhook_endpoint SET enabled = 0, disabled_reason = $2 WHERE id = $1 AND enabled = 1";
    tx.run(sql, [id.to_string().into(), reason.into()]).await.map(|_| ())
}

/// A list with a space before and behind each word, so that a whole word can be looked for.
fn written(types: &[EventType]) -> String {
    let words: String = types.iter().map(|kind| format!("{kind} ")).collect();
    format!(" {words}")
}

pub(super) fn read(row: &Row) -> Result<Endpoint, StoreError> {
    let types = row.get::<Option<String>>("types")?;
    Ok(Endpoint {
        id: row.parsed("id")?,
        url: row.get("url")?,
        // A word of a later release is none of ours.
        types: types.map(|words| words.split(' ').filter_map(|word| word.parse().ok()).collect()),
        enabled: row.get::<i64>("enabled")? != 0,
        disabled_reason: row.get("disabled_reason")?,
        secrets: row.sealed("key_id", "secrets_sealed")?,
        generation: row.get("generation")?,
        overlap_until: row.maybe_moment("overlap_until")?,
        created_at: row.moment("created_at")?,
    })
}
