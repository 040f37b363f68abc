//! HubSpot's rate limits, as its responses report them (developers.hubspot.com, "Usage guidelines and limits").

use std::time::Duration;

use reqwest::header::HeaderMap;

/// The limit in a response: `X-HubSpot-RateLimit-Max`, `-Remaining` and `-Interval-Milliseconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The number of calls per interval.
    pub max: u32,
    /// The length of the interval.
    pub interval: Duration,
    /// The number of calls left in it.
    pub remaining: Option<u32>,
}

impl Allowance {
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let number = |name| headers.get(name)?.to_str().ok()?.trim().parse::<u32>().ok();
        let max = number("x-hubspot-ratelimit-max").filter(|max| *max > 0)?;
        let ms = number("x-hubspot-ratelimit-interval-milliseconds")
            .filter(|ms| (100..=3_600_000).contains(ms))?;
        let remaining = number("x-hubspot-ratelimit-remaining");
        Some(Self { max, interval: Duration::from_millis(ms.into()), remaining })
    }
}

/// The limit that a response with status 429 reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// The pause before the next call to the account.
    pub pause: Duration,
}

impl Exhausted {
    /// Takes the pause from `Retry-After`, or else from the policy that the body names.
    pub(super) fn read(body: &[u8], retry_after: Option<Duration>, is_search: bool) -> Self {
        let text = String::from_utf8_lossy(body);
        let policy = text.split_once("\"policyName\"").map_or("", |(_, rest)| rest);
        let policy = policy.split('"').nth(1).unwrap_or_default();
        let usual = match policy {
            // Only midnight resets this limit; one call a minute checks whether it has.
            "DAILY" => 60,
            "SECONDLY" => 1,
            _ if is_search => 1,
            _ => 10,
        };
        Self { pause: retry_after.unwrap_or(Duration::from_secs(usual)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_rate_limit_headers_are_ignored() {
        let read = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(*name, reqwest::header::HeaderValue::from_static(value));
            }
            Allowance::read(&headers)
        };
        let (max, interval) = ("x-hubspot-ratelimit-max", "x-hubspot-ratelimit-interval-milliseconds");
        let parsed = Allowance { max: 100, interval: Duration::from_secs(10), remaining: None };
        assert_eq!(read(&[(max, "100"), (interval, "10000")]), Some(parsed));
        for nonsense in ["0", "-1", "many", "", "99999999999"] {
            assert_eq!(read(&[(max, nonsense), (interval, "10000")]), None, "{nonsense}");
            assert_eq!(read(&[(max, "100"), (interval, nonsense)]), None, "{nonsense}");
        }
    }

    #[test]
    fn rate_limit_policies_determine_the_pause() {
        let pause = |body: &str, is_search| Exhausted::read(body.as_bytes(), None, is_search).pause.as_secs();
        assert_eq!(pause(r#"{"status":"error","policyName":"TEN_SECONDLY_ROLLING"}"#, false), 10);
        assert_eq!(pause(r#"{"policyName": "DAILY", "requestId": "x"}"#, false), 60);
        assert_eq!(pause(r#"{"policyName":"SECONDLY"}"#, false), 1);
        assert_eq!(pause("", true), 1);
        assert_eq!(pause("<html>", false), 10);
        let parsed = Exhausted::read(b"", Some(Duration::from_secs(3)), false);
        assert_eq!(parsed.pause, Duration::from_secs(3));
    }
}
