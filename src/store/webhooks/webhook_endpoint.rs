//! Rows of WebhookEndpoint. Their secrets are ciphertext here.

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::domain::clock::Timestamp;
use crate::domain::event::EventTypes;
use crate::domain::id::WebhookId;
use crate::domain::project::ProjectId;
use crate::domain::secret::Sealed;
use crate::domain::webhook::{DisabledReason, MAX_ENDPOINTS};
use crate::store::entity::columns;
use crate::store::entity::flag::Flag;
use crate::store::entity::webhook_endpoint::{ActiveModel, Column, Entity};
use crate::store::{Endpoint, StoreError, Tx, WebhookStore};

/// The changes of an endpoint; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct EndpointChanges {
    /// The URL.
    pub url: Option<String>,
    /// The event types; `Some(None)` for all but refreshes.
    pub types: Option<Option<EventTypes>>,
    /// Whether deliveries are enabled.
    pub enabled: Option<bool>,
    /// New secrets and header fields, sealed for the generation after the one that was read.
    pub secrets: Option<Sealed>,
}

impl WebhookStore {
    /// Inserts an endpoint. Returns `false` if its project has reached [`MAX_ENDPOINTS`].
    pub async fn add_endpoint(&self, endpoint: Endpoint) -> Result<bool, StoreError> {
        let sql = "INSERT INTO webhook_endpoint (id, url, types, key_id, secrets_sealed, created_at, project_id) \
                   SELECT $1, $2, $3, $4, $5, $6, $7 \
                   WHERE (SELECT COUNT(*) FROM webhook_endpoint WHERE project_id = $7) < $8";
        let Endpoint { id, url, types, key_id, secrets_sealed, created_at, project_id, .. } = endpoint;
        let most = i64::try_from(MAX_ENDPOINTS).unwrap_or(i64::MAX);
        let values = [
            id.into(),
            url.into(),
            types.into(),
            key_id.into(),
            secrets_sealed.into(),
            created_at.into(),
            project_id.into(),
            most.into(),
        ];
        Ok(self.db.run(sql, values).await? == 1)
    }

    /// Returns all endpoints in order of creation.
    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, StoreError> {
        let query = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
        self.db.find_all(query).await
    }

    /// Returns the endpoints of a project in order of creation.
    pub async fn endpoints_of(&self, project: &ProjectId) -> Result<Vec<Endpoint>, StoreError> {
        let query = Entity::find().filter(Column::ProjectId.eq(project.clone()));
        self.db.find_all(query.order_by_asc(Column::CreatedAt).order_by_asc(Column::Id)).await
    }

    /// Returns an endpoint.
    pub async fn endpoint(&self, id: WebhookId) -> Result<Option<Endpoint>, StoreError> {
        self.db.find(Entity::find_by_id(id)).await
    }

    /// Changes an endpoint that still has the secrets of this generation. A single statement writes only the given
    /// fields, so two concurrent changes do not overwrite each other. An already disabled endpoint keeps its reason.
    /// `None` if the endpoint is deleted or has other secrets by now.
    pub async fn change_endpoint(
        &self,
        id: WebhookId,
        generation: i64,
        changes: EndpointChanges,
    ) -> Result<Option<Endpoint>, StoreError> {
        self.db.write(move |tx| {
            let sql = format!(
                "UPDATE webhook_endpoint SET url = COALESCE($2, url), \
                 types = CASE WHEN $3 = 1 THEN $4 ELSE types END, enabled = COALESCE($5, enabled), \
                 disabled_reason = CASE WHEN $5 = 1 THEN NULL \
                 WHEN $5 = 0 AND (enabled = 1 OR disabled_reason IS NULL) THEN 'by_request' ELSE disabled_reason END, \
                 key_id = COALESCE($7, key_id), secrets_sealed = COALESCE($8, secrets_sealed), \
                 generation = generation + CASE WHEN $8 IS NULL THEN 0 ELSE 1 END \
                 WHERE id = $1 AND generation = $6 RETURNING {}",
                columns::<Entity>()
            );
            let secrets = changes.secrets.as_ref();
            let values = [
                id.into(),
                changes.url.clone().into(),
                i64::from(changes.types.is_some()).into(),
                changes.types.clone().flatten().into(),
                changes.enabled.map(i64::from).into(),
                generation.into(),
                secrets.map(|sealed| sealed.key_id.clone()).into(),
                secrets.map(|sealed| sealed.ciphertext.clone()).into(),
            ];
            let change = Entity::find().from_raw_sql(tx.statement(&sql, values));
            Box::pin(async move { Ok(change.one(&tx.db).await?) })
        })
        .await
    }

    /// Replaces an endpoint's secrets by ones that are sealed for the generation after `generation`. Returns `false` if
    /// the endpoint is deleted or has other secrets by now.
    pub async fn save_endpoint_secrets(
        &self,
        id: WebhookId,
        generation: i64,
        secrets: Sealed,
        overlap_until: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let fresh = ActiveModel {
            key_id: Set(secrets.key_id),
            secrets_sealed: Set(secrets.ciphertext),
            overlap_until: Set(overlap_until),
            generation: Set(generation + 1),
            ..Default::default()
        };
        let endpoint = Entity::update_many().set(fresh).filter(Column::Id.eq(id));
        Ok(self.db.change(endpoint.filter(Column::Generation.eq(generation))).await? == 1)
    }

    /// Deletes an endpoint and its deliveries. Returns `false` if there is none.
    pub async fn remove_endpoint(&self, id: WebhookId) -> Result<bool, StoreError> {
        Ok(self.db.change(Entity::delete_by_id(id)).await? == 1)
    }
}

/// Disables an endpoint inside a transaction.
pub(in crate::store) async fn disable(
    tx: &Tx<'_>,
    id: WebhookId,
    reason: DisabledReason,
) -> Result<(), StoreError> {
    let disabled = ActiveModel {
        enabled: Set(false.into()),
        disabled_reason: Set(Some(reason.to_string())),
        ..Default::default()
    };
    let change = Entity::update_many()
        .set(disabled)
        .filter(Column::Id.eq(id))
        .filter(Column::Enabled.eq(Flag::from(true)));
    tx.change(change).await.map(|_| ())
}
