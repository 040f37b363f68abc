//! The line between the service and its database server, in the test's hand: it can be cut, held up, slowed and mended.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::database::TestDatabase;

/// What the line does with what is sent over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Whole,
    /// Each message of the service's is on its way for so long.
    Slow(Duration),
    /// Nothing arrives, and nobody is told.
    Stalled,
    /// Whoever is connected is hung up on, and so is whoever comes.
    Cut,
}

/// A line to a database server. It goes with this value.
pub struct Line {
    /// The database, by way of this line.
    pub url: String,
    state: watch::Sender<State>,
    refused: Arc<AtomicUsize>,
    accepting: AbortHandle,
}

impl Line {
    /// A line to the server of this database; none if it is a file.
    pub async fn to(database: &TestDatabase) -> Option<Self> {
        if database.is_sqlite() {
            return None;
        }
        let mut url = url::Url::parse(&database.url).expect("a URL");
        let host = url.host_str().expect("a host").to_owned();
        let server = (host, url.port().unwrap_or(5432));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address: SocketAddr = listener.local_addr().expect("an address");
        url.set_host(Some("127.0.0.1")).expect("a host");
        url.set_port(Some(address.port())).expect("a port");
        let (state, told) = watch::channel(State::Whole);
        let refused = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&refused);
        let accepting = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                if *told.borrow() == State::Cut {
                    counted.fetch_add(1, Ordering::SeqCst);
                } else {
                    tokio::spawn(join(caller, server.clone(), told.clone()));
                }
            }
        });
        Some(Self { url: url.to_string(), state, refused, accepting: accepting.abort_handle() })
    }

    /// Hangs up on everyone who is connected, and on everyone who comes from now on.
    pub fn cut(&self) {
        self.refused.store(0, Ordering::SeqCst);
        self.state.send_replace(State::Cut);
    }

    /// Lets nothing through any more; what was sent is kept.
    pub fn stall(&self) {
        self.state.send_replace(State::Stalled);
    }

    /// Lets each message of the service's take so long.
    pub fn slow_down(&self, by: Duration) {
        self.state.send_replace(State::Slow(by));
    }

    /// Is as good as new.
    pub fn mend(&self) {
        self.state.send_replace(State::Whole);
    }

    /// How many have come since the line was cut.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn join(caller: TcpStream, server: (String, u16), state: watch::Receiver<State>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    for end in [&caller, &server] {
        // A message that waits for company would be slower than any database.
        end.set_nodelay(true).expect("an open connection");
    }
    let (from_caller, to_caller) = caller.into_split();
    let (from_server, to_server) = server.into_split();
    // If one way ends, so does the other: both ends hang up.
    tokio::select! {
        () = carry(from_caller, to_server, state.clone(), true) => {}
        () = carry(from_server, to_caller, state, false) => {}
    }
}

/// Carries what is sent in one direction, until either end hangs up or the line is cut.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    is_slowed: bool,
) {
    let mut cut = state.clone();
    let carrying = async {
        let mut piece = vec![0; 16 * 1024];
        loop {
            let Ok(length @ 1..) = from.read(&mut piece).await else { return };
            let now = state.wait_for(|state| *state != State::Stalled).await.map(|state| *state);
            match now {
                Ok(State::Slow(by)) if is_slowed => tokio::time::sleep(by).await,
                Ok(_) => {}
                Err(_) => return,
            }
            if to.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = carrying => {}
        _ = cut.wait_for(|state| *state == State::Cut) => {}
    }
}
