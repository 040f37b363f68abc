//! Rows of ApiKey: create, find by hash, list, revoke, record a use.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::domain::api_key::MAX_KEYS_PER_NAME;
use crate::domain::clock::Timestamp;
use crate::domain::id::ApiKeyId;
use crate::domain::secret::Hash;
use crate::store::entity::api_key::{Column, Entity};
use crate::store::entity::project;
use crate::store::{ApiKey, PlatformStore, StoreError, Tx};

impl PlatformStore {
    /// Inserts a key. Returns `false` if its name has [`MAX_KEYS_PER_NAME`] keys in use, or its project is deleted.
    pub async fn insert_api_key(&self, key: ApiKey) -> Result<bool, StoreError> {
        self.db.write(move |tx| Box::pin(insert(tx, key.clone()))).await
    }

    /// Returns the key with this hash, unless it was revoked.
    pub async fn api_key(&self, hash: Hash) -> Result<Option<ApiKey>, StoreError> {
        let query = Entity::find().filter(Column::KeyHash.eq(hash));
        self.db.find(query.filter(Column::RevokedAt.is_null())).await
    }

    /// Returns all keys, including revoked ones, the oldest first.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.db.find_all(Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id)).await
    }

    /// Revokes a key; `false` if there is no such key in use.
    pub async fn revoke_api_key(&self, id: ApiKeyId, now: Timestamp) -> Result<bool, StoreError> {
        let revoked = Entity::update_many().col_expr(Column::RevokedAt, now.into());
        let key = revoked.filter(Column::Id.eq(id)).filter(Column::RevokedAt.is_null());
        Ok(self.db.change(key).await? == 1)
    }

    /// Records that a key was used.
    pub async fn touch_api_key(&self, id: ApiKeyId, now: Timestamp) -> Result<(), StoreError> {
        let used = Entity::update_many().col_expr(Column::LastUsedAt, now.into());
        self.db.change(used.filter(Column::Id.eq(id))).await.map(|_| ())
    }
}

async fn insert(tx: &Tx<'_>, key: ApiKey) -> Result<bool, StoreError> {
    // The lock serializes two inserts of one name, and an insert and the deletion of the project.
    if tx.find_locked(project::Entity::find_by_id(key.project_id.clone())).await?.is_none() {
        return Ok(false);
    }
    let active = Entity::find()
        .filter(Column::ProjectId.eq(key.project_id.clone()))
        .filter(Column::Name.eq(&key.name))
        .filter(Column::RevokedAt.is_null());
    Ok(active.all(&tx.db).await?.len() < MAX_KEYS_PER_NAME && tx.insert_new(key).await?)
}
