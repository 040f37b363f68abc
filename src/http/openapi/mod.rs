//! The description of the API: OpenAPI 3.1, collected from the handlers.
//!
//! Each handler declares its path, parameters, bodies and specific responses. The responses that many operations have
//! in common are added here, once: a missing key, an invalid body, a wrong host.

mod constraints;
mod page;
mod webhooks;

use std::collections::HashSet;
use std::sync::LazyLock;

use actix_web::dev::ResourceDef;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Ref, SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Header, HeaderBuilder, ObjectBuilder, OpenApi, PathItem, RefOr, Required, Response,
    ResponseBuilder, Schema,
};
use utoipa::{Modify, OpenApi as Collect};

use crate::domain::event::{AppData, ConnectSessionData, ConnectionData, InstallData, TestData};
use crate::http::browser::{authorization, disconnect, status};
use crate::http::paths::is_streamed;
use crate::http::problem::ProblemCode;
use crate::http::public_text::PublicText;
use crate::http::{Web, api, health};
use constraints::PROBLEM;

/// The handlers that are described.
#[derive(Collect)]
#[openapi(
    info(
        title = "hubspot-connect",
        description = include_str!("openapi.md"),
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        openapi_document,
        get_docs,
        status::get_status,
        authorization::redeem_pickup_code,
        authorization::cancel_authorization_request,
        disconnect::disconnect_connection,
        health::get_live,
        api::keys::get_api_key,
        api::connect_sessions::create_connect_session,
        api::connect_sessions::list_connect_sessions,
        api::connect_sessions::get_connect_session,
        api::connect_sessions::complete_connect_session,
        api::connect_sessions::delete_connect_session,
        api::read_tokens::create_read_token,
        api::events::list_events,
        api::webhooks::create_webhook,
        api::webhooks::list_webhooks,
        api::webhooks::get_webhook,
        api::webhooks::update_webhook,
        api::webhooks::delete_webhook,
        api::webhooks::rotate_webhook_secret,
        api::webhooks::test_webhook,
        api::webhooks::list_webhook_deliveries,
        api::webhooks::get_webhook_delivery,
        api::webhooks::replay_webhook_delivery,
        api::webhooks::replay_webhook_deliveries,
        api::installs::list_installs,
        api::installs::claim_install,
        api::token::get_access_token,
        api::connections::list_connections,
        api::connections::import_connection,
        api::connections::get_connection,
        api::connections::update_connection,
        api::connections::get_connection_history,
        api::connections::refresh_connection,
        api::connections::delete_connection,
        api::connections::uninstall_app,
        api::proxy::proxy,
    ),
    components(schemas(ConnectionData, ConnectSessionData, InstallData, AppData, TestData)),
    servers((url = "/", description = "The service that serves this description.")),
    tags(
        (name = "connect sessions", description = "The backend names the user who is connecting, and may require its own confirmation."),
        (name = "installs", description = "Installs that started at HubSpot's Marketplace and are not claimed yet. They require `MARKETPLACE_INSTALLS=on`."),
        (name = "tokens", description = "Access tokens for the backend."),
        (name = "connections", description = "The connections of the backend's users: list, import, refresh, disconnect."),
        (name = "api keys", description = "The API key of the caller. Keys are created and revoked on the command line."),
        (name = "proxy", description = "HubSpot's API, called with the access token of a connection, which the caller never sees."),
        (name = "page", description = "The requests of the page that started an authorization request, in the user's browser. The browser SDK makes all of them."),
        (name = "service", description = "About the service itself."),
        (name = "webhooks", description = "Webhook endpoints and their deliveries. Messages follow Standard Webhooks 1.0.0."),
    ),
    modifiers(&Common),
)]
struct Document;

/// Returns the whole description.
pub fn document() -> OpenApi {
    Document::openapi()
}

/// Returns whether something is described at this path.
pub fn has_path(path: &str) -> bool {
    static PATHS: LazyLock<Vec<ResourceDef>> =
        LazyLock::new(|| document().paths.paths.keys().map(|path| ResourceDef::new(path.as_str())).collect());
    PATHS.iter().any(|known| known.is_match(path))
}

