//! The sealed part of an endpoint: its signing secrets and its header fields.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::clock::Timestamp;
use crate::domain::id::WebhookId;
use crate::domain::secret::{Sealed, Secret};
use crate::domain::webhook_headers::WebhookHeaders;
use crate::keyring::{Context, Keyring, OpenError};
use crate::store::Endpoint;

/// The number of secrets that sign at once: quick successive rotations end the oldest early.
const MAX_SECRETS: usize = 3;

/// The reason for stored secrets that cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// They are sealed with a key that is not configured.
    #[error("the stored secrets could not be decrypted: the key is missing")]
    KeyMissing,
    /// They are damaged or misplaced.
    #[error("the stored secrets could not be decrypted: they are damaged")]
    Damaged,
}

/// The sealed part of an endpoint.
#[derive(Default, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub(super) struct Secrets {
    /// The signing secrets, newest first.
    pub signing: Vec<SigningSecret>,
    pub headers: Vec<Header>,
}

/// Secrets as they are stored. Before there were header fields, only the list of signing secrets was stored.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Signing(Vec<SigningSecret>),
    All { signing: Vec<SigningSecret>, headers: Vec<Header> },
}

impl From<Stored> for Secrets {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Signing(signing) => Self { signing, headers: Vec::new() },
            Stored::All { signing, headers } => Self { signing, headers },
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct Header {
    name: String,
    value: String,
}

impl Drop for Header {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.value);
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct SigningSecret {
    /// The secret (`whsec_…`).
    s: String,
    /// The end of its validity, in Unix milliseconds; the newest has none.
    u: Option<i64>,
}

impl Drop for SigningSecret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.s);
    }
}

impl Secrets {
    /// Returns the secrets that sign at this time.
    pub fn good_at(&self, now: Timestamp) -> Vec<Secret> {
        let good = self.signing.iter().filter(|one| one.u.is_none_or(|until| until > now.unix_ms()));
        good.map(|one| Secret::new(one.s.clone())).collect()
    }

    /// Returns these secrets with a new one before them; the others end at `until`, or before.
    pub fn rotated(mut self, new: &Secret, until: Timestamp, now: Timestamp) -> Self {
        let signing = &mut self.signing;
        signing.retain(|one| one.u.is_none_or(|until| until > now.unix_ms()));
        for one in &mut *signing {
            one.u = Some(one.u.map_or(until.unix_ms(), |earlier| earlier.min(until.unix_ms())));
        }
        if until <= now {
            signing.clear();
        }
        signing.insert(0, SigningSecret { s: new.expose().to_owned(), u: None });
        signing.truncate(MAX_SECRETS);
        self
    }

    pub fn with_headers(mut self, headers: &WebhookHeaders) -> Self {
        let fields = headers.iter();
        let owned =
            fields.map(|(name, value)| Header { name: name.to_owned(), value: value.expose().to_owned() });
        self.headers = owned.collect();
        self
    }

    /// Returns the header fields that go with each message.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|header| (header.name.as_str(), header.value.as_str()))
    }
}

pub(super) fn seal_secrets(keyring: &Keyring, id: WebhookId, generation: i64, secrets: &Secrets) -> Sealed {
    let text = Secret::new(serde_json::to_string(secrets).unwrap_or_default());
    keyring.seal(&text, secrets_context(&id.to_string(), generation))
}

/// Opens the secrets of an endpoint.
pub(super) fn open_secrets(keyring: &Keyring, endpoint: &Endpoint) -> Result<Secrets, Unreadable> {
    let row = endpoint.id.to_string();
    let opened = keyring.open(&endpoint.secrets(), secrets_context(&row, endpoint.generation));
    let text = opened.map_err(|why| match why {
        OpenError::UnknownKey(_) => Unreadable::KeyMissing,
        OpenError::Damaged | OpenError::Misplaced => Unreadable::Damaged,
    })?;
    serde_json::from_str(text.expose()).map_err(|_| Unreadable::Damaged)
}

fn secrets_context(row: &str, generation: i64) -> Context<'_> {
    Context { kind: "webhook", row, generation, client_id: "" }
}
