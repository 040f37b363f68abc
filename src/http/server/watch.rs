//! The state of one connection, and its deadline.
//!
//! actix-http times the head of the first request of a connection and the idle time between two requests. It does not
//! time a second head, a body that is not read any more, or a response that the client does not take. Here every
//! state has a deadline, so that a client that falls silent is disconnected within [`MAX_SILENCE`], whatever it has
//! sent before. Only a connection whose last request was answered may be kept longer, unless the room is needed.
//!
//! Time is counted in whole seconds since the worker started: a deadline costs a request no system call.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use super::boundary::Boundary;

/// Seconds since the worker started.
pub(super) type Second = u64;

/// The time that a head may take, in seconds: more than actix-http's own limit for the first one, which it answers
/// with 408.
const HEAD_TIMEOUT: Second = 8;
/// The time that an idle connection may stay open while room is needed for others, in seconds.
const IDLE_TIMEOUT: Second = 20;
/// The time that a connection may stay open beyond actix-http's own keep-alive, in seconds.
const CLOSE_GRACE: Second = 5;
/// The time limit for the response to a request, in seconds. Handlers have their own shorter limits.
const EXCHANGE_TIMEOUT: Second = 60;
/// The time for which a client may take no byte of a proxied response, or may need for the last part of any other
/// response, in seconds.
const WRITE_TIMEOUT: Second = 20;
/// The time that a connection stays open after the last byte of its client, in seconds. A request that is being
/// answered may take longer, but not one that was sent ahead: each of them might wait for a change otherwise.
const MAX_SILENCE: Second = 30;

/// The metric's label of a connection whose client does not take what was written.
const WRITE_LABEL: &str = "write";

/// The phase of a connection. The metric's label uses the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The connection waits for a request.
    Idle,
    /// The head of a request is being read, or the rest of a body that no handler reads.
    Head,
    /// A request is being answered.
    Exchange,
    /// A request is being forwarded to HubSpot as it arrives, and its response back. Both have their own limits on
    /// silence.
    Stream,
}

/// The state of one connection, used only in the connection's own thread.
#[derive(Debug)]
pub struct Watch {
    clock: Rc<Cell<Second>>,
    /// The time that the connection may be kept open without a request, in seconds.
    keep_alive: Second,
    phase: Cell<Phase>,
    /// The time at which the phase has lasted too long.
    until: Cell<Second>,
    /// The time at which an idle connection has lasted too long if the room is needed.
    needed_at: Cell<Second>,
    /// The time at which the client has taken too long to take what was written.
    write_until: Cell<Option<Second>>,
    read_at: Cell<Second>,
    boundary: Cell<Boundary>,
    /// Whether the client has sent anything since the last response.
    has_read: Cell<bool>,
    /// Whether the connection may be read from: not while a request is answered, once its body has arrived.
    may_read: Cell<bool>,
    /// Whether the client has sent something before it could be read.
    is_ahead: Cell<bool>,
    ended_for: Cell<Option<&'static str>>,
    waker: RefCell<Option<Waker>>,
}

impl Default for Watch {
    /// Returns the watch of a request without a connection, for unit tests.
    fn default() -> Self {
        Self::new(Rc::default(), 0)
    }
}

impl Watch {
    pub(super) fn new(clock: Rc<Cell<Second>>, keep_alive: Second) -> Self {
        let now = clock.get();
        Self {
            clock,
            keep_alive,
            needed_at: Cell::new(Second::MAX),
            phase: Cell::new(Phase::Head),
            until: Cell::new(now + HEAD_TIMEOUT),
            write_until: Cell::new(None),
            read_at: Cell::new(now),
            boundary: Cell::default(),
            has_read: Cell::new(true),
            may_read: Cell::new(true),
            is_ahead: Cell::new(false),
            ended_for: Cell::new(None),
            waker: RefCell::default(),
        }
    }

    /// Returns whether the connection may be read from now. Otherwise its task is woken when it may.
    pub fn may_read(&self) -> bool {
        self.may_read.get()
    }

    /// Records that the client has sent something that may not be read yet.
    pub fn sent_ahead(&self) {
        if !self.is_ahead.replace(true) {
            self.read_at.set(self.clock.get());
        }
    }

    /// Returns whether the client has sent something that may not be read yet. A hang-up behind it would not be
    /// noticed.
    pub fn is_ahead(&self) -> bool {
        self.is_ahead.get()
    }

    /// Records that all that the client has sent was read.
    pub fn drained(&self) {
        self.is_ahead.set(false);
    }

    /// Records bytes that were read.
    pub fn read(&self, bytes: &[u8]) {
        self.at_boundary(|boundary| boundary.read(bytes));
        let now = self.clock.get();
        // Data that was sent ahead is older.
        if !self.is_ahead.get() {
            self.read_at.set(now);
            self.has_read.set(true);
        }
        if self.phase.get() == Phase::Idle {
            self.enter(Phase::Head, now + HEAD_TIMEOUT);
        }
    }