/// `GET /api/openapi.json`: the description of this API.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "service",
    summary = "Returns this description",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json"))
)]
pub async fn openapi_document(request: HttpRequest) -> HttpResponse {
    static TEXT: LazyLock<PublicText> =
        LazyLock::new(|| PublicText::new("application/json", document().to_json().unwrap_or_default()));
    TEXT.answer(&request)
}

/// Returns the description of the API as an HTML page.
#[utoipa::path(
    get, path = "/api/docs", tag = "service",
    summary = "Returns this description as a page",
    security(()),
    responses(
        (status = 200, description = "A page.", body = String, content_type = "text/html"),
        (status = 421, description = "An error page with the code `wrong_host`.", body = String, content_type = "text/html"),
    )
)]
pub async fn get_docs(request: HttpRequest, web: Data<Web>) -> HttpResponse {
    let page = web.docs.get_or_init(|| {
        let document = serde_json::to_value(document()).unwrap_or_default();
        let values = page::page(&document, web.config.server.origin().as_str());
        PublicText::new("text/html; charset=utf-8", web.templates.page("docs.html", &values))
    });
    page.answer(&request)
}

/// Adds what all operations of a kind have in common.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        document.info.version = env!("CARGO_PKG_VERSION").to_owned();
        let components = document.components.get_or_insert_default();
        for (name, scheme) in schemes() {
            components.add_security_scheme(name, scheme);
        }
        components.schemas.insert("Problem".to_owned(), problem().into());
        components.schemas.insert("ProblemCode".to_owned(), codes().into());
        constraints::texts(components);
        constraints::times(components);
        constraints::connect_session(components);
        constraints::pages(components);
        constraints::nullable_fields(&document.paths, components);
        document.webhooks = Some(webhooks::messages());
        let mut names = HashSet::new();
        for (path, item) in &mut document.paths.paths {
            // On the proxy the header is HubSpot's business.
            let is_proxy = is_streamed(path);
            if let Some(post) = item.post.as_mut().filter(|post| asks_for_key(post) && !is_proxy) {
                add_idempotency(post);
            }
            for (method, operation) in operations(item) {
                constraints::parameters(operation, is_proxy);
                if asks_for_key(operation) && !is_proxy {
                    add_bad_requests(method, operation);
                }
                complete(operation);
                if is_proxy {
                    share_with_hubspot(operation);
                    if matches!(method, "post" | "put" | "patch") {
                        constraints::any_body(operation);
                    }
                }
                if let Some(id) = operation.operation_id.as_mut()
                    && (is_proxy || !names.insert(id.clone()))
                {
                    // A handler of several methods has given all of them its name.
                    *id = format!("{id}_{method}");
                }
            }
        }
    }
}

fn schemes() -> [(&'static str, SecurityScheme); 4] {
    let api_key = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A key created with `hubspot-connect api-keys create`, for the host's backend only: `Authorization: Bearer <api key>`. A key has scopes; each operation names the scope that it requires.",
        ))
        .build();
    let session = ApiKeyValue::with_description(
        "__Host-hsc_sid",
        "The session of a browser that has connected. If PUBLIC_URL is plain http on another machine, the cookie is named `hsc_sid`.",
    );
    let verifier = ApiKeyValue::with_description(
        "Hubspot-Connect-Verifier",
        "The secret of the page that started an authorization request: 43 to 128 letters, digits, `-`, `.`, `_` or `~`. Its SHA-256 was the `challenge` (as in RFC 7636 section 4).",
    );
    let read_token = ApiKeyValue::with_description(
        "Hubspot-Connect-Read-Token",
        "A token that the host's backend created for one of its users with `POST /api/hubspot/read-tokens`.",
    );
    [
        ("api_key", SecurityScheme::Http(api_key)),
        ("read_token", SecurityScheme::ApiKey(ApiKey::Header(read_token))),
        ("session", SecurityScheme::ApiKey(ApiKey::Cookie(session))),
        ("verifier", SecurityScheme::ApiKey(ApiKey::Header(verifier))),
    ]
}

