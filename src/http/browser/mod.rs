//! Routes for browsers: the host's page, the popup, and the pages of this service.

pub(super) mod authorization;
pub(super) mod callback;
pub(super) mod caller;
pub(super) mod connection_body;
pub(super) mod cookies;
pub(super) mod csrf;
pub(super) mod disconnect;
pub(super) mod install;
pub(super) mod link;
pub(super) mod long_poll;
pub(super) mod navigation;
pub(super) mod pages;
pub(super) mod popup;
pub(super) mod session;
pub(super) mod start;
pub(super) mod status;
