//! The service, configured like an operator's by variables alone, with a clock that the test moves.

use std::time::Duration;

use fake_hubspot::{Decision, FakeHubSpot, Options};
use hubspot_connect::app::{App, StartupError};
use hubspot_connect::config::{Config, Variables};
use hubspot_connect::domain::api_key::{ApiScopes, new_key};
use hubspot_connect::domain::clock::{Clock, Timestamp};
use hubspot_connect::domain::id::ApiKeyId;
use hubspot_connect::domain::project::ProjectId;
use hubspot_connect::domain::random::Random;
use hubspot_connect::keyring::Keyring;
use hubspot_connect::services::Services;
use hubspot_connect::store::{ApiKey, Project, Store};
use reqwest::Method;
use serde_json::Value;
use test_support::free_port;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::browser::Answer;
use super::database::TestDatabase;
use super::{Browser, sql};

/// A listed host page, on another site than the service.
pub const HOST: &str = "http://host.localhost:3000";
/// The account of the fake that grants every scope.
pub const ACME: u64 = 1_234_567;
/// An account that can grant only some scopes.
pub const GLOBEX: u64 = 7_654_321;
/// A third account.
pub const INITECH: u64 = 2_222_222;

/// Sessions that outlast a test in which hours pass.
pub const LONG_SESSIONS: &[(&str, &str)] =
    &[("SESSION_IDLE_SECONDS", "86400"), ("SESSION_MAX_SECONDS", "2592000")];

/// A running service with its own HubSpot, database and clock.
pub struct TestApp {
    pub base: String,
    pub admin: String,
    pub hubspot: FakeHubSpot,
    pub database: TestDatabase,
    pub clock: Clock,
    pub variables: Vec<(String, String)>,
    pub services: Services,
    pub store: Store,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl TestApp {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Starts a service with these variables.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        Self::with_hubspot(variables, Options::default()).await
    }

    /// Starts a service with these variables and options of HubSpot.
    pub async fn with_hubspot(variables: &[(&str, &str)], options: Options) -> Self {
        let hubspot = FakeHubSpot::start(options).await.expect("a fake HubSpot");
        let database = TestDatabase::migrated().await;
        let variables = settle(&hubspot, &database, variables);
        let clock = Clock::manual(Timestamp::from_unix_ms(1_795_000_000_000));
        Self::assemble(hubspot, database, variables, clock).await.expect("the service starts")
    }

    /// Builds without running, for tests of failed starts.
    pub async fn build(variables: &[(String, String)], clock: Clock) -> Result<App, StartupError> {
        let config =
            Config::read(&Variables::from_pairs(variables.iter().cloned())).expect("a configuration");
        App::build(config, clock, Random::system()).await
    }

    async fn assemble(
        hubspot: FakeHubSpot,
        database: TestDatabase,
        variables: Vec<(String, String)>,
        clock: Clock,
    ) -> Result<Self, StartupError> {
        let app = Self::build(&variables, clock.clone()).await?;
        let public =
            variables.iter().rev().find(|(name, _)| name == "PUBLIC_URL").map(|(_, value)| value.clone());
        let admin = app.admin_address().map_or_else(String::new, |address| format!("http://{address}"));
        let (services, store) = (app.services().clone(), app.store().clone());
        let stop = CancellationToken::new();
        let stop_signal = stop.clone();
        let running = tokio::spawn(async move { app.run(stop_signal, true).await.expect("runs") });
        let base = public.expect("PUBLIC_URL");
        Ok(Self { base, admin, hubspot, database, clock, variables, services, store, stop, running })
    }

    /// Stops and restarts on the same database, with the same variables except for `changes`.
    pub async fn restarted(self, changes: &[(&str, &str)]) -> Self {
        let (database, mut variables, hubspot, clock) = self.stopped().await;
        for (name, value) in changes {
            variables.retain(|(known, _)| known != name);
            variables.push(((*name).to_owned(), (*value).to_owned()));
        }
        Self::assemble(hubspot, database, variables, clock).await.expect("the service starts again")
    }