/// Returns the schema of a problem (RFC 9457 with extension members).
fn problem() -> Schema {
    let of = |kind, about: &str| ObjectBuilder::new().schema_type(kind).description(Some(about));
    let text = |about: &str| of(Type::String, about);
    let object = ObjectBuilder::new()
        .description(Some("An error response (RFC 9457). Programs should rely on `code`."))
        .property("type", text("`urn:hubspot-connect:problem:` and the code."))
        .property("title", text("A short title."))
        .property("status", of(Type::Integer, "The HTTP status of the response."))
        .property("detail", text("A sentence with what happened and what to do."))
        .property("instance", text("The path of the request."))
        .property("code", Ref::from_schema_name("ProblemCode"))
        .property("request_id", text("The id of the request, as in the header `X-Request-Id` and in the service's log."))
        .property("retryable", of(Type::Boolean, "Whether the same request may succeed later."))
        .property("hint", text("What is wrong with this particular request. Present if there is more to say."))
        .property("pointer", text("The invalid field of the body, as a JSON pointer (RFC 6901). Present if a single field is invalid."))
        .examples([serde_json::json!({
            "type": "urn:hubspot-connect:problem:not_found",
            "title": "Not found",
            "status": 404,
            "detail": "This address does not exist.",
            "instance": "/api/hubspot/nothing",
            "code": "not_found",
            "request_id": "5f0c9a3b7d21e684",
            "retryable": false,
        })]);
    let required = ["type", "title", "status", "detail", "instance", "code", "request_id", "retryable"];
    required.into_iter().fold(object, ObjectBuilder::required).into()
}

/// Returns the schema of the problem codes.
fn codes() -> Schema {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .description(Some("The stable code of a problem. docs/errors.md lists them all."))
        .enum_values(Some(ProblemCode::ALL.map(ProblemCode::as_str)))
        .into()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, head, patch, .. } = item;
    let all =
        [("get", get), ("put", put), ("post", post), ("delete", delete), ("head", head), ("patch", patch)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Gives problems their body, and adds the responses that all operations of a kind have.
fn complete(operation: &mut Operation) {
    let needs_key = asks_for_key(operation);
    let has_body = match &operation.request_body {
        Some(RefOr::T(body)) => body.content.contains_key("application/json"),
        _ => false,
    };
    let is_static = operation.tags.iter().flatten().any(|tag| tag == "service");
    let responses = &mut operation.responses.responses;
    let mut add = |status: &str, about: &str| {
        responses
            .entry(status.to_owned())
            .or_insert_with(|| ResponseBuilder::new().description(about).into());
    };
    if needs_key {
        add("401", "`api_key_missing`, `api_key_invalid`.");
        add("403", "`api_key_scope_missing`: the key lacks the required scope.");
        add(
            "429",
            "`rate_limited_key`: too many requests with this key. `rate_limited`: too many invalid keys from this address.",
        );
    }
    if has_body {
        add("400", "`invalid_json`, `validation_failed`: `pointer` names the field.");
        add("413", "`payload_too_large`: the limit is 16 kB.");
        add("415", "`unsupported_media_type`: the body must be `application/json`.");
    }
    if !is_static {
        add("503", "`storage_unavailable`: the database does not respond; nothing is lost.");
    }
    add("421", "`wrong_host`: the Host header does not match PUBLIC_URL.");
    for (status, response) in responses.iter_mut() {
        let RefOr::T(response) = response else { continue };
        if status.as_str() >= "400" && response.content.is_empty() {
            write_problem(response);
        }
        if needs_key {
            add_limits(response);
        }
        if status == "429" || status == "503" {
            response.headers.insert(
                "Retry-After".to_owned(),
                header("The number of seconds to wait before the next attempt."),
            );
        }
    }
}

/// Merges all responses with content into one: HubSpot may respond with any status, so a status does not say whose
/// response it is. A generated client that took each 404 for a problem of the service could not read HubSpot's.
fn share_with_hubspot(operation: &mut Operation) {
    let responses = &mut operation.responses.responses;
    let Some(RefOr::T(mut any)) = responses.remove("default") else { return };
    // These two have no content (RFC 9110 sections 15.3.5 and 15.4.5).
    for (status, response) in responses.extract_if(.., |status, _| !matches!(status.as_str(), "204" | "304"))
    {
        if let RefOr::T(response) = response {
            any.description.push_str(&format!("\n- {status}: {}", response.description));
            any.headers.extend(response.headers);
        }
    }
    write_problem(&mut any);
    any.content.insert("*/*".to_owned(), constraints::binary().into());
    responses.insert("default".to_owned(), any.into());
}

fn asks_for_key(operation: &Operation) -> bool {
    let asked = serde_json::to_value(&operation.security).unwrap_or_default();
    asked.as_array().is_some_and(|ways| ways.iter().any(|way| way.get("api_key").is_some()))
}

/// Adds the idempotency key (draft-ietf-httpapi-idempotency-key-header-07).
fn add_idempotency(operation: &mut Operation) {
    // Printable ASCII without quotation marks and backslashes, and no space at its ends.
    let form = r"^[!#-\[\]-~]([ !#-\[\]-~]{0,253}[!#-\[\]-~])?$";
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(form));
    let key = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "A unique key for this request, such as a new UUID. If the request is repeated with it within 24 hours, it is not executed again: the first response is returned, with `Idempotency-Replayed: true`.",
        ))
        .schema(Some(text))
        .build();
    operation.parameters.get_or_insert_default().push(key.into());
    for (status, about) in [
        ("400", "`idempotency_key_invalid`: the `Idempotency-Key` is invalid."),
        (
            "409",
            "`idempotency_in_progress`: the first request with this `Idempotency-Key` is still in progress.",
        ),
        ("422", "`idempotency_key_reused`: the `Idempotency-Key` was used for a different request."),
    ] {
        describe_too(operation, status, about);
    }
}

