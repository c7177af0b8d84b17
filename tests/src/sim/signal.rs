//! A value that many tasks watch, whose changes wake them in the order in which they came. (`tokio::sync::watch` wakes its receivers in a random order,
//! and with that no two runs of a seed are the same.)

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

struct Shared<T> {
    /// The value, and how often it has changed.
    value: Mutex<(T, u64)>,
    wake: Notify,
}

/// Changes the value.
pub struct Signal<T>(Arc<Shared<T>>);

/// Watches it. A clone has seen what its original has.
pub struct Watcher<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T: Clone> Signal<T> {
    /// Holds `value`.
    pub fn new(value: T) -> Self {
        Signal(Arc::new(Shared { value: Mutex::new((value, 0)), wake: Notify::new() }))
    }

    /// Changes it, and answers what it was.
    pub fn replace(&self, value: T) -> T {
        let old = {
            let mut guard = self.0.value.lock();
            guard.1 += 1;
            std::mem::replace(&mut guard.0, value)
        };
        self.0.wake.notify_waiters();
        old
    }

    /// A watcher who has seen the value of now.
    pub fn watch(&self) -> Watcher<T> {
        let seen = self.0.value.lock().1;
        Watcher { shared: self.0.clone(), seen }
    }
}

impl<T: Clone> Watcher<T> {
    /// The value now.
    pub fn get(&self) -> T {
        self.shared.value.lock().0.clone()
    }

    /// The value now, which counts as seen.
    pub fn take(&mut self) -> T {
        let guard = self.shared.value.lock();
        self.seen = guard.1;
        guard.0.clone()
    }

    /// Resolves once the value has changed since it was last seen; it counts as seen then.
    pub async fn changed(&mut self) {
        loop {
            let woken = self.shared.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let now = self.shared.value.lock().1;
            if now != self.seen {
                self.seen = now;
                return;
            }
            woken.await;
        }
    }
}

impl<T> Clone for Watcher<T> {
    fn clone(&self) -> Self {
        Watcher { shared: self.shared.clone(), seen: self.seen }
    }
}
