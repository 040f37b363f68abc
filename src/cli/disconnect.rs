//! `connections disconnect|revoke`: disconnects by hand.

use std::process::ExitCode;

use indicatif::ProgressBar;

use super::{Failure, configured, print_line, with_services};
use crate::domain::connection::Revocation;
use crate::domain::id::ConnectionId;
use crate::domain::token::Token;
use crate::services::{Disconnected, Services};

/// The number of connections that are disconnected at the same time.
const PARALLEL_DISCONNECTS: u32 = 8;

/// The number of grants by the status of their revocation.
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
            // It was already disconnected.
            None => {}
        }
    }

    fn print(&self) {
        let Self { revoked, queued, kept } = self;
        print_line(format_args!(
            "{} connection(s) disconnected; {revoked} of their grants revoked at HubSpot",
            revoked + queued + kept
        ));
        if *queued > 0 {
            print_line(format_args!(
                "{queued} grant(s) could not be revoked yet: the service retries for a day"
            ));
        }
        if *kept > 0 {
            print_line(format_args!(
                "{kept} grant(s) stay valid at HubSpot: shared with another connection, or unreadable"
            ));
        }
    }
}

pub(super) fn one(id: ConnectionId) -> Result<ExitCode, Failure> {
    let mut counts = Counts::default();
    with_services(&configured()?, async |services, store| {
        let token = store.connections.token(id).await?.ok_or("no connection has this id")?;
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
        // Disconnected ones are no longer listed, so the first page is always the next one.
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
