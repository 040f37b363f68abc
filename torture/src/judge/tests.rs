//! Tests of the judge: each invariant gets a history that breaks it, and the same history with its excuse.

use fake_hubspot::{AccessToken, Kind};

use super::{Cause, judge, losses};
use crate::history::{
    Answer, AuthRequest, Call, Connect, Connection, Cut, Disconnect, End, EndReason, Freeze, History, Lent,
    Life, Living, NeedsReauth, Promise, Read, Start,
};

/// Returns a correct history: one connection on replica 0, refreshed once, its process still running.
fn healthy() -> History {
    History {
        calls: vec![refresh(10_000, 0, Some(1))],
        lives: vec![life(0, 0, None)],
        resident_kib: vec![40_000],
        stored: crate::history::Stored { connections: vec![connection("one", "t1")], ..Default::default() },
        grants: vec![living("t1")],
        ..History::default()
    }
}

/// Returns a refresh of grant 1 by replica 0, answered after 20 ms; the fingerprint of generation 3 is `t3`.
fn refresh(at: i64, presented: u32, issued: Option<u32>) -> Call {
    Call {
        at,
        answered: Some(at + 20),
        kind: Kind::Refresh,
        replica: Some(0),
        hub: Some(7),
        grant: Some(1),
        fingerprint: Some(format!("t{presented}")),
        presented: Some(presented),
        issued,
        status: Some(if issued.is_some() { 200 } else { 400 }),
        overlapping: false,
        superseded: issued.is_none(),
    }
}

fn life(replica: usize, from: i64, end: Option<(i64, EndReason)>) -> Life {
    Life { replica, from, ready: Some(from + 100), end: end.map(|(at, how)| End { at, how }) }
}

fn connection(id: &str, fingerprint: &str) -> Connection {
    Connection {
        id: id.to_owned(),
        state: "active".to_owned(),
        fingerprint: fingerprint.to_owned(),
        obtained_at: 10_000,
        jobs: 1,
        strikes: 0,
    }
}

fn living(fingerprint: &str) -> Living {
    Living { id: 1, hub: 7, fingerprint: fingerprint.to_owned() }
}

/// Returns a read for 5 s of connection `one` at 20 s, answered after 10 ms with the token that expires at 30 s.
fn read() -> Read {
    let token = Lent { known: Some(access_token(30_000)), generation: 2 };
    let promise = Promise { expires_at: 30_000, expires_in_ms: 9_000, fresh_for_ms: 4_000, is_short: false };
    Read {
        at: 20_000,
        answered: 20_010,
        replica: 0,
        connection: "one".to_owned(),
        hub: Some(7),
        min_ttl_ms: 5_000,
        answer: Answer::Lent { token, promise },
    }
}

fn access_token(expires_at_ms: i64) -> AccessToken {
    AccessToken { grant: 1, hub_id: 7, expires_at_ms }
}

/// Returns a read at this moment with this response.
fn lent(at: i64, change: impl FnOnce(&mut Lent, &mut Promise)) -> Read {
    let mut read = Read { at, answered: at + 10, ..read() };
    if let Answer::Lent { token, promise } = &mut read.answer {
        promise.expires_in_ms = 1000 * ((promise.expires_at - at) / 1000);
        promise.fresh_for_ms = (promise.expires_in_ms - read.min_ttl_ms).max(0);
        change(token, promise);
    }
    read
}

fn refused(status: u16, code: &str, retry_after: bool) -> Read {
    Read { answer: Answer::Refused { status, code: code.to_owned(), retry_after }, ..read() }
}

/// Returns the invariants that these reads break.
fn broken_by(reads: impl IntoIterator<Item = Read>) -> Vec<&'static str> {
    broken(&History { reads: reads.into_iter().collect(), ..healthy() })
}

/// Returns the names of the broken invariants, except the one on whether tokens were read.
fn broken(history: &History) -> Vec<&'static str> {
    let mut broken = all_broken(history);
    broken.retain(|name| *name != "lent");
    broken
}

fn all_broken(history: &History) -> Vec<&'static str> {
    judge(history).iter().filter(|verdict| verdict.is_broken()).map(|verdict| verdict.name).collect()
}

/// Returns a history in which a response was lost: generation 1 was issued at 10 s, generation 0 is stored and was
/// refused a minute later.
fn losing() -> History {
    let mut history = healthy();
    history.calls.push(refresh(71_000, 0, None));
    history.stored.connections[0].fingerprint = "t0".to_owned();
    history
}

