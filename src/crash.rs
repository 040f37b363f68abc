//! Points at which tests may kill the process.
//!
//! With debug assertions, the process kills itself with SIGKILL at the point that `CRASH_AT` names: nothing is unwound,
//! flushed or reported. Release builds contain none of this.

/// All crash points, in the order in which the process reaches them.
pub const POINTS: &[&str] = &[
    "callback.consumed",
    "callback.answered",
    "callback.half_stored",
    "callback.stored",
    "callback.introduced",
    "install.taken",
    "install.answered",
    "pending_grant.held",
    "pending_grant.accepted",
    "refresh.claimed",
    "refresh.answered",
    "refresh.half_stored",
    "refresh.stored",
    "refresh.failed",
    "disconnect.half_removed",
    "disconnect.removed",
    "disconnect.revoked",
    "journal.read",
    "journal.half_stored",
    "journal.stored",
    "webhook.claimed",
    "webhook.answered",
    "rotate.sealed",
    "rotate.half_moved",
    "rotate.moved",
    "migrate.half_made",
    "migrate.made",
];

/// Kills the process if `CRASH_AT` names this point.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(debug_assertions)]
    die_at(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
fn die_at(name: &'static str) {
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::OnceLock;

    static CRASH_POINT: OnceLock<Option<String>> = OnceLock::new();
    if CRASH_POINT.get_or_init(|| std::env::var("CRASH_AT").ok()).as_deref() == Some(name) {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
