//! The state of the fake, behind one mutex.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::answer::Answer;
use crate::clock::now_ms;
use crate::codes::Codes;
use crate::contacts::Contacts;
use crate::grants::Grants;
use crate::incoming::Incoming;
use crate::journal::{Ending, Journal, Kind};
use crate::options::Options;
use crate::quota::Quotas;
use crate::random;
use crate::script::{Fault, Script};
use crate::webhooks_journal::{self, WebhooksJournal};
use crate::{account, authorize, crm, lookup, token};

/// The state of the fake.
pub(crate) struct State {
    pub options: Options,
    pub script: Script,
    pub journal: Journal,
    pub codes: Codes,
    pub grants: Grants,
    pub contacts: Contacts,
    pub quotas: Quotas,
    pub webhooks_journal: WebhooksJournal,
    /// Signs access tokens.
    pub access_key: [u8; 32],
    /// The refresh tokens in use, with the number of calls that use them.
    refreshing: HashMap<String, u32>,
    /// Wakes the held calls.
    release: watch::Sender<()>,
}

impl State {
    /// Releases all held calls.
    pub(crate) fn release(&self) {
        self.release.send_replace(());
    }

    /// Uninstalls the app from an account: every grant of the account ends, and the Webhooks Journal gets an entry if
    /// the app has subscribed. Returns the number of ended grants.
    pub(crate) fn uninstall(&mut self, hub_id: u64, at_ms: i64) -> usize {
        self.uninstall_together(&[hub_id], at_ms)
    }

    /// Does the same for several accounts, with one file of the journal.
    pub(crate) fn uninstall_together(&mut self, hub_ids: &[u64], at_ms: i64) -> usize {
        self.webhooks_journal.uninstalled(hub_ids, at_ms);
        hub_ids.iter().map(|hub_id| self.grants.uninstall(*hub_id)).sum()
    }

    /// Processes a call and returns the response.
    pub(crate) fn answer(&mut self, call: &Incoming) -> Answer {
        match call.kind {
            Kind::Authorize => authorize::open_page(self, call),
            Kind::Exchange => token::exchange(self, call),
            Kind::Refresh => token::refresh(self, call),
            Kind::ClientCredentials => token::client_credentials(self, call),
            Kind::Introspect => lookup::introspect(self, call),
            Kind::Revoke => lookup::revoke(self, call),
            Kind::AccountInfo => account::details(self, call),
            Kind::Uninstall => account::uninstall(self, call),
            Kind::Crm | Kind::CrmSearch => crm::answer(self, call),
            Kind::Subscriptions => webhooks_journal::subscriptions(self, call),
            Kind::WebhooksJournal => webhooks_journal::entry(self, call),
            Kind::JournalFile => webhooks_journal::file(self, call),
            Kind::Other => token::unknown(self, call),
        }
    }
}

/// The fake, shared by its server and the test that started it.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Mutex<State>>);

impl Hub {
    pub(crate) fn new(options: Options) -> Hub {
        Hub(Arc::new(Mutex::new(State {
            script: Script::default(),
            journal: Journal::default(),
            codes: Codes::default(),
            contacts: Contacts::at_start(&options, now_ms()),
            quotas: Quotas::default(),
            webhooks_journal: WebhooksJournal::default(),
            grants: Grants::at_start(random::bytes(), &options),
            options,
            access_key: random::bytes(),
            refreshing: HashMap::new(),
            release: watch::Sender::new(()),
        })))
    }

    /// Locks the state. A panic while it was held is the test's own failure and must not hide behind another.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a visit to the consent page without HTTP.
    pub(crate) fn open_visit(&self, visit: &Incoming) -> CallGuard {
        let mut state = self.lock();
        let limit = state.options.journal_limit;
        CallGuard {
            hub: self.clone(),
            seq: state.journal.open(visit.entry(), limit),
            refreshing: None,
            release: state.release.subscribe(),
            ending: Ending::default(),
        }
    }

    /// Records the arrival of a call and selects its fault.
    pub(crate) fn open(&self, call: &Incoming) -> Opened {
        let mut state = self.lock();
        let fault = state.script.next(call.kind);
        let mut entry = call.entry();
        entry.fault = fault.as_ref().map(|fault| fault.name().to_owned());
        let refreshing = match call.kind {
            Kind::Refresh => call.form.get("refresh_token").map(str::to_owned),
            _ => None,
        };
        if let Some(token) = &refreshing {
            let users = state.refreshing.entry(token.clone()).or_default();
            *users += 1;
            entry.overlapping = *users > 1;
            if let Some(presented) = state.grants.find(token) {
                entry.superseded = presented.superseded;
                entry.grant = Some(presented.id);
                entry.presented = Some(presented.generation);
                entry.hub_id = state.grants.get(presented.id).map(|grant| grant.hub_id);
            }
        }
        let limit = state.options.journal_limit;
        Opened {
            guard: CallGuard {
                hub: self.clone(),
                seq: state.journal.open(entry, limit),
                refreshing,
                release: state.release.subscribe(),
                ending: Ending::default(),
            },
            fault,
            latency: state.options.latency,
        }
    }
}

/// A call that has arrived.
pub(crate) struct Opened {
    pub guard: CallGuard,
    pub fault: Option<Fault>,
    pub latency: Duration,
}

/// A call in progress. Dropping it closes its journal entry, also when the client disconnected and the handler was
/// cancelled.
pub(crate) struct CallGuard {
    pub hub: Hub,
    seq: u64,
    refreshing: Option<String>,
    /// Subscribed when the call is recorded: a test that sees it in the journal can release it.
    release: watch::Receiver<()>,
    /// The end that the journal will record.
    pub ending: Ending,
}

impl CallGuard {
    /// Waits until the held calls are released.
    pub(crate) async fn released(&mut self) {
        // Without a sender no release can come any more.
        let _ = self.release.changed().await;
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.journal.close(self.seq, self.ending, now_ms());
        let Some(token) = self.refreshing.take() else {
            return;
        };
        if let Some(users) = state.refreshing.get_mut(&token) {
            *users -= 1;
            if *users == 0 {
                state.refreshing.remove(&token);
            }
        }
    }
}
