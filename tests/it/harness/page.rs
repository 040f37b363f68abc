//! A host page with the SDK's secrets: it starts a flow by a form in a user's popup, and polls the status itself,
//! without cookies.

use hubspot_connect::domain::random::Random;
use hubspot_connect::domain::secret::Secret;
use reqwest::Method;
use serde_json::{Value, json};

use super::TestApp;
use super::app::{ACME, approve};
use super::browser::{Answer, Browser, parameter};

/// A host page with one flow.
pub struct Page {
    pub origin: String,
    pub verifier: String,
    pub opener_key: String,
    side: Browser,
}

impl Page {
    pub fn new(base: &str, origin: &str) -> Self {
        let secret = || Secret::random(&Random::system()).expose().to_owned();
        Self { origin: origin.to_owned(), verifier: secret(), opener_key: secret(), side: Browser::new(base) }
    }

    /// Returns the same page with a separate connection.
    pub fn again(&self) -> Self {
        let (origin, verifier) = (self.origin.clone(), self.verifier.clone());
        Self { origin, verifier, opener_key: self.opener_key.clone(), side: Browser::new(&self.side.base) }
    }

    /// Returns the form's fields, with additional ones.
    pub fn form(&self, more: &[(&str, &str)]) -> String {
        let hash = |text: &str| Secret::new(text.to_owned()).hash().text();
        let mut fields = vec![
            ("origin".to_owned(), self.origin.clone()),
            ("challenge".to_owned(), hash(&self.verifier)),
            ("opener_challenge".to_owned(), hash(&self.opener_key)),
        ];
        for (name, value) in more {
            fields.retain(|(known, _)| known != name);
            fields.push(((*name).to_owned(), (*value).to_owned()));
        }
        url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
    }

    /// Sends the form into the popup; the browser names `sender` as the origin.
    pub async fn post(&self, popup: &Browser, sender: Option<&str>, more: &[(&str, &str)]) -> Answer {
        let mut request = popup
            .request(Method::POST, "/auth/hubspot/start")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-site", "cross-site");
        if let Some(sender) = sender {
            request = request.header("origin", sender);
        }
        popup.send(request.body(self.form(more))).await
    }

    /// Sends the form as a page of this origin does; returns the authorize URL.
    pub async fn begin(&self, popup: &Browser) -> String {
        let launch = self.post(popup, Some(&self.origin), &[]).await;
        assert_eq!(launch.status, 200, "{}", launch.body);
        assert_eq!(data(&launch, "proven"), "true");
        data(&launch, "authorize-url")
    }

    /// Sends the form like a page of another site without a referrer: without the service's cookies.
    pub async fn post_unverified(&self, popup: &Browser) -> Answer {
        let cookies = std::mem::take(&mut *popup.cookies.lock().expect("cookies"));
        let launch = self.post(popup, Some("null"), &[]).await;
        popup.cookies.lock().expect("cookies").extend(cookies);
        launch
    }

    /// Starts the flow by a link, which verifies nothing.
    pub async fn link(&self, popup: &Browser) -> Answer {
        popup.get(&format!("/auth/hubspot/start?{}", self.form(&[]))).await
    }

    /// Sends a request of this page to the API.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.side.request(method, path).header("sec-fetch-site", "cross-site");
        for (name, value) in [("origin", self.origin.as_str()), ("hubspot-connect-verifier", &self.verifier)]
        {
            if !headers.iter().any(|(known, _)| *known == name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        self.side.send(request).await
    }

    pub async fn poll(&self) -> Answer {
        self.ask(Method::GET, "/api/hubspot/status", None, &[]).await
    }

    /// Waits for a change of the state with this ETag.
    pub async fn wait(&self, tag: &str, seconds: u64) -> Answer {
        let path = format!("/api/hubspot/status?wait={seconds}");
        self.ask(Method::GET, &path, None, &[("if-none-match", tag)]).await
    }

    pub async fn redeem(&self, flow: &str, pickup_code: &str) -> Answer {
        let body = json!({"flow": flow, "pickup_code": pickup_code});
        self.ask(Method::POST, "/api/hubspot/token", Some(body), &[]).await
    }

    pub async fn cancel(&self, flow: &str) -> Answer {
        self.ask(Method::POST, "/api/hubspot/cancel", Some(json!({"flow": flow})), &[]).await
    }
}

/// Answers a launch page's question with Continue; returns the page that leads to HubSpot.
pub async fn go_on(popup: &Browser, launch: &Answer) -> Answer {
    let state = parameter(&data(launch, "authorize-url"), "state");
    let binding = data(launch, "binding");
    popup.post_form("/auth/hubspot/continue", &[("state", &state), ("binding", &binding)]).await
}

/// Returns a `data-` attribute of a page's body.
pub fn data(page: &Answer, name: &str) -> String {
    let marker = format!("data-{name}=\"");
    let found = page.body.split_once(&marker).map(|(_, rest)| rest);
    let text = found.and_then(|rest| rest.split('"').next()).unwrap_or_default();
    text.replace("&amp;", "&").replace("&#x2F;", "/").replace("&#x27;", "'").replace("&quot;", "\"")
}

/// Consents at HubSpot and comes back; returns the callback's response.
pub async fn approved(app: &TestApp, popup: &Browser, authorize: &str) -> Answer {
    let back = app.hubspot.decide(authorize, approve(ACME)).expect("HubSpot sends the browser back");
    popup.get(&back).await
}

/// Connects through the page, up to the callback's response.
pub async fn connected(app: &TestApp, page: &Page, popup: &Browser) -> Answer {
    let authorize = page.begin(popup).await;
    approved(app, popup, &authorize).await
}

/// Returns a string of a JSON body, empty if there is none.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Asserts that this response reveals nothing of a connection.
pub fn assert_tells_nothing(answer: &Answer) {
    for word in ["connection", "portal", "pickup_code", "access_token", "acme", "1234567"] {
        assert!(!answer.body.contains(word), "{word}: {}", answer.body);
    }
}
