//! Ends the connections of one worker that have lasted too long.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::clients::ClientSlot;
use super::watch::{Second, Watch};

/// The connections of one worker.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    clock: Rc<Cell<Second>>,
    next: Cell<u64>,
    watches: RefCell<HashMap<u64, (Rc<Watch>, ClientSlot)>>,
}

/// A connection under watch, until it is dropped.
#[derive(Debug)]
pub(super) struct Watched {
    pub watch: Rc<Watch>,
    reaper: Rc<Reaper>,
    id: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.reaper.watches.borrow_mut().remove(&self.id);
    }
}

impl Reaper {
    /// Starts to watch a new connection, which may be idle for `keep_alive` seconds.
    pub fn watch(self: &Rc<Self>, keep_alive: Second, slot: ClientSlot) -> Watched {
        let id = self.next.replace(self.next.get() + 1);
        let watch = Rc::new(Watch::new(Rc::clone(&self.clock), keep_alive));
        self.watches.borrow_mut().insert(id, (Rc::clone(&watch), slot));
        Watched { watch, reaper: Rc::clone(self), id }
    }

    /// Checks every connection once a second, for as long as the worker lives. When the service stops, connections
    /// without a request are closed at once: no request could follow on them.
    pub async fn run(self: Rc<Self>, stop: CancellationToken) {
        let began = Instant::now();
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_stopping = false;
        loop {
            tokio::select! {
                () = stop.cancelled(), if !is_stopping => is_stopping = true,
                _ = seconds.tick() => {}
            }
            self.clock.set(began.elapsed().as_secs());
            for (watch, slot) in self.watches.borrow().values() {
                if watch.is_idle() && slot.is_needed() {
                    watch.make_room();
                }
                if let Some(why) = watch.overdue() {
                    watch.close(why);
                } else if is_stopping && watch.is_idle() {
                    watch.close("stop");
                }
            }
        }
    }
}
