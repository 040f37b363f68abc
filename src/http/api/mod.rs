//! The server-to-server API: for the host's backend, by API key. No cookie is looked at here, so no other site can
//! borrow a browser's, and there is nothing that a key is filled in for: without one nothing is answered (RFC 6750).

mod body;
mod caller;
pub(super) mod connect_sessions;
pub(super) mod keys;

use actix_web::web::{self as actix, ServiceConfig};

pub(super) use caller::challenge;

/// The routes, before those of the browser: a scope is taken by the first that fits.
pub(super) fn routes(routes: &mut ServiceConfig) {
    routes
        .service(actix::resource("/api/hubspot/api-key").route(actix::get().to(keys::get_api_key)))
        .service(
            actix::resource("/api/hubspot/connect-sessions")
                .route(actix::post().to(connect_sessions::create_connect_session)),
        )
        .service(
            actix::resource("/api/hubspot/connect-sessions/{id}")
                .route(actix::get().to(connect_sessions::get_connect_session))
                .route(actix::delete().to(connect_sessions::delete_connect_session)),
        )
        .service(
            actix::resource("/api/hubspot/connect-sessions/{id}/complete")
                .route(actix::post().to(connect_sessions::complete_connect_session)),
        );
}
