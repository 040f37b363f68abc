//! Finds out what other processes have changed, with one query per second for all waiting requests instead of one for
//! each.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::base::Base;
use super::notifier::{Key, Notifier};
use crate::store::{ConnectStore, ConnectionStore, StoreError};

/// The delay until a change of another process is noticed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The number of keys in one query.
const MAX_KEYS_PER_QUERY: usize = 500;

/// The watch for changes by other processes, on behalf of requests that wait in this one.
#[derive(Debug, Clone)]
pub struct ReplicaWatch {
    connect_store: ConnectStore,
    connection_store: ConnectionStore,
    /// Whether this process is the only writer.
    is_exclusive: bool,
    notifier: Notifier,
}

impl ReplicaWatch {
    pub(super) fn new(base: &Base) -> Self {
        Self {
            connect_store: base.store.connect.clone(),
            connection_store: base.store.connections.clone(),
            is_exclusive: base.store.database().is_exclusive(),
            notifier: base.notifier.clone(),
        }
    }

    /// Polls for changes of other processes until it is stopped. If this process is the only writer, there are none.
    pub async fn watch_others(&self, stop: CancellationToken) {
        if self.is_exclusive {
            return;
        }
        let looks = async {
            loop {
                tokio::time::sleep(POLL_INTERVAL).await;
                if let Err(why) = self.poll().await {
                    tracing::warn!(error = %why, "failed to check for changes by other replicas");
                }
            }
        };
        stop.run_until_cancelled(looks).await;
    }

    async fn poll(&self) -> Result<(), StoreError> {
        let (flows, users) = self.notifier.keys();
        for some in flows.chunks(MAX_KEYS_PER_QUERY) {
            for (flow, version) in self.connect_store.flow_versions(some).await? {
                self.notifier.note_version(Key::Flow(flow), version);
            }
        }
        for some in users.chunks(MAX_KEYS_PER_QUERY) {
            for (user, version) in self.connection_store.connection_versions(some).await? {
                self.notifier.note_version(Key::User(user), version);
            }
        }
        Ok(())
    }
}
