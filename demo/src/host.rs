//! The host page: another web application with a button, served from another site, with the SDK and without it.

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, web};

use crate::Failure;
use crate::options::Options;

/// Path, content type, text.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("../pages/index.html")),
    ("/index.js", "text/javascript; charset=utf-8", include_str!("../pages/index.js")),
    ("/plain", "text/html; charset=utf-8", include_str!("../pages/plain.html")),
    ("/plain.js", "text/javascript; charset=utf-8", include_str!("../pages/plain.js")),
    ("/page.css", "text/css; charset=utf-8", include_str!("../pages/page.css")),
];

/// Serves the pages until the handle is dropped.
pub fn serve(options: &Options) -> Result<ServerHandle, Failure> {
    let service = options.public_url();
    let server = HttpServer::new(move || {
        FILES.iter().fold(App::new(), |app, (path, kind, text)| {
            let text = text.replace("SERVICE_URL", &service);
            let answer = move || {
                let text = text.clone();
                async move { HttpResponse::Ok().content_type(*kind).body(text) }
            };
            app.route(path, web::get().to(answer))
        })
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", options.host_port))?
    .run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(handle)
}
