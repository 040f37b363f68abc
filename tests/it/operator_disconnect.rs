//! Operators after a leak or a loss: they disconnect manually, and give up a lost key.

use fake_hubspot::{Fault, Kind, Rule};

use crate::harness::app::{ACME, GLOBEX, HOST, LONG_SESSIONS, approve};
use crate::harness::process::{changed, run, value};
use crate::harness::{TestApp, sql};
use hubspot_connect::keyring::Keyring;

#[tokio::test(flavor = "multi_thread")]
async fn operators_disconnect_one_or_all_connections() {
    let app = TestApp::with(LONG_SESSIONS).await;
    for account in 0..20 {
        app.connected(ACME + account).await;
    }
    if app.database.is_sqlite() {
        let refused = run(&["connections", "revoke", "--all"], &app.variables);
        assert_eq!(refused.code, Some(1));
        assert!(
            refused.stderr.contains("another process serves from this SQLite file"),
            "{}",
            refused.stderr
        );
    }
    let id = app.database.column_of(ACME, sql::ID).await;
    let (database, variables, hubspot, clock) = app.stopped().await;

    let one = run(&["connections", "disconnect", &id], &variables);
    assert_eq!(one.code, Some(0), "{}", one.stderr);
    assert_eq!(one.stdout, "1 connection(s) disconnected; 1 of their grants revoked at HubSpot\n");
    assert!(hubspot.grants().iter().all(|grant| grant.hub_id != ACME));
    let again = run(&["connections", "disconnect", &id], &variables);
    assert_eq!((again.code, database.count(sql::CONNECTIONS).await), (Some(1), 19));
    let careless = run(&["connections", "revoke"], &variables);
    assert_eq!(careless.code, Some(2), "--all must be explicit");

    // HubSpot fails for the first three: the service has to retry.
    hubspot.script(Rule::times(Kind::Revoke, 3, Fault::CloseBeforeAnswer));
    let all = run(&["connections", "revoke", "--all"], &variables);
    assert_eq!(all.code, Some(0), "{}", all.stderr);
    assert!(all.stdout.starts_with("19 connection(s) disconnected; 16 of their grants"), "{}", all.stdout);
    assert!(all.stdout.contains("3 grant(s) could not be revoked yet"), "{}", all.stdout);
    assert_eq!((database.count(sql::CONNECTIONS).await, hubspot.grants().len()), (0, 3));
    let app = TestApp::again(hubspot, database, variables, clock).await;
    app.database.make_revocations_due().await;
    app.services.connections.disconnects.revoke_due().await.unwrap();
    assert_eq!(app.hubspot.grants().len(), 0);
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_keys_are_given_up_only_on_demand_and_users_can_reconnect() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let browser = app.connected(ACME).await;
    app.connected(GLOBEX).await;
    let lost = app.database.column(sql::KEY_ID).await;
    let (database, variables, hubspot, clock) = app.stopped().await;
    let known = run(&["keys", "give-up", &lost, "--accept-key-loss"], &variables);
    assert!(known.code == Some(1) && known.stderr.contains("it is not lost"), "{}", known.stderr);

    let variables = changed(&variables, "ENCRYPTION_KEYS", Keyring::generate().expose());
    let refused = run(&["serve"], &variables);
    assert!(refused.code == Some(1) && refused.stderr.contains(&lost), "{}", refused.stderr);
    let asked = run(&["keys", "give-up", &lost], &variables);
    assert!(asked.code == Some(1) && asked.stderr.contains("2 row(s)"), "{}", asked.stderr);
    assert_eq!(database.connections(sql::NEEDS_REAUTH).await, 0, "nothing happens by accident");
    let given_up = run(&["keys", "give-up", &lost, "--accept-key-loss"], &variables);
    assert_eq!(given_up.code, Some(0), "{}", given_up.stderr);
    assert!(
        given_up.stdout.starts_with("2 connection(s) need their users to reconnect"),
        "{}",
        given_up.stdout
    );

    let status = run(&["keys", "status"], &variables);
    assert!(status.code == Some(0) && !status.stdout.contains("MISSING"), "{}", status.stdout);
    let rotated = run(&["keys", "rotate"], &variables);
    assert_eq!(rotated.code, Some(0), "{} {}", rotated.stdout, rotated.stderr);
    let id = database.column_of(ACME, sql::ID).await;
    let explained = run(&["connections", "explain", &id], &variables);
    assert!(explained.stdout.contains("the encryption key of its tokens is lost"), "{}", explained.stdout);
    let app = TestApp::again(hubspot, database, variables, clock).await;
    app.assert_one_job_each().await;
    assert_eq!(browser.status().await["status"], "needs_reauth");
    browser.connect(&app, Some(HOST), approve(ACME)).await;
    assert_eq!(browser.status().await["status"], "active");
    app.advance(1261);
    assert_eq!(app.refresh_due().await, 1);
    assert_eq!(app.database.count(sql::CONNECTIONS).await, 2, "nothing is deleted");
    assert!(!value(&app.variables, "ENCRYPTION_KEYS").contains(&lost));
}
