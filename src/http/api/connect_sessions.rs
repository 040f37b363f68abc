//! /api/hubspot/connect-sessions: the host's backend names the user who is connecting.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::caller::{authenticate, caller};
use super::pagination::{Page, PageParams, PageRequest};
use crate::domain::api_key::ApiScope;
use crate::domain::connect_session::ConnectSessionStatus;
use crate::domain::external::ExternalUserId;
use crate::domain::id::{ConnectSessionId, ConnectionId, FlowId, PortalId};
use crate::domain::project::ProjectId;
use crate::domain::scopes::Scopes;
use crate::domain::text::is_name;
use crate::http::Web;
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::http::request::body::{ApiJson, NoBody, whole_number};
use crate::services::{ConnectSessionFilter, NewSession, SessionView};

/// The maximum size of a connection's metadata, in bytes of JSON.
const MAX_METADATA_LENGTH: usize = 4096;
/// The maximum number of characters of `requested_by`.
const MAX_REQUESTED_BY_LENGTH: usize = 120;
/// The maximum number of scopes: HubSpot has about two hundred.
const MAX_SCOPES: usize = 200;
const WEEK: u64 = 7 * 24 * 3600;

/// A new connect session.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateConnectSession {
    /// Your id of the user who will own the connection. May be omitted if `connection_id` is given.
    #[schema(value_type = Option<ExternalUserIdWord>)]
    external_user_id: Option<ExternalUserId>,
    /// The connection to reconnect, with the same HubSpot account.
    #[schema(value_type = Option<uuid::Uuid>)]
    connection_id: Option<ConnectionId>,
    /// Scopes that the account must grant, instead of HUBSPOT_SCOPES. `oauth`, without which HubSpot shows an error
    /// page, is added. A reconnect also requests the other scopes of the connection, as optional scopes.
    #[schema(value_type = Option<Vec<ScopeWord>>, max_items = 200, example = json!(["oauth", "crm.objects.contacts.read"]))]
    scopes: Option<Vec<String>>,
    /// Scopes that the account may lack, instead of HUBSPOT_OPTIONAL_SCOPES.
    #[schema(value_type = Option<Vec<ScopeWord>>, max_items = 200)]
    optional_scopes: Option<Vec<String>>,
    /// Whether connecting fails with `scopes_missing` if the account grants fewer than the required scopes, instead of
    /// HUBSPOT_REQUIRE_ALL_SCOPES.
    require_scopes: Option<bool>,
    /// The only HubSpot account that may be connected.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    portal_id: Option<u64>,
    /// The origins of the pages that may use the session. Each must be listed in HOST_ORIGINS and for your project; all
    /// of them if omitted.
    #[schema(example = json!(["https://app.example.com"]))]
    allowed_origins: Option<Vec<String>>,
    /// The URL to which the browser returns if no popup is open, on one of the allowed origins. With a link, the last
    /// page has a button that leads there.
    #[schema(max_length = 2048, pattern = "^https?://[!-~]+$")]
    return_url: Option<String>,
    /// Your metadata of the connection: up to 4 kB of JSON.
    metadata: Option<BTreeMap<String, Value>>,
    /// The name of the requester, shown to the user who opens the link.
    #[schema(max_length = 120, example = "Anna Smith, anna@example.com")]
    requested_by: Option<String>,
    /// `backend`: nothing is connected until you complete the session.
    confirm: Option<Confirm>,
    /// Whether to create a link that another user may open, such as an administrator. It implies `confirm: backend`.
    #[serde(default)]
    hosted: bool,
    /// The lifetime of the session in seconds: half an hour if omitted, a week with a link.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 60, maximum = 604800)]
    expires_in: Option<u64>,
}

/// Your id of one of your users, without invisible characters and without spaces at its ends.
#[derive(ToSchema)]
#[schema(as = ExternalUserId, value_type = String, max_length = 255, example = "user_42")]
#[expect(dead_code, reason = "the domain reads it; this says how it is written")]
pub struct ExternalUserIdWord(String);

/// A scope as HubSpot writes it.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9._:-]{1,100}$", example = "crm.objects.contacts.read")]
#[expect(dead_code, reason = "scopes are read as text; this says how they are written")]
pub struct ScopeWord(String);