    /// Records that the client does not take what is written.
    pub fn write_blocked(&self) {
        if self.write_until.get().is_none() {
            self.write_until.set(Some(self.clock.get() + WRITE_TIMEOUT));
        }
    }

    /// Records that the client has taken something. Only a stream gets more time for that: any other response is
    /// short, and a client that takes a byte now and then could otherwise hold it for as long as it likes.
    pub fn write_advanced(&self) {
        if self.phase.get() == Phase::Stream && self.write_until.get().is_some() {
            self.write_until.set(Some(self.clock.get() + WRITE_TIMEOUT));
        }
    }

    /// Records that the client has taken all that was written.
    pub fn written(&self) {
        self.write_until.set(None);
    }

    /// Records that a request is being answered, with the length of its body; `None` if it is chunked.
    pub fn begin(&self, is_stream: bool, body: Option<u64>) {
        let now = self.clock.get();
        self.at_boundary(|boundary| boundary.begin(body));
        self.may_read.set(body != Some(0));
        match is_stream {
            true => self.enter(Phase::Stream, Second::MAX),
            // It was sent before the last response was complete, so its client may be silent since then.
            false if !self.has_read.get() => self.enter(Phase::Exchange, self.read_at.get() + MAX_SILENCE),
            false => self.enter(Phase::Exchange, now + EXCHANGE_TIMEOUT),
        }
    }

    /// Records that the body of the request has arrived.
    pub fn body_arrived(&self) {
        self.may_read.set(false);
    }

    /// Records that the response is complete.
    pub fn end(&self) {
        self.has_read.set(false);
        if !self.may_read.replace(true) && self.is_ahead.get() {
            self.wake();
        }
        let now = self.clock.get();
        let silent = self.read_at.get() + MAX_SILENCE;
        // After a slow response the client still gets time to take it.
        let needed_at = silent.min(now + IDLE_TIMEOUT).max(now + 1);
        self.needed_at.set(needed_at);
        let is_kept = self.at_boundary(Boundary::end);
        self.enter(Phase::Idle, if is_kept { now + self.keep_alive + CLOSE_GRACE } else { needed_at });
    }

    fn at_boundary<T>(&self, work: impl FnOnce(&mut Boundary) -> T) -> T {
        let mut boundary = self.boundary.get();
        let found = work(&mut boundary);
        self.boundary.set(boundary);
        found
    }

    fn enter(&self, phase: Phase, until: Second) {
        self.phase.set(phase);
        self.until.set(until);
    }

