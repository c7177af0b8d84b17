//! One replica, driven by hand: messages, proposals and ticks in; log records, packets and applied state out.
//!
//! A worker owns the replica outright and calls it; nothing here waits. What must leave goes into [`Effects`], which the worker
//! carries out after every round: log records to the log writer (one batch for all its replicas), packets to their nodes.
//!
//! ```text
//!   propose/step/tick ─▶ RawNode ─ready─▶ entries ─▶ Effects.log ─▶ log writer ─fsync─▶ Persisted(number) ─▶ on_persist_ready
//!                                   ├────▶ leader's messages: at once, before its own fsync
//!                                   ├────▶ follower's messages: when the fsync that covers them is done
//!                                   └────▶ committed entries (only those durable here): apply (see `apply`)
//! ```
//! `election.rs` holds what this replica may do about votes and leases, `apply.rs` what committed entries do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_storage::Span;
use meridian_storage::engine::{Batch, StorageError};
use raft::prelude::{Entry, Message, MessageType};
use raft::{Config, RawNode, StateRole};
use tokio::sync::oneshot;

use super::apply::Staged;
use super::codec::{self, Packet, PacketBody, RaftMessage as _, Release};
use super::context::Context;
use super::election::{Bound, Transfer};
use super::handle::{LeaseBasis, ReplicaHandle};
use super::layout;
use super::raft_log::{Position, RaftLog};
use super::requests::RequestWindow;
use crate::api::{AdminError, Applied, NodeId, ProposeError, RangeDescriptor, RangeId, RangeReplica as _, ReplicaId, RequestId, Term};

/// Bytes of entries in one message, in one round of applying, and not yet committed.
const MAX_MESSAGE_BYTES: u64 = 1 << 20;
const MAX_APPLY_BYTES: u64 = 4 << 20;
const MAX_UNCOMMITTED_BYTES: u64 = 256 << 20;
/// Messages with entries on their way to one follower.
const MAX_INFLIGHT: usize = 256;

/// What a round of work on the replicas of one worker wants done.
#[derive(Default)]
pub(crate) struct Effects {
    /// Log records, to be made durable together.
    pub log: Batch,
    /// Whose readies the log records belong to: range, incarnation, number.
    pub persists: Vec<(RangeId, u64, u64)>,
    /// What to send.
    pub packets: BTreeMap<NodeId, Vec<Packet>>,
    /// Snapshots to stream.
    pub snapshots: Vec<SnapshotOrder>,
    /// Replicas that are to be dropped, and why.
    pub gone: Vec<(RangeId, ReplicaId)>,
    /// Right halves of splits, whose workers must take them up.
    pub born: Vec<Born>,
    /// Ranges with something to do at the next tick.
    pub awake: Vec<RangeId>,
}

/// A replica to be taken up by its worker: its state is in the engine.
pub(crate) struct Born {
    pub handle: Arc<ReplicaHandle>,
    pub bound: Option<Bound>,
    pub hold_until: Timestamp,
    /// This node led the range it was split from: it leads this one too, with everything in memory.
    pub leads: bool,
}

/// A follower that needs a snapshot.
pub(crate) struct SnapshotOrder {
    pub range: RangeId,
    pub to: ReplicaId,
    pub node: NodeId,
    pub term: u64,
}

/// Who waits for an entry.
pub(crate) enum Waiter {
    Command(oneshot::Sender<Result<Applied, ProposeError>>),
    Admin(oneshot::Sender<Result<(), AdminError>>),
    Index(oneshot::Sender<Result<u64, AdminError>>),
}

impl Waiter {
    pub(crate) fn fail(self, error: ProposeError) {
        match self {
            Waiter::Command(done) => drop(done.send(Err(error))),
            Waiter::Admin(done) => drop(done.send(Err(error.into()))),
            Waiter::Index(done) => drop(done.send(Err(error.into()))),
        }
    }
}

pub(crate) struct Pending {
    pub term: u64,
    pub waiter: Waiter,
}

