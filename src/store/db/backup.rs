//! Backups of an SQLite file: a copy beside a running service, a check for damage, and the replacement of the file by a
//! backup.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::geteuid;
use thiserror::Error;

use super::open::{beside, followed, lock};
use super::{Database, OpenError, Reader, StoreError};
use crate::domain::clock::Clock;

/// The suffixes of the files from which SQLite completes or undoes changes when it opens the database beside them.
const JOURNALS: [&str; 2] = ["-wal", "-journal"];

/// The extent of a check for damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegrityCheck {
    /// Reads every page.
    Quick,
    /// Also compares every index with its table.
    Full,
}

/// The reason a backup or a restore failed. The database is unchanged.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The file exists, and would be overwritten.
    #[error("{} exists and is not overwritten; move it away", .0.display())]
    Exists(PathBuf),
    /// The file cannot be read, written or replaced.
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, io::Error),
    /// The backup is damaged.
    #[error("{} is damaged: {}", .0.display(), .1)]
    Damaged(PathBuf, String),
    /// The backup has no schema.
    #[error("{} has no tables of hubspot-connect", .0.display())]
    Foreign(PathBuf),
    /// A process that does not serve from the database, such as a command or `sqlite3`, has it open.
    #[error("another process has the database open; wait until it ends, or end it")]
    InUse,
    /// The database or the backup cannot be opened or read.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<StoreError> for BackupError {
    fn from(why: StoreError) -> Self {
        Self::Open(why.into())
    }
}

impl Database {
    /// Returns the damage that SQLite finds in the file; `None` if there is none, or if this is PostgreSQL.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read, or is too damaged to be checked.
    pub async fn damage(&self, check: IntegrityCheck) -> Result<Option<String>, StoreError> {
        if matches!(self.reader, Reader::Postgres(_)) {
            return Ok(None);
        }
        let pragma = if check == IntegrityCheck::Quick { "quick_check" } else { "integrity_check" };
        // Not within the deadline of a query: a large file takes longer.
        let found = self.reader().all(&format!("PRAGMA {pragma}(3)"), []).await?;
        let found = found.iter().map(|row| row.get(pragma)).collect::<Result<Vec<String>, _>>()?;
        Ok((found != ["ok"]).then(|| found.join("; ").replace('\n', "; ")))
    }

    /// Copies the SQLite database to a new file that only its owner can read, and checks the copy. Other processes may
    /// read and write in the meantime.
    ///
    /// # Errors
    /// [`BackupError`]; then there is no new file.
    pub async fn back_up(&self, to: &Path) -> Result<(), BackupError> {
        self.copy(to).await?;
        let copy = Self::inspect_file(to, self.clock.clone())?;
        let checked = copy.must_be_intact(to).await;
        copy.close().await;
        if checked.is_err() {
            let _ = fs::remove_file(to);
        }
        checked
    }

    /// Replaces the SQLite file by a backup, which is checked before. The replaced file is kept; returns its path.
    ///
    /// # Errors
    /// [`BackupError`]; then nothing was replaced.
    pub async fn restore(file: &Path, backup: &Path, clock: Clock) -> Result<Option<PathBuf>, BackupError> {
        let file = followed(file);
        let serving = lock(&file)?;
        let owner = file.metadata().or_else(|_| folder_of(&file).metadata()).map_err(failed(&file))?;
        hand_over(&owner, &serving).map_err(failed(&file))?;
        let kept = beside(&file, ".before-restore");
        for path in [kept.clone()].into_iter().chain(JOURNALS.map(|suffix| beside(&kept, suffix))) {
            if path.exists() {
                return Err(BackupError::Exists(path));
            }
        }
        let replaced = exclusive(&file)?;
        backup.metadata().map_err(failed(backup))?;
        let source = Self::inspect_file(backup, clock)?;
        let copy = beside(&file, ".restoring");
        let copied = source.copy_checked(backup, &copy).await;
        source.close().await;
        let copied = copied?;
        hand_over(&owner, &copied).map_err(failed(&copy))?;
        let kept = replaced.as_ref().map(|_| kept);
        swap(&copy, &file, kept.as_deref()).map_err(failed(&file))?;
        Ok(kept)
    }

