//! Votes, leases and quiet: what one replica may do when. The argument is in [`crate::liveness`]; this file is where it is kept.
//!
//! **Planned moves (L3).** The leader gives its lease up (no new proposals), waits until what is in flight is applied and the successor has
//! it all, takes locks and timestamp cache from txn, and sends them with its *release*: its word that nothing is served under its term any
//! more. The successor campaigns at once with forced votes that carry the release; a replica bound to that leader may grant exactly such a
//! vote. L2 holds because the timestamp cache went along. Should the successor die before it acknowledges anything, its voters are
//! still held by the old promises against everybody who carries no release (`hold_until`). A leader whose successor does not take over
//! within a second never serves in that term again: it steps down and campaigns itself, carrying its own release and what it handed over.
//!
//! **Splits.** The right half is led by whoever leads the left when the split is applied there; until then the leader may serve keys
//! of the right half under the left one's lease. So the right replicas are born bound as the left ones are, only the leader's own right
//! replica campaigns with a release, and a replica that has not yet applied the split votes for nobody else as long as its left half still covers
//! the span. The leader does not count stamps of new epochs between proposing and applying a split: while the split is on its way
//! its lease cannot outrun the epochs that the right replicas inherited.
//!
//! **Quiet.** A leader with nothing to do, whose live followers have everything and know it, tells them and stops ticking; they stop too.
//! A message, a proposal or news about a peer wakes a replica. Raft's own election timer is not used: `tick` here counts the leader's silence.

use std::sync::Arc;

use bytes::Bytes;
use meridian_clock::controls::{self, Control};
use meridian_clock::{ClockInterval, Timestamp};
use raft::prelude::{Message, MessageType};
use raft::{ProgressState, StateRole};
use rand::Rng as _;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::codec::{PacketBody, Release};
use super::handle::{LeaseBasis, Promiser};
use super::replica::{Effects, Replica};
use crate::api::{AdminError, Lease, NodeId, ProposeError, RangeReplica, ReplicaId, ReplicaRole, Term};
use crate::liveness::{Peer, PeerEvent, solo_ahead};

/// Ticks that a successor has to take over.
const TRANSFER_TICKS: usize = 20;

/// Whom a replica acknowledged last, and in which epoch of its node's promises.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    pub peer: Arc<Peer>,
    pub epoch: u64,
    pub term: u64,
}

/// A planned move under way.
pub(crate) struct Transfer {
    to: NodeId,
    target: u64,
    done: Option<oneshot::Sender<Result<(), AdminError>>>,
    /// The lease as it was, for as long as nothing has been given away.
    kept: Option<LeaseBasis>,
    ticks: usize,
}

impl Replica {
    /// Acknowledging `message.to` as leader: binds this replica, answers the stamp.
    pub(super) fn bind(&mut self, node: NodeId, message: &Message) -> u64 {
        let follows = self.term() == message.term && self.raw.raft.state == StateRole::Follower && self.raw.raft.leader_id == message.to;
        if !follows {
            return 0;
        }
        let now = self.ctx.clock.now();
        let peer = self.ctx.peers.peer(node);
        let stamp = peer.stamp(now);
        // Without a standing promise the replica stays bound by the last one it gave to this same leader.
        let same = self.bound.as_ref().is_some_and(|b| b.peer.node == node && b.term == message.term);
        if stamp != 0 || !same {
            self.bound = Some(Bound { peer, epoch: stamp, term: message.term });
        }
        stamp
    }

    /// As leader: a follower acknowledged this term under the promise of an epoch.
    pub(super) fn note_stamp(&mut self, node: NodeId, message: &Message, stamp: u64) {
        if stamp == 0 || !self.is_leader() || message.term != self.term() || self.split_in_flight {
            return;
        }
        if self.stamps.insert(message.from, stamp) != Some(stamp)
            && let Some(handle) = &self.handle
        {
            handle.count_promise(node, stamp);
        }
    }

