//! `keys generate|status`: make keys; see which are in use.

use std::process::ExitCode;

use clap::Subcommand;

use super::{Failure, configured, runtime, say, store};
use crate::domain::chance::Chance;
use crate::domain::secret::Secret;
use crate::keyring::Keyring;

#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Print a new encryption key and a new application secret, as lines for `.env`.
    Generate,
    /// Say how many stored tokens each key seals.
    Status,
}

impl Keys {
    pub fn run(&self) -> Result<ExitCode, Failure> {
        match self {
            Self::Generate => {
                say(format_args!("ENCRYPTION_KEYS={}", Keyring::generate().expose()));
                say(format_args!("APP_SECRET={}", Secret::random(&Chance::system()).expose()));
                Ok(ExitCode::SUCCESS)
            }
            Self::Status => status(),
        }
    }
}

fn status() -> Result<ExitCode, Failure> {
    let config = configured()?;
    let keyring = Keyring::new(&config.security.encryption_keys, &config.security.app_secret)?;
    runtime()?.block_on(async {
        let store = store(&config).await?;
        let used = store.keys_in_use().await?;
        store.close().await;
        for id in keyring.key_ids() {
            let rows = used.iter().find(|(used, _)| used == id).map_or(0, |(_, rows)| *rows);
            let role = if id == keyring.newest_key_id() { "seals" } else { "opens" };
            say(format_args!("{id}  {role}  {rows} stored token(s)"));
        }
        let missing = used.iter().filter(|(id, _)| !keyring.key_ids().contains(&id.as_str()));
        let mut code = ExitCode::SUCCESS;
        for (id, rows) in missing {
            say(format_args!("{id}  MISSING from ENCRYPTION_KEYS  {rows} stored token(s)"));
            code = ExitCode::FAILURE;
        }
        Ok(code)
    })
}
