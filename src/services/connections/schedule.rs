//! When a connection is refreshed next.

use crate::domain::chance::Chance;
use crate::domain::clock::Moment;
use crate::domain::token::RefreshPolicy;

/// The configured policy, with the unevenness that keeps connections from being refreshed all at once.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    policy: RefreshPolicy,
    chance: Chance,
}

impl Schedule {
    pub fn new(policy: RefreshPolicy, chance: Chance) -> Self {
        Self { policy, chance }
    }

    /// Returns when tokens with this life are refreshed.
    pub fn refresh_at(&self, obtained_at: Moment, expires_at: Moment) -> Moment {
        self.policy.refresh_at(obtained_at, expires_at, self.unit())
    }

    /// Returns a random number from 0 to 1.
    pub fn unit(&self) -> f64 {
        self.chance.unit()
    }
}
