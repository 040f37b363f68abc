//! `connections disconnect|revoke`: ending connections by hand.

use std::process::ExitCode;
use std::sync::Arc;

use indicatif::ProgressBar;

use super::{Failure, configured, runtime, say};
use crate::app;
use crate::config::Config;
use crate::domain::chance::Chance;
use crate::domain::clock::Clock;
use crate::domain::id::ConnectionId;
use crate::domain::token::Token;
use crate::services::{Disconnected, Revoked, Services};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

/// How many connections are ended side by side.
const AT_ONCE: u32 = 8;

/// What became of the grants at HubSpot.
#[derive(Debug, Default)]
struct Counts {
    revoked: u64,
    queued: u64,
    kept: u64,
}

impl Counts {
    fn add(&mut self, ended: Option<Disconnected>) {
        match ended.map(|ended| ended.revoked) {
            Some(Revoked::Yes) => self.revoked += 1,
            Some(Revoked::Queued) => self.queued += 1,
            Some(Revoked::Shared | Revoked::No) => self.kept += 1,
            // Somebody else has ended it in the meantime.
            None => {}
        }
    }

    fn tell(&self) {
        let Self { revoked, queued, kept } = self;
        say(format_args!(
            "{} connection(s) have ended; {revoked} of their grants at HubSpot too",
            revoked + queued + kept
        ));
        if *queued > 0 {
            say(format_args!(
                "{queued} grant(s) could not be ended yet: the service goes on trying for a day"
            ));
        }
        if *kept > 0 {
            say(format_args!(
                "{kept} grant(s) stay valid at HubSpot: shared with another connection, or not readable"
            ));
        }
    }
}

pub(super) fn one(id: ConnectionId) -> Result<ExitCode, Failure> {
    let config = configured()?;
    runtime()?.block_on(async {
        let (services, store) = open(&config).await?;
        let token = store.token(id).await?.ok_or("there is no connection with this id")?;
        let mut counts = Counts::default();
        counts.add(services.connections.disconnects.disconnect(token.user_id, id, true).await?);
        close(&services, &store).await;
        counts.tell();
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn all() -> Result<ExitCode, Failure> {
    let config = configured()?;
    runtime()?.block_on(async {
        let (services, store) = open(&config).await?;
        let stored: i64 = store.count_tokens().await?.iter().map(|(_, count)| count).sum();
        let bar = ProgressBar::new(u64::try_from(stored)?);
        let mut counts = Counts::default();
        // What is ended is gone from the list, so the first page is always the next one.
        loop {
            let page = store.list_tokens("", AT_ONCE).await?;
            if page.is_empty() {
                break;
            }
            let begun: Vec<_> =
                page.into_iter().map(|listed| tokio::spawn(end(services.clone(), listed.token))).collect();
            for one in begun {
                counts.add(one.await??);
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
        close(&services, &store).await;
        counts.tell();
        Ok(ExitCode::SUCCESS)
    })
}

async fn end(services: Services, token: Token) -> Result<Option<Disconnected>, crate::services::StoreError> {
    services.connections.disconnects.disconnect(token.user_id, token.id, true).await
}

/// On SQLite this refuses while the service runs: it remembers what it has read.
async fn open(config: &Config) -> Result<(Services, Store), Failure> {
    let metrics = Arc::new(Metrics::default());
    Ok(app::verbs(config, Clock::system(), Chance::system(), metrics).await?)
}

async fn close(services: &Services, store: &Store) {
    services.drain().await;
    store.close().await;
}
