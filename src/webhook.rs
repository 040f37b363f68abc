//! Outgoing webhooks: which URLs are allowed, how messages are signed, and one POST.
//!
//! The URLs come from API callers, and the requests are sent from inside the operator's network. A name is therefore
//! resolved once per request, rejected if any of its addresses is not public, and connected to at the checked addresses
//! only (OWASP, Server Side Request Forgery Prevention). Redirects are not followed, connections are not reused, and
//! callers cannot override the header fields of the message or of the connection. Hosts that the operator has listed
//! may be private and use plain http. Behind a proxy, the proxy resolves names and decides which addresses can be
//! reached.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use reqwest::Client;
use reqwest::header::HeaderValue;
use sha2::Sha256;
use thiserror::Error;
use url::{Host, Url};

use crate::config;
use crate::domain::clock::Timestamp;
use crate::domain::network::is_public;
use crate::domain::origin::web_url;
use crate::domain::proxies::Proxies;
use crate::domain::random::Random;
use crate::domain::retry_after;
use crate::domain::secret::Secret;
use crate::domain::webhook::{AllowedHosts, Attempt, DeliveryError};
pub use crate::egress::ssrf::{Lookup, SystemLookup};
use crate::egress::ssrf::{Reach, was_blocked};
use crate::egress::{EgressError, UntrustedHostClients};

/// The time limit for one delivery, from the name lookup to the end of the response.
const POST_TIMEOUT: Duration = Duration::from_secs(15);
/// The time limit for reading the body of a response, and for the name lookup when an endpoint is created.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// The number of response bytes that are read, so that a receiver that sends a short body is not disconnected.
const MAX_RESPONSE: usize = 64 * 1024;
/// The maximum length of a URL.
const MAX_URL: usize = 2_048;
/// The prefix of every signing secret (Standard Webhooks 1.0.0, "Signature scheme").
const PREFIX: &str = "whsec_";

/// The reason a URL is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotAllowed {
    /// The URL is invalid or too long, or has credentials or a fragment.
    #[error(
        "The URL must be absolute, without credentials and without a fragment, and 2048 characters at most."
    )]
    NotAUrl,
    /// The URL is not https.
    #[error("The URL must be https, unless the operator has listed its host in WEBHOOK_ALLOWED_HOSTS.")]
    NotHttps,
    /// The URL leads into a private network, or to this machine.
    #[error("The URL leads to an address that is not public, and its host is not in WEBHOOK_ALLOWED_HOSTS.")]
    NotPublic,
    /// The host name does not resolve.
    #[error("The host of the URL cannot be resolved.")]
    Unknown,
}

/// A message to be sent; these parts are signed.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// The event's id (`evt_…`).
    pub id: &'a str,
    /// The time of sending.
    pub at: Timestamp,
    /// The JSON body.
    pub body: &'a str,
}

/// The sender of webhooks.
#[derive(Debug)]
pub struct Webhooks {
    allowed: AllowedHosts,
    lookup: Arc<dyn Lookup>,
    guarded: UntrustedHostClients,
    open: UntrustedHostClients,
}

impl Webhooks {
    /// Returns a sender that resolves names with the system's resolver.
    pub fn new(settings: &config::Webhooks, proxies: &Proxies) -> Self {
        Self::with(settings, proxies, Arc::new(SystemLookup))
    }

    /// Returns a sender with another resolver.
    pub fn with(settings: &config::Webhooks, proxies: &Proxies, lookup: Arc<dyn Lookup>) -> Self {
        let [guarded, open] = [Reach::Public, Reach::Anywhere]
            .map(|reach| UntrustedHostClients::new(Arc::clone(&lookup), reach, proxies.clone()));
        Self { allowed: settings.allowed_hosts.clone(), lookup, guarded, open }
    }

