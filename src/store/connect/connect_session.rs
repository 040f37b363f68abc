//! Rows of ConnectSession: insert, find, hold for confirmation, delete.

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, EntityTrait, ExprTrait, IntoActiveModel, QueryFilter, QueryOrder, QuerySelect};

use crate::domain::clock::Timestamp;
use crate::domain::connect_session::{CONNECT_SESSION_RETENTION, ConnectSessionStatus};
use crate::domain::event::{ConnectSessionData, EventType};
use crate::domain::external::ExternalUserId;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId};
use crate::domain::project::ProjectId;
use crate::domain::secret::Hash;
use crate::store::entity::connect_session::{ActiveModel, Column, Entity};
use crate::store::entity::flag::Flag;
use crate::store::webhooks::event;
use crate::store::{ConnectSession, ConnectStore, StoreError, Tx};

/// The number of sessions that expire per transaction.
const SESSIONS_PER_TRANSACTION: i64 = 500;

/// The statuses in which a session can still lead to its one connection.
const USABLE: [ConnectSessionStatus; 2] =
    [ConnectSessionStatus::Open, ConnectSessionStatus::AwaitingConfirmation];

/// A selection of sessions.
#[derive(Debug, Clone, Default)]
pub struct ConnectSessionFilter {
    /// Only sessions of this project.
    pub project: ProjectId,
    /// Only sessions of this user of the host.
    pub external_user: Option<ExternalUserId>,
    /// Only sessions with this status.
    pub status: Option<ConnectSessionStatus>,
    /// Only sessions that were created before this one.
    pub before: Option<ConnectSessionId>,
}

impl ConnectStore {
    /// Inserts a session.
    pub async fn insert_connect_session(&self, session: ConnectSession) -> Result<(), StoreError> {
        self.db.change(Entity::insert(session.into_active_model())).await.map(|_| ())
    }

    /// Returns the session with this id.
    pub async fn connect_session(&self, id: ConnectSessionId) -> Result<Option<ConnectSession>, StoreError> {
        self.db.find(Entity::find_by_id(id)).await
    }

