//! The judge: the invariants of every history, one function for each.

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

/// The judge's finding on one invariant.
#[derive(Debug)]
pub struct Verdict {
    /// Its number.
    pub name: &'static str,
    /// Its statement.
    pub sentence: &'static str,
    /// Its result.
    pub finding: Finding,
}

/// The result of an invariant.
#[derive(Debug)]
pub enum Finding {
    /// It held; the text, perhaps empty, says what was excused.
    Held(String),
    /// It did not hold, with the violations.
    Broken(Vec<String>),
}

impl Verdict {
    /// Returns whether the invariant is broken.
    pub fn is_broken(&self) -> bool {
        matches!(self.finding, Finding::Broken(_))
    }
}

/// Judges a history.
pub fn judge(history: &History) -> Vec<Verdict> {
    let verdict = |name, sentence, finding| Verdict { name, sentence, finding };
    vec![
        verdict("I1", "no two refreshes are in flight for one refresh token", tokens::one_at_a_time(history)),
        verdict("I2", "no replaced refresh token is presented", tokens::no_old_token(history)),
        verdict(
            "I3",
            "the stored refresh token of every connection is one that HubSpot accepts",
            tokens::none_lost(history),
        ),
        verdict(
            "I4",
            "every access token has the requested lifetime or a warning",
            reads::long_enough(history),
        ),
        verdict("I5", "grants of ended connections have ended at HubSpot", rows::no_grant_left(history)),
        verdict(
            "I6",
            "a connection is refreshed once per token lifetime, and again only after an error",
            tokens::no_more_than_needed(history),
        ),
        verdict(
            "I7",
            "every active connection has one job, and no other has one",
            rows::one_job_each(history),
        ),
        verdict(
            "I8",
            "a connection that needs reauthorization makes no calls to HubSpot",
            tokens::silent_when_needs_reauth(history),
        ),
        verdict("I9", "every flow ends once", rows::every_auth_request_ends(history)),
        verdict("I10", "no token, secret or key is in a log", processes::no_secret_logged(history)),
        verdict("I11", "memory stays within bounds", processes::memory_within_bounds(history)),
        verdict(
            "I12",
            "a killed replica is ready again within five seconds, and no replica ends by itself",
            processes::back_soon(history),
        ),
        verdict("I13", "HubSpot accepts every access token that is returned", reads::accepted(history)),
        verdict(
            "lent",
            "access tokens are returned at all, so that I4 and I13 are meaningful",
            reads::any(history),
        ),
        verdict(
            "I14",
            "every refusal and delay of a token has a reason",
            reads::refused_for_a_reason(history),
        ),
        verdict("rest", "everything comes to rest after the faults", rest(history)),
    ]
}

/// Checks that after the faults every connection is refreshed, every refusal decided, and every revocation done.
fn rest(history: &History) -> Finding {
    found(history.unsettled.iter().cloned().collect(), String::new)
}

/// Returns `Broken` if there are violations, else `Held` with a remark.
fn found(violations: Vec<String>, remark: impl FnOnce() -> String) -> Finding {
    if violations.is_empty() { Finding::Held(remark()) } else { Finding::Broken(violations) }
}

/// Formats a time as seconds since the start of the run.
fn at(history: &History, moment: i64) -> String {
    let began = history.lives.first().map_or(moment, |life| life.from);
    format!("{:.3} s", (moment - began) as f64 / 1000.0)
}
