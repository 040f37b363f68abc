//! JSON bodies, read strictly: a problem names the field.

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Bytes;
use actix_web::{Error, FromRequest, HttpRequest};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, IgnoredAny};
use serde_path_to_error::Segment;

use crate::http::problem::{Problem, ProblemCode};
use crate::http::request::query::ApiQuery;

/// A body of `application/json` (RFC 8259), at most 16 kB, of a request without query parameters. Unknown fields are
/// refused if the type says so (`deny_unknown_fields`).
#[derive(Debug)]
pub struct ApiJson<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for ApiJson<T> {
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let labelled = is_json(request);
        let query = ApiQuery::none(request);
        let body = Bytes::from_request(request, payload);
        Box::pin(async move {
            if !labelled {
                return Err(Problem::new(ProblemCode::UnsupportedMediaType).into());
            }
            query?;
            // The size limit is that of every body of this service.
            Ok(Self(read(&body.await?)?))
        })
    }
}

/// The body of a request without fields: nothing, or an empty object.
#[derive(Debug)]
pub struct NoBody;

impl FromRequest for NoBody {
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let body = Bytes::from_request(request, payload);
        Box::pin(async move { Ok(read_nothing(&body.await?)?) })
    }
}

fn read_nothing(body: &[u8]) -> Result<NoBody, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    match read(body.trim_ascii()) {
        Ok(Nothing {}) => Ok(NoBody),
        Err(_) => Err(Problem::invalid("", "must have no fields in this request")),
    }
}

/// Returns whether the body is JSON in UTF-8, the only encoding for its exchange (RFC 8259 section 8.1).
fn is_json(request: &HttpRequest) -> bool {
    let text = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
    parts.next().as_deref() == Some("application/json")
        && parts.all(|part| {
            part.strip_prefix("charset=").is_none_or(|charset| charset.trim_matches('"') == "utf-8")
        })
}

/// Reads a body. An empty one is an empty object: a request without fields needs no braces.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.is_empty() { b"{}" } else { body };
    // Serde would also read an object from an array of its fields.
    if body.trim_ascii_start().first() == Some(&b'[') {
        let list = serde_json::from_slice::<IgnoredAny>(body);
        return Err(list.map_or_else(|why| invalid_json(&why), |_| Problem::invalid("", "must be an object")));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|why| {
        let pointer = pointer(why.path());
        match why.into_inner() {
            why if why.is_data() => invalid_field(pointer, &why),
            why => invalid_json(&why).pointer(pointer),
        }
    })?;
    match reader.end() {
        Ok(()) => Ok(value),
        Err(why) => Err(invalid_json(&why)),
    }
}

fn invalid_json(why: &serde_json::Error) -> Problem {
    Problem::new(ProblemCode::InvalidJson).hint(why.to_string())
}

/// Reads a whole number, also one written as `60.0`: in JSON that is the same (RFC 8259 section 6).
pub fn whole_number<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(value)? else { return Ok(None) };
    let rounded = || number.as_f64().filter(|it| it.fract() == 0.0 && (0.0..9e15).contains(it));
    let whole = number.as_u64().or_else(|| rounded().map(|it| it as u64));
    whole.map(Some).ok_or_else(|| D::Error::custom("a whole number, 0 or more"))
}

/// Returns the path as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

/// Returns the problem of a field, with its path and what it takes, instead of the parser's message: that repeats the
/// value, which may be a secret, and names our types.
fn invalid_field(mut pointer: String, why: &serde_json::Error) -> Problem {
    let text = why.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let expected = text.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
    let about = match text.split_once(" field `") {
        Some((about, rest)) if matches!(about, "missing" | "duplicate") => {
            pointer = format!("{pointer}/{}", rest.trim_end_matches('`'));
            about
        }
        _ => text.split_whitespace().next().unwrap_or_default(),
    };
    let predicate = match about {
        "missing" => "is required".to_owned(),
        "duplicate" => "is repeated".to_owned(),
        "unknown" if text.starts_with("unknown field") => {
            format!(
                "is not a field of this request; the fields are {}",
                expected.trim_start_matches("one of ")
            )
        }
        "unknown" | "invalid" if !expected.is_empty() => format!("must be {}", kind(expected)),
        _ if text.starts_with("UUID parsing failed") => "must be a UUID".to_owned(),
        _ => format!("must be {text}"),
    };
    Problem::invalid(pointer, predicate)
}

