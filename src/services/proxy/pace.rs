//! The rate limit of one HubSpot account: a rolling window, like HubSpot's own.
//!
//! HubSpot counts the calls of an app to an account in any ten seconds, and searches in any second
//! (developers.hubspot.com, "Usage guidelines and limits"). A call that is too early waits for its turn, in order; a
//! call that would wait too long is refused at once. Each process counts for itself, and learns of the others' calls
//! from the remaining limit in HubSpot's responses.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::clock::Timestamp;
use crate::domain::rate::Rate;
use crate::hubspot::proxy::Allowance;

/// A call that would have to wait longer than this is refused.
pub(super) const MAX_TURN_WAIT: Duration = Duration::from_secs(2);
/// The time for which the limit that HubSpot last stated applies.
const LEARNT_LIMIT_LIFE: Duration = Duration::from_secs(600);

/// The time at which a call may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The call may be sent now.
    Now,
    /// The call may be sent after this time. The turn is kept for it.
    After(Duration),
    /// The call must not be sent; it is worth trying again after this time.
    Refused(Duration),
}

/// The recent calls to one account.
#[derive(Debug)]
pub(super) struct Window {
    /// The rate that applies unless HubSpot states a lower one.
    usual: Rate,
    /// A lower rate that HubSpot stated, and until when it applies.
    learnt: Option<(Rate, Timestamp)>,
    /// The time at which each call of one interval was or will be sent, oldest first.
    calls: VecDeque<Timestamp>,
    /// The number of calls that HubSpot has counted and that were not ours, and until when they count.
    others: (u32, Timestamp),
    /// The time until which HubSpot refuses calls.
    paused_until: Timestamp,
}

impl Window {
    pub fn new(usual: Rate) -> Self {
        let never = Timestamp::from_unix_ms(0);
        Self { usual, learnt: None, calls: VecDeque::new(), others: (0, never), paused_until: never }
    }

    /// Returns the next turn, and takes it if it is soon.
    pub fn turn(&mut self, now: Timestamp) -> Turn {
        self.forget(now);
        let at = self.earliest(now);
        match at.since(now) {
            wait if wait > MAX_TURN_WAIT => Turn::Refused(wait),
            wait => {
                self.calls.push_back(at);
                if wait.is_zero() { Turn::Now } else { Turn::After(wait) }
            }
        }
    }

    /// Returns how long HubSpot still refuses calls: when a call's turn has come, another may have been refused in
    /// the meantime.
    pub fn pause(&self, now: Timestamp) -> Duration {
        self.paused_until.since(now)
    }

    /// Sends no calls to the account for this long.
    pub fn pause_for(&mut self, span: Duration, now: Timestamp) {
        self.paused_until = self.paused_until.max(now.plus(span));
    }

    /// Records the limit that HubSpot states. A limit above the usual one is not used.
    pub fn learn(&mut self, allowance: &Allowance, now: Timestamp) {
        let limit = Rate { calls: allowance.max, interval: allowance.interval };
        self.learnt = limit.is_slower_than(&self.usual).then(|| (limit, now.plus(LEARNT_LIMIT_LIFE)));
        self.forget(now);
        if let Some(remaining) = allowance.remaining {
            let counted = allowance.max.saturating_sub(remaining);
            let ours = self.calls.iter().filter(|at| **at <= now).count();
            let others = counted.saturating_sub(u32::try_from(ours).unwrap_or(u32::MAX));
            self.others = (others, now.plus(allowance.interval));
        }
    }

