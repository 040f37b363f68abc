//! Token: one user's grant for one HubSpot account, its expiry and its refresh time.

use std::time::Duration;

use super::clock::Timestamp;
use super::connection::{ConnectionStatus, StoredState};
use super::id::{ConnectionId, PortalId, UserId};
use super::scopes::Scopes;
use super::secret::Sealed;

/// A connection with its tokens, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The connection's id.
    pub id: ConnectionId,
    /// The owner.
    pub user_id: UserId,
    /// The HubSpot app that the tokens were granted to.
    pub client_id: String,
    /// The HubSpot account; unknown until HubSpot has named it.
    pub portal_id: Option<PortalId>,
    /// The customer's website, as HubSpot reports it.
    pub hub_domain: Option<String>,
    /// The e-mail address of the HubSpot user who granted access.
    pub hub_user: Option<String>,
    /// The account's time zone.
    pub time_zone: Option<String>,
    /// The granted scopes; unknown until HubSpot has named them.
    pub scopes: Option<Scopes>,
    /// The requested scopes.
    pub wanted_scopes: Scopes,
    /// Its state.
    pub state: StoredState,
    /// Incremented with every new pair of tokens; a writer that read an older number is rejected.
    pub generation: i64,
    /// The access token.
    pub access: Sealed,
    /// The refresh token.
    pub refresh: Sealed,
    /// A keyed hash of the refresh token, which identifies equal tokens without opening them.
    pub refresh_fingerprint: String,
    /// The time at which the access token was received.
    pub obtained_at: Timestamp,
    /// The expiry time of the access token.
    pub expires_at: Timestamp,
    /// The code of the last failed refresh, until one succeeds.
    pub last_error: Option<String>,
    /// The time since which refreshes fail.
    pub error_since: Option<Timestamp>,
    /// The time of the first authorization.
    pub created_at: Timestamp,
    /// The time of the last authorization by the user.
    pub connected_at: Timestamp,
    /// The time at which the background job fetches the account's details, unless they are known.
    pub details_due_at: Option<Timestamp>,
    /// The number of failed attempts to fetch them.
    pub details_attempts: i64,
}

impl Token {
    /// Returns the time until which the process that stored this connection may still be fetching the account's
    /// details. Until then they may be incomplete.
    pub(crate) fn details_awaited_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.details_due_at.filter(|due| self.details_attempts == 0 && now < *due)
    }

    /// Returns the scopes that were requested but not granted; none while the granted ones are unknown.
    pub fn missing_scopes(&self) -> Scopes {
        missing(&self.wanted_scopes, self.scopes.as_ref())
    }

    /// Returns the status at a given time.
    pub(crate) fn status_at(&self, now: Timestamp) -> ConnectionStatus {
        match self.state {
            StoredState::Active if self.expires_at <= now => ConnectionStatus::Degraded,
            StoredState::Active => ConnectionStatus::Active,
            StoredState::NeedsReauth => ConnectionStatus::NeedsReauth,
            StoredState::IntegrityError => ConnectionStatus::IntegrityError,
        }
    }
}

/// Returns the wanted scopes that were not granted; none while the granted ones are unknown.
pub fn missing(wanted: &Scopes, granted: Option<&Scopes>) -> Scopes {
    granted.map(|granted| wanted.missing_from(granted)).unwrap_or_default()
}

/// The part of a token's lifetime in which it is refreshed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RefreshPolicy {
    /// The earliest fraction of the lifetime.
    pub from: f64,
    /// The latest fraction of the lifetime.
    pub to: f64,
}

/// The minimum time between two refreshes of one connection, whatever lifetime HubSpot reports.
pub const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(5);

impl RefreshPolicy {
    /// Returns the time at which a token with this lifetime is refreshed. `unit` is a random number in `0.0..1.0`: it
    /// spreads the refreshes of tokens that were issued at the same time.
    pub(crate) fn refresh_at(&self, obtained_at: Timestamp, expires_at: Timestamp, unit: f64) -> Timestamp {
        let life = expires_at.since(obtained_at);
        let fraction = self.from + (self.to - self.from) * unit;
        obtained_at.plus(life.mul_f64(fraction).max(MIN_REFRESH_INTERVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RefreshPolicy = RefreshPolicy { from: 0.55, to: 0.70 };
    const START: Timestamp = Timestamp::from_unix_ms(0);

    #[test]
    fn thirty_minute_tokens_are_refreshed_after_16_to_21_minutes() {
        let expires = START.plus(Duration::from_secs(1800));
        assert_eq!(POLICY.refresh_at(START, expires, 0.0), START.plus(Duration::from_secs(990)));
        assert!(POLICY.refresh_at(START, expires, 0.999) < START.plus(Duration::from_secs(1260)));
    }

    #[test]
    fn tokens_that_arrive_expired_cause_no_hot_loop() {
        assert_eq!(POLICY.refresh_at(START, START, 0.0), START.plus(MIN_REFRESH_INTERVAL));
    }
}
