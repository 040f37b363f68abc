//! The authorization flow: requests, sessions, grants on the way to a connection.

pub(super) mod auth_request;
pub(super) mod connect_session;
pub(super) mod pending_grant;
pub(super) mod save;
pub(super) mod starts;
