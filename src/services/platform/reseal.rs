//! Seals every stored secret with the newest key, while the service continues to refresh.

use crate::crash;
use crate::keyring::{Context, Keyring, OpenError};
use crate::store::{PlatformStore, SealedRow, SealedTable, StoreError};

/// The number of rows written in one transaction, which keeps transactions short.
const ROWS_PER_BATCH: u32 = 100;

/// The results for rows that were sealed with older keys.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Resealed {
    /// Rows that are now sealed with the newest key.
    pub moved: u64,
    /// Rows that another process has changed in the meantime.
    pub changed: u64,
    /// Rows that are sealed with a key that is not configured.
    pub keyless: u64,
    /// Rows that are damaged or misplaced.
    pub unreadable: u64,
}

/// Seals every stored secret that is sealed with an older key with the newest one. A run that was interrupted can be
/// started again: rows that were moved are not read a second time.
///
/// # Errors
/// [`StoreError`] if the database fails; rows that were moved stay moved.
pub async fn reseal_all(
    store: &PlatformStore,
    keyring: &Keyring,
    progress: impl Fn(&Resealed),
) -> Result<Resealed, StoreError> {
    let mut done = Resealed::default();
    for table in SealedTable::ALL {
        let mut after = String::new();
        loop {
            let rows = store.sealed_before(table, keyring.newest_key_id(), &after, ROWS_PER_BATCH).await?;
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.key);
            let mut anew = Vec::with_capacity(rows.len());
            for row in rows {
                match resealed(keyring, table, &row) {
                    Ok(new) => anew.push((row, new)),
                    Err(OpenError::UnknownKey(_)) => done.keyless += 1,
                    Err(OpenError::Damaged | OpenError::Misplaced) => done.unreadable += 1,
                }
            }
            let asked = anew.len() as u64;
            crash::point("rotate.sealed");
            let moved = store.reseal(table, anew).await?;
            crash::point("rotate.moved");
            done.moved += moved;
            done.changed += asked.saturating_sub(moved);
            progress(&done);
        }
    }
    Ok(done)
}

fn resealed(keyring: &Keyring, table: SealedTable, row: &SealedRow) -> Result<SealedRow, OpenError> {
    let anew = |sealed, kind| {
        let context =
            Context { kind, row: &row.bound_to, generation: row.generation, client_id: &row.client_id };
        keyring.open(sealed, context).map(|secret| keyring.seal(&secret, context))
    };
    Ok(SealedRow {
        access: row.access.as_ref().map(|access| anew(access, "access")).transpose()?,
        refresh: anew(&row.refresh, table.kind)?,
        ..row.clone()
    })
}
