//! HubSpot's Webhooks Journal: notices of uninstalls, and the schedule for polling them.

use std::time::Duration;

use super::clock::Timestamp;
use super::failure::{Failure, FailureClass};
use super::id::PortalId;

/// The time between two polls while there are no new entries.
pub const JOURNAL_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// The length of the lease of the journal's only reader. It covers the next poll, even a slightly delayed one.
pub const JOURNAL_LEASE: Duration = Duration::from_secs(150);

/// The tolerated difference between HubSpot's clock and ours. A notice is treated as new unless it is older than the
/// tokens by more than this: if it is not new, the only cost is one early refresh.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The maximum time between two polls after failures.
const MAX_JOURNAL_PAUSE: Duration = Duration::from_secs(900);

/// HubSpot's notice that the app was uninstalled from an account. It does not say what happened later: the account may
/// have installed the app again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// The account.
    pub portal_id: PortalId,
    /// The time of the uninstall.
    pub at: Timestamp,
}

/// Returns the latest receipt time of tokens that an uninstall at this time may concern. Tokens received later belong
/// to a new install.
pub(crate) fn concerned_until(uninstalled_at: Timestamp) -> Timestamp {
    uninstalled_at.plus(CLOCK_SKEW)
}

/// Returns the pause before the next poll after `in_a_row` consecutive failures, of which this is the last. `unit` is a
/// random number in `0.0..1.0`.
///
/// Failures that only an operator can fix are retried rarely. All others are retried at growing intervals: without the
/// journal, uninstalls are still noticed, only later.
pub fn pause(failure: &Failure, in_a_row: u32, unit: f64) -> Duration {
    let pause = match failure.class {
        FailureClass::OurFault => MAX_JOURNAL_PAUSE,
        FailureClass::Transient { retry_after } => {
            let doubled = JOURNAL_POLL_INTERVAL
                .saturating_mul(1 << in_a_row.saturating_sub(1).min(8))
                .min(MAX_JOURNAL_PAUSE);
            doubled.max(retry_after.unwrap_or_default())
        }
        FailureClass::GrantDead => JOURNAL_POLL_INTERVAL,
    };
    pause.mul_f64(0.9 + 0.2 * unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureCode;

    #[test]
    fn pauses_double_up_to_15_minutes() {
        let failure = Failure::transient(FailureCode::ProviderTimeout);
        let seconds = |in_a_row| pause(&failure, in_a_row, 0.5).as_secs();
        assert_eq!([1, 2, 3, 4, 5, u32::MAX].map(seconds), [60, 120, 240, 480, 900, 900]);
        assert_eq!(pause(&Failure::our_fault(FailureCode::JournalScopesMissing), 1, 0.5).as_secs(), 900);
        let busy = Failure::busy(FailureCode::ProviderBusy, Some(Duration::from_secs(1800)));
        assert_eq!(pause(&busy, 1, 0.5).as_secs(), 1800);
    }
}
