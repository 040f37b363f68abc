//! All metrics, named in one place. Labels have few values: no accounts, and no ids except those of API keys.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::clock::Timestamp;
use crate::domain::connection::ConnectionStatus;
use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::id::ApiKeyId;
use crate::domain::webhook::{After, DeliveryError};

type Labels = Vec<(&'static str, String)>;
type Counts = Family<Labels, Counter<u64, AtomicU64>>;
type Gauges = Family<Labels, Gauge>;
type Seconds = Gauge<f64, AtomicU64>;

/// The prefix of all names.
const PREFIX: &str = "hubspot_connect";

/// Returns counters that are zero from the start. `rate()` ignores the event with which a series appears, so an alert
/// would miss a failure that began before the process.
fn counters(label: &'static str, values: impl IntoIterator<Item = &'static str>) -> Counts {
    let counts = Counts::default();
    for value in values {
        count(&counts, label, value, 0);
    }
    counts
}

fn count(counts: &Counts, label: &'static str, value: &str, by: u64) {
    counts.get_or_create(&vec![(label, value.to_owned())]).inc_by(by);
}

/// The metrics.
#[derive(Debug)]
pub struct Metrics {
    /// Authorization requests.
    pub flows: Flows,
    /// Stored tokens that could not be opened.
    pub integrity_errors: Counter<u64, AtomicU64>,
    /// Refreshes.
    pub refreshes: Refreshes,
    /// Delivery attempts by outcome.
    pub webhooks: Webhooks,
    /// Proxied calls by status class and by who answered.
    pub proxied: Proxied,
    /// Access tokens that backends have requested, by API key and outcome.
    pub token_reads: TokenReads,
    /// Polls of HubSpot's Webhooks Journal, by outcome.
    pub journal: Journal,
    /// Connections and requests of HTTP clients.
    pub http: Http,
    /// The state of the database.
    pub database: DatabaseGauges,
    process_registry: Registry,
    database_registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            flows: Flows::default(),
            integrity_errors: Counter::default(),
            refreshes: Refreshes::default(),
            webhooks: Webhooks::default(),
            proxied: Proxied::default(),
            token_reads: TokenReads::default(),
            journal: Journal::default(),
            http: Http::default(),
            database: DatabaseGauges::default(),
            process_registry: Registry::with_prefix(PREFIX),
            database_registry: Registry::with_prefix(PREFIX),
        };
        metrics.register_process();
        metrics.database.register(&mut metrics.database_registry);
        metrics
    }
}

impl Metrics {
    /// Returns the metrics in the OpenMetrics text format.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode_registry(&mut text, &self.process_registry);
        // Before the first measurement, a zero would be false.
        if self.database.measured_at.get() > 0 {
            let _ = encode_registry(&mut text, &self.database_registry);
        }
        let _ = encode_eof(&mut text);
        text
    }

    fn register_process(&mut self) {
        let registry = &mut self.process_registry;
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The version of the service", Info::new(version));
        let (flows, refreshes, http) = (&self.flows, &self.refreshes, &self.http);
        registry.register("flows_started", "Authorization requests that were started", flows.started.clone());
        registry.register(
            "flows_connected",
            "Authorization requests that led to a connection",
            flows.connected.clone(),
        );
        registry.register(
            "flows_failed",
            "Authorization requests that failed, by code",
            flows.failed.clone(),
        );
        registry.register(
            "integrity_errors",
            "Stored tokens that could not be decrypted",
            self.integrity_errors.clone(),
        );
        registry.register("refreshes", "Refreshes by outcome", refreshes.outcomes.clone());
        registry.register("refreshes_in_flight", "Refreshes in progress", refreshes.in_flight.clone());
        registry.register_with_unit(
            "refresh_duration",
            "Time in which HubSpot answered a refresh, or failed",
            Unit::Seconds,
            refreshes.duration.clone(),
        );
        registry.register(
            "circuit_breaker_open",
            "1 while the circuit breaker holds refreshes back, by reason",
            refreshes.circuit_breaker.clone(),
        );
        registry.register(
            "proxied",
            "Calls of the proxy by status class and origin of the response",
            self.proxied.0.clone(),
        );
        registry.register(
            "token_reads",
            "Access tokens requested by backends, by API key and outcome",
            self.token_reads.counts.clone(),
        );
        registry.register(
            "journal_polls",
            "Polls of HubSpot's Webhooks Journal by outcome",
            self.journal.0.clone(),
        );
        registry.register("http_connections", "Connections of HTTP clients", http.open.clone());
        registry.register(
            "http_connections_closed",
            "Connections of HTTP clients that the service closed, by reason",
            http.closed.clone(),
        );
        registry.register(
            "http_malformed_requests",
            "Requests that could not be parsed",
            http.malformed.clone(),
        );
        registry.register("http_problems", "Error responses by code and status", http.problems.clone());
        registry.register("waiting", "Requests waiting for a change", http.waiting.clone());
        registry.register(
            "webhook_attempts",
            "Attempts to deliver webhooks by outcome",
            self.webhooks.0.clone(),
        );
        registry.register_with_unit(
            "database_measured_timestamp",
            "Time of the last measurement of the database; 0 before the first",
            Unit::Seconds,
            self.database.measured_at.clone(),
        );
    }
}

