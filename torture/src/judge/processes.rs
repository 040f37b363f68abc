//! What must hold of the processes.

use super::{Finding, at, found};
use crate::history::{EndReason, History};

/// More resident memory than a replica ever needs.
pub const MOST_MIB: u64 = 150;
/// How long a start may take until the service is ready.
const READY_MS: i64 = 5_000;

/// I10.
pub fn no_secret_logged(history: &History) -> Finding {
    found(history.leaks.clone(), String::new)
}

/// I11.
pub fn memory_within_bounds(history: &History) -> Finding {
    let heavy = history.resident_kib.iter().enumerate().filter(|(_, kib)| **kib > MOST_MIB * 1024);
    let violations =
        heavy.map(|(replica, kib)| format!("replica {replica} used {} MiB", kib / 1024)).collect();
    found(violations, String::new)
}

/// I12. A stop ends well, too.
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
                violations.push(format!("{who} has ended by itself at {}", at(history, moment)));
            }
            Some((moment, EndReason::Stopped { well: false, took_ms })) => violations.push(format!(
                "{who} was told to stop at {} and did not end well within {took_ms} ms",
                at(history, moment)
            )),
            _ => {}
        }
    }
    found(violations, String::new)
}
