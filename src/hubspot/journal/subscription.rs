//! The app's subscription to its own uninstalls.

use reqwest::Method;
use serde_json::{Value, json};

use super::super::{HubSpot, error};
use crate::domain::failure::{Failure, FailureCode};

/// The maximum size of the list: an app may have a subscription for each account, of other kinds than ours.
pub(super) const MAX_LIST: usize = 8 * 1024 * 1024;
/// HubSpot's id of the event "app uninstalled" (HubSpot developer docs, "Webhooks journal management APIs", "Create an
/// app install or uninstall event subscription").
pub(super) const UNINSTALLED: &str = "4-1916193";
const KIND: &str = "APP_LIFECYCLE_EVENT";

impl HubSpot {
    /// Subscribes to uninstalls, so that HubSpot writes them into the journal, unless the subscription exists. Returns
    /// whether it is new.
    ///
    /// # Errors
    /// [`Failure`] classifies HubSpot's response, or its absence.
    pub(crate) async fn subscribe_to_uninstalls(&self) -> Result<bool, Failure> {
        if self.is_subscribed().await? {
            return Ok(false);
        }
        let wanted = json!({"subscriptionType": KIND, "eventTypeId": UNINSTALLED, "properties": []});
        let made = self.ask_journal(Method::POST, &self.subscriptions(), Some(&wanted.to_string())).await?;
        match made.status {
            200..=299 => Ok(true),
            // Another process was faster.
            409 => Ok(false),
            _ => Err(error::refused_body(&made.body, error::Asked::Other)),
        }
    }

    /// Returns whether HubSpot writes uninstalls into the journal.
    pub(super) async fn is_subscribed(&self) -> Result<bool, Failure> {
        let list = self.ask_journal(Method::GET, &self.subscriptions(), None).await?;
        match list.status {
            200..=299 => has_ours(&list.body),
            // An app without subscriptions has an empty list.
            404 => Err(Failure::our_fault(FailureCode::JournalAbsent)),
            _ => Err(error::refused_body(&list.body, error::Asked::Other)),
        }
    }

    fn subscriptions(&self) -> String {
        format!("subscriptions/{}", self.journal_version())
    }
}

/// Returns whether one of the subscriptions is ours. HubSpot's schema of the response has `objectTypeId` and `actions`,
/// real responses have `eventTypeId`: any of them is enough.
fn has_ours(list: &[u8]) -> Result<bool, Failure> {
    let list: Value =
        serde_json::from_slice(list).map_err(|_| Failure::transient(FailureCode::ProviderBadResponse))?;
    let is_ours = |one: &Value| {
        let names = |field: &str| one.get(field).and_then(Value::as_str) == Some(UNINSTALLED);
        let acts = one.get("actions").and_then(Value::as_array);
        let acts = acts.is_some_and(|all| all.iter().any(|action| action == "APP_UNINSTALL"));
        let is_deleted = one.get("deletedAt").is_some_and(|at| !at.is_null());
        one["subscriptionType"] == KIND
            && (names("eventTypeId") || names("objectTypeId") || acts)
            && !is_deleted
    };
    Ok(list.get("results").and_then(Value::as_array).is_some_and(|all| all.iter().any(is_ours)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_subscription_is_recognized_in_each_shape() {
        let is = |one: Value| has_ours(json!({"results": [one]}).to_string().as_bytes()).expect("a list");
        for ours in [
            json!({"subscriptionType": KIND, "eventTypeId": UNINSTALLED}),
            json!({"subscriptionType": KIND, "objectTypeId": UNINSTALLED, "deletedAt": null}),
            json!({"subscriptionType": KIND, "actions": ["APP_UNINSTALL"]}),
        ] {
            assert!(is(ours.clone()), "{ours}");
        }
        for other in [
            json!({"subscriptionType": KIND, "eventTypeId": "4-1909196"}),
            json!({"subscriptionType": "OBJECT", "objectTypeId": UNINSTALLED}),
            json!({"subscriptionType": KIND, "eventTypeId": UNINSTALLED, "deletedAt": "2026-11-07T05:31:56Z"}),
            json!(7),
        ] {
            assert!(!is(other.clone()), "{other}");
        }
        assert!(has_ours(b"<html>").is_err());
        assert!(!has_ours(b"{}").expect("a list"));
    }
}
