//! Webhook endpoints: made, changed, given new secrets, looked at, removed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use crate::domain::clock::Moment;
use crate::domain::event::EventType;
use crate::domain::id::WebhookId;
use crate::domain::secret::{Sealed, Secret};
use crate::domain::webhook::{Delivery, DeliveryStatus, Endpoint};
use crate::domain::webhook_headers::WebhookHeaders;
use crate::keyring::{Context, OpenError};
use crate::services::Services;
use crate::store::{Behind, EndpointChanges, StoreError};
use crate::webhook::{self, NotAllowed};

/// How many secrets sign at once at most: rotations that follow one another closely end the oldest early.
const MAX_SECRETS: usize = 3;

/// Why an endpoint is not touched.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// There is no such endpoint.
    #[error("there is no such endpoint")]
    Unknown,
    /// There is no such delivery to it.
    #[error("there is no such delivery")]
    UnknownDelivery,
    /// Nothing may be sent to this address.
    #[error(transparent)]
    UrlNotAllowed(#[from] NotAllowed),
    /// There are as many endpoints as there may be.
    #[error("there are too many endpoints")]
    TooMany,
    /// Its secrets cannot be opened.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It moves to another origin, and its header fields are not given anew.
    #[error("the header fields are needed again")]
    HeadersNeeded,
    /// It is disabled, so nothing is sent to it.
    #[error("the endpoint is disabled")]
    Disabled,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The stored secrets of an endpoint cannot be opened; the code says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the stored secrets cannot be opened: {0}")]
pub struct Unreadable(pub &'static str);

/// What is sealed of an endpoint.
#[derive(Default, Serialize, Deserialize)]
#[serde(from = "Stored")]
pub(in crate::services) struct Secrets {
    /// The signing secrets, newest first.
    signing: Vec<SigningSecret>,
    headers: Vec<Header>,
}

/// Secrets as they are stored. Before there were header fields, it was the list of signing secrets alone.
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
struct Header {
    name: String,
    value: String,
}

impl Drop for Header {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.value);
    }
}

#[derive(Serialize, Deserialize)]
struct SigningSecret {
    /// `whsec_…`.
    s: String,
    /// Until when it signs, in Unix milliseconds; the newest has no end.
    u: Option<i64>,
}

impl Drop for SigningSecret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.s);
    }
}

impl Secrets {
    /// Those that sign at this moment.
    pub fn good_at(&self, now: Moment) -> Vec<Secret> {
        let good = self.signing.iter().filter(|one| one.u.is_none_or(|until| until > now.unix_ms()));
        good.map(|one| Secret::new(one.s.clone())).collect()
    }

