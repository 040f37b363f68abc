//! Links for an administrator: their pages, the events for the backend, and its list of sessions.

use fake_hubspot::Decision;
use hubspot_connect::domain::secret::Secret;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{ACME, HOST, approve};
use crate::harness::browser::{Answer, problem_of};
use crate::harness::host::{Host, SESSIONS};
use crate::harness::page::{data, text};
use crate::harness::{Browser, sql};

/// Opens the link of a session as an administrator; returns the token of its page.
async fn open(admin: &Browser, session: &Value) -> String {
    let link = text(&session["link"]).split_once('#').unwrap().1.to_owned();
    let opened = admin.post_json("/auth/hubspot/link/open", &json!({"token": link})).await;
    text(&opened.json()["token"])
}

/// Goes on to HubSpot as the administrator, decides there and comes back; returns the last page.
async fn decide(host: &Host, admin: &Browser, token: &str, decision: Decision) -> Answer {
    let fields = [("origin", host.app.base.as_str()), ("connect_session", token)];
    let launch = admin.post_form("/auth/hubspot/start", &fields).await;
    let back = host.app.hubspot.decide(&data(&launch, "authorize-url"), decision).unwrap();
    let done = admin.get(&back).await;
    admin.get(done.location().split('#').next().unwrap()).await
}

/// Opens the link of a session as an administrator and authorizes it for an account.
async fn authorize(host: &Host, session: &Value, account: u64) {
    let admin = host.app.browser();
    let token = open(&admin, session).await;
    decide(host, &admin, &token, approve(account)).await;
}

