//! What a process does for itself: starts, forgets, says how it is.

pub(in crate::services) mod readiness;
pub(in crate::services) mod sweep;
