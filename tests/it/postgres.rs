//! PostgreSQL as operators use it: behind a connection pooler, and with a restricted user.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::app::ACME;
use crate::harness::database::TestDatabase;
use crate::harness::process::{Process, changed, run};
use crate::harness::{TestApp, sql};

/// The parameters that PgBouncer accepts by default.
const TAKEN: [&str; 7] = [
    "user",
    "database",
    "client_encoding",
    "datestyle",
    "timezone",
    "standard_conforming_strings",
    "application_name",
];

/// Starts a pooler in front of a server, for the start of a connection only: it refuses unknown parameters. Returns the
/// database's URL through it.
async fn pooler(database: &TestDatabase) -> String {
    let mut url = url::Url::parse(&database.url).unwrap();
    let server = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5432));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(address.port())).unwrap();
    tokio::spawn(async move {
        while let Ok((caller, _)) = listener.accept().await {
            tokio::spawn(join(caller, server.clone()));
        }
    });
    url.to_string()
}

async fn join(mut caller: TcpStream, server: (String, u16)) -> std::io::Result<()> {
    let start = loop {
        let length = caller.read_i32().await?;
        let mut message = vec![0; usize::try_from(length).unwrap() - 4];
        caller.read_exact(&mut message).await?;
        // A request for TLS (PostgreSQL, "Message Formats") is declined.
        if message == 80_877_103_i32.to_be_bytes() {
            caller.write_all(b"N").await?;
            continue;
        }
        break [&length.to_be_bytes()[..], &message].concat();
    };
    let words: Vec<_> = start[8..].split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let names = words.iter().step_by(2).filter(|name| !name.is_empty());
    if let Some(name) = names.map(|name| name.to_lowercase()).find(|name| !TAKEN.contains(&name.as_str())) {
        let fields = format!("SFATAL\0C08P01\0Munsupported startup parameter: {name}\0\0");
        caller.write_all(b"E").await?;
        caller.write_i32(i32::try_from(fields.len()).unwrap() + 4).await?;
        return caller.write_all(fields.as_bytes()).await;
    }
    let mut server = TcpStream::connect(server).await?;
    server.write_all(&start).await?;
    copy_bidirectional(&mut caller, &mut server).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn poolers_that_refuse_startup_parameters_are_supported() {
    let app = TestApp::start().await;
    if app.database.is_sqlite() {
        return;
    }
    let (database, variables, hubspot, _) = app.stopped().await;
    let variables = changed(&variables, "DATABASE_URL", &pooler(&database).await);
    let process = Process::serve(&variables);
    process.connected(&hubspot, ACME).await;
    let doctor = run(&["doctor"], &variables);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_wait_for_a_lock_time_out() {
    let app = TestApp::start().await;
    if app.database.is_sqlite() {
        return;
    }
    use sea_orm::{ConnectionTrait, TransactionTrait};
    let other = app.database.connect().await.begin().await.unwrap();
    other.execute_unprepared(&sql::lock(sql::API_KEYS)).await.unwrap();
    let began = std::time::Instant::now();
    // Each in a separate connection: all of them have the limit.
    let all = (0..4).map(|_| {
        let store = app.store.clone();
        tokio::spawn(async move { store.platform.api_keys().await.map(|_| ()) })
    });
    for one in all.collect::<Vec<_>>() {
        let why = one.await.unwrap().expect_err("it times out").to_string();
        assert!(why.contains("lock timeout"), "{why}");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_create_privileges_are_reported_with_the_grant_statement() {
    let app = TestApp::start().await;
    let database = TestDatabase::fresh().await;
    if database.is_sqlite() {
        return;
    }
    let name = url::Url::parse(&database.url).unwrap().path().trim_start_matches('/').to_owned();
    let role = format!("App {name}");
    database.execute(&format!("CREATE ROLE \"{role}\" LOGIN PASSWORD 'hunter2'")).await;
    database.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let mut url = url::Url::parse(&database.url).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("hunter2")).unwrap();
    let variables = changed(&app.variables, "DATABASE_URL", url.as_str());
    let grant = format!("GRANT USAGE, CREATE ON SCHEMA public TO \"{role}\"");
    for command in [&["serve"][..], &["db", "migrate"], &["doctor"]] {
        let ended = run(command, &variables);
        let text = format!("{}{}", ended.stdout, ended.stderr);
        assert!(ended.code == Some(1) && text.contains(&grant), "{command:?}: {text}");
        assert!(!text.contains("hunter2"), "{command:?}: {text}");
    }
    database.execute(&grant).await;
    assert_eq!(run(&["doctor"], &variables).code, Some(0));
    assert_eq!(run(&["db", "migrate"], &variables).code, Some(0));
    database.execute(&format!("REVOKE CREATE ON SCHEMA public FROM \"{role}\"")).await;
    for command in [&["db", "migrate"][..], &["doctor"]] {
        let ended = run(command, &variables);
        assert_eq!(ended.code, Some(0), "nothing is left to create: {ended:?}");
    }
}
