//! Webhooks to the host's backend.

mod deliveries;
mod endpoints;
mod events;
mod retention;
mod secrets;

use std::sync::Arc;

pub use deliveries::Deliveries;
pub use endpoints::{Endpoints, WebhookError};
pub use events::Events;
pub use secrets::Unreadable;

use super::platform::Base;
use crate::config::Config;
use crate::webhook::Webhooks as Sender;

/// Webhooks to the host's backend. Clones share everything.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// The endpoints.
    pub endpoints: Endpoints,
    /// Deliveries to the endpoints.
    pub deliveries: Deliveries,
    /// The events.
    pub(crate) events: Events,
}

impl Webhooks {
    pub(super) fn new(base: &Base, config: &Config) -> Self {
        let sender = Arc::new(Sender::new(&config.webhooks, &config.proxies));
        let deliveries = Deliveries::new(base, &sender);
        let endpoints = Endpoints::new(base, &sender, &deliveries);
        Self { endpoints, deliveries, events: Events::new(base) }
    }
}