#[test]
fn a_correct_history_has_no_violations() {
    assert_eq!(broken(&healthy()), [""; 0]);
}

#[test]
fn i1_two_refreshes_at_once() {
    let mut history = healthy();
    history.calls[0].overlapping = true;
    assert_eq!(broken(&history), ["I1"]);
    history.freezes.push(Freeze { replica: 0, from: 0, to: 9_000 });
    assert_eq!(broken(&history), ["I1"], "a freeze shorter than a lease is no excuse");
    history.freezes[0] = Freeze { replica: 0, from: -56_000, to: 9_000 };
    assert_eq!(broken(&history), [""; 0]);
}

#[test]
fn i2_and_i3_a_response_was_lost_without_cause() {
    assert_eq!(broken(&losing()), ["I2", "I3"]);
}

#[test]
fn i2_an_old_token_is_presented_although_the_new_one_is_stored() {
    let mut history = healthy();
    history.calls.push(refresh(11_000, 0, None));
    history.calls.push(refresh(22_000, 1, Some(2)));
    history.stored.connections[0].fingerprint = "t2".to_owned();
    history.grants = vec![living("t2")];
    assert_eq!(broken(&history), ["I2"]);
    assert_eq!(losses(&history).len(), 0);
}

#[test]
fn i3_a_kill_before_the_commit_excuses_a_loss() {
    let mut history = losing();
    history.lives = vec![life(0, 0, Some((10_050, EndReason::Killed))), life(0, 11_000, None)];
    assert_eq!(broken(&history), [""; 0]);
    assert_eq!(losses(&history)[0].cause, Some(Cause::Kill(0)));
}

#[test]
fn i3_neither_a_stop_nor_a_crash_excuses_a_loss() {
    let stopped = EndReason::Stopped { took_ms: 100, well: true };
    let mut history = losing();
    history.lives = vec![life(0, 0, Some((10_050, stopped))), life(0, 11_000, None)];
    assert_eq!(broken(&history), ["I2", "I3"]);
    history.lives[0].end = Some(End { at: 10_050, how: EndReason::Crashed });
    assert_eq!(broken(&history), ["I2", "I3", "I12"]);
}

#[test]
fn i3_a_kill_long_after_the_answer_excuses_nothing_unless_the_database_was_away() {
    let mut history = losing();
    history.lives = vec![life(0, 0, Some((25_000, EndReason::Killed))), life(0, 26_000, None)];
    assert_eq!(broken(&history), ["I2", "I3"]);
    history.cuts.push(Cut { replica: 0, database: false, from: 9_000, to: 20_000 });
    assert_eq!(broken(&history), ["I2", "I3"], "the line to HubSpot does not matter to a commit");
    history.cuts.push(Cut { replica: 1, database: true, from: 9_000, to: 20_000 });
    assert_eq!(broken(&history), ["I2", "I3"], "nor does the line of another replica");
    history.cuts.push(Cut { replica: 0, database: true, from: 9_000, to: 20_000 });
    assert_eq!(broken(&history), [""; 0]);
}

#[test]
fn i3_the_kill_of_another_replica_excuses_nothing() {
    let mut history = losing();
    history.lives.push(life(1, 0, Some((10_050, EndReason::Killed))));
    assert_eq!(broken(&history), ["I2", "I3"]);
}

#[test]
fn i3_only_a_freeze_longer_than_the_lease_excuses_a_loss() {
    let mut history = losing();
    history.freezes.push(Freeze { replica: 0, from: 10_010, to: 16_000 });
    assert_eq!(broken(&history), ["I2", "I3"]);
    history.freezes[0].to = 75_000;
    assert_eq!(broken(&history), ["I3"], "a lease has expired, but no connection has been refused twice");
    history.calls.push(refresh(100_000, 0, None));
    assert_eq!(broken(&history), ["I2", "I3"], "it is awake again");
    history.freezes[0].to = 130_000;
    assert_eq!(broken(&history), [""; 0]);
    assert_eq!(losses(&history)[0].cause, Some(Cause::Freeze(0)));
}

