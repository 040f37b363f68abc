//! The one HTTP client: no redirects, no proxies of the environment, deadlines on everything.

use std::time::Duration;

use thiserror::Error;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a whole call may take.
pub const TOTAL: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(30);

/// The client could not be built, for want of CA certificates as a rule.
#[derive(Debug, Error)]
#[error("the HTTPS client cannot be built: are CA certificates installed (package ca-certificates)?")]
pub struct EgressError(#[from] reqwest::Error);

/// Builds the client.
///
/// It follows no redirect: a redirected token request would carry the client secret to wherever it points.
///
/// # Errors
/// [`EgressError`] if there are no CA certificates to trust.
#[expect(clippy::disallowed_methods, reason = "this is the one place where the client is made")]
pub fn client() -> Result<reqwest::Client, EgressError> {
    // Installing twice is harmless and says so by an error: the first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .timeout(TOTAL)
        .pool_idle_timeout(IDLE)
        .user_agent(concat!("hubspot-connect/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(client)
}
