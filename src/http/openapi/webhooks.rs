//! The messages that are sent to the host's webhook endpoints, one for each type of event.

use utoipa::openapi::path::{HttpMethod, OperationBuilder, Paths};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{KnownFormat, SchemaFormat, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{
    ContentBuilder, Object, ObjectBuilder, PathItem, Ref, RefOr, Required, ResponseBuilder, Schema,
};

use crate::domain::event::EventType;

/// Describes all messages.
pub fn messages() -> Paths {
    let mut paths = Paths::new();
    for kind in EventType::ALL {
        paths.paths.insert(kind.as_str().to_owned(), PathItem::new(HttpMethod::Post, operation(kind)));
    }
    paths
}

fn operation(kind: EventType) -> OperationBuilder {
    let message = ContentBuilder::new().schema(Some(RefOr::T(Schema::Object(message(kind))))).build();
    let body = RequestBodyBuilder::new()
        .description(Some("The message (Standard Webhooks 1.0.0), signed with the secret of the endpoint."))
        .required(Some(Required::True))
        .content("application/json", message)
        .build();
    let taken =
        ResponseBuilder::new().description("The receiver accepts the message; it is not sent again.").build();
    OperationBuilder::new()
        .operation_id(Some(format!("on_{}", kind.as_str().replace('.', "_"))))
        .tag("webhooks")
        .summary(Some(format!("The event `{kind}`")))
        // The signature is in header fields, which OpenAPI cannot describe as a scheme.
        .security(SecurityRequirement::default())
        .request_body(Some(body))
        .response("2XX", taken)
}

fn message(kind: EventType) -> Object {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let data = match kind.as_str().split('.').next() {
        Some("connection") => "ConnectionEventData",
        Some("connect_session") => "ConnectSessionEventData",
        Some("install") => "InstallEventData",
        Some("app") => "AppEventData",
        _ => "TestEventData",
    };
    ObjectBuilder::new()
        .property("type", text().enum_values(Some([kind.as_str()])))
        .property("timestamp", text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))))
        .property("data", Ref::from_schema_name(data))
        .required("type")
        .required("timestamp")
        .required("data")
        .build()
}
