//! Reads uninstalls from HubSpot's Webhooks Journal.
//!
//! HubSpot does not push notices of uninstalls. It writes them into a journal of the app, if the app has subscribed to
//! them, and keeps them for three days. The journal's responses are pointers to files on other hosts (HubSpot developer
//! docs, "Webhooks journal and management APIs" and "Webhook journal APIs"; paths and schemas as in HubSpot's public
//! API specification "Webhooks Journal", rollout 284944, versions 2026-03 and 2026-09).
//!
//! HubSpot does not document the response to an expired offset; see [`HubSpot::next_entry`].

mod app_token;
mod entry;
mod file;
mod subscription;

use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use url::Url;

pub use entry::Entry;

use super::call::Answer;
use super::{HubSpot, error, join};
use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::journal::Notice;
use crate::domain::proxies::Proxies;
use app_token::AppToken;
use file::Files;

/// The maximum size of a pointer.
const MAX_POINTER: usize = 64 * 1024;
/// The first dated version of the journal, which has no `v3`.
const FIRST_DATED_VERSION: &str = "2026-03";

/// The state of the journal client: the app's own token, in memory only, and the client for files.
#[derive(Debug)]
pub(super) struct Reading {
    token: AppToken,
    files: Files,
}

impl Reading {
    pub fn new(api_url: &Url, proxies: &Proxies) -> Self {
        Self { token: AppToken::default(), files: Files::new(api_url, proxies) }
    }
}

/// The position after an entry of the journal.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// There is another entry.
    Entry(Entry),
    /// There is no new entry yet.
    Nothing,
    /// HubSpot does not know the entry, or no longer. Reading must start again from the earliest.
    Forgotten,
}

impl HubSpot {
    /// Returns the entry after this offset, or the earliest.
    ///
    /// HubSpot answers 204 if there is nothing new. If it rejects the offset instead, a second request decides,
    /// whatever the status: the offset is either that of the latest entry, or lost.
    ///
    /// # Errors
    /// [`Failure`] classifies HubSpot's response, or its absence.
    pub(crate) async fn next_entry(&self, after: Option<&str>) -> Result<Next, Failure> {
        let Some(after) = after else {
            return self.pointer("/earliest").await.map(|found| match found {
                Next::Forgotten => Next::Nothing,
                found => found,
            });
        };
        Ok(match self.pointer(&format!("/offset/{after}/next")).await? {
            // The entry that was read last, again.
            Next::Entry(entry) if entry.offset == after => Next::Nothing,
            Next::Forgotten => match self.pointer("/latest").await? {
                // It may have been written between the two requests.
                Next::Entry(latest) if latest.offset != after => {
                    self.pointer(&format!("/offset/{after}/next")).await?
                }
                _ => Next::Nothing,
            },
            found => found,
        })
    }

    /// Returns the uninstalls of an entry, none of them later than `now`.
    ///
    /// # Errors
    /// [`Failure`] if its file cannot be fetched or parsed.
    pub(crate) async fn notices(&self, entry: &Entry, now: Timestamp) -> Result<Vec<Notice>, Failure> {
        let file = self.journal.files.get(&entry.url).await?;
        entry::notices(&file, now)
    }

    /// Checks whether HubSpot lets the app read its journal and its subscriptions. Changes nothing.
    ///
    /// An empty journal answers 204 (HubSpot's API specification "Webhooks Journal", `latest`). A server without this
    /// path has no journal, or is not HubSpot: polling would continue forever without results.
    ///
    /// # Errors
    /// [`Failure`] classifies HubSpot's response, or its absence; `journal_absent` if there is no journal, and
    /// `journal_entries_absent` if there are only subscriptions to one.
    pub(crate) async fn check_journal(&self) -> Result<(), Failure> {
        self.is_subscribed().await?;
        match self.pointer("/latest").await? {
            Next::Forgotten => Err(Failure::our_fault(FailureCode::JournalEntriesAbsent)),
            Next::Entry(_) | Next::Nothing => Ok(()),
        }
    }

    /// Returns the pointer at this path of the journal; [`Next::Forgotten`] if HubSpot does not know the path.
    async fn pointer(&self, place: &str) -> Result<Next, Failure> {
        let path = format!("journal/{}{place}", self.journal_version());
        let answer = self.ask_journal(Method::GET, &path, None).await?;
        match answer.status {
            204 => Ok(Next::Nothing),
            200..=299 if answer.body.is_empty() => Ok(Next::Nothing),
            200..=299 => entry::pointer(&answer.body).map(Next::Entry),
            400 | 404 | 410 => Ok(Next::Forgotten),
            _ => Err(error::refused_body(&answer.body, error::Asked::Other)),
        }
    }

    /// Makes a request with the app's own token. A token that HubSpot rejects is replaced once.
    async fn ask_journal(&self, method: Method, path: &str, body: Option<&str>) -> Result<Answer, Failure> {
        let url = join(&self.settings.api_url, &format!("/webhooks-journal/{path}"));
        let max = if path.starts_with("subscriptions") { subscription::MAX_LIST } else { MAX_POINTER };
        for is_retry in [false, true] {
            let token = self.app_token().await?;
            let call = self.calls.http.request(method.clone(), url.clone());
            let mut request = call.header(ACCEPT, "application/json").bearer_auth(token.token.expose());
            if let Some(body) = body {
                request = request.header(CONTENT_TYPE, "application/json").body(body.to_owned());
            }
            let answer = self.calls.ask(request, max).await?;
            match answer.status {
                401 if !is_retry => self.journal.token.forget(&token),
                401 => return Err(Failure::our_fault(FailureCode::JournalTokenRefused)),
                // HubSpot's category is MISSING_SCOPES; no other reason for this status is known.
                403 => return Err(Failure::our_fault(FailureCode::JournalScopesMissing)),
                _ => return Ok(answer),
            }
        }
        Err(Failure::our_fault(FailureCode::JournalTokenRefused))
    }

    fn journal_version(&self) -> &str {
        match self.settings.api_version.as_str() {
            "v3" => FIRST_DATED_VERSION,
            dated => dated,
        }
    }
}