    /// Checks whether an endpoint may have this URL: the URL itself, and the addresses that its name resolves to now.
    /// Every delivery checks again.
    ///
    /// # Errors
    /// [`NotAllowed`] states the reason.
    pub async fn check(&self, text: &str) -> Result<Url, NotAllowed> {
        let url = self.check_url(text)?;
        let unchecked = self.allowed.has(&url) || self.guarded.is_proxied(&url);
        if let (Some(Host::Domain(name)), false) = (url.host(), unchecked) {
            let found = tokio::time::timeout(DRAIN_TIMEOUT, self.lookup.lookup(name)).await;
            let found = found.ok().and_then(Result::ok).unwrap_or_default();
            match found.is_empty() {
                true => return Err(NotAllowed::Unknown),
                false if !found.into_iter().all(is_public) => return Err(NotAllowed::NotPublic),
                false => {}
            }
        }
        Ok(url)
    }

    /// Checks the URL without a name lookup. An IPv4 address in an unusual notation (`0x7f.1`, `2130706433`) is an
    /// address by the rules for URLs (WHATWG URL, "host parsing"), and is checked as one.
    fn check_url(&self, text: &str) -> Result<Url, NotAllowed> {
        let is_plain = |url: &Url| text.len() <= MAX_URL && url.fragment().is_none();
        let url = web_url(text).filter(is_plain).ok_or(NotAllowed::NotAUrl)?;
        if self.allowed.has(&url) {
            return Ok(url);
        }
        if url.scheme() != "https" {
            return Err(NotAllowed::NotHttps);
        }
        let public = match url.host() {
            Some(Host::Ipv4(address)) => is_public(address.into()),
            Some(Host::Ipv6(address)) => is_public(address.into()),
            Some(Host::Domain(name)) => !name.is_empty(),
            None => false,
        };
        if public { Ok(url) } else { Err(NotAllowed::NotPublic) }
    }

    /// Sends a message, signed with each of these secrets and with further header fields, and returns the outcome.
    pub async fn post<'a>(
        &self,
        url: &str,
        message: Message<'_>,
        secrets: &[Secret],
        headers: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Attempt {
        let failed = |error| Attempt { status: None, error: Some(error), retry_after: None };
        let Ok(url) = self.check_url(url) else { return failed(DeliveryError::Blocked) };
        let signatures: Option<Vec<_>> = secrets.iter().map(|secret| sign(secret, message)).collect();
        let Some(signatures) = signatures.filter(|all| !all.is_empty()) else {
            return failed(DeliveryError::BadSecret);
        };
        let Ok(client) = self.client(&url) else { return failed(DeliveryError::NoClient) };
        let call = headers.fold(client.post(url), |call, (name, value)| {
            let mut value = HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""));
            value.set_sensitive(true);
            call.header(name, value)
        });
        let call = call
            .header("content-type", "application/json")
            .header("webhook-id", message.id)
            .header("webhook-timestamp", message.at.unix_seconds().to_string())
            .header("webhook-signature", signatures.join(" "))
            .body(message.body.to_owned());
        match tokio::time::timeout(POST_TIMEOUT, answered(call, message.at)).await {
            Ok(attempt) => attempt,
            Err(_) => failed(DeliveryError::Timeout),
        }
    }

    fn client(&self, url: &Url) -> Result<&Client, EgressError> {
        if self.allowed.has(url) { self.open.client(url) } else { self.guarded.client(url) }
    }
}

