//! A user's browser, as far as the service can see it: cookies, redirects by hand, and the headers that browsers send.
//! It reaches the replicas under one name, as behind a load balancer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use test_support::{Cookies, quoted_after};

/// The listed host page.
pub const HOST: &str = "http://host.localhost:3000";

/// The state that the browsers of a run share.
#[derive(Debug)]
pub struct Web {
    /// The HTTP client.
    pub http: Client,
    /// The public URL of the service.
    pub public: String,
    /// The port of each replica.
    pub ports: Vec<u16>,
}

/// A complete response.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The value of `Location`.
    pub location: String,
    /// Its body.
    pub body: String,
}

/// A browser with its own cookies.
#[derive(Clone, Debug)]
pub struct Browser {
    web: Arc<Web>,
    cookies: Cookies,
    /// All values that its cookies ever had.
    pub secrets: BTreeSet<String>,
}

impl Browser {
    /// Creates a browser without cookies.
    pub fn new(web: &Arc<Web>) -> Self {
        Self { web: Arc::clone(web), cookies: Cookies::default(), secrets: BTreeSet::new() }
    }

    /// Deletes its cookies.
    pub fn forget(&mut self) {
        self.cookies.clear();
    }

    /// Navigates to a path, or back from HubSpot. Returns `None` if no response came.
    pub async fn get(&mut self, replica: usize, path: &str) -> Option<Answer> {
        let path = path.strip_prefix(&self.web.public).unwrap_or(path);
        let request = self.request(Method::GET, replica, path);
        self.send(request).await
    }

    /// Starts an authorization request and returns the authorize URL.
    pub async fn start(&mut self, replica: usize) -> Option<String> {
        let origin: String = url::form_urlencoded::byte_serialize(HOST.as_bytes()).collect();
        let answer = self.get(replica, &format!("/auth/hubspot/start?origin={origin}")).await?;
        (answer.status == 302).then_some(answer.location)
    }

    /// Returns the status of this browser's connections.
    pub async fn status(&mut self, replica: usize) -> Option<Value> {
        let answer = self.get(replica, "/api/hubspot/status").await?;
        serde_json::from_str(&answer.body).ok().filter(|_| answer.status == 200)
    }

    /// Disconnects. Returns whether the service confirmed it.
    pub async fn disconnect(&mut self, replica: usize, connection: &str) -> Option<bool> {
        let page = self.get(replica, "/").await?.body;
        let csrf = quoted_after(&page, "data-csrf=\"")?;
        let request = self
            .request(Method::POST, replica, "/api/hubspot/disconnect")
            .header("sec-fetch-site", "same-origin")
            .header("hubspot-connect-csrf", csrf)
            .header("content-type", "application/json")
            .body(json!({"connection_id": connection}).to_string());
        Some(self.send(request).await?.status == 200)
    }

    /// Logs out. Returns whether the service confirmed it.
    pub async fn logout(&mut self, replica: usize) -> Option<bool> {
        let page = self.get(replica, "/logout").await?.body;
        let csrf = quoted_after(&page, "name=\"csrf\" value=\"")?;
        let body = url::form_urlencoded::Serializer::new(String::new()).append_pair("csrf", &csrf).finish();
        let request = self
            .request(Method::POST, replica, "/logout")
            .header("origin", &self.web.public)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        Some(self.send(request).await?.status < 400)
    }

    fn request(&self, method: Method, replica: usize, path: &str) -> RequestBuilder {
        let port = self.web.ports[replica % self.web.ports.len()];
        let host = self.web.public.trim_start_matches("http://");
        let request = self
            .web
            .http
            .request(method, format!("http://127.0.0.1:{port}{path}"))
            .header("host", host)
            .timeout(Duration::from_secs(15));
        match self.cookies.header() {
            Some(cookies) => request.header("cookie", cookies),
            None => request,
        }
    }

    async fn send(&mut self, request: RequestBuilder) -> Option<Answer> {
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let location = response.headers().get("location").map(text).unwrap_or_default();
        for line in response.headers().get_all("set-cookie") {
            self.secrets.extend(self.cookies.keep(&text(line)));
        }
        Some(Answer { status, location, body: response.text().await.ok()? })
    }
}
