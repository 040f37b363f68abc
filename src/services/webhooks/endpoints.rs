//! Webhook endpoints: create, change, rotate secrets, test, list deliveries, delete.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use url::Url;

use super::deliveries::Deliveries;
use super::secrets::{Secrets, Unreadable, open_secrets, seal_secrets};
use crate::domain::clock::Clock;
use crate::domain::event::EventTypes;
use crate::domain::id::WebhookId;
use crate::domain::project::ProjectId;
use crate::domain::random::Random;
use crate::domain::secret::Secret;
use crate::domain::webhook::DisabledReason;
use crate::domain::webhook_headers::WebhookHeaders;
use crate::keyring::Keyring;
use crate::services::platform::Base;
use crate::store::{
    Backlog, DeliveryCursor, DeliveryFilter, Endpoint, EndpointChanges, StoreError, WebhookDelivery,
    WebhookStore,
};
use crate::webhook::{self, NotAllowed, Webhooks as Sender};

/// The reason for a failed operation on an endpoint.
#[derive(Debug, Error)]
pub enum WebhookError {
    /// There is no such endpoint.
    #[error("the endpoint was not found")]
    Unknown,
    /// The endpoint has no such delivery.
    #[error("the delivery was not found")]
    UnknownDelivery,
    /// Requests to this URL are not allowed.
    #[error(transparent)]
    UrlNotAllowed(#[from] NotAllowed),
    /// The maximum number of endpoints exists already.
    #[error("there are too many endpoints")]
    TooMany,
    /// Its secrets cannot be opened.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The new URL has another origin, and the header fields are not given again.
    #[error("the header fields must be sent again")]
    HeadersNeeded,
    /// The endpoint is disabled, so nothing is sent to it.
    #[error("the endpoint is disabled")]
    Disabled,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Webhook endpoints. Clones share everything.
#[derive(Debug, Clone)]
pub struct Endpoints {
    store: WebhookStore,
    keyring: Arc<Keyring>,
    clock: Clock,
    random: Random,
    /// Sends messages to the host's backend.
    sender: Arc<Sender>,
    deliveries: Deliveries,
}

impl Endpoints {
    pub(super) fn new(base: &Base, sender: &Arc<Sender>, deliveries: &Deliveries) -> Self {
        let Base { store, keyring, clock, random, .. } = base.clone();
        let (sender, deliveries) = (Arc::clone(sender), deliveries.clone());
        Self { store: store.webhooks, keyring, clock, random, sender, deliveries }
    }

    /// Creates an endpoint. Its secret is returned only here.
    ///
    /// # Errors
    /// [`WebhookError`] if the URL is not allowed or there are too many endpoints.
    pub(crate) async fn add_webhook(
        &self,
        project_id: ProjectId,
        url: &str,
        types: Option<EventTypes>,
        headers: &WebhookHeaders,
    ) -> Result<(Endpoint, Secret), WebhookError> {
        let url = self.sender.check(url).await?.to_string();
        let (id, now) = (WebhookId::random(&self.random), self.clock.now());
        let secret = webhook::new_secret(&self.random);
        let secrets = Secrets::default().rotated(&secret, now, now).with_headers(headers);
        let sealed = seal_secrets(&self.keyring, id, 1, &secrets);
        let endpoint = Endpoint {
            id,
            url,
            types,
            enabled: true.into(),
            disabled_reason: None,
            key_id: sealed.key_id,
            secrets_sealed: sealed.ciphertext,
            generation: 1,
            overlap_until: None,
            created_at: now,
            project_id,
        };
        if !self.store.add_endpoint(endpoint.clone()).await? {
            return Err(WebhookError::TooMany);
        }
        tracing::info!(webhook = %id, "webhook endpoint created");
        Ok((endpoint, secret))
    }

    /// Returns the endpoints of a project, in the order of their creation.
    pub async fn webhooks(&self, project: &ProjectId) -> Result<Vec<Endpoint>, StoreError> {
        self.store.endpoints_of(project).await
    }

    /// Returns the waiting deliveries, to all endpoints together.
    pub async fn webhooks_waiting(&self) -> Result<Backlog, StoreError> {
        self.store.waiting_deliveries().await
    }

    /// Returns one endpoint.
    ///
    /// # Errors
    /// [`WebhookError::Unknown`] if there is no such endpoint.
    pub async fn webhook(&self, id: WebhookId) -> Result<Endpoint, WebhookError> {
        self.store.endpoint(id).await?.ok_or(WebhookError::Unknown)
    }

    /// Changes an endpoint. Unless its header fields are given again, its origin must stay the same: they may be
    /// credentials, which another receiver must not get.
    ///
    /// # Errors
    /// [`WebhookError`] if there is no such endpoint, or its new URL is not allowed.
    pub(crate) async fn change_webhook(
        &self,
        id: WebhookId,
        changes: EndpointChanges,
        headers: Option<&WebhookHeaders>,
    ) -> Result<Endpoint, WebhookError> {
        // An unknown endpoint is reported first, whatever the URL.
        self.webhook(id).await?;
        let url = match &changes.url {
            Some(url) => Some(self.sender.check(url).await?),
            None => None,
        };
        loop {
            let endpoint = self.webhook(id).await?;
            let moves = url.as_ref().is_some_and(|url| !is_at(&endpoint, url));
            let secrets = match headers {
                Some(headers) => Some(open_secrets(&self.keyring, &endpoint)?.with_headers(headers)),
                None if moves && !open_secrets(&self.keyring, &endpoint)?.headers.is_empty() => {
                    return Err(WebhookError::HeadersNeeded);
                }
                None => None,
            };
            let sealed =
                secrets.map(|secrets| seal_secrets(&self.keyring, id, endpoint.generation + 1, &secrets));
            let url = url.as_ref().map(ToString::to_string);
            let changes = EndpointChanges { url, secrets: sealed, ..changes.clone() };
            let changed = self.store.change_endpoint(id, endpoint.generation, changes).await?;
            if let Some(changed) = changed {
                return Ok(changed);
            }
        }
    }

    /// Returns the names of the header fields that go with each message; none if they cannot be opened.
    pub fn header_names(&self, endpoint: &Endpoint) -> Vec<String> {
        let secrets = open_secrets(&self.keyring, endpoint).unwrap_or_default();
        secrets.headers().map(|(name, _)| name.to_owned()).collect()
    }

    /// Deletes an endpoint with its pending deliveries, and returns it as it was.
    ///
    /// # Errors
    /// [`WebhookError::Unknown`] if there is no such endpoint.
    pub(crate) async fn remove_webhook(&self, id: WebhookId) -> Result<Endpoint, WebhookError> {
        let endpoint = self.webhook(id).await?;
        if !self.store.remove_endpoint(id).await? {
            return Err(WebhookError::Unknown);
        }
        tracing::info!(webhook = %id, "webhook endpoint deleted");
        Ok(endpoint)
    }

    /// Creates a new secret for an endpoint, returned only here. Older ones also sign for as long as `overlap`.
    ///
    /// # Errors
    /// [`WebhookError::Unknown`] if there is no such endpoint.
    pub(crate) async fn rotate_webhook_secret(
        &self,
        id: WebhookId,
        overlap: Duration,
    ) -> Result<(Endpoint, Secret), WebhookError> {
        let secret = webhook::new_secret(&self.random);
        loop {
            let endpoint = self.webhook(id).await?;
            let now = self.clock.now();
            // If their key was given up, no older secret is left to sign with, and no header field.
            let older = match open_secrets(&self.keyring, &endpoint) {
                Err(_) if endpoint.disabled_reason() == Some(DisabledReason::KeyLost) => Secrets::default(),
                opened => opened?,
            };
            let until = now.plus(overlap);
            let secrets = older.rotated(&secret, until, now);
            let overlap_until = (secrets.signing.len() > 1).then_some(until);
            let generation = endpoint.generation;
            let sealed = seal_secrets(&self.keyring, id, generation + 1, &secrets);
            if self.store.save_endpoint_secrets(id, generation, sealed, overlap_until).await? {
                tracing::info!(webhook = %id, "webhook endpoint secret rotated");
                return Ok((self.webhook(id).await?, secret));
            }
        }
    }

    /// Sends a test message to an endpoint, and returns the delivery.
    ///
    /// # Errors
    /// [`WebhookError`] if there is no such endpoint, or it is disabled.
    pub(crate) async fn test_webhook(&self, id: WebhookId) -> Result<WebhookDelivery, WebhookError> {
        let endpoint = self.webhook(id).await?;
        if !endpoint.enabled.is_set() {
            return Err(WebhookError::Disabled);
        }
        let event = format!("evt_{}", self.random.uuid().simple());
        self.store.queue_test(&endpoint, &event, self.clock.now()).await?;
        self.deliver_now(id, &event).await
    }

    /// Sends an event to an endpoint again, whatever its status, and returns the delivery.
    ///
    /// # Errors
    /// [`WebhookError`] if there is no such delivery, or the endpoint is disabled.
    pub(crate) async fn replay_delivery(
        &self,
        id: WebhookId,
        event: &str,
    ) -> Result<WebhookDelivery, WebhookError> {
        if !self.webhook(id).await?.enabled.is_set() {
            return Err(WebhookError::Disabled);
        }
        if !self.store.replay_delivery(id, event, self.clock.now()).await? {
            return Err(WebhookError::UnknownDelivery);
        }
        self.deliver_now(id, event).await
    }

    /// Queues up to `most` failed deliveries again, oldest first, and returns their number. The background job
    /// sends them.
    ///
    /// # Errors
    /// [`WebhookError`] if there is no such endpoint, or it is disabled.
    pub(crate) async fn replay_failed(
        &self,
        id: WebhookId,
        filter: DeliveryFilter,
        most: u64,
    ) -> Result<u64, WebhookError> {
        if !self.webhook(id).await?.enabled.is_set() {
            return Err(WebhookError::Disabled);
        }
        Ok(self.store.replay_deliveries(id, filter, most, self.clock.now()).await?)
    }

    /// Returns a delivery with its message.
    ///
    /// # Errors
    /// [`WebhookError`] if there is no such delivery.
    pub(crate) async fn delivery(
        &self,
        id: WebhookId,
        event: &str,
    ) -> Result<(WebhookDelivery, String), WebhookError> {
        self.webhook(id).await?;
        let delivery = self.store.delivery(id, event).await?.ok_or(WebhookError::UnknownDelivery)?;
        // Deleting an event deletes its deliveries, too.
        let event = self.store.event(event).await?.ok_or(WebhookError::UnknownDelivery)?;
        Ok((delivery, event.payload))
    }

    /// Sends an event now if a slot is free; otherwise the background job sends it.
    async fn deliver_now(&self, id: WebhookId, event: &str) -> Result<WebhookDelivery, WebhookError> {
        for delivery in self.deliveries.acquire_deliveries_to(id).await? {
            let is_wanted = delivery.event_id() == event;
            let work = self.deliveries.deliver_webhook(delivery);
            if is_wanted {
                let _ = work.await;
            }
        }
        self.store.delivery(id, event).await?.ok_or(WebhookError::UnknownDelivery)
    }

    /// Returns the deliveries to an endpoint, newest first, starting after `cursor`.
    ///
    /// # Errors
    /// [`WebhookError::Unknown`] if there is no such endpoint.
    pub async fn deliveries(
        &self,
        id: WebhookId,
        filter: DeliveryFilter,
        cursor: Option<DeliveryCursor>,
        limit: u32,
    ) -> Result<Vec<WebhookDelivery>, WebhookError> {
        self.webhook(id).await?;
        Ok(self.store.deliveries(id, filter, cursor, limit).await?)
    }
}

/// Returns whether an endpoint is at the origin of this URL.
fn is_at(endpoint: &Endpoint, url: &Url) -> bool {
    Url::parse(&endpoint.url).is_ok_and(|known| known.origin() == url.origin())
}
