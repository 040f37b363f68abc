//! Start, stop and sizes.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use fake_hubspot::{FakeHubSpot, Options};

use crate::http::*;

#[tokio::test]
async fn stopping_refuses_connections_and_frees_the_address() {
    let fake = start(|_| {}).await;
    let address: SocketAddr = fake.base_url()["http://".len()..].parse().expect("an address");
    let idle = TcpStream::connect(address).expect("the fake listens");
    fake.stop().await;
    assert!(TcpStream::connect(address).is_err());
    drop(idle);
    let options = Options { address, ..Options::default() };
    let again = FakeHubSpot::start(options).await.expect("the same address");
    assert_eq!(get(&again, "/nothing").status, 404);
}

#[tokio::test]
async fn dropping_stops_the_server() {
    let fake = start(|_| {}).await;
    let address: SocketAddr = fake.base_url()["http://".len()..].parse().expect("an address");
    drop(fake);
    let begin = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(5), "it is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test]
async fn addresses_in_use_are_errors() {
    let fake = start(|_| {}).await;
    let address = fake.base_url()["http://".len()..].parse().expect("an address");
    let options = Options { address, ..Options::default() };
    assert!(FakeHubSpot::start(options).await.is_err());
}

#[tokio::test]
async fn the_journal_is_bounded() {
    let fake = start(|options| options.journal_limit = 2).await;
    for path in ["/a", "/b", "/c"] {
        get(&fake, path);
    }
    let journal = fake.journal();
    assert_eq!(
        journal.iter().map(|it| (it.seq, it.path.as_str())).collect::<Vec<_>>(),
        [(2, "/b"), (3, "/c")]
    );
    assert!(journal.iter().all(|it| it.status == Some(404)));
}
