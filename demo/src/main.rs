//! `cargo demo`: the service, a simulated HubSpot and a host page on another site, in one process. No account, no
//! server, no configuration; Ctrl-C ends all of it and leaves nothing behind.

mod host;
mod options;
mod service;

use std::process::ExitCode;

use clap::Parser;
use fake_hubspot::FakeHubSpot;
use options::Options;

/// Why the demo does not run, for the person at the terminal.
type Failure = Box<dyn std::error::Error>;

#[tokio::main]
#[expect(clippy::print_stderr, reason = "the person at the terminal is told here")]
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

#[expect(clippy::print_stdout, reason = "the one URL to open goes to standard output")]
fn greet(options: &Options, hubspot: &FakeHubSpot, api_key: &str) {
    println!("\n  Open {}\n", options.host_url());
    println!("  It is a page of another site with a Connect to HubSpot button.");
    println!("  Service           {}   (its own pages: connections, log out)", options.public_url());
    println!("  Simulated HubSpot {}", hubspot.base_url());
    println!("  Key for backends  {api_key}");
    println!(
        "  Access tokens live {} s, so a refresh is soon seen. Ctrl-C ends it.\n",
        options.token_seconds
    );
}
