//! The connections of the host's users: listed, refreshed and deleted by its backend.

use std::collections::BTreeMap;

use actix_web::http::header::LOCATION;
use actix_web::web::{self as actix, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{Object, Type};

use super::caller::{authenticate, caller, connection_of};
use super::connect_sessions::{ExternalUserIdWord, ScopeWord, metadata_text, portal, scopes};
use super::pagination::{EXPECTED_TIME, Page, PageParams, PageRequest};
use super::proxy::proxy;
use super::token::get_access_token;
use super::webhook_bodies::Hidden;
use crate::domain::api_key::ApiScope;
use crate::domain::clock::Timestamp;
use crate::domain::connection::ConnectionStatus;
use crate::domain::describe::describe;
use crate::domain::event::EventType;
use crate::domain::external::ExternalUserId;
use crate::domain::failure::FailureCode;
use crate::domain::id::{ConnectionId, PortalId};
use crate::domain::order::Order;
use crate::domain::scopes::Scopes;
use crate::http::browser::connection_body::sentence;
use crate::http::browser::disconnect::DisconnectAnswer;
use crate::http::paths::CONNECTIONS;
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::http::request::body::{ApiJson, NoBody, whole_number};
use crate::http::{Web, at};
use crate::services::{ConnectionFilter, Event, Import, Imported, ListedConnection};

/// The maximum length of a refresh token: longer than any of HubSpot's.
const MAX_REFRESH_TOKEN_LENGTH: usize = 4096;

/// Registers the routes of connections.
pub(super) fn routes(routes: &mut ServiceConfig) {
    routes.service(
        actix::scope(CONNECTIONS)
            .service(at("", actix::get().to(list_connections)).route(actix::post().to(import_connection)))
            .service(at("/{id}/token", actix::get().to(get_access_token)))
            .service(actix::scope("/{id}/proxy").default_service(actix::to(proxy)))
            .service(at("/{id}/history", actix::get().to(get_connection_history)))
            .service(at("/{id}/refresh", actix::post().to(refresh_connection)))
            .service(at("/{id}/uninstall", actix::post().to(uninstall_app)))
            .service(
                at("/{id}", actix::get().to(get_connection))
                    .route(actix::patch().to(update_connection))
                    .route(actix::delete().to(delete_connection)),
            ),
    );
}

/// A connection without its tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectionBody {
    #[schema(value_type = uuid::Uuid)]
    id: ConnectionId,
    /// The host's id of the user who owns the connection; null if a browser session owns it.
    external_user_id: Option<String>,
    /// The HubSpot account; null until HubSpot has named it.
    #[schema(value_type = Option<i64>)]
    portal_id: Option<PortalId>,
    /// The account's website.
    hub_domain: Option<String>,
    /// The e-mail address of the HubSpot user who connected.
    hub_user: Option<String>,
    time_zone: Option<String>,
    status: ConnectionStatus,
    /// The status as a sentence for the user.
    status_text: &'static str,
    /// The granted scopes; null until HubSpot has named them.
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<Scopes>,
    /// Scopes that were requested and not granted; empty while `scopes` is null.
    #[schema(value_type = Vec<String>)]
    missing_scopes: Scopes,
    /// The host's metadata.
    #[schema(value_type = Object)]
    metadata: Map<String, Value>,
    created_at: String,
    /// The time of the last authorization by the user.
    connected_at: String,
    /// The expiry time of the access token.
    expires_at: String,
    /// The time of the next refresh; null if none is scheduled.
    next_refresh_at: Option<String>,
    /// The code of the last failed refresh, until one succeeds.
    last_error: Option<String>,
    /// The time since which refreshes fail.
    error_since: Option<String>,
    /// A counter that rises by one with every refresh.
    generation: i64,
}

impl ConnectionBody {
    pub(super) fn of(listed: ListedConnection, now: Timestamp) -> Self {
        let ListedConnection { token, plan, external_user, metadata, .. } = listed;
        Self {
            id: token.id,
            external_user_id: external_user.map(String::from),
            portal_id: token.portal_id,
            status: token.status_at(now),
            status_text: sentence(&token, now),
            missing_scopes: token.missing_scopes(),
            hub_domain: token.hub_domain,
            hub_user: token.hub_user,
            time_zone: token.time_zone,
            scopes: token.scopes,
            metadata: metadata.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
            created_at: token.created_at.rfc3339(),
            connected_at: token.connected_at.rfc3339(),
            expires_at: token.expires_at.rfc3339(),
            next_refresh_at: plan.run_at.map(Timestamp::rfc3339),
            last_error: token.last_error,
            error_since: token.error_since.map(Timestamp::rfc3339),
            generation: token.generation,
        }
    }
}

