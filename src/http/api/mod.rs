//! The server-to-server API: for the host's backend, by API key. No cookie is looked at here, so no other site can
//! borrow a browser's, and there is nothing that a key is filled in for: without one nothing is answered (RFC 6750).

mod body;
mod caller;
mod keys;

use actix_web::web::{self as actix, ServiceConfig};

pub(super) use body::ApiJson;
pub(super) use caller::{caller, challenge};

/// The routes, before those of the browser: a scope is taken by the first that fits.
pub(super) fn routes(routes: &mut ServiceConfig) {
    routes.service(actix::resource("/api/hubspot/api-key").route(actix::get().to(keys::get_api_key)));
}
