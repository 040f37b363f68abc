//! The time from a response of HubSpot to its commit: from HubSpot's record to the line in the replica's log.

use std::collections::HashMap;

use fake_hubspot::Kind;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::history::Call;

/// A log line that matters here.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// A connection of this account was created.
    Connected { connection: String, hub: u64 },
    /// A connection's new tokens were stored at that time.
    Refreshed { connection: String, at: i64 },
}

/// Returns the spans in milliseconds, given each replica's log and the calls to HubSpot.
pub fn spans(logs: &[String], calls: &[Call]) -> Vec<i64> {
    let logs: Vec<Vec<Line>> = logs.iter().map(|log| log.lines().filter_map(read).collect()).collect();
    let hubs: HashMap<_, _> = logs
        .iter()
        .flatten()
        .filter_map(|line| match line {
            Line::Connected { connection, hub } => Some((connection, *hub)),
            Line::Refreshed { .. } => None,
        })
        .collect();
    let mut answers: HashMap<(usize, u64), Vec<&Call>> = HashMap::new();
    for call in calls.iter().filter(|call| call.kind == Kind::Refresh && call.issued.is_some()) {
        if let (Some(replica), Some(hub)) = (call.replica, call.hub) {
            answers.entry((replica, hub)).or_default().push(call);
        }
    }
    let mut spans = Vec::new();
    for (replica, lines) in logs.iter().enumerate() {
        for line in lines {
            let Line::Refreshed { connection, at } = line else { continue };
            let asked = hubs.get(connection).and_then(|hub| answers.get(&(replica, *hub)));
            // The last one before: a connection has one refresh at a time.
            let answered = asked.and_then(|calls| calls.iter().rev().find(|call| call.at <= *at)?.answered);
            spans.extend(answered.map(|answered| (at - answered).max(0)));
        }
    }
    spans
}

fn read(line: &str) -> Option<Line> {
    // Most lines are something else, and parsing them would take longer than all the rest.
    let refreshed = line.contains(r#""message":"refreshed""#);
    if !refreshed && !line.contains(r#""message":"connected""#) {
        return None;
    }
    let line: Value = serde_json::from_str(line).ok()?;
    let connection = line["connection"].as_str()?.to_owned();
    if !refreshed {
        return Some(Line::Connected { connection, hub: line["portal"].as_u64()? });
    }
    let at = OffsetDateTime::parse(line["timestamp"].as_str()?, &Rfc3339).ok()?;
    Some(Line::Refreshed { connection, at: i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_match_response_and_log_line_of_one_replica_and_account() {
        let log = |replica: usize| {
            let connected = r#"{"timestamp":"2026-11-21T10:00:00.000000Z","message":"connected","connection":"a","portal":7}"#;
            let refreshed =
                r#"{"timestamp":"2026-11-21T10:00:11.025000Z","message":"refreshed","connection":"a"}"#;
            [connected, refreshed][replica].to_owned()
        };
        let at = 1_795_255_211_000;
        let call = |replica, at: i64| Call {
            at,
            answered: Some(at + 20),
            kind: Kind::Refresh,
            replica: Some(replica),
            hub: Some(7),
            grant: Some(1),
            fingerprint: None,
            presented: Some(0),
            issued: Some(1),
            status: Some(200),
            overlapping: false,
            superseded: false,
        };
        let calls = [call(1, at - 11_000), call(1, at), call(0, at + 2), call(1, at + 11_000)];
        assert_eq!(spans(&[log(0), log(1)], &calls), [5]);
    }
}
