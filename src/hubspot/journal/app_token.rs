//! The app's own access token: of no account, and not stored.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::call::{Answer, MAX_BODY};
use super::super::wire::{ErrorBody, TokenBody};
use super::super::{HubSpot, error};
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::secret::Secret;

/// Asked for by name: without them the journal answers nothing (HubSpot developer docs, "Webhooks journal and management
/// APIs", authentication and scopes).
const SCOPES: &str = "developer.webhooks_journal.read developer.webhooks_journal.subscriptions.read \
                      developer.webhooks_journal.subscriptions.write";
/// A token that has less left is renewed: a call must not outlive it.
const REFRESH_MARGIN: Duration = Duration::from_secs(60);

/// A token, while it is good.
#[derive(Debug)]
pub(super) struct CachedToken {
    pub token: Secret,
    until: Timestamp,
}

/// The token in this process's memory.
#[derive(Debug, Default)]
pub(super) struct AppToken(Mutex<Option<Arc<CachedToken>>>);

impl AppToken {
    /// Forgets this token, unless there is another one by now.
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
    /// The app's own token, a new one if need be (RFC 6749 section 4.4; HubSpot developer docs, "Manage OAuth tokens",
    /// client credentials).
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

/// A refusal of the scopes (RFC 6749 section 5.2, HubSpot's status BAD_SCOPES) is told from every other one.
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
