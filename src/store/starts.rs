//! Inserting AuthRequests. Anyone can begin a connect, so this has to be the cheapest write of all.

use std::sync::Arc;

use super::auth_request::{COLUMNS_OF_INSERT, NewAuthRequest, insert_values};
use super::batch::values;
use super::{Tx, Work};

pub(super) fn insert_all<'a>(tx: &'a Tx<'a>, rows: Arc<[NewAuthRequest]>) -> Work<'a, Vec<()>> {
    Box::pin(async move {
        let columns = COLUMNS_OF_INSERT.split(',').count();
        let places = values(tx.backend(), rows.len(), columns, ", 'awaiting_user'");
        let sql = format!("INSERT INTO auth_request ({COLUMNS_OF_INSERT}, status) {places}");
        tx.run(&sql, rows.iter().flat_map(insert_values)).await?;
        Ok(vec![(); rows.len()])
    })
}