/// Returns the JSON term for a type that serde expects.
fn kind(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list",
        "a map" => "an object",
        "a boolean" => "`true` or `false`",
        "a JSON number" => "a number",
        "a formatted UUID string" => "a UUID",
        _ if expected.starts_with("struct ") => "an object",
        _ => expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "it is only read")]
    struct Example {
        scopes: Option<Vec<String>>,
        confirm: Option<Confirm>,
        inner: Option<Inner>,
        uuid: Option<uuid::Uuid>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Confirm {
        None,
        Backend,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "it is only read")]
    struct Inner {
        #[serde(deserialize_with = "refuse")]
        id: u64,
    }

    fn refuse<'de, D: Deserializer<'de>>(value: D) -> Result<u64, D::Error> {
        String::deserialize(value).and_then(|_| Err(D::Error::custom("a number from 1 to 3")))
    }

    fn refused(body: &str) -> serde_json::Value {
        let problem = read::<Example>(body.as_bytes()).expect_err("is refused");
        problem.json("/here", "id")
    }

    #[test]
    fn invalid_fields_are_reported_with_the_expected_type_and_without_their_value() {
        for (body, pointer, hint) in [
            (r#"{"scopes": ["a", 123456]}"#, "/scopes/1", "`scopes[1]` must be a string."),
            (r#"{"scopes": "a, expected secret"}"#, "/scopes", "`scopes` must be a list."),
            (
                r#"{"confirm": "`secret`, expected `x`"}"#,
                "/confirm",
                "`confirm` must be `none` or `backend`.",
            ),
            (r#"{"confirm": {"inner": 1}}"#, "/confirm", "`confirm` must be `none` or `backend`."),
            (r#"{"scopes": null, "scopes": null}"#, "/scopes", "`scopes` is repeated."),
            (
                r#"{"other": 1}"#,
                "/other",
                "`other` is not a field of this request; the fields are `scopes`, `confirm`, `inner`, `uuid`.",
            ),
            (r#"{"uuid": "secret"}"#, "/uuid", "`uuid` must be a UUID."),
            (
                r#"{"uuid": "00000000-0000-0000-0000-00000000000 field `x`"}"#,
                "/uuid",
                "`uuid` must be a UUID.",
            ),
            (r#"{"uuid": "0000"}"#, "/uuid", "`uuid` must be a UUID."),
            (r#"{"uuid": 5}"#, "/uuid", "`uuid` must be a UUID."),
            (r#"{"inner": {}}"#, "/inner/id", "`inner.id` is required."),
            (r#"{"inner": {"id": "x"}}"#, "/inner/id", "`inner.id` must be a number from 1 to 3."),
            ("[null]", "", "The body must be an object."),
            ("null", "", "The body must be an object."),
        ] {
            let problem = refused(body);
            assert_eq!(problem["code"], "validation_failed", "{body}: {problem}");
            assert_eq!((&problem["pointer"], &problem["hint"]), (&pointer.into(), &hint.into()), "{body}");
            assert!(!problem.to_string().contains("secret"), "{problem}");
        }
        assert!(read::<Example>(b"").is_ok());
    }

    #[test]
    fn bodyless_requests_accept_only_an_empty_body_or_object() {
        for body in ["", " \n", "{}", "{ }", "{\n}", "\t{\r\n} "] {
            assert!(read_nothing(body.as_bytes()).is_ok(), "{body:?}");
        }
        for body in ["{\"a\": 1}", "[]", "null", "\"\"", "{", "{} {}", "a=b"] {
            let problem = read_nothing(body.as_bytes()).expect_err(body).json("/here", "id");
            assert_eq!(problem["code"], "validation_failed", "{body:?}");
            assert_eq!(problem["hint"], "The body must have no fields in this request.", "{body:?}");
        }
    }

    #[test]
    fn malformed_json_and_invalid_fields_have_distinct_errors() {
        for body in ["{} {}", "{", "[null", "{\"scopes\": [1e400]}", "scopes=a", &"[".repeat(10_000)] {
            assert_eq!(refused(body)["code"], "invalid_json", "{body}");
        }
    }

    #[test]
    fn whole_numbers_are_accepted_in_every_spelling() {
        #[derive(Debug, Deserialize)]
        struct Count {
            #[serde(default, deserialize_with = "whole_number")]
            n: Option<u64>,
        }
        let n = |body: &str| read::<Count>(body.as_bytes()).map(|count| count.n);
        for (body, wanted) in [("60", Some(60)), ("60.0", Some(60)), ("6e1", Some(60)), ("null", None)] {
            assert_eq!(n(&format!("{{\"n\": {body}}}")).unwrap(), wanted, "{body}");
        }
        assert_eq!(n("{}").unwrap(), None);
        for body in ["60.5", "-1", "1e30", "\"60\"", "true"] {
            assert!(n(&format!("{{\"n\": {body}}}")).is_err(), "{body}");
        }
    }
}
