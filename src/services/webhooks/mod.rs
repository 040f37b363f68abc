//! Webhooks to the host's backend.

pub(in crate::services) mod deliveries;
pub(in crate::services) mod endpoints;
pub(in crate::services) mod events;
