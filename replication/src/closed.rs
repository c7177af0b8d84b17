//! Closed timestamps of ranges that have nothing to say.
//!
//! A command carries the closed timestamp of its range, so a range that is written moves on by itself. A quiet one writes nothing, and ten thousand of
//! them must cost next to nothing: their closed timestamps travel *by node*, in the liveness exchange.
//!
//! ```text
//!   leader, quiet ──join──▶ Feed ──delta: ranges that joined or left, closed timestamps by group──▶ Inlet ◀── replica: closed?
//!   leader, stirs ──leave─▶      ◀──────────── how far the receiver has got (sequence) ────────────
//! ```
//! A range **joins** the feed of its leader's node when it goes quiet, with the index of its last entry, applied, and with nothing being evaluated
//! (the transactional layer says so under the lock that evaluation takes, `RangeEvents::idle`). It **leaves** before anything is evaluated again,
//! and what is evaluated then lands above what was published for it until that moment (`RangeReplica::leave_idle`). Joining, leaving and publishing
//! share one lock.
//!
//! **Why a follower may believe it.** Say `C` was published for range `r` at index `i`, and a replica has applied `i` or more. All writes of `r` at or
//! below `C` are among the entries up to `i`: those of this leaseholder, since it writes above `C` from there on; and those of any later one, since
//! `C` lies below the end of the lease at the moment of publishing (so the promises of a quorum reach beyond `C`, and by L2 whoever is
//! elected begins above it, while a planned move hands `C` over). So once true it stays true, whatever becomes of leader, term and
//! membership. It says nothing about indexes below `i`, and nothing about the right half of a split: hence a range leaves before it splits.
//!
//! **Groups.** The end of a lease is the quorum-minimum of its voters' promises in the epochs that were acknowledged. Ranges whose leases rest on the same
//! promises form a group, and one timestamp a group is computed and sent. A range whose voters begin a new epoch stirs, and joins the new group.
//!
//! **Deltas.** Messages are lost. Each delta begins at what the receiver last said that it has, so it can be repeated; the receiver takes only those that begin
//! at or before its own position and do not end before it. A receiver that restarted is sent everything. A delta that is cut short by its limit carries no timestamps.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_clock::{ClockInterval, Timestamp};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::api::{NodeId, RangeId};
use crate::liveness::{Peers, quorum_end};

/// Changes in one delta. What is beyond goes with the next message.
const CHANGES_MAX: usize = 4096;

/// Ranges that stand on the same promises.
pub(crate) type Group = u32;

/// The promises that a lease rests on: the voters other than the leader, and the epochs they acknowledged.
pub(crate) type Basis = SmallVec<[(NodeId, u64); 4]>;

/// One step of what a node publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delta {
    /// Which numbering: a later one begins with everything.
    pub stream: u64,
    /// It holds what happened after this.
    pub since: u64,
    /// And up to this.
    pub upto: u64,
    /// Ranges, with the index from which the group's timestamp holds.
    pub joined: Vec<(RangeId, u64, Group)>,
    /// Ranges that left.
    pub left: Vec<RangeId>,
    /// The closed timestamps of the receiver's groups as of `upto`; empty if `upto` is not the present.
    pub closed: Vec<(Group, Timestamp)>,
}

#[derive(Debug)]
struct GroupState {
    basis: Basis,
    closed: Timestamp,
    ranges: usize,
}

#[derive(Debug)]
struct Member {
    group: Group,
    index: u64,
    followers: SmallVec<[NodeId; 4]>,
}

/// What one receiver is told.
#[derive(Debug, Default)]
struct Outlet {
    /// Of the receiver.
    incarnation: u64,
    stream: u64,
    seq: u64,
    acked: u64,
    /// The last change of each range that is in or left lately, and the same by sequence.
    changes: BTreeMap<u64, (RangeId, bool)>,
    at: BTreeMap<RangeId, u64>,
    groups: BTreeMap<Group, usize>,
}