/// Lists connections, the oldest first unless `order` is `desc`.
#[utoipa::path(
    get, path = "/api/hubspot/connections", tag = "connections", security(("api_key" = ["connections:read"])),
    params(
        PageParams,
        ("external_user_id" = Option<ExternalUserIdWord>, Query, description = "Only the connections of this user."),
        ("portal_id" = Option<u64>, Query, maximum = 9_007_199_254_740_991_u64, description = "Only the connections to this HubSpot account."),
        ("status" = Option<ConnectionStatus>, Query, description = "`active`, `degraded`, `needs_reauth` or `integrity_error`."),
        ("metadata" = Option<String>, Query, pattern = "^[A-Za-z0-9_.-]{1,100}:", description = "Only the connections whose metadata has this text under this key, as `key:value`."),
        ("created_after" = Option<String>, Query, format = DateTime, description = "Only those created at this time or later."),
        ("created_before" = Option<String>, Query, format = DateTime, description = "Only those created before this time."),
        ("order" = inline(Option<Order>), Query, description = "`asc` for the oldest first, `desc` for the newest first; `asc` if omitted."),
    ),
    responses(
        (status = 200, description = "A page.", body = Page<ConnectionBody>),
        (status = 400, description = "`bad_request`: a parameter is unknown, repeated or invalid."),
        (status = 403, description = "`api_key_scope_missing`: `connections:read`"),
    )
)]
pub async fn list_connections(request: HttpRequest, web: Data<Web>) -> Handled {
    let key = authenticate(&request, &web, ApiScope::ConnectionsRead).await?;
    let filters =
        ["external_user_id", "portal_id", "status", "metadata", "created_after", "created_before", "order"];
    let page = PageRequest::read(&request, &filters)?;
    let filter = ConnectionFilter {
        project: key.project_id.clone(),
        user: None,
        portal: page.filters.get("portal_id", "the number of a HubSpot account")?,
        status: page.filters.get("status", "`active`, `degraded`, `needs_reauth` or `integrity_error`")?,
        metadata: page
            .filters
            .get("metadata", "`key:value`, with a key of letters, digits, `_`, `-` and `.`")?,
        created_after: page.filters.get("created_after", EXPECTED_TIME)?,
        created_before: page.filters.get("created_before", EXPECTED_TIME)?,
        order: page.filters.get("order", "`asc` or `desc`")?.unwrap_or_default(),
        after: page.after.map(|(at, id)| (Timestamp::from_unix_ms(at), id)),
    };
    let external = page.filters.get("external_user_id", "your id of a user")?;
    let found =
        web.services.connections.list.list_connections(external.as_ref(), filter, page.rows()).await?;
    let now = web.services.platform.clock.now();
    let place = |listed: &ListedConnection| (listed.token.created_at.unix_ms(), listed.token.id);
    Ok(page.answer(found, place, |listed| ConnectionBody::of(listed, now)))
}

/// A refresh token that was obtained elsewhere, for the same HubSpot app.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportConnection {
    /// Your id of the user who will own the connection.
    #[schema(value_type = ExternalUserIdWord)]
    external_user_id: ExternalUserId,
    /// The refresh token. HubSpot may replace it: stop using it elsewhere.
    #[schema(value_type = String, min_length = 1, max_length = 4096, pattern = "^[!-~]+$")]
    refresh_token: Hidden,
    /// The expected HubSpot account. It is compared before the token is used.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    portal_id: Option<u64>,
    /// Your metadata of the connection: up to 4 kB of JSON.
    metadata: Option<BTreeMap<String, Value>>,
    /// The scopes that were requested. `missing_scopes` compares them with the granted ones.
    #[schema(value_type = Option<Vec<ScopeWord>>, max_items = 200)]
    scopes: Option<Vec<String>>,
}

