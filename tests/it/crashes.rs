//! The process dies at every marked point of its work, as by SIGKILL. Restarted, it is ready at once, and nothing is
//! lost but what no client can keep: with rotation, the response that was not yet stored.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fake_hubspot::{FakeHubSpot, Fault, Kind, Options, Rule};
use hubspot_connect::crash::POINTS;
use hubspot_connect::keyring::Keyring;
use reqwest::Method;

use crate::harness::app::{ACME, GLOBEX, HOST, INITECH, approve, settle};
use crate::harness::browser::Browser;
use crate::harness::database::TestDatabase;
use crate::harness::process::{Process, changed, run, value};
use crate::harness::{Receiver, eventually, sql};

const ACCOUNTS: [u64; 3] = [ACME, GLOBEX, INITECH];

fn points(work: &str) -> impl Iterator<Item = &'static str> {
    let found: Vec<_> =
        POINTS.iter().copied().filter(|point| point.split('.').next() == Some(work)).collect();
    assert!(!found.is_empty(), "no points in {work}");
    found.into_iter()
}

struct Scene {
    hubspot: FakeHubSpot,
    database: TestDatabase,
    variables: Vec<(String, String)>,
    point: &'static str,
    rotates: bool,
}

impl Scene {
    async fn set(point: &'static str, rotates: bool) -> Self {
        let options = Options {
            rotate_refresh_tokens: rotates,
            reject_reused_refresh_tokens: rotates,
            ..Options::default()
        };
        let hubspot = FakeHubSpot::start(options).await.unwrap();
        let database = TestDatabase::fresh().await;
        let variables = settle(&hubspot, &database, &[("REFRESH_MAX_IN_FLIGHT", "1")]);
        Self { hubspot, database, variables, point, rotates }
    }

    fn serve(&self) -> Process {
        Process::serve(&self.variables)
    }

    /// Returns the variables of a process that dies at the point.
    fn doomed(&self) -> Vec<(String, String)> {
        changed(&self.variables, "CRASH_AT", self.point)
    }

    /// Waits until the process has died, and restarts it as an operator's supervisor does.
    async fn revive(&self, process: Process) -> Process {
        let ended = process.wait();
        assert!(ended.code().is_none(), "{} {ended:?}", self.point);
        let began = Instant::now();
        let process = self.serve();
        let admin = Browser::new(&process.admin);
        assert_eq!(admin.get("/readyz").await.status, 200, "{}", self.point);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "{}: ready after {took:?}", self.point);
        process
    }

    /// Makes everything due; the leases of the dead process have expired.
    async fn let_time_pass(&self) {
        self.database.update(sql::REFRESH_JOBS, "run_at = 0, lease_until = NULL WHERE strikes = 0").await;
        self.database.make_revocations_due().await;
    }

    /// Expires the dead process's lease on the Webhooks Journal.
    async fn lose_journal_lease(&self) {
        self.database.update(sql::JOURNAL_READER, "lease_until = 0").await;
    }

    async fn count_healthy(&self, generation: i64) -> i64 {
        let condition = format!("{} AND generation >= {generation}", sql::HEALTHY);
        self.database.count_where(sql::CONNECTIONS_WITH_JOBS, &condition).await
    }

    /// Asserts that all of these are refreshed once more.
    async fn assert_refreshed(&self, connections: i64, log: &Process) {
        let newest = self.database.number_in(sql::CONNECTIONS, "COALESCE(MAX(generation), 0)").await;
        self.let_time_pass().await;
        let refreshed = || async { self.count_healthy(newest + 1).await >= connections };
        let old = format!(
            "run_at = 0 WHERE lease_until IS NULL AND strikes = 0 AND \
             connection_id IN (SELECT id FROM {} WHERE generation <= {newest})",
            sql::CONNECTIONS
        );
        eventually(&format!("{} refreshed: {}", self.point, log.log()), || async {
            // A connection with fewer generations than the others needs more than one refresh.
            self.database.update(sql::REFRESH_JOBS, &old).await;
            refreshed().await
        })
        .await;
        assert_eq!(self.database.connections(sql::ACTIVE_WITHOUT_JOB).await, 0, "{}", self.point);
    }
}