/// The party that confirms the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confirm {
    /// No confirmation: it is enough that one of your pages started the authorization request.
    None,
    /// Confirmation by your backend.
    Backend,
}

/// A connect session.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectSessionBody {
    #[schema(value_type = uuid::Uuid)]
    id: ConnectSessionId,
    #[schema(value_type = String)]
    external_user_id: ExternalUserId,
    status: ConnectSessionStatus,
    /// The connection that was created, or that is to be reconnected.
    #[schema(value_type = Option<uuid::Uuid>)]
    connection_id: Option<ConnectionId>,
    /// The error code of the last failed authorization request.
    error_code: Option<String>,
    /// The pending grant that you have to confirm.
    awaiting: Option<Awaiting>,
    #[schema(value_type = Option<i64>)]
    portal_id: Option<PortalId>,
    confirm: Confirm,
    hosted: bool,
    created_at: String,
    expires_at: String,
}

/// The pending grant, which the backend has to confirm.
#[derive(Debug, Serialize, ToSchema)]
pub struct Awaiting {
    /// The authorization request that created the grant.
    #[schema(value_type = uuid::Uuid)]
    flow: FlowId,
    /// The HubSpot account that the user authorized.
    #[schema(value_type = i64)]
    portal_id: PortalId,
    /// The account's website, if HubSpot has named it.
    hub_domain: Option<String>,
    /// The granted scopes.
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<Scopes>,
    /// The time at which the grant is discarded if it is not confirmed.
    expires_at: String,
}

/// A connect session with its token or link, which is returned only once.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewConnectSession {
    #[serde(flatten)]
    session: ConnectSessionBody,
    /// The token that your page passes to the SDK. Never put it into a URL or a log. Null with a link.
    token: Option<String>,
    /// The link for the user who authorizes. Its secret is the fragment, after the `#`.
    link: Option<String>,
}

/// The user who authorized the connection.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteConnectSession {
    /// Your id of the user who is in front of your page now. Take it from your own session, not from the request that
    /// named the connect session.
    #[schema(value_type = ExternalUserIdWord)]
    external_user_id: ExternalUserId,
}

/// Creates a connect session for one of your users.
#[utoipa::path(
    post, path = "/api/hubspot/connect-sessions", tag = "connect sessions",
    security(("api_key" = ["sessions:write"])),
    request_body = CreateConnectSession,
    responses(
        (status = 201, description = "The session. Its token or link is returned only once.", body = NewConnectSession),
        (status = 400, description = "`invalid_json`, `validation_failed`, `origin_not_allowed`, `return_url_not_allowed`"),
        (status = 404, description = "`connection_not_found`: no connection of this user has the `connection_id`."),
    )
)]
pub async fn create_connect_session(
    request: HttpRequest,
    web: Data<Web>,
    body: ApiJson<CreateConnectSession>,
) -> Handled {
    let key = caller(&request, &web, ApiScope::SessionsWrite).await?;
    let new = body.0.read(key.project_id.clone())?;
    let made = web.services.connect.sessions.create_connect_session(new).await?;
    let link = made
        .session
        .hosted
        .is_set()
        .then(|| web.services.connect.sessions.hosted_link(&made.token))
        .flatten();
    let token = link.is_none().then(|| made.token.expose().to_owned());
    let place = format!("/api/hubspot/connect-sessions/{}", made.session.id);
    let session = ConnectSessionBody::of(SessionView { session: made.session, awaiting: None });
    let body = NewConnectSession { session, token, link: link.map(String::from) };
    Ok(HttpResponse::Created().insert_header((LOCATION, place)).json(body))
}

