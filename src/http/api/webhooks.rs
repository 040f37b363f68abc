//! /api/hubspot/webhooks: endpoints of the host's backend, and what was sent to them.

use std::time::Duration;

use actix_web::web::{self as actix, Data, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::caller::caller;
use super::webhook_bodies::{
    DeliveryBody, DeliveryPage, NewWebhook, SecretRotation, WebhookBody, WebhookChanges, WebhookList,
    event_types, headers,
};
use crate::domain::api_key::ApiScope;
use crate::domain::clock::Moment;
use crate::domain::id::WebhookId;
use crate::domain::webhook::{DeliveryStatus, OVERLAP};
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::http::request::body::ApiJson;
use crate::http::{Web, at};
use crate::services::EndpointChanges;

/// The longest time for which an older secret signs beside a newer one, in seconds.
const LONGEST_OVERLAP: u64 = 7 * 24 * 3600;
const PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 100;

/// Its routes.
pub(super) fn routes(routes: &mut ServiceConfig) {
    routes
        .service(
            at("/api/hubspot/webhooks", actix::post().to(create_webhook))
                .route(actix::get().to(list_webhooks)),
        )
        .service(
            at("/api/hubspot/webhooks/{id}", actix::get().to(get_webhook))
                .route(actix::patch().to(update_webhook))
                .route(actix::delete().to(delete_webhook)),
        )
        .service(at("/api/hubspot/webhooks/{id}/rotate-secret", actix::post().to(rotate_webhook_secret)))
        .service(at("/api/hubspot/webhooks/{id}/test", actix::post().to(test_webhook)))
        .service(at("/api/hubspot/webhooks/{id}/deliveries", actix::get().to(list_webhook_deliveries)))
        .service(at(
            "/api/hubspot/webhooks/{id}/deliveries/{delivery_id}/replay",
            actix::post().to(replay_webhook_delivery),
        ));
}

/// Makes an endpoint. Its signing secret is in this answer alone.
#[utoipa::path(
    post, path = "/api/hubspot/webhooks", tag = "webhooks", security(("api_key" = ["webhooks"])),
    request_body = NewWebhook,
    responses(
        (status = 201, description = "The endpoint, with its secret.", body = WebhookBody),
        (status = 400, description = "`invalid_json`, `webhook_url_not_allowed`"),
        (status = 409, description = "`too_many_webhooks`"),
    )
)]
pub async fn create_webhook(request: HttpRequest, web: Data<Web>, body: ApiJson<NewWebhook>) -> Handled {
    caller(&request, &web, ApiScope::Webhooks).await?;
    let NewWebhook { url, events, headers: fields } = body.0;
    let fields = headers(fields)?;
    let (endpoint, secret) =
        web.services.webhooks.endpoints.add_webhook(&url, event_types(events)?, &fields).await?;
    Ok(HttpResponse::Created().json(WebhookBody::new(&web, endpoint, Some(&secret))))
}

/// Lists all endpoints; there are 16 at most.
#[utoipa::path(
    get, path = "/api/hubspot/webhooks", tag = "webhooks", security(("api_key" = ["webhooks"])),
    responses(
        (status = 200, description = "All endpoints.", body = WebhookList),
    )
)]
pub async fn list_webhooks(request: HttpRequest, web: Data<Web>) -> Handled {
    caller(&request, &web, ApiScope::Webhooks).await?;
    let all = web.services.webhooks.endpoints.webhooks().await?;
    let items = all.into_iter().map(|endpoint| WebhookBody::new(&web, endpoint, None)).collect();
    Ok(HttpResponse::Ok().json(WebhookList { items }))
}

/// Shows an endpoint.
#[utoipa::path(
    get, path = "/api/hubspot/webhooks/{id}", tag = "webhooks", security(("api_key" = ["webhooks"])),
    params(("id" = uuid::Uuid, Path, description = "The endpoint.")),
    responses(
        (status = 200, description = "The endpoint.", body = WebhookBody),
        (status = 404, description = "`webhook_not_found`"),
    )
)]
pub async fn get_webhook(request: HttpRequest, web: Data<Web>, id: Path<String>) -> Handled {
    caller(&request, &web, ApiScope::Webhooks).await?;
    let endpoint = web.services.webhooks.endpoints.webhook(webhook_id(&id)?).await?;
    Ok(HttpResponse::Ok().json(WebhookBody::new(&web, endpoint, None)))
}

