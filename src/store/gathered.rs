//! Reads of access tokens that come while one is under way are answered together, by the next statement: the way to a
//! server and back, and a connection of the pool, cost more than the rows do.
//!
//! An answer is never older than its question: what comes while a statement runs waits for the next one. Nobody waits
//! in line for a database that is away: whoever stands there is told so at once.

use std::sync::Arc;

use sea_orm::DatabaseConnection;
use tokio::sync::{mpsc, oneshot};

use super::access_row::{AccessRow, read_all};
use super::{StoreError, within_deadline};
use crate::domain::id::ConnectionId;

/// How many rows one statement reads at most.
const MOST: usize = 64;

type Answer = Result<Option<Arc<AccessRow>>, StoreError>;
type Question = (ConnectionId, oneshot::Sender<Answer>);

/// The way in.
#[derive(Debug, Clone)]
pub(super) struct Gathered(mpsc::Sender<Question>);

impl Gathered {
    /// Reads from this database.
    pub fn from(db: DatabaseConnection) -> Self {
        let (queue, questions) = mpsc::channel(4 * MOST);
        tokio::spawn(serve(db, questions));
        Self(queue)
    }

    /// Reads one row.
    pub async fn read(&self, id: ConnectionId) -> Answer {
        let (asked, answered) = oneshot::channel();
        within_deadline(async {
            self.0.send((id, asked)).await.map_err(|_| StoreError::Closed)?;
            answered.await.map_err(|_| StoreError::Closed)?
        })
        .await
    }
}

async fn serve(db: DatabaseConnection, mut questions: mpsc::Receiver<Question>) {
    let mut batch = Vec::with_capacity(MOST);
    while questions.recv_many(&mut batch, MOST).await > 0 {
        // Whoever has gone asks no more.
        batch.retain(|(_, asked)| !asked.is_closed());
        if batch.is_empty() {
            continue;
        }
        let found = read_all(&db, &wanted(&batch)).await;
        if found.as_ref().is_err_and(StoreError::is_absence) {
            while let Ok(waiting) = questions.try_recv() {
                batch.push(waiting);
            }
        }
        for (id, asked) in batch.drain(..) {
            let answer = match &found {
                Ok(rows) => rows.get(&id).cloned().transpose(),
                Err(why) => Err(why.clone()),
            };
            // Whoever asked may be gone.
            let _ = asked.send(answer);
        }
    }
}

/// Each id once, and the last one again until there are 1, 2, 4, … of them: for every number of places there would be
/// another statement to prepare.
fn wanted(batch: &[Question]) -> Vec<ConnectionId> {
    let mut ids: Vec<_> = batch.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    if let Some(last) = ids.last().copied() {
        ids.resize(ids.len().next_power_of_two(), last);
    }
    ids
}
