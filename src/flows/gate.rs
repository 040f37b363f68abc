//! Whether HubSpot may be asked for refreshes: not while it refuses our own credentials.
//!
//! A wrong client secret makes every refresh fail. No connection is to blame, and asking for all of them again and
//! again helps nobody: one probe a minute finds out when it is mended.

use std::sync::Mutex;

use crate::domain::clock::Moment;
use crate::domain::failure::{Failure, FailureClass};
use crate::domain::refresh_job::OUR_FAULT_PAUSE;

/// So many refusals of an unknown kind in a row are our own fault, not a connection's.
const SUSPICIOUS: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    refusals: u32,
    closed: Option<Closed>,
}

#[derive(Debug, Clone, Copy)]
struct Closed {
    since: Moment,
    code: &'static str,
    next_probe: Moment,
}

impl Gate {
    /// How many refreshes may begin now, of `wanted`.
    pub fn admit(&self, wanted: u32, now: Moment) -> u32 {
        let mut state = self.0.lock().expect("nothing panics while it holds this lock");
        match &mut state.closed {
            None => wanted,
            Some(closed) if closed.next_probe <= now && wanted > 0 => {
                closed.next_probe = now.plus(OUR_FAULT_PAUSE);
                1
            }
            Some(_) => 0,
        }
    }

    /// A probe that was admitted has found nothing to do: whoever looks next has it.
    pub fn give_back(&self, now: Moment) {
        let mut state = self.0.lock().expect("nothing panics while it holds this lock");
        if let Some(closed) = &mut state.closed {
            closed.next_probe = now;
        }
    }

    /// Why the gate is closed, and since when.
    pub fn closed(&self) -> Option<(&'static str, Moment)> {
        let state = self.0.lock().expect("nothing panics while it holds this lock");
        state.closed.map(|closed| (closed.code, closed.since))
    }

    /// HubSpot has answered as it should.
    pub fn succeeded(&self) {
        *self.0.lock().expect("nothing panics while it holds this lock") = State::default();
    }

    /// HubSpot has refused, or has not answered.
    pub fn failed(&self, failure: &Failure, now: Moment) {
        let mut state = self.0.lock().expect("nothing panics while it holds this lock");
        match failure.class {
            FailureClass::OurFault => state.refusals = state.refusals.saturating_add(1),
            // HubSpot looked at the grant, so it took our credentials.
            FailureClass::GrantDead => *state = State::default(),
            FailureClass::Transient { .. } => {}
        }
        let ours = failure.code == "client_rejected"
            || (state.refusals >= SUSPICIOUS && failure.code != "grant_of_another_app");
        if failure.class == FailureClass::OurFault && ours && state.closed.is_none() {
            tracing::error!(code = failure.code, "HubSpot refuses our own request; refreshes are held back");
            state.closed =
                Some(Closed { since: now, code: failure.code, next_probe: now.plus(OUR_FAULT_PAUSE) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Moment = Moment::from_unix_ms(0);

    #[test]
    fn refused_credentials_close_the_gate_but_for_one_probe_a_minute() {
        let gate = Gate::default();
        gate.failed(&Failure::our_fault("client_rejected"), NOW);
        assert_eq!(gate.admit(8, NOW), 0);
        let later = NOW.plus(Duration::from_secs(60));
        assert_eq!(gate.admit(8, later), 1);
        assert_eq!(gate.admit(8, later), 0);
        gate.give_back(later);
        assert_eq!(gate.admit(8, later), 1);
        gate.succeeded();
        assert_eq!(gate.admit(8, later), 8);
    }

    #[test]
    fn one_odd_connection_does_not_close_the_gate() {
        let gate = Gate::default();
        gate.failed(&Failure::our_fault("provider_refused"), NOW);
        gate.failed(&Failure::our_fault("provider_refused"), NOW);
        assert_eq!(gate.admit(8, NOW), 8);
        gate.failed(&Failure::our_fault("provider_refused"), NOW);
        assert_eq!(gate.admit(8, NOW), 0);
    }
}
