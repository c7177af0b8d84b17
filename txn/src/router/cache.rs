//! The range cache: descriptors by end key, and who is believed to hold each lease. Wrong entries cost a redirect, never an answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_replication::api::{NodeId, RangeDescriptor, RangeId};
use meridian_storage::Key;
use rustc_hash::FxHashMap;

use super::voters;

/// Descriptors kept; beyond that the cache starts afresh.
const RANGES_MAX: usize = 100_000;

/// A range as cached.
#[derive(Clone, Debug)]
pub(super) struct Cached {
    pub descriptor: Arc<RangeDescriptor>,
    leaseholder: Option<NodeId>,
    /// Failed tries since somebody last named the leaseholder: walks over the voters.
    pub tries: u32,
}

impl Cached {
    /// Whom to ask.
    pub fn target(&self) -> Option<NodeId> {
        if let Some(node) = self.leaseholder {
            return Some(node);
        }
        let voters = voters(&self.descriptor);
        (!voters.is_empty()).then(|| voters[self.tries as usize % voters.len()])
    }
}

/// Descriptors by end key.
#[derive(Debug, Default)]
pub(super) struct RangeCache {
    by_end: BTreeMap<Key, Cached>,
    ends: FxHashMap<RangeId, Key>,
}

impl RangeCache {
    /// The range that holds `key`, if cached.
    pub fn get(&self, key: &[u8]) -> Option<Cached> {
        let (_, cached) = self.by_end.range::<[u8], _>((std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded)).next()?;
        cached.descriptor.span.contains(key).then(|| cached.clone())
    }

    /// The range that holds the keys right below `end`, if cached.
    pub fn below(&self, end: &[u8]) -> Option<Cached> {
        let (_, cached) = self.by_end.range::<[u8], _>((std::ops::Bound::Included(end), std::ops::Bound::Unbounded)).next()?;
        (cached.descriptor.span.start[..] < *end).then(|| cached.clone())
    }

    /// Learns a descriptor; what it overlaps is older or goes too, unless it is of the same range and newer.
    pub fn insert(&mut self, descriptor: &RangeDescriptor) {
        let mut leaseholder = None;
        if let Some(end) = self.ends.get(&descriptor.id)
            && let Some(old) = self.by_end.get(end)
        {
            if old.descriptor.generation > descriptor.generation {
                return;
            }
            leaseholder = old.leaseholder;
        }
        if self.by_end.len() >= RANGES_MAX {
            self.by_end.clear();
            self.ends.clear();
        }
        let overlapping: Vec<Key> = self
            .by_end
            .range::<[u8], _>((std::ops::Bound::Excluded(&descriptor.span.start[..]), std::ops::Bound::Unbounded))
            .take_while(|(_, c)| c.descriptor.span.start < descriptor.span.end)
            .map(|(end, _)| end.clone())
            .collect();
        for end in overlapping {
            self.remove(&end);
        }
        if let Some(end) = self.ends.get(&descriptor.id).cloned() {
            self.remove(&end);
        }
        self.ends.insert(descriptor.id, descriptor.span.end.clone());
        self.by_end.insert(descriptor.span.end.clone(), Cached { descriptor: Arc::new(descriptor.clone()), leaseholder, tries: 0 });
    }

    fn remove(&mut self, end: &Key) {
        if let Some(old) = self.by_end.remove(end) {
            self.ends.remove(&old.descriptor.id);
        }
    }

    /// Forgets the range that holds `key`.
    pub fn evict(&mut self, key: &[u8]) {
        if let Some(cached) = self.get(key) {
            self.remove(&cached.descriptor.span.end);
        }
    }

    /// Somebody refused and named the leaseholder, or did not know it.
    pub fn redirect(&mut self, range: RangeId, leader: Option<NodeId>) {
        if let Some(end) = self.ends.get(&range)
            && let Some(cached) = self.by_end.get_mut(end)
        {
            cached.leaseholder = leader;
            cached.tries = cached.tries.wrapping_add(1);
            // After many redirects in vain the membership itself may have moved.
            if cached.tries > 16 {
                let end = end.clone();
                self.remove(&end);
            }
        }
    }

    /// The node asked last does not answer.
    pub fn next_target(&mut self, range: RangeId) {
        self.redirect(range, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meridian_replication::api::{ReplicaDescriptor, ReplicaId, ReplicaRole};
    use meridian_storage::Span;

    fn range(id: u64, start: &'static str, end: &'static str, generation: u64) -> RangeDescriptor {
        let replicas = (1..=3).map(|n| ReplicaDescriptor { node: NodeId(n), id: ReplicaId(n.into()), role: ReplicaRole::Voter }).collect();
        RangeDescriptor { id: RangeId(id), span: Span::new(start, end), replicas, next_replica: ReplicaId(4), generation, span_epoch: 0 }
    }

    #[test]
    fn heals_after_a_split_and_walks_over_voters() {
        let mut cache = RangeCache::default();
        cache.insert(&range(1, "a", "z", 1));
        cache.redirect(RangeId(1), Some(NodeId(3)));
        assert_eq!(cache.get(b"q").and_then(|c| c.target()), Some(NodeId(3)));
        cache.insert(&range(1, "a", "m", 2));
        assert!(cache.get(b"q").is_none());
        assert_eq!(cache.get(b"b").and_then(|c| c.target()), Some(NodeId(3)));
        cache.insert(&range(1, "a", "z", 1)); // late news
        assert!(cache.get(b"q").is_none());
        cache.insert(&range(2, "m", "z", 2));
        let first = cache.get(b"q").and_then(|c| c.target());
        cache.next_target(RangeId(2));
        assert_ne!(cache.get(b"q").and_then(|c| c.target()), first);
        assert!(cache.get(b"z").is_none());
    }
}
