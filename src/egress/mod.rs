//! The HTTP client: no redirects, and the configured proxies. Callers set the time limit of a whole call: the client's
//! own deadline would discard a response that arrived while the process was suspended.

pub(crate) mod ssrf;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::{Client, ClientBuilder, NoProxy, Proxy};
use thiserror::Error;
use url::Url;

use crate::domain::proxies::Proxies;
use ssrf::{Lookup, Reach, SsrfGuard};

/// The time limit for establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The files in which systems keep all their CA certificates: Debian and Alpine, Fedora, openSUSE.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];

/// The client cannot be built, usually because CA certificates are missing.
#[derive(Debug, Error)]
#[error("the HTTPS client could not be created: are CA certificates installed (package ca-certificates)?")]
pub struct EgressError(#[from] reqwest::Error);

/// Builds the client.
///
/// It follows no redirects: a redirected token request would send the client secret to the redirect target.
///
/// # Errors
/// [`EgressError`] if there are no CA certificates to trust.
pub fn client(proxies: &Proxies) -> Result<Client, EgressError> {
    build(|| through(builder(), proxies))
}

/// Clients for hosts that callers have named. A direct call connects to checked addresses only. A proxy resolves names
/// itself, so the check of addresses is the proxy's task. Connections are not reused, so each request is checked again.
/// An IP address in the URL is not resolved; the caller must check it.
#[derive(Debug)]
pub struct UntrustedHostClients {
    ssrf: Arc<SsrfGuard>,
    proxies: Proxies,
    /// Built on first use: most services have neither webhooks nor a journal.
    direct: OnceLock<Client>,
    proxied: OnceLock<Client>,
}

impl UntrustedHostClients {
    /// Builds clients that resolve names with `lookup`.
    pub fn new(lookup: Arc<dyn Lookup>, reach: Reach, proxies: Proxies) -> Self {
        let ssrf = Arc::new(SsrfGuard::new(lookup, reach));
        Self { ssrf, proxies, direct: OnceLock::new(), proxied: OnceLock::new() }
    }

    /// Returns whether a proxy resolves the host of this address.
    pub(crate) fn is_proxied(&self, url: &Url) -> bool {
        self.proxies.between(url).is_some()
    }

    /// Returns the client for this address.
    ///
    /// # Errors
    /// [`EgressError`] if there are no CA certificates to trust.
    pub fn client(&self, url: &Url) -> Result<&Client, EgressError> {
        let kept = if self.is_proxied(url) { &self.proxied } else { &self.direct };
        if let Some(client) = kept.get() {
            return Ok(client);
        }
        let client = build(|| {
            let once = builder().pool_max_idle_per_host(0);
            match self.is_proxied(url) {
                true => through(once, &self.proxies),
                false => Ok(once.dns_resolver(Arc::clone(&self.ssrf))),
            }
        })?;
        Ok(kept.get_or_init(|| client))
    }
}

fn build(make: impl Fn() -> reqwest::Result<ClientBuilder>) -> Result<Client, EgressError> {
    // A second installation fails harmlessly: the first provider stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = bundle().and_then(|bundle| make().ok()?.tls_certs_only(bundle).build().ok());
    match trusted {
        Some(client) => Ok(client),
        None => Ok(make()?.build()?),
    }
}

fn through(builder: ClientBuilder, proxies: &Proxies) -> reqwest::Result<ClientBuilder> {
    let exceptions = || NoProxy::from_string(&proxies.exceptions);
    let https = proxies.https.as_ref().map(|url| Proxy::https(url.expose())).transpose()?;
    let http = proxies.http.as_ref().map(|url| Proxy::http(url.expose())).transpose()?;
    let all = https.into_iter().chain(http);
    Ok(all.fold(builder, |builder, proxy| builder.proxy(proxy.no_proxy(exceptions()))))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place where the client is made")]
fn builder() -> ClientBuilder {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(POOL_IDLE_TIMEOUT)
        .user_agent(concat!("hubspot-connect/", env!("CARGO_PKG_VERSION")))
}

/// Returns the system's CA certificates from their single file. By default, the client also reads the folder with the
/// same hundreds of certificates, which takes a third of the start time. `None`, and with it the default, if there is
/// no such file or if one of its certificates cannot be parsed.
///
/// They are read once: all clients of a process trust the same certificates.
fn bundle() -> Option<Vec<reqwest::Certificate>> {
    static BUNDLE: OnceLock<Option<Vec<reqwest::Certificate>>> = OnceLock::new();
    BUNDLE.get_or_init(read_bundle).clone()
}

fn read_bundle() -> Option<Vec<reqwest::Certificate>> {
    let named = |name| std::env::var_os(name).map(PathBuf::from);
    let (file, with_folder) = bundle_file(named("SSL_CERT_FILE"), named("SSL_CERT_DIR").as_deref())?;
    let mut trusted = certificates(&file).filter(|certificates| !certificates.is_empty())?;
    if with_folder {
        trusted.extend(beside(&file).iter().filter_map(|own| certificates(own)).flatten());
    }
    Some(trusted)
}

fn certificates(file: &Path) -> Option<Vec<reqwest::Certificate>> {
    reqwest::Certificate::from_pem_bundle(&std::fs::read(file).ok()?).ok()
}

/// Returns the certificates that an operator has put into the folder without rebuilding the file. The certificates in
/// the file are only links in the folder.
fn beside(file: &Path) -> Vec<PathBuf> {
    let entries = file.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let files = entries.into_iter().flatten().flatten();
    let files = files.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    files.map(|entry| entry.path()).filter(|path| path != file).collect()
}

/// Returns the certificate file to read and whether its folder is read as well, given the file and the folder that the
/// environment names. `None` if that folder is not the file's: it may contain other certificates.
fn bundle_file(file: Option<PathBuf>, folder: Option<&Path>) -> Option<(PathBuf, bool)> {
    match (file, folder) {
        (None, None) => {
            BUNDLES.into_iter().map(PathBuf::from).find(|path| path.exists()).map(|path| (path, true))
        }
        (None, Some(_)) => None,
        (Some(file), None) => Some((file, false)),
        (Some(file), Some(folder)) => (file.parent() == Some(folder)).then_some((file, true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_certificate_file_is_sufficient() {
        let Some((file, _)) = bundle_file(None, None) else { return }; // This system has none.
        let trusted = certificates(&file).unwrap();
        assert!(trusted.len() > 50, "{}", trusted.len());
        let _ = rustls::crypto::ring::default_provider().install_default();
        builder().tls_certs_only(trusted).build().expect("a client");
    }

    #[test]
    fn certificate_folders_elsewhere_are_read_too() {
        let file = || PathBuf::from("/etc/own/ca.pem");
        assert_eq!(bundle_file(Some(file()), None), Some((file(), false)));
        assert_eq!(bundle_file(Some(file()), Some(Path::new("/etc/own"))), Some((file(), true)));
        assert_eq!(bundle_file(Some(file()), Some(Path::new("/etc/more"))), None);
        assert_eq!(bundle_file(None, Some(Path::new("/etc/ssl/certs"))), None);
    }

    #[test]
    fn certificates_beside_the_system_file_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let [file, own, link] = ["all.crt", "own.pem", "link.0"].map(|name| folder.path().join(name));
        std::fs::write(&file, "").unwrap();
        std::fs::write(&own, "").unwrap();
        std::os::unix::fs::symlink(&own, &link).unwrap();
        assert_eq!(beside(&file), [own]);
    }
}
