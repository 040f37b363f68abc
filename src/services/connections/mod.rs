//! Connections: refreshed, lent, listed, imported, ended.

pub(in crate::services) mod access_token;
pub(in crate::services) mod account_details;
pub(in crate::services) mod circuit_breaker;
pub(in crate::services) mod disconnect;
pub(in crate::services) mod import;
pub(in crate::services) mod lease;
pub(in crate::services) mod list;
pub(in crate::services) mod refresh;
pub(in crate::services) mod status;
pub(in crate::services) mod uninstall;
