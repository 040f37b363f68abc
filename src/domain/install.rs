//! The return URL of an install, which must be an address of HubSpot's own.

use url::{Host, Url};

use super::origin::{Origin, web_url};
use super::secret::Secret;

/// Longer than any of HubSpot's URLs.
const MAX_URL_LENGTH: usize = 4096;

/// The checked `returnUrl` of an install. It comes from a query string that anyone can write, so it is trusted only if
/// it leads to HubSpot (RFC 9700 section 4.11: no open redirector).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallReturnUrl(Url);

impl InstallReturnUrl {
    /// Parses a URL. It must lead by https to `app.hubspot.com` or to the host of a HubSpot data centre, such as
    /// `app-eu1.hubspot.com`; or to the configured origin of the authorization page.
    pub fn parse(text: &str, approval: &Origin) -> Option<Self> {
        // Parsers disagree on characters that some of them drop or replace.
        let plain = text.len() <= MAX_URL_LENGTH && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        let url = web_url(text).filter(|_| plain)?;
        let is_hubspot = url.scheme() == "https"
            && url.port().is_none()
            && matches!(url.host(), Some(Host::Domain(name)) if is_app_host(name));
        let nobody = !authority(text).contains('@');
        let leads_home = is_hubspot || url.origin().ascii_serialization() == approval.as_str();
        (nobody && leads_home && names_its_host(text, &url)).then_some(Self(url))
    }

    /// Returns the URL in the normalized spelling that was checked.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the URL with a state, which HubSpot sends back.
    pub fn with_state(&self, state: &Secret) -> String {
        let mut url = self.0.clone();
        url.query_pairs_mut().append_pair("state", state.expose());
        url.into()
    }
}

/// Returns whether a name is `app.hubspot.com`, or `app-` and a data centre: letters, then a number.
fn is_app_host(name: &str) -> bool {
    let Some(app) = name.strip_suffix(".hubspot.com") else { return false };
    if app == "app" {
        return true;
    }
    let Some(centre) = app.strip_prefix("app-") else { return false };
    let letters = centre.bytes().take_while(u8::is_ascii_lowercase).count();
    let digits = centre.len() - letters;
    (2..=4).contains(&letters)
        && (1..=2).contains(&digits)
        && centre[letters..].bytes().all(|b| b.is_ascii_digit())
}

/// Returns the part between the slashes and the path.
fn authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Returns whether the host appears in the text exactly as it was parsed: not encoded, doubled or dropped.
fn names_its_host(text: &str, url: &Url) -> bool {
    let whole = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    text.strip_prefix(&whole).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/', '?', '#']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::random::Random;

    fn parse(text: &str) -> Option<InstallReturnUrl> {
        let approval = Origin::parse("https://app.hubspot.com").expect("an origin");
        InstallReturnUrl::parse(text, &approval)
    }

    #[test]
    fn hubspot_return_urls_are_accepted() {
        for good in [
            "https://app.hubspot.com/ecosystem/1234567/marketplace/apps/x",
            "https://app-eu1.hubspot.com/x?a=b&c=%2F",
            "https://app-na2.hubspot.com/",
            "https://app-ap1.hubspot.com/x#part",
            "https://app-na10.hubspot.com/x",
        ] {
            assert_eq!(parse(good).expect(good).as_str(), good);
        }
        assert_eq!(parse("https://app.hubspot.com").expect("bare").as_str(), "https://app.hubspot.com/");
    }

    #[test]
    fn other_return_urls_are_refused() {
        for bad in [
            "http://app.hubspot.com/x",
            "https://app.hubspot.com:444/x",
            "https://app.hubspot.com.evil.example/x",
            "https://evil.example/app.hubspot.com",
            "https://evil.example/?u=https://app.hubspot.com/",
            "https://evil.example#https://app.hubspot.com/",
            "https://app.hubspot.com@evil.example/x",
            "https://app.hubspot.com:x@evil.example/x",
            "https://u@app.hubspot.com/x",
            "https://@app.hubspot.com/x",
            "https://:@app.hubspot.com/x",
            "https://evil.example\\.app.hubspot.com/x",
            "https://evil.example\\@app.hubspot.com/x",
            "https:\\\\app.hubspot.com\\x",
            "//app.hubspot.com/x",
            "/x",
            "https:app.hubspot.com/x",
            "https:///app.hubspot.com/x",
            "https://app.hubspot.com./x",
            "https://APP.hubspot.com/x",
            "https://app%2ehubspot.com/x",
            "https://app。hubspot.com/x",
            "https://aрp.hubspot.com/x",
            "https://app.hubspot.com/\u{e9}",
            "https://app.hub\tspot.com/x",
            " https://app.hubspot.com/x",
            "https://app.hubspot.com/x\n",
            "https://hubspot.com/x",
            "https://www.hubspot.com/x",
            "https://evil.hubspot.com/x",
            "https://app-.hubspot.com/x",
            "https://app-eu.hubspot.com/x",
            "https://app-1.hubspot.com/x",
            "https://app-eu1-evil.hubspot.com/x",
            "https://app-eu1.evil.hubspot.com/x",
            "https://app-eu1.hubspot.com.evil.example/x",
            "https://appeu1.hubspot.com/x",
            "https://evilapp.hubspot.com/x",
            "https://notapp-eu1.hubspot.com/x",
            "https://app.hubspot.com%00.evil.example/x",
            "javascript://app.hubspot.com/%0aalert(1)",
            "data:text/html,x",
            "blob:https://app.hubspot.com/x",
            "filesystem:https://app.hubspot.com/x",
            "view-source:https://app.hubspot.com/x",
            "ftp://app.hubspot.com/x",
            "wss://app.hubspot.com/x",
            "https://[::1]/x",
            "https://127.0.0.1/x",
            "",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        assert_eq!(
            parse(&format!("https://app.hubspot.com/{}", "a".repeat(MAX_URL_LENGTH))),
            None,
            "too long"
        );
    }

    #[test]
    fn the_authorize_host_is_accepted_in_one_spelling() {
        let here = Origin::parse("http://127.0.0.1:8910").expect("an origin");
        assert!(InstallReturnUrl::parse("http://127.0.0.1:8910/installed", &here).is_some());
        for bad in [
            "http://127.0.0.1:8911/",
            "http://127.0.0.1/",
            "http://127.1:8910/",
            "http://2130706433:8910/",
            "blob:http://127.0.0.1:8910/installed",
        ] {
            assert_eq!(InstallReturnUrl::parse(bad, &here), None, "{bad}");
        }
    }

    #[test]
    fn the_state_is_added_to_any_query_string() {
        let state = Secret::random(&Random::seeded(1));
        let text = state.expose();
        let with = |url: &str| parse(url).expect(url).with_state(&state);
        assert_eq!(with("https://app.hubspot.com/x"), format!("https://app.hubspot.com/x?state={text}"));
        assert_eq!(
            with("https://app.hubspot.com/x?a=b"),
            format!("https://app.hubspot.com/x?a=b&state={text}")
        );
        assert_eq!(with("https://app.hubspot.com/x#y"), format!("https://app.hubspot.com/x?state={text}#y"));
    }
}