    /// Whether something forbids this replica to vote or campaign now, other than the release in `release`.
    fn is_held(&self, now: ClockInterval, release: Option<Release>) -> bool {
        if controls::off(Control::VotePromise) {
            return false;
        }
        if let Some(release) = release {
            // The leader of this term gave its lease up, and everything before it had ended when it was elected.
            let newest = self.bound.as_ref().map_or(0, |b| b.term);
            if newest <= release.term && self.term() <= release.term + 1 {
                return false;
            }
        }
        if now.earliest <= self.hold_until.max(self.unsettled_lease()) {
            return true;
        }
        if self.ctx.peers.silent(now) && !self.is_alone() {
            return true;
        }
        self.bound.as_ref().is_some_and(|b| b.peer.binds(b.epoch, now).is_some())
    }

    /// The end of the lease of a leadership that Raft has ended and [`Self::follow_leadership`] has not yet: it holds this replica already.
    fn unsettled_lease(&self) -> Timestamp {
        if self.is_leader() {
            return Timestamp::ZERO;
        }
        let served = self.handle.as_ref().and_then(|h| h.served_until());
        let kept = self.transfer.as_ref().and_then(|t| t.kept.as_ref()).map(|kept| kept.served_until(&self.ctx.clock));
        served.max(kept).unwrap_or(Timestamp::ZERO)
    }

    /// Whether a request for a vote may reach Raft.
    pub(super) fn admits_vote(&mut self, message: &Message, release: Option<Release>, start: &[u8]) -> bool {
        let now = self.ctx.clock.now();
        let released = release.is_some_and(|r| message.term == r.term + 1 && message.get_msg_type() == MessageType::MsgRequestVote);
        let release = release.filter(|_| released);
        if self.is_held(now, release) {
            return false;
        }
        if release.is_some() {
            self.hold_for_successor(now);
            return true;
        }
        // Before the split is applied here, the promises of the left half speak for the right one.
        if self.descriptor.is_none() && self.ctx.map.read().for_key(start).is_some_and(|h| h.range_id() != self.range) {
            return false;
        }
        let pre_vote = message.get_msg_type() == MessageType::MsgRequestPreVote;
        if self.is_leader() && !self.lay_down_lapsed_lease(now, pre_vote) {
            return false;
        }
        // Raft's own stickiness counts ticks, which a quiet replica does not have. It yields when the leader's node is gone.
        let leader = self.node_of(self.raw.raft.leader_id);
        if leader.is_none_or(|l| l != self.ctx.node && !self.ctx.peers.peer(l).live()) || controls::off(Control::VotePromise) {
            self.raw.raft.election_elapsed = self.raw.raft.election_timeout();
        }
        // Somebody is at it: two candidates at a time only split the vote.
        self.silence = 0;
        self.patience = 2 + self.retry_patience();
        true
    }

    /// A vote was asked for while a promise stood that ends within a moment: the candidate's promise merely lapsed a little earlier. The request is looked at
    /// again when ours has lapsed (the network may delay messages, too), for the candidate asks again only much later.
    pub(super) fn park_vote(&mut self, node: NodeId, message: &Message) {
        let now = self.ctx.clock.now();
        let soon = |until: Timestamp| until.since(now.earliest) < self.ctx.config.liveness.suspect;
        let bound = self.bound.as_ref().and_then(|b| b.peer.binds(b.epoch, now));
        if self.descriptor.is_some() && message.term > self.term() && now.earliest > self.hold_until && bound.is_some_and(soon) {
            self.parked_vote = Some((node, message.clone(), now.earliest.plus(self.ctx.config.liveness.suspect)));
        }
    }

    /// Takes up a request that waited for our promise to lapse; answers whether there was one.
    fn take_up_parked(&mut self, fx: &mut Effects) -> bool {
        let now = self.ctx.clock.now();
        match self.parked_vote.take() {
            Some((_, _, until)) if now.earliest > until => false,
            Some(parked) if self.is_held(now, None) => {
                self.parked_vote = Some(parked);
                false
            }
            Some((node, message, _)) => {
                self.step(node, message, 0, None, &[], fx);
                true
            }
            None => false,
        }
    }

    /// Somebody campaigns whose log lacks entries that this replica has: it cannot win this one's vote, so this one runs itself, at once.
    pub(super) fn outrun(&mut self, message: &Message, fx: &mut Effects) {
        let log = &self.raw.raft.raft_log;
        if !self.is_leader() && !log.is_up_to_date(message.index, message.log_term) {
            self.silence = 0;
            self.leaderless(fx);
        }
    }

