//! SSRF protection: keeps requests to hosts that callers have named away from private addresses.
//!
//! Such requests come from inside the operator's network. A name is therefore resolved once per request, rejected if
//! any of its addresses is not allowed, and connected to at the checked addresses only (OWASP, Server Side Request
//! Forgery Prevention).

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;

use crate::domain::network::is_public;

/// A resolver of host names.
pub trait Lookup: Send + Sync + fmt::Debug {
    /// Returns the addresses of this name.
    fn lookup(&self, name: &str) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;
}

/// The system's resolver.
#[derive(Debug)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: &str) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>> {
        let name = name.to_owned();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// The addresses that a request may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The public internet.
    Public,
    /// The public internet and this machine.
    PublicOrHere,
    /// Any address: the operator trusts the host.
    Anywhere,
}

impl Reach {
    /// Returns whether this address may be connected to.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Public => is_public(address),
            Self::PublicOrHere => is_public(address) || address.is_loopback(),
            Self::Anywhere => true,
        }
    }
}

/// Resolves names, and rejects those with an address out of reach.
#[derive(Debug)]
pub struct SsrfGuard {
    lookup: Arc<dyn Lookup>,
    reach: Reach,
}

impl SsrfGuard {
    /// Returns a guard that resolves names with `lookup`.
    pub fn new(lookup: Arc<dyn Lookup>, reach: Reach) -> Self {
        Self { lookup, reach }
    }
}

/// One of a name's addresses is not allowed. The HTTP client returns it as the cause of its error.
#[derive(Debug, Error)]
#[error("not a public address")]
struct Blocked;

impl Resolve for SsrfGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, reach) = (self.lookup.lookup(name.as_str()), self.reach);
        Box::pin(async move {
            let found = found.await?;
            if !found.iter().all(|address| reach.allows(*address)) {
                return Err(Blocked.into());
            }
            let addresses: Addrs = Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// Returns whether a request failed because an [`SsrfGuard`] rejected the address.
pub fn was_blocked(why: &reqwest::Error) -> bool {
    let mut cause = why.source();
    while let Some(inner) = cause {
        if inner.is::<Blocked>() {
            return true;
        }
        cause = inner.source();
    }
    false
}
