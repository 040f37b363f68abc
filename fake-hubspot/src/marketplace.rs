//! The app's page at the Marketplace, and the three shapes of an install that starts there: with a return URL, with a
//! sign-in at the partner's first, and the old one with a code alone.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, http::header};
use url::Url;

use crate::clock::now_ms;
use crate::codes::Code;
use crate::hub::{Hub, State};
use crate::incoming::Fields;
use crate::page;

/// An install that a user starts.
struct Install {
    /// The app's install URL.
    url: Url,
    shape: String,
    hub_id: u64,
    /// The fake's own origin, as the browser names it.
    here: String,
}

impl Install {
    fn read(hub: &Hub, request: &HttpRequest) -> Option<Install> {
        let query = Fields::read(request.query_string().as_bytes());
        let host = request.headers().get(header::HOST)?.to_str().ok()?;
        let first = || hub.lock().options.accounts.first().map(|account| account.hub_id);
        Some(Install {
            url: Url::parse(query.get("install_url")?).ok()?,
            shape: query.get("shape").unwrap_or("plain").to_owned(),
            hub_id: query.get("hub_id").map_or_else(first, |id| id.parse().ok())?,
            here: format!("http://{host}"),
        })
    }

    /// Returns the URL of a page of the fake for this install.
    fn page(&self, path: &str) -> String {
        let mut url = Url::parse(&self.here).expect("an origin of our own");
        url.set_path(path);
        url.query_pairs_mut()
            .append_pair("install_url", self.url.as_str())
            .append_pair("shape", &self.shape)
            .append_pair("hub_id", &self.hub_id.to_string());
        url.into()
    }

    /// Returns the app's URL with these parameters.
    fn at_app(&self, pairs: &[(&str, &str)]) -> String {
        let mut url = self.url.clone();
        url.query_pairs_mut().extend_pairs(pairs);
        url.into()
    }
}

/// Issues a code without an authorize URL.
pub(crate) fn issue(state: &mut State, redirect_uri: &str, hub_id: u64) -> String {
    let account = state.options.account(hub_id);
    let able = account.scopes.unwrap_or_else(|| vec!["oauth".into(), "crm.objects.contacts.read".into()]);
    let now_ms = now_ms();
    let code = Code {
        client_id: state.options.client_id.clone(),
        redirect_uri: redirect_uri.to_owned(),
        code_challenge: None,
        hub_id,
        scopes: able,
        expires_at_ms: now_ms.saturating_add(state.options.code_seconds.saturating_mul(1000)),
    };
    state.codes.issue(code, now_ms)
}

/// Answers `GET /marketplace?install_url&shape&hub_id`: the app's page, with the button that installs it.
pub(crate) async fn listing(hub: Data<Hub>, request: HttpRequest) -> HttpResponse {
    let Some(install) = Install::read(&hub, &request) else { return nothing() };
    let button = match install.shape.as_str() {
        "signin" => {
            let to = install
                .at_app(&[("step", "authorize"), ("returnUrl", &install.page("/marketplace/consent"))]);
            format!(
                "<a id=\"install\" target=\"_blank\" rel=\"opener\" href=\"{}\">Install app</a>",
                page::escape(&to)
            )
        }
        _ => format!(
            "<a id=\"install\" href=\"{}\">Install app</a>",
            page::escape(&install.page("/marketplace/install"))
        ),
    };
    html("An app", &format!("<h1>An app</h1>\n<p>{button}</p>\n"))
}

/// Answers `GET /marketplace/install`: the user has consented, and the app gets its code.
pub(crate) async fn install(hub: Data<Hub>, request: HttpRequest) -> HttpResponse {
    let Some(install) = Install::read(&hub, &request) else { return nothing() };
    let code = issue(&mut hub.lock(), install.url.as_str(), install.hub_id);
    let back = install.page("/marketplace/installed");
    let to = match install.shape.as_str() {
        "legacy" => install.at_app(&[("code", &code)]),
        _ => install.at_app(&[("code", &code), ("returnUrl", &back)]),
    };
    HttpResponse::Found().insert_header((header::LOCATION, to)).finish()
}

/// Answers `GET /marketplace/consent?state`: back from the partner's sign-in. The app finishes in a frame of this page.
pub(crate) async fn consent(hub: Data<Hub>, request: HttpRequest) -> HttpResponse {
    let Some(install) = Install::read(&hub, &request) else { return nothing() };
    let query = Fields::read(request.query_string().as_bytes());
    let code = issue(&mut hub.lock(), install.url.as_str(), install.hub_id);
    let back = install.page("/marketplace/installed");
    let state = query.get("state").unwrap_or_default();
    let to = install.at_app(&[("step", "finalize"), ("code", &code), ("state", state), ("returnUrl", &back)]);
    let frame =
        format!("<iframe id=\"finalize\" title=\"Finishing\" src=\"{}\"></iframe>", page::escape(&to));
    html("Connecting", &format!("<h1>Connecting the app</h1>\n{frame}\n"))
}

/// Answers `GET /marketplace/installed`: whether the app has exchanged its code, by HubSpot's own records.
pub(crate) async fn installed(hub: Data<Hub>, request: HttpRequest) -> HttpResponse {
    let Some(install) = Install::read(&hub, &request) else { return nothing() };
    let body = match hub.lock().grants.newest(install.hub_id) {
        Some(_) => "<h1 id=\"installed\">The app is installed</h1>\n",
        None => "<h1 id=\"not-installed\">Please verify the connection</h1>\n",
    };
    html("Connected apps", body)
}

fn html(title: &str, body: &str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .body(page::document(title, body))
}

fn nothing() -> HttpResponse {
    HttpResponse::BadRequest().body("install_url is missing or invalid")
}
