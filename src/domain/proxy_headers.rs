//! The header fields that the proxy forwards in each direction.

/// Fields that describe a body, in either direction. The length is not among them: each side frames the body itself.
const CONTENT: [&str; 10] = [
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "digest",
    "repr-digest",
];

/// Fields that are forwarded to HubSpot, together with [`CONTENT`] and [`HUBSPOT`]. Other fields may carry credentials
/// or the caller's address, or make some servers treat the request as another one (`X-Original-URL`,
/// `X-HTTP-Method-Override`).
const REQUEST: [&str; 20] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "baggage",
    "cache-control",
    "date",
    "idempotency-key",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "prefer",
    "range",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-correlation-id",
    "x-request-id",
];

/// Fields that are returned to the caller, together with [`CONTENT`] and [`HUBSPOT`]. Other fields may be instructions
/// to the servers in front of the service (`X-Accel-Redirect`, `CDN-Cache-Control`) or claims about its own host
/// (`Set-Cookie`).
const RESPONSE: [&str; 19] = [
    "accept-patch",
    "accept-post",
    "accept-ranges",
    "allow",
    "cf-ray",
    "date",
    "deprecation",
    "etag",
    "last-modified",
    "link",
    "location",
    "preference-applied",
    "retry-after",
    "sunset",
    "vary",
    "warning",
    "www-authenticate",
    "x-correlation-id",
    "x-trace",
];

/// The prefix of HubSpot's own fields: rate limits, correlation ids.
const HUBSPOT: &str = "x-hubspot-";

/// The fields that `Connection` names, in lower case. They belong to one connection and are never forwarded.
#[derive(Debug, Default)]
pub struct Named(Vec<String>);

impl Named {
    /// Parses the values of `Connection`.
    pub fn by<'a>(connection: impl Iterator<Item = &'a str>) -> Self {
        let names = connection.flat_map(|value| value.split(','));
        Self(names.map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect())
    }

    /// Returns whether a field of a request is forwarded to HubSpot. `name` is in lower case.
    pub fn passes_to_hubspot(&self, name: &str) -> bool {
        self.passes(name, &REQUEST)
    }

    /// Returns whether a field of a response is returned to the caller. `name` is in lower case.
    pub fn passes_to_caller(&self, name: &str) -> bool {
        self.passes(name, &RESPONSE)
    }

    fn passes(&self, name: &str, listed: &[&str]) -> bool {
        (CONTENT.contains(&name) || listed.contains(&name) || name.starts_with(HUBSPOT))
            && !self.0.iter().any(|named| named == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_named_by_connection_are_hop_by_hop() {
        let named = Named::by(["close, X-HubSpot-Own", " ,Content-Type "].into_iter());
        for name in ["x-hubspot-own", "content-type", "close"] {
            assert!(!named.passes_to_hubspot(name) && !named.passes_to_caller(name), "{name}");
        }
        assert!(named.passes_to_hubspot("x-hubspot-other"));
    }
}
