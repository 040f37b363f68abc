//! The loop: run once, sleep until something may be due, stop when told.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Refresh;
use crate::domain::chance::Chance;
use crate::flows::{Flows, StoreError};

/// Due moments lie in the database, not in timers: after a suspended night or a moved clock the next look finds them.
const TICK: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_secs(60);

/// The background work of one process.
#[derive(Debug)]
pub struct Jobs {
    flows: Flows,
    settings: Refresh,
    chance: Chance,
    in_flight: tokio::task::JoinSet<()>,
    /// How many refreshes may begin now: it fills with the seconds and is emptied by claims.
    budget: f64,
    budget_at: Instant,
    swept_at: Option<Instant>,
}

impl Jobs {
    /// The background work over these verbs.
    pub fn new(flows: Flows, settings: &Refresh, chance: Chance) -> Self {
        Self {
            flows,
            settings: settings.clone(),
            chance,
            in_flight: tokio::task::JoinSet::new(),
            budget: f64::from(settings.rate_per_second),
            budget_at: Instant::now(),
            swept_at: None,
        }
    }

    /// Works until told to stop, then finishes what is in flight.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            if let Err(why) = self.run_once().await {
                tracing::error!(error = %why, "background work could not reach the database; trying again");
            }
            // A little unevenness keeps replicas from looking at the same moment.
            let pause = TICK.mul_f64(0.9 + 0.2 * self.chance.unit());
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
                Some(_) = self.in_flight.join_next() => {}
            }
        }
        while self.in_flight.join_next().await.is_some() {}
    }

    /// Begins whatever is due.
    ///
    /// # Errors
    /// [`StoreError`] if the database fails; what is due stays due.
    pub async fn run_once(&mut self) -> Result<(), StoreError> {
        self.refresh().await?;
        self.flows.revoke_due().await?;
        self.flows.ask_missing_details().await?;
        if self.swept_at.is_none_or(|at| at.elapsed() >= SWEEP) {
            self.flows.sweep().await?;
            self.swept_at = Some(Instant::now());
        }
        Ok(())
    }

    async fn refresh(&mut self) -> Result<(), StoreError> {
        while self.in_flight.try_join_next().is_some() {}
        let room = self.settings.max_in_flight.saturating_sub(self.in_flight.len());
        let wanted = self.allowance().min(u32::try_from(room).unwrap_or(u32::MAX));
        if wanted == 0 {
            return Ok(());
        }
        let claimed = self.flows.claim_refreshes(wanted).await?;
        self.budget -= claimed.len() as f64;
        for job in claimed {
            let work = self.flows.refresh(job);
            self.in_flight.spawn(async move {
                let _ = work.await;
            });
        }
        Ok(())
    }

    /// A token bucket: a second's worth at most, so that a long silence is not followed by a burst.
    fn allowance(&mut self) -> u32 {
        let rate = f64::from(self.settings.rate_per_second);
        let gained = self.budget_at.elapsed().as_secs_f64() * rate;
        self.budget_at = Instant::now();
        self.budget = (self.budget + gained).min(rate.max(1.0));
        // Never negative, and below the rate, which is a u32.
        self.budget.max(0.0) as u32
    }
}
