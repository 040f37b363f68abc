//! /install/hubspot and /install/hubspot/claim: installs that start in HubSpot's Marketplace.
//!
//! HubSpot sends them in three forms. For an app without a sign-in it sends `code` and `returnUrl`. For an app with
//! one it asks for a state first (`step=authorize`), and returns it with the code (`step=finalize`) in a frame inside
//! its own pages. The oldest form has neither `returnUrl` nor state. No cookie is read or set here: in the frame
//! there is none, and opening these URLs proves nothing about the user.

use std::num::NonZeroU32;
use std::time::Duration;

use actix_web::http::header::LOCATION;
use actix_web::web::{self as actix, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::json;
use url::{Url, form_urlencoded};

use super::navigation::{Query, admit, fetch_header, is_prefetch, is_state, see_other, start_url};
use crate::config::marketplace::INSTALL;
use crate::domain::id::PortalId;
use crate::domain::install::InstallReturnUrl;
use crate::domain::origin::Origin;
use crate::domain::secret::Secret;
use crate::http::paths::CLAIM;
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::http::request::span::RequestId;
use crate::http::templates::html;
use crate::http::{Web, at};

/// The query parameters that HubSpot may send.
const FIELDS: [&str; 5] = ["step", "code", "state", "returnUrl", "error"];

/// Registers the routes, outside of the session middleware.
pub fn routes(web: &Web, routes: &mut ServiceConfig) {
    if web.config.marketplace.installs {
        routes
            .service(at(INSTALL, actix::get().to(get_install)))
            .service(at(CLAIM, actix::get().to(get_install_claim)));
    }
}

/// `GET /install/hubspot`: receives an install from HubSpot.
async fn get_install(request: HttpRequest, web: Data<Web>) -> Handled {
    take_install(&request, &web, &web.config.marketplace.install_url).await
}

/// Returns whether a request to the callback is an install. A request with a state and without a step belongs to an
/// authorization request of ours.
pub fn is_install(request: &HttpRequest, web: &Web) -> bool {
    let has =
        |wanted| form_urlencoded::parse(request.query_string().as_bytes()).any(|(name, _)| name == wanted);
    web.config.marketplace.installs && (has("step") || (has("code") && !has("state")))
}

/// Takes an install. `redirect_uri` is the URL that HubSpot has sent it to: `/install/hubspot`, or that of the
/// callback if the app's listing names it.
///
/// Whatever the outcome, the browser is redirected: no page of ours has code and state in its URL, and none is shown
/// in a frame. Only a rate limit is reported here: then the code was not used, and loading the same URL again later
/// completes the install.
pub async fn take_install(request: &HttpRequest, web: &Web, redirect_uri: &Url) -> Handled {
    let query = Query::parse(request.query_string(), &FIELDS);
    if !is_navigation(request, query.as_ref().ok()) {
        return Err(Problem::new(ProblemCode::NotANavigation));
    }
    let taken = match &query {
        Ok(query) => take(request, web, query, redirect_uri.to_string()).await,
        Err(problem) => Err(problem.clone()),
    };
    match taken {
        Ok(location) => Ok(HttpResponse::Found().insert_header((LOCATION, location)).finish()),
        Err(problem) if problem.entry.code == ProblemCode::RateLimited => Err(problem),
        Err(problem) => Ok(see_other(&format!("{CLAIM}?problem={}#_", problem.entry.code))),
    }
}

/// Returns whether a window sends this request; of frames, only the one in which HubSpot finalizes. Any page can put
/// a frame into a visitor's browser, so nothing starts in a frame, and no code goes to HubSpot without a state of
/// ours.
fn is_navigation(request: &HttpRequest, query: Option<&Query>) -> bool {
    let step = query.and_then(|query| query.get("step"));
    let is_expected = match fetch_header(request, "sec-fetch-dest") {
        None | Some("document") => true,
        Some("iframe" | "frame") => step == Some("finalize"),
        Some(_) => false,
    };
    let mode = fetch_header(request, "sec-fetch-mode");
    is_expected && mode.is_none_or(|mode| mode == "navigate") && !is_prefetch(request)
}

/// The number of codes without a state that this process exchanges at once. HubSpot sends them for apps without a
/// sign-in, but an attacker may make them up, from any number of browsers, and HubSpot counts the exchanges against
/// the app.
pub const STATELESS_CODES: NonZeroU32 = NonZeroU32::new(5).expect("not zero");
/// The interval at which one more of them may be exchanged.
pub const STATELESS_CODE_PAUSE: Duration = Duration::from_secs(5);

/// Handles an install and returns the URL of the redirect.
async fn take(
    request: &HttpRequest,
    web: &Web,
    query: &Query,
    redirect_uri: String,
) -> Result<String, Problem> {
    let approval = Origin::of(&web.config.hubspot.authorize_url);
    let back = match query.get("returnUrl") {
        Some(text) => {
            let checked = InstallReturnUrl::parse(text, &approval);
            Some(checked.ok_or(ProblemCode::InstallReturnUrlNotAllowed)?)
        }
        None => None,
    };
    match (query.get("step"), back) {
        (Some("authorize"), Some(back)) => {
            admit(request, web, &web.limits.installs)?;
            Ok(back.with_state(&web.services.marketplace.installs.begin_install().await?))
        }
        (Some("finalize"), Some(back)) => {
            // The rate limit was applied when the state was issued. HubSpot checks for itself whether the app is
            // installed, and informs the user. The reason for a failure is in the log.
            let _ = finalize(web, query, redirect_uri).await;
            Ok(back.as_str().to_owned())
        }
        (None, back) if query.get("state").is_none() => {
            let code = code(query)?;
            admit(request, web, &web.limits.installs)?;
            if !web.limits.stateless_codes.admit() {
                return Err(Problem::new(ProblemCode::RateLimited).retry_after(STATELESS_CODE_PAUSE));
            }
            web.services.marketplace.installs.install(code, None, redirect_uri).await?;
            Ok(back.map_or_else(|| landing(web), |back| back.as_str().to_owned()))
        }
        _ => Err(Problem::new(ProblemCode::InstallIncomplete)),
    }
}

async fn finalize(web: &Web, query: &Query, redirect_uri: String) -> Result<(), Problem> {
    let state = query.get("state").filter(|state| is_state(state));
    let state = state.ok_or(ProblemCode::InstallStateRejected)?;
    let state = Secret::new(state.to_owned());
    Ok(web.services.marketplace.installs.install(code(query)?, Some(state), redirect_uri).await?)
}

fn code(query: &Query) -> Result<Secret, Problem> {
    match (query.get("error"), query.get("code")) {
        (Some("access_denied"), _) => Err(Problem::new(ProblemCode::UserDenied)),
        (Some(_), _) => Err(Problem::new(ProblemCode::ProviderError)),
        (None, Some(code)) if (1..=2048).contains(&code.len()) => Ok(Secret::new(code.to_owned())),
        _ => Err(Problem::new(ProblemCode::InstallIncomplete)),
    }
}

fn landing(web: &Web) -> String {
    let named = web.config.marketplace.landing_url.as_ref();
    named.map_or_else(|| format!("{CLAIM}#_"), ToString::to_string)
}

/// The query of the claim page.
#[derive(Debug, Deserialize)]
struct ClaimPageQuery {
    problem: Option<String>,
    portal_id: Option<String>,
}

/// `GET /install/hubspot/claim`: lets the user show whose the install is, by an authorization request of ours. The
/// page knows of no install: its content is the same for all users.
async fn get_install_claim(
    web: Data<Web>,
    about: actix::Query<ClaimPageQuery>,
    id: actix::ReqData<RequestId>,
) -> Handled {
    let mut connect_url = start_url(&web.config.server.origin());
    if let Some(portal_id) = &about.portal_id {
        let portal_id: PortalId = portal_id.parse().map_err(|_| ProblemCode::BadRequest)?;
        connect_url += &format!("&portal_id={portal_id}");
    }
    let problem = about.problem.as_deref().map(|code| ProblemCode::named(code).entry());
    if let Some(entry) = problem
        && web.limits.lines.admit()
    {
        tracing::info!(code = entry.code.as_str(), "problem returned");
    }
    let values = json!({
        "connect_url": connect_url,
        "support_code": id.0,
        "problem": problem.map(|entry| json!({"code": entry.code.as_str(), "title": entry.title, "detail": entry.detail})),
    });
    Ok(html(web.templates.page("install_claim.html", &values)))
}
