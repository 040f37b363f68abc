//! The route table and the order of the middleware, on one screen.

mod admin;
mod api;
mod assets;
mod browser;
mod envelope;
mod health;
mod openapi;
mod paths;
mod problem;
mod public_text;
mod request;
mod server;
mod templates;

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_web::web::{self as actix, Data, ServiceConfig};
use actix_web::{Resource, Route};

pub(crate) use admin::routes as admin_routes;
pub(crate) use envelope::envelope;
pub(crate) use openapi::document;
pub(crate) use problem::ProblemCode;
pub use problem::error_table;
pub(crate) use server::{BACKLOG, Limits, serve};
pub(crate) use templates::Templates;

use browser::{
    authorization, callback, cookies, csrf, disconnect, install, link, pages, popup, session, start, status,
};
use paths::{CALLBACK, HOSTED_LINK, START};
use request::{cors, limits};

use crate::config::marketplace::INSTALL;
use crate::config::{self, Config};
use crate::domain::origin::AllowedOrigins;
use crate::services::{Services, Use};
use crate::telemetry::metrics::Metrics;

/// The number of lines about problems that are logged at once, and the interval for one more: users need fewer, and
/// an attacker cannot fill the log.
const LOG_LINES: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
const LOG_LINE_INTERVAL: Duration = Duration::from_millis(100);

/// The state that the handlers share.
pub struct Web {
    services: Services,
    metrics: Arc<Metrics>,
    templates: Templates,
    config: Config,
    csrf: csrf::Csrf,
    limits: RequestLimits,
    /// The page that describes the API, after the first request for it.
    docs: OnceLock<public_text::PublicText>,
    /// The hosts that requests may name: PUBLIC_URL's and the redirect URI's.
    hosts: Vec<String>,
    cookies: cookies::FlowCookies,
    session_key: actix_web::cookie::Key,
}

/// The rate limits.
struct RequestLimits {
    starts: limits::PerAddress,
    unverified_starts: limits::PerAddress,
    installs: limits::PerAddress,
    stateless_codes: limits::PerProcess,
    wrong_keys: limits::PerAddress,
    /// Log lines at the default level about requests that need no authentication.
    lines: limits::PerProcess,
    keys: api::KeyLimits,
}

impl RequestLimits {
    fn new(settings: &config::Server) -> Self {
        Self {
            starts: limits::PerAddress::new(settings.starts_per_minute),
            unverified_starts: limits::PerAddress::new(settings.unverified_starts_per_minute),
            // A separate limit, so that requests which another site makes a browser send here do not keep its user
            // from connecting.
            installs: limits::PerAddress::new(settings.starts_per_minute),
            stateless_codes: limits::PerProcess::new(
                install::STATELESS_CODES,
                install::STATELESS_CODE_PAUSE,
                settings.starts_per_minute > 0,
            ),
            wrong_keys: limits::PerAddress::new(settings.wrong_keys_per_minute),
            lines: limits::PerProcess::new(LOG_LINES, LOG_LINE_INTERVAL, true),
            keys: api::KeyLimits::new(settings.api_per_minute),
        }
    }
}

impl std::fmt::Debug for Web {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Web").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl Web {
    /// Returns the state that the handlers share.
    pub fn new(
        config: &Config,
        services: Services,
        metrics: Arc<Metrics>,
        templates: Templates,
    ) -> Data<Self> {
        let secret = &config.security.app_secret;
        for code in ProblemCode::ALL {
            metrics.http.problems(code.as_str(), code.entry().status, 0);
        }
        let session_key = secret.derive::<64>("session cookie");
        let hosts = [&config.server.public_url, &config.hubspot.redirect_uri];
        Data::new(Self {
            services,
            metrics,
            templates,
            csrf: csrf::Csrf::new(secret),
            limits: RequestLimits::new(&config.server),
            docs: OnceLock::new(),
            hosts: hosts.into_iter().flat_map(envelope::authorities).collect(),
            cookies: cookies::FlowCookies::new(config.server.secure_cookies()),
            session_key: actix_web::cookie::Key::from(&session_key[..]),
            config: config.clone(),
        })
    }

