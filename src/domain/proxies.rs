//! The route of outgoing calls: directly, or through a proxy.

use std::sync::Arc;

use hyper_util::client::proxy::matcher::Matcher;
use url::Url;

use super::secret::Secret;

/// Proxies for outgoing calls. Their URLs may contain a password.
#[derive(Debug, Clone)]
pub struct Proxies {
    /// The proxy for https addresses.
    pub https: Option<Secret>,
    /// The proxy for plain http addresses.
    pub http: Option<Secret>,
    /// The hosts that are called directly.
    pub exceptions: String,
    matcher: Arc<Matcher>,
}

impl Proxies {
    /// Builds the routes. Users and passwords in the URLs must be percent-encoded. In the exceptions of NO_PROXY, `*`
    /// stands for all hosts, and `*.example.com` for `example.com`.
    pub fn new(https: Option<Secret>, http: Option<Secret>, exceptions: &str) -> Self {
        let exceptions = || exceptions.split(',').map(str::trim).filter(|item| !item.is_empty());
        // The matcher's own `*` does not cover IP addresses.
        let (https, http) = if exceptions().any(|item| item == "*") { (None, None) } else { (https, http) };
        let exceptions: Vec<_> = exceptions().map(|item| item.trim_start_matches("*.")).collect();
        let exceptions = exceptions.join(", ");
        let text =
            |proxy: &Option<Secret>| proxy.as_ref().map_or(String::new(), |url| url.expose().to_owned());
        let matcher = Matcher::builder().https(text(&https)).http(text(&http)).no(exceptions.clone()).build();
        Self { https, http, exceptions, matcher: Arc::new(matcher) }
    }

    /// Returns the routes without a proxy.
    pub fn none() -> Self {
        Self::new(None, None, "")
    }

    /// Returns whether all calls are made directly.
    pub fn is_empty(&self) -> bool {
        self.https.is_none() && self.http.is_none()
    }

    /// Returns whether calls to https addresses go through a proxy. They do not if its URL cannot be parsed.
    pub(crate) fn is_usable(&self) -> bool {
        Url::parse("https://receiver.invalid").is_ok_and(|url| self.between(&url).is_some())
    }

    /// Returns the proxy for a call to this address, without its credentials; `None` for a direct call.
    pub fn between(&self, url: &Url) -> Option<String> {
        let found = self.matcher.intercept(&url.as_str().parse().ok()?)?;
        Some(found.uri().to_string().trim_end_matches('/').to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_and_no_proxy_select_the_proxy() {
        let proxy = |text: &str| Some(Secret::new(text.to_owned()));
        let exceptions = "*.example.com, 10.0.0.0/8, ::1";
        let proxies = Proxies::new(proxy("http://u:p@secure.test:3128"), proxy("plain.test:80"), exceptions);
        let between = |url: &str| proxies.between(&Url::parse(url).expect("a URL"));
        assert_eq!(between("https://api.hubapi.com/").as_deref(), Some("http://secure.test:3128"));
        assert_eq!(between("http://hooks.test:9000/a").as_deref(), Some("http://plain.test:80"));
        for direct in
            ["https://example.com/", "https://a.example.com:8443/", "http://10.1.2.3/", "http://[::1]:80/"]
        {
            assert_eq!(between(direct), None, "{direct}");
        }
        assert!(between("https://notexample.com/").is_some());
        assert!(Proxies::new(proxy("secure.test"), None, "a, *").is_empty());
    }
}
