//! The JSON of the journal: pointers, and the files that they lead to. Parsed leniently, because HubSpot's schema does
//! not define the content of a file (files in practice: `journalEvents`, each with `type`, `action`, `portalId`,
//! `occurredAt`).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::subscription::UNINSTALLED;
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::PortalId;
use crate::domain::journal::Notice;

const MAX_OFFSET_LENGTH: usize = 200;
/// HubSpot keeps an entry for three days: a time older than this must have a format that is not understood here.
const MAX_ENTRY_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A pointer to a file of the journal.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The offset from which reading continues after this entry.
    pub offset: String,
    /// The URL of the file. The URL alone gives access to the file, so it is never shown.
    pub(super) url: String,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// Parses `{"url", "expiresAt", "currentOffset"}` (schema `JournalFetchResponse`). The offset becomes part of a URL, so
/// its characters are checked: HubSpot's offsets are UUIDs.
pub(super) fn pointer(body: &[u8]) -> Result<Entry, Failure> {
    let bad = || Failure::transient(FailureCode::ProviderBadResponse);
    let body: Value = serde_json::from_slice(body).map_err(|_| bad())?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned).ok_or_else(bad);
    let entry = Entry { offset: text("currentOffset")?, url: text("url")? };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let starts_well = entry.offset.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    let is_offset =
        starts_well && entry.offset.len() <= MAX_OFFSET_LENGTH && entry.offset.bytes().all(is_plain);
    if is_offset { Ok(entry) } else { Err(bad()) }
}

/// The parts of a file that are read. Events are parsed one by one: a file may have 8 MB, and would take several times
/// that as a tree. A malformed event affects only itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File<'a> {
    #[serde(borrow)]
    journal_events: Vec<&'a RawValue>,
    #[serde(borrow)]
    published_at: Option<&'a RawValue>,
}

/// Returns the uninstalls in a file, the last one of each account. A time that is missing, in the future or implausible
/// is replaced by `now`.
pub(super) fn notices(file: &[u8], now: Timestamp) -> Result<Vec<Notice>, Failure> {
    let file: File =
        serde_json::from_slice(file).map_err(|_| Failure::transient(FailureCode::JournalFileUnreadable))?;
    let published = file.published_at.and_then(value).as_ref().and_then(moment);
    let mut last = BTreeMap::new();
    for event in file.journal_events.into_iter().filter_map(value).filter(is_uninstall) {
        let Some(portal_id) = event.get("portalId").and_then(portal) else { continue };
        let occurred = event.get("occurredAt").and_then(moment).or(published);
        let at = occurred.filter(|at| now.since(*at) < MAX_ENTRY_AGE).unwrap_or(now).min(now);
        last.entry(portal_id).and_modify(|known: &mut Timestamp| *known = at.max(*known)).or_insert(at);
    }
    Ok(last.into_iter().map(|(portal_id, at)| Notice { portal_id: PortalId(portal_id), at }).collect())
}

fn value(raw: &RawValue) -> Option<Value> {
    serde_json::from_str(raw.get()).ok()
}

fn is_uninstall(event: &Value) -> bool {
    let is = |name: &str, wanted: &str| event.get(name).and_then(Value::as_str) == Some(wanted);
    is("action", "APP_UNINSTALL") || is("eventTypeId", UNINSTALLED) || is("objectTypeId", UNINSTALLED)
}

fn portal(id: &Value) -> Option<i64> {
    id.as_i64().or_else(|| id.as_str()?.parse().ok()).filter(|id| *id > 0)
}

