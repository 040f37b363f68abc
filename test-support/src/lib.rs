//! Helpers of the tests, the torture and the benchmarks: the cookies of a browser, lines that can be cut, free ports,
//! the memory of a process.

mod cookies;
mod line;

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::sync::{Mutex, PoisonError};

pub use cookies::{Cookies, quoted_after};
pub use line::{Line, Reach, State};

/// Returns a port for this process alone, until it ends, from below the range of the system's ephemeral ports: there
/// are hundreds of these, and one of them might take the port in the meantime.
///
/// A port that was free a moment ago is not enough: among a thousand tests two choose the same one before either
/// listens. So this function holds the UDP port of the same number, which nothing here needs and only one process can
/// have.
pub fn free_port() -> u16 {
    static HELD: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    // Processes that start one after the other search from distant ports.
    let mut number = std::process::id().wrapping_mul(7919);
    loop {
        number = number.wrapping_add(1);
        let port = 10_000 + (number % 22_000) as u16;
        let Ok(hold) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            HELD.lock().unwrap_or_else(PoisonError::into_inner).push(hold);
            return port;
        }
    }
}

/// Reads a field of /proc/PID/status that is in KiB, such as `VmRSS`, the resident memory.
pub fn memory_kib(process: u32, field: &str) -> io::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok());
    number.ok_or_else(|| io::Error::other(format!("no {field} of process {process}")))
}
