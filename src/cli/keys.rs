//! `keys generate|status|rotate|retire|give-up`: creates keys, shows which are in use, re-encrypts with the newest,
//! retires the oldest, gives up a lost one.

use std::process::ExitCode;

use clap::Subcommand;
use indicatif::ProgressBar;

use super::{Failure, configured, print_line, runtime, with_store};
use crate::domain::clock::Clock;
use crate::domain::random::Random;
use crate::domain::secret::Secret;
use crate::keyring::Keyring;
use crate::services::{Resealed, reseal_all};
use crate::store::{Database, Store};

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Print a new encryption key and a new application secret, as lines for `.env`.
    Generate,
    /// Show how many stored tokens each key encrypts.
    Status,
    /// Re-encrypt every stored token with the newest key. The service may keep running.
    Rotate,
    /// Check whether a key may be removed from ENCRYPTION_KEYS.
    Retire {
        /// The key's id, as `keys status` shows it.
        key: String,
    },
    /// Give up a key that is permanently lost: the users of its connections must reconnect.
    GiveUp {
        /// The key's id, as `keys status` shows it.
        key: String,
        /// Confirm that the key is lost.
        #[arg(long)]
        accept_key_loss: bool,
    },
}

impl Keys {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        match self {
            Self::Generate => {
                print_line(format_args!("ENCRYPTION_KEYS={}", Keyring::generate().expose()));
                print_line(format_args!("APP_SECRET={}", Secret::random(&Random::system()).expose()));
                Ok(ExitCode::SUCCESS)
            }
            Self::Status => status(),
            Self::Rotate => rotate(),
            Self::Retire { key } => retire(key),
            Self::GiveUp { key, accept_key_loss } => give_up(key, *accept_key_loss),
        }
    }
}

fn status() -> Result<ExitCode, Failure> {
    let config = configured()?;
    let keyring = Keyring::new(&config.security.encryption_keys, &config.security.app_secret)?;
    with_store(&config, async |store| {
        let used = store.platform.keys_in_use().await?;
        for id in keyring.key_ids() {
            let rows = used.iter().find(|(used, _)| used == id).map_or(0, |(_, rows)| *rows);
            let role = if id == keyring.newest_key_id() { "encrypts" } else { "decrypts" };
            print_line(format_args!("{id}  {role}  {rows} stored token(s)"));
        }
        let missing = used.iter().filter(|(id, _)| !keyring.key_ids().contains(&id.as_str()));
        let mut code = ExitCode::SUCCESS;
        for (id, rows) in missing {
            print_line(format_args!("{id}  MISSING from ENCRYPTION_KEYS  {rows} stored token(s)"));
            code = ExitCode::FAILURE;
        }
        Ok(code)
    })
}

fn rotate() -> Result<ExitCode, Failure> {
    let config = configured()?;
    let keyring = Keyring::new(&config.security.encryption_keys, &config.security.app_secret)?;
    let newest = keyring.newest_key_id();
    let (done, left) = with_store(&config, async |store| {
        let bar = ProgressBar::new(rows_under_others(store, newest).await?);
        let done = reseal_all(&store.platform, &keyring, |done| bar.set_position(done.moved)).await?;
        bar.finish_and_clear();
        Ok((done, rows_under_others(store, newest).await?))
    })?;
    let Resealed { moved, changed, keyless, unreadable } = done;
    print_line(format_args!("{moved} row(s) re-encrypted with {newest}; {left} are not"));
    for (count, why) in [
        (changed, "have changed in the meantime; run the command again"),
        (keyless, "are encrypted with a key that ENCRYPTION_KEYS lacks; see `keys status`"),
        (unreadable, "cannot be decrypted with their key; their users must reconnect"),
    ] {
        if count > 0 {
            print_line(format_args!("{count} of them {why}"));
        }
    }
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn rows_under_others(store: &Store, newest: &str) -> Result<u64, Failure> {
    let used = store.platform.keys_in_use().await?;
    let rows: i64 = used.iter().filter(|(id, _)| id != newest).map(|(_, rows)| rows).sum();
    Ok(u64::try_from(rows)?)
}

fn retire(key: &str) -> Result<ExitCode, Failure> {
    let config = configured()?;
    let keyring = Keyring::new(&config.security.encryption_keys, &config.security.app_secret)?;
    if key == keyring.newest_key_id() {
        return Err(format!("{key} is the newest key: put a new one before it first").into());
    }
    if !keyring.key_ids().contains(&key) {
        return Err(format!("ENCRYPTION_KEYS has no key {key}; `keys status` lists its keys").into());
    }
    with_store(&config, async |store| {
        let used = store.platform.keys_in_use().await?;
        if let Some((_, rows)) = used.iter().find(|(id, _)| id == key) {
            return Err(format!("{rows} row(s) are encrypted with {key}; run `keys rotate` first").into());
        }
        store.platform.forget_check_text(key).await?;
        print_line(format_args!(
            "nothing is encrypted with {key}: remove it from ENCRYPTION_KEYS; backups still need it"
        ));
        Ok(ExitCode::SUCCESS)
    })
}

fn give_up(key: &str, accept_key_loss: bool) -> Result<ExitCode, Failure> {
    let config = configured()?;
    let keyring = Keyring::new(&config.security.encryption_keys, &config.security.app_secret)?;
    if keyring.key_ids().contains(&key) {
        return Err(format!("{key} is in ENCRYPTION_KEYS: it is not lost").into());
    }
    runtime()?.block_on(async {
        // On SQLite this fails while the service runs.
        let store = Store::over(Database::open(&config.database, Clock::system()).await?);
        let used = store.platform.keys_in_use().await?;
        let rows = used.iter().find(|(id, _)| id == key).map_or(0, |(_, rows)| *rows);
        if rows == 0 {
            return Err(format!("nothing is encrypted with {key}; `keys status` lists the keys in use").into());
        }
        if !accept_key_loss {
            return Err(format!(
                "{rows} row(s) are encrypted with {key}; the users of their connections would have to reconnect. If \
                 the key is lost, add --accept-key-loss"
            )
            .into());
        }
        let given_up = store.platform.give_up_key(key, Clock::system().now()).await?;
        store.database().close().await;
        print_line(format_args!("{given_up} connection(s) need their users to reconnect; their grants stay valid at HubSpot"));
        Ok(ExitCode::SUCCESS)
    })
}
