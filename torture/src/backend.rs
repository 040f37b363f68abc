//! Backends that read access tokens of all connections from every replica, through every fault.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hubspot_connect::domain::random::Random;
use reqwest::{Response, header};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::Failure;
use crate::browser::Web;
use crate::history::{Answer, Lent, Promise, Read};
use crate::plan::{REPLICAS, pick};
use crate::record::now;
use crate::users::Environment;

/// The number of concurrent readers per replica.
const READERS: usize = 3;
/// The longest lifetime that is requested: at most half of a token's lifetime can be had.
const MAX_TTL_SECONDS: u64 = 12;
/// The interval at which backends list the connections.
const READ_INTERVAL: Duration = Duration::from_secs(1);
/// Longer than any freeze of a replica: its late responses count, too.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);
/// One of this many reads is for a connection that ended lately.
const ENDED: u64 = 20;

/// The state that all backends share.
pub struct Backend {
    environment: Environment,
    web: Arc<Web>,
    key: String,
    known: Mutex<Known>,
}

/// The connections and tokens that backends know.
#[derive(Default)]
struct Known {
    /// Connections, with their accounts.
    listed: Vec<(String, Option<u64>)>,
    /// The accounts of connections, ended ones too.
    hubs: HashMap<String, Option<u64>>,
    /// The last token of each connection, with its ETag.
    held: HashMap<String, (String, Lent)>,
}

impl Backend {
    /// Creates backends with their own API key. The first replica must be running.
    pub fn new(environment: Environment, web: Arc<Web>) -> Result<Self, Failure> {
        let scopes = "tokens:read,connections:read";
        let key =
            environment.cluster.replicas[0].command(&["api-keys", "create", "torture", "--scope", scopes])?;
        environment.cluster.record.secrets().push(key.clone());
        Ok(Self { environment, web, key, known: Mutex::default() })
    }

    /// Reads tokens until stopped.
    pub async fn ask(self: Arc<Self>, seed: u64, stop: watch::Receiver<bool>) {
        let mut readers = JoinSet::new();
        for number in 0..REPLICAS * READERS {
            let (backend, stop) = (Arc::clone(&self), stop.clone());
            let random = Random::seeded(seed.wrapping_add(1_000 + number as u64));
            readers.spawn(async move {
                while !*stop.borrow() {
                    backend.read(number % REPLICAS, &random).await;
                    sleep(Duration::from_millis(10 + pick(&random, 100))).await;
                }
            });
        }
        while !*stop.borrow() {
            let began = Instant::now();
            let _ = self.list().await;
            tokio::time::sleep_until(began + READ_INTERVAL).await;
        }
        while readers.join_next().await.is_some() {}
    }

    /// Lists the connections. A list that breaks off changes nothing.
    async fn list(&self) -> Option<()> {
        let (mut listed, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/hubspot/connections?limit=100{cursor}");
            let replica = self.environment.cluster.near(0);
            let page: Value =
                serde_json::from_str(&self.get(replica, &path, None).await?.text().await.ok()?).ok()?;
            for one in page["data"].as_array()? {
                listed.push((one["id"].as_str()?.to_owned(), one["portal_id"].as_u64()));
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        let mut known = self.known();
        known.hubs.extend(listed.iter().filter(|(_, hub)| hub.is_some()).cloned());
        known.listed = listed;
        Some(())
    }

    async fn read(&self, replica: usize, random: &Random) {
        let Some(connection) = self.choose(random) else { return };
        let seconds = pick(random, MAX_TTL_SECONDS + 1);
        let held = self.known().held.get(&connection).cloned().filter(|_| pick(random, 2) == 0);
        let path = format!("/api/hubspot/connections/{connection}/token?min_ttl={seconds}");
        let at = now();
        let answer = match self.get(replica, &path, held.as_ref().map(|(tag, _)| tag.as_str())).await {
            Some(response) => self.write_down(response, &connection, held.map(|(_, token)| token)).await,
            None => None,
        };
        let answer = answer.unwrap_or(Answer::Silence);
        let hub = self.known().hubs.get(&connection).copied().flatten();
        let min_ttl_ms = 1000 * i64::try_from(seconds).unwrap_or(i64::MAX);
        self.environment.cluster.record.read(Read {
            at,
            answered: now(),
            replica,
            connection,
            hub,
            min_ttl_ms,
            answer,
        });
    }

    fn choose(&self, random: &Random) -> Option<String> {
        if pick(random, ENDED) == 0 {
            let history = self.environment.cluster.record.history();
            let ended: Vec<_> = history.disconnects.iter().rev().take(20).collect();
            if !ended.is_empty() {
                return Some(ended[pick(random, ended.len() as u64) as usize].connection.clone());
            }
        }
        let known = self.known();
        let which = pick(random, known.listed.len() as u64) as usize;
        known.listed.get(which).map(|(connection, _)| connection.clone())
    }

    async fn get(&self, replica: usize, path: &str, tag: Option<&str>) -> Option<Response> {
        let url = format!("http://127.0.0.1:{}{path}", self.web.ports[replica]);
        let host = self.web.public.trim_start_matches("http://");
        let mut request = self.web.http.get(url).header(header::HOST, host).timeout(REQUEST_TIMEOUT);
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        request.send().await.ok()
    }

    /// Records a response as it is; the judge evaluates it.
    async fn write_down(&self, response: Response, connection: &str, held: Option<Lent>) -> Option<Answer> {
        let text = |name: header::HeaderName| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        let status = response.status().as_u16();
        let (tag, fresh) = (text(header::ETAG), text(header::CACHE_CONTROL));
        let retry_after = text(header::RETRY_AFTER).is_some_and(|seconds| seconds.parse::<u32>().is_ok());
        let body = response.text().await.ok()?;
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        match (status, held) {
            (200, _) => {
                let lent = Lent {
                    known: self
                        .environment
                        .hubspot
                        .access_token(body["access_token"].as_str().unwrap_or_default()),
                    generation: body["generation"].as_i64().unwrap_or(-1),
                };
                if let Some(tag) = tag {
                    self.known().held.insert(connection.to_owned(), (tag, lent));
                }
                Some(Answer::Lent { token: lent, promise: promise(&body, &fresh.unwrap_or_default()) })
            }
            (304, Some(held)) => Some(Answer::Unchanged(held)),
            _ => {
                let code = body["code"].as_str().unwrap_or_default().to_owned();
                Some(Answer::Refused { status, code, retry_after })
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what the response says about a token; missing fields become values that cannot hold.
fn promise(body: &Value, cache_control: &str) -> Promise {
    let expires_at = OffsetDateTime::parse(body["expires_at"].as_str().unwrap_or_default(), &Rfc3339);
    let max_age = cache_control.rsplit_once("max-age=").and_then(|(_, seconds)| seconds.parse::<i64>().ok());
    let warnings = body["warnings"].as_array().into_iter().flatten();
    Promise {
        expires_at: expires_at.map_or(i64::MAX, |at| at.unix_timestamp() * 1000),
        expires_in_ms: body["expires_in"].as_i64().map_or(-1, |seconds| 1000 * seconds),
        fresh_for_ms: max_age.map_or(i64::MAX, |seconds| 1000 * seconds),
        is_short: warnings.into_iter().any(|warning| warning["code"] == "expires_soon"),
    }
}
