//! `export`: what is known of every connection, one JSON object a line. Never a token.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::{Failure, configured, ready_store, runtime, say};
use crate::domain::clock::{Clock, Moment};
use crate::store::Listed;

const PAGE: u32 = 500;

pub(super) fn run() -> Result<ExitCode, Failure> {
    let config = configured()?;
    runtime()?.block_on(async {
        let store = ready_store(&config).await?;
        let now = Clock::system().now();
        let mut after = String::new();
        loop {
            let page = store.list_tokens(&after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.token.id.to_string();
            page.iter().for_each(|listed| say(object(listed, now)));
        }
        store.close().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn object(listed: &Listed, now: Moment) -> Value {
    let Listed { token, plan, external_user, metadata } = listed;
    let metadata: Map<String, Value> =
        metadata.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    json!({
        "id": token.id,
        "external_user_id": external_user,
        "client_id": token.client_id,
        "portal_id": token.portal_id,
        "hub_domain": token.hub_domain,
        "hub_user": token.hub_user,
        "time_zone": token.time_zone,
        "state": token.state_at(now),
        "scopes": token.scopes,
        "missing_scopes": token.missing_scopes(),
        "metadata": metadata,
        "created_at": token.created_at.rfc3339(),
        "connected_at": token.connected_at.rfc3339(),
        "expires_at": token.expires_at.rfc3339(),
        "next_refresh_at": plan.run_at.map(Moment::rfc3339),
        "last_error": token.last_error,
        "error_since": token.error_since.map(Moment::rfc3339),
        "generation": token.generation,
    })
}
