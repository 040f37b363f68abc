//! Time as an argument: timestamps, and the clock that is passed in.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A time in UTC, in whole milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, sea_orm::DeriveValueType)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Returns the time that many milliseconds after the Unix epoch.
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Returns the milliseconds since the Unix epoch.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// Returns the whole seconds since the Unix epoch.
    pub(crate) const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns the time that much later.
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(whole_ms(span)))
    }

    /// Returns the time that much earlier.
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(whole_ms(span)))
    }

    /// Returns the time that has passed since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Formats the time as RFC 3339 in UTC with `Z`, in whole seconds.
    pub fn rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp(self.unix_seconds())
            .ok()
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_default()
    }
}

/// Parses an RFC 3339 time with any offset.
impl FromStr for Timestamp {
    type Err = time::error::Parse;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let nanoseconds = OffsetDateTime::parse(text, &Rfc3339)?.unix_timestamp_nanos();
        Ok(Self(i64::try_from(nanoseconds / 1_000_000).unwrap_or(i64::MAX)))
    }
}

fn whole_ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// The source of the current time. Clones share one clock.
#[derive(Debug, Clone)]
pub struct Clock {
    manual: bool,
    /// The current time of a manual clock; otherwise an offset to the system's time.
    ms: Arc<AtomicI64>,
}

impl Clock {
    /// Returns the system's clock.
    pub fn system() -> Self {
        Self { manual: false, ms: Arc::new(AtomicI64::new(0)) }
    }

    /// Returns a system clock that is wrong by that many milliseconds, like that of a misconfigured replica.
    pub fn skewed(ms: i64) -> Self {
        Self { manual: false, ms: Arc::new(AtomicI64::new(ms)) }
    }

    /// Returns a clock that stands still until it is advanced.
    pub fn manual(at: Timestamp) -> Self {
        Self { manual: true, ms: Arc::new(AtomicI64::new(at.unix_ms())) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, span: Duration) {
        self.ms.fetch_add(whole_ms(span), Ordering::SeqCst);
    }

    /// Returns whether this clock is advanced manually; the database's clock is then not used.
    pub(crate) fn is_manual(&self) -> bool {
        self.manual
    }

    /// Returns the current time.
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the system's time is read")]
    pub fn now(&self) -> Timestamp {
        let ms = self.ms.load(Ordering::SeqCst);
        if self.manual {
            return Timestamp(ms);
        }
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(whole_ms(since_epoch).saturating_add(ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_formatted_in_utc_with_z() {
        assert_eq!(Timestamp::from_unix_ms(1_795_000_000_999).rfc3339(), "2026-11-18T11:06:40Z");
    }

    #[test]
    fn clones_of_a_manual_clock_move_together() {
        let clock = Clock::manual(Timestamp::from_unix_ms(1_000));
        let other = clock.clone();
        clock.advance(Duration::from_secs(2));
        assert_eq!(other.now().unix_ms(), 3_000);
    }
}
