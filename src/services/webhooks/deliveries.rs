//! Delivers events to the host's backend: durable, in order, and without delaying anything else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::secrets::{Unreadable, open_secrets};
use crate::crash;
use crate::domain::clock::Clock;
use crate::domain::id::WebhookId;
use crate::domain::random::Random;
use crate::domain::webhook::{After, Attempt, DELIVERIES_PER_ENDPOINT, DeliveryError};
use crate::keyring::Keyring;
use crate::services::platform::{Base, Tasks};
use crate::store::{AcquiredDelivery, StoreError, WebhookStore};
use crate::telemetry::metrics::Metrics;
use crate::webhook::{Message, Webhooks as Sender};

/// The number of deliveries to each endpoint in this process.
#[derive(Debug, Default)]
struct InFlightDeliveries(Mutex<HashMap<WebhookId, usize>>);

impl InFlightDeliveries {
    fn with<T>(&self, id: WebhookId, work: impl FnOnce(&mut usize) -> T) -> T {
        let mut all = self.0.lock().expect("nothing panics while it holds this lock");
        let count = all.entry(id).or_default();
        let result = work(count);
        if *count == 0 {
            all.remove(&id);
        }
        result
    }
}

/// An acquired delivery, which occupies one of its endpoint's slots.
#[derive(Debug)]
pub struct InFlightDelivery {
    acquired: AcquiredDelivery,
    deliveries: Deliveries,
}

impl InFlightDelivery {
    /// Returns the id of the event.
    pub fn event_id(&self) -> &str {
        &self.acquired.event_id
    }
}

impl Drop for InFlightDelivery {
    fn drop(&mut self) {
        let id = self.acquired.endpoint.id;
        self.deliveries.in_flight.with(id, |count| *count = count.saturating_sub(1));
    }
}

/// Deliveries to the host's backend. Clones share everything.
#[derive(Debug, Clone)]
pub struct Deliveries {
    pub(super) store: WebhookStore,
    keyring: Arc<Keyring>,
    pub(super) clock: Clock,
    random: Random,
    pub(super) metrics: Arc<Metrics>,
    owner: Arc<str>,
    tasks: Tasks,
    /// Sends messages to the host's backend.
    sender: Arc<Sender>,
    /// The deliveries in progress.
    in_flight: Arc<InFlightDeliveries>,
}

impl Deliveries {
    pub(super) fn new(base: &Base, sender: &Arc<Sender>) -> Self {
        let Base { store, keyring, clock, random, metrics, owner, tasks, .. } = base.clone();
        let (sender, in_flight) = (Arc::clone(sender), Arc::default());
        Self { store: store.webhooks, keyring, clock, random, metrics, owner, tasks, sender, in_flight }
    }

    /// Acquires deliveries that are due, as many as there are free slots: each endpoint has its own, so that a slow
    /// one does not delay the others. Each must be passed to [`Deliveries::deliver_webhook`].
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; deliveries that were acquired before are due again when their lease has
    /// expired.
    pub async fn acquire_deliveries(&self) -> Result<Vec<InFlightDelivery>, StoreError> {
        let mut all = Vec::new();
        for endpoint in self.store.endpoints_due(self.clock.now()).await? {
            all.extend(self.acquire_deliveries_to(endpoint).await?);
        }
        Ok(all)
    }

    /// The same for one endpoint.
    pub(super) async fn acquire_deliveries_to(
        &self,
        endpoint: WebhookId,
    ) -> Result<Vec<InFlightDelivery>, StoreError> {
        // The slots are taken before the query, because another caller may be acquiring at the same time.
        let room = self.in_flight.with(endpoint, |count| {
            DELIVERIES_PER_ENDPOINT - std::mem::replace(count, DELIVERIES_PER_ENDPOINT)
        });
        if room == 0 {
            return Ok(Vec::new());
        }
        let limit = u32::try_from(room).unwrap_or(u32::MAX);
        let acquired = self.store.acquire_deliveries(&self.owner, endpoint, limit).await;
        let unused = room - acquired.as_ref().map_or(0, Vec::len).min(room);
        self.in_flight.with(endpoint, |count| *count -= unused);
        Ok(acquired?
            .into_iter()
            .map(|acquired| InFlightDelivery { acquired, deliveries: self.clone() })
            .collect())
    }

    /// Makes one attempt at an acquired delivery. It runs to its end even if the caller goes away.
    pub fn deliver_webhook(&self, delivery: InFlightDelivery) -> tokio::task::JoinHandle<()> {
        let deliveries = self.clone();
        self.tasks.detach(async move {
            if let Err(why) = deliveries.attempt_delivery(&delivery.acquired).await {
                let event = &delivery.acquired.event_id;
                tracing::error!(event, error = %why, "failed to record a webhook delivery");
            }
        })
    }

    async fn attempt_delivery(&self, acquired: &AcquiredDelivery) -> Result<(), StoreError> {
        crash::point("webhook.claimed");
        let at = self.clock.now();
        let attempt = match open_secrets(&self.keyring, &acquired.endpoint) {
            Ok(secrets) => {
                let message = Message { id: &acquired.event_id, at, body: &acquired.payload };
                let signing = secrets.good_at(at);
                self.sender.post(&acquired.endpoint.url, message, &signing, secrets.headers()).await
            }
            Err(why) => {
                let error = match why {
                    Unreadable::KeyMissing => DeliveryError::UnknownKey,
                    Unreadable::Damaged => DeliveryError::IntegrityError,
                };
                Attempt { status: None, error: Some(error), retry_after: None }
            }
        };
        crash::point("webhook.answered");
        let after = attempt.after(acquired.attempts, self.random.unit());
        self.metrics.webhooks.attempted(after, attempt.error);
        log(acquired, &attempt, after);
        self.store.note_delivery(acquired, attempt, after, self.clock.now()).await.map(|_| ())
    }
}

fn log(acquired: &AcquiredDelivery, attempt: &Attempt, after: After) {
    let (event, webhook) = (&acquired.event_id, acquired.endpoint.id);
    let (status, code) = (attempt.status, attempt.error.map(DeliveryError::as_str));
    match after {
        After::Delivered => tracing::debug!(event, webhook = %webhook, status, "webhook delivered"),
        After::Again(pause) => tracing::warn!(event, webhook = %webhook, status, code,
            pause_seconds = pause.as_secs(), "webhook delivery failed; will retry"),
        After::Failed => {
            tracing::error!(event, webhook = %webhook, status, code, "webhook delivery failed; giving up");
        }
        After::Gone => {
            tracing::error!(webhook = %webhook, "webhook endpoint returned 410 Gone; endpoint disabled");
        }
    }
}
