//! Files served as they are, from inside the binary.

use std::collections::HashMap;
use std::sync::LazyLock;

use actix_web::HttpRequest;
use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue};
use actix_web::web::Path;

use super::problem::{Handled, ProblemCode};
use super::public_text::PublicText;

const FILES: &[(&str, &str, &str)] = &[
    ("app.css", "text/css; charset=utf-8", include_str!("../../static/app.css")),
    ("docs.css", "text/css; charset=utf-8", include_str!("../../static/docs.css")),
    ("connect.js", "text/javascript; charset=utf-8", include_str!("../../static/connect.js")),
    ("connections.js", "text/javascript; charset=utf-8", include_str!("../../static/connections.js")),
    ("launch.js", "text/javascript; charset=utf-8", include_str!("../../static/launch.js")),
    ("link.js", "text/javascript; charset=utf-8", include_str!("../../static/link.js")),
    ("popup.js", "text/javascript; charset=utf-8", include_str!("../../static/popup.js")),
    ("time_limit.js", "text/javascript; charset=utf-8", include_str!("../../static/time_limit.js")),
    (
        "sdk/hubspot-connect.js",
        "text/javascript; charset=utf-8",
        include_str!("../../static/sdk/hubspot-connect.js"),
    ),
    ("sdk/diagnose.js", "text/javascript; charset=utf-8", include_str!("../../static/sdk/diagnose.js")),
    (
        "sdk/hubspot-connect.d.ts",
        "text/plain; charset=utf-8",
        include_str!("../../static/sdk/hubspot-connect.d.ts"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("../../static/icon.svg")),
];

/// The files, compressed when the first of them is asked for.
static TEXTS: LazyLock<HashMap<&str, PublicText>> =
    LazyLock::new(|| FILES.iter().map(|(name, kind, text)| (*name, PublicText::new(kind, *text))).collect());

/// `GET /static/…`
pub(super) async fn get_asset(request: HttpRequest, file: Path<String>) -> Handled {
    let found = TEXTS.get(file.as_str()).ok_or(ProblemCode::NotFound)?;
    let mut answer = found.answer(&request);
    if file.starts_with("sdk/") {
        // A module is fetched with CORS (HTML standard); it is the same for everyone.
        answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
    Ok(answer)
}
