//! `healthcheck`: whether the service on this machine answers.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use super::{Failure, configured, runtime};
use crate::egress;

pub(super) fn run() -> Result<ExitCode, Failure> {
    let mut address = configured()?.server.addr;
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    runtime()?.block_on(async {
        let answer = egress::client()?.get(format!("http://{address}/livez")).send().await?;
        Ok(if answer.status().is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