/// Lists connect sessions, the newest first. They are kept for a week after they expire.
#[utoipa::path(
    get, path = "/api/hubspot/connect-sessions", tag = "connect sessions",
    security(("api_key" = ["sessions:write"])),
    params(
        PageParams,
        ("external_user_id" = Option<String>, Query, description = "Only the sessions of this user."),
        ("status" = Option<ConnectSessionStatus>, Query, description = "Only the sessions with this status."),
    ),
    responses(
        (status = 200, description = "A page of sessions. `awaiting` is always null here.", body = Page<ConnectSessionBody>),
        (status = 400, description = "`bad_request`: a parameter is unknown, repeated or invalid."),
    )
)]
pub async fn list_connect_sessions(request: HttpRequest, web: Data<Web>) -> Handled {
    let key = authenticate(&request, &web, ApiScope::SessionsWrite).await?;
    let page = PageRequest::read(&request, &["external_user_id", "status"])?;
    let filter = ConnectSessionFilter {
        project: key.project_id.clone(),
        external_user: page.filters.get("external_user_id", "an id of a user")?,
        status: page
            .filters
            .get("status", "`open`, `awaiting_confirmation`, `connected`, `cancelled` or `expired`")?,
        before: page.after,
    };
    let sessions = web.services.connect.sessions.connect_sessions(filter, page.rows()).await?;
    let body = |session| ConnectSessionBody::of(SessionView { session, awaiting: None });
    Ok(page.answer(sessions, |session| session.id, body))
}

/// Returns a connect session.
#[utoipa::path(
    get, path = "/api/hubspot/connect-sessions/{id}", tag = "connect sessions",
    security(("api_key" = ["sessions:write"])),
    params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "The session.", body = ConnectSessionBody),
        (status = 404, description = "`connect_session_not_found`"),
    )
)]
pub async fn get_connect_session(request: HttpRequest, web: Data<Web>, id: Path<String>) -> Handled {
    let key = caller(&request, &web, ApiScope::SessionsWrite).await?;
    let view = web.services.connect.sessions.connect_session(&key.project_id, read_id(&id)?).await?;
    let view = view.ok_or(ProblemCode::ConnectSessionNotFound)?;
    Ok(HttpResponse::Ok().json(ConnectSessionBody::of(view)))
}

/// Confirms that the user in front of your page is the one who authorized the connection.
///
/// If you name a different user than the session was created for, the session ends and nothing is connected: one user
/// was led to authorize for another.
#[utoipa::path(
    post, path = "/api/hubspot/connect-sessions/{id}/complete", tag = "connect sessions",
    security(("api_key" = ["sessions:write"])),
    params(("id" = uuid::Uuid, Path)),
    request_body = CompleteConnectSession,
    responses(
        (status = 200, description = "The connected session.", body = ConnectSessionBody),
        (status = 400, description = "`invalid_json`, `validation_failed`"),
        (status = 403, description = "`api_key_scope_missing`, `external_user_mismatch`"),
        (status = 404, description = "`connect_session_not_found`"),
        (status = 409, description = "`connect_session_not_approved`"),
        (status = 410, description = "`connect_session_ended`"),
    )
)]
pub async fn complete_connect_session(
    request: HttpRequest,
    web: Data<Web>,
    id: Path<String>,
    body: ApiJson<CompleteConnectSession>,
) -> Handled {
    let key = caller(&request, &web, ApiScope::SessionsWrite).await?;
    let (sessions, user) = (&web.services.connect.sessions, &body.0.external_user_id);
    let view = sessions.complete_connect_session(&key.project_id, read_id(&id)?, user).await?;
    Ok(HttpResponse::Ok().json(ConnectSessionBody::of(view)))
}

/// Cancels a connect session that is not connected yet, and discards its pending grant.
#[utoipa::path(
    delete, path = "/api/hubspot/connect-sessions/{id}", tag = "connect sessions",
    security(("api_key" = ["sessions:write"])),
    params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "The session after the call; a connected session stays connected.", body = ConnectSessionBody),
        (status = 404, description = "`connect_session_not_found`"),
    )
)]
pub async fn delete_connect_session(
    request: HttpRequest,
    web: Data<Web>,
    id: Path<String>,
    _: NoBody,
) -> Handled {
    let key = caller(&request, &web, ApiScope::SessionsWrite).await?;
    let view = web.services.connect.sessions.cancel_connect_session(&key.project_id, read_id(&id)?).await?;
    let view = view.ok_or(ProblemCode::ConnectSessionNotFound)?;
    Ok(HttpResponse::Ok().json(ConnectSessionBody::of(view)))
}