    /// A vote is asked for that this replica must not give. A quiet replica would sleep on, bound for ever to a leader that has stepped down while its
    /// node lives on and is promised more and more: so it wakes, asks that leader, and withdraws its promise if nobody answers for it.
    pub(super) fn doubt_leader(&mut self, message: &Message) {
        if self.is_leader() || message.term < self.term() {
            return;
        }
        self.wake();
        if message.from == self.raw.raft.leader_id {
            // It would not ask if it still led.
            self.asked_leader = true;
            let soon = self.silence + self.retry_patience();
            self.patience = self.patience.min(soon);
        }
    }

    /// Voting by a release leaves old promises standing against all who carry none.
    fn hold_for_successor(&mut self, now: ClockInterval) {
        if let Some(until) = self.bound.as_ref().and_then(|b| b.peer.binds(b.epoch, now)) {
            self.hold_until = self.hold_until.max(until);
        }
    }

    /// A leader lets a request for its vote through only if its lease has ended for certain, as far as it ever reached. Before it votes it takes the lease away and looks
    /// again, so that the lease cannot grow in between; if Raft then refuses the vote, it gets the lease back.
    fn lay_down_lapsed_lease(&mut self, now: ClockInterval, pre_vote: bool) -> bool {
        let Some(handle) = self.handle.clone() else { return true };
        if handle.served_until().is_some_and(|end| now.earliest <= end) {
            return false;
        }
        if pre_vote {
            return true;
        }
        if let Some(basis) = handle.set_lease(None) {
            if now.earliest <= basis.served_until(&self.ctx.clock) {
                handle.set_lease(Some(basis));
                return false;
            }
            self.laid_down = Some(basis);
        }
        true
    }

    fn basis(&self, low_water: Timestamp) -> LeaseBasis {
        let (voters, outgoing) = self.promisers();
        LeaseBasis::new(Term(self.term()), low_water, voters, outgoing)
    }

    fn promisers(&self) -> (SmallVec<[Promiser; 8]>, SmallVec<[Promiser; 8]>) {
        let (mut voters, mut outgoing) = (SmallVec::new(), SmallVec::new());
        let Some(descriptor) = &self.descriptor else { return (voters, outgoing) };
        let joint = super::codec::is_joint(descriptor);
        for replica in &descriptor.replicas {
            let peer = (replica.id != self.id).then(|| self.ctx.peers.peer(replica.node));
            let epoch = self.stamps.get(&replica.id.0).copied().unwrap_or(0);
            if matches!(replica.role, ReplicaRole::Voter | ReplicaRole::Incoming) {
                voters.push((peer.clone(), epoch));
            }
            if joint && matches!(replica.role, ReplicaRole::Voter | ReplicaRole::Outgoing) {
                outgoing.push((peer, epoch));
            }
        }
        (voters, outgoing)
    }

    /// The configuration changed under the lease.
    pub(super) fn refresh_voters(&mut self) {
        let (voters, outgoing) = self.promisers();
        if let Some(handle) = &self.handle {
            handle.set_voters(voters, outgoing);
        }
        let (voters, outgoing) = self.promisers();
        if let Some(kept) = self.transfer.as_mut().and_then(|t| t.kept.as_mut()) {
            (kept.voters, kept.outgoing) = (voters, outgoing);
        }
    }

    /// Begins and ends leases as Raft's leadership moves.
    pub(super) fn follow_leadership(&mut self, fx: &mut Effects) {
        let Some(handle) = self.handle.clone() else { return };
        handle.set_leader(self.node_of(self.raw.raft.leader_id));
        let term = self.term();
        let over = !self.is_leader() || self.lease_of.is_some_and(|t| t != term);
        if over && (self.was_leader || self.lease_of.is_some()) {
            self.lose_leadership();
        }
        if !self.is_leader() {
            // Given away: it has arrived when the successor is heard to lead.
            let leader = self.raw.raft.leader_id;
            if let Some(transfer) = self.transfer.as_ref().filter(|t| leader != raft::INVALID_ID || t.ticks > 2 * TRANSFER_TICKS) {
                let moved = leader == transfer.target;
                self.end_transfer(moved);
            }
            return;
        }
        if !self.was_leader {
            self.was_leader = true;
            self.end_transfer(false);
            self.stamps.clear();
            self.split_in_flight = false;
            self.wake();
        }
        if self.lease_of != Some(term) && self.transfer.is_none() && self.raw.raft.apply_to_current_term() && self.staged.is_none() {
            self.start_lease();
        }
        self.drive_transfer(fx);
        self.finish_catch_ups();
    }

