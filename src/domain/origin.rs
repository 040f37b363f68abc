//! Exact origins: scheme, host and port, compared as a whole and never by prefix, suffix or pattern.

use std::convert::Infallible;
use std::fmt;

use serde::{Serialize, Serializer};
use thiserror::Error;
use url::{Host, Url};

/// Parses an http or https URL without credentials. Every URL from outside goes through this function: `blob:`,
/// `filesystem:` and `view-source:` URLs also have an http origin, but are not addresses on it.
pub(crate) fn web_url(text: &str) -> Option<Url> {
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    Url::parse(text).ok().filter(|url| is_web(url) && url.username().is_empty() && url.password().is_none())
}

/// A web origin in its canonical spelling, such as `https://app.example.com` (RFC 6454 section 6.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash, sea_orm::DeriveValueType)]
pub struct Origin(String);

/// The reason a text is not accepted as an origin.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OriginError {
    /// There is no scheme or no host, or a character that no origin has.
    #[error("is not an origin such as https://app.example.com")]
    NotAnOrigin,
    /// The text is `*`, or has an asterisk in the host.
    #[error("has a wildcard; list each origin separately")]
    Wildcard,
    /// The text has more than scheme, host and port, or differs from what browsers send.
    #[error("must be written as browsers send it: {0}")]
    NotCanonical(String),
    /// The origin is plain http on another machine.
    #[error("uses http; only loopback addresses may")]
    Insecure,
}

impl Origin {
    /// Parses an origin as browsers send it: nothing after the port, lower case, no default port.
    ///
    /// # Errors
    /// [`OriginError`] says what is wrong and, where it can, what the correct spelling is.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if text.contains('*') {
            return Err(OriginError::Wildcard);
        }
        let url = web_url(text).filter(|url| url.port() != Some(0)).ok_or(OriginError::NotAnOrigin)?;
        let host = url.host().ok_or(OriginError::NotAnOrigin)?;
        if url.scheme() == "http" && !is_loopback(&host) {
            return Err(OriginError::Insecure);
        }
        let canonical = url.origin().ascii_serialization();
        if canonical != text || canonical.ends_with('.') {
            return Err(OriginError::NotCanonical(canonical));
        }
        Ok(Self(canonical))
    }

    /// Returns the origin of a configured URL.
    pub fn of(url: &Url) -> Self {
        Self(url.origin().ascii_serialization())
    }

    /// Returns the origin as browsers send it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// A URL of the host to which the browser returns: on one exact origin, and spelled so that every parser reads it the
/// same way (RFC 9700 section 4.11: no open redirector).
#[derive(Debug, Clone, PartialEq, Eq, sea_orm::DeriveValueType)]
pub struct ReturnUrl(String);

/// Longer than the URL of any page needs to be.
const MAX_RETURN_URL_LENGTH: usize = 2048;

impl ReturnUrl {
    /// Parses a URL. It must be an absolute URL on that origin, in the spelling of browsers and without a fragment,
    /// which the service itself sets.
    pub fn parse(text: &str, origin: &Origin) -> Option<Self> {
        let url = web_url(text)?;
        let plain = text.len() <= MAX_RETURN_URL_LENGTH && url.as_str() == text && url.fragment().is_none();
        let ours = url.origin().ascii_serialization() == origin.as_str();
        // Some parsers read a backslash or an encoded slash in front of the path as the start of a host.
        let path = url.path().to_ascii_lowercase();
        let slashes =
            path.starts_with("//") || path.contains('\\') || path.contains("%2f") || path.contains("%5c");
        (plain && ours && !slashes).then(|| Self(text.to_owned()))
    }

    /// Returns the URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host, with the port if there is one.
    pub fn host(&self) -> &str {
        self.0.split('/').nth(2).unwrap_or_default()
    }
}

/// Returns whether a host is this machine: `localhost`, a name below it, or a loopback address.
pub(crate) fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// The origins whose pages may open the popup: those that the operator listed, or a subset that a backend has chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq, sea_orm::DeriveValueType)]
#[sea_orm(value_type = "String", from_str = "AllowedOrigins::stored", to_str = "AllowedOrigins::text")]
pub struct AllowedOrigins(Vec<Origin>);

impl AllowedOrigins {
    /// Builds a list of origins.
    pub fn new(origins: Vec<Origin>) -> Self {
        Self(origins)
    }

