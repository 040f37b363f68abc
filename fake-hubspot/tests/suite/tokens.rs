//! The token endpoints, and the life of grants.

use std::time::Duration;

use fake_hubspot::{Fault, Kind, Rule};
use serde_json::json;

use crate::http::*;

#[tokio::test]
async fn codes_are_exchanged_once() {
    let fake = start(|_| {}).await;
    let code = code(&fake, ACME, "&optional_scope=automation");
    let reply = exchange(&fake, &code, "");
    assert_eq!(reply.status, 200);
    let mut body = reply.json();
    assert_eq!(body["access_token"].as_str().map(str::len), Some(300));
    assert!(body["refresh_token"].as_str().is_some_and(|it| it.starts_with("na1-")));
    body["access_token"] = json!("A");
    body["refresh_token"] = json!("R");
    assert_eq!(
        body,
        json!({
            "token_type": "bearer", "refresh_token": "R", "access_token": "A", "hub_id": ACME,
            "scopes": ["oauth", "automation"], "token_use": "access_token", "expires_in": 1800
        })
    );

    let again = exchange(&fake, &code, "");
    assert_eq!(again.status, 400);
    assert_eq!(
        again.json(),
        json!({
            "error": "invalid_grant", "error_description": "missing or unknown auth code",
            "status": "BAD_AUTH_CODE", "message": "missing or unknown auth code"
        })
    );
}

#[tokio::test]
async fn codes_are_bound_to_their_redirect_uri_and_challenge() {
    let fake = start(|_| {}).await;
    let form = format!("grant_type=authorization_code&code={}&redirect_uri=http://x/", code(&fake, ACME, ""));
    assert_eq!(post(&fake, "/oauth/v3/token", &form).word("status"), "MISMATCH_REDIRECT_URI_AUTH_CODE");

    // The pair of RFC 7636, appendix B.
    let challenge = "&code_challenge_method=S256&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let verifier = "&code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    assert_eq!(exchange(&fake, &code(&fake, ACME, challenge), verifier).status, 200);
    let wrong = exchange(&fake, &code(&fake, ACME, challenge), "&code_verifier=other");
    assert_eq!(wrong.word("status"), "BAD_CODE_VERIFIER");
    let missing = exchange(&fake, &code(&fake, ACME, challenge), "");
    assert_eq!(missing.word("status"), "BAD_CODE_VERIFIER");

    fake.options(|options| options.code_seconds = 0);
    assert_eq!(exchange(&fake, &code(&fake, ACME, ""), "").word("status"), "EXPIRED_AUTH_CODE");
}

#[tokio::test]
async fn the_app_authenticates_in_the_body() {
    let fake = start(|_| {}).await;
    let form = refresh_form(&connected(&fake, ACME));
    let path = "/oauth/2026-09/token";
    let by = |extra: &str, body: &str| request(&fake, "POST", path, extra, body).word("status");
    assert_eq!(by(FORM, &format!("{form}&client_id=x&client_secret=y")), "BAD_CLIENT_ID");
    assert_eq!(by(FORM, &format!("{form}&client_id=fake-client-id&client_secret=y")), "BAD_CLIENT_SECRET");
    let basic = format!("{FORM}authorization: Basic eDp5\r\n");
    assert_eq!(by(&basic, &format!("{form}&{CLIENT}")), "BAD_CLIENT_ID");
    assert_eq!(request(&fake, "POST", path, "content-type: application/json\r\n", "{}").status, 415);
    assert_eq!(post(&fake, path, "grant_type=password").word("status"), "BAD_GRANT_TYPE");
    assert_eq!(post(&fake, "/oauth/v1/token", &form).status, 404);
    assert_eq!(get(&fake, path).status, 404);
}

#[tokio::test]
async fn without_rotation_the_refresh_token_is_kept() {
    let fake = start(|_| {}).await;
    let token = connected(&fake, ACME);
    let first = refresh(&fake, &token);
    let second = refresh(&fake, &token);
    assert_eq!(second.word("refresh_token"), token);
    assert_ne!(first.word("access_token"), second.word("access_token"));
}

