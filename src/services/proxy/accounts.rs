//! The windows of all accounts that are being called.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::pace::{Turn, Window};
use crate::domain::clock::Timestamp;
use crate::domain::id::{ConnectionId, PortalId};
use crate::domain::rate::Rate;
use crate::hubspot::proxy::Allowance;

/// HubSpot's limit on CRM searches.
const SEARCH_RATE: Rate = Rate { calls: 5, interval: Duration::from_secs(1) };
/// The number of cached accounts. Beyond that, only HubSpot's own responses limit the calls.
const MAX_ACCOUNTS: usize = 20_000;
/// The number of turns after which idle accounts are removed.
const SWEEP_THRESHOLD: u32 = 4096;

/// The subject of a limit: HubSpot counts per app and account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Account {
    /// The HubSpot app.
    pub client_id: String,
    /// The account; while it is unknown, the connection stands for it.
    pub portal: Result<PortalId, ConnectionId>,
    /// Whether the calls are searches, which have a limit of their own.
    pub is_search: bool,
}

/// The windows of each account.
#[derive(Debug)]
pub(super) struct Accounts {
    usual: Rate,
    windows: Mutex<Windows>,
}

#[derive(Debug, Default)]
struct Windows {
    all: HashMap<Account, Window>,
    turns: u32,
}

impl Accounts {
    /// Returns no windows yet; each account may be called at this rate.
    pub fn new(usual: Rate) -> Self {
        Self { usual, windows: Mutex::default() }
    }

    /// Takes the account's next turn.
    pub(super) fn turn(&self, account: &Account, now: Timestamp) -> Turn {
        let mut windows = self.lock();
        windows.turns = windows.turns.wrapping_add(1);
        if windows.turns.is_multiple_of(SWEEP_THRESHOLD) {
            windows.all.retain(|_, window| !window.is_idle(now));
        }
        self.window(&mut windows, account, now).turn(now)
    }

    /// Returns how long HubSpot still refuses calls to the account.
    pub(super) fn pause(&self, account: &Account, now: Timestamp) -> Duration {
        self.lock().all.get(account).map_or(Duration::ZERO, |window| window.pause(now))
    }

    /// Records the rate limit that a response states.
    pub(super) fn learn(&self, account: &Account, allowance: Option<&Allowance>, now: Timestamp) {
        let Some(allowance) = allowance else { return };
        self.window(&mut self.lock(), account, now).learn(allowance, now);
    }

    /// Records that HubSpot has refused a call because of its rate limit.
    pub(super) fn pause_for(&self, account: &Account, span: Duration, now: Timestamp) {
        self.window(&mut self.lock(), account, now).pause_for(span, now);
    }

    fn window<'a>(&self, windows: &'a mut Windows, account: &Account, now: Timestamp) -> &'a mut Window {
        if windows.all.len() >= MAX_ACCOUNTS && !windows.all.contains_key(account) {
            windows.all.retain(|_, window| !window.is_idle(now));
            if windows.all.len() >= MAX_ACCOUNTS
                && let Some(other) = windows.all.keys().next().cloned()
            {
                windows.all.remove(&other);
            }
        }
        let usual = if account.is_search { SEARCH_RATE } else { self.usual };
        windows.all.entry(account.clone()).or_insert_with(|| Window::new(usual))
    }

    fn lock(&self) -> MutexGuard<'_, Windows> {
        self.windows.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_000_000);

    fn account(number: i64, is_search: bool) -> Account {
        Account { client_id: "app".to_owned(), portal: Ok(PortalId(number)), is_search }
    }

    fn accounts() -> Accounts {
        Accounts::new(Rate { calls: 1, interval: Duration::from_secs(10) })
    }

    #[test]
    fn accounts_and_their_searches_have_separate_limits() {
        let accounts = accounts();
        for other in [account(1, false), account(2, false), account(1, true)] {
            assert_eq!(accounts.turn(&other, NOW), Turn::Now);
        }
        assert!(matches!(accounts.turn(&account(1, false), NOW), Turn::Refused(_)));
        assert_eq!(accounts.turn(&account(1, true), NOW), Turn::Now);
    }

    #[test]
    fn the_number_of_remembered_accounts_is_bounded() {
        let accounts = accounts();
        let most = i64::try_from(MAX_ACCOUNTS).unwrap();
        for number in 0..most + 100 {
            accounts.turn(&account(number, false), NOW);
        }
        assert_eq!(accounts.lock().all.len(), MAX_ACCOUNTS);
        // Idle accounts are removed.
        let later = NOW.plus(Duration::from_secs(10));
        for _ in 0..SWEEP_THRESHOLD {
            accounts.turn(&account(1, false), later);
        }
        assert_eq!(accounts.lock().all.len(), 1);
    }
}
