//! Seals every stored secret under the newest key, beside a service that goes on refreshing.

use crate::crash;
use crate::keyring::{Context, Keyring, OpenError};
use crate::store::{PlatformStore, SealedRow, SealedTable, StoreError};

/// How many rows are written in one transaction: short enough that nobody waits for it.
const ROWS_PER_BATCH: u32 = 100;

/// What has become of the rows under older keys.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Resealed {
    /// Sealed under the newest key now.
    pub moved: u64,
    /// Changed by somebody else meanwhile.
    pub changed: u64,
    /// Sealed under a key that is not at hand.
    pub keyless: u64,
    /// Damaged, or brought here from another place.
    pub unreadable: u64,
}

/// Seals every stored secret that is under an older key under the newest. Whoever is interrupted begins again where it
/// was: what is moved is not looked at a second time.
///
/// # Errors
/// [`StoreError`] if the database fails; what is moved stays so.
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
