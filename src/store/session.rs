//! Rows of Session: browser sessions, known by the hash of their key.

use std::time::Duration;

use super::{Store, StoreError, revocation};
use crate::domain::clock::Moment;
use crate::domain::id::UserId;
use crate::domain::secret::Hash;

/// A browser session.
#[derive(Debug, Clone)]
pub struct SessionRow {
    /// Of the key in the cookie.
    pub key_hash: Hash,
    /// Who it is.
    pub user: Option<UserId>,
    /// The session's values, as JSON. Nothing in it is a secret.
    pub state: String,
    /// When it began; renewing its key does not change that.
    pub created_at: Moment,
    /// When it was last used, give or take a minute.
    pub seen_at: Moment,
    /// When it ends if it is not used before.
    pub expires_at: Moment,
    /// Whether a request with it has been received. Until then, the answer that carries its key may be lost.
    pub seen: bool,
}

impl Store {
    /// A session that has not expired.
    pub async fn session(&self, key: Hash, now: Moment) -> Result<Option<SessionRow>, StoreError> {
        let sql = "SELECT user_id, state, created_at, seen_at, expires_at, seen FROM session \
                   WHERE key_hash = $1 AND expires_at > $2";
        let Some(row) = self.one(sql, [key.text().into(), now.unix_ms().into()]).await? else {
            return Ok(None);
        };
        Ok(Some(SessionRow {
            key_hash: key,
            user: row.maybe("user_id")?,
            state: row.get("state")?,
            created_at: row.moment("created_at")?,
            seen_at: row.moment("seen_at")?,
            expires_at: row.moment("expires_at")?,
            seen: row.get::<i64>("seen")? != 0,
        }))
    }

    /// Writes a new session.
    pub async fn insert_session(&self, session: SessionRow) -> Result<(), StoreError> {
        self.write(move |tx| {
            let sql = "INSERT INTO session (key_hash, user_id, state, created_at, seen_at, expires_at, seen) \
                       VALUES ($1, $2, $3, $4, $5, $6, $7)";
            let values = [
                session.key_hash.text().into(),
                session.user.map(|user| user.to_string()).into(),
                session.state.clone().into(),
                session.created_at.unix_ms().into(),
                session.seen_at.unix_ms().into(),
                session.expires_at.unix_ms().into(),
                i64::from(session.seen).into(),
            ];
            Box::pin(async move { tx.run(sql, values).await.map(|_| ()) })
        })
        .await
    }

    /// Notes that a session was used; `false` if it is no more.
    pub async fn touch_session(
        &self,
        key: Hash,
        seen_at: Moment,
        expires_at: Moment,
    ) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let sql = "UPDATE session SET seen_at = $2, expires_at = $3, seen = 1 WHERE key_hash = $1";
            let values = [key.text().into(), seen_at.unix_ms().into(), expires_at.unix_ms().into()];
            Box::pin(async move { Ok(tx.run(sql, values).await? == 1) })
        })
        .await
    }

    /// Returns whether a request with a session of this user has been received. Expired sessions count until their rows
    /// are deleted.
    pub async fn has_seen_session(&self, user: UserId) -> Result<bool, StoreError> {
        let sql = "SELECT 1 AS found FROM session WHERE user_id = $1 AND seen = 1 LIMIT 1";
        Ok(self.one(sql, [user.to_string().into()]).await?.is_some())
    }

    /// Returns whether this user has a session, written since then, with which no request has been received.
    pub async fn has_unseen_session(&self, user: UserId, since: Moment) -> Result<bool, StoreError> {
        let sql = "SELECT 1 AS found FROM session WHERE user_id = $1 AND seen = 0 AND seen_at >= $2 LIMIT 1";
        Ok(self.one(sql, [user.to_string().into(), since.unix_ms().into()]).await?.is_some())
    }

    /// Ends a session.
    pub async fn delete_session(&self, key: Hash) -> Result<(), StoreError> {
        self.write(move |tx| {
            let values = [key.text().into()];
            Box::pin(
                async move { tx.run("DELETE FROM session WHERE key_hash = $1", values).await.map(|_| ()) },
            )
        })
        .await
    }

    /// Users who may have nothing left to reach their connections by: a session of theirs has expired, or they connected
    /// since `since` and no session of theirs was ever written. [`Store::remove_unreachable`] looks closely. The host's
    /// own users are reached through its backend, and never by a session.
    pub async fn maybe_unreachable(&self, since: Moment, now: Moment) -> Result<Vec<UserId>, StoreError> {
        // What has expired is found first, or SQLite would walk through all users to name each once.
        let expired = "SELECT DISTINCT user_id FROM (SELECT user_id FROM session WHERE expires_at <= $1 LIMIT 500) \
                       AS expired WHERE user_id IS NOT NULL";
        let lost = "SELECT DISTINCT user_id FROM token WHERE connected_at > $1 AND connected_at <= $2 \
                    AND NOT EXISTS (SELECT 1 FROM session WHERE session.user_id = token.user_id) \
                    AND NOT EXISTS (SELECT 1 FROM external_user WHERE external_user.user_id = token.user_id) LIMIT 500";
        let grace = now.minus(SIGN_IN_GRACE).unix_ms();
        let mut rows = self.all(expired, [now.unix_ms().into()]).await?;
        rows.extend(self.all(lost, [since.unix_ms().into(), grace.into()]).await?);
        rows.iter().map(|row| row.parsed("user_id")).collect()
    }

    /// Forgets a user's expired sessions, and removes their connections if no session is left and none
    /// can be on its way.
    pub async fn remove_unreachable(
        &self,
        user: UserId,
        remove: Option<Revoke>,
    ) -> Result<usize, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                // By the time that replicas agree on: one with a fast clock must not end the sessions of the others.
                let now = tx.now().await?;
                let of_user = || [user.to_string().into(), now.unix_ms().into()];
                tx.run("DELETE FROM session WHERE user_id = $1 AND expires_at <= $2", of_user()).await?;
                // The host answers for its own users; no session does.
                let external = "SELECT 1 AS found FROM external_user WHERE user_id = $1";
                if tx.one(external, [user.to_string().into()]).await?.is_some() {
                    return Ok(0);
                }
                // Before anything is looked at: a reconnect that is being saved is waited for, and seen.
                let connections = revocation::lock_of_user(tx, user).await?;
                // A connect is saved before its session is: one that has just been made is looked at again later.
                let fresh = "SELECT 1 AS found FROM token WHERE user_id = $1 AND connected_at > $2 LIMIT 1";
                let grace = now.minus(SIGN_IN_GRACE).unix_ms();
                if tx.one(fresh, [user.to_string().into(), grace.into()]).await?.is_some() {
                    return Ok(0);
                }
                let alive = "SELECT 1 AS found FROM session WHERE user_id = $1 AND expires_at > $2 LIMIT 1";
                let (Some(Revoke(revoke)), None) = (remove, tx.one(alive, of_user()).await?) else {
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

    /// Forgets expired sessions of nobody.
    pub async fn sweep_anonymous_sessions(&self, now: Moment) -> Result<u64, StoreError> {
        self.write(move |tx| {
            let sql = "DELETE FROM session WHERE user_id IS NULL AND expires_at <= $1";
            let values = [now.unix_ms().into()];
            Box::pin(async move { tx.run(sql, values).await })
        })
        .await
    }
}

/// Whether grants end at HubSpot too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revoke(pub bool);

/// How long after a connect its session may still be written.
const SIGN_IN_GRACE: Duration = Duration::from_secs(600);
