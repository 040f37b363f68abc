//! The rate limit of an API key, and the header fields that report it (draft-ietf-httpapi-ratelimit-headers-10).
//!
//! Each process counts for itself: the limit only protects other backends from one that is out of control. A request
//! costs one lookup in a small map, because a token is read in microseconds.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use actix_web::dev::ServiceResponse;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpMessage, HttpRequest};

use crate::domain::clock::Timestamp;
use crate::domain::id::ApiKeyId;
use crate::domain::retry_after;
use crate::http::problem::{Problem, ProblemCode};

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(60);
/// With more keys than this, expired windows are removed.
const SWEEP_THRESHOLD: usize = 1000;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The rate limit of each key.
#[derive(Debug)]
pub struct KeyLimits {
    per_minute: u32,
    policy: HeaderValue,
    windows: Mutex<HashMap<ApiKeyId, Window>>,
}

/// The remaining requests of a minute that began with a key's first request.
#[derive(Debug, Clone, Copy)]
struct Window {
    ends_at: Timestamp,
    left: u32,
}

/// The remaining quota after a request.
#[derive(Debug, Clone)]
struct Spent {
    policy: HeaderValue,
    left: u32,
    seconds: u64,
}

impl KeyLimits {
    /// Creates a limit of requests per minute and key; zero for no limit.
    pub fn new(per_minute: u32) -> Self {
        let policy = format!("\"default\";q={per_minute};w={}", WINDOW.as_secs());
        let policy = HeaderValue::try_from(policy).expect("digits and letters");
        Self { per_minute, policy, windows: Mutex::default() }
    }

    /// Counts one request of this key, and notes the remaining quota for its response.
    ///
    /// # Errors
    /// `rate_limited_key` (429), with the seconds until the window ends.
    pub fn admit(&self, request: &HttpRequest, key: ApiKeyId, now: Timestamp) -> Result<(), Problem> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let (left, ends_at) = self.spend(key, now);
        let pause = ends_at.since(now);
        let seconds = retry_after::seconds(pause);
        let spent = Spent { policy: self.policy.clone(), left: left.unwrap_or(0), seconds };
        request.extensions_mut().insert(spent);
        left.map(|_| ()).ok_or_else(|| Problem::new(ProblemCode::RateLimitedKey).retry_after(pause))
    }

    /// Spends one request. Returns the remaining quota, `None` if it was used up, and the end of the window.
    fn spend(&self, key: ApiKeyId, now: Timestamp) -> (Option<u32>, Timestamp) {
        let mut windows = self.windows.lock().expect("nothing panics while it holds this lock");
        if windows.len() >= SWEEP_THRESHOLD && !windows.contains_key(&key) {
            windows.retain(|_, window| window.ends_at > now);
        }
        let fresh = Window { ends_at: now.plus(WINDOW), left: self.per_minute };
        let window = windows.entry(key).or_insert(fresh);
        // A window that ends later than a fresh one started before the clock was set back.
        if window.ends_at <= now || window.ends_at > fresh.ends_at {
            *window = fresh;
        }
        let left = window.left.checked_sub(1);
        window.left = left.unwrap_or(0);
        (left, window.ends_at)
    }
}

/// Adds the header fields with the remaining quota, if the request was counted.
pub fn add_rate_limit_headers<B>(response: &mut ServiceResponse<B>) {
    let spent = response.request().extensions().get::<Spent>().cloned();
    if let Some(Spent { policy, left, seconds }) = spent
        && let Ok(limit) = HeaderValue::try_from(format!("\"default\";r={left};t={seconds}"))
    {
        response.headers_mut().insert(LIMIT, limit);
        response.headers_mut().insert(POLICY, policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::random::Random;

    #[test]
    fn each_key_has_its_own_one_minute_window() {
        let (limits, random) = (KeyLimits::new(2), Random::seeded(1));
        let (one, other) = (ApiKeyId::random(&random), ApiKeyId::random(&random));
        let at = |seconds: i64| Timestamp::from_unix_ms(1_000_000 + seconds * 1000);
        assert_eq!(limits.spend(one, at(0)), (Some(1), at(60)));
        assert_eq!(limits.spend(one, at(30)), (Some(0), at(60)));
        assert_eq!(limits.spend(one, at(59)), (None, at(60)));
        assert_eq!(limits.spend(other, at(59)), (Some(1), at(119)));
        assert_eq!(limits.spend(one, at(60)), (Some(1), at(120)));
    }

    #[test]
    fn backward_clocks_do_not_block_callers() {
        let (limits, key) = (KeyLimits::new(1), ApiKeyId::random(&Random::seeded(1)));
        let at = |seconds: i64| Timestamp::from_unix_ms(1_000_000 + seconds * 1000);
        assert_eq!(limits.spend(key, at(500)), (Some(0), at(560)));
        assert_eq!(limits.spend(key, at(10)), (Some(0), at(70)));
    }

    #[test]
    fn idle_keys_are_forgotten() {
        let (limits, random) = (KeyLimits::new(1), Random::seeded(1));
        for _ in 0..SWEEP_THRESHOLD {
            limits.spend(ApiKeyId::random(&random), Timestamp::from_unix_ms(0));
        }
        limits.spend(ApiKeyId::random(&random), Timestamp::from_unix_ms(60_000));
        assert_eq!(limits.windows.lock().expect("no panic").len(), 1);
    }
}
