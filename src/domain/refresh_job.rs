//! TokenRefreshJob: due, leased, backed off, given up.

use std::time::Duration;

use super::clock::Timestamp;
use super::failure::{Failure, FailureClass};
use super::id::ConnectionId;

/// How long a claim holds: three times as long as a call may take.
pub const REFRESH_LEASE: Duration = Duration::from_secs(60);

/// Between the two refusals that end a connection: time for another replica's success to become visible.
pub const INVALID_GRANT_PAUSE: Duration = Duration::from_secs(60);

/// Between two probes while our own credentials are refused.
pub const OUR_FAULT_PAUSE: Duration = Duration::from_secs(60);

const BACKOFF_BASE: Duration = Duration::from_secs(2);
const BACKOFF_CAP: Duration = Duration::from_secs(300);
const BACKOFF_FLOOR: Duration = Duration::from_millis(500);

/// A refresh job under a lease: the right to refresh one connection once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRefreshJob {
    /// Whose job it is.
    pub connection_id: ConnectionId,
    /// Rises with every claim and every new pair of tokens; a failure noted under an older number is refused.
    pub fence: i64,
    /// Failed attempts since the last success.
    pub attempts: i64,
    /// How often in a row HubSpot has said that the grant is no more.
    pub invalid_grant_count: i64,
    /// Whether an earlier holder of the lease vanished in the middle of its call.
    pub was_interrupted: bool,
    /// When the app was uninstalled, if HubSpot's Webhooks Journal says so. It is forgotten with every new pair of tokens.
    pub announced_at: Option<Timestamp>,
}

/// What becomes of a job after a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Try again then.
    Retry {
        /// Not before this moment.
        run_at: Timestamp,
        /// Failed attempts so far.
        attempts: i64,
        /// Refusals in a row so far.
        invalid_grant_count: i64,
    },
    /// The person has to connect anew: the job ends, the token is kept.
    GiveUp,
}

impl TokenRefreshJob {
    /// What becomes of this job after `failure`. `unit` is a random number in `0.0..1.0`.
    ///
    /// Only a second refusal of the grant in a row gives up: a single one may be a false alarm, or the echo of a
    /// refresh that another replica has just made.
    /// In an `outage` all refreshes are held back together, and the job stays due: when is asked again is then not its
    /// own affair, and once HubSpot is back nobody sits out a pause.
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

    /// What becomes of this job when giving up is out of the question: it is asked about again, more and more rarely.
    pub fn kept(&self, now: Timestamp, unit: f64) -> Next {
        let pause = backoff(self.attempts, unit).max(INVALID_GRANT_PAUSE);
        Next::Retry {
            run_at: now.plus(pause),
            attempts: self.attempts.saturating_add(1),
            invalid_grant_count: self.invalid_grant_count,
        }
    }
}

/// Full jitter: anywhere below a bound that doubles with each attempt up to five minutes.
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
    fn a_single_refusal_of_the_grant_is_tried_again_and_a_second_gives_up() {
        let dead = Failure::invalid_grant(FailureCode::GrantDead);
        let first = job(0, 0).after(&dead, NOW, 0.5, false);
        assert_eq!(
            first,
            Next::Retry { run_at: NOW.plus(INVALID_GRANT_PAUSE), attempts: 1, invalid_grant_count: 1 }
        );
        assert_eq!(job(1, 1).after(&dead, NOW, 0.5, false), Next::GiveUp);
    }

    #[test]
    fn passing_failures_never_give_up_and_their_pauses_stay_below_five_minutes() {
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
    fn what_hubspot_asks_for_is_waited_for() {
        let busy = Failure::busy(FailureCode::ProviderBusy, Some(Duration::from_secs(7)));
        let Next::Retry { run_at, .. } = job(0, 0).after(&busy, NOW, 0.0, false) else { panic!("gave up") };
        assert_eq!(run_at, NOW.plus(Duration::from_secs(7)));
    }

    #[test]
    fn in_an_outage_a_job_stays_due_unless_hubspot_has_asked_for_more() {
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
    fn refused_credentials_of_ours_never_count_against_a_connection() {
        let Next::Retry { invalid_grant_count, .. } =
            job(9, 0).after(&Failure::our_fault(FailureCode::ClientRejected), NOW, 0.0, false)
        else {
            panic!("gave up");
        };
        assert_eq!(invalid_grant_count, 0);
    }
}
