//! `serve`: HTTP and background jobs until a signal.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{Failure, configured, runtime};
use crate::app::App;
use crate::domain::clock::Clock;
use crate::domain::random::Random;
use crate::{lifecycle, telemetry};

#[derive(Debug, Default, Args)]
pub(super) struct Serve {
    /// Run only one part of the work, if several processes share it.
    #[arg(long, value_enum)]
    only: Option<Half>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Half {
    Web,
}

impl Serve {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        let config = configured()?;
        telemetry::logs::install(&config.logging)?;
        if !config.server.secure_cookies() {
            tracing::warn!("ALLOW_INSECURE is set; cookies and tokens cross the network unencrypted");
        }
        if !config.proxies.is_empty() {
            tracing::warn!(
                "outgoing calls use a proxy; the proxy decides which addresses webhooks can reach"
            );
        }
        if config.server.lacks_trusted_proxies() {
            tracing::warn!(
                "PUBLIC_URL is https and TRUSTED_PROXIES is empty; all clients behind the proxy share one rate limit"
            );
        }
        let public_url = config.server.public_url.clone();
        let database = if config.database.file.is_some() { "sqlite" } else { "postgresql" };
        let web_only = self.only == Some(Half::Web);
        let mode = if web_only { "web" } else { "all" };
        runtime()?.block_on(async {
            let app = App::build(config, Clock::system(), Random::system()).await?;
            let stop = lifecycle::stop_on_signal()?;
            let migrations = app.store().database().schema_status().await?.applied.len();
            let (version, address) = (env!("CARGO_PKG_VERSION"), app.address());
            tracing::info!(version, database, migrations, mode, %address, %public_url, "ready");
            app.run(stop, web_only).await?;
            Ok(ExitCode::SUCCESS)
        })
    }
}
