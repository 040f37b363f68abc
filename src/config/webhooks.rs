//! The allowed receivers of webhooks.

use super::reader::Reader;
use crate::domain::webhook::AllowedHosts;

/// The allowed receivers of webhooks.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// WEBHOOK_ALLOWED_HOSTS.
    pub allowed_hosts: AllowedHosts,
}

impl Webhooks {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut allowed_hosts = AllowedHosts::default();
        for item in reader.list("WEBHOOK_ALLOWED_HOSTS") {
            if !allowed_hosts.add(&item) {
                let problem = format!("contains `{item}`, which is neither a host nor host:port");
                reader.problem("WEBHOOK_ALLOWED_HOSTS", problem);
            }
        }
        Self { allowed_hosts }
    }
}