impl Outlet {
    fn change(&mut self, range: RangeId, joins: bool) {
        if let Some(old) = self.at.remove(&range) {
            self.changes.remove(&old);
        }
        self.seq += 1;
        self.changes.insert(self.seq, (range, joins));
        self.at.insert(range, self.seq);
    }

    fn join(&mut self, range: RangeId, group: Group) {
        self.change(range, true);
        *self.groups.entry(group).or_insert(0) += 1;
    }

    fn leave(&mut self, range: RangeId, group: Group) {
        self.change(range, false);
        if let Some(count) = self.groups.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(&group);
            }
        }
    }

    /// The receiver has everything up to `seq`: of what left, nothing more need be said.
    fn ack(&mut self, seq: u64) {
        if seq <= self.acked || seq > self.seq {
            return;
        }
        let said: Vec<(u64, RangeId)> = self.changes.range(self.acked + 1..=seq).filter(|(_, c)| !c.1).map(|(s, c)| (*s, c.0)).collect();
        for (seq, range) in said {
            self.changes.remove(&seq);
            self.at.remove(&range);
        }
        self.acked = seq;
    }
}

#[derive(Debug, Default)]
struct FeedState {
    groups: BTreeMap<Group, GroupState>,
    by_basis: BTreeMap<Basis, Group>,
    next_group: Group,
    streams: u64,
    members: BTreeMap<RangeId, Member>,
    outlets: BTreeMap<NodeId, Outlet>,
}

/// What a node publishes for the quiet ranges that it leads.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    state: Mutex<FeedState>,
}

impl Feed {
    /// `range` has gone quiet with everything up to `index` applied by its leader. Answers what was published for it if it was in already.
    pub(crate) fn join(&self, range: RangeId, index: u64, basis: Basis, followers: SmallVec<[NodeId; 4]>) -> Timestamp {
        let mut state = self.state.lock();
        let published = state.leave(range);
        let group = match state.by_basis.get(&basis) {
            Some(group) => *group,
            None => {
                state.next_group += 1;
                let group = state.next_group;
                state.by_basis.insert(basis.clone(), group);
                state.groups.insert(group, GroupState { basis, closed: Timestamp::ZERO, ranges: 0 });
                group
            }
        };
        if let Some(joined) = state.groups.get_mut(&group) {
            joined.ranges += 1;
        }
        for node in &followers {
            state.outlets.entry(*node).or_default().join(range, group);
        }
        state.members.insert(range, Member { group, index, followers });
        published
    }

    /// `range` is about to stir. Answers up to where it was published as closed: never more from here on.
    pub(crate) fn leave(&self, range: RangeId) -> Timestamp {
        self.state.lock().leave(range)
    }

    /// Moves every group up to `lag` before now, as far as its leases reach.
    pub(crate) fn advance(&self, now: ClockInterval, lag: Duration, peers: &Peers) {
        let target = now.earliest.minus(lag);
        for group in self.state.lock().groups.values_mut() {
            // The leader itself promises without end.
            let promised = group.basis.iter().map(|(node, epoch)| peers.peer(*node).promised(*epoch));
            let end = quorum_end(std::iter::once(Timestamp::MAX).chain(promised).collect());
            group.closed = group.closed.max(target.min(end.prev()));
        }
    }

