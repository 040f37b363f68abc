//! Signals, resource limits, and protection against leaking secrets.

use rustix::process::{DumpableBehavior, Resource, Rlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Returns a token that the first SIGTERM, SIGINT or SIGHUP cancels: closing the terminal stops the service cleanly
/// too. Further signals do not shorten the stop: tokens that HubSpot has issued must still be saved, which is part of
/// the drain after the first signal.
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

/// Raises the limit on open files to the maximum: each page that waits for its outcome holds a connection.
pub(crate) fn make_room() {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    if let Err(why) = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(error = %why, "failed to raise the open files limit");
    }
}

/// Disables core dumps, stops other processes from reading the memory of this one, and makes new files private: all
/// three could leak tokens.
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
