//! A new token because HubSpot has refused the old one before its expiry.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use super::Proxy;
use crate::domain::clock::Timestamp;
use crate::domain::id::ConnectionId;
use crate::services::connections::Access;

/// The interval between two refreshes of one connection because of a 401. A 401 does not prove that the token is to
/// blame: HubSpot sometimes returns it for a missing permission, and then every call would refresh the token.
const FORCED_REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// The number of entries above which those older than the interval are removed.
const SWEEP_THRESHOLD: usize = 1024;

/// The time at which each connection was last refreshed because of a 401.
#[derive(Debug, Default)]
pub(super) struct ForcedRefreshThrottle(Mutex<HashMap<ConnectionId, Timestamp>>);

impl ForcedRefreshThrottle {
    /// Returns whether a refresh may start now. If so, it counts as started.
    fn admit(&self, id: ConnectionId, now: Timestamp) -> bool {
        let mut last = self.0.lock().expect("nothing panics while it holds this lock");
        let is_recent = |at: &Timestamp| now < at.plus(FORCED_REFRESH_INTERVAL);
        if last.get(&id).is_some_and(is_recent) {
            return false;
        }
        if last.len() >= SWEEP_THRESHOLD {
            last.retain(|_, at| is_recent(at));
        }
        last.insert(id, now);
        true
    }
}

impl Proxy {
    /// Returns another token than that of the generation that HubSpot has refused: the one that another call has
    /// fetched since, or a new one. `None` if no token is available now.
    pub(super) async fn refreshed_token(&self, id: ConnectionId, refused: i64) -> Option<Access> {
        let known = self.newer_token(id, refused).await?;
        if known.is_some() {
            return known;
        }
        self.await_refresh(id, refused).await;
        self.newer_token(id, refused).await?
    }

    /// Refreshes the token without waiting for it.
    pub(super) fn begin_refresh(&self, id: ConnectionId, refused: i64) {
        let proxy = self.clone();
        self.0.tasks.detach(async move {
            if let Some(None) = proxy.newer_token(id, refused).await {
                proxy.await_refresh(id, refused).await;
            }
        });
    }

    /// Returns the stored token, if it is of another generation. `None` if the connection has no valid token.
    async fn newer_token(&self, id: ConnectionId, refused: i64) -> Option<Option<Access>> {
        let token = self.0.access_tokens.reread(id).await.ok()?;
        if token.generation == refused {
            return Some(None);
        }
        self.0.access_tokens.to_access(&token).ok().map(Some)
    }

    async fn await_refresh(&self, id: ConnectionId, refused: i64) {
        if !self.0.access_tokens.is_refreshing(id) {
            if !self.0.forced.admit(id, self.0.clock.now()) {
                return;
            }
            tracing::warn!(connection = %id, "access token rejected before its expiry; refreshing");
        }
        self.0.access_tokens.await_refresh_of(id, refused).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::random::Random;

    #[test]
    fn repeated_refusals_cause_one_refresh_per_connection_in_half_a_minute() {
        let (forced, random) = (ForcedRefreshThrottle::default(), Random::seeded(1));
        let [one, other] = [(); 2].map(|()| ConnectionId::random(&random));
        let start = Timestamp::from_unix_ms(1_000_000);
        assert!(forced.admit(one, start) && forced.admit(other, start));
        for seconds in 0..30 {
            assert!(!forced.admit(one, start.plus(Duration::from_secs(seconds))));
        }
        assert!(forced.admit(one, start.plus(FORCED_REFRESH_INTERVAL)));
    }

    #[test]
    fn old_refusals_are_forgotten() {
        let (forced, random) = (ForcedRefreshThrottle::default(), Random::seeded(1));
        let start = Timestamp::from_unix_ms(1_000_000);
        for second in 0..10_000 {
            forced.admit(ConnectionId::random(&random), start.plus(Duration::from_secs(second)));
        }
        assert!(forced.0.lock().unwrap().len() <= SWEEP_THRESHOLD);
    }
}
