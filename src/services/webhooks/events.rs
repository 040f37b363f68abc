//! Lists events, for backends that cannot receive webhooks or have missed some.

use std::time::Duration;

use crate::domain::clock::{Clock, Timestamp};
use crate::services::platform::Base;
use crate::store::{Event, EventFilter, StoreError, WebhookStore};

/// The age at which an event is listed. By then it does not change any more, and all transactions that began before
/// it have ended, so that a backend that continues from the last event misses none. Events have the time of the
/// database: the clock of this process may be ahead of it by about twenty seconds.
const LISTING_DELAY: Duration = Duration::from_secs(60);

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

    /// Returns the latest time before which events can be listed.
    pub(crate) fn settled(&self) -> Timestamp {
        self.clock.now().minus(LISTING_DELAY)
    }

    /// Returns the events that match the filter, oldest first, at most `limit`.
    pub async fn list(&self, filter: EventFilter, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.store.events(filter, limit).await
    }
}
