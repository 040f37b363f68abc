//! `healthcheck`: checks whether the service on this machine responds.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

use super::{Failure, configured, runtime};
use crate::domain::proxies::Proxies;
use crate::egress;

/// The timeout of the request.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn run() -> Result<ExitCode, Failure> {
    let mut address = configured()?.server.addr;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    runtime()?.block_on(async {
        let ask =
            egress::client(&Proxies::none())?.get(format!("http://{address}/livez")).timeout(CHECK_TIMEOUT);
        let answer = ask.send().await?;
        Ok(if answer.status().is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
