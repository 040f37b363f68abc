//! All metrics, named in one place. Labels have few values: no accounts, and no ids except those of API keys.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::domain::failure::{Failure, FailureClass};
use crate::domain::id::ApiKeyId;
use crate::domain::webhook::{After, DeliveryError};

type Labels = Vec<(&'static str, String)>;
type Counts = Family<Labels, Counter<u64, AtomicU64>>;

fn count(counts: &Counts, outcome: &str, by: u64) {
    counts.get_or_create(&vec![("outcome", outcome.to_owned())]).inc_by(by);
}

/// The metrics.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Authorization requests that were started.
    pub flows_started: Counter<u64, AtomicU64>,
    /// Authorization requests that led to a connection.
    pub flows_connected: Counter<u64, AtomicU64>,
    /// Stored tokens that could not be opened.
    pub integrity_errors: Counter<u64, AtomicU64>,
    /// Refreshes by outcome.
    pub refreshes: Refreshes,
    /// Delivery attempts by outcome.
    pub webhooks: Webhooks,
    /// Proxied calls by status class and by who answered.
    pub proxied: Proxied,
    /// Access tokens that backends have requested, by API key and outcome.
    pub token_reads: TokenReads,
    /// Polls of HubSpot's Webhooks Journal, by outcome.
    pub journal: Journal,
    /// Connections of HTTP clients.
    pub http: Http,
    connections: Family<Labels, Gauge>,
    waiting: Gauge,
    webhooks_waiting: Gauge,
}

/// Refreshes by outcome.
#[derive(Debug, Default)]
pub struct Refreshes(Counts);

impl Refreshes {
    /// Counts a success.
    pub fn succeeded(&self) {
        count(&self.0, "ok", 1);
    }

    /// Counts a failure.
    pub fn failed(&self, failure: &Failure) {
        let outcome = match failure.class {
            FailureClass::Transient { .. } => "transient",
            FailureClass::OurFault => "our_fault",
            FailureClass::GrantDead => "grant_dead",
        };
        count(&self.0, outcome, 1);
    }
}

/// Delivery attempts by outcome.
#[derive(Debug, Default)]
pub struct Webhooks(Counts);

impl Webhooks {
    /// Counts an attempt, by its next step and its error.
    pub(crate) fn attempted(&self, after: After, error: Option<DeliveryError>) {
        let outcome = match (after, error) {
            (_, Some(DeliveryError::Blocked)) => "blocked",
            (After::Delivered, _) => "delivered",
            (After::Again(_), _) => "again",
            (After::Failed | After::Gone, _) => "failed",
        };
        count(&self.0, outcome, 1);
    }

    /// Counts deliveries that were given up without another attempt.
    pub fn expired(&self, how_many: u64) {
        count(&self.0, "expired", how_many);
    }
}

/// Proxied calls.
#[derive(Debug, Default)]
pub struct Proxied(Counts);

impl Proxied {
    /// Counts a call that HubSpot (`Ok`) or the service itself (`Err`) answered with this status.
    pub fn answered(&self, status: Result<u16, u16>) {
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
        self.0.get_or_create(&vec![("origin", origin.to_owned()), ("status", class.to_owned())]).inc();
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
#[derive(Debug, Default)]
pub struct Journal(Counts);

impl Journal {
    /// Counts a success.
    pub fn succeeded(&self) {
        count(&self.0, "ok", 1);
    }

    /// Counts a failure.
    pub fn failed(&self, failure: &Failure) {
        let outcome = match failure.class {
            FailureClass::Transient { .. } => "transient",
            FailureClass::OurFault | FailureClass::GrantDead => "our_fault",
        };
        count(&self.0, outcome, 1);
    }
}

/// Connections of HTTP clients, of both listeners.
#[derive(Debug, Default)]
pub struct Http {
    /// Requests that could not be parsed.
    pub malformed: Counter<u64, AtomicU64>,
    open: Gauge,
    closed: Counts,
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
        self.closed.get_or_create(&vec![("reason", reason.to_owned())]).inc();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Returns the metrics in the OpenMetrics text format, with the number of connections per status, of requests that
    /// wait for a change, and of waiting webhooks.
    pub(crate) fn render(&self, connections: &[(String, i64)], waiting: usize, webhooks: i64) -> String {
        self.webhooks_waiting.set(webhooks);
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        // A status that no connection has any more is not in the list.
        self.connections.clear();
        for (status, count) in connections {
            self.connections.get_or_create(&vec![("status", status.clone())]).set(*count);
        }
        let mut registry = Registry::with_prefix("hubspot_connect");
        registry.register(
            "flows_started",
            "Authorization requests that were started",
            self.flows_started.clone(),
        );
        registry.register(
            "flows_connected",
            "Authorization requests that led to a connection",
            self.flows_connected.clone(),
        );
        registry.register(
            "integrity_errors",
            "Stored tokens that could not be decrypted",
            self.integrity_errors.clone(),
        );
        registry.register("refreshes", "Refreshes by outcome", self.refreshes.0.clone());
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
            "journal_looks",
            "Polls of HubSpot's Webhooks Journal by outcome",
            self.journal.0.clone(),
        );
        registry.register("http_connections", "Connections of HTTP clients", self.http.open.clone());
        registry.register(
            "http_connections_closed",
            "Connections of HTTP clients that the service closed, by reason",
            self.http.closed.clone(),
        );
        registry.register(
            "http_malformed_requests",
            "Requests that could not be parsed",
            self.http.malformed.clone(),
        );
        registry.register("connections", "Connections by status", self.connections.clone());
        registry.register("waiting", "Requests waiting for a change", self.waiting.clone());
        registry.register(
            "webhook_attempts",
            "Attempts to deliver webhooks by outcome",
            self.webhooks.0.clone(),
        );
        registry.register(
            "webhooks_waiting",
            "Webhook deliveries that are pending",
            self.webhooks_waiting.clone(),
        );
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &registry);
        text
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
        let text = metrics.render(&[], 0, 0);
        let series = text.lines().filter(|line| line.starts_with("hubspot_connect_token_reads_total{"));
        assert_eq!(series.count(), MAX_COUNTED_KEYS + 1);
        assert!(text.contains(r#"token_reads_total{key="other",outcome="ok"} 10"#));
    }
}
