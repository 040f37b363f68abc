//! TokenRefreshJob: the schedule of the refreshes of one connection, and what follows from a failure.

use std::time::Duration;

use super::clock::Timestamp;
use super::failure::{Failure, FailureClass};
use super::id::ConnectionId;

/// The length of the lease on a refresh job: three times as long as a call may take.
pub const REFRESH_LEASE: Duration = Duration::from_secs(60);

/// The pause between the two `invalid_grant` responses that suspend a connection: time for the success of another
/// replica to become visible.
pub const INVALID_GRANT_PAUSE: Duration = Duration::from_secs(60);

/// The pause between two refreshes while HubSpot rejects our own credentials.
pub const OUR_FAULT_PAUSE: Duration = Duration::from_secs(60);

const BACKOFF_BASE: Duration = Duration::from_secs(2);
const BACKOFF_CAP: Duration = Duration::from_secs(300);
const BACKOFF_FLOOR: Duration = Duration::from_millis(500);

/// A refresh job under a lease: the right to refresh one connection once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRefreshJob {
    /// The connection to refresh.
    pub connection_id: ConnectionId,
    /// Incremented with every lease and every new pair of tokens; a failure that is recorded under an older number is
    /// rejected.
    pub fence: i64,
    /// Failed attempts since the last success.
    pub attempts: i64,
    /// The number of consecutive `invalid_grant` responses.
    pub invalid_grant_count: i64,
    /// Whether an earlier holder of the lease disappeared during its call.
    pub was_interrupted: bool,
    /// The time at which the app was uninstalled, according to HubSpot's Webhooks Journal. Every new pair of tokens
    /// clears it.
    pub announced_at: Option<Timestamp>,
}

/// The next step of a job after a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The refresh is retried.
    Retry {
        /// The earliest time of the retry.
        run_at: Timestamp,
        /// Failed attempts so far.
        attempts: i64,
        /// Consecutive `invalid_grant` responses so far.
        invalid_grant_count: i64,
    },
    /// The user must reconnect: the job ends, the tokens are kept.
    GiveUp,
}

impl TokenRefreshJob {
    /// Returns the next step of this job after `failure`. `unit` is a random number in `0.0..1.0`.
    ///
    /// Only a second consecutive `invalid_grant` gives up: a single one may be a false alarm, or caused by a refresh
    /// that another replica has just made.
    ///
    /// During an `outage`, the circuit breaker holds all refreshes back together, so the job stays due without a pause
    /// of its own: once HubSpot is back, it is not delayed further.
    pub fn after(&self, failure: &Failure, now: Timestamp, unit: f64, outage: bool) -> Next {
        let attempts = self.attempts.saturating_add(1);
        match failure.class {
            FailureClass::Transient { retry_after } => {
                let own = if outage { Duration::ZERO } else { backoff(self.attempts, unit) };
                let pause = own.max(retry_after.unwrap_or_default());
                Next::Retry {
                    run_at: now.plus(pause),
                    attempts,
                    invalid_grant_count: self.invalid_grant_count,
                }
            }
            FailureClass::OurFault => {
                let run_at = now.plus(OUR_FAULT_PAUSE.mul_f64(1.0 + unit / 10.0));
                Next::Retry { run_at, attempts, invalid_grant_count: self.invalid_grant_count }
            }
            FailureClass::GrantDead if self.invalid_grant_count == 0 => {
                Next::Retry { run_at: now.plus(INVALID_GRANT_PAUSE), attempts, invalid_grant_count: 1 }
            }
            FailureClass::GrantDead => Next::GiveUp,
        }
    }

    /// Returns the next step of a job that must not give up: it is retried at growing intervals.
    pub fn kept(&self, now: Timestamp, unit: f64) -> Next {
        let pause = backoff(self.attempts, unit).max(INVALID_GRANT_PAUSE);
        Next::Retry {
            run_at: now.plus(pause),
            attempts: self.attempts.saturating_add(1),
            invalid_grant_count: self.invalid_grant_count,
        }
    }
}

/// Returns a pause with full jitter: anywhere below a bound that doubles with each attempt up to five minutes.
pub(crate) fn backoff(attempts: i64, unit: f64) -> Duration {
    let doublings = u32::try_from(attempts.clamp(0, 16)).unwrap_or(16);
    let bound = BACKOFF_CAP.min(BACKOFF_BASE.saturating_mul(1 << doublings));
    bound.mul_f64(unit).max(BACKOFF_FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::FailureCode;
    use crate::domain::random::Random;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_000_000);

    fn job(attempts: i64, invalid_grant_count: i64) -> TokenRefreshJob {
        let connection_id = ConnectionId::random(&Random::seeded(1));
        TokenRefreshJob {
            connection_id,
            fence: 1,
            attempts,
            invalid_grant_count,
            was_interrupted: false,
            announced_at: None,
        }
    }

    #[test]
    fn a_single_invalid_grant_is_retried_and_a_second_suspends() {
        let dead = Failure::invalid_grant(FailureCode::GrantDead);
        let first = job(0, 0).after(&dead, NOW, 0.5, false);
        assert_eq!(
            first,
            Next::Retry { run_at: NOW.plus(INVALID_GRANT_PAUSE), attempts: 1, invalid_grant_count: 1 }
        );
        assert_eq!(job(1, 1).after(&dead, NOW, 0.5, false), Next::GiveUp);
    }

    #[test]
    fn transient_failures_never_suspend_and_back_off_below_five_minutes() {
        for attempts in [0, 1, 5, 50, 1_000_000, i64::MAX] {
            let Next::Retry { run_at, .. } =
                job(attempts, 0).after(&Failure::transient(FailureCode::ProviderTimeout), NOW, 0.999, false)
            else {
                panic!("gave up after {attempts}");
            };
            assert!(run_at > NOW && run_at <= NOW.plus(BACKOFF_CAP));
        }
    }

    #[test]
    fn retry_after_is_waited_for() {
        let busy = Failure::busy(FailureCode::ProviderBusy, Some(Duration::from_secs(7)));
        let Next::Retry { run_at, .. } = job(0, 0).after(&busy, NOW, 0.0, false) else { panic!("gave up") };
        assert_eq!(run_at, NOW.plus(Duration::from_secs(7)));
    }

    #[test]
    fn jobs_stay_due_in_an_outage_unless_hubspot_asks_for_more() {
        let Next::Retry { run_at, .. } =
            job(9, 0).after(&Failure::transient(FailureCode::ProviderTimeout), NOW, 0.9, true)
        else {
            panic!("gave up");
        };
        assert_eq!(run_at, NOW);
        let busy = Failure::busy(FailureCode::ProviderBusy, Some(Duration::from_secs(7)));
        let Next::Retry { run_at, .. } = job(9, 0).after(&busy, NOW, 0.9, true) else { panic!("gave up") };
        assert_eq!(run_at, NOW.plus(Duration::from_secs(7)));
    }

    #[test]
    fn refused_client_credentials_never_count_against_a_connection() {
        let Next::Retry { invalid_grant_count, .. } =
            job(9, 0).after(&Failure::our_fault(FailureCode::ClientRejected), NOW, 0.0, false)
        else {
            panic!("gave up");
        };
        assert_eq!(invalid_grant_count, 0);
    }
}
