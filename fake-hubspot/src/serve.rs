//! The server: every route, and the processing of a call.

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::rt::spawn;
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use tokio::time::sleep;

use crate::hub::{Hub, Opened};
use crate::incoming::Incoming;
use crate::{consent, control, fault, marketplace, wire};

const LARGEST_BODY: usize = 1024 * 1024;

/// Binds the address and prepares a server that runs once it is awaited.
pub(crate) fn bind(hub: &Hub, address: SocketAddr) -> std::io::Result<(Server, SocketAddr)> {
    let hub = hub.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::new(hub.clone()))
            .app_data(web::PayloadConfig::new(LARGEST_BODY))
            .configure(routes)
    })
    .workers(1)
    .disable_signals()
    // Longer than any test: a pooled connection must not close under a client by accident.
    .keep_alive(Duration::from_secs(600))
    .shutdown_timeout(1)
    .on_connect(wire::Line::keep)
    .bind(address)?;
    let address = server.addrs()[0];
    Ok((server.run(), address))
}

fn routes(app: &mut ServiceConfig) {
    app.route("/oauth/decide", web::post().to(consent::decide))
        .route("/__style.css", web::get().to(consent::style))
        .route("/__script", web::post().to(control::order))
        .route("/__script", web::delete().to(control::clear_script))
        .route("/__journal", web::get().to(control::journal))
        .route("/__journal", web::delete().to(control::clear_journal))
        .route("/__counts", web::get().to(control::counts))
        .route("/__options", web::get().to(control::options))
        .route("/__options", web::post().to(control::change_options))
        .route("/__uninstall", web::post().to(control::uninstall))
        .route("/__grants", web::get().to(control::grants))
        .route("/marketplace", web::get().to(marketplace::listing))
        .route("/marketplace/install", web::get().to(marketplace::install))
        .route("/marketplace/consent", web::get().to(marketplace::consent))
        .route("/marketplace/installed", web::get().to(marketplace::installed))
        .default_service(web::to(call));
}

/// Answers the calls that HubSpot itself would get.
async fn call(hub: Data<Hub>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let call = Incoming::read(&request, &body);
    let mut opened = hub.open(&call);
    if opened.fault.is_none() && opened.latency.is_zero() {
        return fault::compute(&call, &mut opened.guard).into_response();
    }
    // The server drops a handler whose caller resets the connection. HubSpot would not notice: it processes what was
    // sent, however slowly, so it happens in a separate task.
    spawn(unusual(call, opened, request)).await.unwrap_or_else(|_| wire::dropped())
}

/// Answers a call that is slow or has a fault.
async fn unusual(call: Incoming, mut opened: Opened, request: HttpRequest) -> HttpResponse {
    if !opened.latency.is_zero() {
        sleep(opened.latency).await;
    }
    match opened.fault {
        None => fault::compute(&call, &mut opened.guard).into_response(),
        Some(fault) => fault::play(fault, &call, opened.guard, &request).await,
    }
}
