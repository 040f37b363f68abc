//! Races, two hundred rounds each with different offsets: in every order nothing is lost, duplicated or restored.
//! HubSpot rotates refresh tokens and accepts none twice, so every lost one shows. Where the database allows it, two
//! replicas take part.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_hubspot::{Fault, Kind, Options, Rule};
use hubspot_connect::app::App;
use hubspot_connect::domain::id::{ConnectionId, UserId};
use hubspot_connect::domain::random::Random;
use hubspot_connect::domain::refresh_job::REFRESH_LEASE;
use hubspot_connect::domain::secret::Secret;
use hubspot_connect::keyring::Keyring;
use hubspot_connect::services::{Services, StartConnect, StartError, reseal_all};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::app::{HOST, LONG_SESSIONS, approve};
use crate::harness::browser::Browser;
use crate::harness::process::value;
use crate::harness::{TestApp, sql};

/// The number of batches: rounds of connections that race concurrently.
const BATCHES: u32 = 20;
const PARALLEL_VISITORS: u64 = 10;
/// The longest offset.
const MOST: Duration = Duration::from_millis(30);
/// Later than any refresh of a token of thirty minutes.
const DUE: u64 = 1261;

/// A batch of rounds, with its share of one sequence of offsets. If it fails, it prints the seed: RACES_SEED repeats
/// the offsets.
struct Batch {
    number: u32,
    seed: u64,
    random: Random,
}

impl Batch {
    fn all() -> impl Iterator<Item = Self> {
        let given = std::env::var("RACES_SEED").ok();
        let seed = given.map_or_else(
            || u64::from_le_bytes(Random::system().bytes()),
            |seed| seed.parse().expect("RACES_SEED is a number"),
        );
        let random = Random::seeded(seed);
        (0..BATCHES).map(move |number| Self { number, seed, random: random.clone() })
    }

    fn offset(&self) -> Duration {
        MOST.mul_f64(self.random.unit())
    }

    /// Starts a side of a race, at its offset.
    fn begin<T: Send + 'static>(&self, side: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        let offset = self.offset();
        tokio::spawn(async move {
            tokio::time::sleep(offset).await;
            side.await
        })
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in batch {} of RACES_SEED={}", self.number, self.seed);
        }
    }
}

async fn ended<T>(sides: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    let mut all = Vec::new();
    for side in sides {
        all.push(side.await.expect("a side of a race"));
    }
    all
}

/// A user with one connection.
#[derive(Clone)]
struct Visitor {
    browser: Arc<Browser>,
    account: u64,
    user: UserId,
    connection: ConnectionId,
}

/// A service, and where the database allows it a replica.
struct Scene {
    app: Arc<TestApp>,
    replica: Option<App>,
}

impl Scene {
    async fn set(variables: &[(&str, &str)]) -> Self {
        let options =
            Options { rotate_refresh_tokens: true, reject_reused_refresh_tokens: true, ..Options::default() };
        let app = TestApp::with_hubspot(&[LONG_SESSIONS, variables].concat(), options).await;
        let replica = match app.database.is_sqlite() {
            true => None,
            false => Some(app.replica(app.clock.clone()).await),
        };
        Self { app: Arc::new(app), replica }
    }

    /// Returns the services of each process.
    fn each(&self) -> Vec<Services> {
        std::iter::once(&self.app.services).chain(self.replica.iter().map(App::services)).cloned().collect()
    }

    /// Returns the services of a random replica.
    fn any(&self, batch: &Batch) -> Services {
        let mut each = self.each();
        let at = (batch.random.unit() * each.len() as f64) as usize;
        each.swap_remove(at)
    }

    /// Creates users, each with their own browser and account.
    async fn visitors(&self) -> Vec<Visitor> {
        let newcomers = (1..=PARALLEL_VISITORS).map(|nth| (Arc::new(self.app.browser()), 4_000 + nth));
        self.connected(newcomers.collect()).await
    }

