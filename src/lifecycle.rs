//! Signals, limits, and what a process must not leave behind.

use rustix::process::{DumpableBehavior, Resource, Rlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that the first SIGTERM, SIGINT or SIGHUP cancels: a terminal that is closed should cost no more than a stop.
/// A second one is not waited for: what HubSpot has given is still
/// saved, because the commit is part of what the first one drains.
///
/// # Errors
/// If the process cannot listen for signals.
pub fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let stop_signal = stop.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
        tracing::info!("stopping; finishing requests in flight");
        stop_signal.cancel();
    });
    Ok(stop)
}

/// As many open files as the system allows: each page that waits for its outcome holds a connection.
pub(crate) fn make_room() {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    if let Err(why) = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(error = %why, "failed to raise the open files limit");
    }
}

/// No core dumps, no reading of our memory by other processes, and files that are ours alone: all three could carry
/// tokens.
pub(crate) fn harden() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(why) = rustix::process::setrlimit(Resource::Core, none) {
        tracing::warn!(error = %why, "failed to disable core dumps");
    }
    if let Err(why) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(error = %why, "failed to make the process memory private");
    }
}
