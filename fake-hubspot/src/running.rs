//! A running fake, as tests use it.

use std::io;
use std::net::SocketAddr;

use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use tokio::sync::oneshot;
use url::Url;

use crate::access::{Access, AccessToken};
use crate::authorize::{AuthorizeRequest, Outcome, conclude};
use crate::clock::now_ms;
use crate::decision::Decision;
use crate::grants::Grant;
use crate::hub::Hub;
use crate::incoming::Incoming;
use crate::journal::{Entry, Kind};
use crate::marketplace;
use crate::options::Options;
use crate::random;
use crate::script::Rule;
use crate::serve;

/// A running fake, stopped on drop.
///
/// It has its own thread and runtime, so a test that blocks does not block it.
pub struct FakeHubSpot {
    hub: Hub,
    address: SocketAddr,
    server: ServerHandle,
}

impl FakeHubSpot {
    /// Starts a fake and returns once it can be called.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(options: Options) -> io::Result<FakeHubSpot> {
        let address = options.address;
        let hub = Hub::new(options);
        let served = hub.clone();
        let (started, starting) = oneshot::channel();
        std::thread::Builder::new()
            .name("fake-hubspot".to_owned())
            .spawn(move || run(&served, address, started))?;
        let (server, address) = starting.await.map_err(io::Error::other)??;
        Ok(FakeHubSpot { hub, address, server })
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the authorize URL.
    pub fn authorize_url(&self) -> String {
        format!("{}/oauth/authorize", self.base_url())
    }

    /// Changes options while the fake runs.
    pub fn options(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.hub.lock().options);
    }

    /// Adds a fault to the script.
    pub fn script(&self, rule: Rule) {
        self.hub.lock().script.order(rule);
    }

    /// Releases all calls that are held now ([`crate::Fault::Hold`], [`crate::Fault::HoldAfterIssue`]).
    pub fn release(&self) {
        self.hub.lock().release();
    }

    /// Clears the script and releases held calls.
    pub fn clear_script(&self) {
        let mut state = self.hub.lock();
        state.script.clear();
        state.release();
    }

    /// Returns every call so far, oldest first.
    pub fn journal(&self) -> Vec<Entry> {
        self.hub.lock().journal.all()
    }

    /// Returns every call of one kind so far, oldest first.
    pub fn calls(&self, kind: Kind) -> Vec<Entry> {
        self.hub.lock().journal.of_kind(kind)
    }

    /// Clears the journal.
    pub fn clear_journal(&self) {
        self.hub.lock().journal.clear();
    }

    /// Removes and returns the oldest calls, up to the first in progress, so that a long run can keep its own record of
    /// them.
    pub fn take_journal(&self) -> Vec<Entry> {
        self.hub.lock().journal.take()
    }

    /// Visits an authorize URL and decides, without a browser.
    ///
    /// Returns the URL to which HubSpot redirects, or `None` when it keeps the browser. The visit is recorded in the
    /// journal; faults apply only to real calls.
    pub fn decide(&self, authorize_url: &str, decision: Decision) -> Option<String> {
        let url = Url::parse(authorize_url).ok()?;
        let visit = Incoming::visit(url.path(), url.query().unwrap_or_default());
        let mut guard = self.hub.open_visit(&visit);
        if visit.kind != Kind::Authorize {
            return None;
        }
        let mut state = self.hub.lock();
        let request = AuthorizeRequest::read(&state.options, visit.portal, &visit.query);
        let outcome = request.map(|request| conclude(&mut state, &request, decision));
        // The guard locks the state when it is dropped.
        drop(state);
        match outcome {
            Ok(Outcome::Back { url, hub_id }) => {
                guard.ending.status = Some(302);
                guard.ending.hub_id = hub_id;
                Some(url)
            }
            Ok(Outcome::Abandoned) => {
                guard.ending.status = Some(200);
                None
            }
            Ok(Outcome::Refused(_)) | Err(_) => {
                guard.ending.status = Some(400);
                None
            }
        }
    }

    /// Issues a code for an install that starts at the Marketplace, for this install URL of the app.
    pub fn install(&self, redirect_uri: &str, hub_id: u64) -> String {
        marketplace::issue(&mut self.hub.lock(), redirect_uri, hub_id)
    }

    /// Returns the current refresh token of an account's newest grant.
    pub fn current_refresh_token(&self, hub_id: u64) -> Option<String> {
        let state = self.hub.lock();
        Some(state.grants.newest(hub_id)?.refresh_token.clone())
    }

    /// Returns the content of an access token, expired or not; `None` if it was not issued here.
    pub fn access_token(&self, token: &str) -> Option<AccessToken> {
        let access = Access::open(&self.hub.lock().access_key, token)?;
        let Access { grant, hub_id, expires_at_ms, .. } = access;
        Some(AccessToken { grant, hub_id, expires_at_ms })
    }

    /// Returns every live grant, oldest first.
    pub fn grants(&self) -> Vec<Grant> {
        self.hub.lock().grants.all()
    }

    /// Uninstalls the app from an account: every grant of the account ends.
    pub fn uninstall(&self, hub_id: u64) {
        self.uninstall_at(hub_id, now_ms());
    }

    /// Does the same at a time that the Webhooks Journal reports, in Unix milliseconds.
    pub fn uninstall_at(&self, hub_id: u64, at_ms: i64) {
        self.hub.lock().uninstall(hub_id, at_ms);
    }

    /// Does the same for several accounts, in one file of the Webhooks Journal.
    pub fn uninstall_together(&self, hub_ids: &[u64], at_ms: i64) {
        self.hub.lock().uninstall_together(hub_ids, at_ms);
    }

    /// Drops all entries of the Webhooks Journal except the newest, as HubSpot does after three days.
    pub fn forget_journal_entries(&self, but: usize) {
        self.hub.lock().webhooks_journal.forget(but);
    }

    /// Returns the number of event types to which the app has subscribed.
    pub fn subscriptions(&self) -> usize {
        self.hub.lock().webhooks_journal.subscriptions()
    }

    /// Invalidates every access token issued so far, although none has expired.
    pub fn forget_access_tokens(&self) {
        self.hub.lock().access_key = random::bytes();
    }

    /// Stops and returns once connections are refused. Calls in progress get a second to finish.
    pub async fn stop(self) {
        self.server.stop(true).await;
    }
}

impl Drop for FakeHubSpot {
    fn drop(&mut self) {
        // The call itself stops the server; the future only waits for the end.
        drop(self.server.stop(false));
    }
}

type Started = oneshot::Sender<io::Result<(ServerHandle, SocketAddr)>>;

/// Runs the server on its thread.
fn run(hub: &Hub, address: SocketAddr, started: Started) {
    System::new().block_on(async {
        match serve::bind(hub, address) {
            Ok((server, address)) => {
                let _ = started.send(Ok((server.handle(), address)));
                // It ends with an error only when its own threads are gone; clients then see that.
                let _ = server.await;
            }
            Err(error) => {
                let _ = started.send(Err(error));
            }
        }
    });
}