    fn start_lease(&mut self) {
        let Some(handle) = self.handle.clone() else { return };
        let now = self.ctx.clock.now();
        // The voters let their promises lapse by their own clocks before they voted, and their votes carried those clocks' readings: above the merged
        // reading L2 holds whatever has become of this node's own clock.
        let heard = self.ctx.clock.tick();
        // The only voter's lease is not bounded by anybody's promise: after a restart its former self may have served this far ahead.
        let low_water = if self.is_alone() { now.latest.plus(solo_ahead(now) * 2) } else { now.latest };
        let low_water = if self.applied.index <= super::layout::INITIAL_INDEX + 1 { now.latest } else { low_water.max(heard) };
        let basis = self.basis(low_water);
        let term = self.term();
        let span_epoch = handle.descriptor().span_epoch;
        let lease = Lease { term: Term(term), low_water, expiration: basis.expiration(&self.ctx.clock), span_epoch };
        let handover = self.gift.take().filter(|(release, _)| release.term + 1 == term).map(|(_, bytes)| bytes);
        let face: Arc<dyn RangeReplica> = handle.clone();
        self.ctx.events.lease_started(&face, &lease, handover);
        handle.set_lease(Some(basis));
        self.lease_of = Some(term);
        if let Some(descriptor) = &self.descriptor {
            self.ctx.publisher.publish(descriptor.clone());
        }
        tracing::debug!(node = %self.ctx.node, range = %self.range, term, "lease started");
    }

    fn lose_leadership(&mut self) {
        self.was_leader = false;
        self.leave_feed();
        let legit = self.raw.raft.leader_id != raft::INVALID_ID && self.raw.raft.leader_id != self.id.0;
        if let Some(handle) = &self.handle {
            // Stepping down by itself, this replica must not vote before everything that it may have served under is over. A leader
            // that was elected meanwhile is the proof that it is.
            if let Some(end) = handle.served_until()
                && !legit
            {
                self.hold_until = self.hold_until.max(end);
            }
            handle.set_lease(None);
        }
        if self.lease_of.take().is_some() {
            tracing::debug!(node = %self.ctx.node, range = %self.range, "lease ended");
            self.ctx.events.lease_ended(self.range);
        }
        self.fail_pending();
        if let Some(transfer) = &self.transfer
            && let Some(kept) = transfer.kept.as_ref()
        {
            if !legit {
                self.hold_until = self.hold_until.max(kept.served_until(&self.ctx.clock));
            }
            self.end_transfer(false);
        }
        self.keep_from = None;
    }

    // ---- planned moves ----

    /// Begins to move the lease to the voter on `to`.
    pub(crate) fn transfer(&mut self, to: NodeId, done: oneshot::Sender<Result<(), AdminError>>) {
        let refuse = |why: String| AdminError::Invalid(why);
        let Some((handle, descriptor)) = self.handle.clone().zip(self.descriptor.clone()) else {
            let _ = done.send(Err(refuse("no state yet".into())));
            return;
        };
        if !self.is_leader() || handle.lease_term() != Some(Term(self.term())) || self.transfer.is_some() {
            let _ = done.send(Err(AdminError::NotLeaseholder(handle.not_leaseholder())));
            return;
        }
        if to == self.ctx.node {
            let _ = done.send(Ok(()));
            return;
        }
        let target = descriptor.replica_on(to).filter(|r| matches!(r.role, ReplicaRole::Voter | ReplicaRole::Incoming));
        let Some(target) = target.filter(|_| self.ctx.peers.peer(to).live() && !self.split_in_flight) else {
            let _ = done.send(Err(refuse(format!("{to} has no live voter of {} or the range is splitting", self.range))));
            return;
        };
        let kept = self.basis(self.low_water());
        let kept = match handle.set_lease(None) {
            Some(lease) => kept.continues(&lease),
            None => kept,
        };
        self.transfer = Some(Transfer { to, target: target.id.0, done: Some(done), kept: Some(kept), ticks: 0 });
        self.wake();
    }

