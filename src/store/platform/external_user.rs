//! Rows of ExternalUser: the user here for each of the host's users.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::domain::external::ExternalUserId;
use crate::domain::id::UserId;
use crate::domain::project::ProjectId;
use crate::domain::random::Random;
use crate::store::entity::external_user::{Column, Entity};
use crate::store::{PlatformStore, StoreError};

impl PlatformStore {
    /// Returns the user here for a user of a project, and creates one at the first call.
    pub async fn user_of_external(
        &self,
        project: ProjectId,
        external: ExternalUserId,
        random: &Random,
    ) -> Result<UserId, StoreError> {
        if let Some(known) = self.find_external(&project, &external).await? {
            return Ok(known);
        }
        // Concurrent calls for the same user return the same result.
        let sql = "INSERT INTO external_user (project_id, external_id, user_id, created_at) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (project_id, external_id) DO UPDATE SET created_at = external_user.created_at \
                   RETURNING user_id";
        let random = random.clone();
        self.db
            .write(move |tx| {
                let now = tx.clock.now();
                let user = UserId::at(now, &random);
                let values = [project.clone().into(), external.clone().into(), user.into(), now.into()];
                Box::pin(async move {
                    tx.one(sql, values).await?.ok_or(StoreError::Unreadable("user_id"))?.get("user_id")
                })
            })
            .await
    }

    /// Returns the user here for a user of a project; `None` if no call has created one.
    pub async fn find_external(
        &self,
        project: &ProjectId,
        external: &ExternalUserId,
    ) -> Result<Option<UserId>, StoreError> {
        let query = Entity::find_by_id((project.clone(), external.clone()));
        Ok(self.db.find(query).await?.map(|row| row.user_id))
    }

    /// Returns the host's id of a user here; `None` if it is not one of the host's users.
    pub async fn external_of(&self, user: UserId) -> Result<Option<ExternalUserId>, StoreError> {
        let query = Entity::find().filter(Column::UserId.eq(user));
        Ok(self.db.find(query).await?.map(|row| row.external_id))
    }
}
