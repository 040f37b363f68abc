//! An SQLite file with the tables, and folders in memory: the most expensive work of a test is done once, or not on
//! disk.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use hubspot_connect::config::FileMode;
use hubspot_connect::store::db::sqlite::{self, Access};
use migrations::SchemaManager;
use sea_orm::{ConnectionTrait, DatabaseConnection};
use tempfile::TempDir;

/// A folder in memory, on Linux.
const MEMORY: &str = "/dev/shm";
/// The free memory that must remain. A container often has 64 MiB there.
const ENOUGH: u64 = 1 << 30;

/// Creates a folder that is removed with the test, in memory if there is room: no test examines a disk, and each commit
/// would wait for one. TMPDIR takes precedence.
pub fn folder() -> TempDir {
    let room = |at| rustix::fs::statvfs(at).is_ok_and(|at| at.f_bavail * at.f_frsize >= ENOUGH);
    let made = match std::env::var_os("TMPDIR").is_none() && room(MEMORY) {
        true => tempfile::tempdir_in(MEMORY),
        false => tempfile::tempdir(),
    };
    made.expect("a temporary folder")
}

/// Returns the URL of a file.
pub fn url_of(file: &Path) -> String {
    format!("sqlite://{}?mode=rwc", file.display())
}

/// Copies the tables to this file. The first test of a build creates them, under a lock that ends with its process; the
/// others wait.
pub async fn copy_to(file: &Path) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(folder).expect("the folder of the tables");
    let name = name_of_this_build();
    let lock = lock(folder.join("tables.lock")).await;
    let tables = folder.join(&name);
    if !tables.exists() {
        forget_others(folder);
        let half = folder.join(format!("{name}.half"));
        let _ = std::fs::remove_file(&half);
        make(&half).await;
        std::fs::rename(&half, &tables).expect("a name");
    }
    std::fs::copy(&tables, file).expect("a copy of the tables");
    drop(lock);
}

/// Returns a name that depends on the binary: a schema change, even an edited migration, is another binary, so no test
/// gets older tables.
fn name_of_this_build() -> String {
    let binary = std::env::current_exe().expect("this binary");
    let about = binary.metadata().expect("its size and age");
    let built = about.modified().expect("its age").duration_since(UNIX_EPOCH).expect("later than 1970");
    let name = binary.file_name().expect("a name").to_string_lossy().into_owned();
    format!("tables-{name}-{}-{}.db", about.len(), built.as_nanos())
}

/// Waits for the lock outside of the tests' threads: the test that holds it may need this one to go on.
async fn lock(path: PathBuf) -> File {
    let locked = tokio::task::spawn_blocking(move || {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock().map(|()| file)
    });
    locked.await.expect("does not panic").expect("the lock of the tables")
}

/// Removes the files of earlier builds.
fn forget_others(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("the folder of the tables").flatten() {
        if entry.file_name().to_string_lossy().starts_with("tables-") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Opens this file, and creates it if it is missing.
pub fn connect(file: &Path) -> DatabaseConnection {
    sqlite::as_proxy(sqlite::open(file, Access::Write, FileMode::Create).expect("a database"))
}

async fn make(file: &Path) {
    let db = connect(file);
    db.execute_unprepared("BEGIN").await.expect("a transaction");
    migrations::up(&SchemaManager::new(&db), 0).await.expect("the tables");
    db.execute_unprepared("COMMIT").await.expect("the tables");
}
