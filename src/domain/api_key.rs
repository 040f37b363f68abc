//! API keys, with which the host's backend authenticates, and their scopes.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use sea_orm::DeriveValueType;

use super::id::ApiKeyId;
use super::random::Random;
use super::secret::Secret;
use super::text_enum::text_enum;

text_enum! {
    /// A scope of an API key.
    pub enum ApiScope: UnknownScope {
        /// `tokens:read`: to get access tokens.
        TokensRead = "tokens:read",
        /// `connections:read`: to list and read connections.
        ConnectionsRead = "connections:read",
        /// `connections:write`: to refresh and disconnect them.
        ConnectionsWrite = "connections:write",
        /// `sessions:write`: to create connect sessions for the host's users.
        SessionsWrite = "sessions:write",
        /// `proxy`: to call HubSpot through this service.
        Proxy = "proxy",
        /// `webhooks`: to manage webhook endpoints.
        Webhooks = "webhooks",
    }
}

/// Text that is not a scope of an API key.
#[derive(Debug, thiserror::Error)]
#[error(
    "not a scope; there are tokens:read, connections:read, connections:write, sessions:write, proxy, webhooks"
)]
pub struct UnknownScope;

/// The number of valid keys that may share a name: the current one and its replacement.
pub const MAX_KEYS_PER_NAME: usize = 2;

/// The scopes of a key.
#[derive(Debug, Clone, PartialEq, Eq, DeriveValueType)]
#[sea_orm(value_type = "String")]
pub struct ApiScopes(pub Vec<ApiScope>);

impl fmt::Display for ApiScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "))
    }
}

impl FromStr for ApiScopes {
    type Err = Infallible;

    /// Skips unknown scopes, which a later release may have stored.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.split_whitespace().filter_map(|word| word.parse().ok()).collect()))
    }
}

/// Generates a key: its prefix and 256 random bits.
pub fn new_key(id: ApiKeyId, random: &Random) -> Secret {
    Secret::new(format!("{}_{}", prefix(id), Secret::random(random).expose()))
}

/// Returns the first characters of the key with this id.
pub fn prefix(id: ApiKeyId) -> String {
    format!("hsc_key_{}", &id.uuid().simple().to_string()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_keys_have_a_prefix_and_256_random_bits() {
        let random = Random::seeded(1);
        let id = ApiKeyId::random(&random);
        let key = new_key(id, &random);
        assert!(key.expose().starts_with(&prefix(id)));
        assert_eq!(key.expose().len(), "hsc_key_12345678_".len() + 43);
        assert_ne!(key.hash(), new_key(id, &random).hash());
    }
}