    /// Connects the same users again.
    async fn again(&self, visitors: &[Visitor]) -> Vec<Visitor> {
        self.connected(visitors.iter().map(|visitor| (visitor.browser.clone(), visitor.account)).collect())
            .await
    }

    async fn connected(&self, newcomers: Vec<(Arc<Browser>, u64)>) -> Vec<Visitor> {
        let visits = newcomers.iter().cloned().map(|(browser, account)| {
            let app = self.app.clone();
            tokio::spawn(async move { browser.come_back(&app, Some(HOST), approve(account)).await.status })
        });
        assert!(ended(visits).await.iter().all(|status| *status == 303));
        let mut visitors = Vec::new();
        for (browser, account) in newcomers {
            let user = self.app.database.column_of(account, sql::USER_ID).await.parse().expect("an id");
            let connection = self.app.database.column_of(account, sql::ID).await.parse().expect("an id");
            visitors.push(Visitor { browser, account, user, connection });
        }
        visitors
    }

    /// Returns the callback URL of each user, with the account.
    async fn ways_back(&self, visitors: &[Visitor], account: impl Fn(&Visitor) -> u64) -> Vec<String> {
        let mut all = Vec::new();
        for visitor in visitors {
            let authorize = visitor.browser.start(Some(HOST)).await;
            let back = self.app.hubspot.decide(&authorize, approve(account(visitor)));
            all.push(back.expect("HubSpot sends the browser back"));
        }
        all
    }

    /// Lets HubSpot delay each response of this kind by a different time.
    fn delay(&self, batch: &Batch, kind: Kind) {
        for _ in 0..PARALLEL_VISITORS {
            self.app.hubspot.script(Rule::once(kind, Fault::DelayAfterIssue(batch.offset())));
        }
    }

    /// Starts this many workers that acquire due jobs in small batches, at each replica in turn, and refresh them until
    /// none is left. Returns the number of refreshes.
    fn refreshing(&self, batch: &Batch, claimers: usize) -> JoinHandle<usize> {
        let each = self.each();
        let services = each.iter().cycle().take(claimers).cloned();
        let loops: Vec<_> = services.map(|services| batch.begin(refresh_by_and_by(services))).collect();
        tokio::spawn(async move { ended(loops).await.into_iter().sum() })
    }

    /// Performs the queued revocations.
    async fn tell_hubspot_of_ends(&self) {
        for _ in 0..10 {
            if self.app.database.count(sql::REVOCATION_JOBS).await == 0 {
                return;
            }
            self.app.advance(31);
            self.app.services.connections.disconnects.revoke_due().await.expect("revokes");
        }
        panic!("a grant was not revoked at HubSpot");
    }

    async fn connections(&self) -> usize {
        let count = self.app.database.count(sql::CONNECTIONS).await;
        usize::try_from(count).expect("a count")
    }

    /// Asserts that the stored tokens are HubSpot's latest: one more refresh of everything succeeds.
    async fn assert_each_token_is_the_newest(&self) {
        let app = &self.app;
        app.hubspot.clear_script();
        app.hubspot.clear_journal();
        app.advance(DUE);
        let stored = self.connections().await;
        assert_eq!(app.refresh_due().await, stored);
        let calls = app.hubspot.calls(Kind::Refresh);
        assert_eq!(calls.len(), stored);
        assert!(calls.iter().all(|call| call.status == Some(200) && !call.superseded), "{calls:?}");
        assert_eq!(app.database.connections(sql::WELL).await, i64::try_from(stored).expect("a count"));
        app.assert_one_job_each().await;
        app.hubspot.clear_journal();
    }
}

