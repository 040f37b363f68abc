//! Static files, served from inside the binary.

use std::collections::HashMap;
use std::sync::LazyLock;

use actix_web::HttpRequest;
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue};
use actix_web::web::Path;

use super::problem::{Handled, ProblemCode};
use super::public_text::PublicText;

/// Declares the files with their names and media types.
macro_rules! files {
    ($($name:literal: $kind:literal,)+) => {
        const FILES: &[(&str, &str, &str)] =
            &[$(($name, $kind, include_str!(concat!("../../static/", $name)))),+];
    };
}

files! {
    "app.css": "text/css; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
    "connect.js": "text/javascript; charset=utf-8",
    "connections.js": "text/javascript; charset=utf-8",
    "launch.js": "text/javascript; charset=utf-8",
    "link.js": "text/javascript; charset=utf-8",
    "popup.js": "text/javascript; charset=utf-8",
    "time_limit.js": "text/javascript; charset=utf-8",
    "sdk/hubspot-connect.js": "text/javascript; charset=utf-8",
    "sdk/element.js": "text/javascript; charset=utf-8",
    "sdk/diagnose.js": "text/javascript; charset=utf-8",
    "sdk/hubspot-connect.d.ts": "text/plain; charset=utf-8",
    "sdk/element.d.ts": "text/plain; charset=utf-8",
    "sdk/view.d.ts": "text/plain; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

/// The files, compressed at the first request for any of them.
static TEXTS: LazyLock<HashMap<&str, PublicText>> =
    LazyLock::new(|| FILES.iter().map(|(name, kind, text)| (*name, PublicText::new(kind, *text))).collect());

/// `GET /static/…`
pub(super) async fn get_asset(request: HttpRequest, file: Path<String>) -> Handled {
    let found = TEXTS.get(file.as_str()).ok_or(ProblemCode::NotFound)?;
    let mut answer = found.answer(&request);
    if file.starts_with("sdk/") {
        // A module is fetched with CORS (HTML standard); it is the same for all callers.
        answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    Ok(answer)
}
