//! Files served as they are, from inside the binary.

use actix_web::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use actix_web::web::Path;
use actix_web::{HttpRequest, HttpResponse};

use super::problem::Problem;

const FILES: &[(&str, &str, &str)] = &[
    (
        "app.css",
        "text/css; charset=utf-8",
        include_str!("../../static/app.css"),
    ),
    (
        "connect.js",
        "text/javascript; charset=utf-8",
        include_str!("../../static/connect.js"),
    ),
    (
        "connections.js",
        "text/javascript; charset=utf-8",
        include_str!("../../static/connections.js"),
    ),
    (
        "popup.js",
        "text/javascript; charset=utf-8",
        include_str!("../../static/popup.js"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("../../static/icon.svg")),
];

/// They change with the release and with nothing else.
const TAG: &str = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");

/// `GET /static/…`
pub(super) async fn get_asset(request: HttpRequest, file: Path<String>) -> Result<HttpResponse, Problem> {
    let found = FILES.iter().find(|(name, _, _)| *name == file.as_str());
    let (_, kind, text) = found.ok_or(Problem::new("not_found"))?;
    let mut answer = match request.headers().get(IF_NONE_MATCH).is_some_and(|tag| tag == TAG) {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    answer
        .insert_header((ETAG, TAG))
        .insert_header((CACHE_CONTROL, "public, no-cache"))
        .content_type(*kind);
    Ok(answer.body(*text))
}
