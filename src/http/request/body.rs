//! JSON bodies, read strictly: what is wrong is told with its place.

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Bytes;
use actix_web::{Error, FromRequest, HttpRequest};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde_path_to_error::Segment;

use crate::http::problem::{Problem, ProblemCode};

/// A body of `application/json` (RFC 8259), at most 16 kB. What the type does not know is refused if it says so
/// (`deny_unknown_fields`).
#[derive(Debug)]
pub struct ApiJson<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for ApiJson<T> {
    type Error = Error;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let labelled = is_json(request);
        let body = Bytes::from_request(request, payload);
        Box::pin(async move {
            if !labelled {
                return Err(Problem::new(ProblemCode::UnsupportedMediaType).into());
            }
            // The limit is that of every body of this service.
            Ok(Self(read(&body.await?)?))
        })
    }
}

/// UTF-8 is the one encoding of JSON that is exchanged (RFC 8259 section 8.1).
fn is_json(request: &HttpRequest) -> bool {
    let text = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
    parts.next().as_deref() == Some("application/json")
        && parts.all(|part| {
            part.strip_prefix("charset=").is_none_or(|charset| charset.trim_matches('"') == "utf-8")
        })
}

/// Reads a body. An empty one is an empty object: a call without particulars needs no braces.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.is_empty() { b"{}" } else { body };
    // Read as a list of its fields, an object would be taken from an array too.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::new(ProblemCode::InvalidJson).hint("expected an object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|why| {
        let place = pointer(why.path());
        Problem::invalid(place, sentence(&why.into_inner()))
    })?;
    match reader.end() {
        Ok(()) => Ok(value),
        Err(why) => Err(Problem::new(ProblemCode::InvalidJson).hint(sentence(&why))),
    }
}

/// A number that is whole, also where it is written `60.0`: to JSON that is the same (RFC 8259 section 6).
pub fn whole<'de, D: Deserializer<'de>>(value: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(value)? else { return Ok(None) };
    let rounded = || number.as_f64().filter(|it| it.fract() == 0.0 && (0.0..9e15).contains(it));
    let whole = number.as_u64().or_else(|| rounded().map(|it| it as u64));
    whole.map(Some).ok_or_else(|| D::Error::custom("expected a whole number from 0 on"))
}

/// The place as a JSON pointer (RFC 6901).
fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { .. } | Segment::Unknown => pointer,
    })
}

/// What the parser says. Where it would repeat a value, it is cut: the value may be a secret.
fn sentence(why: &serde_json::Error) -> String {
    let text = why.to_string();
    match text.split_once("invalid type: ").or_else(|| text.split_once("invalid value: ")) {
        Some((_, rest)) => {
            let wanted = rest.split_once(", expected ").map_or("something else", |(_, wanted)| wanted);
            format!("expected {wanted}")
        }
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[expect(dead_code, reason = "it is only read")]
        scopes: Option<Vec<String>>,
    }

    fn refused(body: &str) -> serde_json::Value {
        let problem = read::<Example>(body.as_bytes()).expect_err("is refused");
        problem.json("/here", "id")
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_without_its_value() {
        let problem = refused(r#"{"scopes": ["a", 123456]}"#);
        assert_eq!(problem["pointer"], "/scopes/1");
        assert!(!problem.to_string().contains("123456"), "{problem}");
        assert_eq!(refused(r#"{"other": 1}"#)["code"], "invalid_json");
        assert_eq!(refused(r#"{"scopes": null, "scopes": null}"#)["code"], "invalid_json");
        assert_eq!(refused("{} {}")["code"], "invalid_json");
        assert_eq!(refused(&"[".repeat(10_000))["code"], "invalid_json");
        assert_eq!(refused(" [null]")["code"], "invalid_json");
        assert!(read::<Example>(b"").is_ok());
    }

    #[test]
    fn a_whole_number_is_one_however_it_is_written() {
        #[derive(Debug, Deserialize)]
        struct Count {
            #[serde(default, deserialize_with = "whole")]
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