/// Imports a refresh token that was obtained elsewhere.
///
/// The token is used once, to verify it and to find out which account it is for. If the user already has a connection
/// to that account, the connection keeps its id and uses the new token.
#[utoipa::path(
    post, path = "/api/hubspot/connections", tag = "connections",
    security(("api_key" = ["connections:write"])),
    request_body = ImportConnection,
    responses(
        (status = 201, description = "The connection.", body = ConnectionBody),
        (status = 200, description = "The connection that was created from this token before. Nothing has changed.", body = ConnectionBody),
        (status = 400, description = "`invalid_json`, `validation_failed`"),
        (status = 403, description = "`api_key_scope_missing`: `connections:write`"),
        (status = 409, description = "`grant_dead`: HubSpot rejects the token. `refresh_token_in_use`, `wrong_account`"),
        (status = 502, description = "`provider_unreachable`, `provider_bad_response`, `provider_refused`, `provider_redirected`, `client_rejected`"),
        (status = 503, description = "`provider_unavailable`, `provider_busy`, `storage_unavailable`"),
        (status = 504, description = "`provider_timeout`"),
    )
)]
pub async fn import_connection(
    request: HttpRequest,
    web: Data<Web>,
    body: ApiJson<ImportConnection>,
) -> Handled {
    let key = caller(&request, &web, ApiScope::ConnectionsWrite).await?;
    let ImportConnection {
        external_user_id,
        refresh_token: Hidden(refresh),
        portal_id,
        metadata,
        scopes: words,
    } = body.0;
    let is_token = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if !(1..=MAX_REFRESH_TOKEN_LENGTH).contains(&refresh.expose().len()) || !is_token(refresh.expose()) {
        return Err(Problem::invalid("/refresh_token", "must have 1 to 4096 visible characters"));
    }
    let import = Import {
        project: key.project_id.clone(),
        external_user: external_user_id,
        refresh,
        portal: portal(portal_id)?,
        metadata: metadata_text(metadata)?,
        scopes: scopes(words, "/scopes")?,
        is_patient: false,
    };
    let (id, mut answer) = match web.services.connections.imports.import(import).await? {
        Imported::Done(id) => (id, HttpResponse::Created()),
        Imported::Known(id) => (id, HttpResponse::Ok()),
    };
    let listed = find(&web, id).await?;
    answer.insert_header((LOCATION, format!("{CONNECTIONS}/{id}")));
    Ok(answer.json(ConnectionBody::of(listed, web.services.platform.clock.now())))
}

/// A connection with an explanation of its status.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExplainedConnection {
    #[serde(flatten)]
    connection: ConnectionBody,
    /// Sentences for troubleshooting: what happened and what will happen next.
    explanation: Vec<String>,
}

/// Returns a connection.
#[utoipa::path(
    get, path = "/api/hubspot/connections/{id}", tag = "connections",
    security(("api_key" = ["connections:read"])),
    params(("id" = uuid::Uuid, Path, description = "The connection.")),
    responses(
        (status = 200, description = "The connection.", body = ExplainedConnection),
        (status = 403, description = "`api_key_scope_missing`: `connections:read`"),
        (status = 404, description = "`connection_not_found`"),
    )
)]
pub async fn get_connection(request: HttpRequest, web: Data<Web>, id: Path<String>) -> Handled {
    let key = caller(&request, &web, ApiScope::ConnectionsRead).await?;
    let id = connection_of(&web, &key, &id).await?;
    let (listed, now) = (find(&web, id).await?, web.services.platform.clock.now());
    let explanation = describe(&listed.token, listed.plan, now);
    Ok(HttpResponse::Ok()
        .json(ExplainedConnection { connection: ConnectionBody::of(listed, now), explanation }))
}

/// Changes to a connection.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionChanges {
    /// Your metadata of the connection, which replaces the previous metadata: up to 4 kB of JSON.
    metadata: BTreeMap<String, Value>,
}

