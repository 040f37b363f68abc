//! /api/hubspot/connect-sessions: the host's backend says which of its users is connecting.

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

/// As many bytes of JSON as the host may keep with a connection.
const MAX_METADATA_LENGTH: usize = 4096;
/// As many characters as a person is shown of who is asking.
const MAX_REQUESTED_BY_LENGTH: usize = 120;
/// The maximum number of scopes: HubSpot has about two hundred.
const MAX_SCOPES: usize = 200;
const WEEK: u64 = 7 * 24 * 3600;

/// What a connect session is to be like.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateConnectSession {
    /// Your own id of the user whose connection it is to be. May be left out where `connection_id` is given.
    #[schema(value_type = Option<ExternalUserIdWord>)]
    external_user_id: Option<ExternalUserId>,
    /// Renews this connection, with the same account and no other.
    #[schema(value_type = Option<uuid::Uuid>)]
    connection_id: Option<ConnectionId>,
    /// Scopes that the account must grant, instead of HUBSPOT_SCOPES. `oauth`, without which HubSpot shows an error page,
    /// is added. A reconnect asks for what the connection has besides, as optional scopes.
    #[schema(value_type = Option<Vec<ScopeWord>>, max_items = 200, example = json!(["oauth", "crm.objects.contacts.read"]))]
    scopes: Option<Vec<String>>,
    /// Scopes that the account may lack, instead of HUBSPOT_OPTIONAL_SCOPES.
    #[schema(value_type = Option<Vec<ScopeWord>>, max_items = 200)]
    optional_scopes: Option<Vec<String>>,
    /// Whether connecting fails with `scopes_missing` if the account grants fewer than the required scopes, instead of
    /// HUBSPOT_REQUIRE_ALL_SCOPES.
    require_scopes: Option<bool>,
    /// The one HubSpot account that may be connected.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
    portal_id: Option<u64>,
    /// The pages that may use it, out of those listed in HOST_ORIGINS and for your project; all of these if left out.
    #[schema(example = json!(["https://app.example.com"]))]
    allowed_origins: Option<Vec<String>>,
    /// Where the browser goes in the end, if no popup is open: an address of one of these pages. With a link, the last
    /// page has a button that leads there.
    #[schema(max_length = 2048, pattern = "^https?://[!-~]+$")]
    return_url: Option<String>,
    /// What you want to find with the connection: up to 4 kB of JSON.
    metadata: Option<BTreeMap<String, Value>>,
    /// Who is asking, in words for the person who opens the link.
    #[schema(max_length = 120, example = "Anna Smith, anna@example.com")]
    requested_by: Option<String>,
    /// `backend`: nothing is connected until you complete the session.
    confirm: Option<Confirm>,
    /// Makes a link that somebody else may open, such as an administrator. It implies `confirm: backend`.
    #[serde(default)]
    hosted: bool,
    /// How long it is good: half an hour if left out, a week with a link.
    #[serde(default, deserialize_with = "whole_number")]
    #[schema(minimum = 60, maximum = 604800)]
    expires_in: Option<u64>,
}

/// Your id of one of your users: nothing invisible in it, and no space at its ends.
#[derive(ToSchema)]
#[schema(as = ExternalUserId, value_type = String, max_length = 255, example = "user_42")]
#[expect(dead_code, reason = "the domain reads it; this says how it is written")]
pub struct ExternalUserIdWord(String);

/// A scope as HubSpot writes it.
#[derive(ToSchema)]
#[schema(value_type = String, pattern = "^[A-Za-z0-9._:-]{1,100}$", example = "crm.objects.contacts.read")]
#[expect(dead_code, reason = "scopes are read as text; this says how they are written")]
pub struct ScopeWord(String);

/// Who has the last word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confirm {
    /// Nobody: a page of yours that began it is proof enough.
    None,
    /// Your backend.
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
    /// The connection: what it has led to, or what it is to renew.
    #[schema(value_type = Option<uuid::Uuid>)]
    connection_id: Option<ConnectionId>,
    /// Why the last attempt came to nothing: one of the error codes.
    error_code: Option<String>,
    /// What awaits your word.
    awaiting: Option<Awaiting>,
    #[schema(value_type = Option<i64>)]
    portal_id: Option<PortalId>,
    confirm: Confirm,
    hosted: bool,
    created_at: String,
    expires_at: String,
}

/// The grant that awaits the backend's word.
#[derive(Debug, Serialize, ToSchema)]
pub struct Awaiting {
    /// The attempt by which it came.
    #[schema(value_type = uuid::Uuid)]
    flow: FlowId,
    /// The HubSpot account that was approved.
    #[schema(value_type = i64)]
    portal_id: PortalId,
    /// Its website, where HubSpot has told it.
    hub_domain: Option<String>,
    /// What was granted.
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<Scopes>,
    /// After this it ends by itself.
    expires_at: String,
}