struct Unpersisted {
    number: u64,
    messages: Vec<Message>,
    /// Whether it wrote something whose durability must be awaited.
    writes: bool,
}

pub(crate) struct Replica {
    pub(super) ctx: Arc<Context>,
    pub(super) range: RangeId,
    pub(super) id: ReplicaId,
    /// Tells log records of this very object from those of an earlier one with the same id.
    pub(super) incarnation: u64,
    /// None until a split or a snapshot gives the replica its state: it can then vote, but nothing else.
    pub(super) handle: Option<Arc<ReplicaHandle>>,
    pub(super) raw: RawNode<RaftLog>,
    pub(super) descriptor: Option<Arc<RangeDescriptor>>,
    pub(super) applied: layout::Applied,
    pub(super) requests: RequestWindow,
    pub(super) pending: BTreeMap<u64, Pending>,
    unpersisted: VecDeque<Unpersisted>,
    pub(super) to_apply: VecDeque<Entry>,
    /// Applied in memory, refused by a full disk: retried before anything else is applied.
    pub(super) staged: Option<Staged>,
    /// Where the members are, those of the descriptor and those that wrote to us.
    pub(super) nodes: BTreeMap<u64, NodeId>,
    /// The peer and epoch that this replica's last acknowledgement bound it to.
    pub(super) bound: Option<Bound>,
    /// Neither votes nor campaigns until `earliest` has passed this, for reasons other than a promise.
    pub(super) hold_until: Timestamp,
    /// As leader: each follower's last stamp in this term.
    pub(super) stamps: BTreeMap<u64, u64>,
    /// The lease has been announced for this term, and not been ended.
    pub(super) lease_of: Option<u64>,
    pub(super) transfer: Option<Transfer>,
    /// The lapsed lease of a leader that is just now asked for its vote.
    pub(super) laid_down: Option<LeaseBasis>,
    /// A lease given to this replica, or kept by it for itself: used if it wins the term after.
    pub(super) gift: Option<(Release, Bytes)>,
    /// A split is proposed and not applied: stamps of new epochs are not counted (see `election`).
    pub(super) split_in_flight: bool,
    pub(super) was_leader: bool,
    /// Ticks since the leader was heard of, and how many are too many.
    pub(super) silence: usize,
    /// The term in which this replica last became a candidate.
    pub(super) candidate_term: u64,
    pub(super) patience: usize,
    pub(super) asked_leader: bool,
    /// A request for a vote that a promise stood against, its sender, and until when it is worth looking at again.
    pub(super) parked_vote: Option<(NodeId, Message, Timestamp)>,
    pub(super) idle_ticks: usize,
    pub(super) awake: bool,
    /// Its closed timestamp is told by node.
    pub(super) in_feed: bool,
    pub(super) rng: meridian_clock::Rng,
    /// Log that must stay for a snapshot that is on its way.
    pub(super) keep_from: Option<u64>,
    /// Waits for a learner to catch up.
    pub(super) catch_ups: Vec<(ReplicaId, oneshot::Sender<Result<(), AdminError>>)>,
    pub(super) broken: bool,
}

