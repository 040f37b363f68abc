//! Connect sessions: the host's backend names the user who connects, and other browsers neither gain nor lose by it.

use fake_hubspot::Kind;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, HOST, approve};
use crate::harness::browser::{flow_of, parameter, problem_of};
use crate::harness::host::{Host, SESSIONS};
use crate::harness::page::{Page, data};
use crate::harness::sql;

#[tokio::test(flavor = "multi_thread")]
async fn connect_session_connections_belong_to_the_external_user_and_to_no_browser() {
    let host = Host::new(&[]).await;
    let session = host.make(json!({"external_user_id": "user_42", "metadata": {"plan": "pro"}})).await;
    assert_eq!(session["status"], "open");
    let (page, popup) = (host.page(), host.app.browser());
    let done = host.approve(&session, &page, &popup, approve(ACME)).await;
    assert!(popup.get(&done).await.body.contains("data-outcome=\"success\""));
    assert_eq!(host.owners().await, ["user_42"]);
    assert_eq!(popup.status().await["authenticated"], false, "the browser is not signed in");
    assert!(popup.cookie("__Host-hsc_sid").is_none(), "and has no session");
    let seen = host.session(&session).await;
    assert_eq!(seen["status"], "connected", "{seen}");
    let id = host.app.database.column(sql::ID).await;
    assert_eq!(seen["connection_id"], id.as_str());
    assert!(seen.get("token").is_none());
    assert_eq!(host.app.database.column(sql::METADATA).await, r#"{"plan":"pro"}"#);
    let authorization = page.poll().await.json();
    assert_eq!(authorization["connection"]["id"], id.as_str(), "{authorization}");
    assert!(authorization.get("pickup_code").is_none(), "the token is the backend's to fetch");
    let message = popup.handoff(&done).await.json();
    assert_eq!(message["message"]["type"], "hubspot_auth_success");
    assert!(message["message"].get("access_token").is_none(), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_sessions_get_no_access_to_connect_session_connections() {
    let host = Host::new(&[]).await;
    let person = host.app.connected(GLOBEX).await;
    let before = person.status().await;
    let session = host.make(json!({"external_user_id": "user_42"})).await;
    let done = host.approve(&session, &host.page(), &person, approve(ACME)).await;
    person.get(&done).await;
    let after = person.status().await;
    assert_eq!(after["user_id"], before["user_id"]);
    assert_eq!(after["connections"].as_array().unwrap().len(), 1);
    assert_eq!(after["portal_id"], GLOBEX);
    assert_eq!(host.owners().await, ["user_42"]);
    // The logout ends the user's own connections, and no others.
    person.logout().await;
    assert_eq!(host.app.database.count(sql::CONNECTIONS).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn browser_sessions_cannot_end_connections_of_external_users() {
    let host = Host::new(&[("SESSION_IDLE_SECONDS", "60"), ("SESSION_MAX_SECONDS", "60")]).await;
    let session = host.make(json!({"external_user_id": "user_42"})).await;
    host.approve(&session, &host.page(), &host.app.browser(), approve(ACME)).await;
    for _ in 0..3 {
        host.app.advance(1000);
        host.app.services.maintenance.sweep().await.unwrap();
        host.app.services.connections.upkeep.reconcile(None).await.unwrap();
        host.app.refresh_due().await;
    }
    let app = host.app.restarted(&[]).await;
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 1);
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_session_creates_one_connection_when_two_windows_finish_together() {
    let host = Host::new(&[]).await;
    let session = host.make(json!({"external_user_id": "user_42"})).await;
    let windows: Vec<_> = (0..4).map(|_| (host.page(), host.app.browser())).collect();
    let mut backs = Vec::new();
    for (at, (page, popup)) in windows.iter().enumerate() {
        let authorize = host.begin(&session, page, popup, Some(HOST)).await;
        let account = if at % 2 == 0 { ACME } else { GLOBEX };
        backs.push((popup, host.app.hubspot.decide(&authorize, approve(account)).unwrap()));
    }
    let answers = tokio::join!(
        backs[0].0.get(&backs[0].1),
        backs[1].0.get(&backs[1].1),
        backs[2].0.get(&backs[2].1),
        backs[3].0.get(&backs[3].1),
    );
    let mut connected = 0;
    for (answer, (popup, _)) in <[_; 4]>::from(answers).iter().zip(&backs) {
        let page = popup.get(answer.location()).await.body;
        connected += usize::from(page.contains("data-outcome=\"success\""));
        assert!(
            page.contains("data-outcome=\"success\"") || page.contains("connect_session_ended"),
            "{page}"
        );
    }
    assert_eq!(connected, 1);
    assert_eq!(host.app.database.count(sql::CONNECTIONS).await, 1);
    let again =
        host.page().post(&host.app.browser(), Some(HOST), &[("connect_session", token(&session))]).await;
    assert_eq!((again.status, problem_of(&again).as_str()), (410, "connect_session_ended"));
}

fn token(session: &Value) -> &str {
    session["token"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_connect_sessions_are_reported_to_the_verified_page_and_its_popup() {
    let host = Host::new(&[]).await;
    let make = async || host.make(json!({"external_user_id": "user_42", "expires_in": 60})).await;
    let used = make().await;
    host.approve(&used, &host.page(), &host.app.browser(), approve(ACME)).await;
    let ended = make().await;
    let path = format!("{SESSIONS}/{}", ended["id"].as_str().unwrap());
    host.app.api(&host.key, Method::DELETE, &path, None).await;
    let expired = make().await;
    host.app.advance(61);
    for token in [token(&used), token(&ended), token(&expired), "no-token-of-ours"] {
        let (page, popup) = (host.page(), host.app.browser());
        let refused = page.post(&popup, Some(HOST), &[("connect_session", token)]).await;
        assert_eq!((refused.status, problem_of(&refused).as_str()), (410, "connect_session_ended"));
        assert_eq!(
            (data(&refused, "origin"), data(&refused, "outcome")),
            (HOST.to_owned(), "error".to_owned())
        );
        let authorization = page.poll().await.json();
        assert_eq!(
            (&authorization["status"], &authorization["error"]["code"]),
            (&json!("failed"), &json!("connect_session_ended"))
        );
        assert_eq!(
            authorization["flow"],
            data(&refused, "refused").as_str(),
            "the popup names the same request"
        );
        assert_eq!(host.page().poll().await.status, 404, "another verifier learns nothing");
        let again = page.post(&popup, Some(HOST), &[]).await;
        assert_eq!(problem_of(&again), "challenge_used");
    }
    // The sender of these is not verified: the popup may report it, and no verifier gets it.
    let page = host.page();
    for sender in [None, Some("null")] {
        let refused = page.post(&host.app.browser(), sender, &[("connect_session", token(&used))]).await;
        assert_eq!((data(&refused, "origin"), data(&refused, "refused")), (HOST.to_owned(), String::new()));
        assert_eq!(page.poll().await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_starts_name_only_listed_pages_with_a_popup() {
    let host = Host::new(&[]).await;
    let (page, popup) = (host.page(), host.app.browser());
    let elsewhere = ("return_url", "https://elsewhere.example/");
    let gone = ("connect_session", "no-token-of-ours");
    for (fields, code, origin) in [
        (vec![elsewhere], "return_url_not_allowed", HOST),
        (vec![("challenge", "short")], "bad_challenge", HOST),
        (vec![gone, ("mode", "redirect")], "connect_session_ended", ""),
        (vec![gone, ("origin", "https://evil.example")], "origin_not_allowed", ""),
    ] {
        let refused = page.post(&popup, Some(HOST), &fields).await;
        assert_eq!((problem_of(&refused).as_str(), data(&refused, "origin").as_str()), (code, origin));
        assert_eq!(refused.body.contains("/static/popup.js"), !origin.is_empty(), "{}", refused.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_session_tokens_in_urls_are_refused_and_not_logged_or_stored() {
    let host = Host::new(&[]).await;
    let session = host.make(json!({"external_user_id": "user_42"})).await;
    let path = format!("/auth/hubspot/start?connect_session={}&origin={HOST}", token(&session));
    let answer = host.app.browser().get(&path).await;
    assert_eq!((answer.status, problem_of(&answer).as_str()), (400, "connect_session_in_url"));
    let dump = host.app.database.dump().await;
    assert!(!String::from_utf8_lossy(&dump).contains(token(&session)));
    let popup = host.app.browser();
    let launch = host.page().post(&popup, Some(HOST), &[("connect_session", token(&session))]).await;
    assert!(!launch.body.contains(token(&session)) && launch.location().is_empty());
    assert!(popup.cookies.lock().unwrap().values().all(|value| !value.contains(token(&session))));
}

#[tokio::test(flavor = "multi_thread")]
async fn unverified_pages_cannot_connect_even_with_confirmation() {
    let host = Host::new(&[]).await;
    // An attacker's form, sent from a page that hides its origin: the victim consents in good faith.
    let session = host.make(json!({"external_user_id": "mallory"})).await;
    let (page, victim) = (host.page(), host.app.browser());
    let done = host.approve_as(&session, &page, &victim, approve(ACME), None).await;
    assert!(victim.get(&done).await.body.contains("opener_unproven"));
    assert_eq!(host.app.hubspot.calls(Kind::Exchange).len(), 0, "HubSpot's code is not even spent");
    assert_eq!(host.app.database.count(sql::CONNECTIONS).await, 0);
    assert_eq!(host.session(&session).await["error_code"], "opener_unproven");
    // A page of another origin starts nothing at all.
    let answer =
        page.post(&victim, Some("https://evil.example"), &[("connect_session", token(&session))]).await;
    assert_eq!((answer.status, problem_of(&answer).as_str()), (400, "origin_not_allowed"));
    // The backend's confirmation verifies nothing: Mallory would confirm a grant that the victim gave.
    let body = json!({"external_user_id": "mallory", "confirm": "backend"});
    let confirmed = host.make(body).await;
    host.approve_as(&confirmed, &host.page(), &victim, approve(ACME), None).await;
    assert_eq!(host.session(&confirmed).await["error_code"], "opener_unproven");
    assert_eq!(host.complete(&confirmed, "mallory").await.1["code"], "connect_session_not_approved");
    assert_eq!(host.app.hubspot.calls(Kind::Exchange).len(), 0);
    // The opener's own key verifies it as well.
    let (page, popup) = (host.page(), host.app.browser());
    let token = token(&session);
    let launch = page.post(&popup, None, &[("connect_session", token)]).await;
    let flow = data(&launch, "flow");
    let proof = json!({"flow": flow, "opener_key": page.opener_key, "binding": data(&launch, "binding")});
    assert_eq!(popup.post_json("/auth/hubspot/launch", &proof).await.status, 204);
    let back = host.app.hubspot.decide(&data(&launch, "authorize-url"), approve(ACME)).unwrap();
    popup.get(&back).await;
    assert_eq!(host.session(&session).await["status"], "connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_confirmation_release_nothing_before_the_backend_confirms() {
    let host = Host::new(&[("TOKEN_DELIVERY", "access_token")]).await;
    let session = host.make(json!({"external_user_id": "user_42", "confirm": "backend"})).await;
    assert_eq!(host.complete(&session, "user_42").await.1["code"], "connect_session_not_approved");
    let (page, popup) = (host.page(), host.app.browser());
    let done = host.approve(&session, &page, &popup, approve(ACME)).await;
    assert!(popup.get(&done).await.body.contains("data-outcome=\"held\""));
    assert_eq!(popup.handoff(&done).await.status, 202);
    let authorization = page.poll().await.json();
    assert_eq!(
        (authorization["status"].as_str(), &authorization["awaiting_confirmation"]),
        (Some("exchanging"), &json!(true))
    );
    assert_eq!(
        (&authorization["connect_session_id"], authorization.get("connection_id")),
        (&session["id"], None),
        "{authorization}"
    );
    assert!(authorization.get("connection").is_none());
    assert_eq!(host.app.database.count(sql::CONNECTIONS).await, 0);
    let seen = host.session(&session).await;
    assert_eq!(seen["status"], "awaiting_confirmation");
    assert_eq!(seen["awaiting"]["portal_id"], ACME);
    assert_eq!(seen["awaiting"]["hub_domain"], "acme.example");
    assert_eq!(seen["awaiting"]["flow"], flow_of(&done).as_str());
    // Hours later, after a manual review. The access token has expired by then.
    host.app.advance(3 * 3600);
    host.app.services.maintenance.sweep().await.unwrap();
    let (one, other) = tokio::join!(host.complete(&session, "user_42"), host.complete(&session, "user_42"));
    for (status, completed) in [one, other] {
        assert_eq!((status, completed["status"].as_str()), (200, Some("connected")), "{completed}");
    }
    assert_eq!(host.complete(&session, "user_42").await.0, 200, "saying it twice changes nothing");
    assert_eq!(host.owners().await, ["user_42"]);
    assert_eq!(host.app.refresh_due().await, 1, "and is refreshed at once");
    let authorization = page.poll().await.json();
    assert_eq!(authorization["status"], "connected", "{authorization}");
    host.app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_wait_for_confirmation_get_the_end_and_keep_their_message() {
    for (user, page, shown) in
        [("user_42", "success", "acme.example"), ("mallory", "error", "external_user_mismatch")]
    {
        let host = Host::new(&[]).await;
        let session = host.make(json!({"external_user_id": "user_42", "confirm": "backend"})).await;
        let (popup, stranger) = (host.app.browser(), host.app.browser());
        let done = host.approve(&session, &host.page(), &popup, approve(ACME)).await;
        assert_eq!(popup.peek(&done).await.json(), json!({"page": "held"}));
        assert_eq!(problem_of(&stranger.peek(&done).await), "flow_unknown");

        host.complete(&session, user).await;

        let peeked = popup.peek(&done).await;
        assert_eq!((peeked.json(), peeked.cookies()), (json!({"page": page}), Vec::new()));
        let end = popup.get(&done).await;
        assert_eq!(data(&end, "outcome"), page);
        assert!(end.body.contains(shown), "{}", end.body);
        assert_eq!(problem_of(&stranger.peek(&done).await), "flow_unknown");
        let foreign = stranger.get(&done).await;
        assert_eq!(data(&foreign, "outcome"), "over");
        assert!(!foreign.body.contains(shown), "{}", foreign.body);
        let cookie = popup.cookie("__Host-hsc_f_").expect("the flow's cookie");
        assert_eq!(popup.handoff(&done).await.status, 200);
        popup.plant(&cookie.0, &cookie.1);
        assert_eq!(popup.handoff(&done).await.status, 410, "the message is given once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_completed_for_another_user_end_with_their_grant() {
    let host = Host::new(&[]).await;
    let session = host.make(json!({"external_user_id": "mallory", "confirm": "backend"})).await;
    let (page, victim) = (host.page(), host.app.browser());
    let done = host.approve(&session, &page, &victim, approve(ACME)).await;
    // The victim's own session at the host names the user in front of it.
    let (status, refused) = host.complete(&session, "victim").await;
    assert_eq!((status, refused["code"].as_str()), (403, Some("external_user_mismatch")));
    assert_eq!(host.complete(&session, "mallory").await.1["code"], "connect_session_ended");
    let seen = host.session(&session).await;
    assert_eq!(
        (&seen["status"], &seen["error_code"]),
        (&json!("cancelled"), &json!("external_user_mismatch"))
    );
    assert!(victim.get(&done).await.body.contains("external_user_mismatch"));
    assert_eq!(host.app.database.count(sql::CONNECTIONS).await, 0);
    assert_eq!(host.app.services.connections.disconnects.revoke_due().await.unwrap(), 1);
    assert!(host.app.hubspot.current_refresh_token(ACME).is_none(), "the grant has ended at HubSpot");
}

#[tokio::test(flavor = "multi_thread")]
async fn unconfirmed_grants_end_after_a_week_and_cancelled_ones_at_once() {
    let host = Host::new(&[]).await;
    let body = json!({"external_user_id": "user_42", "confirm": "backend"});
    let (forgotten, cancelled) = (host.make(body.clone()).await, host.make(body).await);
    for (session, account) in [(&forgotten, ACME), (&cancelled, GLOBEX)] {
        host.approve(session, &host.page(), &host.app.browser(), approve(account)).await;
    }
    let path = format!("{SESSIONS}/{}", cancelled["id"].as_str().unwrap());
    let ended = host.app.api(&host.key, Method::DELETE, &path, None).await.json();
    assert_eq!(ended["status"], "cancelled");
    host.app.advance(3 * 24 * 3600);
    host.app.services.maintenance.sweep().await.unwrap();
    assert_eq!(
        host.session(&forgotten).await["status"],
        "awaiting_confirmation",
        "a weekend is not too long"
    );
    host.app.advance(4 * 24 * 3600);
    host.app.services.maintenance.sweep().await.unwrap();
    let seen = host.session(&forgotten).await;
    assert_eq!((&seen["status"], &seen["error_code"]), (&json!("cancelled"), &json!("not_confirmed")));
    while host.app.services.connections.disconnects.revoke_due().await.unwrap() > 0 {}
    for account in [ACME, GLOBEX] {
        assert!(host.app.hubspot.current_refresh_token(account).is_none());
    }
    assert_eq!(host.app.database.pending_grants().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_for_an_account_accept_only_that_account() {
    let host = Host::new(&[]).await;
    let session = host.make(json!({"external_user_id": "user_42", "portal_id": GLOBEX})).await;
    let popup = host.app.browser();
    let authorize = host.begin(&session, &host.page(), &popup, Some(HOST)).await;
    assert!(authorize.contains(&GLOBEX.to_string()), "{authorize}");
    let back = host.app.hubspot.decide(&authorize, approve(ACME)).unwrap();
    let done = popup.get(&back).await.location().to_owned();
    assert!(popup.get(&done).await.body.contains("wrong_account"));
    assert!(host.app.hubspot.current_refresh_token(ACME).is_none(), "the other grant has ended");
    assert_eq!(host.session(&session).await["error_code"], "wrong_account");
    host.approve(&session, &host.page(), &popup, approve(GLOBEX)).await;
    assert_eq!(host.session(&session).await["status"], "connected", "the session was still good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_awaiting_confirmation_names_its_session_and_connection() {
    let host = Host::new(&[]).await;
    let first = host.make(json!({"external_user_id": "user_42"})).await;
    host.approve(&first, &host.page(), &host.app.browser(), approve(ACME)).await;
    let id = host.session(&first).await["connection_id"].clone();
    let held = host.make(json!({"connection_id": id, "confirm": "backend"})).await;
    let page = host.page();
    host.approve(&held, &page, &host.app.browser(), approve(ACME)).await;
    let authorization = page.poll().await.json();
    assert_eq!(
        (&authorization["connect_session_id"], &authorization["connection_id"]),
        (&held["id"], &id),
        "{authorization}"
    );
    host.complete(&held, "user_42").await;
    let authorization = page.poll().await.json();
    assert_eq!(
        (&authorization["status"], authorization.get("connect_session_id")),
        (&json!("connected"), None),
        "{authorization}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_for_a_connection_reconnect_it_for_its_owner() {
    let host = Host::new(&[]).await;
    let first = host.make(json!({"external_user_id": "user_42", "metadata": {"a": 1}})).await;
    host.approve(&first, &host.page(), &host.app.browser(), approve(ACME)).await;
    let id = host.session(&first).await["connection_id"].clone();
    let renewal = host.make(json!({"connection_id": id})).await;
    assert_eq!((&renewal["external_user_id"], &renewal["portal_id"]), (&json!("user_42"), &json!(ACME)));
    host.approve(&renewal, &host.page(), &host.app.browser(), approve(ACME)).await;
    assert_eq!(host.session(&renewal).await["connection_id"], id);
    assert_eq!(host.app.database.generation().await, 2);
    assert_eq!(host.app.database.column(sql::METADATA).await, r#"{"a":1}"#, "it is kept");
    for body in [
        json!({"connection_id": id, "external_user_id": "somebody_else"}),
        json!({"connection_id": "00000000-0000-4000-8000-000000000000"}),
    ] {
        let answer = host.app.api(&host.key, Method::POST, SESSIONS, Some(body)).await;
        assert_eq!((answer.status, answer.json()["pointer"].as_str()), (404, Some("/connection_id")));
    }
    // The backend may not reconnect a browser's own connection.
    host.app.connected(GLOBEX).await;
    let own = host.app.database.column_of(GLOBEX, sql::ID).await;
    let answer = host.app.api(&host.key, Method::POST, SESSIONS, Some(json!({"connection_id": own}))).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_use_their_own_scopes_and_origins() {
    const OTHER: &str = "http://other.localhost:3000";
    let host = Host::new(&[("HOST_ORIGINS", &format!("{HOST},{OTHER}"))]).await;
    let session = host
        .make(json!({
            "external_user_id": "user_42",
            "scopes": ["oauth", "crm.objects.companies.read"],
            "optional_scopes": [],
            "allowed_origins": [OTHER],
        }))
        .await;
    let refused =
        host.page().post(&host.app.browser(), Some(HOST), &[("connect_session", token(&session))]).await;
    assert_eq!(problem_of(&refused), "origin_not_allowed");
    let page = Page::new(&host.app.base, OTHER);
    let authorize = host.begin(&session, &page, &host.app.browser(), Some(OTHER)).await;
    assert_eq!(parameter(&authorize, "scope"), "oauth crm.objects.companies.read");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_session_options_are_refused_with_their_location() {
    let host = Host::new(&[]).await;
    for (body, code, place) in [
        (json!({}), "validation_failed", "/external_user_id"),
        (json!({"external_user_id": ""}), "validation_failed", "/external_user_id"),
        (json!({"external_user_id": "a\u{202e}b"}), "validation_failed", "/external_user_id"),
        (json!({"external_user_id": "a\u{61c}b"}), "validation_failed", "/external_user_id"),
        (json!({"external_user_id": "a\u{3164}b"}), "validation_failed", "/external_user_id"),
        (json!({"external_user_id": "a\u{fe0f}"}), "validation_failed", "/external_user_id"),
        (json!({"external_user_id": "a\u{200d}b"}), "validation_failed", "/external_user_id"),
        (json!({"external_user_id": "a\u{e0041}b"}), "validation_failed", "/external_user_id"),
        (json!({"external_user_id": 7}), "validation_failed", "/external_user_id"),
        (json!({"external_user_id": "u", "scopes": ["a b"]}), "validation_failed", "/scopes/0"),
        (json!({"external_user_id": "u", "scopes": ["oauth", 1]}), "validation_failed", "/scopes/1"),
        (json!({"external_user_id": "u", "portal_id": -1}), "validation_failed", "/portal_id"),
        (json!({"external_user_id": "u", "expires_in": 1}), "validation_failed", "/expires_in"),
        (json!({"external_user_id": "u", "requested_by": "a\u{202e}"}), "validation_failed", "/requested_by"),
        (json!({"external_user_id": "u", "requested_by": "a\u{61c}b"}), "validation_failed", "/requested_by"),
        (
            json!({"external_user_id": "u", "requested_by": "\u{115f}\u{ffa0}"}),
            "validation_failed",
            "/requested_by",
        ),
        (
            json!({"external_user_id": "u", "requested_by": "a\u{200d}\u{200d}"}),
            "validation_failed",
            "/requested_by",
        ),
        (
            json!({"external_user_id": "u", "metadata": {"a": "x".repeat(5000)}}),
            "validation_failed",
            "/metadata",
        ),
        (
            json!({"external_user_id": "u", "allowed_origins": ["https://evil.example"]}),
            "origin_not_allowed",
            "/allowed_origins",
        ),
        (
            json!({"external_user_id": "u", "return_url": "https://evil.example/"}),
            "return_url_not_allowed",
            "/return_url",
        ),
        (
            json!({"external_user_id": "u", "return_url": format!("blob:{HOST}/x")}),
            "return_url_not_allowed",
            "/return_url",
        ),
        (
            json!({"external_user_id": "u", "hosted": true, "return_url": "https://evil.example/"}),
            "return_url_not_allowed",
            "/return_url",
        ),
        (
            json!({"external_user_id": "u", "hosted": true, "confirm": "none"}),
            "validation_failed",
            "/confirm",
        ),
        (json!({"external_user_id": "u", "surprise": 1}), "validation_failed", "/surprise"),
    ] {
        let answer = host.app.api(&host.key, Method::POST, SESSIONS, Some(body.clone())).await;
        let problem = answer.json();
        assert_eq!((answer.status, problem["code"].as_str()), (400, Some(code)), "{body}: {problem}");
        assert_eq!(problem["pointer"].as_str(), Some(place), "{body}: {problem}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    assert_eq!(host.app.database.count(sql::CONNECT_SESSIONS).await, 0);
    let reader = host.app.api_key("connections:read tokens:read proxy webhooks connections:write").await;
    let body = json!({"external_user_id": "u"});
    let answer = host.app.api(&reader, Method::POST, SESSIONS, Some(body)).await;
    assert_eq!((answer.status, problem_of(&answer).as_str()), (403, "api_key_scope_missing"));
    for id in ["nonsense", "00000000-0000-4000-8000-000000000000", "..%2f..%2f"] {
        let answer = host.app.api(&host.key, Method::GET, &format!("{SESSIONS}/{id}"), None).await;
        assert_eq!(answer.status, 404, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_sessions_start_no_flow_but_finish_open_ones() {
    let host = Host::new(&[]).await;
    let session = host.make(json!({"external_user_id": "user_42", "expires_in": 60})).await;
    let popup = host.app.browser();
    let authorize = host.begin(&session, &host.page(), &popup, Some(HOST)).await;
    host.app.advance(61);
    assert_eq!(host.session(&session).await["status"], "expired");
    let late =
        host.page().post(&host.app.browser(), Some(HOST), &[("connect_session", token(&session))]).await;
    assert_eq!(problem_of(&late), "connect_session_ended");
    let back = host.app.hubspot.decide(&authorize, approve(ACME)).unwrap();
    popup.get(&back).await;
    assert_eq!(host.session(&session).await["status"], "connected");
    host.app.advance(8 * 24 * 3600);
    host.app.services.maintenance.sweep().await.unwrap();
    let path = format!("{SESSIONS}/{}", session["id"].as_str().unwrap());
    assert_eq!(host.app.api(&host.key, Method::GET, &path, None).await.status, 404, "it is forgotten");
}
