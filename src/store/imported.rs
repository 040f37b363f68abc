//! Connections that are brought from elsewhere, with refresh tokens that others have obtained.

use super::connect::{NewTokens, put};
use super::{Store, StoreError, refresh_job};
use crate::domain::id::{ConnectionId, UserId};

impl Store {
    /// The connection of a user that was made of this refresh token, by an import or otherwise.
    pub async fn imported(
        &self,
        user: UserId,
        client_id: &str,
        refresh_fingerprint: &str,
    ) -> Result<Option<ConnectionId>, StoreError> {
        let sql = "SELECT id FROM token WHERE user_id = $1 AND client_id = $2 \
                   AND (refresh_fingerprint = $3 OR imported_fingerprint = $3) LIMIT 1";
        let values =
            [user.to_string().into(), client_id.to_owned().into(), refresh_fingerprint.to_owned().into()];
        self.one(sql, values).await?.map(|row| row.parsed("id")).transpose()
    }

    /// Whether any connection was made of this refresh token, which HubSpot may have replaced since.
    pub async fn was_imported(&self, refresh_fingerprint: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 AS found FROM token WHERE imported_fingerprint = $1 LIMIT 1";
        Ok(self.one(sql, [refresh_fingerprint.to_owned().into()]).await?.is_some())
    }

    /// Saves a connection with the fingerprint of the refresh token that it was made of: HubSpot may have replaced that
    /// one by now. `false` if the connection has changed since it was read.
    pub async fn save_imported(&self, tokens: NewTokens, brought: String) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let (tokens, brought) = (tokens.clone(), brought.clone());
            Box::pin(async move {
                if !put(tx, &tokens).await? {
                    return Ok(false);
                }
                let id = tokens.connection;
                let sql = "UPDATE token SET imported_fingerprint = $2 WHERE id = $1";
                tx.run(sql, [id.to_string().into(), brought.into()]).await?;
                refresh_job::schedule(tx, [(id, tokens.refresh_at)].into_iter()).await?;
                Ok(true)
            })
        })
        .await
    }
}
