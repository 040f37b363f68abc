//! API keys: create, find by hash, list, revoke, note a use.

use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::entity::api_key::{ActiveModel, Column, Entity, Model};
use super::{Store, StoreError};
use crate::domain::api_key::{AT_ONCE, ApiKey, ApiScope};
use crate::domain::clock::Moment;
use crate::domain::id::ApiKeyId;
use crate::domain::secret::Hash;

impl Store {
    /// Keeps a new key. `false` if as many of its name are in use already as may be.
    pub async fn insert_api_key(&self, key: ApiKey, hash: Hash) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let active =
                Entity::find().filter(Column::Name.eq(&key.name)).filter(Column::RevokedAt.is_null());
            let active = if tx.locks_rows() { active.lock_exclusive() } else { active };
            let row = ActiveModel {
                id: Set(key.id),
                name: Set(key.name.clone()),
                key_hash: Set(hash),
                scopes: Set(key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")),
                created_at: Set(key.created_at),
                last_used_at: NotSet,
                revoked_at: NotSet,
            };
            Box::pin(async move {
                if active.all(&tx.db).await?.len() >= AT_ONCE {
                    return Ok(false);
                }
                Entity::insert(row).exec_without_returning(&tx.db).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Returns the key with this hash, unless it was revoked.
    pub async fn api_key(&self, hash: Hash) -> Result<Option<ApiKey>, StoreError> {
        let query = Entity::find().filter(Column::KeyHash.eq(hash)).filter(Column::RevokedAt.is_null());
        Ok(self.find(query).await?.map(ApiKey::from))
    }

    /// Returns all keys, revoked ones too, the oldest first.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let query = Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id);
        Ok(self.find_all(query).await?.into_iter().map(ApiKey::from).collect())
    }

    /// Revokes a key; `false` if there is none that could be.
    pub async fn revoke_api_key(&self, id: ApiKeyId, now: Moment) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let change = Entity::update_many()
                .col_expr(Column::RevokedAt, now.into())
                .filter(Column::Id.eq(id))
                .filter(Column::RevokedAt.is_null());
            Box::pin(async move { Ok(change.exec(&tx.db).await?.rows_affected == 1) })
        })
        .await
    }

    /// Notes that a key was used.
    pub async fn touch_api_key(&self, id: ApiKeyId, now: Moment) -> Result<(), StoreError> {
        self.write(move |tx| {
            let change =
                Entity::update_many().col_expr(Column::LastUsedAt, now.into()).filter(Column::Id.eq(id));
            Box::pin(async move { Ok(change.exec(&tx.db).await.map(|_| ())?) })
        })
        .await
    }
}

impl From<Model> for ApiKey {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            name: row.name,
            // A scope that only a later release knows is good for nothing here.
            scopes: row.scopes.split_whitespace().filter_map(|word| word.parse::<ApiScope>().ok()).collect(),
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
        }
    }
}