    /// A move that was under way is over.
    fn end_transfer(&mut self, moved: bool) {
        if let Some(done) = self.transfer.take().and_then(|t| t.done) {
            let _ = done.send(if moved { Ok(()) } else { Err(AdminError::Propose(ProposeError::Ambiguous(self.range))) });
        }
    }

    fn low_water(&self) -> Timestamp {
        self.handle.as_ref().and_then(|h| h.lease().ok()).map_or(self.ctx.clock.now().latest, |l| l.low_water)
    }

    fn drive_transfer(&mut self, fx: &mut Effects) {
        let (term, last) = (self.term(), self.last_index());
        let Some(transfer) = &mut self.transfer else { return };
        let (to, target) = (transfer.to, transfer.target);
        if transfer.kept.is_some() {
            let matched = self.raw.raft.prs().get(target).is_some_and(|p| p.matched >= last);
            if self.pending.is_empty() && matched && self.staged.is_none() {
                // Nothing is in flight and nothing can come: from here on the lease is gone for this term.
                if let Some(kept) = transfer.kept.take() {
                    self.hold_until = self.hold_until.max(kept.served_until(&self.ctx.clock));
                }
                transfer.ticks = 0;
                let handover = self.ctx.events.hand_over(self.range);
                self.ctx.events.lease_ended(self.range);
                self.lease_of = None;
                self.gift = Some((Release { leader: self.id, term }, handover.clone()));
                self.send_to(to, ReplicaId(target), PacketBody::Transfer { term, handover }, fx);
            } else if transfer.ticks > TRANSFER_TICKS {
                let mut transfer = self.transfer.take();
                if let Some(transfer) = &mut transfer {
                    // With the epochs that were stamped meanwhile: nobody counted them, and each is told only once.
                    if let (Some(handle), Some(kept)) = (&self.handle, transfer.kept.take()) {
                        handle.set_lease(Some(self.basis(kept.low_water).continues(&kept)));
                    }
                    if let Some(done) = transfer.done.take() {
                        let _ = done.send(Err(AdminError::Invalid(format!("{to} did not catch up in time; the lease stays"))));
                    }
                }
            }
        } else if transfer.ticks > TRANSFER_TICKS {
            // The successor did not come. In this term the lease is gone; win it back in the next.
            self.raw.raft.become_follower(term, raft::INVALID_ID);
            self.lose_leadership();
            self.end_transfer(false);
            self.campaign_released();
        }
    }

    /// The leader of `term` gives its lease to this replica.
    pub(super) fn on_transfer(&mut self, from: ReplicaId, term: u64, handover: Bytes) {
        if self.term() != term || self.raw.raft.leader_id != from.0 || self.descriptor.is_none() {
            return;
        }
        self.gift = Some((Release { leader: from, term }, handover));
        self.campaign_released();
    }

    /// Campaigns with the release in hand: no pre-vote, and the old leader's promises do not stand against it.
    pub(super) fn campaign_released(&mut self) {
        let now = self.ctx.clock.now();
        let Some(release) = self.gift.as_ref().map(|(release, _)| *release) else { return };
        if self.term() != release.term || !self.raw.raft.promotable() || self.is_held(now, Some(release)) {
            return;
        }
        self.hold_for_successor(now);
        self.wake();
        self.patience = self.retry_patience();
        self.silence = 0;
        let mut message = Message { to: self.id.0, from: self.id.0, term: release.term, ..Message::default() };
        message.set_msg_type(MessageType::MsgTimeoutNow);
        // Raft takes it as a follower only, and as the forced campaign that it is.
        if self.raw.step(message).is_err() {
            tracing::debug!(range = %self.range, "campaign not possible");
        }
    }