    /// Returns whether the window holds nothing that matters.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        let rate = self.rate(now);
        let is_quiet = self.calls.back().is_none_or(|last| last.plus(rate.interval) <= now);
        is_quiet && self.learnt.is_none_or(|(_, until)| until <= now) && self.paused_until <= now
    }

    fn rate(&self, now: Timestamp) -> Rate {
        self.learnt.filter(|(_, until)| now < *until).map_or(self.usual, |(rate, _)| rate)
    }

    fn forget(&mut self, now: Timestamp) {
        // The clock has been set back: calls far ahead were counted by the clock before.
        let furthest = now.plus(MAX_TURN_WAIT);
        if self.calls.back().is_some_and(|last| *last > furthest) {
            self.calls.clear();
        }
        let interval = self.rate(now).interval;
        while self.calls.front().is_some_and(|at| at.plus(interval) <= now) {
            self.calls.pop_front();
        }
    }

    fn earliest(&self, now: Timestamp) -> Timestamp {
        let Rate { calls, interval } = self.rate(now);
        let (others, others_until) = if now < self.others.1 { self.others } else { (0, now) };
        let room = usize::try_from(calls.saturating_sub(others)).unwrap_or(usize::MAX);
        let free_at = match self.calls.len().checked_sub(room) {
            None => now,
            // The call that has to leave the window first; if calls of others fill it, theirs do.
            Some(over) => self.calls.get(over).map_or(others_until, |at| at.plus(interval)),
        };
        // No call overtakes one that waits already.
        let last = self.calls.back().copied().unwrap_or(now);
        free_at.max(last).max(self.paused_until).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_ms(1_000_000);
    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn window(rate: &str) -> Window {
        Window::new(rate.parse().expect("a rate"))
    }

    fn allowance(max: u32, remaining: u32) -> Allowance {
        Allowance { max, interval: MS(10_000), remaining: Some(remaining) }
    }

    fn go_out(window: &mut Window, calls: usize, now: Timestamp) {
        for call in 0..calls {
            assert_eq!(window.turn(now), Turn::Now, "call {call}");
        }
    }

    #[test]
    fn no_window_has_more_calls_than_allowed() {
        let (mut window, mut out) = (window("5/10"), Vec::new());
        for ms in (0..60_000).step_by(170) {
            let now = START.plus(MS(ms));
            match window.turn(now) {
                Turn::Now => out.push(now),
                Turn::After(wait) => out.push(now.plus(wait)),
                Turn::Refused(_) => {}
            }
        }
        assert!(out.len() >= 29, "the limit is made use of: {}", out.len());
        assert!(out.windows(6).all(|six| six[5].since(six[0]) >= MS(10_000)), "{out:?}");
        assert!(out.is_sorted(), "no call overtakes another");
    }

    #[test]
    fn early_calls_wait_in_order_and_much_too_early_ones_get_a_retry_time() {
        let mut window = window("2/10");
        go_out(&mut window, 1, START);
        go_out(&mut window, 1, START.plus(MS(1_000)));
        assert_eq!(window.turn(START.plus(MS(4_000))), Turn::Refused(MS(6_000)));
        assert_eq!(window.turn(START.plus(MS(8_500))), Turn::After(MS(1_500)));
        assert_eq!(window.turn(START.plus(MS(9_000))), Turn::After(MS(2_000)));
        assert_eq!(window.turn(START.plus(MS(9_000))), Turn::Refused(MS(11_000)));
        assert_eq!(window.turn(START.plus(MS(11_000))), Turn::Refused(MS(9_000)), "the kept turns count");
    }

    #[test]
    fn searches_are_limited_to_five_per_second() {
        let mut window = window("5/1");
        go_out(&mut window, 5, START);
        let waits: Vec<_> = (0..11).map(|_| window.turn(START)).collect();
        assert_eq!(waits[..5], [Turn::After(MS(1_000)); 5]);
        assert_eq!(waits[5..10], [Turn::After(MS(2_000)); 5]);
        assert_eq!(waits[10], Turn::Refused(MS(3_000)));
    }

    #[test]
    fn lower_limits_are_learned_and_higher_ones_are_not() {
        let mut window = window("10/10");
        window.learn(&allowance(3, 3), START);
        go_out(&mut window, 3, START);
        assert_eq!(window.turn(START), Turn::Refused(MS(10_000)));
        window.learn(&allowance(190, 187), START);
        go_out(&mut window, 7, START);
        assert_eq!(window.turn(START), Turn::Refused(MS(10_000)));
    }

    #[test]
    fn learned_limits_are_forgotten_unless_repeated() {
        let mut window = window("10/10");
        window.learn(&allowance(1, 1), START);
        assert!(!window.is_idle(START));
        let later = START.plus(LEARNT_LIMIT_LIFE);
        assert!(window.is_idle(later));
        go_out(&mut window, 10, later);
    }

    #[test]
    fn calls_of_other_apps_count_as_long_as_hubspot_counts_them() {
        let mut window = window("10/10");
        go_out(&mut window, 2, START);
        window.learn(&allowance(10, 1), START.plus(MS(100)));
        go_out(&mut window, 1, START.plus(MS(100)));
        assert!(matches!(window.turn(START.plus(MS(100))), Turn::Refused(_)));
        go_out(&mut window, 9, START.plus(MS(10_100)));
    }

    #[test]
    fn calls_resume_when_those_of_other_apps_expire() {
        let mut window = window("10/10");
        window.learn(&allowance(10, 0), START);
        assert_eq!(window.turn(START), Turn::Refused(MS(10_000)));
        assert_eq!(window.turn(START.plus(MS(9_000))), Turn::After(MS(1_000)));
    }

    #[test]
    fn no_call_is_made_during_a_pause_requested_by_hubspot() {
        let mut window = window("10/10");
        window.pause_for(MS(7_000), START);
        window.pause_for(MS(1_000), START);
        assert_eq!(window.pause(START), MS(7_000));
        assert_eq!(window.turn(START), Turn::Refused(MS(7_000)));
        assert!(!window.is_idle(START));
        assert_eq!(window.turn(START.plus(MS(6_000))), Turn::After(MS(1_000)));
        assert_eq!(window.turn(START.plus(MS(7_000))), Turn::Now);
    }

    #[test]
    fn backward_clocks_do_not_block_calls() {
        let mut window = window("2/10");
        go_out(&mut window, 2, START.plus(MS(3_600_000)));
        go_out(&mut window, 2, START);
    }
}
