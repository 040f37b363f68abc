//! Secrets, and the texts that must not contain them.

use std::collections::BTreeSet;

use fake_hubspot::FakeHubSpot;

use super::Browser;
use super::browser::encode;

/// Secrets in use, and every text that must not contain them.
#[derive(Default)]
pub struct Watch {
    pub secrets: BTreeSet<String>,
    texts: Vec<(String, String)>,
}

impl Watch {
    pub fn secret(&mut self, secret: &str) {
        assert!(secret.len() >= 16, "too short to be distinguished from chance: {secret}");
        self.secrets.insert(secret.to_owned());
        self.secrets.insert(encode(secret));
    }

    pub fn text(&mut self, what: &str, text: &str) {
        self.texts.push((what.to_owned(), text.to_owned()));
    }

    /// Adds the secrets that a browser holds.
    pub fn cookies_of(&mut self, browser: &Browser) {
        let cookies = browser.cookies.lock().expect("cookies").clone();
        for value in cookies.values() {
            self.secret(value.split('.').next_back().unwrap_or_default());
        }
    }

    /// Adds the secrets that were sent to HubSpot, and those that it returned.
    pub fn calls_of(&mut self, hubspot: &FakeHubSpot) {
        for call in hubspot.journal() {
            for name in ["code", "code_verifier", "refresh_token", "token", "client_secret"] {
                if let Some(secret) = call.form.get(name) {
                    self.secret(secret);
                }
            }
            if let Some(bearer) = call.authorization.as_deref() {
                self.secret(bearer.strip_prefix("Bearer ").unwrap_or(bearer));
            }
            if let Some(state) = call.query.get("state") {
                self.secret(state);
            }
        }
        for grant in hubspot.grants() {
            self.secret(&grant.refresh_token);
        }
    }

    pub fn settings_of(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            if ["ENCRYPTION_KEYS", "APP_SECRET", "HUBSPOT_CLIENT_SECRET"].contains(&name.as_str()) {
                self.secret(value);
            }
        }
    }

    pub fn assert_kept(&self) {
        assert!(self.secrets.len() > 20, "a whole journey has many secrets");
        for secret in &self.secrets {
            for (what, text) in &self.texts {
                if let Some((before, _)) = text.split_once(secret.as_str()) {
                    let from = before.char_indices().rev().nth(200).map_or(0, |(at, _)| at);
                    panic!("{secret} stands in {what}, behind: {}", &before[from..]);
                }
            }
        }
    }
}
