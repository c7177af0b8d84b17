//! The timestamp cache: up to when each key has been read (T2, C2).
//!
//! Two structures, both in two generations. Points lie in a hash map, spans in a step function over the key space. When the young generation
//! is full it becomes the old one, and of the old one only the highest timestamp survives, as the low-water mark under
//! everything. So memory is bounded, and what is forgotten errs towards "was read later".
//!
//! A mark remembers its reader while it is the only one at that timestamp: a transaction is not pushed by its own reads.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_clock::controls::{self, Control};
use meridian_storage::mvcc::AttemptId;
use meridian_storage::{Key, Span};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// Points per generation and range.
const POINTS_MAX: usize = 8192;
/// Span boundaries per generation and range.
const BOUNDARIES_MAX: usize = 2048;
/// A hand-over with more marks than this is collapsed into its low-water mark.
const HANDOVER_MARKS_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    ts: Timestamp,
    /// The only reader at `ts`; `None` if there are several.
    owner: Option<AttemptId>,
}

impl Mark {
    const NONE: Mark = Mark { ts: Timestamp::ZERO, owner: None };

    fn merge(self, other: Mark) -> Mark {
        match self.ts.cmp(&other.ts) {
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Equal => Mark { ts: self.ts, owner: if self.owner == other.owner { self.owner } else { None } },
        }
    }

    /// The least timestamp at which `attempt` may write.
    fn floor(self, attempt: AttemptId) -> Timestamp {
        if self.owner == Some(attempt) || self.ts == Timestamp::ZERO { self.ts } else { self.ts.next() }
    }
}

/// One generation.
#[derive(Clone, Debug, Default)]
struct Generation {
    points: FxHashMap<Key, Mark>,
    /// A step function: the mark of a boundary holds up to the next one.
    steps: BTreeMap<Key, Mark>,
    highest: Timestamp,
}

impl Generation {
    fn step_at(&self, key: &[u8]) -> Mark {
        self.steps.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back().map_or(Mark::NONE, |(_, m)| *m)
    }

    fn raise_span(&mut self, span: &Span, mark: Mark) {
        let (first, last) = (self.step_at(&span.start), self.step_at(&span.end));
        self.steps.entry(span.end.clone()).or_insert(last);
        self.steps.entry(span.start.clone()).or_insert(first);
        let mut drop = Vec::new();
        let mut previous: Option<Mark> = None;
        for (key, m) in self.steps.range_mut::<[u8], _>((Bound::Included(&span.start[..]), Bound::Excluded(&span.end[..]))) {
            *m = m.merge(mark);
            if previous == Some(*m) {
                drop.push(key.clone());
            }
            previous = Some(*m);
        }
        for key in drop {
            self.steps.remove(&key);
        }
        self.highest = self.highest.max(mark.ts);
    }

    /// At least the floor of every key of `span`.
    fn floor_span(&self, span: &Span, attempt: AttemptId) -> Timestamp {
        let bounds = (Bound::Included(&span.start[..]), Bound::Excluded(&span.end[..]));
        let steps = self.steps.range::<[u8], _>(bounds).map(|(_, m)| m.floor(attempt)).max().unwrap_or(Timestamp::ZERO);
        let points = self.points.iter().filter(|(k, _)| span.contains(k)).map(|(_, m)| m.floor(attempt)).max().unwrap_or(Timestamp::ZERO);
        steps.max(points).max(self.step_at(&span.start).floor(attempt))
    }

    fn floor(&self, key: &[u8], attempt: AttemptId) -> Timestamp {
        let point = self.points.get(key).map_or(Timestamp::ZERO, |m| m.floor(attempt));
        let step = if self.steps.is_empty() { Timestamp::ZERO } else { self.step_at(key).floor(attempt) };
        point.max(step)
    }
}

