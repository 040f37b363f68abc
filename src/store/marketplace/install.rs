//! What is remembered of Marketplace installs: states and codes that are good once, and who has claimed an install.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::domain::clock::Timestamp;
use crate::domain::id::InstallId;
use crate::domain::secret::Hash;
use crate::store::entity::claimed_install;
use crate::store::entity::install_attempt::{Column, Entity, Kind, Model};
use crate::store::{ClaimedInstall, MarketplaceStore, StoreError};

impl MarketplaceStore {
    /// Notes a state that was handed out. It is no state of an AuthRequest, and no AuthRequest's is one of these.
    pub async fn note_install_state(&self, state: Hash, expires_at: Timestamp) -> Result<(), StoreError> {
        self.note_install(Model { hash: state, kind: Kind::State, expires_at }).await.map(|_| ())
    }

    /// Takes a state; only the first caller gets it, and nobody who comes late.
    pub async fn take_install_state(&self, state: Hash, now: Timestamp) -> Result<bool, StoreError> {
        let taken = Entity::delete_by_id(state).filter(Column::Kind.eq(Kind::State));
        Ok(self.db.change(taken.filter(Column::ExpiresAt.gt(now))).await? == 1)
    }

    /// Takes the right to exchange a code; only the first caller gets it.
    pub async fn take_install_code(&self, code: Hash, expires_at: Timestamp) -> Result<bool, StoreError> {
        self.note_install(Model { hash: code, kind: Kind::Code, expires_at }).await
    }

    /// Deletes a code whose exchange failed, so that a retry reports the failure.
    pub async fn forget_install_code(&self, code: Hash) -> Result<(), StoreError> {
        let refused = Entity::delete_by_id(code).filter(Column::Kind.eq(Kind::Code));
        self.db.change(refused).await.map(|_| ())
    }

    /// Forgets states and codes that are of no use any more, and installs that were claimed long ago.
    pub async fn sweep_installs(&self, now: Timestamp) -> Result<(), StoreError> {
        self.db.change(Entity::delete_many().filter(Column::ExpiresAt.lte(now))).await?;
        let claimed = claimed_install::Entity::delete_many();
        self.db.change(claimed.filter(claimed_install::Column::ExpiresAt.lte(now))).await.map(|_| ())
    }

    /// Returns an install that was claimed and is still remembered.
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

    /// `false` if it was noted before.
    async fn note_install(&self, attempt: Model) -> Result<bool, StoreError> {
        self.db.write(move |tx| Box::pin(tx.insert_new(attempt.clone()))).await
    }
}
