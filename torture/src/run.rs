//! A run: replicas and users start, faults happen for a while, everything comes to rest, and the judge gets the
//! history.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fake_hubspot::{FakeHubSpot, Options};
use hubspot_connect::domain::secret::Secret;
use hubspot_connect::keyring::Keyring;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::backend::Backend;
use crate::browser::{HOST, Web};
use crate::chaos::{Cluster, carry_out, watch as watch_cluster};
use crate::commits::spans;
use crate::database::Database;
use crate::history::{History, Rules};
use crate::logs::Secrets;
use crate::plan::{REPLICAS, draw};
use crate::record::{Record, now};
use crate::replica::{Common, Replica};
use crate::users::{Environment, User, live};
use crate::{Arguments, Failure, noise};

/// The secret of the run that signs cookies and keys fingerprints.
const APP_SECRET: &str = "an-application-secret-of-the-torture-and-nothing-else";
const CLIENT_SECRET: &str = "torture-client-secret";
/// The lifetime of an access token: short, so that refreshes are always due.
const LIFE_SECONDS: i64 = 20;
/// The lifetime of the first access tokens: short, so that there are refreshes from the first fault on.
const FIRST_LIFE_SECONDS: i64 = 8;
/// The number of concurrent groups of users.
const GROUPS: usize = 6;
/// The longest time to come to rest: a lease, the pause between two refusals, and pauses after errors.
const REST: Duration = Duration::from_secs(300);
/// The time for which backends keep reading at rest: longer than half a token's lifetime, so that they get what they
/// request only if it is refreshed for them.
const EXAM: Duration = Duration::from_secs(12);

/// All participants of a run.
struct World {
    environment: Environment,
    database: Arc<Database>,
    web: Arc<Web>,
    secrets: Vec<String>,
}

/// Performs a run. Logs are kept in the folder.
pub async fn run(
    arguments: &Arguments,
    seed: u64,
    folder: &Path,
    tell: fn(&str),
) -> Result<History, Failure> {
    let world = build(arguments, folder).await?;
    let cluster = &world.environment.cluster;
    cluster.start().await?;
    let outcome = tokio::select! {
        outcome = trouble(arguments, seed, &world, tell) => outcome,
        // It only ends if it fails.
        broken = watch_cluster(cluster, &world.database) => broken,
    };
    outcome?;
    // All are stopped in the middle of their work: that loses nothing either, and then nothing changes any more.
    for replica in &cluster.replicas {
        let at = now();
        replica.signal(Signal::TERM)?;
        cluster.record.ended(replica.index, replica.stopped(at).await?);
    }
    conclude(world).await
}

async fn build(arguments: &Arguments, folder: &Path) -> Result<World, Failure> {
    let server = std::env::var("TEST_POSTGRES_URL").map_err(|_| "TEST_POSTGRES_URL names no server")?;
    let database = Database::create(&server).await?;
    let options = Options {
        client_id: "torture".to_owned(),
        client_secrets: vec![CLIENT_SECRET.to_owned()],
        access_token_seconds: FIRST_LIFE_SECONDS,
        rotate_refresh_tokens: true,
        reject_reused_refresh_tokens: true,
        ..Options::default()
    };
    let hubspot = Arc::new(FakeHubSpot::start(options).await?);
    let rules = Rules { life_ms: LIFE_SECONDS * 1000, ..Rules::default() };
    let key = Keyring::generate();
    let keyring = Keyring::new(std::slice::from_ref(&key), &Secret::new(APP_SECRET.to_owned()))?;
    // No service listens there: browsers are sent to the replicas directly, under this name.
    let public = "http://localhost:6001".to_owned();
    let variables = [
        ("HUBSPOT_CLIENT_ID", "torture".to_owned()),
        ("HUBSPOT_CLIENT_SECRET", CLIENT_SECRET.to_owned()),
        ("HUBSPOT_SCOPES", "oauth crm.objects.contacts.read".to_owned()),
        ("HUBSPOT_AUTHORIZE_URL", hubspot.authorize_url()),
        ("ENCRYPTION_KEYS", key.expose().to_owned()),
        ("APP_SECRET", APP_SECRET.to_owned()),
        ("PUBLIC_URL", public.clone()),
        ("HOST_ORIGINS", HOST.to_owned()),
        ("RATE_LIMIT_START_PER_MINUTE", "0".to_owned()),
        ("RATE_LIMIT_UNVERIFIED_START_PER_MINUTE", "0".to_owned()),
        ("RATE_LIMIT_API_PER_MINUTE", "0".to_owned()),
        ("FLOW_TTL_SECONDS", "10".to_owned()),
        ("SESSION_IDLE_SECONDS", "86400".to_owned()),
        ("SESSION_MAX_SECONDS", "2592000".to_owned()),
        ("ON_SESSION_EXPIRY", "keep".to_owned()),
        ("REFRESH_RATE_PER_SECOND", "500".to_owned()),
        ("REFRESH_MAX_IN_FLIGHT", rules.max_in_flight.to_string()),
        ("LOG_FORMAT", "json".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value));
    let http = client()?;
    let common = Common {
        program: &arguments.program()?,
        folder,
        variables: &variables,
        database: &database.url,
        hubspot: hubspot.base_url().trim_start_matches("http://").parse()?,
        http: &http,
    };
    let mut replicas = Vec::new();
    for index in 0..REPLICAS {
        replicas.push(Replica::prepare(index, &common).await?);
    }
    let ports = replicas.iter().map(|replica| replica.port).collect();
    let record = Record::new(History { rules, ..History::default() }, keyring, &replicas);
    let secrets = vec![key.expose().to_owned(), APP_SECRET.to_owned(), CLIENT_SECRET.to_owned(), server];
    Ok(World {
        environment: Environment {
            cluster: Arc::new(Cluster::new(replicas, Arc::clone(&hubspot), record)),
            hubspot,
        },
        database: Arc::new(database),
        web: Arc::new(Web { http, public, ports }),
        secrets,
    })
}