#[test]
fn every_crash_point_appears_once_in_the_code() {
    let mut found = Vec::new();
    let mut folders = vec![std::path::PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            let names = text.split("crash::point(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
            found.extend(names.map(str::to_owned));
        }
    }
    let known: BTreeSet<&str> = POINTS.iter().copied().collect();
    assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
    assert_eq!(found.len(), POINTS.len(), "a name stands for one place: {found:?}");
    let walked = [
        "callback",
        "install",
        "pending_grant",
        "refresh",
        "disconnect",
        "journal",
        "webhook",
        "rotate",
        "migrate",
    ];
    assert_eq!(walked.iter().map(|work| points(work).count()).sum::<usize>(), POINTS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_callback_leaves_a_complete_connection_or_nothing() {
    for rotates in [false, true] {
        for point in points("callback") {
            let scene = Scene::set(point, rotates).await;
            let process = Process::serve(&scene.doomed());
            let browser = Browser::new(&process.base);
            let authorize = browser.start(Some(HOST)).await;
            let back = scene.hubspot.decide(&authorize, approve(ACME)).unwrap();
            let callback = browser.request(Method::GET, &back);
            assert!(callback.send().await.is_err(), "{point}: it has answered");

            let process = scene.revive(process).await;

            let whole = matches!(point, "callback.stored" | "callback.introduced");
            assert_eq!(scene.database.count(sql::CONNECTIONS).await, i64::from(whole), "{point}");
            // The user reloads the popup. A stored connection is theirs; otherwise they try again.
            assert!(browser.get(&back).await.status < 400, "{point}");
            if whole {
                assert_eq!(browser.status().await["status"], "active", "{point}");
            }
            let again = browser.start(Some(HOST)).await;
            let back = scene.hubspot.decide(&again, approve(ACME)).unwrap();
            assert_eq!(browser.get(&back).await.status, 303, "{point}");
            assert_eq!(browser.status().await["status"], "active", "{point}");
            assert_eq!(scene.database.count(sql::CONNECTIONS).await, 1, "{point}");
            scene.assert_refreshed(1, &process).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_an_install_keeps_or_repeats_it_and_it_is_claimed_once() {
    for rotates in [false, true] {
        for point in points("install").chain(points("pending_grant")) {
            let mut scene = Scene::set(point, rotates).await;
            scene.variables = changed(&scene.variables, "MARKETPLACE_INSTALLS", "on");
            let process = Process::serve(&scene.doomed());
            let key = run(&["api-keys", "create", "backend", "--scope", "sessions:write"], &scene.variables);
            assert_eq!(key.code, Some(0), "{}", key.stderr);
            let key = key.stdout.split_whitespace().find(|word| word.starts_with("hsc_")).unwrap().to_owned();
            let back = format!("{}/marketplace/installed", scene.hubspot.base_url());
            let bring = |base: &str| {
                let code = scene.hubspot.install(&format!("{base}/install/hubspot"), ACME);
                format!("/install/hubspot?code={code}&returnUrl={back}")
            };
            let claim = |browser: &Browser, id: &str| {
                let path = format!("/api/hubspot/installs/{id}/claim");
                let request = browser.request(Method::POST, &path).bearer_auth(&key);
                request.header("content-type", "application/json").body(r#"{"external_user_id":"user_42"}"#)
            };
            let browser = Browser::new(&process.base);
            let first = browser.request(Method::GET, &bring(&process.base)).send().await;
            let is_claim = point == "pending_grant.accepted";
            assert_eq!(first.is_ok(), is_claim, "{point}");
            if is_claim {
                let id = scene.database.install_id().await;
                assert!(claim(&browser, &id).send().await.is_err(), "{point}: it has answered");
            }

            let process = scene.revive(process).await;

            let kept = scene.database.installs().await;
            assert_eq!(
                kept,
                i64::from(matches!(point, "pending_grant.held" | "pending_grant.accepted")),
                "{point}"
            );
            // The user starts again at HubSpot; the host's backend retries.
            let browser = Browser::new(&process.base);
            if kept == 0 {
                assert_eq!(browser.get(&bring(&process.base)).await.status, 302, "{point}");
            }
            let id = scene.database.install_id().await;
            let claimed = browser.send(claim(&browser, &id)).await;
            assert_eq!(claimed.status, 200, "{point}: {}", claimed.body);
            assert_eq!(scene.database.count(sql::CONNECTIONS).await, 1, "{point}");
            scene.assert_refreshed(1, &process).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_refresh_loses_nothing_without_rotation() {
    refreshes_are_cut_off(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_refresh_loses_at_most_one_connection_with_rotation() {
    refreshes_are_cut_off(true).await;
}

async fn refreshes_are_cut_off(rotates: bool) {
    for point in points("refresh") {
        let scene = Scene::set(point, rotates).await;
        let process = scene.serve();
        for account in ACCOUNTS {
            process.connected(&scene.hubspot, account).await;
        }
        process.crash();
        if point == "refresh.failed" {
            scene.hubspot.script(Rule::once(Kind::Refresh, Fault::CloseBeforeAnswer));
        }
        scene.let_time_pass().await;

        let process = scene.revive(Process::launch(&scene.doomed())).await;

        // HubSpot has rotated the token, and the response with the new one died with the process.
        let lost = scene.rotates && matches!(point, "refresh.answered" | "refresh.half_stored");
        let kept = ACCOUNTS.len() as i64 - i64::from(lost);
        scene.assert_refreshed(kept, &process).await;
        let superseded = || scene.hubspot.journal().iter().filter(|call| call.superseded).count();
        if lost {
            eventually(&format!("{point}: the old token is presented"), || async { superseded() > 0 }).await;
        }
        assert_eq!(superseded(), usize::from(lost), "{point}");
        let active = scene.database.connections(sql::ACTIVE).await;
        assert_eq!(active, 3, "{point}: no connection is given up for a single refusal");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_disconnect_leaves_no_partial_state() {
    for rotates in [false, true] {
        for point in points("disconnect") {
            let scene = Scene::set(point, rotates).await;
            let process = scene.serve();
            let leaving = process.connected(&scene.hubspot, ACME).await;
            process.connected(&scene.hubspot, GLOBEX).await;
            let id = leaving.status().await["connections"][0]["id"].as_str().unwrap().to_owned();
            process.crash();
            let process = Process::serve(&scene.doomed());
            let disconnect = leaving.disconnect_request(&id).await;
            assert!(disconnect.send().await.is_err(), "{point}: it has answered");

            let process = scene.revive(process).await;

            let gone = point != "disconnect.half_removed";
            let left = scene.database.count(sql::CONNECTIONS).await;
            assert_eq!(left, if gone { 1 } else { 2 }, "{point}");
            scene.assert_refreshed(left, &process).await;
            if !gone {
                assert_eq!(leaving.disconnect(&id).await.status, 200, "{point}");
            }
            eventually(&format!("{point}: the grant ends"), || async {
                scene.let_time_pass().await;
                scene.hubspot.grants().iter().all(|grant| grant.hub_id == GLOBEX)
                    && scene.database.count(sql::REVOCATION_JOBS).await == 0
            })
            .await;
            assert_eq!(leaving.status().await["authenticated"], false, "{point}");
            assert_eq!(scene.hubspot.grants().len(), 1, "{point}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_journal_poll_repeats_or_completes_it() {
    for point in points("journal") {
        let mut scene = Scene::set(point, true).await;
        scene.variables = changed(&scene.variables, "WEBHOOKS_JOURNAL", "on");
        let process = scene.serve();
        process.connected(&scene.hubspot, ACME).await;
        process.connected(&scene.hubspot, GLOBEX).await;
        eventually("it has subscribed", || async { scene.hubspot.subscriptions() == 1 }).await;
        process.crash();
        scene.hubspot.uninstall(ACME);
        scene.lose_journal_lease().await;

        let ended = Process::launch(&scene.doomed()).wait();

        assert!(ended.code().is_none(), "{point} {ended:?}");
        scene.lose_journal_lease().await;
        let process = scene.serve();
        eventually(&format!("{point}: HubSpot is asked and refuses: {}", process.log()), || async {
            scene.database.count_where(sql::REFRESH_JOBS, "strikes = 1 AND announced_at IS NOT NULL").await
                == 1
        })
        .await;
        let read = scene.database.count_where(sql::JOURNAL_READER, "position IS NOT NULL").await;
        assert_eq!(read, 1, "{point}");
        let fetched = scene.hubspot.calls(Kind::JournalFile).len();
        assert_eq!(fetched, if point == "journal.stored" { 1 } else { 2 }, "{point}");
        let other = scene.hubspot.calls(Kind::Refresh);
        assert!(other.iter().all(|call| call.hub_id != Some(GLOBEX)), "{point}: no other account is called");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_delivery_repeats_it_with_the_same_id() {
    for point in points("webhook") {
        let mut scene = Scene::set(point, false).await;
        let receiver = Receiver::start().await;
        scene.variables = changed(&scene.variables, "WEBHOOK_ALLOWED_HOSTS", &receiver.host());
        let process = scene.serve();
        let made = run(&["api-keys", "create", "test", "--scope", "webhooks"], &scene.variables);
        let key =
            made.stdout.split_whitespace().find(|word| word.starts_with("hsc_key_")).unwrap().to_owned();
        let backend = Browser::new(&process.base);
        let create = backend.request(Method::POST, "/api/hubspot/webhooks").bearer_auth(key);
        let body = serde_json::json!({"url": receiver.url("/")}).to_string();
        let made = backend.send(create.header("content-type", "application/json").body(body)).await;
        assert_eq!(made.status, 201, "{}", made.body);
        process.crash();
        let process = Process::serve(&scene.doomed());
        process.connected(&scene.hubspot, ACME).await;

        let _process = scene.revive(process).await;

        // The lease of the dead process has expired.
        scene.database.update(sql::DELIVERIES, "lease_until = 0").await;
        eventually(&format!("{point}: delivered"), || async {
            scene.database.count_where(sql::DELIVERIES, "status = 'delivered'").await == 1
        })
        .await;
        let heard = receiver.heard();
        assert_eq!(heard.len(), if point == "webhook.answered" { 2 } else { 1 }, "{point}");
        assert!(heard.iter().all(|one| one.header("webhook-id") == heard[0].header("webhook-id")), "{point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_key_rotation_is_resumed() {
    for point in points("rotate") {
        let mut scene = Scene::set(point, true).await;
        let process = scene.serve();
        for account in ACCOUNTS {
            process.connected(&scene.hubspot, account).await;
        }
        process.crash();
        let (old, new) = (value(&scene.variables, "ENCRYPTION_KEYS"), Keyring::generate());
        let both = format!("{},{old}", new.expose());
        scene.variables = changed(&scene.variables, "ENCRYPTION_KEYS", &both);

        let killed = run(&["keys", "rotate"], &changed(&scene.variables, "CRASH_AT", point));
        assert_eq!(killed.code, None, "{point}: {}", killed.stderr);

        // The service decrypts all rows, under either key.
        let process = scene.serve();
        scene.assert_refreshed(3, &process).await;
        process.crash();
        let again = run(&["keys", "rotate"], &scene.variables);
        assert_eq!(again.code, Some(0), "{point}: {}", again.stderr);
        scene.variables = changed(&scene.variables, "ENCRYPTION_KEYS", new.expose());
        let process = scene.serve();
        scene.assert_refreshed(3, &process).await;
        assert!(scene.hubspot.journal().iter().all(|call| !call.superseded), "{point}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_migration_is_completed_by_the_next_start() {
    for point in points("migrate") {
        let scene = Scene::set(point, false).await;
        let killed = run(&["db", "migrate"], &changed(&scene.variables, "CRASH_AT", point));
        assert_eq!(killed.code, None, "{point}: {}", killed.stderr);
        let process = scene.serve();
        process.connected(&scene.hubspot, ACME).await;
        scene.assert_refreshed(1, &process).await;
        let twice = "SELECT COUNT(*) - COUNT(DISTINCT version) FROM seaql_migrations";
        assert_eq!(scene.database.number(twice).await, 0, "{point}");
    }
}
