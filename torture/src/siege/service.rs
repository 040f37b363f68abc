//! The service under siege, with a simulated HubSpot and its own database file.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fake_hubspot::{FakeHubSpot, Options};
use hubspot_connect::domain::random::Random;
use hubspot_connect::domain::secret::Secret;
use hubspot_connect::keyring::Keyring;
use tempfile::TempDir;
use test_support::{free_port, memory_kib};
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::attack::Target;

const READY: Duration = Duration::from_secs(30);
const HOST_PAGE: &str = "https://app.example.com";

/// A running service, stopped on drop.
pub struct Service {
    child: Child,
    port: u16,
    admin: u16,
    http: reqwest::Client,
    _hubspot: FakeHubSpot,
    _folder: TempDir,
}

impl Service {
    #[expect(clippy::disallowed_methods, reason = "the tool does not use the service's client")]
    pub async fn start() -> Result<Self, Failure> {
        let program = std::env::current_exe()?.with_file_name("hubspot-connect");
        let folder = tempfile::Builder::new().prefix("siege-").tempdir()?;
        let hubspot = FakeHubSpot::start(Options::default()).await?;
        let (port, admin) = (free_port(), free_port());
        let variables = [
            ("HUBSPOT_CLIENT_ID", "fake-client-id".to_owned()),
            ("HUBSPOT_CLIENT_SECRET", "fake-client-secret".to_owned()),
            ("HUBSPOT_AUTHORIZE_URL", hubspot.authorize_url()),
            ("HUBSPOT_API_URL", hubspot.base_url()),
            ("ENCRYPTION_KEYS", Keyring::generate().expose().to_owned()),
            ("APP_SECRET", Secret::random(&Random::system()).expose().to_owned()),
            ("SERVER_ADDR", format!("127.0.0.1:{port}")),
            ("PUBLIC_URL", format!("http://localhost:{port}")),
            ("ADMIN_ADDR", format!("127.0.0.1:{admin}")),
            ("HOST_ORIGINS", HOST_PAGE.to_owned()),
            ("LOG_LEVEL", "warn".to_owned()),
        ];
        let child = Command::new(program)
            .arg("serve")
            .env_clear()
            .envs(variables)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        let service = Self { child, port, admin, http, _hubspot: hubspot, _folder: folder };
        service.ready().await?;
        Ok(service)
    }

    async fn ready(&self) -> Result<(), Failure> {
        let (began, url) = (Instant::now(), format!("http://127.0.0.1:{}/readyz", self.admin));
        while began.elapsed() < READY {
            if self.http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err("the service is not ready".into())
    }

    /// Returns the target of attacks, with an authorization request that can be polled.
    pub async fn target(&self) -> Result<Target, Failure> {
        let base = format!("http://localhost:{}", self.port);
        let verifier = Secret::random(&Random::system());
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("origin", HOST_PAGE), ("challenge", &verifier.hash().text())])
            .finish();
        let start = self.http.post(format!("{base}/auth/hubspot/start")).header("origin", HOST_PAGE);
        let start = start.header("content-type", "application/x-www-form-urlencoded");
        start.body(form).send().await?.error_for_status()?;
        let status = self.http.get(format!("{base}/api/hubspot/status"));
        let status =
            status.header("hubspot-connect-verifier", verifier.expose()).send().await?.error_for_status()?;
        let tag = status.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default();
        Ok(Target {
            address: SocketAddr::from(([127, 0, 0, 1], self.port)),
            host: format!("localhost:{}", self.port),
            verifier: verifier.expose().to_owned(),
            tag: tag.to_owned(),
        })
    }

    /// Returns the resident memory of the service, in KiB.
    pub fn resident(&self) -> Result<u64, Failure> {
        Ok(memory_kib(self.child.id(), "VmRSS")?)
    }

    /// Returns the number of open connections and polls, without those of the honest client, of this scrape and of
    /// another.
    pub async fn hostile(&self) -> Result<u64, Failure> {
        let text =
            self.http.get(format!("http://127.0.0.1:{}/metrics", self.admin)).send().await?.text().await?;
        let figure = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            found.and_then(|value| value.parse::<u64>().ok()).unwrap_or_default()
        };
        let connections = figure("hubspot_connect_http_connections").saturating_sub(3);
        Ok(connections + figure("hubspot_connect_waiting"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
