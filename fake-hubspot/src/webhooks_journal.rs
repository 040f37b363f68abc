//! The Webhooks Journal: events to which an app has subscribed and which it fetches. Only uninstalls occur here.
//!
//! An entry points to a file. HubSpot's schema does not define the file; its format is the one that apps have observed.

use std::collections::VecDeque;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::access::Access;
use crate::answer::Answer;
use crate::clock::now_ms;
use crate::hub::State;
use crate::incoming::Incoming;
use crate::random;
use crate::token::empty;

/// HubSpot's event type of an uninstall.
const UNINSTALLED: &str = "4-1916193";

#[derive(Default)]
pub(crate) struct WebhooksJournal {
    subscriptions: Vec<Value>,
    entries: VecDeque<Entry>,
}

struct Entry {
    offset: String,
    file: Value,
}

impl WebhooksJournal {
    /// Adds an entry, if the app has subscribed.
    pub(crate) fn uninstalled(&mut self, hub_ids: &[u64], at_ms: i64) {
        if !self.subscriptions.iter().any(|one| one["eventTypeId"] == UNINSTALLED) {
            return;
        }
        let event = |hub_id: &u64| {
            json!({
                "type": "app_lifecycle_event",
                "action": "APP_UNINSTALL",
                "eventTypeId": UNINSTALLED,
                "portalId": hub_id,
                "occurredAt": rfc3339(at_ms),
                "properties": {"hs_app_install_level": "PORTAL"},
            })
        };
        let offset = uuid();
        let file = json!({
            "offset": offset,
            "journalEvents": hub_ids.iter().map(event).collect::<Vec<_>>(),
            "publishedAt": rfc3339(at_ms),
        });
        self.entries.push_back(Entry { offset, file });
    }

    /// Drops the oldest entries.
    pub(crate) fn forget(&mut self, but: usize) {
        let spare = self.entries.len().saturating_sub(but);
        self.entries.drain(..spare);
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }
}

/// Answers `GET` and `POST /webhooks-journal/subscriptions/{version}`.
pub(crate) fn subscriptions(state: &mut State, call: &Incoming) -> Answer {
    let right = if call.method == "POST" { "subscriptions.write" } else { "subscriptions.read" };
    if let Err(refusal) = authenticate(state, call, right) {
        return refusal;
    }
    let known = &mut state.webhooks_journal.subscriptions;
    if call.method != "POST" {
        return Answer::ok(json!({ "results": known }));
    }
    let wanted: Value = serde_json::from_slice(&call.body).unwrap_or_default();
    if wanted["subscriptionType"] != "APP_LIFECYCLE_EVENT" || !wanted["eventTypeId"].is_string() {
        return Answer::failed(400, "VALIDATION_ERROR", "Invalid input JSON");
    }
    if known.iter().any(|one| one["eventTypeId"] == wanted["eventTypeId"]) {
        return Answer::failed(409, "CONFLICT", "the subscription exists");
    }
    let made = json!({
        "id": 60_001_000 + known.len(),
        "appId": 936_515,
        "subscriptionType": "APP_LIFECYCLE_EVENT",
        "eventTypeId": wanted["eventTypeId"],
        "createdAt": rfc3339(now_ms()),
        "updatedAt": rfc3339(now_ms()),
    });
    known.push(made.clone());
    Answer::ok(made)
}

/// Answers `GET /webhooks-journal/journal/{version}/…`: `earliest`, `latest`, or the entry after an offset.
pub(crate) fn entry(state: &State, call: &Incoming) -> Answer {
    if let Err(refusal) = authenticate(state, call, "read") {
        return refusal;
    }
    let entries = &state.webhooks_journal.entries;
    let segments: Vec<&str> = call.path.split('/').collect();
    let found = match segments.as_slice() {
        [.., "earliest"] => entries.front(),
        [.., "latest"] => entries.back(),
        [.., offset, "next"] => match entries.iter().position(|entry| entry.offset == *offset) {
            Some(at) => entries.get(at + 1),
            None => return Answer::failed(404, "OBJECT_NOT_FOUND", "no such offset"),
        },
        _ => None,
    };
    match found {
        Some(entry) => Answer::ok(json!({
            "url": format!("http://{}/journal-files/{}?signature=s", call.host.as_deref().unwrap_or_default(), entry.offset),
            "expiresAt": rfc3339(now_ms() + 300_000),
            "currentOffset": entry.offset,
        })),
        None if state.options.nothing_new_status == 204 => empty(204),
        None => Answer::failed(state.options.nothing_new_status, "OBJECT_NOT_FOUND", "nothing new"),
    }
}

/// Serves a file, without a token to every caller with its address.
pub(crate) fn file(state: &State, call: &Incoming) -> Answer {
    let name = call.path.rsplit('/').next().unwrap_or_default();
    let found = state.webhooks_journal.entries.iter().find(|entry| entry.offset == name);
    match found.filter(|_| call.query.get("signature") == Some("s") && call.authorization.is_none()) {
        Some(entry) => Answer::ok(entry.file.clone()),
        None => Answer::failed(403, "FORBIDDEN", "the address has expired"),
    }
}

/// Checks that a call has a token of the app itself, with a scope of the journal.
fn authenticate(state: &State, call: &Incoming, right: &str) -> Result<(), Answer> {
    let access = Access::open(&state.access_key, call.bearer().unwrap_or_default());
    let Some(access) = access.filter(|access| access.hub_id == 0 && access.expires_at_ms > now_ms()) else {
        let message = "Authentication credentials not found.";
        return Err(Answer::failed(401, "INVALID_AUTHENTICATION", message));
    };
    let scope = format!("developer.webhooks_journal.{right}");
    if access.scopes.contains(&scope) {
        return Ok(());
    }
    let message = "This app hasn't been granted all required scopes to make this call.";
    Err(Answer::failed(403, "MISSING_SCOPES", message))
}

fn rfc3339(ms: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    at.ok().and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default()
}

fn uuid() -> String {
    random::na1(random::bytes()).split_off("na1-".len())
}
