//! The newest versions of rows of a range, in memory: what is known here the engine is not asked, which costs twenty times as much.
//!
//! ```text
//!   read    mutex { admitted, no write latch, timestamp cache raised;  kept and version ≤ read_ts?  → answered
//!                   else, if it was asked for before: a ticket }       look: no intent, newest version
//!           mutex { nothing of the ticket's slot has changed?  → kept }
//!   lock    the same, at any timestamp, and with a ticket at once: the row is about to be written
//!   write   mutex { what is kept of its keys is the newest (C4); latch taken → their slots emptied and changed }   …  applied
//!           mutex { rows that were kept are kept again, as written }   latch released
//! ```
//! What is kept is true: it was read between two moments at which no write latch was held on the key and none was taken in between, so the look saw
//! settled state, without an intent, and every later change takes a latch first, which empties the slot; or it was written in one phase, and is kept
//! before that latch goes. That a key has no version at all, which an INSERT asks, is kept likewise until its latch is taken, in a set beside the slots. A new
//! lease begins with nothing. Collection removes no newest version of a live row; tombstones, which it does remove, are not kept.
//!
//! A table of slots, one row each, in segments that grow by themselves where rows contend for slots. A plain read keeps a row at its second miss in a row in
//! its slot, so that scattered reads displace nothing. All ranges of a node share one [`Budget`]; ranges that nobody reads give theirs back.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_storage::mvcc::{AttemptId, Version};
use meridian_storage::{Key, Span};
use rustc_hash::{FxHashSet, FxHasher};

/// Parts of the table that grow one by one, so that nobody waits for long.
const SEGMENTS: usize = 64;
/// Slots of a segment at first, and at most; powers of two.
const SLOTS_MIN: usize = 2;
const SLOTS_MAX: usize = 1 << 14;
/// Longer values are not kept.
const VALUE_MAX: usize = 1024;
/// Keys without a version that are kept at most, and what each takes beside its bytes.
const ABSENT_MAX: usize = 4096;
const ABSENT_OVERHEAD: usize = 2 * size_of::<Key>();
/// What a kept row takes beside its bytes: its box and the count of its bytes' owners.
const ROW_OVERHEAD: usize = size_of::<Kept>() + 48;

/// Memory that the row caches of a node may take together.
#[derive(Debug, Default)]
pub struct Budget {
    max: AtomicUsize,
    used: AtomicUsize,
}

