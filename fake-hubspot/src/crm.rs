//! `/crm/v3/objects/contacts`: enough of the CRM to show that calls arrive with the right token and body.

use serde::Deserialize;
use serde_json::json;

use crate::access::Access;
use crate::account::authenticate;
use crate::answer::Answer;
use crate::clock::now_ms;
use crate::contacts::{Contact, Properties};
use crate::crm_search;
use crate::hub::State;
use crate::incoming::Incoming;
use crate::journal::Kind;
use crate::token::empty;

/// The properties that are returned where none are requested.
pub(crate) const USUAL: [&str; 3] = ["email", "firstname", "lastname"];
pub(crate) const LARGEST_PAGE: usize = 100;

/// Lists, creates, reads, updates, deletes or searches contacts of the access token's account.
pub(crate) fn answer(state: &mut State, call: &Incoming) -> Answer {
    let access = match authenticate(state, call) {
        Ok(access) => access,
        Err(refusal) => return refusal,
    };
    let hub_id = access.hub_id;
    match admit(state, &access, call) {
        Err(refusal) => refusal.about(hub_id),
        Ok(headers) => {
            let mut answer = act(state, hub_id, call).unwrap_or_else(|refusal| refusal).about(hub_id);
            answer.headers = headers;
            answer
        }
    }
}

/// Checks the account's rate limit and the token's scopes. Returns the rate limit headers.
fn admit(state: &mut State, access: &Access, call: &Incoming) -> Result<Vec<(&'static str, String)>, Answer> {
    let scope = match (call.method.as_str(), call.kind) {
        ("GET" | "HEAD", _) | (_, Kind::CrmSearch) => "crm.objects.contacts.read",
        _ => "crm.objects.contacts.write",
    };
    let (max, interval_ms, policy) = match call.kind {
        Kind::CrmSearch => (state.options.searches_per_second, 1000, "SECONDLY"),
        _ => (state.options.calls_per_ten_seconds, 10_000, "TEN_SECONDLY_ROLLING"),
    };
    let account = (access.hub_id, call.kind == Kind::CrmSearch);
    let mut headers = Vec::new();
    if max > 0 {
        let left = state.quotas.take(account, max, interval_ms, now_ms()).ok_or_else(|| exhausted(policy))?;
        // Search responses have no rate limit headers.
        if call.kind == Kind::Crm {
            headers.push(("x-hubspot-ratelimit-max", max.to_string()));
            headers.push(("x-hubspot-ratelimit-remaining", left.to_string()));
            headers.push(("x-hubspot-ratelimit-interval-milliseconds", interval_ms.to_string()));
        }
    }
    if access.scopes.iter().any(|granted| granted == scope) {
        return Ok(headers);
    }
    let refusal = Answer::failed(
        403,
        "MISSING_SCOPES",
        "This app hasn't been granted all required scopes to make this call.",
    );
    Err(refusal.with("errors", json!([{ "message": "One or more of the following scopes are required.", "context": { "requiredGranularScopes": [scope] } }])))
}

fn exhausted(policy: &str) -> Answer {
    let message = format!("You have reached your {} limit.", policy.to_lowercase());
    let refusal = Answer::failed(429, "RATE_LIMITS", &message);
    refusal.with("errorType", "RATE_LIMIT".into()).with("policyName", policy.into())
}

fn act(state: &mut State, hub_id: u64, call: &Incoming) -> Result<Answer, Answer> {
    let last = call.path.rsplit('/').next().unwrap_or_default();
    let wanted: Vec<&str> =
        call.query.get("properties").map_or_else(|| USUAL.to_vec(), |names| names.split(',').collect());
    match (call.method.as_str(), call.kind, last) {
        (_, Kind::CrmSearch, _) => crm_search::answer(state, hub_id, call),
        ("GET" | "HEAD", _, "contacts") => list(state, hub_id, call, &wanted),
        ("POST", _, "contacts") => create(state, hub_id, call),
        (_, _, "contacts") => Err(no_such_method()),
        (method, _, id) => {
            let id = id.parse().map_err(|_| not_found())?;
            match method {
                "GET" | "HEAD" => {
                    state.contacts.get(hub_id, id).map(|contact| Answer::ok(contact.json(&wanted)))
                }
                "PATCH" => {
                    let changes = properties(call)?;
                    state
                        .contacts
                        .update(hub_id, id, changes, now_ms())
                        .map(|contact| Answer::ok(contact.json(&USUAL)))
                }
                // The response does not reveal whether the contact existed.
                "DELETE" => {
                    state.contacts.remove(hub_id, id);
                    Some(empty(204))
                }
                _ => return Err(no_such_method()),
            }
            .ok_or_else(not_found)
        }
    }
}

fn list(state: &State, hub_id: u64, call: &Incoming, wanted: &[&str]) -> Result<Answer, Answer> {
    let number = |name| {
        call.query.get(name).map(str::parse::<usize>).transpose().map_err(|_| invalid("an invalid number"))
    };
    let limit = number("limit")?.unwrap_or(10).clamp(1, LARGEST_PAGE);
    let after = number("after")?.unwrap_or(0);
    let mut rest = state.contacts.of(hub_id).filter(|contact| contact.id > after as u64);
    let page: Vec<&Contact> = rest.by_ref().take(limit).collect();
    let mut body = json!({ "results": page.iter().map(|contact| contact.json(wanted)).collect::<Vec<_>>() });
    if let (Some(last), true) = (page.last(), rest.next().is_some()) {
        let link = format!("https://api.hubapi.com{}?limit={limit}&after={}", call.path, last.id);
        body["paging"] = json!({ "next": { "after": last.id.to_string(), "link": link } });
    }
    Ok(Answer::ok(body))
}

fn create(state: &mut State, hub_id: u64, call: &Incoming) -> Result<Answer, Answer> {
    match state.contacts.create(hub_id, properties(call)?, now_ms()) {
        Ok(contact) => {
            let mut answer = Answer::ok(contact.json(&USUAL));
            answer.status = 201;
            Ok(answer)
        }
        Err(known) => {
            Err(Answer::failed(409, "CONFLICT", &format!("Contact already exists. Existing ID: {known}")))
        }
    }
}

fn properties(call: &Incoming) -> Result<Properties, Answer> {
    #[derive(Deserialize)]
    struct Input {
        properties: Properties,
    }
    let input: Input = serde_json::from_slice(&call.body).map_err(|why| invalid(&why.to_string()))?;
    Ok(input.properties)
}

pub(crate) fn invalid(what: &str) -> Answer {
    Answer::failed(400, "VALIDATION_ERROR", &format!("Invalid input: {what}"))
}

fn not_found() -> Answer {
    Answer::failed(404, "OBJECT_NOT_FOUND", "resource not found")
}

fn no_such_method() -> Answer {
    Answer::failed(405, "METHOD_NOT_ALLOWED", "Method Not Allowed")
}
