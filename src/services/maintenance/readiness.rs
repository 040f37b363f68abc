//! Whether the service can do its work, and what troubles it.

use std::sync::atomic::Ordering;

use super::Maintenance;
use crate::domain::failure::FailureCode;

/// The state of the service, for its operator.
#[derive(Debug)]
pub struct Readiness {
    /// Whether the database answers: without it nothing can be served.
    pub database: bool,
    /// Whether the process is on its way out.
    pub stopping: bool,
    /// Why refreshes are held back, if they are: HubSpot refuses our own requests, or does not answer. Reads are
    /// served all the same.
    pub hubspot: Option<FailureCode>,
}

impl Maintenance {
    /// Looks.
    pub async fn readiness(&self) -> Readiness {
        let ping = tokio::time::timeout(std::time::Duration::from_secs(3), self.database.ping()).await;
        Readiness {
            database: matches!(ping, Ok(Ok(()))),
            stopping: self.stopping.load(Ordering::SeqCst),
            hubspot: self.circuit_breaker.open_reason().map(|(code, _)| code),
        }
    }
}
