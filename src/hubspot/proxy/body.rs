//! Streaming bodies of proxied calls.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

/// The maximum silence of HubSpot in the middle of a response.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The reason a caller's body is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UploadError {
    /// It is longer than the limit.
    #[error("the body is too long")]
    TooLong,
    /// It stalled or was cut off.
    #[error("the body was incomplete")]
    BrokeOff,
}

/// A caller's body: its chunks arrive through a channel that holds one of them.
#[derive(Debug)]
pub struct Upload {
    length: Option<u64>,
    pieces: mpsc::Receiver<Result<Bytes, UploadError>>,
    pub(super) progress: Arc<Progress>,
}

/// The progress of a caller's body.
#[derive(Debug, Default)]
pub struct Progress {
    pieces: AtomicU64,
    failed: AtomicU8,
}

/// The sending side of a caller's body.
#[derive(Debug)]
pub struct Pieces {
    pieces: mpsc::Sender<Result<Bytes, UploadError>>,
    progress: Arc<Progress>,
}

impl Upload {
    /// Returns a body of this length, if it is known, and the side to which its chunks are sent.
    pub fn new(length: Option<u64>) -> (Pieces, Self) {
        let (tx, rx) = mpsc::channel(1);
        let progress = Arc::new(Progress::default());
        (Pieces { pieces: tx, progress: Arc::clone(&progress) }, Self { length, pieces: rx, progress })
    }
}

impl Pieces {
    /// Sends a chunk; returns false if the body is no longer read.
    pub async fn send(&self, piece: Bytes) -> bool {
        let taken = self.pieces.send(Ok(piece)).await.is_ok();
        self.progress.pieces.fetch_add(1, Ordering::Relaxed);
        taken
    }

    /// Reports that the body is incomplete, so that its reader does not treat the received part as the whole.
    pub async fn fail(self, why: UploadError) {
        self.progress.failed.store(if why == UploadError::TooLong { 1 } else { 2 }, Ordering::Release);
        let _ = self.pieces.send(Err(why)).await;
    }
}

impl Progress {
    /// Returns the number of chunks that were sent.
    pub(super) fn sent(&self) -> u64 {
        self.pieces.load(Ordering::Relaxed)
    }

    /// Returns the reason if the body is incomplete.
    pub(super) fn failed(&self) -> Option<UploadError> {
        match self.failed.load(Ordering::Acquire) {
            0 => None,
            1 => Some(UploadError::TooLong),
            _ => Some(UploadError::BrokeOff),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let piece = ready!(self.pieces.poll_recv(context));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// HubSpot's body was cut off, or stalled for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("HubSpot's response was incomplete")]
pub struct Severed;

/// HubSpot's body.
#[derive(Debug)]
pub struct Download {
    body: reqwest::Body,
    /// The chunk that was read ahead.
    ahead: Option<Result<Bytes, Severed>>,
    /// The timer that runs while HubSpot is silent.
    silence: Option<Pin<Box<Sleep>>>,
    /// The maximum silence.
    idle: Duration,
}

impl Download {
    pub(super) fn new(body: reqwest::Body) -> Self {
        Self { body, ahead: None, silence: None, idle: IDLE_TIMEOUT }
    }

    /// Returns the length, if it is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Returns the first chunk, which is returned again by the next read. Empty if there is none.
    pub(super) async fn peek(&mut self) -> Bytes {
        let first = std::future::poll_fn(|context| self.poll_piece(context)).await;
        self.ahead = first;
        self.ahead.clone().and_then(Result::ok).unwrap_or_default()
    }

    /// Returns the next chunk; `None` at the end.
    ///
    /// # Errors
    /// [`Severed`] if the body was cut off: the chunks so far are incomplete.
    pub(crate) fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Severed>>> {
        if let Some(ahead) = self.ahead.take() {
            return Poll::Ready(Some(ahead));
        }
        loop {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.silence = None;
                    // Trailers belong to the connection on which they arrived (RFC 9110 section 6.5.1).
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Some(Err(Severed))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let idle = self.idle;
                    let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(idle)));
                    return silence.as_mut().poll(context).map(|()| Some(Err(Severed)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn responses_that_stop_early_count_as_truncated() {
        let (pieces, upload) = Upload::new(None);
        let body = reqwest::Body::wrap(upload);
        let mut download = Download { idle: Duration::from_millis(20), ..Download::new(body) };
        assert!(pieces.send(Bytes::from_static(b"first")).await);
        assert_eq!(download.peek().await, "first");
        let mut next = async || std::future::poll_fn(|context| download.poll_piece(context)).await;
        assert_eq!(next().await, Some(Ok(Bytes::from_static(b"first"))), "what was looked at is given out");
        assert_eq!(next().await, Some(Err(Severed)));
    }

    #[tokio::test]
    async fn failed_request_bodies_are_reported_to_the_waiting_call() {
        let (pieces, upload) = Upload::new(Some(10));
        let progress = Arc::clone(&upload.progress);
        assert_eq!((progress.failed(), upload.size_hint().exact()), (None, Some(10)));
        pieces.fail(UploadError::TooLong).await;
        assert_eq!(progress.failed(), Some(UploadError::TooLong));
    }
}
