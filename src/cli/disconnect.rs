//! `connections disconnect|revoke`: ending connections by hand.

use std::process::ExitCode;

use indicatif::ProgressBar;

use super::{Failure, configured, print_line, with_services};
use crate::domain::connection::Revocation;
use crate::domain::id::ConnectionId;
use crate::domain::token::Token;
use crate::services::{Disconnected, Services};

/// How many connections are ended side by side.
const PARALLEL_DISCONNECTS: u32 = 8;

/// What became of the grants at HubSpot.
#[derive(Debug, Default)]
struct Counts {
    revoked: u64,
    queued: u64,
    kept: u64,
}

impl Counts {
    fn add(&mut self, ended: Option<Disconnected>) {
        match ended.map(|ended| ended.revocation) {
            Some(Revocation::Done) => self.revoked += 1,
            Some(Revocation::Queued) => self.queued += 1,
            Some(Revocation::Skipped) => self.kept += 1,
            // Somebody else has ended it in the meantime.
            None => {}
        }
    }

    fn print(&self) {
        let Self { revoked, queued, kept } = self;
        print_line(format_args!(
            "{} connection(s) have ended; {revoked} of their grants at HubSpot too",
            revoked + queued + kept
        ));
        if *queued > 0 {
            print_line(format_args!(
                "{queued} grant(s) could not be ended yet: the service goes on trying for a day"
            ));
        }
        if *kept > 0 {
            print_line(format_args!(
                "{kept} grant(s) stay valid at HubSpot: shared with another connection, or not readable"
            ));
        }
    }
}

pub(super) fn one(id: ConnectionId) -> Result<ExitCode, Failure> {
    let mut counts = Counts::default();
    with_services(&configured()?, async |services, store| {
        let token = store.connections.token(id).await?.ok_or("there is no connection with this id")?;
        counts.add(services.connections.disconnects.disconnect(token.user_id, id, true).await?);
        Ok(())
    })?;
    counts.print();
    Ok(ExitCode::SUCCESS)
}

pub(super) fn all() -> Result<ExitCode, Failure> {
    let mut counts = Counts::default();
    with_services(&configured()?, async |services, store| {
        let stored: i64 = store.connections.count_tokens().await?.iter().map(|(_, count)| count).sum();
        let bar = ProgressBar::new(u64::try_from(stored)?);
        // What is ended is gone from the list, so the first page is always the next one.
        loop {
            let page = store.connections.list_tokens("", PARALLEL_DISCONNECTS).await?;
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
        Ok(())
    })?;
    counts.print();
    Ok(ExitCode::SUCCESS)
}

async fn end(services: Services, token: Token) -> Result<Option<Disconnected>, crate::services::StoreError> {
    services.connections.disconnects.disconnect(token.user_id, token.id, true).await
}
