//! Which header fields the proxy passes on, in each direction.

/// Fields of one connection and not of the message (RFC 9110 section 7.6.1), and what proxies say to one another.
const HOP_BY_HOP: [&str; 6] = ["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// Of a request: what belongs to us, what says where the caller is, and what makes some servers take a request for
/// another one.
const OURS: [&str; 19] = [
    "authorization",
    "content-length",
    "cookie",
    "cookie2",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "max-forwards",
    "true-client-ip",
    "via",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Of an answer: what would speak for our own host. What the guard writes anew is not in the list.
const OF_THEIR_HOST: [&str; 20] = [
    "age",
    "alt-svc",
    "cache-control",
    "clear-site-data",
    "content-length",
    "content-security-policy-report-only",
    "expires",
    "nel",
    "pragma",
    "public-key-pins",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "server",
    "service-worker-allowed",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "via",
    "x-powered-by",
];

/// The fields that `Connection` names, which end with it. In lower case.
#[derive(Debug, Default)]
pub struct Named(Vec<String>);

impl Named {
    /// Reads the values of `Connection`.
    pub fn by<'a>(connection: impl Iterator<Item = &'a str>) -> Self {
        let names = connection.flat_map(|value| value.split(','));
        Self(names.map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect())
    }

    /// Whether a field of a request goes on to HubSpot. `name` is in lower case.
    pub fn passes_to_hubspot(&self, name: &str) -> bool {
        self.passes(name)
            && !OURS.contains(&name)
            && !["hubspot-connect-", "x-forwarded-", "x-real-", "x-original-", "cf-"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
    }

    /// Whether a field of an answer goes back to the caller. `name` is in lower case.
    pub fn passes_to_caller(&self, name: &str) -> bool {
        self.passes(name)
            && !OF_THEIR_HOST.contains(&name)
            && !["hubspot-connect-", "access-control-", "cross-origin-"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
    }

    fn passes(&self, name: &str) -> bool {
        !HOP_BY_HOP.contains(&name)
            && !name.starts_with("proxy-")
            && !self.0.iter().any(|named| named == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_names_ends_with_it() {
        let named = Named::by(["close, X-Own", " ,X-Other "].into_iter());
        for name in ["x-own", "x-other", "close"] {
            assert!(!named.passes_to_hubspot(name) && !named.passes_to_caller(name), "{name}");
        }
        assert!(named.passes_to_hubspot("x-third"));
    }

    #[test]
    fn credentials_and_tracks_stay_here() {
        for name in [
            "authorization",
            "cookie",
            "host",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-real-ip",
            "te",
            "proxy-authorization",
            "upgrade",
            "keep-alive",
            "hubspot-connect-connection",
            "x-original-url",
        ] {
            assert!(!Named::default().passes_to_hubspot(name), "{name}");
        }
        for name in [
            "accept",
            "accept-encoding",
            "content-type",
            "if-none-match",
            "user-agent",
            "range",
            "x-hubspot-x",
        ] {
            assert!(Named::default().passes_to_hubspot(name), "{name}");
        }
    }

    #[test]
    fn what_hubspot_says_of_its_answer_is_passed_and_what_it_says_of_its_host_is_not() {
        for name in [
            "x-hubspot-ratelimit-remaining",
            "x-hubspot-correlation-id",
            "retry-after",
            "content-type",
            "etag",
            "cf-ray",
            "content-encoding",
            "content-disposition",
            "location",
            "vary",
            "date",
            "x-trace",
        ] {
            assert!(Named::default().passes_to_caller(name), "{name}");
        }
        for name in [
            "set-cookie",
            "connection",
            "transfer-encoding",
            "trailer",
            "access-control-allow-origin",
            "alt-svc",
            "strict-transport-security",
            "cache-control",
            "hubspot-connect-origin",
        ] {
            assert!(!Named::default().passes_to_caller(name), "{name}");
        }
    }
}
