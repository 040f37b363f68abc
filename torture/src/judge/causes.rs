//! The excuses for a lost refresh token: HubSpot had replaced it, and the process that was to store the new one was
//! killed at that moment, or stood still until others had suspended the connection. Nothing else excuses a loss.

use std::collections::{BTreeMap, HashMap, HashSet};

use fake_hubspot::Kind;

use crate::history::{Call, Connection, History};

/// The longest time until a response is stored while its own line is intact: on a busy machine, or behind a row that
/// another replica has locked and cannot unlock for three seconds.
const COMMIT_MS: i64 = 4_000;
/// The same after the line to the database is restored: the write is retried every other second, and an attempt that
/// hangs takes five.
const COMMIT_AGAIN_MS: i64 = 9_000;
/// Others suspend a connection when a lease has expired and HubSpot has refused them twice, a minute apart. A shorter
/// freeze loses nothing: HubSpot's response is read and stored afterwards.
const GIVEN_UP_MS: i64 = 115_000;
/// A process that wakes takes up to 20 seconds to notice that its call was closed in the meantime.
const CALL_MS: i64 = 20_000;
/// The lease of an acquired refresh is a minute. A freeze that is a little shorter may still use it up.
const LEASE_MS: i64 = 55_000;

/// The reason for the loss of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The end of this process, by SIGKILL.
    Kill(usize),
    /// This freeze.
    Freeze(usize),
}

/// A refresh token that is lost: HubSpot has replaced it, and the new one is not stored.
#[derive(Debug)]
pub struct Loss<'a> {
    /// The call whose response was lost, if it can be determined.
    pub call: Option<&'a Call>,
    /// Its connection, if it is still stored.
    pub connection: Option<&'a Connection>,
    /// The excuse.
    pub cause: Option<Cause>,
}

/// Returns the excuse for a response that was not stored.
pub fn cause(history: &History, call: &Call) -> Option<Cause> {
    let (maker, life) = history.maker(call)?;
    if let Some(killed) = life.killed()
        && killed <= written_by(history, call)
    {
        return Some(Cause::Kill(maker));
    }
    let answered = call.answered.unwrap_or(i64::MAX);
    let overlong = history.freezes.iter().position(|freeze| {
        Some(freeze.replica) == call.replica
            && freeze.to - freeze.from >= GIVEN_UP_MS
            && call.at <= freeze.to
            && answered >= freeze.from - COMMIT_MS
    });
    overlong.map(Cause::Freeze)
}

/// Returns the time by which the response to a call must have been stored, given the faults on the way.
fn written_by(history: &History, call: &Call) -> i64 {
    let Some(answered) = call.answered else { return i64::MAX };
    let cuts = history.cuts.iter().filter(|cut| Some(cut.replica) == call.replica && cut.database);
    let freezes = history.freezes.iter().filter(|freeze| Some(freeze.replica) == call.replica);
    let mut obstacles: Vec<_> = cuts.map(|cut| (cut.from, cut.to)).collect();
    obstacles.extend(freezes.map(|freeze| (freeze.from, freeze.to)));
    obstacles.sort_unstable();
    let mut by = answered + COMMIT_MS;
    for (from, to) in obstacles {
        if from <= by && to + COMMIT_AGAIN_MS > by && to >= call.at {
            by = to + COMMIT_AGAIN_MS;
        }
    }
    by
}

/// Returns whether the process that made a call had stood still for longer than its lease and had just woken: it does
/// not know yet that others went on without it.
pub fn was_frozen(history: &History, call: &Call) -> bool {
    history.freezes.iter().any(|freeze| {
        Some(freeze.replica) == call.replica
            && freeze.to - freeze.from >= LEASE_MS
            && freeze.from <= call.at
            && call.at <= freeze.to + CALL_MS
    })
}

/// Returns whether the process that was to store the response stood still at that moment for longer than its lease:
/// others may refresh with the stored refresh token until then.
pub fn is_held_up(history: &History, call: &Call, moment: i64) -> bool {
    let answered = call.answered.unwrap_or(i64::MAX);
    history.freezes.iter().any(|freeze| {
        Some(freeze.replica) == call.replica
            && freeze.to - freeze.from >= LEASE_MS
            && answered >= freeze.from - COMMIT_MS
            && call.at <= freeze.to
            && moment <= freeze.to + COMMIT_AGAIN_MS
    })
}

/// Returns the refreshes by grant.
pub fn by_grant(history: &History) -> BTreeMap<u32, Vec<&Call>> {
    let mut grants: BTreeMap<u32, Vec<&Call>> = BTreeMap::new();
    for call in history.calls.iter().filter(|call| call.kind == Kind::Refresh) {
        if let Some(grant) = call.grant {
            grants.entry(grant).or_default().push(call);
        }
    }
    grants
}

/// Returns the lost refresh tokens: those of connections that hold an old one at the end, and those of grants that
/// could only be refreshed with an old one, even if their connections are deleted.
pub fn losses(history: &History) -> Vec<Loss<'_>> {
    let current: HashSet<_> = history.grants.iter().map(|grant| &grant.fingerprint).collect();
    let stored = history.stored.connections.iter();
    let stale: Vec<_> = stored.filter(|connection| !current.contains(&connection.fingerprint)).collect();
    let mut seen: HashMap<&String, u32> = HashMap::new();
    for call in &history.calls {
        if let (Some(fingerprint), Some(grant)) = (&call.fingerprint, call.grant) {
            seen.insert(fingerprint, grant);
        }
    }
    let grants = by_grant(history);
    let mut known: BTreeMap<u32, Loss<'_>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for connection in stale {
        let grant = seen.get(&connection.fingerprint).copied();
        let call = grant.and_then(|grant| last_issued(&grants, grant));
        let loss =
            Loss { call, connection: Some(connection), cause: call.and_then(|call| cause(history, call)) };
        match grant {
            Some(grant) => _ = known.insert(grant, loss),
            None => unknown.push(loss),
        }
    }
    for (grant, calls) in &grants {
        let Some(last) = last_issued(&grants, *grant) else { continue };
        let asked_in_vain = calls.iter().any(|call| {
            call.superseded
                && call.issued.is_none()
                && call.at >= last.at
                && !was_frozen(history, call)
                && !is_held_up(history, last, call.at)
        });
        if asked_in_vain {
            known.entry(*grant).or_insert_with(|| Loss {
                call: Some(last),
                connection: None,
                cause: cause(history, last),
            });
        }
    }
    known.into_values().chain(unknown).collect()
}

fn last_issued<'a>(grants: &BTreeMap<u32, Vec<&'a Call>>, grant: u32) -> Option<&'a Call> {
    let calls = grants.get(&grant)?;
    calls.iter().copied().filter(|call| call.issued.is_some()).max_by_key(|call| call.issued)
}
