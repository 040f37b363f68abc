//! Events that start at HubSpot: installs from its Marketplace, uninstalls in its Webhooks Journal.

mod install;
mod journal;

pub use install::{ClaimInstallError, InstallError, Installs};
pub use journal::{Journal, JournalPoll, PollOutcome};

use super::connections::Intake;
use super::pending_grants::PendingGrants;
use super::platform::Base;
use crate::config::Config;

/// Installs and uninstalls that start at HubSpot. Clones share everything.
#[derive(Debug, Clone)]
pub struct Marketplace {
    /// Installs.
    pub(crate) installs: Installs,
    /// Uninstalls.
    pub journal: Journal,
}

impl Marketplace {
    pub(super) fn new(base: &Base, config: &Config, intake: &Intake, pending_grants: &PendingGrants) -> Self {
        Self {
            installs: Installs::new(base, intake, pending_grants, config.marketplace.claim_time),
            journal: Journal::new(base),
        }
    }
}