#[test]
fn i2_others_may_refresh_while_a_response_waits_in_a_frozen_process() {
    let mut history = losing();
    history.freezes.push(Freeze { replica: 0, from: 10_010, to: 75_000 });
    history.calls[1].replica = Some(1);
    history.lives.push(life(1, 0, None));
    // It wakes and stores its response, and the connection is refreshed with that.
    history.calls.push(refresh(86_000, 1, Some(2)));
    history.stored.connections[0].fingerprint = "t2".to_owned();
    history.grants = vec![living("t2")];
    assert_eq!(broken(&history), [""; 0]);
    assert_eq!(losses(&history).len(), 0);
}

#[test]
fn i3_a_kill_excuses_no_more_losses_than_concurrent_refreshes() {
    let mut history = History { lives: vec![life(0, 0, Some((10_050, EndReason::Killed)))], ..healthy() };
    history.stored.connections.clear();
    for grant in 1..=9 {
        let own = |mut call: Call| {
            call.grant = Some(grant);
            call.fingerprint = call.fingerprint.map(|it| format!("{grant}-{it}"));
            call
        };
        history.calls.extend([own(refresh(10_000, 0, Some(1))), own(refresh(10_040, 0, None))]);
        history.stored.connections.push(connection(&grant.to_string(), &format!("{grant}-t0")));
        history.grants.push(Living { id: grant, ..living(&format!("{grant}-t1")) });
    }
    // As many again may be refreshed because a backend requests them.
    history.rules.max_in_flight = 4;
    assert_eq!(broken(&history), ["I3"]);
    history.rules.max_in_flight = 5;
    assert_eq!(broken(&history), [""; 0]);
}

#[test]
fn i3_a_loss_is_found_although_its_user_has_reconnected() {
    let mut history = losing();
    history.stored.connections[0].fingerprint = "new".to_owned();
    history.grants = vec![Living { id: 2, ..living("new") }];
    assert_eq!(broken(&history), ["I2", "I3"]);
}

#[test]
fn i3_a_connection_is_suspended_although_its_token_is_valid() {
    let mut history = healthy();
    history.stored.connections[0].state = "needs_reauth".to_owned();
    history.stored.connections[0].jobs = 0;
    assert_eq!(broken(&history), ["I3"]);
}

#[test]
fn i3_a_stored_token_that_hubspot_never_issued() {
    let mut history = healthy();
    history.grants.clear();
    history.stored.connections[0].fingerprint = "nobody's".to_owned();
    assert_eq!(broken(&history), ["I3"]);
}

#[test]
fn a_run_without_token_reads_judges_no_token_reads() {
    let refused = refused(503, "token_unavailable", true);
    for reads in [Vec::new(), vec![refused.clone()]] {
        let history = History { reads, ..healthy() };
        assert!(all_broken(&history).contains(&"lent"));
    }
    let history = History { reads: vec![read(), refused], ..healthy() };
    assert!(!all_broken(&history).contains(&"lent"));
}

#[test]
fn i4_a_token_lives_shorter_than_requested() {
    assert_eq!(broken_by([read()]), [""; 0]);
    // Five seconds are requested, and 3.99 are left, or 1.99.
    assert_eq!(broken_by([lent(26_000, |_, _| {})]), ["I4"]);
    assert_eq!(broken_by([lent(28_000, |_, promise| promise.is_short = true)]), [""; 0], "it has a warning");
    let unchanged = |at| {
        let token = Lent { known: Some(access_token(30_000)), generation: 2 };
        Read { at, answered: at + 1_200, answer: Answer::Unchanged(token), ..read() }
    };
    assert_eq!(broken_by([unchanged(23_000)]), [""; 0]);
    assert_eq!(broken_by([unchanged(26_000)]), ["I4"]);
}

#[test]
fn i4_a_token_reports_a_longer_lifetime_than_at_hubspot() {
    assert_eq!(broken_by([lent(20_000, |token, _| token.known = Some(access_token(29_999)))]), ["I4"]);
    assert_eq!(broken_by([lent(20_000, |_, promise| promise.expires_in_ms = 20_000)]), ["I4"]);
    assert_eq!(broken_by([lent(20_000, |_, promise| promise.expires_in_ms = 7_000)]), ["I4"]);
    assert_eq!(broken_by([lent(20_000, |_, promise| promise.fresh_for_ms = 7_000)]), ["I4"]);
}

