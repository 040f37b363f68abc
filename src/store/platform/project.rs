//! Projects: create, find, list, change, delete.

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::domain::origin::AllowedOrigins;
use crate::domain::project::ProjectId;
use crate::store::entity::project::{ActiveModel, Column, Entity};
use crate::store::{PlatformStore, Project, StoreError};

impl PlatformStore {
    /// Saves a new project. `false` if the name is taken.
    pub async fn insert_project(&self, project: Project) -> Result<bool, StoreError> {
        self.db
            .write(move |tx| {
                let project = project.clone();
                Box::pin(async move { tx.insert_new(project).await })
            })
            .await
    }

    /// Returns one project.
    pub async fn project(&self, id: &ProjectId) -> Result<Option<Project>, StoreError> {
        self.db.find(Entity::find_by_id(id.clone())).await
    }

    /// Returns all projects, the oldest first.
    pub async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        self.db.find_all(Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id)).await
    }

    /// Replaces the origins of a project. `false` if there is no such project.
    pub async fn set_host_origins(
        &self,
        id: &ProjectId,
        origins: Option<AllowedOrigins>,
    ) -> Result<bool, StoreError> {
        let changed = ActiveModel { host_origins: Set(origins), ..Default::default() };
        let project = Entity::update_many().set(changed).filter(Column::Id.eq(id.clone()));
        Ok(self.db.change(project).await? == 1)
    }

    /// Deletes a project that owns nothing any more: no connection, no webhook endpoint, no connect session that may lead
    /// to a connection, and no key in use. `false` if it owns something, or there is no such project.
    pub async fn delete_project(&self, id: &ProjectId) -> Result<bool, StoreError> {
        let sql = "DELETE FROM project WHERE id = $1 AND id <> 'default' \
                   AND NOT EXISTS (SELECT 1 FROM token WHERE project_id = $1) \
                   AND NOT EXISTS (SELECT 1 FROM webhook_endpoint WHERE project_id = $1) \
                   AND NOT EXISTS (SELECT 1 FROM connect_session WHERE project_id = $1 \
                   AND status IN ('open', 'awaiting_confirmation')) \
                   AND NOT EXISTS (SELECT 1 FROM api_key WHERE project_id = $1 AND revoked_at IS NULL)";
        Ok(self.db.run(sql, [id.clone().into()]).await? == 1)
    }
}
