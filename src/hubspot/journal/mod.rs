//! HubSpot's Webhooks Journal, as far as it tells of uninstalls.
//!
//! HubSpot pushes no notice of an uninstall. It writes one into a journal of the app, if the app has subscribed to it,
//! and keeps it for three days. An answer of the journal is a pointer to a file somewhere else (HubSpot developer docs,
//! "Webhooks journal and management APIs" and "Webhook journal APIs"; paths and schemas as in HubSpot's public API
//! specification "Webhooks Journal", rollout 284944, versions 2026-03 and 2026-09).
//!
//! What HubSpot answers about an offset that it has forgotten stands nowhere; see [`HubSpot::next_entry`].

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

/// More than a pointer needs.
const MAX_POINTER: usize = 64 * 1024;
/// The first version of the journal with a date; `v3` of other APIs had none.
const FIRST_DATED_VERSION: &str = "2026-03";

/// What reading the journal takes: the app's own token, in memory alone, and the way to the files.
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

/// What stands in the journal behind an entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Another entry.
    Entry(Entry),
    /// Nothing yet.
    Nothing,
    /// HubSpot does not know the entry (any more). It is to be read again from the earliest.
    Forgotten,
}

impl HubSpot {
    /// The entry behind this offset, or the earliest.
    ///
    /// HubSpot answers 204 where nothing is new. An offset that it has forgotten is told from that by a second question:
    /// whichever refusal comes, the offset is either the one of the latest entry, or lost.
    ///
    /// # Errors
    /// [`Failure`] as HubSpot's answer, or the want of one, is to be taken.
    pub(crate) async fn next_entry(&self, after: Option<&str>) -> Result<Next, Failure> {
        let Some(after) = after else {
            return self.pointer("/earliest").await.map(|found| match found {
                Next::Forgotten => Next::Nothing,
                found => found,
            });
        };
        Ok(match self.pointer(&format!("/offset/{after}/next")).await? {
            // The one that was read last, once more.
            Next::Entry(entry) if entry.offset == after => Next::Nothing,
            Next::Forgotten => match self.pointer("/latest").await? {
                // It may have been written between the two questions.
                Next::Entry(latest) if latest.offset != after => {
                    self.pointer(&format!("/offset/{after}/next")).await?
                }
                _ => Next::Nothing,
            },
            found => found,
        })
    }

    /// What an entry tells of uninstalls, none of it later than `now`.
    ///
    /// # Errors
    /// [`Failure`] if its file cannot be had, or read.
    pub(crate) async fn notices(&self, entry: &Entry, now: Timestamp) -> Result<Vec<Notice>, Failure> {
        let file = self.journal.files.get(&entry.url).await?;
        entry::notices(&file, now)
    }

    /// Whether HubSpot lets the app read its journal and its subscriptions. Nothing is changed.
    ///
    /// An empty journal answers 204 (HubSpot's API specification "Webhooks Journal", `latest`). Whoever knows no such place
    /// has no journal, or is not HubSpot: reading would go on for good and tell of nothing.
    ///
    /// # Errors
    /// [`Failure`] as HubSpot's answer, or the want of one, is to be taken; `journal_absent` if there is no journal, and
    /// `journal_entries_absent` if there are subscriptions to one only.
    pub(crate) async fn check_journal(&self) -> Result<(), Failure> {
        self.is_subscribed().await?;
        match self.pointer("/latest").await? {
            Next::Forgotten => Err(Failure::our_fault(FailureCode::JournalEntriesAbsent)),
            Next::Entry(_) | Next::Nothing => Ok(()),
        }
    }

    /// What this place of the journal has: [`Next::Forgotten`] where HubSpot knows no such place.
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

    /// Asks with the app's own token. One that HubSpot does not take is renewed once.
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
                // HubSpot's category is MISSING_SCOPES; nothing else is known to be forbidden here.
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
