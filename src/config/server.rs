//! Where the service listens, and what it is called from outside.

use std::net::{Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use url::{Host, Url};

use super::reader::Reader;
use crate::domain::origin::{Origin, is_loopback, web_url};

/// Addresses, the public URL, proxies.
#[derive(Debug, Clone)]
pub struct Server {
    /// SERVER_ADDR, or PORT on all addresses.
    pub addr: SocketAddr,
    /// ADMIN_ADDR; none if it is `off`.
    pub admin_addr: Option<SocketAddr>,
    /// ADMIN_HOSTS.
    pub admin_hosts: Vec<Host>,
    /// PUBLIC_URL: scheme, host and port.
    pub public_url: Url,
    /// TRUSTED_PROXIES.
    pub trusted_proxies: Vec<IpNet>,
    /// HSTS_INCLUDE_SUBDOMAINS.
    pub hsts_subdomains: bool,
    /// Whether cookies can be `Secure`: with https, and on this machine, where browsers trust plain http.
    pub secure_cookies: bool,
    /// MAX_CONNECTIONS.
    pub max_connections: usize,
    /// MAX_CONNECTIONS_PER_CLIENT.
    pub max_connections_per_client: usize,
    /// KEEP_ALIVE_SECONDS.
    pub keep_alive: u64,
    /// ALTERNATE_HOSTS, as a `Host` header names them.
    pub alternate_hosts: Vec<String>,
    /// RATE_LIMIT_START_PER_MINUTE; zero for no limit.
    pub starts_per_minute: u32,
    /// RATE_LIMIT_UNVERIFIED_START_PER_MINUTE; zero for no limit.
    pub unverified_starts_per_minute: u32,
    /// RATE_LIMIT_API_PER_MINUTE; zero for no limit.
    pub api_per_minute: u32,
    /// RATE_LIMIT_WRONG_KEYS_PER_MINUTE; zero for no limit.
    pub wrong_keys_per_minute: u32,
}

impl Server {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let addr = addr(reader);
        let admin_addr = match reader.switched("ADMIN_ADDR") {
            Some(false) => None,
            _ => reader.parsed("ADMIN_ADDR", "an address and a port such as 127.0.0.1:9464, or `off`"),
        };
        let admin_hosts = admin_hosts(reader);
        let trusted_proxies = proxies(reader);
        let (public_url, secure_cookies) = public_url(reader);
        let hsts_subdomains = reader.switch("HSTS_INCLUDE_SUBDOMAINS");
        let mut connections =
            |name| usize::try_from(reader.number(name, 16..=1_000_000)).unwrap_or(usize::MAX);
        let max_connections = connections("MAX_CONNECTIONS");
        let max_connections_per_client = connections("MAX_CONNECTIONS_PER_CLIENT");
        let keep_alive = reader.number("KEEP_ALIVE_SECONDS", 1..=3600);
        let alternate_hosts = alternate_hosts(reader);
        let mut limit = |name| u32::try_from(reader.number(name, 0..=1_000_000)).unwrap_or(u32::MAX);
        Self {
            addr,
            admin_addr,
            admin_hosts,
            public_url,
            trusted_proxies,
            hsts_subdomains,
            secure_cookies,
            max_connections,
            max_connections_per_client,
            keep_alive,
            alternate_hosts,
            starts_per_minute: limit("RATE_LIMIT_START_PER_MINUTE"),
            unverified_starts_per_minute: limit("RATE_LIMIT_UNVERIFIED_START_PER_MINUTE"),
            api_per_minute: limit("RATE_LIMIT_API_PER_MINUTE"),
            wrong_keys_per_minute: limit("RATE_LIMIT_WRONG_KEYS_PER_MINUTE"),
        }
    }

    /// Returns whether PUBLIC_URL is plain http on this machine. Safari does not keep its `Secure` cookies.
    pub(crate) fn is_local_http(&self) -> bool {
        self.public_url.scheme() == "http" && self.public_url.host().is_some_and(|host| is_loopback(&host))
    }

    /// Our own origin.
    pub fn origin(&self) -> Origin {
        Origin::of(&self.public_url)
    }
}

fn addr(reader: &mut Reader<'_>) -> SocketAddr {
    // Platforms that set PORT connect to it from outside of the container.
    if reader.first_set(&["SERVER_ADDR", "PORT"]) == "PORT" {
        let port = reader.number("PORT", 1..=65_535);
        return SocketAddr::from((Ipv6Addr::UNSPECIFIED, u16::try_from(port).unwrap_or_default()));
    }
    let loopback = SocketAddr::from(([127, 0, 0, 1], 6001));
    reader.parsed("SERVER_ADDR", "an address and a port such as 127.0.0.1:6001").unwrap_or(loopback)
}

fn admin_hosts(reader: &mut Reader<'_>) -> Vec<Host> {
    let mut hosts = Vec::new();
    for item in reader.list("ADMIN_HOSTS") {
        match Host::parse(&item) {
            Ok(host) => hosts.push(host),
            Err(_) => reader.problem(
                "ADMIN_HOSTS",
                format_args!("contains `{item}`, which is not a host without a port"),
            ),
        }
    }
    hosts
}

fn alternate_hosts(reader: &mut Reader<'_>) -> Vec<String> {
    let mut hosts = Vec::new();
    for item in reader.list("ALTERNATE_HOSTS") {
        let host = item.to_ascii_lowercase();
        match as_in_header(&host) {
            Some(parsed) if parsed == host => hosts.push(host),
            _ => reader.problem(
                "ALTERNATE_HOSTS",
                format_args!("contains `{item}`, which is not a host, or a host and a port"),
            ),
        }
    }
    hosts
}

/// Returns the host and the port of a URL to this host, as clients write them into a `Host` header.
fn as_in_header(host: &str) -> Option<String> {
    // A URL omits the default port of its scheme; this scheme has none.
    let port = Url::parse(&format!("x://{host}")).ok()?.port();
    let url = Url::parse(&format!("http://{host}")).ok()?;
    let is_in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if let Host::Domain(name) = url.host()?
        && !name.chars().all(is_in_name)
    {
        return None;
    }
    let name = url.host_str()?;
    Some(port.map_or_else(|| name.to_owned(), |port| format!("{name}:{port}")))
}

fn proxies(reader: &mut Reader<'_>) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for item in reader.list("TRUSTED_PROXIES") {
        match item.parse().or_else(|_| item.parse().map(|address: std::net::IpAddr| IpNet::from(address))) {
            Ok(network) => networks.push(network),
            Err(_) => reader.problem("TRUSTED_PROXIES", "must be a list of networks such as 10.0.0.0/8"),
        }
    }
    networks
}

fn public_url(reader: &mut Reader<'_>) -> (Url, bool) {
    let text = reader.text("PUBLIC_URL");
    let insists = reader.text("ALLOW_INSECURE") == "i-know";
    let url = match web_url(text) {
        Some(url) if insists && url.scheme() == "http" => Some(url),
        _ => reader.url("PUBLIC_URL", text),
    };
    let url = url.unwrap_or_else(|| Url::parse("http://localhost:6001").expect("a constant URL"));
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        reader.problem("PUBLIC_URL", "must be scheme, host and port alone, without path or query");
    }
    let secure = url.scheme() == "https" || url.host().is_some_and(|host| is_loopback(&host));
    (url, secure)
}
