//! Server processes: tied to a core, measured by the kernel, ended with the handle.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use test_support::memory_kib;

use crate::Failure;

/// A server process that listens on a port of this machine.
pub struct Process {
    child: Child,
    pub port: u16,
}

impl Process {
    /// Starts a program on one core. Whether it listens is for the caller to find out.
    pub fn start(command: &Command, core: usize, port: u16) -> Result<Self, Failure> {
        let mut tied = tied(command, core);
        Ok(Self { child: tied.stdout(Stdio::null()).spawn()?, port })
    }

    /// Starts a program that listens nowhere, and waits until it has said a line.
    pub fn start_and_hear(command: &Command, core: usize) -> Result<Self, Failure> {
        let mut child = tied(command, core).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let process = Self { child, port: 0 };
        match BufReader::new(output).read_line(&mut String::new())? {
            0 => Err("a program has ended without a word".into()),
            _ => Ok(process),
        }
    }

    /// Waits until it accepts connections.
    pub fn wait(&self) -> Result<(), Failure> {
        for _ in 0..10_000 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err("a server did not come up within 10 s".into())
    }

    /// CPU time so far. The kernel tells the sum in hundredths of a second (fields 14 and 15 of proc_pid_stat(5), user and
    /// system), and more finely that of the threads that still live: the larger one is nearer to the truth.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        cpu_of(self.child.id())
    }

    /// CPU time so far of each thread that lives, in nanoseconds (first field of /proc/PID/task/TID/schedstat).
    pub fn cpu_of_threads(&self) -> Result<BTreeMap<OsString, u64>, Failure> {
        cpu_of_threads(self.child.id())
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Result<u64, Failure> {
        Ok(memory_kib(self.child.id(), "VmRSS")?)
    }

    /// The most that it ever was.
    pub fn peak_kib(&self) -> Result<u64, Failure> {
        Ok(memory_kib(self.child.id(), "VmHWM")?)
    }
}

/// CPU time so far of a process, as [`Process::cpu`] tells it.
pub fn cpu_of(pid: u32) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("an odd /proc/PID/stat")?;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    let living = Duration::from_nanos(cpu_of_threads(pid)?.values().sum());
    Ok(Duration::from_millis(ticks * 10).max(living))
}

fn cpu_of_threads(pid: u32) -> Result<BTreeMap<OsString, u64>, Failure> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?;
        // A thread may end while it is being looked at.
        let Ok(stat) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        let spent = stat.split_whitespace().next().ok_or("an odd schedstat")?;
        threads.insert(thread.file_name(), spent.parse()?);
    }
    Ok(threads)
}

/// The same program, to run on one core.
fn tied(command: &Command, core: usize) -> Command {
    let mut tied = Command::new("taskset");
    tied.arg("-c").arg(core.to_string()).arg(command.get_program()).args(command.get_args());
    tied.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    tied.stdin(Stdio::null());
    tied
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM, so that a database is closed properly; by number, because that is all std offers.
        let sent = Command::new("kill").arg(self.child.id().to_string()).status();
        if sent.is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Ties a process to one core.
pub fn tie_to_core(pid: u32, core: usize) -> Result<(), Failure> {
    let status = Command::new("taskset")
        .args(["-cp", &core.to_string(), &pid.to_string()])
        .stdout(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err("taskset (package util-linux) is needed".into()) }
}
