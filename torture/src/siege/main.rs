//! Lays siege to the service: thousands of hostile connections from two client addresses, one kind after the other,
//! beside an honest client on a third address. Reports the response times of the honest client, the memory of the
//! service, and how long the hostile connections stay open once their clients are silent.
//!
//! The attackers are separate processes (this program, with `--attack`): each needs as many descriptors as it has
//! connections.
#![expect(clippy::print_stdout, reason = "a command-line program prints to standard output")]

mod attack;
mod honest;
mod service;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;
use tokio::time::{Instant, sleep};

use attack::{Kind, Target};
use honest::Honest;
use service::Service;

/// An error that stops a siege.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The addresses of the attackers.
const HOSTILE: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
/// The address of the honest client.
const FRIENDLY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
/// The time within which the service must close a silent connection: 30 seconds, and two coarse clocks of a second
/// each.
const GONE_WITHIN: Duration = Duration::from_secs(33);
/// The limit for the service's resident memory, in KiB.
const RESIDENT: u64 = 200 * 1024;

/// Lay siege to the service with hostile connections, beside an honest client.
#[derive(Debug, Parser)]
struct Arguments {
    /// Number of hostile connections, from both addresses together
    #[arg(long, default_value_t = 20_000)]
    connections: usize,
    /// Seconds of each kind of attack before its clients fall silent
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Minutes of the whole siege: the kinds are repeated until then
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// Only this kind of attack (may be given more than once); by default all of them one after the other
    #[arg(long, value_enum)]
    kind: Vec<Kind>,
    /// Arguments of an attacker's process (used by this program itself)
    #[command(flatten)]
    attack: attack::Orders,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Err(why) = raise_descriptors() {
        println!("    could not raise the limit on open files: {why}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(Failure::from).and_then(|runtime| {
        runtime.block_on(async {
            match &arguments.attack.attack {
                Some(kind) => {
                    attack::run(*kind, &arguments.attack, arguments.connections).await.map(|()| true)
                }
                None => besiege(&arguments).await,
            }
        })
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            println!("    the siege failed: {why}");
            ExitCode::FAILURE
        }
    }
}

fn raise_descriptors() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

async fn besiege(arguments: &Arguments) -> Result<bool, Failure> {
    let service = Service::start().await?;
    println!("| attack | slowest honest response | honest failures | peak memory | all closed after |");
    println!("|---|---|---|---|---|");
    let (began, length) = (Instant::now(), Duration::from_secs(60 * arguments.minutes));
    let kinds = if arguments.kind.is_empty() { &Kind::ALL[..] } else { &arguments.kind };
    let mut holds = true;
    loop {
        for kind in kinds.iter().copied() {
            let found = attack_once(&service, kind, arguments).await?;
            println!(
                "| {} | {} ms | {} of {} | {} MiB | {} |",
                kind.name(),
                found.honest.slowest.as_millis(),
                found.honest.failures,
                found.honest.requests,
                found.resident / 1024,
                found.gone_after.map_or("never".to_owned(), |after| format!("{} s", after.as_secs())),
            );
            holds &= found.holds();
        }
        if began.elapsed() >= length {
            println!(
                "\n{} connections from two addresses; each attack lasted {} s",
                arguments.connections, arguments.seconds
            );
            println!(
                "must hold: no honest failure, less than {} MiB, closed within {} s",
                RESIDENT / 1024,
                GONE_WITHIN.as_secs()
            );
            return Ok(holds);
        }
    }
}

/// The result of an attack.
struct Found {
    honest: honest::Figures,
    resident: u64,
    gone_after: Option<Duration>,
}

impl Found {
    fn holds(&self) -> bool {
        self.honest.failures == 0 && self.resident < RESIDENT && self.gone_after.is_some()
    }
}

async fn attack_once(service: &Service, kind: Kind, arguments: &Arguments) -> Result<Found, Failure> {
    let target = service.target().await?;
    let mut honest = Honest::begin(FRIENDLY, target.address);
    let mut attackers = Vec::new();
    for source in HOSTILE {
        attackers.push(Attacker::start(kind, source, &target, arguments)?);
    }
    let mut resident = 0;
    let (began, length) = (Instant::now(), Duration::from_secs(arguments.seconds));
    while began.elapsed() < length {
        resident = resident.max(service.resident()?);
        sleep(Duration::from_millis(100)).await;
    }
    // From here on they send nothing, open no connection, and keep the open ones.
    attackers.iter_mut().for_each(Attacker::fall_silent);
    let silent = Instant::now();
    let mut gone_after = None;
    while silent.elapsed() < GONE_WITHIN && gone_after.is_none() {
        resident = resident.max(service.resident()?);
        if service.hostile().await? == 0 {
            gone_after = Some(silent.elapsed());
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(Found { honest: honest.end().await, resident, gone_after })
}

/// An attacker's process, killed on drop.
struct Attacker(Child);

impl Attacker {
    fn start(kind: Kind, source: Ipv4Addr, target: &Target, arguments: &Arguments) -> Result<Self, Failure> {
        let connections = arguments.connections / HOSTILE.len();
        let child = Command::new(std::env::current_exe()?)
            .args(["--attack", kind.name(), "--source", &source.to_string()])
            .args(["--target", &target.address.to_string(), "--host", &target.host])
            .args(["--verifier", &target.verifier, "--tag", &target.tag])
            .args(["--connections", &connections.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::inherit())
            .spawn()?;
        Ok(Self(child))
    }

    /// Closes the process's standard input, which ends its attack.
    fn fall_silent(&mut self) {
        drop(self.0.stdin.take());
    }
}

impl Drop for Attacker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens a TCP connection from one of the loopback addresses.
async fn connect(source: Ipv4Addr, to: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(to).await
}