    /// The right half of a split, on the node that led the left: it leads here too, with everything in memory.
    pub(crate) fn lead_after_split(&mut self) {
        if self.term() > super::layout::INITIAL_TERM {
            return;
        }
        let handover = self.ctx.events.hand_over(self.range);
        self.gift = Some((Release { leader: self.id, term: super::layout::INITIAL_TERM }, handover));
        self.campaign_released();
    }

    /// The right half of a split starts bound as the left half is. What bound the left in whatever term yields to the left leader's release.
    pub(crate) fn inherit(&mut self, bound: Option<Bound>, hold_until: Timestamp) {
        let (bound, hold_until) = if controls::off(Control::SplitBinding) { (None, Timestamp::ZERO) } else { (bound, hold_until) };
        self.bound = bound.map(|b| Bound { term: 0, ..b });
        self.hold_until = hold_until;
        self.patience = self.full_patience();
        self.asked_leader = true;
    }

    /// Takes over what binds `other`, an earlier object of this very replica.
    pub(crate) fn keep_binding(&mut self, other: &Replica) {
        self.hold_until = self.hold_until.max(other.hold_until);
        if let Some(bound) = other.bound.as_ref().filter(|b| b.term > 0) {
            self.bound = Some(bound.clone());
        }
    }

    /// Holds still for as long as promises of a lost predecessor may stand.
    pub(crate) fn hold_after_loss(&mut self) {
        let now = self.ctx.clock.now();
        self.hold_until = self.hold_until.max(now.latest.plus(self.ctx.config.liveness.duration));
    }

    /// The only voter needs nobody's consent and waits for nobody.
    pub(crate) fn start_campaign_if_alone(&mut self) {
        if self.is_alone() && self.raw.campaign().is_err() {
            tracing::debug!(range = %self.range, "campaign not possible");
        }
    }

    // ---- time ----

    pub(super) fn full_patience(&mut self) -> usize {
        let base = self.ctx.config.election_ticks;
        base + self.rng.random_range(0..base.max(1))
    }

    fn retry_patience(&mut self) -> usize {
        // Wider than one trip to the farthest region, or two replicas go on asking for each other's vote at the same time.
        4 + self.rng.random_range(0..8)
    }

    /// Ticks until this replica tries to succeed a leader that is known to be gone: the voters go one after the other.
    pub(super) fn stagger(&mut self) -> usize {
        let gone = self.raw.raft.leader_id;
        let before =
            self.descriptor.iter().flat_map(|d| &d.replicas).filter(|r| super::codec::votes(r) && r.id < self.id && r.id.0 != gone);
        // Four ticks are longer than a request for a vote takes to the farthest region.
        before.count() * 4
    }

    /// One tick of an awake replica.
    pub(crate) fn tick(&mut self, fx: &mut Effects) {
        if self.broken {
            return;
        }
        if let Some(transfer) = &mut self.transfer {
            transfer.ticks += 1;
        }
        if self.is_leader() {
            self.raw.tick();
            self.try_quiet(fx);
            return;
        }
        if self.parked_vote.is_some() && self.take_up_parked(fx) {
            return;
        }
        self.silence += 1;
        if self.raw.raft.state == StateRole::Candidate && self.candidate_term != self.term() {
            self.candidate_term = self.term();
            self.silence = 0;
            self.patience = self.candidate_patience();
        }
        if self.silence >= self.patience {
            self.silence = 0;
            self.leaderless(fx);
        }
    }

    /// Ticks until the next try while the answers to a vote are under way. To ask again would forget them, and over a distance of 200 ms
    /// they take longer than the patience of a replica that asks for pre-votes (which may be asked again: late answers count).
    fn candidate_patience(&mut self) -> usize {
        let base = self.ctx.config.election_ticks / 2;
        base + self.rng.random_range(0..base.max(1))
    }

