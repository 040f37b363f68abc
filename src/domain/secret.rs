//! [`Secret`] and [`Sealed`]: plaintext that cannot be printed, and ciphertext. Only the keyring converts one into the
//! other.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use sea_orm::DeriveValueType;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::random::Random;
use super::text_enum::{UnknownText, not_a_number};

/// A secret in plaintext. It has no `Display`, its `Debug` shows nothing, and its memory is wiped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a plaintext.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Generates 256 random bits in base64url (43 characters): states, cookie values, verifiers.
    pub fn random(random: &Random) -> Self {
        Self::new(URL_SAFE_NO_PAD.encode(random.bytes::<32>()))
    }

    /// Returns the plaintext. Callers should say why they need it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Derives a key for one purpose (HKDF-SHA256, RFC 5869). Knowing one derived key reveals nothing about another.
    pub fn derive<const N: usize>(&self, purpose: &str) -> Zeroizing<[u8; N]> {
        let mut key = Zeroizing::new([0; N]);
        Hkdf::<Sha256>::new(Some(b"hubspot-connect"), self.0.as_bytes())
            .expand(purpose.as_bytes(), &mut key[..])
            .expect("a derived key is shorter than 255 hashes");
        key
    }

    /// Returns the SHA-256 of the secret. Of values that only have to be recognized, the database stores nothing
    /// else.
    pub fn hash(&self) -> Hash {
        Hash(Sha256::digest(self.0.as_bytes()).into())
    }
}

/// A random secret of 32 hexadecimal digits has fewer distinct bytes than this only once in ten million (once in a
/// thousand if the digits are decimal).
const MIN_DISTINCT_BYTES: usize = 8;

/// Returns whether a secret was typed rather than generated at random: it has few distinct bytes, repeats a part of
/// itself, or mostly counts in steps of one size (`aaaa`, `abcabc`, `0123…`).
pub(crate) fn is_guessable(secret: &[u8]) -> bool {
    let distinct: BTreeSet<&u8> = secret.iter().collect();
    let repeats = (1..=secret.len() / 2).any(|period| secret[period..] == secret[..secret.len() - period]);
    let mut steps = [0_usize; 256];
    for pair in secret.windows(2) {
        steps[usize::from(pair[1].wrapping_sub(pair[0]))] += 1;
    }
    distinct.len() < MIN_DISTINCT_BYTES || repeats || steps.iter().any(|count| *count > secret.len() / 2)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// SHA-256 of a secret. Compared in constant time.
#[derive(Debug, Clone, Copy, DeriveValueType)]
#[sea_orm(value_type = "String", from_str = "Hash::stored", to_str = "Hash::text")]
pub struct Hash([u8; 32]);

not_a_number!(Hash);

impl Hash {
    /// Returns the hash as bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the hash in base64url, as the database stores it.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    fn stored(text: &str) -> Result<Self, UnknownText> {
        Self::parse(text).ok_or(UnknownText)
    }

    /// Parses a hash in base64url: 43 characters, in the only valid spelling.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl PartialEq for Hash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Hash {}

/// A secret encrypted under one of the keys: safe to store, useless without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key: the first eight hexadecimal digits of its SHA-256.
    pub key_id: String,
    /// A Fernet token.
    pub ciphertext: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_redacted_when_printed() {
        let secret = Secret::new("hunter2".to_owned());
        assert!(!format!("{secret:?} {:?}", Some(&secret)).contains("hunter2"));
    }

    #[test]
    fn typed_secrets_are_guessable_and_random_ones_are_not() {
        for typed in [
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abababababababababababababababab",
            "change-me-change-me-change-me-change-me",
            "0123456789abcdef0123456789abcdef",
            "01234567890123456789012345678901",
            "abcdefghijklmnopqrstuvwxyzabcdef",
            "zyxwvutsrqponmlkjihgfedcba987654",
            "0000000000000000000000000000secret!",
        ] {
            assert!(is_guessable(typed.as_bytes()), "{typed}");
        }
        let random = Random::seeded(7);
        for _ in 0..10_000 {
            assert!(!is_guessable(Secret::random(&random).expose().as_bytes()));
            let hex: String = random.bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!is_guessable(&hex.as_bytes()[..32]) && !is_guessable(hex.as_bytes()), "{hex}");
        }
    }

    #[test]
    fn hashes_accept_one_spelling() {
        let hash = Secret::new("hunter2".to_owned()).hash();
        let text = hash.text();
        assert_eq!(Hash::parse(&text), Some(hash));
        for bad in ["", &text[..42], &format!("{text}A"), &format!("{text}="), &text.replace(&text[..1], "+")]
        {
            assert_eq!(Hash::parse(bad), None, "{bad}");
        }
        // 43 characters hold two bits more than 32 bytes; they must be zero.
        let other = format!("{}{}", &text[..42], if text.ends_with('B') { 'C' } else { 'B' });
        assert_eq!(Hash::parse(&other), None, "{other}");
    }

    #[test]
    fn random_secrets_have_256_bits() {
        assert_eq!(Secret::random(&Random::system()).expose().len(), 43);
    }
}
