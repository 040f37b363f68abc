//! Keys, origins, token delivery and sessions.

use std::time::Duration;

use super::reader::{Reader, secrets};
use crate::domain::origin::{AllowedOrigins, Origin};
use crate::domain::secret::{Secret, is_guessable};
use crate::keyring::Keyring;

/// The token that a page receives for a connection that it created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenDelivery {
    /// Only the id of the connection: the host's backend fetches the token.
    Handle,
    /// The access token to a hand-written listener on a listed origin; a pickup code to the SDK.
    Auto,
    /// The access token.
    AccessToken,
    /// A pickup code that is exchanged once for the access token.
    PickupCode,
}

/// The fate of a session's connections when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSessionExpiry {
    /// They are deleted, and revoked at HubSpot.
    Revoke,
    /// They are deleted.
    Forget,
    /// They are kept.
    Keep,
}

impl OnSessionExpiry {
    /// Returns the word used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Forget => "forget",
            Self::Keep => "keep",
        }
    }
}

/// Keys, origins, token delivery and sessions.
#[derive(Debug, Clone)]
pub struct Security {
    /// ENCRYPTION_KEYS, newest first.
    pub encryption_keys: Vec<Secret>,
    /// APP_SECRET.
    pub app_secret: Secret,
    /// HOST_ORIGINS.
    pub host_origins: AllowedOrigins,
    /// TOKEN_DELIVERY.
    pub token_delivery: TokenDelivery,
    /// SESSION_IDLE_SECONDS.
    pub session_idle: Duration,
    /// SESSION_MAX_SECONDS.
    pub session_max: Duration,
    /// ON_SESSION_EXPIRY.
    pub on_session_expiry: OnSessionExpiry,
    /// ONE_CONNECTION_PER_USER.
    pub one_connection_per_user: bool,
    /// FLOW_TTL_SECONDS.
    pub flow_ttl: Duration,
}

impl Security {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let app_secret = app_secret(reader);
        Self {
            encryption_keys: encryption_keys(reader, &app_secret),
            app_secret,
            host_origins: AllowedOrigins::new(reader.items("HOST_ORIGINS", Origin::parse)),
            token_delivery: reader.choice(
                "TOKEN_DELIVERY",
                &[
                    ("handle", TokenDelivery::Handle),
                    ("auto", TokenDelivery::Auto),
                    ("access_token", TokenDelivery::AccessToken),
                    ("pickup_code", TokenDelivery::PickupCode),
                ],
            ),
            session_idle: reader.seconds("SESSION_IDLE_SECONDS", 1..=86_400),
            session_max: reader.seconds("SESSION_MAX_SECONDS", 1..=2_592_000),
            on_session_expiry: reader.choice(
                "ON_SESSION_EXPIRY",
                &[
                    ("revoke", OnSessionExpiry::Revoke),
                    ("forget", OnSessionExpiry::Forget),
                    ("keep", OnSessionExpiry::Keep),
                ],
            ),
            one_connection_per_user: reader.switch("ONE_CONNECTION_PER_USER"),
            flow_ttl: reader.seconds("FLOW_TTL_SECONDS", 1..=7200),
        }
    }
}

fn app_secret(reader: &mut Reader<'_>) -> Secret {
    let secret = reader.required_secret("APP_SECRET");
    let problem = match secret.as_ref().map(Secret::expose) {
        Some(text) if text.len() < 32 => Some("must have at least 32 characters"),
        Some(text) if is_guessable(text.as_bytes()) => Some("is repetitive or follows a pattern"),
        _ => None,
    };
    if let Some(problem) = problem {
        reader.problem("APP_SECRET", format_args!("{problem}; `hubspot-connect keys generate` prints one"));
    }
    secret.unwrap_or_else(|| Secret::new(String::new()))
}

fn encryption_keys(reader: &mut Reader<'_>, app_secret: &Secret) -> Vec<Secret> {
    let Some(list) = reader.required_secret("ENCRYPTION_KEYS") else {
        return Vec::new();
    };
    let keys = secrets(&list, &[',', '\n']);
    if keys.iter().any(|key| key.expose() == app_secret.expose()) {
        reader.problem("APP_SECRET", "is one of ENCRYPTION_KEYS; `hubspot-connect keys generate` prints one");
    }
    if let Err(why) = Keyring::new(&keys, app_secret) {
        reader.problem("ENCRYPTION_KEYS", why);
    }
    keys
}
