//! The newest versions of the few keys of a range that are read again and again: the catalog's version, which every transaction reads, the one
//! row that everybody asks for. A read of such a key is answered under the range's mutex and asks the engine nothing.
//!
//! ```text
//!   read    mutex { admitted, no write latch, timestamp cache raised;  kept and version ≤ read_ts?  → answered
//!                   else, if it was asked for before: a ticket }       look: no intent, newest version
//!           mutex { the ticket's slot has not changed?  → kept }
//!   write   mutex { latch taken → slots of its keys emptied and changed }   …  applied, latch released
//! ```
//! What is kept is true: it was read between two moments at which no write latch was held on the key and none was taken in between, so the look saw
//! settled state, without an intent, and every later change takes a latch first, which empties the slot. A new lease begins with nothing kept, and a
//! collected version is never the newest one of a live key. A key is kept at its second miss in a row in its slot, so that scattered reads
//! displace nothing and cost a comparison.

use meridian_clock::Timestamp;
use meridian_storage::mvcc::Version;
use meridian_storage::{Key, Span};
use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

/// Slots of a range; a power of two.
const SLOTS: usize = 64;
/// Longer values are not kept: with them a range keeps 64 KiB at most.
const VALUE_MAX: usize = 1024;

#[derive(Debug, Default)]
struct Slot {
    kept: Option<(Key, Version)>,
    /// The hash of the key that missed here last.
    missed: u64,
    /// Grows with every change of a key of this slot.
    changes: u64,
}

/// A reader may keep what it finds, if nothing changes meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    slot: usize,
    changes: u64,
}

/// What a look at a key gives.
#[derive(Debug)]
pub enum Known {
    /// Its newest version, at or below the reader's timestamp.
    Version(Version),
    /// Nothing is known; with a ticket, the newest version is wanted.
    Ask(Option<Ticket>),
}

/// The versions kept of one range. Nothing is allocated before the first read.
#[derive(Debug, Default)]
pub struct HotKeys {
    slots: Vec<Slot>,
}

fn hash_of(key: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

fn slot_of(hash: u64) -> usize {
    (hash >> 32) as usize % SLOTS
}

impl HotKeys {
    /// What is known of `key` for a reader at `at`, who holds the mutex and has raised the timestamp cache.
    pub fn look(&mut self, key: &[u8], at: Timestamp) -> Known {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, Slot::default);
        }
        let hash = hash_of(key);
        let index = slot_of(hash);
        let slot = &mut self.slots[index];
        if let Some((kept, version)) = &slot.kept
            && kept == key
        {
            return if version.ts <= at { Known::Version(version.clone()) } else { Known::Ask(None) };
        }
        if std::mem::replace(&mut slot.missed, hash) == hash {
            return Known::Ask(Some(Ticket { slot: index, changes: slot.changes }));
        }
        Known::Ask(None)
    }

    /// Keeps the newest version of `key`, which has no intent, unless the key may have changed since the ticket was given.
    pub fn keep(&mut self, ticket: Ticket, key: &Key, newest: &Version) {
        let Some(slot) = self.slots.get_mut(ticket.slot).filter(|slot| slot.changes == ticket.changes) else { return };
        // A tombstone may be collected, and then its key has no version at all.
        if newest.value.as_ref().is_some_and(|v| v.len() <= VALUE_MAX) {
            slot.kept = Some((Key::copy_from_slice(key), copied(newest)));
        }
    }

    /// `keys` and what lies in `span` is about to change.
    pub fn forget(&mut self, keys: &[Key], span: Option<&Span>) {
        if self.slots.is_empty() {
            return;
        }
        for key in keys {
            let slot = &mut self.slots[slot_of(hash_of(key))];
            slot.changes += 1;
            slot.kept = None;
        }
        if span.is_some() {
            for slot in &mut self.slots {
                slot.changes += 1;
                slot.kept = None;
            }
        }
    }
}

/// A version that does not hold on to the block that it was read from.
fn copied(version: &Version) -> Version {
    Version { value: version.value.as_ref().map(|v| Key::copy_from_slice(v)), ..*version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_storage::mvcc::AttemptId;

    fn version(ts: u64, value: &'static str) -> Version {
        Version { ts: Timestamp::from_raw(ts), writer: AttemptId(7), value: Some(Key::from_static(value.as_bytes())) }
    }

    fn ticket(hot: &mut HotKeys, key: &str) -> Ticket {
        for _ in 0..2 {
            if let Known::Ask(Some(ticket)) = hot.look(key.as_bytes(), Timestamp::from_raw(9)) {
                return ticket;
            }
        }
        panic!("the second miss gives a ticket")
    }

    fn kept(hot: &mut HotKeys, key: &str, at: u64) -> Option<u64> {
        match hot.look(key.as_bytes(), Timestamp::from_raw(at)) {
            Known::Version(v) => Some(v.ts.as_raw()),
            Known::Ask(_) => None,
        }
    }

    #[test]
    fn the_second_miss_keeps_and_a_change_forgets() {
        let mut hot = HotKeys::default();
        assert!(matches!(hot.look(b"a", Timestamp::from_raw(9)), Known::Ask(None)));
        let given = ticket(&mut hot, "a");
        hot.keep(given, &Key::from_static(b"a"), &version(5, "x"));
        assert_eq!(kept(&mut hot, "a", 9), Some(5));
        assert_eq!(kept(&mut hot, "a", 5), Some(5));
        assert_eq!(kept(&mut hot, "a", 4), None, "a reader below the newest version asks the engine");
        hot.forget(&[Key::from_static(b"a")], None);
        assert_eq!(kept(&mut hot, "a", 9), None);
        let given = ticket(&mut hot, "a");
        hot.keep(given, &Key::from_static(b"a"), &version(8, "y"));
        hot.forget(&[], Some(&Span::all()));
        assert_eq!(kept(&mut hot, "a", 9), None);
    }

    #[test]
    fn what_changed_meanwhile_is_not_kept() {
        let mut hot = HotKeys::default();
        for change in [true, false] {
            let given = ticket(&mut hot, "a");
            if change {
                hot.forget(&[Key::from_static(b"a")], None);
            } else {
                hot.forget(&[], Some(&Span::all()));
            }
            hot.keep(given, &Key::from_static(b"a"), &version(5, "x"));
            assert_eq!(kept(&mut hot, "a", 9), None);
        }
        let given = ticket(&mut hot, "a");
        hot.keep(given, &Key::from_static(b"a"), &Version { value: None, ..version(5, "") });
        assert_eq!(kept(&mut hot, "a", 9), None, "no tombstones");
    }
}
