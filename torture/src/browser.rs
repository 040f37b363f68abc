//! A person's browser, as far as the service can tell: cookies, redirects by hand, the headers that browsers send. It
//! finds the replicas behind one name, as behind a load balancer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use test_support::{Cookies, quoted_after};

/// The listed host page.
pub const HOST: &str = "http://host.localhost:3000";

/// What the browsers of a run have in common.
#[derive(Debug)]
pub struct Web {
    /// The one client.
    pub http: Client,
    /// What the service is called from outside.
    pub public: String,
    /// Where each replica serves.
    pub ports: Vec<u16>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Where it leads.
    pub location: String,
    /// Its body.
    pub body: String,
}

/// One browser: its own cookies.
#[derive(Clone, Debug)]
pub struct Browser {
    web: Arc<Web>,
    cookies: Cookies,
    /// Every value that a cookie ever had.
    pub secrets: BTreeSet<String>,
}

impl Browser {
    /// A browser that has been nowhere yet.
    pub fn new(web: &Arc<Web>) -> Self {
        Self { web: Arc::clone(web), cookies: Cookies::default(), secrets: BTreeSet::new() }
    }

    /// Forgets its cookies.
    pub fn forget(&mut self) {
        self.cookies.clear();
    }

    /// As a person navigates, to a path or back from HubSpot. `None` if no answer came.
    pub async fn get(&mut self, replica: usize, path: &str) -> Option<Answer> {
        let path = path.strip_prefix(&self.web.public).unwrap_or(path);
        let request = self.request(Method::GET, replica, path);
        self.send(request).await
    }

    /// Begins a connect; the authorize URL.
    pub async fn start(&mut self, replica: usize) -> Option<String> {
        let origin: String = url::form_urlencoded::byte_serialize(HOST.as_bytes()).collect();
        let answer = self.get(replica, &format!("/auth/hubspot/start?origin={origin}")).await?;
        (answer.status == 302).then_some(answer.location)
    }

    /// What the service knows of this browser's connections.
    pub async fn status(&mut self, replica: usize) -> Option<Value> {
        let answer = self.get(replica, "/api/hubspot/status").await?;
        serde_json::from_str(&answer.body).ok().filter(|_| answer.status == 200)
    }

    /// Ends a connection. Whether the service has said that it is ended.
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

    /// Logs out. Whether the service has said so.
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
