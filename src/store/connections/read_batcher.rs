//! Combines reads of access tokens: requests that arrive during a query share the next one. A round trip and a
//! connection of the pool cost more than the rows do.
//!
//! A result is never older than its request, because requests that arrive during a query wait for the next one. While
//! the database is unavailable, all waiting requests fail at once.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::domain::id::ConnectionId;
use crate::store::StoreError;
use crate::store::connections::access_row::{AccessRow, Found, read_all};
use crate::store::db::{Database, padded, within_deadline};

/// The maximum number of rows per query.
const MAX_ROWS_PER_READ: usize = 64;

type RowResult = Result<Option<Arc<AccessRow>>, StoreError>;
type RowRequest = (ConnectionId, oneshot::Sender<RowResult>);

/// The queue of requests.
#[derive(Debug, Clone)]
pub(in crate::store) struct ReadBatcher(mpsc::Sender<RowRequest>);

impl ReadBatcher {
    /// Starts a batcher for this database.
    pub fn from(db: Database) -> Self {
        let (queue, requests) = mpsc::channel(4 * MAX_ROWS_PER_READ);
        let read = move |ids: Vec<_>| {
            let db = db.clone();
            async move { read_all(&db, &ids).await }
        };
        tokio::spawn(serve(read, requests));
        Self(queue)
    }

    /// Reads one row.
    pub async fn read(&self, id: ConnectionId) -> RowResult {
        let (asked, answered) = oneshot::channel();
        within_deadline(async {
            self.0.send((id, asked)).await.map_err(|_| StoreError::Closed)?;
            answered.await.map_err(|_| StoreError::Closed)?
        })
        .await
    }
}

async fn serve<F, R>(read: F, mut requests: mpsc::Receiver<RowRequest>)
where
    F: Fn(Vec<ConnectionId>) -> R,
    R: Future<Output = Result<Found, StoreError>>,
{
    let mut batch = Vec::with_capacity(MAX_ROWS_PER_READ);
    while requests.recv_many(&mut batch, MAX_ROWS_PER_READ).await > 0 {
        // Skips callers that no longer wait.
        batch.retain(|(_, asked)| !asked.is_closed());
        if batch.is_empty() {
            continue;
        }
        let found = read(unique_ids(&batch)).await;
        if found.as_ref().is_err_and(StoreError::is_absence) {
            while let Ok(waiting) = requests.try_recv() {
                batch.push(waiting);
            }
        }
        for (id, asked) in batch.drain(..) {
            let answer = match &found {
                Ok(rows) => rows.get(&id).cloned().transpose(),
                Err(why) => Err(why.clone()),
            };
            // The caller may be gone.
            let _ = asked.send(answer);
        }
    }
}

/// Returns each id once, padded.
fn unique_ids(batch: &[RowRequest]) -> Vec<ConnectionId> {
    let mut ids: Vec<_> = batch.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    padded(ids)
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::Mutex;

    use super::*;

    fn request(number: u128) -> (RowRequest, oneshot::Receiver<RowResult>) {
        let (asked, answered) = oneshot::channel();
        let id = uuid::Uuid::from_u128(number).to_string().parse().expect("an id");
        ((id, asked), answered)
    }

    /// Serves these concurrent requests, and returns the number of ids of each query.
    async fn answer(found: &Result<Found, StoreError>, requests: Vec<RowRequest>) -> Vec<usize> {
        let (queue, waiting) = mpsc::channel(4 * MAX_ROWS_PER_READ);
        for one in requests {
            queue.send(one).await.expect("there is room");
        }
        drop(queue);
        let reads = Mutex::new(Vec::new());
        let read = |ids: Vec<_>| {
            reads.lock().expect("unharmed").push(ids.len());
            ready(found.clone())
        };
        serve(read, waiting).await;
        reads.into_inner().expect("unharmed")
    }

    #[tokio::test]
    async fn queued_reads_fail_together_with_the_first_when_the_database_is_away() {
        let (requests, answers): (Vec<_>, Vec<_>) =
            (1..=3 * MAX_ROWS_PER_READ as u128 + 1).map(request).unzip();
        assert_eq!(
            answer(&Err(StoreError::Silent), requests).await,
            [MAX_ROWS_PER_READ],
            "the database was asked once"
        );
        for answer in answers {
            assert!(matches!(answer.await.expect("an answer"), Err(StoreError::Silent)));
        }
    }

    #[tokio::test]
    async fn abandoned_reads_are_not_executed() {
        let nothing = Ok(Found::default());
        let ((first, one), (gone, left), (last, other)) = (request(1), request(2), request(3));
        drop(left);
        assert_eq!(answer(&nothing, vec![first, gone, last]).await, [2], "two of three");
        for answered in [one, other] {
            assert!(answered.await.expect("an answer").expect("the database is there").is_none());
        }

        let (gone, left) = request(4);
        drop(left);
        assert_eq!(answer(&nothing, vec![gone]).await, [0; 0], "no caller is left, and nothing is read");
    }
}
