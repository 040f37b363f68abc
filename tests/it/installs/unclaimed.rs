//! Pending installs: what replaces and ends them, and what they outlive.

use fake_hubspot::{Kind, Options};
use serde_json::json;

use crate::harness::app::{ACME, GLOBEX, LONG_SESSIONS, approve};
use crate::harness::browser::flow_of;
use crate::harness::process::run;
use crate::harness::{TestApp, sql};

use super::{ON, claim, installed, living, settle, started, tokens, waiting, with_install};

#[tokio::test(flavor = "multi_thread")]
async fn connecting_an_account_replaces_its_pending_install() {
    let app = started().await;
    installed(&app, ACME).await;
    installed(&app, GLOBEX).await;
    let browser = app.browser();
    let page = browser.get("/install/hubspot/claim").await;
    let (_, rest) = page.body.split_once("href=\"/auth/hubspot/start").expect("a link that connects");
    let link = format!("/auth/hubspot/start{}", rest.split('"').next().unwrap().replace("&amp;", "&"));
    let start = browser.get(&link.replace("&#x2F;", "/")).await;
    let back = app.hubspot.decide(start.location(), approve(ACME)).expect("back");
    let done = browser.get(&back).await;

    assert!(!flow_of(done.location()).is_empty());
    assert_eq!(browser.status().await["portal_id"], ACME);
    assert_eq!((waiting(&app).await, tokens(&app).await), (1, 1), "another account's waits on");
    settle(&app).await;
    assert_eq!(living(&app), [ACME, GLOBEX], "of the two of that account one has ended");
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(browser.status().await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_with_the_same_refresh_token_revokes_nothing() {
    let options = Options { share_refresh_token_per_account: true, ..Options::default() };
    let app = TestApp::with_hubspot(&[ON], options).await;
    installed(&app, ACME).await;
    let browser = app.connected(ACME).await;
    settle(&app).await;
    assert_eq!((waiting(&app).await, app.hubspot.calls(Kind::Revoke).len()), (0, 0));

    // And vice versa: a logout does not end the pending install.
    installed(&app, ACME).await;
    browser.logout().await;
    settle(&app).await;
    assert_eq!((waiting(&app).await, living(&app)), (1, vec![ACME]));
    app.advance(604_800);
    app.services.maintenance.sweep().await.unwrap();
    settle(&app).await;
    assert_eq!(living(&app), Vec::<u64>::new(), "no connection has it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concurrent_connection_and_claim_of_one_account_leave_no_orphaned_grant() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    let connect = app.connected(ACME);
    let both = tokio::join!(connect, claim(&app, &key, &install, "user_42"));
    assert!(matches!(both.1.status, 200 | 404), "{}", both.1.body);
    settle(&app).await;
    let here = tokens(&app).await;
    assert_eq!(here, if both.1.status == 200 { 2 } else { 1 });
    assert_eq!(living(&app).len() as i64, here, "what is connected here lives there, and nothing else");
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unclaimed_installs_end_after_a_week_and_stay_installed() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    app.advance(604_799);
    app.services.maintenance.sweep().await.unwrap();
    assert_eq!(waiting(&app).await, 1);

    app.advance(1);
    assert_eq!(claim(&app, &key, &install, "user_42").await.status, 404);
    app.services.maintenance.sweep().await.unwrap();
    app.services.connections.disconnects.revoke_due().await.unwrap();

    assert_eq!((waiting(&app).await, living(&app)), (0, vec![]));
    assert_eq!((app.hubspot.calls(Kind::Revoke).len(), app.hubspot.calls(Kind::Uninstall).len()), (1, 0));
    assert_eq!(app.database.count(sql::INSTALL_ATTEMPTS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_install_of_an_account_replaces_the_first() {
    let app = started().await;
    let (key, first) = with_install(&app, ACME).await;
    let (_, second) = with_install(&app, ACME).await;
    assert_ne!(first["id"], second["id"]);
    assert_eq!(claim(&app, &key, &first, "user_42").await.json()["code"], "install_not_found");
    settle(&app).await;
    assert_eq!((waiting(&app).await, living(&app)), (1, vec![ACME]));
    assert_eq!(claim(&app, &key, &second, "user_42").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_installs_wait_for_a_missing_key_and_end_when_tampered_with() {
    let app = started().await;
    let (key, install) = with_install(&app, ACME).await;
    app.database.lose_key_of_pending_grants().await;
    let refused = claim(&app, &key, &install, "user_42").await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (500, Some("unknown_key")));
    app.database.find_key_of_pending_grants().await;
    app.database.damage_pending_grants().await;

    let refused = claim(&app, &key, &install, "user_42").await;

    assert_eq!((refused.status, refused.json()["code"].as_str()), (500, Some("integrity_error")));
    assert_eq!((waiting(&app).await, tokens(&app).await), (0, 0));
    settle(&app).await;
    assert_eq!(living(&app), Vec::<u64>::new(), "its refresh token is good, and ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_rotation_includes_pending_installs() {
    let app = TestApp::with(&[&[ON], LONG_SESSIONS].concat()).await;
    let (key, install) = with_install(&app, ACME).await;
    let old = app.variables.iter().find(|(name, _)| name == "ENCRYPTION_KEYS").unwrap().1.clone();
    let new = hubspot_connect::keyring::Keyring::generate();
    let app = app.restarted(&[("ENCRYPTION_KEYS", &format!("{},{old}", new.expose()))]).await;
    let rotated = run(&["keys", "rotate"], &app.variables);
    assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);
    let app = app.restarted(&[("ENCRYPTION_KEYS", new.expose())]).await;
    assert_eq!(claim(&app, &key, &install, "user_42").await.status, 200);
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_keep_the_pending_install_of_the_account() {
    let app = TestApp::with(&[&[ON], LONG_SESSIONS].concat()).await;
    app.connected(ACME).await;
    let refresh_token = app.hubspot.grants()[0].refresh_token.clone();
    for table in [sql::REFRESH_JOBS, sql::CONNECTIONS, sql::SESSIONS, sql::AUTH_REQUESTS] {
        app.database.clear(table).await;
    }
    installed(&app, ACME).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.jsonl");
    let line = json!({"external_user_id": "user_42", "refresh_token": refresh_token});
    std::fs::write(&file, line.to_string()).unwrap();
    let (database, variables, hubspot, clock) = app.stopped().await;

    let ended = run(&["import", file.to_str().unwrap()], &variables);

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let app = TestApp::again(hubspot, database, variables, clock).await;
    assert_eq!((tokens(&app).await, waiting(&app).await), (1, 1));
}
