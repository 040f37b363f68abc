//! The connections of the host's users, listed, refreshed and ended by its backend.

use fake_hubspot::{FakeHubSpot, Fault, Kind, Options, Rule};
use hubspot_connect::domain::project::ProjectId;
use hubspot_connect::domain::random::Random;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, INITECH, LONG_SESSIONS, settle};
use crate::harness::browser::Answer;
use crate::harness::database::TestDatabase;
use crate::harness::process::{Process, run};
use crate::harness::{Browser, TestApp, eventually, sql};

const LIST: &str = "/api/hubspot/connections";
const ALL: &str = "tokens:read connections:read connections:write";

struct Backend<'a> {
    app: &'a TestApp,
    key: String,
}

impl<'a> Backend<'a> {
    async fn of(app: &'a TestApp) -> Self {
        Self { app, key: app.api_key(ALL).await }
    }

    async fn get(&self, path: &str) -> Answer {
        self.app.api(&self.key, Method::GET, path, None).await
    }

    async fn list(&self, query: &str) -> Value {
        let answer = self.get(&format!("{LIST}{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        answer.json()
    }

    async fn call(&self, method: Method, id: &str, verb: &str, body: Option<Value>) -> Answer {
        self.app.api(&self.key, method, &format!("{LIST}/{id}{verb}"), body).await
    }
}

/// Returns the ids of the connections in a list.
fn ids(list: &Value) -> Vec<String> {
    let connections = list["data"].as_array().unwrap().iter();
    connections.map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}

/// Gives the connections of an account to one of the host's users.
async fn give(app: &TestApp, portal: u64, external: &str) {
    let external = external.parse().unwrap();
    let user =
        app.store.platform.user_of_external(ProjectId::default(), external, &Random::system()).await.unwrap();
    app.database.set_column_of(portal, sql::USER_ID, &user.to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_shown_without_tokens() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    give(&app, ACME, "user-1").await;
    app.database.set_column(sql::METADATA, "{\"team\":\"north\"}").await;
    let backend = Backend::of(&app).await;
    let id = app.database.column_of(ACME, sql::ID).await;
    let answer = backend.get(&format!("{LIST}/{id}")).await;
    let mut shown = answer.json();
    assert!(!shown["explanation"].take().as_array().unwrap().is_empty());
    assert!(shown["next_refresh_at"].take().as_str().unwrap().starts_with("2026-"));
    let now = app.clock.now();
    let expected = json!({
        "id": id,
        "external_user_id": "user-1",
        "portal_id": ACME,
        "hub_domain": "acme.example",
        "hub_user": "ada@acme.example",
        "time_zone": "US/Eastern",
        "status": "active",
        "status_text": "Access is refreshed automatically, before it expires.",
        "scopes": ["oauth", "crm.objects.contacts.read"],
        "missing_scopes": [],
        "metadata": {"team": "north"},
        "created_at": now.rfc3339(),
        "connected_at": now.rfc3339(),
        "expires_at": now.plus(std::time::Duration::from_secs(1800)).rfc3339(),
        "next_refresh_at": null,
        "last_error": null,
        "error_since": null,
        "generation": 1,
        "explanation": null,
    });
    assert_eq!(shown, expected);
    assert_eq!(backend.list("").await["data"][0]["id"], json!(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_a_stable_order_while_connections_change() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    let template = app.database.column_of(ACME, sql::ID).await;
    let columns = "client_id, portal_id, scopes, wanted_scopes, state, key_id, access_sealed, refresh_sealed, \
                   refresh_fingerprint, obtained_at, expires_at, connected_at, generation, details_attempts";
    let mut made = vec![template.clone()];
    for number in 1..=24 {
        let id = format!("{number:08x}-0000-4000-8000-{:012x}", (number * 7919) % 100);
        // Some were created in the same millisecond.
        let insert = format!(
            "INSERT INTO {table} (id, user_id, created_at, {columns}) \
             SELECT '{id}', '{id}', created_at + {}, {columns} FROM {table} WHERE id = '{template}'",
            number / 3 + 1,
            table = sql::CONNECTIONS
        );
        app.database.execute(&insert).await;
        made.push(id);
    }
    let backend = Backend::of(&app).await;
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = backend.list(&format!("?limit=4{cursor}")).await;
        assert!(page["data"].as_array().unwrap().len() <= 4);
        seen.extend(ids(&page));
        pages += 1;
        if pages == 2 {
            // Neither a deletion from an earlier page nor a new connection shifts the pages.
            assert_eq!(backend.call(Method::DELETE, &seen[0], "", None).await.status, 200);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((pages, seen.len()), (7, 25));
    made.sort();
    let mut sorted = seen.clone();
    sorted.sort();
    assert_eq!(sorted, made, "each is seen once");
    assert_eq!(ids(&backend.list("?limit=100").await), seen[1..], "the order is always the same");
    let full: Vec<usize> =
        app.pages(&backend.key, &format!("{LIST}?limit=8")).await.iter().map(Vec::len).collect();
    assert_eq!(full, [8, 8, 8], "a last page that is full is the last");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_filtered_by_user_account_and_status() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    app.connected(GLOBEX).await;
    give(&app, ACME, "анна@example.com").await;
    let (acme, globex) =
        (app.database.column_of(ACME, sql::ID).await, app.database.column_of(GLOBEX, sql::ID).await);
    let backend = Backend::of(&app).await;
    let of_user = "?external_user_id=%D0%B0%D0%BD%D0%BD%D0%B0%40example.com";
    assert_eq!(ids(&backend.list(of_user).await), [acme.as_str()]);
    assert!(ids(&backend.list("?external_user_id=nobody").await).is_empty());
    assert_eq!(ids(&backend.list(&format!("?portal_id={GLOBEX}")).await), [globex.as_str()]);
    assert!(ids(&backend.list(&format!("{of_user}&portal_id={GLOBEX}")).await).is_empty());
    assert_eq!(ids(&backend.list("?status=active").await).len(), 2);
    app.hubspot.uninstall(ACME);
    app.hubspot.script(Rule::times(Kind::Refresh, 2, Fault::CloseBeforeAnswer));
    app.advance(1801);
    assert_eq!(ids(&backend.list("?status=degraded").await).len(), 2, "no reader has looked yet");
    assert!(ids(&backend.list("?status=active").await).is_empty());
    app.refresh_due().await;
    let text = "Access could not be refreshed in time. We keep trying; nothing is lost.";
    for one in backend.list("?status=degraded").await["data"].as_array().unwrap() {
        assert_eq!((&one["status_text"], &one["last_error"]), (&json!(text), &json!("provider_unreachable")));
    }
    app.advance(120);
    app.refresh_due().await;
    let refused = backend.list("?status=degraded").await;
    assert_eq!(
        (ids(&refused), &refused["data"][0]["last_error"]),
        (vec![acme.clone()], &json!("grant_dead"))
    );
    let text = "HubSpot rejected the refresh of this access. If it does so again, you have to reconnect.";
    assert_eq!(refused["data"][0]["status_text"], text);
    for _ in 0..4 {
        app.advance(120);
        app.refresh_due().await;
    }
    assert_eq!(ids(&backend.list("?status=needs_reauth").await), [acme.as_str()]);
    assert_eq!(ids(&backend.list("?status=active").await), [globex.as_str()]);
    assert!(ids(&backend.list("?status=degraded").await).is_empty());
    app.database.set_column_of(GLOBEX, sql::STATE, "integrity_error").await;
    assert_eq!(ids(&backend.list("?status=integrity_error").await), [globex.as_str()]);
    for bad in [
        "?status=dead",
        "?limit=0",
        "?limit=101",
        "?limit=x",
        "?limit=",
        "?limit=1&limit=1",
        "?cursor=nonsense",
        "?cursor=",
        "?cursor=..",
        "?portal=1",
        "?portal_id=x",
        "?portal_id=-1",
        "?external_user_id=",
        "?metadata=1",
        "?metadata=:1",
        "?metadata=a%22b:1",
        "?metadata=a:1&metadata=b:2",
    ] {
        let answer = backend.get(&format!("{LIST}{bad}")).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("bad_request")), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_filtered_by_creation_time_and_listed_newest_first() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let mut made = Vec::new();
    for account in [ACME, GLOBEX, INITECH] {
        app.connected(account).await;
        made.push((app.database.column_of(account, sql::ID).await, app.clock.now().rfc3339()));
        app.advance(60);
    }
    let [(acme, _), (globex, at), (initech, later)] = &made[..] else { unreachable!() };
    let backend = Backend::of(&app).await;
    assert_eq!(ids(&backend.list(&format!("?created_after={at}")).await), [globex.as_str(), initech]);
    assert_eq!(ids(&backend.list(&format!("?created_before={at}")).await), [acme.as_str()]);
    let between = format!("?created_after={at}&created_before={later}");
    assert_eq!(ids(&backend.list(&between).await), [globex.as_str()]);
    let pages = app.pages(&backend.key, &format!("{LIST}?order=desc&limit=2")).await;
    let newest: Vec<_> = pages.iter().flatten().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(newest, [initech.as_str(), globex, acme]);
    for bad in ["?created_after=yesterday", "?created_before=2026-11-18", "?order=newest"] {
        let answer = backend.get(&format!("{LIST}{bad}")).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("bad_request")), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_filtered_by_metadata() {
    let app = TestApp::with(LONG_SESSIONS).await;
    let backend = Backend::of(&app).await;
    let mut made = Vec::new();
    let both = [
        json!({"plan": "pro", "a.b": "x \"y\" é", "seats": 3}),
        json!({"plan": "pro ", "a": {"b": "x"}, "seats": "3"}),
    ];
    for (account, metadata) in [ACME, GLOBEX].into_iter().zip(both) {
        app.connected(account).await;
        let id = app.database.column_of(account, sql::ID).await;
        assert_eq!(
            backend.call(Method::PATCH, &id, "", Some(json!({ "metadata": metadata }))).await.status,
            200
        );
        made.push(id);
        app.advance(60);
    }
    app.connected(INITECH).await;
    let [acme, globex] = &made[..] else { unreachable!() };
    for (filter, expected) in [
        ("plan:pro", vec![acme.as_str()]),
        ("plan:pro%20", vec![globex]),
        ("a.b:x%20%22y%22%20%C3%A9", vec![acme]),
        ("seats:3", vec![globex]),
        ("plan:", vec![]),
        ("a:x", vec![]),
        ("plan:pro&status=needs_reauth", vec![]),
    ] {
        assert_eq!(ids(&backend.list(&format!("?metadata={filter}")).await), expected, "{filter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_replace_connection_metadata() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    app.connected(GLOBEX).await;
    let id = app.database.column_of(ACME, sql::ID).await;
    let backend = Backend::of(&app).await;
    for metadata in [json!({"team": "north", "plan": {"seats": 3}}), json!({"team": "south"}), json!({})] {
        let changed =
            backend.call(Method::PATCH, &id, "", Some(json!({ "metadata": metadata.clone() }))).await;
        assert_eq!((changed.status, &changed.json()["metadata"]), (200, &metadata), "{}", changed.body);
        assert_eq!(backend.get(&format!("{LIST}/{id}")).await.json()["metadata"], metadata);
    }
    let other = app.database.column_of(GLOBEX, sql::ID).await;
    assert_eq!(backend.get(&format!("{LIST}/{other}")).await.json()["metadata"], json!({}));
    for bad in [json!({}), json!({"metadata": null}), json!({"metadata": {"a": "x".repeat(4096)}})] {
        let refused = backend.call(Method::PATCH, &id, "", Some(bad)).await;
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!("validation_failed")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn api_and_command_line_list_the_same_connections() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    let id = app.database.column_of(ACME, sql::ID).await;
    let backend = Backend::of(&app).await;
    let explained = backend.get(&format!("{LIST}/{id}")).await.json();
    let shown = run(&["connections", "explain", &id], &app.variables).stdout;
    let sentences = explained["explanation"].as_array().unwrap();
    assert!(sentences.len() >= 5, "{explained}");
    // The command uses the system's clock, so its sentence on the status may differ.
    for sentence in sentences.iter().filter(|one| !one.as_str().unwrap().starts_with("It is ")) {
        assert!(shown.contains(sentence.as_str().unwrap()), "{sentence}: {shown}");
    }
    app.hubspot.uninstall(ACME);
    app.advance(1801);
    app.refresh_due().await;
    let explained = backend.get(&format!("{LIST}/{id}")).await.body;
    assert!(
        explained.contains("failed with `grant_dead`") && explained.contains("It is degraded"),
        "{explained}"
    );
    app.advance(60);
    app.refresh_due().await;
    let history = backend.get(&format!("{LIST}/{id}/history")).await.json();
    let events = history["data"].as_array().unwrap();
    assert_eq!(events[0]["type"], "connection.created", "{history}");
    assert!(events.iter().any(|event| event["type"] == "connection.needs_reauth"), "{history}");
    let first = events[0]["sequence"].as_i64().unwrap();
    let later = backend.get(&format!("{LIST}/{id}/history?after_sequence={first}")).await.json();
    assert_eq!(later["data"].as_array().unwrap()[..], events[1..]);
    let pages = app.pages(&backend.key, &format!("{LIST}/{id}/history?limit=1")).await;
    assert_eq!(pages.concat(), *events);
    assert_eq!(pages.len(), events.len(), "the last page is full, and the last");
    let last = app.pages(&backend.key, &format!("{LIST}/{id}/history?limit=1&after_sequence={first}")).await;
    assert_eq!(last.concat()[..], events[1..]);
    for bad in ["after_sequence=x", "after_sequence=-1", "after=1", "cursor=x", "cursor=MQ=="] {
        let answer = backend.get(&format!("{LIST}/{id}/history?{bad}")).await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("bad_request")), "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requested_refreshes_run_at_most_once_in_five_seconds() {
    let app = TestApp::with_hubspot(
        LONG_SESSIONS,
        Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() },
    )
    .await;
    app.connected(ACME).await;
    let id = app.database.column_of(ACME, sql::ID).await;
    let backend = Backend::of(&app).await;
    let soon = backend.call(Method::POST, &id, "/refresh", None).await.json();
    assert_eq!((soon["refreshed"].as_bool(), soon["generation"].as_i64()), (Some(false), Some(1)));
    app.advance(5);
    let asked: Vec<_> = (0..20).map(|_| backend.call(Method::POST, &id, "/refresh", None)).collect();
    let mut refreshed = 0;
    for one in asked {
        let answer = one.await;
        let body = answer.json();
        assert_eq!((answer.status, body["generation"].as_i64()), (200, Some(2)), "{body}");
        assert_eq!(body["expires_at"], app.clock.now().plus(std::time::Duration::from_secs(1800)).rfc3339());
        refreshed += i32::from(body["refreshed"] == true);
    }
    assert_eq!((refreshed, app.hubspot.calls(Kind::Refresh).len()), (1, 1));
    app.assert_one_job_each().await;
    app.hubspot.script(Rule::always(Kind::Refresh, Fault::CloseBeforeAnswer));
    app.advance(5);
    let failed = backend.call(Method::POST, &id, "/refresh", None).await;
    assert_eq!((failed.status, failed.json()["code"].as_str()), (503, Some("token_unavailable")));
    assert!(failed.header("retry-after").parse::<u64>().unwrap() >= 1);
    let calls = app.hubspot.calls(Kind::Refresh).len();
    assert_eq!(backend.call(Method::POST, &id, "/refresh", None).await.status, 503);
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), calls, "a pause after a failure is kept");
    let lease = backend.get(&format!("{LIST}/{id}/token")).await;
    assert_eq!(
        (lease.status, lease.json()["generation"].as_i64()),
        (200, Some(2)),
        "what is there still works"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requested_refreshes_make_one_call() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    let id = app.database.column_of(ACME, sql::ID).await;
    let key = app.api_key(ALL).await;
    app.advance(10);
    app.hubspot
        .script(Rule::once(Kind::Refresh, Fault::DelayAfterIssue(std::time::Duration::from_millis(100))));
    let url = format!("{}{LIST}/{id}/refresh", app.base);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked: Vec<_> = (0..50).map(|_| tokio::spawn(client.post(&url).bearer_auth(&key).send())).collect();
    for one in asked {
        let body = one.await.unwrap().unwrap().text().await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["generation"], 2, "{body}");
    }
    assert_eq!(app.hubspot.calls(Kind::Refresh).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_end_once_and_return_no_token_afterwards() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    let id = app.database.column_of(ACME, sql::ID).await;
    let backend = Backend::of(&app).await;
    let url = format!("{}{LIST}/{id}/token", app.base);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let lent_already = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let request = client.get(&url).bearer_auth(&backend.key);
            let ended = std::sync::Arc::clone(&ended);
            let lent_already = std::sync::Arc::clone(&lent_already);
            tokio::spawn(async move {
                let (mut lent, mut refused) = (0, 0);
                while refused < 20 {
                    let is_over = ended.load(std::sync::atomic::Ordering::SeqCst);
                    let status = request.try_clone().unwrap().send().await.unwrap().status().as_u16();
                    assert!(!is_over || status == 404, "a token came after the end: {status}");
                    if status == 200 {
                        lent += 1;
                        lent_already.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    } else {
                        refused += 1;
                    }
                }
                lent
            })
        })
        .collect();
    eventually("readers have tokens", || async {
        lent_already.load(std::sync::atomic::Ordering::SeqCst) > 100
    })
    .await;
    let answer = backend.call(Method::DELETE, &id, "", None).await;
    ended.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(answer.json(), json!({"connection_id": id, "revocation": "done"}));
    let mut lent = 0;
    for reader in readers {
        lent += reader.await.unwrap();
    }
    assert!(lent > 20, "there were tokens before: {lent}");
    let again = backend.call(Method::DELETE, &id, "", None).await;
    assert_eq!((again.status, again.json()["code"].as_str()), (404, Some("connection_not_found")));
    assert!(app.hubspot.grants().is_empty());
    app.assert_one_job_each().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_revocations_are_queued_and_shared_grants_kept() {
    let app = TestApp::with_hubspot(
        LONG_SESSIONS,
        Options { share_refresh_token_per_account: true, ..Options::default() },
    )
    .await;
    app.connected(ACME).await;
    app.connected(ACME).await;
    let backend = Backend::of(&app).await;
    let all = ids(&backend.list("").await);
    let first = backend.call(Method::DELETE, &all[0], "", None).await.json();
    assert_eq!(first["revocation"], "skipped");
    app.hubspot.script(Rule::once(Kind::Revoke, Fault::CloseBeforeAnswer));
    let second = backend.call(Method::DELETE, &all[1], "", None).await.json();
    assert_eq!(second["revocation"], "queued");
    assert!(ids(&backend.list("").await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn uninstalling_from_an_account_requires_confirmation() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    app.connected(ACME).await;
    app.connected(INITECH).await;
    let id = app.database.column_of(ACME, sql::ID).await;
    let backend = Backend::of(&app).await;
    // The other connection's token is cached in this process.
    for one in ids(&backend.list("").await) {
        assert_eq!(backend.get(&format!("{LIST}/{one}/token")).await.status, 200);
    }
    for body in [None, Some(json!({})), Some(json!({"confirm": false})), Some(json!({"confirm": "true"}))] {
        assert_eq!(backend.call(Method::POST, &id, "/uninstall", body).await.status / 100, 4);
    }
    assert!(app.hubspot.calls(Kind::Uninstall).is_empty());
    let done = backend.call(Method::POST, &id, "/uninstall", Some(json!({"confirm": true}))).await;
    let expected = json!({
        "connection_id": id, "uninstalled": true, "failed_with": null, "revocation": "done", "also_affected": 1,
    });
    assert_eq!((done.status, done.json()), (200, expected));
    let order: Vec<Kind> = app.hubspot.journal().iter().map(|call| call.kind).collect();
    let at = |kind| order.iter().position(|one| *one == kind).unwrap();
    assert!(at(Kind::Uninstall) < at(Kind::Revoke), "{order:?}");
    assert_eq!(app.hubspot.calls(Kind::Uninstall)[0].path, "/appinstalls/2026-09/external-install");
    assert_eq!(app.hubspot.grants().len(), 1, "the other account keeps its grant");
    assert_eq!(
        backend.call(Method::POST, &id, "/uninstall", Some(json!({"confirm": true}))).await.status,
        404
    );
    let other = app.database.column_of(ACME, sql::ID).await;
    let shown = backend.get(&format!("{LIST}/{other}")).await.json();
    assert_eq!(
        (&shown["status"], &shown["last_error"]),
        (&json!("needs_reauth"), &json!("grant_dead")),
        "{shown}"
    );
    let history = backend.get(&format!("{LIST}/{other}/history")).await.json();
    let events: Vec<_> = history["data"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    let expected = ["connection.created", "connection.revoked_at_provider", "connection.needs_reauth"];
    assert_eq!(events, expected, "before any refresh of its own");
    let token = backend.get(&format!("{LIST}/{other}/token")).await;
    assert_eq!(token.json()["code"], "needs_reauth");
    app.assert_one_job_each().await;
    assert_eq!(ids(&backend.list("?status=active").await).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_uninstalls_still_disconnect_the_connection() {
    let app = TestApp::with(LONG_SESSIONS).await;
    app.connected(ACME).await;
    let id = app.database.column_of(ACME, sql::ID).await;
    let backend = Backend::of(&app).await;
    app.connected(ACME).await;
    app.hubspot.script(Rule::always(Kind::Uninstall, Fault::CloseBeforeAnswer));
    let done = backend.call(Method::POST, &id, "/uninstall", Some(json!({"confirm": true}))).await.json();
    assert_eq!((&done["uninstalled"], &done["failed_with"]), (&json!(false), &json!("provider_unreachable")));
    assert_eq!((&done["revocation"], &done["also_affected"]), (&json!("done"), &json!(0)));
    let left = backend.list("").await;
    assert_eq!((ids(&left).len(), &left["data"][0]["status"]), (1, &json!("active")));
    eventually("the grant has ended", || async { app.hubspot.grants().len() == 1 }).await;
}

/// Every route of connections, with valid and invalid requests, at a process that logs at level trace.
#[tokio::test(flavor = "multi_thread")]
async fn access_tokens_are_returned_by_one_route_and_refresh_tokens_by_no_route() {
    let hubspot = FakeHubSpot::start(Options::default()).await.unwrap();
    let database = TestDatabase::fresh().await;
    let variables = settle(&hubspot, &database, &[("LOG_LEVEL", "trace")]);
    let service = Process::serve(&variables);
    service.connected(&hubspot, ACME).await;
    let id = database.column(sql::ID).await;
    let key = run(&["api-keys", "create", "backend", "--scope", &ALL.replace(' ', ",")], &variables).stdout;
    let backend = Browser::new(&service.base);
    let call = async |method: Method, path: &str, body: &str| {
        let request = backend.request(method, &format!("{LIST}{path}")).bearer_auth(key.trim());
        backend.send(request.header("content-type", "application/json").body(body.to_owned())).await
    };
    let (token, refresh) = (format!("/{id}/token"), format!("/{id}/refresh"));
    let first = call(Method::GET, &token, "").await.json();
    database.update(sql::CONNECTIONS, "obtained_at = obtained_at - 10000").await;
    eventually("it is old enough to be refreshed", || async {
        call(Method::POST, &refresh, "").await.json()["refreshed"] == true
    })
    .await;
    let second = call(Method::GET, &token, "").await.json();
    let secrets: Vec<String> = [&first, &second]
        .map(|lease| lease["access_token"].as_str().unwrap().to_owned())
        .into_iter()
        .chain(hubspot.grants().into_iter().map(|grant| grant.refresh_token))
        .collect();
    assert_eq!(secrets.len(), 3);
    assert_ne!(first["access_token"], second["access_token"]);
    let mut said = Vec::new();
    for (method, path, body) in [
        (Method::GET, String::new(), ""),
        (Method::GET, format!("/{id}"), ""),
        (Method::GET, format!("/{id}/history"), ""),
        (Method::POST, refresh.clone(), ""),
        (Method::GET, token.clone(), ""),
        (Method::GET, format!("{token}?min_ttl=901"), ""),
        (Method::POST, format!("/{id}/uninstall"), ""),
        (Method::POST, format!("/{id}/uninstall"), r#"{"confirm":true}"#),
        (Method::DELETE, format!("/{id}"), ""),
        (Method::GET, token.clone(), ""),
    ] {
        let answer = call(method.clone(), &path, body).await;
        let lends = path == token && answer.status == 200;
        let text = format!("{:?} {}", answer.headers, answer.body);
        for (number, secret) in secrets.iter().enumerate() {
            let shown = lends && number == 1;
            assert_eq!(text.contains(secret.as_str()), shown, "{method} {path}: {text}");
        }
        // A token of HubSpot's may contain these letters; a ciphertext starts with them.
        assert!(!text.contains("\"gAAAA"), "no ciphertext either: {method} {path}: {text}");
        said.push(answer.status);
    }
    assert_eq!(said, [200, 200, 200, 200, 200, 400, 400, 200, 404, 404]);
    let log = service.log();
    assert!(log.contains(&id), "{log}");
    for secret in secrets.iter().map(String::as_str).chain([key.trim()]) {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_require_their_scope_and_malformed_ids_are_not_found() {
    let app = TestApp::start().await;
    app.connected(ACME).await;
    let id = app.database.column_of(ACME, sql::ID).await;
    let (reads, writes) = (app.api_key("connections:read").await, app.api_key("connections:write").await);
    let confirm = Some(json!({"confirm": true}));
    for (key, method, path, body) in [
        (&writes, Method::GET, String::new(), None),
        (&writes, Method::GET, format!("/{id}"), None),
        (&writes, Method::GET, format!("/{id}/history"), None),
        (&writes, Method::GET, format!("/{id}/token"), None),
        (&reads, Method::GET, format!("/{id}/token"), None),
        (&reads, Method::POST, format!("/{id}/refresh"), None),
        (&reads, Method::POST, format!("/{id}/uninstall"), confirm.clone()),
        (&reads, Method::DELETE, format!("/{id}"), None),
    ] {
        let answer = app.api(key, method.clone(), &format!("{LIST}{path}"), body).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (403, Some("api_key_scope_missing")),
            "{method} {path}"
        );
    }
    let backend = Backend::of(&app).await;
    for id in ["00000000-0000-4000-8000-000000000000", "1", "default", &id[..35]] {
        for (method, verb, body) in [
            (Method::GET, "", None),
            (Method::GET, "/history", None),
            (Method::POST, "/refresh", None),
            (Method::POST, "/uninstall", confirm.clone()),
            (Method::DELETE, "", None),
        ] {
            let answer = backend.call(method.clone(), id, verb, body).await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (404, Some("connection_not_found")),
                "{method} {id}{verb}"
            );
        }
    }
    assert_eq!(backend.call(Method::PUT, &id, "", None).await.status, 405);
}
