//! Rate: a number of calls per interval.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The maximum number of calls in any interval of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The number of calls; at least one.
    pub calls: u32,
    /// The length of the interval.
    pub interval: Duration,
}

impl Rate {
    /// Returns whether this allows fewer calls in the long run.
    pub(crate) fn is_slower_than(&self, other: &Self) -> bool {
        u128::from(self.calls) * other.interval.as_millis()
            < u128::from(other.calls) * self.interval.as_millis()
    }
}

/// Text that is not a rate.
#[derive(Debug, PartialEq, Eq)]
pub struct NoRate;

impl FromStr for Rate {
    type Err = NoRate;

    /// Parses `110/10`: calls, and seconds up to an hour.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (calls, seconds) = text.split_once('/').ok_or(NoRate)?;
        let calls: u32 = calls.trim().parse().map_err(|_| NoRate)?;
        let seconds: u64 = seconds.trim().parse().map_err(|_| NoRate)?;
        match (calls, seconds) {
            (1..=1_000_000, 1..=3600) => Ok(Self { calls, interval: Duration::from_secs(seconds) }),
            _ => Err(NoRate),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.calls, self.interval.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_calls_per_seconds() {
        let rate: Rate = "110/10".parse().expect("a rate");
        assert_eq!(rate, Rate { calls: 110, interval: Duration::from_secs(10) });
        assert_eq!(rate.to_string(), "110/10");
        for bad in ["", "110", "110/", "/10", "0/10", "110/0", "-1/10", "110/10/1", "110/3601", "many/10"] {
            assert_eq!(bad.parse::<Rate>(), Err(NoRate), "{bad}");
        }
    }

    #[test]
    fn rates_of_different_intervals_are_compared_by_average() {
        let [slow, fast]: [Rate; 2] = ["100/10", "11/1"].map(|text| text.parse().expect("a rate"));
        assert!(slow.is_slower_than(&fast) && !fast.is_slower_than(&slow) && !slow.is_slower_than(&slow));
    }
}
