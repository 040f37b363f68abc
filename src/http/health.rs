//! Live, ready, metrics.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

use super::Web;

/// `GET /livez`: the process is up.
pub(super) async fn get_live() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /readyz`: whether it can do its work. HubSpot's troubles are told and do not count: reads are served on.
pub(super) async fn get_ready(web: Data<Web>) -> HttpResponse {
    let ready = web.flows.readiness().await;
    let body = json!({
        "status": match (ready.stopping, ready.database) {
            (true, _) => "stopping",
            (false, true) => "ok",
            (false, false) => "unavailable",
        },
        "database": if ready.database { "ok" } else { "unreachable" },
        "hubspot": ready.hubspot.unwrap_or("ok"),
    });
    match ready.database && !ready.stopping {
        true => HttpResponse::Ok().json(body),
        false => HttpResponse::ServiceUnavailable().json(body),
    }
}

/// `GET /metrics`: OpenMetrics text.
pub(super) async fn get_metrics(web: Data<Web>) -> HttpResponse {
    let counts = web.flows.connection_counts().await.unwrap_or_default();
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(web.metrics.render(&counts, web.flows.waiting()))
}
