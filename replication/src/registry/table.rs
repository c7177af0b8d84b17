//! What one node knows of the others: pure state, merged from gossip, ranges and calls in any order to the same result.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::records::{Knowledge, NODES_MAX, NodeLoad, NodeRecord};
use crate::api::{NodeId, RangeDescriptor};

/// How a node does, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Heard of within the liveness window.
    Live,
    /// Silent, but not for long enough to give up on it.
    Suspect,
    /// Silent for longer than `dead_after`, or removed: its replicas are to be replaced.
    Dead,
}

#[derive(Debug)]
struct Entry {
    record: NodeRecord,
    load: NodeLoad,
    /// When it was last heard, or first heard of: a node that just started gives everybody the time to speak up.
    heard: Instant,
    /// It has spoken itself since this node started.
    spoke: bool,
}

/// The nodes and the first range.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: BTreeMap<NodeId, Entry>,
    first_range: Option<Arc<RangeDescriptor>>,
    /// Raised when records or the first range change.
    version: u64,
}

impl Table {
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn first_range(&self) -> Option<Arc<RangeDescriptor>> {
        self.first_range.clone()
    }

    pub fn record(&self, node: NodeId) -> Option<&NodeRecord> {
        self.entries.get(&node).map(|entry| &entry.record)
    }

    pub fn records(&self) -> impl Iterator<Item = &NodeRecord> {
        self.entries.values().map(|entry| &entry.record)
    }

    pub fn load(&self, node: NodeId) -> NodeLoad {
        self.entries.get(&node).map(|entry| entry.load).unwrap_or_default()
    }

    /// Takes in a record if it is newer. `true` if it was. That a node was removed is never forgotten.
    pub fn merge_record(&mut self, mut record: NodeRecord, now: Instant) -> bool {
        let full = self.entries.len() >= NODES_MAX;
        match self.entries.get_mut(&record.id) {
            None if full => return false,
            None => {
                let entry = Entry { load: NodeLoad::default(), heard: now, spoke: false, record };
                self.entries.insert(entry.record.id, entry);
            }
            Some(entry) => {
                let newer = record.incarnation > entry.record.incarnation;
                let removed = record.removed || entry.record.removed;
                if !newer && removed == entry.record.removed {
                    return false;
                }
                if !newer {
                    record = entry.record.clone();
                }
                entry.record = NodeRecord { removed, ..record };
            }
        }
        self.version += 1;
        true
    }

    /// Takes in a descriptor of the first range if it is newer.
    pub fn merge_first_range(&mut self, descriptor: &RangeDescriptor) -> bool {
        let newer =
            descriptor.span.start.is_empty() && self.first_range.as_ref().is_none_or(|known| known.generation < descriptor.generation);
        if newer {
            self.first_range = Some(Arc::new(descriptor.clone()));
            self.version += 1;
        }
        newer
    }

    /// A node has spoken.
    pub fn heard(&mut self, node: NodeId, load: NodeLoad, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&node) {
            (entry.heard, entry.load, entry.spoke) = (now, load, true);
        }
    }

    /// How a node does. One that is not known at all is dead.
    pub fn health(&self, node: NodeId, now: Instant, live_window: Duration, dead_after: Duration) -> Health {
        let Some(entry) = self.entries.get(&node) else { return Health::Dead };
        match now.saturating_duration_since(entry.heard) {
            _ if entry.record.removed => Health::Dead,
            silent if silent >= dead_after => Health::Dead,
            silent if silent < live_window && entry.spoke => Health::Live,
            _ => Health::Suspect,
        }
    }

    /// All that can be passed on.
    pub fn knowledge(&self) -> Knowledge {
        Knowledge { records: self.records().cloned().collect(), first_range: self.first_range.as_deref().cloned() }
    }

    /// Equal for tables with the same records.
    pub fn digest(&self) -> u64 {
        self.records().fold(0xcbf2_9ce4_8422_2325, |hash, record| {
            [u64::from(record.id.0), record.incarnation, u64::from(record.removed)]
                .iter()
                .fold(hash, |hash, part| (hash ^ part).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::Locality;
    use crate::registry::Addresses;

    fn record(id: u32, incarnation: u64, removed: bool) -> NodeRecord {
        let addresses = Addresses { rpc: format!("h{id}:{incarnation}"), ..Default::default() };
        NodeRecord { id: NodeId(id), addresses, locality: Locality::default(), incarnation, removed }
    }

    proptest! {
        /// Gossip comes in any order, repeated: the outcome is the same.
        #[test]
        fn merging_is_commutative_and_idempotent(
            news in proptest::collection::vec((0..4_u32, 0..4_u64, any::<bool>()), 0..12), order in any::<prop::sample::Index>(),
        ) {
            let now = Instant::now();
            let mut forward = Table::default();
            let mut other = Table::default();
            for (id, incarnation, removed) in &news {
                forward.merge_record(record(*id, *incarnation, *removed), now);
            }
            for (id, incarnation, removed) in news.iter().skip(order.index(news.len().max(1))).chain(news.iter().rev()) {
                other.merge_record(record(*id, *incarnation, *removed), now);
            }
            prop_assert_eq!(forward.knowledge(), other.knowledge());
            prop_assert_eq!(forward.digest(), other.digest());
        }
    }

    #[test]
    fn health_goes_from_live_to_dead() {
        let mut table = Table::default();
        let start = Instant::now();
        let health = |table: &Table, after: u64| {
            let at = start + Duration::from_secs(after);
            table.health(NodeId(1), at, Duration::from_secs(3), Duration::from_secs(10))
        };
        assert_eq!(health(&table, 0), Health::Dead, "unknown");
        table.merge_record(record(1, 1, false), start);
        assert_eq!(health(&table, 0), Health::Suspect, "only heard of");
        assert_eq!(health(&table, 10), Health::Dead);
        table.heard(NodeId(1), NodeLoad::default(), start + Duration::from_secs(1));
        assert_eq!(
            [1, 3, 4, 10, 11].map(|t| health(&table, t)),
            [Health::Live, Health::Live, Health::Suspect, Health::Suspect, Health::Dead]
        );
        table.merge_record(record(1, 1, true), start);
        assert_eq!(health(&table, 1), Health::Dead, "removed");
    }
}
