//! nginx in front of the service, with the configuration that docs/operating.md shows.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::process::eventually;

/// The document with the configuration.
const DOCUMENT: &str = include_str!("../../../docs/operating.md");

/// A running nginx, stopped on drop.
pub struct Nginx {
    process: Child,
    folder: TempDir,
}

impl Nginx {
    /// Starts it on this port of 127.0.0.1, in front of the service at this address.
    pub async fn start(port: u16, service: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("nginx.conf");
        std::fs::write(&file, configuration(folder.path(), port, service)).expect("a file");
        let mut command = Command::new(program());
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).arg("-e").arg("error.log");
        // One process, so that none is left behind.
        command.args(["-g", "daemon off; master_process off;"]).stdin(Stdio::null());
        let process = command.spawn().expect("nginx starts");
        let nginx = Self { process, folder };
        eventually("nginx listens", || async { TcpStream::connect(("127.0.0.1", port)).is_ok() }).await;
        nginx
    }

    /// Returns its access log.
    pub fn access_log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("access.log")).expect("a log")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = folders.map(|folder| folder.join("nginx")).find(|file| file.is_file());
    found.expect("nginx is missing; `cargo xtask setup` installs it, or says how")
}

/// Returns the document's server on a port, in a folder and without TLS.
fn configuration(folder: &Path, port: u16, service: &str) -> String {
    let (_, rest) = DOCUMENT.split_once("```nginx\n").expect("docs/operating.md shows a configuration");
    let (mut shown, _) =
        rest.split_once("```").map(|(shown, rest)| (shown.to_owned(), rest)).expect("its end");
    for (from, to) in [
        ("listen 443 ssl;", format!("listen 127.0.0.1:{port};")),
        ("ssl_certificate /etc/ssl/certs/connect.example.com.pem;", String::new()),
        ("ssl_certificate_key /etc/ssl/private/connect.example.com.key;", String::new()),
        ("/var/log/nginx/connect.log", "access.log".to_owned()),
        ("http://127.0.0.1:6001", format!("http://{service}")),
    ] {
        assert!(shown.contains(from), "docs/operating.md has no longer `{from}`");
        shown = shown.replace(from, &to);
    }
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {folder}/{what};\n"))
        .concat();
    format!("pid nginx.pid;\nevents {{}}\nhttp {{\n{temporary}{shown}}}\n")
}
