//! Asks HubSpot for the details of a connection's account: its id, domain, user, scopes and time zone.

use std::sync::Arc;

use super::token_seal::open_access;
use crate::domain::clock::Clock;
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::id::ConnectionId;
use crate::domain::refresh_job::backoff;
use crate::domain::secret::Secret;
use crate::domain::token::Token;
use crate::hubspot::{HubSpot, Identity};
use crate::keyring::{Keyring, OpenError};
use crate::services::platform::{Base, Changes};
use crate::store::{ConnectionStore, Details, StoreError};

/// The number of attempts to fetch a time zone that HubSpot refuses.
const MAX_REFUSALS: i64 = 8;

/// The details that a connection lacks. Each comes from its own endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MissingDetails {
    identity: bool,
    time_zone: bool,
}

impl MissingDetails {
    /// All details, for a new connection and for one that was reconnected.
    pub const ALL: Self = Self { identity: true, time_zone: true };

    fn of(token: &Token) -> Self {
        let identity = token.portal_id.is_none() || token.hub_domain.is_none() || token.scopes.is_none();
        Self { identity, time_zone: token.time_zone.is_none() }
    }
}

/// Details of accounts. Clones share everything.
#[derive(Debug, Clone)]
pub struct AccountDetails {
    store: ConnectionStore,
    hubspot: Arc<HubSpot>,
    keyring: Arc<Keyring>,
    clock: Clock,
    changes: Changes,
}

impl AccountDetails {
    pub(super) fn new(base: &Base) -> Self {
        let Base { store, hubspot, keyring, clock, changes, .. } = base.clone();
        Self { store: store.connections, hubspot, keyring, clock, changes }
    }

    /// Asks HubSpot for details and stores them; the background job asks later for those that HubSpot does not return
    /// now. The connection works without them.
    pub(super) async fn fetch_account_details(
        &self,
        connection: ConnectionId,
        access: &Secret,
        missing: MissingDetails,
        attempts: i64,
    ) {
        let hubspot = &self.hubspot;
        let (identity, time_zone) = tokio::join!(
            async { if missing.identity { hubspot.introspect(access).await.map(Some) } else { Ok(None) } },
            async { if missing.time_zone { hubspot.time_zone(access).await } else { Ok(None) } },
        );
        let (identity, unknown) = split(identity);
        let (time_zone, unanswered) = split(time_zone);
        let unanswered =
            unanswered.filter(|failure| is_transient(failure) || attempts.saturating_add(1) < MAX_REFUSALS);
        let due = [&unknown, &unanswered].into_iter().flatten().map(|failure| {
            tracing::warn!(connection = %connection, code = failure.code.as_str(), "failed to fetch account details");
            self.clock.now().plus(pause(failure, attempts))
        });
        let due = due.max();
        let details = identity.map_or_else(Details::default, Details::from);
        if let Err(why) = self.store.save_details(connection, Details { time_zone, ..details }, due).await {
            tracing::error!(connection = %connection, error = %why, "failed to save account details");
        }
    }

    /// Asks for the details of connections that still lack them.
    pub async fn fetch_missing_details(&self) -> Result<(), StoreError> {
        for token in self.store.details_due(self.clock.now(), 16).await? {
            match open_access(&self.keyring, &token) {
                Ok(access) => {
                    let missing = MissingDetails::of(&token);
                    self.fetch_account_details(token.id, &access, missing, token.details_attempts).await;
                }
                // The key may be configured again.
                Err(OpenError::UnknownKey(_)) => {
                    let due = self.clock.now().plus(backoff(token.details_attempts.saturating_add(3), 1.0));
                    self.store.save_details(token.id, Details::default(), Some(due)).await?;
                }
                Err(OpenError::Damaged | OpenError::Misplaced) => {
                    let now = self.clock.now();
                    self.store
                        .mark_damaged(token.id, token.generation, FailureCode::IntegrityError, now)
                        .await?;
                }
            }
            self.changes.publish(token.user_id);
        }
        Ok(())
    }
}

fn split<T>(answer: Result<Option<T>, Failure>) -> (Option<T>, Option<Failure>) {
    match answer {
        Ok(found) => (found, None),
        Err(failure) => (None, Some(failure)),
    }
}

fn is_transient(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::Transient { .. })
}

/// Returns how long to wait after a failure: as long as HubSpot asks for, at least.
fn pause(failure: &Failure, attempts: i64) -> std::time::Duration {
    let usual = backoff(attempts.saturating_add(3), 1.0);
    match failure.class {
        FailureClass::Transient { retry_after: Some(asked) } => usual.max(asked),
        _ => usual,
    }
}

impl From<Identity> for Details {
    fn from(identity: Identity) -> Self {
        let Identity { portal_id, hub_domain, hub_user, scopes } = identity;
        Self { portal_id: Some(portal_id), hub_domain, hub_user, time_zone: None, scopes }
    }
}
