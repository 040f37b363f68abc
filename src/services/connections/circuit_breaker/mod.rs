//! The circuit breaker: decides whether HubSpot may be called for refreshes, and how fast.
//!
//! A wrong client secret makes every refresh fail, and so does an outage. No connection is the cause, and more calls
//! do not help: the circuit breaker opens, and single probes find out when the outage has ended. Then refreshes start
//! slowly, so that HubSpot does not receive the whole backlog at once.

mod pace;
mod recent;

use std::sync::Mutex;
use std::time::Duration;

use crate::domain::clock::Timestamp;
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::id::ConnectionId;
use crate::domain::refresh_job::{INVALID_GRANT_PAUSE, OUR_FAULT_PAUSE};
use pace::Pace;
use recent::Recent;

/// The number of connections refused in a row, for unknown reasons, that counts as our own fault. A single connection
/// may be unusual, however often it is refused.
const OUR_FAULT_CONNECTIONS: usize = 3;
/// The number of failed calls in a row that counts as an outage, however few connections there are.
const OUTAGE_IN_A_ROW: u32 = 5;
/// The minimum number of calls within [`OUTAGE_WINDOW`] for the other sign of an outage: more than half have failed.
const OUTAGE_CALLS: u64 = 20;
const OUTAGE_WINDOW: Duration = Duration::from_secs(60);
/// The bounds of the interval between probes of an outage: the first comes soon, because most outages are short.
const MIN_PROBE_INTERVAL: Duration = Duration::from_secs(1);
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(15);
/// The longest time without a probe, whatever `Retry-After` HubSpot sends.
const MAX_PROBE_DELAY: Duration = Duration::from_secs(60);
/// The window in which successes count against a mass event. A refused connection is tried again after
/// [`INVALID_GRANT_PAUSE`], so refusals of about that long count. With a longer window, earlier successes would hide
/// the beginning of a mass event.
const MASS_EVENT_WINDOW: Duration = INVALID_GRANT_PAUSE.saturating_mul(2);
/// The number of refused grants at once that may be a mass event; fewer are users who uninstalled the app.
const MASS_EVENT_REFUSALS: u64 = 5;
/// The number of connections refused in a row, without a success in between, that may be a mass event as well, however
/// slowly they follow one another.
const MASS_EVENT_IN_A_ROW: u32 = 3;