    /// Nobody has been heard to lead for too long.
    fn leaderless(&mut self, fx: &mut Effects) {
        if !self.raw.raft.promotable() {
            // Not a voter, or no state at all: others take care. Sleep until somebody writes.
            self.awake = false;
            return;
        }
        let now = self.ctx.clock.now();
        let leader = self.raw.raft.leader_id;
        if let Some(node) = self.node_of(leader)
            && node != self.ctx.node
            && self.ctx.peers.peer(node).live()
            && !self.asked_leader
        {
            self.asked_leader = true;
            self.patience = self.retry_patience();
            self.send_to(node, ReplicaId(leader), PacketBody::Wake, fx);
            return;
        }
        self.patience = self.retry_patience();
        if self.is_held(now, None) {
            // Nobody was asked, so nobody is disturbed by trying again soon.
            self.patience = 2 + self.rng.random_range(0..4);
            if let Some(bound) = &self.bound
                && bound.peer.live()
            {
                bound.peer.withdraw(bound.epoch);
            }
            return;
        }
        if self.missed_by_majority(leader) {
            // A pre-vote would only ask what is known already.
            self.patience = self.candidate_patience();
            let mut message = Message { to: self.id.0, from: self.id.0, term: self.term(), ..Message::default() };
            message.set_msg_type(MessageType::MsgTimeoutNow);
            if self.raw.raft.state == StateRole::Follower && self.raw.step(message).is_ok() {
                tracing::debug!(node = %self.ctx.node, range = %self.range, term = self.term(), "campaigns: the leader is missed by a majority");
                return;
            }
        }
        if self.raw.campaign().is_err() {
            tracing::debug!(range = %self.range, "campaign not possible");
        } else {
            tracing::debug!(node = %self.ctx.node, range = %self.range, term = self.term(), "asks for pre-votes");
        }
    }

    /// Whether the node of the replica `leader` is silent here, and was missed by so many others that a majority of the voters misses it.
    fn missed_by_majority(&self, leader: u64) -> bool {
        let (Some(node), Some(descriptor)) = (self.node_of(leader), &self.descriptor) else { return false };
        if super::codec::is_joint(descriptor) || self.ctx.peers.peer(node).live() {
            return false;
        }
        let at = tokio::time::Instant::now();
        let voters = descriptor.replicas.iter().filter(|r| super::codec::votes(r));
        let missing = voters.clone().filter(|r| r.id == self.id || self.ctx.peers.missed_by(node, r.node, at)).count();
        missing > voters.count() / 2
    }

    /// What became of a peer.
    pub(crate) fn on_peer(&mut self, node: NodeId, event: PeerEvent, fx: &mut Effects) {
        if self.broken || self.descriptor.as_ref().is_none_or(|d| d.replica_on(node).is_none()) {
            return;
        }
        if self.is_leader() {
            match event {
                PeerEvent::Down => self.wake(),
                PeerEvent::Up { .. } | PeerEvent::Epoch => {
                    self.wake();
                    self.raw.ping();
                }
            }
            return;
        }
        let followed = self.node_of(self.raw.raft.leader_id) == Some(node) || self.raw.raft.leader_id == raft::INVALID_ID;
        let lost = matches!(event, PeerEvent::Down | PeerEvent::Up { restarted: true });
        if followed && lost {
            self.wake();
            self.asked_leader = true;
            self.silence = 0;
            if self.parked_vote.is_some() && self.take_up_parked(fx) {
                return;
            }
            self.patience = self.stagger();
            if self.patience == 0 && event == PeerEvent::Down {
                self.leaderless(fx);
            }
        }
    }

    // ---- quiet ----

    fn try_quiet(&mut self, fx: &mut Effects) {
        let (last, term, now) = (self.last_index(), self.term(), self.ctx.clock.now());
        let log = &self.raw.raft.raft_log;
        let settled = self.pending.is_empty()
            && !self.is_persisting()
            && self.transfer.is_none()
            && self.catch_ups.is_empty()
            && self.lease_of == Some(term)
            && log.committed == last
            && self.applied.index == last
            && !self.descriptor.as_ref().is_some_and(|d| super::codec::is_joint(d));
        let id = self.id.0;
        let mut followers = Vec::new();
        let caught_up = settled
            && self.raw.raft.prs().iter().all(|(peer, progress)| {
                let node = self.node_of(*peer);
                if *peer == id
                    || node.is_some_and(|n| !self.ctx.peers.peer(n).live() && self.raw.raft.prs().conf().voters().ids().len() > 1)
                {
                    return true;
                }
                followers.extend(node.map(|n| (n, *peer)));
                // A promise that is not counted yet needs another beat, since this one's answer may have been lost.
                progress.matched == last
                    && progress.committed_index >= last
                    && progress.state != ProgressState::Snapshot
                    && self.promises(*peer, now)
            });
        // Without a quorum there is no quiet: Raft must find out and step down.
        let quorum = followers.len() + 1 > self.raw.raft.prs().conf().voters().ids().len() / 2;
        if !caught_up || !quorum {
            self.idle_ticks = 0;
            return;
        }
        self.idle_ticks += 1;
        if self.idle_ticks < self.ctx.config.quiet_ticks && !self.is_alone() {
            return;
        }
        followers.sort_unstable();
        for (node, peer) in &followers {
            self.send_to(*node, ReplicaId(*peer), PacketBody::Quiet { term, commit: last }, fx);
        }
        self.go_quiet();
        self.join_feed(followers.iter().map(|(node, _)| *node).collect());
    }