#[expect(clippy::disallowed_methods, reason = "browsers do not use the service's client")]
fn client() -> Result<reqwest::Client, Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    // The certificates of the system are not needed, and reading them takes longer than all the rest.
    Ok(client.tls_certs_only([]).build()?)
}

async fn trouble(arguments: &Arguments, seed: u64, world: &World, tell: fn(&str)) -> Result<(), Failure> {
    tell(&format!("{} users connect", arguments.connections));
    let groups = connect_all(arguments.connections, world).await?;
    world.environment.hubspot.options(|options| options.access_token_seconds = LIFE_SECONDS);
    let length_ms = arguments.length_ms();
    let plan = draw(seed, length_ms, arguments.hurry);
    tell(&format!("{} faults in {} s", plan.len(), length_ms / 1000));
    let began = Instant::now();
    let (stop, stopped) = watch::channel(false);
    let mut users = JoinSet::new();
    for (number, group) in groups.into_iter().enumerate() {
        let seed = seed.wrapping_add(1 + number as u64);
        users.spawn(live(group, world.environment.clone(), seed, stopped.clone()));
    }
    let (enough, asking) = watch::channel(false);
    let backend = Arc::new(Backend::new(world.environment.clone(), Arc::clone(&world.web))?);
    let backend = tokio::spawn(backend.ask(seed, asking));
    let hubspot = Arc::clone(&world.environment.hubspot);
    let noise = tokio::spawn(async move { noise::make(&hubspot, seed).await });
    carry_out(Arc::clone(&world.environment.cluster), plan).await?;
    tokio::time::sleep_until(began + Duration::from_millis(length_ms)).await;
    noise.abort();
    world.environment.hubspot.clear_script();
    stop.send_replace(true);
    while let Some(group) = users.join_next().await {
        for mut user in group? {
            world.environment.cluster.record.secrets().extend(user.secrets());
        }
    }
    tell("the faults are over; everything comes to rest");
    let unsettled = settle(arguments.hurry, world).await?;
    let is_at_rest = unsettled.is_none();
    world.environment.cluster.record.history().unsettled = unsettled;
    if is_at_rest {
        world.environment.cluster.record.history().rest = Some(now());
        sleep(EXAM).await;
    }
    enough.send_replace(true);
    backend.await?;
    Ok(())
}

/// Connects this many users in groups, before the first fault.
async fn connect_all(count: usize, world: &World) -> Result<Vec<Vec<User>>, Failure> {
    let mut connecting = JoinSet::new();
    for group in 0..GROUPS {
        let (environment, web) = (world.environment.clone(), Arc::clone(&world.web));
        connecting.spawn(async move {
            let mut users = Vec::new();
            for number in (group..count).step_by(GROUPS) {
                let mut user = User::new(number, &web);
                if !user.connect(&environment, number % REPLICAS).await {
                    return Err(format!("user {number} could not connect although there was no fault"));
                }
                users.push(user);
            }
            Ok((group, users))
        });
    }
    let mut groups = Vec::new();
    while let Some(done) = connecting.join_next().await {
        groups.push(done??);
    }
    groups.sort_by_key(|(group, _)| *group);
    Ok(groups.into_iter().map(|(_, users)| users).collect())
}

/// Waits until every active connection was refreshed once more, every refusal is decided and every revocation done.
/// Returns what was not in time.
///
/// In a hurried run a connection counts as decided after the first refusal of a refresh token that HubSpot has rotated:
/// the second one, a minute later, cannot differ.
async fn settle(hurry: bool, world: &World) -> Result<Option<String>, Failure> {
    let (calm, began) = (now(), Instant::now());
    loop {
        let stored = world.database.stored().await?;
        let living = world.environment.cluster.record.living(&world.environment.hubspot);
        let current: HashSet<_> = living.into_iter().map(|grant| grant.fingerprint).collect();
        let active = stored.connections.iter().filter(|one| one.state == "active");
        let open: Vec<_> = active
            .filter(|one| !(hurry && one.strikes > 0 && !current.contains(&one.fingerprint)))
            .filter(|one| one.obtained_at <= calm || one.strikes > 0)
            .collect();
        if open.is_empty() && stored.revocations == 0 {
            return Ok(None);
        }
        if began.elapsed() > REST {
            let example = open.first().map_or("none".to_owned(), |one| one.id.clone());
            return Ok(Some(format!(
                "after {REST:?} {} connections are not refreshed (such as {example}), {} revocations not done",
                open.len(),
                stored.revocations
            )));
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Stops everything and returns the history.
async fn conclude(world: World) -> Result<History, Failure> {
    let World { environment, database, secrets, .. } = world;
    let record = &environment.cluster.record;
    record.drain(&environment.hubspot);
    let stored = database.stored().await?;
    let living = record.living(&environment.hubspot);
    let secrets = Secrets::new(record.secrets().drain(..).chain(secrets));
    let (mut leaks, mut logs) = (Vec::new(), Vec::new());
    for replica in &environment.cluster.replicas {
        let log = replica.log();
        logs.push(std::fs::read_to_string(&log)?);
        leaks.extend(secrets.search(&log, &logs[replica.index]));
    }
    let calls = record.history().calls.clone();
    let commit_ms = spans(&logs, &calls);
    let history = History { stored, grants: living, leaks, commit_ms, calls, ..record.history().clone() };
    drop(environment);
    if let Ok(database) = Arc::try_unwrap(database).map_err(drop) {
        database.remove().await?;
    }
    Ok(history)
}
