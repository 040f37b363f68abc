//! The host page: a stranger's web application with a button, served from another site.

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};

use crate::Failure;
use crate::options::Options;

const PAGE: &str = include_str!("../pages/host.html");
const SCRIPT: &str = include_str!("../pages/host.js");

/// Serves the page; it ends with the handle.
pub fn serve(options: &Options) -> Result<ServerHandle, Failure> {
    let page = PAGE.replace("SERVICE_URL", &options.public_url());
    let server = HttpServer::new(move || {
        let page = page.clone();
        let html = move || {
            let page = page.clone();
            async move { HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page) }
        };
        let script =
            || async { HttpResponse::Ok().content_type("text/javascript; charset=utf-8").body(SCRIPT) };
        App::new().route("/", web::get().to(html)).route("/host.js", web::get().to(script))
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", options.host_port))?
    .run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(handle)
}
