//! What a failed call to HubSpot means for a connection. Classified by type and code, never by message text.

use std::time::Duration;

/// A failed call, in the terms that decide what happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose trouble it is.
    pub class: FailureClass,
    /// A stable code for people, logs and the API.
    pub code: &'static str,
    /// Whether the request may have been carried out although no usable answer came.
    pub uncertain: bool,
}

/// The classes of failure. None of them ever deletes a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// It passes by itself: network, overload, nonsense instead of an answer. `retry_after` is what HubSpot asked for.
    Transient {
        /// How long HubSpot asked to be left alone, at most an hour.
        retry_after: Option<Duration>,
    },
    /// Our own credentials or request are refused: no connection is to blame.
    OurFault,
    /// HubSpot says that this grant (or this code) is no more.
    GrantDead,
}

impl Failure {
    /// A failure that passes by itself.
    pub fn transient(code: &'static str) -> Self {
        Self { class: FailureClass::Transient { retry_after: None }, code, uncertain: false }
    }

    /// The request went out and no usable answer came back.
    pub fn uncertain(code: &'static str) -> Self {
        Self { uncertain: true, ..Self::transient(code) }
    }

    /// HubSpot is busy and may have said for how long.
    pub fn busy(code: &'static str, retry_after: Option<Duration>) -> Self {
        Self { class: FailureClass::Transient { retry_after }, code, uncertain: false }
    }

    /// Our own credentials or request are refused.
    pub fn our_fault(code: &'static str) -> Self {
        Self { class: FailureClass::OurFault, code, uncertain: false }
    }

    /// The grant is no more.
    pub fn grant_dead(code: &'static str) -> Self {
        Self { class: FailureClass::GrantDead, code, uncertain: false }
    }
}
