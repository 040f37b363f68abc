//! Requests that are done once however often they are sent: under the same idempotency key the first answer is given
//! again.
//!
//! An answer may hold a secret, so it is stored sealed, for its row alone.

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

/// How long the writing of an answer is tried again while its caller waits.
const ANSWER_WRITE_RETRY: Duration = Duration::from_secs(5);

/// An answer as it was first given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenAnswer {
    /// The HTTP status.
    pub status: u16,
    /// Headers that belong to it, such as `Location`.
    pub headers: Vec<(String, String)>,
    /// The body; text, as all answers of the API are.
    pub body: String,
}

/// What becomes of a request with an idempotency key.
#[derive(Debug)]
pub enum Once {
    /// It is the first: do it, and say what came of it.
    Do(OnceLease),
    /// It was done before, and answered like this.
    Again(GivenAnswer),
    /// The key was used for another request.
    Reused,
    /// The first is still under way, for so long at most.
    Busy(Duration),
}

/// Why it is not known what becomes of it.
#[derive(Debug, Error)]
pub enum OnceError {
    /// It was done before, and its answer cannot be read any more.
    #[error("the answer cannot be opened: {0}")]
    Lost(#[from] OpenError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Requests that are done once. Clones share everything.
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

    /// Looks whether this API key has asked for the same under this idempotency key before. `what` is all that a
    /// repetition must have in common with the first: method, address and body.
    ///
    /// # Errors
    /// [`OnceError`]; the request is not to be done then.
    pub async fn once(&self, caller: ApiKeyId, key: &str, what: &[&[u8]]) -> Result<Once, OnceError> {
        let id = Secret::new(format!("{caller} {key}")).hash().text();
        let lease = OnceLease { id, lease: self.random.uuid().to_string() };
        // Keyed, because a body may hold a secret that is short enough to be found by trying.
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

    /// Keeps the answer of a request that was done, or gives the lease back if it has changed nothing. A caller is not
    /// refused its answer because it cannot be kept; once the lease is over, the request would be done again.
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
            tracing::error!(error = %why, "could not keep the answer to a request with an idempotency key");
        }
    }
}

fn context(id: &str) -> Context<'_> {
    Context { kind: "answer", row: id, generation: 0, client_id: "" }
}

/// Lengths go in too, so that no two different lists of parts are the same text.
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
    fn what_is_asked_for_has_another_digest_wherever_it_is_cut() {
        assert_eq!(digest(&[b"POST", b"/a"]), digest(&[b"POST", b"/a"]));
        assert_ne!(digest(&[b"POST", b"/ab"]), digest(&[b"POST/", b"ab"]));
    }
}
