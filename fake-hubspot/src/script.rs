//! Scripted faults: the calls that fail, and the way in which they do.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::journal::Kind;
use crate::{millis, random};

/// A fault for one kind of call.
///
/// Of several rules for the same kind the oldest applies until it is used up; then comes the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The kind of call.
    pub on: Kind,
    /// The number of calls that fail; `None` is all of them until the script is cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// The number of calls that are answered normally first.
    #[serde(default)]
    pub skip: u32,
    /// The fault.
    pub fault: Fault,
}

impl Rule {
    /// Creates a rule for the next call of this kind.
    pub fn once(on: Kind, fault: Fault) -> Rule {
        Rule::times(on, 1, fault)
    }

    /// Creates a rule for the next calls.
    pub fn times(on: Kind, times: u32, fault: Fault) -> Rule {
        Rule { times: Some(times), ..Rule::always(on, fault) }
    }

    /// Creates a rule for every call until the script is cleared.
    pub fn always(on: Kind, fault: Fault) -> Rule {
        Rule { on, times: None, skip: 0, fault }
    }

    /// Answers this many calls normally first.
    #[must_use]
    pub fn after(self, skip: u32) -> Rule {
        Rule { skip, ..self }
    }
}

/// A fault in a response.
///
/// A fault leaves codes and grants as they are, as if the call had never arrived, except where it says that the
/// response was computed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Waits, then answers normally. Milliseconds in JSON.
    Delay(#[serde(with = "millis")] Duration),
    /// Computes the response at once, grants and rotations included, and delays it.
    DelayAfterIssue(#[serde(with = "millis")] Duration),
    /// Waits for [`crate::FakeHubSpot::release`], then answers normally.
    Hold,
    /// Computes the response at once, grants and rotations included, and holds it until
    /// [`crate::FakeHubSpot::release`].
    HoldAfterIssue,
    /// Sends nothing for so long, then closes the connection.
    Hang(#[serde(with = "millis")] Duration),
    /// Closes the connection without a byte.
    CloseBeforeAnswer,
    /// Sends the head of a 200 response and closes.
    CloseAfterHeaders,
    /// Announces a whole JSON body, sends half of it and closes.
    HalfBody,
    /// Computes the response, grants and rotations included, and resets the connection instead of sending it.
    ResetAfterIssue,
    /// Any status with any body.
    Status {
        /// The status, also one that no standard defines.
        status: u16,
        /// More headers, such as `Retry-After`.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// The body as it is.
        #[serde(default)]
        body: String,
    },
    /// A 200 response with any text.
    Body {
        /// The `Content-Type`; `None` sends none.
        #[serde(default)]
        content_type: Option<String>,
        /// The body as it is.
        body: String,
    },
    /// A 200 response with any JSON.
    Json(Value),
    /// An error in the shape of RFC 6749, in HubSpot's own, or with the fields of both.
    Oauth {
        /// The status, usually 400.
        status: u16,
        /// `error` of RFC 6749.
        #[serde(default)]
        error: Option<String>,
        /// HubSpot's status for it, such as `BAD_REFRESH_TOKEN`.
        #[serde(default)]
        hubspot_status: Option<String>,
        /// The message.
        message: String,
    },
    /// Computes the response and changes its JSON body when it is a 200.
    Patch {
        /// Fields that are added or replaced.
        #[serde(default)]
        set: Map<String, Value>,
        /// Fields that are left out.
        #[serde(default)]
        drop: Vec<String>,
    },
    /// A redirect.
    Redirect {
        /// The status, such as 307.
        status: u16,
        /// The `Location`.
        location: String,
    },
    /// A 200 response whose JSON string never ends.
    Endless,
    /// A 200 response that arrives at one byte per second.
    Drip,
    /// A well-formed 200 response of this many bytes, whose tokens belong to no grant.
    Large(usize),
    /// A chunked 200 response whose second chunk has an invalid size.
    BadChunk,
    /// A 200 response compressed with gzip without being requested.
    Gzip,
    /// Applies the other fault to this share of the calls and answers the rest normally.
    Sometimes {
        /// 0 to 100.
        percent: u8,
        /// The other fault.
        fault: Box<Fault>,
    },
}

impl Fault {
    /// Returns the name in the journal, the same as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Delay(_) => "delay",
            Fault::DelayAfterIssue(_) => "delay_after_issue",
            Fault::Hold => "hold",
            Fault::HoldAfterIssue => "hold_after_issue",
            Fault::Hang(_) => "hang",
            Fault::CloseBeforeAnswer => "close_before_answer",
            Fault::CloseAfterHeaders => "close_after_headers",
            Fault::HalfBody => "half_body",
            Fault::ResetAfterIssue => "reset_after_issue",
            Fault::Status { .. } => "status",
            Fault::Body { .. } => "body",
            Fault::Json(_) => "json",
            Fault::Oauth { .. } => "oauth",
            Fault::Patch { .. } => "patch",
            Fault::Redirect { .. } => "redirect",
            Fault::Endless => "endless",
            Fault::Drip => "drip",
            Fault::Large(_) => "large",
            Fault::BadChunk => "bad_chunk",
            Fault::Gzip => "gzip",
            Fault::Sometimes { .. } => "sometimes",
        }
    }

    /// Decides [`Fault::Sometimes`] at random.
    fn roll(self) -> Option<Fault> {
        match self {
            Fault::Sometimes { percent, fault } => {
                let dice = u16::from_be_bytes(random::bytes()) % 100;
                if dice < u16::from(percent) { fault.roll() } else { None }
            }
            sure => Some(sure),
        }
    }
}

#[derive(Default)]
pub(crate) struct Script(Vec<Rule>);

impl Script {
    pub(crate) fn order(&mut self, rule: Rule) {
        self.0.push(rule);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Returns the fault of the next call of this kind.
    pub(crate) fn next(&mut self, kind: Kind) -> Option<Fault> {
        // A rule for zero calls must not block the next one.
        self.0.retain(|rule| rule.times != Some(0));
        let at = self.0.iter().position(|rule| rule.on == kind)?;
        let rule = &mut self.0[at];
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        let fault = rule.fault.clone();
        if let Some(times) = &mut rule.times {
            *times -= 1;
            if *times == 0 {
                self.0.remove(at);
            }
        }
        fault.roll()
    }
}
