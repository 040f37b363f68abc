//! The body of a response on its way to the client.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;

use super::watch::Watch;

/// The number of bytes copied into a connection's buffer at once: a client that does not read costs no more than
/// this, however long the response is.
const MAX_CHUNK: usize = 32 * 1024;

/// A request that is being answered; dropped when its response is complete, or its client has disconnected.
#[derive(Debug)]
pub(super) struct Exchange(Rc<Watch>);

impl Exchange {
    /// Records in the connection's watch that a request is being answered.
    pub fn begin(watch: Rc<Watch>, is_stream: bool, body: Option<u64>) -> Self {
        watch.begin(is_stream, body);
        Self(watch)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A body that is sent piece by piece, and ends its exchange.
pub(super) struct Answer {
    body: BoxBody,
    rest: Bytes,
    _exchange: Exchange,
}

impl Answer {
    pub fn new(body: BoxBody, exchange: Exchange) -> Self {
        Self { body, rest: Bytes::new(), _exchange: exchange }
    }
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_next(context) {
                Poll::Ready(Some(Ok(bytes))) => self.rest = bytes,
                other => return other,
            }
        }
        let length = self.rest.len().min(MAX_CHUNK);
        Poll::Ready(Some(Ok(self.rest.split_to(length))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn long_bodies_are_sent_in_pieces_unchanged() {
        let long: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let exchange = Exchange::begin(Rc::default(), false, Some(0));
        let mut answer = Answer::new(BoxBody::new(long.clone()), exchange);
        assert_eq!(answer.size(), BodySize::Sized(100_000));
        let mut sent = Vec::new();
        while let Some(piece) = poll_fn(|context| Pin::new(&mut answer).poll_next(context)).await {
            let piece = piece.expect("bytes do not fail");
            assert!(piece.len() <= MAX_CHUNK);
            sent.extend_from_slice(&piece);
        }
        assert_eq!(sent, long);
    }
}
