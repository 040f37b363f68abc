//! What excuses a lost refresh token: HubSpot had replaced it, and the process that was to write the new one was killed
//! in that moment, or stood still until others had given the connection up. Nothing else does.

use std::collections::{BTreeMap, HashMap, HashSet};

use fake_hubspot::Kind;

use crate::history::{Call, Connection, History};

/// How long an answer may take to be written when its own line is whole: on a busy machine, or behind a row that another
/// replica has locked and cannot let go of for three seconds.
const COMMIT_MS: i64 = 4_000;
/// The same after the line to the database came back: the write is tried again every other second, and an attempt that
/// hangs takes five.
const COMMIT_AGAIN_MS: i64 = 9_000;
/// A connection is given up by others when a lease has run out and HubSpot has refused them twice, a minute apart. A
/// freeze that is shorter costs nothing: what HubSpot has answered is read and written afterwards.
const GIVEN_UP_MS: i64 = 115_000;
/// A process that wakes takes up to 20 seconds to notice that what it asks for is no more.
const CALL_MS: i64 = 20_000;
/// The lease of a claimed refresh is a minute. A freeze that is a little shorter may still use it up.
const LEASE_MS: i64 = 55_000;

/// Why a refresh token was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The end of this process, by SIGKILL.
    Kill(usize),
    /// This freeze.
    Freeze(usize),
}

/// A refresh token that is lost: HubSpot has replaced it, and the new one is nowhere.
#[derive(Debug)]
pub struct Loss<'a> {
    /// The call whose answer was lost, if it can be told.
    pub call: Option<&'a Call>,
    /// Whose it was, if it is still stored.
    pub connection: Option<&'a Connection>,
    /// What excuses it.
    pub cause: Option<Cause>,
}

/// What excuses that the answer of a call was not written.
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

/// Until when the answer of a call must have been written, given what stood in the way of that.
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

/// Whether whoever made a call had stood still for longer than its lease, and has just woken: it does not know yet that
/// others have gone on without it.
pub fn was_frozen(history: &History, call: &Call) -> bool {
    history.freezes.iter().any(|freeze| {
        Some(freeze.replica) == call.replica
            && freeze.to - freeze.from >= LEASE_MS
            && freeze.from <= call.at
            && call.at <= freeze.to + CALL_MS
    })
}

/// Whether the process that was to write the answer of a call stood still at that moment, for longer than its lease:
/// others may ask again meanwhile, with the refresh token that is stored.
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

/// The refreshes, by grant.
pub fn by_grant(history: &History) -> BTreeMap<u32, Vec<&Call>> {
    let mut grants: BTreeMap<u32, Vec<&Call>> = BTreeMap::new();
    for call in history.calls.iter().filter(|call| call.kind == Kind::Refresh) {
        if let Some(grant) = call.grant {
            grants.entry(grant).or_default().push(call);
        }
    }
    grants
}

/// The refresh tokens that were lost: those of connections which hold an old one in the end, and those of grants that
/// could only be asked for with an old one, whatever has become of their connections since.
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
