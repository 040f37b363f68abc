//! Measures what the gauges of /metrics report.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::domain::clock::Clock;
use crate::services::connections::{CircuitBreaker, ConnectionList, Connections};
use crate::services::platform::{Base, Notifier, Tasks};
use crate::services::webhooks::{Endpoints, Webhooks};
use crate::store::StoreError;
use crate::telemetry::metrics::Metrics;

/// The time that a scrape waits for fresh values. After that it reports those of the last measurement: without a
/// database, the metrics of the process matter most.
const MAX_SCRAPE_WAIT: Duration = Duration::from_millis(250);

/// Measurements for the gauges. Clones share everything.
#[derive(Debug, Clone)]
pub struct Measurements(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    connections: ConnectionList,
    endpoints: Endpoints,
    circuit_breaker: Arc<CircuitBreaker>,
    notifier: Notifier,
    clock: Clock,
    metrics: Arc<Metrics>,
    tasks: Tasks,
    /// Held during a measurement of the database: a slow one must not be joined by others.
    measuring: Arc<Mutex<()>>,
}

impl Measurements {
    pub(super) fn new(base: &Base, connections: &Connections, webhooks: &Webhooks) -> Self {
        let Base { notifier, clock, metrics, tasks, .. } = base.clone();
        Self(Arc::new(Parts {
            connections: connections.list.clone(),
            endpoints: webhooks.endpoints.clone(),
            circuit_breaker: Arc::clone(&connections.circuit_breaker),
            notifier,
            clock,
            metrics,
            tasks,
            measuring: Arc::default(),
        }))
    }

    /// Updates the gauges. A measurement of the database that takes too long continues, for the next scrape.
    pub async fn update(&self) {
        let parts = &self.0;
        let breaker = &parts.circuit_breaker;
        parts.metrics.refreshes.set_circuit_breaker(breaker.open_reason().is_some(), breaker.is_outage());
        parts.metrics.http.set_waiting(parts.notifier.count());
        let fresh = async {
            let measuring = Arc::clone(&parts.measuring).lock_owned().await;
            let measurements = self.clone();
            let work = parts.tasks.detach(async move {
                if let Err(why) = measurements.measure_database().await {
                    tracing::warn!(error = %why, "failed to measure the database for metrics");
                }
                drop(measuring);
            });
            let _ = work.await;
        };
        let _ = timeout(MAX_SCRAPE_WAIT, fresh).await;
    }

    /// Measures the database. The counts that may take long in an outage come last.
    async fn measure_database(&self) -> Result<(), StoreError> {
        let (parts, gauges) = (&self.0, &self.0.metrics.database);
        let now = parts.clock.now();
        let due = parts.connections.due_refreshes(now).await?;
        gauges.refreshes_due.set(due.count, due.oldest_age(now));
        let waiting = parts.endpoints.webhooks_waiting().await?;
        gauges.webhooks_waiting.set(waiting.count, waiting.oldest_age(now));
        for (status, count) in parts.connections.count_by_status(now).await? {
            gauges.set_connections(status, count);
        }
        gauges.measured(now);
        Ok(())
    }
}
