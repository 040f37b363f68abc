//! The proxy: a backend calls HubSpot's API with a connection's token, which it never sees, and reaches nothing else.

use fake_hubspot::{Fault, Kind, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::app::{ACME, INITECH, LONG_SESSIONS};
use crate::harness::browser::{Answer, problem_of};
use crate::harness::wire::{Upstream, Wire, values};
use crate::harness::{Browser, TestApp, sql};

pub const CONTACTS: &str = "/crm/v3/objects/contacts";

/// Returns the proxy path of a connection.
pub fn proxy_of(connection: &str) -> String {
    format!("/api/hubspot/connections/{connection}/proxy")
}
pub const SCOPES: (&str, &str) =
    ("HUBSPOT_SCOPES", "oauth crm.objects.contacts.read crm.objects.contacts.write");

/// A backend with a key for the proxy and the connection of one account.
pub struct Backend {
    pub app: TestApp,
    pub key: String,
    pub connection: String,
    client: Browser,
}

impl Backend {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(variables: &[(&str, &str)]) -> Self {
        let variables: Vec<_> = [SCOPES].iter().chain(LONG_SESSIONS).chain(variables).copied().collect();
        Self::of(TestApp::with(&variables).await).await
    }

    /// Creates a backend of a running service.
    pub async fn of(app: TestApp) -> Self {
        app.connected(ACME).await;
        let connection = app.database.column(sql::ID).await;
        let key = app.api_key("proxy").await;
        let client = app.browser();
        Self { app, key, connection, client }
    }

    /// Creates a backend with HubSpot's API played by the test.
    pub async fn before(upstream: &Upstream) -> Self {
        Self::start().await.with_hubspot_at(&upstream.url).await
    }

    pub async fn with_hubspot_at(self, url: &str) -> Self {
        Self { app: self.app.restarted(&[("HUBSPOT_API_URL", url)]).await, ..self }
    }

    pub async fn call(&self, method: Method, path: &str, body: Value) -> Answer {
        self.call_for(&self.connection, method, path, body).await
    }

    pub async fn call_for(&self, connection: &str, method: Method, path: &str, body: Value) -> Answer {
        let url = format!("{}{path}", proxy_of(connection));
        let mut request = self.client.request(method, &url).bearer_auth(&self.key);
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.client.send(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, Value::Null).await
    }

    /// Returns the path before HubSpot's own paths.
    pub fn proxy(&self) -> String {
        proxy_of(&self.connection)
    }

    /// Returns the head of a call, for a client that sends raw bytes.
    pub fn head(&self, line: &str, more: &str) -> String {
        let host = self.app.base.trim_start_matches("http://");
        let key = &self.key;
        format!("{line} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n{more}\r\n")
    }

    pub async fn wire(&self) -> Wire {
        Wire::to(&self.app.base).await
    }
}

pub fn contact(number: u32) -> Value {
    json!({ "properties": { "email": format!("p{number}@acme.example") } })
}

fn is_hubspots(answer: &Answer) -> bool {
    answer.header("hubspot-connect-origin") == "hubspot"
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_work_with_contacts_without_a_token() {
    let backend = Backend::start().await;
    let made = backend.call(Method::POST, CONTACTS, contact(1)).await;
    assert_eq!((made.status, is_hubspots(&made)), (201, true), "{}", made.body);
    assert_eq!(made.header("x-hubspot-ratelimit-max"), "110");
    assert_eq!(made.header("content-type"), "application/json;charset=utf-8");
    let path = format!("{CONTACTS}/{}", made.json()["id"].as_str().unwrap());
    let changes = json!({ "properties": { "lastname": "Lovelace" } });
    assert_eq!(backend.call(Method::PATCH, &path, changes).await.status, 200);
    let read = backend.get(&format!("{path}?properties=lastname,email")).await;
    assert_eq!(read.json()["properties"]["lastname"], "Lovelace");
    let found = backend.call(Method::POST, &format!("{CONTACTS}/search"), json!({ "query": "p1@" })).await;
    assert_eq!(found.json()["total"], 1);
    let gone = backend.call(Method::DELETE, &path, Value::Null).await;
    assert_eq!((gone.status, gone.body.as_str(), is_hubspots(&gone)), (204, "", true));
    let token = backend.app.hubspot.calls(Kind::Crm)[0].authorization.clone().unwrap();
    let token = token.strip_prefix("Bearer ").unwrap();
    for answer in [&made, &read, &found, &gone] {
        assert!(!answer.body.contains(token) && !format!("{:?}", answer.headers).contains(token));
        assert!(!answer.body.contains(&backend.key));
    }
    let contacts = backend.get(CONTACTS).await;
    let metrics = backend.app.browser().get(&format!("{}/metrics", backend.app.admin)).await.body;
    assert_eq!(contacts.status, 200);
    assert!(
        metrics.contains(r#"hubspot_connect_proxied_total{origin="hubspot",status="2xx"} 6"#),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hubspot_errors_are_returned_unchanged_with_own_security_headers() {
    let backend = Backend::start().await;
    let missing = backend.get(&format!("{CONTACTS}/404")).await;
    assert_eq!((missing.status, is_hubspots(&missing)), (404, true));
    assert_eq!(missing.json()["category"], "OBJECT_NOT_FOUND");
    assert_eq!(missing.header("x-content-type-options"), "nosniff");
    assert!(missing.header("content-security-policy").starts_with("default-src 'none'"));
    assert_eq!(missing.header("cache-control"), "no-store");
    for status in [302, 400, 418, 477, 500, 503] {
        let headers = [("retry-after", "7"), ("location", "https://elsewhere.example/"), ("x-trace", "t")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let body = format!("<p>{status}</p>");
        backend
            .app
            .hubspot
            .script(Rule::once(Kind::Crm, Fault::Status { status, headers, body: body.clone() }));
        let answer = backend.get(CONTACTS).await;
        assert_eq!((answer.status, &answer.body, is_hubspots(&answer)), (status, &body, true));
        assert_eq!((answer.header("retry-after"), answer.header("x-trace")), ("7", "t"));
    }
    let head = backend.call(Method::HEAD, CONTACTS, Value::Null).await;
    assert_eq!((head.status, head.body.as_str(), is_hubspots(&head)), (200, "", true));
    assert!(head.header("content-length").parse::<u32>().unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_proxy_key_and_a_connection_hubspot_is_not_called() {
    let backend = Backend::start().await;
    let app = &backend.app;
    let ask = |key: Option<&str>, connection: &str| {
        let browser = app.browser();
        let mut request = browser.request(Method::GET, &format!("{}{CONTACTS}", proxy_of(connection)));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        async move { problem_of(&browser.send(request).await) }
    };
    let (key, connection) = (Some(backend.key.as_str()), backend.connection.as_str());
    assert_eq!(ask(None, connection).await, "api_key_missing");
    assert_eq!(ask(Some("hsc_key_no"), connection).await, "api_key_invalid");
    let other = app.api_key("tokens:read connections:read connections:write sessions:write webhooks").await;
    assert_eq!(ask(Some(&other), connection).await, "api_key_scope_missing");
    assert_eq!(ask(key, "").await, "not_found");
    for unknown in ["nonsense", "a%2Fb", "00000000-0000-4000-8000-000000000000"] {
        assert_eq!(ask(key, unknown).await, "connection_not_found", "{unknown}");
    }
    let url = format!("{}{CONTACTS}", backend.proxy());
    let session = app.connected(INITECH).await;
    let by_cookie = session.get(&url).await;
    assert_eq!(by_cookie.json()["code"], "api_key_missing", "a session opens nothing here");
    assert_eq!(app.hubspot.calls(Kind::Crm).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_reach_only_their_own_account() {
    let backend = Backend::start().await;
    backend.app.connected(INITECH).await;
    let other = backend.app.database.column_of(INITECH, sql::ID).await;
    backend.call(Method::POST, CONTACTS, contact(1)).await;
    let theirs = backend.call_for(&other, Method::GET, CONTACTS, Value::Null).await;
    assert_eq!((theirs.status, &theirs.json()["results"]), (200, &json!([])));
    let accounts: Vec<_> = backend.app.hubspot.calls(Kind::Crm).iter().map(|call| call.hub_id).collect();
    assert_eq!(accounts, [Some(ACME), Some(INITECH)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_stay_in_the_hubspot_api_and_outside_its_oauth_endpoints() {
    let backend = Backend::start().await;
    let evil = Upstream::start().await;
    let there = evil.url.trim_start_matches("http://");
    backend.app.hubspot.clear_journal();
    let proxy = backend.proxy();
    let targets = [
        format!("{proxy}//{there}/x"),
        format!("{proxy}/http://{there}/x"),
        format!("{proxy}/http:%2f%2f{there}/x"),
        format!("{proxy}/%2f%2f{there}/x"),
        format!("{proxy}/%5c%5c{there}/x"),
        format!("{proxy}/\\\\{there}/x"),
        format!("{proxy}/crm/../../{there}/x"),
        format!("{proxy}/crm/%2e%2e/oauth/v1/token"),
        format!("{proxy}/crm/..%2foauth/v1/token"),
        format!("{proxy}/crm/.%2e;x=1/y"),
        format!("{proxy}/crm/%252e%252e/oauth/v1/token"),
        format!("{proxy}/crm/%00"),
        format!("{proxy}/crm/%0d%0ahost:%20{there}"),
        format!("{proxy}/oauth/2026-09/token"),
        format!("{proxy}/oauth/v1/access-tokens/x"),
        format!("{proxy}/OAUTH/v3/token/introspect"),
        format!("{proxy}/%6f%61uth/2026-03/token/revoke"),
        format!("{proxy}/oauth%2fv3%2ftoken"),
        format!("{proxy}/oauth;v=1/v3/token"),
        format!("{proxy}/v3/oauth/token"),
        format!("{proxy}/v1.0/oauth/token"),
        format!("{proxy}/v1.0//OAuth%2e/token"),
        format!("{proxy}/oauth%3fx/v3/token"),
        format!("{proxy}/public/oauth/v3/token"),
        format!("{proxy}/./oauth/v3/token"),
        // The same as one parameter, as generated clients send a path.
        format!("{proxy}/%2F%2F{there}%2Fx"),
        format!("{proxy}/http%3A%2F%2F{there}%2Fx"),
        format!("{proxy}/crm%2F..%2F..%2F{there}%2Fx"),
        format!("{proxy}/crm%2F%2e%2e%2Foauth%2Fv1%2Ftoken"),
        format!("{proxy}/crm%252F..%252Foauth%252Fv1%252Ftoken"),
        format!("{proxy}/oauth%2F2026-09%2Ftoken"),
        format!("{proxy}/%256Fauth%2Fv1%2Ftoken"),
        format!("{proxy}/crm%2Fx%3Fa%0d%0ahost:%20{there}"),
        proxy.clone(),
        format!("{}{CONTACTS}", proxy.replace("proxy", "%70roxy")),
        format!("{}{CONTACTS}", proxy.replace("/proxy", "%2Fproxy")),
        format!("{}{proxy}{CONTACTS}", backend.app.base),
        format!("{}{proxy}{CONTACTS}", evil.url),
    ];
    for target in targets {
        let mut wire = backend.wire().await;
        wire.say(backend.head(&format!("GET {target}"), "connection: close\r\n")).await;
        let answer = wire.rest().await;
        let status = if target.contains("%2Fproxy") { "404" } else { "400" };
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
        assert!(!answer.contains("hubspot-connect-origin"), "{target}: {answer}");
    }
    assert_eq!((evil.count(), backend.app.hubspot.journal().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_clients_may_send_the_path_as_one_parameter() {
    let backend = Backend::start().await;
    let made = backend.call(Method::POST, "/crm%2Fv3%2Fobjects%2Fcontacts", contact(1)).await;
    assert_eq!((made.status, is_hubspots(&made)), (201, true), "{}", made.body);
    let id = made.json()["id"].as_str().expect("an id").to_owned();
    let read = backend.get(&format!("/crm%2fv3%2fobjects%2fcontacts%2f{id}?properties=email")).await;
    assert_eq!((read.status, &read.json()["id"]), (200, &made.json()["id"]));
    backend.get("/cms%2Fv3%2Fsource-code%2Ftheme%252Fmain.css").await;
    let paths: Vec<_> =
        backend.app.hubspot.journal().into_iter().rev().take(3).map(|call| call.path).collect();
    let read = format!("{CONTACTS}/{id}");
    assert_eq!(paths, ["/cms/v3/source-code/theme%2Fmain.css", &read, CONTACTS]);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_cannot_name_another_server() {
    let backend = Backend::start().await;
    let proxy = backend.proxy();
    let evil = Upstream::start().await;
    let there = evil.url.trim_start_matches("http://").to_owned();
    backend.app.hubspot.clear_journal();
    let here = backend.app.hubspot.base_url().trim_start_matches("http://").to_owned();
    for more in [
        format!("x-forwarded-host: {there}\r\nx-forwarded-port: 1\r\nforwarded: host={there}\r\n"),
        format!("x-original-url: http://{there}/\r\nx-rewrite-url: /oauth/v3/token\r\nx-host: {there}\r\n"),
        format!("proxy-connection: keep-alive\r\nproxy-authorization: Basic eDp5\r\nvia: 1.1 {there}\r\n"),
    ] {
        let mut wire = backend.wire().await;
        let line = format!("GET {proxy}/@{there}/x?url=http://{there}/&host={there}#{there}");
        wire.say(backend.head(line.split('#').next().unwrap(), &format!("{more}connection: close\r\n")))
            .await;
        let answer = wire.rest().await;
        assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("hubspot-connect-origin"), "{answer}");
    }
    let calls = backend.app.hubspot.journal();
    assert_eq!((calls.len(), evil.count()), (3, 0));
    assert!(calls.iter().all(|call| call.host.as_deref() == Some(&here)), "{calls:?}");
    // Under another Host the service refuses the call.
    let mut wire = backend.wire().await;
    let head = backend.head(&format!("GET {proxy}{CONTACTS}"), "connection: close\r\n");
    let own = backend.app.base.trim_start_matches("http://");
    wire.say(head.replace(&format!("host: {own}"), &format!("host: {there}"))).await;
    assert!(wire.rest().await.starts_with("HTTP/1.1 421 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_headers_and_credentials_are_removed_in_both_directions() {
    let mut upstream = Upstream::start().await;
    let backend = Backend::before(&upstream).await;
    let proxy = backend.proxy();
    let mut wire = backend.wire().await;
    let more = "connection: close, x-own\r\nx-own: 1\r\nkeep-alive: timeout=5\r\nte: trailers\r\ntrailer: x-end\r\n\
                upgrade: websocket\r\nproxy-authorization: Basic eDp5\r\ncookie: hsc_session=stolen\r\n\
                x-forwarded-for: 10.0.0.1\r\nx-forwarded-proto: https\r\nforwarded: for=10.0.0.1\r\nx-real-ip: 10.0.0.1\r\n\
                x-forwarded-host: evil.example\r\nx-original-url: /admin\r\nrange: bytes=0-9\r\ncontent-type: text/csv\r\n\
                x-http-method-override: DELETE\r\nx-http-method: DELETE\r\nfastly-client-ip: 10.0.0.1\r\n\
                x-unknown: 1\r\nuser-agent: backend/1\r\naccept: application/json\r\n\
                accept-encoding: gzip\r\nif-none-match: \"e\"\r\nx-hubspot-thing: yes\r\n";
    wire.say(backend.head(&format!("GET {proxy}{CONTACTS}?a=b%20c&d='e'&&x=%2F..%2f+"), more)).await;
    let mut call = upstream.next().await;
    let asked = call.head().await;
    // The one byte that is written differently is the apostrophe, whose escape is equivalent.
    assert!(
        asked.starts_with("GET /crm/v3/objects/contacts?a=b%20c&d=%27e%27&&x=%2F..%2f+ HTTP/1.1\r\n"),
        "{asked}"
    );
    for (name, value) in [
        ("user-agent", "backend/1"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip"),
        ("if-none-match", "\"e\""),
        ("x-hubspot-thing", "yes"),
        ("range", "bytes=0-9"),
        ("content-type", "text/csv"),
        ("host", upstream.url.trim_start_matches("http://")),
    ] {
        assert_eq!(values(&asked, name), [value], "{asked}");
    }
    let authorization = values(&asked, "authorization");
    assert!(authorization.len() == 1 && authorization[0].starts_with("Bearer C"), "{asked}");
    let lower = asked.to_lowercase();
    for name in [
        "x-own",
        "keep-alive",
        "te:",
        "trailer",
        "upgrade",
        "proxy-",
        "cookie",
        "x-forwarded",
        "forwarded",
        "x-real-ip",
        "hubspot-connect-",
        "x-http-method",
        "x-original-url",
        "client-ip",
        "x-unknown",
        "stolen",
        "10.0.0.1",
        &backend.key,
        "connection:",
    ] {
        assert!(!lower.contains(name), "{name} in {asked}");
    }
    call.say(
        "HTTP/1.1 200 OK\r\nconnection: x-theirs, close\r\nx-theirs: 1\r\nkeep-alive: timeout=9\r\nproxy-authenticate: Basic\r\n\
         transfer-encoding: chunked\r\ntrailer: x-end\r\nset-cookie: __cf_bm=1\r\naccess-control-allow-origin: *\r\n\
         strict-transport-security: max-age=1\r\nalt-svc: h3=\":443\"\r\ncontent-security-policy: default-src *\r\n\
         x-frame-options: ALLOWALL\r\ncache-control: public, max-age=99\r\nx-request-id: theirs-1234\r\n\
         x-hubspot-ratelimit-remaining: 7\r\nx-hubspot-correlation-id: c-1\r\ncontent-type: text/csv\r\n\
         content-encoding: gzip\r\ncontent-disposition: attachment\r\netag: \"f\"\r\ncf-ray: r\r\n\
         last-modified: Thu, 26 Nov 2026 09:00:00 GMT\r\nlink: <https://x.example>; rel=next\r\n\
         x-accel-redirect: /internal\r\nx-accel-expires: 99\r\nx-sendfile: /etc/passwd\r\nx-unknown: 1\r\n\
         cdn-cache-control: max-age=99\r\nsurrogate-control: max-age=99\r\nx-accel-buffering: yes\r\n\
         x-reproxy-url: /internal\r\ncloudflare-cdn-cache-control: max-age=99\r\nhubspot-connect-origin: theirs\r\n\
         retry-after: 7\r\nlocation: /elsewhere\r\nx-trace: t\r\nvary: accept\r\n\r\n\
         2\r\nok\r\n0\r\nx-end: 1\r\n\r\n",
    )
    .await;
    // A caller that offers another protocol gets no chunks, but a response that ends with the connection.
    let answer = wire.rest().await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK") && body == "ok", "{answer}");
    for (name, value) in [
        ("x-hubspot-ratelimit-remaining", "7"),
        ("x-hubspot-correlation-id", "c-1"),
        ("content-type", "text/csv"),
        ("content-encoding", "gzip"),
        ("content-disposition", "attachment"),
        ("etag", "\"f\""),
        ("cf-ray", "r"),
        ("last-modified", "Thu, 26 Nov 2026 09:00:00 GMT"),
        ("link", "<https://x.example>; rel=next"),
        ("retry-after", "7"),
        ("location", "/elsewhere"),
        ("x-trace", "t"),
        ("vary", "accept"),
        ("hubspot-connect-origin", "hubspot"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(values(head, name), [value], "{head}");
    }
    for name in [
        "transfer-encoding",
        "x-theirs",
        "keep-alive",
        "proxy-authenticate",
        "trailer",
        "set-cookie",
        "access-control-allow-origin",
        "alt-svc",
        "strict-transport-security",
        "x-accel-redirect",
        "x-accel-expires",
        "x-accel-buffering",
        "x-reproxy-url",
        "x-sendfile",
        "cloudflare-cdn-cache-control",
        "cdn-cache-control",
        "surrogate-control",
        "x-unknown",
    ] {
        assert_eq!(values(head, name), [""; 0], "{head}");
    }
    assert!(!answer.contains("x-end") && !answer.contains("theirs-1234"), "{answer}");
    assert!(values(head, "content-security-policy")[0].starts_with("default-src 'none'"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_methods_but_connect_and_trace_are_forwarded() {
    let mut upstream = Upstream::start().await;
    let backend = Backend::before(&upstream).await;
    let proxy = backend.proxy();
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "POST", "QUERY"] {
        let mut wire = backend.wire().await;
        wire.say(backend.head(&format!("{method} {proxy}{CONTACTS}"), "connection: close\r\n")).await;
        let mut call = upstream.next().await;
        assert!(call.head().await.starts_with(&format!("{method} {CONTACTS} ")));
        call.say("HTTP/1.1 304 Not Modified\r\nconnection: close\r\netag: \"e\"\r\n\r\n").await;
        let answer = wire.rest().await;
        assert!(answer.starts_with("HTTP/1.1 304 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    }
    let seen = upstream.count();
    for method in ["TRACE", "trace", "TrAcE", "connect", "TRACK"] {
        let mut wire = backend.wire().await;
        wire.say(backend.head(&format!("{method} {proxy}{CONTACTS}"), "connection: close\r\n")).await;
        let refused = wire.rest().await;
        let (head, _) = refused.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 405 "), "{method}: {head}");
        assert_eq!(values(head, "allow"), ["DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"]);
    }
    assert_eq!(upstream.count(), seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_responses_have_a_distinct_error_per_cause() {
    let backend = Backend::start().await;
    let app = &backend.app;
    app.hubspot.script(Rule::times(Kind::Crm, 2, Fault::CloseBeforeAnswer));
    let down = backend.call(Method::POST, CONTACTS, contact(1)).await;
    assert_eq!(
        (down.status, problem_of(&down).as_str(), is_hubspots(&down)),
        (502, "provider_unreachable", false)
    );
    app.hubspot.clear_script();
    app.hubspot.script(Rule::always(Kind::Refresh, Fault::CloseBeforeAnswer));
    app.advance(1801);
    let unavailable = backend.get(CONTACTS).await;
    assert_eq!((unavailable.status, problem_of(&unavailable).as_str()), (503, "token_unavailable"));
    assert!((1..=10).contains(&unavailable.header("retry-after").parse::<u32>().unwrap()));
    app.hubspot.clear_script();
    app.hubspot.uninstall(ACME);
    for _ in 0..3 {
        app.advance(120);
        backend.get(CONTACTS).await;
    }
    let ended = backend.get(CONTACTS).await;
    assert_eq!((ended.status, problem_of(&ended).as_str()), (409, "needs_reauth"));
    let nobody = free_upstream().await;
    let backend = Backend::start().await.with_hubspot_at(&nobody).await;
    let down = backend.get(CONTACTS).await;
    assert_eq!((down.status, problem_of(&down).as_str()), (502, "provider_unreachable"));
}

/// Returns the address of a stopped server.
async fn free_upstream() -> String {
    Upstream::start().await.url.clone()
}