    /// Quiet, with everything applied and every stamp counted: from now on the closed timestamp is told by node (see [`crate::closed`]).
    fn join_feed(&mut self, followers: SmallVec<[NodeId; 4]>) {
        let (Some(handle), Some(descriptor)) = (self.handle.clone(), self.descriptor.clone()) else { return };
        if followers.is_empty() || !self.is_leader() || handle.lease_term() != Some(Term(self.term())) {
            return;
        }
        let voters = descriptor.replicas.iter().filter(|r| super::codec::votes(r) && r.id != self.id);
        let mut basis: crate::closed::Basis = voters.map(|r| (r.node, self.stamps.get(&r.id.0).copied().unwrap_or(0))).collect();
        basis.sort_unstable();
        let (ctx, range, index) = (self.ctx.clone(), self.range, self.applied.index);
        let mut entered = false;
        ctx.events.idle(range, &mut || {
            handle.note_published(ctx.closed.feed.join(range, index, basis.clone(), followers.clone()));
            entered = true;
        });
        self.in_feed = entered;
    }

    /// Something happens here, or the lease rests on something else from now on.
    pub(super) fn leave_feed(&mut self) {
        if std::mem::take(&mut self.in_feed)
            && let Some(handle) = &self.handle
        {
            handle.leave_feed();
        }
    }

    pub(super) fn on_quiet(&mut self, from: ReplicaId, term: u64, commit: u64) {
        let here = self.term() == term && self.raw.raft.leader_id == from.0;
        self.silence = 0;
        if here && self.last_index() == commit && self.applied.index == commit {
            self.go_quiet();
        }
    }

    fn go_quiet(&mut self) {
        self.awake = false;
        self.raw.mut_store().shed(0, 0);
    }

    // ---- learners ----

    fn promises(&self, replica: u64, now: ClockInterval) -> bool {
        let epoch = self.stamps.get(&replica).copied().unwrap_or(0);
        self.node_of(replica).is_some_and(|node| self.ctx.peers.peer(node).promised(epoch) > now.latest)
    }

    pub(crate) fn wait_caught_up(&mut self, replica: ReplicaId, done: oneshot::Sender<Result<(), AdminError>>) {
        self.wake();
        self.catch_ups.push((replica, done));
    }

    fn finish_catch_ups(&mut self) {
        if self.catch_ups.is_empty() {
            return;
        }
        let (committed, last) = (self.raw.raft.raft_log.committed, self.last_index());
        let now = self.ctx.clock.now();
        let prs = self.raw.raft.prs();
        let mut waiting = Vec::new();
        for (replica, done) in std::mem::take(&mut self.catch_ups) {
            // Not quite all: entries keep coming under load, and joint consensus waits for the rest anyway.
            match prs.get(replica.0) {
                // And its promise must count before its vote does, or the lease would end for a moment.
                Some(p)
                    if p.matched + 64 >= committed
                        // After a snapshot Raft probes until it has something to send, which may be never.
                        && (p.state == ProgressState::Replicate || p.state == ProgressState::Probe && p.matched >= last)
                        && self.promises(replica.0, now) =>
                {
                    drop(done.send(Ok(())));
                }
                Some(_) => waiting.push((replica, done)),
                None => drop(done.send(Err(AdminError::Invalid(format!("{replica} is no member of {}", self.range))))),
            }
        }
        self.catch_ups = waiting;
    }
}
