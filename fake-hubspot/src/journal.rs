//! Every call the fake received, for a test to read afterwards.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// The kind of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The consent page was opened.
    Authorize,
    /// A code was exchanged for tokens.
    Exchange,
    /// A refresh token was used.
    Refresh,
    /// The app requested its own token.
    ClientCredentials,
    /// A token was introspected.
    Introspect,
    /// A refresh token was revoked.
    Revoke,
    /// The account's details were read.
    AccountInfo,
    /// The app uninstalled itself from an account.
    Uninstall,
    /// Contacts were listed, created, read, updated or deleted.
    Crm,
    /// Contacts were searched.
    CrmSearch,
    /// Subscriptions of the Webhooks Journal were listed, or one was created.
    Subscriptions,
    /// An entry of the Webhooks Journal was requested.
    WebhooksJournal,
    /// A file of the Webhooks Journal was fetched.
    JournalFile,
    /// Anything else, also a known path with the wrong version, method or grant type.
    Other,
}

/// A call and its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The number, from 1; it never restarts, not even when the journal is cleared.
    pub seq: u64,
    /// The time of its arrival, in milliseconds since 1970.
    pub at_ms: i64,
    /// The time at which the response was ready; `None` while the call is in progress.
    pub finished_at_ms: Option<i64>,
    /// Its kind.
    pub kind: Kind,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The version in the path, such as `2026-09`.
    pub version: Option<String>,
    /// The `Host` header, which shows the name or port that the caller used.
    pub host: Option<String>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The form in the body; of a repeated key the first value.
    pub form: BTreeMap<String, String>,
    /// Whether a key of the form was repeated.
    pub duplicate_form_keys: bool,
    /// The query; of a repeated key the first value.
    pub query: BTreeMap<String, String>,
    /// The status that was sent, if any was.
    pub status: Option<u16>,
    /// The name of the fault that was applied.
    pub fault: Option<String>,
    /// The account, if known.
    pub hub_id: Option<u64>,
    /// The grant, if known.
    pub grant: Option<u32>,
    /// The generation of the refresh token that was presented.
    pub presented: Option<u32>,
    /// The generation of the refresh token in the response, whether or not the response arrived.
    pub issued: Option<u32>,
    /// Whether another refresh with the same token was in progress when this one arrived.
    pub overlapping: bool,
    /// Whether the presented refresh token had been replaced.
    pub superseded: bool,
}

/// The number of calls of one kind and their times, including those that the journal has dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The number.
    pub calls: u64,
    /// The time of the first, in milliseconds since 1970.
    pub first_at_ms: i64,
    /// The time of the last.
    pub last_at_ms: i64,
}

/// The end of a call.
#[derive(Clone, Copy, Default)]
pub(crate) struct Ending {
    pub status: Option<u16>,
    pub hub_id: Option<u64>,
    pub grant: Option<u32>,
    pub issued: Option<u32>,
    pub superseded: bool,
}

#[derive(Default)]
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
    last_seq: u64,
    counts: HashMap<Kind, Count>,
}

impl Journal {
    /// Appends a call, drops the oldest ones beyond the limit, and returns its number.
    pub(crate) fn open(&mut self, mut entry: Entry, limit: usize) -> u64 {
        self.last_seq += 1;
        entry.seq = self.last_seq;
        let at_ms = entry.at_ms;
        let first = Count { calls: 0, first_at_ms: at_ms, last_at_ms: at_ms };
        let count = self.counts.entry(entry.kind).or_insert(first);
        *count = Count { calls: count.calls + 1, last_at_ms: at_ms, ..*count };
        self.entries.push_back(entry);
        if limit > 0 {
            while self.entries.len() > limit {
                self.entries.pop_front();
            }
        }
        self.last_seq
    }

    /// Completes a call, unless it has been dropped in the meantime.
    pub(crate) fn close(&mut self, seq: u64, ending: Ending, now_ms: i64) {
        let Some(first) = self.entries.front().map(|entry| entry.seq) else {
            return;
        };
        let Some(at) = seq.checked_sub(first).and_then(|at| usize::try_from(at).ok()) else {
            return;
        };
        if let Some(entry) = self.entries.get_mut(at) {
            entry.finished_at_ms = Some(now_ms);
            entry.status = ending.status;
            entry.hub_id = ending.hub_id.or(entry.hub_id);
            entry.grant = ending.grant.or(entry.grant);
            entry.issued = ending.issued;
            entry.superseded |= ending.superseded;
        }
    }

    pub(crate) fn all(&self) -> Vec<Entry> {
        self.entries.iter().cloned().collect()
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> Vec<Entry> {
        self.entries.iter().filter(|entry| entry.kind == kind).cloned().collect()
    }

    pub(crate) fn counts(&self) -> &HashMap<Kind, Count> {
        &self.counts
    }

    /// Removes and returns the oldest calls, up to the first in progress.
    pub(crate) fn take(&mut self) -> Vec<Entry> {
        let open = self.entries.iter().position(|entry| entry.finished_at_ms.is_none());
        self.entries.drain(..open.unwrap_or(self.entries.len())).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.counts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incoming::Incoming;

    #[test]
    fn dropped_calls_are_counted_until_the_journal_is_cleared() {
        let mut journal = Journal::default();
        for at_ms in [10, 20, 30] {
            let entry = Incoming::visit("/oauth/authorize", "").entry();
            journal.open(Entry { at_ms, ..entry }, 1);
        }
        assert_eq!(journal.all().len(), 1);
        let count = Count { calls: 3, first_at_ms: 10, last_at_ms: 30 };
        assert_eq!(journal.counts(), &HashMap::from([(Kind::Authorize, count)]));

        journal.clear();
        assert!(journal.counts().is_empty());
    }
}
