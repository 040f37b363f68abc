//! /auth/hubspot/callback.

use actix_session::Session;
use actix_web::HttpRequest;
use actix_web::web::Data;

use super::caller::Caller;
use super::install::{is_install, take_install};
use super::navigation::{Query, done, is_state, navigation_only, see_other};
use crate::domain::secret::Secret;
use crate::http::Web;
use crate::http::problem::{Handled, Problem, ProblemCode};
use crate::http::request::span::about_flow;
use crate::services::{Answer, FinishConnect, Finished, flow_of_state};

/// `GET /auth/hubspot/callback?code&state`: HubSpot's redirect. Whatever the outcome, the popup is redirected to a
/// clean URL: after that, code and state are in no session history, no log of ours and no referrer. The browser's
/// history database lists every hop of a redirect; by then both have been used.
pub async fn finish_auth(request: HttpRequest, web: Data<Web>, session: Session) -> Handled {
    if is_install(&request, &web) {
        return take_install(&request, &web, &web.config.hubspot.redirect_uri).await;
    }
    navigation_only(&request)?;
    match finish(&request, &web, &session).await {
        Ok(Finished { flow, return_to, .. }) => {
            let mut cookies = web.cookies.make_room(&request, flow);
            // The browser returns to the host's page: nothing is left to hand off here.
            if return_to.is_some() {
                cookies.push(web.cookies.removal(flow));
            }
            let mut answer = see_other(&return_to.unwrap_or_else(|| done(flow)));
            for cookie in cookies {
                answer.add_cookie(&cookie).map_err(|_| ProblemCode::InternalError)?;
            }
            Ok(answer)
        }
        Err(problem) => Ok(see_other(&format!("/auth/hubspot/done?problem={}#_", problem.entry.code))),
    }
}

async fn finish(request: &HttpRequest, web: &Web, session: &Session) -> Result<Finished, Problem> {
    let query = Query::parse(request.query_string(), &["code", "state", "error", "error_description"])?;
    let state = query.get("state").ok_or(ProblemCode::CallbackIncomplete)?;
    if !is_state(state) {
        return Err(Problem::new(ProblemCode::FlowUnknown));
    }
    let answer = match (query.get("error"), query.get("code")) {
        (Some("access_denied"), _) => Answer::Denied,
        (Some(_), _) => Answer::Error,
        (None, Some(code)) if code.len() <= 2048 => Answer::Code(Secret::new(code.to_owned())),
        _ => return Err(Problem::new(ProblemCode::CallbackIncomplete)),
    };
    let state = Secret::new(state.to_owned());
    let flow = flow_of_state(&state);
    about_flow(flow);
    let binding = web.cookies.binding(request, flow);
    let user = Caller::of(session).map(|caller| caller.user);
    let finished =
        web.services.connect.finishes.finish(FinishConnect { state, binding, user, answer }).await?;
    if let Some(user) = finished.user {
        Caller::sign_in(session, user);
    }
    Ok(finished)
}

/// Returns the page that follows a callback that could not be handled: the outcome of its flow, if the state names
/// one.
pub fn done_without_answer(query: &str) -> String {
    let query = Query::parse(query, &["state"]).ok();
    match query.as_ref().and_then(|query| query.get("state")).filter(|state| is_state(state)) {
        Some(state) => done(flow_of_state(&Secret::new(state.to_owned()))),
        None => "/auth/hubspot/done?problem=storage_unavailable#_".to_owned(),
    }
}
