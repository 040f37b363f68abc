//! Rows of Session: browser sessions, known by the hash of their key.

use super::{Store, StoreError};
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
}

impl Store {
    /// A session that has not expired.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn session(&self, key: Hash, now: Moment) -> Result<Option<SessionRow>, StoreError> {
        let sql = "SELECT user_id, state, created_at, seen_at, expires_at FROM session \
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
        }))
    }

    /// Writes a session, new or known.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn save_session(&self, session: SessionRow) -> Result<(), StoreError> {
        self.write(move |tx| {
            let sql = "INSERT INTO session (key_hash, user_id, state, created_at, seen_at, expires_at) \
                       VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (key_hash) DO UPDATE SET user_id = excluded.user_id, \
                       state = excluded.state, seen_at = excluded.seen_at, expires_at = excluded.expires_at";
            let values = [
                session.key_hash.text().into(),
                session.user.map(|user| user.to_string()).into(),
                session.state.clone().into(),
                session.created_at.unix_ms().into(),
                session.seen_at.unix_ms().into(),
                session.expires_at.unix_ms().into(),
            ];
            Box::pin(async move { tx.run(sql, values).await.map(|_| ()) })
        })
        .await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn delete_session(&self, key: Hash) -> Result<(), StoreError> {
        self.write(move |tx| {
            let values = [key.text().into()];
            Box::pin(async move {
                tx.run("DELETE FROM session WHERE key_hash = $1", values)
                    .await
                    .map(|_| ())
            })
        })
        .await
    }

    /// Deletes expired sessions and names the users who have no other session.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn sweep_sessions(&self, now: Moment) -> Result<Vec<UserId>, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let sql = "DELETE FROM session WHERE key_hash IN (SELECT key_hash FROM session WHERE expires_at <= $1 \
                           LIMIT 500) RETURNING user_id";
                let mut users: Vec<UserId> = Vec::new();
                for row in tx.all(sql, [now.unix_ms().into()]).await? {
                    users.extend(row.maybe::<UserId>("user_id")?);
                }
                users.sort_unstable();
                users.dedup();
                let mut gone = Vec::new();
                for user in users {
                    let sql = "SELECT 1 AS found FROM session WHERE user_id = $1 LIMIT 1";
                    if tx.one(sql, [user.to_string().into()]).await?.is_none() {
                        gone.push(user);
                    }
                }
                Ok(gone)
            })
        })
        .await
    }
}
