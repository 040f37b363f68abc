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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use migrations::{Migrator, MigratorTrait};
    use sea_orm::{ConnectOptions, Database, TransactionTrait};

    use super::*;

    /// An empty database with room for one connection, and what it is asked: how many values each statement has.
    async fn database() -> (DatabaseConnection, Arc<Mutex<Vec<usize>>>) {
        let mut options = ConnectOptions::new("sqlite::memory:");
        options.max_connections(1).acquire_timeout(Duration::from_millis(50));
        let mut db = Database::connect(options).await.expect("a database");
        Migrator::up(&db, None).await.expect("its tables");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        db.set_metric_callback(move |info| {
            let values = info.statement.values.as_ref().map_or(0, |values| values.0.len());
            heard.lock().expect("unharmed").push(values);
        });
        (db, asked)
    }

    fn question(number: u128) -> (Question, oneshot::Receiver<Answer>) {
        let (asked, answered) = oneshot::channel();
        let id = uuid::Uuid::from_u128(number).to_string().parse().expect("an id");
        ((id, asked), answered)
    }

    /// Answers these, that have come together, until there are no more.
    async fn answer(db: DatabaseConnection, questions: Vec<Question>) {
        let (queue, waiting) = mpsc::channel(4 * MOST);
        for one in questions {
            queue.send(one).await.expect("there is room");
        }
        drop(queue);
        serve(db, waiting).await;
    }

    #[tokio::test]
    async fn whoever_stands_in_line_for_a_database_that_is_away_hears_so_with_the_first() {
        let (db, _) = database().await;
        let (questions, answers): (Vec<_>, Vec<_>) = (1..=3 * MOST as u128 + 1).map(question).unzip();
        let taken = db.begin().await.expect("the only connection");
        answer(db, questions).await;
        let mut failures = Vec::new();
        for answer in answers {
            match answer.await.expect("an answer") {
                Err(StoreError::Database(why)) => failures.push(why),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(failures.len(), 3 * MOST + 1);
        assert!(failures.iter().all(|why| Arc::ptr_eq(why, &failures[0])), "the database was asked once");
        taken.rollback().await.expect("given back");
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_asked() {
        let (db, asked) = database().await;
        let ((first, one), (gone, left), (last, other)) = (question(1), question(2), question(3));
        drop(left);
        answer(db.clone(), vec![first, gone, last]).await;
        for answered in [one, other] {
            assert!(answered.await.expect("an answer").expect("the database is there").is_none());
        }
        assert_eq!(*asked.lock().expect("unharmed"), [2], "two of three");

        let (gone, left) = question(4);
        drop(left);
        answer(db, vec![gone]).await;
        assert_eq!(asked.lock().expect("unharmed").len(), 1, "nobody is left, and nothing asked");
    }
}