/// Up to when each key of a range has been read.
#[derive(Clone, Debug)]
pub struct TimestampCache {
    low: Timestamp,
    young: Generation,
    old: Generation,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    low: Timestamp,
    points: Vec<(Key, Mark)>,
    spans: Vec<(Span, Mark)>,
}

impl TimestampCache {
    /// Everything has been read up to `low` (L2).
    pub fn new(low: Timestamp) -> Self {
        TimestampCache { low, young: Generation::default(), old: Generation::default() }
    }

    /// `attempt` reads `key` at `ts`.
    pub fn raise_point(&mut self, key: &Key, ts: Timestamp, attempt: AttemptId) {
        // NOBODY prevents what recovery did not find.
        let prevents = attempt == crate::attempt::NOBODY;
        if ts <= self.low || controls::off(if prevents { Control::Prevention } else { Control::TimestampCache }) {
            return;
        }
        let mark = Mark { ts, owner: Some(attempt) };
        if let Some(m) = self.young.points.get_mut(key) {
            *m = m.merge(mark);
        } else {
            if self.young.points.len() >= POINTS_MAX {
                self.rotate();
            }
            self.young.points.insert(key.clone(), mark);
        }
        self.young.highest = self.young.highest.max(ts);
    }

    /// `attempt` reads `span` at `ts`.
    pub fn raise_span(&mut self, span: &Span, ts: Timestamp, attempt: AttemptId) {
        if ts <= self.low || span.is_empty() || controls::off(Control::TimestampCache) {
            return;
        }
        if self.young.steps.len() >= BOUNDARIES_MAX {
            self.rotate();
        }
        self.young.raise_span(span, Mark { ts, owner: Some(attempt) });
    }

    /// The least timestamp at which `attempt` may write `key` as far as reads go.
    pub fn floor(&self, key: &[u8], attempt: AttemptId) -> Timestamp {
        let low = if self.low == Timestamp::ZERO { Timestamp::ZERO } else { self.low.next() };
        low.max(self.young.floor(key, attempt)).max(self.old.floor(key, attempt))
    }

    /// The least timestamp at which `attempt` may write anywhere in `span` as far as reads go.
    pub fn floor_span(&self, span: &Span, attempt: AttemptId) -> Timestamp {
        let low = if self.low == Timestamp::ZERO { Timestamp::ZERO } else { self.low.next() };
        low.max(self.young.floor_span(span, attempt)).max(self.old.floor_span(span, attempt))
    }

    fn rotate(&mut self) {
        self.low = self.low.max(self.old.highest);
        self.old = std::mem::take(&mut self.young);
    }

    /// Raises the mark under everything.
    pub fn raise_low(&mut self, low: Timestamp) {
        self.low = self.low.max(low);
    }

    /// For the successor in a planned lease move (L3).
    pub fn hand_over(&self) -> Bytes {
        if controls::off(Control::HandOver) {
            return postcard::to_stdvec(&Wire { low: Timestamp::ZERO, points: Vec::new(), spans: Vec::new() }).unwrap_or_default().into();
        }
        let generations = [&self.old, &self.young];
        let marks: usize = generations.iter().map(|g| g.points.len() + g.steps.len()).sum();
        let mut wire = Wire { low: self.low, points: Vec::new(), spans: Vec::new() };
        if marks > HANDOVER_MARKS_MAX {
            wire.low = self.low.max(self.old.highest).max(self.young.highest);
        } else {
            for generation in generations {
                wire.points.extend(generation.points.iter().map(|(k, m)| (k.clone(), *m)));
                let mut steps = generation.steps.iter().peekable();
                while let Some((start, mark)) = steps.next() {
                    if let (Some((end, _)), true) = (steps.peek(), mark.ts > Timestamp::ZERO) {
                        wire.spans.push((Span { start: start.clone(), end: (*end).clone() }, *mark));
                    }
                }
            }
            // The map's order must not show in what is sent.
            wire.points.sort_by(|a, b| a.0.cmp(&b.0));
        }
        postcard::to_stdvec(&wire).unwrap_or_default().into()
    }

