//! Parts of request handling that browsers and backends share.

pub(super) mod body;
pub(super) mod body_timeout;
pub(super) mod client_ip;
pub(super) mod cors;
pub(super) mod limits;
pub(super) mod query;
pub(super) mod span;
