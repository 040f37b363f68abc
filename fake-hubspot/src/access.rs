//! Access tokens that carry their own content, like HubSpot's.
//!
//! They are not stored: a benchmark may refresh for hours without the fake growing, and the access tokens of a revoked
//! grant stay valid until they expire, as at HubSpot.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::random;

const SEAL: usize = 16;
/// 224 bytes are 299 characters of base64; with the leading `C` a token has 300.
const USUAL_LENGTH: usize = 224;
const LEAST_NOISE: usize = 16;

/// The data of an access token, for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// The number of its grant.
    pub grant: u32,
    /// The account.
    pub hub_id: u64,
    /// The time of its expiry, in milliseconds since 1970.
    pub expires_at_ms: i64,
}

/// The content of an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// The number of its grant; zero for a token of the app itself.
    pub grant: u32,
    pub hub_id: u64,
    pub user_id: u64,
    pub expires_at_ms: i64,
    pub scopes: Vec<String>,
}

impl Access {
    /// Writes a unique token, signed with the key.
    pub(crate) fn seal(&self, key: &[u8; 32]) -> String {
        let scopes = self.scopes.join(" ");
        let mut blob = vec![0; SEAL];
        blob.extend(self.grant.to_be_bytes());
        blob.extend(self.hub_id.to_be_bytes());
        blob.extend(self.user_id.to_be_bytes());
        blob.extend(self.expires_at_ms.to_be_bytes());
        let noise = USUAL_LENGTH.saturating_sub(blob.len() + 1 + scopes.len()).clamp(LEAST_NOISE, 255);
        blob.push(u8::try_from(noise).unwrap_or(u8::MAX));
        let noise_from = blob.len();
        blob.resize(noise_from + noise, 0);
        random::fill(&mut blob[noise_from..]);
        blob.extend(scopes.as_bytes());
        let seal = seal(key, &blob[SEAL..]);
        blob[..SEAL].copy_from_slice(&seal);
        format!("C{}", URL_SAFE_NO_PAD.encode(blob))
    }

    /// Reads a token; `None` if this key did not sign it. The caller checks the expiry.
    pub(crate) fn open(key: &[u8; 32], token: &str) -> Option<Access> {
        let blob = URL_SAFE_NO_PAD.decode(token.strip_prefix('C')?).ok()?;
        let (sealed_with, rest) = blob.split_at_checked(SEAL)?;
        if seal(key, rest) != sealed_with {
            return None;
        }
        let (grant, rest) = rest.split_first_chunk()?;
        let (hub_id, rest) = rest.split_first_chunk()?;
        let (user_id, rest) = rest.split_first_chunk()?;
        let (expires_at_ms, rest) = rest.split_first_chunk()?;
        let (noise, rest) = rest.split_first()?;
        let scopes = std::str::from_utf8(rest.get(usize::from(*noise)..)?).ok()?;
        Some(Access {
            grant: u32::from_be_bytes(*grant),
            hub_id: u64::from_be_bytes(*hub_id),
            user_id: u64::from_be_bytes(*user_id),
            expires_at_ms: i64::from_be_bytes(*expires_at_ms),
            scopes: scopes.split_whitespace().map(str::to_owned).collect(),
        })
    }
}

fn seal(key: &[u8; 32], content: &[u8]) -> [u8; SEAL] {
    let digest = Sha256::new().chain_update(key).chain_update(content).finalize();
    let mut seal = [0; SEAL];
    seal.copy_from_slice(&digest[..SEAL]);
    seal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_unique_and_bound_to_their_key() {
        let access = Access {
            grant: 6,
            hub_id: 7,
            user_id: 8,
            expires_at_ms: 9,
            scopes: vec!["oauth".to_owned(), "automation".to_owned()],
        };
        let token = access.seal(&[1; 32]);
        assert_eq!(token.len(), 300);
        assert_ne!(token, access.seal(&[1; 32]));
        assert_eq!(Access::open(&[1; 32], &token), Some(access));
        assert_eq!(Access::open(&[2; 32], &token), None);
        assert_eq!(Access::open(&[1; 32], "C"), None);
    }
}