impl Replica {
    /// Takes up the replica whose applied state is in the engine, or, without one, an empty replica that can only vote until a
    /// snapshot or a split gives it its state.
    pub(crate) fn load(
        ctx: Arc<Context>,
        range: RangeId,
        id: ReplicaId,
        handle: Option<Arc<ReplicaHandle>>,
        fx: &mut Effects,
    ) -> Result<Replica, StorageError> {
        let engine = ctx.engine.clone();
        let descriptor = handle.as_ref().map(|h| h.descriptor());
        let (applied, requests) = match &descriptor {
            Some(_) => {
                let applied = layout::read_applied(&*engine, range)?;
                (applied, RequestWindow::load(&*engine, range, applied.requests)?)
            }
            None => Default::default(),
        };
        let conf = descriptor.as_deref().map(codec::conf_state).unwrap_or_default();
        let position = Position { index: applied.index, term: applied.term };
        let log = RaftLog::load(engine, range, id, conf, position, &mut fx.log)?;
        let config = Config {
            id: id.0,
            election_tick: ctx.config.election_ticks,
            heartbeat_tick: ctx.config.heartbeat_ticks,
            applied: applied.index,
            max_size_per_msg: MAX_MESSAGE_BYTES,
            max_inflight_msgs: MAX_INFLIGHT,
            check_quorum: true,
            pre_vote: true,
            max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
            max_committed_size_per_ready: MAX_APPLY_BYTES,
            ..Config::default()
        };
        let raw = RawNode::new(&config, log, &ctx.logger).map_err(|e| StorageError::Corruption(format!("{range}: raft: {e}")))?;
        let rng = ctx.entropy.fork(&format!("replica {range} {id}")).rng();
        let mut replica = Replica {
            range,
            id,
            incarnation: ctx.incarnations.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            handle,
            raw,
            descriptor,
            applied,
            requests,
            pending: BTreeMap::new(),
            unpersisted: VecDeque::new(),
            to_apply: VecDeque::new(),
            staged: None,
            nodes: BTreeMap::new(),
            bound: None,
            hold_until: Timestamp::ZERO,
            stamps: BTreeMap::new(),
            lease_of: None,
            transfer: None,
            laid_down: None,
            gift: None,
            split_in_flight: false,
            was_leader: false,
            silence: 0,
            candidate_term: 0,
            patience: ctx.config.election_ticks,
            asked_leader: false,
            parked_vote: None,
            idle_ticks: 0,
            awake: true,
            in_feed: false,
            rng,
            keep_from: None,
            catch_ups: Vec::new(),
            broken: false,
            ctx,
        };
        if replica.raw.store().wiped {
            // The leader knows how far this replica once was and would never start below that. (One is any index that is not "none".)
            replica.raw.raft.pending_request_snapshot = 1;
        }
        if replica.handle.is_none() {
            // Perhaps it was here before, followed a leader, and made room for a snapshot that never came: what bound it then is forgotten.
            replica.hold_after_loss();
        }
        replica.learn_nodes();
        if let Some(handle) = &replica.handle {
            handle.set_applied(applied.index, applied.closed);
        }
        replica.patience = replica.stagger();
        Ok(replica)
    }

    pub(super) fn learn_nodes(&mut self) {
        if let Some(descriptor) = &self.descriptor {
            self.nodes.extend(descriptor.replicas.iter().map(|r| (r.id.0, r.node)));
        }
    }

    pub(super) fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    pub(super) fn term(&self) -> u64 {
        self.raw.raft.term
    }

    pub(super) fn last_index(&self) -> u64 {
        self.raw.raft.raft_log.last_index()
    }

    /// Whether this replica is the only voter, in every configuration that counts.
    pub(super) fn is_alone(&self) -> bool {
        let conf = self.raw.raft.prs().conf();
        let ids = conf.voters().ids();
        ids.len() == 1 && ids.contains(self.id.0)
    }

    pub(super) fn node_of(&self, replica: u64) -> Option<NodeId> {
        self.nodes.get(&replica).copied()
    }

    pub(super) fn span_start(&self) -> Bytes {
        self.descriptor.as_ref().map(|d| d.span.start.clone()).unwrap_or_default()
    }

    /// Queues an entry: a command or a change of the range.
    pub(crate) fn propose(&mut self, term: Term, payload: Vec<u8>, waiter: Waiter) {
        let leads = self.is_leader() && self.term() == term.0;
        let serves = self.handle.as_ref().is_some_and(|h| h.lease_term() == Some(term));
        if !leads || !serves || self.broken {
            return waiter.fail(self.not_leaseholder());
        }
        // Asked before it is in the log: what the log refuses later waits there for space, and its client with it.
        if let Err(refusal) = self.ctx.engine.admit_proposal(payload.len() as u64) {
            return waiter.fail(ProposeError::Storage(refusal));
        }
        if self.ctx.disk_is_full() {
            return waiter.fail(ProposeError::Storage(StorageError::DiskFull("the log cannot grow".into())));
        }
        if self.pending.len() >= self.ctx.config.max_proposals || self.raw.propose(Vec::new(), payload).is_err() {
            return waiter.fail(ProposeError::Overloaded(self.range));
        }
        self.wait_for_last(waiter);
    }

