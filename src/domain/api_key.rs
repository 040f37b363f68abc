//! ApiKey: what a host's backend shows to be let in, and what it is let in for.

use std::fmt;
use std::str::FromStr;

use super::chance::Chance;
use super::clock::Moment;
use super::id::ApiKeyId;
use super::secret::Secret;

/// What a key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiScope {
    /// `tokens:read`: to borrow access tokens.
    TokensRead,
    /// `connections:read`: to see connections.
    ConnectionsRead,
    /// `connections:write`: to refresh and end them.
    ConnectionsWrite,
    /// `sessions:write`: to say who is connecting.
    SessionsWrite,
    /// `proxy`: to call HubSpot through this service.
    Proxy,
    /// `webhooks`: to be told what happens.
    Webhooks,
}

impl ApiScope {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::TokensRead,
        Self::ConnectionsRead,
        Self::ConnectionsWrite,
        Self::SessionsWrite,
        Self::Proxy,
        Self::Webhooks,
    ];

    /// The word in the database, the command line and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokensRead => "tokens:read",
            Self::ConnectionsRead => "connections:read",
            Self::ConnectionsWrite => "connections:write",
            Self::SessionsWrite => "sessions:write",
            Self::Proxy => "proxy",
            Self::Webhooks => "webhooks",
        }
    }
}

impl fmt::Display for ApiScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no scope of an API key.
#[derive(Debug, thiserror::Error)]
#[error(
    "not a scope; there are tokens:read, connections:read, connections:write, sessions:write, proxy, webhooks"
)]
pub struct UnknownScope;

impl FromStr for ApiScope {
    type Err = UnknownScope;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word).ok_or(UnknownScope)
    }
}

/// How many keys of one name may be in use at once: the one that is being replaced, and the one that replaces it.
pub const AT_ONCE: usize = 2;

/// A key, but for its secret.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// What the operator calls it; two keys of one name may be in use at once.
    pub name: String,
    /// What it is good for.
    pub scopes: Vec<ApiScope>,
    /// When it was made.
    pub created_at: Moment,
    /// When it was last used, give or take a minute.
    pub last_used_at: Option<Moment>,
    /// When it was revoked.
    pub revoked_at: Option<Moment>,
}

impl ApiKey {
    /// The first characters of the key, by which people and secret scanners know it.
    pub fn prefix(&self) -> String {
        prefix(self.id)
    }

    /// Whether it is good for this.
    pub fn may(&self, scope: ApiScope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// A fresh key: its prefix, and 256 random bits.
pub fn new_key(id: ApiKeyId, chance: &Chance) -> Secret {
    Secret::new(format!("{}_{}", prefix(id), Secret::random(chance).expose()))
}

fn prefix(id: ApiKeyId) -> String {
    format!("hsc_key_{}", &id.uuid().simple().to_string()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_prefix_and_holds_256_bits_behind_it() {
        let chance = Chance::seeded(1);
        let id = ApiKeyId::random(&chance);
        let key = new_key(id, &chance);
        assert!(key.expose().starts_with(&prefix(id)));
        assert_eq!(key.expose().len(), "hsc_key_12345678_".len() + 43);
        assert_ne!(key.hash(), new_key(id, &chance).hash());
    }

    #[test]
    fn every_scope_is_read_as_it_is_written() {
        for scope in ApiScope::ALL {
            assert_eq!(scope.as_str().parse::<ApiScope>().ok(), Some(scope));
        }
        assert!("tokens".parse::<ApiScope>().is_err());
    }
}
