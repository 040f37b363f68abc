//! Idempotent requests: a request that is sent again with the same idempotency key receives the first response again.
//!
//! A response may contain a secret, so it is stored sealed, bound to its row.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::base::Base;
use super::retry::retry_write;
use crate::domain::id::ApiKeyId;
use crate::domain::random::Random;
use crate::domain::secret::Secret;
use crate::keyring::{Context, Keyring, OpenError};
use crate::store::{OnceFound, OnceLease, PlatformStore, StoreError};

/// The time for which the write of a response is retried while its caller waits.
const ANSWER_WRITE_RETRY: Duration = Duration::from_secs(5);

/// A response as it was first sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The headers that belong to the response, such as `Location`.
    pub headers: Vec<(String, String)>,
    /// The body; text, as all responses of the API are.
    pub body: String,
}

/// The decision on a request that has an idempotency key.
#[derive(Debug)]
pub enum Once {
    /// Run it, because it is the first, and then call `Idempotency::answered`.
    Do(OnceLease),
    /// Return this response, because the request was run before.
    Again(GivenAnswer),
    /// Refuse it, because the key was used for another request.
    Reused,
    /// Refuse it, because the first request is still running, for at most this long.
    Busy(Duration),
}

/// A failure of `Idempotency::once`.
#[derive(Debug, Error)]
pub enum OnceError {
    /// The request was run before, and its response cannot be read any more.
    #[error("the stored response could not be decrypted: {0}")]
    Lost(#[from] OpenError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Idempotent requests. Clones share everything.
#[derive(Debug, Clone)]
pub struct Idempotency {
    store: PlatformStore,
    keyring: Arc<Keyring>,
    random: Random,
}

impl Idempotency {
    pub(super) fn new(base: &Base) -> Self {
        Self {
            store: base.store.platform.clone(),
            keyring: Arc::clone(&base.keyring),
            random: base.random.clone(),
        }
    }

    /// Looks up whether this API key has sent the same request with this idempotency key before. `what` is all that a
    /// repeated request must share with the first: method, path and body.
    ///
    /// # Errors
    /// [`OnceError`]; then the request must not be run.
    pub async fn once(&self, caller: ApiKeyId, key: &str, what: &[&[u8]]) -> Result<Once, OnceError> {
        let id = Secret::new(format!("{caller} {key}")).hash().text();
        let lease = OnceLease { id, lease: self.random.uuid().to_string() };
        // The fingerprint is keyed, because a body may contain a secret that is short enough to be guessed.
        let fingerprint = self.keyring.fingerprint(&Secret::new(digest(what)));
        Ok(match self.store.acquire_once(lease.clone(), fingerprint).await? {
            OnceFound::Fresh => Once::Do(lease),
            OnceFound::Other => Once::Reused,
            OnceFound::Busy(left) => Once::Busy(left),
            OnceFound::Done(sealed) => {
                let answer = self.keyring.open(&sealed, context(&lease.id))?;
                Once::Again(serde_json::from_str(answer.expose()).map_err(|_| OpenError::Damaged)?)
            }
        })
    }

    /// Stores the response of a request, or releases the lease if the request has changed nothing. If the response
    /// cannot be stored, the caller still receives it; once the lease has expired, the request would be run again.
    pub async fn answered(&self, lease: OnceLease, answer: Option<&GivenAnswer>) {
        let kept = match answer {
            Some(answer) => {
                let plain = Secret::new(serde_json::to_string(answer).unwrap_or_default());
                let sealed = self.keyring.seal(&plain, context(&lease.id));
                let write = || self.store.finish_once(lease.clone(), sealed.clone());
                retry_write(ANSWER_WRITE_RETRY, write).await.map(|_| ())
            }
            None => self.store.release_once(lease).await,
        };
        if let Err(why) = kept {
            tracing::error!(error = %why, "failed to store the response for an idempotency key");
        }
    }
}

fn context(id: &str) -> Context<'_> {
    Context { kind: "answer", row: id, generation: 0, client_id: "" }
}

/// Returns a digest that includes the lengths, so that different lists of parts have different digests.
fn digest(what: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in what {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    format!("{:x}", hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_digests_depend_on_field_boundaries() {
        assert_eq!(digest(&[b"POST", b"/a"]), digest(&[b"POST", b"/a"]));
        assert_ne!(digest(&[b"POST", b"/ab"]), digest(&[b"POST/", b"ab"]));
    }
}
