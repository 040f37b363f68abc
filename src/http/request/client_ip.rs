//! The address of the client.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;

use crate::http::Web;

/// Returns the address of the client: the peer's, or the one that our own proxies report. `X-Forwarded-For` is read
/// from the right, because only its last entries are written by trusted proxies.
pub fn address(request: &HttpRequest, web: &Web) -> Option<IpAddr> {
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
            // Entries further left were not written by a trusted proxy.
            None => break,
        }
    }
    Some(peer)
}

/// Reads an address, with or without a port.
fn read_hop(hop: &str) -> Option<IpAddr> {
    let address = hop.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}
