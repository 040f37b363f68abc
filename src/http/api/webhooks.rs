//! /api/hubspot/webhooks: endpoints of the host's backend, and their deliveries.

use std::time::Duration;

use actix_web::web::{self as actix, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::caller::{authenticate, caller};
use super::pagination::{EXPECTED_TIME, Page, PageParams, PageRequest};
use super::webhook_bodies::{
    DeliveryBody, DeliveryWithPayload, NewWebhook, ReplayFilter, ReplayedDeliveries, SecretRotation,
    WebhookBody, WebhookChanges, WebhookWithSecret, event_types, headers,
};
use crate::domain::api_key::ApiScope;
use crate::domain::clock::Timestamp;
use crate::domain::id::WebhookId;
use crate::domain::webhook::{DEFAULT_SECRET_OVERLAP, DeliveryStatus};
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::http::request::body::{ApiJson, NoBody};
use crate::http::{Web, at};
use crate::services::{ApiKey, DeliveryFilter, Endpoint, EndpointChanges};

/// The longest time for which an older secret signs beside a newer one, in seconds.
const MAX_SECRET_OVERLAP: u64 = 7 * 24 * 3600;

/// The maximum number of deliveries that one request replays.
const MAX_REPLAYED: u64 = 1000;

/// The routes of webhook endpoints.
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
            "/api/hubspot/webhooks/{id}/deliveries/replay",
            actix::post().to(replay_webhook_deliveries),
        ))
        .service(at(
            "/api/hubspot/webhooks/{id}/deliveries/{delivery_id}",
            actix::get().to(get_webhook_delivery),
        ))
        .service(at(
            "/api/hubspot/webhooks/{id}/deliveries/{delivery_id}/replay",
            actix::post().to(replay_webhook_delivery),
        ));
}

/// Creates a webhook endpoint. Only this response has its signing secret.
#[utoipa::path(
    post, path = "/api/hubspot/webhooks", tag = "webhooks", security(("api_key" = ["webhooks"])),
    request_body = NewWebhook,
    responses(
        (status = 201, description = "The endpoint, with its secret.", body = WebhookWithSecret),
        (status = 400, description = "`invalid_json`, `validation_failed`, `webhook_url_not_allowed`"),
        (status = 409, description = "`too_many_webhooks`"),
    )
)]
pub async fn create_webhook(request: HttpRequest, web: Data<Web>, body: ApiJson<NewWebhook>) -> Handled {
    let key = caller(&request, &web, ApiScope::Webhooks).await?;
    let NewWebhook { url, events, headers: fields } = body.0;
    let fields = headers(fields)?;
    let (endpoint, secret) = web
        .services
        .webhooks
        .endpoints
        .add_webhook(key.project_id.clone(), &url, event_types(events)?, &fields)
        .await?;
    Ok(HttpResponse::Created().json(WebhookWithSecret::new(&web, endpoint, &secret)))
}

/// Lists webhook endpoints, the oldest first. The limit is 16.
#[utoipa::path(
    get, path = "/api/hubspot/webhooks", tag = "webhooks", security(("api_key" = ["webhooks"])),
    params(PageParams),
    responses(
        (status = 200, description = "A page of endpoints.", body = Page<WebhookBody>),
        (status = 400, description = "`bad_request`: a parameter is unknown, repeated or invalid."),
    )
)]
pub async fn list_webhooks(request: HttpRequest, web: Data<Web>) -> Handled {
    let key = authenticate(&request, &web, ApiScope::Webhooks).await?;
    let page = PageRequest::read(&request, &[])?;
    let place = |endpoint: &Endpoint| (endpoint.created_at.unix_ms(), endpoint.id.to_string());
    let mut all = web.services.webhooks.endpoints.webhooks(&key.project_id).await?;
    all.retain(|endpoint| page.after.as_ref().is_none_or(|after| place(endpoint) > *after));
    Ok(page.answer(all, place, |endpoint| WebhookBody::new(&web, endpoint)))
}

