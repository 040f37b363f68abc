//! A judge that cannot find anyone guilty is worth nothing: each invariant is shown a history that breaks it, and the
//! same history with what excuses it.

use fake_hubspot::Kind;

use super::{Cause, Finding, judge, losses};
use crate::history::{
    Attempt, Call, Connection, Cut, End, Ended, Freeze, Goodbye, History, Life, Living, Needy, Start,
};

/// A well history: one connection on replica 0, refreshed once, its process still running.
fn well() -> History {
    History {
        calls: vec![refresh(10_000, 0, Some(1))],
        lives: vec![life(0, 0, None)],
        resident_kib: vec![40_000],
        stored: crate::history::Stored { connections: vec![connection("one", "t1")], ..Default::default() },
        grants: vec![living("t1")],
        ..History::default()
    }
}

/// A refresh of grant 1 by replica 0, answered after 20 ms; the fingerprint of generation 3 is `t3`.
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

fn life(replica: usize, from: i64, end: Option<(i64, Ended)>) -> Life {
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

/// The names of the invariants that are broken.
fn broken(history: &History) -> Vec<&'static str> {
    judge(history).iter().filter(|verdict| verdict.is_broken()).map(|verdict| verdict.name).collect()
}

/// A history in which an answer was lost: generation 1 was issued at 10 s, generation 0 is stored and was asked for
/// again, in vain, a minute later.
fn losing() -> History {
    let mut history = well();
    history.calls.push(refresh(71_000, 0, None));
    history.stored.connections[0].fingerprint = "t0".to_owned();
    history
}

#[test]
fn a_well_history_is_not_found_guilty() {
    assert_eq!(broken(&well()), [""; 0]);
    let silent = judge(&well()).into_iter().filter(|one| matches!(one.finding, Finding::NotJudged(_)));
    assert_eq!(silent.map(|one| one.name).collect::<Vec<_>>(), ["I4"]);
}

#[test]
fn i1_two_refreshes_at_once() {
    let mut history = well();
    history.calls[0].overlapping = true;
    assert_eq!(broken(&history), ["I1"]);
    history.freezes.push(Freeze { replica: 0, from: 0, to: 9_000 });
    assert_eq!(broken(&history), ["I1"], "a freeze shorter than a lease is no excuse");
    history.freezes[0] = Freeze { replica: 0, from: -56_000, to: 9_000 };
    assert_eq!(broken(&history), [""; 0]);
}

#[test]
fn i2_and_i3_an_answer_was_lost_for_no_reason() {
    assert_eq!(broken(&losing()), ["I2", "I3"]);
}

#[test]
fn i2_an_old_token_is_presented_although_the_new_one_is_stored() {
    let mut history = well();
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
    history.lives = vec![life(0, 0, Some((10_050, Ended::Killed))), life(0, 11_000, None)];
    assert_eq!(broken(&history), [""; 0]);
    assert_eq!(losses(&history)[0].cause, Some(Cause::Kill(0)));
}

#[test]
fn i3_neither_a_stop_nor_a_crash_excuses_a_loss() {
    let stopped = Ended::Stopped { took_ms: 100, well: true };
    let mut history = losing();
    history.lives = vec![life(0, 0, Some((10_050, stopped))), life(0, 11_000, None)];
    assert_eq!(broken(&history), ["I2", "I3"]);
    history.lives[0].end = Some(End { at: 10_050, how: Ended::Crashed });
    assert_eq!(broken(&history), ["I2", "I3", "I12"]);
}

#[test]
fn i3_a_kill_long_after_the_answer_excuses_nothing_unless_the_database_was_away() {
    let mut history = losing();
    history.lives = vec![life(0, 0, Some((25_000, Ended::Killed))), life(0, 26_000, None)];
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
    history.lives.push(life(1, 0, Some((10_050, Ended::Killed))));
    assert_eq!(broken(&history), ["I2", "I3"]);
}

#[test]
fn i3_only_an_over_long_freeze_excuses_a_loss() {
    let mut history = losing();
    history.freezes.push(Freeze { replica: 0, from: 10_010, to: 16_000 });
    assert_eq!(broken(&history), ["I2", "I3"]);
    history.freezes[0].to = 75_000;
    assert_eq!(broken(&history), ["I3"], "a lease has run out, but nobody has been refused twice");
    history.calls.push(refresh(100_000, 0, None));
    assert_eq!(broken(&history), ["I2", "I3"], "it is awake again");
    history.freezes[0].to = 130_000;
    assert_eq!(broken(&history), [""; 0]);
    assert_eq!(losses(&history)[0].cause, Some(Cause::Freeze(0)));
}

#[test]
fn i2_others_may_ask_again_while_an_answer_waits_in_a_frozen_process() {
    let mut history = losing();
    history.freezes.push(Freeze { replica: 0, from: 10_010, to: 75_000 });
    history.calls[1].replica = Some(1);
    history.lives.push(life(1, 0, None));
    // It wakes and writes what it was given, and the connection is refreshed with that.
    history.calls.push(refresh(86_000, 1, Some(2)));
    history.stored.connections[0].fingerprint = "t2".to_owned();
    history.grants = vec![living("t2")];
    assert_eq!(broken(&history), [""; 0]);
    assert_eq!(losses(&history).len(), 0);
}

