//! The number of recent events.

use std::time::Duration;

use crate::domain::clock::Timestamp;

const TENTHS: usize = 10;

/// Counts events and forgets them after a span, a tenth of it at a time.
#[derive(Debug)]
pub(super) struct Recent {
    tenth_ms: i64,
    /// For each tenth, its number since the Unix epoch, and the events in it.
    tenths: [(i64, u64); TENTHS],
}

impl Recent {
    /// Returns a counter over this span.
    pub const fn over(span: Duration) -> Self {
        Self { tenth_ms: span.as_millis() as i64 / TENTHS as i64, tenths: [(i64::MIN, 0); TENTHS] }
    }

    /// Counts one event.
    pub fn add(&mut self, now: Timestamp) {
        let number = now.unix_ms().div_euclid(self.tenth_ms);
        let tenth = &mut self.tenths[number.rem_euclid(TENTHS as i64) as usize];
        if tenth.0 != number {
            *tenth = (number, 0);
        }
        tenth.1 += 1;
    }

    /// Returns the number of events within the span.
    pub fn count(&self, now: Timestamp) -> u64 {
        self.tenths(now).map(|(_, events)| events).sum()
    }

    /// Returns the events per second since the first counted one.
    pub fn per_second(&self, now: Timestamp) -> f64 {
        let first = self.tenths(now).map(|(tenth, _)| tenth * self.tenth_ms).min();
        let ms = first.map_or(0, |first| now.unix_ms() - first).max(1000);
        self.count(now) as f64 * 1000.0 / ms as f64
    }

    fn tenths(&self, now: Timestamp) -> impl Iterator<Item = (i64, u64)> {
        let number = now.unix_ms().div_euclid(self.tenth_ms);
        let recent = (number - TENTHS as i64 + 1)..=number;
        self.tenths.into_iter().filter(move |(tenth, _)| recent.contains(tenth))
    }

    /// Forgets all events.
    pub fn clear(&mut self) {
        self.tenths = [(i64::MIN, 0); TENTHS];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_older_than_the_window_are_forgotten() {
        let mut recent = Recent::over(Duration::from_secs(60));
        let at = |seconds: i64| Timestamp::from_unix_ms(seconds * 1000);
        for second in 0..30 {
            recent.add(at(1_000_000 + second));
        }
        assert_eq!(recent.count(at(1_000_030)), 30);
        assert_eq!(recent.count(at(1_000_075)), 10, "those before the second 20 are gone");
        assert_eq!(recent.count(at(1_000_200)), 0);
        recent.add(at(1_000_200));
        assert_eq!(recent.count(at(1_000_200)), 1);
    }

    #[test]
    fn rates_cover_only_the_active_time() {
        let mut recent = Recent::over(Duration::from_secs(60));
        let at = |seconds: i64| Timestamp::from_unix_ms(seconds * 1000);
        assert!(recent.per_second(at(1_000_000)).abs() < f64::EPSILON);
        for second in 2..8 {
            for _ in 0..5 {
                recent.add(at(1_000_000 + second));
            }
        }
        let rate = recent.per_second(at(1_000_008));
        assert!((3.0..=5.0).contains(&rate), "{rate}");
    }
}