    /// What a predecessor handed over.
    pub fn taken_over(bytes: &[u8]) -> Result<Self, String> {
        let wire: Wire = postcard::from_bytes(bytes).map_err(|e| format!("timestamp cache: {e}"))?;
        let mut cache = TimestampCache::new(wire.low);
        for (key, mark) in wire.points {
            let entry = cache.young.points.entry(key).or_insert(Mark::NONE);
            *entry = entry.merge(mark);
            cache.young.highest = cache.young.highest.max(mark.ts);
        }
        for (span, mark) in wire.spans {
            cache.young.raise_span(&span, mark);
        }
        Ok(cache)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Point(u8, u64, u8),
        Span(u8, u8, u64, u8),
        HandOver,
        Rotate,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0u8..12, 1u64..20, 1u8..4).prop_map(|(k, t, a)| Op::Point(k, t, a)),
            4 => (0u8..12, 0u8..12, 1u64..20, 1u8..4).prop_map(|(a, b, t, x)| Op::Span(a.min(b), a.max(b), t, x)),
            1 => Just(Op::HandOver),
            1 => Just(Op::Rotate),
        ]
    }

    proptest! {
        /// Against the simplest model: every read ever made, kept for ever. The cache may say later, never earlier; and until it forgets, it says the same.
        #[test]
        fn never_below_what_was_read(low in 0u64..5, ops in prop::collection::vec(op(), 1..60)) {
            let mut cache = TimestampCache::new(Timestamp::from_raw(low));
            let mut reads: Vec<(u8, u8, u64, u8)> = vec![];
            let mut forgot = 0;
            for op in ops {
                match op {
                    Op::Point(k, t, a) => {
                        cache.raise_point(&Key::from(vec![k]), Timestamp::from_raw(t), AttemptId(a.into()));
                        reads.push((k, k + 1, t, a));
                    }
                    Op::Span(a, b, t, x) => {
                        cache.raise_span(&Span::new(vec![a], vec![b]), Timestamp::from_raw(t), AttemptId(x.into()));
                        reads.push((a, b, t, x));
                    }
                    Op::HandOver => cache = TimestampCache::taken_over(&cache.hand_over()).unwrap(),
                    Op::Rotate => { cache.rotate(); forgot += 1; }
                }
            }
            for k in 0u8..13 {
                for a in 1u8..4 {
                    let mut want = if low == 0 { 0 } else { low + 1 };
                    for &(s, e, t, x) in &reads {
                        if s <= k && k < e { want = want.max(if x == a { t } else { t + 1 }); }
                    }
                    let got = cache.floor(&[k], AttemptId(a.into())).as_raw();
                    prop_assert!(got >= want, "key {} attempt {}: {} below {}", k, a, got, want);
                    if forgot < 2 {
                        prop_assert_eq!(got, want, "key {} attempt {}", k, a);
                    }
                }
            }
        }

    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4))]
        #[test]
        fn stays_small(keys in prop::collection::vec(any::<u32>(), 150..160)) {
            let mut cache = TimestampCache::new(Timestamp::ZERO);
            for (i, k) in keys.iter().enumerate() {
                for j in 0..100u32 {
                    let key = Key::from(k.wrapping_add(j).to_be_bytes().to_vec());
                    cache.raise_point(&key, Timestamp::from_raw(i as u64 + 1), AttemptId(1));
                    cache.raise_span(&Span::point(key), Timestamp::from_raw(i as u64 + 1), AttemptId(2));
                }
            }
            prop_assert!(cache.young.points.len() <= POINTS_MAX && cache.old.points.len() <= POINTS_MAX);
            prop_assert!(cache.young.steps.len() <= BOUNDARIES_MAX + 2 && cache.old.steps.len() <= BOUNDARIES_MAX + 2);
        }
    }
}
