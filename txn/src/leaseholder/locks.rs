//! The lock table of one range: who may change which row, and who waits, in fair order.
//!
//! Four strengths with PostgreSQL's compatibility:
//!
//! ```text
//!                 KeyShare  Share  NoKeyUpdate  Update
//!   KeyShare         ·        ·         ·         ✗
//!   Share            ·        ·         ✗         ✗
//!   NoKeyUpdate      ·        ✗         ✗         ✗
//!   Update           ✗        ✗         ✗         ✗
//! ```
//! First come, first served: a request waits behind an earlier conflicting waiter even if the holders would let it pass. Only a
//! holder that asks for more overtakes, since it would otherwise wait for those who wait for it.
//!
//! Locks live in memory and are an optimisation, never the proof (C4): what they protected is validated where a write
//! lands, or at commit (C3).

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use meridian_storage::mvcc::AttemptId;
use meridian_storage::{Key, Span};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::api::LockStrength;

/// Locks that one range may hold.
pub const LOCKS_MAX: usize = 2_000_000;
/// Waiters that one key may have.
pub const WAITERS_MAX: usize = 10_000;

/// Whether two attempts cannot hold these at the same time.
pub fn conflicts(a: LockStrength, b: LockStrength) -> bool {
    use LockStrength::*;
    matches!((a.min(b), a.max(b)), (_, Update) | (Share | NoKeyUpdate, NoKeyUpdate))
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    attempt: AttemptId,
    strength: LockStrength,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    attempt: AttemptId,
    strength: LockStrength,
    wake: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Entry {
    holders: SmallVec<[Holder; 1]>,
    waiters: VecDeque<Waiter>,
}

impl Entry {
    fn blocked_by_holder(&self, attempt: AttemptId, strength: LockStrength) -> bool {
        self.holders.iter().any(|h| h.attempt != attempt && conflicts(h.strength, strength))
    }

    fn held(&self, attempt: AttemptId) -> Option<LockStrength> {
        self.holders.iter().find(|h| h.attempt == attempt).map(|h| h.strength)
    }

    /// Grants to the front of the queue what can be granted. Answers who got a lock anew.
    fn grant(&mut self, granted: &mut Vec<AttemptId>) {
        while let Some(front) = self.waiters.front() {
            if self.blocked_by_holder(front.attempt, front.strength) {
                break;
            }
            let Some(waiter) = self.waiters.pop_front() else { break };
            if waiter.wake.is_closed() {
                continue;
            }
            if self.add(waiter.attempt, waiter.strength) {
                granted.push(waiter.attempt);
            }
            let _ = waiter.wake.send(());
        }
    }

    /// Adds a holder; `true` if it held nothing here before.
    fn add(&mut self, attempt: AttemptId, strength: LockStrength) -> bool {
        if let Some(holder) = self.holders.iter_mut().find(|h| h.attempt == attempt) {
            holder.strength = holder.strength.max(strength);
            return false;
        }
        self.holders.push(Holder { attempt, strength });
        true
    }
}

/// A place in a queue.
#[derive(Debug)]
pub struct Queued {
    /// Identifies the place.
    pub id: u64,
    /// Resolves `Ok` when the lock is granted, `Err` when the range is not served here any more or the attempt was ended.
    pub granted: oneshot::Receiver<()>,
}

/// The answer to a request for a lock.
#[derive(Debug)]
pub enum Acquired {
    /// It is held now.
    Granted,
    /// Somebody else is in the way, and it was not asked to wait.
    Conflict,
    /// Wait.
    Queued(Queued),
    /// A limit, named.
    TooMany(&'static str),
}

/// The locks of one range.
#[derive(Debug, Default)]
pub struct LockTable {
    entries: BTreeMap<Key, Entry>,
    held: FxHashMap<AttemptId, Vec<Key>>,
    next: u64,
}

impl LockTable {
    /// Asks for a lock. `queue`: whether to wait if it is not free.
    pub fn acquire(&mut self, key: &Key, attempt: AttemptId, strength: LockStrength, queue: bool) -> Acquired {
        if self.entries.len() >= LOCKS_MAX && !self.entries.contains_key(key) {
            return Acquired::TooMany("locks in one range");
        }
        let entry = self.entries.entry(key.clone()).or_default();
        let holds = entry.held(attempt);
        if holds.is_some_and(|h| h >= strength) {
            return Acquired::Granted;
        }
        // FIFO: an earlier waiter that conflicts goes first, except before one who already holds.
        let ahead = entry.waiters.iter().find(|w| w.attempt != attempt && conflicts(w.strength, strength)).map(|w| w.attempt);
        let holder = entry.holders.iter().find(|h| h.attempt != attempt && conflicts(h.strength, strength)).map(|h| h.attempt);
        match (holder, if holds.is_some() { None } else { ahead }) {
            (None, None) => {
                if entry.add(attempt, strength) {
                    self.held.entry(attempt).or_default().push(key.clone());
                }
                Acquired::Granted
            }
            _ if !queue => Acquired::Conflict,
            _ if entry.waiters.len() >= WAITERS_MAX => Acquired::TooMany("waiters for one lock"),
            _ => {
                let (wake, granted) = oneshot::channel();
                self.next += 1;
                let waiter = Waiter { id: self.next, attempt, strength, wake };
                if holds.is_some() {
                    entry.waiters.push_front(waiter)
                } else {
                    entry.waiters.push_back(waiter)
                }
                Acquired::Queued(Queued { id: self.next, granted })
            }
        }
    }

    /// Whether somebody else holds `key` against a write of `attempt`. (What lands needs no place in the queue: it holds a latch.)
    pub fn blocker(&self, key: &[u8], attempt: AttemptId) -> Option<AttemptId> {
        if self.entries.is_empty() {
            return None;
        }
        let entry = self.entries.get(key)?;
        if entry.held(attempt).is_some_and(|s| s >= LockStrength::NoKeyUpdate) {
            return None;
        }
        entry.holders.iter().find(|h| h.attempt != attempt).map(|h| h.attempt)
    }

    /// Whether nobody holds or waits for any key of `span`.
    pub fn is_free(&self, span: &Span) -> bool {
        self.entries
            .range::<[u8], _>((std::ops::Bound::Included(&span.start[..]), std::ops::Bound::Excluded(&span.end[..])))
            .next()
            .is_none()
    }

    /// Gives up a place in the queue.
    pub fn leave(&mut self, key: &[u8], id: u64) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.waiters.retain(|w| w.id != id);
        }
        self.settle(key);
    }

    /// Those whom the waiter `id` waits for on `key`: conflicting holders, and the nearest conflicting waiter ahead of it (which
    /// in turn waits for those before it, so that a long queue is a chain and not a thicket).
    pub fn waits_for(&self, key: &[u8], id: u64) -> Vec<AttemptId> {
        let Some(entry) = self.entries.get(key) else { return Vec::new() };
        let Some(at) = entry.waiters.iter().position(|w| w.id == id) else { return Vec::new() };
        let me = &entry.waiters[at];
        let holders = entry.holders.iter().filter(|h| h.attempt != me.attempt && conflicts(h.strength, me.strength)).map(|h| h.attempt);
        let ahead =
            entry.waiters.iter().take(at).rev().find(|w| w.attempt != me.attempt && conflicts(w.strength, me.strength)).map(|w| w.attempt);
        let mut all: Vec<AttemptId> = holders.chain(ahead).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Gives up one lock of `attempt` and its place in that queue, or all of the lock but `keep`.
    pub fn release_one(&mut self, key: &[u8], attempt: AttemptId, keep: Option<LockStrength>) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.waiters.retain(|w| w.attempt != attempt);
            match keep {
                Some(strength) => {
                    for holder in entry.holders.iter_mut().filter(|h| h.attempt == attempt) {
                        holder.strength = holder.strength.min(strength);
                    }
                }
                None => {
                    entry.holders.retain(|h| h.attempt != attempt);
                    if let Some(keys) = self.held.get_mut(&attempt) {
                        keys.retain(|k| k[..] != *key);
                        if keys.is_empty() {
                            self.held.remove(&attempt);
                        }
                    }
                }
            }
        }
        self.settle(key);
    }

    /// Everybody who holds something here.
    pub fn holders(&self) -> impl Iterator<Item = AttemptId> {
        self.held.keys().copied()
    }

    /// Who holds and who waits, key by key: attempt, strength, and whom a waiter waits for.
    #[allow(clippy::type_complexity)]
    pub fn list(&self) -> impl Iterator<Item = (&Key, AttemptId, LockStrength, Option<Vec<AttemptId>>)> {
        self.entries.iter().flat_map(move |(key, entry)| {
            let holders = entry.holders.iter().map(move |h| (key, h.attempt, h.strength, None));
            let waiters = entry.waiters.iter().filter(|w| !w.wake.is_closed());
            holders.chain(waiters.map(move |w| (key, w.attempt, w.strength, Some(self.waits_for(key, w.id)))))
        })
    }

    /// Frees everything that `attempt` holds or waits for in this range.
    pub fn release_all(&mut self, attempt: AttemptId) {
        for key in self.held.remove(&attempt).unwrap_or_default() {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.holders.retain(|h| h.attempt != attempt);
            }
            self.settle(&key);
        }
    }

    /// Frees every place in a queue of `attempt`; rare (a wait was given up on another node).
    pub fn leave_all(&mut self, attempt: AttemptId) {
        let keys: Vec<Key> =
            self.entries.iter().filter(|(_, e)| e.waiters.iter().any(|w| w.attempt == attempt)).map(|(k, _)| k.clone()).collect();
        for key in keys {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.waiters.retain(|w| w.attempt != attempt);
            }
            self.settle(&key);
        }
    }

    /// Grants what can be granted on `key`, and forgets an entry that nobody needs.
    fn settle(&mut self, key: &[u8]) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let mut granted = Vec::new();
        entry.grant(&mut granted);
        let empty = entry.holders.is_empty() && entry.waiters.is_empty();
        if !granted.is_empty()
            && let Some((key, _)) = self.entries.get_key_value(key)
        {
            for attempt in granted {
                self.held.entry(attempt).or_default().push(key.clone());
            }
        }
        if empty {
            self.entries.remove(key);
        }
    }

    /// Sends every waiter away: the range is not served here any more.
    pub fn end(&mut self) {
        for entry in self.entries.values_mut() {
            entry.waiters.clear();
        }
    }

    /// Locks of keys in `span` leave for the right side of a split; their waiters are sent to ask there.
    pub fn split_off(&mut self, span: &Span) -> LockTable {
        let mut right = LockTable { entries: self.entries.split_off(&span.start), held: FxHashMap::default(), next: self.next };
        for (key, entry) in &mut right.entries {
            entry.waiters.clear();
            for holder in &entry.holders {
                right.held.entry(holder.attempt).or_default().push(key.clone());
            }
        }
        for keys in self.held.values_mut() {
            keys.retain(|k| !span.contains(k));
        }
        self.held.retain(|_, keys| !keys.is_empty());
        right
    }

    /// Holders, for the successor in a planned move (L3).
    pub fn hand_over(&self) -> Bytes {
        let all: Vec<(&Key, AttemptId, LockStrength)> =
            self.entries.iter().flat_map(|(k, e)| e.holders.iter().map(move |h| (k, h.attempt, h.strength))).collect();
        postcard::to_stdvec(&all).unwrap_or_default().into()
    }

    /// What a predecessor handed over.
    pub fn taken_over(bytes: &[u8]) -> Result<Self, String> {
        let all: Vec<(Key, AttemptId, LockStrength)> = postcard::from_bytes(bytes).map_err(|e| format!("lock table: {e}"))?;
        let mut table = LockTable::default();
        for (key, attempt, strength) in all {
            table.entries.entry(key.clone()).or_default().add(attempt, strength);
            table.held.entry(attempt).or_default().push(key);
        }
        Ok(table)
    }

    /// The number of keys locked or waited for.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LockStrength::*;

    fn key(k: &'static str) -> Key {
        Key::from_static(k.as_bytes())
    }

    fn queued(a: Acquired) -> Queued {
        match a {
            Acquired::Queued(q) => q,
            other => panic!("expected a queue place, got {other:?}"),
        }
    }

    #[test]
    fn compatibility_is_postgresql_s() {
        let all = [KeyShare, Share, NoKeyUpdate, Update];
        let table: Vec<Vec<bool>> = all.iter().map(|a| all.iter().map(|b| conflicts(*a, *b)).collect()).collect();
        assert_eq!(table, [[false, false, false, true], [false, false, true, true], [false, true, true, true], [true, true, true, true]]);
    }

    #[test]
    fn first_come_first_served_and_holders_overtake() {
        let (mut t, k) = (LockTable::default(), key("k"));
        let [a, b, c, d] = [1, 2, 3, 4].map(AttemptId);
        assert!(matches!(t.acquire(&k, a, Share, true), Acquired::Granted));
        assert!(matches!(t.acquire(&k, b, Share, true), Acquired::Granted));
        let mut writer = queued(t.acquire(&k, c, Update, true));
        // A third reader would be compatible with the holders but must not overtake the writer.
        let mut reader = queued(t.acquire(&k, d, Share, true));
        assert_eq!(t.waits_for(&k, reader.id), vec![c]);
        assert!(matches!(t.acquire(&k, d, Share, false), Acquired::Conflict));
        // A holder that wants more goes to the front.
        let mut upgrade = queued(t.acquire(&k, a, Update, true));
        assert_eq!(t.waits_for(&k, upgrade.id), vec![b]);
        t.release_all(b);
        assert!(upgrade.granted.try_recv().is_ok());
        assert!(writer.granted.try_recv().is_err());
        t.release_all(a);
        assert!(writer.granted.try_recv().is_ok());
        assert!(reader.granted.try_recv().is_err());
        t.release_all(c);
        assert!(reader.granted.try_recv().is_ok());
        t.release_all(d);
        assert_eq!(t.len(), 0);
    }

    #[test]
    fn a_waiter_that_leaves_lets_the_next_pass() {
        let (mut t, k) = (LockTable::default(), key("k"));
        let [a, b, c] = [1, 2, 3].map(AttemptId);
        assert!(matches!(t.acquire(&k, a, Share, true), Acquired::Granted));
        let writer = queued(t.acquire(&k, b, Update, true));
        let mut reader = queued(t.acquire(&k, c, Share, true));
        t.leave(&k, writer.id);
        assert!(reader.granted.try_recv().is_ok());
    }

    #[test]
    fn splits_and_hand_overs_keep_holders() {
        let mut t = LockTable::default();
        let [a, b] = [1, 2].map(AttemptId);
        for k in ["a", "m", "z"] {
            assert!(matches!(t.acquire(&key(k), a, Update, true), Acquired::Granted));
        }
        let mut right = t.split_off(&Span::new("m", "zz"));
        assert_eq!((t.len(), right.len()), (1, 2));
        let mut moved = LockTable::taken_over(&right.hand_over()).unwrap();
        assert!(matches!(moved.acquire(&key("z"), b, Share, false), Acquired::Conflict));
        moved.release_all(a);
        assert!(matches!(moved.acquire(&key("z"), b, Share, false), Acquired::Granted));
        right.release_all(a);
        t.release_all(a);
        assert_eq!((t.len(), right.len()), (0, 0));
    }
}