    /// Restarts with the parts that [`TestApp::stopped`] returned.
    pub async fn again(
        hubspot: FakeHubSpot,
        database: TestDatabase,
        variables: Vec<(String, String)>,
        clock: Clock,
    ) -> Self {
        Self::assemble(hubspot, database, variables, clock).await.expect("the service starts again")
    }

    /// Starts another process of the same service: the same variables and database, and other addresses.
    pub async fn replica(&self, clock: Clock) -> App {
        let mut variables = self.variables.clone();
        variables.push(("SERVER_ADDR".to_owned(), "127.0.0.1:0".to_owned()));
        Self::build(&variables, clock).await.expect("a replica starts")
    }

    /// Asserts that every active connection has one job, and no other has one.
    pub async fn assert_one_job_each(&self) {
        let lacking = self.database.connections(sql::ACTIVE_WITHOUT_JOB).await;
        let spare = self.database.count_where(sql::REFRESH_JOBS, sql::WITHOUT_ACTIVE_CONNECTION).await;
        assert_eq!((lacking, spare), (0, 0), "connections without a job, jobs without a connection");
    }

    /// Stops and returns everything else.
    pub async fn stopped(self) -> (TestDatabase, Vec<(String, String)>, FakeHubSpot, Clock) {
        self.stop.cancel();
        self.running.await.expect("stops");
        // The store keeps the file open.
        drop((self.services, self.store));
        (self.database, self.variables, self.hubspot, self.clock)
    }

    pub fn browser(&self) -> Browser {
        Browser::new(&self.base)
    }

    /// Returns a browser whose user has connected this account through the listed host page.
    pub async fn connected(&self, hub_id: u64) -> Browser {
        let browser = self.browser();
        let done = browser.connect(self, Some(HOST), approve(hub_id)).await;
        assert_eq!(done["message"]["type"], "hubspot_auth_success", "{done}");
        browser
    }

    /// Creates an API key with these scopes, separated by spaces.
    pub async fn api_key(&self, scopes: &str) -> String {
        self.api_key_of(&ProjectId::default(), scopes).await
    }

    /// Creates an API key of a project, which exists from then on.
    pub async fn api_key_of(&self, project: &ProjectId, scopes: &str) -> String {
        let (id, created_at) = (project.clone(), self.clock.now());
        let project = Project { id, host_origins: None, created_at };
        self.store.platform.insert_project(project.clone()).await.expect("a project");
        let project_id = project.id;
        let random = Random::system();
        let id = ApiKeyId::random(&random);
        let secret = new_key(id, &random);
        let scopes =
            ApiScopes(scopes.split_whitespace().map(|word| word.parse().expect("a scope")).collect());
        let (name, key_hash, created_at) = (id.to_string(), secret.hash(), self.clock.now());
        let key = ApiKey {
            id,
            name,
            key_hash,
            scopes,
            created_at,
            last_used_at: None,
            revoked_at: None,
            project_id,
        };
        assert!(self.store.platform.insert_api_key(key).await.expect("a key"));
        secret.expose().to_owned()
    }

    /// Calls the API like a host's backend: with a key, a body if there is one, and no cookie.
    pub async fn api(&self, key: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
        let backend = self.browser();
        let mut request = backend.request(method, path).bearer_auth(key);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        backend.send(request).await
    }

    /// Performs the due refreshes and waits for them. Returns their number.
    pub async fn refresh_due(&self) -> usize {
        let jobs = self.services.connections.refreshes.acquire_refreshes(1000).await.expect("claims");
        // Acquired jobs are started at once, as in the background.
        let begun: Vec<_> =
            jobs.into_iter().map(|job| self.services.connections.refreshes.refresh(job)).collect();
        let count = begun.len();
        for one in begun {
            one.await.expect("refreshes");
        }
        count
    }

