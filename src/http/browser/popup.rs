//! The popup's last page, and the message for its opener.

use actix_session::Session;
use actix_web::http::header::COOKIE;
use actix_web::web::{Data, Form, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::caller::Caller;
use super::csrf::same_origin;
use super::navigation::{done, see_other, start_url};
use crate::domain::id::FlowId;
use crate::domain::origin::Origin;
use crate::http::Web;
use crate::http::paths::HOSTED_LINK;
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::http::request::body::ApiJson;
use crate::http::request::span::{RequestId, about_flow};
use crate::http::templates::html;
use crate::services::{AccountChoice, Connection, Decision, FlowOutcome, HandoffResult, Message, Outcome};

/// The likely reason for a callback without any cookie where PUBLIC_URL is http://localhost.
const SAFARI_HINT: &str = "Safari does not keep the cookies of a service at http://localhost. Use another browser, or give \
                      PUBLIC_URL an https address.";

/// The subject of the page: a flow, or a problem without one.
#[derive(Debug, Deserialize)]
pub struct DoneQuery {
    flow: Option<String>,
    problem: Option<String>,
}

/// `GET /auth/hubspot/done?flow=ID`: shows the outcome of the flow to the user; its script notifies the opener.
pub async fn get_done(
    request: HttpRequest,
    web: Data<Web>,
    session: Session,
    about: Query<DoneQuery>,
    id: actix_web::web::ReqData<RequestId>,
) -> Handled {
    let flow = about.flow.as_deref().and_then(|flow| flow.parse::<FlowId>().ok());
    flow.into_iter().for_each(about_flow);
    let binding = flow.and_then(|flow| web.cookies.binding(&request, flow));
    let flow_outcome = match (flow, &binding) {
        (Some(flow), Some(binding)) => web.services.connect.handoffs.outcome(flow, binding).await?,
        _ => None,
    };
    if let (Some(flow), Some(choice)) =
        (flow, flow_outcome.as_ref().and_then(|flow_outcome| flow_outcome.choice.as_ref()))
    {
        return Ok(html(web.templates.page("popup_choice.html", &choice_values(flow, choice))));
    }
    let by_backend = flow_outcome.as_ref().is_some_and(|flow_outcome| flow_outcome.by_backend);
    let held = flow_outcome.as_ref().is_some_and(|flow_outcome| flow_outcome.awaiting_confirmation);
    // A cookie without an outcome belongs to a deleted flow.
    let is_spent = flow_outcome.as_ref().is_none_or(|flow_outcome| flow_outcome.is_spent);
    let spent = flow.filter(|_| is_spent && binding.is_some()).map(|flow| web.cookies.removal(flow));
    let (outcome, opener, way) = match flow_outcome {
        Some(FlowOutcome { outcome, opener, return_link, back_url, mode, .. }) => {
            let back = back_url.map(|url| json!({"url": url.as_str(), "host": url.host()}));
            (Some(outcome), opener, json!({"link": return_link, "mode": mode.as_str(), "back": back}))
        }
        None => (None, None, Value::Null),
    };
    let page = match (flow, outcome) {
        (Some(flow), Some(Outcome::Connected(connection))) => {
            // The response with the new session may have been lost, with a callback that a browser dropped and
            // repeated.
            if let (Some(binding), None) = (&binding, Caller::of(&session))
                && let Some(user) = web.services.connect.sign_ins.lost_session(flow, binding).await?
            {
                Caller::sign_in(&session, user);
            }
            success(&web, flow, &connection, &way, by_backend)
        }
        (Some(flow), Some(Outcome::Pending { .. })) => {
            let page = if held { "popup_held.html" } else { "popup_waiting.html" };
            web.templates.page(page, &json!({"flow": flow, "way": way}))
        }
        (Some(flow), Some(Outcome::Failed { code })) => {
            let retry_url = opener.and_then(|opener| retry_url(&web, &opener, by_backend));
            failure(&web, Some(flow), code.into(), (retry_url, &way), (&id.0, None))
        }
        (Some(_), None) => web.templates.page("popup_over.html", &json!({})),
        (None, _) => {
            let code = about.problem.as_deref().map_or(ProblemCode::FlowUnknown, ProblemCode::named);
            let lost_cookies = code == ProblemCode::FlowNotYours
                && web.config.server.is_local_http()
                && !request.headers().contains_key(COOKIE);
            let hint = lost_cookies.then_some(SAFARI_HINT);
            failure(&web, None, code, (None, &Value::Null), (&id.0, hint))
        }
    };
    let mut answer = html(page);
    if let Some(cookie) = spent {
        answer.add_cookie(&cookie).map_err(|_| ProblemCode::InternalError)?;
    }
    Ok(answer)
}

/// Returns the name of the page for the state of a flow, as the pages have it in `data-outcome`.
fn page_of(ended: &FlowOutcome) -> &'static str {
    match (&ended.outcome, &ended.choice) {
        (_, Some(_)) => "choice",
        (Outcome::Pending { .. }, None) if ended.awaiting_confirmation => "held",
        (Outcome::Pending { .. }, None) => "waiting",
        (Outcome::Connected(_), None) => "success",
        (Outcome::Failed { .. }, None) => "error",
    }
}

fn choice_values(flow: FlowId, choice: &AccountChoice) -> Value {
    json!({
        "flow": flow,
        "portal_id": choice.portal,
        "hub_domain": choice.hub_domain,
        "expected_id": choice.expected,
        "expected_domain": choice.expected_domain,
        "is_connected": choice.is_connected,
        "can_keep": choice.can_keep,
    })
}

