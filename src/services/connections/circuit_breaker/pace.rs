//! How many refreshes may begin in a second while HubSpot recovers, or has said that there were too many.

use crate::domain::clock::Timestamp;

/// From here on the configured limits alone decide.
const UNLIMITED: f64 = 2_000.0;

/// A rate that grows with the seconds until it does not matter any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    per_second: f64,
    /// By how many times it grows in a second.
    growth: f64,
    /// Whether the time between two calls counts for a second at most: after an outage, a long pause says nothing of
    /// HubSpot's health.
    is_capped: bool,
    credit: f64,
    at: Timestamp,
}

impl Pace {
    /// After an outage: one, two, four and so on.
    pub fn recovering(now: Timestamp) -> Self {
        Self { per_second: 1.0, growth: 2.0, is_capped: true, credit: 1.0, at: now }
    }

    /// After too many: half of what it was, then a little more each second.
    pub fn slowed(per_second: f64, now: Timestamp) -> Self {
        Self { per_second: (per_second / 2.0).max(1.0), growth: 1.1, is_capped: false, credit: 1.0, at: now }
    }

    /// How many may begin in a second now.
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// How many of `wanted` may begin now; they count as begun. `None` once the pace does not matter any more.
    pub fn admit(&mut self, wanted: u32, now: Timestamp) -> Option<u32> {
        let seconds = now.since(self.at).as_secs_f64();
        self.at = now;
        // A process that has slept, or waited for slow answers, is not owed a burst for that time.
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

    /// So many of those that were admitted have not begun.
    pub fn release(&mut self, unused: u32) {
        self.credit += f64::from(unused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_doubles_from_second_to_second_until_nothing_limits() {
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
    fn a_slowed_pace_is_half_and_grows_slowly() {
        let start = Timestamp::from_unix_ms(0);
        let mut pace = Pace::slowed(40.0, start);
        assert_eq!(pace.admit(100, start.plus(Duration::from_secs(1))), Some(21));
        assert_eq!(pace.admit(100, start.plus(Duration::from_secs(2))), Some(22));
    }

    #[test]
    fn a_slowed_pace_grows_while_nothing_is_due_and_a_recovering_one_does_not() {
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
