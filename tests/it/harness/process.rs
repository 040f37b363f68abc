//! The real binary as an operator runs it: variables in; signals, exit codes and two streams out.

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use fake_hubspot::FakeHubSpot;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use tempfile::TempDir;
use test_support::free_port;

use super::Browser;
use super::app::{HOST, approve};

/// The limit of every wait.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(20);

/// The user and group that root becomes to run the binary as another user.
pub const STRANGER: u32 = 65_531;

/// The result of a command.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

/// Runs the binary to its end, with these variables and no others, in a folder without a `.env`.
pub fn run(arguments: &[&str], variables: &[(String, String)]) -> CommandOutput {
    let folder = tempfile::tempdir().expect("a folder");
    run_in(folder.path(), arguments, variables)
}

/// Does the same in this folder.
pub fn run_in(folder: &Path, arguments: &[&str], variables: &[(String, String)]) -> CommandOutput {
    let began = Instant::now();
    let streams = tempfile::tempdir().expect("a folder");
    let mut child = spawn(folder, streams.path(), arguments, variables);
    let status = end(&mut child).expect("the command ends by itself");
    let read = |name| std::fs::read_to_string(streams.path().join(name)).expect("a stream");
    CommandOutput {
        code: status.code(),
        stdout: read("stdout"),
        stderr: read("stderr"),
        took: began.elapsed(),
    }
}

/// Runs a line of a document in a shell that knows the binary by its name.
pub fn run_line(folder: &Path, line: &str, variables: &[(String, String)]) -> Output {
    let binaries = Path::new(BINARY).parent().expect("a folder").display();
    let path = format!("{binaries}:{}", std::env::var("PATH").expect("a path"));
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(folder).env_clear().envs(variables.iter().cloned());
    shell.env("PATH", path).output().expect("it runs")
}

/// Runs the binary as a user without any files: root may do everything, so for root another user runs the binary.
pub fn run_as_stranger(folder: &Path, arguments: &[&str], variables: &[(String, String)]) -> CommandOutput {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder).env_clear().envs(variables.iter().cloned());
    if rustix::process::geteuid().is_root() {
        command.uid(STRANGER).gid(STRANGER);
    }
    output_of(&mut command)
}

/// Does the same with this standard input.
pub fn run_with_input(
    folder: &Path,
    arguments: &[&str],
    variables: &[(String, String)],
    input: &str,
) -> CommandOutput {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(input.as_bytes()).expect("it fits into the pipe");
    drop(writer);
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(folder).env_clear().envs(variables.iter().cloned()).stdin(reader);
    output_of(&mut command)
}

fn output_of(command: &mut Command) -> CommandOutput {
    let began = Instant::now();
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let [stdout, stderr] = [stdout, stderr].map(|stream| String::from_utf8(stream).expect("UTF-8"));
    CommandOutput { code: status.code(), stdout, stderr, took: began.elapsed() }
}

/// Does the same with this standard output.
pub fn run_into(stdout: impl Into<Stdio>, arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).env_clear().stdout(stdout).output().expect("it runs")
}

/// Runs the binary and kills it after a while (SIGKILL). Returns whether it was still running.
pub fn run_and_kill(arguments: &[&str], variables: &[(String, String)], after: Duration) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = spawn(folder.path(), folder.path(), arguments, variables);
    std::thread::sleep(after);
    let was_running = child.try_wait().expect("a state").is_none();
    child.kill().expect("a signal");
    child.wait().expect("its end");
    was_running
}

/// A service in a separate process, killed on drop.
pub struct Process {
    child: Child,
    pub base: String,
    pub admin: String,
    folder: TempDir,
}

impl Process {
    /// Starts the service and waits until it listens.
    pub fn serve(variables: &[(String, String)]) -> Self {
        Self::launch_by(variables, spawn).up(variables)
    }

    /// Starts a process whose files can be limited in size, see [`Process::limit_files`].
    pub fn serve_limited(variables: &[(String, String)]) -> Self {
        Self::launch_by(variables, spawn_limited).up(variables)
    }

    /// Starts the service without waiting.
    pub fn launch(variables: &[(String, String)]) -> Self {
        Self::launch_by(variables, spawn)
    }

