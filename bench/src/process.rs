//! Server processes: pinned to a core, measured by the kernel, killed on drop.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use test_support::memory_kib;

use crate::Failure;

/// A server process that listens on a loopback port.
pub struct Process {
    child: Child,
    pub port: u16,
}

impl Process {
    /// Starts a program on one core. The caller has to wait until it listens.
    pub fn start(command: &Command, core: usize, port: u16) -> Result<Self, Failure> {
        let mut tied = tied(command, core);
        Ok(Self { child: tied.stdout(Stdio::null()).spawn()?, port })
    }

    /// Starts a program that does not listen, and waits for its first line of output.
    pub fn start_and_hear(command: &Command, core: usize) -> Result<Self, Failure> {
        let mut child = tied(command, core).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let process = Self { child, port: 0 };
        match BufReader::new(output).read_line(&mut String::new())? {
            0 => Err("a program ended without output".into()),
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
        Err("a server did not start within 10 s".into())
    }

    /// Returns the CPU time so far. The kernel gives the sum in hundredths of a second (fields 14 and 15 of
    /// proc_pid_stat(5), user and system), and more finely that of the live threads: the larger one is nearer to the
    /// truth.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        cpu_of(self.child.id())
    }

    /// Returns the CPU time so far of each live thread, in nanoseconds (first field of /proc/PID/task/TID/schedstat).
    pub fn cpu_of_threads(&self) -> Result<BTreeMap<OsString, u64>, Failure> {
        cpu_of_threads(self.child.id())
    }

    /// Returns the resident memory in KiB.
    pub fn resident_kib(&self) -> Result<u64, Failure> {
        Ok(memory_kib(self.child.id(), "VmRSS")?)
    }

    /// Returns the peak resident memory in KiB.
    pub fn peak_kib(&self) -> Result<u64, Failure> {
        Ok(memory_kib(self.child.id(), "VmHWM")?)
    }
}

/// Returns the CPU time so far of a process, like [`Process::cpu`].
pub fn cpu_of(pid: u32) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').ok_or("an unexpected /proc/PID/stat")?;
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    let living = Duration::from_nanos(cpu_of_threads(pid)?.values().sum());
    Ok(Duration::from_millis(ticks * 10).max(living))
}

fn cpu_of_threads(pid: u32) -> Result<BTreeMap<OsString, u64>, Failure> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let thread = thread?;
        // A thread may end while it is being read.
        let Ok(stat) = fs::read_to_string(thread.path().join("schedstat")) else { continue };
        let spent = stat.split_whitespace().next().ok_or("an unexpected schedstat")?;
        threads.insert(thread.file_name(), spent.parse()?);
    }
    Ok(threads)
}

/// Returns the same command, pinned to one core.
fn tied(command: &Command, core: usize) -> Command {
    let mut tied = Command::new("taskset");
    tied.arg("-c").arg(core.to_string()).arg(command.get_program()).args(command.get_args());
    tied.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    tied.stdin(Stdio::null());
    tied
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM, so that a database is closed properly, sent by `kill` because std has no other way.
        let sent = Command::new("kill").arg(self.child.id().to_string()).status();
        if sent.is_err() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Pins a process to one core.
pub fn tie_to_core(pid: u32, core: usize) -> Result<(), Failure> {
    let status = Command::new("taskset")
        .args(["-cp", &core.to_string(), &pid.to_string()])
        .stdout(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err("taskset (package util-linux) is needed".into()) }
}