    /// These with a new one before them; the others end then, or before.
    fn rotated(mut self, new: &Secret, until: Moment, now: Moment) -> Self {
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

    fn with_headers(mut self, headers: &WebhookHeaders) -> Self {
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

impl Services {
    /// Makes an endpoint. Its secret is shown this once.
    ///
    /// # Errors
    /// [`WebhookError`] if the address is not allowed or there are too many endpoints.
    pub async fn add_webhook(
        &self,
        url: &str,
        types: Option<Vec<EventType>>,
        headers: &WebhookHeaders,
    ) -> Result<(Endpoint, Secret), WebhookError> {
        let parts = &self.0;
        let url = parts.webhooks.check(url).await?.to_string();
        let (id, now) = (WebhookId::random(&parts.chance), parts.clock.now());
        let secret = webhook::new_secret(&parts.chance);
        let secrets = Secrets::default().rotated(&secret, now, now).with_headers(headers);
        let secrets = self.seal_secrets(id, 1, &secrets);
        let endpoint = Endpoint {
            id,
            url,
            types,
            enabled: true,
            disabled_reason: None,
            secrets,
            generation: 1,
            overlap_until: None,
            created_at: now,
        };
        if !parts.store.add_endpoint(endpoint.clone()).await? {
            return Err(WebhookError::TooMany);
        }
        tracing::info!(webhook = %id, "a webhook endpoint was made");
        Ok((endpoint, secret))
    }

    /// All endpoints, in the order in which they were made.
    pub async fn webhooks(&self) -> Result<Vec<Endpoint>, StoreError> {
        self.0.store.endpoints().await
    }

    /// How many deliveries wait, to all endpoints together.
    pub async fn webhooks_waiting(&self) -> Result<i64, StoreError> {
        self.0.store.count_waiting_deliveries().await
    }

    /// One endpoint.
    ///
    /// # Errors
    /// [`WebhookError::Unknown`] if there is none.
    pub async fn webhook(&self, id: WebhookId) -> Result<Endpoint, WebhookError> {
        self.0.store.endpoint(id).await?.ok_or(WebhookError::Unknown)
    }

    /// Changes an endpoint. Where its header fields are not given anew, it stays at the same origin: they may be
    /// credentials, which another receiver must not get.
    ///
    /// # Errors
    /// [`WebhookError`] if there is none, or its new address is not allowed.
    pub async fn change_webhook(
        &self,
        id: WebhookId,
        changes: EndpointChanges,
        headers: Option<&WebhookHeaders>,
    ) -> Result<Endpoint, WebhookError> {
        // Whoever names no endpoint is told so, whatever the address.
        self.webhook(id).await?;
        let url = match &changes.url {
            Some(url) => Some(self.0.webhooks.check(url).await?),
            None => None,
        };
        loop {
            let endpoint = self.webhook(id).await?;
            let moves = url.as_ref().is_some_and(|url| !is_at(&endpoint, url));
            let secrets = match headers {
                Some(headers) => Some(self.open_secrets(&endpoint)?.with_headers(headers)),
                None if moves && !self.open_secrets(&endpoint)?.headers.is_empty() => {
                    return Err(WebhookError::HeadersNeeded);
                }
                None => None,
            };
            let sealed = secrets.map(|secrets| self.seal_secrets(id, endpoint.generation + 1, &secrets));
            let url = url.as_ref().map(ToString::to_string);
            let changes = EndpointChanges { url, secrets: sealed, ..changes.clone() };
            let changed = self.0.store.change_endpoint(id, endpoint.generation, changes).await?;
            if let Some(changed) = changed {
                return Ok(changed);
            }
        }
    }

    /// Returns the names of the header fields that go with each message; none if they cannot be opened.
    pub fn header_names(&self, endpoint: &Endpoint) -> Vec<String> {
        let secrets = self.open_secrets(endpoint).unwrap_or_default();
        secrets.headers().map(|(name, _)| name.to_owned()).collect()
    }

    /// Removes an endpoint, with what waits for it.
    ///
    /// # Errors
    /// [`WebhookError::Unknown`] if there is none.
    pub async fn remove_webhook(&self, id: WebhookId) -> Result<(), WebhookError> {
        if !self.0.store.remove_endpoint(id).await? {
            return Err(WebhookError::Unknown);
        }
        tracing::info!(webhook = %id, "a webhook endpoint was removed");
        Ok(())
    }

    /// Gives an endpoint a new secret, shown this once. The older ones sign beside it for as long as `overlap`.
    ///
    /// # Errors
    /// [`WebhookError::Unknown`] if there is no such endpoint.
    pub async fn rotate_webhook_secret(
        &self,
        id: WebhookId,
        overlap: Duration,
    ) -> Result<(Endpoint, Secret), WebhookError> {
        let parts = &self.0;
        let secret = webhook::new_secret(&parts.chance);
        loop {
            let endpoint = self.webhook(id).await?;
            let now = parts.clock.now();
            // Once their key was given up, there is nothing left to sign with beside the new one, and no header field.
            let older = match self.open_secrets(&endpoint) {
                Err(_) if endpoint.disabled_reason.as_deref() == Some("key_lost") => Secrets::default(),
                opened => opened?,
            };
            let until = now.plus(overlap);
            let secrets = older.rotated(&secret, until, now);
            let overlap_until = (secrets.signing.len() > 1).then_some(until);
            let generation = endpoint.generation;
            let sealed = self.seal_secrets(id, generation + 1, &secrets);
            if parts.store.save_endpoint_secrets(id, generation, sealed, overlap_until).await? {
                tracing::info!(webhook = %id, "a webhook endpoint has a new secret");
                return Ok((self.webhook(id).await?, secret));
            }
        }
    }

    /// Sends a message of its own to an endpoint, and says what came of it.
    ///
    /// # Errors
    /// [`WebhookError`] if there is no such endpoint, or it is disabled.
    pub async fn test_webhook(&self, id: WebhookId) -> Result<Delivery, WebhookError> {
        if !self.webhook(id).await?.enabled {
            return Err(WebhookError::Disabled);
        }
        let event = format!("evt_{}", self.0.chance.uuid().simple());
        self.0.store.queue_test(id, &event, self.0.clock.now()).await?;
        self.deliver_now(id, &event).await
    }

    /// Sends an event to an endpoint again, whatever became of it, and says what came of it.
    ///
    /// # Errors
    /// [`WebhookError`] if there is no such delivery, or the endpoint is disabled.
    pub async fn replay_delivery(&self, id: WebhookId, event: &str) -> Result<Delivery, WebhookError> {
        if !self.webhook(id).await?.enabled {
            return Err(WebhookError::Disabled);
        }
        if !self.0.store.replay_delivery(id, event, self.0.clock.now()).await? {
            return Err(WebhookError::UnknownDelivery);
        }
        self.deliver_now(id, event).await
    }

    /// What waits for its turn is left to the background.
    async fn deliver_now(&self, id: WebhookId, event: &str) -> Result<Delivery, WebhookError> {
        for underway in self.claim_deliveries_to(id).await? {
            let is_wanted = underway.is(event);
            let work = self.deliver_webhook(underway);
            if is_wanted {
                let _ = work.await;
            }
        }
        self.0.store.delivery(id, event).await?.ok_or(WebhookError::UnknownDelivery)
    }

    /// Deliveries to an endpoint, the newest first, from behind `behind` on.
    ///
    /// # Errors
    /// [`WebhookError::Unknown`] if there is no such endpoint.
    pub async fn deliveries(
        &self,
        id: WebhookId,
        status: Option<DeliveryStatus>,
        behind: Option<Behind>,
        limit: u32,
    ) -> Result<Vec<Delivery>, WebhookError> {
        self.webhook(id).await?;
        Ok(self.0.store.deliveries(id, status, behind, limit).await?)
    }

    fn seal_secrets(&self, id: WebhookId, generation: i64, secrets: &Secrets) -> Sealed {
        let text = Secret::new(serde_json::to_string(secrets).unwrap_or_default());
        self.0.keyring.seal(&text, secrets_context(&id.to_string(), generation))
    }

    /// The secrets of an endpoint, or the code of what is wrong with them.
    pub(in crate::services) fn open_secrets(&self, endpoint: &Endpoint) -> Result<Secrets, Unreadable> {
        let row = endpoint.id.to_string();
        let opened = self.0.keyring.open(&endpoint.secrets, secrets_context(&row, endpoint.generation));
        let text = opened.map_err(|why| match why {
            OpenError::UnknownKey(_) => Unreadable("unknown_key"),
            OpenError::Damaged | OpenError::Misplaced => Unreadable("integrity_error"),
        })?;
        serde_json::from_str(text.expose()).map_err(|_| Unreadable("integrity_error"))
    }
}

/// Returns whether an endpoint is at the origin of this URL.
fn is_at(endpoint: &Endpoint, url: &Url) -> bool {
    Url::parse(&endpoint.url).is_ok_and(|known| known.origin() == url.origin())
}

fn secrets_context(row: &str, generation: i64) -> Context<'_> {
    Context { kind: "webhook", row, generation, client_id: "" }
}