    /// Copies a backup that is intact and has a schema that this release knows or can upgrade.
    async fn copy_checked(&self, backup: &Path, to: &Path) -> Result<File, BackupError> {
        self.must_be_intact(backup).await?;
        let schema = self.schema_status().await?;
        if let Some(newer) = schema.unknown.last() {
            return Err(OpenError::Newer(newer.clone()).into());
        }
        if schema.applied.is_empty() {
            return Err(BackupError::Foreign(backup.to_owned()));
        }
        // An interrupted restore may have left it.
        remove(to).map_err(failed(to))?;
        self.copy(to).await
    }

    async fn must_be_intact(&self, file: &Path) -> Result<(), BackupError> {
        let damage = self.damage(IntegrityCheck::Full).await.unwrap_or_else(|why| Some(why.to_string()));
        damage.map_or(Ok(()), |damage| Err(BackupError::Damaged(file.to_owned(), damage)))
    }

    /// Copies the database as of now to a new file, durably.
    async fn copy(&self, to: &Path) -> Result<File, BackupError> {
        let new = File::options().write(true).create_new(true).mode(0o600).open(to);
        let new = new.map_err(|why| match why.kind() {
            ErrorKind::AlreadyExists => BackupError::Exists(to.to_owned()),
            _ => BackupError::File(to.to_owned(), why),
        })?;
        let copied = self.vacuum_into(to).await;
        let copied = copied.and_then(|()| new.sync_all().map_err(failed(to)));
        if copied.is_err() {
            let _ = fs::remove_file(to);
        }
        copied.map(|()| new)
    }

    async fn vacuum_into(&self, to: &Path) -> Result<(), BackupError> {
        // SQLite would read a relative path that begins with `file:` as a URL.
        let path = std::path::absolute(to).map_err(failed(to))?;
        let not_text = || BackupError::File(to.to_owned(), io::Error::other("the path is not UTF-8"));
        let path = path.to_str().ok_or_else(not_text)?;
        self.reader().run("VACUUM INTO $1", [path.into()]).await?;
        Ok(())
    }
}

/// Locks the file that is to be replaced against SQLite in every process; `None` if there is no file. The last process
/// that closes a database deletes the log beside it by its name, and that would be the log of the restored file.
fn exclusive(file: &Path) -> Result<Option<File>, BackupError> {
    let old = match File::options().read(true).write(true).open(file) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed(file))?,
    };
    match fcntl_lock(&old, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(old)),
        Err(Errno::AGAIN | Errno::ACCESS) => Err(BackupError::InUse),
        Err(why) => Err(BackupError::File(file.to_owned(), why.into())),
    }
}

/// Replaces a database by a copy and keeps the old one, if there is one, with its journals: SQLite would apply a journal
/// that stays to the restored file, and so damage it or undo the restore.
fn swap(copy: &Path, file: &Path, kept: Option<&Path>) -> io::Result<()> {
    let folder = File::open(folder_of(file))?;
    // Linked, not renamed: until the copy takes its place, the old database stays complete under its own name.
    let linked = kept.map_or(Ok(()), |kept| {
        fs::hard_link(file, kept)?;
        let journals = JOURNALS.iter().filter(|suffix| beside(file, suffix).exists());
        journals.into_iter().try_for_each(|suffix| fs::hard_link(beside(file, suffix), beside(kept, suffix)))
    });
    if let (Err(why), Some(kept)) = (linked, kept) {
        for link in [kept.to_owned()].into_iter().chain(JOURNALS.map(|suffix| beside(kept, suffix))) {
            let _ = fs::remove_file(link);
        }
        return Err(why);
    }
    folder.sync_all()?;
    for suffix in JOURNALS.into_iter().chain(["-shm"]) {
        remove(&beside(file, suffix))?;
    }
    fs::rename(copy, file)?;
    folder.sync_all()
}

/// Gives a file to the owner of another one: root may restore what the service's user has to open.
fn hand_over(owner: &Metadata, file: &File) -> io::Result<()> {
    if geteuid().is_root() { fchown(file, Some(owner.uid()), Some(owner.gid())) } else { Ok(()) }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."))
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn failed(file: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let file = file.to_owned();
    |why| BackupError::File(file, why)
}