/// Changes an endpoint. With a URL of another origin, the header fields are named again, or removed with `{}`: they may
/// be credentials for the receiver before.
#[utoipa::path(
    patch, path = "/api/hubspot/webhooks/{id}", tag = "webhooks", security(("api_key" = ["webhooks"])),
    params(("id" = uuid::Uuid, Path, description = "The endpoint.")),
    request_body = WebhookChanges,
    responses(
        (status = 200, description = "The endpoint as it is now.", body = WebhookBody),
        (status = 400, description = "`invalid_json`, `webhook_url_not_allowed`"),
        (status = 404, description = "`webhook_not_found`"),
        (status = 409, description = "`webhook_headers_needed`: the new URL is of another origin."),
    )
)]
pub async fn update_webhook(
    request: HttpRequest,
    web: Data<Web>,
    id: Path<String>,
    body: ApiJson<WebhookChanges>,
) -> Handled {
    caller(&request, &web, ApiScope::Webhooks).await?;
    let WebhookChanges { url, events, enabled, headers: fields } = body.0;
    let fields = fields.map(headers).transpose()?;
    let types = events.map(event_types).transpose()?;
    let changes = EndpointChanges { url, types, enabled, secrets: None };
    let endpoint =
        web.services.webhooks.endpoints.change_webhook(webhook_id(&id)?, changes, fields.as_ref()).await?;
    Ok(HttpResponse::Ok().json(WebhookBody::new(&web, endpoint, None)))
}

/// Removes an endpoint, with what waits for it.
#[utoipa::path(
    delete, path = "/api/hubspot/webhooks/{id}", tag = "webhooks", security(("api_key" = ["webhooks"])),
    params(("id" = uuid::Uuid, Path, description = "The endpoint.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, description = "`webhook_not_found`"),
    )
)]
pub async fn delete_webhook(request: HttpRequest, web: Data<Web>, id: Path<String>) -> Handled {
    caller(&request, &web, ApiScope::Webhooks).await?;
    web.services.webhooks.endpoints.remove_webhook(webhook_id(&id)?).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Gives an endpoint a new signing secret, which is in this answer alone.
#[utoipa::path(
    post, path = "/api/hubspot/webhooks/{id}/rotate-secret", tag = "webhooks",
    security(("api_key" = ["webhooks"])),
    params(("id" = uuid::Uuid, Path, description = "The endpoint.")), request_body = SecretRotation,
    responses(
        (status = 200, description = "The endpoint, with its new secret.", body = WebhookBody),
        (status = 400, description = "`invalid_json`"),
        (status = 404, description = "`webhook_not_found`"),
    )
)]
pub async fn rotate_webhook_secret(
    request: HttpRequest,
    web: Data<Web>,
    id: Path<String>,
    body: ApiJson<SecretRotation>,
) -> Handled {
    caller(&request, &web, ApiScope::Webhooks).await?;
    let overlap = body.0.overlap_seconds.map_or(OVERLAP, Duration::from_secs);
    if overlap.as_secs() > LONGEST_OVERLAP {
        return Err(Problem::invalid("/overlap_seconds", format!("It is {LONGEST_OVERLAP} at most.")));
    }
    let (endpoint, secret) =
        web.services.webhooks.endpoints.rotate_webhook_secret(webhook_id(&id)?, overlap).await?;
    Ok(HttpResponse::Ok().json(WebhookBody::new(&web, endpoint, Some(&secret))))
}

/// Sends the message `webhook.test` to an endpoint, and shows what came of it.
#[utoipa::path(
    post, path = "/api/hubspot/webhooks/{id}/test", tag = "webhooks", security(("api_key" = ["webhooks"])),
    params(("id" = uuid::Uuid, Path, description = "The endpoint.")),
    responses(
        (status = 200, description = "What came of it.", body = DeliveryBody),
        (status = 404, description = "`webhook_not_found`"),
        (status = 409, description = "`webhook_disabled`"),
    )
)]
pub async fn test_webhook(request: HttpRequest, web: Data<Web>, id: Path<String>) -> Handled {
    caller(&request, &web, ApiScope::Webhooks).await?;
    let delivery = web.services.webhooks.endpoints.test_webhook(webhook_id(&id)?).await?;
    Ok(HttpResponse::Ok().json(DeliveryBody::from(delivery)))
}

