//! The invariants of the access tokens that backends get.

use std::collections::{BTreeMap, HashMap, HashSet};

use fake_hubspot::Kind;

use super::{Finding, at, found, tokens};
use crate::history::{Answer, Call, History, Lent, Promise, Read};

/// The longest time from the service's reading of its clock to the backend's receipt, on a busy machine.
const ON_ITS_WAY_MS: i64 = 1_000;
/// Times that are given in whole seconds may be off by one.
const WHOLE_SECOND_MS: i64 = 1_000;

/// The number of calls to HubSpot that are shown beside a refusal without a reason.
const CALLS_SHOWN: usize = 12;

/// The longest time for which a replica may refresh slowly after HubSpot rate limited it (429).
const SLOWED_MS: i64 = 30_000;

/// Checks I4, by HubSpot's own record of the expiry, and by the service's own statements, which need no allowance for
/// the transport. A warning is a correct response during a fault; at rest, the requested lifetime must be met.
pub fn long_enough(history: &History) -> Finding {
    let (mut violations, mut warned, mut judged) = (Vec::new(), 0, 0);
    for read in &history.reads {
        let moment = last_look(history, read);
        let found = match &read.answer {
            Answer::Lent { token, promise } => {
                warned += usize::from(promise.is_short);
                lent_too_short(history, read, *token, *promise, moment)
            }
            Answer::Unchanged(token) => {
                is_short(read, *token, moment).then_some("is unchanged and lives shorter than requested")
            }
            _ => continue,
        };
        judged += 1;
        violations.extend(found.map(|what| describe(history, read, what)));
    }
    found(violations, || match judged {
        0 => String::new(),
        _ => format!("{judged} reads, {warned} with a warning"),
    })
}

/// Checks that tokens were returned at all: otherwise the other invariants hold trivially.
pub fn any(history: &History) -> Finding {
    match history.reads.iter().filter(|read| lent(read).is_some()).count() {
        0 => Finding::Broken(vec![format!(
            "no access token was returned in the whole run ({} reads): I4 and I13 were not tested",
            history.reads.len()
        )]),
        count => Finding::Held(format!("{count} of {} reads", history.reads.len())),
    }
}

fn lent_too_short(
    history: &History,
    read: &Read,
    token: Lent,
    promise: Promise,
    moment: i64,
) -> Option<&'static str> {
    let looked = promise.expires_at.saturating_sub(promise.expires_in_ms);
    if token.known.is_some_and(|known| promise.expires_at > known.expires_at_ms) {
        return Some("is reported to live longer than it does");
    }
    if looked < read.at - WHOLE_SECOND_MS || looked > read.answered + WHOLE_SECOND_MS {
        return Some("is reported with a lifetime that contradicts its expiry");
    }
    if promise.is_short {
        return is_groundless(history, read).then_some("has a warning without a reason");
    }
    let kept = token.known.map_or(i64::MAX, |known| known.expires_at_ms - moment);
    if promise.expires_in_ms < read.min_ttl_ms || is_short(read, token, moment) {
        return Some("lives shorter than requested, without a warning");
    }
    (promise.fresh_for_ms.saturating_add(read.min_ttl_ms) > kept).then_some("may be cached for too long")
}

fn is_short(read: &Read, token: Lent, moment: i64) -> bool {
    token.known.is_some_and(|known| known.expires_at_ms - moment < read.min_ttl_ms)
}

/// Returns whether nothing prevented the requested token: at rest, for at most half of a lifetime, with no rate limit
/// on the replica, and with a success as HubSpot's latest response for this account.
fn is_groundless(history: &History, read: &Read) -> bool {
    let at_rest = history.rest.is_some_and(|rest| read.at >= rest);
    at_rest && 2 * read.min_ttl_ms <= history.rules.life_ms && !is_slowed(history, read) && {
        let mut asked = refreshes(history, read.hub).filter(|call| call.at <= read.answered);
        asked.next_back().is_none_or(|last| last.status == Some(200))
    }
}

fn is_slowed(history: &History, read: &Read) -> bool {
    let slowed = (read.at - SLOWED_MS)..=read.answered;
    let mut refreshes = history.calls.iter().filter(|call| call.kind == Kind::Refresh);
    refreshes.any(|call| {
        call.status == Some(429) && call.replica == Some(read.replica) && slowed.contains(&call.at)
    })
}

/// Checks I13: the token was issued by HubSpot, has not expired, belongs to a grant that had not ended and to a
/// connection that no user had ended, and is no older than one that was returned before.
pub fn accepted(history: &History) -> Finding {
    let revoked = revocations(history);
    let mut disconnects: HashMap<&str, i64> = HashMap::new();
    for disconnected in &history.disconnects {
        disconnects.entry(&disconnected.connection).or_insert(disconnected.at);
    }
    let newest = Newest::of(history);
    let is_before = |moment: Option<&i64>, read: &Read| moment.is_some_and(|moment| *moment < read.at);
    let mut violations = Vec::new();
    for read in &history.reads {
        let Some(token) = lent(read) else { continue };
        let what = match token.known {
            None => "was not issued by HubSpot",
            Some(known) if known.expires_at_ms <= last_look(history, read) => "has expired",
            Some(known) if read.hub.is_some_and(|hub| hub != known.hub_id) => "is for another account",
            Some(known) if is_before(revoked.get(&known.grant), read) => "belongs to a grant that had ended",
            Some(_) if is_before(disconnects.get(read.connection.as_str()), read) => {
                "belongs to an ended connection"
            }
            Some(_) if newest.before(read) > token.generation => "is older than one that was returned before",
            Some(_) => continue,
        };
        violations.push(describe(history, read, what));
    }
    found(violations, String::new)
}

