//! The recent calls of each account.

use std::collections::{HashMap, VecDeque};

/// The times of the calls in the last interval, by account and by search or not.
#[derive(Default)]
pub(crate) struct Quotas(HashMap<(u64, bool), VecDeque<i64>>);

impl Quotas {
    /// Counts a call unless there were `max` in the interval. Returns the number of calls left.
    pub(crate) fn take(
        &mut self,
        account: (u64, bool),
        max: u32,
        interval_ms: i64,
        now_ms: i64,
    ) -> Option<u32> {
        let calls = self.0.entry(account).or_default();
        while calls.front().is_some_and(|at| at + interval_ms <= now_ms) {
            calls.pop_front();
        }
        let left = max.checked_sub(u32::try_from(calls.len()).unwrap_or(u32::MAX) + 1)?;
        calls.push_back(now_ms);
        Some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_interval_has_more_calls_than_allowed() {
        let mut quotas = Quotas::default();
        let mut take = |now_ms| quotas.take((1, false), 2, 1000, now_ms);
        assert_eq!(
            [take(0), take(500), take(999), take(1000), take(1400), take(1500)],
            [Some(1), Some(0), None, Some(0), None, Some(0)]
        );
    }
}
