//! The authorize URL: HubSpot's checks, consent page and redirects.

use url::Url;

use crate::answer::{Answer, Content};
use crate::clock::now_ms;
use crate::codes::Code;
use crate::decision::Decision;
use crate::hub::State;
use crate::incoming::{Fields, Incoming};
use crate::options::{Account, Options};
use crate::page;

/// An authorize URL for which HubSpot would show its consent page.
pub(crate) struct AuthorizeRequest {
    pub redirect_uri: Url,
    /// The redirect URL as sent, which the exchange must repeat exactly.
    redirect_text: String,
    /// The required scopes.
    pub required: Vec<String>,
    /// The optional scopes.
    pub optional: Vec<String>,
    state: Option<String>,
    code_challenge: Option<String>,
    /// The account that the URL preselects.
    pub portal: Option<u64>,
}

impl AuthorizeRequest {
    /// Parses and checks an authorize URL; the error is the sentence on HubSpot's own page.
    pub(crate) fn read(
        options: &Options,
        portal: Option<u64>,
        query: &Fields,
    ) -> Result<AuthorizeRequest, String> {
        if query.get("client_id") != Some(options.client_id.as_str()) {
            return Err("There is no app with this client ID.".to_owned());
        }
        let redirect_text = query.get("redirect_uri").unwrap_or_default().to_owned();
        let registered = &options.redirect_uris;
        let redirect_uri = Url::parse(&redirect_text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .filter(|_| registered.is_empty() || registered.contains(&redirect_text))
            .ok_or("The redirect URL does not match one that the app has registered.")?;
        let required = scopes(query.get("scope"));
        if !required.iter().any(|scope| scope == "oauth") {
            return Err("The scope oauth is missing from the authorize URL.".to_owned());
        }
        let code_challenge = query.get("code_challenge").map(str::to_owned);
        if code_challenge.is_some() && query.get("code_challenge_method") != Some("S256") {
            return Err("The code challenge method must be S256.".to_owned());
        }
        Ok(AuthorizeRequest {
            redirect_uri,
            redirect_text,
            required,
            optional: scopes(query.get("optional_scope")),
            state: query.get("state").map(str::to_owned),
            code_challenge,
            portal,
        })
    }

    /// Returns the scopes that an account grants when all are requested. The error names required scopes it lacks.
    pub(crate) fn grantable(&self, account: &Account) -> Result<Vec<String>, String> {
        let lacking: Vec<&str> =
            self.required.iter().filter(|scope| !account.can_grant(scope)).map(String::as_str).collect();
        if !lacking.is_empty() {
            let lacking = lacking.join(", ");
            return Err(format!(
                "The account {} lacks access to the required scopes [{lacking}].",
                account.hub_id
            ));
        }
        let optional = self.optional.iter().filter(|scope| account.can_grant(scope));
        let mut granted = self.required.clone();
        for scope in optional {
            if !granted.contains(scope) {
                granted.push(scope.clone());
            }
        }
        Ok(granted)
    }

    fn back(&self, answer: &[(&str, &str)]) -> String {
        let mut url = self.redirect_uri.clone();
        url.query_pairs_mut()
            .extend_pairs(answer)
            .extend_pairs(self.state.iter().map(|state| ("state", state)));
        url.into()
    }
}

fn scopes(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// The end of a visit to the consent page.
pub(crate) enum Outcome {
    /// The browser goes back to the app.
    Back { url: String, hub_id: Option<u64> },
    /// HubSpot keeps the browser and shows the reason.
    Refused(String),
    /// HubSpot keeps the browser because the user never finished.
    Abandoned,
}

/// Performs a decision.
pub(crate) fn conclude(state: &mut State, request: &AuthorizeRequest, decision: Decision) -> Outcome {
    let (hub_id, scopes) = match decision {
        Decision::NeverReturn => return Outcome::Abandoned,
        Decision::Deny => {
            let text = "The user did not authorize the app";
            let url = request.back(&[("error", "access_denied"), ("error_description", text)]);
            return Outcome::Back { url, hub_id: None };
        }
        Decision::Approve { hub_id, scopes } => (hub_id, scopes),
    };
    let scopes =
        match scopes.map_or_else(|| request.grantable(&state.options.account(hub_id)), Ok::<_, String>) {
            Ok(scopes) => scopes,
            Err(sentence) => return Outcome::Refused(sentence),
        };
    let now_ms = now_ms();
    let code = Code {
        client_id: state.options.client_id.clone(),
        redirect_uri: request.redirect_text.clone(),
        code_challenge: request.code_challenge.clone(),
        hub_id,
        scopes,
        expires_at_ms: now_ms.saturating_add(state.options.code_seconds.saturating_mul(1000)),
    };
    let code = state.codes.issue(code, now_ms);
    Outcome::Back { url: request.back(&[("code", &code)]), hub_id: Some(hub_id) }
}

/// Answers `GET /oauth/authorize`: the consent page, or at once the redirect that the options prescribe.
pub(crate) fn open_page(state: &mut State, call: &Incoming) -> Answer {
    let request = match AuthorizeRequest::read(&state.options, call.portal, &call.query) {
        Ok(request) => request,
        Err(sentence) => return show(&state.options, Outcome::Refused(sentence)),
    };
    match state.options.auto_consent.clone() {
        Some(decision) => {
            let outcome = conclude(state, &request, decision);
            show(&state.options, outcome)
        }
        None => {
            let html = page::consent(&request, &state.options, &call.raw_query);
            on_page(&state.options, 200, html)
        }
    }
}

/// Turns an outcome into the response to the browser.
pub(crate) fn show(options: &Options, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Back { url, hub_id } => {
            let mut answer = Answer::new(302, Content::Redirect(url));
            answer.hub_id = hub_id;
            answer.coop = options.coop.clone().filter(|_| options.coop_on_redirect_only);
            answer
        }
        Outcome::Refused(sentence) => on_page(options, 400, page::refused(&sentence)),
        Outcome::Abandoned => on_page(options, 200, page::abandoned()),
    }
}

fn on_page(options: &Options, status: u16, html: String) -> Answer {
    let mut answer = Answer::new(status, Content::Html(html));
    answer.coop = options.coop.clone().filter(|_| !options.coop_on_redirect_only);
    answer
}
