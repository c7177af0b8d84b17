//! Latches: short mutual exclusion between requests of one range, from before evaluation until their command is applied.
//!
//! A set of latches is taken all at once or not at all, so latches alone never deadlock. Writers latch single keys; readers latch spans,
//! and only when they must keep a stretch still for longer than one look (the timestamp cache covers plain reads, C2).
//! Who finds a conflict waits for the very set it met and tries again; the wake-up order is the order of arrival.

use std::collections::BTreeMap;

use meridian_storage::{Key, Span};
use tokio::sync::oneshot;

/// Identifies a set of latches, unique on the node.
pub type LatchId = u64;

/// What a request latches.
#[derive(Debug, Default)]
pub struct LatchSpec {
    /// Keys about to change.
    pub writes: Vec<Key>,
    /// A stretch in which many keys are about to change: the portions of a bulk load.
    pub write_span: Option<Span>,
    /// Stretches that must not change.
    pub reads: Vec<Span>,
}

#[derive(Debug)]
struct Held {
    spec: LatchSpec,
    waiters: Vec<oneshot::Sender<()>>,
}

/// The latches held in one range.
#[derive(Debug, Default)]
pub struct Latches {
    writes: BTreeMap<Key, LatchId>,
    sets: BTreeMap<LatchId, Held>,
    /// Sets with spans to read; few at any time.
    readers: Vec<LatchId>,
    /// Sets with a span to write; fewer.
    span_writers: Vec<(Span, LatchId)>,
}

impl Latches {
    /// Whether nobody holds any.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// The set that keeps `key` from being read, if any.
    pub fn writer_of(&self, key: &[u8]) -> Option<LatchId> {
        let single = self.writes.get(key).copied();
        single.or_else(|| self.span_writers.iter().find(|(span, _)| span.contains(key)).map(|(_, id)| *id))
    }

    /// A set that keeps `span` from being read, if any.
    pub fn writer_in(&self, span: &Span) -> Option<LatchId> {
        if span.is_empty() {
            return None;
        }
        if let Some((_, id)) = self.span_writers.iter().find(|(writes, _)| writes.overlaps(span)) {
            return Some(*id);
        }
        self.writes
            .range::<[u8], _>((std::ops::Bound::Included(&span.start[..]), std::ops::Bound::Excluded(&span.end[..])))
            .next()
            .map(|(_, id)| *id)
    }

    fn conflict(&self, spec: &LatchSpec) -> Option<LatchId> {
        for key in &spec.writes {
            if let Some(id) = self.writer_of(key) {
                return Some(id);
            }
            for id in &self.readers {
                if self.sets.get(id).is_some_and(|held| held.spec.reads.iter().any(|s| s.contains(key))) {
                    return Some(*id);
                }
            }
        }
        let readers = || self.readers.iter().filter_map(|id| Some((id, self.sets.get(id)?)));
        if let Some(span) = &spec.write_span
            && let Some((id, _)) = readers().find(|(_, held)| held.spec.reads.iter().any(|s| s.overlaps(span)))
        {
            return Some(*id);
        }
        spec.write_span.iter().chain(&spec.reads).find_map(|span| self.writer_in(span))
    }

    /// Takes all of `spec` as set `id`, or answers whom to wait for.
    pub fn acquire(&mut self, id: LatchId, spec: LatchSpec) -> Result<(), LatchId> {
        if let Some(other) = self.conflict(&spec) {
            return Err(other);
        }
        self.insert(id, spec);
        Ok(())
    }

    fn insert(&mut self, id: LatchId, spec: LatchSpec) {
        for key in &spec.writes {
            self.writes.insert(key.clone(), id);
        }
        if !spec.reads.is_empty() {
            self.readers.push(id);
        }
        self.span_writers.extend(spec.write_span.iter().map(|span| (span.clone(), id)));
        self.sets.insert(id, Held { spec, waiters: Vec::new() });
    }

