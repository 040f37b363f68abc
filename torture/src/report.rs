//! The report of a run: a table of figures, and a line for each invariant.

use std::fmt::{self, Display, Formatter};

use fake_hubspot::Kind;

use crate::history::{Answer, EndReason, History, Read};
use crate::judge::{Cause, Finding, Loss, MOST_MIB, Verdict, losses};
use crate::plan::{LONG_FREEZE_MS, Step};

/// The number of violations that are shown for each invariant.
const SHOWN: usize = 12;

/// A history and the judge's findings.
pub struct Report<'a> {
    /// The history.
    pub history: &'a History,
    /// The findings.
    pub verdicts: &'a [Verdict],
    /// Whether every fault is listed.
    pub verbose: bool,
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.verbose {
            let began = self.history.lives.first().map_or(0, |life| life.from);
            for (at, Step { replica, trouble, for_ms, .. }) in &self.history.troubles {
                let at = (at - began) as f64 / 1000.0;
                writeln!(f, "    {at:>9.3} s  replica {replica}  {trouble:?} for {for_ms} ms")?;
            }
            writeln!(f)?;
        }
        for (name, value) in figures(self.history) {
            writeln!(f, "    {name:<44}{value}")?;
        }
        writeln!(f)?;
        for Verdict { name, sentence, finding } in self.verdicts {
            let (word, remark) = match finding {
                Finding::Held(remark) if remark.is_empty() => ("held", String::new()),
                Finding::Held(remark) => ("held", format!(" ({remark})")),
                Finding::Broken(_) => ("BROKEN", String::new()),
            };
            writeln!(f, "    {word:<12}{name:<5}{sentence}{remark}")?;
            let Finding::Broken(violations) = finding else { continue };
            for line in violations.iter().take(SHOWN) {
                writeln!(f, "                     {line}")?;
            }
            if violations.len() > SHOWN {
                writeln!(f, "                     and {} more", violations.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}

fn figures(history: &History) -> Vec<(&'static str, String)> {
    let ends: Vec<_> = history.lives.iter().filter_map(|life| life.end).collect();
    let kills = ends.iter().filter(|end| end.how == EndReason::Killed).count();
    let mut stops: Vec<_> = ends
        .iter()
        .filter_map(|end| match end.how {
            EndReason::Stopped { took_ms, .. } => Some(took_ms),
            _ => None,
        })
        .collect();
    let long = history.freezes.iter().filter(|one| one.to - one.from >= LONG_FREEZE_MS as i64).count();
    let of_database = history.cuts.iter().filter(|cut| cut.database).count();
    let refreshes: Vec<_> = history.calls.iter().filter(|call| call.kind == Kind::Refresh).collect();
    let good = refreshes.iter().filter(|call| call.status == Some(200)).count();
    let span = match (history.calls.first(), history.calls.last()) {
        (Some(first), Some(last)) => (last.at - first.at).max(1) as f64 / 1000.0,
        _ => 1.0,
    };
    let lost = losses(history);
    let explained = |cause: fn(&Cause) -> bool| {
        lost.iter().filter(|loss: &&Loss<'_>| loss.cause.as_ref().is_some_and(cause)).count()
    };
    let by_kill = explained(|cause| matches!(cause, Cause::Kill(_)));
    let by_freeze = explained(|cause| matches!(cause, Cause::Freeze(_)));
    let superseded = refreshes.iter().filter(|call| call.superseded).count();
    let mut starts: Vec<_> = history.lives.iter().filter_map(|life| Some(life.ready? - life.from)).collect();
    let mut commits = history.commit_ms.clone();
    let heaviest = history.resident_kib.iter().max().copied().unwrap_or(0) / 1024;
    let count = |kind| {
        history
            .calls
            .iter()
            .filter(|call| call.kind == kind && call.status.is_some_and(|it| it < 300))
            .count()
    };
    let mut figures = vec![
        ("connections stored at the end", history.stored.connections.len().to_string()),
        ("killed (SIGKILL)", kills.to_string()),
        (
            "stopped (SIGTERM), of these without an error",
            format!(
                "{}, {}",
                stops.len(),
                ends.iter().filter(|end| matches!(end.how, EndReason::Stopped { well: true, .. })).count()
            ),
        ),
        ("frozen (SIGSTOP), longer than a lease", format!("{}, {long}", history.freezes.len())),
        (
            "lines cut or stalled: database, HubSpot",
            format!("{of_database}, {}", history.cuts.len() - of_database),
        ),
        ("connects, revocations", format!("{}, {}", count(Kind::Exchange), count(Kind::Revoke))),
        ("refreshes that succeeded, that failed", format!("{good}, {}", refreshes.len() - good)),
        ("refreshes per second", format!("{:.1}", good as f64 / span)),
        ("refresh tokens lost", lost.len().to_string()),
        ("  excused by a kill, per kill", format!("{by_kill}, {:.2}", by_kill as f64 / kills.max(1) as f64)),
        ("  excused by a freeze of two minutes", by_freeze.to_string()),
        ("  without an excuse", (lost.len() - by_kill - by_freeze).to_string()),
        ("replaced refresh tokens presented", superseded.to_string()),
        (
            "HubSpot's response to the commit: median, p99",
            format!(
                "{} ms, {} ms",
                median(&mut commits),
                commits.get(commits.len() * 99 / 100).unwrap_or(&0)
            ),
        ),
        (
            "start to ready: median, maximum",
            format!("{} ms, {} ms", median(&mut starts), starts.last().unwrap_or(&0)),
        ),
        (
            "SIGTERM to end: median, maximum",
            format!("{} ms, {} ms", median(&mut stops), stops.last().unwrap_or(&0)),
        ),
        ("peak resident memory of a replica", format!("{heaviest} MiB of {MOST_MIB} MiB")),
    ];
    figures.extend(reads(&history.reads));
    figures
}

/// Returns the responses to backends' token requests, with their numbers.
fn reads(reads: &[Read]) -> Vec<(&'static str, String)> {
    let count = |is: fn(&Answer) -> bool| reads.iter().filter(|read| is(&read.answer)).count();
    let refused = |wanted: &str| {
        let is = |read: &&Read| matches!(&read.answer, Answer::Refused { code, .. } if code == wanted);
        reads.iter().filter(is).count()
    };
    let short = count(|answer| matches!(answer, Answer::Lent { promise, .. } if promise.is_short));
    let mut took: Vec<_> = reads.iter().map(|read| read.answered - read.at).collect();
    let seconds = match (reads.first(), reads.last()) {
        (Some(first), Some(last)) => (last.answered - first.at).max(1) as f64 / 1000.0,
        _ => 1.0,
    };
    vec![
        (
            "reads of access tokens, per second",
            format!("{}, {:.0}", reads.len(), reads.len() as f64 / seconds),
        ),
        (
            "  token (200), of these with expires_soon",
            format!("{}, {short}", count(|answer| matches!(answer, Answer::Lent { .. }))),
        ),
        ("  unchanged (304)", count(|answer| matches!(answer, Answer::Unchanged(_))).to_string()),
        (
            "  delayed (503): token, database",
            format!("{}, {}", refused("token_unavailable"), refused("storage_unavailable")),
        ),
        (
            "  needs reauthorization (409), not found (404)",
            format!("{}, {}", refused("needs_reauth"), refused("connection_not_found")),
        ),
        ("  connection broken, no response", count(|answer| matches!(answer, Answer::Silence)).to_string()),
        (
            "  time to the response: median, p99",
            format!("{} ms, {} ms", median(&mut took), took.get(took.len() * 99 / 100).unwrap_or(&0)),
        ),
    ]
}

/// Sorts the values and returns the median.
fn median(values: &mut [i64]) -> i64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}
