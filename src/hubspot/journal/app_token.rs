//! The app's own access token, which belongs to no account and is not stored.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::call::{Answer, MAX_BODY};
use super::super::wire::{ErrorBody, TokenBody};
use super::super::{HubSpot, error};
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::secret::Secret;

/// Requested explicitly: without these scopes the journal rejects every request (HubSpot developer docs, "Webhooks
/// journal and management APIs", authentication and scopes).
const SCOPES: &str = "developer.webhooks_journal.read developer.webhooks_journal.subscriptions.read \
                      developer.webhooks_journal.subscriptions.write";
/// A token with less time left is replaced: a call must not outlive it.
const REFRESH_MARGIN: Duration = Duration::from_secs(60);

/// A token and the end of its use.
#[derive(Debug)]
pub(super) struct CachedToken {
    pub token: Secret,
    until: Timestamp,
}

/// The token, in this process's memory only.
#[derive(Debug, Default)]
pub(super) struct AppToken(Mutex<Option<Arc<CachedToken>>>);

impl AppToken {
    /// Forgets this token, unless it has already been replaced.
    pub fn forget(&self, refused: &Arc<CachedToken>) {
        let mut held = self.lock();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(held, refused)) {
            *held = None;
        }
    }

    fn good_at(&self, now: Timestamp) -> Option<Arc<CachedToken>> {
        self.lock().clone().filter(|held| held.until > now)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<CachedToken>>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

impl HubSpot {
    /// Returns the app's own token, and requests a new one if necessary (RFC 6749 section 4.4; HubSpot developer docs,
    /// "Manage OAuth tokens", client credentials).
    pub(super) async fn app_token(&self) -> Result<Arc<CachedToken>, Failure> {
        let now = self.calls.clock.now();
        if let Some(held) = self.journal.token.good_at(now) {
            return Ok(held);
        }
        let fields = &[("grant_type", "client_credentials"), ("scope", SCOPES)];
        let ask = |client| async move {
            let Answer { status, body } =
                self.calls.ask(self.form(client, "/token", fields), MAX_BODY).await?;
            match status {
                200..=299 => serde_json::from_slice(&body)
                    .map_err(|_| Failure::transient(FailureCode::ProviderBadResponse)),
                _ => Err(refused(&body)),
            }
        };
        let grant = self.with_each_secret(ask).await.map(TokenBody::into_grant)?;
        let until = now.plus(grant.expires_in).minus(REFRESH_MARGIN.min(grant.expires_in / 2));
        let held = Arc::new(CachedToken { token: grant.access, until });
        *self.journal.token.lock() = Some(Arc::clone(&held));
        Ok(held)
    }
}

/// Returns the failure for a refusal. Missing scopes (RFC 6749 section 5.2, HubSpot's status BAD_SCOPES) have their own
/// code.
fn refused(body: &[u8]) -> Failure {
    let said: Option<ErrorBody> = serde_json::from_slice(body).ok();
    let is_scopes = said.is_some_and(|said| {
        said.error.as_deref() == Some("invalid_scope") || said.status.as_deref() == Some("BAD_SCOPES")
    });
    if is_scopes {
        return Failure::our_fault(FailureCode::JournalScopesMissing);
    }
    error::refused_body(body, error::Asked::Other)
}
