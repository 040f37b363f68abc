//! The user that runs the server: PostgreSQL refuses to run as root.

use crate::Result;
use crate::run::{find, program, read};
use crate::setup;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user that owns the server and its files.
pub enum Owner {
    /// The user who runs the tests.
    Caller,
    /// Another user, because the caller is root.
    Other {
        /// Number of the user.
        uid: u32,
        /// Number of the user's own group.
        gid: u32,
    },
}

impl Owner {
    /// Chooses the caller, or for root the user that comes with the PostgreSQL packages.
    pub fn choose() -> Result<Self> {
        if !setup::is_root() {
            return Ok(Self::Caller);
        }
        if find("setpriv").is_none() {
            return Err(
                "PostgreSQL refuses to run as root, and setpriv is missing; install util-linux".to_owned()
            );
        }
        let users = fs::read_to_string("/etc/passwd").map_err(|why| format!("/etc/passwd: {why}"))?;
        let other = ["postgres", "nobody"].into_iter().find_map(|name| lookup(&users, name));
        let (uid, gid) = other.ok_or("PostgreSQL refuses to run as root, and there is no user `postgres`")?;
        Ok(Self::Other { uid, gid })
    }

    /// Returns a command that runs as this user.
    pub fn program(&self, path: impl AsRef<OsStr>) -> Command {
        let Self::Other { uid, gid } = self else {
            return program(path);
        };
        let mut command = program("setpriv");
        command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
        command.args(["--clear-groups", "--inh-caps=-all"]).arg(path);
        command
    }

    /// Changes the owner of a file or folder to this user.
    pub fn give(&self, path: &Path) -> Result<()> {
        match self {
            Self::Caller => Ok(()),
            Self::Other { uid, gid } => {
                chown(path, Some(*uid), Some(*gid)).map_err(|why| format!("{}: {why}", path.display()))
            }
        }
    }

    /// Returns a folder for temporary files that this user may enter; root's own is often closed to others.
    pub fn temporary_folder(&self) -> Result<PathBuf> {
        let folders = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
        let open = folders.into_iter().find(|folder| {
            // In the folder itself, because the current one may be closed to this user.
            let mut entered = self.program("test");
            read(entered.arg("-x").arg(folder).current_dir("/")).is_ok()
        });
        open.ok_or_else(|| "no temporary folder is open to the user that runs PostgreSQL".to_owned())
    }
}

/// Finds number and group of a user in the text of `/etc/passwd`.
fn lookup(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut numbers = line.split(':').skip(2);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_matched_by_their_full_name() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\npostgres2:x:7:8::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\n";
        assert_eq!(lookup(users, "postgres"), Some((101, 104)));
        assert_eq!(lookup(users, "nobody"), None);
    }
}
