//! What is told without anybody asking: tokens that have expired, credentials that are refused; and its end.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::domain::event::EventType;
use crate::domain::failure::{Failure, FailureClass};
use crate::services::Services;
use crate::store::StoreError;

/// Whether the refusal of our credentials is told, as far as this process knows. What an earlier process has told, a new
/// one does not know.
#[derive(Debug, Default)]
pub(in crate::services) struct CredentialsAlarm(AtomicU8);

const UNKNOWN: u8 = 0;
const RAISED: u8 = 1;
const CLEAR: u8 = 2;

impl CredentialsAlarm {
    /// Whether that is news.
    fn set(&self, state: u8) -> bool {
        self.0.swap(state, Ordering::SeqCst) != state
    }

    fn forget(&self) {
        self.0.store(UNKNOWN, Ordering::SeqCst);
    }
}

impl Services {
    /// Tells of connections whose access token has expired. Says how many these are.
    pub async fn note_degraded(&self) -> Result<usize, StoreError> {
        let mut all = 0;
        loop {
            let (users, more) = self.0.store.note_degraded(self.0.clock.now()).await?;
            all += users.len();
            let none = users.is_empty();
            for user in users {
                self.0.changes.publish(user);
            }
            if !more || none {
                return Ok(all);
            }
        }
    }

    /// Forgets old events, and gives up deliveries that have waited for too long.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; the next round goes on from there.
    pub(in crate::services) async fn sweep_events(&self) -> Result<(), StoreError> {
        let now = self.0.clock.now();
        let expired = self.0.store.expire_deliveries(now).await?;
        if expired > 0 {
            self.0.metrics.webhooks.expired(expired);
            tracing::warn!(expired, "webhooks have waited for too long and are given up");
        }
        let forgotten = self.0.store.forget_events(now).await?;
        if forgotten > 0 {
            tracing::debug!(forgotten, "forgot old events");
        }
        Ok(())
    }

    /// What HubSpot's answer says of our credentials. It is told once for each outage, by whichever replica is first.
    pub(in crate::services) async fn note_credentials(&self, answer: Result<(), &Failure>) {
        let (store, alarm) = (&self.0.store, &self.0.credentials);
        let kind = EventType::AppCredentialsInvalid;
        let noted = match answer {
            Err(failure) if failure.code == "client_rejected" => {
                if !alarm.set(RAISED) {
                    return;
                }
                let id = format!("evt_{}", self.0.chance.uuid().simple());
                let data = serde_json::json!({
                    "client_id": self.0.hubspot.client_id(),
                    "reason": failure.code,
                });
                store.raise_alarm(kind, id, data).await.map(|_| ())
            }
            // HubSpot looks at a grant only after it has taken the credentials.
            Ok(()) | Err(Failure { class: FailureClass::GrantDead, .. }) => {
                if !alarm.set(CLEAR) {
                    return;
                }
                store.clear_alarm(kind).await
            }
            Err(_) => return,
        };
        if let Err(why) = noted {
            alarm.forget();
            tracing::error!(error = %why, "could not note whether HubSpot takes our credentials");
        }
    }
}
