//! The two calls made with an access token: the account's details, and the uninstall.

use serde_json::json;

use crate::access::Access;
use crate::answer::Answer;
use crate::clock::now_ms;
use crate::hub::State;
use crate::incoming::Incoming;
use crate::token::empty;

/// Answers `GET /account-info/{version}/details`.
pub(crate) fn details(state: &State, call: &Incoming) -> Answer {
    let access = match authenticate(state, call) {
        Ok(access) => access,
        Err(refusal) => return refusal,
    };
    let account = state.options.account(access.hub_id);
    let hours = utc_offset_hours(&account.time_zone);
    Answer::ok(json!({
        "portalId": account.hub_id,
        "accountType": "STANDARD",
        "timeZone": account.time_zone,
        "companyCurrency": "USD",
        "additionalCurrencies": ["EUR"],
        "utcOffset": format!("{hours:+03}:00"),
        "utcOffsetMilliseconds": hours * 3_600_000,
        "uiDomain": "app.hubspot.com",
        "dataHostingLocation": "na1",
    }))
    .about(account.hub_id)
}

/// Answers `DELETE /appinstalls/{version}/external-install`: every grant of the account ends.
pub(crate) fn uninstall(state: &mut State, call: &Incoming) -> Answer {
    match authenticate(state, call) {
        Ok(access) => {
            state.uninstall(access.hub_id, now_ms());
            empty(204).about(access.hub_id)
        }
        Err(refusal) => refusal,
    }
}

/// Returns the content of a call's access token.
pub(crate) fn authenticate(state: &State, call: &Incoming) -> Result<Access, Answer> {
    let token = call.bearer().unwrap_or_default();
    let Some(access) = Access::open(&state.access_key, token).filter(|access| access.hub_id != 0) else {
        let message = "Authentication credentials not found.";
        return Err(Answer::failed(401, "INVALID_AUTHENTICATION", message));
    };
    let late_ms = now_ms() - access.expires_at_ms;
    if late_ms < 0 {
        return Ok(access);
    }
    let message = format!("The OAuth token used to make this call expired {} second(s) ago.", late_ms / 1000);
    let refusal = Answer::failed(401, "EXPIRED_AUTHENTICATION", &message);
    Err(refusal
        .with("context", json!({ "expire time": [access.expires_at_ms.to_string()] }))
        .about(access.hub_id))
}

/// Returns the UTC offset in winter of the sample accounts' time zones. All others count as UTC: the fake has no
/// calendar.
fn utc_offset_hours(time_zone: &str) -> i64 {
    match time_zone {
        "US/Eastern" => -5,
        "Europe/Berlin" => 1,
        _ => 0,
    }
}
