//! ProxyPath: a path and query that callers may request from HubSpot on a connection's behalf.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The maximum number of times that a path may be percent-encoded. No client encodes it more often on purpose.
const MAX_DECODING_LAYERS: usize = 3;

/// A path and query below HubSpot's API. It cannot lead to another server, climb out with dot segments, or reach
/// HubSpot's OAuth endpoints, which handle the app's own credentials and tokens; callers of the proxy have no access to
/// those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyPath {
    path: String,
    query: Option<String>,
}

/// The path is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAllowed;

impl ProxyPath {
    /// Parses a path (with its first slash) and a query (without the question mark) as they were sent.
    ///
    /// A path with a single segment comes from a generated client that treats the whole path as one parameter and
    /// escapes its slashes and all else: these escapes are removed, once. Nothing else is decoded in the result,
    /// because a slash may also be part of a name.
    ///
    /// # Errors
    /// [`NotAllowed`] if the path is not allowed, or not written as RFC 3986 section 3.3 requires.
    pub fn parse(path: &str, query: Option<&str>) -> Result<Self, NotAllowed> {
        let path = match path.strip_prefix('/') {
            Some(one) if !one.contains('/') => {
                &percent_decode_str(path).decode_utf8().map_err(|_| NotAllowed)?
            }
            _ => path,
        };
        let is_written_well =
            path.starts_with('/') && path.bytes().all(|byte| byte == b'/' || is_pchar(byte));
        let is_query = query.is_none_or(|query| query.bytes().all(|byte| byte.is_ascii_graphic()));
        if !is_written_well || !is_query || !has_whole_escapes(path) || !is_harmless(path) {
            return Err(NotAllowed);
        }
        Ok(Self { path: path.to_owned(), query: query.map(str::to_owned) })
    }

    /// Returns the path, with its own escapes.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the query as it was sent.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Returns whether this is a CRM search, for which HubSpot has a separate rate limit.
    pub(crate) fn is_search(&self) -> bool {
        let mut segments = self.path.split('/').filter(|segment| !segment.is_empty());
        segments.next() == Some("crm") && segments.next_back() == Some("search")
    }
}

/// Returns whether a path may contain a byte: unreserved, escapes, sub-delimiters, `:` and `@` (RFC 3986 section 3.3).
fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@".contains(&byte)
}

fn has_whole_escapes(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit()))
}

/// Checks the path as it stands and after each layer of escapes is removed: servers on the way differ in how many
/// layers they remove, and when.
fn is_harmless(path: &str) -> bool {
    let mut layer = Cow::Borrowed(path);
    for _ in 0..=MAX_DECODING_LAYERS {
        if !is_harmless_as_it_stands(&layer) {
            return false;
        }
        // It is borrowed if there was nothing to decode. An overlong encoding of a dot or a slash is not UTF-8.
        match percent_decode_str(&layer).decode_utf8() {
            Ok(Cow::Borrowed(_)) => return true,
            Ok(Cow::Owned(inner)) => layer = Cow::Owned(inner),
            Err(_) => return false,
        }
    }
    false
}

fn is_harmless_as_it_stands(path: &str) -> bool {
    let has_odd_letters = path.chars().any(|letter| letter == '\\' || letter.is_control());
    // A URL may be a name in the CRM (`/crm/v3/objects/companies/https%3A%2F%2F…`), but no path starts with one.
    let (first, _) = path.trim_start_matches('/').split_once("://").unwrap_or_default();
    let is_elsewhere = path.starts_with("//") || !first.is_empty() && !first.contains('/');
    !has_odd_letters && !is_elsewhere && !segments(path).any(is_dots) && !is_oauth(path)
}

/// Returns the segments as a lenient server may read them: up to parameters (`;x=y`), or to an encoded query or
/// fragment, and without spaces around them.
fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').map(|segment| segment.split([';', '?', '#']).next().unwrap_or_default().trim())
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// Returns whether the path leads to HubSpot's OAuth endpoints, `/oauth/{version}/…`. Versions and `api` are skipped,
/// and one more word may precede `oauth`. After two words, HubSpot's paths name objects and properties, which may be
/// called `oauth`.
fn is_oauth(path: &str) -> bool {
    segments(path)
        // Some servers ignore dots at the end of a name.
        .map(|segment| segment.trim_end_matches(['.', ' ']))
        .filter(|segment| !segment.is_empty() && !segment.eq_ignore_ascii_case("api") && !is_version(segment))
        .take(2)
        .any(|segment| segment.eq_ignore_ascii_case("oauth"))
}

