//! Fernet keys, newest first. Only the keyring turns a [`Secret`] into a [`Sealed`] and back.
//!
//! The sealed text contains the identity of its row (kind, row id, generation, app). A ciphertext that is moved to
//! another row, or restored from an older generation of its own row, therefore does not open. The format is plain
//! Fernet around JSON, so any Fernet tool can decrypt it with the key in an emergency.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use fernet::Fernet;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::domain::clock::Timestamp;
use crate::domain::external::ExternalUserId;
use crate::domain::id::FlowId;
use crate::domain::project::ProjectId;
use crate::domain::secret::{Sealed, Secret, is_guessable};

/// The prefix of read tokens.
const READ_TOKEN: &str = "hsc_read_";

/// The row that a ciphertext belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context<'a> {
    /// The kind of secret: `access`, `refresh`, `pkce`.
    pub kind: &'static str,
    /// The id of the row.
    pub row: &'a str,
    /// The row's generation; zero where rows have none.
    pub generation: i64,
    /// The HubSpot app.
    pub client_id: &'a str,
}

/// The reason a ciphertext cannot be opened.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum OpenError {
    /// The ciphertext was sealed under a key that is not in ENCRYPTION_KEYS.
    #[error("encrypted with key {0}, which is not in ENCRYPTION_KEYS")]
    UnknownKey(String),
    /// The ciphertext was changed or truncated.
    #[error("cannot be decrypted with its key")]
    Damaged,
    /// The ciphertext decrypts, but belongs to another row or another generation.
    #[error("belongs to another row or another generation")]
    Misplaced,
}

/// The reason a key is rejected.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// Not 32 bytes in base64url.
    #[error(
        "is not a Fernet key (32 bytes in base64url, 44 characters); `hubspot-connect keys generate` prints one"
    )]
    NotAKey,
    /// The key is published or guessable.
    #[error("is a sample or follows a pattern; `hubspot-connect keys generate` prints one")]
    Sample,
    /// No key is configured.
    #[error("is empty; `hubspot-connect keys generate` prints one")]
    None,
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    v: u8,
    t: &'a str,
    c: &'a str,
    g: i64,
    k: &'a str,
    s: &'a str,
}

struct Key {
    id: String,
    fernet: Fernet,
}

/// The encryption keys, and the keys derived from APP_SECRET for fingerprints, pickup codes and read tokens.
pub struct Keyring {
    newest: Key,
    older: BTreeMap<String, Fernet>,
    fingerprint_key: Zeroizing<[u8; 32]>,
    pickup_code_key: Zeroizing<[u8; 32]>,
    read_token_key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("key_ids", &self.key_ids()).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Builds a keyring of `keys`, newest first, with fingerprints keyed by `app_secret`.
    ///
    /// # Errors
    /// [`KeyError`] if a key is invalid, published or guessable.
    pub fn new(keys: &[Secret], app_secret: &Secret) -> Result<Self, KeyError> {
        let mut keys = keys.iter().map(read_key).collect::<Result<Vec<_>, _>>()?.into_iter();
        let newest = keys.next().ok_or(KeyError::None)?;
        let older = keys.map(|key| (key.id, key.fernet)).collect();
        Ok(Self {
            newest,
            older,
            fingerprint_key: app_secret.derive("fingerprint"),
            pickup_code_key: app_secret.derive("pickup code"),
            read_token_key: app_secret.derive("read token"),
        })
    }

    /// Returns the id of the key that seals.
    pub fn newest_key_id(&self) -> &str {
        &self.newest.id
    }

    /// Returns the ids of all keys, the newest first.
    pub(crate) fn key_ids(&self) -> Vec<&str> {
        std::iter::once(self.newest.id.as_str()).chain(self.older.keys().map(String::as_str)).collect()
    }

    /// Seals a secret for its row under the newest key.
    pub fn seal(&self, secret: &Secret, context: Context<'_>) -> Sealed {
        let envelope = Envelope {
            v: 1,
            t: context.kind,
            c: context.row,
            g: context.generation,
            k: context.client_id,
            s: secret.expose(),
        };
        let plain = Zeroizing::new(serde_json::to_vec(&envelope).unwrap_or_default());
        Sealed { key_id: self.newest.id.clone(), ciphertext: self.newest.fernet.encrypt(&plain) }
    }

