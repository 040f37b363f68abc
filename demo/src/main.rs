//! `cargo demo`: the service, a simulated HubSpot and a host page on another site, in one process. No account, no
//! server, no configuration; Ctrl-C ends all of it and leaves nothing behind.

mod host;
mod options;
mod service;

use std::process::ExitCode;

use clap::Parser;
use fake_hubspot::FakeHubSpot;
use options::Options;

/// An error that stops the demo, printed to the terminal.
type Failure = Box<dyn std::error::Error>;

#[tokio::main]
#[expect(clippy::print_stderr, reason = "errors go to standard error")]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("demo: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut options: Options) -> Result<(), Failure> {
    options.settle_ports()?;
    let folder = tempfile::Builder::new().prefix("hubspot-connect-demo-").tempdir()?;
    let hubspot = FakeHubSpot::start(options.hubspot()).await?;
    let host = host::serve(&options)?;
    let service = service::build(&options, &hubspot, folder.path()).await?;
    let stop = hubspot_connect::lifecycle::stop_on_signal()?;
    let api_key = service::api_key(&service).await?;
    greet(&options, &hubspot, api_key.expose());
    service.run(stop, false).await?;
    host.stop(true).await;
    hubspot.stop().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the URL to open goes to standard output")]
fn greet(options: &Options, hubspot: &FakeHubSpot, api_key: &str) {
    println!("\n  Open {}\n", options.host_url());
    println!("  This page of another site has a Connect to HubSpot button.");
    println!("  Service           {}   (its own pages: connections, log out)", options.public_url());
    println!("  Simulated HubSpot {}", hubspot.base_url());
    println!("  Key for backends  {api_key}");
    println!("  Access tokens live {} s, so a refresh comes soon. Ctrl-C ends it.\n", options.token_seconds);
}
