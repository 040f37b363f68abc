//! Rows of ConnectSession: insert, find, await the backend's word, forget.

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter, UpdateMany};

use crate::domain::clock::Moment;
use crate::domain::connect_session::{ConnectSessionStatus, SESSION_REMEMBERED};
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId};
use crate::domain::secret::Hash;
use crate::store::entity::connect_session::{ActiveModel, Column, Entity};
use crate::store::entity::flag::Flag;
use crate::store::{ConnectSession, ConnectStore, StoreError, Tx};

/// A session is good for its one connection while it is one of these.
const GOOD: [ConnectSessionStatus; 2] =
    [ConnectSessionStatus::Open, ConnectSessionStatus::AwaitingConfirmation];

impl ConnectStore {
    /// Keeps a new session.
    pub async fn insert_connect_session(&self, session: ConnectSession) -> Result<(), StoreError> {
        self.db.change(Entity::insert(session.into_active_model())).await.map(|_| ())
    }

    /// The session with this id.
    pub async fn connect_session(&self, id: ConnectSessionId) -> Result<Option<ConnectSession>, StoreError> {
        self.db.find(Entity::find_by_id(id)).await
    }

    /// The session that this token was made for.
    pub async fn connect_session_of(&self, token: Hash) -> Result<Option<ConnectSession>, StoreError> {
        self.db.find(Entity::find().filter(Column::TokenHash.eq(token))).await
    }

    /// Replaces the token of a hosted link, once. `false` if there is no such link, or it was opened before or has ended.
    /// One statement decides, so of several pages at once one opens it.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the link is as it was then.
    pub async fn open_link(&self, link: Hash, page: Hash, now: Moment) -> Result<bool, StoreError> {
        let opened = ActiveModel { token_hash: Set(page), opened_at: Set(Some(now)), ..Default::default() };
        let link = Entity::update_many()
            .set(opened)
            .filter(Column::TokenHash.eq(link))
            .filter(Column::Hosted.eq(Flag::from(true)))
            .filter(Column::OpenedAt.is_null())
            .filter(Column::Status.eq(ConnectSessionStatus::Open))
            .filter(Column::ExpiresAt.gt(now));
        Ok(self.db.change(link).await? == 1)
    }

    /// Notes why the last attempt of an open session came to nothing.
    pub async fn note_failed_attempt(&self, id: ConnectSessionId, flow: FlowId) -> Result<(), StoreError> {
        let sql = "UPDATE connect_session SET error_code = (SELECT error_code FROM auth_request WHERE id = $2) \
                   WHERE id = $1 AND status = 'open'";
        self.db.run(sql, [id.into(), flow.into()]).await.map(|_| ())
    }

    /// Forgets sessions that expired long ago, but for those that still await a confirmation.
    pub async fn sweep_connect_sessions(&self, now: Moment) -> Result<u64, StoreError> {
        let old = Entity::delete_many().filter(Column::ExpiresAt.lte(now.minus(SESSION_REMEMBERED)));
        self.db.change(old.filter(Column::Status.ne(ConnectSessionStatus::AwaitingConfirmation))).await
    }
}

/// Whether a session is still good for its one connection. It stays so until the transaction ends.
pub(in crate::store) async fn lock(tx: &Tx<'_>, id: ConnectSessionId) -> Result<bool, StoreError> {
    let query = Entity::find_by_id(id).filter(Column::Status.is_in(GOOD));
    Ok(tx.find_locked(query).await?.is_some())
}

/// Notes the one connection that a session has led to, inside the transaction that has [locked](lock) it.
pub(in crate::store) async fn take(
    tx: &Tx<'_>,
    id: ConnectSessionId,
    connection: ConnectionId,
) -> Result<(), StoreError> {
    let connected = ActiveModel {
        status: Set(ConnectSessionStatus::Connected),
        error_code: Set(None),
        connection_id: Set(Some(connection)),
        finished_at: Set(Some(tx.clock.now())),
        ..Default::default()
    };
    tx.change(with_id(id).set(connected)).await.map(|_| ())
}

/// Lets a session wait for its backend's word on this attempt. `false` if it waits for one on another, or has ended. Said
/// twice it is the same: the answer of the first may have been lost.
pub(in crate::store) async fn hold(
    tx: &Tx<'_>,
    id: ConnectSessionId,
    flow: FlowId,
) -> Result<bool, StoreError> {
    let held = ActiveModel {
        status: Set(ConnectSessionStatus::AwaitingConfirmation),
        error_code: Set(None),
        flow_id: Set(Some(flow)),
        ..Default::default()
    };
    let is_held = Column::Status.eq(ConnectSessionStatus::AwaitingConfirmation).and(Column::FlowId.eq(flow));
    let free = Column::Status.eq(ConnectSessionStatus::Open).or(is_held);
    Ok(tx.change(with_id(id).set(held).filter(free)).await? == 1)
}

/// Ends a session that has led to nothing yet, and returns the flow whose grant awaits a decision, if one does. `None` if
/// the session has come to its end before.
pub(in crate::store) async fn cancel(
    tx: &Tx<'_>,
    id: ConnectSessionId,
    code: FailureCode,
    now: Moment,
) -> Result<Option<Option<FlowId>>, StoreError> {
    let sql = "UPDATE connect_session SET status = 'cancelled', error_code = $2, finished_at = $3 \
               WHERE id = $1 AND status IN ('open', 'awaiting_confirmation') RETURNING flow_id";
    let row = tx.one(sql, [id.into(), code.into(), now.into()]).await?;
    row.map(|row| row.get("flow_id")).transpose()
}

fn with_id(id: ConnectSessionId) -> UpdateMany<Entity> {
    Entity::update_many().filter(Column::Id.eq(id))
}
