//! Rows of Project: create, find, list, change, delete.

use std::time::Duration;

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder};

use crate::domain::origin::AllowedOrigins;
use crate::domain::project::ProjectId;
use crate::store::entity::project::{ActiveModel, Column, Entity};
use crate::store::{PlatformStore, Project, StoreError, Tx};

/// The maximum of FLOW_TTL_SECONDS.
const MAX_FLOW_LIFE: Duration = Duration::from_secs(7200);

impl PlatformStore {
    /// Inserts a project. Returns `false` if the name is taken.
    pub async fn insert_project(&self, project: Project) -> Result<bool, StoreError> {
        self.db
            .write(move |tx| {
                let project = project.clone();
                Box::pin(async move { tx.insert_new(project).await })
            })
            .await
    }

    /// Returns a project.
    pub async fn project(&self, id: &ProjectId) -> Result<Option<Project>, StoreError> {
        self.db.find(Entity::find_by_id(id.clone())).await
    }

    /// Returns all projects, the oldest first.
    pub async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        self.db.find_all(Entity::find().order_by_asc(Column::CreatedAt).order_by_asc(Column::Id)).await
    }

    /// Replaces the origins of a project. Returns `false` if there is no such project.
    pub async fn set_host_origins(
        &self,
        id: &ProjectId,
        origins: Option<AllowedOrigins>,
    ) -> Result<bool, StoreError> {
        let changed = ActiveModel { host_origins: Set(origins), ..Default::default() };
        let project = Entity::update_many().set(changed).filter(Column::Id.eq(id.clone()));
        Ok(self.db.change(project).await? == 1)
    }

    /// Deletes a project and all its remaining rows. It must have no connections, no webhook endpoints, no keys in use
    /// and no connect sessions that may lead to a connection. Returns `false` if it has one of these, or there is no
    /// such project.
    pub async fn delete_project(&self, id: &ProjectId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.db.write(move |tx| Box::pin(delete(tx, id.clone()))).await
    }
}

async fn delete(tx: &Tx<'_>, id: ProjectId) -> Result<bool, StoreError> {
    // An insert of a key takes the same lock, so the next statement sees every key.
    if tx.find_locked(Entity::find_by_id(id.clone())).await?.is_none() {
        return Ok(false);
    }
    let sql = "DELETE FROM project WHERE id = $1 AND id <> 'default' \
                   AND NOT EXISTS (SELECT 1 FROM token WHERE project_id = $1) \
                   AND NOT EXISTS (SELECT 1 FROM webhook_endpoint WHERE project_id = $1) \
                   AND NOT EXISTS (SELECT 1 FROM connect_session WHERE project_id = $1 \
                   AND (status = 'awaiting_confirmation' OR status = 'open' AND expires_at > $2)) \
                   AND NOT EXISTS (SELECT 1 FROM api_key WHERE project_id = $1 AND revoked_at IS NULL)";
    // A flow that started before its session expired may end this much later.
    let ended = tx.clock.now().minus(MAX_FLOW_LIFE);
    if tx.run(sql, [id.clone().into(), ended.into()]).await? == 0 {
        return Ok(false);
    }
    for table in ["api_key", "connect_session", "event", "external_user"] {
        tx.run(&format!("DELETE FROM {table} WHERE project_id = $1"), [id.clone().into()]).await?;
    }
    Ok(true)
}