    /// What to tell `to`, which is in its `incarnation` and has everything of a stream up to some sequence.
    pub(crate) fn delta(&self, to: NodeId, incarnation: u64, (stream, acked): (u64, u64)) -> Option<Delta> {
        let mut state = self.state.lock();
        if state.outlets.get(&to)?.incarnation != incarnation {
            state.begin_anew(to, incarnation);
        }
        let FeedState { groups, members, outlets, .. } = &mut *state;
        let outlet = outlets.get_mut(&to)?;
        if stream == outlet.stream {
            outlet.ack(acked);
        }
        let mut delta = Delta { stream: outlet.stream, since: outlet.acked, upto: outlet.seq, ..Delta::default() };
        for (count, (seq, (range, joins))) in outlet.changes.range(outlet.acked + 1..).enumerate() {
            if count == CHANGES_MAX {
                delta.upto = seq - 1;
                return Some(delta);
            }
            match members.get(range).filter(|_| *joins) {
                Some(member) => delta.joined.push((*range, member.index, member.group)),
                None => delta.left.push(*range),
            }
        }
        delta.closed = outlet.groups.keys().filter_map(|g| Some((*g, groups.get(g)?.closed))).collect();
        Some(delta)
    }

    /// How many ranges are in.
    pub(crate) fn ranges(&self) -> usize {
        self.state.lock().members.len()
    }
}

impl FeedState {
    fn leave(&mut self, range: RangeId) -> Timestamp {
        let Some(member) = self.members.remove(&range) else { return Timestamp::ZERO };
        for node in &member.followers {
            if let Some(outlet) = self.outlets.get_mut(node) {
                outlet.leave(range, member.group);
            }
        }
        let Some(group) = self.groups.get_mut(&member.group) else { return Timestamp::ZERO };
        let closed = group.closed;
        group.ranges -= 1;
        if group.ranges == 0 {
            self.by_basis.remove(&group.basis);
            self.groups.remove(&member.group);
        }
        closed
    }

    /// The receiver is a new process, which knows nothing.
    fn begin_anew(&mut self, to: NodeId, incarnation: u64) {
        self.streams += 1;
        let mut outlet = Outlet { incarnation, stream: self.streams, ..Outlet::default() };
        for (range, member) in self.members.iter().filter(|(_, m)| m.followers.contains(&to)) {
            outlet.join(*range, member.group);
        }
        self.outlets.insert(to, outlet);
    }
}

/// Both sides.
#[derive(Debug, Default)]
pub(crate) struct Closed {
    pub feed: Feed,
    pub inlet: Inlet,
}

/// What one other node publishes, as far as it arrived.
#[derive(Debug, Default)]
struct Source {
    incarnation: u64,
    stream: u64,
    seq: u64,
    groups: BTreeMap<Group, Timestamp>,
    ranges: BTreeMap<RangeId, (u64, Group)>,
}

/// What a node knows of the quiet ranges that others lead.
#[derive(Debug, Default)]
pub(crate) struct Inlet {
    sources: RwLock<BTreeMap<NodeId, Source>>,
}

impl Inlet {
    /// Takes what `from` in its `incarnation` says.
    pub(crate) fn take(&self, from: NodeId, incarnation: u64, delta: &Delta) {
        let mut sources = self.sources.write();
        let source = sources.entry(from).or_default();
        if source.incarnation != incarnation || source.stream < delta.stream {
            *source = Source { incarnation, stream: delta.stream, ..Source::default() };
        }
        if delta.stream < source.stream {
            return;
        }
        if delta.since > source.seq || delta.upto < source.seq {
            return;
        }
        source.seq = delta.upto;
        for range in &delta.left {
            source.ranges.remove(range);
        }
        for (range, index, group) in &delta.joined {
            source.ranges.insert(*range, (*index, *group));
        }
        if !delta.closed.is_empty() {
            for (group, closed) in &delta.closed {
                let known = source.groups.entry(*group).or_default();
                *known = (*known).max(*closed);
            }
            source.groups.retain(|group, _| delta.closed.iter().any(|(g, _)| g == group));
        }
    }

    /// How far this node has got with what `from` publishes: its incarnation, stream and sequence.
    pub(crate) fn position(&self, from: NodeId) -> (u64, u64, u64) {
        self.sources.read().get(&from).map_or((0, 0, 0), |source| (source.incarnation, source.stream, source.seq))
    }

