//! Rows of WebhookEndpoint: who is told. The secrets are ciphertext here.

use super::db::Row;
use super::{Store, StoreError, Tx};
use crate::domain::clock::Moment;
use crate::domain::event::EventType;
use crate::domain::id::WebhookId;
use crate::domain::secret::Sealed;
use crate::domain::webhook::{DisabledReason, Endpoint, MAX_ENDPOINTS};

/// Changes of an endpoint; what is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct EndpointChanges {
    /// Where it is.
    pub url: Option<String>,
    /// What it hears of; `Some(None)` for all but refreshes.
    pub types: Option<Option<Vec<EventType>>>,
    /// Whether it is told.
    pub enabled: Option<bool>,
    /// New secrets and header fields, sealed for the generation after the one that was read.
    pub secrets: Option<Sealed>,
}

pub(super) const COLUMNS: &str = "id, url, types, enabled, disabled_reason, key_id, secrets_sealed, generation, \
    overlap_until, created_at";

impl Store {
    /// Saves a new endpoint. `false` if there are as many as there may be.
    pub async fn add_endpoint(&self, endpoint: Endpoint) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let endpoint = endpoint.clone();
            Box::pin(async move { insert(tx, &endpoint).await })
        })
        .await
    }

    /// All endpoints, in the order in which they were made.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM webhook_endpoint ORDER BY created_at, id");
        self.all(&sql, []).await?.iter().map(read).collect()
    }

    /// One endpoint.
    pub async fn endpoint(&self, id: WebhookId) -> Result<Option<Endpoint>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM webhook_endpoint WHERE id = $1");
        self.one(&sql, [id.to_string().into()]).await?.map(|row| read(&row)).transpose()
    }

    /// Changes an endpoint that still has the secrets of this generation: only what is named, in one statement, so that
    /// two changes at once lose neither. Whoever has stopped it keeps the reason. `None` if it is gone or has other
    /// secrets by now.
    pub async fn change_endpoint(
        &self,
        id: WebhookId,
        generation: i64,
        changes: EndpointChanges,
    ) -> Result<Option<Endpoint>, StoreError> {
        self.write(move |tx| {
            let sql = format!(
                "UPDATE webhook_endpoint SET url = COALESCE($2, url), \
                 types = CASE WHEN $3 = 1 THEN $4 ELSE types END, enabled = COALESCE($5, enabled), \
                 disabled_reason = CASE WHEN $5 = 1 THEN NULL \
                 WHEN $5 = 0 AND (enabled = 1 OR disabled_reason IS NULL) THEN 'by_request' ELSE disabled_reason END, \
                 key_id = COALESCE($7, key_id), secrets_sealed = COALESCE($8, secrets_sealed), \
                 generation = generation + CASE WHEN $8 IS NULL THEN 0 ELSE 1 END \
                 WHERE id = $1 AND generation = $6 RETURNING {COLUMNS}"
            );
            let types = changes.types.as_ref().and_then(Option::as_deref);
            let (key_id, ciphertext) = match &changes.secrets {
                Some(sealed) => (Some(sealed.key_id.clone()), Some(sealed.ciphertext.clone())),
                None => (None, None),
            };
            let values: [sea_orm::Value; 8] = [
                id.to_string().into(),
                changes.url.clone().into(),
                i64::from(changes.types.is_some()).into(),
                types.map(written).into(),
                changes.enabled.map(i64::from).into(),
                generation.into(),
                key_id.into(),
                ciphertext.into(),
            ];
            Box::pin(async move { tx.one(&sql, values).await?.map(|row| read(&row)).transpose() })
        })
        .await
    }

    /// Gives an endpoint new secrets, sealed for the generation after `generation`. `false` if it is gone or has others
    /// by now.
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
pub(super) async fn disable(tx: &Tx<'_>, id: WebhookId, reason: DisabledReason) -> Result<(), StoreError> {
    let sql = "UPDATE webhook_endpoint SET enabled = 0, disabled_reason = $2 WHERE id = $1 AND enabled = 1";
    tx.run(sql, [id.to_string().into(), reason.as_str().into()]).await.map(|_| ())
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
        disabled_reason: row.maybe("disabled_reason")?,
        secrets: row.sealed("key_id", "secrets_sealed")?,
        generation: row.get("generation")?,
        overlap_until: row.maybe_moment("overlap_until")?,
        created_at: row.moment("created_at")?,
    })
}
