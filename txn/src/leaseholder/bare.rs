//! Stretches of a range in which no row is alive: what a queue leaves behind, whose next row is looked for from the front, again and again, over the tombstones of
//! all that were taken before. Reads begin behind such a stretch.
//!
//! What is noted is true at every moment at which no write latch is held in the stretch: every key there has a tombstone at or below `newest` as its newest version,
//! or no version, and no intent. It is noted by a read that holds a read latch over the stretch from its look to its note, and cut at every key
//! whose write latch is taken. Collection takes tombstones away and makes nothing untrue. A new lease begins with nothing.

use std::collections::BTreeMap;

use meridian_clock::Timestamp;
use meridian_storage::{Key, Span};

/// So many dead rows in front of a live one are noted.
pub const DEAD_MIN: usize = 4;
/// Stretches of a range; with more, all are forgotten.
const STRETCHES_MAX: usize = 512;

#[derive(Debug)]
struct Stretch {
    end: Key,
    newest: Timestamp,
}

/// The stretches of one range, by their first key.
#[derive(Debug, Default)]
pub struct Bare {
    stretches: BTreeMap<Key, Stretch>,
}

impl Bare {
    /// Where a read of `span` at `at`, forward, may begin, and up to when the rows died that it does not look at. `None`: at its start.
    pub fn skip(&self, span: &Span, at: Timestamp) -> Option<(Key, Timestamp)> {
        let (_, stretch) = self.at(&span.start)?;
        (stretch.newest <= at).then(|| (stretch.end.clone().min(span.end.clone()), stretch.newest))
    }

    fn at(&self, key: &Key) -> Option<(&Key, &Stretch)> {
        self.stretches.range::<Key, _>(..=key).next_back().filter(|(_, stretch)| stretch.end > *key)
    }

    /// Notes that all of `span` died at or before `newest`.
    pub fn add(&mut self, span: &Span, newest: Timestamp) {
        if span.is_empty() {
            return;
        }
        let mut merged = (span.start.clone(), Stretch { end: span.end.clone(), newest });
        if let Some((start, before)) = self.stretches.range::<Key, _>(..=&span.start).next_back()
            && before.end >= span.start
        {
            merged.0 = start.clone();
        }
        let overlapped: Vec<Key> = self.stretches.range::<Key, _>(&merged.0..=&span.end).map(|(start, _)| start.clone()).collect();
        for start in overlapped {
            if let Some(other) = self.stretches.remove(&start) {
                merged.1.newest = merged.1.newest.max(other.newest);
                merged.1.end = merged.1.end.max(other.end);
            }
        }
        if self.stretches.len() >= STRETCHES_MAX {
            self.stretches.clear();
        }
        self.stretches.insert(merged.0, merged.1);
    }

    /// `keys` and what lies in `span` is about to change.
    pub fn cut(&mut self, keys: &[Key], span: Option<&Span>) {
        if self.stretches.is_empty() {
            return;
        }
        for key in keys {
            let Some((start, stretch)) = self.at(key) else { continue };
            let (start, behind) = (start.clone(), Span { start: Span::point(key.clone()).end, end: stretch.end.clone() });
            let newest = stretch.newest;
            self.stretches.remove(&start);
            for part in [Span { start, end: key.clone() }, behind] {
                if !part.is_empty() {
                    self.stretches.insert(part.start, Stretch { end: part.end, newest });
                }
            }
        }
        if let Some(span) = span {
            self.stretches.retain(|start, stretch| stretch.end <= span.start || *start >= span.end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const KEYS: u8 = 60;

    fn key(n: u8) -> Key {
        Key::copy_from_slice(&[n])
    }

    fn span(a: u8, b: u8) -> Span {
        Span { start: key(a.min(b)), end: key(a.max(b)) }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Scan(u8, u8),
        Write(u8, bool),
        WriteSpan(u8, u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..KEYS, 0..KEYS).prop_map(|(a, b)| Step::Scan(a, b)),
            3 => (0..KEYS, proptest::bool::weighted(0.3)).prop_map(|(key, live)| Step::Write(key, live)),
            1 => (0..KEYS, 0..KEYS).prop_map(|(a, b)| Step::WriteSpan(a, b)),
        ]
    }

    proptest! {
        /// Scans that note what they find dead in front, deletions, insertions: nothing alive is ever skipped, and nothing that died too late.
        #[test]
        fn nothing_alive_is_skipped(steps in proptest::collection::vec(step(), 1..300)) {
            let mut bare = Bare::default();
            let (mut live, mut died) = (BTreeSet::new(), [0_u64; KEYS as usize]);
            for (now, step) in (1_u64..).zip(steps) {
                match step {
                    Step::Scan(a, b) => {
                        let (a, b) = (a.min(b), a.max(b));
                        for at in [now, now / 2] {
                            if let Some((to, newest)) = bare.skip(&span(a, b), Timestamp::from_raw(at)) {
                                prop_assert!(to <= key(b) && newest.as_raw() <= at);
                                prop_assert!((a..to[0]).all(|n| !live.contains(&n) && died[n as usize] <= newest.as_raw()));
                            }
                        }
                        let first = (a..b).find(|n| live.contains(n)).unwrap_or(b);
                        let newest = (a..first).map(|n| died[n as usize]).max().unwrap_or(0);
                        bare.add(&span(a, first), Timestamp::from_raw(newest));
                        if first > a {
                            prop_assert!(bare.skip(&span(a, b), Timestamp::from_raw(now)).is_some_and(|(to, _)| to >= key(first)));
                        }
                    }
                    Step::Write(n, alive) => {
                        bare.cut(&[key(n)], None);
                        if alive { live.insert(n); } else { live.remove(&n); died[n as usize] = now; }
                    }
                    Step::WriteSpan(a, b) => {
                        bare.cut(&[], Some(&span(a, b)));
                        live.extend(a.min(b)..a.max(b));
                    }
                }
            }
        }
    }
}