    fn launch_by(variables: &[(String, String)], spawn: Spawn) -> Self {
        let mut variables = variables.to_vec();
        let admin = format!("127.0.0.1:{}", free_port());
        variables.retain(|(name, _)| name != "ADMIN_ADDR");
        variables.push(("ADMIN_ADDR".to_owned(), admin.clone()));
        let folder = tempfile::tempdir().expect("a folder");
        let child = spawn(folder.path(), folder.path(), &["serve"], &variables);
        Self { child, base: value(&variables, "PUBLIC_URL"), admin: format!("http://{admin}"), folder }
    }

    fn up(mut self, variables: &[(String, String)]) -> Self {
        let address = value(variables, "SERVER_ADDR");
        let admin = self.admin.trim_start_matches("http://").to_owned();
        let began = Instant::now();
        for address in [address, admin] {
            while TcpStream::connect(&address).is_err() {
                let ended = self.child.try_wait().expect("a state");
                assert!(
                    ended.is_none() && began.elapsed() < PROCESS_TIMEOUT,
                    "it does not come up: {}",
                    self.log()
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        self
    }

    /// Limits the size of all files from here on: a write beyond it fails, as on a full disk.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let maximum = getrlimit(Resource::Fsize).maximum;
        let limit = Rlimit { current: bytes.or(maximum), maximum };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).expect("a limit");
    }

    /// Returns its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).expect("a log")
    }

    /// Asks it to stop (SIGTERM).
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal");
    }

    /// Limits its open files and connections from here on.
    pub fn limit_descriptors(&self, count: Option<u64>) {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let limit = Rlimit { current: count.or(maximum), maximum };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).expect("a limit");
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) -> ExitStatus {
        end(&mut self.child).unwrap_or_else(|| panic!("it does not end: {}", self.log()))
    }

    /// Kills it like a crash (SIGKILL).
    pub fn crash(mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("its end");
    }

    /// Returns a browser whose user has connected this account.
    pub async fn connected(&self, hubspot: &FakeHubSpot, hub_id: u64) -> Browser {
        let browser = Browser::new(&self.base);
        let authorize = browser.start(Some(HOST)).await;
        let back = hubspot.decide(&authorize, approve(hub_id)).expect("a way back");
        assert_eq!(browser.get(&back).await.status, 303);
        let status = browser.status().await;
        assert_eq!(status["status"], "active", "{status}: {}", self.log());
        browser
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a condition holds; for processes, which have their own clock.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PROCESS_TIMEOUT, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

type Spawn = fn(&Path, &Path, &[&str], &[(String, String)]) -> Child;

fn spawn(folder: &Path, streams: &Path, arguments: &[&str], variables: &[(String, String)]) -> Child {
    spawn_by(Command::new(BINARY), folder, streams, arguments, variables)
}

/// Starts it by a shell that ignores the signal of a reached limit, so that only the failed write remains.
fn spawn_limited(folder: &Path, streams: &Path, arguments: &[&str], variables: &[(String, String)]) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", BINARY]);
    spawn_by(shell, folder, streams, arguments, variables)
}

pub const BINARY: &str = env!("CARGO_BIN_EXE_hubspot-connect");

fn spawn_by(
    mut command: Command,
    folder: &Path,
    streams: &Path,
    arguments: &[&str],
    variables: &[(String, String)],
) -> Child {
    let stream = |name| File::create(streams.join(name)).expect("a file");
    command.env_clear();
    if let Some(profile) = std::env::var_os("LLVM_PROFILE_FILE") {
        command.env("LLVM_PROFILE_FILE", profile);
    }
    command
        .args(arguments)
        .envs(variables.iter().cloned())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(stream("stdout"))
        .stderr(stream("stderr"))
        .spawn()
        .expect("the binary starts")
}

fn end(child: &mut Child) -> Option<ExitStatus> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a state") {
            return Some(status);
        }
        if began.elapsed() >= PROCESS_TIMEOUT {
            let _ = child.kill();
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns the value of a variable; the last one wins.
pub fn value(variables: &[(String, String)], name: &str) -> String {
    let found = variables.iter().rev().find(|(known, _)| known == name);
    found.expect("a variable").1.clone()
}

/// Returns the variables with one changed.
pub fn changed(variables: &[(String, String)], name: &str, value: &str) -> Vec<(String, String)> {
    let mut variables: Vec<_> = without(variables, name);
    variables.push((name.to_owned(), value.to_owned()));
    variables
}

/// Returns the variables without one.
pub fn without(variables: &[(String, String)], name: &str) -> Vec<(String, String)> {
    let kept = variables.iter().filter(|(known, _)| known != name);
    kept.cloned().collect()
}
