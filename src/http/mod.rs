//! The route table and the order of the layers, on one screen.

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

/// How many lines about problems are logged at once, and in what time one more: users are not that many, and a stranger
/// cannot fill the log.
const LOG_LINES: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
const LOG_LINE_INTERVAL: Duration = Duration::from_millis(100);

/// What the handlers share.
pub struct Web {
    services: Services,
    metrics: Arc<Metrics>,
    templates: Templates,
    config: Config,
    csrf: csrf::Csrf,
    limits: RequestLimits,
    /// The page that describes the API, once it was asked for.
    docs: OnceLock<public_text::PublicText>,
    /// Hosts we are called by: PUBLIC_URL's and the redirect URI's.
    hosts: Vec<String>,
    cookies: cookies::FlowCookies,
    session_key: actix_web::cookie::Key,
}

/// How often something may be done.
struct RequestLimits {
    starts: limits::PerAddress,
    unverified_starts: limits::PerAddress,
    installs: limits::PerAddress,
    stateless_codes: limits::PerProcess,
    wrong_keys: limits::PerAddress,
    /// Lines at the default level about requests that anybody can send.
    lines: limits::PerProcess,
    keys: api::KeyLimits,
}

impl RequestLimits {
    fn new(settings: &config::Server) -> Self {
        Self {
            starts: limits::PerAddress::new(settings.starts_per_minute),
            unverified_starts: limits::PerAddress::new(settings.unverified_starts_per_minute),
            // Of its own, so that what another site makes a browser ask for here does not keep it from connecting.
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
    /// The handlers' share of the service.
    pub fn new(
        config: &Config,
        services: Services,
        metrics: Arc<Metrics>,
        templates: Templates,
    ) -> Data<Self> {
        let secret = &config.security.app_secret;
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

    /// Returns whether GET at this path begins or finishes something. HEAD must not, which programs send that only check a
    /// link.
    fn acts_on_get(&self, path: &str) -> bool {
        matches!(path, START | INSTALL) || self.is_callback(path)
    }

    fn allowed_origins(&self) -> &AllowedOrigins {
        &self.config.security.host_origins
    }

    /// The public routes. The envelope goes around all of them, sessions around those that look at cookies.
    pub fn routes(web: &Data<Self>, routes: &mut ServiceConfig) {
        let callback = web.config.hubspot.redirect_uri.path().to_owned();
        routes
            .app_data(web.clone())
            // Anyone
            .service(
                at("/livez", actix::get().to(health::get_live)).route(actix::head().to(health::get_live)),
            )
            .service(at("/api/openapi.json", actix::get().to(openapi::openapi_document)))
            .service(at("/api/docs", actix::get().to(openapi::get_docs)))
            // A scope, because its name is compared as it stands; a pattern would be tried on every request.
            .service(actix::scope("/static").route("/{file:.*}", actix::get().to(assets::get_asset)))
            // The host's backend
            .configure(api::routes)
            // HubSpot's Marketplace
            .configure(|routes| install::routes(web, routes))
            // The host page, and our own: polls, which keep no session alive
            .service(
                at("/api/hubspot/status", actix::get().to(status::get_status))
                    .wrap(cors::cors(web, "GET"))
                    .wrap(session::layer(web, Use::Poll)),
            )
            .service(
                actix::scope("")
                    .wrap(session::layer(web, Use::Action))
                    // The person's browser, in the popup
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
                    // Whoever was sent a link
                    .service(at(HOSTED_LINK, actix::get().to(link::get_link)))
                    .service(at("/auth/hubspot/link", actix::post().to(link::read_link)))
                    .service(at("/auth/hubspot/link/open", actix::post().to(link::open_link)))
                    .service(
                        at("/api/hubspot/token", actix::post().to(authorization::redeem_pickup_code))
                            .wrap(cors::cors(web, "POST")),
                    )
                    .service(
                        at("/api/hubspot/cancel", actix::post().to(authorization::cancel_attempt))
                            .wrap(cors::cors(web, "POST")),
                    )
                    .service(
                        at("/api/hubspot/disconnect", actix::post().to(disconnect::disconnect_connection))
                            .wrap(cors::cors(web, "POST")),
                    )
                    // The person
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

/// A resource with one method. `route` adds further ones.
fn at(path: &str, route: Route) -> Resource {
    actix::resource(path).route(route)
}