#[tokio::test]
async fn with_rotation_replaced_refresh_tokens_are_recorded_and_refused() {
    let fake = start(|options| {
        options.rotate_refresh_tokens = true;
        options.reject_reused_refresh_tokens = true;
    })
    .await;
    let old = connected(&fake, ACME);
    let new = refresh(&fake, &old).word("refresh_token");
    assert_ne!(old, new);
    assert_eq!(fake.current_refresh_token(ACME).as_deref(), Some(&*new));

    let refused = refresh(&fake, &old);
    assert_eq!((refused.status, refused.word("status").as_str()), (400, "BAD_REFRESH_TOKEN"));
    let calls = fake.calls(Kind::Refresh);
    assert_eq!(calls.iter().map(|it| it.superseded).collect::<Vec<_>>(), [false, true]);
    assert_eq!(refresh(&fake, &new).status, 200);

    fake.options(|options| options.reject_reused_refresh_tokens = false);
    assert_eq!(refresh(&fake, &old).status, 200);
}

#[tokio::test]
async fn tokens_of_another_app_are_a_mismatch() {
    let fake = start(|_| {}).await;
    let token = connected(&fake, ACME);
    fake.options(|options| options.client_id = "other".to_owned());
    let form = format!("{}&client_id=other&client_secret=fake-client-secret", refresh_form(&token));
    let reply = request(&fake, "POST", "/oauth/2026-03/token", FORM, &form);
    assert_eq!(reply.word("status"), "MISMATCH_REFRESH_TOKEN_CLIENT");
}

#[tokio::test]
async fn revocation_ends_the_grant_and_keeps_its_access_tokens() {
    let fake = start(|_| {}).await;
    let token = connected(&fake, ACME);
    let access = refresh(&fake, &token).word("access_token");
    let look = |token: &str| post(&fake, "/oauth/2026-09/token/introspect", &format!("token={token}")).json();
    assert_eq!(look(&token)["token_use"], "refresh_token");

    let revoked =
        post(&fake, "/oauth/2026-09/token/revoke", &format!("token={token}&token_type_hint=refresh_token"));
    assert_eq!((revoked.status, revoked.body.as_str()), (200, ""));
    assert_eq!(refresh(&fake, &token).word("error"), "invalid_grant");
    assert_eq!(look(&token), json!({ "active": false }));
    let alive = look(&access);
    assert_eq!(alive["active"], true);
    assert_eq!(alive["hub_id"], ACME);
    assert_eq!(alive["user"], "ada@acme.example");
    assert_eq!(alive["signed_access_token"]["hublet"], "na1");
    assert_eq!(fake.calls(Kind::Revoke)[0].hub_id, Some(ACME));
}

#[tokio::test]
async fn access_tokens_read_the_account_until_they_expire() {
    let fake = start(|_| {}).await;
    let token = connected(&fake, ACME);
    let details = |access: &str| {
        let bearer = format!("authorization: Bearer {access}\r\n");
        request(&fake, "GET", "/account-info/2026-09/details", &bearer, "")
    };
    let reply = details(&refresh(&fake, &token).word("access_token"));
    assert_eq!((reply.status, &reply.json()["portalId"]), (200, &json!(ACME)));
    assert_eq!(reply.json()["utcOffset"], "-05:00");

    fake.options(|options| options.access_token_seconds = -1);
    let expired = details(&refresh(&fake, &token).word("access_token"));
    assert_eq!((expired.status, expired.word("category").as_str()), (401, "EXPIRED_AUTHENTICATION"));
    let nonsense = details("Cnonsense");
    assert_eq!((nonsense.status, nonsense.word("category").as_str()), (401, "INVALID_AUTHENTICATION"));
}

#[tokio::test]
async fn uninstalling_ends_every_grant_of_the_account() {
    let fake = start(|_| {}).await;
    let tokens = [connected(&fake, ACME), connected(&fake, ACME), connected(&fake, GLOBEX)];
    let access = refresh(&fake, &tokens[0]).word("access_token");
    let bearer = format!("authorization: Bearer {access}\r\n");
    let reply = request(&fake, "DELETE", "/appinstalls/2026-09/external-install", &bearer, "");
    assert_eq!(reply.status, 204);
    assert_eq!(tokens.map(|token| refresh(&fake, &token).status), [400, 400, 200]);
    fake.uninstall(GLOBEX);
    assert_eq!(fake.current_refresh_token(GLOBEX), None);
}

