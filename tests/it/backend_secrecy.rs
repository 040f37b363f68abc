//! The secrets of a host's backend stay between it and the service: its key, the secrets of its webhooks, the tokens of
//! its connect sessions, and the access tokens it gets are in no log even at level trace, and nowhere stored in
//! plaintext.

use fake_hubspot::{FakeHubSpot, Fault, Kind, Options, Rule};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::harness::app::{ACME, GLOBEX, HOST, approve, secret_of};
use crate::harness::browser::Answer;
use crate::harness::database::TestDatabase;
use crate::harness::page::{Page, data};
use crate::harness::process::{Process, run};
use crate::harness::watch::Watch;
use crate::harness::{Browser, Manner, Receiver, eventually, sql};
use crate::secrecy::{EVERYTHING, said_by, talkative};

const SCOPES: &str = "tokens:read,connections:read,connections:write,sessions:write,proxy,webhooks";

/// A host's backend of a service in a separate process.
struct Backend<'a> {
    service: &'a Process,
    hubspot: &'a FakeHubSpot,
    browser: Browser,
    key: String,
}

impl Backend<'_> {
    fn request(&self, method: Method, path: &str, body: Option<&Value>) -> RequestBuilder {
        let request = self.browser.request(method, &format!("/api/hubspot/{path}")).bearer_auth(&self.key);
        match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.browser.send(self.request(method, path, body.as_ref())).await
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.call(Method::POST, path, Some(body)).await;
        assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.body);
        answer.json()
    }

    /// Creates a webhook, changes its secret and triggers a delivery; the second time the responses are the stored
    /// ones.
    async fn webhooks(&self, receiver: &Receiver, watch: &mut Watch) {
        let body = json!({"url": receiver.url("/hooks")});
        let mut id = String::new();
        for _ in 0..2 {
            let request = self.request(Method::POST, "webhooks", Some(&body));
            let made = self.browser.send(request.header("idempotency-key", "the first webhook")).await;
            assert_eq!(made.status, 201, "{}", made.body);
            id = text(&made.json()["id"]);
            watch_signing(watch, &made.json());
        }
        receiver.next([Manner::Status(500)]);
        for path in ["test", "rotate-secret", "test"] {
            let answer = self.post(&format!("webhooks/{id}/{path}"), json!({})).await;
            if answer["secret"].is_string() {
                watch_signing(watch, &answer);
            }
        }
        let bad = json!({"url": receiver.url("/"), "secret": CANARY});
        assert_eq!(self.call(Method::POST, "webhooks", Some(bad)).await.status, 400);
    }

    /// Connects a user of the host's through a page, and sends another one a link.
    async fn sessions(&self, watch: &mut Watch) -> String {
        let session = self.post("connect-sessions", json!({"external_user_id": "user_42"})).await;
        let token = text(&session["token"]);
        watch.secret(&token);
        let (page, popup) = (Page::new(&self.browser.base, HOST), Browser::new(&self.browser.base));
        for secret in [&page.verifier, &page.opener_key] {
            watch.secret(secret);
        }
        let launch = page.post(&popup, Some(HOST), &[("connect_session", &token)]).await;
        let back = self.hubspot.decide(&data(&launch, "authorize-url"), approve(ACME)).expect("back");
        let done = popup.get(&back).await;
        watch.cookies_of(&popup);
        assert!(!launch.body.contains(&token), "{}", launch.body);
        watch.text("the last page", &popup.get(done.location()).await.body);
        let again = page.post(&popup, Some(HOST), &[("connect_session", &token)]).await;
        watch.text("a session that has ended", &again.body);
        let body = json!({"external_user_id": "user_43", "hosted": true, "requested_by": "Ada"});
        let link = text(&self.post("connect-sessions", body).await["link"]);
        let token = link.split('#').nth(1).expect("a token").to_owned();
        let shown = popup.post_json("/auth/hubspot/link", &json!({"token": token})).await;
        assert_eq!(shown.status, 200, "{}", shown.body);
        watch.text("what a link shows", &shown.body);
        watch.secret(&token);
        let opened = popup.post_json("/auth/hubspot/link/open", &json!({"token": token})).await;
        watch.secret(&text(&opened.json()["token"]));
        let id = text(&session["id"]);
        text(&self.call(Method::GET, &format!("connect-sessions/{id}"), None).await.json()["connection_id"])
    }

    /// Gets a token, has it refreshed, works with it through the proxy, and fails at each.
    async fn tokens(&self, connection: &str, database: &TestDatabase, watch: &mut Watch) {
        for round in 0..2 {
            let lease = self.call(Method::GET, &format!("connections/{connection}/token"), None).await;
            assert_eq!(lease.status, 200, "{}", lease.body);
            watch.secret(&text(&lease.json()["access_token"]));
            if round == 0 {
                database.make_refreshes_due().await;
                eventually("the refresh", || async { database.connections(sql::REFRESHED).await == 1 }).await;
            }
        }
        self.post(&format!("connections/{connection}/refresh"), json!({})).await;
        let no = Fault::Status { status: 500, headers: Vec::new(), body: CANARY.to_owned() };
        self.hubspot.script(Rule::once(Kind::Crm, no));
        for path in ["crm/v3/objects/contacts", "oauth/v1/access-tokens/x", "nowhere"] {
            self.call(Method::GET, &format!("connections/{connection}/proxy/{path}"), None).await;
        }
        for path in ["", "/history"] {
            let shown = self.call(Method::GET, &format!("connections/{connection}{path}"), None).await;
            watch.text("a connection", &shown.body);
        }
    }

    /// Sends the key to the wrong places.
    async fn mistakes(&self, watch: &mut Watch) {
        let (key, browser) = (&self.key, &self.browser);
        for line in
            [format!("Basic {key}"), key.clone(), format!("Bearer {key} {key}"), format!("Bearer {CANARY}")]
        {
            let answer = browser.navigate("/api/hubspot/api-key", &[("authorization", &line)]).await;
            assert_eq!(answer.status, 401, "{line}");
            watch.text("an invalid key", &answer.body);
        }
        for path in ["/api/hubspot/connections", "/nowhere", "/api/hubspot/connections/id/proxy/crm/v3"] {
            let answer = browser.get(&format!("{path}?access_token={key}&api_key={key}")).await;
            watch.text("a key in an address", &answer.body);
        }
        for body in [format!("{{\"external_user_id\": \"{CANARY}\", "), format!("\"{CANARY}\"")] {
            let request = self.request(Method::POST, "connect-sessions", None);
            let request = request.header("content-type", "application/json").body(body);
            assert_eq!(browser.send(request).await.status, 400);
        }
    }
}

