//! The invariants of connections, jobs and authorization requests.

use std::collections::{HashMap, HashSet};

use fake_hubspot::Kind;

use super::causes::cause;
use super::{Finding, at, found};
use crate::history::{EndReason, History};

/// The longest time from HubSpot's tokens to the end of a callback: the service tries to store them for ten seconds.
const SAVE_MS: i64 = 20_000;
/// The longest time of a whole exchange.
const EXCHANGE_MS: i64 = 60_000;
/// Authorization requests are deleted ten minutes after their expiry; younger ones must exist.
const REMEMBERED_MS: i64 = 540_000;

/// Checks I5: every grant that is alive at HubSpot has a connection that holds it, or held it until its refresh token
/// was lost. A grant that was never stored is excused if its callback was interrupted.
pub fn no_grant_left(history: &History) -> Finding {
    let held: HashSet<_> = history.stored.connections.iter().map(|one| &one.fingerprint).collect();
    let mut grant_of: HashMap<&String, u32> = HashMap::new();
    for call in &history.calls {
        if let (Some(fingerprint), Some(grant)) = (&call.fingerprint, call.grant) {
            grant_of.insert(fingerprint, grant);
        }
    }
    let stale: HashSet<_> = held.iter().filter_map(|fingerprint| grant_of.get(*fingerprint)).collect();
    let mut violations = Vec::new();
    let mut excused = 0;
    for grant in &history.grants {
        if held.contains(&grant.fingerprint) || stale.contains(&grant.id) {
            continue;
        }
        match cut_off(history, grant.id) {
            true => excused += 1,
            false => violations.push(format!(
                "grant {} of account {} is alive, and no connection holds it",
                grant.id, grant.hub
            )),
        }
    }
    let stored: HashSet<_> = history.stored.connections.iter().map(|one| &one.id).collect();
    let back = history.disconnects.iter().filter(|disconnected| stored.contains(&disconnected.connection));
    violations.extend(back.map(|disconnected| {
        format!(
            "connection {} was ended at {} and exists again",
            disconnected.connection,
            at(history, disconnected.at)
        )
    }));
    if history.stored.revocations > 0 {
        violations.push(format!("{} revocations are not done", history.stored.revocations));
    }
    found(violations, || match excused {
        0 => String::new(),
        count => format!("never stored, because a kill or a cut line ended the callback: {count}"),
    })
}

/// Returns whether the callback that created a grant was interrupted before the commit.
fn cut_off(history: &History, grant: u32) -> bool {
    let exchange = history.calls.iter().find(|call| call.kind == Kind::Exchange && call.grant == Some(grant));
    let Some(exchange) = exchange else { return false };
    let until = exchange.answered.unwrap_or(exchange.at) + SAVE_MS;
    let line = history
        .cuts
        .iter()
        .any(|cut| Some(cut.replica) == exchange.replica && cut.from <= until && cut.to >= exchange.at);
    let killed = history.maker(exchange).and_then(|(_, life)| life.killed());
    line || killed.is_some_and(|killed| killed <= until) || cause(history, exchange).is_some()
}

/// Checks I7, at the end and in every sample.
pub fn one_job_each(history: &History) -> Finding {
    let mut violations: Vec<_> =
        history.mismatches.iter().map(|one| format!("during the run: connection {one}")).collect();
    for one in &history.stored.connections {
        let wanted = i64::from(one.state == "active");
        if one.jobs != wanted {
            violations.push(format!("connection {} is {} and has {} jobs", one.id, one.state, one.jobs));
        }
    }
    violations
        .extend(history.stored.spare_jobs.iter().map(|job| format!("job {job} has no active connection")));
    found(violations, String::new)
}

/// Checks I9: a flow is connected, failed or cancelled, or expires by itself when its user never comes back. An
/// interrupted exchange expires as well, if a kill, a freeze or a cut line excuses it.
pub fn every_auth_request_ends(history: &History) -> Finding {
    let end = history.calls.last().map_or(0, |call| call.at);
    let stored: HashMap<_, _> = history.stored.auth_requests.iter().map(|one| (&one.flow, one)).collect();
    let (mut violations, mut cut_off) = (Vec::new(), 0);
    for start in &history.starts {
        let Some(request) = stored.get(&start.flow) else {
            if end - start.at < REMEMBERED_MS {
                violations.push(format!("flow {} of {} is lost", start.flow, at(history, start.at)));
            }
            continue;
        };
        let consumed = request.consumed_at.unwrap_or(request.expires_at);
        match request.status.as_str() {
            "connected" if request.connection.is_some() => {}
            "failed" | "cancelled" | "awaiting_user" => {}
            "exchanging" if disturbed(history, consumed) => cut_off += 1,
            status => {
                violations.push(format!("flow {} of {} is {status}", start.flow, at(history, start.at)));
            }
        }
    }
    found(violations, || match cut_off {
        0 => String::new(),
        count => format!("interrupted exchanges that expire: {count}"),
    })
}

/// Returns whether a fault hit a replica while an exchange that started then may have been in progress.
fn disturbed(history: &History, began: i64) -> bool {
    let until = began + EXCHANGE_MS;
    let within = |from: i64, to: i64| from <= until && to >= began;
    let ended = history.lives.iter().filter_map(|life| life.end);
    let killed = ended.filter(|end| end.how == EndReason::Killed).any(|end| within(end.at, end.at));
    killed
        || history.freezes.iter().any(|freeze| within(freeze.from, freeze.to))
        || history.cuts.iter().any(|cut| within(cut.from, cut.to))
}
