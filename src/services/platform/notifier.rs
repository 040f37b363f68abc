//! Wakes waiting requests: each for its own flow or user and for nothing else, however many wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::domain::id::{FlowId, UserId};

/// The number of requests that may wait for the same flow or user: a few pages of one browser, and their retries.
const MAX_WAITS_PER_KEY: usize = 16;
/// The number of requests in this process that may wait: by default, half of the connections that may be open.
const MAX_WAITS: usize = 5_000;

/// The subject of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::services) enum Key {
    /// The outcome of a flow.
    Flow(FlowId),
    /// A change of a user's connections.
    User(UserId),
}

#[derive(Debug)]
struct Topic {
    changes: watch::Sender<()>,
    /// The version in the database when it was last read for this key.
    version: Option<u64>,
}

#[derive(Debug, Default)]
struct Topics {
    by_key: HashMap<Key, Topic>,
    /// The number of requests that wait for any key.
    count: usize,
}

/// The waiting requests of this process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Notifier(Arc<Mutex<Topics>>);

/// A subscription to one key; dropping it ends it.
#[derive(Debug)]
pub struct Subscription {
    notifier: Notifier,
    key: Key,
    /// `Some` until the subscription is dropped.
    changes: Option<watch::Receiver<()>>,
}

impl Subscription {
    /// Waits for the next change, or until the deadline. A change between two calls is not missed.
    pub async fn next(&mut self, deadline: Instant) {
        if let Some(changes) = &mut self.changes {
            let _ = tokio::time::timeout_at(deadline, changes.changed()).await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut topics = self.notifier.topics();
        // Under the lock, so that of two requests that leave at once, one sees that it is the last.
        self.changes = None;
        topics.count -= 1;
        if topics.by_key.get(&self.key).is_some_and(|topic| topic.changes.receiver_count() == 0) {
            topics.by_key.remove(&self.key);
        }
    }
}

impl Notifier {
    /// Returns a subscription to changes of a user's connections. `None` if too many requests wait already.
    pub fn subscribe_to_user(&self, user: UserId) -> Option<Subscription> {
        self.subscribe(Key::User(user))
    }

    /// Returns a subscription to changes of the authorization request with this id. `None` if too many requests wait
    /// already.
    pub fn subscribe_to_flow(&self, flow: FlowId) -> Option<Subscription> {
        self.subscribe(Key::Flow(flow))
    }

    /// Subscribes to a key. It must be called before the state that is compared is read. `None` if too many requests
    /// wait already, for the same key or in total.
    fn subscribe(&self, key: Key) -> Option<Subscription> {
        let mut topics = self.topics();
        if topics.count >= MAX_WAITS {
            return None;
        }
        let new = || Topic { changes: watch::Sender::new(()), version: None };
        let topic = topics.by_key.entry(key).or_insert_with(new);
        if topic.changes.receiver_count() >= MAX_WAITS_PER_KEY {
            return None;
        }
        let changes = Some(topic.changes.subscribe());
        topics.count += 1;
        Some(Subscription { notifier: self.clone(), key, changes })
    }

    /// Wakes the requests that wait for this key.
    pub(in crate::services) fn wake(&self, key: Key) {
        if let Some(topic) = self.topics().by_key.get(&key) {
            topic.changes.send_replace(());
        }
    }

    /// Wakes all waiting requests.
    pub(in crate::services) fn wake_all(&self) {
        self.topics().by_key.values().for_each(|topic| {
            topic.changes.send_replace(());
        });
    }

    /// Records the version in the database for this key, and wakes its requests if it has changed. The first version
    /// wakes them as well, because it may be newer than what they have read.
    pub(super) fn note_version(&self, key: Key, version: u64) {
        if let Some(topic) = self.topics().by_key.get_mut(&key)
            && topic.version.replace(version) != Some(version)
        {
            topic.changes.send_replace(());
        }
    }

    /// Returns the number of requests in this process that wait for a change.
    pub fn count(&self) -> usize {
        self.topics().count
    }

    pub(super) fn keys(&self) -> (Vec<FlowId>, Vec<UserId>) {
        let (mut flows, mut users) = (Vec::new(), Vec::new());
        for key in self.topics().by_key.keys() {
            match key {
                Key::Flow(flow) => flows.push(*flow),
                Key::User(user) => users.push(*user),
            }
        }
        (flows, users)
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::random::Random;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    fn wait(notifier: &Notifier, user: UserId) -> Subscription {
        notifier.subscribe(Key::User(user)).expect("few wait")
    }

    fn has_changed(subscription: &Subscription) -> bool {
        subscription.changes.as_ref().expect("not dropped").has_changed().expect("open")
    }

    #[tokio::test]
    async fn subscribers_are_woken_for_their_own_keys_and_miss_nothing() {
        let (notifier, random) = (Notifier::default(), Random::seeded(1));
        let (mine, other) = (UserId::random(&random), UserId::random(&random));
        let (mut first, mut second) = (wait(&notifier, mine), wait(&notifier, mine));

        notifier.wake(Key::User(other));
        assert!(!has_changed(&first));
        // No subscription is being polled at this moment.
        notifier.wake(Key::User(mine));
        let far = Instant::now() + Duration::from_secs(3600);
        first.next(far).await;
        second.next(far).await;
        assert!(Instant::now() < far);
        first.next(soon()).await;
    }

    #[test]
    fn dropped_subscribers_are_forgotten() {
        let (notifier, user) = (Notifier::default(), UserId::random(&Random::seeded(1)));
        let (first, second) = (wait(&notifier, user), wait(&notifier, user));
        drop(first);
        assert_eq!(notifier.topics().by_key.len(), 1);
        drop(second);
        assert!(notifier.topics().by_key.is_empty());
    }

    #[test]
    fn concurrently_dropped_subscribers_are_all_forgotten() {
        let (notifier, user) = (Notifier::default(), UserId::random(&Random::seeded(1)));
        for _ in 0..500 {
            let leaving: Vec<Subscription> = (0..4).map(|_| wait(&notifier, user)).collect();
            std::thread::scope(|threads| {
                for one in leaving {
                    threads.spawn(move || drop(one));
                }
            });
            assert!(notifier.topics().by_key.is_empty());
        }
    }

    #[test]
    fn versions_wake_first_and_on_change() {
        let (notifier, user) = (Notifier::default(), UserId::random(&Random::seeded(1)));
        let mut subscription = wait(&notifier, user);
        for (version, woken) in [(1, true), (1, false), (2, true)] {
            notifier.note_version(Key::User(user), version);
            assert_eq!(has_changed(&subscription), woken, "{version}");
            subscription.changes.as_mut().expect("not dropped").mark_unchanged();
        }
    }

    #[test]
    fn waits_are_limited_per_key_and_in_total() {
        let (notifier, random) = (Notifier::default(), Random::seeded(1));
        let user = UserId::random(&random);
        let mut waits: Vec<Subscription> = (0..MAX_WAITS_PER_KEY).map(|_| wait(&notifier, user)).collect();
        assert!(notifier.subscribe(Key::User(user)).is_none());
        waits.pop();
        assert!(notifier.subscribe(Key::User(user)).is_some(), "one that has left makes room");
        while waits.len() < MAX_WAITS {
            waits.push(wait(&notifier, UserId::random(&random)));
        }
        assert!(notifier.subscribe(Key::User(UserId::random(&random))).is_none());
        assert_eq!(notifier.count(), MAX_WAITS);
        drop(waits);
        assert_eq!((notifier.count(), notifier.topics().by_key.len()), (0, 0));
    }
}
