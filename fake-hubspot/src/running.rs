//! A running fake, as a test holds it.

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

/// A fake that is running. It stops when it is dropped.
///
/// It has a thread and a runtime of its own, so a test that blocks does not block it.
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

    /// `http://127.0.0.1:PORT`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where an app sends the browser.
    pub fn authorize_url(&self) -> String {
        format!("{}/oauth/authorize", self.base_url())
    }

    /// Changes switches while the fake runs.
    pub fn options(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.hub.lock().options);
    }

    /// Orders a fault.
    pub fn script(&self, rule: Rule) {
        self.hub.lock().script.order(rule);
    }

    /// Lets go of every call that is held back by now ([`crate::Fault::Hold`], [`crate::Fault::HoldAfterIssue`]).
    pub fn release(&self) {
        self.hub.lock().release();
    }

    /// Takes every order back, and lets go of what is held back.
    pub fn clear_script(&self) {
        let mut state = self.hub.lock();
        state.script.clear();
        state.release();
    }

    /// Every call so far, oldest first.
    pub fn journal(&self) -> Vec<Entry> {
        self.hub.lock().journal.all()
    }

    /// Every call of one kind so far, oldest first.
    pub fn calls(&self, kind: Kind) -> Vec<Entry> {
        self.hub.lock().journal.of_kind(kind)
    }

    /// Forgets the calls so far.
    pub fn clear_journal(&self) {
        self.hub.lock().journal.clear();
    }

    /// Hands over the oldest calls and forgets them, up to the first that is still being worked on, so that a long run
    /// can keep its own record of them.
    pub fn take_journal(&self) -> Vec<Entry> {
        self.hub.lock().journal.take()
    }

    /// Visits an authorize URL and decides, without a browser.
    ///
    /// Returns where HubSpot sends the browser, or `None` when it keeps it. The visit is journaled;
    /// faults are for real calls only.
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
        // The ticket locks the state when it is dropped.
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

    /// A code for an install that begins at the Marketplace, for the app's own address that takes it.
    pub fn install(&self, redirect_uri: &str, hub_id: u64) -> String {
        marketplace::issue(&mut self.hub.lock(), redirect_uri, hub_id)
    }

    /// The refresh token in force for an account, of its newest grant.
    pub fn current_refresh_token(&self, hub_id: u64) -> Option<String> {
        let state = self.hub.lock();
        Some(state.grants.newest(hub_id)?.refresh_token.clone())
    }

    /// What an access token stands for, expired or not; `None` if it was not given here.
    pub fn access_token(&self, token: &str) -> Option<AccessToken> {
        let access = Access::open(&self.hub.lock().access_key, token)?;
        let Access { grant, hub_id, expires_at_ms, .. } = access;
        Some(AccessToken { grant, hub_id, expires_at_ms })
    }

    /// Every grant that is alive, oldest first.
    pub fn grants(&self) -> Vec<Grant> {
        self.hub.lock().grants.all()
    }

    /// The customer uninstalls the app: every grant of the account ends.
    pub fn uninstall(&self, hub_id: u64) {
        self.uninstall_at(hub_id, now_ms());
    }

    /// The same, at a moment that the Webhooks Journal tells: Unix milliseconds.
    pub fn uninstall_at(&self, hub_id: u64, at_ms: i64) {
        self.hub.lock().uninstall(hub_id, at_ms);
    }

    /// The same for several customers, told in one file of the Webhooks Journal.
    pub fn uninstall_together(&self, hub_ids: &[u64], at_ms: i64) {
        self.hub.lock().uninstall_together(hub_ids, at_ms);
    }

    /// The Webhooks Journal forgets its entries but for the newest so many, as it does after three days.
    pub fn forget_journal_entries(&self, but: usize) {
        self.hub.lock().webhooks_journal.forget(but);
    }

    /// To how many kinds of events the app has subscribed.
    pub fn subscriptions(&self) -> usize {
        self.hub.lock().webhooks_journal.subscriptions()
    }

    /// From here on no access token is good that was given before, although none has expired.
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
        // The order is given by this call already; only its completion is a future.
        drop(self.server.stop(false));
    }
}

type Started = oneshot::Sender<io::Result<(ServerHandle, SocketAddr)>>;

/// The life of the server's thread.
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