/// Parses an id. A malformed id is treated as not found.
fn read_id(id: &str) -> Result<ConnectSessionId, Problem> {
    id.parse().map_err(|_| Problem::new(ProblemCode::ConnectSessionNotFound))
}

impl CreateConnectSession {
    fn read(self, project: ProjectId) -> Result<NewSession, Problem> {
        let metadata = metadata_text(self.metadata)?;
        let is_shown = |name: &str| is_name(name) && name.chars().count() <= MAX_REQUESTED_BY_LENGTH;
        if self.requested_by.as_deref().is_some_and(|name| !is_shown(name)) {
            let name = "must have 1 to 120 characters, none of them control or invisible characters";
            return Err(Problem::invalid("/requested_by", name));
        }
        if self.expires_in.is_some_and(|seconds| !(60..=WEEK).contains(&seconds)) {
            return Err(Problem::invalid("/expires_in", "must be a number of seconds from 60 to 604800"));
        }
        if self.hosted && self.confirm == Some(Confirm::None) {
            return Err(Problem::invalid("/confirm", "must be `backend` with `hosted`"));
        }
        Ok(NewSession {
            project,
            external_id: self.external_user_id,
            connection: self.connection_id,
            scopes: scopes(self.scopes, "/scopes")?,
            optional_scopes: scopes(self.optional_scopes, "/optional_scopes")?,
            require_scopes: self.require_scopes,
            portal_id: portal(self.portal_id)?,
            allowed_origins: self.allowed_origins,
            return_url: self.return_url,
            metadata,
            requested_by: self.requested_by,
            confirm: self.confirm == Some(Confirm::Backend),
            hosted: self.hosted,
            life: self.expires_in.map(Duration::from_secs),
        })
    }
}

/// Writes a connection's metadata as JSON.
pub(super) fn metadata_text(metadata: Option<BTreeMap<String, Value>>) -> Result<Option<String>, Problem> {
    let text = metadata.map(|metadata| serde_json::to_string(&metadata).unwrap_or_default());
    if text.as_ref().is_some_and(|text| text.len() > MAX_METADATA_LENGTH || text.contains("\\u0000")) {
        return Err(Problem::invalid("/metadata", "must have at most 4 kB of JSON, without zero characters"));
    }
    Ok(text)
}

pub(super) fn portal(portal_id: Option<u64>) -> Result<Option<PortalId>, Problem> {
    let refused = || Problem::invalid("/portal_id", "must be a number from 0 to 9007199254740991");
    portal_id.map(|number| PortalId::new(number).ok_or_else(refused)).transpose()
}

/// Reads scopes as HubSpot writes them: they become part of a URL, separated by spaces (RFC 6749 section 3.3).
pub(super) fn scopes(words: Option<Vec<String>>, place: &str) -> Result<Option<Scopes>, Problem> {
    let Some(words) = words else { return Ok(None) };
    let plain = |word: &String| {
        (1..=100).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b':'))
    };
    match words.iter().position(|word| !plain(word)) {
        None if words.len() <= MAX_SCOPES => Ok(Some(words.iter().collect())),
        None => Err(Problem::invalid(place, format_args!("must have at most {MAX_SCOPES} scopes"))),
        Some(at) => Err(Problem::invalid(format!("{place}/{at}"), "is not a valid scope")),
    }
}

impl ConnectSessionBody {
    fn of(SessionView { session, awaiting }: SessionView) -> Self {
        Self {
            id: session.id,
            external_user_id: session.external_id,
            status: session.status,
            connection_id: session.connection_id,
            error_code: session.error_code,
            awaiting: awaiting.map(|pending| Awaiting {
                flow: pending.id.flow(),
                portal_id: pending.portal_id,
                hub_domain: pending.hub_domain,
                scopes: pending.scopes,
                expires_at: pending.expires_at.rfc3339(),
            }),
            portal_id: session.portal_id,
            confirm: if session.confirm.is_set() { Confirm::Backend } else { Confirm::None },
            hosted: session.hosted.is_set(),
            created_at: session.created_at.rfc3339(),
            expires_at: session.expires_at.rfc3339(),
        }
    }
}
