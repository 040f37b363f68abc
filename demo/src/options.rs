//! The demo's command line, and the URLs that follow from it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use clap::Parser;

use crate::Failure;

/// Run the whole of hubspot-connect on one machine, with a simulated HubSpot.
#[derive(Debug, Parser)]
pub struct Options {
    /// Port of the service; 0 chooses a free one.
    #[arg(long, default_value_t = 6001)]
    pub port: u16,
    /// Port of the host page.
    #[arg(long, default_value_t = 6002)]
    pub host_port: u16,
    /// Port of the simulated HubSpot.
    #[arg(long, default_value_t = 6003)]
    pub hubspot_port: u16,
    /// Token delivery to pages, like TOKEN_DELIVERY.
    #[arg(long, default_value = "handle")]
    pub token_delivery: String,
    /// Lifetime of access tokens in seconds. Below 120 it is shorter than backends request by default.
    #[arg(long, default_value_t = 120)]
    pub token_seconds: i64,
    /// A PostgreSQL URL; by default an SQLite file that is removed with the demo.
    #[arg(long)]
    pub database: Option<String>,
    /// A Cross-Origin-Opener-Policy for the simulated HubSpot, to see a popup that is cut off.
    #[arg(long)]
    pub coop: Option<String>,
    /// Origin of another page that may connect; may be given more than once.
    #[arg(long = "origin")]
    pub origins: Vec<String>,
    /// Idle lifetime of a browser session, in seconds.
    #[arg(long, default_value_t = 1800)]
    pub session_seconds: u64,
    /// Log level.
    #[arg(long, default_value = "info")]
    pub log_level: String,
}

impl Options {
    /// Checks that every port is free, and chooses one for each 0.
    pub fn settle_ports(&mut self) -> Result<(), Failure> {
        let ports = [
            ("--port", &mut self.port),
            ("--host-port", &mut self.host_port),
            ("--hubspot-port", &mut self.hubspot_port),
        ];
        // All are held until the last is chosen, so that no port is chosen twice.
        let mut held = Vec::new();
        for (flag, port) in ports {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).map_err(|why| {
                format!("port {port} cannot be used ({why}). Is a demo running already? `cargo demo {flag} 0` takes a free port.")
            })?;
            *port = listener.local_addr()?.port();
            held.push(listener);
        }
        Ok(())
    }

    /// Returns the options of the simulated HubSpot.
    pub fn hubspot(&self) -> fake_hubspot::Options {
        fake_hubspot::Options {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, self.hubspot_port)),
            access_token_seconds: self.token_seconds,
            coop: self.coop.clone(),
            sample_contacts: true,
            ..Default::default()
        }
    }

    /// Returns the URL of the service, by name: a browser keeps it apart from the host page's address.
    pub fn public_url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// Returns the origins whose pages may connect.
    pub fn host_origins(&self) -> String {
        std::iter::once(self.host_url()).chain(self.origins.iter().cloned()).collect::<Vec<_>>().join(",")
    }

    /// Returns the URL of the host page, which is another site because it is another host.
    pub fn host_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.host_port)
    }
}
