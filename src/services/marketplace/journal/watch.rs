//! The recent results of reading the journal, which decide what is logged and when it is polled next.

use std::sync::Mutex;
use std::time::Duration;

use super::Journal;
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::journal::pause;

/// The interval between checks that the subscription still exists.
const SUBSCRIPTION_CHECK_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The number of attempts at a broken file: with the pauses in between, an hour.
const MAX_FILE_ATTEMPTS: u32 = 8;

/// The recent results of reading, as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<State>);

#[derive(Debug, Default)]
pub(super) struct State {
    failures: u32,
    /// The failure that was logged and is not over, so that it is logged once.
    reported: Option<FailureCode>,
    subscribed_at: Option<Timestamp>,
    /// The entry whose file could not be read, and the number of attempts.
    broken: Option<(String, u32)>,
}

impl State {
    /// Records that the file of this entry could not be read. Returns whether the entry should be skipped.
    pub fn should_skip(&mut self, offset: &str, code: FailureCode) -> bool {
        // The way to the file is at fault, not the file.
        if matches!(code, FailureCode::ProviderUnreachable | FailureCode::ProviderBusy) {
            return false;
        }
        let before = self.broken.take().filter(|(known, _)| known == offset).map_or(0, |(_, count)| count);
        self.broken = Some((offset.to_owned(), before + 1));
        before + 1 >= MAX_FILE_ATTEMPTS
    }
}

impl Watch {
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().expect("nothing panics while it holds this lock"))
    }
}

impl Journal {
    /// Ensures that HubSpot writes uninstalls into the journal: at the first poll, and once a day.
    pub(super) async fn subscribe(&self) -> Result<(), Failure> {
        let now = self.clock.now();
        let is_known = |state: &mut State| {
            state.subscribed_at.is_some_and(|at| at <= now && now.since(at) < SUBSCRIPTION_CHECK_INTERVAL)
        };
        if self.watch.with(is_known) {
            return Ok(());
        }
        if self.hubspot.subscribe_to_uninstalls().await? {
            tracing::info!("subscribed to uninstalls in the webhooks journal");
        }
        self.watch.with(|state| state.subscribed_at = Some(now));
        Ok(())
    }

    pub(super) fn note_read(&self) {
        self.metrics.journal.succeeded();
        let reported = self.watch.with(|state| {
            state.failures = 0;
            state.reported.take()
        });
        if reported.is_some() {
            tracing::info!("webhooks journal available again");
        }
    }

    /// Logs a failure, once per outage and code, and returns the delay until the next poll.
    pub(super) fn note_unread(&self, failure: &Failure) -> Duration {
        self.metrics.journal.failed(failure);
        let (failures, is_news) = self.watch.with(|state| {
            state.failures = state.failures.saturating_add(1);
            (state.failures, state.reported.replace(failure.code) != Some(failure.code))
        });
        let code = failure.code.as_str();
        match failure.class {
            _ if !is_news => tracing::debug!(code, failures, "webhooks journal still unavailable"),
            _ if failure.code == FailureCode::JournalScopesMissing => {
                tracing::error!(
                    code,
                    scopes = "developer.webhooks_journal.read developer.webhooks_journal.subscriptions.read \
                              developer.webhooks_journal.subscriptions.write",
                    "webhooks journal unavailable; the app lacks scopes, so only refreshes detect uninstalls"
                );
            }
            FailureClass::OurFault | FailureClass::GrantDead => {
                tracing::error!(code, "webhooks journal unavailable; only refreshes detect uninstalls");
            }
            FailureClass::Transient { .. } => {
                tracing::warn!(code, "reading the webhooks journal failed; will retry");
            }
        }
        pause(failure, failures, self.random.unit())
    }
}
