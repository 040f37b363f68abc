//! Constraints of parameters, bodies and responses that the annotations of the handlers cannot express. They make the
//! description exact enough for tools to test the service with it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use utoipa::Number;
use utoipa::openapi::path::{Operation, Paths};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{
    AllOfBuilder, AnyOfBuilder, ArrayItems, Components, KnownFormat, Object, Ref, SchemaFormat, SchemaType,
    Type,
};
use utoipa::openapi::{Content, ContentBuilder, ObjectBuilder, RefOr, Required, Schema};

use crate::domain::text::{is_joiner, is_selector, unfit_characters};

/// The media type of problems (RFC 9457).
pub const PROBLEM: &str = "application/problem+json";

/// A path that is forwarded to HubSpot, as [`crate::domain::proxy_path::ProxyPath`] reads it: it does not begin with a
/// slash; no segment is `.` or `..` (without its parameters, after `;`); it is not a URL, and neither of the first two
/// segments other than a version and `api` is `oauth`. Escapes are left out: some would hide rejected paths.
const PROXY_PATH: &str = concat!(
    r"^(?!/)(?![^/]+://)",
    r"(?!(.*/)?\.{1,2}(;[^/]*)?(/|$))",
    r"(?!(([aA][pP][iI]|[vV]?[0-9][^/;]*)?\.*(;[^/]*)?/)*([^/]*/)?",
    r"(([aA][pP][iI]|[vV]?[0-9][^/;]*)?\.*(;[^/]*)?/)*",
    r"[oO][aA][uU][tT][hH]\.*(;[^/]*)?(/|$))",
    r"[A-Za-z0-9._~!$&'()*+,;=:@/-]+$"
);

/// Makes the parameters exact.
pub fn parameters(operation: &mut Operation, is_proxy: bool) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        if parameter.name == "id" {
            parameter.description.get_or_insert_with(|| "The id.".to_owned());
        }
        let Some(RefOr::T(Schema::Object(schema))) = parameter.schema.as_mut() else { continue };
        widen(schema);
        never_null(schema);
        if is_proxy && parameter.name == "path" {
            schema.pattern = Some(PROXY_PATH.to_owned());
        }
    }
}

/// Widens the format `int32`, which has only half the range of an unsigned number.
fn widen(schema: &mut Object) {
    if schema.format == Some(SchemaFormat::KnownFormat(KnownFormat::Int32)) {
        schema.format = Some(SchemaFormat::KnownFormat(KnownFormat::Int64));
        schema.maximum.get_or_insert(Number::UInt(u32::MAX as usize));
    }
}

/// Removes `null` from the types of a parameter: in a URL and in a header field it is an ordinary word.
fn never_null(schema: &mut Object) {
    if let SchemaType::Array(types) = &mut schema.schema_type {
        types.retain(|kind| *kind != Type::Null);
        if let [only] = types.as_slice() {
            schema.schema_type = SchemaType::Type(only.clone());
        }
    }
}

/// Describes a body of any kind, which is forwarded to HubSpot.
pub fn any_body(operation: &mut Operation) {
    let any = Object::with_type(SchemaType::AnyValue);
    let body = RequestBodyBuilder::new()
        .description(Some("Forwarded unchanged, with its `Content-Type`: up to 64 MiB."))
        .required(Some(Required::False))
        .content("application/json", ContentBuilder::new().schema(Some(any)).build())
        .content("*/*", binary());
    operation.request_body = Some(body.build().into());
}

/// Returns content of any kind. Generators skip an operation with a body that has no schema.
pub fn binary() -> Content {
    let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
    let schema = ObjectBuilder::new().schema_type(Type::String).format(Some(binary));
    ContentBuilder::new().schema(Some(schema)).build()
}

/// Characters that [`str::trim`] removes and that may be shown.
const SPACES: &str = r"\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000";

/// Returns whether a character belongs to a range of thousands. Test generators are slow with such character classes,
/// so patterns exclude them in lookaheads.
fn is_far(c: char) -> bool {
    ('\u{e000}'..='\u{f8ff}').contains(&c) || c >= '\u{e0000}'
}

/// Returns the inside of a character class of unfit characters.
fn class(has: impl Fn(char) -> bool) -> String {
    static UNFIT: LazyLock<BTreeSet<char>> = LazyLock::new(unfit_characters);
    let codes: Vec<u32> = UNFIT.iter().filter(|c| has(**c)).map(|c| u32::from(*c)).collect();
    let ranges = codes.chunk_by(|one, next| one + 1 == *next);
    let written = |code: &u32| match char::from_u32(*code) {
        // Only characters that stand for themselves are read alike by every dialect of regular expressions.
        Some(c) if *code > 0xffff => c.to_string(),
        _ => format!("\\u{code:04x}"),
    };
    ranges
        .filter_map(|range| Some(format!("{}-{}", written(range.first()?), written(range.last()?))))
        .collect()
}

/// The pattern of an id of a user, as [`crate::domain::external`] reads it.
static EXTERNAL_USER_ID: LazyLock<String> = LazyLock::new(|| {
    let near = class(|c| !is_far(c));
    let far = class(is_far);
    let visible = format!("[^{near}{SPACES}]");
    format!("^(?!.*[{far}]){visible}([^{near}]*{visible})?$")
});