/// Returns a webhook endpoint.
#[utoipa::path(
    get, path = "/api/hubspot/webhooks/{id}", tag = "webhooks", security(("api_key" = ["webhooks"])),
    params(("id" = uuid::Uuid, Path, description = "The endpoint.")),
    responses(
        (status = 200, description = "The endpoint.", body = WebhookBody),
        (status = 404, description = "`webhook_not_found`"),
    )
)]
pub async fn get_webhook(request: HttpRequest, web: Data<Web>, id: Path<String>) -> Handled {
    let key = caller(&request, &web, ApiScope::Webhooks).await?;
    let endpoint = web.services.webhooks.endpoints.webhook(webhook_of(&web, &key, &id).await?).await?;
    Ok(HttpResponse::Ok().json(WebhookBody::new(&web, endpoint)))
}

/// Updates a webhook endpoint. If the new URL has another origin, send the header fields again, or remove them with
/// `{}`: they may be credentials for the previous receiver.
#[utoipa::path(
    patch, path = "/api/hubspot/webhooks/{id}", tag = "webhooks", security(("api_key" = ["webhooks"])),
    params(("id" = uuid::Uuid, Path, description = "The endpoint.")),
    request_body = WebhookChanges,
    responses(
        (status = 200, description = "The endpoint after the call.", body = WebhookBody),
        (status = 400, description = "`invalid_json`, `validation_failed`, `webhook_url_not_allowed`"),
        (status = 404, description = "`webhook_not_found`"),
        (status = 409, description = "`webhook_headers_needed`: the new URL has another origin."),
    )
)]
pub async fn update_webhook(
    request: HttpRequest,
    web: Data<Web>,
    id: Path<String>,
    body: ApiJson<WebhookChanges>,
) -> Handled {
    let key = caller(&request, &web, ApiScope::Webhooks).await?;
    let WebhookChanges { url, events, enabled, headers: fields } = body.0;
    let fields = fields.map(headers).transpose()?;
    let types = events.map(event_types).transpose()?;
    let changes = EndpointChanges { url, types, enabled, secrets: None };
    let endpoint = web
        .services
        .webhooks
        .endpoints
        .change_webhook(webhook_of(&web, &key, &id).await?, changes, fields.as_ref())
        .await?;
    Ok(HttpResponse::Ok().json(WebhookBody::new(&web, endpoint)))
}

/// Deletes a webhook endpoint and its pending deliveries.
#[utoipa::path(
    delete, path = "/api/hubspot/webhooks/{id}", tag = "webhooks", security(("api_key" = ["webhooks"])),
    params(("id" = uuid::Uuid, Path, description = "The endpoint.")),
    responses(
        (status = 200, description = "The deleted endpoint.", body = WebhookBody),
        (status = 404, description = "`webhook_not_found`"),
    )
)]
pub async fn delete_webhook(request: HttpRequest, web: Data<Web>, id: Path<String>, _: NoBody) -> Handled {
    let key = caller(&request, &web, ApiScope::Webhooks).await?;
    let endpoint = web.services.webhooks.endpoints.remove_webhook(webhook_of(&web, &key, &id).await?).await?;
    Ok(HttpResponse::Ok().json(WebhookBody::new(&web, endpoint)))
}

/// Rotates the signing secret of an endpoint. Only this response has the new secret.
#[utoipa::path(
    post, path = "/api/hubspot/webhooks/{id}/rotate-secret", tag = "webhooks",
    security(("api_key" = ["webhooks"])),
    params(("id" = uuid::Uuid, Path, description = "The endpoint.")), request_body = SecretRotation,
    responses(
        (status = 200, description = "The endpoint, with its new secret.", body = WebhookWithSecret),
        (status = 400, description = "`invalid_json`, `validation_failed`"),
        (status = 404, description = "`webhook_not_found`"),
    )
)]
pub async fn rotate_webhook_secret(
    request: HttpRequest,
    web: Data<Web>,
    id: Path<String>,
    body: ApiJson<SecretRotation>,
) -> Handled {
    let key = caller(&request, &web, ApiScope::Webhooks).await?;
    let overlap = body.0.overlap_seconds.map_or(DEFAULT_SECRET_OVERLAP, Duration::from_secs);
    if overlap.as_secs() > MAX_SECRET_OVERLAP {
        return Err(Problem::invalid(
            "/overlap_seconds",
            format_args!("must be at most {MAX_SECRET_OVERLAP}"),
        ));
    }
    let (endpoint, secret) = web
        .services
        .webhooks
        .endpoints
        .rotate_webhook_secret(webhook_of(&web, &key, &id).await?, overlap)
        .await?;
    Ok(HttpResponse::Ok().json(WebhookWithSecret::new(&web, endpoint, &secret)))
}

