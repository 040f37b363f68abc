//! HubSpot's Webhooks Journal: what is read there of uninstalls, how often, and by whom.

use std::time::Duration;

use super::clock::Timestamp;
use super::failure::{Failure, FailureClass};
use super::id::PortalId;

/// Between two looks while nothing new is there.
pub const JOURNAL_POLL_INTERVAL: Duration = Duration::from_secs(60);

/// How long the one reader is left alone. It looks again before that is over, even if the look is put off a little.
pub const JOURNAL_LEASE: Duration = Duration::from_secs(150);

/// How far HubSpot's clock and ours may be apart. A notice that is not older than the tokens by more than this is taken
/// for news: if it is none, one refresh was made too soon.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Between two looks after failures, at most.
const MAX_JOURNAL_PAUSE: Duration = Duration::from_secs(900);

/// HubSpot says that the app was uninstalled from an account. It says nothing of what came afterwards: the account may
/// have installed the app again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// From which account.
    pub portal_id: PortalId,
    /// When.
    pub at: Timestamp,
}

/// Until when tokens must have been received to be meant by an uninstall at this moment. Those that HubSpot has given
/// later are not.
pub(crate) fn concerned_until(uninstalled_at: Timestamp) -> Timestamp {
    uninstalled_at.plus(CLOCK_SKEW)
}

/// When to look again after so many failures in a row, this being the last. `unit` is a random number in `0.0..1.0`.
///
/// What only a person can mend is asked about rarely. All else is tried more and more rarely, because the uninstalls
/// are noticed without the journal too, only later.
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
    fn pauses_double_up_to_a_quarter_of_an_hour() {
        let failure = Failure::transient(FailureCode::ProviderTimeout);
        let seconds = |in_a_row| pause(&failure, in_a_row, 0.5).as_secs();
        assert_eq!([1, 2, 3, 4, 5, u32::MAX].map(seconds), [60, 120, 240, 480, 900, 900]);
        assert_eq!(pause(&Failure::our_fault(FailureCode::JournalScopesMissing), 1, 0.5).as_secs(), 900);
        let busy = Failure::busy(FailureCode::ProviderBusy, Some(Duration::from_secs(1800)));
        assert_eq!(pause(&busy, 1, 0.5).as_secs(), 1800);
    }
}