    /// `waiter` waits for the entry just appended.
    pub(super) fn wait_for_last(&mut self, waiter: Waiter) {
        self.wake();
        self.pending.insert(self.last_index(), Pending { term: self.term(), waiter });
    }

    pub(super) fn not_leaseholder(&self) -> ProposeError {
        let leader = self.node_of(self.raw.raft.leader_id).filter(|n| *n != self.ctx.node);
        ProposeError::NotLeaseholder(crate::api::NotLeaseholder { range: self.range, leader })
    }

    pub(super) fn wake(&mut self) {
        self.leave_feed();
        self.awake = true;
        self.idle_ticks = 0;
    }

    /// Takes a packet of another replica.
    pub(crate) fn receive(&mut self, node: NodeId, packet: Packet, fx: &mut Effects) {
        if self.broken {
            return;
        }
        self.nodes.insert(packet.from.0, node);
        match packet.body {
            PacketBody::Raft { message, stamp, release, start } => match Message::parse(&message, "raft message") {
                Ok(message) if message.from == packet.from.0 && message.to == self.id.0 => {
                    self.step(node, message, stamp, release, &start, fx);
                }
                Ok(_) | Err(_) => tracing::warn!(range = %self.range, from = %node, "malformed raft message dropped"),
            },
            PacketBody::Quiet { term, commit } => self.on_quiet(packet.from, term, commit),
            PacketBody::Wake => {
                self.wake();
                if self.is_leader() {
                    self.raw.ping();
                }
            }
            PacketBody::Gone { next_replica } => {
                if self.id < next_replica {
                    fx.gone.push((self.range, next_replica));
                }
            }
            PacketBody::Transfer { term, handover } => self.on_transfer(packet.from, term, handover),
            PacketBody::Checksum { request, index, sum } => {
                if let Some(collector) = self.ctx.checksums.lock().get(&request.0) {
                    let _ = collector.send((node, index, sum));
                }
            }
            PacketBody::Diverged { index, expected } => {
                tracing::error!(range = %self.range, replica = %self.id, index, expected, "this replica DIFFERS from the others and stops");
                self.stop();
            }
        }
    }

    pub(super) fn step(
        &mut self,
        node: NodeId,
        mut message: Message,
        stamp: u64,
        release: Option<Release>,
        start: &[u8],
        fx: &mut Effects,
    ) {
        use MessageType::*;
        let kind = message.get_msg_type();
        match kind {
            MsgRequestVote | MsgRequestPreVote => {
                if self.is_stranger(message.from) {
                    return self.tell_gone(message.from, node, fx);
                }
                if !self.admits_vote(&message, release, start) {
                    self.doubt_leader(&message);
                    self.park_vote(node, &message);
                    return;
                }
            }
            MsgAppend | MsgHeartbeat | MsgSnapshot if message.term >= self.term() => {
                self.silence = 0;
                self.asked_leader = false;
                self.patience = self.full_patience();
            }
            MsgAppendResponse | MsgHeartbeatResponse => self.note_stamp(node, &message, stamp),
            _ => {}
        }
        // A vote says how long the voter's log is (a field that Raft has no use for).
        let voter = (kind == MsgRequestVoteResponse && !message.reject).then_some((message.from, message.index));
        // The leader believes in what this replica had before its state was wiped.
        if kind == MsgHeartbeat && self.handle.is_none() {
            message.commit = message.commit.min(self.last_index());
        }
        // Beats of a quiet leader (which answers news about a peer) wake nobody.
        if !matches!(kind, MsgHeartbeat | MsgHeartbeatResponse) {
            self.wake();
        }
        // Errors are for messages of replicas that are no members (any more): nothing to do about them.
        let term = self.term();
        let candidate =
            matches!(kind, MsgRequestVote | MsgRequestPreVote).then(|| Message { entries: Default::default(), ..message.clone() });
        if self.raw.step(message).is_err() {
            tracing::trace!(range = %self.range, from = %node, ?kind, "raft message without effect");
        }
        if let Some(candidate) = candidate {
            self.outrun(&candidate, fx);
        }
        if let Some((voter, last)) = voter.filter(|_| self.is_leader() && self.term() == term) {
            self.begin_at(voter, last);
        }
        if let Some(basis) = self.laid_down.take()
            && self.is_leader()
            && self.term() == term
            && let Some(handle) = &self.handle
        {
            handle.set_lease(Some(basis));
        }
    }

