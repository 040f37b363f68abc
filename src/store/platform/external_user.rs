//! Rows of ExternalUser: whose connections a user of the host's are.

use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::domain::external::ExternalUserId;
use crate::domain::id::UserId;
use crate::domain::project::ProjectId;
use crate::domain::random::Random;
use crate::store::entity::external_user::{Column, Entity};
use crate::store::{PlatformStore, StoreError};

impl PlatformStore {
    /// Our user for a user of a project; made when it is first named.
    pub async fn user_of_external(
        &self,
        project: ProjectId,
        external: ExternalUserId,
        random: &Random,
    ) -> Result<UserId, StoreError> {
        if let Some(known) = self.find_external(&project, &external).await? {
            return Ok(known);
        }
        // Whoever names a user at the same time gets the same answer.
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

    /// The same, but `None` if nobody has named that user.
    pub async fn find_external(
        &self,
        project: &ProjectId,
        external: &ExternalUserId,
    ) -> Result<Option<UserId>, StoreError> {
        let query = Entity::find_by_id((project.clone(), external.clone()));
        Ok(self.db.find(query).await?.map(|row| row.user_id))
    }

    /// The host's id of one of our users, if it is one of the host's.
    pub async fn external_of(&self, user: UserId) -> Result<Option<ExternalUserId>, StoreError> {
        let query = Entity::find().filter(Column::UserId.eq(user));
        Ok(self.db.find(query).await?.map(|row| row.external_id))
    }
}
