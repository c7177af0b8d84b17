//! Leases, watched from outside.
//!
//! A split is watched too: what the left half served of the right half's keys binds the right half's leases.
//!
//! Every simulated millisecond the leases of all replicas of all live nodes are sampled. **L1**: of two that stand at the same time for one range, the one of
//! the later term starts (its low water) above where the other ends. **L2**: a lease starts above the end of every earlier one, unless it was handed over, in which case
//! the timestamp cache came along ([`Watched`] hears of that).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_replication::api::{Lease, NodeId, RangeEvents, RangeId, RangeReplica, Term};
use meridian_storage::Span;
use parking_lot::Mutex;

/// What has been seen of one lease.
#[derive(Clone, Copy, Debug)]
struct Seen {
    holder: NodeId,
    end: Timestamp,
    /// The last sample in which it stood.
    at: u64,
}

/// Everything seen of leases.
#[derive(Debug, Default)]
pub struct LeaseObserver {
    terms: BTreeMap<RangeId, BTreeMap<Term, Seen>>,
    /// What each range was last seen to serve at each node, and how far its lease there has reached with those keys. By node: beside an old leaseholder that
    /// has not applied a split yet, whose lease runs out, a new one may serve less, and longer.
    served: BTreeMap<(RangeId, NodeId), (Span, Timestamp)>,
    /// Keys that went to another range, and up to where the old one may have served them.
    split_off: Vec<(Span, Timestamp)>,
    /// Pairs of ranges that were seen to serve the same keys.
    overlapping: BTreeSet<(RangeId, RangeId)>,
    samples: u64,
    /// What was wrong.
    pub wrong: Vec<String>,
    /// Leases that came with a hand-over.
    handed: BTreeSet<(RangeId, Term)>,
    /// How many leases there were.
    pub leases_seen: u64,
}

impl LeaseObserver {
    /// Takes in the leases of one moment.
    pub fn sample(&mut self, leases: &[(RangeId, NodeId, Lease, Span)]) {
        self.samples += 1;
        for (range, holder, lease, span) in leases {
            let place = (*range, *holder);
            match self.served.get_mut(&place).filter(|(last, _)| last.end == span.end) {
                Some((_, end)) => *end = lease.expiration.max(*end),
                None => {
                    let of_range = self.served.range((*range, NodeId(0))..=(*range, NodeId(u32::MAX)));
                    let wider = of_range.filter(|(_, (last, _))| last.end > span.end);
                    self.split_off.extend(wider.map(|(_, (last, end))| (Span { start: span.end.clone(), end: last.end.clone() }, *end)));
                    self.served.insert(place, (span.clone(), lease.expiration));
                }
            }
        }
        for (range, holder, lease, span) in leases {
            let terms = self.terms.entry(*range).or_default();
            let new = !terms.contains_key(&lease.term);
            let seen = terms.entry(lease.term).or_insert(Seen { holder: *holder, end: lease.expiration, at: self.samples });
            if seen.holder != *holder {
                self.wrong.push(format!("L1: {range} {}: both {} and {holder} hold the lease", lease.term, seen.holder));
            }
            seen.end = seen.end.max(lease.expiration);
            seen.at = self.samples;
            if new {
                self.leases_seen += 1;
                let handed = self.handed.contains(&(*range, lease.term));
                let before = self.split_off.iter().filter(|(keys, _)| keys.intersect(span).is_some()).map(|(_, end)| *end).max();
                if let Some(end) = before.filter(|end| *end > lease.low_water && !handed) {
                    self.wrong.push(format!(
                        "L2: {range}: the lease of {} at {holder} starts at {}, but its keys were served up to {end} before the split",
                        lease.term, lease.low_water
                    ));
                }
                let earlier = terms.range(..lease.term).map(|(term, seen)| (seen.end, *term)).max();
                if let Some((end, term)) = earlier.filter(|(end, _)| *end > lease.low_water && !handed) {
                    self.wrong.push(format!(
                        "L2: {range}: the lease of {} at {holder} starts at {}, but that of {term} reached to {end}",
                        lease.term, lease.low_water
                    ));
                }
            }
        }
        for (range, holder, lease, _) in leases {
            let Some(terms) = self.terms.get(range) else { continue };
            for (term, earlier) in terms.range(..lease.term) {
                // Standing now: two holders at once, even if the terms differ.
                if earlier.at == self.samples && earlier.end > lease.low_water {
                    self.wrong.push(format!(
                        "L1: {range}: {} holds the lease of {term} to {} while {holder} holds that of {} from {}",
                        earlier.holder, earlier.end, lease.term, lease.low_water
                    ));
                }
            }
        }
        self.compare_overlapping(leases);
        self.wrong.truncate(20);
    }

    /// Two ranges that serve the same keys: one of them has split, and its leaseholder does not know it yet.
    fn compare_overlapping(&mut self, leases: &[(RangeId, NodeId, Lease, Span)]) {
        let mut by_start: Vec<_> = leases.iter().filter(|(_, _, lease, _)| lease.expiration > Timestamp::ZERO).collect();
        by_start.sort_by(|a, b| a.3.start.cmp(&b.3.start));
        let mut reaches: Option<&(RangeId, NodeId, Lease, Span)> = None;
        for next in by_start {
            if let Some((wide, holder, lease, span)) = reaches.filter(|r| r.0 != next.0 && r.3.intersect(&next.3).is_some()) {
                let (range, other, newer, keys) = next;
                let (later, earlier) = if newer.low_water > lease.low_water { (newer, lease) } else { (lease, newer) };
                if earlier.expiration > later.low_water && self.overlapping.insert((*wide, *range)) {
                    self.wrong.push(format!(
                        "L1: {holder} serves {span:?} of {wide} to {} from {} while {other} serves {keys:?} of {range} to {} from {}",
                        lease.expiration, lease.low_water, newer.expiration, newer.low_water
                    ));
                }
            }
            if reaches.is_none_or(|r| r.3.end < next.3.end) {
                reaches = Some(next);
            }
        }
    }
}

/// Passes everything on and remembers which leases were handed over.
pub struct Watched {
    /// Who is really meant.
    pub inner: Arc<dyn RangeEvents>,
    /// Who remembers.
    pub observer: Arc<Mutex<LeaseObserver>>,
}

impl RangeEvents for Watched {
    fn lease_started(&self, replica: &Arc<dyn RangeReplica>, lease: &Lease, handover: Option<Bytes>) {
        if handover.is_some() {
            self.observer.lock().handed.insert((replica.range_id(), lease.term));
        }
        self.inner.lease_started(replica, lease, handover);
    }

    fn lease_ended(&self, range: RangeId) {
        self.inner.lease_ended(range);
    }

    fn hand_over(&self, range: RangeId) -> Bytes {
        self.inner.hand_over(range)
    }

    fn range_split(&self, left: &Arc<dyn RangeReplica>, right: &Arc<dyn RangeReplica>) {
        self.inner.range_split(left, right);
    }

    fn idle(&self, range: RangeId, enter: &mut dyn FnMut()) {
        self.inner.idle(range, enter);
    }

    fn replica_removed(&self, range: RangeId) {
        self.inner.replica_removed(range);
    }
}
