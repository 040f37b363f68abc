//! Token: what one user holds of one HubSpot account, when it expires and when it is refreshed.

use std::time::Duration;

use super::clock::Timestamp;
use super::connection::{ConnectionStatus, StoredState};
use super::id::{ConnectionId, PortalId, UserId};
use super::scopes::Scopes;
use super::secret::Sealed;

/// One connection with its tokens, sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The connection's id.
    pub id: ConnectionId,
    /// Who owns it.
    pub user_id: UserId,
    /// The HubSpot app it was granted to.
    pub client_id: String,
    /// Which HubSpot account; unknown until HubSpot has said so.
    pub portal_id: Option<PortalId>,
    /// The customer's website, as HubSpot tells it.
    pub hub_domain: Option<String>,
    /// The e-mail address of the person who granted it.
    pub hub_user: Option<String>,
    /// The account's time zone.
    pub time_zone: Option<String>,
    /// The granted scopes; unknown until HubSpot has named them.
    pub scopes: Option<Scopes>,
    /// What was asked for.
    pub wanted_scopes: Scopes,
    /// Its state.
    pub state: StoredState,
    /// Rises with every new pair of tokens; a writer that read an older number is refused.
    pub generation: i64,
    /// The access token.
    pub access: Sealed,
    /// The refresh token.
    pub refresh: Sealed,
    /// A keyed hash of the refresh token: tells equal ones without opening them.
    pub refresh_fingerprint: String,
    /// When the access token was received.
    pub obtained_at: Timestamp,
    /// The expiry time of the access token.
    pub expires_at: Timestamp,
    /// The code of the last failed refresh, until one succeeds.
    pub last_error: Option<String>,
    /// The time since which refreshes fail.
    pub error_since: Option<Timestamp>,
    /// When it was first connected.
    pub created_at: Timestamp,
    /// The time of the last authorization by the user.
    pub connected_at: Timestamp,
    /// When the background asks for the account's details, unless they are known.
    pub details_due_at: Option<Timestamp>,
    /// How often they have been asked for in vain.
    pub details_attempts: i64,
}

impl Token {
    /// Until when whoever has made this connection is asking for the account's details. What is known of them before
    /// may be half of it.
    pub(crate) fn details_awaited_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.details_due_at.filter(|due| self.details_attempts == 0 && now < *due)
    }

    /// Returns the scopes that were asked for and not granted; none as long as the granted ones are unknown.
    pub fn missing_scopes(&self) -> Scopes {
        missing(&self.wanted_scopes, self.scopes.as_ref())
    }

    /// Returns the status at a moment.
    pub(crate) fn status_at(&self, now: Timestamp) -> ConnectionStatus {
        match self.state {
            StoredState::Active if self.expires_at <= now => ConnectionStatus::Degraded,
            StoredState::Active => ConnectionStatus::Active,
            StoredState::NeedsReauth => ConnectionStatus::NeedsReauth,
            StoredState::IntegrityError => ConnectionStatus::IntegrityError,
        }
    }
}

/// Returns the wanted scopes that were not granted; none as long as the granted ones are unknown.
pub fn missing(wanted: &Scopes, granted: Option<&Scopes>) -> Scopes {
    granted.map(|granted| wanted.missing_from(granted)).unwrap_or_default()
}

/// When in a token's life it is refreshed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RefreshPolicy {
    /// The earliest fraction of the token's life.
    pub from: f64,
    /// The latest fraction of the token's life.
    pub to: f64,
}

/// Between two refreshes of one connection, whatever HubSpot says of their life.
pub const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(5);

impl RefreshPolicy {
    /// When a token with that life is refreshed. `unit` is a random number in `0.0..1.0`: it spreads the refreshes of
    /// tokens that were born together.
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
    fn a_token_of_thirty_minutes_is_refreshed_between_16_and_21_minutes() {
        let expires = START.plus(Duration::from_secs(1800));
        assert_eq!(POLICY.refresh_at(START, expires, 0.0), START.plus(Duration::from_secs(990)));
        assert!(POLICY.refresh_at(START, expires, 0.999) < START.plus(Duration::from_secs(1260)));
    }

    #[test]
    fn a_token_that_is_dead_on_arrival_makes_no_hot_loop() {
        assert_eq!(POLICY.refresh_at(START, START, 0.0), START.plus(MIN_REFRESH_INTERVAL));
    }
}
