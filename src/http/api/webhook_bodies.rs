//! The request and response bodies of webhook endpoints.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ArrayBuilder, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, Schema};

use super::pagination::EXPECTED_TIME;
use crate::domain::clock::Timestamp;
use crate::domain::event::{EventType, EventTypes};
use crate::domain::id::WebhookId;
use crate::domain::secret::Secret;
use crate::domain::webhook::{DeliveryStatus, DisabledReason};
use crate::domain::webhook_headers::{InvalidHeaders, MAX_HEADERS, MAX_VALUE, RESERVED, WebhookHeaders};
use crate::http::Web;
use crate::http::problem::Problem;
use crate::http::request::body::whole_number;
use crate::services::{DeliveryFilter, Endpoint, WebhookDelivery};

/// A new endpoint.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// The URL that receives the messages: https and public.
    #[schema(
        pattern = "^https?://[A-Za-z0-9.:\\[\\]-]+([/?][!\"$-~]*)?$",
        max_length = 2048,
        example = "https://app.example.com/hooks/hubspot"
    )]
    pub url: String,
    /// The event types that are delivered; all but `connection.refreshed` if omitted.
    #[serde(default)]
    #[schema(schema_with = events)]
    pub events: Option<Vec<String>>,
    /// Header fields that are sent with each message, such as `Authorization`: up to 8, with values of up to 1024
    /// visible characters. They are stored encrypted and never returned.
    #[serde(default)]
    #[schema(schema_with = header_fields)]
    pub headers: BTreeMap<String, Hidden>,
}

/// Changes to a webhook endpoint. Omitted fields stay unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChanges {
    /// The URL that receives the messages.
    #[serde(default)]
    #[schema(
        pattern = "^https?://[A-Za-z0-9.:\\[\\]-]+([/?][!\"$-~]*)?$",
        max_length = 2048,
        example = "https://app.example.com/hooks/hubspot"
    )]
    pub url: Option<String>,
    /// The event types that are delivered; `null` for all but `connection.refreshed`.
    #[serde(default, deserialize_with = "named")]
    #[schema(schema_with = events)]
    pub events: Option<Option<Vec<String>>>,
    /// Whether deliveries are enabled. Events that occur while they are disabled are not delivered later.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Header fields that are sent with each message. They replace all previous ones.
    #[serde(default)]
    #[schema(schema_with = changed_header_fields)]
    pub headers: Option<BTreeMap<String, Hidden>>,
}

/// A text that may be a credential.
#[derive(Debug)]
pub struct Hidden(pub Secret);

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        String::deserialize(value).map(|text| Self(Secret::new(text)))
    }
}

/// Reads header fields.
///
/// # Errors
/// `validation_failed` with a pointer to a field that cannot be sent.
pub(super) fn headers(fields: BTreeMap<String, Hidden>) -> Result<WebhookHeaders, Problem> {
    WebhookHeaders::parse(fields.into_iter().map(|(name, value)| (name, value.0))).map_err(|why| {
        let pointer = match &why {
            InvalidHeaders::Name(name) | InvalidHeaders::Value(name) => {
                format!("/headers/{}", name.replace('~', "~0").replace('/', "~1"))
            }
            InvalidHeaders::TooMany => "/headers".to_owned(),
        };
        Problem::invalid(pointer, why)
    })
}

/// A rotation of the signing secret.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretRotation {
    /// The number of seconds for which the previous secret also signs: 86400 if omitted, at most 604800.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 0, maximum = 604_800)]
    pub overlap_seconds: Option<u64>,
}

/// A webhook endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookBody {
    #[schema(value_type = uuid::Uuid)]
    id: WebhookId,
    url: String,
    /// The event types that are delivered; `null` for all but `connection.refreshed`.
    events: Option<Vec<&'static str>>,
    /// The names of the header fields that are sent with each message.
    header_names: Vec<String>,
    enabled: bool,
    /// The reason for which the endpoint is disabled: `gone` (it responded with 410), `by_request` or `key_lost`.
    disabled_reason: Option<&'static str>,
    /// The time until which the previous secret also signs.
    secret_overlap_until: Option<String>,
    created_at: String,
}

