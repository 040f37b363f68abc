//! Responses before they become HTTP, so that a fault can still change them.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use serde_json::{Map, Value, json};

use crate::grants::Grant;
use crate::journal::Ending;
use crate::random;

/// A response, and the details for the journal.
pub(crate) struct Answer {
    pub status: u16,
    pub content: Content,
    /// The `Cross-Origin-Opener-Policy` to send along.
    pub coop: Option<String>,
    /// More headers.
    pub headers: Vec<(&'static str, String)>,
    pub hub_id: Option<u64>,
    pub grant: Option<u32>,
    pub issued: Option<u32>,
    pub superseded: bool,
}

pub(crate) enum Content {
    Empty,
    Json(Value),
    Html(String),
    Redirect(String),
}

impl Answer {
    pub(crate) fn new(status: u16, content: Content) -> Answer {
        Answer {
            status,
            content,
            coop: None,
            headers: Vec::new(),
            hub_id: None,
            grant: None,
            issued: None,
            superseded: false,
        }
    }

    pub(crate) fn ok(json: Value) -> Answer {
        Answer::new(200, Content::Json(json))
    }

    /// Returns an error of the token endpoint in its current shape: RFC 6749 section 5.2, and HubSpot's own fields.
    pub(crate) fn refused(error: &str, status: &str, message: &str) -> Answer {
        let refusal = Refusal { error: Some(error), hubspot_status: Some(status), message };
        Answer::new(400, Content::Json(refusal.json()))
    }

    /// Returns an error in the older shape, the only one observed for some statuses.
    pub(crate) fn refused_as_of_old(status: &str, message: &str) -> Answer {
        let refusal = Refusal { error: None, hubspot_status: Some(status), message };
        Answer::new(400, Content::Json(refusal.json()))
    }

    /// Returns an error outside OAuth, in the envelope of HubSpot's other APIs.
    pub(crate) fn failed(status: u16, category: &str, message: &str) -> Answer {
        Answer::new(
            status,
            Content::Json(json!({
                "status": "error",
                "message": message,
                "correlationId": correlation_id(),
                "category": category,
            })),
        )
    }

    /// Adds a field to its JSON.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Answer {
        if let Content::Json(Value::Object(fields)) = &mut self.content {
            fields.insert(name.to_owned(), value);
        }
        self
    }

    pub(crate) fn about(mut self, hub_id: u64) -> Answer {
        self.hub_id = Some(hub_id);
        self
    }

    /// Records that it issues the grant's current refresh token.
    pub(crate) fn issuing(mut self, grant: &Grant) -> Answer {
        self.hub_id = Some(grant.hub_id);
        self.grant = Some(grant.id);
        self.issued = Some(grant.generation);
        self
    }

    pub(crate) fn superseded(mut self, superseded: bool) -> Answer {
        self.superseded = superseded;
        self
    }

    pub(crate) fn ending(&self) -> Ending {
        Ending {
            status: Some(self.status),
            hub_id: self.hub_id,
            grant: self.grant,
            issued: self.issued,
            superseded: self.superseded,
        }
    }

    /// Replaces and drops fields of a successful JSON response.
    pub(crate) fn patch(&mut self, set: Map<String, Value>, drop: &[String]) {
        if let (200, Content::Json(Value::Object(fields))) = (self.status, &mut self.content) {
            fields.extend(set);
            fields.retain(|name, _| !drop.contains(name));
        }
    }

    pub(crate) fn into_response(self) -> HttpResponse {
        let mut response = HttpResponse::build(status_code(self.status));
        response.insert_header((CACHE_CONTROL, "no-store"));
        if let Some(coop) = self.coop {
            response.insert_header(("cross-origin-opener-policy", coop));
        }
        for header in self.headers {
            response.insert_header(header);
        }
        match self.content {
            Content::Empty => response.finish(),
            Content::Json(json) => response
                .insert_header((CONTENT_TYPE, "application/json;charset=utf-8"))
                .body(json.to_string()),
            Content::Html(html) => {
                response.insert_header((CONTENT_TYPE, "text/html; charset=utf-8")).body(html)
            }
            Content::Redirect(to) => response.insert_header((LOCATION, to)).finish(),
        }
    }
}

/// The texts of an error of the token endpoint.
pub(crate) struct Refusal<'a> {
    pub error: Option<&'a str>,
    pub hubspot_status: Option<&'a str>,
    pub message: &'a str,
}

impl Refusal<'_> {
    /// Returns the JSON: with `error` the RFC's fields, with a status HubSpot's; a correlation id only in the old
    /// shape.
    pub(crate) fn json(&self) -> Value {
        let mut fields = Map::new();
        if let Some(error) = self.error {
            fields.insert("error".to_owned(), error.into());
            fields.insert("error_description".to_owned(), self.message.into());
        }
        if let Some(status) = self.hubspot_status {
            fields.insert("status".to_owned(), status.into());
        }
        if self.hubspot_status.is_some() || self.error.is_none() {
            fields.insert("message".to_owned(), self.message.into());
        }
        if self.error.is_none() {
            fields.insert("correlationId".to_owned(), correlation_id().into());
        }
        Value::Object(fields)
    }
}

/// Accepts any status from 100 to 999; others are errors in the script.
pub(crate) fn status_code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn correlation_id() -> String {
    random::na1(random::bytes()).split_off("na1-".len())
}
