//! `POST /oauth/decide`: the buttons of the consent page.

use actix_web::web::{Bytes, Data};
use actix_web::{HttpResponse, http::header};
use url::form_urlencoded;

use crate::authorize::{AuthorizeRequest, Outcome, conclude, show};
use crate::decision::Decision;
use crate::hub::Hub;
use crate::incoming::Fields;

/// Serves the style sheet of every page.
pub(crate) async fn style() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/css; charset=utf-8"))
        .body(include_str!("../assets/style.css"))
}

/// Performs the clicked decision.
pub(crate) async fn decide(hub: Data<Hub>, body: Bytes) -> HttpResponse {
    let form = Fields::read(&body);
    let query = Fields::read(form.get("query").unwrap_or_default().as_bytes());
    let portal = form.get("portal").and_then(|portal| portal.parse().ok());
    let mut state = hub.lock();
    // The options may have changed since the page was opened; HubSpot checks again, too.
    let outcome = match AuthorizeRequest::read(&state.options, portal, &query) {
        Ok(mut request) => match clicked(&form, &body, &mut request) {
            Some(decision) => conclude(&mut state, &request, decision),
            None => Outcome::Refused("No account was chosen.".to_owned()),
        },
        Err(sentence) => Outcome::Refused(sentence),
    };
    show(&state.options, outcome).into_response()
}

/// Reads the buttons and boxes; removes unticked scopes from the request.
fn clicked(form: &Fields, body: &[u8], request: &mut AuthorizeRequest) -> Option<Decision> {
    match form.get("decision") {
        Some("deny") => return Some(Decision::Deny),
        Some("never") => return Some(Decision::NeverReturn),
        _ => {}
    }
    let hub_id = form.get("hub_id")?.parse().ok()?;
    if form.get("fewer").is_some() {
        let scopes = Some(vec!["oauth".to_owned()]);
        return Some(Decision::Approve { hub_id, scopes });
    }
    // Required scopes cannot be unticked. Whether the account can grant the rest is checked later.
    let ticked = form_urlencoded::parse(body)
        .filter(|(name, _)| name == "optional")
        .map(|(_, scope)| scope.into_owned());
    request.optional = ticked.filter(|scope| request.optional.contains(scope)).collect();
    Some(Decision::Approve { hub_id, scopes: None })
}
