//! Asks HubSpot whose account a connection is to: the account's number, website, user and time zone.

use super::Flows;
use crate::domain::id::ConnectionId;
use crate::domain::refresh_job::backoff;
use crate::domain::secret::Secret;
use crate::keyring::OpenError;
use crate::store::{Details, StoreError};

impl Flows {
    /// Asks for details and stores them; on failure the background asks again. A connection is good without them.
    pub(super) async fn ask_details(&self, connection: ConnectionId, access: &Secret, attempts: i64) {
        let parts = &self.0;
        let (identity, time_zone) =
            tokio::join!(parts.hubspot.introspect(access), parts.hubspot.time_zone(access));
        let written = match identity {
            Ok(identity) => {
                let details = Details {
                    portal_id: Some(identity.portal_id),
                    hub_domain: identity.hub_domain,
                    hub_user: identity.hub_user,
                    time_zone: time_zone.ok().flatten(),
                    scopes: identity.scopes,
                };
                parts.store.save_details(connection, details).await
            }
            Err(failure) => {
                tracing::warn!(connection = %connection, code = failure.code, "could not learn whose account it is");
                let due = parts.clock.now().plus(backoff(attempts.saturating_add(3), 1.0));
                parts.store.postpone_details(connection, due).await
            }
        };
        if let Err(why) = written {
            tracing::error!(connection = %connection, error = %why, "could not save account details");
        }
    }

    /// Asks for the details of connections that still lack them.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails.
    pub async fn ask_missing_details(&self) -> Result<(), StoreError> {
        let parts = &self.0;
        for token in parts.store.details_due(parts.clock.now(), 16).await? {
            match parts.open_access(&token) {
                Ok(access) => self.ask_details(token.id, &access, token.details_attempts).await,
                // The key may come back.
                Err(OpenError::UnknownKey(_)) => {
                    let due = parts.clock.now().plus(backoff(token.details_attempts.saturating_add(3), 1.0));
                    parts.store.postpone_details(token.id, due).await?;
                }
                Err(OpenError::Damaged | OpenError::Misplaced) => {
                    parts
                        .store
                        .freeze(token.id, token.generation, "integrity_error", parts.clock.now())
                        .await?;
                }
            }
            parts.changed(token.user_id);
        }
        Ok(())
    }
}
