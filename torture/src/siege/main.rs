//! Lays siege to the service: thousands of hostile connections from two client addresses, one kind after the other,
//! beside an honest client on a third address. Reports how long the honest client waits, how much memory the service
//! takes, and how long the hostile connections stay once their clients have fallen silent.
//!
//! The attackers are processes of their own (this program, with `--attack`): each needs as many descriptors as it has
//! connections.
#![expect(clippy::print_stdout, reason = "a command-line program speaks on standard output")]

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

/// Why a siege cannot be laid.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where the attackers come from.
const HOSTILE: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
/// Where the honest client comes from.
const FRIENDLY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);
/// How long the service may keep a silent connection: 30 seconds, and two coarse clocks of a second each.
const GONE_WITHIN: Duration = Duration::from_secs(33);
/// What the service may occupy, in KiB.
const RESIDENT: u64 = 200 * 1024;

/// Lays siege to the service with hostile connections, beside an honest client.
#[derive(Debug, Parser)]
struct Arguments {
    /// The number of hostile connections, from both addresses together
    #[arg(long, default_value_t = 20_000)]
    connections: usize,
    /// The duration of each kind of attack before its clients fall silent, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// The duration of the siege, in minutes: the kinds are repeated until then
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// Run only this kind of attack (may be repeated); all of them one after the other if omitted
    #[arg(long, value_enum)]
    kind: Vec<Kind>,
    /// What an attacker's process does (used by this program itself)
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
            println!("    the siege has failed: {why}");
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
    println!("| attack | slowest honest answer | honest failures | peak memory | all closed after |");
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

/// What one attack has shown.
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
    // From here on they send nothing and open nothing, and leave open what is.
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

/// An attacker's process; it ends when this is dropped.
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

    /// Closes the process's standard input, which it takes for the order.
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

/// A TCP connection from one of the loopback addresses.
async fn connect(source: Ipv4Addr, to: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    socket.connect(to).await
}