/// Replaces the metadata of a connection.
#[utoipa::path(
    patch, path = "/api/hubspot/connections/{id}", tag = "connections",
    security(("api_key" = ["connections:write"])),
    params(("id" = uuid::Uuid, Path, description = "The connection.")),
    request_body = ConnectionChanges,
    responses(
        (status = 200, description = "The connection after the call.", body = ConnectionBody),
        (status = 400, description = "`invalid_json`, `validation_failed`"),
        (status = 403, description = "`api_key_scope_missing`: `connections:write`"),
        (status = 404, description = "`connection_not_found`"),
    )
)]
pub async fn update_connection(
    request: HttpRequest,
    web: Data<Web>,
    id: Path<String>,
    body: ApiJson<ConnectionChanges>,
) -> Handled {
    let key = caller(&request, &web, ApiScope::ConnectionsWrite).await?;
    let id = connection_of(&web, &key, &id).await?;
    let metadata = metadata_text(Some(body.0.metadata))?;
    web.services.connections.list.set_metadata(id, metadata).await?;
    let (listed, now) = (find(&web, id).await?, web.services.platform.clock.now());
    Ok(HttpResponse::Ok().json(ConnectionBody::of(listed, now)))
}

/// An event of a connection. Webhooks deliver the same events.
#[derive(Debug, Serialize, ToSchema)]
pub struct HistoryEvent {
    /// The id of the event, which is also that of the webhook message.
    id: String,
    #[serde(rename = "type")]
    kind: EventType,
    /// A counter that rises by one with each event of the connection.
    sequence: Option<i64>,
    created_at: String,
}

impl From<Event> for HistoryEvent {
    fn from(event: Event) -> Self {
        let Event { id, kind, sequence, created_at, .. } = event;
        Self { id, kind, sequence, created_at: created_at.rfc3339() }
    }
}

/// Lists the events of a connection that are still kept, the oldest first.
#[utoipa::path(
    get, path = "/api/hubspot/connections/{id}/history", tag = "connections",
    security(("api_key" = ["connections:read"])),
    params(
        ("id" = uuid::Uuid, Path, description = "The connection."),
        PageParams,
        ("after_sequence" = Option<u32>, Query, description = "Only the events after the one with this `sequence`."),
    ),
    responses(
        (status = 200, description = "A page of events.", body = Page<HistoryEvent>),
        (status = 400, description = "`bad_request`: a parameter is unknown, repeated or invalid."),
        (status = 403, description = "`api_key_scope_missing`: `connections:read`"),
        (status = 404, description = "`connection_not_found`"),
    )
)]
pub async fn get_connection_history(request: HttpRequest, web: Data<Web>, id: Path<String>) -> Handled {
    let key = authenticate(&request, &web, ApiScope::ConnectionsRead).await?;
    let page = PageRequest::read(&request, &["after_sequence"])?;
    let known: Option<u32> = page.filters.get("after_sequence", "the `sequence` of an event")?;
    let after = page.after.unwrap_or(0).max(known.unwrap_or(0).into());
    let id = connection_of(&web, &key, &id).await?;
    find(&web, id).await?;
    let events = web.services.connections.list.events(id, after, page.rows()).await?;
    Ok(page.answer(events, |event| event.sequence.unwrap_or(0), HistoryEvent::from))
}

/// The result of a refresh, without the tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefreshBody {
    #[schema(value_type = uuid::Uuid)]
    connection_id: ConnectionId,
    /// Whether the tokens were refreshed; if not, they are less than five seconds old.
    refreshed: bool,
    expires_at: String,
    generation: i64,
}

/// Refreshes the tokens of a connection now, even if the access token is still valid; at most once in five seconds.
#[utoipa::path(
    post, path = "/api/hubspot/connections/{id}/refresh", tag = "connections",
    security(("api_key" = ["connections:write"])),
    params(("id" = uuid::Uuid, Path, description = "The connection.")),
    responses(
        (status = 200, description = "The tokens are up to date.", body = RefreshBody),
        (status = 403, description = "`api_key_scope_missing`: `connections:write`"),
        (status = 404, description = "`connection_not_found`"),
        (status = 409, description = "`needs_reauth`: the user has to reconnect."),
        (status = 500, description = "`integrity_error`"),
        (status = 503, description = "`token_unavailable`, with `Retry-After`: HubSpot returned no token; `storage_unavailable`"),
    )
)]
pub async fn refresh_connection(
    request: HttpRequest,
    web: Data<Web>,
    id: Path<String>,
    _: NoBody,
) -> Handled {
    let key = caller(&request, &web, ApiScope::ConnectionsWrite).await?;
    let id = connection_of(&web, &key, &id).await?;
    let (row, refreshed) = web.services.connections.access_tokens.refresh_now(id).await?;
    Ok(HttpResponse::Ok().json(RefreshBody {
        connection_id: row.id,
        refreshed,
        expires_at: row.expires_at.rfc3339(),
        generation: row.generation,
    }))
}

