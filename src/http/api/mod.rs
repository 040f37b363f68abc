//! The server-to-server API: for the host's backend, by API key. No cookie is read here, so no other site can use a
//! browser's session, and no request is answered without a key (RFC 6750).

mod caller;
pub(super) mod connect_sessions;
pub(super) mod connections;
pub(super) mod events;
mod idempotency;
pub(super) mod installs;
pub(super) mod keys;
mod limits;
mod pagination;
pub(super) mod proxy;
pub(super) mod read_tokens;
pub(super) mod token;
mod webhook_bodies;
pub(super) mod webhooks;

use actix_web::guard::fn_guard;
use actix_web::middleware::from_fn;
use actix_web::web::{self as actix, ServiceConfig};

use crate::http::at;

pub(super) use caller::challenge;
pub(super) use limits::{KeyLimits, add_rate_limit_headers};
pub(super) use proxy::PassedOn;

/// The first segments of this API's paths, after `/api/hubspot/`.
const SIDES: [&str; 7] =
    ["api-key", "connections", "connect-sessions", "events", "installs", "read-tokens", "webhooks"];

/// Registers the routes, before those of the browser: a path is handled by the first scope that matches.
pub(super) fn routes(routes: &mut ServiceConfig) {
    let ours = fn_guard(|request| is_ours(request.head().uri.path()));
    routes.service(
        actix::scope("")
            .guard(ours)
            .wrap(from_fn(idempotency::once))
            .configure(resources)
            .default_service(actix::to(crate::http::problem::not_found)),
    );
}

fn is_ours(path: &str) -> bool {
    let first = path.strip_prefix("/api/hubspot/").map(|rest| rest.split('/').next().unwrap_or_default());
    first.is_some_and(|first| SIDES.contains(&first))
}

/// Registers the resources. Routes are tried in order, and patterns are slow. So the scopes come first, whose names are
/// compared literally: the access token, which a backend fetches before each of its own calls, and the proxy, which it
/// calls instead.
fn resources(routes: &mut ServiceConfig) {
    routes
        .configure(connections::routes)
        .service(at("/api/hubspot/api-key", actix::get().to(keys::get_api_key)))
        .service(
            at("/api/hubspot/connect-sessions", actix::post().to(connect_sessions::create_connect_session))
                .route(actix::get().to(connect_sessions::list_connect_sessions)),
        )
        .service(
            at("/api/hubspot/connect-sessions/{id}", actix::get().to(connect_sessions::get_connect_session))
                .route(actix::delete().to(connect_sessions::delete_connect_session)),
        )
        .service(at(
            "/api/hubspot/connect-sessions/{id}/complete",
            actix::post().to(connect_sessions::complete_connect_session),
        ))
        .service(at("/api/hubspot/read-tokens", actix::post().to(read_tokens::create_read_token)))
        .configure(webhooks::routes)
        .service(at("/api/hubspot/events", actix::get().to(events::list_events)))
        .service(at("/api/hubspot/installs", actix::get().to(installs::list_installs)))
        .service(at("/api/hubspot/installs/{id}/claim", actix::post().to(installs::claim_install)));
}
