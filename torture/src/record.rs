//! The record of events while they happen.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fake_hubspot::{Entry, FakeHubSpot, Kind};
use hubspot_connect::domain::clock::Clock;
use hubspot_connect::domain::secret::Secret;
use hubspot_connect::keyring::Keyring;

use crate::Failure;
use crate::history::{
    Call, Connect, Cut, Disconnect, End, EndReason, Freeze, History, Life, Living, NeedsReauth, Read, Start,
};
use crate::plan::Step;
use crate::replica::Replica;

/// The record of a run.
pub struct Record {
    history: Mutex<History>,
    /// Secrets that no log may contain.
    secrets: Mutex<Vec<String>>,
    keyring: Keyring,
    /// The host name under which each replica calls HubSpot.
    hosts: HashMap<String, usize>,
}

impl Record {
    /// Creates an empty record of these replicas.
    pub fn new(history: History, keyring: Keyring, replicas: &[Replica]) -> Self {
        let hosts = replicas.iter().map(|replica| (replica.hubspot.address.to_string(), replica.index));
        Self { history: Mutex::new(history), secrets: Mutex::default(), keyring, hosts: hosts.collect() }
    }

    /// Returns the history so far.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the secrets that no log may contain.
    pub fn secrets(&self) -> MutexGuard<'_, Vec<String>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the calls that HubSpot recorded into the history.
    pub fn drain(&self, hubspot: &FakeHubSpot) {
        let entries = hubspot.take_journal();
        let mut secrets = self.secrets();
        let authorization = |entry: &Entry| entry.authorization.as_ref().map(|it| it.replace("Bearer ", ""));
        secrets.extend(entries.iter().filter_map(authorization));
        secrets.extend(entries.iter().filter_map(|entry| entry.form.get("code").cloned()));
        drop(secrets);
        let calls =
            entries.iter().filter(|entry| entry.kind != Kind::Authorize).map(|entry| self.call(entry));
        let calls: Vec<_> = calls.collect();
        self.history().calls.extend(calls);
    }

    fn call(&self, entry: &Entry) -> Call {
        let token = entry.form.get("refresh_token").or_else(|| entry.form.get("token"));
        Call {
            at: entry.at_ms,
            answered: entry.finished_at_ms,
            kind: entry.kind,
            replica: entry.host.as_ref().and_then(|host| self.hosts.get(host)).copied(),
            hub: entry.hub_id,
            grant: entry.grant,
            fingerprint: token.map(|token| self.fingerprint(token)),
            presented: entry.presented,
            issued: entry.issued,
            status: entry.status,
            overlapping: entry.overlapping,
            superseded: entry.superseded,
        }
    }

    /// Returns the grants that are alive at HubSpot.
    pub fn living(&self, hubspot: &FakeHubSpot) -> Vec<Living> {
        let grants = hubspot.grants().into_iter();
        grants
            .map(|grant| Living {
                id: grant.id,
                hub: grant.hub_id,
                fingerprint: self.fingerprint(&grant.refresh_token),
            })
            .collect()
    }

    fn fingerprint(&self, token: &str) -> String {
        self.keyring.fingerprint(&Secret::new(token.to_owned()))
    }

    /// Starts a process of a replica and waits until it is ready.
    pub async fn start(&self, replica: &Replica) -> Result<(), Failure> {
        let from = now();
        replica.start()?;
        let at = {
            let mut history = self.history();
            history.lives.push(Life { replica: replica.index, from, ready: None, end: None });
            history.lives.len() - 1
        };
        let outcome = replica.ready().await;
        match outcome {
            Ok(_) => self.history().lives[at].ready = Some(now()),
            Err(_) => self.history().lives[at].end = Some(End { at: now(), how: EndReason::Crashed }),
        }
        outcome.map(|_| ())
    }

    /// Records the end of a replica's process.
    pub fn ended(&self, replica: usize, end: End) {
        let mut history = self.history();
        if let Some(life) = history.lives.iter_mut().rev().find(|life| life.replica == replica) {
            life.end = Some(end);
        }
    }

    /// Records that a replica stood still.
    pub fn froze(&self, replica: usize, from: i64) {
        self.history().freezes.push(Freeze { replica, from, to: now() });
    }

    /// Records that a line was cut.
    pub fn cut(&self, replica: usize, database: bool, from: i64) {
        self.history().cuts.push(Cut { replica, database, from, to: now() });
    }

    /// Records the start of a fault.
    pub fn note(&self, step: Step) {
        self.history().troubles.push((now(), step));
    }

    /// Records a sample of the database.
    pub fn seen(&self, needs_reauth: Vec<NeedsReauth>, mismatches: Vec<String>) {
        let mut history = self.history();
        for one in needs_reauth {
            let known = history.needs_reauth.iter().any(|known| known.fingerprint == one.fingerprint);
            if !known {
                history.needs_reauth.push(one);
            }
        }
        history.mismatches.extend(mismatches);
    }

    /// Records that a user started an authorization request.
    pub fn started(&self, flow: String) {
        self.history().starts.push(Start { at: now(), flow });
    }

    /// Records that a connection was reported as active to its user.
    pub fn connected(&self, connection: String) {
        self.history().connects.push(Connect { at: now(), connection });
    }

    /// Records a token request of a backend.
    pub fn read(&self, read: Read) {
        self.history().reads.push(read);
    }

    /// Records that the end of a connection was confirmed to its user.
    pub fn disconnected(&self, connection: String) {
        self.history().disconnects.push(Disconnect { at: now(), connection });
    }
}

/// Returns the time in milliseconds since 1970.
pub fn now() -> i64 {
    Clock::system().now().unix_ms()
}
