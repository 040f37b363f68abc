//! The three servers: the simulated HubSpot, the floor, the service.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use test_support::free_port;

use crate::Failure;
use crate::http::Connection;
use crate::process::Process;

/// The listed host page.
pub const HOST: &str = "http://host.localhost:3000";
pub const CLIENT_ID: &str = "bench";
pub const CLIENT_SECRET: &str = "bench-secret";
pub const ENCRYPTION_KEY: &str = "bXqNfMnUOVk3yYJ8sKx1P0vZQ2tRgW5hLdCaE7i9o6w=";
pub const APP_SECRET: &str = "an application secret of the benchmark only";

/// Returns the path of a program beside this one.
pub fn program(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name(name);
    if path.exists() {
        Ok(path)
    } else {
        Err(format!("{} is not built; run `cargo xtask bench`", path.display()).into())
    }
}

/// The simulated HubSpot: it consents at once.
pub struct HubSpot(pub Process);

impl HubSpot {
    pub fn start(latency: Duration) -> Result<Self, Failure> {
        Self::with(&["--latency-ms", &latency.as_millis().to_string()])
    }

    /// Starts one with this many grants.
    pub fn with_grants(grants: usize) -> Result<Self, Failure> {
        Self::with(&["--grants", &grants.to_string()])
    }

    fn with(options: &[&str]) -> Result<Self, Failure> {
        let port = free_port();
        let mut command = Command::new(program("fake-hubspot")?);
        command.args(["--port", &port.to_string()]);
        command.args(["--client-id", CLIENT_ID, "--client-secret", CLIENT_SECRET]);
        command.args(["--auto-approve", "--journal-limit", "16"]).args(options);
        let process = Process::start(&command, 1, port)?;
        process.wait()?;
        Ok(Self(process))
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.0.port)
    }

    /// Calls the control API of the simulator.
    pub async fn control(&self, method: &str, path: &str, body: &str) -> Result<serde_json::Value, Failure> {
        let answer = Connection::open(self.0.port).await?.send(method, path, "", body).await?;
        match answer.status {
            200 => Ok(serde_json::from_slice(&answer.body)?),
            204 => Ok(serde_json::Value::Null),
            _ => Err(format!("{path}: {}", String::from_utf8_lossy(&answer.body)).into()),
        }
    }
}

/// The baseline.
pub struct Floor(pub Process);

impl Floor {
    pub fn start(folder: &Path, hubspot: &HubSpot) -> Result<Self, Failure> {
        let port = free_port();
        let mut command = Command::new(program("floor")?);
        command.arg(port.to_string()).arg(folder.join("floor.db")).arg(hubspot.url());
        let process = Process::start(&command, 0, port)?;
        process.wait()?;
        Ok(Self(process))
    }
}

/// The service with an operator's settings, except for the limits per address: here all load comes from one.
pub struct Service(pub Process);

impl Service {
    pub fn start(folder: &Path, hubspot: &HubSpot) -> Result<Self, Failure> {
        let service = Self::spawn(folder, hubspot)?;
        service.0.wait()?;
        Ok(service)
    }

    fn spawn(folder: &Path, hubspot: &HubSpot) -> Result<Self, Failure> {
        let port = free_port();
        let database = format!("sqlite://{}?mode=rwc", folder.join("service.db").display());
        Ok(Self(Process::start(&Self::command(hubspot, &database, port)?, 0, port)?))
    }

    /// Returns the command that starts the service over a database, without the admin listener.
    pub fn command(hubspot: &HubSpot, database: &str, port: u16) -> Result<Command, Failure> {
        let mut command = Command::new(program("hubspot-connect")?);
        command.envs([
            ("HUBSPOT_CLIENT_ID", CLIENT_ID.to_owned()),
            ("HUBSPOT_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
            ("HUBSPOT_AUTHORIZE_URL", format!("{}/oauth/authorize", hubspot.url())),
            ("HUBSPOT_API_URL", hubspot.url()),
            ("ENCRYPTION_KEYS", ENCRYPTION_KEY.to_owned()),
            ("APP_SECRET", APP_SECRET.to_owned()),
            ("DATABASE_URL", database.to_owned()),
            ("SERVER_ADDR", format!("127.0.0.1:{port}")),
            ("PUBLIC_URL", format!("http://localhost:{port}")),
            ("ADMIN_ADDR", "off".to_owned()),
            ("NO_PROXY", "*".to_owned()),
            ("HOST_ORIGINS", HOST.to_owned()),
            // The pages that wait here must not time out.
            ("FLOW_TTL_SECONDS", "1800".to_owned()),
            ("RATE_LIMIT_START_PER_MINUTE", "0".to_owned()),
            ("RATE_LIMIT_UNVERIFIED_START_PER_MINUTE", "0".to_owned()),
            ("MAX_CONNECTIONS", "20000".to_owned()),
            ("MAX_CONNECTIONS_PER_CLIENT", "20000".to_owned()),
            ("LOG_LEVEL", "warn".to_owned()),
        ]);
        Ok(command)
    }

    /// Returns the median time from exec to the first response on an existing database, and the memory afterwards.
    pub async fn cold_starts(
        folder: &Path,
        hubspot: &HubSpot,
        times: usize,
    ) -> Result<(Duration, u64), Failure> {
        let mut spans = Vec::new();
        let mut resident = 0;
        for _ in 0..times {
            let started = Instant::now();
            let service = Self::spawn(folder, hubspot)?;
            service.0.wait()?;
            let answer = Connection::open(service.0.port).await?.get("/livez", "").await?;
            spans.push(started.elapsed());
            if answer.status != 200 {
                return Err(answer.head.into());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            resident = service.0.resident_kib()?;
        }
        spans.sort_unstable();
        Ok((spans[times / 2], resident))
    }
}
