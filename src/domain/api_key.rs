//! ApiKey: what a host's backend shows to be let in, and what it is let in for.

use super::chance::Chance;
use super::clock::Moment;
use super::id::ApiKeyId;
use super::secret::Secret;
use super::words::words;

words! {
    /// What a key is good for.
    pub enum ApiScope: UnknownScope {
        /// `tokens:read`: to borrow access tokens.
        TokensRead = "tokens:read",
        /// `connections:read`: to see connections.
        ConnectionsRead = "connections:read",
        /// `connections:write`: to refresh and end them.
        ConnectionsWrite = "connections:write",
        /// `sessions:write`: to say who is connecting.
        SessionsWrite = "sessions:write",
        /// `proxy`: to call HubSpot through this service.
        Proxy = "proxy",
        /// `webhooks`: to be told what happens.
        Webhooks = "webhooks",
    }
}

/// A word that is no scope of an API key.
#[derive(Debug, thiserror::Error)]
#[error(
    "not a scope; there are tokens:read, connections:read, connections:write, sessions:write, proxy, webhooks"
)]
pub struct UnknownScope;

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
