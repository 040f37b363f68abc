//! Users: they read their status, connect, disconnect, log out, abandon a flow, and reconnect when asked to. They
//! tolerate every fault of the replicas and try again later.

use std::sync::Arc;
use std::time::Duration;

use fake_hubspot::{Decision, FakeHubSpot};
use hubspot_connect::domain::random::Random;
use hubspot_connect::domain::secret::Secret;
use hubspot_connect::services::flow_of_state;
use tokio::time::sleep;

use crate::browser::{Browser, Web};
use crate::chaos::Cluster;
use crate::plan::pick;

/// The account of the first user; each one has its own account.
const FIRST_HUB: u64 = 9_000_000;

/// A user with a browser and a HubSpot account.
pub struct User {
    hub: u64,
    browser: Browser,
}

/// The environment of the users.
#[derive(Clone)]
pub struct Environment {
    /// The service.
    pub cluster: Arc<Cluster>,
    /// HubSpot.
    pub hubspot: Arc<FakeHubSpot>,
}

impl User {
    /// Creates the user of this number.
    pub fn new(number: usize, web: &Arc<Web>) -> Self {
        Self { hub: FIRST_HUB + number as u64, browser: Browser::new(web) }
    }

    /// Connects. Returns whether that succeeded.
    pub async fn connect(&mut self, environment: &Environment, replica: usize) -> bool {
        let Some(authorize) = self.begin(environment, replica).await else { return false };
        let decision = Decision::Approve { hub_id: self.hub, scopes: None };
        let Some(back) = environment.hubspot.decide(&authorize, decision) else { return false };
        // The callback may reach another replica than the start.
        let answer = self.browser.get(environment.cluster.near(replica + 1), &back).await;
        if answer.is_none_or(|answer| answer.status != 303) {
            return false;
        }
        let status = self.status(environment, replica).await;
        let connection = status["connections"][0]["id"].as_str();
        let Some(connection) = connection.filter(|_| status["status"] == "active") else { return false };
        environment.cluster.record.connected(connection.to_owned());
        true
    }

    async fn begin(&mut self, environment: &Environment, replica: usize) -> Option<String> {
        let authorize = self.browser.start(environment.cluster.near(replica)).await?;
        let url = url::Url::parse(&authorize).ok()?;
        let (_, state) = url.query_pairs().find(|(name, _)| name == "state")?;
        environment.cluster.record.started(flow_of_state(&Secret::new(state.to_string())).to_string());
        environment.cluster.record.secrets().push(state.into_owned());
        Some(authorize)
    }

    /// Returns the status of the connection; null without a response.
    async fn status(&mut self, environment: &Environment, replica: usize) -> serde_json::Value {
        self.browser.status(environment.cluster.near(replica)).await.unwrap_or_default()
    }

    async fn disconnect(&mut self, environment: &Environment, replica: usize) {
        let status = self.status(environment, replica).await;
        let Some(connection) = status["connections"][0]["id"].as_str() else { return };
        let replica = environment.cluster.near(replica);
        if self.browser.disconnect(replica, connection).await == Some(true) {
            environment.cluster.record.disconnected(connection.to_owned());
        }
    }

    async fn logout(&mut self, environment: &Environment, replica: usize) {
        let replica = environment.cluster.near(replica);
        let status = self.browser.status(replica).await.unwrap_or_default();
        let ids = status["connections"].as_array().into_iter().flatten();
        let ids: Vec<_> = ids.filter_map(|one| one["id"].as_str().map(str::to_owned)).collect();
        if self.browser.logout(replica).await == Some(true) {
            ids.into_iter().for_each(|connection| environment.cluster.record.disconnected(connection));
            self.browser.forget();
        }
    }

    async fn act(&mut self, environment: &Environment, random: &Random) {
        let replica = pick(random, 3) as usize;
        match pick(random, 20) {
            0 => self.disconnect(environment, replica).await,
            1 => self.logout(environment, replica).await,
            2 => _ = self.begin(environment, replica).await,
            3 => {
                let decision = Decision::Deny;
                if let Some(authorize) = self.begin(environment, replica).await
                    && let Some(back) = environment.hubspot.decide(&authorize, decision)
                {
                    self.browser.get(environment.cluster.near(replica), &back).await;
                }
            }
            4..=10 => {
                // A user without a working connection connects.
                let status = self.status(environment, replica).await;
                let is_well = matches!(status["status"].as_str(), Some("active" | "degraded"));
                if !status.is_null() && !is_well {
                    self.connect(environment, replica).await;
                }
            }
            _ => _ = self.status(environment, replica).await,
        }
    }

    /// Takes every secret that this browser has held.
    pub fn secrets(&mut self) -> Vec<String> {
        std::mem::take(&mut self.browser.secrets).into_iter().collect()
    }
}

/// Lets a group of users act until stopped; each decision is drawn from the seed.
pub async fn live(
    mut group: Vec<User>,
    environment: Environment,
    seed: u64,
    mut stop: tokio::sync::watch::Receiver<bool>,
) -> Vec<User> {
    let random = Random::seeded(seed);
    while !*stop.borrow_and_update() && !group.is_empty() {
        let who = pick(&random, group.len() as u64) as usize;
        group[who].act(&environment, &random).await;
        sleep(Duration::from_millis(100 + pick(&random, 400))).await;
    }
    group
}
