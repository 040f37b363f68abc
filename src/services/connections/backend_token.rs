//! Returns access tokens to a host's backend, with warnings about them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::access_token::{AccessError, AccessTokens, open_row};
use crate::domain::clock::Timestamp;
use crate::domain::id::ConnectionId;
use crate::domain::scopes::Scopes;
use crate::domain::secret::Secret;
use crate::keyring::Keyring;
use crate::store::AccessRow;

/// A warning about an access token.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TokenWarning {
    /// The token expires sooner than requested, because it could not be refreshed.
    ExpiresSoon,
    /// The account has not granted all requested scopes.
    ScopesMissing(Scopes),
    /// The last refreshes have failed.
    RefreshFailing {
        /// The code of the last failed refresh.
        code: String,
        /// The time of the first failure since the last success.
        since: Option<Timestamp>,
    },
    /// HubSpot has not returned the account yet.
    PortalUnknown,
}

/// An access token for a backend, still sealed: a backend that has it already does not need it again.
#[derive(Debug)]
pub struct BackendToken {
    keyring: Arc<Keyring>,
    row: Arc<AccessRow>,
    /// The remaining lifetime.
    pub expires_in: Duration,
    /// The time for which the backend may use the token before it asks again: after that, less than `min_ttl` is left.
    pub fresh_for: Duration,
    /// Warnings about the token.
    pub warnings: Vec<TokenWarning>,
}

impl AccessTokens {
    /// Returns the access token of a connection, with at least `min_ttl` left if possible, otherwise with a warning.
    /// During an outage of HubSpot it is returned for as long as it is valid.
    ///
    /// # Errors
    /// [`AccessError`] names the reason, and when to retry.
    pub async fn get(&self, id: ConnectionId, min_ttl: Duration) -> Result<BackendToken, AccessError> {
        let row = self.valid_row(id, min_ttl).await?;
        let left = row.expires_at.since(self.0.clock.now());
        let warnings = warnings(&row, left < min_ttl);
        let fresh_for = left.saturating_sub(min_ttl);
        Ok(BackendToken { keyring: Arc::clone(&self.0.keyring), row, expires_in: left, fresh_for, warnings })
    }
}

impl BackendToken {
    /// Returns the id of the connection.
    pub fn connection(&self) -> ConnectionId {
        self.row.id
    }

    /// Opens the token.
    ///
    /// # Errors
    /// [`AccessError::Unreadable`] if the stored token cannot be opened.
    pub fn open(&self) -> Result<Secret, AccessError> {
        open_row(&self.keyring, &self.row)
    }

    /// Returns the time at which the token expires.
    pub fn expires_at(&self) -> Timestamp {
        self.row.expires_at
    }

    /// Returns the generation of the connection's tokens, which rises with every refresh.
    pub fn generation(&self) -> i64 {
        self.row.generation
    }

    /// Returns the granted scopes; `None` until HubSpot has returned them.
    pub fn scopes(&self) -> Option<&Scopes> {
        self.row.scopes.as_ref()
    }

    /// Returns a hash of the token and all that is returned with it, except for the remaining lifetime.
    pub fn version_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.row.id, self.row.generation, self.row.expires_at).hash(&mut hasher);
        (&self.row.scopes, &self.warnings).hash(&mut hasher);
        hasher.finish()
    }

    /// Returns whether the token expires sooner than requested.
    pub fn is_short(&self) -> bool {
        self.warnings.contains(&TokenWarning::ExpiresSoon)
    }
}

fn warnings(row: &AccessRow, is_short: bool) -> Vec<TokenWarning> {
    let mut warnings = Vec::new();
    if is_short {
        warnings.push(TokenWarning::ExpiresSoon);
    }
    if !row.missing_scopes.is_empty() {
        warnings.push(TokenWarning::ScopesMissing(row.missing_scopes.clone()));
    }
    if let Some(code) = &row.last_error {
        warnings.push(TokenWarning::RefreshFailing { code: code.clone(), since: row.error_since });
    }
    if row.portal_id.is_none() {
        warnings.push(TokenWarning::PortalUnknown);
    }
    warnings
}
