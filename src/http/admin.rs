//! The admin listener: its routes, and the hosts by which it may be called.

use std::net::IpAddr;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::uri::Authority;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self as actix, Data, ServiceConfig};
use actix_web::{Error, HttpResponse};
use url::Host;

use super::envelope::only_host;
use super::health;
use super::problem::ProblemCode;
use super::{Web, at};
use crate::domain::origin::is_loopback;

/// Registers the routes. Orchestrators call `/livez` by any host, as on the public listener.
pub fn routes(web: &Data<Web>, routes: &mut ServiceConfig) {
    routes.app_data(web.clone()).service(at("/livez", actix::get().to(health::get_live))).service(
        actix::scope("")
            .wrap(from_fn(check_host))
            .service(at("/readyz", actix::get().to(health::get_ready)))
            .service(at("/metrics", actix::get().to(health::get_metrics))),
    );
}

/// Refuses a request for an unknown host: otherwise a page whose name was made to resolve to this address (DNS
/// rebinding) could read the responses.
async fn check_host<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let web = request.app_data::<Data<Web>>();
    if web.is_some_and(|web| only_host(&request).is_some_and(|host| is_known(host, web))) {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    }
    if let Some(web) = web {
        let problem = ProblemCode::WrongHost.entry();
        web.metrics.http.problems(problem.code.as_str(), problem.status, 1);
    }
    let why = "The Host header is neither an address of this listener nor in ADMIN_HOSTS.\n";
    let answer = HttpResponse::MisdirectedRequest().content_type("text/plain; charset=utf-8").body(why);
    Ok(request.into_response(answer).map_into_right_body())
}

/// Returns whether the listener may be called by this host, with any port.
fn is_known(host: &str, web: &Web) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let Ok(host) = Host::parse(authority.host()) else { return false };
    let listens_at = |address: IpAddr| {
        web.config.server.admin_addr.is_some_and(|own| own.ip().is_unspecified() || own.ip() == address)
    };
    let is_own = match host {
        Host::Domain(ref name) => is_loopback(&Host::Domain(name)),
        Host::Ipv4(address) => address.is_loopback() || listens_at(address.into()),
        Host::Ipv6(address) => address.is_loopback() || listens_at(address.into()),
    };
    is_own || web.config.server.admin_hosts.contains(&host)
}