    /// Returns the selected sessions, the newest first, at most `limit`.
    pub async fn connect_sessions(
        &self,
        filter: ConnectSessionFilter,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ConnectSession>, StoreError> {
        // An id begins with its time of creation.
        let mut query = Entity::find().filter(Column::ProjectId.eq(filter.project));
        query = query.order_by_desc(Column::Id).limit(u64::from(limit));
        if let Some(before) = filter.before {
            query = query.filter(Column::Id.lt(before));
        }
        if let Some(user) = filter.external_user {
            query = query.filter(Column::ExternalId.eq(user));
        }
        let open = Column::Status.eq(ConnectSessionStatus::Open);
        query = match filter.status {
            None => query,
            Some(ConnectSessionStatus::Open) => query.filter(open.and(Column::ExpiresAt.gt(now))),
            Some(ConnectSessionStatus::Expired) => {
                let expired = Column::Status.eq(ConnectSessionStatus::Expired);
                query.filter(expired.or(open.and(Column::ExpiresAt.lte(now))))
            }
            Some(status) => query.filter(Column::Status.eq(status)),
        };
        self.db.find_all(query).await
    }

    /// Returns the session with this token.
    pub async fn connect_session_of(&self, token: Hash) -> Result<Option<ConnectSession>, StoreError> {
        self.db.find(Entity::find().filter(Column::TokenHash.eq(token))).await
    }

    /// Replaces the token of a hosted link, once. Returns `false` if there is no such link, or it was opened before or
    /// has ended. A single statement decides, so only one of several concurrent pages opens it.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; then the link is unchanged.
    pub async fn open_link(&self, link: Hash, page: Hash, now: Timestamp) -> Result<bool, StoreError> {
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

    /// Records why the last flow of an open session failed.
    pub async fn note_failed_auth_request(
        &self,
        id: ConnectSessionId,
        flow: FlowId,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE connect_session SET error_code = (SELECT error_code FROM auth_request WHERE id = $2) \
                   WHERE id = $1 AND status = 'open'";
        self.db.run(sql, [id.into(), flow.into()]).await.map(|_| ())
    }

    /// Expires unused links whose time ended before `before`. Returns how many; there may be more.
    pub async fn expire_connect_sessions(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.db.write(move |tx| Box::pin(expire(tx, before))).await
    }

    /// Deletes sessions that expired long ago, except those that still await a confirmation.
    pub async fn sweep_connect_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        let old = now.minus(CONNECT_SESSION_RETENTION);
        let old = Entity::delete_many()
            .filter(Column::ExpiresAt.lte(old))
            .filter(Column::FinishedAt.is_null().or(Column::FinishedAt.lte(old)));
        self.db.change(old.filter(Column::Status.ne(ConnectSessionStatus::AwaitingConfirmation))).await
    }
}

/// Returns a session that can still lead to its one connection, and keeps it so until the transaction ends.
pub(in crate::store) async fn lock(
    tx: &Tx<'_>,
    id: ConnectSessionId,
) -> Result<Option<ConnectSession>, StoreError> {
    tx.find_locked(Entity::find_by_id(id).filter(Column::Status.is_in(USABLE))).await
}

/// Records the connection of a session, inside the transaction that has [locked](lock) the session.
pub(in crate::store) async fn take(
    tx: &Tx<'_>,
    session: ConnectSession,
    connection: ConnectionId,
) -> Result<(), StoreError> {
    let connected = ConnectSession {
        status: ConnectSessionStatus::Connected,
        error_code: None,
        connection_id: Some(connection),
        finished_at: Some(tx.clock.now()),
        ..session
    };
    change(tx, connected, EventType::ConnectSessionConnected).await
}

/// Makes a session wait for its backend's confirmation of this flow. Returns `false` if it waits for another flow, or
/// has ended. A repeated call succeeds, because the response to the first may have been lost.
pub(in crate::store) async fn hold(
    tx: &Tx<'_>,
    id: ConnectSessionId,
    flow: FlowId,
) -> Result<bool, StoreError> {
    let Some(session) = lock(tx, id).await? else { return Ok(false) };
    if session.status == ConnectSessionStatus::AwaitingConfirmation {
        return Ok(session.flow_id == Some(flow));
    }
    let held = ConnectSession {
        status: ConnectSessionStatus::AwaitingConfirmation,
        error_code: None,
        flow_id: Some(flow),
        ..session
    };
    change(tx, held, EventType::ConnectSessionAwaitingConfirmation).await?;
    Ok(true)
}

/// Cancels a session that has no connection yet, and returns the flow whose grant awaits a decision, if any. `None` if
/// the session has already ended.
pub(in crate::store) async fn cancel(
    tx: &Tx<'_>,
    id: ConnectSessionId,
    code: FailureCode,
    now: Timestamp,
) -> Result<Option<Option<FlowId>>, StoreError> {
    let Some(session) = lock(tx, id).await? else { return Ok(None) };
    let flow = session.flow_id;
    let cancelled = ConnectSession {
        status: ConnectSessionStatus::Cancelled,
        error_code: Some(code.as_str().to_owned()),
        finished_at: Some(now),
        ..session
    };
    change(tx, cancelled, EventType::ConnectSessionFailed).await?;
    Ok(Some(flow))
}

async fn expire(tx: &Tx<'_>, before: Timestamp) -> Result<u64, StoreError> {
    // The conditions of the index, which SQLite uses only if they are repeated.
    let unused = "SELECT id FROM connect_session WHERE status = 'open' AND hosted = 1 AND expires_at <= $1 \
                  ORDER BY expires_at, id LIMIT $2";
    let mut expired = 0;
    for row in tx.all(unused, [before.into(), SESSIONS_PER_TRANSACTION.into()]).await? {
        // Another replica may have been faster.
        if let Some(session) = lock(tx, row.get("id")?).await?
            && session.status == ConnectSessionStatus::Open
        {
            let (status, finished_at) = (ConnectSessionStatus::Expired, Some(session.expires_at));
            change(tx, ConnectSession { status, finished_at, ..session }, EventType::ConnectSessionExpired)
                .await?;
            expired += 1;
        }
    }
    Ok(expired)
}

/// Writes the new status of a session, and reports it if the session has a link: the page of a session without a link
/// waits for the outcome itself.
async fn change(tx: &Tx<'_>, session: ConnectSession, kind: EventType) -> Result<(), StoreError> {
    let changed = ActiveModel {
        status: Set(session.status),
        error_code: Set(session.error_code.clone()),
        flow_id: Set(session.flow_id),
        connection_id: Set(session.connection_id),
        finished_at: Set(session.finished_at),
        ..Default::default()
    };
    tx.change(Entity::update_many().filter(Column::Id.eq(session.id)).set(changed)).await?;
    if !session.hosted.is_set() {
        return Ok(());
    }
    let data = ConnectSessionData {
        connect_session_id: session.id,
        external_user_id: &session.external_id,
        status: session.status,
        connection_id: session.connection_id,
        reason: session.error_code.as_deref(),
    };
    event::append_session(tx, kind, session.project_id, data).await
}
