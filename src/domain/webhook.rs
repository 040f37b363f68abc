//! Webhook endpoints and deliveries: limits, outcomes and retries.

use std::time::Duration;

use super::text_enum::{UnknownText, text_enum};

/// The maximum number of endpoints per project. With [`DELIVERIES_PER_ENDPOINT`], it bounds the deliveries of a project
/// that one process has in flight.
pub const MAX_ENDPOINTS: usize = 16;

/// The maximum number of deliveries in flight per endpoint and process, so that a slow receiver delays only itself.
pub const DELIVERIES_PER_ENDPOINT: usize = 4;

/// The length of the lease on a delivery: several times as long as a delivery may take.
pub const DELIVERY_LEASE: Duration = Duration::from_secs(60);

/// The default time for which the older secret signs beside the newer one.
pub const DEFAULT_SECRET_OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// The pauses after failed attempts, in seconds: a little over three days in total. After the last one, the delivery
/// fails.
const RETRY_PAUSES: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// The maximum pause that a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The age at which a waiting delivery is given up: all pauses with their jitter, and one that a receiver asked for.
pub const MAX_DELIVERY_AGE: Duration = Duration::from_secs(5 * 24 * 3600);

/// The maximum number of waiting deliveries per endpoint. Beyond it, the oldest fail.
pub const MAX_WAITING_DELIVERIES: u64 = 100_000;

text_enum! {
    /// The reason an endpoint is disabled.
    pub enum DisabledReason: UnknownText {
        /// The receiver has answered 410.
        Gone = "gone",
        /// The host's backend has disabled it.
        ByRequest = "by_request",
        /// The operator has declared the encryption key of its secrets lost.
        KeyLost = "key_lost",
    }
}

text_enum! {
    /// The reason a delivery attempt failed.
    pub enum DeliveryError: UnknownText {
        /// The URL, or the address of its host, is not allowed.
        Blocked = "blocked",
        /// A signing secret is invalid.
        BadSecret = "bad_secret",
        /// The HTTP client could not be built.
        NoClient = "no_client",
        /// The receiver did not answer in time.
        Timeout = "timeout",
        /// The receiver could not be reached.
        Unreachable = "unreachable",
        /// The receiver's response is not understood.
        BadAnswer = "bad_answer",
        /// The receiver answered with a redirect.
        Redirected = "redirected",
        /// The receiver answered with a status other than 2xx.
        HttpStatus = "http_status",
        /// The encryption key of the endpoint's secrets is not configured.
        UnknownKey = "unknown_key",
        /// The stored secrets are damaged.
        IntegrityError = "integrity_error",
    }
}

text_enum! {
    /// The status of a delivery.
    pub enum DeliveryStatus: UnknownText {
        /// It waits for its first attempt or for a retry.
        Pending = "pending",
        /// The receiver has accepted it.
        Delivered = "delivered",
        /// It was given up. It can be replayed for as long as its event is kept.
        Failed = "failed",
    }
}

/// The outcome of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The HTTP status, if there was a response.
    pub status: Option<u16>,
    /// The error; `None` if the attempt succeeded.
    pub error: Option<DeliveryError>,
    /// The pause that the receiver asks for.
    pub retry_after: Option<Duration>,
}

/// The next step after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The receiver has accepted the delivery.
    Delivered,
    /// The delivery is retried after this pause.
    Again(Duration),
    /// The delivery is given up.
    Failed,
    /// The receiver wants no more deliveries (410): the delivery is given up, and the endpoint is disabled.
    Gone,
}

impl Attempt {
    /// Returns the next step if `attempts` have failed before this one. `unit` is a random number in `0.0..1.0`.
    pub fn after(&self, attempts: i64, unit: f64) -> After {
        if self.error.is_none() {
            return After::Delivered;
        }
        if self.status == Some(410) {
            return After::Gone;
        }
        let Some(pause) = usize::try_from(attempts).ok().and_then(|at| RETRY_PAUSES.get(at)) else {
            return After::Failed;
        };
        // A tenth more or less, so that deliveries that failed together are not retried together.
        let own = Duration::from_secs(*pause).mul_f64(0.9 + 0.2 * unit);
        After::Again(own.max(self.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER)))
    }
}

/// Hosts that the operator trusts: they may be private and use plain http.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(Vec<(String, Option<u16>)>);

impl AllowedHosts {
    /// Adds `host` or `host:port`, as it appears in a URL. Returns `false` if the text is neither.
    pub fn add(&mut self, item: &str) -> bool {
        let Ok(url) = url::Url::parse(&format!("http://{item}/")) else { return false };
        let plain = url.path() == "/" && url.username().is_empty() && url.query().is_none();
        let (Some(host), true) = (url.host_str(), plain && url.fragment().is_none()) else { return false };
        let port = item.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        self.0.push((host.to_owned(), port));
        true
    }

    /// Returns whether this URL leads to one of them.
    pub fn has(&self, url: &url::Url) -> bool {
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default());
        self.0.iter().any(|(known, only)| known == host && only.is_none_or(|only| Some(only) == port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(status: Option<u16>) -> Attempt {
        Attempt { status, error: Some(DeliveryError::HttpStatus), retry_after: None }
    }

    #[test]
    fn deliveries_are_attempted_ten_times_over_three_days() {
        let mut spent = Duration::ZERO;
        for attempts in 0..9 {
            let After::Again(pause) = failed(Some(500)).after(attempts, 0.5) else { panic!("{attempts}") };
            spent += pause;
        }
        assert_eq!(failed(Some(500)).after(9, 0.5), After::Failed);
        assert!(spent > Duration::from_secs(3 * 86_400) && spent < MAX_DELIVERY_AGE, "{spent:?}");
        assert_eq!(failed(Some(500)).after(i64::MAX, 0.5), After::Failed);
    }

    #[test]
    fn retry_after_is_honored_within_bounds() {
        for (asked, pause) in [(0, 5), (3_600, 3_600), (1_000_000, 86_400)] {
            let busy = Attempt { retry_after: Some(Duration::from_secs(asked)), ..failed(Some(503)) };
            assert_eq!(busy.after(0, 0.5), After::Again(Duration::from_secs(pause)));
        }
    }

    #[test]
    fn status_410_is_gone_and_204_is_delivered() {
        assert_eq!(failed(Some(410)).after(0, 0.5), After::Gone);
        let taken = Attempt { status: Some(204), error: None, retry_after: None };
        assert_eq!(taken.after(0, 0.5), After::Delivered);
    }

    #[test]
    fn allowed_hosts_are_whole_hosts_with_an_optional_port() {
        let mut hosts = AllowedHosts::default();
        assert!(hosts.add("hooks.internal") && hosts.add("127.0.0.1:9000") && hosts.add("[::1]:9001"));
        for bad in ["", "https://x.example", "x.example/path", "u@x.example", "*.example/", "x y"] {
            assert!(!hosts.add(bad), "{bad}");
        }
        let has = |url: &str| hosts.has(&url::Url::parse(url).expect("a URL"));
        assert!(
            has("http://hooks.internal/a")
                && has("https://hooks.internal:1/")
                && has("http://HOOKS.internal")
        );
        assert!(has("http://127.0.0.1:9000/") && has("http://0x7f.1:9000/") && has("http://[::1]:9001/"));
        assert!(!has("http://127.0.0.1:9001/") && !has("http://a.hooks.internal/") && !has("http://[::1]/"));
    }
}