/// The pattern of a name, as [`crate::domain::text`] reads it.
static NAME: LazyLock<String> = LazyLock::new(|| {
    let is_attached = |c| is_selector(c) || is_joiner(c);
    let (selectors, joiners) = (class(is_selector), class(is_joiner));
    let invisible = class(|c| !is_far(c) || is_selector(c));
    let any = class(|c| !is_far(c) && !is_attached(c));
    let far = class(|c| is_far(c) && !is_attached(c));
    let misplaced = format!("[{selectors}{joiners}][{selectors}]|[{joiners}]{{2}}");
    let fit = format!("(?![{selectors}{joiners}])(?!.*({misplaced}|[{far}]))");
    format!("^{fit}[^{any}]*[^{invisible}{SPACES}][^{any}]*$")
});

/// Adds the patterns of texts that users see.
pub fn texts(components: &mut Components) {
    if let Some(RefOr::T(Schema::Object(id))) = components.schemas.get_mut("ExternalUserId") {
        id.pattern = Some(EXTERNAL_USER_ID.clone());
    }
    if let Some(RefOr::T(Schema::Object(session))) = components.schemas.get_mut("CreateConnectSession")
        && let Some(RefOr::T(Schema::Object(name))) = session.properties.get_mut("requested_by")
    {
        name.pattern = Some(NAME.clone());
    }
}

/// Sets the format of fields that end with `_at` to a time (RFC 3339).
pub fn times(components: &mut Components) {
    for schema in components.schemas.values_mut() {
        let RefOr::T(Schema::Object(object)) = schema else { continue };
        for (name, property) in &mut object.properties {
            if name.ends_with("_at")
                && let RefOr::T(Schema::Object(time)) = property
            {
                time.format.get_or_insert(SchemaFormat::KnownFormat(KnownFormat::DateTime));
            }
        }
    }
}

/// Refers from each page to what it lists: the schema of a generic type is written out in place otherwise.
pub fn pages(components: &mut Components) {
    for (name, schema) in &mut components.schemas {
        if let Some(listed) = name.strip_prefix("Page_")
            && let RefOr::T(Schema::Object(page)) = schema
            && let Some(RefOr::T(Schema::Array(data))) = page.properties.get_mut("data")
        {
            data.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(listed).into()));
        }
    }
}

/// Requires the nullable fields of what the service sends: a field without a value is null, and not left out. The
/// derive takes every `Option` for a field that may be missing, as it may from a request.
pub fn nullable_fields(paths: &Paths, components: &mut Components) {
    let operations =
        paths.paths.values().flat_map(|item| [&item.post, &item.put, &item.patch, &item.delete]).flatten();
    let requests: Vec<_> = operations.map(|operation| &operation.request_body).collect();
    let requests = serde_json::to_string(&requests).unwrap_or_default();
    for (name, schema) in &mut components.schemas {
        if let RefOr::T(schema) = schema
            && !requests.contains(&format!("/{name}\""))
        {
            require_nullable(schema);
        }
    }
}

fn require_nullable(schema: &mut Schema) {
    let parts = match schema {
        Schema::Object(object) => {
            for (name, field) in &object.properties {
                if is_nullable(field) && !object.required.contains(name) {
                    object.required.push(name.clone());
                }
            }
            return;
        }
        Schema::AllOf(all) => &mut all.items,
        Schema::OneOf(one) => &mut one.items,
        _ => return,
    };
    for part in parts {
        if let RefOr::T(part) = part {
            require_nullable(part);
        }
    }
}

fn is_nullable(schema: &RefOr<Schema>) -> bool {
    let null = |kinds: &SchemaType| match kinds {
        SchemaType::Type(kind) => *kind == Type::Null,
        SchemaType::Array(kinds) => kinds.contains(&Type::Null),
        SchemaType::AnyValue => false,
    };
    match schema {
        RefOr::T(Schema::Object(object)) => null(&object.schema_type),
        RefOr::T(Schema::Array(array)) => null(&array.schema_type),
        RefOr::T(Schema::OneOf(one)) => one.items.iter().any(is_nullable),
        _ => false,
    }
}

/// Describes which fields of a connect session go together: a user or a connection is required, and a link always
/// requires confirmation by the backend.
pub fn connect_session(components: &mut Components) {
    let Some(entry) = components.schemas.get_mut("CreateConnectSession") else { return };
    let RefOr::T(Schema::Object(object)) = &mut *entry else { return };
    let named = |field: &str| ObjectBuilder::new().property(field, text()).required(field);
    let who = AnyOfBuilder::new().item(named("external_user_id")).item(named("connection_id"));
    let here = ObjectBuilder::new()
        .property("hosted", ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([false])));
    let elsewhere = ObjectBuilder::new().property(
        "confirm",
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .enum_values(Some([Some("backend"), None])),
    );
    let description = object.description.take();
    let exact = AllOfBuilder::new()
        .description(description)
        .examples([serde_json::json!({
            "external_user_id": "user_42",
            "allowed_origins": ["https://app.example.com"],
            "scopes": ["oauth", "crm.objects.contacts.read"],
        })])
        .item(object.clone())
        .item(who)
        .item(AnyOfBuilder::new().item(here).item(elsewhere));
    *entry = exact.into();
}

fn text() -> Object {
    ObjectBuilder::new().schema_type(Type::String).into()
}
