//! Runs the plan and restarts what ends on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fake_hubspot::{Entry, FakeHubSpot, Fault, Kind, Rule};
use rustix::process::Signal;
use test_support::State;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::Failure;
use crate::database::Database;
use crate::history::{End, EndReason};
use crate::plan::{Step, Trouble};
use crate::record::{Record, now};
use crate::replica::Replica;

/// The time after which a load balancer notices that a replica does not respond.
const NOTICED: Duration = Duration::from_secs(10);

/// The time for which HubSpot holds a response that a fault is to interrupt.
const MIDWAY: Duration = Duration::from_millis(1_500);
/// The longest wait for such a response.
const AIM: Duration = Duration::from_secs(4);

/// The replicas and their state.
pub struct Cluster {
    /// The replicas.
    pub replicas: Vec<Replica>,
    /// Held by the task that causes a fault, except for the long freeze: at least one replica is always undisturbed.
    turn: Mutex<()>,
    /// Held by the task that acts on a replica.
    hands: Vec<Mutex<()>>,
    /// Replicas that receive no requests.
    away: Vec<AtomicBool>,
    /// The simulated HubSpot that they call.
    pub hubspot: Arc<FakeHubSpot>,
    /// The record of the run.
    pub record: Record,
}

impl Cluster {
    /// Creates a cluster of replicas that are not started yet.
    pub fn new(replicas: Vec<Replica>, hubspot: Arc<FakeHubSpot>, record: Record) -> Self {
        let hands = replicas.iter().map(|_| Mutex::default()).collect();
        let away = replicas.iter().map(|_| AtomicBool::default()).collect();
        Self { replicas, turn: Mutex::default(), hands, away, hubspot, record }
    }

    /// Returns the replica that a load balancer would select for a client of this one.
    pub fn near(&self, wanted: usize) -> usize {
        let all = self.replicas.len();
        let open = |replica: &usize| !self.away[*replica].load(Ordering::Relaxed);
        (0..all).map(|more| (wanted + more) % all).find(open).unwrap_or(wanted % all)
    }

    /// Starts all replicas.
    pub async fn start(&self) -> Result<(), Failure> {
        for replica in &self.replicas {
            self.record.start(replica).await?;
        }
        Ok(())
    }

    async fn suffer(&self, step: Step) -> Result<(), Failure> {
        let _turn = match step.trouble {
            Trouble::LongFreeze => None,
            _ => Some(self.turn.lock().await),
        };
        let _hand = self.hands[step.replica].lock().await;
        self.record.note(step);
        let (replica, span) = (&self.replicas[step.replica], Duration::from_millis(step.for_ms));
        match step.trouble {
            Trouble::Kill | Trouble::KillMidway => {
                if step.trouble == Trouble::KillMidway {
                    self.aim(replica).await;
                }
                self.kill(replica)?;
                sleep(span).await;
                self.record.start(replica).await
            }
            Trouble::KillCutOff => {
                let since = now();
                replica.database.set(State::Cut);
                sleep(span).await;
                self.kill(replica)?;
                self.mend(replica, true, since);
                self.record.start(replica).await
            }
            Trouble::Stop | Trouble::StopMidway => {
                if step.trouble == Trouble::StopMidway {
                    self.aim(replica).await;
                }
                self.stop(replica, Duration::ZERO).await?;
                sleep(span).await;
                self.record.start(replica).await
            }
            Trouble::StopCutOff => {
                replica.database.set(State::Cut);
                sleep(span / 2).await;
                self.stop(replica, span / 2).await?;
                self.record.start(replica).await
            }
            Trouble::Freeze => self.freeze(replica, span).await,
            Trouble::LongFreeze => {
                self.aim(replica).await;
                self.freeze(replica, span).await
            }
            Trouble::CutDatabase | Trouble::StallDatabase => {
                let since = now();
                let stalled = step.trouble == Trouble::StallDatabase;
                replica.database.set(if stalled { State::Stalled } else { State::Cut });
                sleep(span).await;
                self.mend(replica, true, since);
                Ok(())
            }
            Trouble::CutHubSpot | Trouble::StallHubSpot => {
                let since = now();
                let stalled = step.trouble == Trouble::StallHubSpot;
                replica.hubspot.set(if stalled { State::Stalled } else { State::Cut });
                sleep(span).await;
                self.mend(replica, false, since);
                Ok(())
            }
        }
    }

