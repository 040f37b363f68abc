//! The number of refreshes that may start per second while HubSpot recovers, or after it has answered 429.

use crate::domain::clock::Timestamp;

/// The rate from which only the configured limits apply.
const UNLIMITED: f64 = 2_000.0;

/// A rate that grows every second until it no longer limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    per_second: f64,
    /// The factor by which the rate grows per second.
    growth: f64,
    /// Whether the time between two calls counts for a second at most: after an outage, a long pause says nothing
    /// about HubSpot's health.
    is_capped: bool,
    credit: f64,
    at: Timestamp,
}

impl Pace {
    /// Returns the pace after an outage: one, two, four and so on.
    pub fn recovering(now: Timestamp) -> Self {
        Self { per_second: 1.0, growth: 2.0, is_capped: true, credit: 1.0, at: now }
    }

    /// Returns the pace after a 429: half of the rate before, then a little more each second.
    pub fn slowed(per_second: f64, now: Timestamp) -> Self {
        Self { per_second: (per_second / 2.0).max(1.0), growth: 1.1, is_capped: false, credit: 1.0, at: now }
    }

    /// Returns the current rate per second.
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// Returns how many of `wanted` may start now, and counts them as started. `None` once the pace no longer limits.
    pub fn admit(&mut self, wanted: u32, now: Timestamp) -> Option<u32> {
        let seconds = now.since(self.at).as_secs_f64();
        self.at = now;
        // A process that has slept, or waited for slow responses, may not catch up in a burst.
        self.credit += self.per_second * seconds.min(1.0);
        self.per_second *= self.growth.powf(if self.is_capped { seconds.min(1.0) } else { seconds });
        if self.per_second >= UNLIMITED {
            return None;
        }
        self.credit = self.credit.min(self.per_second.max(1.0));
        let admitted = wanted.min(self.credit as u32);
        self.credit -= f64::from(admitted);
        Some(admitted)
    }

    /// Returns admitted refreshes that were not started.
    pub fn release(&mut self, unused: u32) {
        self.credit += f64::from(unused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn recovery_doubles_the_rate_every_second_until_unlimited() {
        let mut now = Timestamp::from_unix_ms(0);
        let mut pace = Pace::recovering(now);
        let mut begun = vec![pace.admit(1_000, now)];
        for _ in 0..11 {
            now = now.plus(Duration::from_secs(1));
            begun.push(pace.admit(1_000, now));
        }
        let first: Vec<_> = begun.iter().take(6).map(|count| count.unwrap_or_default()).collect();
        assert_eq!(first, [1, 1, 2, 4, 8, 16]);
        assert_eq!(begun.last(), Some(&None));
    }

    #[test]
    fn slowed_rates_are_halved_and_grow_slowly() {
        let start = Timestamp::from_unix_ms(0);
        let mut pace = Pace::slowed(40.0, start);
        assert_eq!(pace.admit(100, start.plus(Duration::from_secs(1))), Some(21));
        assert_eq!(pace.admit(100, start.plus(Duration::from_secs(2))), Some(22));
    }

    #[test]
    fn slowed_rates_grow_while_idle_and_recovering_rates_do_not() {
        let start = Timestamp::from_unix_ms(0);
        let later = start.plus(Duration::from_secs(30));
        let mut slowed = Pace::slowed(2.0, start);
        slowed.admit(1, later);
        assert!((17.0..18.0).contains(&slowed.per_second()), "{slowed:?}");
        let mut recovering = Pace::recovering(start);
        recovering.admit(1, later);
        assert!(recovering.per_second() <= 2.0, "{recovering:?}");
    }
}
