//! GET /api/hubspot/events: lists the events of the project of the key.

use actix_web::HttpRequest;
use actix_web::web::Data;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::caller::authenticate;
use super::pagination::{EXPECTED_TIME, Page, PageParams, PageRequest};
use crate::domain::api_key::ApiScope;
use crate::domain::clock::Timestamp;
use crate::domain::event::EventType;
use crate::domain::id::ConnectionId;
use crate::http::Web;
use crate::http::problem::Handled;
use crate::services::{Event, EventFilter};

/// An event.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventBody {
    /// The id of the event, which is also that of the webhook message.
    id: String,
    #[serde(rename = "type")]
    kind: EventType,
    /// The connection that the event is about.
    #[schema(value_type = Option<uuid::Uuid>)]
    connection_id: Option<ConnectionId>,
    created_at: String,
    /// The message, as sent by webhooks.
    #[schema(value_type = Object)]
    payload: Value,
}

impl From<Event> for EventBody {
    fn from(event: Event) -> Self {
        let Event { id, kind, connection_id, created_at, payload, .. } = event;
        let payload = serde_json::from_str(&payload).unwrap_or_default();
        Self { id, kind, connection_id, created_at: created_at.rfc3339(), payload }
    }
}

/// Lists the events of the project that are still kept, the oldest first.
///
/// An event is listed one minute after it occurred; from then on no event is added before it. To continue later, send
/// the `created_at` of the last event as `created_after`, and skip the events whose `id` you already have.
#[utoipa::path(
    get, path = "/api/hubspot/events", tag = "webhooks", security(("api_key" = ["webhooks"])),
    params(
        PageParams,
        ("type" = Option<EventType>, Query, description = "Only the events of this type."),
        ("created_after" = Option<String>, Query, format = DateTime, description = "Only those created at this time or later."),
        ("created_before" = Option<String>, Query, format = DateTime, description = "Only those created before this time."),
    ),
    responses(
        (status = 200, description = "A page of events.", body = Page<EventBody>),
        (status = 400, description = "`bad_request`: a parameter is unknown, repeated or invalid."),
    )
)]
pub async fn list_events(request: HttpRequest, web: Data<Web>) -> Handled {
    let key = authenticate(&request, &web, ApiScope::Webhooks).await?;
    let page = PageRequest::<(i64, String)>::read(&request, &["type", "created_after", "created_before"])?;
    let events = &web.services.webhooks.events;
    let before: Option<Timestamp> = page.filters.get("created_before", EXPECTED_TIME)?;
    let filter = EventFilter {
        project: key.project_id.clone(),
        kind: page.filters.get("type", "the type of an event")?,
        created_after: page.filters.get("created_after", EXPECTED_TIME)?,
        created_before: before.map_or(events.settled(), |before| before.min(events.settled())),
        after: page.after.clone().map(|(at, id)| (Timestamp::from_unix_ms(at), id)),
    };
    let found = events.list(filter, page.rows()).await?;
    Ok(page.answer(found, |event| (event.created_at.unix_ms(), event.id.clone()), EventBody::from))
}
