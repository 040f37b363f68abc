//! A line that can be cut: a TCP proxy between the service and one of its servers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use url::Url;

/// The state of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Bytes are forwarded.
    Open,
    /// Each message is delayed.
    Slow(Duration),
    /// Connections are closed, and new ones as soon as they are made.
    Cut,
    /// Bytes are held.
    Stalled,
}

/// The directions in which the state of a line applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Both directions.
    Both,
    /// Requests only: responses still arrive. A line to HubSpot that loses responses loses refresh tokens, and no
    /// client can prevent that.
    Questions,
}

/// A line.
pub struct Line {
    /// The address of its near end.
    pub address: SocketAddr,
    state: watch::Sender<State>,
    refused: Arc<AtomicUsize>,
    accepting: AbortHandle,
}

impl Line {
    /// Opens a line to an address.
    pub async fn lay(to: SocketAddr, reach: Reach) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (state, watched) = watch::channel(State::Open);
        let refused = Arc::new(AtomicUsize::new(0));
        let accepting =
            tokio::spawn(accept(listener, to, reach, watched, Arc::clone(&refused))).abort_handle();
        Ok(Self { address, state, refused, accepting })
    }

    /// Opens a line to the database server of a URL, and changes the URL to use it.
    pub async fn to_database(url: &mut Url) -> io::Result<Self> {
        let host = url.host_str().unwrap_or("127.0.0.1").to_owned();
        let server = lookup_host((host, url.port().unwrap_or(5432))).await?.next();
        let line = Self::lay(server.ok_or(io::ErrorKind::NotFound)?, Reach::Both).await?;
        url.set_ip_host(line.address.ip())
            .and_then(|()| url.set_port(Some(line.address.port())))
            .map_err(|()| io::ErrorKind::InvalidInput)?;
        Ok(line)
    }

    /// Changes its state.
    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    /// Returns the number of connections that were closed at once because the line was cut.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(State::Cut);
    }
}

async fn accept(
    listener: TcpListener,
    to: SocketAddr,
    reach: Reach,
    state: watch::Receiver<State>,
    refused: Arc<AtomicUsize>,
) {
    loop {
        let Ok((near, _)) = listener.accept().await else {
            // Out of file descriptors: wait a moment for some.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if *state.borrow() == State::Cut {
            refused.fetch_add(1, Ordering::SeqCst);
        } else {
            tokio::spawn(carry(near, to, reach, state.clone()));
        }
    }
}

async fn carry(near: TcpStream, to: SocketAddr, reach: Reach, state: watch::Receiver<State>) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    // Small messages go back and forth: waiting to fill a packet would delay every response.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let there = pump(near_in, far_out, state.clone(), Some(reach));
    let back = pump(far_in, near_out, state, (reach == Reach::Both).then_some(reach));
    tokio::join!(there, back);
}

/// Forwards bytes in one direction until either end is closed, or the line is cut in this direction.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    reach: Option<Reach>,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read,
            // A connection that awaits a response stays open; it is closed at the next request.
            () = cut(&mut state), if reach == Some(Reach::Both) => break,
        };
        let Ok(mut filled @ 1..) = read else { break };
        if reach.is_some() && !released(&mut from, &mut bytes, &mut filled, &mut state).await {
            break;
        }
        if to.write_all(&bytes[..filled]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

/// Returns when the line is cut.
async fn cut(state: &mut watch::Receiver<State>) {
    if state.wait_for(|state| *state == State::Cut).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits while the line is stalled. Returns `false` if the bytes must be dropped: the line was cut, or their sender has
/// disconnected. Forwarding them then would make a call to HubSpot whose response has no receiver.
async fn released(
    from: &mut OwnedReadHalf,
    bytes: &mut Vec<u8>,
    filled: &mut usize,
    state: &mut watch::Receiver<State>,
) -> bool {
    loop {
        let now = *state.borrow_and_update();
        match now {
            State::Open => return true,
            State::Slow(by) => {
                tokio::time::sleep(by).await;
                return true;
            }
            State::Cut => return false,
            State::Stalled => {}
        }
        if *filled == bytes.len() {
            bytes.resize(2 * *filled, 0);
        }
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return false },
            more = from.read(&mut bytes[*filled..]) => match more {
                Ok(more @ 1..) => *filled += more,
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a server that echoes every byte, and a line to it.
    async fn echo(reach: Reach) -> (Line, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        let line = Line::lay(address, reach).await.unwrap();
        let stream = TcpStream::connect(line.address).await.unwrap();
        (line, stream)
    }

    async fn answer(stream: &mut TcpStream) -> Option<u8> {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(300), stream.read_exact(&mut byte));
        read.await.ok()?.ok().map(|_| byte[0])
    }

    #[tokio::test]
    async fn stalled_lines_keep_their_bytes_and_cut_lines_close() {
        let (line, mut stream) = echo(Reach::Both).await;
        stream.write_all(b"a").await.unwrap();
        assert_eq!(answer(&mut stream).await, Some(b'a'));
        line.set(State::Stalled);
        stream.write_all(b"b").await.unwrap();
        assert_eq!(answer(&mut stream).await, None);
        line.set(State::Open);
        assert_eq!(answer(&mut stream).await, Some(b'b'));
        line.set(State::Cut);
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
        let mut another = TcpStream::connect(line.address).await.unwrap();
        assert_eq!(another.read(&mut [0]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn lines_cut_for_requests_still_deliver_responses() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let line = Line::lay(listener.local_addr().unwrap(), Reach::Questions).await.unwrap();
        let mut near = TcpStream::connect(line.address).await.unwrap();
        near.write_all(b"q").await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        assert_eq!(answer(&mut far).await, Some(b'q'));
        line.set(State::Cut);
        far.write_all(b"a").await.unwrap();
        assert_eq!(answer(&mut near).await, Some(b'a'));
        let _ = near.write_all(b"another").await;
        assert_eq!(far.read(&mut [0]).await.unwrap_or(0), 0);
    }
}
