//! `api-keys create|list|revoke`: the API keys of host backends.

use std::process::ExitCode;

use clap::Subcommand;

use super::projects::known;
use super::{Failure, configured, print_line, with_store};
use crate::domain::api_key::{ApiScope, ApiScopes, MAX_KEYS_PER_NAME, new_key};
use crate::domain::clock::{Clock, Timestamp};
use crate::domain::id::ApiKeyId;
use crate::domain::project::ProjectId;
use crate::domain::random::Random;
use crate::domain::secret::Secret;
use crate::store::ApiKey;

#[derive(Debug, Subcommand)]
pub(super) enum ApiKeys {
    /// Create an API key and print it, once.
    Create {
        /// The name of the key, such as the backend that uses it. Two active keys may have the same name.
        name: String,
        /// A scope of the key; may be repeated, or separated by commas.
        #[arg(long = "scope", required = true, value_delimiter = ',')]
        scopes: Vec<ApiScope>,
        /// The project that the key can access.
        #[arg(long, default_value_t)]
        project: ProjectId,
    },
    /// List API keys, one per line.
    List,
    /// Revoke an API key.
    Revoke {
        /// The id.
        id: ApiKeyId,
    },
}

impl ApiKeys {
    pub fn run(self) -> Result<ExitCode, Failure> {
        with_store(&configured()?, async |store| {
            let now = Clock::system().now();
            match self {
                Self::Create { name, scopes, project } => {
                    known(store, &project).await?;
                    let (key, secret) = fresh(name, scopes, project, now)?;
                    if !store.platform.insert_api_key(key.clone()).await? {
                        return Err(format!(
                            "{MAX_KEYS_PER_NAME} active keys have the name {}; revoke one of them first",
                            key.name
                        )
                        .into());
                    }
                    // The only place where the key is shown: only its hash is stored.
                    print_line(secret.expose());
                }
                Self::List => store.platform.api_keys().await?.iter().for_each(|key| print_line(line(key))),
                Self::Revoke { id } => {
                    if !store.platform.revoke_api_key(id, now).await? {
                        return Err("no active key has this id".into());
                    }
                    print_line(format_args!("{id} is revoked; all processes reject it within a second"));
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

fn fresh(
    name: String,
    mut scopes: Vec<ApiScope>,
    project_id: ProjectId,
    created_at: Timestamp,
) -> Result<(ApiKey, Secret), Failure> {
    let fits = (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic());
    if !fits {
        return Err(
            "a name must have 1 to 64 ASCII letters, digits or punctuation characters, without spaces".into(),
        );
    }
    scopes.sort_by_key(|scope| scope.as_str());
    scopes.dedup();
    let random = Random::system();
    let id = ApiKeyId::random(&random);
    let secret = new_key(id, &random);
    let (key_hash, scopes) = (secret.hash(), ApiScopes(scopes));
    let key =
        ApiKey { id, name, key_hash, scopes, created_at, last_used_at: None, revoked_at: None, project_id };
    Ok((key, secret))
}

fn line(key: &ApiKey) -> String {
    let used =
        key.last_used_at.map_or_else(|| "never used".to_owned(), |at| format!("used {}", at.rfc3339()));
    let state = key.revoked_at.map_or(used, |at| format!("revoked {}", at.rfc3339()));
    let (prefix, name, made) = (key.prefix(), &key.name, key.created_at.rfc3339());
    let (project, scopes) = (&key.project_id, &key.scopes);
    format!("{}  {prefix}…  {name}  project {project}  [{scopes}]  created {made}, {state}", key.id)
}
