//! Lends an access token to a host's backend, and says all that speaks against relying on it.

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

/// What a backend should know about a token that it borrows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TokenWarning {
    /// It lives for less than was asked for, because it could not be renewed.
    ExpiresSoon,
    /// The account has not granted all that was asked for.
    ScopesMissing(Scopes),
    /// Renewals fail, with this code and since then.
    RefreshFailing {
        /// The code of the last failed refresh.
        code: String,
        /// The first failure since the last success.
        since: Option<Timestamp>,
    },
    /// HubSpot has not said yet which account it is for.
    PortalUnknown,
}

/// An access token that is lent, still sealed: who has it already needs it no second time.
#[derive(Debug)]
pub struct BackendToken {
    keyring: Arc<Keyring>,
    row: Arc<AccessRow>,
    /// How long it still lives.
    pub expires_in: Duration,
    /// For how long it may be kept and used without asking again: then less than was asked for is left.
    pub fresh_for: Duration,
    /// What speaks against relying on it.
    pub warnings: Vec<TokenWarning>,
}

impl AccessTokens {
    /// Lends the access token of a connection, with at least `min_ttl` left if that can be had; if not, a warning says
    /// so. It is lent through an outage of HubSpot for as long as it works.
    ///
    /// # Errors
    /// [`AccessError`] says why there is none, and when to ask again.
    pub async fn get(&self, id: ConnectionId, min_ttl: Duration) -> Result<BackendToken, AccessError> {
        let row = self.valid_row(id, min_ttl).await?;
        let left = row.expires_at.since(self.0.clock.now());
        let warnings = warnings(&row, left < min_ttl);
        let fresh_for = left.saturating_sub(min_ttl);
        Ok(BackendToken { keyring: Arc::clone(&self.0.keyring), row, expires_in: left, fresh_for, warnings })
    }
}

impl BackendToken {
    /// The connection.
    pub fn connection(&self) -> ConnectionId {
        self.row.id
    }

    /// The token itself.
    ///
    /// # Errors
    /// [`AccessError::Unreadable`] if what is stored does not open.
    pub fn open(&self) -> Result<Secret, AccessError> {
        open_row(&self.keyring, &self.row)
    }

    /// When the token expires.
    pub fn expires_at(&self) -> Timestamp {
        self.row.expires_at
    }

    /// The generation of the connection's tokens: it rises with every renewal.
    pub fn generation(&self) -> i64 {
        self.row.generation
    }

    /// The granted scopes; unknown until HubSpot has named them.
    pub fn scopes(&self) -> Option<&Scopes> {
        self.row.scopes.as_ref()
    }

    /// Stands for the token and all that is said about it, but for the time that passes.
    pub fn version_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.row.id, self.row.generation, self.row.expires_at).hash(&mut hasher);
        (&self.row.scopes, &self.warnings).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether it lives for less than was asked for.
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
