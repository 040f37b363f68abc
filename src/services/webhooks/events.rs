//! Events as the host's backend reads them, if it is not sent them or has missed some.

use std::time::Duration;

use crate::domain::clock::Clock;
use crate::services::platform::Base;
use crate::store::{Event, StoreError, WantedEvents, WebhookStore};

/// How old an event is before it is listed. By then all transactions that began before it have ended, so nobody who reads
/// on from the last event misses an older one.
const SETTLED: Duration = Duration::from_secs(10);

/// Events. Clones share everything.
#[derive(Debug, Clone)]
pub struct Events {
    store: WebhookStore,
    clock: Clock,
}

impl Events {
    pub(super) fn new(base: &Base) -> Self {
        Self { store: base.store.webhooks.clone(), clock: base.clock.clone() }
    }

    /// Returns the events that are asked for, the oldest first, at most `limit`.
    pub async fn list(&self, wanted: WantedEvents, limit: u32) -> Result<Vec<Event>, StoreError> {
        let settled = self.clock.now().minus(SETTLED);
        let before = wanted.created_before.map_or(settled, |before| before.min(settled));
        self.store.events(WantedEvents { created_before: Some(before), ..wanted }, limit).await
    }
}
