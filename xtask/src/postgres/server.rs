//! A PostgreSQL server in a temporary folder, on a free port of the loopback interface.

use super::binaries::Binaries;
use super::owner::Owner;
use crate::run::{program, read};
use crate::suite::POSTGRES_URL;
use crate::{Result, setup};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// A running server, stopped and with its files removed on drop.
pub struct Server {
    url: String,
    /// None for a server that was not started here.
    _keeper: Option<Keeper>,
}

/// The settings of every server.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
shared_buffers = 64MB
";

/// A server like those of operators.
const DURABLE: Kind = Kind { settings: "", login: "scram-sha-256" };

/// A server whose data does not outlive the run, so it need not survive a power failure.
const FORGETFUL: Kind = Kind {
    settings: "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n",
    login: "scram-sha-256",
};

/// The same for the tests. Each of them logs in a dozen times, and the thousands of hashes of SCRAM take an unoptimized
/// client longer than the test itself.
const QUICK: Kind = Kind { login: "password", ..FORGETFUL };

struct Kind {
    settings: &'static str,
    /// The login method in pg_hba.conf.
    login: &'static str,
}

/// Attempts to start: another program may take the free port before the server does.
const ATTEMPTS: usize = 3;

impl Server {
    /// Returns the server that `TEST_POSTGRES_URL` names, or a fresh one for the tests.
    pub fn given_or_quick() -> Result<Self> {
        Self::given().map_or_else(Self::start, Ok)
    }

    /// Returns the server that `TEST_POSTGRES_URL` names, or a fresh one without durability.
    pub fn given_or_forgetful() -> Result<Self> {
        Self::given().map_or_else(|| Self::start_as(&FORGETFUL), Ok)
    }

    /// Returns the server that `TEST_POSTGRES_URL` names, or a fresh one with commits as expensive as in production.
    pub fn given_or_durable() -> Result<Self> {
        Self::given().map_or_else(|| Self::start_as(&DURABLE), Ok)
    }

    fn given() -> Option<Self> {
        let url = std::env::var(POSTGRES_URL).ok().filter(|url| !url.is_empty())?;
        Some(Self { url, _keeper: None })
    }

    /// Starts a fresh server for the tests.
    pub fn start() -> Result<Self> {
        Self::start_as(&QUICK)
    }

    fn start_as(kind: &Kind) -> Result<Self> {
        let binaries = Binaries::find().ok_or_else(|| setup::POSTGRES.remedy())?;
        let owner = Owner::choose()?;
        let password = random_word()?;
        let home = make_home(&owner)?;
        // Before anything is started, so that every early return cleans up.
        let keeper = Keeper::watch(&owner, &binaries, &home)?;
        make_cluster(&owner, &binaries, &home, &password, kind)?;
        let port = start_on_free_port(&owner, &binaries, &home)?;
        let url = format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres");
        Ok(Self { url, _keeper: Some(keeper) })
    }