/// Authorization requests.
#[derive(Debug)]
pub struct Flows {
    /// The authorization requests that were started.
    pub started: Counter<u64, AtomicU64>,
    /// The authorization requests that led to a connection.
    pub connected: Counter<u64, AtomicU64>,
    failed: Counts,
}

impl Default for Flows {
    fn default() -> Self {
        let failed = counters("code", FailureCode::ALL.map(FailureCode::as_str));
        Self { started: Counter::default(), connected: Counter::default(), failed }
    }
}

impl Flows {
    /// Counts a failure.
    pub fn failed(&self, code: FailureCode) {
        count(&self.failed, "code", code.as_str(), 1);
    }
}

/// Refreshes of this process, and what holds them back.
#[derive(Debug)]
pub struct Refreshes {
    outcomes: Counts,
    duration: Histogram,
    in_flight: Gauge,
    circuit_breaker: Gauges,
}

impl Default for Refreshes {
    fn default() -> Self {
        Self {
            outcomes: counters("outcome", ["ok", "transient", "our_fault", "grant_dead"]),
            duration: Histogram::new([0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0]),
            in_flight: Gauge::default(),
            circuit_breaker: Gauges::default(),
        }
    }
}

impl Refreshes {
    /// Counts a success.
    pub fn succeeded(&self) {
        count(&self.outcomes, "outcome", "ok", 1);
    }

    /// Counts a failure.
    pub fn failed(&self, failure: &Failure) {
        let outcome = match failure.class {
            FailureClass::Transient { .. } => "transient",
            FailureClass::OurFault => "our_fault",
            FailureClass::GrantDead => "grant_dead",
        };
        count(&self.outcomes, "outcome", outcome, 1);
    }

    /// Records how long HubSpot took to answer or to fail.
    pub fn answered_after(&self, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
    }

    /// Sets the number of connections that this process is refreshing.
    pub fn set_in_flight(&self, count: usize) {
        self.in_flight.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Sets whether the circuit breaker is open, because of an outage or because HubSpot rejects our requests.
    pub(crate) fn set_circuit_breaker(&self, is_open: bool, is_outage: bool) {
        for (reason, is_it) in [("outage", is_outage), ("rejected", !is_outage)] {
            let gauge = self.circuit_breaker.get_or_create(&vec![("reason", reason.to_owned())]);
            gauge.set((is_open && is_it).into());
        }
    }
}

/// Delivery attempts by outcome.
#[derive(Debug)]
pub struct Webhooks(Counts);

impl Default for Webhooks {
    fn default() -> Self {
        Self(counters("outcome", ["delivered", "again", "failed", "blocked", "expired"]))
    }
}

impl Webhooks {
    /// Counts an attempt, by its next step and its error.
    pub(crate) fn attempted(&self, after: After, error: Option<DeliveryError>) {
        let outcome = match (after, error) {
            (_, Some(DeliveryError::Blocked)) => "blocked",
            (After::Delivered, _) => "delivered",
            (After::Again(_), _) => "again",
            (After::Failed | After::Gone, _) => "failed",
        };
        count(&self.0, "outcome", outcome, 1);
    }

    /// Counts deliveries that were given up without another attempt.
    pub fn expired(&self, how_many: u64) {
        count(&self.0, "outcome", "expired", how_many);
    }
}

/// Proxied calls.
#[derive(Debug)]
pub struct Proxied(Counts);

impl Default for Proxied {
    fn default() -> Self {
        let proxied = Self(Counts::default());
        for status in [200, 300, 400, 500] {
            proxied.count(Ok(status), 0);
            proxied.count(Err(status), 0);
        }
        proxied
    }
}

impl Proxied {
    /// Counts a call that HubSpot (`Ok`) or the service itself (`Err`) answered with this status.
    pub fn answered(&self, status: Result<u16, u16>) {
        self.count(status, 1);
    }

