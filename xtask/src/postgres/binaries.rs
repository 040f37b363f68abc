//! The search for the server's programs.

use crate::run::find;
use std::fs;
use std::path::{Path, PathBuf};

/// The folder with `initdb`, `pg_ctl` and `postgres`.
pub struct Binaries(PathBuf);

impl Binaries {
    /// Searches the path, then Debian's folders, which are on no path, newest version first.
    pub fn find() -> Option<Self> {
        let on_path = find("initdb").or_else(|| find("pg_ctl"));
        // The path may contain a link to the real program; the others are beside the link's target.
        let on_path = on_path.and_then(|file| file.canonicalize().ok()?.parent().map(Path::to_owned));
        on_path.into_iter().chain(debian()).find(|folder| is_complete(folder)).map(Self)
    }

    /// Returns the path of a program.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn is_complete(folder: &Path) -> bool {
    ["initdb", "pg_ctl", "postgres"].iter().all(|name| folder.join(name).is_file())
}

fn debian() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, folder)| folder).collect()
}
