//! How many connections each client has open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use ipnet::IpNet;

use crate::http::limits::subscriber;

/// The open connections of all workers, by client address. The trusted proxies are no clients: each stands for many.
#[derive(Debug)]
pub(super) struct Clients {
    most: usize,
    proxies: Vec<IpNet>,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One open connection; dropped when it is closed.
#[derive(Debug)]
pub(super) struct Place(Option<(Arc<Clients>, IpAddr)>);

impl Clients {
    /// At most so many connections of one address.
    pub fn new(most: usize, proxies: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { most, proxies, open: Mutex::default() })
    }

    /// Counts a connection of this address. `None` if it has too many already.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = address.to_canonical();
        if self.proxies.iter().any(|network| network.contains(&address)) {
            return Some(Place(None));
        }
        let client = subscriber(address);
        let mut open = self.open();
        let count = open.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place(Some((Arc::clone(self), client))))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().expect("nothing panics while it holds this lock")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((clients, client)) = &self.0 else { return };
        let mut open = clients.open();
        if let Some(count) = open.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                open.remove(client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_client_has_its_own_limit_and_a_closed_connection_makes_room() {
        let clients = Clients::new(2, vec!["10.0.0.0/8".parse().expect("a network")]);
        let first = clients.admit(address("192.0.2.1"));
        // The same address as a socket for both protocols shows it.
        let second = clients.admit(address("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(clients.admit(address("192.0.2.1")).is_none());
        assert!(clients.admit(address("192.0.2.2")).is_some());
        drop(first);
        assert!(clients.admit(address("192.0.2.1")).is_some());
        drop(second);
        assert!(clients.open().is_empty(), "addresses without connections are forgotten");
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_client_and_a_trusted_proxy_is_none() {
        let clients = Clients::new(1, vec!["10.0.0.0/8".parse().expect("a network")]);
        let _first = clients.admit(address("2001:db8::1"));
        assert!(clients.admit(address("2001:db8::2")).is_none());
        assert!(clients.admit(address("2001:db8:0:1::1")).is_some());
        let proxied: Vec<_> = (0..10).map(|_| clients.admit(address("10.1.2.3"))).collect();
        assert!(proxied.iter().all(Option::is_some));
    }
}
