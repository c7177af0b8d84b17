//! The write buffer of one transaction: what it has written so far, statement by statement, savepoint by savepoint.
//!
//! Each write has a sequence number. A key keeps its writes in order; a plain read sees the last one up to the
//! present statement's start, a locking read the last one of all. A savepoint is a sequence number, and rolling back to it
//! pops exactly the writes after it, off an undo log in the order they came:
//!
//! ```text
//!   seq      1        2        3(sp)    4        5
//!   a      put x             ·        put y             rollback to 3  ⇒  a = x, b = z, nothing else
//!   b               put z    ·                 delete
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use meridian_storage::{Key, Span};
use smallvec::SmallVec;

use crate::api::{Expect, KvError, Savepoint};

#[derive(Clone, Debug)]
struct Entry {
    seq: u64,
    value: Option<Bytes>,
    expect: Expect,
    /// Its intent lies already (a bulk load).
    laid: bool,
}

/// The writes of a transaction.
#[derive(Debug, Default)]
pub struct WriteBuffer {
    keys: BTreeMap<Key, SmallVec<[Entry; 1]>>,
    undo: Vec<(u64, Key)>,
    seq: u64,
    statement: u64,
    savepoints: Vec<u64>,
    bytes: usize,
}

/// What a key costs beside its bytes, about.
const OVERHEAD_BYTES: usize = 96;

impl WriteBuffer {
    /// Reads see everything written so far.
    pub fn begin_statement(&mut self) {
        self.statement = self.seq;
    }

    /// Buffers a write. [`Expect::Absent`] over an own live row fails at once.
    pub fn write(&mut self, key: Key, value: Option<Bytes>, expect: Expect) -> Result<(), KvError> {
        let mark = self.statement.max(self.savepoints.last().copied().unwrap_or(0));
        let size = key.len() + value.as_ref().map_or(0, Bytes::len) + OVERHEAD_BYTES;
        let entries = self.keys.entry(key.clone()).or_default();
        if let Some(last) = entries.last_mut() {
            if expect == Expect::Absent && last.value.is_some() {
                return Err(KvError::KeyExists { key });
            }
            if last.seq > mark {
                // No reader and no savepoint can tell the two apart. What the first expected of the store still holds.
                self.bytes = (self.bytes + size).saturating_sub(key.len() + last.value.as_ref().map_or(0, Bytes::len) + OVERHEAD_BYTES);
                last.value = value;
                last.laid = false;
                return Ok(());
            }
        }
        self.seq += 1;
        self.bytes += size;
        entries.push(Entry { seq: self.seq, value, expect, laid: false });
        self.undo.push((self.seq, key));
        Ok(())
    }

    /// Keeps a row whose intent lies already, for the transaction's own reads. No savepoint may be open.
    pub fn keep_laid(&mut self, key: Key, value: Bytes) {
        self.seq += 1;
        self.bytes += key.len() + value.len() + OVERHEAD_BYTES;
        self.keys.entry(key).or_default().push(Entry { seq: self.seq, value: Some(value), expect: Expect::Absent, laid: true });
    }

    /// Whether a savepoint is open or something in `span` waits to be written at the commit: then rows there cannot be laid early.
    pub fn keeps_back(&self, span: &Span) -> bool {
        let bounds = (std::ops::Bound::Included(&span.start[..]), std::ops::Bound::Excluded(&span.end[..]));
        !self.savepoints.is_empty() || self.keys.range::<[u8], _>(bounds).any(|(_, entries)| entries.last().is_some_and(|last| !last.laid))
    }

    /// The own value of `key` that a read sees, if it sees one. `all`: locking reads see the present statement's writes too.
    pub fn visible(&self, key: &[u8], all: bool) -> Option<&Option<Bytes>> {
        if self.keys.is_empty() {
            return None;
        }
        self.keys.get(key).and_then(|entries| self.pick(entries, all))
    }