#[test]
fn i4_and_i13_a_paused_process_is_judged_by_its_read_time() {
    let late = Read { answered: 85_000, ..read() };
    let mut history = History { reads: vec![late], ..healthy() };
    assert_eq!(broken(&history), ["I4", "I13"]);
    history.freezes.push(Freeze { replica: 1, from: 20_500, to: 84_990 });
    assert_eq!(broken(&history), ["I4", "I13"], "another process stood still");
    history.freezes[0].replica = 0;
    assert_eq!(broken(&history), [""; 0]);
    // It had 3.5 s left before the process stood still, too.
    history.reads[0] = Read { answered: 85_000, ..lent(26_500, |_, promise| promise.expires_in_ms = 5_000) };
    history.freezes[0].from = 26_600;
    assert_eq!(broken(&history), ["I4"]);
}

#[test]
fn i4_and_i14_at_rest_requests_are_met() {
    let short = lent(28_000, |_, promise| promise.is_short = true);
    let put_off = refused(503, "token_unavailable", true);
    let mut history = History { reads: vec![short, put_off], rest: Some(19_000), ..healthy() };
    assert_eq!(broken(&history), ["I4", "I14"]);
    history.reads.iter_mut().for_each(|read| read.min_ttl_ms = 11_000);
    assert_eq!(broken(&history), [""; 0], "no caller may request more than half a lifetime");
    history.reads.iter_mut().for_each(|read| read.min_ttl_ms = 5_000);
    let failing = Call { status: Some(500), issued: None, superseded: false, ..refresh(19_500, 1, None) };
    history.calls.push(failing);
    assert_eq!(broken(&history), [""; 0], "HubSpot has failed since");
    let slowed = history.calls.last_mut().unwrap();
    (slowed.status, slowed.hub) = (Some(429), Some(8));
    assert_eq!(broken(&history), [""; 0], "HubSpot has slowed this replica down");
    history.calls.last_mut().unwrap().replica = Some(1);
    assert_eq!(broken(&history), ["I4", "I14"], "HubSpot has slowed another one down");
}

#[test]
fn i13_a_token_that_hubspot_rejects() {
    for known in [None, Some(AccessToken { hub_id: 8, ..access_token(30_000) })] {
        assert_eq!(broken_by([lent(20_000, |token, _| token.known = known)]), ["I13"]);
    }
    let expired = lent(32_000, |_, promise| promise.is_short = true);
    assert_eq!(broken_by([expired]), ["I13"]);
}

#[test]
fn i13_a_token_of_an_ended_connection_or_an_older_generation() {
    let mut history = History { reads: vec![read()], ..healthy() };
    history.stored.connections[0].id = "another".to_owned();
    history.disconnects.push(Disconnect { at: 19_999, connection: "one".to_owned() });
    assert_eq!(broken(&history), ["I13"]);
    history.disconnects[0].at = 20_005;
    assert_eq!(broken(&history), [""; 0], "it was requested before that");
    let revoke =
        Call { kind: Kind::Revoke, status: Some(200), superseded: false, ..refresh(19_900, 1, None) };
    history.calls.push(revoke);
    assert_eq!(broken(&history), ["I13"]);
    let newer = lent(19_500, |token, _| token.generation = 3);
    assert_eq!(broken_by([newer.clone(), read()]), ["I13"]);
    let (newer, meanwhile) = (Read { answered: 20_001, ..newer }, read());
    assert_eq!(broken_by([newer, meanwhile]), [""; 0]);
}

#[test]
fn i14_a_token_is_refused_or_delayed_without_cause() {
    assert_eq!(broken_by([refused(503, "token_unavailable", true)]), [""; 0]);
    for read in [
        refused(503, "token_unavailable", false),
        refused(503, "gateway", true),
        refused(500, "integrity_error", false),
        refused(404, "connection_not_found", false),
        refused(409, "needs_reauth", false),
    ] {
        assert_eq!(broken_by([read]), ["I14"]);
    }
    let mut history = History { reads: vec![refused(404, "connection_not_found", false)], ..healthy() };
    history.stored.connections[0].id = "another".to_owned();
    assert_eq!(broken(&history), [""; 0]);
    let mut history = History { reads: vec![refused(409, "needs_reauth", false)], ..healthy() };
    history.calls.push(Call { superseded: false, ..refresh(15_000, 1, None) });
    assert_eq!(broken(&history), [""; 0], "HubSpot has refused it");
    // Another user has connected the same account since, and then the user of this connection as well.
    let again = Call { kind: Kind::Exchange, grant: Some(2), ..refresh(16_000, 0, Some(0)) };
    history.calls.push(again);
    history.grants.push(Living { id: 2, ..living("t0") });
    history.stored.connections.push(connection("two", "t0"));
    history.connects.push(Connect { at: 17_000, connection: "two".to_owned() });
    assert_eq!(broken(&history), [""; 0]);
    history.connects[0].connection = "one".to_owned();
    assert_eq!(broken(&history), ["I14"]);
}

