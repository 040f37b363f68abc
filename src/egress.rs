//! The one HTTP client: no redirects, no proxies of the environment, deadlines on everything.

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a whole call may take.
pub const TOTAL: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(30);
/// Where systems keep their CA certificates in one file: Debian and Alpine, Fedora, openSUSE, macOS.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

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
pub fn client() -> Result<reqwest::Client, EgressError> {
    // Installing twice is harmless and says so by an error: the first one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = bundle().and_then(|bundle| builder().tls_certs_only(bundle).build().ok());
    match trusted {
        Some(client) => Ok(client),
        None => Ok(builder().build()?),
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place where the client is made")]
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .timeout(TOTAL)
        .pool_idle_timeout(IDLE)
        .user_agent(concat!("hubspot-connect/", env!("CARGO_PKG_VERSION")))
}

/// The system's CA certificates from their one file. Left to itself the client reads the folder with the same hundreds
/// of certificates as well, which takes a third of a start. It is left to itself where there is no such file, or where
/// one of its certificates cannot be read.
fn bundle() -> Option<Vec<reqwest::Certificate>> {
    let named = |name| std::env::var_os(name).map(PathBuf::from);
    let file = bundle_file(named("SSL_CERT_FILE"), named("SSL_CERT_DIR").as_deref())?;
    let certificates = reqwest::Certificate::from_pem_bundle(&std::fs::read(file).ok()?).ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

/// The file in which everything is, given the file and the folder that the environment names. A folder elsewhere has
/// more than the file.
fn bundle_file(file: Option<PathBuf>, folder: Option<&Path>) -> Option<PathBuf> {
    let file = file.or_else(|| BUNDLES.into_iter().map(PathBuf::from).find(|path| path.exists()))?;
    let is_all = folder.is_none_or(|folder| file.parent() == Some(folder));
    is_all.then_some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_file_is_enough_for_a_client() {
        let Some(file) = bundle_file(None, None) else { return }; // This system has none.
        let trusted = reqwest::Certificate::from_pem_bundle(&std::fs::read(file).unwrap()).unwrap();
        assert!(trusted.len() > 50, "{}", trusted.len());
        let _ = rustls::crypto::ring::default_provider().install_default();
        builder().tls_certs_only(trusted).build().expect("a client");
    }

    #[test]
    fn a_folder_elsewhere_is_read_too() {
        let file = || Some(PathBuf::from("/etc/own/ca.pem"));
        assert_eq!(bundle_file(file(), None), file());
        assert_eq!(bundle_file(file(), Some(Path::new("/etc/own"))), file());
        assert_eq!(bundle_file(file(), Some(Path::new("/etc/more"))), None);
        assert_eq!(bundle_file(None, Some(Path::new("/etc/more"))), None);
    }
}
