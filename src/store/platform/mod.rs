//! What the other sub-domains stand on: keys, sessions, users.

pub(super) mod api_key;
pub(super) mod crypto_meta;
pub(super) mod external_user;
pub(super) mod idempotency;
pub(super) mod reseal;
pub(super) mod session;