    /// Opens a ciphertext that was sealed for this row.
    ///
    /// # Errors
    /// [`OpenError`] if the key is missing, or the ciphertext is damaged or belongs to another row.
    pub fn open(&self, sealed: &Sealed, context: Context<'_>) -> Result<Secret, OpenError> {
        let fernet = self.key(&sealed.key_id).ok_or_else(|| OpenError::UnknownKey(sealed.key_id.clone()))?;
        // Fernet rejects tokens from more than a minute ahead of the reader's clock. For data at rest, a replica with a
        // slow clock would then report good tokens as damaged, so the timestamp inside is ignored.
        let plain = fernet
            .decrypt_at_time(&sealed.ciphertext, None, u64::MAX / 2)
            .map(Zeroizing::new)
            .map_err(|_| OpenError::Damaged)?;
        let envelope: OwnedEnvelope = serde_json::from_slice(&plain).map_err(|_| OpenError::Damaged)?;
        let secret = Secret::new(envelope.s);
        let same_place = envelope.t.as_bytes().ct_eq(context.kind.as_bytes())
            & envelope.c.as_bytes().ct_eq(context.row.as_bytes())
            & envelope.k.as_bytes().ct_eq(context.client_id.as_bytes())
            & envelope.g.ct_eq(&context.generation);
        if bool::from(same_place) { Ok(secret) } else { Err(OpenError::Misplaced) }
    }

    /// Returns a keyed hash, which identifies equal tokens without opening them and is useless without APP_SECRET.
    pub fn fingerprint(&self, secret: &Secret) -> String {
        URL_SAFE_NO_PAD
            .encode(keyed(&self.fingerprint_key, secret.expose().as_bytes()).finalize().into_bytes())
    }