#[test]
fn i3_a_kill_does_not_excuse_more_losses_than_there_are_refreshes_at_once() {
    let mut history = History { lives: vec![life(0, 0, Some((10_050, Ended::Killed)))], ..well() };
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
    assert_eq!(broken(&history), ["I3"]);
    history.rules.max_in_flight = 9;
    assert_eq!(broken(&history), [""; 0]);
}

#[test]
fn i3_a_loss_is_found_although_its_person_has_connected_anew() {
    let mut history = losing();
    history.stored.connections[0].fingerprint = "new".to_owned();
    history.grants = vec![Living { id: 2, ..living("new") }];
    assert_eq!(broken(&history), ["I2", "I3"]);
}

#[test]
fn i3_a_connection_is_given_up_although_its_token_is_good() {
    let mut history = well();
    history.stored.connections[0].state = "needs_reauth".to_owned();
    history.stored.connections[0].jobs = 0;
    assert_eq!(broken(&history), ["I3"]);
}

#[test]
fn i3_a_stored_token_that_hubspot_never_saw() {
    let mut history = well();
    history.grants.clear();
    history.stored.connections[0].fingerprint = "nobody's".to_owned();
    assert_eq!(broken(&history), ["I3"]);
}

#[test]
fn i5_a_grant_outlives_its_connection() {
    let mut history = well();
    history.stored.connections.clear();
    assert_eq!(broken(&history), ["I5"]);
    let exchange =
        Call { kind: Kind::Exchange, fingerprint: None, presented: None, ..refresh(500, 0, Some(0)) };
    history.calls.insert(0, exchange);
    assert_eq!(broken(&history), ["I5"]);
    // Killed before it could store what HubSpot gave: nobody knows the grant.
    history.lives = vec![life(0, 0, Some((600, Ended::Killed))), life(0, 700, None)];
    assert_eq!(broken(&history), [""; 0]);
}

#[test]
fn i5_an_ended_connection_comes_back_or_a_revocation_is_forgotten() {
    let mut history = well();
    history.goodbyes.push(Goodbye { at: 12_000, connection: "one".to_owned() });
    assert_eq!(broken(&history), ["I5"]);
    let mut history = well();
    history.stored.revocations = 1;
    assert_eq!(broken(&history), ["I5"]);
}

#[test]
fn i6_a_connection_is_refreshed_too_often() {
    let mut history = well();
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
        let mut history = well();
        change(&mut history);
        assert_eq!(broken(&history), ["I7"]);
    }
}

#[test]
fn i8_a_connection_that_needs_its_person_goes_on_asking() {
    let mut history = well();
    history.needy.push(Needy { at: 12_000, connection: "one".to_owned(), fingerprint: "t1".to_owned() });
    assert_eq!(broken(&history), [""; 0]);
    history.calls.push(Call { superseded: false, ..refresh(20_000, 1, None) });
    assert_eq!(broken(&history), ["I8"]);
}

#[test]
fn i9_an_attempt_has_no_end_or_is_forgotten() {
    let mut history = well();
    history.starts.push(Start { at: 1_000, flow: "flow".to_owned() });
    assert_eq!(broken(&history), ["I9"]);
    let attempt = |status: &str| Attempt {
        flow: "flow".to_owned(),
        status: status.to_owned(),
        consumed_at: Some(2_000),
        expires_at: 11_000,
        connection: None,
    };
    for (status, holds) in
        [("failed", true), ("awaiting_user", true), ("connected", false), ("exchanging", false)]
    {
        history.stored.attempts = vec![attempt(status)];
        assert_eq!(broken(&history).is_empty(), holds, "{status}");
    }
    history.cuts.push(Cut { replica: 0, database: true, from: 2_100, to: 14_000 });
    assert_eq!(broken(&history), [""; 0], "an exchange that was cut off expires");
}

#[test]
fn i10_i11_i12_and_rest() {
    let mut history = well();
    history.leaks.push("log:1: a secret".to_owned());
    assert_eq!(broken(&history), ["I10"]);
    let mut history = well();
    history.resident_kib = vec![40_000, 151 * 1024];
    assert_eq!(broken(&history), ["I11"]);
    for end in [Ended::Crashed, Ended::Stopped { took_ms: 60_000, well: false }] {
        let mut history = well();
        history.lives[0].end = Some(End { at: 20_000, how: end });
        assert_eq!(broken(&history), ["I12"]);
    }
    let mut history = well();
    history.lives[0].ready = Some(5_000);
    assert_eq!(broken(&history), ["I12"]);
    let mut history = well();
    history.unsettled = Some("one connection is not refreshed".to_owned());
    assert_eq!(broken(&history), ["rest"]);
}
