//! Whether the service can do its work, and what is wrong otherwise.

use std::sync::atomic::Ordering;

use super::Maintenance;
use crate::domain::failure::FailureCode;

/// The state of the service, for its operator.
#[derive(Debug)]
pub struct Readiness {
    /// Whether the database answers: nothing can be served without it.
    pub database: bool,
    /// Whether the process is stopping.
    pub stopping: bool,
    /// The reason for holding refreshes back, if any: HubSpot refuses our own requests, or does not answer.
    /// Reads are still served.
    pub hubspot: Option<FailureCode>,
}

impl Maintenance {
    /// Returns the state of the service.
    pub async fn readiness(&self) -> Readiness {
        let ping = tokio::time::timeout(std::time::Duration::from_secs(3), self.database.ping()).await;
        Readiness {
            database: matches!(ping, Ok(Ok(()))),
            stopping: self.stopping.load(Ordering::SeqCst),
            hubspot: self.circuit_breaker.open_reason().map(|(code, _)| code),
        }
    }
}
