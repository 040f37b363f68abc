//! Reads the environment into a [`Config`], with one file per concern. All problems are reported together, and no
//! report shows a value that could be a secret.

use std::fmt;

mod database;
mod env_file;
pub mod hubspot;
mod logging;
pub mod marketplace;
mod proxies;
mod reader;
mod refresh;
mod security;
mod server;
mod variables;
mod webhooks;

pub use database::{Database, FileMode};
pub use hubspot::HubSpot;
pub use logging::{LogFormat, Logging};
pub use marketplace::Marketplace;
pub(crate) use reader::ENV_FILE;
pub use reader::Variables;
pub use refresh::Refresh;
pub use security::{OnSessionExpiry, Security, TokenDelivery};
pub use server::Server;
pub(crate) use variables::new_env;
pub use variables::{configuration, example_env};
pub use webhooks::Webhooks;

use crate::domain::proxies::Proxies;
use reader::Reader;

/// The configuration of the service.
#[derive(Debug, Clone)]
pub struct Config {
    /// The listener and the public URL.
    pub server: Server,
    /// The database.
    pub database: Database,
    /// The HubSpot app.
    pub hubspot: HubSpot,
    /// Keys, origins, sessions.
    pub security: Security,
    /// The schedule of refreshes.
    pub refresh: Refresh,
    /// The allowed receivers of webhooks.
    pub webhooks: Webhooks,
    /// Installs that start at HubSpot's Marketplace.
    pub marketplace: Marketplace,
    /// Proxies for outgoing calls.
    pub proxies: Proxies,
    /// The log settings.
    pub logging: Logging,
}

impl Config {
    /// Reads the configuration.
    ///
    /// # Errors
    /// [`Problems`] lists all problems at once.
    pub fn read(variables: &Variables) -> Result<Self, Problems> {
        let mut reader = Reader::new(variables);
        let server = Server::read(&mut reader);
        let config = Self {
            database: Database::read(&mut reader),
            hubspot: HubSpot::read(&mut reader, &server.public_url),
            security: Security::read(&mut reader),
            refresh: Refresh::read(&mut reader),
            webhooks: Webhooks::read(&mut reader),
            marketplace: Marketplace::read(&mut reader, &server.public_url),
            proxies: proxies::read(&mut reader),
            logging: Logging::read(&mut reader),
            server,
        };
        reader.finish(config)
    }
}

/// All problems of the configuration.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The configuration has {} problem(s):", self.0.len())?;
        self.0.iter().try_for_each(|problem| writeln!(f, "  - {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Vec<(&'static str, String)> {
        vec![
            ("HUBSPOT_CLIENT_ID", "client".to_owned()),
            ("HUBSPOT_CLIENT_SECRET", "hush-hush".to_owned()),
            ("ENCRYPTION_KEYS", crate::keyring::Keyring::generate().expose().to_owned()),
            ("APP_SECRET", "an application secret that is long enough".to_owned()),
        ]
    }

    fn read(changes: &[(&'static str, &str)]) -> Result<Config, Problems> {
        let mut variables = good();
        variables.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
        variables.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let variables = variables.into_iter().map(|(name, value)| (name.to_owned(), value));
        Config::read(&Variables::from_pairs(variables))
    }

    fn problems(changes: &[(&'static str, &str)]) -> String {
        read(changes).expect_err("should be refused").to_string()
    }

    #[test]
    fn client_credentials_and_two_secrets_are_sufficient() {
        let config = read(&[]).expect("valid");
        assert_eq!(config.server.public_url.as_str(), "http://localhost:6001/");
        assert_eq!(config.hubspot.redirect_uri.as_str(), "http://localhost:6001/auth/hubspot/callback");
        assert_eq!(config.hubspot.api_version, "2026-09");
    }

    #[test]
    fn access_tokens_are_not_handed_to_pages_by_default() {
        assert_eq!(read(&[]).expect("valid").security.token_delivery, TokenDelivery::Handle);
    }

    #[test]
    fn the_application_name_is_short_and_visible() {
        let long = "a".repeat(60);
        let config = read(&[("APP_NAME", &long)]).expect("valid");
        assert_eq!(config.server.app_name, Some(long.clone()));
        assert_eq!(read(&[]).expect("valid").server.app_name, None);
        for bad in [format!("{long}a"), "Ac\nme".to_owned(), "\u{202e}emcA".to_owned()] {
            assert!(problems(&[("APP_NAME", &bad)]).contains("APP_NAME"), "{bad:?}");
        }
    }

    #[test]
    fn reports_contain_no_secret() {
        let text = problems(&[
            ("ENCRYPTION_KEYS", "hunter2"),
            ("APP_SECRET", "hunter3"),
            ("DATABASE_URL", "mysql://u:hunter4@h/d"),
        ]);
        assert!(!text.contains("hunter"), "{text}");
        assert!(
            text.contains("ENCRYPTION_KEYS") && text.contains("APP_SECRET") && text.contains("DATABASE_URL"),
            "{text}"
        );
    }

    #[test]
    fn lists_accept_spaces_around_commas() {
        let config =
            read(&[("HOST_ORIGINS", " https://a.example.com , https://b.example.com ")]).expect("valid");
        assert_eq!(config.security.host_origins.iter().count(), 2);
    }

    #[test]
    fn account_rate_limits_are_given_as_calls_and_seconds() {
        let config = read(&[]).expect("valid");
        assert_eq!(config.hubspot.account_rate.to_string(), "110/10");
        assert!(problems(&[("HUBSPOT_ACCOUNT_RATE", "110")]).contains("110/10"));
    }

    #[test]
    fn client_secrets_keep_their_order() {
        let config = read(&[("HUBSPOT_CLIENT_SECRET", "new, old")]).expect("valid");
        let secrets: Vec<_> =
            config.hubspot.client_secrets.iter().map(|secret| secret.expose().to_owned()).collect();
        assert_eq!(secrets, ["new", "old"]);
    }
}
