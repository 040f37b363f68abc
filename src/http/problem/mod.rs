//! Problems: what an answer is that is not what was asked for.
//!
//! A handler answers with a [`Problem`]; the envelope writes it as a page or as `application/problem+json` (RFC 9457),
//! with the request's id. What went wrong inside is for the log.

use std::fmt::Display;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};
use thiserror::Error;

use crate::domain::id::FlowId;
use crate::domain::origin::Origin;
use crate::domain::retry_after;

mod from_errors;
mod table;

pub(super) use table::Entry;
pub use table::{ProblemCode, error_table};

/// An answer that is not what was asked for.
#[derive(Debug, Clone, Error)]
#[error("{}", .entry.code)]
pub(super) struct Problem {
    /// Its line in the table.
    pub entry: &'static Entry,
    /// What is special about this one, for the developer who reads it. Never a value out of the request.
    hint: Option<String>,
    /// The part of the body it is about (RFC 6901).
    pointer: Option<String>,
    /// After how many seconds it may be tried again, where that is known.
    pub retry_after: Option<u64>,
    /// The origin of the page that opened the window in which this problem is shown, if that page may be notified.
    pub opener: Option<Origin>,
    /// The authorization request that keeps this problem for the page that started it.
    pub flow: Option<FlowId>,
}

impl Problem {
    /// Returns the problem with this code.
    pub fn new(code: ProblemCode) -> Self {
        Self { entry: code.entry(), hint: None, pointer: None, retry_after: None, opener: None, flow: None }
    }

    /// Returns the problem of a field that is not what it has to be.
    ///
    /// The predicate goes on after the field's path: "is `none` or `backend`".
    pub fn invalid(pointer: impl Into<String>, predicate: impl Display) -> Self {
        let pointer = pointer.into();
        let hint = format!("{} {predicate}.", field(&pointer));
        Self::new(ProblemCode::ValidationFailed).pointer(pointer).hint(hint)
    }

    /// With a sentence of what is special about this one.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// With the part of the body that it is about.
    pub fn pointer(self, pointer: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), ..self }
    }

    /// With the time after which it may be tried again.
    pub fn retry_after(self, pause: Duration) -> Self {
        Self { retry_after: Some(retry_after::seconds(pause)), ..self }
    }

    /// With the page that the problem's own page reports it to.
    pub fn opener(self, opener: Option<Origin>) -> Self {
        Self { opener, ..self }
    }

    /// With the authorization request that keeps it.
    pub fn flow(self, flow: Option<FlowId>) -> Self {
        Self { flow, ..self }
    }

    /// Returns what is special about this one, or the part of the body that it is about.
    pub fn about(&self) -> Option<&str> {
        self.hint.as_deref().or(self.pointer.as_deref())
    }

    /// RFC 9457, with the members that programs go by.
    pub fn json(&self, instance: &str, request_id: &str) -> Value {
        let Entry { code, status, title, detail, retryable } = self.entry;
        let mut body = json!({
            "type": format!("urn:hubspot-connect:problem:{code}"),
            "title": title,
            "status": status,
            "detail": detail,
            "instance": instance,
            "code": code.as_str(),
            "request_id": request_id,
            "retryable": retryable,
        });
        for (member, text) in [("hint", &self.hint), ("pointer", &self.pointer)] {
            if let Some(text) = text {
                body[member] = text.as_str().into();
            }
        }
        body
    }
}

impl From<ProblemCode> for Problem {
    fn from(code: ProblemCode) -> Self {
        Self::new(code)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.entry.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The envelope fills in the body: it knows the request.
    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status_code());
        response.extensions_mut().insert(self.clone());
        response
    }
}

/// Writes a JSON pointer as people write the path of a field.
fn field(pointer: &str) -> String {
    let path = pointer.split('/').skip(1).fold(String::new(), |path, part| match part.parse::<usize>() {
        Ok(_) => format!("{path}[{part}]"),
        Err(_) if path.is_empty() => part.to_owned(),
        Err(_) => format!("{path}.{part}"),
    });
    if path.is_empty() { "The body".to_owned() } else { format!("`{path}`") }
}

/// How a handler ends: with an answer, or with the problem that stands in its place.
pub(super) type Handled = Result<HttpResponse, Problem>;

pub(super) async fn not_found() -> Handled {
    Err(Problem::new(ProblemCode::NotFound))
}
