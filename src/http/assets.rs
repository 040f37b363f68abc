//! Files served as they are, from inside the binary.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};

use super::problem::Problem;

const FILES: &[(&str, &str, &str)] = &[
    ("app.css", "text/css; charset=utf-8", include_str!("../../static/app.css")),
    ("docs.css", "text/css; charset=utf-8", include_str!("../../static/docs.css")),
    ("connect.js", "text/javascript; charset=utf-8", include_str!("../../static/connect.js")),
    ("connections.js", "text/javascript; charset=utf-8", include_str!("../../static/connections.js")),
    ("launch.js", "text/javascript; charset=utf-8", include_str!("../../static/launch.js")),
    ("link.js", "text/javascript; charset=utf-8", include_str!("../../static/link.js")),
    ("popup.js", "text/javascript; charset=utf-8", include_str!("../../static/popup.js")),
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

/// What stands for each file's content.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |text: &str| {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    };
    FILES.iter().map(|(_, _, text)| tag(text)).collect()
});

/// `GET /static/…`
pub(super) async fn get_asset(request: HttpRequest, file: Path<String>) -> Result<HttpResponse, Problem> {
    let found = FILES.iter().position(|(name, _, _)| *name == file.as_str());
    let at = found.ok_or(Problem::new("not_found"))?;
    let ((_, kind, text), tag) = (FILES[at], TAGS[at].as_str());
    let mut answer = match request.headers().get(IF_NONE_MATCH).is_some_and(|known| known == tag) {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    if file.starts_with("sdk/") {
        // A module is fetched with CORS (HTML standard); it is the same for everyone.
        answer.insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"));
    }
    answer.insert_header((ETAG, tag)).insert_header((CACHE_CONTROL, "public, no-cache")).content_type(kind);
    Ok(answer.body(text))
}