/// Parses RFC 3339, or Unix milliseconds.
fn moment(at: &Value) -> Option<Timestamp> {
    if let Some(ms) = at.as_i64().or_else(|| at.as_str()?.parse().ok()) {
        return Some(Timestamp::from_unix_ms(ms));
    }
    let at = OffsetDateTime::parse(at.as_str()?, &Rfc3339).ok()?;
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Timestamp::from_unix_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_795_000_000_000);

    fn read(file: &Value) -> Vec<(i64, i64)> {
        let found = notices(file.to_string().as_bytes(), NOW).expect("readable");
        found.iter().map(|one| (one.portal_id.0, one.at.unix_ms())).collect()
    }

    #[test]
    fn uninstalls_are_recognized_and_the_last_per_account_counts() {
        let file = json!({"journalEvents": [
            {"type": "app_lifecycle_event", "action": "APP_UNINSTALL", "portalId": 2, "occurredAt": "2026-11-18T11:00:00.5Z"},
            {"type": "app_lifecycle_event", "action": "APP_UNINSTALL", "portalId": 2, "occurredAt": "2026-11-18T10:00:00Z"},
            {"type": "app_lifecycle_event", "action": "APP_INSTALL", "portalId": 3, "occurredAt": "2026-11-18T11:00:00Z"},
            {"type": "crm_object", "action": "UPDATE", "portalId": 4, "objectTypeId": "0-1"},
            {"eventTypeId": "4-1916193", "portalId": "5", "occurredAt": 1_794_999_000_000_i64},
            {"action": "APP_UNINSTALL"}, {"action": "APP_UNINSTALL", "portalId": -1}, 7, null,
        ]});
        assert_eq!(read(&file), [(2, 1_794_999_600_500), (5, 1_794_999_000_000)]);
    }

    #[test]
    fn missing_and_future_times_are_replaced() {
        let event = |at: Value| json!({"action": "APP_UNINSTALL", "portalId": 1, "occurredAt": at});
        for at in [json!(null), json!("soon"), json!("2099-01-01T00:00:00Z"), json!(0), json!(1_795_000_000)]
        {
            assert_eq!(read(&json!({"journalEvents": [event(at)]})), [(1, NOW.unix_ms())]);
        }
        let file = json!({"journalEvents": [event(json!(null))], "publishedAt": "2026-11-18T11:00:00Z"});
        assert_eq!(read(&file), [(1, 1_794_999_600_000)]);
    }

    #[test]
    fn malformed_events_do_not_affect_others() {
        let file = br#"{"offset": [{"a": 1e999}], "journalEvents": [
            {"action": "OBJECT_UPDATE", "portalId": 3, "properties": {"name": "\ud800", "size": -1e999}},
            {"action": ["APP_UNINSTALL"], "portalId": 4}, {"action": {"action": "APP_UNINSTALL"}, "portalId": 5},
            {"action": "APP_UNINSTALL", "portalId": {"portalId": 6}}, {"action": "APP_UNINSTALL", "portalId": 7.5},
            {"action": "APP_UNINSTALL", "portalId": 18446744073709551615}, [{"action": "APP_UNINSTALL", "portalId": 8}],
            {"action": "APP_INSTALL", "action": "APP_UNINSTALL", "portal\u0049d": 9, "occurredAt": true}
        ], "publishedAt": 1794999000000, "next": {"journalEvents": []}}"#;
        let found = notices(file, NOW).expect("readable");
        let found_notices: Vec<_> = found.iter().map(|one| (one.portal_id.0, one.at.unix_ms())).collect();
        assert_eq!(found_notices, [(9, 1_794_999_000_000)]);
    }

    #[test]
    fn files_of_other_formats_are_errors() {
        for bad in ["", "<html>", "{}", "[]", r#"{"journalEvents": 7}"#] {
            assert_eq!(
                notices(bad.as_bytes(), NOW).expect_err("bad").code,
                FailureCode::JournalFileUnreadable,
                "{bad}"
            );
        }
    }

    #[test]
    fn offsets_that_change_the_path_are_refused() {
        let entry = |offset: &str| {
            pointer(json!({"url": "https://a.example/x?y", "currentOffset": offset}).to_string().as_bytes())
        };
        let shown = format!("{:?}", entry("550e8400-e29b-41d4-a716-446655440000").expect("an entry"));
        assert!(!shown.contains("a.example"), "{shown}");
        for bad in ["", "..", ".", "a/b", "a?b", "a#b", "a b", "é", &"x".repeat(201)] {
            assert!(entry(bad).is_err(), "{bad}");
        }
        assert!(pointer(b"{}").is_err());
    }
}