/// Checks I14: 409 only if HubSpot refused the grant since the user last connected, 404 only without a connection, 503
/// only with `Retry-After`, and nothing else.
pub fn refused_for_a_reason(history: &History) -> Finding {
    let stored: HashSet<_> = history.stored.connections.iter().map(|one| one.id.as_str()).collect();
    let mut violations = Vec::new();
    for read in &history.reads {
        let Answer::Refused { status, code, retry_after } = &read.answer else { continue };
        let what = match (status, code.as_str()) {
            (503, "token_unavailable" | "storage_unavailable") if *retry_after => {
                match is_groundless(history, read) {
                    true => "is delayed without a reason",
                    false => continue,
                }
            }
            (409, "needs_reauth") if has_ended(history, read) => continue,
            (404, "connection_not_found") if !stored.contains(read.connection.as_str()) => continue,
            (503, _) => "is delayed without Retry-After",
            (409, _) => "is refused although its grant has not ended",
            (404, _) => "is reported as not found",
            _ => "is refused without a reason",
        };
        let calls = last_calls(history, read);
        violations.push(format!("{} ({status} {code}); {calls}", describe(history, read, what)));
    }
    found(violations, String::new)
}

/// Returns whether HubSpot refused the grant of a connection, or a newer one of its account, before the response. An
/// account may have several connections, so the grant is the newest one when the user saw this connection as active.
fn has_ended(history: &History, read: &Read) -> bool {
    let welcomed = history.connects.iter().filter(|it| it.connection == read.connection && it.at < read.at);
    let welcomed = welcomed.map(|connected| connected.at).max().unwrap_or(i64::MIN);
    let made = history.calls.iter().filter(|call| call.kind == Kind::Exchange && call.hub == read.hub);
    let made = made.filter(|call| call.answered.is_some_and(|moment| moment <= welcomed));
    let grant = made.filter_map(|call| call.grant).max().unwrap_or(0);
    refreshes(history, read.hub).any(|call| {
        call.status == Some(400)
            && call.at <= read.answered
            && call.grant.is_some_and(|refused| refused >= grant)
    })
}

/// Lists the last calls to HubSpot for the account of a read, as a start for reading the logs.
fn last_calls(history: &History, read: &Read) -> String {
    let about = history.calls.iter().filter(|call| call.hub == read.hub && call.at <= read.answered);
    let mut last: Vec<_> =
        about.rev().take(CALLS_SHOWN).map(|call| tokens::describe(history, call)).collect();
    last.reverse();
    format!("HubSpot's last calls: {}", last.join("; "))
}

/// Returns the last moment at which the service can have read its clock before it responded. A process that stood still
/// in between may have read it before that.
fn last_look(history: &History, read: &Read) -> i64 {
    let freezes = history.freezes.iter().filter(|freeze| freeze.replica == read.replica);
    let during = freezes.filter(|freeze| freeze.from <= read.answered && read.at <= freeze.to);
    let looked = during.map(|freeze| freeze.from).min().unwrap_or(read.answered);
    (looked - ON_ITS_WAY_MS).max(read.at)
}

/// Returns the times at which the service revoked grants at HubSpot.
fn revocations(history: &History) -> HashMap<u32, i64> {
    let mut ended: HashMap<u32, i64> = HashMap::new();
    for call in history.calls.iter().filter(|call| call.kind == Kind::Revoke && call.status == Some(200)) {
        if let (Some(grant), Some(answered)) = (call.grant, call.answered) {
            ended.entry(grant).and_modify(|moment| *moment = answered.min(*moment)).or_insert(answered);
        }
    }
    ended
}

/// The newest generation that was returned until a moment, for each connection.
struct Newest<'a>(HashMap<&'a str, BTreeMap<i64, i64>>);

impl<'a> Newest<'a> {
    fn of(history: &'a History) -> Self {
        let mut reads: Vec<_> = history.reads.iter().filter_map(|read| Some((read, lent(read)?))).collect();
        reads.sort_by_key(|(read, _)| read.answered);
        let mut newest: HashMap<&str, BTreeMap<i64, i64>> = HashMap::new();
        for (read, token) in reads {
            let known = newest.entry(&read.connection).or_default();
            let most = known.last_key_value().map_or(0, |(_, generation)| *generation);
            known.insert(read.answered, token.generation.max(most));
        }
        Self(newest)
    }

    fn before(&self, read: &Read) -> i64 {
        let known = self.0.get(read.connection.as_str());
        known.and_then(|known| known.range(..read.at).next_back()).map_or(0, |(_, generation)| *generation)
    }
}

fn refreshes(history: &History, hub: Option<u64>) -> impl DoubleEndedIterator<Item = &Call> {
    history.calls.iter().filter(move |call| call.kind == Kind::Refresh && call.hub == hub)
}

fn lent(read: &Read) -> Option<Lent> {
    match read.answer {
        Answer::Lent { token, .. } | Answer::Unchanged(token) => Some(token),
        _ => None,
    }
}

fn describe(history: &History, read: &Read, what: &str) -> String {
    let lives = lent(read).and_then(|token| token.known).map_or(String::new(), |known| {
        format!("; it expires {} ms after the answer", known.expires_at_ms - read.answered)
    });
    format!(
        "connection {}: asked at {} of replica {} for {} s, answered at {}: the token {what}{lives}",
        read.connection,
        at(history, read.at),
        read.replica,
        read.min_ttl_ms / 1000,
        at(history, read.answered)
    )
}