/// The circuit breaker of this process.
#[derive(Debug, Default)]
pub struct CircuitBreaker(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The distinct connections refused since the last response that did not blame us, up to
    /// [`OUR_FAULT_CONNECTIONS`].
    refused: Vec<ConnectionId>,
    failures_in_a_row: u32,
    invalid_grants_in_a_row: u32,
    answered: Recent,
    failed: Recent,
    succeeded: Recent,
    open: Option<Open>,
    pace: Option<Pace>,
    slowed_at: Option<Timestamp>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            refused: Vec::new(),
            failures_in_a_row: 0,
            invalid_grants_in_a_row: 0,
            answered: Recent::over(OUTAGE_WINDOW),
            failed: Recent::over(OUTAGE_WINDOW),
            succeeded: Recent::over(MASS_EVENT_WINDOW),
            open: None,
            pace: None,
            slowed_at: None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Open {
    since: Timestamp,
    code: FailureCode,
    is_outage: bool,
    next_probe: Timestamp,
    /// The interval between the next probe and the one after it.
    pause: Duration,
    /// The last admitted probe: the interval before it, and the time of the next probe that it set.
    admitted: Option<(Duration, Timestamp)>,
}

impl Open {
    fn new(code: FailureCode, is_outage: bool, first: Duration, now: Timestamp) -> Self {
        let pause = if is_outage { first * 2 } else { first };
        Self { since: now, code, is_outage, next_probe: now.plus(first), pause, admitted: None }
    }

    /// Returns 1 if a probe is due. A clock that was set back must not delay it.
    fn admit(&mut self, now: Timestamp) -> u32 {
        if self.next_probe > now && self.next_probe.since(now) <= MAX_PROBE_DELAY {
            return 0;
        }
        self.next_probe = now.plus(self.pause);
        self.admitted = Some((self.pause, self.next_probe));
        if self.is_outage {
            self.pause = (self.pause * 2).min(MAX_PROBE_INTERVAL);
        }
        1
    }

    /// Returns a probe that was not made. Unless another result has arrived since, the next one is due now.
    fn release(&mut self, now: Timestamp) {
        if let Some((pause, next)) = self.admitted.take()
            && self.next_probe == next
        {
            (self.pause, self.next_probe) = (pause, now);
        }
    }
}

impl CircuitBreaker {
    /// Returns how many of `wanted` refreshes may start now.
    pub fn admit(&self, wanted: u32, now: Timestamp) -> u32 {
        self.with(|state| match (&mut state.open, &mut state.pace) {
            _ if wanted == 0 => 0,
            (Some(open), _) => open.admit(now),
            (None, None) => wanted,
            (None, Some(pace)) => pace.admit(wanted, now).unwrap_or_else(|| {
                state.pace = None;
                wanted
            }),
        })
    }

    /// Returns admitted refreshes that were not needed, so that the next caller can have them.
    pub fn release(&self, unused: u32, now: Timestamp) {
        self.with(|state| match (&mut state.open, &mut state.pace) {
            (Some(open), _) if unused > 0 => open.release(now),
            (None, Some(pace)) => pace.release(unused),
            _ => {}
        });
    }

    /// Returns the reason for holding refreshes back, and since when.
    pub fn open_reason(&self) -> Option<(FailureCode, Timestamp)> {
        self.with(|state| state.open.map(|open| (open.code, open.since)))
    }

    /// Returns whether an outage holds all refreshes back. Then the circuit breaker decides when HubSpot is asked
    /// again.
    pub fn is_outage(&self) -> bool {
        self.with(|state| state.open.is_some_and(|open| open.is_outage))
    }

    /// Returns whether so many refused grants are a mass event: then HubSpot or our configuration is to blame, and no
    /// connection. `invalid_grants` is the number of connections that were refused and not tried a second time yet.
    pub fn is_mass_event(&self, invalid_grants: u64, now: Timestamp) -> bool {
        self.with(|state| {
            let many = invalid_grants >= MASS_EVENT_REFUSALS
                && invalid_grants.saturating_mul(4) > state.succeeded.count(now);
            many || state.invalid_grants_in_a_row >= MASS_EVENT_IN_A_ROW
        })
    }

    /// Records that HubSpot has refused the grant of a connection that worked before.
    pub fn note_invalid_grant(&self) {
        self.with(|state| state.invalid_grants_in_a_row = state.invalid_grants_in_a_row.saturating_add(1));
    }

    /// Records a successful call.
    pub fn succeeded(&self, now: Timestamp) {
        self.with(|state| {
            state.succeeded.add(now);
            state.invalid_grants_in_a_row = 0;
            state.note_success(now);
        });
    }

    /// Records that HubSpot has refused a call, or has not answered it. `connection` is missing if the call was for
    /// none yet.
    pub fn failed(&self, connection: Option<ConnectionId>, failure: &Failure, now: Timestamp) {
        self.with(|state| match failure.class {
            // HubSpot has checked the grant, so it is available and has accepted our credentials.
            FailureClass::GrantDead => state.note_success(now),
            FailureClass::OurFault => state.refused(connection, failure, now),
            FailureClass::Transient { retry_after } => state.failed(failure, retry_after, now),
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().expect("nothing panics while it holds this lock"))
    }
}

impl State {
    fn note_success(&mut self, now: Timestamp) {
        self.refused.clear();
        self.failures_in_a_row = 0;
        self.answered.add(now);
        if let Some(open) = self.open.take() {
            tracing::info!(
                code = open.code.as_str(),
                seconds = now.since(open.since).as_secs(),
                "circuit breaker closed: HubSpot responds again; refreshes resume"
            );
            self.answered.clear();
            self.failed.clear();
            self.pace = Some(Pace::recovering(now));
        }
    }

    fn refused(&mut self, connection: Option<ConnectionId>, failure: &Failure, now: Timestamp) {
        let new =
            connection.filter(|id| self.refused.len() < OUR_FAULT_CONNECTIONS && !self.refused.contains(id));
        self.refused.extend(new);
        let ours = failure.code == FailureCode::ClientRejected
            || (self.refused.len() >= OUR_FAULT_CONNECTIONS
                && failure.code != FailureCode::GrantOfAnotherApp);
        if ours && self.open.is_none_or(|open| open.is_outage) {
            tracing::error!(
                code = failure.code.as_str(),
                "circuit breaker opened: HubSpot rejects our credentials or request; refreshes are paused"
            );
            self.open = Some(Open::new(failure.code, false, OUR_FAULT_PAUSE, now));
        }
    }

    fn failed(&mut self, failure: &Failure, retry_after: Option<Duration>, now: Timestamp) {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.answered.add(now);
        self.failed.add(now);
        let (answered, failed) = (self.answered.count(now), self.failed.count(now));
        let most = answered >= OUTAGE_CALLS && failed * 2 > answered;
        if self.open.is_none() && (most || self.failures_in_a_row >= OUTAGE_IN_A_ROW) {
            tracing::error!(
                code = failure.code.as_str(),
                "circuit breaker opened: HubSpot is failing; refreshes are paused"
            );
            self.open = Some(Open::new(failure.code, true, MIN_PROBE_INTERVAL, now));
        }
        match (&mut self.open, retry_after) {
            (Some(open), Some(asked)) if open.is_outage => {
                open.next_probe = open.next_probe.max(now.plus(asked.min(MAX_PROBE_DELAY)));
            }
            (None, _) if failure.code == FailureCode::ProviderBusy => self.slow_down(now),
            _ => {}
        }
    }

    /// Halves the rate, once for all responses of the same second.
    fn slow_down(&mut self, now: Timestamp) {
        if self.slowed_at.is_some_and(|at| at <= now && now.since(at) < Duration::from_secs(1)) {
            return;
        }
        self.slowed_at = Some(now);
        let rate = self.pace.map_or_else(|| self.answered.per_second(now), |pace| pace.per_second());
        self.pace = Some(Pace::slowed(rate, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::random::Random;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_000_000_000);

    fn connection(number: u64) -> Option<ConnectionId> {
        Some(ConnectionId::random(&Random::seeded(number)))
    }

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn down() -> Failure {
        Failure::busy(FailureCode::ProviderUnavailable, None)
    }

    #[test]
    fn refused_credentials_open_the_breaker_but_for_one_probe_a_minute() {
        let breaker = CircuitBreaker::default();
        breaker.failed(connection(1), &Failure::our_fault(FailureCode::ClientRejected), NOW);
        assert_eq!(breaker.admit(8, NOW), 0);
        assert_eq!(breaker.admit(8, later(60)), 1);
        assert_eq!(breaker.admit(8, later(60)), 0);
        breaker.release(1, later(60));
        assert_eq!(breaker.admit(8, later(60)), 1);
        assert_eq!(breaker.admit(8, later(119)), 0);
        assert_eq!(breaker.admit(8, later(120)), 1);
        breaker.succeeded(later(120));
        assert_eq!(breaker.open_reason(), None);
    }

    #[test]
    fn skipped_probes_keep_what_other_probes_learned() {
        let breaker = CircuitBreaker::default();
        for _ in 0..OUTAGE_IN_A_ROW {
            breaker.failed(connection(1), &down(), NOW);
        }
        assert_eq!(breaker.admit(8, later(1)), 1);
        breaker.failed(
            connection(1),
            &Failure::busy(FailureCode::ProviderBusy, Some(Duration::from_secs(40))),
            later(2),
        );
        breaker.release(1, later(2));
        assert_eq!(breaker.admit(8, later(41)), 0, "HubSpot has asked to be left alone");
        assert_eq!(breaker.admit(8, later(42)), 1);
    }

    #[test]
    fn backward_clocks_do_not_keep_the_breaker_open() {
        let breaker = CircuitBreaker::default();
        breaker.failed(connection(1), &Failure::our_fault(FailureCode::ClientRejected), later(7200));
        assert_eq!(breaker.admit(8, NOW), 1);
        assert_eq!(breaker.admit(8, NOW), 0);
    }

    #[test]
    fn one_failing_connection_does_not_open_the_breaker() {
        let breaker = CircuitBreaker::default();
        for _ in 0..10 {
            breaker.failed(connection(1), &Failure::our_fault(FailureCode::ProviderRefused), NOW);
            breaker.failed(connection(2), &Failure::our_fault(FailureCode::ProviderRefused), NOW);
        }
        assert_eq!(breaker.admit(8, NOW), 8);
        breaker.failed(connection(3), &Failure::our_fault(FailureCode::ProviderRefused), NOW);
        assert_eq!(breaker.admit(8, NOW), 0);
    }

    #[test]
    fn new_processes_slow_down_from_their_current_rate() {
        let breaker = CircuitBreaker::default();
        for _ in 0..60 {
            breaker.succeeded(NOW);
        }
        let now = later(6);
        let busy = Failure::busy(FailureCode::ProviderBusy, None);
        breaker.failed(connection(1), &busy, now);
        assert!(breaker.admit(100, later(7)) >= 3, "not as if those 60 calls had taken a minute");
    }

    #[test]
    fn outages_are_probed_and_recovery_is_gradual() {
        let breaker = CircuitBreaker::default();
        for _ in 0..OUTAGE_IN_A_ROW {
            assert!(!breaker.is_outage());
            breaker.failed(connection(1), &down(), NOW);
        }
        assert!(breaker.is_outage());
        let mut probes = Vec::new();
        for second in 0..120 {
            if breaker.admit(8, later(second)) == 1 {
                probes.push(second);
                breaker.failed(connection(1), &down(), later(second));
            }
        }
        assert_eq!(probes, [1, 3, 7, 15, 30, 45, 60, 75, 90, 105]);
        assert_eq!(breaker.admit(8, later(120)), 1);
        breaker.succeeded(later(120));
        assert!(!breaker.is_outage());
        let begun: Vec<_> = (121..126).map(|second| breaker.admit(100, later(second))).collect();
        assert_eq!(begun, [1, 2, 4, 8, 16].map(|most| most + u32::from(most == 1)), "it opens slowly");
    }

    #[test]
    fn more_failures_than_successes_are_an_outage_and_equal_numbers_are_not() {
        let breaker = CircuitBreaker::default();
        for second in 0..30 {
            breaker.succeeded(later(second));
            breaker.failed(connection(1), &down(), later(second));
        }
        assert!(!breaker.is_outage());
        breaker.failed(connection(1), &down(), later(30));
        assert!(breaker.is_outage());
    }

    #[test]
    fn outage_pauses_follow_retry_after_up_to_a_minute() {
        for (asked, waited) in [(7, 7), (3600, 60)] {
            let breaker = CircuitBreaker::default();
            for _ in 0..OUTAGE_IN_A_ROW {
                breaker.failed(
                    connection(1),
                    &Failure::busy(FailureCode::ProviderBusy, Some(Duration::from_secs(asked))),
                    NOW,
                );
            }
            assert_eq!(breaker.admit(8, later(waited - 1)), 0);
            assert_eq!(breaker.admit(8, later(waited)), 1);
        }
    }

    #[test]
    fn too_many_requests_halve_the_rate() {
        let breaker = CircuitBreaker::default();
        for second in 0..60 {
            for _ in 0..40 {
                breaker.succeeded(later(second));
            }
        }
        breaker.failed(connection(1), &Failure::busy(FailureCode::ProviderBusy, None), later(59));
        let begun = breaker.admit(1_000, later(60));
        assert!((18..=22).contains(&begun), "{begun}");
    }

    #[test]
    fn many_refused_grants_are_a_mass_refusal_unless_most_others_succeed() {
        let breaker = CircuitBreaker::default();
        assert!(!breaker.is_mass_event(MASS_EVENT_REFUSALS - 1, NOW));
        assert!(breaker.is_mass_event(MASS_EVENT_REFUSALS, NOW));
        for _ in 0..4 * MASS_EVENT_REFUSALS {
            breaker.succeeded(NOW);
        }
        assert!(!breaker.is_mass_event(MASS_EVENT_REFUSALS, NOW));
        assert!(breaker.is_mass_event(2 * MASS_EVENT_REFUSALS, NOW));
        assert!(
            breaker.is_mass_event(MASS_EVENT_REFUSALS, later(121)),
            "what was well two minutes ago says nothing"
        );
    }

    #[test]
    fn three_consecutive_refusals_are_a_mass_refusal() {
        let breaker = CircuitBreaker::default();
        for _ in 0..2 {
            breaker.note_invalid_grant();
        }
        assert!(!breaker.is_mass_event(2, NOW));
        breaker.note_invalid_grant();
        assert!(breaker.is_mass_event(1, NOW), "although the first two have been given up");
        breaker.succeeded(NOW);
        assert!(!breaker.is_mass_event(3, NOW));
    }
}
