//! What every other part stands on.

pub(in crate::services) mod api_keys;
pub(in crate::services) mod browser_sessions;
pub(in crate::services) mod idempotency;
pub(in crate::services) mod key_check;
pub(in crate::services) mod notifier;
pub(in crate::services) mod reseal;
pub(in crate::services) mod row_cache;