    /// Holds the responses to refreshes and waits until HubSpot has processed one of this replica. Without one, the
    /// fault happens after a while all the same.
    async fn aim(&self, replica: &Replica) {
        self.hubspot.clear_script();
        self.hubspot.script(Rule::times(Kind::Refresh, 30, Fault::DelayAfterIssue(MIDWAY)));
        let (began, host) = (Instant::now(), replica.hubspot.address.to_string());
        let open = |call: &Entry| call.finished_at_ms.is_none() && call.host.as_ref() == Some(&host);
        while began.elapsed() < AIM && !self.hubspot.calls(Kind::Refresh).iter().any(open) {
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn kill(&self, replica: &Replica) -> Result<(), Failure> {
        let at = now();
        replica.kill()?;
        self.record.ended(replica.index, End { at, how: EndReason::Killed });
        Ok(())
    }

    /// Sends a replica SIGTERM, repairs its lines after a while, and waits for its end.
    async fn stop(&self, replica: &Replica, mended_after: Duration) -> Result<(), Failure> {
        let at = now();
        replica.signal(Signal::TERM)?;
        sleep(mended_after).await;
        self.mend(replica, true, at);
        let end = replica.stopped(at).await?;
        self.record.ended(replica.index, end);
        Ok(())
    }

    async fn freeze(&self, replica: &Replica, span: Duration) -> Result<(), Failure> {
        let since = now();
        replica.signal(Signal::STOP)?;
        self.away[replica.index].store(span > NOTICED, Ordering::Relaxed);
        sleep(span).await;
        replica.signal(Signal::CONT)?;
        self.away[replica.index].store(false, Ordering::Relaxed);
        self.record.froze(replica.index, since);
        Ok(())
    }

    fn mend(&self, replica: &Replica, database: bool, since: i64) {
        replica.mend();
        self.record.cut(replica.index, database, since);
    }

    /// Restarts replicas that ended without being stopped.
    async fn revive(&self) -> Result<(), Failure> {
        for replica in &self.replicas {
            let Ok(_hand) = self.hands[replica.index].try_lock() else { continue };
            if replica.has_ended() {
                self.record.ended(replica.index, End { at: now(), how: EndReason::Crashed });
                self.record.start(replica).await?;
            }
        }
        Ok(())
    }

    fn weigh(&self) {
        let weights: Vec<_> = self.replicas.iter().map(|one| one.resident_kib().unwrap_or(0)).collect();
        let mut history = self.record.history();
        history.resident_kib.resize(weights.len(), 0);
        for (most, weight) in history.resident_kib.iter_mut().zip(weights) {
            *most = weight.max(*most);
        }
    }
}

/// Runs a plan. It ends when the last fault is over.
pub async fn carry_out(cluster: Arc<Cluster>, plan: Vec<Step>) -> Result<(), Failure> {
    let (began, mut in_flight) = (Instant::now(), JoinSet::new());
    for step in plan {
        sleep_until(began + Duration::from_millis(step.at_ms)).await;
        let cluster = Arc::clone(&cluster);
        in_flight.spawn(async move { cluster.suffer(step).await });
    }
    while let Some(done) = in_flight.join_next().await {
        done??;
    }
    Ok(())
}

/// Samples once a second what can be seen from outside. It never ends by itself.
pub async fn watch(cluster: &Cluster, database: &Database) -> Result<(), Failure> {
    loop {
        cluster.revive().await?;
        cluster.weigh();
        cluster.record.drain(&cluster.hubspot);
        // Taken before the query: whatever comes later is later than what the query sees.
        let needs_reauth = database.needs_reauth(now()).await?;
        let mismatches = database.mismatches().await?;
        cluster.record.seen(needs_reauth, mismatches);
        sleep(Duration::from_secs(1)).await;
    }
}
