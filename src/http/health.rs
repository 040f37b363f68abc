//! Liveness, readiness, metrics.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::Web;
use crate::domain::failure::FailureCode;

/// The process is up.
#[derive(Serialize, ToSchema)]
struct Live {
    /// Always `ok`.
    #[schema(pattern = "^ok$")]
    status: &'static str,
}

/// `GET /livez`: the process is up.
#[utoipa::path(
    method(get, head), path = "/livez", tag = "service",
    summary = "Checks that the process is up",
    security(()),
    responses((status = 200, description = "The process is up.", body = Live))
)]
pub(super) async fn get_live() -> HttpResponse {
    HttpResponse::Ok().json(Live { status: "ok" })
}

/// `GET /readyz`: whether the service can do its work. A failure of HubSpot is shown and does not count: reads are
/// still served.
pub(super) async fn get_ready(web: Data<Web>) -> HttpResponse {
    let ready = web.services.maintenance.readiness().await;
    let body = json!({
        "status": match (ready.stopping, ready.database) {
            (true, _) => "stopping",
            (false, true) => "ok",
            (false, false) => "unavailable",
        },
        "database": if ready.database { "ok" } else { "unreachable" },
        "hubspot": ready.hubspot.map_or("ok", FailureCode::as_str),
    });
    match ready.database && !ready.stopping {
        true => HttpResponse::Ok().json(body),
        false => HttpResponse::ServiceUnavailable().json(body),
    }
}

/// `GET /metrics`: OpenMetrics text.
pub(super) async fn get_metrics(web: Data<Web>) -> HttpResponse {
    web.services.maintenance.measurements.update().await;
    HttpResponse::Ok()
        .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
        .body(web.metrics.render())
}
