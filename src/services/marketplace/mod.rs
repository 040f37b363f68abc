//! What begins at HubSpot: installs from its Marketplace, uninstalls in its Webhooks Journal.

pub(in crate::services) mod install;
pub(in crate::services) mod journal;
