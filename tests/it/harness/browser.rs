//! A browser without a window: cookies, redirects by hand, the headers that browsers send.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use fake_hubspot::Decision;
use reqwest::{Client, Method, RequestBuilder, redirect};
use serde_json::{Value, json};
use test_support::{Cookies, quoted_after};

use super::TestApp;

/// A complete response.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("readable"))
    }

    pub fn location(&self) -> &str {
        self.header("location")
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.body))
    }

    pub fn cookies(&self) -> Vec<String> {
        let lines = self.headers.get_all("set-cookie").iter();
        lines.map(|line| line.to_str().expect("readable").to_owned()).collect()
    }
}

/// Longer than any page waits: a request without a response should be named, not the test that hangs.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// A browser with its own cookies.
pub struct Browser {
    pub base: String,
    client: Client,
    pub cookies: Mutex<Cookies>,
}

impl Browser {
    pub fn new(base: &str) -> Self {
        Self::at(base, None)
    }

    /// Creates one that connects from this address.
    pub fn at(base: &str, address: Option<IpAddr>) -> Self {
        // The service installs it too, but not in a test that runs the binary.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // No request here uses TLS, and reading the system's certificates takes longer than most requests.
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().tls_certs_only([]);
        let client = client.timeout(REQUEST_TIMEOUT).local_address(address).build().expect("a client");
        Self { base: base.to_owned(), client, cookies: Mutex::default() }
    }

    /// Creates a request of this browser to a path of the service, or to a whole URL.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) };
        let request = self.client.request(method, url);
        match self.cookies.lock().expect("cookies").header() {
            Some(cookies) => request.header("cookie", cookies),
            None => request,
        }
    }

    /// Sends a request and stores the cookies of its response.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.expect("a body");
        let answer = Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() };
        self.keep_cookies(&answer);
        answer
    }

    fn keep_cookies(&self, answer: &Answer) {
        let mut cookies = self.cookies.lock().expect("cookies");
        for line in answer.cookies() {
            cookies.keep(&line);
        }
    }

    /// Navigates like a user.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// Navigates like a user, with additional headers.
    pub async fn navigate(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = self.request(Method::GET, path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request).await
    }

    /// Posts like a script of the service's own pages.
    pub async fn post_json(&self, path: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).header("sec-fetch-site", "same-origin");
        self.send(request.header("content-type", "application/json").body(body.to_string())).await
    }

    /// Posts like a form of the service's own pages.
    pub async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.request(Method::POST, path).header("origin", &self.base);
        self.send(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }

    /// Starts a flow and returns the authorize URL.
    pub async fn start(&self, origin: Option<&str>) -> String {
        let path = match origin {
            Some(origin) => format!("/auth/hubspot/start?origin={}", encode(origin)),
            None => "/auth/hubspot/start".to_owned(),
        };
        let answer = self.get(&path).await;
        assert_eq!(answer.status, 302, "{}", answer.body);
        answer.location().to_owned()
    }

    /// Starts a flow, decides at HubSpot and comes back; returns the callback's response.
    pub async fn come_back(&self, app: &TestApp, origin: Option<&str>, decision: Decision) -> Answer {
        let authorize = self.start(origin).await;
        let back = app.hubspot.decide(&authorize, decision).expect("HubSpot sends the browser back");
        self.get(&back).await
    }

    /// Runs a whole flow up to the message for the opener.
    pub async fn connect(&self, app: &TestApp, origin: Option<&str>, decision: Decision) -> Value {
        let callback = self.come_back(app, origin, decision).await;
        assert_eq!(callback.status, 303, "{}", callback.body);
        self.handoff(callback.location()).await.json()
    }

    /// Takes the message of the flow in the URL of a result page.
    pub async fn handoff(&self, done: &str) -> Answer {
        self.post_json("/auth/hubspot/handoff", &json!({"flow": flow_of(done)})).await
    }

    /// Returns the current page of the flow in the URL of a result page.
    pub async fn peek(&self, done: &str) -> Answer {
        self.post_json("/auth/hubspot/handoff", &json!({"flow": flow_of(done), "peek": true})).await
    }

    pub async fn status(&self) -> Value {
        self.get("/api/hubspot/status").await.json()
    }

    /// Returns the form token of the connections page.
    pub async fn csrf(&self) -> String {
        let page = self.get("/").await.body;
        quoted_after(&page, "data-csrf=\"").expect("a form token on the page")
    }

    pub async fn disconnect(&self, connection: &str) -> Answer {
        self.send(self.disconnect_request(connection).await).await
    }

    /// Creates a disconnect request without sending it.
    pub async fn disconnect_request(&self, connection: &str) -> RequestBuilder {
        let csrf = self.csrf().await;
        self.request(Method::POST, "/api/hubspot/disconnect")
            .header("sec-fetch-site", "same-origin")
            .header("hubspot-connect-csrf", csrf)
            .header("content-type", "application/json")
            .body(json!({"connection_id": connection}).to_string())
    }

    pub async fn logout(&self) -> Answer {
        let page = self.get("/logout").await.body;
        let csrf = quoted_after(&page, "name=\"csrf\" value=\"").expect("a form token on the page");
        self.post_form("/logout", &[("csrf", &csrf)]).await
    }

    /// Sets a cookie.
    pub fn plant(&self, name: &str, value: &str) {
        self.cookies.lock().expect("cookies").insert(name.to_owned(), value.to_owned());
    }

    /// Returns a cookie by the prefix of its name.
    pub fn cookie(&self, prefix: &str) -> Option<(String, String)> {
        let cookies = self.cookies.lock().expect("cookies");
        cookies
            .iter()
            .find(|(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.clone(), value.clone()))
    }
}

/// Returns the flow in the URL of a result page.
pub fn flow_of(done: &str) -> String {
    let (_, rest) = done.split_once("flow=").unwrap_or_else(|| panic!("no flow in {done}"));
    rest.split(['#', '&']).next().expect("an id").to_owned()
}

/// Returns a parameter of a URL.
pub fn parameter(url: &str, name: &str) -> String {
    let url = url::Url::parse(url).expect("a URL");
    let found = url.query_pairs().find(|(known, _)| known == name).map(|(_, value)| value.into_owned());
    found.unwrap_or_else(|| panic!("no {name} in {url}"))
}

/// Returns the code of a problem, from JSON, a page or a URL.
pub fn problem_of(answer: &Answer) -> String {
    let (marker, text) = match (answer.location(), answer.header("content-type")) {
        ("", "application/problem+json") => ("\"code\":\"", answer.body.as_str()),
        ("", _) => ("data-code=\"", answer.body.as_str()),
        (location, _) => ("problem=", location),
    };
    let found = text.split_once(marker).map(|(_, rest)| rest);
    let code = found.and_then(|rest| rest.split(['"', '#', '&']).next());
    code.unwrap_or_default().to_owned()
}

/// Sends raw bytes, and reads until the other end closes.
pub async fn send_raw(base: &str, bytes: &[u8]) -> String {
    let url = url::Url::parse(base).expect("a URL");
    let port = url.port().expect("a port");
    let bytes = bytes.to_vec();
    let talk = move || {
        let mut line = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        let patience = Duration::from_secs(10);
        line.set_read_timeout(Some(patience)).expect("a timeout");
        line.write_all(&bytes).expect("sends");
        let mut heard = Vec::new();
        // A reset ends the conversation as well as a close does.
        let _ = line.read_to_end(&mut heard);
        String::from_utf8_lossy(&heard).into_owned()
    };
    tokio::task::spawn_blocking(talk).await.expect("talks")
}

pub fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