async fn refresh_by_and_by(services: Services) -> usize {
    let mut running = Vec::new();
    loop {
        let jobs = services.connections.refreshes.acquire_refreshes(3).await.expect("claims");
        if jobs.is_empty() {
            break;
        }
        running.extend(jobs.into_iter().map(|job| services.connections.refreshes.refresh(job)));
    }
    ended(running).await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concurrent_disconnect_and_refresh_leave_no_connection_or_grant() {
    let scene = Scene::set(&[]).await;
    scene.app.hubspot.options(|options| options.ignore_revocation_of_retired_refresh_tokens = true);
    let mut visitors = scene.visitors().await;
    let mut refreshed = 0;
    for batch in Batch::all() {
        scene.app.advance(DUE);
        scene.delay(&batch, Kind::Refresh);

        let refreshing = scene.refreshing(&batch, 2);
        let leaving: Vec<_> = visitors
            .iter()
            .map(|visitor| {
                let (services, visitor) = (scene.any(&batch), visitor.clone());
                batch.begin(async move {
                    services.connections.disconnects.disconnect(visitor.user, visitor.connection, true).await
                })
            })
            .collect();
        for left in ended(leaving).await {
            assert!(left.expect("disconnects").is_some(), "it was there to be ended");
        }
        refreshed += refreshing.await.unwrap();

        assert_eq!(scene.connections().await, 0, "nothing comes back");
        scene.tell_hubspot_of_ends().await;
        let alive = scene.app.hubspot.grants();
        assert!(alive.is_empty(), "the newest token of each grant was revoked: {alive:?}");
        scene.app.assert_one_job_each().await;
        scene.app.hubspot.clear_script();
        visitors = scene.again(&visitors).await;
    }
    assert!(refreshed > 0, "none was refreshed in time to race");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concurrent_reconnect_and_refresh_keep_the_newest_token() {
    let scene = Scene::set(&[]).await;
    let visitors = scene.visitors().await;
    for batch in Batch::all() {
        let back = scene.ways_back(&visitors, |visitor| visitor.account).await;
        scene.app.advance(DUE.min(590));
        scene.app.database.make_refreshes_due().await;
        scene.delay(&batch, Kind::Refresh);
        scene.delay(&batch, Kind::Exchange);

        let refreshing = scene.refreshing(&batch, 2);
        let visits: Vec<_> = std::iter::zip(&visitors, back)
            .map(|(visitor, back)| {
                let browser = visitor.browser.clone();
                batch.begin(async move { browser.get(&back).await.status })
            })
            .collect();
        assert!(ended(visits).await.iter().all(|status| *status == 303));
        refreshing.await.unwrap();

        assert_eq!(scene.connections().await, visitors.len());
        scene.tell_hubspot_of_ends().await;
        scene.assert_each_token_is_the_newest().await;
    }
}

/// Logs out like a user: the confirmation page, then the form, which is refused if the session has changed since.
async fn log_out(browser: Arc<Browser>) {
    let page = browser.get("/logout").await.body;
    let Some((_, form)) = page.split_once("name=\"csrf\" value=\"") else { return };
    let csrf = form.split('"').next().expect("its end");
    let answer = browser.post_form("/logout", &[("csrf", csrf)]).await;
    assert!(matches!(answer.status, 303 | 403), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concurrent_logout_and_callback_leave_no_unreachable_connection() {
    let scene = Scene::set(&[("SESSION_IDLE_SECONDS", "1800")]).await;
    let visitors = scene.visitors().await;
    for batch in Batch::all() {
        let visitors = scene.again(&visitors).await;
        let back = scene.ways_back(&visitors, |visitor| visitor.account + 1_000).await;
        scene.delay(&batch, Kind::Exchange);

        let visits: Vec<_> = std::iter::zip(&visitors, back)
            .map(|(visitor, back)| {
                let browser = visitor.browser.clone();
                batch.begin(async move { browser.get(&back).await.status })
            })
            .collect();
        let logouts: Vec<_> =
            visitors.iter().map(|visitor| batch.begin(log_out(visitor.browser.clone()))).collect();
        assert!(ended(visits).await.iter().all(|status| *status == 303));
        ended(logouts).await;

        let hidden = scene.app.database.connections(sql::WITHOUT_SESSION).await;
        assert_eq!(hidden, 0, "a session leads to each connection");
        for visitor in &visitors {
            let shown = visitor.browser.status().await;
            let shown = shown["connections"].as_array().expect("connections").len();
            let stored = scene.app.services.connections.list.connections(visitor.user).await.unwrap().len();
            assert!(
                shown == stored || shown == 0,
                "all of a user's connections or none: {shown} of {stored}"
            );
        }
        scene.app.advance(1_801);
        scene.app.services.maintenance.sweep().await.unwrap();
        assert_eq!(scene.connections().await, 0, "what no session reaches any more has ended");
        scene.tell_hubspot_of_ends().await;
        assert_eq!(scene.app.hubspot.grants().len(), 0);
        scene.app.assert_one_job_each().await;
        scene.app.hubspot.clear_script();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tabs_that_finish_together_leave_one_connection_per_account() {
    let scene = Scene::set(&[]).await;
    let visitors = scene.visitors().await;
    for batch in Batch::all() {
        // One tab reconnects the account of before; the other one reconnects it as well, or adds an account.
        let other = u64::from(batch.number % 2) * 1_000;
        let tabs = [
            scene.ways_back(&visitors, |visitor| visitor.account).await,
            scene.ways_back(&visitors, |visitor| visitor.account + other).await,
        ];
        scene.delay(&batch, Kind::Exchange);
        scene.delay(&batch, Kind::Exchange);

        let visits: Vec<_> = tabs
            .into_iter()
            .flat_map(|backs| std::iter::zip(&visitors, backs))
            .map(|(visitor, back)| {
                let browser = visitor.browser.clone();
                batch.begin(async move { browser.get(&back).await.status })
            })
            .collect();
        assert!(ended(visits).await.iter().all(|status| *status == 303));

        scene.app.hubspot.clear_script();
        let wanted = if batch.number == 0 { visitors.len() } else { 2 * visitors.len() };
        assert_eq!(scene.connections().await, wanted);
        for visitor in &visitors {
            let shown = visitor.browser.status().await;
            let mut shown: Vec<_> = shown["connections"]
                .as_array()
                .expect("connections")
                .iter()
                .map(|one| &one["portal_id"])
                .collect();
            shown.sort_by_key(|id| id.as_u64());
            let all = [visitor.account, visitor.account + 1_000];
            assert_eq!(shown, all[..wanted / visitors.len()]);
        }
        scene.tell_hubspot_of_ends().await;
        assert_eq!(
            scene.app.hubspot.grants().len(),
            wanted,
            "every replaced grant has ended, and only those"
        );
        scene.app.assert_one_job_each().await;
    }
    scene.assert_each_token_is_the_newest().await;
}

/// An action with its start and end.
struct Done<T> {
    began: Instant,
    ended: Instant,
    outcome: T,
}

async fn timed<T>(work: impl Future<Output = T>) -> Done<T> {
    let began = Instant::now();
    let outcome = work.await;
    Done { began, ended: Instant::now(), outcome }
}

async fn all(done: Vec<CancellationToken>) {
    for one in done {
        one.cancelled().await;
    }
}

/// Disconnects the connections that the user sees at this moment.
async fn disconnect_all_seen(services: Services, user: UserId) -> usize {
    let mut count = 0;
    for seen in services.connections.list.connections(user).await.expect("reads").iter() {
        let ended = services
            .connections
            .disconnects
            .disconnect(user, seen.token.id, true)
            .await
            .expect("disconnects");
        count += usize::from(ended.is_some());
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_disconnects_and_a_reconnect_the_last_wins() {
    let scene = Scene::set(&[]).await;
    scene.app.hubspot.options(|options| options.ignore_revocation_of_retired_refresh_tokens = true);
    let mut visitors = scene.visitors().await;
    for batch in Batch::all() {
        let backs = scene.ways_back(&visitors, |visitor| visitor.account).await;

        let races: Vec<_> = std::iter::zip(visitors.clone(), backs)
            .enumerate()
            .map(|(nth, (visitor, back))| {
                // A third each: all concurrent, one disconnect after the reconnect, both of them before it.
                let (came_back, left) =
                    (CancellationToken::new(), [(); 2].map(|()| CancellationToken::new()));
                let before = if nth % 3 == 2 { left.to_vec() } else { Vec::new() };
                let (browser, stop) = (visitor.browser.clone(), came_back.clone());
                let reconnect = batch.begin(async move {
                    all(before).await;
                    let done = timed(browser.get(&back)).await;
                    stop.cancel();
                    done
                });
                let before = [Vec::new(), if nth % 3 == 1 { vec![came_back] } else { Vec::new() }];
                let leaving: Vec<_> = std::iter::zip(left, before)
                    .map(|(stop, before)| {
                        let (services, user) = (scene.any(&batch), visitor.user);
                        batch.begin(async move {
                            all(before).await;
                            let done = timed(disconnect_all_seen(services, user)).await;
                            stop.cancel();
                            done
                        })
                    })
                    .collect();
                (visitor, reconnect, leaving)
            })
            .collect();
        let (mut left, mut next, mut gone) = (0, Vec::new(), Vec::new());
        for (visitor, reconnect, leaving) in races {
            let reconnect = reconnect.await.unwrap();
            assert_eq!(reconnect.outcome.status, 303);
            let leaving = ended(leaving).await;
            let stored = scene.app.services.connections.list.connections(visitor.user).await.unwrap().len();
            if leaving.iter().all(|done| done.ended < reconnect.began) {
                assert_eq!(stored, 1, "the reconnect came last");
            }
            if leaving.iter().any(|done| done.began > reconnect.ended) {
                assert_eq!(stored, 0, "a disconnect came last");
            }
            let removed: usize = leaving.iter().map(|done| done.outcome).sum();
            assert!(removed <= 2 && (removed > 0 || stored == 1), "{removed} were ended, {stored} are left");
            left += stored;
            match stored {
                0 => gone.push(visitor),
                _ => next.push(visitor),
            }
        }

        assert_eq!(scene.connections().await, left);
        scene.tell_hubspot_of_ends().await;
        assert_eq!(scene.app.hubspot.grants().len(), left, "what is connected here is connected there");
        scene.assert_each_token_is_the_newest().await;
        assert!(!next.is_empty() && !gone.is_empty(), "both have come last");
        next.extend(scene.again(&gone).await);
        visitors = next;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_key_rotation_refresh_and_disconnect_keep_each_others_writes() {
    let keys = [(); 2].map(|()| Keyring::generate());
    let both = format!("{},{}", keys[0].expose(), keys[1].expose());
    let scene = Scene::set(&[("ENCRYPTION_KEYS", &both)]).await;
    scene.app.hubspot.options(|options| options.ignore_revocation_of_retired_refresh_tokens = true);
    let app_secret = Secret::new(value(&scene.app.variables, "APP_SECRET"));
    let mut visitors = scene.visitors().await;
    let mut moved = 0;
    for batch in Batch::all() {
        scene.app.advance(DUE);
        scene.delay(&batch, Kind::Refresh);
        // Back and forth: either key is the newest in turn.
        let mut order = keys.clone();
        order.rotate_left(usize::from(batch.number % 2 == 0));
        let keyring = Keyring::new(&order, &app_secret).unwrap();

        let store = scene.app.store.clone();
        let rotating = batch.begin(async move {
            let first = reseal_all(&store.platform, &keyring, |_| ()).await.expect("reseals");
            let second = reseal_all(&store.platform, &keyring, |_| ()).await.expect("reseals");
            assert_eq!((first.unreadable, first.keyless), (0, 0));
            assert_eq!((second.unreadable, second.keyless), (0, 0));
            first.moved + second.moved
        });
        let refreshing = scene.refreshing(&batch, 2);
        let leaving: Vec<_> = visitors
            .drain(..5)
            .map(|visitor| {
                let services = scene.any(&batch);
                batch.begin(async move {
                    services
                        .connections
                        .disconnects
                        .disconnect(visitor.user, visitor.connection, true)
                        .await
                        .expect("disconnects");
                    visitor
                })
            })
            .collect();
        let gone = ended(leaving).await;
        refreshing.await.unwrap();
        moved += rotating.await.unwrap();

        assert_eq!(scene.app.database.connections("state <> 'active' OR last_error IS NOT NULL").await, 0);
        scene.tell_hubspot_of_ends().await;
        assert_eq!(scene.app.hubspot.grants().len(), visitors.len());
        scene.assert_each_token_is_the_newest().await;
        visitors.extend(scene.again(&gone).await);
    }
    assert!(moved > 0, "nothing was moved to another key");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_acquired_concurrently_are_refreshed_once() {
    let scene = Scene::set(&[]).await;
    let visitors = scene.visitors().await;
    for batch in Batch::all() {
        scene.app.advance(DUE);
        scene.delay(&batch, Kind::Refresh);

        let refreshed = scene.refreshing(&batch, 6).await.unwrap();

        assert_eq!(refreshed, visitors.len());
        let calls = scene.app.hubspot.calls(Kind::Refresh);
        assert_eq!(calls.len(), visitors.len());
        assert!(calls.iter().all(|call| call.status == Some(200) && !call.overlapping && !call.superseded));
        scene.app.assert_one_job_each().await;
        scene.app.hubspot.clear_script();
        scene.app.hubspot.clear_journal();
    }
    scene.assert_each_token_is_the_newest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn holders_of_an_expired_lease_change_nothing_of_the_new_holder() {
    let scene = Scene::set(&[]).await;
    let visitors = scene.visitors().await;
    for batch in Batch::all() {
        scene.app.advance(DUE);
        scene.delay(&batch, Kind::Refresh);
        let holders = scene.each();
        let (old, new) = (holders[0].clone(), holders[holders.len() - 1].clone());
        let late = old.connections.refreshes.acquire_refreshes(100).await.unwrap();
        scene.app.clock.advance(REFRESH_LEASE);
        let acquired = new.connections.refreshes.acquire_refreshes(100).await.unwrap();
        assert_eq!((late.len(), acquired.len()), (visitors.len(), visitors.len()));

        let sides = [(old, late), (new, acquired)].map(|(services, jobs)| {
            let jobs: Vec<_> = jobs
                .into_iter()
                .map(|job| {
                    let services = services.clone();
                    batch.begin(
                        async move { services.connections.refreshes.refresh(job).await.expect("ends") },
                    )
                })
                .collect();
            ended(jobs)
        });
        for side in sides {
            side.await;
        }

        assert_eq!(scene.app.database.connections(sql::ACTIVE).await, i64::try_from(visitors.len()).unwrap());
        scene.assert_each_token_is_the_newest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_concurrent_starts_with_one_challenge_one_succeeds() {
    let scene = Scene::set(&[]).await;
    for batch in Batch::all() {
        let starts: Vec<_> = (1..=PARALLEL_VISITORS)
            .map(|nth| {
                let services = scene.any(&batch);
                // Two challenges, so that rows written by one statement have both.
                let challenge = Secret::new(format!("{} of {}", nth % 2, batch.number)).hash();
                let ask = StartConnect { challenge: Some(challenge), ..StartConnect::default() };
                batch.begin(
                    async move { services.connect.starts.start(ask).await.map(|started| started.flow) },
                )
            })
            .collect();

        let (begun, refused): (Vec<_>, Vec<_>) = ended(starts).await.into_iter().partition(Result::is_ok);

        assert_eq!(begun.len(), 2, "{refused:?}");
        assert!(refused.iter().all(|why| matches!(why, Err(StartError::ChallengeUsed))), "{refused:?}");
        let kept = scene.app.database.count(sql::AUTH_REQUESTS).await;
        assert_eq!(kept, 2 * i64::from(batch.number + 1));
    }
}
