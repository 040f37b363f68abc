//! The background loops: they run what is due, sleep until more may be due, and stop when they are cancelled.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, error_span};

use crate::config::Refresh;
use crate::domain::journal::JOURNAL_POLL_INTERVAL;
use crate::domain::random::Random;
use crate::services::{Services, StoreError};

/// Due times are in the database, not in timers: after a suspension or a clock change, the next tick finds them.
const TICK_INTERVAL: Duration = Duration::from_secs(1);
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The time between two checks for expired access tokens.
const EXPIRY_CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// The background work of one process.
#[derive(Debug)]
pub struct Jobs {
    services: Services,
    settings: Refresh,
    random: Random,
}

/// The refreshes of one process: those in flight, and the budget for more.
#[derive(Debug)]
struct Refreshes<'a> {
    jobs: &'a Jobs,
    in_flight: JoinSet<()>,
    /// The number of refreshes that may start now: it grows with time and shrinks when jobs are acquired.
    budget: f64,
    budget_at: Instant,
}

impl Jobs {
    /// Builds the background jobs on these services.
    pub fn new(services: Services, settings: &Refresh, random: Random) -> Self {
        Self { services, settings: settings.clone(), random }
    }

    /// Runs until `stop` is cancelled. Refreshes have a loop of their own: nothing else that waits for HubSpot or for a
    /// receiver of webhooks may delay them. Work in flight at the end is finished by the drain of the services.
    pub async fn run(self, stop: CancellationToken) {
        let rest = async { tokio::join!(self.chores(), self.sweeps(), self.watch(), self.journal()) };
        tokio::join!(self.refreshes(&stop), self.deliveries(&stop), stop.run_until_cancelled(rest));
    }

    /// Stops only before acquiring jobs, never after: every acquired job is started.
    async fn refreshes(&self, stop: &CancellationToken) {
        let mut refreshes = Refreshes {
            jobs: self,
            in_flight: JoinSet::new(),
            budget: f64::from(self.settings.rate_per_second),
            budget_at: Instant::now(),
        };
        while !stop.is_cancelled() {
            let more = log_failure(refreshes.begin_due().await).unwrap_or(false);
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.pause(TICK_INTERVAL) => {}
                () = refreshes.wait_for_room(), if more => {}
            }
        }
    }

    /// Stops only before acquiring deliveries, as the refreshes do.
    async fn deliveries(&self, stop: &CancellationToken) {
        let mut in_flight = JoinSet::new();
        while !stop.is_cancelled() {
            while in_flight.try_join_next().is_some() {}
            for delivery in
                log_failure(self.services.webhooks.deliveries.acquire_deliveries().await).unwrap_or_default()
            {
                let span = error_span!("delivery", event = delivery.event_id());
                let work = span.in_scope(|| self.services.webhooks.deliveries.deliver_webhook(delivery));
                in_flight.spawn(async move {
                    let _ = work.await;
                });
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.pause(TICK_INTERVAL) => {}
                // A finished delivery leaves room for the next.
                Some(_) = in_flight.join_next() => {}
            }
        }
    }

    async fn watch(&self) {
        loop {
            self.pause(EXPIRY_CHECK_INTERVAL).await;
            log_failure(self.services.connections.upkeep.note_degraded().await);
        }
    }

    async fn chores(&self) {
        loop {
            log_failure(self.services.connections.disconnects.revoke_due().await);
            let details = self.services.connections.details.fetch_missing_details();
            run_in_span(error_span!("account_details"), details).await;
            self.pause(TICK_INTERVAL).await;
        }
    }

    /// Reads uninstalls from HubSpot's journal. At startup, due jobs go first.
    async fn journal(&self) {
        while self.services.marketplace.journal.reads_journal() {
            self.pause(TICK_INTERVAL).await;
            let poll =
                run_in_span(error_span!("journal"), self.services.marketplace.journal.read_journal()).await;
            self.pause(poll.map_or(JOURNAL_POLL_INTERVAL, |poll| poll.next_in)).await;
        }
    }

    async fn sweeps(&self) {
        let mut page = None;
        // At startup, due jobs go first.
        self.pause(TICK_INTERVAL).await;
        loop {
            run_in_span(error_span!("sweep"), self.services.maintenance.sweep()).await;
            let next = self.services.connections.upkeep.reconcile(page);
            page = run_in_span(error_span!("reconcile"), next).await.flatten();
            self.pause(SWEEP_INTERVAL).await;
        }
    }

    /// Jitter keeps replicas from working at the same moment.
    async fn pause(&self, span: Duration) {
        tokio::time::sleep(span.mul_f64(0.9 + 0.2 * self.random.unit())).await;
    }
}

/// Runs a part of the background work in its own span, which names it in the log.
async fn run_in_span<T>(span: Span, work: impl Future<Output = Result<T, StoreError>>) -> Option<T> {
    async { log_failure(work.await) }.instrument(span).await
}

/// Logs a failure. Work that failed is still due a moment later.
fn log_failure<T>(outcome: Result<T, StoreError>) -> Option<T> {
    outcome
        .inspect_err(|why| {
            tracing::error!(error = %why, "database unavailable to background jobs; will retry");
        })
        .ok()
}

impl Refreshes<'_> {
    /// Starts as many due refreshes as room and budget allow. Returns whether more may be due.
    async fn begin_due(&mut self) -> Result<bool, StoreError> {
        while self.in_flight.try_join_next().is_some() {}
        let room = self.jobs.settings.max_in_flight.saturating_sub(self.in_flight.len());
        let wanted = self.allowance().min(u32::try_from(room).unwrap_or(u32::MAX));
        if wanted == 0 {
            return Ok(false);
        }
        let acquired = self.jobs.services.connections.refreshes.acquire_refreshes(wanted).await?;
        self.budget -= acquired.len() as f64;
        let more = acquired.len() >= wanted as usize;
        for one in acquired {
            let span = error_span!("refresh", connection = %one.job.connection_id);
            let work = span.in_scope(|| self.jobs.services.connections.refreshes.refresh(one));
            self.in_flight.spawn(async move {
                let _ = work.await;
            });
        }
        Ok(more)
    }

    /// Waits until half of the refreshes in flight have ended: acquiring many jobs costs little more than acquiring
    /// one.
    async fn wait_for_room(&mut self) {
        while self.in_flight.len() > self.jobs.settings.max_in_flight / 2
            && self.in_flight.join_next().await.is_some()
        {}
    }

    /// Returns the balance of a token bucket. It holds at most one second's worth, so that no burst follows an idle
    /// time.
    fn allowance(&mut self) -> u32 {
        let rate = f64::from(self.jobs.settings.rate_per_second);
        let gained = self.budget_at.elapsed().as_secs_f64() * rate;
        self.budget_at = Instant::now();
        self.budget = (self.budget + gained).min(rate.max(1.0));
        // Never negative, and below the rate, which is a u32.
        self.budget.max(0.0) as u32
    }
}