    fn count(&self, status: Result<u16, u16>, by: u64) {
        let (origin, status) = match status {
            Ok(status) => ("hubspot", status),
            Err(status) => ("proxy", status),
        };
        let class = match status {
            0..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.0.get_or_create(&vec![("origin", origin.to_owned()), ("status", class.to_owned())]).inc_by(by);
    }
}

/// The number of API keys with counters of their own. Keys are created by hand, so there are few; further ones share
/// one.
const MAX_COUNTED_KEYS: usize = 1000;

/// Access tokens that backends have requested.
#[derive(Debug, Default)]
pub struct TokenReads {
    counts: Counts,
    keys: Mutex<HashSet<ApiKeyId>>,
}

impl TokenReads {
    /// Counts a request that was answered with this status.
    pub fn answered(&self, key: ApiKeyId, status: u16) {
        let outcome = match status {
            200..=299 => "ok",
            304 => "not_modified",
            _ => "failed",
        };
        let mut keys = self.keys.lock().expect("nothing panics while it holds this lock");
        if keys.len() < MAX_COUNTED_KEYS {
            keys.insert(key);
        }
        let key = if keys.contains(&key) { key.to_string() } else { "other".to_owned() };
        drop(keys);
        self.counts.get_or_create(&vec![("key", key), ("outcome", outcome.to_owned())]).inc();
    }
}

/// Polls of HubSpot's Webhooks Journal, by outcome.
#[derive(Debug)]
pub struct Journal(Counts);

impl Default for Journal {
    fn default() -> Self {
        Self(counters("outcome", ["ok", "transient", "our_fault"]))
    }
}

impl Journal {
    /// Counts a success.
    pub fn succeeded(&self) {
        count(&self.0, "outcome", "ok", 1);
    }

    /// Counts a failure.
    pub fn failed(&self, failure: &Failure) {
        let outcome = match failure.class {
            FailureClass::Transient { .. } => "transient",
            FailureClass::OurFault | FailureClass::GrantDead => "our_fault",
        };
        count(&self.0, "outcome", outcome, 1);
    }
}

/// Connections and requests of HTTP clients, of both listeners.
#[derive(Debug)]
pub struct Http {
    /// Requests that could not be parsed.
    pub malformed: Counter<u64, AtomicU64>,
    open: Gauge,
    closed: Counts,
    problems: Counts,
    waiting: Gauge,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            malformed: Counter::default(),
            open: Gauge::default(),
            closed: counters("reason", ["client_limit", "idle", "head", "exchange", "write", "stop"]),
            problems: Counts::default(),
            waiting: Gauge::default(),
        }
    }
}

/// Counts a connection for as long as it is open.
#[derive(Debug)]
pub struct Open(Gauge);

impl Http {
    /// Counts a connection until the returned value is dropped.
    pub fn opened(&self) -> Open {
        self.open.inc();
        Open(self.open.clone())
    }

    /// Counts a connection that the service has closed, and why.
    pub fn closed(&self, reason: &'static str) {
        count(&self.closed, "reason", reason, 1);
    }

    /// Counts error responses with this code and status; zero of them to create the series.
    pub fn problems(&self, code: &str, status: u16, how_many: u64) {
        let labels = vec![("code", code.to_owned()), ("status", status.to_string())];
        self.problems.get_or_create(&labels).inc_by(how_many);
    }

    /// Sets the number of requests that wait for a change.
    pub(crate) fn set_waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The state of the database. All replicas share it, so each of them reports the same values.
#[derive(Debug, Default)]
pub struct DatabaseGauges {
    /// Due refreshes.
    pub refreshes_due: Backlog,
    /// Pending webhook deliveries.
    pub webhooks_waiting: Backlog,
    connections: Gauges,
    measured_at: Gauge,
}

/// Waiting work.
#[derive(Debug, Default)]
pub struct Backlog {
    count: Gauge,
    oldest_age: Seconds,
}

impl Backlog {
    /// Sets its size, and the age of its oldest item.
    pub fn set(&self, count: i64, oldest_age: Duration) {
        self.count.set(count);
        self.oldest_age.set(oldest_age.as_secs_f64());
    }

    fn register(&self, registry: &mut Registry, name: &str, what: &str) {
        registry.register(name, what, self.count.clone());
        let (name, help) = (format!("{name}_oldest_age"), format!("Age of the oldest: {what}"));
        registry.register_with_unit(name, help, Unit::Seconds, self.oldest_age.clone());
    }
}

impl DatabaseGauges {
    /// Sets the number of connections with this status.
    pub fn set_connections(&self, status: ConnectionStatus, count: i64) {
        self.connections.get_or_create(&vec![("status", status.to_string())]).set(count);
    }

    /// Records that everything was measured at this time.
    pub fn measured(&self, at: Timestamp) {
        self.measured_at.set(at.unix_seconds());
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("connections", "Connections by status", self.connections.clone());
        self.refreshes_due.register(registry, "refreshes_due", "Refreshes that are due");
        self.webhooks_waiting.register(registry, "webhooks_waiting", "Webhook deliveries that are pending");
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::random::Random;

    #[test]
    fn token_read_labels_are_bounded() {
        let metrics = Metrics::default();
        let random = Random::seeded(1);
        for _ in 0..MAX_COUNTED_KEYS + 10 {
            metrics.token_reads.answered(ApiKeyId::random(&random), 200);
        }
        let text = metrics.render();
        let series = text.lines().filter(|line| line.starts_with("hubspot_connect_token_reads_total{"));
        assert_eq!(series.count(), MAX_COUNTED_KEYS + 1);
        assert!(text.contains(r#"token_reads_total{key="other",outcome="ok"} 10"#));
    }
}
