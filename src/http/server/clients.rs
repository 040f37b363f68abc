//! The number of connections that each client has open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use ipnet::IpNet;

use crate::domain::network::subscriber;

/// The open connections of all workers, by client address. Trusted proxies are not counted as clients: each stands
/// for many.
#[derive(Debug)]
pub(super) struct Clients {
    /// The limit on all connections together.
    connections: usize,
    per_client: usize,
    proxies: Vec<IpNet>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// One open connection; dropped when it is closed.
#[derive(Debug)]
pub(super) struct ClientSlot {
    clients: Arc<Clients>,
    /// `None` for a trusted proxy.
    client: Option<IpAddr>,
}

impl Clients {
    /// Admits `per_client` connections of one address. The caller enforces `connections`, the limit on all of them.
    pub fn new(connections: usize, per_client: usize, proxies: Vec<IpNet>) -> Arc<Self> {
        Arc::new(Self { connections, per_client, proxies, open: Mutex::default() })
    }

    /// Counts a connection of this address. `None` if it has too many already.
    pub fn admit(self: &Arc<Self>, address: IpAddr) -> Option<ClientSlot> {
        let address = address.to_canonical();
        let is_proxy = self.proxies.iter().any(|network| network.contains(&address));
        let client = (!is_proxy).then(|| subscriber(address));
        let mut open = self.open();
        if let Some(client) = client {
            let count = open.of.entry(client).or_default();
            if *count >= self.per_client {
                return None;
            }
            *count += 1;
        }
        open.all += 1;
        Some(ClientSlot { clients: Arc::clone(self), client })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics while it holds this lock")
    }
}

impl ClientSlot {
    /// Returns whether idle connections should close early: the client uses a quarter of its limit, or half of all
    /// connections are in use. A trusted proxy keeps its connections.
    pub fn is_needed(&self) -> bool {
        let Some(client) = self.client else { return false };
        let open = self.clients.open();
        let own = open.of.get(&client).copied().unwrap_or_default();
        own * 4 >= self.clients.per_client || open.all * 2 >= self.clients.connections
    }
}

impl Drop for ClientSlot {
    fn drop(&mut self) {
        let mut open = self.clients.open();
        open.all -= 1;
        let Some(client) = self.client else { return };
        if let Some(count) = open.of.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                open.of.remove(&client);
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
    fn clients_have_their_own_limit_and_closed_connections_free_it() {
        let clients = Clients::new(100, 2, vec!["10.0.0.0/8".parse().expect("a network")]);
        let first = clients.admit(address("192.0.2.1"));
        // The same address as a dual-stack socket reports it.
        let second = clients.admit(address("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(clients.admit(address("192.0.2.1")).is_none());
        assert!(clients.admit(address("192.0.2.2")).is_some());
        drop(first);
        assert!(clients.admit(address("192.0.2.1")).is_some());
        drop(second);
        assert!(clients.open().of.is_empty(), "addresses without connections are forgotten");
    }

    #[test]
    fn ipv6_subscribers_count_as_one_client_and_trusted_proxies_are_exempt() {
        let clients = Clients::new(100, 1, vec!["10.0.0.0/8".parse().expect("a network")]);
        let _first = clients.admit(address("2001:db8::1"));
        assert!(clients.admit(address("2001:db8::2")).is_none());
        assert!(clients.admit(address("2001:db8:0:1::1")).is_some());
        let proxied: Vec<_> = (0..10).map(|_| clients.admit(address("10.1.2.3"))).collect();
        assert!(proxied.iter().all(Option::is_some));
    }

    #[test]
    fn full_clients_and_servers_close_idle_connections() {
        let clients = Clients::new(20, 16, vec!["10.0.0.0/8".parse().expect("a network")]);
        let slot = |text: &str| clients.admit(address(text)).expect("a place");
        let few: Vec<_> = (0..3).map(|_| slot("192.0.2.1")).collect();
        assert!(!few[0].is_needed());
        let _fourth = slot("192.0.2.1");
        assert!(few[0].is_needed());
        let other = slot("192.0.2.2");
        assert!(!other.is_needed());
        let proxied: Vec<_> = (0..5).map(|_| slot("10.1.2.3")).collect();
        assert!(other.is_needed(), "half of all");
        assert!(!proxied[0].is_needed());
    }
}