    /// Resolves once set `id` is released (or was).
    pub fn wait(&mut self, id: LatchId) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        if let Some(held) = self.sets.get_mut(&id) {
            held.waiters.push(wake);
        }
        woken
    }

    /// Frees set `id` and wakes who waits for it.
    pub fn release(&mut self, id: LatchId) {
        let Some(held) = self.sets.remove(&id) else { return };
        for key in &held.spec.writes {
            self.writes.remove(key);
        }
        if !held.spec.reads.is_empty() {
            self.readers.retain(|r| *r != id);
        }
        if held.spec.write_span.is_some() {
            self.span_writers.retain(|(_, w)| *w != id);
        }
        for waiter in held.waiters {
            let _ = waiter.send(());
        }
    }

    /// Wakes everybody: the range is not served here any more. What is in flight keeps its latches.
    pub fn wake_all(&mut self) {
        for held in self.sets.values_mut() {
            held.waiters.clear();
        }
    }

    /// The sets that reach into `span`, under the same ids, for the right side of a split. They stay held here too.
    pub fn copy_for(&self, span: &Span) -> Latches {
        let mut right = Latches::default();
        for (id, held) in &self.sets {
            let writes: Vec<Key> = held.spec.writes.iter().filter(|k| span.contains(k)).cloned().collect();
            let reads: Vec<Span> = held.spec.reads.iter().filter_map(|s| s.intersect(span)).collect();
            let write_span = held.spec.write_span.as_ref().and_then(|s| s.intersect(span));
            if !writes.is_empty() || !reads.is_empty() || write_span.is_some() {
                right.insert(*id, LatchSpec { writes, write_span, reads });
            }
        }
        right
    }

    /// The sets held.
    pub fn ids(&self) -> impl Iterator<Item = LatchId> {
        self.sets.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(writes: &[&'static str], reads: &[(&'static str, &'static str)]) -> LatchSpec {
        LatchSpec {
            writes: writes.iter().map(|k| Key::from_static(k.as_bytes())).collect(),
            write_span: None,
            reads: reads.iter().map(|(a, b)| Span::new(Key::from_static(a.as_bytes()), Key::from_static(b.as_bytes()))).collect(),
        }
    }

    #[test]
    fn writers_exclude_writers_and_readers_and_readers_share() {
        let mut latches = Latches::default();
        assert_eq!(latches.acquire(1, spec(&["b"], &[])), Ok(()));
        assert_eq!(latches.acquire(2, spec(&["a", "b"], &[])), Err(1));
        assert_eq!(latches.acquire(3, spec(&["a"], &[("b", "c")])), Err(1));
        assert_eq!(latches.acquire(4, spec(&[], &[("c", "z")])), Ok(()));
        assert_eq!(latches.acquire(5, spec(&[], &[("d", "e")])), Ok(()));
        assert_eq!(latches.acquire(6, spec(&["d"], &[])), Err(4));
        let mut woken = latches.wait(1);
        assert!(woken.try_recv().is_err());
        latches.release(1);
        assert!(woken.try_recv().is_ok());
        assert_eq!(latches.acquire(2, spec(&["a", "b"], &[])), Ok(()));
        latches.release(4);
        latches.release(5);
        let bulk = |a: &'static str, b: &'static str| LatchSpec { write_span: Some(Span::new(a, b)), ..LatchSpec::default() };
        assert_eq!(latches.acquire(7, bulk("a", "c")), Err(2));
        assert_eq!(latches.acquire(7, bulk("c", "f")), Ok(()));
        assert_eq!(latches.acquire(8, spec(&["d"], &[])), Err(7));
        assert_eq!(latches.acquire(8, spec(&[], &[("e", "z")])), Err(7));
        assert_eq!(latches.acquire(8, bulk("e", "g")), Err(7));
        assert_eq!(latches.acquire(8, spec(&["f"], &[("f", "z")])), Ok(()));
        assert_eq!(latches.copy_for(&Span::new("d", "e")).writer_of(b"d"), Some(7));
        latches.release(7);
        assert_eq!(latches.writer_of(b"d"), None);
        let right = latches.copy_for(&Span::new("b", "z"));
        assert_eq!(right.writer_of(b"b"), Some(2));
        assert_eq!(right.writer_of(b"a"), None);
        assert_eq!(right.writer_in(&Span::new("a", "z")), Some(2));
    }
}