    /// A new leader takes every follower for as far as itself and learns better by a refusal, which is a round trip. A voter has told how far it is.
    fn begin_at(&mut self, voter: u64, last: u64) {
        let Some(progress) = self.raw.raft.mut_prs().get_mut(voter) else { return };
        if progress.state == raft::ProgressState::Probe && last + 1 < progress.next_idx && last + 1 > progress.matched {
            progress.next_idx = last + 1;
            progress.resume();
            self.raw.raft.send_append(voter);
        }
    }

    /// Whether `replica` was a member and is one no more.
    fn is_stranger(&self, replica: u64) -> bool {
        self.descriptor.as_ref().is_some_and(|d| replica < d.next_replica.0 && !d.replicas.iter().any(|r| r.id.0 == replica))
    }

    pub(super) fn tell_gone(&self, replica: u64, node: NodeId, fx: &mut Effects) {
        if let Some(d) = &self.descriptor {
            self.send_to(node, ReplicaId(replica), PacketBody::Gone { next_replica: ReplicaId(replica + 1).min(d.next_replica) }, fx);
        }
    }

    pub(super) fn send_to(&self, node: NodeId, to: ReplicaId, body: PacketBody, fx: &mut Effects) {
        fx.packets.entry(node).or_default().push(Packet { range: self.range, from: self.id, to, body });
    }

    /// Works off everything that Raft has ready.
    pub(crate) fn advance(&mut self, fx: &mut Effects) {
        if self.broken {
            return;
        }
        self.retry_staged(fx);
        while self.raw.has_ready() && !self.broken {
            self.handle_ready(fx);
        }
        if self.broken {
            return;
        }
        self.follow_leadership(fx);
        if self.raw.has_ready() {
            return self.advance(fx);
        }
        if self.awake {
            fx.awake.push(self.range);
        }
    }

    fn handle_ready(&mut self, fx: &mut Effects) {
        let mut ready = self.raw.ready();
        let number = ready.number();
        for message in ready.take_messages() {
            self.send(message, fx);
        }
        let entries = ready.take_entries();
        let writes = !entries.is_empty() || ready.must_sync();
        if writes {
            // The commit index rides along with entries and votes and is never written for its own sake: what it lost in a crash,
            // the next leader tells again. It must be beside the entries, though: a replica that has the end of a membership change in its log must
            // not forget that its beginning is committed.
            let hard = self.raw.raft.hard_state();
            let log = self.raw.mut_store();
            log.append(entries, &mut fx.log);
            if *log.hard_state() != hard {
                log.set_hard_state(hard, &mut fx.log);
            }
            fx.persists.push((self.range, self.incarnation, number));
        }
        self.unpersisted.push_back(Unpersisted { number, messages: ready.take_persisted_messages(), writes });
        self.to_apply.extend(ready.take_committed_entries());
        self.raw.advance_append_async(ready);
        self.apply_committed(fx);
        self.release_persisted(0, fx);
    }

