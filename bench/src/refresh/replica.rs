//! A process of the service that works in the background as fast as it can.

use std::time::{Duration, Instant};

use test_support::free_port;

use super::database::Database;
use super::{IN_FLIGHT, now};
use crate::Failure;
use crate::http::Connection;
use crate::process::Process;
use crate::servers::{HubSpot, Service};

/// A replica and its start time.
pub struct Replica {
    pub process: Process,
    pub started: Instant,
    pub started_at_ms: i64,
    admin: u16,
}

impl Replica {
    pub fn start(hubspot: &HubSpot, database: &Database) -> Result<Self, Failure> {
        let (port, admin) = (free_port(), free_port());
        let mut command = Service::command(hubspot, &database.url(), port)?;
        command.envs([
            ("ADMIN_ADDR", format!("127.0.0.1:{admin}")),
            ("REFRESH_RATE_PER_SECOND", "1000000".to_owned()),
            ("REFRESH_MAX_IN_FLIGHT", IN_FLIGHT.to_string()),
            // An outage would fill the screen.
            ("LOG_LEVEL", "error".to_owned()),
        ]);
        let (started, started_at_ms) = (Instant::now(), now());
        Ok(Self { process: Process::start(&command, 0, port)?, started, started_at_ms, admin })
    }

    /// Returns the times from its start until it is live and until it is ready.
    pub async fn live_and_ready(&self) -> Result<(Duration, Duration), Failure> {
        let live = self.answers(self.process.port, "/livez").await?;
        Ok((live, self.answers(self.admin, "/readyz").await?))
    }

    /// Returns the time from its start until it answers with 200.
    async fn answers(&self, port: u16, path: &str) -> Result<Duration, Failure> {
        while self.started.elapsed() < Duration::from_secs(60) {
            if let Ok(mut connection) = Connection::open(port).await
                && connection.get(path, "").await.is_ok_and(|answer| answer.status == 200)
            {
                return Ok(self.started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err(format!("{path} did not answer with 200 within a minute").into())
    }
}
