//! Reads HubSpot's Webhooks Journal for uninstalls, so that they are noticed within a minute or two instead of with
//! the next refresh.
//!
//! A notice ends no connection: it may be old, and the account may have installed the app again. It makes the
//! refreshes of the connections concerned due, and the response to those decides, after a second attempt, as for
//! every refresh.

mod watch;

use std::sync::Arc;
use std::time::Duration;

use crate::crash;
use crate::domain::clock::Clock;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::journal::{JOURNAL_POLL_INTERVAL, Notice};
use crate::domain::random::Random;
use crate::hubspot::HubSpot;
use crate::hubspot::journal::{Entry, Next};
use crate::services::platform::{Base, Changes};
use crate::store::{JournalLease, MarketplaceStore, StoreError};
use crate::telemetry::metrics::Metrics;
use watch::Watch;

/// The number of entries that one poll reads at most: after a long pause there are more, and the lease must not
/// expire.
const MAX_ENTRIES_PER_POLL: usize = 100;
/// The result of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalPoll {
    /// The outcome.
    pub outcome: PollOutcome,
    /// The delay until the next poll.
    pub next_in: Duration,
}

/// The outcome of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PollOutcome {
    /// Another process reads the journal.
    NotOurs,
    /// The journal was read to its end, or up to the limit of entries per poll.
    Read {
        /// The number of entries read.
        entries: usize,
        /// The number of connections that are refreshed because of them.
        concerned: usize,
    },
    /// HubSpot has failed, or could not be reached; the progress before that is stored.
    Failed(Failure),
}

/// A poll that stops before its end.
enum Stop {
    HubSpot(Failure),
    Store(StoreError),
    /// Another process holds the lease by now.
    Lost,
}

impl From<Failure> for Stop {
    fn from(why: Failure) -> Self {
        Self::HubSpot(why)
    }
}

impl From<StoreError> for Stop {
    fn from(why: StoreError) -> Self {
        Self::Store(why)
    }
}

#[derive(Debug, Default)]
struct Progress {
    entries: usize,
    concerned: usize,
}

/// Reads HubSpot's Webhooks Journal. Clones share everything.
#[derive(Debug, Clone)]
pub struct Journal {
    store: MarketplaceStore,
    hubspot: Arc<HubSpot>,
    clock: Clock,
    random: Random,
    metrics: Arc<Metrics>,
    owner: Arc<str>,
    changes: Changes,
    /// The recent results of reading.
    watch: Arc<Watch>,
}

impl Journal {
    pub(super) fn new(base: &Base) -> Self {
        let Base { store, hubspot, clock, random, metrics, owner, changes, .. } = base.clone();
        Self {
            store: store.marketplace,
            hubspot,
            clock,
            random,
            metrics,
            owner,
            changes,
            watch: Arc::default(),
        }
    }

    /// Returns whether the journal is to be read at all.
    pub fn reads_journal(&self) -> bool {
        self.hubspot.settings().webhooks_journal
    }

    /// Reads new entries of the journal, unless another process does.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; no entry is skipped, but entries may be read again.
    pub async fn read_journal(&self) -> Result<JournalPoll, StoreError> {
        let acquired = self.store.acquire_journal(self.hubspot.client_id(), &self.owner).await?;
        let Some(lease) = acquired else {
            return Ok(JournalPoll { outcome: PollOutcome::NotOurs, next_in: JOURNAL_POLL_INTERVAL });
        };
        let mut progress = Progress::default();
        match self.read_on(lease, &mut progress).await {
            Ok(()) => {
                self.note_read();
                let next_in = if progress.entries < MAX_ENTRIES_PER_POLL {
                    JOURNAL_POLL_INTERVAL
                } else {
                    Duration::ZERO
                };
                let Progress { entries, concerned } = progress;
                Ok(JournalPoll { outcome: PollOutcome::Read { entries, concerned }, next_in })
            }
            Err(Stop::Lost) => {
                Ok(JournalPoll { outcome: PollOutcome::NotOurs, next_in: JOURNAL_POLL_INTERVAL })
            }
            Err(Stop::Store(why)) => Err(why),
            Err(Stop::HubSpot(failure)) => {
                let next_in = self.note_unread(&failure);
                Ok(JournalPoll { outcome: PollOutcome::Failed(failure), next_in })
            }
        }
    }

    async fn read_on(&self, mut lease: JournalLease, progress: &mut Progress) -> Result<(), Stop> {
        self.subscribe().await?;
        let mut was_forgotten = false;
        while progress.entries < MAX_ENTRIES_PER_POLL {
            let (position, notices) = match self.hubspot.next_entry(lease.position.as_deref()).await? {
                Next::Nothing => return Ok(()),
                // The earliest entry itself is unknown: another attempt would not end.
                Next::Forgotten if was_forgotten => {
                    return Err(Failure::transient(FailureCode::JournalOffsetRefused).into());
                }
                Next::Forgotten => {
                    was_forgotten = true;
                    tracing::warn!("webhooks journal offset rejected; reading from the earliest entry");
                    (None, Vec::new())
                }
                Next::Entry(entry) => {
                    let notices = self.notices(&entry).await?;
                    (Some(entry.offset), notices)
                }
            };
            crash::point("journal.read");
            let uninstalls = notices.len();
            let notices = self.store.notices_of_known(&lease.client_id, notices).await?;
            let advanced = self.store.advance_journal(&lease, position.clone(), notices).await?;
            crash::point("journal.stored");
            let Some(advanced) = advanced else { return Err(Stop::Lost) };
            lease.position = position;
            progress.entries += 1;
            progress.concerned += advanced.users.len();
            for user in &advanced.users {
                self.changes.publish(*user);
            }
            if uninstalls > 0 {
                let concerned = advanced.users.len();
                tracing::info!(
                    uninstalls,
                    concerned,
                    "webhooks journal reports uninstalls; refreshing the affected connections"
                );
            }
        }
        Ok(())
    }

    /// Returns the notices of an entry. An entry whose file cannot be read must not keep all later ones from being
    /// read.
    async fn notices(&self, entry: &Entry) -> Result<Vec<Notice>, Failure> {
        match self.hubspot.notices(entry, self.clock.now()).await {
            Err(why) if self.watch.with(|state| state.should_skip(&entry.offset, why.code)) => {
                tracing::error!(
                    code = why.code.as_str(),
                    "webhooks journal entry skipped: its file cannot be read"
                );
                Ok(Vec::new())
            }
            read => read,
        }
    }
}
