//! A host with a backend: connect sessions of its users, authorized in their browsers.

use fake_hubspot::Decision;
use reqwest::Method;
use serde_json::{Value, json};

use super::app::HOST;
use super::page::{Page, data, go_on};
use super::{Browser, TestApp, sql};

pub const SESSIONS: &str = "/api/hubspot/connect-sessions";

/// A host: its backend with a key, and the service.
pub struct Host {
    pub app: TestApp,
    pub key: String,
}

impl Host {
    pub async fn new(variables: &[(&str, &str)]) -> Self {
        let app = TestApp::with(variables).await;
        let key = app.api_key("sessions:write").await;
        Self { app, key }
    }

    pub async fn make(&self, body: Value) -> Value {
        let answer = self.app.api(&self.key, Method::POST, SESSIONS, Some(body)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()
    }

    pub async fn session(&self, session: &Value) -> Value {
        let path = format!("{SESSIONS}/{}", session["id"].as_str().unwrap());
        self.app.api(&self.key, Method::GET, &path, None).await.json()
    }

    pub async fn complete(&self, session: &Value, user: &str) -> (u16, Value) {
        let path = format!("{SESSIONS}/{}/complete", session["id"].as_str().unwrap());
        let answer =
            self.app.api(&self.key, Method::POST, &path, Some(json!({"external_user_id": user}))).await;
        (answer.status, answer.json())
    }

    /// Sends the form of a page of the host's with this session, goes on to HubSpot and comes back.
    pub async fn approve(&self, session: &Value, page: &Page, popup: &Browser, decision: Decision) -> String {
        let sender = page.origin.clone();
        self.approve_as(session, page, popup, decision, Some(&sender)).await
    }

    pub async fn approve_as(
        &self,
        session: &Value,
        page: &Page,
        popup: &Browser,
        decision: Decision,
        sender: Option<&str>,
    ) -> String {
        let authorize = self.begin(session, page, popup, sender).await;
        let back = self.app.hubspot.decide(&authorize, decision).expect("back");
        popup.get(&back).await.location().to_owned()
    }

    pub async fn begin(&self, session: &Value, page: &Page, popup: &Browser, sender: Option<&str>) -> String {
        let token = session["token"].as_str().unwrap();
        let launch = page.post(popup, sender, &[("connect_session", token)]).await;
        assert_eq!(launch.status, 200, "{}", launch.body);
        if sender.is_none() {
            go_on(popup, &launch).await;
        }
        data(&launch, "authorize-url")
    }

    pub fn page(&self) -> Page {
        Page::new(&self.app.base, HOST)
    }

    pub async fn owners(&self) -> Vec<String> {
        if self.app.database.count(sql::CONNECTIONS).await == 0 {
            return Vec::new();
        }
        vec![self.app.database.text_in(sql::CONNECTIONS_WITH_USERS, "external_id").await]
    }
}
