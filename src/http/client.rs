//! The other end: its address, and which pages elsewhere may read our answers.

use std::net::{IpAddr, SocketAddr};

use actix_cors::Cors;
use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, IF_NONE_MATCH};

use super::Web;
use super::attempt::VERIFIER;

/// Listed origins may ask and read, without credentials: a cookie of ours says nothing about somebody else's page.
pub(super) fn cors(web: &Web, method: &str) -> Cors {
    let (allowed, own) = (web.allowed_origins().clone(), web.config.server.origin());
    Cors::default()
        .allowed_origin_fn(move |origin, _| {
            origin.to_str().is_ok_and(|origin| allowed.find(origin).is_some() || origin == own.as_str())
        })
        .allowed_methods([method])
        .allowed_headers([CONTENT_TYPE, IF_NONE_MATCH, HeaderName::from_static(VERIFIER)])
        .expose_headers(["etag", "date", "retry-after"])
        .max_age(600)
}

/// The address of the client: the peer's, or what our own proxies say of it. `X-Forwarded-For` is read from the right,
/// because only its last entries are written by proxies we know.
pub(super) fn address(request: &HttpRequest, web: &Web) -> Option<IpAddr> {
    let proxies = &web.config.server.trusted_proxies;
    let trusted = |address: &IpAddr| proxies.iter().any(|network| network.contains(address));
    let peer = request.peer_addr()?.ip().to_canonical();
    if !trusted(&peer) {
        return Some(peer);
    }
    let lines: Vec<&str> =
        request.headers().get_all("x-forwarded-for").filter_map(|line| line.to_str().ok()).collect();
    for hop in lines.iter().flat_map(|line| line.split(',')).rev() {
        match read_hop(hop.trim()) {
            Some(address) if trusted(&address) => {}
            Some(address) => return Some(address),
            // What stands further left was written by nobody we know.
            None => break,
        }
    }
    Some(peer)
}

/// An address, with or without a port.
fn read_hop(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}
