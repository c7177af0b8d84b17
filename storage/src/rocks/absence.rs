//! Whether the lock space holds nothing at all, known without looking.
//!
//! Every scan and every point read asks for intents first, and on most stores at most times there is none: transactions within one range lay
//! none. Asking RocksDB nevertheless costs an iterator for a scan (a ninth of an index lookup) and a search for a point. So puts are counted, and
//! a look that found the space empty remembers the count:
//!
//! ```text
//!   put     begun += 1;  write;  done += 1
//!   look    b = begun;  done = b?  nothing found?  → empty_at = b
//!   reader  empty_at = begun  → nothing was there at that moment
//! ```
//! A put that the look did not see had not begun, or was not done: in both cases the counts differ from then on. Deletions only make the space
//! emptier. So the answer is that of a look at the moment at which the reader loads `begun`: what a reader of the engine itself gets.

use std::sync::atomic::{AtomicU64, Ordering};

/// One look per so many reads that had to ask: where intents come and go all the time, the looks are a small part of the work.
const LOOK_EVERY: u64 = 32;

/// Puts of a space, and when it was last seen empty.
#[derive(Debug)]
pub(super) struct Absence {
    begun: AtomicU64,
    done: AtomicU64,
    empty_at: AtomicU64,
    asked: AtomicU64,
}

impl Default for Absence {
    fn default() -> Self {
        // Nothing is known of what a store held when it was opened: no count is `MAX`.
        Absence { begun: AtomicU64::new(0), done: AtomicU64::new(0), empty_at: AtomicU64::new(u64::MAX), asked: AtomicU64::new(0) }
    }
}

impl Absence {
    /// Runs a write that puts something into the space.
    pub fn putting<T>(&self, write: impl FnOnce() -> T) -> T {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let written = write();
        self.done.fetch_add(1, Ordering::SeqCst);
        written
    }

    /// Whether the space is certainly empty at this moment. `look`: whether it is, by looking; called now and then.
    pub fn is_certain(&self, look: impl FnOnce() -> bool) -> bool {
        if self.empty_at.load(Ordering::SeqCst) == self.begun.load(Ordering::SeqCst) {
            return true;
        }
        if !self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY) {
            return false;
        }
        let begun = self.begun.load(Ordering::SeqCst);
        if self.done.load(Ordering::SeqCst) != begun || !look() {
            return false;
        }
        // An older look that comes late must not undo a newer one; it would only be a wrong "not known".
        self.empty_at.store(begun, Ordering::SeqCst);
        self.begun.load(Ordering::SeqCst) == begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(absence: &Absence, empty: bool) -> bool {
        (0..LOOK_EVERY).any(|_| absence.is_certain(|| empty))
    }

    #[test]
    fn nothing_is_certain_before_a_look_and_after_a_put() {
        let absence = Absence::default();
        assert!(!absence.is_certain(|| false));
        assert!(!known(&absence, false));
        assert!(known(&absence, true));
        assert!(absence.is_certain(|| unreachable!("known without looking")));
        absence.putting(|| assert!(!known(&absence, true), "a put is under way: a look says nothing"));
        assert!(!known(&absence, false));
        assert!(known(&absence, true), "what was put is gone again");
    }

    #[test]
    fn a_put_beside_a_look_is_not_overlooked() {
        let absence = Absence::default();
        let looked = (0..LOOK_EVERY).any(|_| {
            absence.is_certain(|| {
                absence.putting(|| ());
                true
            })
        });
        assert!(!looked && !absence.is_certain(|| false));
    }
}
