//! Retries of writes that must not be lost.

use std::time::Duration;

use crate::store::StoreError;

/// Retries a write until it succeeds or the time is up: the tokens that HubSpot has just granted exist only in
/// memory.
pub(in crate::services) async fn retry_write<T, F>(
    patience: Duration,
    write: impl Fn() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut waited = Duration::ZERO;
    let mut pause = Duration::from_millis(50);
    loop {
        match write().await {
            Err(why) if waited < patience => {
                tracing::error!(error = %why, "failed to save new tokens; retrying");
                tokio::time::sleep(pause).await;
                waited += pause;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            outcome => return outcome,
        }
    }
}