#[tokio::test]
async fn accounts_may_share_one_refresh_token() {
    let fake = start(|options| options.share_refresh_token_per_account = true).await;
    assert_eq!(connected(&fake, ACME), connected(&fake, ACME));
    assert_ne!(connected(&fake, ACME), connected(&fake, GLOBEX));
}

#[tokio::test]
async fn the_app_gets_its_own_token() {
    let fake = start(|_| {}).await;
    let path = "/oauth/2026-09/token";
    let reply = post(&fake, path, "grant_type=client_credentials&scope=developer.webhooks_journal.read");
    assert_eq!((reply.status, reply.word("token_use").as_str()), (200, "client_credentials"));
    assert_eq!(post(&fake, path, "grant_type=client_credentials").word("status"), "BAD_SCOPES");
}

#[tokio::test]
async fn the_journal_records_overlapping_refreshes_and_repeated_keys() {
    let fake = start(|_| {}).await;
    let token = connected(&fake, ACME);
    fake.clear_journal();
    fake.script(Rule::once(Kind::Refresh, Fault::Delay(Duration::from_secs(1))));
    let form = format!("{}&x=1&x=2&{CLIENT}", refresh_form(&token));
    let slow = connect(&fake, "POST", "/oauth/2026-09/token", FORM, &form);
    while fake.journal().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    refresh(&fake, &token);
    drain(slow).1.expect("an answer");
    refresh(&fake, &token);
    let calls = fake.calls(Kind::Refresh);
    assert_eq!(calls.iter().map(|it| it.overlapping).collect::<Vec<_>>(), [false, true, false]);
    assert_eq!(calls.iter().map(|it| it.duplicate_form_keys).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(calls[0].form["x"], "1");
    assert_eq!(calls[0].fault.as_deref(), Some("delay"));
    assert_eq!(calls[0].hub_id, Some(ACME));
    assert!(calls[0].finished_at_ms >= calls[1].finished_at_ms);
    assert_eq!(calls[1].version.as_deref(), Some("2026-09"));
}

#[tokio::test]
async fn the_journal_records_received_and_issued_refresh_tokens() {
    let fake = start(|options| {
        options.rotate_refresh_tokens = true;
        options.reject_reused_refresh_tokens = true;
    })
    .await;
    let first = connected(&fake, ACME);
    assert_eq!(refresh(&fake, &first).status, 200);
    assert_eq!(refresh(&fake, &first).status, 400);
    // Processed, with a lost response.
    fake.script(Rule::once(Kind::Refresh, Fault::ResetAfterIssue));
    let second = fake.current_refresh_token(ACME).expect("a grant");
    drain(connect(
        &fake,
        "POST",
        "/oauth/2026-09/token",
        FORM,
        &format!("{}&{CLIENT}", refresh_form(&second)),
    ))
    .1
    .expect_err("a reset");
    let calls = fake.calls(Kind::Refresh);
    let journaled: Vec<_> = calls.iter().map(|call| (call.presented, call.issued, call.status)).collect();
    let expected = [(Some(0), Some(1), Some(200)), (Some(0), None, Some(400)), (Some(1), Some(2), None)];
    assert_eq!(journaled, expected);
    let grant = &fake.grants()[0];
    assert!(calls.iter().all(|call| call.grant == Some(grant.id) && call.host.is_some()));
}

#[tokio::test]
async fn taking_the_journal_keeps_calls_in_progress() {
    let fake = start(|_| {}).await;
    let token = connected(&fake, ACME);
    fake.take_journal();
    refresh(&fake, &token);
    fake.script(Rule::once(Kind::Refresh, Fault::Hang(Duration::from_millis(300))));
    let open =
        connect(&fake, "POST", "/oauth/2026-09/token", FORM, &format!("{}&{CLIENT}", refresh_form(&token)));
    while fake.calls(Kind::Refresh).len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    refresh(&fake, &token);
    assert_eq!(fake.take_journal().len(), 1, "the next one is not finished");
    let _ = drain(open);
    let rest = fake.take_journal();
    assert_eq!(rest.len(), 2);
    assert!(rest.iter().all(|call| call.finished_at_ms.is_some()));
}
