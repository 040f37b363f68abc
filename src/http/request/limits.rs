//! Rate limits per client address: on starting authorization requests, on invalid API keys. They are not shared
//! between replicas: they only keep a single client from filling a table or from guessing fast.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::domain::network::subscriber;

/// The burst for a user who tries a few times in a row.
const BURST: u32 = 10;
/// The number of checks after which idle addresses are removed.
const SWEEP_THRESHOLD: u32 = 4096;

/// A rate limit per address.
#[derive(Debug)]
pub struct PerAddress {
    limiter: Option<DefaultKeyedRateLimiter<IpAddr>>,
    checks: AtomicU32,
}

impl PerAddress {
    /// Returns a limit per minute and address; zero for no limit.
    pub fn new(per_minute: u32) -> Self {
        let limiter = NonZeroU32::new(per_minute).map(|per_minute| {
            let burst = NonZeroU32::new(BURST.min(per_minute.get())).unwrap_or(per_minute);
            RateLimiter::keyed(Quota::per_minute(per_minute).allow_burst(burst))
        });
        Self { limiter, checks: AtomicU32::new(0) }
    }

    /// Returns whether one more is admitted.
    pub fn admit(&self, address: IpAddr) -> bool {
        let Some(limiter) = &self.limiter else { return true };
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP_THRESHOLD == SWEEP_THRESHOLD - 1 {
            limiter.retain_recent();
        }
        limiter.check_key(&subscriber(address)).is_ok()
    }
}

/// A rate limit for the whole process, whatever the address: a few at once, then one per interval.
#[derive(Debug)]
pub struct PerProcess(Option<DefaultDirectRateLimiter>);

impl PerProcess {
    /// Returns a limit, or none if it is switched off.
    pub fn new(burst: NonZeroU32, interval: Duration, is_on: bool) -> Self {
        let quota = Quota::with_period(interval).filter(|_| is_on);
        Self(quota.map(|quota| RateLimiter::direct(quota.allow_burst(burst))))
    }

    /// Returns whether one more is admitted.
    pub fn admit(&self) -> bool {
        self.0.as_ref().is_none_or(|limiter| limiter.check().is_ok())
    }
}