/// Returns the data of the only event of this type.
async fn event(host: &Host, kind: &str) -> Value {
    assert_eq!(host.app.database.events_of(kind).await, 1, "{kind}");
    host.app.database.event(kind).await["data"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn links_may_name_users_in_any_script() {
    let host = Host::new(&[]).await;
    for name in [
        "می\u{200c}خواهم",
        "ක්\u{200d}රිස්",
        "👩\u{200d}❤\u{fe0f}\u{200d}👩 Anna",
        "김민수",
        "渡邉\u{e0102}",
        "Жанна",
    ] {
        let body = json!({"external_user_id": "u", "hosted": true, "requested_by": name});
        let answer = host.app.api(&host.key, Method::POST, SESSIONS, Some(body)).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_for_another_user_name_the_requester_and_release_nothing() {
    let host = Host::new(&[]).await;
    let body = json!({"external_user_id": "user_42", "hosted": true, "requested_by": "Anna <b>Smith</b>"});
    let session = host.make(body).await;
    assert_eq!(session["token"], Value::Null);
    let link = session["link"].as_str().unwrap();
    let (address, token) = link.split_once('#').unwrap();
    assert_eq!(address, format!("{}/connect", host.app.base));
    let admin = host.app.browser();
    let page = admin.get("/connect").await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains("user_42"), "the page alone reveals nothing");
    let shown = admin.post_json("/auth/hubspot/link", &json!({"token": token})).await.json();
    assert_eq!(shown["requested_by"], "Anna <b>Smith</b>");
    assert_eq!(shown["applications"], json!([HOST]));
    let elsewhere = admin
        .request(Method::POST, "/auth/hubspot/link")
        .header("origin", HOST)
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "application/json")
        .body(json!({"token": token}).to_string());
    assert_eq!(admin.send(elsewhere).await.status, 403);
    // No other page can use it, not even the host's own.
    let foreign = host.page().post(&admin, Some(HOST), &[("connect_session", token)]).await;
    assert_eq!(problem_of(&foreign), "origin_not_allowed");
    let token =
        &text(&admin.post_json("/auth/hubspot/link/open", &json!({"token": token})).await.json()["token"]);
    let own = host.app.base.clone();
    let launch =
        admin.post_form("/auth/hubspot/start", &[("origin", &own), ("connect_session", token)]).await;
    assert_eq!(launch.status, 200, "{}", launch.body);
    let back = host.app.hubspot.decide(&data(&launch, "authorize-url"), approve(ACME)).unwrap();
    let done = admin.get(&back).await.location().to_owned();
    assert!(admin.get(&done).await.body.contains("data-outcome=\"held\""));
    assert_eq!(host.app.database.count(sql::CONNECTIONS).await, 0);
    let late = admin.post_json("/auth/hubspot/link", &json!({"token": token})).await;
    assert_eq!((late.status, problem_of(&late).as_str()), (410, "connect_session_ended"));
    assert_eq!(host.complete(&session, "user_42").await.0, 200);
    assert_eq!(host.owners().await, ["user_42"]);
    assert_eq!(admin.status().await["authenticated"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn used_links_grant_no_access_and_their_page_continues() {
    let host = Host::new(&[]).await;
    let session = host.make(json!({"external_user_id": "user_42", "hosted": true})).await;
    let link = text(&session["link"]).split_once('#').expect("a token").1.to_owned();
    let (admin, reader) = (host.app.browser(), host.app.browser());
    let own = host.app.base.clone();
    let send = async |browser: &Browser, path: &str, token: &str| {
        browser.post_json(path, &json!({"token": token})).await
    };
    let start = async |browser: &Browser, token: &str| {
        browser.post_form("/auth/hubspot/start", &[("origin", &own), ("connect_session", token)]).await
    };
    let ended =
        |answer: &Answer| (answer.status, problem_of(answer)) == (410, "connect_session_ended".to_owned());

    // Mail scanners open links: a GET consumes and starts nothing.
    for _ in 0..3 {
        assert_eq!(send(&reader, "/auth/hubspot/link", &link).await.status, 200);
    }
    let unopened = start(&reader, &link).await;
    assert!(ended(&unopened) && unopened.cookies().is_empty(), "{}", unopened.body);
    let elsewhere = reader
        .request(Method::POST, "/auth/hubspot/link/open")
        .header("origin", HOST)
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "application/json")
        .body(json!({"token": link}).to_string());
    assert_eq!(reader.send(elsewhere).await.status, 403);

    let opened = send(&admin, "/auth/hubspot/link/open", &link).await;

    let token = text(&opened.json()["token"]);
    assert!(opened.status == 200 && token != link, "{}", opened.body);
    for late in [
        send(&reader, "/auth/hubspot/link", &link).await,
        send(&reader, "/auth/hubspot/link/open", &link).await,
        send(&admin, "/auth/hubspot/link/open", &token).await,
        start(&reader, &link).await,
    ] {
        assert!(ended(&late), "{}", late.body);
        assert!(late.body.contains("ask for a new link"), "{}", late.body);
    }
    // In that tab the user may try again.
    assert_eq!(send(&admin, "/auth/hubspot/link", &token).await.status, 200);
    let launch = start(&admin, &token).await;
    let denied = host.app.hubspot.decide(&data(&launch, "authorize-url"), Decision::Deny).expect("back");
    let late = start(&admin, &token).await;
    let late = host.app.hubspot.decide(&data(&late, "authorize-url"), approve(ACME)).expect("back");
    for (back, code, wait) in [(denied, "user_denied", 0), (late, "flow_expired", 601)] {
        host.app.advance(wait);
        let done = admin.get(&back).await;
        let page = admin.get(done.location().split('#').next().unwrap()).await;
        assert!(page.body.contains(&format!("data-code=\"{code}\"")), "{}", page.body);
        assert!(page.body.contains("href=\"/connect\""), "{}", page.body);
    }
    let launch = start(&admin, &token).await;
    let back = host.app.hubspot.decide(&data(&launch, "authorize-url"), approve(ACME)).expect("back");
    admin.get(&back).await;
    assert_eq!(host.complete(&session, "user_42").await.0, 200);
    assert!(ended(&send(&admin, "/auth/hubspot/link", &token).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_return_to_the_application_after_denial_and_consent() {
    let host = Host::new(&[]).await;
    let name = HOST.split_once("://").expect("an origin").1;
    let settings = format!("{HOST}/settings?tab=hubspot&from=link");
    for return_url in [Some(settings.as_str()), None] {
        let body = json!({"external_user_id": "user_42", "hosted": true, "return_url": return_url});
        let (session, admin) = (host.make(body).await, host.app.browser());
        let token = open(&admin, &session).await;
        for (decision, outcome) in [(Decision::Deny, "error"), (approve(ACME), "held")] {
            let page = decide(&host, &admin, &token, decision).await;
            assert_eq!(data(&page, "outcome"), outcome);
            let shown = page.body.replace("&#x2F;", "/").replace("&amp;", "&");
            let button = shown.split_once(&format!("\">Back to {name}</a>")).map(|(before, _)| before);
            assert_eq!(button.and_then(|before| before.rsplit("href=\"").next()), return_url, "{shown}");
            // The page stays open: there is something to read, and another try.
            assert!(!shown.contains("data-return-link"), "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_of_the_default_project_show_the_application_name() {
    let Host { app, key } = Host::new(&[("APP_NAME", "Acme <b>")]).await;
    let other = app.api_key_of(&"other".parse().unwrap(), "sessions:write").await;
    for (key, name) in [(key, json!("Acme <b>")), (other, Value::Null)] {
        let body = json!({"external_user_id": "user_42", "hosted": true});
        let session = app.api(&key, Method::POST, SESSIONS, Some(body)).await.json();
        let token = text(&session["link"]).split_once('#').expect("a token").1.to_owned();
        let shown = app.browser().post_json("/auth/hubspot/link", &json!({"token": token})).await;
        assert_eq!(shown.json()["application"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_opens_of_a_link_succeed_once() {
    let host = Host::new(&[]).await;
    for round in 0..20 {
        let session = host.make(json!({"external_user_id": "user_42", "hosted": true})).await;
        let link = Secret::new(text(&session["link"]).split_once('#').expect("a token").1.to_owned());
        let pages: Vec<_> = (0..8)
            .map(|_| {
                let (services, link) = (host.app.services.clone(), link.clone());
                tokio::spawn(async move {
                    services.connect.sessions.open_link(&link).await.expect("answers").is_some()
                })
            })
            .collect();
        let mut opened = 0;
        for page in pages {
            opened += u32::from(page.await.expect("a page"));
        }
        assert_eq!(opened, 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_links_and_page_tokens_cannot_be_opened() {
    let host = Host::new(&[]).await;
    let browser = host.app.browser();
    let open = async |token: &str| {
        let answer = browser.post_json("/auth/hubspot/link/open", &json!({"token": token})).await;
        (answer.status, problem_of(&answer))
    };
    let ended = (410, "connect_session_ended".to_owned());
    let for_a_page = host.make(json!({"external_user_id": "user_42"})).await;
    assert_eq!(open(&text(&for_a_page["token"])).await, ended);
    assert_eq!(open("nonsense").await, ended);
    let late = host.make(json!({"external_user_id": "user_42", "hosted": true})).await;
    host.app.advance(7 * 24 * 3600);
    assert_eq!(open(text(&late["link"]).split_once('#').expect("a token").1).await, ended);
    assert_eq!(host.app.database.number_in(sql::CONNECT_SESSIONS, "COUNT(opened_at)").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_emit_events_for_confirmation_and_connection() {
    let host = Host::new(&[]).await;
    let session = host.make(json!({"external_user_id": "user_42", "hosted": true})).await;
    authorize(&host, &session, ACME).await;
    let awaiting = event(&host, "connect_session.awaiting_confirmation").await;
    assert_eq!(awaiting["connect_session_id"], session["id"]);
    assert_eq!(
        (&awaiting["external_user_id"], &awaiting["status"]),
        (&json!("user_42"), &json!("awaiting_confirmation"))
    );
    host.complete(&session, "user_42").await;
    let connected = event(&host, "connect_session.connected").await;
    assert_eq!(connected["connection_id"], host.app.database.column(sql::ID).await.as_str());
    assert_eq!((&connected["status"], &connected["reason"]), (&json!("connected"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn links_emit_events_for_failure_and_expiry() {
    let host = Host::new(&[]).await;
    let failing = host.make(json!({"external_user_id": "user_42", "hosted": true})).await;
    authorize(&host, &failing, ACME).await;
    assert_eq!(host.complete(&failing, "user_43").await.0, 403);
    let failed = event(&host, "connect_session.failed").await;
    assert_eq!(failed["connect_session_id"], failing["id"]);
    assert_eq!(failed["reason"], "external_user_mismatch");

    let unused = host.make(json!({"external_user_id": "user_42", "hosted": true, "expires_in": 60})).await;
    host.app.advance(60 + 599);
    host.app.services.maintenance.sweep().await.unwrap();
    assert_eq!(host.app.database.events_of("connect_session.expired").await, 0, "a flow may still finish");
    host.app.advance(1);
    for _ in 0..2 {
        host.app.services.maintenance.sweep().await.unwrap();
    }
    assert_eq!(event(&host, "connect_session.expired").await["connect_session_id"], unused["id"]);
    assert_eq!(host.session(&unused).await["status"], "expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_without_a_link_emit_no_session_events() {
    let host = Host::new(&[]).await;
    let session = host.make(json!({"external_user_id": "user_42"})).await;
    host.approve(&session, &host.page(), &host.app.browser(), approve(ACME)).await;
    host.make(json!({"external_user_id": "user_42", "expires_in": 60})).await;
    host.app.advance(3600);
    host.app.services.maintenance.sweep().await.unwrap();
    assert_eq!(host.app.database.count_where(sql::EVENTS, "type LIKE 'connect_session.%'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_newest_first_by_user_and_by_status() {
    let host = Host::new(&[]).await;
    let mut made = Vec::new();
    for user in ["user_1", "user_2", "user_1"] {
        made.push(host.make(json!({"external_user_id": user, "expires_in": 60})).await["id"].clone());
        host.app.advance(1);
    }
    let list = async |query: &str| {
        let pages = host.app.pages(&host.key, &format!("{SESSIONS}?limit=1{query}")).await;
        pages.concat().iter().map(|session| session["id"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(list("").await, [made[2].clone(), made[1].clone(), made[0].clone()]);
    assert_eq!(list("&external_user_id=user_1").await, [made[2].clone(), made[0].clone()]);
    host.app.advance(57);
    assert_eq!(list("&status=expired").await, [made[0].clone()]);
    assert_eq!(list("&status=open").await, [made[2].clone(), made[1].clone()]);
    let path = format!("{SESSIONS}?status=nothing");
    let refused = host.app.api(&host.key, Method::GET, &path, None).await;
    assert_eq!((refused.status, problem_of(&refused).as_str()), (400, "bad_request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_late_confirmed_links_name_the_account_at_once() {
    let host = Host::new(&[("WEBHOOK_ALLOWED_HOSTS", "127.0.0.1:1")]).await;
    host.app.webhook("http://127.0.0.1:1/hooks", "connection.created").await;
    let session = host.make(json!({"external_user_id": "user_42", "hosted": true})).await;
    authorize(&host, &session, ACME).await;
    host.app.advance(3600);
    assert_eq!(host.complete(&session, "user_42").await.0, 200);
    assert_eq!(event(&host, "connection.created").await["hub_domain"], "acme.example");
    assert_eq!(host.app.database.number_in(sql::DELIVERIES, "run_at - queued_at").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_kept_for_a_week_after_their_end() {
    let host = Host::new(&[]).await;
    let session = host.make(json!({"external_user_id": "user_42", "confirm": "backend"})).await;
    host.approve(&session, &host.page(), &host.app.browser(), approve(ACME)).await;
    host.app.advance(7 * 24 * 3600);
    for _ in 0..2 {
        host.app.services.maintenance.sweep().await.unwrap();
    }
    assert_eq!(host.session(&session).await["error_code"], "not_confirmed");
    host.app.advance(7 * 24 * 3600);
    host.app.services.maintenance.sweep().await.unwrap();
    assert_eq!(host.session(&session).await["code"], "connect_session_not_found");
}