impl Budget {
    /// Sets the bytes that may be used.
    pub fn set(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Bytes used and allowed.
    pub fn usage(&self) -> (usize, usize) {
        (self.used.load(Ordering::Relaxed), self.max.load(Ordering::Relaxed))
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        let fits = before + bytes <= self.max.load(Ordering::Relaxed);
        if !fits {
            self.give(bytes);
        }
        fits
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A row: key and value in one piece of memory.
#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    key_bytes: usize,
    /// Of its newest version.
    version: (Timestamp, AttemptId),
}

impl Kept {
    /// `None`: a tombstone, or too long.
    fn new(key: &[u8], newest: &Version) -> Option<Self> {
        let value = newest.value.as_deref().filter(|value| value.len() <= VALUE_MAX)?;
        let bytes = [key, value].concat().into();
        Some(Kept { bytes, key_bytes: key.len(), version: (newest.ts, newest.writer) })
    }

    fn is_of(&self, key: &[u8]) -> bool {
        self.bytes[..self.key_bytes] == *key
    }

    fn newest(&self) -> Version {
        let (ts, writer) = self.version;
        Version { ts, writer, value: Some(self.bytes.slice(self.key_bytes..)) }
    }

    fn cost(&self) -> usize {
        self.bytes.len() + ROW_OVERHEAD
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    segment: usize,
    /// Hash bits; the lowest are the slot.
    tag: u32,
}

#[derive(Debug, Default)]
struct Slot {
    kept: Option<Box<Kept>>,
    /// Tags of what is kept here and of what missed here last.
    tag: u32,
    missed: u32,
    /// Grows with every change of a key of this slot.
    changes: u32,
}

#[derive(Debug, Default)]
struct Segment {
    slots: Vec<Slot>,
    /// Misses of other keys than the last since it last grew.
    contested: usize,
}

/// A reader may keep what it finds, if nothing changes meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Ticket {
    place: Place,
    changes: u32,
    epoch: u32,
}

/// What a look at a key gives.
#[derive(Debug)]
pub enum Known {
    /// Its newest version, at or below the reader's timestamp.
    Version(Version),
    /// Nothing is known; with a ticket, the newest version is wanted.
    Ask(Option<Ticket>),
}

/// A newest version as it is known for a landing: timestamp and writer of a live row, or `None` where there is no version. No intent either way.
pub type Newest = Option<(Timestamp, AttemptId)>;

/// The rows kept of one range.
#[derive(Debug)]
pub struct RowCache {
    /// None before the first read.
    segments: Vec<Segment>,
    /// Keys without any version.
    absent: FxHashSet<Key>,
    /// Counts the times that everything was forgotten: tickets from before are void.
    epoch: u32,
    /// Looks since it was last tended.
    looks: u64,
    /// What it has taken of the budget.
    bytes: usize,
    budget: Arc<Budget>,
}

fn place_of(key: &[u8]) -> Place {
    let mut hasher = FxHasher::default();
    key.hash(&mut hasher);
    let hash = hasher.finish();
    Place { segment: (hash >> 58) as usize % SEGMENTS, tag: (hash >> 26) as u32 }
}

impl RowCache {
    /// Nothing, yet.
    pub fn new(budget: Arc<Budget>) -> Self {
        RowCache { segments: Vec::new(), absent: FxHashSet::default(), epoch: 0, looks: 0, bytes: 0, budget }
    }

    /// The cache of another range of this node.
    pub fn sibling(&self) -> Self {
        RowCache::new(self.budget.clone())
    }

    /// What is known of `key` for a reader at `at`, who holds the mutex and has raised the timestamp cache.
    pub fn look(&mut self, key: &[u8], at: Timestamp) -> Known {
        let place = place_of(key);
        let Some(slot) = self.slot_for(place) else { return Known::Ask(None) };
        if let Some(kept) = slot.kept.as_ref().filter(|kept| slot.tag == place.tag && kept.is_of(key)) {
            return if kept.version.0 <= at { Known::Version(kept.newest()) } else { Known::Ask(None) };
        }
        let (before, changes) = (std::mem::replace(&mut slot.missed, place.tag), slot.changes);
        if before == place.tag {
            return Known::Ask(Some(Ticket { place, changes, epoch: self.epoch }));
        }
        if before != 0 {
            self.contest(place);
        }
        Known::Ask(None)
    }

    /// The newest version of `key` for one who has just locked it and holds the mutex, or a ticket to keep it.
    pub fn look_locked(&mut self, key: &[u8]) -> Result<Option<Version>, Option<Ticket>> {
        let (place, epoch) = (place_of(key), self.epoch);
        let Some(slot) = self.slot_for(place) else { return Err(None) };
        let ticket = Ticket { place, changes: slot.changes, epoch };
        if let Some(kept) = slot.kept.as_ref().filter(|kept| slot.tag == place.tag && kept.is_of(key)) {
            return Ok(Some(kept.newest()));
        }
        if self.absent.contains(key) { Ok(None) } else { Err(Some(ticket)) }
    }

    /// The newest version of `key`, if it is known. Ask before its latch is taken; with the latch it stays true.
    pub fn newest(&self, key: &[u8]) -> Option<Newest> {
        if self.segments.is_empty() {
            return None;
        }
        let place = place_of(key);
        let slots = &self.segments[place.segment].slots;
        let slot = slots.get(place.tag as usize & slots.len().wrapping_sub(1))?;
        let kept = slot.kept.as_ref().filter(|kept| slot.tag == place.tag && kept.is_of(key));
        kept.map(|kept| Some(kept.version)).or_else(|| self.absent.contains(key).then_some(None))
    }

    /// Keeps the newest version of `key`, which has no intent, or that it has no version, unless the key may have changed since the ticket was given.
    pub fn keep(&mut self, ticket: Ticket, key: &Key, newest: Option<&Version>) {
        if ticket.epoch != self.epoch {
            return;
        }
        let Some(slot) = self.slot_for(ticket.place).filter(|slot| slot.changes == ticket.changes) else { return };
        let Some(newest) = newest else { return self.keep_absent(key) };
        let displaces = slot.kept.as_ref().is_some_and(|kept| !kept.is_of(key));
        let Some(kept) = Kept::new(key, newest) else { return };
        self.put(ticket.place, kept);
        if displaces {
            self.contest(ticket.place);
        }
    }

    fn keep_absent(&mut self, key: &Key) {
        // Mostly each is taken out when its row is inserted. Those that were only asked for pile up, until all go.
        if self.absent.len() >= ABSENT_MAX {
            self.forget_absent();
        }
        if self.take(key.len() + ABSENT_OVERHEAD) && !self.absent.insert(Key::copy_from_slice(key)) {
            self.give(key.len() + ABSENT_OVERHEAD);
        }
    }

    fn forget_absent(&mut self) {
        let bytes = self.absent.drain().map(|key| key.len() + ABSENT_OVERHEAD).sum();
        self.give(bytes);
    }

    /// Keeps what was written to a row that was kept, for one who still holds the latch.
    pub fn keep_written(&mut self, key: &Key, newest: &Version) {
        if let Some(kept) = Kept::new(key, newest) {
            self.put(place_of(key), kept);
        }
    }

    /// `keys` and what lies in `span` is about to change.
    pub fn forget(&mut self, keys: &[Key], span: Option<&Span>) {
        if self.segments.is_empty() {
            return;
        }
        if span.is_some() {
            return self.clear();
        }
        let mut freed = 0;
        for key in keys {
            let place = place_of(key);
            let slots = &mut self.segments[place.segment].slots;
            let mask = slots.len().wrapping_sub(1);
            let Some(slot) = slots.get_mut(place.tag as usize & mask) else { continue };
            slot.changes = slot.changes.wrapping_add(1);
            // Another row of this slot has not changed, but its reader could not tell.
            if slot.tag == place.tag
                && let Some(kept) = slot.kept.take_if(|kept| kept.is_of(key))
            {
                freed += kept.cost();
            }
            if self.absent.remove(key) {
                freed += key.len() + ABSENT_OVERHEAD;
            }
        }
        self.give(freed);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        (self.segments, self.absent) = (Vec::new(), FxHashSet::default());
        self.epoch = self.epoch.wrapping_add(1);
        self.give(self.bytes);
    }

    /// Looks since this was last asked, and bytes taken.
    pub fn tend(&mut self) -> (u64, usize) {
        (std::mem::take(&mut self.looks), self.bytes)
    }

    /// The slot of a key. `None`: there is no memory for one.
    fn slot_for(&mut self, place: Place) -> Option<&mut Slot> {
        self.looks += 1;
        if self.segments.is_empty() {
            if !self.take(SEGMENTS * size_of::<Segment>()) {
                return None;
            }
            self.segments.resize_with(SEGMENTS, Segment::default);
        }
        if self.segments[place.segment].slots.is_empty() {
            if !self.take(SLOTS_MIN * size_of::<Slot>()) {
                return None;
            }
            self.segments[place.segment].slots.resize_with(SLOTS_MIN, Slot::default);
        }
        let slots = &mut self.segments[place.segment].slots;
        let mask = slots.len() - 1;
        slots.get_mut(place.tag as usize & mask)
    }

    fn take(&mut self, bytes: usize) -> bool {
        let taken = self.budget.take(bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }

    fn give(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.budget.give(bytes);
    }

    fn put(&mut self, place: Place, kept: Kept) {
        // What gives way goes first, so that there is turnover where the budget is used up.
        let Some(before) = self.slot_for(place).map(|slot| slot.kept.take()) else { return };
        if let Some(before) = before {
            self.give(before.cost());
        }
        if self.take(kept.cost())
            && let Some(slot) = self.slot_for(place)
        {
            (slot.tag, slot.kept) = (place.tag, Some(Box::new(kept)));
        }
    }

    /// One key had to give way to another, or would have. Where that happens often there is soon room for both.
    fn contest(&mut self, place: Place) {
        let segment = &mut self.segments[place.segment];
        segment.contested += 1;
        let len = segment.slots.len();
        if segment.contested > len / 2 && len < SLOTS_MAX {
            segment.contested = 0;
            if self.take(len * size_of::<Slot>()) {
                self.segments[place.segment].grow();
            }
        }
    }
}

impl Drop for RowCache {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Segment {
    /// Twice as many slots. Both heirs of a slot have seen its changes, so tickets stay good.
    fn grow(&mut self) {
        let len = self.slots.len();
        let changes: Vec<u32> = self.slots.iter().map(|slot| slot.changes).collect();
        self.slots.extend(changes.into_iter().map(|changes| Slot { changes, ..Slot::default() }));
        for at in 0..len {
            if self.slots[at].tag as usize & len != 0 {
                let (kept, tag) = (self.slots[at].kept.take(), self.slots[at].tag);
                (self.slots[at + len].kept, self.slots[at + len].tag) = (kept, tag);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn cache(max: usize) -> RowCache {
        let budget = Budget::default();
        budget.set(max);
        RowCache::new(Arc::new(budget))
    }

    fn version(ts: u64, value: &'static str) -> Version {
        Version { ts: Timestamp::from_raw(ts), writer: AttemptId(7), value: Some(Bytes::from_static(value.as_bytes())) }
    }

    fn ticket(rows: &mut RowCache, key: &str) -> Ticket {
        for _ in 0..2 {
            if let Known::Ask(Some(ticket)) = rows.look(key.as_bytes(), Timestamp::from_raw(9)) {
                return ticket;
            }
        }
        panic!("the second miss gives a ticket")
    }

    fn kept(rows: &mut RowCache, key: &str, at: u64) -> Option<u64> {
        match rows.look(key.as_bytes(), Timestamp::from_raw(at)) {
            Known::Version(v) => Some(v.ts.as_raw()),
            Known::Ask(_) => None,
        }
    }

    #[test]
    fn the_second_miss_keeps_and_a_change_forgets() {
        let mut rows = cache(1 << 20);
        let a = Key::from_static(b"a");
        assert!(matches!(rows.look(b"a", Timestamp::from_raw(9)), Known::Ask(None)));
        let given = ticket(&mut rows, "a");
        rows.keep(given, &a, Some(&version(5, "x")));
        assert_eq!(kept(&mut rows, "a", 9), Some(5));
        assert_eq!(kept(&mut rows, "a", 5), Some(5));
        assert_eq!(kept(&mut rows, "a", 4), None, "a reader below the newest version asks the engine");
        rows.forget(std::slice::from_ref(&a), None);
        assert_eq!(kept(&mut rows, "a", 9), None);
        for change in [true, false] {
            let given = ticket(&mut rows, "a");
            if change {
                rows.forget(std::slice::from_ref(&a), None)
            } else {
                rows.forget(&[], Some(&Span::all()))
            }
            rows.keep(given, &a, Some(&version(5, "x")));
            assert_eq!(kept(&mut rows, "a", 9), None, "it may have changed since the ticket");
        }
    }

    #[test]
    fn a_lock_keeps_at_once_and_a_write_what_it_writes() {
        let mut rows = cache(1 << 20);
        let a = Key::from_static(b"a");
        let given = rows.look_locked(b"a").expect_err("nothing is known yet").expect("room");
        assert_eq!(rows.newest(b"a"), None);
        rows.keep(given, &a, Some(&version(5, "x")));
        assert_eq!(rows.look_locked(b"a").expect("known"), Some(version(5, "x")));
        assert_eq!(rows.newest(b"a"), Some(Some((Timestamp::from_raw(5), AttemptId(7)))));
        rows.forget(std::slice::from_ref(&a), None);
        assert_eq!(rows.newest(b"a"), None);
        rows.keep_written(&a, &version(8, "y"));
        assert_eq!(rows.newest(b"a"), Some(Some((Timestamp::from_raw(8), AttemptId(7)))));
        rows.forget(std::slice::from_ref(&a), None);
        rows.keep_written(&a, &Version { value: None, ..version(9, "") });
        assert_eq!(rows.newest(b"a"), None, "no tombstones");
        let given = rows.look_locked(b"a").expect_err("nothing is known").expect("room");
        rows.keep(given, &a, None);
        assert_eq!(rows.newest(b"a"), Some(None), "there is no version");
        rows.forget(std::slice::from_ref(&a), None);
        assert_eq!(rows.newest(b"a"), None);
    }

    #[test]
    fn it_grows_where_rows_contend_and_never_beyond_the_budget() {
        let max = 256 << 10;
        let mut rows = cache(max);
        let keys: Vec<Key> = (0..4000_u32).map(|n| Key::copy_from_slice(&n.to_be_bytes())).collect();
        let round = |rows: &mut RowCache, keys: &[Key]| {
            let mut hits = 0;
            for key in keys {
                match rows.look(key, Timestamp::MAX) {
                    Known::Ask(Some(ticket)) => rows.keep(ticket, key, Some(&version(5, "x"))),
                    Known::Ask(None) => {}
                    _ => hits += 1,
                }
            }
            hits
        };
        let hits = (0..16).map(|_| round(&mut rows, &keys[..1000])).last().unwrap_or_default();
        assert!(hits > 800, "{hits}");
        for _ in 0..12 {
            round(&mut rows, &keys);
            assert!(rows.budget.usage().0 <= max && rows.budget.usage().0 == rows.bytes);
        }
        assert!(rows.bytes > max / 2);
        let budget = rows.budget.clone();
        drop(rows);
        assert_eq!(budget.usage().0, 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask(u8, bool),
        Answer(u8),
        Write(u8, bool),
        WriteSpan,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..40_u8, any::<bool>()).prop_map(|(key, lock)| Step::Ask(key, lock)),
            4 => (0..8_u8).prop_map(Step::Answer),
            2 => (0..40_u8, any::<bool>()).prop_map(|(key, delete)| Step::Write(key, delete)),
            1 => Just(Step::WriteSpan),
        ]
    }

    proptest! {
        /// Readers that are slow to answer, writers in between, growth: what is known is always what is there.
        #[test]
        fn what_is_known_is_true(steps in proptest::collection::vec(step(), 1..400), roomy in any::<bool>()) {
            let mut rows = cache(if roomy { 1 << 20 } else { 6 << 10 });
            let mut truth: BTreeMap<u8, Version> = BTreeMap::new();
            let mut asked: Vec<(Ticket, u8, Option<Version>)> = Vec::new();
            let key = |n: u8| Key::copy_from_slice(&[n]);
            for (now, step) in (1_u64..).zip(steps) {
                match step {
                    Step::Ask(n, lock) => {
                        let known = if lock {
                            rows.look_locked(&[n])
                        } else {
                            match rows.look(&[n], Timestamp::MAX) {
                                Known::Version(v) => Ok(Some(v)),
                                Known::Ask(ticket) => Err(ticket),
                            }
                        };
                        match known {
                            Ok(newest) => prop_assert_eq!(newest.as_ref(), truth.get(&n)),
                            Err(Some(ticket)) => asked.push((ticket, n, truth.get(&n).cloned())),
                            Err(None) => {}
                        }
                    }
                    Step::Answer(at) if !asked.is_empty() => {
                        let (ticket, n, seen) = asked.remove(at as usize % asked.len());
                        rows.keep(ticket, &key(n), seen.as_ref());
                    }
                    Step::Answer(_) => {}
                    Step::Write(n, delete) => {
                        let kept = rows.newest(&[n]).flatten();
                        prop_assert!(kept.is_none() || kept == truth.get(&n).map(|v| (v.ts, v.writer)));
                        rows.forget(&[key(n)], None);
                        truth.insert(n, Version { value: (!delete).then(|| Bytes::from(vec![n; 9])), ..version(now, "") });
                        if kept.is_some() {
                            rows.keep_written(&key(n), &truth[&n]);
                        }
                    }
                    Step::WriteSpan => {
                        rows.forget(&[], Some(&Span::all()));
                        (0..40).for_each(|n| { truth.insert(n, version(now, "span")); });
                    }
                }
                prop_assert_eq!(rows.bytes, rows.budget.usage().0);
            }
        }
    }
}
