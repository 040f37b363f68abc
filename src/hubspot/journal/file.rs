//! The files of the journal. Their URLs come from a response, so they are fetched with care: by https, from public
//! hosts, without our credentials, without following redirects, within limits. Behind a proxy, the proxy resolves
//! names. If HubSpot's API URL itself is on this machine, as in tests, the files may be too.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use url::{Host, Url};

use super::super::{call, error};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::origin::{is_loopback, web_url};
use crate::domain::proxies::Proxies;
use crate::egress::UntrustedHostClients;
use crate::egress::ssrf::{Reach, SystemLookup, was_blocked};

/// HubSpot writes files of at most 5 MB ("up to 10,000 or 5MB", developer changelog, July 2026).
const MAX_FILE: usize = 8 * 1024 * 1024;
/// The time limit for a whole file.
const FILE_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum length of a signed URL.
const MAX_URL: usize = 16 * 1024;

/// The client for files.
#[derive(Debug)]
pub(super) struct Files {
    reach: Reach,
    clients: UntrustedHostClients,
}

impl Files {
    /// Builds the client for the files of the HubSpot API at this URL.
    pub fn new(api_url: &Url, proxies: &Proxies) -> Self {
        let is_here = api_url.host().is_some_and(|host| is_loopback(&host));
        let reach = if is_here { Reach::PublicOrHere } else { Reach::Public };
        Self { reach, clients: UntrustedHostClients::new(Arc::new(SystemLookup), reach, proxies.clone()) }
    }

    /// Returns the content of a file.
    pub async fn get(&self, url: &str) -> Result<Vec<u8>, Failure> {
        let url = self.check(url).ok_or_else(refused)?;
        let client =
            self.clients.client(&url).map_err(|_| Failure::our_fault(FailureCode::ProviderUnreachable))?;
        let whole = async {
            let response = client.get(url).send().await.map_err(|why| unanswered(&why))?;
            match response.status().as_u16() {
                200..=299 => call::read(response, MAX_FILE).await,
                // The URL has expired: the next poll returns a new one.
                429 => Err(Failure::transient(FailureCode::ProviderBusy)),
                400..=499 => Err(Failure::transient(FailureCode::JournalFileGone)),
                300..=399 => Err(refused()),
                _ => Err(Failure::transient(FailureCode::ProviderUnavailable)),
            }
        };
        tokio::time::timeout(FILE_TIMEOUT, whole)
            .await
            .unwrap_or(Err(Failure::transient(FailureCode::ProviderTimeout)))
    }

    /// Checks a URL without a name lookup. Names are checked when they are resolved.
    fn check(&self, text: &str) -> Option<Url> {
        let url = web_url(text).filter(|_| text.len() <= MAX_URL)?;
        let (may_reach, is_here) = match url.host()? {
            Host::Ipv4(address) => self.known(address.into()),
            Host::Ipv6(address) => self.known(address.into()),
            Host::Domain(name) => (true, name == "localhost" && self.reach == Reach::PublicOrHere),
        };
        (may_reach && (url.scheme() == "https" || is_here)).then_some(url)
    }

    /// Returns whether an address may be reached, and whether it is this machine's.
    fn known(&self, address: IpAddr) -> (bool, bool) {
        (self.reach.allows(address), address.is_loopback())
    }
}

fn refused() -> Failure {
    Failure::our_fault(FailureCode::JournalUrlRefused)
}

fn unanswered(why: &reqwest::Error) -> Failure {
    if was_blocked(why) { refused() } else { error::unanswered(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(api_url: &str) -> Files {
        Files::new(&Url::parse(api_url).expect("a URL"), &Proxies::none())
    }

    #[test]
    fn files_are_fetched_only_from_public_https() {
        let files = files("https://api.hubapi.com");
        for good in ["https://bucket.s3.amazonaws.com/a?X-Amz-Signature=b", "https://1.1.1.1/a"] {
            assert!(files.check(good).is_some(), "{good}");
        }
        for bad in [
            "http://bucket.s3.amazonaws.com/a",
            "http://127.0.0.1/a",
            "https://127.0.0.1/a",
            "https://0x7f.1/a",
            "https://[::1]/a",
            "https://169.254.169.254/latest",
            "https://10.0.0.1/a",
            "https://user:pass@bucket.s3.amazonaws.com/a",
            "ftp://bucket.s3.amazonaws.com/a",
            "blob:https://bucket.s3.amazonaws.com/a",
            "file:///etc/passwd",
            "/a",
            "",
        ] {
            assert!(files.check(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn files_are_fetched_from_loopback_only_if_hubspot_is_there() {
        let files = files("http://127.0.0.1:7000");
        assert!(files.check("http://127.0.0.1:7000/a").is_some());
        assert!(files.check("http://localhost:7000/a").is_some());
        assert!(files.check("http://10.0.0.1/a").is_none());
        assert!(files.check("http://example.com/a").is_none());
    }

    #[tokio::test]
    async fn names_that_resolve_to_loopback_are_refused() {
        let failure =
            files("https://api.hubapi.com").get("https://localhost:9/a").await.expect_err("refused");
        assert_eq!(failure.code, FailureCode::JournalUrlRefused);
    }
}
