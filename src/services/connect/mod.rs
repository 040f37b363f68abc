//! The authorization flow: begun, brought back, told to the page that began it.

pub(in crate::services) mod account_mismatch;
pub(in crate::services) mod authorization_status;
pub(in crate::services) mod connect_sessions;
pub(in crate::services) mod finish;
pub(in crate::services) mod handoff;
pub(in crate::services) mod session_authorization;
pub(in crate::services) mod start;