impl WebhookBody {
    /// Returns an endpoint as it is shown.
    pub fn new(web: &Web, endpoint: Endpoint) -> Self {
        Self {
            header_names: web.services.webhooks.endpoints.header_names(&endpoint),
            disabled_reason: endpoint.disabled_reason().map(DisabledReason::as_str),
            id: endpoint.id,
            url: endpoint.url,
            events: endpoint.types.map(|types| types.0.into_iter().map(EventType::as_str).collect()),
            enabled: endpoint.enabled.is_set(),
            secret_overlap_until: endpoint.overlap_until.map(Timestamp::rfc3339),
            created_at: endpoint.created_at.rfc3339(),
        }
    }
}

/// A webhook endpoint with its new signing secret.
#[derive(Serialize, ToSchema)]
pub struct WebhookWithSecret<'a> {
    #[serde(flatten)]
    webhook: WebhookBody,
    /// The signing secret. No other response shows it.
    secret: &'a str,
}

impl<'a> WebhookWithSecret<'a> {
    /// Returns an endpoint with the secret that was just created.
    pub fn new(web: &Web, endpoint: Endpoint, secret: &'a Secret) -> Self {
        Self { webhook: WebhookBody::new(web, endpoint), secret: secret.expose() }
    }
}

/// The delivery of an event to an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryBody {
    /// The id of the event, and of the message (`webhook-id`).
    #[schema(example = "evt_0b0fd2a3c3b84ef2a9e1a62ad3f8a5d4_3")]
    id: String,
    #[serde(rename = "type")]
    kind: EventType,
    status: DeliveryStatus,
    /// The number of attempts since the delivery was queued.
    attempts: i64,
    /// The time at which the event occurred or the delivery was replayed.
    queued_at: String,
    /// The time of the next attempt, while the delivery is pending.
    next_attempt_at: Option<String>,
    last_attempt_at: Option<String>,
    /// The HTTP status of the receiver's last response.
    last_status: Option<i64>,
    /// `timeout`, `unreachable`, `blocked`, `bad_answer`, `redirected`, `http_status`, `expired`, `too_many_waiting`,
    /// `unknown_key`, `integrity_error`, `bad_secret` or `no_client`.
    last_error: Option<String>,
    delivered_at: Option<String>,
}

impl From<WebhookDelivery> for DeliveryBody {
    fn from(one: WebhookDelivery) -> Self {
        let is_pending = one.status == DeliveryStatus::Pending;
        Self {
            id: one.event_id,
            kind: one.kind,
            status: one.status,
            attempts: one.attempts,
            queued_at: one.queued_at.rfc3339(),
            next_attempt_at: is_pending.then(|| one.run_at.rfc3339()),
            last_attempt_at: one.last_attempt_at.map(Timestamp::rfc3339),
            last_status: one.last_status,
            last_error: one.last_error,
            delivered_at: one.delivered_at.map(Timestamp::rfc3339),
        }
    }
}

/// A delivery with its message.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryWithPayload {
    #[serde(flatten)]
    delivery: DeliveryBody,
    /// The message, as sent to the receiver.
    #[schema(value_type = Object)]
    payload: Value,
}

impl DeliveryWithPayload {
    /// Returns a delivery with the text of its message.
    pub fn new(delivery: WebhookDelivery, payload: &str) -> Self {
        Self { delivery: delivery.into(), payload: serde_json::from_str(payload).unwrap_or_default() }
    }
}

/// A filter for the failed deliveries to replay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayFilter {
    /// Only those queued at this time or later.
    #[schema(format = DateTime)]
    queued_after: Option<String>,
    /// Only those queued before this time.
    #[schema(format = DateTime)]
    queued_before: Option<String>,
}

