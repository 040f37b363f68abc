//! Keeps requests to addresses that others have named away from places that are not public.
//!
//! Such a request comes from inside the operator's network. So a name is resolved once for each request, refused if any
//! of its addresses may not be reached, and connected to at the checked addresses alone (OWASP, Server Side Request
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

/// Finds the addresses of a name.
pub trait Lookup: Send + Sync + fmt::Debug {
    /// The addresses of this name.
    fn lookup(&self, name: &str) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;
}

/// The system's own way.
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

/// How far a request may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// To the public internet.
    Public,
    /// To the public internet and to this machine.
    PublicOrHere,
    /// Anywhere: the operator vouches for the host.
    Anywhere,
}

impl Reach {
    /// Whether this address may be connected to.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::Public => is_public(address),
            Self::PublicOrHere => is_public(address) || address.is_loopback(),
            Self::Anywhere => true,
        }
    }
}

/// Resolves names, and lets none through that leads too far.
#[derive(Debug)]
pub struct SsrfGuard {
    lookup: Arc<dyn Lookup>,
    reach: Reach,
}

impl SsrfGuard {
    /// A guard that asks `lookup` for addresses.
    pub fn new(lookup: Arc<dyn Lookup>, reach: Reach) -> Self {
        Self { lookup, reach }
    }
}

/// The addresses of a name are not all allowed. It comes back out of the HTTP client as the cause of its error.
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

/// Whether a request failed because a [`SsrfGuard`] refused the address.
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