/// Adds the problems of the query and the body, which are read strictly even if a request takes none.
fn add_bad_requests(method: &str, operation: &mut Operation) {
    let mut add = |code: &str, about: &str| {
        let is_named = match operation.responses.responses.get("400") {
            Some(RefOr::T(response)) => response.description.contains(code),
            _ => false,
        };
        if !is_named {
            describe_too(operation, "400", &format!("{code}: {about}"));
        }
    };
    add("`bad_request`", "the request takes no query parameters.");
    if matches!(method, "delete" | "post") {
        add("`validation_failed`", "the body has fields, but the request takes none.");
    }
}

/// Adds a sentence to the description of a response.
fn describe_too(operation: &mut Operation, status: &str, about: &str) {
    let entry = operation.responses.responses.entry(status.to_owned());
    let response = entry.or_insert_with(|| Response::new("").into());
    if let RefOr::T(response) = response {
        let before = response.description.trim_end_matches('.');
        response.description =
            if before.is_empty() { about.to_owned() } else { format!("{before}. {about}") };
    }
}

/// Adds the rate limit headers (draft-ietf-httpapi-ratelimit-headers-10).
fn add_limits(response: &mut Response) {
    for (name, about) in [
        (
            "RateLimit-Policy",
            "The quota of the key: `\"default\";q=6000;w=60` is 6000 requests in 60 seconds.",
        ),
        (
            "RateLimit",
            "The remaining quota: `\"default\";r=5999;t=60` is 5999 requests in the next 60 seconds.",
        ),
    ] {
        response.headers.entry(name.to_owned()).or_insert_with(|| header(about));
    }
}

fn header(about: &str) -> RefOr<Header> {
    let text = ObjectBuilder::new().schema_type(Type::String);
    HeaderBuilder::new().schema(Some(text)).description(Some(about)).build().into()
}

fn write_problem(response: &mut Response) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    response.content.insert(PROBLEM.to_owned(), content.into());
}