    /// Up to where `range` is closed for a replica that has applied `applied`, by anybody's word.
    pub(crate) fn closed(&self, range: RangeId, applied: u64) -> Timestamp {
        let closed = |source: &Source| {
            let (index, group) = source.ranges.get(&range)?;
            source.groups.get(group).copied().filter(|_| *index <= applied)
        };
        self.sources.read().values().filter_map(closed).max().unwrap_or(Timestamp::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Join(u64),
        Leave(u64),
        Advance,
        Send {
            lost: bool,
        },
        /// An old message comes once more.
        Replay(usize),
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1..6_u64).prop_map(Step::Join),
            3 => (1..6_u64).prop_map(Step::Leave),
            2 => Just(Step::Advance),
            4 => any::<bool>().prop_map(|lost| Step::Send { lost }),
            1 => any::<usize>().prop_map(Step::Replay),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Whatever is lost or comes twice: a receiver never believes more of a range than was published while the range was in, and when messages get
        /// through it believes all of it.
        #[test]
        fn receivers_believe_what_was_published(steps in prop::collection::vec(step(), 1..120)) {
            let (feed, mut inlet) = (Feed::default(), Inlet::default());
            let (us, them, followers) = (NodeId(1), NodeId(2), SmallVec::from_slice(&[NodeId(2)]));
            let (mut incarnation, mut clock) = (1, 0_u64);
            // Model: what was ever published for a range, whether it is in, and its last index.
            let (mut published, mut inside, mut index) = (BTreeMap::<u64, Timestamp>::new(), BTreeMap::<u64, u64>::new(), 0);
            let mut sent: Vec<Delta> = Vec::new();
            let advance = |clock: u64| {
                let mut state = feed.state.lock();
                for group in state.groups.values_mut() {
                    group.closed = Timestamp::from_raw(clock);
                }
            };
            for step in steps {
                match step {
                    Step::Join(range) => {
                        index += 1;
                        feed.join(RangeId(range), index, Basis::from_slice(&[(NodeId(2), range % 2)]), followers.clone());
                        inside.insert(range, index);
                    }
                    Step::Leave(range) => {
                        let closed = feed.leave(RangeId(range));
                        prop_assert!(inside.remove(&range).is_some() || closed == Timestamp::ZERO);
                    }
                    Step::Advance => {
                        clock += 1;
                        advance(clock);
                    }
                    Step::Send { lost } => {
                        let (_, stream, seq) = inlet.position(us);
                        if let Some(delta) = feed.delta(them, incarnation, (stream, seq)) {
                            sent.push(delta.clone());
                            if !lost {
                                inlet.take(us, 7, &delta);
                                let state = feed.state.lock();
                                for (range, at) in &inside {
                                    let closed = state.groups[&state.members[&RangeId(*range)].group].closed;
                                    prop_assert_eq!(inlet.closed(RangeId(*range), *at), closed);
                                    prop_assert_eq!(inlet.closed(RangeId(*range), at - 1), Timestamp::ZERO);
                                }
                            }
                        }
                    }
                    Step::Replay(which) if !sent.is_empty() => {
                        // Even what was meant for an earlier process of the receiver, and what the sender numbered before it heard of the new one.
                        inlet.take(us, 7, &sent[which % sent.len()]);
                    }
                    Step::Replay(_) => {}
                    Step::Restart => {
                        incarnation += 1;
                        inlet = Inlet::default();
                    }
                }
                {
                    let state = feed.state.lock();
                    for range in inside.keys() {
                        let closed = state.groups[&state.members[&RangeId(*range)].group].closed;
                        let known = published.entry(*range).or_default();
                        *known = (*known).max(closed);
                    }
                }
                for range in 1..6 {
                    let believed = inlet.closed(RangeId(range), u64::MAX);
                    prop_assert!(believed <= published.get(&range).copied().unwrap_or_default(), "{range}: {believed}");
                }
            }
        }
    }
}
