//! Work that is finished even if the caller that started it goes away.

use std::panic::resume_unwind;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::store::StoreError;

/// The detached work of this process. Clones share it.
#[derive(Debug, Clone)]
pub(in crate::services) struct Tasks {
    tracker: TaskTracker,
    /// The runtime that runs the work: not that of a web worker, which may end before the work does.
    runtime: Handle,
}

impl Tasks {
    /// Returns a tracker without work. It must be called on the runtime that outlives the web workers.
    pub fn on_this_runtime() -> Self {
        Self { tracker: TaskTracker::new(), runtime: Handle::current() }
    }

    /// Runs work to its end, even if the caller that waits for it goes away.
    pub fn detach<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tracker.spawn_on(work.in_current_span(), &self.runtime)
    }

    /// Waits until all work that was started and must be finished is done.
    pub async fn drain(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Waits for detached work. If it panics, so does its caller, whose request is answered with `internal_error`.
pub(in crate::services) async fn joined<T, E: From<StoreError>>(
    work: JoinHandle<Result<T, E>>,
) -> Result<T, E> {
    work.await.unwrap_or_else(|why| match why.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        // The runtime is shutting down.
        Err(_) => Err(StoreError::Closed.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "as ordered")]
    async fn panics_in_detached_tasks_are_not_reported_as_a_closed_database() {
        let work = tokio::spawn(async { panic!("as ordered") });
        let _: Result<(), StoreError> = joined(work).await;
    }
}
