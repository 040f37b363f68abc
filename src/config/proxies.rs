//! Proxies for outgoing calls, from the usual environment variables.

use url::Url;

use super::reader::Reader;
use crate::domain::proxies::Proxies;
use crate::domain::secret::Secret;

pub(super) fn read(reader: &mut Reader<'_>) -> Proxies {
    let [https, http, all] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"].map(|name| proxy(reader, name));
    Proxies::new(https.or_else(|| all.clone()), http.or(all), reader.text("NO_PROXY"))
}

/// Returns the URL of a proxy. Without a scheme it is http, as in other programs.
fn proxy(reader: &mut Reader<'_>, name: &str) -> Option<Secret> {
    let text = Some(reader.text(name)).filter(|text| !text.is_empty())?;
    let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&text).ok().and_then(normalized);
    if url.is_none() {
        reader
            .problem(name, "must be a URL such as http://proxy.example.com:3128 (or https, socks5, socks5h)");
    }
    url
}

/// Returns the URL with its user and password percent-encoded, so that every parser finds the same host after them.
fn normalized(mut url: Url) -> Option<Secret> {
    // With socks5, the HTTP client would resolve names itself, without the check of their addresses.
    if url.scheme() == "socks5" {
        url.set_scheme("socks5h").ok()?;
    }
    // A `/`, `?` or `#` in a password ends the host, and the rest of the password becomes a path.
    let is_whole = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    let is_proxy = matches!(url.scheme(), "http" | "https" | "socks5h")
        && url.host_str().is_some_and(|host| !host.is_empty());
    let url = Secret::new(String::from(url));
    (is_whole && is_proxy && Proxies::new(Some(url.clone()), None, "").is_usable()).then_some(url)
}
