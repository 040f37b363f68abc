//! The shapes in which HubSpot sends an install, and invalid ones.

use fake_hubspot::{Fault, Kind, Rule};
use serde_json::json;

use crate::harness::app::{ACME, GLOBEX, HOST, INITECH, approve};
use crate::harness::browser::{parameter, problem_of};
use crate::harness::page::data;
use crate::harness::{TestApp, sql};

use super::{
    CALLBACK, FRAME, INSTALL, ON, back, code, exchanges, finalize, installed, listed, living, started,
    state_of, tokens, waiting, with,
};

#[tokio::test(flavor = "multi_thread")]
async fn installs_without_a_sign_in_wait_for_a_claim() {
    let app = started().await;
    let answer = installed(&app, ACME).await;

    assert_eq!((answer.status, answer.location()), (302, back(&app).as_str()));
    assert_eq!(answer.cookies(), Vec::<String>::new());
    assert_eq!((waiting(&app).await, tokens(&app).await), (1, 0));
    let key = app.api_key("sessions:write").await;
    let install = &listed(&app, &key).await[0];
    assert_eq!(
        (&install["portal_id"], &install["hub_domain"], &install["installed_by"]),
        (&json!(ACME), &json!("acme.example"), &json!("ada@acme.example"))
    );
    assert_eq!(install["scopes"], json!(["oauth", "crm.objects.contacts.read"]));
    let stored = String::from_utf8_lossy(&app.database.dump().await).into_owned();
    for grant in app.hubspot.grants() {
        assert!(!stored.contains(&grant.refresh_token), "a refresh token lies in the clear");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_with_a_sign_in_finish_in_a_frame_without_cookies() {
    let app = started().await;
    let state = state_of(&app, &app.browser()).await;
    let answer = finalize(&app, INSTALL, &code(&app, ACME), &state).await;

    assert_eq!((answer.status, answer.location()), (302, back(&app).as_str()));
    assert_eq!((answer.body.as_str(), answer.cookies()), ("", Vec::new()));
    assert_eq!((waiting(&app).await, tokens(&app).await), (1, 0));
    assert_eq!(app.database.count_where(sql::INSTALL_ATTEMPTS, "kind = 'state'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_opened_by_hubspot_keep_their_opener() {
    let app = started().await;
    let first = with(INSTALL, &[("step", "authorize"), ("returnUrl", &back(&app))]);
    let answer = app.browser().get(&first).await;
    assert_eq!(answer.header("cross-origin-opener-policy"), "unsafe-none");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
}

#[tokio::test(flavor = "multi_thread")]
async fn install_states_are_valid_once_and_for_ten_minutes() {
    let app = started().await;
    let browser = app.browser();
    let state = state_of(&app, &browser).await;
    finalize(&app, INSTALL, &code(&app, ACME), &state).await;
    assert_eq!(exchanges(&app), 1);

    let late = state_of(&app, &browser).await;
    app.advance(600);
    let made_up = "A".repeat(43);
    for bad in [state.as_str(), late.as_str(), made_up.as_str(), "", "short", &"x".repeat(5000)] {
        let answer = finalize(&app, INSTALL, &code(&app, GLOBEX), bad).await;
        // HubSpot's own page shows the user that the app is not installed.
        assert_eq!((answer.status, answer.location()), (302, back(&app).as_str()), "{bad}");
    }
    let pairs = [("step", "finalize"), ("code", &code(&app, GLOBEX)), ("returnUrl", &back(&app))];
    assert_eq!(app.browser().get(&with(INSTALL, &pairs)).await.status, 302);
    assert_eq!((exchanges(&app), waiting(&app).await), (1, 1), "no code was exchanged for any of them");
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_uses_of_one_install_state_succeed_once() {
    let app = started().await;
    let state = state_of(&app, &app.browser()).await;
    let (one, two) = (code(&app, ACME), code(&app, GLOBEX));
    let both = tokio::join!(finalize(&app, INSTALL, &one, &state), finalize(&app, INSTALL, &two, &state));
    assert_eq!((both.0.status, both.1.status), (302, 302));
    assert_eq!((exchanges(&app), waiting(&app).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn flow_states_and_install_states_are_not_interchangeable() {
    let app = started().await;
    let browser = app.browser();
    let authorize = browser.start(Some(HOST)).await;
    let of_connect = parameter(&authorize, "state");

    for path in [INSTALL, CALLBACK] {
        let back = back(&app);
        let code = app.hubspot.install(&format!("{}{path}", app.base), ACME);
        let pairs = [("step", "finalize"), ("code", &code), ("state", &of_connect), ("returnUrl", &back)];
        let answer = browser.navigate(&with(path, &pairs), FRAME).await;
        assert_eq!((answer.status, answer.location()), (302, back.as_str()));
    }
    assert_eq!((exchanges(&app), waiting(&app).await, tokens(&app).await), (0, 0, 0));
    // That has not consumed it.
    let done = browser.get(&app.hubspot.decide(&authorize, approve(ACME)).unwrap()).await;
    assert_eq!(browser.handoff(done.location()).await.json()["message"]["type"], "hubspot_auth_success");

    let of_install = state_of(&app, &browser).await;
    let code = app.hubspot.install(&format!("{}{CALLBACK}", app.base), GLOBEX);
    let answer = browser.get(&with(CALLBACK, &[("code", &code), ("state", &of_install)])).await;
    assert_eq!((answer.status, problem_of(&answer).as_str()), (303, "flow_unknown"));
    assert_eq!((exchanges(&app), waiting(&app).await, tokens(&app).await), (1, 0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_are_refused_unless_enabled() {
    let app = TestApp::start().await;
    let back = back(&app);
    let code = app.hubspot.install(&format!("{}{CALLBACK}", app.base), ACME);
    for pairs in [
        &[("code", code.as_str())][..],
        &[("code", &code), ("returnUrl", &back)],
        &[("step", "authorize"), ("returnUrl", &back)],
        &[("step", "finalize"), ("code", &code), ("returnUrl", &back)],
    ] {
        let answer = app.browser().get(&with(CALLBACK, pairs)).await;
        assert_eq!((answer.status, problem_of(&answer).as_str()), (303, "callback_incomplete"), "{pairs:?}");
        assert_eq!(app.browser().get(&with(INSTALL, pairs)).await.status, 404, "{pairs:?}");
    }
    assert_eq!(app.browser().get("/install/hubspot/claim").await.status, 404);
    assert_eq!((exchanges(&app), waiting(&app).await), (0, 0));
    assert_eq!(app.database.count(sql::INSTALL_ATTEMPTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_install_shape_is_accepted_at_the_callback() {
    let app = started().await;
    let back = back(&app);
    let code = |hub_id| app.hubspot.install(&format!("{}{CALLBACK}", app.base), hub_id);

    let plain = app.browser().get(&with(CALLBACK, &[("code", &code(ACME)), ("returnUrl", &back)])).await;
    assert_eq!((plain.status, plain.location()), (302, back.as_str()));
    let first = app.browser().get(&with(CALLBACK, &[("step", "authorize"), ("returnUrl", &back)])).await;
    let state = parameter(first.location(), "state");
    assert_eq!(finalize(&app, CALLBACK, &code(GLOBEX), &state).await.location(), back);
    let old = app.browser().get(&with(CALLBACK, &[("code", &code(INITECH))])).await;
    assert_eq!((old.status, old.location()), (302, "/install/hubspot/claim#_"));

    assert_eq!((waiting(&app).await, tokens(&app).await), (3, 0));
    // A callback with a state belongs to a flow as before.
    assert_eq!(app.connected(ACME).await.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_install_shape_ends_on_the_configured_page() {
    let landing = "https://host.example/welcome?from=hubspot";
    let app = TestApp::with(&[ON, ("MARKETPLACE_LANDING_URL", landing)]).await;
    let answer = app.browser().get(&with(INSTALL, &[("code", &code(&app, ACME))])).await;
    assert_eq!((answer.status, answer.location()), (302, landing));
    assert_eq!(waiting(&app).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn install_codes_may_arrive_more_than_once() {
    let app = started().await;
    let (code, back) = (code(&app, ACME), back(&app));
    let url = with(INSTALL, &[("code", &code), ("returnUrl", &back)]);
    let (one, two) = (app.browser(), app.browser());
    let both = tokio::join!(one.get(&url), two.get(&url));
    let later = one.get(&url).await;
    for answer in [both.0, both.1, later] {
        assert_eq!((answer.status, answer.location()), (302, back.as_str()));
    }
    assert_eq!((exchanges(&app), waiting(&app).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_install_codes_stay_refused_on_reload() {
    let app = started().await;
    for path in [INSTALL, "/auth/hubspot/callback"] {
        let url = with(path, &[("code", "na1-not-a-code"), ("returnUrl", &back(&app))]);
        for _ in 0..2 {
            let answer = app.browser().get(&url).await;
            let location = answer.location();
            assert_eq!(answer.status, 303, "{location}");
            assert!(location.starts_with("/install/hubspot/claim?problem=code_rejected"), "{location}");
        }
    }
    assert_eq!(waiting(&app).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn hubspot_failures_during_an_install_are_reported_and_leave_nothing() {
    let app = started().await;
    let back = back(&app);
    app.hubspot.script(Rule::once(Kind::Exchange, Fault::CloseBeforeAnswer));
    let url = with(INSTALL, &[("code", &code(&app, ACME)), ("returnUrl", &back)]);
    let answer = app.browser().get(&url).await;
    assert_eq!(answer.status, 303);
    assert!(
        answer.location().starts_with("/install/hubspot/claim?problem=provider_"),
        "{}",
        answer.location()
    );
    let shown = app.browser().get(answer.location().split('#').next().unwrap()).await;
    assert!(data(&shown, "code").starts_with("provider_"), "{}", shown.body);
    assert_eq!(exchanges(&app), 1, "a code that was sent is not sent again");

    let state = state_of(&app, &app.browser()).await;
    let expired = finalize(&app, INSTALL, "na1-not-a-code", &state).await;
    assert_eq!((expired.status, expired.location()), (302, back.as_str()));
    for pairs in [
        &[("error", "access_denied"), ("returnUrl", back.as_str())][..],
        &[("returnUrl", &back)],
        &[("step", "authorize")],
        &[("step", "finalize"), ("code", "x")],
        &[("step", "other"), ("code", "x"), ("returnUrl", &back)],
        &[("code", "x"), ("state", "y"), ("returnUrl", &back)],
        &[("code", ""), ("returnUrl", &back)],
        &[],
    ] {
        let answer = app.browser().get(&with(INSTALL, pairs)).await;
        assert_eq!(answer.status, 303, "{pairs:?}");
        assert!(answer.location().starts_with("/install/hubspot/claim?problem="), "{pairs:?}");
    }
    assert_eq!((exchanges(&app), waiting(&app).await, living(&app)), (2, 0, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_with_missing_required_scopes_are_refused() {
    let wants = [
        ON,
        ("HUBSPOT_REQUIRE_ALL_SCOPES", "true"),
        ("HUBSPOT_SCOPES", "oauth crm.objects.contacts.read tickets"),
    ];
    let app = TestApp::with(&wants).await;
    let answer = installed(&app, GLOBEX).await;
    assert_eq!((answer.status, problem_of(&answer).as_str()), (303, "scopes_missing"));
    assert_eq!((waiting(&app).await, living(&app)), (0, vec![]));
}
