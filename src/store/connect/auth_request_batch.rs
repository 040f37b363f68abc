//! Inserts AuthRequests. Anyone can start a flow, so this has to be the cheapest write of all.

use std::collections::HashSet;

use crate::domain::id::FlowId;
use crate::store::connect::auth_request::{COLUMNS_OF_INSERT, NewAuthRequest, insert_values};
use crate::store::db::{parts, placeholders, values};
use crate::store::{Tx, Work};

/// Inserts rows. Returns `false` for each row whose challenge another row has.
pub(in crate::store) fn insert_all<'a>(tx: &'a Tx<'a>, rows: &'a [NewAuthRequest]) -> Work<'a, Vec<bool>> {
    Box::pin(async move {
        let columns = COLUMNS_OF_INSERT.split(',').count();
        let mut inserted = 0;
        for part in parts(tx.backend(), rows) {
            let values = values(tx.backend(), part.len(), columns, ", 'awaiting_user'");
            let sql = format!(
                "INSERT INTO auth_request ({COLUMNS_OF_INSERT}, status) {values} ON CONFLICT (challenge) DO NOTHING"
            );
            inserted += tx.run(&sql, part.iter().flat_map(insert_values)).await?;
        }
        if usize::try_from(inserted) == Ok(rows.len()) {
            return Ok(vec![true; rows.len()]);
        }
        let ids = rows.iter().map(|new| new.request.id);
        let sql =
            format!("SELECT id FROM auth_request WHERE id IN ({})", placeholders(tx.backend(), rows.len()));
        let found = tx.all(&sql, ids.clone().map(|id| id.to_string().into())).await?;
        let found = found.iter().map(|row| row.get("id")).collect::<Result<HashSet<FlowId>, _>>()?;
        Ok(ids.map(|id| found.contains(&id)).collect())
    })
}
