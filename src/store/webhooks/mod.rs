//! Events, and whom they are told to.

pub(super) mod event;
pub(super) mod webhook_delivery;
pub(super) mod webhook_endpoint;
