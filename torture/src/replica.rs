//! A replica: a process of the service that is started, killed, frozen and restarted, and its two lines.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use test_support::{Line, Reach, State, free_port, memory_kib};
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::history::{End, EndReason};
use crate::record::now;

/// The time within which a replica must be ready, or the run is aborted.
const READY: Duration = Duration::from_secs(60);
/// The time for a stop after SIGTERM: half a minute for open requests, and a margin.
const STOP: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A replica.
pub struct Replica {
    /// Its number.
    pub index: usize,
    /// Its line to the database.
    pub database: Line,
    /// Its line to HubSpot.
    pub hubspot: Line,
    /// Its port.
    pub port: u16,
    admin_port: u16,
    program: PathBuf,
    folder: PathBuf,
    variables: Vec<(String, String)>,
    child: Mutex<Option<Child>>,
    http: reqwest::Client,
}

/// The settings that all replicas share.
pub struct Common<'a> {
    /// The binary of the service.
    pub program: &'a Path,
    /// The folder of the logs.
    pub folder: &'a Path,
    /// The variables that are the same for all.
    pub variables: &'a [(String, String)],
    /// The database, without a line.
    pub database: &'a url::Url,
    /// HubSpot, without a line.
    pub hubspot: SocketAddr,
    /// The client for `/readyz`.
    pub http: &'a reqwest::Client,
}

impl Replica {
    /// Creates a replica with its lines, without starting it.
    pub async fn prepare(index: usize, common: &Common<'_>) -> Result<Self, Failure> {
        let mut url = common.database.clone();
        let database = Line::to_database(&mut url).await?;
        let hubspot = Line::lay(common.hubspot, Reach::Questions).await?;
        let (port, admin_port) = (free_port(), free_port());
        let own = [
            ("DATABASE_URL", url.to_string()),
            ("HUBSPOT_API_URL", format!("http://{}", hubspot.address)),
            ("SERVER_ADDR", format!("127.0.0.1:{port}")),
            ("ADMIN_ADDR", format!("127.0.0.1:{admin_port}")),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        Ok(Self {
            index,
            database,
            hubspot,
            port,
            admin_port,
            program: common.program.to_owned(),
            folder: common.folder.to_owned(),
            variables: common.variables.iter().cloned().chain(own).collect(),
            child: Mutex::new(None),
            http: common.http.clone(),
        })
    }

    /// Returns the log file of its processes.
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("replica-{}.log", self.index))
    }

    /// Runs another command of the program and returns its output.
    pub fn command(&self, arguments: &[&str]) -> Result<String, Failure> {
        let done = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .envs(self.variables.iter().cloned())
            .current_dir(&self.folder)
            .output()?;
        if done.status.success() {
            return Ok(String::from_utf8(done.stdout)?.trim().to_owned());
        }
        Err(format!("{arguments:?} failed: {}", String::from_utf8_lossy(&done.stderr)).into())
    }

    /// Starts a process.
    pub fn start(&self) -> Result<(), Failure> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let child = Command::new(&self.program)
            .arg("serve")
            .env_clear()
            .envs(self.variables.iter().cloned())
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(File::create("/dev/null")?)
            .stderr(log)
            .spawn()?;
        *self.child() = Some(child);
        Ok(())
    }

    /// Waits until it is ready and returns the time that this took.
    pub async fn ready(&self) -> Result<Duration, Failure> {
        let (began, url) = (Instant::now(), format!("http://127.0.0.1:{}/readyz", self.admin_port));
        while began.elapsed() < READY {
            let answer = self.http.get(&url).timeout(Duration::from_secs(4)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(began.elapsed());
            }
            if self.has_ended() {
                return Err(format!("replica {} ended at its start", self.index).into());
            }
            sleep(POLL_INTERVAL).await;
        }
        Err(format!("replica {} is not ready after {READY:?}", self.index).into())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        match &*self.child() {
            Some(child) => Ok(kill_process(Pid::from_child(child), signal)?),
            None => Err(format!("replica {} is not running", self.index).into()),
        }
    }

    /// Waits for the end of a process that was stopped at that time, and kills it if it takes too long.
    pub async fn stopped(&self, at: i64) -> Result<End, Failure> {
        let began = Instant::now();
        let code = loop {
            if let Some(child) = &mut *self.child()
                && let Some(status) = child.try_wait()?
            {
                break status.code();
            }
            if began.elapsed() > STOP {
                self.kill()?;
                break None;
            }
            sleep(POLL_INTERVAL).await;
        };
        let took_ms = now() - at;
        Ok(End { at, how: EndReason::Stopped { took_ms, well: code == Some(0) } })
    }

    /// Kills the process, stopped or not, and waits for its end.
    pub fn kill(&self) -> Result<(), Failure> {
        if let Some(child) = &mut *self.child() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Returns whether the process has ended.
    pub fn has_ended(&self) -> bool {
        self.child().as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Opens both lines.
    pub fn mend(&self) {
        self.database.set(State::Open);
        self.hubspot.set(State::Open);
    }

    /// Returns the resident memory in KiB, if there is a process.
    pub fn resident_kib(&self) -> Option<u64> {
        memory_kib(self.child().as_ref()?.id(), "VmRSS").ok()
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
