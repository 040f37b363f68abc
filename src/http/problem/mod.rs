//! Problems: error responses.
//!
//! A handler returns a [`Problem`]; the envelope writes it as a page or as `application/problem+json` (RFC 9457),
//! with the request's id. Internal causes are only logged.

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

/// An error response.
#[derive(Debug, Clone, Error)]
#[error("{}", .entry.code)]
pub(super) struct Problem {
    /// Its entry in the table.
    pub entry: &'static Entry,
    /// Details of this occurrence, for the developer. Never a value from the request.
    hint: Option<String>,
    /// The part of the body that caused it (RFC 6901).
    pointer: Option<String>,
    /// The number of seconds after which to retry, if known.
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

    /// Returns the problem of an invalid field.
    ///
    /// The predicate follows the field's path: "must be `none` or `backend`".
    pub fn invalid(pointer: impl Into<String>, predicate: impl Display) -> Self {
        let pointer = pointer.into();
        let hint = format!("{} {predicate}.", field(&pointer));
        Self::new(ProblemCode::ValidationFailed).pointer(pointer).hint(hint)
    }

    /// Adds a sentence about this occurrence.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Adds the part of the body that caused it.
    pub fn pointer(self, pointer: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), ..self }
    }

    /// Adds the time after which to retry.
    pub fn retry_after(self, pause: Duration) -> Self {
        Self { retry_after: Some(retry_after::seconds(pause)), ..self }
    }

    /// Adds the page that the problem's own page reports to.
    pub fn opener(self, opener: Option<Origin>) -> Self {
        Self { opener, ..self }
    }

    /// Adds the authorization request that keeps it.
    pub fn flow(self, flow: Option<FlowId>) -> Self {
        Self { flow, ..self }
    }

    /// Returns the details of this occurrence, or the part of the body that caused it.
    pub fn about(&self) -> Option<&str> {
        self.hint.as_deref().or(self.pointer.as_deref())
    }

    /// Returns the body (RFC 9457 with extension members).
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

    /// Returns a response without a body, which the envelope writes because it knows the request.
    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::new(self.status_code());
        response.extensions_mut().insert(self.clone());
        response
    }
}

/// Writes a JSON pointer as a dotted path.
fn field(pointer: &str) -> String {
    let path = pointer.split('/').skip(1).fold(String::new(), |path, part| match part.parse::<usize>() {
        Ok(_) => format!("{path}[{part}]"),
        Err(_) if path.is_empty() => part.to_owned(),
        Err(_) => format!("{path}.{part}"),
    });
    if path.is_empty() { "The body".to_owned() } else { format!("`{path}`") }
}

/// The result of a handler: a response or a problem.
pub(super) type Handled = Result<HttpResponse, Problem>;

pub(super) async fn not_found() -> Handled {
    Err(Problem::new(ProblemCode::NotFound))
}
