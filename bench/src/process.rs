//! Server processes: tied to a core, measured by the kernel, ended with the handle.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::Failure;

/// A server process that listens on a port of this machine.
pub struct Process {
    child: Child,
    pub port: u16,
}

impl Process {
    /// Starts a program on one core. Whether it listens is for the caller to find out.
    pub fn start(mut command: Command, core: usize, port: u16) -> Result<Self, Failure> {
        let mut tied = Command::new("taskset");
        tied.arg("-c").arg(core.to_string()).arg(command.get_program()).args(command.get_args());
        tied.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        tied.stdin(Stdio::null()).stdout(Stdio::null());
        command = tied;
        Ok(Self { child: command.spawn()?, port })
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

    /// CPU time so far, user and system (fields 14 and 15 of proc_pid_stat(5), in hundredths of a second).
    pub fn cpu(&self) -> Result<Duration, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').ok_or("an odd /proc/PID/stat")?;
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or(0)).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Result<u64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().next().unwrap_or("0").parse()?)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGTERM, so that a database is closed properly; by number, because that is all std offers.
        let told = Command::new("kill").arg(self.child.id().to_string()).status();
        if told.is_err() {
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
