//! Whether the service can do its work, and what troubles it.

use crate::services::{Services, StoreError};

/// The state of the service, for its operator.
#[derive(Debug)]
pub struct Readiness {
    /// Whether the database answers: without it nothing can be served.
    pub database: bool,
    /// Whether the process is on its way out.
    pub stopping: bool,
    /// Why refreshes are held back, if they are: HubSpot refuses our own requests, or does not answer. Reads are
    /// served all the same.
    pub hubspot: Option<&'static str>,
}

impl Services {
    /// Looks.
    pub async fn readiness(&self) -> Readiness {
        let ping = tokio::time::timeout(std::time::Duration::from_secs(3), self.0.store.ping()).await;
        Readiness {
            database: matches!(ping, Ok(Ok(()))),
            stopping: self.is_stopping(),
            hubspot: self.0.gate.shut().map(|(code, _)| code),
        }
    }

    /// How many connections there are in each state.
    pub async fn connection_counts(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.0.store.count_tokens().await
    }
}
