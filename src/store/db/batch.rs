//! Batched writes: rows that arrive during a write wait for its end, and are then written together, in one transaction
//! and few statements. One statement per row would cost several times as much.

use std::sync::Arc;

use sea_orm::DbBackend;
use tokio::sync::{mpsc, oneshot};

use super::writer::Writer;
use super::{StoreError, Tx, Work};

/// The maximum number of rows per batch.
const MAX_BATCH: usize = 64;

/// Writes rows in a transaction, and returns a result for each.
pub(in crate::store) type WriteAll<E, R> = for<'a> fn(&'a Tx<'a>, &'a [E]) -> Work<'a, Vec<R>>;

type Reply<R> = oneshot::Sender<Result<R, StoreError>>;

/// The queue of a batch.
#[derive(Debug)]
pub(in crate::store) struct Batch<E, R>(mpsc::Sender<(E, Reply<R>)>);

impl<E, R> Clone for Batch<E, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<E, R> Batch<E, R>
where
    E: Clone + Send + Sync + 'static,
    R: Clone + Send + 'static,
{
    /// Starts a batch that writes through this writer.
    pub fn through(writer: Writer, write: WriteAll<E, R>) -> Self {
        let (queue, entries) = mpsc::channel(4 * MAX_BATCH);
        tokio::spawn(serve(writer, write, entries));
        Self(queue)
    }

    /// Writes one row; it is durable when this returns.
    pub async fn write(&self, entry: E) -> Result<R, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.0.send((entry, answer)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

async fn serve<E, R>(writer: Writer, write: WriteAll<E, R>, mut entries: mpsc::Receiver<(E, Reply<R>)>)
where
    E: Clone + Send + Sync + 'static,
    R: Clone + Send + 'static,
{
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while entries.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let (rows, answers): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let rows: Arc<[E]> = rows.into();
        match write_together(&writer, write, Arc::clone(&rows)).await {
            Ok(results) => {
                for (result, answer) in results.into_iter().zip(answers) {
                    // The caller may be gone; its row does no harm.
                    let _ = answer.send(Ok(result));
                }
            }
            Err(why) => write_each(&writer, write, &rows, answers, &why).await,
        }
    }
}

/// Writes each row on its own, so that one bad row does not fail the others. An unavailable database fails all of them.
async fn write_each<E, R>(
    writer: &Writer,
    write: WriteAll<E, R>,
    rows: &[E],
    answers: Vec<Reply<R>>,
    why: &StoreError,
) where
    E: Clone + Send + Sync + 'static,
    R: Clone + Send + 'static,
{
    for (row, answer) in rows.iter().zip(answers) {
        let outcome = if why.is_absence() || answer.is_closed() {
            Err(why.clone())
        } else {
            let single = write_together(writer, write, [row.clone()].into()).await;
            single.and_then(|mut results| results.pop().ok_or(StoreError::Closed))
        };
        let _ = answer.send(outcome);
    }
}

async fn write_together<E, R>(
    writer: &Writer,
    write: WriteAll<E, R>,
    rows: Arc<[E]>,
) -> Result<Vec<R>, StoreError>
where
    E: Send + Sync + 'static,
    R: Send + 'static,
{
    writer
        .write(move |tx| {
            let rows = Arc::clone(&rows);
            Box::pin(async move { write(tx, &rows).await })
        })
        .await
}

/// Splits rows into parts, each for one statement. On SQLite, where preparing costs more than a round trip, the parts
/// have 64, 32, 16, … rows, so that there are only seven statements to prepare instead of 64.
pub(in crate::store) fn parts<E>(backend: DbBackend, mut rows: &[E]) -> impl Iterator<Item = &[E]> {
    std::iter::from_fn(move || {
        let power = 1 << rows.len().checked_ilog2()?;
        let size = if backend == DbBackend::Sqlite { power } else { rows.len() };
        let (part, rest) = rows.split_at(size);
        rows = rest;
        Some(part)
    })
}

/// Repeats the last value until there are 1, 2, 4, … values, so that few statements have to be prepared.
pub(in crate::store) fn padded<T: Clone>(mut values: Vec<T>) -> Vec<T> {
    if let Some(last) = values.last().cloned() {
        values.resize(values.len().next_power_of_two(), last);
    }
    values
}

/// Returns `VALUES (…), (…)` for a number of rows and columns, each row followed by `rest`. The placeholders are bare
/// question marks on SQLite: it looks up each numbered parameter in a list of all of them, which with a thousand
/// parameters is most of the work.
pub(in crate::store) fn values(backend: DbBackend, rows: usize, columns: usize, rest: &str) -> String {
    let rows = (0..rows).map(|row| format!("({}{rest})", placeholders_from(backend, row * columns, columns)));
    format!("VALUES {}", rows.collect::<Vec<_>>().join(", "))
}

/// Returns the placeholders of a list of values.
pub(in crate::store) fn placeholders(backend: DbBackend, count: usize) -> String {
    placeholders_from(backend, 0, count)
}

/// Returns the placeholders of a list that follows `before` other values.
pub(in crate::store) fn placeholders_from(backend: DbBackend, before: usize, count: usize) -> String {
    match backend {
        DbBackend::Postgres => {
            (1..=count).map(|at| format!("${}", before + at)).collect::<Vec<_>>().join(", ")
        }
        _ => vec!["?"; count].join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_split_in_order_and_values_padded() {
        let rows: Vec<_> = (0..23).collect();
        let split: Vec<_> = parts(DbBackend::Sqlite, &rows).collect();
        assert_eq!(split.iter().map(|part| part.len()).collect::<Vec<_>>(), [16, 4, 2, 1]);
        assert_eq!(split.concat(), rows);
        assert_eq!(parts(DbBackend::Postgres, &rows).collect::<Vec<_>>(), [&rows[..]]);
        assert_eq!(padded(vec![1, 2, 3]), [1, 2, 3, 3]);
        assert_eq!(padded::<u8>(Vec::new()), [0; 0]);
    }

    #[test]
    fn placeholders_are_numbered_row_by_row() {
        assert_eq!(values(DbBackend::Postgres, 2, 2, ", 'x'"), "VALUES ($1, $2, 'x'), ($3, $4, 'x')");
        assert_eq!(values(DbBackend::Sqlite, 2, 3, ""), "VALUES (?, ?, ?), (?, ?, ?)");
    }
}
