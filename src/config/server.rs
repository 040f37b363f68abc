//! The listeners and the public URL of the service.

use std::net::{Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use url::{Host, Url};

use super::reader::Reader;
use crate::domain::origin::{Origin, is_loopback, web_url};
use crate::domain::text::is_name;

/// The maximum length of the application's name, in characters.
const MAX_APP_NAME_LENGTH: usize = 60;

/// The listeners, the public URL and the rate limits.
#[derive(Debug, Clone)]
pub struct Server {
    /// SERVER_ADDR, or PORT on all addresses.
    pub addr: SocketAddr,
    /// ADMIN_ADDR; `None` if it is `off`.
    pub admin_addr: Option<SocketAddr>,
    /// ADMIN_HOSTS.
    pub admin_hosts: Vec<Host>,
    /// PUBLIC_URL: scheme, host and port.
    pub public_url: Url,
    /// APP_NAME.
    pub app_name: Option<String>,
    /// TRUSTED_PROXIES.
    pub trusted_proxies: Vec<IpNet>,
    /// HSTS_INCLUDE_SUBDOMAINS.
    pub hsts_subdomains: bool,
    /// MAX_CONNECTIONS.
    pub max_connections: usize,
    /// MAX_CONNECTIONS_PER_CLIENT.
    pub max_connections_per_client: usize,
    /// KEEP_ALIVE_SECONDS.
    pub keep_alive: u64,
    /// ALTERNATE_HOSTS, in the spelling of a `Host` header.
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
        Self {
            addr: addr(reader),
            admin_addr: match reader.switched("ADMIN_ADDR") {
                Some(false) => None,
                _ => reader.parsed("ADMIN_ADDR", "an address and a port such as 127.0.0.1:9464, or `off`"),
            },
            admin_hosts: reader
                .items("ADMIN_HOSTS", |item| Host::parse(item).map_err(|_| "is not a host without a port")),
            trusted_proxies: proxies(reader),
            public_url: public_url(reader),
            app_name: app_name(reader),
            hsts_subdomains: reader.switch("HSTS_INCLUDE_SUBDOMAINS"),
            max_connections: reader.number("MAX_CONNECTIONS", 16..=1_000_000),
            max_connections_per_client: reader.number("MAX_CONNECTIONS_PER_CLIENT", 16..=1_000_000),
            keep_alive: reader.number("KEEP_ALIVE_SECONDS", 1..=3600),
            alternate_hosts: reader.items("ALTERNATE_HOSTS", |item| {
                let host = item.to_ascii_lowercase();
                let is_host = as_in_header(&host).as_ref() == Some(&host);
                is_host.then_some(host).ok_or("is not a host, or a host and a port")
            }),
            starts_per_minute: reader.number("RATE_LIMIT_START_PER_MINUTE", 0..=1_000_000),
            unverified_starts_per_minute: reader
                .number("RATE_LIMIT_UNVERIFIED_START_PER_MINUTE", 0..=1_000_000),
            api_per_minute: reader.number("RATE_LIMIT_API_PER_MINUTE", 0..=1_000_000),
            wrong_keys_per_minute: reader.number("RATE_LIMIT_WRONG_KEYS_PER_MINUTE", 0..=1_000_000),
        }
    }

    /// Returns whether cookies can be `Secure`: with https, and on this machine, where browsers trust plain http.
    pub fn secure_cookies(&self) -> bool {
        self.public_url.scheme() == "https" || self.is_local_http()
    }

    /// Returns whether PUBLIC_URL is plain http on this machine. Safari does not keep its `Secure` cookies.
    pub(crate) fn is_local_http(&self) -> bool {
        self.public_url.scheme() == "http" && self.public_url.host().is_some_and(|host| is_loopback(&host))
    }

    /// Returns whether clients behind a proxy may share one rate limit: the service itself has no TLS, so https is
    /// terminated by a proxy, and none is trusted.
    pub(crate) fn lacks_trusted_proxies(&self) -> bool {
        self.public_url.scheme() == "https" && self.trusted_proxies.is_empty()
    }

    /// Returns the origin of PUBLIC_URL.
    pub fn origin(&self) -> Origin {
        Origin::of(&self.public_url)
    }
}

fn addr(reader: &mut Reader<'_>) -> SocketAddr {
    // Platforms that set PORT connect to it from outside the container.
    if reader.first_set(&["SERVER_ADDR", "PORT"]) == "PORT" {
        return SocketAddr::from((Ipv6Addr::UNSPECIFIED, reader.number("PORT", 1..=65_535)));
    }
    let loopback = SocketAddr::from(([127, 0, 0, 1], 6001));
    reader.parsed("SERVER_ADDR", "an address and a port such as 127.0.0.1:6001").unwrap_or(loopback)
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

fn app_name(reader: &mut Reader<'_>) -> Option<String> {
    let name = Some(reader.text("APP_NAME")).filter(|name| !name.is_empty())?;
    if !is_name(name) || name.chars().count() > MAX_APP_NAME_LENGTH {
        reader.problem(
            "APP_NAME",
            "must have 1 to 60 characters, none of them control or invisible characters",
        );
    }
    Some(name.to_owned())
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

fn public_url(reader: &mut Reader<'_>) -> Url {
    let insists = reader.text("ALLOW_INSECURE") == "i-know";
    let url = match web_url(reader.text("PUBLIC_URL")) {
        Some(url) if insists && url.scheme() == "http" => Some(url),
        _ => reader.url("PUBLIC_URL"),
    };
    let url = url.unwrap_or_else(|| Url::parse("http://localhost:6001").expect("a constant URL"));
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        reader.problem("PUBLIC_URL", "must have only scheme, host and port, without path or query");
    }
    url
}
