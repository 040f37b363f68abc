//! `export`: prints all connections without their tokens, one JSON object per line.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::connections::print_all;
use super::{Failure, configured, with_store};
use crate::domain::clock::{Clock, Timestamp};
use crate::store::ListedConnection;

pub(super) fn run() -> Result<ExitCode, Failure> {
    with_store(&configured()?, async |store| {
        let now = Clock::system().now();
        print_all(store, |listed| object(listed, now)).await?;
        Ok(ExitCode::SUCCESS)
    })
}

fn object(listed: &ListedConnection, now: Timestamp) -> Value {
    let ListedConnection { token, plan, external_user, metadata, project } = listed;
    let metadata: Map<String, Value> =
        metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    json!({
        "id": token.id,
        "project": project,
        "external_user_id": external_user,
        "client_id": token.client_id,
        "portal_id": token.portal_id,
        "hub_domain": token.hub_domain,
        "hub_user": token.hub_user,
        "time_zone": token.time_zone,
        "status": token.status_at(now),
        "scopes": token.scopes,
        "missing_scopes": token.missing_scopes(),
        "metadata": metadata,
        "created_at": token.created_at.rfc3339(),
        "connected_at": token.connected_at.rfc3339(),
        "expires_at": token.expires_at.rfc3339(),
        "next_refresh_at": plan.run_at.map(Timestamp::rfc3339),
        "last_error": token.last_error,
        "error_since": token.error_since.map(Timestamp::rfc3339),
        "generation": token.generation,
    })
}
