//! Every call the fake received, for a test to read afterwards.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

/// What a call wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The consent page was opened.
    Authorize,
    /// A code was exchanged for tokens.
    Exchange,
    /// A refresh token was used.
    Refresh,
    /// The app asked for a token of its own.
    ClientCredentials,
    /// A token was looked up.
    Introspect,
    /// A refresh token was revoked.
    Revoke,
    /// The account's details were read.
    AccountInfo,
    /// The app uninstalled itself from an account.
    Uninstall,
    /// Contacts were listed, made, read, changed or removed.
    Crm,
    /// Contacts were searched.
    CrmSearch,
    /// Subscriptions of the Webhooks Journal were listed, or one was made.
    Subscriptions,
    /// The Webhooks Journal was asked for an entry.
    WebhooksJournal,
    /// A file of the Webhooks Journal was fetched.
    JournalFile,
    /// Anything else, also a known path with the wrong version, method or grant type.
    Other,
}

/// One call, and how it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1 and never restarts, not even when the journal is cleared.
    pub seq: u64,
    /// When it arrived, in milliseconds since 1970.
    pub at_ms: i64,
    /// When the answer was ready; `None` while it is being worked on.
    pub finished_at_ms: Option<i64>,
    /// What it wanted.
    pub kind: Kind,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The version in the path, such as `2026-09`.
    pub version: Option<String>,
    /// The `Host` header: which of several names or ports the caller has used.
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
    /// The name of the fault that was played.
    pub fault: Option<String>,
    /// The account it was about, when the fake could tell.
    pub hub_id: Option<u64>,
    /// The grant it was about, when the fake could tell.
    pub grant: Option<u32>,
    /// The generation of the refresh token that was presented.
    pub presented: Option<u32>,
    /// The generation of the refresh token in the answer, whether or not the answer arrived.
    pub issued: Option<u32>,
    /// Another refresh with the same token was being answered when this one arrived.
    pub overlapping: bool,
    /// A refresh token was presented that had been replaced.
    pub superseded: bool,
}

/// How many calls of one kind arrived, and when; also those that the journal has forgotten for want of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many.
    pub calls: u64,
    /// When the first arrived, in milliseconds since 1970.
    pub first_at_ms: i64,
    /// When the last arrived.
    pub last_at_ms: i64,
}

/// How a call ended.
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

    /// Completes a call, unless it has been forgotten meanwhile.
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

    /// Hands over the oldest calls and forgets them, up to the first that is still being worked on.
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
    fn calls_that_no_longer_fit_are_counted_until_the_journal_is_cleared() {
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
