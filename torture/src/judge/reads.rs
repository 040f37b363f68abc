//! What must hold of the access tokens that backends are lent.

use std::collections::{BTreeMap, HashMap, HashSet};

use fake_hubspot::Kind;

use super::{Finding, at, found, tokens};
use crate::history::{Answer, Call, History, Lent, Promise, Read};

/// How long an answer may take from the service's look at its clock to the backend, on a busy machine.
const ON_ITS_WAY_MS: i64 = 1_000;
/// Whatever is told in whole seconds may be off by one.
const WHOLE_SECOND_MS: i64 = 1_000;

/// How many calls to HubSpot are shown beside a refusal without a reason.
const CALLS_SHOWN: usize = 12;

/// How long a replica may refresh slowly after HubSpot has rate limited it (429).
const SLOWED_MS: i64 = 30_000;

/// I4. By HubSpot's own record of when a token expires, and by what the service says itself, which needs no allowance
/// for the way. A warning is an honest answer while something is wrong; at rest, what is asked for can be had.
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
                is_short(read, *token, moment).then_some("is unchanged and lives for less")
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

/// Where nothing was lent, whatever is demanded of what is lent holds.
pub fn any(history: &History) -> Finding {
    match history.reads.iter().filter(|read| lent(read).is_some()).count() {
        0 => Finding::Broken(vec![format!(
            "not one access token was lent in the whole run ({} reads): nothing is known of I4 and I13",
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
        return Some("is said to live longer than it does");
    }
    if looked < read.at - WHOLE_SECOND_MS || looked > read.answered + WHOLE_SECOND_MS {
        return Some("is said to live for a time that contradicts its end");
    }
    if promise.is_short {
        return is_groundless(history, read).then_some("comes with a warning although all is well");
    }
    let kept = token.known.map_or(i64::MAX, |known| known.expires_at_ms - moment);
    if promise.expires_in_ms < read.min_ttl_ms || is_short(read, token, moment) {
        return Some("lives for less, and nothing says so");
    }
    (promise.fresh_for_ms.saturating_add(read.min_ttl_ms) > kept).then_some("may be kept for too long")
}

fn is_short(read: &Read, token: Lent, moment: i64) -> bool {
    token.known.is_some_and(|known| known.expires_at_ms - moment < read.min_ttl_ms)
}

/// Whether nothing stood in the way of what was asked for: at rest, of no more than half a life, HubSpot had not slowed
/// the replica down, and its last word on this account was a success.
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

/// I13. It was given out by HubSpot, has not expired, is of a grant that had not ended, of a connection that nobody had
/// ended, and no older than one that was lent before.
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
            None => "is none of HubSpot's",
            Some(known) if known.expires_at_ms <= last_look(history, read) => "has expired",
            Some(known) if read.hub.is_some_and(|hub| hub != known.hub_id) => "is for another account",
            Some(known) if is_before(revoked.get(&known.grant), read) => "is of a grant that had ended",
            Some(_) if is_before(disconnects.get(read.connection.as_str()), read) => {
                "is of an ended connection"
            }
            Some(_) if newest.before(read) > token.generation => "is older than one that was lent before",
            Some(_) => continue,
        };
        violations.push(describe(history, read, what));
    }
    found(violations, String::new)
}

/// I14. 409 only where HubSpot has refused the grant since the person has last connected, 404 only where there is no
/// connection any more, 503 only with the time to come back, and nothing else.
pub fn refused_for_a_reason(history: &History) -> Finding {
    let stored: HashSet<_> = history.stored.connections.iter().map(|one| one.id.as_str()).collect();
    let mut violations = Vec::new();
    for read in &history.reads {
        let Answer::Refused { status, code, retry_after } = &read.answer else { continue };
        let what = match (status, code.as_str()) {
            (503, "token_unavailable" | "storage_unavailable") if *retry_after => {
                match is_groundless(history, read) {
                    true => "is put off although all is well",
                    false => continue,
                }
            }
            (409, "needs_reauth") if has_ended(history, read) => continue,
            (404, "connection_not_found") if !stored.contains(read.connection.as_str()) => continue,
            (503, _) => "is put off until nobody knows when",
            (409, _) => "is refused although its grant has not ended",
            (404, _) => "is said not to be there",
            _ => "is refused for no reason",
        };
        let calls = last_calls(history, read);
        violations.push(format!("{} ({status} {code}); {calls}", describe(history, read, what)));
    }
    found(violations, String::new)
}

/// Whether HubSpot has refused the grant of a connection, or a newer one of its account, before the answer came. An
/// account may have several connections, so the grant is the newest when the person was told that this one is active.
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

/// The last calls to HubSpot about the account of a read, for whoever looks into the logs afterwards.
fn last_calls(history: &History, read: &Read) -> String {
    let about = history.calls.iter().filter(|call| call.hub == read.hub && call.at <= read.answered);
    let mut last: Vec<_> =
        about.rev().take(CALLS_SHOWN).map(|call| tokens::describe(history, call)).collect();
    last.reverse();
    format!("HubSpot's last calls: {}", last.join("; "))
}

/// The last moment at which the service can have looked at its clock before it answered. A process that stood still in
/// between may have looked before that.
fn last_look(history: &History, read: &Read) -> i64 {
    let freezes = history.freezes.iter().filter(|freeze| freeze.replica == read.replica);
    let during = freezes.filter(|freeze| freeze.from <= read.answered && read.at <= freeze.to);
    let looked = during.map(|freeze| freeze.from).min().unwrap_or(read.answered);
    (looked - ON_ITS_WAY_MS).max(read.at)
}

/// When grants have ended at HubSpot because the service said so.
fn revocations(history: &History) -> HashMap<u32, i64> {
    let mut ended: HashMap<u32, i64> = HashMap::new();
    for call in history.calls.iter().filter(|call| call.kind == Kind::Revoke && call.status == Some(200)) {
        if let (Some(grant), Some(answered)) = (call.grant, call.answered) {
            ended.entry(grant).and_modify(|moment| *moment = answered.min(*moment)).or_insert(answered);
        }
    }
    ended
}

/// For each connection the newest generation that was lent until a moment.
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