    /// Delivers webhooks until none is due, and waits for them. Returns the number of attempts.
    pub async fn deliver_due(&self) -> usize {
        let mut count = 0;
        loop {
            let acquired = self.services.webhooks.deliveries.acquire_deliveries().await.expect("claims");
            if acquired.is_empty() {
                return count;
            }
            let begun: Vec<_> = acquired
                .into_iter()
                .map(|one| self.services.webhooks.deliveries.deliver_webhook(one))
                .collect();
            for one in begun {
                one.await.expect("delivers");
                count += 1;
            }
        }
    }

    /// Reads a list to its end, and returns its pages.
    pub async fn pages(&self, key: &str, path: &str) -> Vec<Vec<Value>> {
        let (mut pages, mut cursor) = (Vec::new(), String::new());
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = self.api(key, Method::GET, &format!("{path}{cursor}"), None).await;
            assert_eq!(page.status, 200, "{path}{cursor}: {}", page.body);
            let page = page.json();
            let members: Vec<_> = page.as_object().expect("an object").keys().collect();
            assert_eq!(members, ["data", "next_cursor"], "{path}");
            pages.push(page["data"].as_array().expect("a list").clone());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("{separator}cursor={next}"),
                None => return pages,
            }
        }
    }

    /// Creates a webhook endpoint for these event types, separated by spaces; the default ones if empty.
    pub async fn webhook(&self, url: &str, events: &str) -> Value {
        let key = self.api_key("webhooks").await;
        let events: Vec<&str> = events.split_whitespace().collect();
        let mut body = serde_json::json!({"url": url});
        if !events.is_empty() {
            body["events"] = events.into();
        }
        let made = self.api(&key, Method::POST, "/api/hubspot/webhooks", Some(body)).await;
        assert_eq!(made.status, 201, "{}", made.body);
        made.json()
    }

    /// Moves the clock.
    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// Returns the consent for this account.
pub fn approve(hub_id: u64) -> Decision {
    Decision::Approve { hub_id, scopes: None }
}

/// Returns the variables of a test service; later ones win.
pub fn settle(
    hubspot: &FakeHubSpot,
    database: &TestDatabase,
    changes: &[(&str, &str)],
) -> Vec<(String, String)> {
    let port = free_port();
    let usual = [
        ("HUBSPOT_CLIENT_ID", "fake-client-id".to_owned()),
        ("HUBSPOT_CLIENT_SECRET", "fake-client-secret".to_owned()),
        ("HUBSPOT_SCOPES", "oauth crm.objects.contacts.read".to_owned()),
        ("HUBSPOT_AUTHORIZE_URL", hubspot.authorize_url()),
        ("HUBSPOT_API_URL", hubspot.base_url()),
        ("ENCRYPTION_KEYS", Keyring::generate().expose().to_owned()),
        ("APP_SECRET", "an application secret that is long enough".to_owned()),
        ("DATABASE_URL", database.url.clone()),
        ("SERVER_ADDR", format!("127.0.0.1:{port}")),
        ("PUBLIC_URL", format!("http://localhost:{port}")),
        ("ADMIN_ADDR", "127.0.0.1:0".to_owned()),
        ("HOST_ORIGINS", HOST.to_owned()),
        // So that tests can observe the delivery of access tokens.
        ("TOKEN_DELIVERY", "auto".to_owned()),
        ("RATE_LIMIT_START_PER_MINUTE", "0".to_owned()),
        ("RATE_LIMIT_UNVERIFIED_START_PER_MINUTE", "0".to_owned()),
        ("RATE_LIMIT_WRONG_KEYS_PER_MINUTE", "0".to_owned()),
    ];
    let usual = usual.into_iter().map(|(name, value)| (name.to_owned(), value));
    let changes = changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let mut all: Vec<(String, String)> = Vec::new();
    for (name, value) in usual.chain(changes) {
        all.retain(|(known, _)| *known != name);
        all.push((name, value));
    }
    all
}

/// Returns the secret part of an API key, after its prefix. It may contain underscores.
pub fn secret_of(key: &str) -> &str {
    let secret = key.strip_prefix("hsc_key_").and_then(|rest| rest.split_once('_'));
    secret.expect("an API key").1
}
