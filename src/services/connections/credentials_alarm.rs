//! Notifies the host's backend when HubSpot refuses the app's own credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::domain::event::{AppData, EventType};
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::random::Random;
use crate::hubspot::HubSpot;
use crate::services::platform::Base;
use crate::store::WebhookStore;

/// The state of the alarm, as far as this process knows. A new process does not know whether an earlier one has
/// raised it.
#[derive(Debug)]
pub(super) struct CredentialsAlarm {
    store: WebhookStore,
    hubspot: Arc<HubSpot>,
    random: Random,
    state: AtomicU8,
}

const UNKNOWN: u8 = 0;
const RAISED: u8 = 1;
const CLEAR: u8 = 2;

impl CredentialsAlarm {
    pub fn new(base: &Base) -> Self {
        let Base { store, hubspot, random, .. } = base.clone();
        Self { store: store.webhooks, hubspot, random, state: AtomicU8::new(UNKNOWN) }
    }

    /// Sets the state and returns whether it has changed.
    fn set(&self, state: u8) -> bool {
        self.state.swap(state, Ordering::SeqCst) != state
    }

    /// Records whether HubSpot accepts our credentials. The backend is notified once per outage, by the first
    /// replica.
    pub async fn note(&self, answer: Result<(), &Failure>) {
        let store = &self.store;
        let kind = EventType::AppCredentialsInvalid;
        let noted = match answer {
            Err(failure) if failure.code == FailureCode::ClientRejected => {
                if !self.set(RAISED) {
                    return;
                }
                let id = format!("evt_{}", self.random.uuid().simple());
                let (client_id, reason) = (self.hubspot.client_id().to_owned(), failure.code.as_str());
                let data = AppData { client_id, reason };
                store.raise_alarm(kind, id, data).await.map(|_| ())
            }
            // HubSpot checks a grant only after it has accepted the credentials.
            Ok(()) | Err(Failure { class: FailureClass::GrantDead, .. }) => {
                if !self.set(CLEAR) {
                    return;
                }
                store.clear_alarm(kind).await
            }
            Err(_) => return,
        };
        if let Err(why) = noted {
            self.state.store(UNKNOWN, Ordering::SeqCst);
            tracing::error!(error = %why, "failed to record the state of the client credentials");
        }
    }
}