/// Returns whether a segment is a version: `v3`, `v1.0`, `2026-09`, `2026-09-beta`.
fn is_version(segment: &str) -> bool {
    segment.strip_prefix(['v', 'V']).unwrap_or(segment).starts_with(|letter: char| letter.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_official_clients_are_accepted_and_unchanged() {
        for (path, query) in [
            ("/crm/v3/objects/contacts", Some("limit=10&after=a%2Fb&properties=email,name&q=it's%20%25")),
            ("/crm/v3/objects/contacts/ada%40acme.example", Some("idProperty=email")),
            ("/crm/v3/objects/contacts/ada@acme.example", None),
            ("/crm/objects/2026-09/0-1/search", None),
            ("/cms/v3/source-code/draft/content/theme%2Fmain.css", None),
            ("/crm/v3/objects/companies/https%3A%2F%2Fwww.example.com%2Facme", Some("idProperty=website")),
            ("/crm/v3/objects/companies/https:%2f%2fwww.example.com%2f%2facme%3Fa=b%23c", None),
            ("/crm/v3/properties/contacts/oauth", None),
            ("/crm/v3/objects/oauth", None),
            ("/crm/objects/2026-09/oauth", None),
            ("/account-info/2026-09/details", Some("")),
            ("/oauth-like/v1", Some("next=//evil.example/../x")),
            ("/files/v3/100%25/a..b/...", None),
            ("/", None),
        ] {
            let kept = ProxyPath::parse(path, query).unwrap_or_else(|_| panic!("{path}"));
            assert_eq!((kept.path(), kept.query()), (path, query));
        }
    }

    #[test]
    fn paths_sent_as_one_parameter_are_decoded_once() {
        for (sent, kept) in [
            ("/crm%2Fv3%2Fobjects%2Fcontacts", "/crm/v3/objects/contacts"),
            (
                "/crm%2fv3%2fobjects%2fcontacts%2fada%40acme.example",
                "/crm/v3/objects/contacts/ada@acme.example",
            ),
            ("/cms%2Fv3%2Fsource-code%2Ftheme%252Fmain.css", "/cms/v3/source-code/theme%2Fmain.css"),
            ("/files%2Fv3%2F100%2525", "/files/v3/100%25"),
            // One of several segments: the slash is part of a name.
            ("/crm/v3%2Fobjects", "/crm/v3%2Fobjects"),
        ] {
            let path = ProxyPath::parse(sent, Some("after=a%2Fb")).unwrap_or_else(|_| panic!("{sent}"));
            assert_eq!((path.path(), path.query()), (kept, Some("after=a%2Fb")));
        }
        assert!(
            ProxyPath::parse("/crm%2Fv3%2Fobjects%2Fcontacts%2Fsearch", None).expect("a path").is_search()
        );
    }

    #[test]
    fn traversal_absolute_and_encoded_paths_are_refused() {
        for path in [
            "",
            "crm",
            "http://evil.example/",
            "/http://evil.example/",
            "/https:%2f%2fevil.example",
            "/%68ttps%3a%2f%2fevil.example",
            "/https%253a%252f%252fevil.example",
            "/crm/v3/objects/companies/https%3A%2F%2Fwww.example.com%2F..%2F..",
            "//evil.example/x",
            "/%2fevil.example",
            "/%2Fevil.example",
            "/%252fevil.example",
            "/\\evil.example",
            "/%5cevil.example",
            "/crm/..",
            "/crm/../x",
            "/..",
            "/.",
            "/./x",
            "/crm/%2e%2e/x",
            "/crm/.%2E/x",
            "/crm/%2e/x",
            "/crm/%252e%252e/x",
            "/crm/%25252e%25252e/x",
            "/crm/..;a=b/x",
            "/crm/%2e%2e%3b/x",
            "/crm/..%2fx",
            "/crm/..%5cx",
            "/crm/x%2f..%2fy",
            "/crm/%00",
            "/crm/%0d%0ax",
            "/crm/%7f",
            "/crm/%c2%85",
            "/crm/%c0%ae%c0%ae/x",
            "/crm/%ff",
            "/crm/%",
            "/crm/%2",
            "/crm/%zz",
            "/crm/a b",
            "/crm/a\"b",
            "/crm/{id}",
            "/crm/a|b",
            "/crm/ä",
            "/crm/a#b",
            "/crm/a?b",
            "/%2F",
            "/crm%2F..%2Fx",
            "/crm%2F%2e%2e%2Fx",
            "/crm%2F%252e%252e%2Fx",
            "/crm%2F%25252e%25252e%2Fx",
            "/crm%252F..%252Fx",
            "/crm%2F..%252Fx",
            "/crm%2F..%253Ba%2Fx",
            "/..%2Fcrm",
            "/%2Fevil.example%2Fx",
            "/http%3A%2F%2Fevil.example%2Fx",
            "/https%253A%252F%252Fevil.example",
            "/crm%2Fx%3Fa%3Db",
            "/crm%2Fx%23a",
            "/crm%2Fa%20b",
            "/crm%2F%00",
            "/crm%2F%2500",
            "/crm%2F%0d%0ax",
            "/crm%2F%5C",
            "/crm%2F%255C",
            "/crm%2F%25",
            "/crm%2F%25zz",
            "/crm%2F%ff",
            "/crm%2F%C3%A4",
        ] {
            assert_eq!(ProxyPath::parse(path, None), Err(NotAllowed), "{path}");
        }
        for query in ["a b", "a\tb", "ä", "\u{7f}", "a\0"] {
            assert_eq!(ProxyPath::parse("/crm", Some(query)), Err(NotAllowed), "{query:?}");
        }
    }

    #[test]
    fn the_oauth_endpoints_are_refused_in_every_spelling_and_version() {
        for path in [
            "/oauth/v1/token",
            "/oauth/v3/token/introspect",
            "/oauth/2026-03/token",
            "/oauth/2026-09/token/revoke",
            "/oauth/2031-12/token",
            "/oauth",
            "/oauth/",
            "/OAuth/v1/access-tokens/x",
            "/%6fauth/v1/token",
            "/o%41uth/v1/token",
            "/%256fauth/v1/token",
            "/oauth;x=1/v1/token",
            "/oauth%3bx/v1/token",
            "/oauth%20/v1/token",
            "/oauth%2fv1%2ftoken",
            "/v1/oauth/token",
            "/2026-09/oauth/token",
            "/api/oauth/v1/token",
            "/crm/../oauth/v1/token",
            "/api//oauth/v1",
            "/v1.0/oauth/token",
            "/V1.0/oauth/token",
            "/v4-beta/oauth/token",
            "/v1beta1/oauth/token",
            "/2026-09-beta/api/v3/oauth/token",
            "/oauth./v1/token",
            "/oauth.../v1/token",
            "/oauth%2e/v1/token",
            "/oauth%20.%20/v1/token",
            "/oauth%3fx/v1/token",
            "/oauth%23x/v1/token",
            "/oauth%253fx/v1/token",
            "/public/oauth/v1/token",
            "/latest/OAUTH/token",
            "/v1.0%2foauth%2ftoken",
            "/v1.0//oauth/token",
            "/%6Fauth%2Fv1%2Ftoken",
            "/%256Fauth%2Fv1%2Ftoken",
            "/v1.0%2F%2Foauth%2Ftoken",
            "/v1.0%2Foauth%252Ftoken",
            "/crm%2F..%2Foauth%2Fv1%2Ftoken",
        ] {
            assert_eq!(ProxyPath::parse(path, None), Err(NotAllowed), "{path}");
        }
    }

    #[test]
    fn searches_are_recognized() {
        let is_search = |path| ProxyPath::parse(path, None).expect("a path").is_search();
        assert!(
            is_search("/crm/v3/objects/contacts/search") && is_search("/crm/objects/2026-09/0-1/search/")
        );
        assert!(!is_search("/crm/v3/objects/contacts") && !is_search("/cms/v3/site-search/search"));
    }
}
