//! A TCP connection that reports its reads and writes to a watch.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::watch::Watch;

/// The number of bytes read at once. actix-http parses all requests that it has read, and keeps some 8 kB for each
/// until it is answered: a client that sends thousands of small ones ahead would cost as many times that.
const PEEK_BYTES: usize = 1024;

/// A TCP connection and its watch.
#[derive(Debug)]
pub(super) struct WatchedStream {
    tcp: TcpStream,
    pub watch: Rc<Watch>,
    /// Whether the last read filled the buffer, so that its bytes are processed before the next read.
    is_full: bool,
}

impl WatchedStream {
    pub fn new(tcp: TcpStream, watch: Rc<Watch>) -> Self {
        Self { tcp, watch, is_full: false }
    }

    /// Reads nothing, but notices if the client hangs up: then a read returns how.
    fn poll_hang_up(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut byte = [0];
        match ready!(self.tcp.poll_peek(context, &mut ReadBuf::new(&mut byte))) {
            Ok(1..) => {
                self.watch.sent_ahead();
                Poll::Pending
            }
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }
}

impl Drop for WatchedStream {
    fn drop(&mut self) {
        // The client does not take what is left: the system need not keep it either.
        if self.watch.discards_unsent() {
            let _ = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.watch.may_read() {
            ready!(self.poll_hang_up(context));
        }
        if std::mem::take(&mut self.is_full) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut space = [0; PEEK_BYTES];
        let length = buffer.remaining().min(PEEK_BYTES);
        let mut piece = ReadBuf::new(&mut space[..length]);
        match Pin::new(&mut self.tcp).poll_read(context, &mut piece)? {
            Poll::Pending => {
                self.watch.drained();
                return Poll::Pending;
            }
            Poll::Ready(()) if piece.filled().is_empty() => {}
            Poll::Ready(()) => self.watch.read(piece.filled()),
        }
        self.is_full = piece.filled().len() == PEEK_BYTES;
        buffer.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.tcp).poll_write(context, bytes);
        match written {
            Poll::Pending => self.watch.write_blocked(),
            Poll::Ready(_) => self.watch.write_advanced(),
        }
        written
    }

    /// Flushes. Called when all that there was to write has been taken.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.tcp).poll_flush(context))?;
        self.watch.written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