/// Which deliveries are shown.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeliveryQuery {
    cursor: Option<String>,
    status: Option<String>,
    limit: Option<u32>,
}

/// Lists what was sent to an endpoint, the newest first, for as long as it is remembered.
#[utoipa::path(
    get, path = "/api/hubspot/webhooks/{id}/deliveries", tag = "webhooks",
    security(("api_key" = ["webhooks"])),
    params(
        ("id" = uuid::Uuid, Path, description = "The endpoint."),
        ("cursor" = Option<String>, Query, pattern = "^[0-9]{1,15}\\.evt_[0-9a-f]{32}(_[0-9]{1,18})?$", description = "`next_cursor` of the page before."),
        ("status" = Option<String>, Query, pattern = "^(pending|delivered|failed)$", description = "`pending`, `delivered` or `failed` alone."),
        ("limit" = Option<u32>, Query, description = "How many: 50 without it, 100 at most.", minimum = 1, maximum = 100),
    ),
    responses(
        (status = 200, description = "A page of deliveries.", body = DeliveryPage),
        (status = 400, description = "`bad_request`"),
        (status = 404, description = "`webhook_not_found`"),
    )
)]
pub async fn list_webhook_deliveries(request: HttpRequest, web: Data<Web>, id: Path<String>) -> Handled {
    caller(&request, &web, ApiScope::Webhooks).await?;
    let query = Query::<DeliveryQuery>::from_query(request.query_string()).map_err(|_| {
        Problem::new(ProblemCode::BadRequest).hint("The query takes cursor, status and limit.")
    })?;
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(Problem::new(ProblemCode::BadRequest).hint(format!("limit is 1 to {LARGEST_PAGE}.")));
    }
    let wrong = |_| Problem::new(ProblemCode::BadRequest).hint("status is pending, delivered or failed.");
    let status = query.status.as_deref().map(str::parse::<DeliveryStatus>).transpose().map_err(wrong)?;
    let behind = query.cursor.as_deref().map(read_cursor).transpose()?;
    let page = web.services.webhooks.endpoints.deliveries(webhook_id(&id)?, status, behind, limit).await?;
    let last = page.last().filter(|_| page.len() == limit as usize);
    let next_cursor = last.map(|last| format!("{}.{}", last.queued_at.unix_ms(), last.event_id));
    let items = page.into_iter().map(DeliveryBody::from).collect();
    Ok(HttpResponse::Ok().json(DeliveryPage { items, next_cursor }))
}

/// Sends an event to an endpoint again, whatever became of it, and shows what came of it.
#[utoipa::path(
    post, path = "/api/hubspot/webhooks/{id}/deliveries/{delivery_id}/replay", tag = "webhooks",
    security(("api_key" = ["webhooks"])),
    params(
        ("id" = uuid::Uuid, Path, description = "The endpoint."),
        ("delivery_id" = String, Path, pattern = "^evt_[0-9a-f]{32}(_[0-9]{1,18})?$", description = "The delivery: the id of its event."),
    ),
    responses(
        (status = 200, description = "What came of it.", body = DeliveryBody),
        (status = 404, description = "`webhook_not_found`, `delivery_not_found`"),
        (status = 409, description = "`webhook_disabled`"),
    )
)]
pub async fn replay_webhook_delivery(
    request: HttpRequest,
    web: Data<Web>,
    path: Path<(String, String)>,
) -> Handled {
    caller(&request, &web, ApiScope::Webhooks).await?;
    let (id, event) = path.into_inner();
    let delivery = web.services.webhooks.endpoints.replay_delivery(webhook_id(&id)?, &event).await?;
    Ok(HttpResponse::Ok().json(DeliveryBody::from(delivery)))
}

fn webhook_id(text: &str) -> Result<WebhookId, Problem> {
    text.parse().map_err(|_| Problem::new(ProblemCode::WebhookNotFound))
}

fn read_cursor(cursor: &str) -> Result<(Moment, String), Problem> {
    let is_event = |id: &str| {
        let rest = id.strip_prefix("evt_").unwrap_or_default();
        !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'_')
    };
    let parts = cursor.split_once('.').filter(|(_, id)| is_event(id));
    let read = parts.and_then(|(at, id)| Some((Moment::from_unix_ms(at.parse().ok()?), id.to_owned())));
    read.ok_or_else(|| {
        Problem::new(ProblemCode::BadRequest).hint("cursor is the next_cursor of another page.")
    })
}
