//! Inserting AuthRequests: those that come while a write is under way are written together, in one statement. Anyone
//! can begin a connect, so this has to be the cheapest write of all.

use std::sync::Arc;

use sea_orm::DbBackend;
use tokio::sync::{mpsc, oneshot};

use super::auth_request::{COLUMNS_OF_INSERT, NewAuthRequest, insert_values};
use super::writer::Writer;
use super::{StoreError, Tx};

/// How many rows one statement writes at most.
const BATCH: usize = 64;

type Entry = (NewAuthRequest, oneshot::Sender<Result<(), StoreError>>);

/// The way in.
#[derive(Debug, Clone)]
pub(super) struct Starts(mpsc::Sender<Entry>);

impl Starts {
    /// Writes through this writer.
    pub fn through(writer: Writer) -> Self {
        let (queue, entries) = mpsc::channel(4 * BATCH);
        tokio::spawn(serve(writer, entries));
        Self(queue)
    }

    /// Writes one row; it is durable when this returns.
    pub async fn insert(&self, new: NewAuthRequest) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.0.send((new, answer)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

async fn serve(writer: Writer, mut entries: mpsc::Receiver<Entry>) {
    let mut batch = Vec::with_capacity(BATCH);
    while entries.recv_many(&mut batch, BATCH).await > 0 {
        let (rows, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let rows: Arc<[_]> = rows.into();
        let together = write(&writer, Arc::clone(&rows)).await;
        for (row, answer) in rows.iter().zip(answers) {
            let outcome = match &together {
                // One bad row must not spoil the others; a database that is away is away for all of them.
                Err(why) if !why.is_absence() && !answer.is_closed() => {
                    write(&writer, [row.clone()].into()).await
                }
                outcome => outcome.clone(),
            };
            // The caller may be gone; its row does no harm.
            let _ = answer.send(outcome);
        }
    }
}

async fn write(writer: &Writer, rows: Arc<[NewAuthRequest]>) -> Result<(), StoreError> {
    writer
        .write(move |tx: &Tx<'_>| {
            let sql = insert(tx.backend(), rows.len());
            let values: Vec<sea_orm::Value> = rows.iter().flat_map(insert_values).collect();
            Box::pin(async move { tx.run(&sql, values).await.map(|_| ()) })
        })
        .await
}

/// The statement for so many rows. SQLite looks a numbered parameter up in a list as long as all of them, and a bare
/// question mark in none: with a thousand parameters that is most of the work.
fn insert(backend: DbBackend, rows: usize) -> String {
    let columns = COLUMNS_OF_INSERT.split(',').count();
    let mut sql = format!("INSERT INTO auth_request ({COLUMNS_OF_INSERT}, status) VALUES ");
    for row in 0..rows {
        sql += if row == 0 { "(" } else { ", (" };
        for column in 1..=columns {
            match backend {
                DbBackend::Postgres => sql += &format!("${}, ", row * columns + column),
                _ => sql += "?, ",
            }
        }
        sql += "'awaiting_user')";
    }
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_has_a_place_for_every_value_row_by_row() {
        let sql = insert(DbBackend::Postgres, 2);
        assert!(sql.contains("($1, $2, ") && sql.contains(", $19, 'awaiting_user'), ($20, "), "{sql}");
        assert!(sql.ends_with("$38, 'awaiting_user')"), "{sql}");
        assert_eq!(insert(DbBackend::Sqlite, 2).matches('?').count(), 38);
    }
}
