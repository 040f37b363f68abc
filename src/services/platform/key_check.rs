//! Checks that the configured keys open what is stored, before anything is served.

use thiserror::Error;

use crate::domain::clock::Clock;
use crate::keyring::Keyring;
use crate::store::{PlatformStore, StoreError};

/// A failed check of the configured keys.
#[derive(Debug, Error)]
pub enum KeyCheckError {
    /// A key that rows need is missing.
    #[error(
        "ENCRYPTION_KEYS lacks key {key_id}, under which {rows} stored token(s) are sealed; add it behind the newest key. Nothing was changed"
    )]
    Missing {
        /// The key's id.
        key_id: String,
        /// The number of rows that need it.
        rows: i64,
    },
    /// The key does not open what was sealed with the key of the same id: it is another key.
    #[error(
        "the key {0} in ENCRYPTION_KEYS does not open what was sealed under that id. Nothing was changed"
    )]
    Wrong(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks the keys and stores a known text, sealed with each new key, for the next start.
///
/// # Errors
/// [`KeyCheckError`] names the key and the number of rows that need it.
pub async fn check_keys(
    store: &PlatformStore,
    keyring: &Keyring,
    clock: &Clock,
) -> Result<(), KeyCheckError> {
    let known = keyring.key_ids();
    for key_id in store.key_ids_in_use().await? {
        if !known.contains(&key_id.as_str()) {
            let uses = store.keys_in_use().await?.into_iter().find(|(used, _)| *used == key_id);
            let rows = uses.map_or(0, |(_, rows)| rows);
            return Err(KeyCheckError::Missing { key_id, rows });
        }
    }
    for key_id in known {
        match store.check_text(key_id).await? {
            Some(check) if !keyring.passes_check(key_id, &check) => {
                return Err(KeyCheckError::Wrong(key_id.to_owned()));
            }
            Some(_) => {}
            None => {
                let check = keyring.check_text(key_id).unwrap_or_default();
                store.save_check_text(key_id, &check, clock.now()).await?;
            }
        }
    }
    Ok(())
}