#[test]
fn i5_a_grant_outlives_its_connection() {
    let mut history = healthy();
    history.stored.connections.clear();
    assert_eq!(broken(&history), ["I5"]);
    let exchange =
        Call { kind: Kind::Exchange, fingerprint: None, presented: None, ..refresh(500, 0, Some(0)) };
    history.calls.insert(0, exchange);
    assert_eq!(broken(&history), ["I5"]);
    // Killed before it could store HubSpot's response: the grant is unknown.
    history.lives = vec![life(0, 0, Some((600, EndReason::Killed))), life(0, 700, None)];
    assert_eq!(broken(&history), [""; 0]);
}

#[test]
fn i5_an_ended_connection_comes_back_or_a_revocation_is_forgotten() {
    let mut history = healthy();
    history.disconnects.push(Disconnect { at: 12_000, connection: "one".to_owned() });
    assert_eq!(broken(&history), ["I5"]);
    let mut history = healthy();
    history.stored.revocations = 1;
    assert_eq!(broken(&history), ["I5"]);
}

#[test]
fn i6_a_connection_is_refreshed_too_often() {
    let mut history = healthy();
    for round in 1..4_u32 {
        history.calls.push(refresh(10_000 + 2_000 * i64::from(round), round, Some(round + 1)));
    }
    history.stored.connections[0].fingerprint = "t4".to_owned();
    history.grants = vec![living("t4")];
    assert_eq!(broken(&history), ["I6"]);
}

#[test]
fn i7_jobs_and_connections_do_not_match() {
    for change in [
        (|history| history.stored.connections[0].jobs = 0) as fn(&mut History),
        |history| history.stored.connections[0].jobs = 2,
        |history| history.stored.spare_jobs.push("two".to_owned()),
        |history| history.mismatches.push("one (active)".to_owned()),
    ] {
        let mut history = healthy();
        change(&mut history);
        assert_eq!(broken(&history), ["I7"]);
    }
}

#[test]
fn i8_a_connection_that_needs_reauth_keeps_refreshing() {
    let mut history = healthy();
    history.needs_reauth.push(NeedsReauth {
        at: 12_000,
        connection: "one".to_owned(),
        fingerprint: "t1".to_owned(),
    });
    assert_eq!(broken(&history), [""; 0]);
    history.calls.push(Call { superseded: false, ..refresh(20_000, 1, None) });
    assert_eq!(broken(&history), ["I8"]);
}

#[test]
fn i9_a_flow_has_no_end_or_is_lost() {
    let mut history = healthy();
    history.starts.push(Start { at: 1_000, flow: "flow".to_owned() });
    assert_eq!(broken(&history), ["I9"]);
    let request = |status: &str| AuthRequest {
        flow: "flow".to_owned(),
        status: status.to_owned(),
        consumed_at: Some(2_000),
        expires_at: 11_000,
        connection: None,
    };
    for (status, holds) in
        [("failed", true), ("awaiting_user", true), ("connected", false), ("exchanging", false)]
    {
        history.stored.auth_requests = vec![request(status)];
        assert_eq!(broken(&history).is_empty(), holds, "{status}");
    }
    history.cuts.push(Cut { replica: 0, database: true, from: 2_100, to: 14_000 });
    assert_eq!(broken(&history), [""; 0], "an exchange that was cut off expires");
}

#[test]
fn i10_i11_i12_and_rest() {
    let mut history = healthy();
    history.leaks.push("log:1: a secret".to_owned());
    assert_eq!(broken(&history), ["I10"]);
    let mut history = healthy();
    history.resident_kib = vec![40_000, 151 * 1024];
    assert_eq!(broken(&history), ["I11"]);
    for end in [EndReason::Crashed, EndReason::Stopped { took_ms: 60_000, well: false }] {
        let mut history = healthy();
        history.lives[0].end = Some(End { at: 20_000, how: end });
        assert_eq!(broken(&history), ["I12"]);
    }
    let mut history = healthy();
    history.lives[0].ready = Some(5_000);
    assert_eq!(broken(&history), ["I12"]);
    let mut history = healthy();
    history.unsettled = Some("one connection is not refreshed".to_owned());
    assert_eq!(broken(&history), ["rest"]);
}
