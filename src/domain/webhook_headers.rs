//! Header fields that an endpoint requires with each message, such as `Authorization`.

use std::collections::BTreeMap;

use thiserror::Error;

use super::secret::Secret;

/// The maximum number of fields.
pub const MAX_HEADERS: usize = 8;
/// The maximum length of a value, in bytes.
pub const MAX_VALUE: usize = 1024;

/// Fields that the service sets itself, or that belong to a connection (RFC 9110 section 7.6.1). An entry that ends
/// with a hyphen reserves all names with this prefix.
pub const RESERVED: [&str; 11] = [
    "connection",
    "content-",
    "expect",
    "host",
    "keep-alive",
    "proxy-",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "webhook-",
];

/// Header fields with their values, which may be credentials.
#[derive(Debug, Clone, Default)]
pub struct WebhookHeaders(BTreeMap<String, Secret>);

/// The reason a list of header fields is rejected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidHeaders {
    /// There are more than [`MAX_HEADERS`].
    #[error("must have at most 8 header fields")]
    TooMany,
    /// The name is reserved, repeated, or not a field name at all.
    #[error("is not a header field that can be set")]
    Name(String),
    /// The value of this field is too long, or has characters other than visible ASCII and spaces.
    #[error("must have at most 1024 visible ASCII characters and spaces")]
    Value(String),
}

impl WebhookHeaders {
    /// Checks header fields; names are stored in lower case.
    ///
    /// # Errors
    /// [`InvalidHeaders`] if a field cannot be sent.
    pub fn parse(fields: impl IntoIterator<Item = (String, Secret)>) -> Result<Self, InvalidHeaders> {
        let mut kept = BTreeMap::new();
        for (given, value) in fields {
            let name = given.to_ascii_lowercase();
            if !is_free(&name) || kept.contains_key(&name) {
                return Err(InvalidHeaders::Name(given));
            }
            if !is_sendable(value.expose()) {
                return Err(InvalidHeaders::Value(given));
            }
            kept.insert(name, value);
        }
        if kept.len() > MAX_HEADERS { Err(InvalidHeaders::TooMany) } else { Ok(Self(kept)) }
    }

    /// Returns the names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// Returns whether this is a token (RFC 9110 section 5.6.2) that is not reserved.
fn is_free(name: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_reserved = RESERVED.iter().any(|reserved| match reserved.ends_with('-') {
        true => name.starts_with(reserved),
        false => name == *reserved,
    });
    (1..=64).contains(&name.len()) && name.bytes().all(is_token) && !is_reserved
}

fn is_sendable(value: &str) -> bool {
    value.len() <= MAX_VALUE
        && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && value.trim() == value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &[(&str, &str)]) -> Result<WebhookHeaders, InvalidHeaders> {
        let owned = fields.iter().map(|(name, value)| ((*name).to_owned(), Secret::new((*value).to_owned())));
        WebhookHeaders::parse(owned)
    }

    #[test]
    fn credential_headers_are_accepted() {
        let headers = parse(&[("Authorization", "Bearer a b"), ("X-Api-Key", "k")]).expect("headers");
        let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["authorization", "x-api-key"]);
    }

    #[test]
    fn message_and_connection_headers_are_refused() {
        for name in
            ["Webhook-Id", "webhook-signature", "Host", "Content-Type", "content-length", "TE", "Expect"]
        {
            assert_eq!(parse(&[(name, "x")]).expect_err(name), InvalidHeaders::Name(name.to_owned()));
        }
        for name in ["Transfer-Encoding", "connection", "", "a b", "a:b", "ä", "proxy-authorization"] {
            assert_eq!(parse(&[(name, "x")]).expect_err(name), InvalidHeaders::Name(name.to_owned()));
        }
        for value in ["a\r\nb: c", "\u{e4}", " a", "a\t", &"x".repeat(MAX_VALUE + 1)] {
            assert_eq!(parse(&[("x", value)]).expect_err(value), InvalidHeaders::Value("x".to_owned()));
        }
        assert_eq!(
            parse(&[("x", "1"), ("X", "2")]).expect_err("twice"),
            InvalidHeaders::Name("X".to_owned())
        );
        let many: Vec<_> =
            (0..=MAX_HEADERS).map(|at| (format!("x-{at}"), Secret::new(String::new()))).collect();
        assert_eq!(WebhookHeaders::parse(many).expect_err("many"), InvalidHeaders::TooMany);
    }
}
