//! Single-use states and codes of Marketplace installs, and claimed installs.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::domain::clock::Timestamp;
use crate::domain::id::InstallId;
use crate::domain::secret::Hash;
use crate::store::entity::claimed_install;
use crate::store::entity::install_attempt::{Column, Entity, Kind, Model};
use crate::store::{ClaimedInstall, MarketplaceStore, StoreError};

impl MarketplaceStore {
    /// Stores a state that was handed out. States of installs and of authorization requests are not interchangeable.
    pub async fn note_install_state(&self, state: Hash, expires_at: Timestamp) -> Result<(), StoreError> {
        self.note_install(Model { hash: state, kind: Kind::State, expires_at }).await.map(|_| ())
    }

    /// Consumes a state; only the first call succeeds, and none after it expires.
    pub async fn take_install_state(&self, state: Hash, now: Timestamp) -> Result<bool, StoreError> {
        let taken = Entity::delete_by_id(state).filter(Column::Kind.eq(Kind::State));
        Ok(self.db.change(taken.filter(Column::ExpiresAt.gt(now))).await? == 1)
    }

    /// Consumes a code before its exchange; only the first call succeeds.
    pub async fn take_install_code(&self, code: Hash, expires_at: Timestamp) -> Result<bool, StoreError> {
        self.note_install(Model { hash: code, kind: Kind::Code, expires_at }).await
    }

    /// Deletes a code whose exchange failed, so that a retry reports the failure.
    pub async fn forget_install_code(&self, code: Hash) -> Result<(), StoreError> {
        let refused = Entity::delete_by_id(code).filter(Column::Kind.eq(Kind::Code));
        self.db.change(refused).await.map(|_| ())
    }

    /// Deletes expired states and codes, and installs that were claimed long ago.
    pub async fn sweep_installs(&self, now: Timestamp) -> Result<(), StoreError> {
        self.db.change(Entity::delete_many().filter(Column::ExpiresAt.lte(now))).await?;
        let claimed = claimed_install::Entity::delete_many();
        self.db.change(claimed.filter(claimed_install::Column::ExpiresAt.lte(now))).await.map(|_| ())
    }

    /// Returns a claimed install that is still kept.
    pub async fn claimed_install(
        &self,
        id: InstallId,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Option<ClaimedInstall>, StoreError> {
        let query = claimed_install::Entity::find_by_id(id)
            .filter(claimed_install::Column::ClientId.eq(client_id))
            .filter(claimed_install::Column::ExpiresAt.gt(now));
        self.db.find(query).await
    }

    /// Inserts a state or a code. Returns `false` if it was inserted before.
    async fn note_install(&self, attempt: Model) -> Result<bool, StoreError> {
        self.db.write(move |tx| Box::pin(tx.insert_new(attempt.clone()))).await
    }
}
