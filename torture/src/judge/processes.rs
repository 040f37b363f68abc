//! The invariants of the processes.

use super::{Finding, at, found};
use crate::history::{EndReason, History};

/// The limit for the resident memory of a replica.
pub const MOST_MIB: u64 = 150;
/// The longest time from a start until the service is ready.
const READY_MS: i64 = 5_000;

/// Checks I10.
pub fn no_secret_logged(history: &History) -> Finding {
    found(history.leaks.clone(), String::new)
}

/// Checks I11.
pub fn memory_within_bounds(history: &History) -> Finding {
    let heavy = history.resident_kib.iter().enumerate().filter(|(_, kib)| **kib > MOST_MIB * 1024);
    let violations =
        heavy.map(|(replica, kib)| format!("replica {replica} used {} MiB", kib / 1024)).collect();
    found(violations, String::new)
}

/// Checks I12. A stop must report success, too.
pub fn back_soon(history: &History) -> Finding {
    let mut violations = Vec::new();
    for life in &history.lives {
        let who = format!("replica {}, started at {},", life.replica, at(history, life.from));
        match (life.ready, life.end) {
            (Some(ready), _) if ready - life.from >= READY_MS => {
                violations.push(format!("{who} was ready after {} ms", ready - life.from));
            }
            (None, None) => violations.push(format!("{who} was never ready")),
            _ => {}
        }
        match life.end.map(|end| (end.at, end.how)) {
            Some((moment, EndReason::Crashed)) => {
                violations.push(format!("{who} ended by itself at {}", at(history, moment)));
            }
            Some((moment, EndReason::Stopped { well: false, took_ms })) => violations.push(format!(
                "{who} was stopped at {} and ended with an error after {took_ms} ms",
                at(history, moment)
            )),
            _ => {}
        }
    }
    found(violations, String::new)
}