/// Disconnects: deletes the connection immediately and revokes its refresh token at HubSpot as soon as possible. The
/// app stays installed in the account.
#[utoipa::path(
    delete, path = "/api/hubspot/connections/{id}", tag = "connections",
    security(("api_key" = ["connections:write"])),
    params(("id" = uuid::Uuid, Path, description = "The connection.")),
    responses(
        (status = 200, description = "The connection is deleted.", body = DisconnectAnswer),
        (status = 403, description = "`api_key_scope_missing`: `connections:write`"),
        (status = 404, description = "`connection_not_found`, also when the call is repeated."),
    )
)]
pub async fn delete_connection(request: HttpRequest, web: Data<Web>, id: Path<String>, _: NoBody) -> Handled {
    let key = caller(&request, &web, ApiScope::ConnectionsWrite).await?;
    let id = connection_of(&web, &key, &id).await?;
    let ended = web.services.connections.disconnects.disconnect_any(id).await?;
    let ended = ended.ok_or(ProblemCode::ConnectionNotFound)?;
    Ok(HttpResponse::Ok().json(DisconnectAnswer::from(ended)))
}

/// The confirmation that the app is to be uninstalled from the whole account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Uninstall {
    /// Must be `true`.
    #[serde(default)]
    #[schema(schema_with = yes, required)]
    confirm: bool,
}

/// Returns the schema of a field that must be `true`.
fn yes() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .enum_values(Some([true]))
        .description(Some("Must be `true`."))
        .build()
}

/// The result of uninstalling the app.
#[derive(Debug, Serialize, ToSchema)]
pub struct UninstallBody {
    #[serde(flatten)]
    ended: DisconnectAnswer,
    /// Whether HubSpot uninstalled the app. The connection is deleted in any case.
    uninstalled: bool,
    /// The code of the failure at HubSpot.
    failed_with: Option<&'static str>,
    /// The number of other connections to the account that became `needs_reauth`; 0 if HubSpot did not uninstall the
    /// app.
    also_affected: usize,
}

/// Uninstalls the app from the whole HubSpot account of a connection, and deletes the connection. HubSpot notifies the
/// account's administrators. Other connections to the account become `needs_reauth` immediately.
#[utoipa::path(
    post, path = "/api/hubspot/connections/{id}/uninstall", tag = "connections",
    security(("api_key" = ["connections:write"])),
    params(("id" = uuid::Uuid, Path, description = "The connection.")),
    request_body = Uninstall,
    responses(
        (status = 200, description = "The connection is deleted.", body = UninstallBody),
        (status = 400, description = "`confirmation_missing`, `invalid_json`, `validation_failed`"),
        (status = 403, description = "`api_key_scope_missing`: `connections:write`"),
        (status = 404, description = "`connection_not_found`"),
    )
)]
pub async fn uninstall_app(
    request: HttpRequest,
    web: Data<Web>,
    id: Path<String>,
    body: ApiJson<Uninstall>,
) -> Handled {
    let key = caller(&request, &web, ApiScope::ConnectionsWrite).await?;
    if !body.0.confirm {
        return Err(Problem::new(ProblemCode::ConfirmationMissing).pointer("/confirm"));
    }
    let id = connection_of(&web, &key, &id).await?;
    let done = web.services.connections.uninstalls.uninstall(id).await?;
    let done = done.ok_or(ProblemCode::ConnectionNotFound)?;
    let body = UninstallBody {
        ended: done.ended.into(),
        uninstalled: done.failed.is_none(),
        failed_with: done.failed.map(FailureCode::as_str),
        also_affected: done.others,
    };
    Ok(HttpResponse::Ok().json(body))
}

async fn find(web: &Web, id: ConnectionId) -> Result<ListedConnection, Problem> {
    let found = web.services.connections.list.connection(id).await?;
    found.ok_or_else(|| Problem::new(ProblemCode::ConnectionNotFound))
}
