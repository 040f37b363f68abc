//! The invariants of refresh tokens.

use std::collections::{BTreeMap, HashSet};

use fake_hubspot::Kind;

use super::causes::{Cause, by_grant, cause, is_held_up, losses, was_frozen};
use super::{Finding, at, found};
use crate::history::{Call, History};

/// The longest time that a call takes to arrive.
const ON_ITS_WAY_MS: i64 = 1_000;

fn refreshes(history: &History) -> impl Iterator<Item = &Call> {
    history.calls.iter().filter(|call| call.kind == Kind::Refresh)
}

/// Checks I1. A process that stood still for longer than its lease cannot know that it has lost it; HubSpot, which
/// knows nothing of leases, may then receive both calls.
pub fn one_at_a_time(history: &History) -> Finding {
    let (excused, broken): (Vec<_>, Vec<_>) =
        refreshes(history).filter(|call| call.overlapping).partition(|call| was_frozen(history, call));
    found(tell(history, &broken), || remark(excused.len(), "after a freeze longer than a lease"))
}

/// Checks I2. Excuses are: the response with the new token was lost in a kill; it was waiting in a process that stood
/// still for longer than its lease when the old one was presented; or the process that presents the old one has just
/// woken from such a freeze.
pub fn no_old_token(history: &History) -> Finding {
    let grants = by_grant(history);
    let excuse = |call: &&Call| {
        let next = call.presented.map(|presented| presented + 1);
        let calls = call.grant.and_then(|grant| grants.get(&grant)).into_iter().flatten();
        let mut replaced_by = calls.filter(|other| other.issued.is_some() && other.issued == next);
        was_frozen(history, call)
            || replaced_by.any(|other| cause(history, other).is_some() || is_held_up(history, other, call.at))
    };
    let (excused, broken): (Vec<_>, Vec<_>) =
        refreshes(history).filter(|call| call.superseded).partition(excuse);
    found(tell(history, &broken), || remark(excused.len(), "excused by a kill or a freeze"))
}

/// Checks I3: a refresh token may be lost if a kill or a freeze of two minutes hit the time between HubSpot's response
/// and its commit, and then at most as many as are refreshed concurrently: those that were due, and as many again that
/// backends wait for. A stop loses none. No user has to reconnect while the stored token is valid.
pub fn none_lost(history: &History) -> Finding {
    let current: HashSet<_> = history.grants.iter().map(|grant| &grant.fingerprint).collect();
    let mut violations = Vec::new();
    for one in &history.stored.connections {
        if one.state != "active" && current.contains(&one.fingerprint) {
            violations
                .push(format!("connection {} is {} although its refresh token is valid", one.id, one.state));
        }
        if one.state == "integrity_error" {
            violations.push(format!("connection {} cannot be decrypted", one.id));
        }
    }
    let mut causes: BTreeMap<Cause, usize> = BTreeMap::new();
    for loss in losses(history) {
        match loss.cause {
            Some(cause) => *causes.entry(cause).or_default() += 1,
            None => violations.push(format!(
                "the refresh token of {} is lost without an excuse; {}",
                loss.connection
                    .map_or("a deleted connection".to_owned(), |one| format!("connection {}", one.id)),
                loss.call.map_or("HubSpot has no grant of it".to_owned(), |call| describe(history, call)),
            )),
        }
    }
    let most = 2 * history.rules.max_in_flight;
    for (cause, count) in causes.iter().filter(|(_, count)| **count > most) {
        let (what, replica, moment) = match *cause {
            Cause::Kill(life) => {
                let life = &history.lives[life];
                ("kill", life.replica, life.killed().unwrap_or(life.from))
            }
            Cause::Freeze(freeze) => {
                let freeze = &history.freezes[freeze];
                ("freeze", freeze.replica, freeze.from)
            }
        };
        let moment = at(history, moment);
        violations.push(format!(
            "{count} refresh tokens were lost by the {what} of replica {replica} at {moment}; at most {most} are refreshed concurrently"
        ));
    }
    found(violations, || remark(causes.values().sum(), "lost, each with an excuse"))
}

/// Checks I6. A lifetime starts with a success and may end as early as the refresh window allows.
pub fn no_more_than_needed(history: &History) -> Finding {
    let shortest = history.rules.life_ms as f64 * history.rules.window_from;
    let mut violations = Vec::new();
    for (grant, calls) in by_grant(history) {
        let (good, bad): (Vec<&Call>, Vec<&Call>) =
            calls.iter().copied().partition(|call| call.status == Some(200));
        let (Some(first), Some(last)) = (calls.first(), calls.last()) else { continue };
        // One for the lifetime that the first call ends, and one because a call may be delayed on its way.
        let lives = ((last.at - first.at) as f64 / shortest) as usize + 2;
        if good.len() > lives {
            violations.push(format!(
                "grant {grant} was refreshed {} times (and {} times without success) from {} to {}: {lives} lifetimes at most",
                good.len(),
                bad.len(),
                at(history, first.at),
                at(history, last.at)
            ));
        }
    }
    found(violations, String::new)
}

/// Checks I8, until the user reconnects, which brings another refresh token.
pub fn silent_when_needs_reauth(history: &History) -> Finding {
    let mut broken = Vec::new();
    for needs_reauth in &history.needs_reauth {
        let later = refreshes(history).filter(|call| {
            call.fingerprint.as_ref() == Some(&needs_reauth.fingerprint)
                && call.at > needs_reauth.at + ON_ITS_WAY_MS
                && !was_frozen(history, call)
        });
        broken.extend(
            later.map(|call| format!("connection {}: {}", needs_reauth.connection, describe(history, call))),
        );
    }
    found(broken, String::new)
}

fn remark(count: usize, why: &str) -> String {
    if count == 0 { String::new() } else { format!("{count} {why}") }
}

fn tell(history: &History, calls: &[&Call]) -> Vec<String> {
    calls.iter().map(|call| describe(history, call)).collect()
}

/// Describes a call, as a start for reading the logs.
pub(super) fn describe(history: &History, call: &Call) -> String {
    let number = |number: Option<u32>| number.map_or("unknown".to_owned(), |number| number.to_string());
    let maker = history.maker(call).map_or("an unknown process".to_owned(), |(_, life)| {
        let end = life.end.map_or(String::new(), |end| format!(", {} at {}", end.how, at(history, end.at)));
        format!("replica {} (started at {}{end})", life.replica, at(history, life.from))
    });
    let answer = match (call.answered, call.status) {
        (Some(answered), Some(status)) => format!("answered {status} at {}", at(history, answered)),
        _ => "not answered".to_owned(),
    };
    let issued = call.issued.map_or(String::new(), |issued| format!(" with generation {issued}"));
    format!(
        "{:?} of grant {}: generation {} was presented at {} by {maker} and {answer}{issued}",
        call.kind,
        number(call.grant),
        number(call.presented),
        at(history, call.at)
    )
}