/// Sends the message `webhook.test` to an endpoint, and returns the result.
#[utoipa::path(
    post, path = "/api/hubspot/webhooks/{id}/test", tag = "webhooks", security(("api_key" = ["webhooks"])),
    params(("id" = uuid::Uuid, Path, description = "The endpoint.")),
    responses(
        (status = 200, description = "The delivery.", body = DeliveryBody),
        (status = 404, description = "`webhook_not_found`"),
        (status = 409, description = "`webhook_disabled`"),
    )
)]
pub async fn test_webhook(request: HttpRequest, web: Data<Web>, id: Path<String>, _: NoBody) -> Handled {
    let key = caller(&request, &web, ApiScope::Webhooks).await?;
    let delivery = web.services.webhooks.endpoints.test_webhook(webhook_of(&web, &key, &id).await?).await?;
    Ok(HttpResponse::Ok().json(DeliveryBody::from(delivery)))
}

/// Lists the deliveries to an endpoint that are still kept, the newest first.
#[utoipa::path(
    get, path = "/api/hubspot/webhooks/{id}/deliveries", tag = "webhooks",
    security(("api_key" = ["webhooks"])),
    params(
        ("id" = uuid::Uuid, Path, description = "The endpoint."),
        PageParams,
        ("status" = Option<DeliveryStatus>, Query, description = "`pending`, `delivered` or `failed`."),
        ("queued_after" = Option<String>, Query, format = DateTime, description = "Only those queued at this time or later."),
        ("queued_before" = Option<String>, Query, format = DateTime, description = "Only those queued before this time."),
    ),
    responses(
        (status = 200, description = "A page of deliveries.", body = Page<DeliveryBody>),
        (status = 400, description = "`bad_request`: a parameter is unknown, repeated or invalid."),
        (status = 404, description = "`webhook_not_found`"),
    )
)]
pub async fn list_webhook_deliveries(request: HttpRequest, web: Data<Web>, id: Path<String>) -> Handled {
    let key = authenticate(&request, &web, ApiScope::Webhooks).await?;
    let page = PageRequest::<(i64, String)>::read(&request, &["status", "queued_after", "queued_before"])?;
    let filter = DeliveryFilter {
        status: page.filters.get("status", "`pending`, `delivered` or `failed`")?,
        queued_after: page.filters.get("queued_after", EXPECTED_TIME)?,
        queued_before: page.filters.get("queued_before", EXPECTED_TIME)?,
    };
    let cursor = page.after.clone().map(|(at, id)| (Timestamp::from_unix_ms(at), id));
    let endpoints = &web.services.webhooks.endpoints;
    let found = endpoints.deliveries(webhook_of(&web, &key, &id).await?, filter, cursor, page.rows()).await?;
    Ok(page.answer(found, |one| (one.queued_at.unix_ms(), one.event_id.clone()), DeliveryBody::from))
}