    /// Returns the pickup code that can be exchanged for the access token of a flow until that time. It is a MAC over
    /// both, so nothing is stored.
    pub fn pickup_code(&self, flow: FlowId, until: Timestamp) -> String {
        let until = until.unix_ms();
        let mac = keyed(&self.pickup_code_key, format!("{flow} {until}").as_bytes()).finalize().into_bytes();
        format!("{until}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    /// Returns whether this is an unexpired pickup code of that flow.
    pub fn is_pickup_code(&self, flow: FlowId, code: &str, now: Timestamp) -> bool {
        let Some((until, mac)) = code.split_once('.') else { return false };
        let (Ok(until), Ok(mac)) = (until.parse::<i64>(), URL_SAFE_NO_PAD.decode(mac)) else { return false };
        let good =
            keyed(&self.pickup_code_key, format!("{flow} {until}").as_bytes()).verify_slice(&mac).is_ok();
        good && now < Timestamp::from_unix_ms(until)
    }

    /// Returns a read token for a user of a project. It names both and when it expires, so nothing is stored.
    pub fn read_token(&self, project: &ProjectId, user: &ExternalUserId, until: Timestamp) -> Secret {
        let claims = format!("{} {project} {user}", until.unix_ms());
        let mac = keyed(&self.read_token_key, claims.as_bytes()).finalize().into_bytes();
        let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        Secret::new(format!("{READ_TOKEN}{}.{}", encoded(claims.as_bytes()), encoded(&mac)))
    }

    /// Returns the project and the user of a read token and when it expires; `None` if it is invalid or has expired.
    pub fn reader(&self, token: &Secret, now: Timestamp) -> Option<(ProjectId, ExternalUserId, Timestamp)> {
        let (claims, mac) = token.expose().strip_prefix(READ_TOKEN)?.split_once('.')?;
        let (claims, mac) = (URL_SAFE_NO_PAD.decode(claims).ok()?, URL_SAFE_NO_PAD.decode(mac).ok()?);
        keyed(&self.read_token_key, &claims).verify_slice(&mac).ok()?;
        let (until, whose) = std::str::from_utf8(&claims).ok()?.split_once(' ')?;
        let (project, user) = whose.split_once(' ')?;
        let until = Timestamp::from_unix_ms(until.parse().ok()?);
        Some((project.parse().ok()?, user.parse().ok()?, until)).filter(|_| now < until)
    }

    /// Returns a known text encrypted under one key, to be stored beside the data.
    pub(crate) fn check_text(&self, key_id: &str) -> Option<String> {
        self.key(key_id).map(|fernet| fernet.encrypt(check_plaintext(key_id).as_bytes()))
    }

    /// Returns whether a stored check text opens under the configured key with this id.
    pub(crate) fn passes_check(&self, key_id: &str, check: &str) -> bool {
        self.key(key_id)
            .and_then(|fernet| fernet.decrypt_at_time(check, None, u64::MAX / 2).ok())
            .is_some_and(|plain| plain == check_plaintext(key_id).as_bytes())
    }

    /// Generates a key in the format of ENCRYPTION_KEYS.
    pub fn generate() -> Secret {
        Secret::new(Fernet::generate_key())
    }

    fn key(&self, id: &str) -> Option<&Fernet> {
        if id == self.newest.id { Some(&self.newest.fernet) } else { self.older.get(id) }
    }
}

#[derive(Deserialize)]
struct OwnedEnvelope {
    t: String,
    c: String,
    g: i64,
    k: String,
    s: String,
}

fn keyed(key: &[u8; 32], text: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac
}

fn check_plaintext(key_id: &str) -> String {
    format!("hubspot-connect check of {key_id}")
}

/// Published keys: from Fernet's specification and from a widely copied Airflow configuration.
const SAMPLES: [&str; 2] =
    ["cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=", "46BKJoQYlPPOexq0OhDZnIlNepKFf87WFwLbfzqDDho="];

fn read_key(key: &Secret) -> Result<Key, KeyError> {
    let text = key.expose().trim();
    let bytes = Zeroizing::new(decode(text).ok_or(KeyError::NotAKey)?);
    // The key may also be typed text that happens to be base64: all zeros, `abcd…`.
    if SAMPLES.contains(&text) || is_guessable(&bytes) || is_guessable(text.trim_end_matches('=').as_bytes())
    {
        return Err(KeyError::Sample);
    }
    let fernet = Fernet::new(text).ok_or(KeyError::NotAKey)?;
    let digest = Sha256::digest(&bytes[..]);
    let id = digest[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Key { id, fernet })
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let bytes = URL_SAFE.decode(text).ok()?;
    (bytes.len() == 32).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, prop_assume, prop_oneof, proptest};
    use proptest::sample::{Index, select};
    use proptest::strategy::{Just, Strategy};

    use super::*;

    const HERE: Context<'static> = Context { kind: "refresh", row: "row-1", generation: 3, client_id: "app" };

    fn keyring(keys: &[&Secret]) -> Keyring {
        let keys: Vec<Secret> = keys.iter().map(|key| (*key).clone()).collect();
        Keyring::new(&keys, &Secret::new("application secret".into())).expect("good keys")
    }

    #[test]
    fn ciphertexts_are_bound_to_their_row() {
        let ring = keyring(&[&Keyring::generate()]);
        let sealed = ring.seal(&Secret::new("na1-token".into()), HERE);
        assert_eq!(ring.open(&sealed, HERE).expect("opens").expose(), "na1-token");
        for elsewhere in [
            Context { kind: "access", ..HERE },
            Context { row: "row-2", ..HERE },
            Context { generation: 2, ..HERE },
            Context { client_id: "other", ..HERE },
        ] {
            assert_eq!(ring.open(&sealed, elsewhere).err(), Some(OpenError::Misplaced));
        }
    }

    #[test]
    fn older_keys_decrypt_and_missing_keys_are_named() {
        let (old, new) = (Keyring::generate(), Keyring::generate());
        let sealed = keyring(&[&old]).seal(&Secret::new("x".into()), HERE);
        assert!(keyring(&[&new, &old]).open(&sealed, HERE).is_ok());
        assert_eq!(keyring(&[&new]).open(&sealed, HERE).err(), Some(OpenError::UnknownKey(sealed.key_id)));
    }

    #[test]
    fn pickup_codes_are_bound_to_their_flow_and_expire() {
        let ring = keyring(&[&Keyring::generate()]);
        let (random, until) = (crate::domain::random::Random::seeded(1), Timestamp::from_unix_ms(60_000));
        let (flow, other) = (FlowId::random(&random), FlowId::random(&random));
        let code = ring.pickup_code(flow, until);
        assert!(ring.is_pickup_code(flow, &code, Timestamp::from_unix_ms(59_999)));
        assert!(!ring.is_pickup_code(flow, &code, until));
        assert!(!ring.is_pickup_code(other, &code, Timestamp::from_unix_ms(0)));
        let longer = code.replacen("60000", "90000", 1);
        for bad in ["", ".", "60000.", "60000", longer.as_str(), &code[..code.len() - 1]] {
            assert!(!ring.is_pickup_code(flow, bad, Timestamp::from_unix_ms(0)), "{bad}");
        }
    }

    #[test]
    fn read_tokens_name_their_user_until_they_expire() {
        let ring = keyring(&[&Keyring::generate()]);
        let (user, until) = ("Anna Smith 42".parse().expect("an id"), Timestamp::from_unix_ms(60_000));
        let project = ProjectId::default();
        let token = ring.read_token(&project, &user, until);
        let reader = Some((project.clone(), user.clone(), until));
        assert_eq!(ring.reader(&token, Timestamp::from_unix_ms(59_999)), reader);
        assert_eq!(ring.reader(&token, until), None);
        let other =
            Keyring::new(&[Keyring::generate()], &Secret::new("another secret".into())).expect("good");
        assert_eq!(other.reader(&token, Timestamp::from_unix_ms(0)), None);
        let longer = ring.read_token(&project, &user, Timestamp::from_unix_ms(90_000));
        let claims = |token: &Secret| token.expose().split_once('.').expect("two parts").0.to_owned();
        let forged = token.expose().replace(&claims(&token), &claims(&longer));
        for bad in ["", ".", "hsc_read_", "hsc_read_.", forged.as_str(), &token.expose()[..60]] {
            assert_eq!(ring.reader(&Secret::new(bad.into()), Timestamp::from_unix_ms(0)), None, "{bad}");
        }
    }

    #[test]
    fn every_flipped_byte_is_detected() {
        let ring = keyring(&[&Keyring::generate()]);
        let sealed = ring.seal(&Secret::new("x".into()), HERE);
        for at in 0..sealed.ciphertext.len() - 2 {
            let mut bytes = sealed.ciphertext.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let flipped = Sealed { ciphertext: String::from_utf8(bytes).expect("ascii"), ..sealed.clone() };
            assert_eq!(ring.open(&flipped, HERE).err(), Some(OpenError::Damaged), "byte {at}");
        }
    }

    #[test]
    fn tokens_of_a_fast_clock_are_accepted() {
        let key = Keyring::generate();
        let ring = keyring(&[&key]);
        let envelope = br#"{"v":1,"t":"refresh","c":"row-1","g":3,"k":"app","s":"x"}"#;
        let ahead = Fernet::new(key.expose()).expect("a key").encrypt_at_time(envelope, 4_000_000_000);
        let sealed = Sealed { key_id: ring.newest_key_id().to_owned(), ciphertext: ahead };
        assert!(ring.open(&sealed, HERE).is_ok());
    }

    /// Returns whether a ciphertext opens here.
    fn opens(ring: &Keyring, ciphertext: String) -> bool {
        ring.open(&Sealed { key_id: ring.newest_key_id().to_owned(), ciphertext }, HERE).is_ok()
    }

    /// Returns envelopes that an attacker with the key might have sealed for other rows.
    fn envelope() -> impl Strategy<Value = (String, String, i64, String)> {
        let text = |here: &'static str| prop_oneof![Just(here.to_owned()), any::<String>()];
        (
            text(HERE.kind),
            text(HERE.row),
            prop_oneof![Just(HERE.generation), any::<i64>()],
            text(HERE.client_id),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn altered_ciphertexts_do_not_decrypt(
            at in any::<Index>(),
            length in 0..4_usize,
            instead in prop_oneof!["[A-Za-z0-9_=-]{0,4}", select(vec!["\0", "\n", " ", "=", "+", "/"]).prop_map(str::to_owned), any::<String>()],
        ) {
            let ring = keyring(&[&Keyring::generate()]);
            let sealed = ring.seal(&Secret::new("na1-token".into()), HERE).ciphertext;
            let at = at.index(sealed.len() + 1);
            let mut other = sealed.clone();
            other.replace_range(at..sealed.len().min(at + length), &instead);
            // Base64 without its padding encodes the same bytes.
            let bytes = |text: &str| text.trim_end_matches('=').to_owned();
            prop_assume!(other == sealed || bytes(&other) != bytes(&sealed));
            prop_assert_eq!(opens(&ring, other.clone()), other == sealed, "{}", other);
        }

        #[test]
        fn envelopes_are_bound_to_their_place((kind, row, generation, client_id) in envelope(), secret in any::<String>()) {
            let ring = keyring(&[&Keyring::generate()]);
            let plain = Envelope { v: 1, t: &kind, c: &row, g: generation, k: &client_id, s: &secret };
            let plain = serde_json::to_vec(&plain).expect("JSON");
            let here = (kind.as_str(), row.as_str(), generation, client_id.as_str());
            let is_here = here == (HERE.kind, HERE.row, HERE.generation, HERE.client_id);
            prop_assert_eq!(opens(&ring, ring.newest.fernet.encrypt(&plain)), is_here);
        }

        #[test]
        fn malformed_envelopes_are_refused(at in any::<Index>(), instead in any::<Vec<u8>>()) {
            let ring = keyring(&[&Keyring::generate()]);
            let whole = br#"{"v":1,"t":"refresh","c":"row-1","g":3,"k":"app","s":""}"#;
            let cut = &whole[..at.index(whole.len())];
            for plain in [instead.clone(), [cut, &instead].concat(), cut.to_vec()] {
                let is_whole = serde_json::from_slice::<OwnedEnvelope>(&plain).is_ok();
                prop_assert_eq!(opens(&ring, ring.newest.fernet.encrypt(&plain)), is_whole);
            }
        }
    }

    #[test]
    fn duplicate_fields_and_malformed_numbers_do_not_decrypt() {
        let ring = keyring(&[&Keyring::generate()]);
        for plain in [
            r#"{"v":1,"t":"refresh","c":"row-2","c":"row-1","g":3,"k":"app","s":"x"}"#,
            r#"{"v":1,"t":"refresh","c":"row-1","g":3.0,"k":"app","s":"x"}"#,
            r#"{"v":1,"t":"refresh","c":"row-1","g":"3","k":"app","s":"x"}"#,
            r#"{"v":1,"t":"refresh","c":"row-1","g":9223372036854775808,"k":"app","s":"x"}"#,
            r#"{"v":1,"t":"refresh","c":"row-1","g":3,"k":"app"}"#,
            r#"{"v":1,"t":"refresh","c":"row-1","g":3,"k":"app","s":null}"#,
            r#"{"v":1,"t":"refresh","c":"row-1","g":3,"k":"app","s":"x"} x"#,
        ] {
            assert!(!opens(&ring, ring.newest.fernet.encrypt(plain.as_bytes())), "{plain}");
        }
    }

    #[test]
    fn bad_keys_and_sample_keys_are_refused() {
        let secret = Secret::new("s".into());
        let read = |key: &str| Keyring::new(&[Secret::new(key.to_owned())], &secret).err();
        assert_eq!(read("short"), Some(KeyError::NotAKey));
        let encoded = |bytes: &[u8; 32]| URL_SAFE.encode(bytes);
        for sample in [
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=",
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ=",
            &encoded(&std::array::from_fn(|at| at as u8)),
            &encoded(&std::array::from_fn(|at| 255 - at as u8)),
            &encoded(b"0123456789abcdef0123456789abcdef"),
            &encoded(b"abcdefghijklmnopqrstuvwxyz012345"),
            &encoded(b"changeme-changeme-changeme-chang"),
        ] {
            assert_eq!(read(sample), Some(KeyError::Sample), "{sample}");
        }
        for _ in 0..1000 {
            assert_eq!(read(Keyring::generate().expose()), None);
        }
        assert_eq!(Keyring::new(&[], &secret).err(), Some(KeyError::None));
    }
}