    fn is_callback(&self, path: &str) -> bool {
        path == CALLBACK || path == self.config.hubspot.redirect_uri.path()
    }

    /// Returns whether GET at this path starts or finishes something. HEAD must not: programs send it only to check a
    /// link.
    fn acts_on_get(&self, path: &str) -> bool {
        matches!(path, START | INSTALL) || self.is_callback(path)
    }

    fn allowed_origins(&self) -> &AllowedOrigins {
        &self.config.security.host_origins
    }

    /// Registers the public routes. The envelope wraps all of them, sessions wrap those that use cookies.
    pub fn routes(web: &Data<Self>, routes: &mut ServiceConfig) {
        let callback = web.config.hubspot.redirect_uri.path().to_owned();
        routes
            .app_data(web.clone())
            // Any caller
            .service(
                at("/livez", actix::get().to(health::get_live)).route(actix::head().to(health::get_live)),
            )
            .service(at("/api/openapi.json", actix::get().to(openapi::openapi_document)))
            .service(at("/api/docs", actix::get().to(openapi::get_docs)))
            // A scope, because its prefix is compared literally; a pattern would be matched against every request.
            .service(actix::scope("/static").route("/{file:.*}", actix::get().to(assets::get_asset)))
            // The host's backend
            .configure(api::routes)
            // HubSpot's Marketplace
            .configure(|routes| install::routes(web, routes))
            // The host's page and our own: polls, which do not keep a session alive
            .service(
                at("/api/hubspot/status", actix::get().to(status::get_status))
                    .wrap(cors::cors(web, "GET"))
                    .wrap(session::layer(web, Use::Poll)),
            )
            .service(
                actix::scope("")
                    .wrap(session::layer(web, Use::Action))
                    // The user's browser, in the popup
                    .service(
                        at(START, actix::get().to(start::start_by_link))
                            .route(actix::post().to(start::start_by_form)),
                    )
                    .service(at("/auth/hubspot/launch", actix::post().to(start::verify_opener)))
                    .service(at("/auth/hubspot/continue", actix::post().to(start::continue_start)))
                    .service(at("/auth/hubspot/launched", actix::get().to(start::get_launched)))
                    .service(at("/auth/hubspot/done", actix::get().to(popup::get_done)))
                    .service(at("/auth/hubspot/decide", actix::post().to(popup::decide)))
                    .service(at("/auth/hubspot/handoff", actix::post().to(popup::take_handoff)))
                    .service(
                        actix::resource(vec![CALLBACK.to_owned(), callback])
                            .route(actix::get().to(callback::finish_auth)),
                    )
                    // The user who opens a hosted link
                    .service(at(HOSTED_LINK, actix::get().to(link::get_link)))
                    .service(at("/auth/hubspot/link", actix::post().to(link::read_link)))
                    .service(at("/auth/hubspot/link/open", actix::post().to(link::open_link)))
                    .service(
                        at("/api/hubspot/token", actix::post().to(authorization::redeem_pickup_code))
                            .wrap(cors::cors(web, "POST")),
                    )
                    .service(
                        at(
                            "/api/hubspot/cancel",
                            actix::post().to(authorization::cancel_authorization_request),
                        )
                        .wrap(cors::cors(web, "POST")),
                    )
                    .service(
                        at("/api/hubspot/disconnect", actix::post().to(disconnect::disconnect_connection))
                            .wrap(cors::cors(web, "POST")),
                    )
                    // The user's own pages
                    .service(at("/", actix::get().to(pages::get_index)))
                    .service(at("/login", actix::get().to(pages::get_login)))
                    .service(
                        at("/logout", actix::get().to(pages::get_logout))
                            .route(actix::post().to(pages::logout)),
                    )
                    .default_service(actix::to(problem::not_found)),
            );
    }
}

/// Returns a resource with one method. `route` adds further ones.
fn at(path: &str, route: Route) -> Resource {
    actix::resource(path).route(route)
}
