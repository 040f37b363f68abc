//! CSRF protection: requests that change something and are authenticated by a cookie must come from our own pages.

use actix_web::HttpRequest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::caller::Caller;
use crate::domain::secret::Secret;
use crate::http::Web;
use crate::http::problem::{Problem, ProblemCode};

/// Creates and checks form tokens.
pub struct Csrf(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Csrf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Csrf(…)")
    }
}

impl Csrf {
    /// Returns form tokens with a key that is derived from APP_SECRET.
    pub fn new(app_secret: &Secret) -> Self {
        Self(app_secret.derive("form token"))
    }

    /// Returns the token of a session: without the key, no token for another session can be computed.
    pub fn token(&self, caller: &Caller) -> String {
        URL_SAFE_NO_PAD.encode(self.mac(caller).finalize().into_bytes())
    }

    fn matches(&self, caller: &Caller, token: &str) -> bool {
        URL_SAFE_NO_PAD.decode(token).is_ok_and(|token| self.mac(caller).verify_slice(&token).is_ok())
    }

    fn mac(&self, caller: &Caller) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.0[..]).expect("HMAC takes keys of any length");
        mac.update(caller.nonce.as_bytes());
        mac
    }
}

/// Checks that the browser states one of our own pages as the sender: by `Sec-Fetch-Site`, otherwise by `Origin`.
pub fn same_origin(request: &HttpRequest, web: &Web) -> Result<(), Problem> {
    let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or("unreadable"));
    let ours = match (header("sec-fetch-site"), header("origin")) {
        (Some(site), None) => matches!(site, "same-origin" | "none"),
        // A page that sends no referrer sends the origin `null` with its forms; another site's page cannot send
        // `same-origin`.
        (Some(site), Some(origin)) => site == "same-origin" && (origin == "null" || is_ours(origin, web)),
        (None, Some(origin)) => is_ours(origin, web),
        (None, None) => false,
    };
    let expected = || format!("Expected a request from a page of {}.", web.config.server.origin());
    if ours { Ok(()) } else { Err(Problem::new(ProblemCode::CsrfRejected).hint(expected())) }
}

fn is_ours(origin: &str, web: &Web) -> bool {
    origin == web.config.server.origin().as_str()
}

/// Checks both the sender and the session's token.
pub fn check(request: &HttpRequest, web: &Web, caller: &Caller, token: Option<&str>) -> Result<(), Problem> {
    same_origin(request, web)?;
    match token {
        Some(token) if web.csrf.matches(caller, token) => Ok(()),
        _ => Err(Problem::new(ProblemCode::CsrfRejected)),
    }
}
