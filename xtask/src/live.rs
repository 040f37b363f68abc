//! The service as a separate program, beside a simulated HubSpot, with its own database and keys, for tests from
//! outside.

use crate::Result;
use crate::run::{program, read, target_dir};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio, id};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The longest time until a program listens.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The only page that may connect. No server listens there: only its name matters.
pub const HOST: &str = "http://127.0.0.1:3000";

/// Service and HubSpot, both stopped on drop.
pub struct Live {
    children: Vec<Child>,
    /// The folder of its files, removed with it.
    pub folder: PathBuf,
    /// The URL of the service.
    pub service: String,
    /// The URL of HubSpot.
    pub hubspot: String,
    variables: Vec<(String, String)>,
}

impl Live {
    /// Starts both on free loopback ports. The programs must have been built.
    pub fn start(name: &str) -> Result<Self> {
        Self::start_with(name, &[])
    }

    /// Starts both with variables that override the defaults.
    pub fn start_with(name: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let folder = target_dir().join(format!("live-{name}-{}", id()));
        fs::create_dir_all(&folder).map_err(|why| format!("{}: {why}", folder.display()))?;
        let (port, hubspot_port) = free_ports()?;
        let hubspot = format!("http://127.0.0.1:{hubspot_port}");
        let service = format!("http://localhost:{port}");
        let mut live = Self { children: Vec::new(), variables: Vec::new(), folder, service, hubspot };
        live.variables = live.settle(port)?;
        live.variables
            .extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut fake = Command::new(built("fake-hubspot"));
        live.children.push(live.spawn(fake.args(["--port", &hubspot_port.to_string(), "--auto-approve"]))?);
        wait_for(hubspot_port)?;
        let mut serve = live.command(&["serve"]);
        live.children.push(live.spawn(&mut serve)?);
        wait_for(port)?;
        Ok(live)
    }

    /// Creates an API key with all scopes.
    pub fn api_key(&self) -> Result<String> {
        let scopes = "tokens:read,connections:read,connections:write,sessions:write,proxy,webhooks";
        let key = read(&mut self.command(&["api-keys", "create", "tests", "--scope", scopes]))?;
        Ok(key.trim().to_owned())
    }

    /// Returns a command of the service's program.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(built("hubspot-connect"));
        command.args(arguments).current_dir(&self.folder);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn settle(&self, port: u16) -> Result<Vec<(String, String)>> {
        let keys = read(program(built("hubspot-connect")).args(["keys", "generate"]))?;
        let keys = keys.lines().filter_map(|line| line.split_once('='));
        let database = format!("sqlite://{}?mode=rwc", self.folder.join("live.db").display());
        let usual = [
            ("HUBSPOT_CLIENT_ID", "fake-client-id".to_owned()),
            ("HUBSPOT_CLIENT_SECRET", "fake-client-secret".to_owned()),
            ("HUBSPOT_SCOPES", "oauth crm.objects.contacts.read".to_owned()),
            ("HUBSPOT_AUTHORIZE_URL", format!("{}/oauth/authorize", self.hubspot)),
            ("HUBSPOT_API_URL", self.hubspot.clone()),
            ("DATABASE_URL", database),
            ("SERVER_ADDR", format!("127.0.0.1:{port}")),
            ("PUBLIC_URL", self.service.clone()),
            ("ADMIN_ADDR", "off".to_owned()),
            ("NO_PROXY", "*".to_owned()),
            ("HOST_ORIGINS", HOST.to_owned()),
            // Tests send more requests than any host.
            ("RATE_LIMIT_START_PER_MINUTE", "0".to_owned()),
            ("RATE_LIMIT_UNVERIFIED_START_PER_MINUTE", "0".to_owned()),
            ("RATE_LIMIT_API_PER_MINUTE", "0".to_owned()),
            ("RATE_LIMIT_WRONG_KEYS_PER_MINUTE", "0".to_owned()),
            // Receivers of webhooks run on this machine too.
            ("WEBHOOK_ALLOWED_HOSTS", "127.0.0.1".to_owned()),
            ("LOG_LEVEL", "warn".to_owned()),
        ];
        let usual = usual.into_iter().map(|(name, value)| (name.to_owned(), value));
        Ok(usual.chain(keys.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect())
    }

    fn spawn(&self, command: &mut Command) -> Result<Child> {
        let log = self.folder.join(format!("{}.log", self.children.len()));
        let log = fs::File::create(&log).map_err(|why| format!("{}: {why}", log.display()))?;
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        spawned.map_err(|why| format!("{command:?} could not be started: {why}"))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn built(name: &str) -> PathBuf {
    target_dir().join("debug").join(name)
}

/// Returns two free ports, both held until the second is found so that they differ.
fn free_ports() -> Result<(u16, u16)> {
    let bind = || TcpListener::bind(("127.0.0.1", 0)).map_err(|why| format!("no free port: {why}"));
    let (one, other) = (bind()?, bind()?);
    let port =
        |listener: &TcpListener| listener.local_addr().map(|at| at.port()).map_err(|why| why.to_string());
    Ok((port(&one)?, port(&other)?))
}

fn wait_for(port: u16) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > START_TIMEOUT {
            return Err(format!("nothing listens on port {port}"));
        }
        sleep(Duration::from_millis(50));
    }
    Ok(())
}