    /// Returns the label for the metric if the connection is overdue.
    pub fn overdue(&self) -> Option<&'static str> {
        let now = self.clock.get();
        if self.write_until.get().is_some_and(|until| until <= now) {
            return Some(WRITE_LABEL);
        }
        (self.until.get() <= now).then(|| match self.phase.get() {
            Phase::Idle => "idle",
            Phase::Head => "head",
            Phase::Exchange | Phase::Stream => "exchange",
        })
    }

    /// Gives an idle connection the shorter deadline permanently: otherwise the connection would regain the longer
    /// one once others have closed.
    pub fn make_room(&self) {
        if self.phase.get() == Phase::Idle {
            self.until.set(self.until.get().min(self.needed_at.get()));
        }
    }

    /// Returns whether the connection waits for a request.
    pub fn is_idle(&self) -> bool {
        self.phase.get() == Phase::Idle && self.write_until.get().is_none()
    }

    /// Ends the connection: it is closed as soon as its task runs.
    pub fn close(&self, why: &'static str) {
        self.ended_for.set(Some(why));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Returns the reason if the connection was ended. Otherwise its task is woken when it is.
    pub fn closed(&self, waker: &Waker) -> Option<&'static str> {
        let ended = self.ended_for.get();
        if ended.is_none() {
            match &mut *self.waker.borrow_mut() {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
        ended
    }

    /// Returns whether the connection was ended because its client does not take what was written.
    pub fn discards_unsent(&self) -> bool {
        self.ended_for.get() == Some(WRITE_LABEL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALIVE: Second = 75;
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    struct Bench {
        clock: Rc<Cell<Second>>,
        watch: Watch,
    }

    impl Bench {
        fn new() -> Self {
            let clock = Rc::new(Cell::new(100));
            Self { watch: Watch::new(Rc::clone(&clock), KEEP_ALIVE), clock }
        }

        /// Returns the seconds until the watch is overdue if nothing more happens, and the label.
        fn overdue_after(&self) -> (Second, &'static str) {
            let now = self.clock.get();
            let found = (0..200).find_map(|seconds| {
                self.clock.set(now + seconds);
                self.watch.overdue().map(|why| (seconds, why))
            });
            self.clock.set(now);
            found.expect("every state has a deadline")
        }

        /// Simulates a request without a body, and its response.
        fn answer(&self, bytes: &[u8]) {
            self.watch.read(bytes);
            self.watch.begin(false, Some(0));
            self.watch.end();
        }

        fn pass(&self, seconds: Second) {
            self.clock.set(self.clock.get() + seconds);
        }
    }

    #[test]
    fn connections_without_a_complete_head_become_overdue() {
        let bench = Bench::new();
        assert_eq!(bench.overdue_after(), (HEAD_TIMEOUT, "head"));
        bench.pass(5);
        bench.watch.read(REQUEST);
        assert_eq!(
            bench.overdue_after(),
            (HEAD_TIMEOUT - 5, "head"),
            "a byte now and then gives no more time"
        );
    }

    #[test]
    fn partial_heads_after_a_response_have_a_shorter_timeout_than_silence() {
        let bench = Bench::new();
        bench.answer(REQUEST);
        assert_eq!(bench.overdue_after(), (KEEP_ALIVE + CLOSE_GRACE, "idle"));
        bench.watch.read(b"G");
        assert_eq!(bench.overdue_after(), (HEAD_TIMEOUT, "head"));
        bench.pass(3);
        bench.watch.read(b"E");
        assert_eq!(
            bench.overdue_after(),
            (HEAD_TIMEOUT - 3, "head"),
            "the rest of a refused body gives no more time"
        );
    }

    #[test]
    fn bytes_pipelined_with_the_request_get_the_idle_timeout() {
        let bench = Bench::new();
        bench.answer(b"GET / HTTP/1.1\r\n\r\nG");
        assert_eq!(bench.overdue_after(), (IDLE_TIMEOUT, "idle"));
    }

    #[test]
    fn pipelined_requests_are_limited_in_time() {
        let bench = Bench::new();
        bench.watch.read(REQUEST);
        bench.watch.begin(false, Some(0));
        assert_eq!(bench.overdue_after(), (EXCHANGE_TIMEOUT, "exchange"));
        bench.pass(25);
        bench.watch.end();
        bench.watch.begin(false, Some(0));
        assert_eq!(bench.overdue_after(), (MAX_SILENCE - 25, "exchange"));
    }

    #[test]
    fn idle_connections_close_when_room_is_needed() {
        let bench = Bench::new();
        bench.watch.make_room();
        assert_eq!(bench.overdue_after(), (HEAD_TIMEOUT, "head"), "it is not idle");
        bench.answer(REQUEST);
        bench.pass(5);
        bench.watch.make_room();
        assert_eq!(bench.overdue_after(), (IDLE_TIMEOUT - 5, "idle"));
        bench.answer(REQUEST);
        assert_eq!(bench.overdue_after(), (KEEP_ALIVE + CLOSE_GRACE, "idle"));
    }

    #[test]
    fn pipelined_bytes_wait_unread_and_keep_their_age() {
        let bench = Bench::new();
        bench.watch.read(REQUEST);
        bench.watch.begin(false, None);
        assert!(bench.watch.may_read(), "the body is still to come");
        bench.watch.body_arrived();
        assert!(!bench.watch.may_read());
        bench.watch.sent_ahead();
        bench.pass(25);
        bench.watch.sent_ahead();
        bench.watch.end();
        assert!(bench.watch.may_read());
        bench.watch.read(REQUEST);
        bench.watch.begin(false, Some(0));
        assert_eq!(bench.overdue_after(), (MAX_SILENCE - 25, "exchange"));
        bench.watch.end();
        bench.watch.drained();
        bench.watch.read(REQUEST);
        bench.watch.begin(false, Some(0));
        assert_eq!(bench.overdue_after(), (EXCHANGE_TIMEOUT, "exchange"), "a new request has all its time");
    }

    #[test]
    fn responses_read_byte_by_byte_become_overdue() {
        let bench = Bench::new();
        bench.watch.read(REQUEST);
        bench.watch.begin(false, Some(0));
        bench.watch.write_blocked();
        bench.watch.end();
        bench.pass(10);
        bench.watch.write_advanced();
        bench.watch.write_blocked();
        assert_eq!(bench.overdue_after(), (WRITE_TIMEOUT - 10, "write"));
        bench.watch.written();
        assert_eq!(bench.overdue_after(), (KEEP_ALIVE + CLOSE_GRACE - 10, "idle"));
    }

    #[test]
    fn streams_last_while_their_client_reads() {
        let bench = Bench::new();
        bench.watch.begin(true, Some(0));
        for _ in 0..50 {
            bench.watch.write_blocked();
            bench.pass(WRITE_TIMEOUT - 1);
            assert_eq!(bench.watch.overdue(), None);
            bench.watch.write_advanced();
        }
        assert_eq!(bench.overdue_after(), (WRITE_TIMEOUT, "write"));
    }
}