    fn pick<'a>(&self, entries: &'a [Entry], all: bool) -> Option<&'a Option<Bytes>> {
        entries.iter().rev().find(|e| all || e.seq <= self.statement).map(|e| &e.value)
    }

    /// The own values in `span` that a read sees, ascending.
    pub fn range<'a>(&'a self, span: &Span, all: bool) -> impl DoubleEndedIterator<Item = (&'a Key, &'a Option<Bytes>)> + use<'a> {
        let bounds = if span.is_empty() { (span.start.clone(), span.start.clone()) } else { (span.start.clone(), span.end.clone()) };
        self.keys
            .range::<[u8], _>((std::ops::Bound::Included(&bounds.0[..]), std::ops::Bound::Excluded(&bounds.1[..])))
            .filter_map(move |(key, entries)| self.pick(entries, all).map(|value| (key, value)))
    }

    /// Whether anything visible lies in `span`.
    pub fn overlaps(&self, span: &Span, all: bool) -> bool {
        !self.keys.is_empty() && !span.is_empty() && self.range(span, all).next().is_some()
    }

    /// Marks the present state.
    pub fn savepoint(&mut self) -> Savepoint {
        // A number of its own, so that two marks are never confused.
        self.seq += 1;
        self.savepoints.push(self.seq);
        Savepoint(self.seq)
    }

    /// Restores a mark; later marks are gone, this one stays.
    pub fn rollback_to(&mut self, savepoint: Savepoint) -> Result<(), KvError> {
        let Some(at) = self.savepoints.iter().rposition(|s| *s == savepoint.0) else {
            return Err(KvError::Internal("no such savepoint in this transaction".into()));
        };
        self.savepoints.truncate(at + 1);
        while self.undo.last().is_some_and(|(seq, _)| *seq > savepoint.0) {
            let Some((_, key)) = self.undo.pop() else { break };
            if let Some(entries) = self.keys.get_mut(&key) {
                if let Some(entry) = entries.pop() {
                    self.bytes = self.bytes.saturating_sub(key.len() + entry.value.map_or(0, |v| v.len()) + OVERHEAD_BYTES);
                }
                if entries.is_empty() {
                    self.keys.remove(&key);
                }
            }
        }
        Ok(())
    }

    /// What remains to be written at the commit: key, final value, and what the first write expected.
    pub fn finals(&self) -> impl Iterator<Item = (&Key, &Option<Bytes>, Expect)> {
        let unlaid = self.keys.iter().filter(|(_, entries)| entries.last().is_some_and(|last| !last.laid));
        unlaid.filter_map(|(key, entries)| Some((key, &entries.last()?.value, entries.first()?.expect)))
    }

    /// Whether the transaction will write `key`.
    pub fn writes(&self, key: &[u8]) -> bool {
        self.keys.contains_key(key)
    }

    /// Whether nothing is buffered.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes held, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Put(u8, u8),
        Insert(u8, u8),
        Delete(u8),
        Statement,
        Savepoint,
        Rollback(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            5 => (0u8..5, any::<u8>()).prop_map(|(k, v)| Op::Put(k, v)),
            2 => (0u8..5, any::<u8>()).prop_map(|(k, v)| Op::Insert(k, v)),
            3 => (0u8..5).prop_map(Op::Delete),
            2 => Just(Op::Statement),
            3 => Just(Op::Savepoint),
            3 => any::<usize>().prop_map(Op::Rollback),
        ]
    }

    type Map = BTreeMap<u8, Option<u8>>;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        /// Against copies of the whole map: savepoint × statement × buffer.
        #[test]
        fn is_exact(ops in prop::collection::vec(op(), 1..60)) {
            let mut buffer = WriteBuffer::default();
            let (mut now, mut at_statement): (Map, Map) = Default::default();
            let mut marks: Vec<(Savepoint, Map)> = vec![];
            for op in ops {
                let bytes = |v: u8| Some(Bytes::from(vec![v]));
                match op {
                    Op::Put(k, v) => {
                        buffer.write(Key::from(vec![k]), bytes(v), Expect::AsRead).unwrap();
                        now.insert(k, Some(v));
                    }
                    Op::Insert(k, v) => {
                        let live = matches!(now.get(&k), Some(Some(_)));
                        prop_assert_eq!(buffer.write(Key::from(vec![k]), bytes(v), Expect::Absent).is_err(), live);
                        if !live { now.insert(k, Some(v)); }
                    }
                    Op::Delete(k) => {
                        buffer.write(Key::from(vec![k]), None, Expect::AsRead).unwrap();
                        now.insert(k, None);
                    }
                    Op::Statement => { buffer.begin_statement(); at_statement = now.clone(); }
                    Op::Savepoint => marks.push((buffer.savepoint(), now.clone())),
                    Op::Rollback(i) if !marks.is_empty() => {
                        let i = i % marks.len();
                        buffer.rollback_to(marks[i].0).unwrap();
                        now = marks[i].1.clone();
                        for (gone, _) in marks.drain(i + 1..) {
                            prop_assert!(buffer.rollback_to(gone).is_err());
                        }
                        // What a savepoint inside the present statement undoes is undone for its reads too; SQL begins a statement next.
                        buffer.begin_statement();
                        at_statement = now.clone();
                    }
                    Op::Rollback(_) => {}
                }
                let see = |all: bool| -> Map { buffer.range(&Span::all(), all).map(|(k, v)| (k[0], v.as_ref().map(|v| v[0]))).collect() };
                prop_assert_eq!(see(true), now.clone());
                prop_assert_eq!(see(false), at_statement.clone());
                for k in 0..5u8 {
                    prop_assert_eq!(buffer.visible(&[k], false).map(|v| v.as_ref().map(|v| v[0])), at_statement.get(&k).copied());
                }
                prop_assert_eq!(buffer.is_empty(), now.is_empty());
            }
            if let Some((first, map)) = marks.first() {
                buffer.rollback_to(*first).unwrap();
                let finals: Map = buffer.finals().map(|(k, v, _)| (k[0], v.as_ref().map(|v| v[0]))).collect();
                prop_assert_eq!(finals, map.clone());
            }
        }
    }
}
