//! Runs the fake for a browser, until Ctrl-C.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clap::Parser;
use fake_hubspot::{Decision, FakeHubSpot, Options};

/// A HubSpot that runs on your laptop.
#[derive(Parser)]
struct Arguments {
    /// The port on 127.0.0.1; 0 chooses a free one.
    #[arg(long, default_value_t = 8910)]
    port: u16,
    /// Lifetime of an access token.
    #[arg(long, default_value_t = 1800)]
    access_token_seconds: i64,
    /// Replace the refresh token at every refresh and refuse the old one.
    #[arg(long)]
    rotate: bool,
    /// Cross-Origin-Opener-Policy of the consent page, such as same-origin.
    #[arg(long)]
    coop: Option<String>,
    /// The app's client id.
    #[arg(long, default_value = "fake-client-id")]
    client_id: String,
    /// The app's client secret; may be repeated.
    #[arg(long, default_value = "fake-client-secret")]
    client_secret: Vec<String>,
    /// Authorize every request immediately for the first account, without a page.
    #[arg(long)]
    auto_approve: bool,
    /// Delay of every response, in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
    /// Number of calls that are recorded. It may run for days, and readers look at the last few.
    #[arg(long, default_value_t = 10_000)]
    journal_limit: usize,
    /// Number of initial grants; `GET /__grants` lists them.
    #[arg(long, default_value_t = 0)]
    grants: u32,
    /// CRM calls that an account may make in ten seconds; 0 is unlimited.
    #[arg(long, default_value_t = 110)]
    calls_per_ten_seconds: u32,
}

impl Arguments {
    fn into_options(self) -> Options {
        Options {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
            client_id: self.client_id,
            client_secrets: self.client_secret,
            access_token_seconds: self.access_token_seconds,
            rotate_refresh_tokens: self.rotate,
            reject_reused_refresh_tokens: self.rotate,
            coop: self.coop,
            latency: Duration::from_millis(self.latency_ms),
            journal_limit: self.journal_limit,
            grants: self.grants,
            calls_per_ten_seconds: self.calls_per_ten_seconds,
            auto_consent: self.auto_approve.then_some(Decision::Approve { hub_id: 1_234_567, scopes: None }),
            ..Options::default()
        }
    }
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the URL is the output of the command")]
async fn main() -> std::io::Result<()> {
    let hubspot = FakeHubSpot::start(Arguments::parse().into_options()).await?;
    println!("Fake HubSpot: {}", hubspot.base_url());
    tokio::signal::ctrl_c().await?;
    hubspot.stop().await;
    Ok(())
}
