//! `POST /oauth/{version}/token/introspect` and `/revoke`.

use serde_json::{Value, json};

use crate::access::Access;
use crate::answer::Answer;
use crate::clock::now_ms;
use crate::hub::State;
use crate::incoming::Incoming;
use crate::token::{check_client, empty};

/// HubSpot's id of the app.
const APP_ID: u64 = 1_234_444;

/// Describes a token. An expired or unknown one is merely inactive.
pub(crate) fn introspect(state: &State, call: &Incoming) -> Answer {
    if let Err(refusal) = check_client(state, call) {
        return refusal;
    }
    let token = call.form.get("token").unwrap_or_default();
    access_token(state, token)
        .or_else(|| refresh_token(state, token))
        .unwrap_or_else(|| Answer::ok(json!({ "active": false })))
}

fn access_token(state: &State, token: &str) -> Option<Answer> {
    let access = Access::open(&state.access_key, token)?;
    let left_ms = access.expires_at_ms - now_ms();
    if left_ms <= 0 {
        return None;
    }
    let mut about = describe(state, token, access.hub_id, &access.scopes);
    about["expires_in"] = json!(left_ms / 1000);
    about["token_use"] = json!("access_token");
    about["signed_access_token"] = json!({
        "expiresAt": access.expires_at_ms,
        "scopes": "x",
        "hubId": access.hub_id,
        "userId": access.user_id,
        "appId": APP_ID,
        "signature": "x",
        "scopeToScopeGroupPks": "x",
        "newSignature": "x",
        "hublet": "na1",
        "trialScopes": "",
        "trialScopeToScopeGroupPks": "",
        "isUserLevel": false,
        "isPrivateDistribution": true,
    });
    Some(Answer::ok(about).about(access.hub_id))
}

fn refresh_token(state: &State, token: &str) -> Option<Answer> {
    let presented = state.grants.find(token)?;
    let grant = state.grants.get(presented.id)?;
    if presented.superseded && state.options.reject_reused_refresh_tokens {
        return None;
    }
    let mut about = describe(state, token, grant.hub_id, &grant.scopes);
    about["token_use"] = json!("refresh_token");
    Some(Answer::ok(about).about(grant.hub_id).superseded(presented.superseded))
}

fn describe(state: &State, token: &str, hub_id: u64, scopes: &[String]) -> Value {
    let account = state.options.account(hub_id);
    json!({
        "active": true,
        "token": token,
        "hub_id": hub_id,
        "user_id": account.user_id,
        "client_id": state.options.client_id,
        "app_id": APP_ID,
        "user": account.user,
        "hub_domain": account.hub_domain,
        "scopes": scopes,
        "is_private_distribution": true,
        "token_type": "Bearer",
    })
}

/// Ends a grant by its refresh token. RFC 7009 section 2.2: an unknown token is no error.
pub(crate) fn revoke(state: &mut State, call: &Incoming) -> Answer {
    if let Err(refusal) = check_client(state, call) {
        return refusal;
    }
    let token = call.form.get("token").unwrap_or_default();
    let Some(presented) = state.grants.find(token) else {
        return empty(200);
    };
    let hub_id = state.grants.get(presented.id).map(|grant| grant.hub_id);
    if !presented.superseded || !state.options.ignore_revocation_of_retired_refresh_tokens {
        state.grants.revoke(presented.id);
    }
    let mut answer = empty(200).superseded(presented.superseded);
    answer.hub_id = hub_id;
    answer.grant = Some(presented.id);
    answer
}
