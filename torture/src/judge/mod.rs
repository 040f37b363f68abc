//! The judge: what must hold of every history, one function for each.

mod causes;
mod processes;
mod reads;
mod rows;
mod tokens;

#[cfg(test)]
mod tests;

pub use causes::{Cause, Loss, losses};
pub use processes::MOST_MIB;

use crate::history::History;

/// What the judge says of one invariant.
#[derive(Debug)]
pub struct Verdict {
    /// Its number.
    pub name: &'static str,
    /// What it demands.
    pub sentence: &'static str,
    /// Whether it held.
    pub finding: Finding,
}

/// Whether an invariant held.
#[derive(Debug)]
pub enum Finding {
    /// It held; the text, perhaps empty, says what had to be explained.
    Held(String),
    /// It did not, and here is what shows it.
    Broken(Vec<String>),
}

impl Verdict {
    /// Whether the invariant is broken.
    pub fn is_broken(&self) -> bool {
        matches!(self.finding, Finding::Broken(_))
    }
}

/// Judges a history.
pub fn judge(history: &History) -> Vec<Verdict> {
    let verdict = |name, sentence, finding| Verdict { name, sentence, finding };
    vec![
        verdict("I1", "no two refreshes are in flight for one refresh token", tokens::one_at_a_time(history)),
        verdict("I2", "no refresh token is presented that has been replaced", tokens::no_old_token(history)),
        verdict(
            "I3",
            "what is stored is what HubSpot accepts, for every connection",
            tokens::none_lost(history),
        ),
        verdict(
            "I4",
            "no access token is lent with less life than was asked for, unless it says so",
            reads::long_enough(history),
        ),
        verdict("I5", "what has ended here has ended at HubSpot", rows::no_grant_left(history)),
        verdict(
            "I6",
            "a connection is refreshed once in a life, and again only after an error",
            tokens::no_more_than_needed(history),
        ),
        verdict(
            "I7",
            "every active connection has one job, and nothing else has one",
            rows::one_job_each(history),
        ),
        verdict(
            "I8",
            "a connection that needs its person asks HubSpot for nothing",
            tokens::silent_when_needs_reauth(history),
        ),
        verdict("I9", "every attempt to connect comes to one end", rows::every_auth_request_ends(history)),
        verdict("I10", "no token, secret or key is in a log", processes::no_secret_logged(history)),
        verdict("I11", "memory stays within bounds", processes::memory_within_bounds(history)),
        verdict(
            "I12",
            "a killed replica is ready again within five seconds, and none ends by itself",
            processes::back_soon(history),
        ),
        verdict("I13", "an access token that is lent is one that HubSpot accepts", reads::accepted(history)),
        verdict(
            "lent",
            "access tokens are lent at all, so that I4 and I13 say something",
            reads::any(history),
        ),
        verdict("I14", "a token is refused or put off for a reason", reads::refused_for_a_reason(history)),
        verdict("rest", "everything comes to rest when the trouble is over", rest(history)),
    ]
}

/// After the trouble every connection is refreshed, every refusal decided, every revocation done.
fn rest(history: &History) -> Finding {
    found(history.unsettled.iter().cloned().collect(), String::new)
}

/// Broken if there is evidence, else held with a remark.
fn found(violations: Vec<String>, remark: impl FnOnce() -> String) -> Finding {
    if violations.is_empty() { Finding::Held(remark()) } else { Finding::Broken(violations) }
}

/// A moment as people read it: seconds since the run began.
fn at(history: &History, moment: i64) -> String {
    let began = history.lives.first().map_or(moment, |life| life.from);
    format!("{:.3} s", (moment - began) as f64 / 1000.0)
}
