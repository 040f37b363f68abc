//! Responses that no well-behaved server sends.
//!
//! Where a response body is not enough, the fake keeps a second handle on each connection's socket, writes to it past
//! the HTTP server and then closes the connection.

use std::any::Any;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use actix_web::web::Bytes;
use socket2::{SockRef, Socket};
use tokio::time::{Interval, MissedTickBehavior, interval};

const FILLER: Bytes = Bytes::from_static(&[b'a'; 16 * 1024]);

/// A second handle on the socket of a connection.
pub(crate) struct Line(Socket);

impl Line {
    /// Stores the handle with the connection; called by the server for every new one.
    pub(crate) fn keep(connection: &dyn Any, data: &mut Extensions) {
        if let Some(stream) = connection.downcast_ref::<TcpStream>()
            && let Ok(socket) = SockRef::from(stream).try_clone()
        {
            data.insert(Line(socket));
        }
    }

    /// Writes raw bytes. They are few, so the socket's buffer takes them at once.
    pub(crate) fn say(&self, bytes: &[u8]) {
        let _ = self.0.send(bytes);
    }

    /// Closes the connection normally.
    pub(crate) fn hang_up(&self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }

    /// Turns the coming close into a reset.
    pub(crate) fn arm_reset(&self) {
        let _ = self.0.set_linger(Some(Duration::ZERO));
    }
}

/// Returns a response whose only effect is that the server drops the connection.
pub(crate) fn dropped() -> HttpResponse {
    HttpResponse::Ok().body(Broken)
}

struct Broken;

impl MessageBody for Broken {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
    }
}

/// A body that starts and never ends.
pub(crate) struct Endless(pub Option<Bytes>);

impl MessageBody for Endless {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(Some(Ok(self.0.take().unwrap_or(FILLER))))
    }
}

/// A body of a known size: a start, padding, and an end.
pub(crate) struct Padded {
    pub start: Bytes,
    pub filler: usize,
    pub end: Bytes,
}

impl MessageBody for Padded {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        let length = self.start.len() + self.filler + self.end.len();
        BodySize::Sized(u64::try_from(length).unwrap_or(u64::MAX))
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let chunk = if !self.start.is_empty() {
            std::mem::take(&mut self.start)
        } else if self.filler > 0 {
            let length = self.filler.min(FILLER.len());
            self.filler -= length;
            FILLER.slice(..length)
        } else if !self.end.is_empty() {
            std::mem::take(&mut self.end)
        } else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(Ok(chunk)))
    }
}

/// A body that arrives one byte per second.
pub(crate) struct Drip {
    left: Bytes,
    tick: Interval,
}

impl Drip {
    pub(crate) fn new(body: Bytes) -> Drip {
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Drip { left: body, tick }
    }
}

impl MessageBody for Drip {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        if self.tick.poll_tick(context).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(self.left.split_to(1))))
    }
}
