//! `POST /oauth/{version}/token`.

use serde_json::json;

use crate::access::Access;
use crate::answer::{Answer, Content};
use crate::clock::now_ms;
use crate::grants::Grant;
use crate::hub::State;
use crate::incoming::Incoming;

const BAD_AUTH_CODE: &str = "missing or unknown auth code";
const BAD_REFRESH_TOKEN: &str = "refresh token is invalid, expired or revoked";

/// Checks that the app authenticates with id and secret in a form and nowhere else.
pub(crate) fn check_client(state: &State, call: &Incoming) -> Result<(), Answer> {
    if !call.is_form {
        let message = "the body must be application/x-www-form-urlencoded";
        return Err(Answer::failed(415, "VALIDATION_ERROR", message));
    }
    let by_header = call.authorization.is_some();
    if by_header || call.form.get("client_id") != Some(state.options.client_id.as_str()) {
        let message = "missing or invalid client id";
        return Err(Answer::refused("invalid_client", "BAD_CLIENT_ID", message));
    }
    let secret = call.form.get("client_secret");
    let accepted = &state.options.client_secrets;
    if !secret.is_some_and(|secret| accepted.iter().any(|one| one == secret)) {
        let message = "missing or invalid client secret";
        return Err(Answer::refused("invalid_client", "BAD_CLIENT_SECRET", message));
    }
    Ok(())
}

/// Exchanges a code for tokens.
pub(crate) fn exchange(state: &mut State, call: &Incoming) -> Answer {
    if let Err(refusal) = check_client(state, call) {
        return refusal;
    }
    // Taken before the checks: a failed exchange consumes the code as well.
    let code = call.form.get("code").and_then(|it| state.codes.take(it));
    let Some(code) = code.filter(|code| code.client_id == state.options.client_id) else {
        return Answer::refused("invalid_grant", "BAD_AUTH_CODE", BAD_AUTH_CODE);
    };
    let refusal = if code.expires_at_ms <= now_ms() {
        Answer::refused("invalid_grant", "EXPIRED_AUTH_CODE", "auth code expired")
    } else if call.form.get("redirect_uri") != Some(code.redirect_uri.as_str()) {
        let message = "redirect URI does not match initial auth code URI";
        Answer::refused_as_of_old("MISMATCH_REDIRECT_URI_AUTH_CODE", message)
    } else if !code.accepts_verifier(call.form.get("code_verifier")) {
        let message = "code verifier does not match";
        Answer::refused("invalid_grant", "BAD_CODE_VERIFIER", message)
    } else {
        let grant = record(state, code.hub_id, code.scopes);
        return tokens(state, &grant);
    };
    refusal.about(code.hub_id)
}

fn record(state: &mut State, hub_id: u64, scopes: Vec<String>) -> Grant {
    let client_id = state.options.client_id.clone();
    if state.options.share_refresh_token_per_account
        && let Some(grant) = state.grants.newest_mut(hub_id, &client_id)
    {
        grant.scopes = scopes;
        return grant.clone();
    }
    let user_id = state.options.account(hub_id).user_id;
    let grant =
        Grant { id: 0, hub_id, user_id, scopes, client_id, refresh_token: String::new(), generation: 0 };
    state.grants.add(grant).clone()
}

/// Refreshes with a refresh token.
pub(crate) fn refresh(state: &mut State, call: &Incoming) -> Answer {
    if let Err(refusal) = check_client(state, call) {
        return refusal;
    }
    let bad_token = || Answer::refused("invalid_grant", "BAD_REFRESH_TOKEN", BAD_REFRESH_TOKEN);
    let token = call.form.get("refresh_token").unwrap_or_default();
    let Some(presented) = state.grants.find(token) else {
        return bad_token();
    };
    let Some(grant) = state.grants.get(presented.id) else {
        return bad_token();
    };
    let hub_id = grant.hub_id;
    if grant.client_id != state.options.client_id {
        let message = "refresh token was not issued to this client";
        return Answer::refused_as_of_old("MISMATCH_REFRESH_TOKEN_CLIENT", message).about(hub_id);
    }
    if presented.superseded && state.options.reject_reused_refresh_tokens {
        return bad_token().about(hub_id).superseded(true);
    }
    if state.options.rotate_refresh_tokens {
        state.grants.rotate(presented.id);
    }
    let Some(grant) = state.grants.get(presented.id) else {
        return bad_token();
    };
    tokens(state, grant).superseded(presented.superseded)
}

/// Returns a new access token and the current refresh token.
fn tokens(state: &State, grant: &Grant) -> Answer {
    let seconds = state.options.access_token_seconds;
    let access = Access {
        grant: grant.id,
        hub_id: grant.hub_id,
        user_id: grant.user_id,
        expires_at_ms: now_ms().saturating_add(seconds.saturating_mul(1000)),
        scopes: grant.scopes.clone(),
    };
    Answer::ok(json!({
        "token_type": "bearer",
        "refresh_token": grant.refresh_token,
        "access_token": access.seal(&state.access_key),
        "hub_id": grant.hub_id,
        "scopes": grant.scopes,
        "token_use": "access_token",
        "expires_in": seconds,
    }))
    .issuing(grant)
}

/// Issues a token for the app itself, belonging to no account.
pub(crate) fn client_credentials(state: &State, call: &Incoming) -> Answer {
    if let Err(refusal) = check_client(state, call) {
        return refusal;
    }
    let Some(scope) = call.form.get("scope") else {
        return Answer::refused("invalid_scope", "BAD_SCOPES", "missing or invalid scopes");
    };
    let seconds = state.options.access_token_seconds;
    let access = Access {
        grant: 0,
        hub_id: 0,
        user_id: 0,
        expires_at_ms: now_ms().saturating_add(seconds.saturating_mul(1000)),
        scopes: scope
            .split_whitespace()
            .filter(|scope| state.options.app_scopes.iter().any(|known| known == scope))
            .map(str::to_owned)
            .collect(),
    };
    Answer::ok(json!({
        "access_token": access.seal(&state.access_key),
        "expires_in": seconds,
        "token_type": "bearer",
        "token_use": "client_credentials",
    }))
}

/// Answers an unknown path, or the token endpoint with an unknown grant type.
pub(crate) fn unknown(state: &State, call: &Incoming) -> Answer {
    let is_token_endpoint = call.method == "POST"
        && call.version.as_deref().is_some_and(|version| version != "v1")
        && call.path.ends_with("/token");
    if !is_token_endpoint {
        return Answer::failed(404, "OBJECT_NOT_FOUND", "resource not found");
    }
    if let Err(refusal) = check_client(state, call) {
        return refusal;
    }
    let message = "missing or unknown grant type";
    Answer::refused("unsupported_grant_type", "BAD_GRANT_TYPE", message)
}

/// Returns a response without a body.
pub(crate) fn empty(status: u16) -> Answer {
    Answer::new(status, Content::Empty)
}