/// The user's decision.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    flow: FlowId,
    decision: String,
}

/// `POST /auth/hubspot/decide`: the user has chosen another account than the expected one, and decides how to
/// proceed.
pub async fn decide(request: HttpRequest, web: Data<Web>, session: Session, form: Form<Decided>) -> Handled {
    same_origin(&request, &web)?;
    let decision: Decision = form.decision.parse().map_err(|_| ProblemCode::BadRequest)?;
    let binding = web.cookies.binding(&request, form.flow).ok_or(ProblemCode::FlowUnknown)?;
    let user = Caller::of(&session).map(|caller| caller.user);
    if let Some(user) = web.services.connect.mismatches.decide(form.flow, &binding, user, decision).await? {
        Caller::sign_in(&session, user);
    }
    // That page shows the outcome. It can also redirect to the host's waiting page, which this form's policy does not
    // allow.
    Ok(see_other(&done(form.flow)))
}

fn success(web: &Web, flow: FlowId, connection: &Connection, way: &Value, by_backend: bool) -> String {
    let token = &connection.token;
    let values = json!({
        "flow": flow,
        "way": way,
        "of_host": by_backend,
        "hub_domain": token.hub_domain,
        "portal_id": token.portal_id,
        "missing_scopes": token.missing_scopes(),
    });
    web.templates.page("popup_success.html", &values)
}

/// Returns where the user can start again for the same opener. Only the page that has the token of a connect session can:
/// that of a hosted link is our own, and the others close with the popup.
fn retry_url(web: &Web, opener: &Origin, by_backend: bool) -> Option<String> {
    let is_own = *opener == web.config.server.origin();
    match by_backend {
        true => is_own.then(|| HOSTED_LINK.to_owned()),
        false => Some(start_url(opener)),
    }
}

/// Renders the error page, with a link to retry if that may help.
fn failure(
    web: &Web,
    flow: Option<FlowId>,
    code: ProblemCode,
    (retry_url, way): (Option<String>, &Value),
    (support_code, hint): (&str, Option<&str>),
) -> String {
    let entry = code.entry();
    if web.limits.lines.admit() {
        tracing::info!(code = code.as_str(), "problem returned");
    }
    let values = json!({
        "flow": flow,
        "way": way,
        "code": code.as_str(),
        "title": entry.title,
        "detail": entry.detail,
        "hint": hint,
        "support_code": support_code,
        "retry_url": retry_url.filter(|_| entry.retryable),
    });
    web.templates.page("popup_error.html", &values)
}

/// The flow whose message the popup requests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handoff {
    /// The authorization request.
    flow: FlowId,
    /// Whether the page only asks which page is due; the message is not taken.
    #[serde(default)]
    peek: bool,
}

/// `POST /auth/hubspot/handoff`: returns the message for the opener and the only origin it may be posted to, once.
/// The flow's cookie is no longer needed then and is removed.
pub async fn take_handoff(request: HttpRequest, web: Data<Web>, body: ApiJson<Handoff>) -> Handled {
    same_origin(&request, &web)?;
    let Handoff { flow, peek } = body.0;
    let binding = web.cookies.binding(&request, flow).ok_or(ProblemCode::FlowUnknown)?;
    if peek {
        let ended = web.services.connect.handoffs.outcome(flow, &binding).await?;
        let ended = ended.ok_or(ProblemCode::FlowUnknown)?;
        return Ok(HttpResponse::Ok().json(json!({"page": page_of(&ended)})));
    }
    match web.services.connect.handoffs.hand_off(flow, &binding).await? {
        HandoffResult::Now(origin, message) => {
            let answer = json!({"origin": origin, "message": message_json(flow, &message)});
            Ok(HttpResponse::Ok().cookie(web.cookies.removal(flow)).json(answer))
        }
        HandoffResult::Pending => Ok(HttpResponse::Accepted().json(json!({"status": "exchanging"}))),
        HandoffResult::Gone => Err(Problem::new(ProblemCode::AlreadyDelivered)),
        HandoffResult::Unknown => Err(Problem::new(ProblemCode::FlowUnknown)),
    }
}

/// Returns the message as JSON. Its fields are listed one by one, so that no other field is sent.
fn message_json(flow: FlowId, message: &Message) -> Value {
    let token = match &message.outcome {
        Outcome::Connected(connection) => &connection.token,
        Outcome::Failed { code } => {
            let entry = ProblemCode::from(*code).entry();
            let error = json!({"code": entry.code.as_str(), "message": entry.detail});
            return json!({"type": "hubspot_auth_error", "version": 1, "flow": flow, "error": error});
        }
        Outcome::Pending { .. } => return Value::Null,
    };
    let mut text = json!({
        "type": "hubspot_auth_success",
        "version": 1,
        "flow": flow,
        "connection_id": token.id,
        "portal_id": token.portal_id,
        "hub_domain": token.hub_domain,
        "scopes": token.scopes,
        "missing_scopes": token.missing_scopes(),
        "expires_at": token.expires_at.rfc3339(),
    });
    if let Some(access_token) = &message.access_token {
        text["access_token"] = access_token.expose().into();
        text["token_type"] = "bearer".into();
    }
    if let Some(pickup_code) = &message.pickup_code {
        text["pickup_code"] = pickup_code.as_str().into();
    }
    text
}
