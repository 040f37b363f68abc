//! Rows of Session: browser sessions, identified by the hash of their key.

use std::time::Duration;

use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter, SelectExt};

use crate::domain::clock::Timestamp;
use crate::domain::id::UserId;
use crate::domain::secret::Hash;
use crate::store::connections::revocation;
use crate::store::entity::session::{ActiveModel, Column, Entity};
use crate::store::entity::{external_user, token};
use crate::store::{PlatformStore, SessionRow, StoreError};

impl PlatformStore {
    /// Returns a session that has not expired.
    pub async fn session(&self, key: Hash, now: Timestamp) -> Result<Option<SessionRow>, StoreError> {
        self.db.find(Entity::find_by_id(key).filter(Column::ExpiresAt.gt(now))).await
    }

    /// Inserts a session.
    pub async fn insert_session(&self, session: SessionRow) -> Result<(), StoreError> {
        self.db.change(Entity::insert(session.into_active_model())).await.map(|_| ())
    }

    /// Records that a session was used; `false` if it was deleted.
    pub async fn touch_session(
        &self,
        key: Hash,
        seen_at: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError> {
        let used = ActiveModel {
            seen_at: Set(seen_at),
            expires_at: Set(expires_at),
            seen: Set(true.into()),
            ..Default::default()
        };
        Ok(self.db.change(Entity::update_many().set(used).filter(Column::KeyHash.eq(key))).await? == 1)
    }

    /// Returns whether a request with a session of this user has been received. Expired sessions count until their rows
    /// are deleted.
    pub async fn has_seen_session(&self, user: UserId) -> Result<bool, StoreError> {
        let query = Entity::find().filter(Column::UserId.eq(user)).filter(Column::Seen.eq(1));
        Ok(self.db.find(query).await?.is_some())
    }

    /// Returns whether this user has a session, written at `since` or later, with which no request has been received.
    pub async fn has_unseen_session(&self, user: UserId, since: Timestamp) -> Result<bool, StoreError> {
        let query = Entity::find().filter(Column::UserId.eq(user)).filter(Column::Seen.eq(0));
        Ok(self.db.find(query.filter(Column::SeenAt.gte(since))).await?.is_some())
    }

    /// Deletes a session.
    pub async fn delete_session(&self, key: Hash) -> Result<(), StoreError> {
        self.db.change(Entity::delete_by_id(key)).await.map(|_| ())
    }

    /// Returns users who may have no session left through which to reach their connections: a session of theirs has
    /// expired, or they connected after `since` and no session was ever written. [`PlatformStore::remove_unreachable`]
    /// checks this precisely. The host's own users are reached through its backend, never by a session.
    pub async fn users_maybe_unreachable(
        &self,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<UserId>, StoreError> {
        // Expired sessions are selected first, or SQLite would read all users to make them distinct.
        let expired = "SELECT DISTINCT user_id FROM (SELECT user_id FROM session WHERE expires_at <= $1 LIMIT 500) \
                       AS expired WHERE user_id IS NOT NULL";
        let lost = "SELECT DISTINCT user_id FROM token WHERE connected_at > $1 AND connected_at <= $2 \
                    AND NOT EXISTS (SELECT 1 FROM session WHERE session.user_id = token.user_id) \
                    AND NOT EXISTS (SELECT 1 FROM external_user WHERE external_user.user_id = token.user_id) LIMIT 500";
        let mut rows = self.db.all(expired, [now.into()]).await?;
        rows.extend(self.db.all(lost, [since.into(), now.minus(SIGN_IN_GRACE).into()]).await?);
        rows.iter().map(|row| row.get("user_id")).collect()
    }

    /// Deletes a user's expired sessions, and removes their connections if no session is left and none can still be
    /// written.
    pub async fn remove_unreachable(
        &self,
        user: UserId,
        remove: Option<Revoke>,
    ) -> Result<usize, StoreError> {
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    // The time that replicas agree on: one with a fast clock must not end the sessions of the others.
                    let now = tx.now().await?;
                    let of_user = Column::UserId.eq(user);
                    let expired = Entity::delete_many().filter(of_user.clone());
                    tx.change(expired.filter(Column::ExpiresAt.lte(now))).await?;
                    // The host's users are reached through its backend, not by a session.
                    let external =
                        external_user::Entity::find().filter(external_user::Column::UserId.eq(user));
                    if external.exists(&tx.db).await? {
                        return Ok(0);
                    }
                    // Locks before it reads: it waits for a reconnect that is being saved, and then sees it.
                    let connections = revocation::lock_of_user(tx, user).await?;
                    // A connection is saved before its session: a very recent one is checked again later.
                    let fresh = token::Entity::find().filter(token::Column::UserId.eq(user));
                    let fresh = fresh.filter(token::Column::ConnectedAt.gt(now.minus(SIGN_IN_GRACE)));
                    if fresh.exists(&tx.db).await? {
                        return Ok(0);
                    }
                    let alive = Entity::find().filter(of_user).filter(Column::ExpiresAt.gt(now));
                    let (Some(Revoke(revoke)), false) = (remove, alive.exists(&tx.db).await?) else {
                        return Ok(0);
                    };
                    for id in &connections {
                        revocation::remove_because(tx, *id, revoke, now, "session_expired").await?;
                    }
                    Ok(connections.len())
                })
            })
            .await
    }

    /// Deletes expired sessions without a user.
    pub async fn sweep_anonymous_sessions(&self, now: Timestamp) -> Result<u64, StoreError> {
        let expired = Entity::delete_many().filter(Column::UserId.is_null());
        self.db.change(expired.filter(Column::ExpiresAt.lte(now))).await
    }
}

/// Whether grants are revoked at HubSpot too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoke(pub bool);

/// The time after an authorization within which its session may still be written.
const SIGN_IN_GRACE: Duration = Duration::from_secs(600);
