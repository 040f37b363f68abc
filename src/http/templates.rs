//! The pages, compiled into the binary.

use actix_web::HttpResponse;
use serde::Serialize;
use tera::{Context, Tera};

use super::problem::{Entry, Problem};

/// Declares the pages with their names.
macro_rules! files {
    ($($name:literal),+) => {
        const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../templates/", $name)))),+];
    };
}

files! {
    "layout.html", "popup_layout.html", "docs.html", "index.html", "login.html", "logout.html",
    "popup_success.html", "popup_error.html", "popup_waiting.html", "popup_held.html",
    "popup_over.html", "popup_choice.html", "popup_launch.html", "confirm_question.html",
    "launch_question.html", "start_confirm.html", "link.html", "install_claim.html", "error.html"
}

/// The pages.
#[derive(Debug)]
pub struct Templates(Tera);

impl Templates {
    /// Compiles the pages.
    ///
    /// # Errors
    /// [`tera::Error`] if a page does not compile; a test ensures that all do.
    pub fn new() -> Result<Self, tera::Error> {
        let mut tera = Tera::new();
        tera.add_raw_templates(FILES.iter().copied())?;
        Ok(Self(tera))
    }

    /// Renders a page with its values. If that fails, the page says so without details, which are logged.
    pub(super) fn page(&self, name: &str, values: &impl Serialize) -> String {
        let rendered = Context::from_serialize(values).and_then(|context| self.0.render(name, &context));
        rendered.unwrap_or_else(|why| {
            tracing::error!(page = name, error = ?why, "page rendering failed");
            "This page cannot be shown. Please try again.".to_owned()
        })
    }
}

/// Returns the response that shows a page.
pub(super) fn html(page: String) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page)
}

/// Renders the page of a problem.
pub(super) fn error_page(templates: &Templates, problem: &Problem, support_code: &str) -> String {
    let Entry { code, status, title, detail, .. } = problem.entry;
    let values = serde_json::json!({
        "code": code.as_str(),
        "status": status,
        "title": title,
        "detail": detail,
        "about": problem.about(),
        "origin": problem.opener,
        "flow": problem.flow,
        "support_code": support_code,
    });
    templates.page("error.html", &values)
}