    /// Reads stored origins, which were checked before they were stored.
    fn stored(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.split_terminator(' ').map(|one| Origin(one.to_owned())).collect()))
    }

    /// Returns the origins as they are stored, separated by spaces.
    fn text(&self) -> String {
        self.0.iter().map(Origin::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Returns the listed origin with exactly this spelling.
    pub fn find(&self, text: &str) -> Option<&Origin> {
        self.0.iter().find(|origin| origin.as_str() == text)
    }

    /// Returns the only origin, if exactly one is listed.
    pub fn only(&self) -> Option<&Origin> {
        match self.0.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Returns the origins.
    pub fn iter(&self) -> impl Iterator<Item = &Origin> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_accepted_as_browsers_send_them() {
        for good in [
            "https://app.example.com",
            "https://app.example.com:8443",
            "http://localhost:3000",
            "http://127.0.0.1:6002",
            "http://[::1]:80",
        ] {
            let parsed = Origin::parse(good);
            let expected = if good.ends_with(":80") {
                Err(OriginError::NotCanonical("http://[::1]".into()))
            } else {
                Ok(Origin(good.into()))
            };
            assert_eq!(parsed, expected, "{good}");
        }
    }

    #[test]
    fn misspelled_origins_are_refused_with_the_correct_spelling() {
        for (bad, right) in [
            ("https://a.example.com/", "https://a.example.com"),
            ("https://a.example.com/path", "https://a.example.com"),
            ("HTTPS://A.Example.com", "https://a.example.com"),
            ("https://a.example.com:443", "https://a.example.com"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
        ] {
            assert_eq!(Origin::parse(bad), Err(OriginError::NotCanonical(right.into())), "{bad}");
        }
    }

    #[test]
    fn wildcards_null_and_plain_http_are_refused() {
        assert_eq!(Origin::parse("*"), Err(OriginError::Wildcard));
        assert_eq!(Origin::parse("https://*.example.com"), Err(OriginError::Wildcard));
        assert_eq!(Origin::parse("null"), Err(OriginError::NotAnOrigin));
        assert_eq!(Origin::parse("https://a.example.com:0"), Err(OriginError::NotAnOrigin));
        assert_eq!(Origin::parse("file:///etc"), Err(OriginError::NotAnOrigin));
        assert_eq!(Origin::parse("https://user@a.example.com"), Err(OriginError::NotAnOrigin));
        assert_eq!(Origin::parse("http://app.example.com"), Err(OriginError::Insecure));
        assert!(Origin::parse("https://a.example.com.").is_err());
    }

    #[test]
    fn only_http_urls_without_credentials_are_web_urls() {
        for good in ["https://host.example/a?b#c", "http://host.example", "http://[::1]:80/"] {
            assert!(web_url(good).is_some(), "{good}");
        }
        for bad in NOT_WEB_URLS {
            assert_eq!(web_url(bad), None, "{bad}");
            assert_eq!(Origin::parse(bad), Err(OriginError::NotAnOrigin), "{bad}");
        }
    }

    const NOT_WEB_URLS: [&str; 12] = [
        "blob:https://host.example/7d2c0cd0-7e9f-4b1e-9a34-1f2f2b6f0c11",
        "javascript://host.example/%0aalert(1)",
        "data:text/html,https://host.example/",
        "filesystem:https://host.example/temporary/x",
        "view-source:https://host.example/",
        "ftp://host.example/",
        "ws://host.example/",
        "wss://host.example/",
        "file://host.example/etc/passwd",
        "intent://host.example/",
        "https://user@host.example/",
        "https://:secret@host.example/",
    ];

    #[test]
    fn return_urls_are_plain_urls_of_the_same_origin() {
        let origin = Origin::parse("https://host.example").expect("valid");
        for good in ["https://host.example/", "https://host.example/a/b?c=d&e=%20"] {
            assert_eq!(ReturnUrl::parse(good, &origin).map(|url| url.0).as_deref(), Some(good));
        }
        for bad in [
            "",
            "/",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https:evil.example",
            "https:/host.example/",
            "https://host.example",
            "https:///host.example/",
            "https://host.example.evil/",
            "https://hostxexample/",
            "https://evil.example/https://host.example/",
            "https://evil.example#https://host.example/",
            "https://host.example@evil.example/",
            "https://evil.example\\@host.example/",
            "https://user:pw@host.example/",
            "https://host.example:443/",
            "https://host.example:8443/",
            "http://host.example/",
            "HTTPS://host.example/",
            "https://HOST.example/",
            "https://host.example./",
            "https://host\u{3002}example/",
            "https://h\u{f6}st.example/",
            "https://host.example//evil.example",
            "https://host.example/%2F%2Fevil.example",
            "https://host.example/%5cevil.example",
            "https://host.example/\\evil.example",
            "https://host.example/a/../b",
            "https://host.example/#fragment",
            "ht\ttps://host.example/",
            " https://host.example/",
            "https://host.example/\n",
            "javascript:alert(1)//https://host.example/",
            "data:text/html,https://host.example/",
            "blob:https://host.example/7d2c0cd0-7e9f-4b1e-9a34-1f2f2b6f0c11",
            "filesystem:https://host.example/temporary/x",
            "view-source:https://host.example/",
            "ftp://host.example/",
            "wss://host.example/",
            "null",
        ] {
            assert_eq!(ReturnUrl::parse(bad, &origin), None, "{bad}");
        }
        let long = format!("https://host.example/{}", "a".repeat(MAX_RETURN_URL_LENGTH));
        assert_eq!(ReturnUrl::parse(&long, &origin), None);
    }

    #[test]
    fn listed_origins_match_only_their_exact_spelling() {
        let list = AllowedOrigins::new(vec![Origin::parse("https://host.example").expect("valid")]);
        assert!(list.find("https://host.example").is_some());
        for near in [
            "https://host.example.evil",
            "https://hostxexample",
            "https://HOST.example",
            "https://host.example/",
            "https://host.example:443",
            "null",
            "",
        ] {
            assert!(list.find(near).is_none(), "{near}");
        }
    }
}
