//! Proxies for outgoing calls, from the variables that most programs use.

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
    let is_proxy = |url: &Url| {
        matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h")
            && url.host_str().is_some_and(|host| !host.is_empty())
    };
    if !Url::parse(&text).is_ok_and(|url| is_proxy(&url)) {
        reader
            .problem(name, "must be a URL such as http://proxy.example.com:3128 (or https, socks5, socks5h)");
        return None;
    }
    Some(Secret::new(text))
}