/// Returns a delivery with its message.
#[utoipa::path(
    get, path = "/api/hubspot/webhooks/{id}/deliveries/{delivery_id}", tag = "webhooks",
    security(("api_key" = ["webhooks"])),
    params(
        ("id" = uuid::Uuid, Path, description = "The endpoint."),
        ("delivery_id" = String, Path, pattern = "^evt_[0-9a-f]{32}(_([0-9]{1,18}|[a-z_]{1,40}))?$", description = "The id of the delivery, which is that of its event."),
    ),
    responses(
        (status = 200, description = "The delivery.", body = DeliveryWithPayload),
        (status = 404, description = "`webhook_not_found`, `delivery_not_found`"),
    )
)]
pub async fn get_webhook_delivery(
    request: HttpRequest,
    web: Data<Web>,
    path: Path<(String, String)>,
) -> Handled {
    let key = caller(&request, &web, ApiScope::Webhooks).await?;
    let (id, event) = path.into_inner();
    let (delivery, payload) =
        web.services.webhooks.endpoints.delivery(webhook_of(&web, &key, &id).await?, &event).await?;
    Ok(HttpResponse::Ok().json(DeliveryWithPayload::new(delivery, &payload)))
}

/// Queues failed deliveries again, the oldest first: up to 1000 of those queued in this period. Repeat the call to
/// continue; pending and delivered ones are not changed.
#[utoipa::path(
    post, path = "/api/hubspot/webhooks/{id}/deliveries/replay", tag = "webhooks",
    security(("api_key" = ["webhooks"])),
    params(("id" = uuid::Uuid, Path, description = "The endpoint.")),
    request_body = ReplayFilter,
    responses(
        (status = 200, description = "The number of queued deliveries.", body = ReplayedDeliveries),
        (status = 400, description = "`invalid_json`, `validation_failed`"),
        (status = 404, description = "`webhook_not_found`"),
        (status = 409, description = "`webhook_disabled`"),
    )
)]
pub async fn replay_webhook_deliveries(
    request: HttpRequest,
    web: Data<Web>,
    id: Path<String>,
    body: ApiJson<ReplayFilter>,
) -> Handled {
    let key = caller(&request, &web, ApiScope::Webhooks).await?;
    let (id, filter) = (webhook_of(&web, &key, &id).await?, body.0.read()?);
    let replayed = web.services.webhooks.endpoints.replay_failed(id, filter, MAX_REPLAYED).await?;
    Ok(HttpResponse::Ok().json(ReplayedDeliveries { replayed, has_more: replayed == MAX_REPLAYED }))
}

/// Delivers an event to an endpoint again, whatever the status of the delivery, and returns the result.
#[utoipa::path(
    post, path = "/api/hubspot/webhooks/{id}/deliveries/{delivery_id}/replay", tag = "webhooks",
    security(("api_key" = ["webhooks"])),
    params(
        ("id" = uuid::Uuid, Path, description = "The endpoint."),
        ("delivery_id" = String, Path, pattern = "^evt_[0-9a-f]{32}(_([0-9]{1,18}|[a-z_]{1,40}))?$", description = "The id of the delivery, which is that of its event."),
    ),
    responses(
        (status = 200, description = "The delivery.", body = DeliveryBody),
        (status = 404, description = "`webhook_not_found`, `delivery_not_found`"),
        (status = 409, description = "`webhook_disabled`"),
    )
)]
pub async fn replay_webhook_delivery(
    request: HttpRequest,
    web: Data<Web>,
    path: Path<(String, String)>,
    _: NoBody,
) -> Handled {
    let key = caller(&request, &web, ApiScope::Webhooks).await?;
    let (id, event) = path.into_inner();
    let delivery =
        web.services.webhooks.endpoints.replay_delivery(webhook_of(&web, &key, &id).await?, &event).await?;
    Ok(HttpResponse::Ok().json(DeliveryBody::from(delivery)))
}

/// Returns the endpoint with this id, if it belongs to the project of the key.
async fn webhook_of(web: &Web, key: &ApiKey, id: &str) -> Result<WebhookId, Problem> {
    let not_found = || Problem::new(ProblemCode::WebhookNotFound);
    let endpoint = web.services.webhooks.endpoints.webhook(id.parse().map_err(|_| not_found())?).await?;
    (endpoint.project_id == key.project_id).then_some(endpoint.id).ok_or_else(not_found)
}