/// Sends the request. The status alone decides the outcome; the body is read as a courtesy and discarded.
async fn answered(call: reqwest::RequestBuilder, now: Timestamp) -> Attempt {
    let mut response = match call.send().await {
        Ok(response) => response,
        Err(why) => return Attempt { status: None, error: Some(unanswered(&why)), retry_after: None },
    };
    let status = response.status();
    let error = match status.as_u16() {
        200..=299 => None,
        300..=399 => Some(DeliveryError::Redirected),
        _ => Some(DeliveryError::HttpStatus),
    };
    let asked = response.headers().get("retry-after").and_then(|text| text.to_str().ok());
    let retry_after = error.and(asked).and_then(|text| retry_after::parse(text, now));
    let courtesy = async {
        let mut heard = 0;
        while let Ok(Some(chunk)) = response.chunk().await {
            heard += chunk.len();
            if heard > MAX_RESPONSE {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, courtesy).await;
    Attempt { status: Some(status.as_u16()), error, retry_after }
}

fn unanswered(why: &reqwest::Error) -> DeliveryError {
    if was_blocked(why) {
        return DeliveryError::Blocked;
    }
    match (why.is_timeout(), why.is_connect()) {
        (true, _) => DeliveryError::Timeout,
        (false, true) => DeliveryError::Unreachable,
        (false, false) => DeliveryError::BadAnswer,
    }
}

/// Generates a signing secret of 256 random bits.
pub(crate) fn new_secret(random: &Random) -> Secret {
    Secret::new(format!("{PREFIX}{}", STANDARD.encode(random.bytes::<32>())))
}

/// Returns the signature of a message: HMAC-SHA256 of id, time in seconds and body (Standard Webhooks 1.0.0, "Signature
/// scheme"); `None` if the secret is invalid: it must have 24 to 64 bytes.
pub fn sign(secret: &Secret, message: Message<'_>) -> Option<String> {
    let key = secret.expose().strip_prefix(PREFIX)?;
    let key = zeroize::Zeroizing::new(STANDARD.decode(key).ok()?);
    if !(24..=64).contains(&key.len()) {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{}.{}.{}", message.id, message.at.unix_seconds(), message.body).as_bytes());
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhooks(allowed: &[&str]) -> Webhooks {
        let mut allowed_hosts = AllowedHosts::default();
        assert!(allowed.iter().all(|host| allowed_hosts.add(host)));
        Webhooks::new(&config::Webhooks { allowed_hosts }, &Proxies::none())
    }

    #[test]
    fn signatures_match_the_specification() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let at = Timestamp::from_unix_ms(1_614_265_330_999);
        let message = Message { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body: r#"{"test": 2432232314}"# };
        let signed = sign(&secret, message);
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
    }

    #[test]
    fn invalid_secrets_sign_nothing() {
        let message = Message { id: "a", at: Timestamp::from_unix_ms(0), body: "" };
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        let long = format!("whsec_{}", STANDARD.encode([7; 65]));
        for bad in ["", "whsec_", "whsec_***", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &short, &long] {
            assert_eq!(sign(&Secret::new(bad.to_owned()), message), None, "{bad}");
        }
        assert!(sign(&new_secret(&Random::seeded(1)), message).is_some());
    }

    #[test]
    fn only_public_https_is_allowed_in_every_spelling() {
        let webhooks = webhooks(&["hooks.internal", "127.0.0.1:9000"]);
        for good in ["https://hooks.example.com/a?b=c", "https://1.1.1.1:8443/", "http://hooks.internal/"] {
            assert!(webhooks.check_url(good).is_ok(), "{good}");
        }
        for private in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://127.0.0.1./",
            "https://１２７.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://169.254.169.254/latest",
            "https://0/",
            "https://[64:ff9b::a00:1]/",
            "https://10.0.0.1/",
            "https://100.64.0.1/",
            "https://[fd00::1]/",
            "https://[2002:7f00:1::]/",
        ] {
            assert_eq!(webhooks.check_url(private).err(), Some(NotAllowed::NotPublic), "{private}");
        }
        for plain in ["http://hooks.example.com/", "http://127.0.0.1:9001/", "http://hooks.internal.example/"]
        {
            assert_eq!(webhooks.check_url(plain).err(), Some(NotAllowed::NotHttps), "{plain}");
        }
        let long = format!("https://hooks.example.com/{}", "x".repeat(MAX_URL));
        for bad in [
            "",
            "x",
            "/x",
            "https://",
            "ftp://a.example/",
            "file:///etc/passwd",
            "https://u:p@a.example/",
            "https://u@hooks.internal/",
            "https://a.example/#b",
            &long,
        ] {
            assert_eq!(webhooks.check_url(bad).err(), Some(NotAllowed::NotAUrl), "{bad}");
        }
    }
}
