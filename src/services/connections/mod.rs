//! Connections: refresh, access tokens, lists, imports, disconnects.

mod access_token;
mod account_details;
mod backend_token;
mod circuit_breaker;
mod credentials_alarm;
mod disconnect;
mod import;
mod intake;
mod list;
mod read_tokens;
mod refresh;
mod token_seal;
mod uninstall;
mod upkeep;

use std::sync::Arc;

pub use access_token::{Access, AccessError, AccessTokens};
pub use account_details::AccountDetails;
pub use backend_token::{BackendToken, TokenWarning};
pub use circuit_breaker::CircuitBreaker;
pub(super) use disconnect::REVOKE_WAIT;
pub use disconnect::{Disconnected, Disconnects};
pub use import::{Import, ImportError, Imported, Imports};
pub(super) use intake::{GrantedTokens, Intake, Stored, Terms};
pub use list::ConnectionList;
pub use read_tokens::{ReadTokens, Reader};
pub use refresh::Refreshes;
pub(super) use token_seal::open_access;
pub use uninstall::Uninstalls;
pub use upkeep::Upkeep;

use super::platform::Base;
use crate::config::Config;

/// Connections. Clones share everything.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Access tokens for callers that call HubSpot on a connection's behalf.
    pub access_tokens: AccessTokens,
    /// Refreshes of connections.
    pub refreshes: Refreshes,
    /// Reads connections.
    pub list: ConnectionList,
    /// Tokens with which a page reads the connections of a user.
    pub(crate) read_tokens: ReadTokens,
    /// Ends connections.
    pub disconnects: Disconnects,
    /// Uninstalls the app from accounts.
    pub(crate) uninstalls: Uninstalls,
    /// Imports connections.
    pub(crate) imports: Imports,
    /// Details of accounts.
    pub details: AccountDetails,
    /// Changes of connections with time.
    pub upkeep: Upkeep,
    /// The circuit breaker.
    pub(crate) circuit_breaker: Arc<CircuitBreaker>,
    pub(super) intake: Intake,
}

impl Connections {
    pub(super) fn new(base: &Base, config: &Config) -> Self {
        let policy = config.refresh.policy;
        let circuit_breaker = Arc::new(CircuitBreaker::default());
        let details = AccountDetails::new(base);
        let refreshes = Refreshes::new(base, policy, &circuit_breaker);
        let access_tokens =
            AccessTokens::new(base, &circuit_breaker, &refreshes, config.refresh.max_in_flight);
        let disconnects = Disconnects::new(base);
        let intake = Intake::new(base, config, &details);
        Self {
            list: ConnectionList::new(base),
            read_tokens: ReadTokens::new(base),
            uninstalls: Uninstalls::new(base, &access_tokens, &disconnects),
            imports: Imports::new(base, &circuit_breaker, &intake, &details),
            upkeep: Upkeep::new(base, config.security.on_session_expiry),
            intake,
            access_tokens,
            refreshes,
            disconnects,
            details,
            circuit_breaker,
        }
    }
}
