//! How often something has happened lately.

use std::time::Duration;

use crate::domain::clock::Moment;

const TENTHS: usize = 10;

/// Counts events and forgets them after a span, a tenth of it at a time.
#[derive(Debug)]
pub(super) struct Recent {
    tenth_ms: i64,
    /// For each tenth which one it is, counted from the Unix epoch, and how many events fell into it.
    tenths: [(i64, u64); TENTHS],
}

impl Recent {
    /// Counts over this span.
    pub const fn over(span: Duration) -> Self {
        Self { tenth_ms: span.as_millis() as i64 / TENTHS as i64, tenths: [(i64::MIN, 0); TENTHS] }
    }

    /// One more.
    pub fn add(&mut self, now: Moment) {
        let number = now.unix_ms().div_euclid(self.tenth_ms);
        let tenth = &mut self.tenths[number.rem_euclid(TENTHS as i64) as usize];
        if tenth.0 != number {
            *tenth = (number, 0);
        }
        tenth.1 += 1;
    }

    /// How many there were within the span.
    pub fn count(&self, now: Moment) -> u64 {
        let number = now.unix_ms().div_euclid(self.tenth_ms);
        let recent = (number - TENTHS as i64 + 1)..=number;
        self.tenths.iter().filter(|(tenth, _)| recent.contains(tenth)).map(|(_, events)| events).sum()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.tenths = [(i64::MIN, 0); TENTHS];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_further_back_than_the_span_is_forgotten() {
        let mut recent = Recent::over(Duration::from_secs(60));
        let at = |seconds: i64| Moment::from_unix_ms(seconds * 1000);
        for second in 0..30 {
            recent.add(at(1_000_000 + second));
        }
        assert_eq!(recent.count(at(1_000_030)), 30);
        assert_eq!(recent.count(at(1_000_075)), 10, "those before the second 20 are gone");
        assert_eq!(recent.count(at(1_000_200)), 0);
        recent.add(at(1_000_200));
        assert_eq!(recent.count(at(1_000_200)), 1);
    }
}