    /// The log records of ready `number` and of all before it are durable.
    pub(crate) fn persisted(&mut self, number: u64, fx: &mut Effects) {
        if !self.broken {
            self.release_persisted(number, fx);
        }
    }

    fn release_persisted(&mut self, number: u64, fx: &mut Effects) {
        let mut last = None;
        while let Some(front) = self.unpersisted.front() {
            if front.writes && front.number > number {
                break;
            }
            let Some(done) = self.unpersisted.pop_front() else { break };
            last = Some(done.number);
            for message in done.messages {
                self.send(message, fx);
            }
        }
        if let Some(last) = last {
            self.raw.on_persist_ready(last);
        }
    }

    /// Whether something of this replica is on its way to the disk.
    pub(super) fn is_persisting(&self) -> bool {
        !self.unpersisted.is_empty()
    }

    fn send(&mut self, mut message: Message, fx: &mut Effects) {
        let to = message.to;
        let Some(node) = self.node_of(to) else { return };
        let kind = message.get_msg_type();
        if kind == MessageType::MsgRequestVoteResponse {
            message.index = self.last_index();
        }
        if kind == MessageType::MsgSnapshot {
            self.keep_from = Some(message.get_snapshot().get_metadata().index);
            fx.snapshots.push(SnapshotOrder { range: self.range, to: ReplicaId(to), node, term: message.term });
            return;
        }
        let stamp = match kind {
            MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse => self.bind(node, &message),
            _ => 0,
        };
        let is_vote = matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        let release = self.gift.as_ref().map(|(release, _)| *release).filter(|r| is_vote && r.term + 1 == message.term);
        let start = if is_vote { self.span_start() } else { Bytes::new() };
        let body = PacketBody::Raft { message: message.bytes().into(), stamp, release, start };
        self.send_to(node, ReplicaId(to), body, fx);
    }

    /// Cuts the log: `flushed` is durable in applied state.
    pub(crate) fn truncate(&mut self, flushed: u64, fx: &mut Effects) {
        if self.broken || self.handle.is_none() {
            return;
        }
        let mut cut = flushed.min(self.applied.index);
        if let Some(keep) = self.keep_from {
            cut = cut.min(keep);
        }
        if !self.is_alone() {
            // A leader waits for its followers within bounds; a follower keeps as much, since it may lead next.
            let floor = cut.saturating_sub(self.ctx.config.log_keep_entries);
            let slowest = if self.is_leader() { self.raw.raft.prs().iter().map(|(_, p)| p.matched).min().unwrap_or(cut) } else { floor };
            cut = cut.min(slowest.max(floor));
        }
        if let Err(error) = self.raw.mut_store().truncate(cut, &mut fx.log) {
            tracing::error!(range = %self.range, %error, "log not cut");
        }
    }

    /// Sends every waiter away.
    pub(super) fn fail_pending(&mut self) {
        for (_, pending) in std::mem::take(&mut self.pending) {
            pending.waiter.fail(ProposeError::Ambiguous(self.range));
        }
        for (_, done) in self.catch_ups.drain(..) {
            let _ = done.send(Err(AdminError::Propose(ProposeError::Ambiguous(self.range))));
        }
    }

    /// Stops this replica for good (until the node restarts); the process goes on.
    pub(crate) fn stop(&mut self) {
        self.broken = true;
        self.awake = false;
        self.leave_feed();
        self.fail_pending();
        if let Some(handle) = &self.handle {
            handle.set_gone();
            handle.set_leader(None);
            if handle.set_lease(None).is_some() || self.lease_of.is_some() {
                self.ctx.events.lease_ended(self.range);
            }
        }
        self.lease_of = None;
    }

    /// A request id for what replication proposes itself.
    pub(super) fn own_request(&mut self) -> RequestId {
        use rand::Rng as _;
        RequestId(self.rng.random())
    }

    /// The span that the replica covers.
    pub(super) fn span(&self) -> Option<&Span> {
        self.descriptor.as_deref().map(|d| &d.span)
    }
}