/// Events that the log must contain, as proof that it was captured.
const HAPPENED: [&str; 6] = [
    "webhook endpoint secret rotated",
    "webhook delivered",
    "refreshed",
    "authorization started",
    "\"level\":\"TRACE\"",
    "\"target\":\"hyper",
];
const CANARY: &str = "canary0-canary0-canary0-canary0";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Watches the secret part of a webhook's secret.
fn watch_signing(watch: &mut Watch, made: &Value) {
    let secret = text(&made["secret"]);
    watch.secret(secret.strip_prefix("whsec_").expect("a secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn backend_secrets_are_not_logged_or_stored_in_plaintext() {
    let options = Options { rotate_refresh_tokens: true, ..Options::default() };
    let hubspot = FakeHubSpot::start(options).await.expect("a fake HubSpot");
    let (database, receiver) = (TestDatabase::migrated().await, Receiver::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let more = [EVERYTHING, ("WEBHOOK_ALLOWED_HOSTS", &receiver.host()), ("HUBSPOT_PKCE", "s256")];
    let variables = talkative(&hubspot, &database, folder.path(), &more);
    let service = Process::serve(&variables);
    let made = run(&["api-keys", "create", "backend", "--scope", SCOPES], &variables);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let key = made.stdout.trim().to_owned();
    let browser = Browser::new(&service.base);
    let backend = Backend { service: &service, hubspot: &hubspot, browser, key };
    let mut watch = Watch::default();
    watch.settings_of(&variables);
    watch.secret(secret_of(&backend.key));
    watch.secret(CANARY);

    backend.webhooks(&receiver, &mut watch).await;
    let connection = backend.sessions(&mut watch).await;
    backend.tokens(&connection, &database, &mut watch).await;
    backend.mistakes(&mut watch).await;
    eventually("the webhooks", || async {
        receiver.heard().iter().any(|one| one.kind() == "connection.created")
    })
    .await;
    service.connected(&hubspot, GLOBEX).await;
    for heard in receiver.heard() {
        watch.text("a webhook", &format!("{} {}", heard.path, heard.body));
    }
    let figures = backend.browser.get(&format!("{}/metrics", backend.service.admin)).await;
    watch.text("the figures", &figures.body);
    watch.calls_of(&hubspot);
    watch.text("what is stored", &String::from_utf8_lossy(&database.dump().await));

    let said = said_by(service, folder.path());

    let stored = String::from_utf8_lossy(&database.dump().await).into_owned();
    assert!(stored.contains("user_42") && stored.contains("/hooks"), "the dump shows what is stored");
    watch.text("what is stored after the end", &stored);
    for happened in HAPPENED {
        assert!(said.contains(happened), "the log lacks: {happened}");
    }
    watch.text("what the process said", &said);
    watch.text("what the command said beside the key", &made.stderr);
    watch.assert_kept();
}