    /// Returns its URL for the administrator.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// Creates the folder of all the server's files, open to its user alone.
fn make_home(owner: &Owner) -> Result<PathBuf> {
    let home = owner.temporary_folder()?.join(format!("hubspot-connect-postgres-{}", random_word()?));
    DirBuilder::new().mode(0o700).create(&home).map_err(|why| format!("{}: {why}", home.display()))?;
    owner.give(&home)?;
    Ok(home)
}

fn make_cluster(owner: &Owner, binaries: &Binaries, home: &Path, password: &str, kind: &Kind) -> Result<()> {
    let secret = home.join("password");
    write_private(&secret, password)?;
    owner.give(&secret)?;
    let mut initdb = owner.program(binaries.path("initdb"));
    initdb.args(["-U", "postgres", "-A", kind.login, "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
    initdb.arg(home.join("data")).arg("--pwfile").arg(&secret);
    read(initdb.current_dir(home))?;
    append(&home.join("data/postgresql.conf"), &format!("{SETTINGS}{}", kind.settings))
}

fn start_on_free_port(owner: &Owner, binaries: &Binaries, home: &Path) -> Result<u16> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let port = free_port()?;
        append(&home.join("data/postgresql.conf"), &format!("port = {port}\n"))?;
        let mut start = owner.program(binaries.path("pg_ctl"));
        start
            .arg("start")
            .arg("-w")
            .arg("-s")
            .arg("-D")
            .arg(home.join("data"))
            .arg("-l")
            .arg(home.join("log"));
        // The server inherits these streams and keeps them; a captured one would never end.
        start.current_dir(home).stdout(Stdio::null()).stderr(Stdio::null());
        match start.status() {
            Ok(status) if status.success() => return Ok(port),
            Ok(_) => last = fs::read_to_string(home.join("log")).unwrap_or_default(),
            Err(why) => last = why.to_string(),
        }
    }
    Err(format!("PostgreSQL did not start:\n{}", last.trim()))
}

/// A shell that waits for the end of this process, for any reason, then stops the server and removes its files.
///
/// It reads from a pipe whose other end only this process holds. A destructor alone would miss Ctrl-C and `kill`, and
/// the server, no child of this process, would run on.
struct Keeper(Child);

const KEEPER: &str = r#"home=$1; shift
cat >/dev/null
"$@" stop -D "$home/data" -m immediate -s >/dev/null 2>&1
rm -rf "$home""#;

impl Keeper {
    fn watch(owner: &Owner, binaries: &Binaries, home: &Path) -> Result<Self> {
        let pg_ctl = owner.program(binaries.path("pg_ctl"));
        let mut shell = program("sh");
        shell.args(["-c", KEEPER, "keeper"]).arg(home).arg(pg_ctl.get_program()).args(pg_ctl.get_args());
        // Its own process group, so that Ctrl-C at the terminal does not end it first.
        shell
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        shell.spawn().map(Self).map_err(|why| format!("sh could not be started: {why}"))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        if let Err(why) = self.0.wait() {
            eprintln!("could not wait for PostgreSQL to stop: {why}");
        }
    }
}

fn free_port() -> Result<u16> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    socket.map(|address| address.port()).map_err(|why| format!("no free port: {why}"))
}

fn random_word() -> Result<String> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|why| format!("/dev/urandom: {why}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|why| format!("{}: {why}", path.display()))
}

fn append(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new().append(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|why| format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the server's result of a statement.
    fn ask(server: &Server, statement: &str) -> Result<String> {
        let psql = Binaries::find().ok_or("no PostgreSQL here")?.path("psql");
        read(program(psql).args(["-X", "-A", "-t", "-c", statement]).arg(server.url()))
            .map(|said| said.trim().to_owned())
    }

    #[test]
    fn servers_run_while_held_and_leave_nothing_behind() -> Result<()> {
        if setup::POSTGRES.is_missing() {
            eprintln!("skipped: {}", setup::POSTGRES.remedy());
            return Ok(());
        }
        let server = Server::start()?;
        assert_eq!(ask(&server, "show max_connections")?, "300");
        assert_eq!(ask(&server, "show listen_addresses")?, "127.0.0.1");
        let data = PathBuf::from(ask(&server, "show data_directory")?);
        assert!(data.exists());

        let url = server.url().to_owned();
        drop(server);

        assert!(!data.exists());
        assert!(ask(&Server { url, _keeper: None }, "select 1").is_err());
        Ok(())
    }

    #[test]
    fn servers_require_their_password() -> Result<()> {
        if setup::POSTGRES.is_missing() {
            eprintln!("skipped: {}", setup::POSTGRES.remedy());
            return Ok(());
        }
        let server = Server::start()?;
        let (start, rest) = server.url().rsplit_once('@').ok_or("no address")?;
        let wrong = start.replace(start.rsplit(':').next().unwrap_or_default(), "wrong");
        assert!(ask(&Server { url: format!("{wrong}@{rest}"), _keeper: None }, "select 1").is_err());
        Ok(())
    }
}
