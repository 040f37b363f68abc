//! The claim of an install for one of the host's users: once, and for one of them.

use fake_hubspot::Kind;
use reqwest::Method;
use serde_json::json;

use crate::harness::app::ACME;
use crate::harness::sql;

use super::{LIST, claim, installed, listed, living, settle, started, tokens, waiting, with_install};

#[tokio::test(flavor = "multi_thread")]
async fn the_claim_page_is_the_same_for_all_users() {
    let app = started().await;
    let before = app.browser().get("/install/hubspot/claim").await;
    installed(&app, ACME).await;
    let after = app.browser().get("/install/hubspot/claim").await;

    assert_eq!((before.status, &before.body), (200, &after.body));
    assert_eq!(after.cookies(), Vec::<String>::new());
    assert!(!after.body.contains("acme") && !after.body.contains(&ACME.to_string()));
    let page = app.browser().get("/install/hubspot/claim?problem=code_rejected").await;
    assert!(page.body.contains("Authorization code rejected"), "{}", page.body);
    let odd = app.browser().get("/install/hubspot/claim?problem=%3Cscript%3E").await;
    assert!(!odd.body.contains("<script>") && odd.status == 200);
    assert_eq!(app.browser().get("/install/hubspot/claim?portal_id=1/..").await.status, 400);
    let expected = app.browser().get(&format!("/install/hubspot/claim?portal_id={ACME}")).await;
    assert!(expected.body.contains(&format!("portal_id={ACME}\"")), "{}", expected.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_claim_installs_for_their_users() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;

    let body = json!({"external_user_id": "user_42", "metadata": {"plan": "gold"}});
    let path = format!("{LIST}/{}/claim", install["id"].as_str().unwrap());
    let answer = app.api(&key, Method::POST, &path, Some(body)).await;

    assert_eq!(answer.status, 200, "{}", answer.body);
    let claimed = answer.json();
    assert_eq!((&claimed["portal_id"], &claimed["external_user_id"]), (&json!(ACME), &json!("user_42")));
    let id = claimed["connection_id"].as_str().unwrap();
    let row = "id || ' ' || external_id || ' ' || state || ' ' || metadata";
    let row = app.database.text_in(sql::CONNECTIONS_WITH_USERS, row).await;
    assert_eq!(row, format!("{id} user_42 active {{\"plan\":\"gold\"}}"));
    assert_eq!(app.database.column(sql::HUB_DOMAIN).await, "acme.example");
    assert_eq!((waiting(&app).await, listed(&app, &key).await.len()), (0, 0));
    assert_eq!(app.database.pending_grants().await, 0, "its tokens are the connection's alone");
    app.assert_one_job_each().await;
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!((tokens(&app).await, living(&app)), (1, vec![ACME]), "it needs no browser session");
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_are_notified_of_pending_installs_and_their_connections() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    let event = app.database.event("install.unclaimed").await;
    let data = json!({"install_id": install["id"], "portal_id": ACME, "expires_at": install["expires_at"]});
    assert_eq!(event["data"], data);

    claim(&app, &key, &install, "user_42").await;

    let created = app.database.event("connection.created").await;
    assert_eq!(created["data"]["external_user_id"], "user_42");
    assert_eq!(app.database.count(sql::EVENTS).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn installs_are_claimed_once_and_repeated_claims_succeed() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    let first = claim(&app, &key, &install, "user_42").await;
    let again = claim(&app, &key, &install, "user_42").await;
    let other = claim(&app, &key, &install, "user_43").await;

    assert_eq!((first.status, again.status, again.json()), (200, 200, first.json()));
    assert_eq!((other.status, other.json()["code"].as_str()), (409, Some("install_claimed")));
    assert_eq!(tokens(&app).await, 1);
    let known = app.database.count(sql::EXTERNAL_USERS).await;
    assert_eq!(known, 1, "refused users are not stored");
    app.advance(8 * 86_400);
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(claim(&app, &key, &install, "user_42").await.status, 404);
    assert_eq!((tokens(&app).await, app.hubspot.calls(Kind::Revoke).len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_claims_for_two_users_succeed_for_one() {
    for _ in 0..5 {
        let app = started().await;
        let (key, install) = with_install(&app, ACME).await;
        let both = tokio::join!(claim(&app, &key, &install, "one"), claim(&app, &key, &install, "two"));
        let mut statuses = [both.0.status, both.1.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{} {}", both.0.body, both.1.body);
        assert_eq!((tokens(&app).await, living(&app)), (1, vec![ACME]));
        app.assert_one_job_each().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_update_an_existing_connection_to_the_account() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    let first = claim(&app, &key, &install, "user_42").await.json();
    let (_, install) = with_install(&app, ACME).await;
    let second = claim(&app, &key, &install, "user_42").await.json();

    assert_eq!(first["connection_id"], second["connection_id"]);
    assert_eq!(app.database.generation().await, 2);
    assert_eq!(tokens(&app).await, 1);
    settle(&app).await;
    assert_eq!(living(&app), [ACME], "the older grant has ended");
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_claims_are_refreshed_at_once() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    app.advance(3 * 86_400);
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(claim(&app, &key, &install, "user_42").await.status, 200);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.column(sql::STATE).await, "active");
    let good = format!("expires_at > {}", app.clock.now().unix_ms());
    assert_eq!(app.database.connections(&good).await, 1);
    app.advance(60);
    app.services.connections.details.fetch_missing_details().await.unwrap();
    assert_eq!(app.database.column(sql::HUB_DOMAIN).await, "acme.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_do_not_call_hubspot_with_an_expired_token() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    app.advance(1801);
    let asked = app.hubspot.journal().len();
    assert_eq!(claim(&app, &key, &install, "user_42").await.status, 200);
    assert_eq!(app.hubspot.journal().len(), asked);
}