impl ReplayFilter {
    /// Reads the times.
    ///
    /// # Errors
    /// `validation_failed` with a pointer to an invalid time.
    pub(super) fn read(self) -> Result<DeliveryFilter, Problem> {
        let time = |text: Option<String>, place: &str| {
            let time = text.map(|text| text.parse::<Timestamp>()).transpose();
            time.map_err(|_| Problem::invalid(place, format_args!("must be {EXPECTED_TIME}")))
        };
        Ok(DeliveryFilter {
            status: Some(DeliveryStatus::Failed),
            queued_after: time(self.queued_after, "/queued_after")?,
            queued_before: time(self.queued_before, "/queued_before")?,
        })
    }
}

/// The result of a replay.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayedDeliveries {
    /// The number of deliveries that are pending again.
    pub replayed: u64,
    /// Whether there may be more; if so, repeat the request.
    pub has_more: bool,
}

/// Returns the schema of the event types that an endpoint may name.
fn events() -> Schema {
    let named = EventType::ALL.into_iter().filter(|kind| kind.can_be_named());
    let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(named.map(EventType::as_str)));
    let list = ArrayBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .items(word)
        .min_items(Some(1))
        .description(Some(
            "The event types that are delivered; if omitted or `null`, all but `connection.refreshed`.",
        ));
    list.build().into()
}

/// Returns the schema of an endpoint's header fields.
fn header_fields() -> Schema {
    header_fields_of(SchemaType::Type(Type::Object))
}

/// Returns the schema of the header fields in a change, where `null` leaves them unchanged.
fn changed_header_fields() -> Schema {
    header_fields_of(SchemaType::from_iter([Type::Object, Type::Null]))
}

fn header_fields_of(kind: SchemaType) -> Schema {
    let in_any_case = |word: &str| -> String {
        let letter = |letter: char| match letter.is_ascii_alphabetic() {
            true => format!("[{letter}{}]", letter.to_ascii_uppercase()),
            false => letter.to_string(),
        };
        word.chars().map(letter).collect::<String>() + if word.ends_with('-') { "" } else { "$" }
    };
    let reserved: Vec<_> = RESERVED.iter().map(|word| in_any_case(word)).collect();
    let name = format!("^(?!{})[A-Za-z0-9!#$%&'*+.^_`|~-]{{1,64}}$", reserved.join("|"));
    let value = ObjectBuilder::new()
        .schema_type(Type::String)
        .max_length(Some(MAX_VALUE))
        .pattern(Some("^([!-~]([ -~]*[!-~])?)?$"));
    let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some(name));
    let fields = ObjectBuilder::new()
        .schema_type(kind)
        .additional_properties(Some(value))
        .property_names(Some(name))
        .max_properties(Some(MAX_HEADERS))
        .examples([serde_json::json!({"authorization": "Bearer of-your-own"})])
        .description(Some(
            "Header fields that are sent with each message, such as `Authorization`. They are stored encrypted and never returned; a new object replaces the previous one.",
        ));
    fields.build().into()
}

/// Reads a member that is present, even if it is `null`.
fn named<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<Vec<String>>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// Parses the event types of an endpoint.
///
/// # Errors
/// `validation_failed` with a pointer to an unknown event type or to an empty list.
pub(super) fn event_types(words: Option<Vec<String>>) -> Result<Option<EventTypes>, Problem> {
    let Some(words) = words else { return Ok(None) };
    if words.is_empty() {
        let all = "must name at least one event; omit it for all but `connection.refreshed`, or set `enabled` to false";
        return Err(Problem::invalid("/events", all));
    }
    let mut types = Vec::new();
    for (at, word) in words.iter().enumerate() {
        match word.parse::<EventType>().ok().filter(|kind| kind.can_be_named()) {
            Some(kind) if types.contains(&kind) => {}
            Some(kind) => types.push(kind),
            None => {
                let known = EventType::ALL.into_iter().filter(|kind| kind.can_be_named());
                let known: Vec<_> = known.map(EventType::as_str).collect();
                let one = format!("must be one of `{}`", known.join("`, `"));
                return Err(Problem::invalid(format!("/events/{at}"), one));
            }
        }
    }
    Ok(Some(EventTypes(types)))
}
