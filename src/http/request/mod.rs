//! What is read of a request, whoever sends it.

pub(super) mod body;
pub(super) mod body_timeout;
pub(super) mod client_ip;
pub(super) mod cors;
pub(super) mod limits;
pub(super) mod span;