/// A connect session with what opens it, shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub struct NewConnectSession {
    #[serde(flatten)]
    session: ConnectSessionBody,
    /// For your page, which gives it to the SDK. It belongs into no address and no log. Null with a link.
    token: Option<String>,
    /// For whoever is to approve. What opens it stands behind the `#`.
    link: Option<String>,
}

/// Who has approved.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompleteConnectSession {
    /// Your id of the user who is in front of your page now, from your own session: not from the request that told you
    /// of this session.
    #[schema(value_type = ExternalUserIdWord)]
    external_user_id: ExternalUserId,
}

/// Makes a connect session for one of your users.
#[utoipa::path(
    post, path = "/api/hubspot/connect-sessions", tag = "connect sessions",
    security(("api_key" = ["sessions:write"])),
    request_body = CreateConnectSession,
    responses(
        (status = 201, description = "The session. Its token or link is shown this once.", body = NewConnectSession),
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

/// Lists connect sessions, the newest first. They are remembered for a week after they have expired.
#[utoipa::path(
    get, path = "/api/hubspot/connect-sessions", tag = "connect sessions",
    security(("api_key" = ["sessions:write"])),
    params(
        PageParams,
        ("external_user_id" = Option<String>, Query, description = "Those of this user."),
        ("status" = Option<ConnectSessionStatus>, Query, description = "Those with this status."),
    ),
    responses(
        (status = 200, description = "A page of sessions. `awaiting` is null here.", body = Page<ConnectSessionBody>),
        (status = 400, description = "`bad_request`: a parameter is unknown, given twice, or has no such value."),
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

/// Shows how a connect session fares.
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

/// Confirms that the user in front of your page is the one who has approved.
///
/// If you name another user than the session was made for, the session ends and nothing is connected: somebody has had
/// one person approve for another.
#[utoipa::path(
    post, path = "/api/hubspot/connect-sessions/{id}/complete", tag = "connect sessions",
    security(("api_key" = ["sessions:write"])),
    params(("id" = uuid::Uuid, Path)),
    request_body = CompleteConnectSession,
    responses(
        (status = 200, description = "The session, connected.", body = ConnectSessionBody),
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

/// Ends a connect session that has led to nothing yet, and the grant that awaits your word with it.
#[utoipa::path(
    delete, path = "/api/hubspot/connect-sessions/{id}", tag = "connect sessions",
    security(("api_key" = ["sessions:write"])),
    params(("id" = uuid::Uuid, Path)),
    responses(
        (status = 200, description = "The session as it is now; one that was connected stays so.", body = ConnectSessionBody),
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

/// An id of another form is no session's.
fn read_id(id: &str) -> Result<ConnectSessionId, Problem> {
    id.parse().map_err(|_| Problem::new(ProblemCode::ConnectSessionNotFound))
}

impl CreateConnectSession {
    fn read(self, project: ProjectId) -> Result<NewSession, Problem> {
        let metadata = metadata_text(self.metadata)?;
        let is_shown = |name: &str| is_name(name) && name.chars().count() <= MAX_REQUESTED_BY_LENGTH;
        if self.requested_by.as_deref().is_some_and(|name| !is_shown(name)) {
            let name = "has 1 to 120 characters, none of them control or invisible characters";
            return Err(Problem::invalid("/requested_by", name));
        }
        if self.expires_in.is_some_and(|seconds| !(60..=WEEK).contains(&seconds)) {
            return Err(Problem::invalid("/expires_in", "is a number of seconds from 60 to 604800"));
        }
        if self.hosted && self.confirm == Some(Confirm::None) {
            return Err(Problem::invalid("/confirm", "is `backend` with `hosted`"));
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

/// What the host wants to keep with a connection, as JSON.
pub(super) fn metadata_text(metadata: Option<BTreeMap<String, Value>>) -> Result<Option<String>, Problem> {
    let text = metadata.map(|metadata| serde_json::to_string(&metadata).unwrap_or_default());
    if text.as_ref().is_some_and(|text| text.len() > MAX_METADATA_LENGTH || text.contains("\\u0000")) {
        return Err(Problem::invalid("/metadata", "has at most 4 kB of JSON, without zero characters"));
    }
    Ok(text)
}

pub(super) fn portal(portal_id: Option<u64>) -> Result<Option<PortalId>, Problem> {
    let refused = || Problem::invalid("/portal_id", "is a number from 0 to 9007199254740991");
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
        None => Err(Problem::invalid(place, format_args!("has at most {MAX_SCOPES} scopes"))),
        Some(at) => Err(Problem::invalid(format!("{place}/{at}"), "is not a scope as HubSpot writes it")),
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
