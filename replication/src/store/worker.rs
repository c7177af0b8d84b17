//! Workers: tasks that own their ranges outright.
//!
//! A range belongs to the worker that its id hashes to. The worker takes what has arrived (requests of this node, packets of others, news
//! of its own log records), hands it to the replicas concerned, lets each work off what is ready, and carries out the effects of the
//! whole round at once: one batch to the log writer, one message to each peer. So everything that arrives while a sync is under way shares
//! the next one, and there is no lock around a RawNode.
//!
//! Two queues lead to a worker. The bounded one takes what others want; when it is full, proposals are refused and packets dropped (Raft
//! sends again). The other takes the consequences of the worker's own doing, which are bounded by that, and is served first.
//!
//! A replica that panics (raft-rs asserts its invariants) or whose state does not decode is stopped; the others go on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use meridian_storage::engine::{Batch, Space, StorageError};
use meridian_storage::mvcc;
use meridian_storage::{Key, Span};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::codec::{self, Packet, PacketBody};
use super::context::Context;
use super::layout;
use super::membership::Change;
use super::replica::{Born, Effects, Replica};
use super::snapshot::{self, Arrived};
use crate::api::{AdminError, Applied, NodeId, NotLeaseholder, ProposeError, RangeId, RangeReplica as _, ReplicaId, RequestId, Term};
use crate::liveness::PeerEvent;
use crate::transport::{Service, TrafficClass};

/// Requests and packet lots that may wait for one worker.
pub(crate) const QUEUE: usize = 8192;
/// Messages taken in one round.
const ROUND: usize = 512;
/// How long after a flush that failed the next is tried.
const FLUSH_RETRY: std::time::Duration = std::time::Duration::from_millis(100);
/// Bytes of packets after which a message to a peer is closed.
const MAX_LOT_BYTES: usize = 4 << 20;

/// What others want of a worker.
pub(crate) enum WorkerMessage {
    Request { range: RangeId, request: Request },
    Packets { from: NodeId, packets: Vec<Packet> },
}

/// What is wanted of one replica.
pub(crate) enum Request {
    Propose {
        term: Term,
        payload: Vec<u8>,
        done: oneshot::Sender<Result<Applied, ProposeError>>,
    },
    Split {
        key: Key,
        right: RangeId,
        done: oneshot::Sender<Result<(), AdminError>>,
    },
    Transfer {
        to: NodeId,
        done: oneshot::Sender<Result<(), AdminError>>,
    },
    Change {
        change: Change,
        done: oneshot::Sender<Result<(), AdminError>>,
    },
    CaughtUp {
        replica: ReplicaId,
        done: oneshot::Sender<Result<(), AdminError>>,
    },
    Checksum {
        request: RequestId,
        done: oneshot::Sender<Result<u64, AdminError>>,
    },
    Diverged {
        node: NodeId,
        index: u64,
        expected: u64,
    },
    /// Something is evaluated that may not end in a proposal: if the range is quiet, it must find its way back into the feed.
    Stir,
}

impl Request {
    fn refuse(self, range: RangeId) {
        let error = NotLeaseholder { range, leader: None };
        match self {
            Request::Propose { done, .. } => drop(done.send(Err(error.into()))),
            Request::Split { done, .. }
            | Request::Transfer { done, .. }
            | Request::Change { done, .. }
            | Request::CaughtUp { done, .. } => drop(done.send(Err(error.into()))),
            Request::Checksum { done, .. } => drop(done.send(Err(error.into()))),
            Request::Diverged { .. } | Request::Stir => {}
        }
    }
}

/// What follows from the worker's own doing, and news for all its replicas.
pub(crate) enum Internal {
    Persisted { persists: Persists, result: Result<(), StorageError> },
    Born(Born),
    Peer(NodeId, PeerEvent),
    Flushed(Vec<(RangeId, u64)>),
    SnapshotSent { range: RangeId, to: ReplicaId, ok: bool },
    SnapshotBegins { range: RangeId, replica: ReplicaId, term: u64, span: Span, done: oneshot::Sender<Option<Room>> },
    SnapshotArrived(Arrived),
}

/// Room was made for a snapshot.
pub(crate) struct Room {
    /// The span of what was there.
    pub old: Option<Span>,
}

/// The way to a worker.
#[derive(Clone, Debug)]
pub(crate) struct WorkerSender {
    pub requests: mpsc::Sender<WorkerMessage>,
    pub internal: mpsc::UnboundedSender<Internal>,
}

/// Whose readies a batch of log records belongs to: range, incarnation of its replica, number.
pub(crate) type Persists = Vec<(RangeId, u64, u64)>;

pub(crate) struct Worker {
    ctx: Arc<Context>,
    replicas: BTreeMap<RangeId, Replica>,
    requests: mpsc::Receiver<WorkerMessage>,
    internal: mpsc::UnboundedReceiver<Internal>,
    me: WorkerSender,
    /// Replicas with something to do at the next tick.
    awake: BTreeSet<RangeId>,
    /// Replicas touched in this round.
    touched: BTreeSet<RangeId>,
    fx: Effects,
    /// Log batches that a full disk refused, oldest first: nothing is submitted past them.
    held: VecDeque<(Batch, Persists)>,
    /// The log writer has something of ours that is not synced.
    submitted: bool,
}

impl Worker {
    pub(crate) fn new(
        ctx: Arc<Context>,
        me: WorkerSender,
        requests: mpsc::Receiver<WorkerMessage>,
        internal: mpsc::UnboundedReceiver<Internal>,
    ) -> Self {
        Worker {
            ctx,
            replicas: BTreeMap::new(),
            requests,
            internal,
            me,
            awake: BTreeSet::new(),
            touched: BTreeSet::new(),
            fx: Effects::default(),
            held: VecDeque::new(),
            submitted: false,
        }
    }

    /// Takes up a replica found at start.
    pub(crate) fn adopt_at_start(&mut self, range: RangeId, replica: ReplicaId) -> Result<(), StorageError> {
        let handle = self.ctx.map.read().get(range).cloned();
        let mut loaded = Replica::load(self.ctx.clone(), range, replica, handle, &mut self.fx)?;
        loaded.start_campaign_if_alone();
        self.replicas.insert(range, loaded);
        self.touched.insert(range);
        Ok(())
    }

    /// Works until the store is gone.
    pub(crate) async fn run(mut self) {
        let mut ticks = tokio::time::interval(self.ctx.config.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.finish_round();
        loop {
            let ticking = !self.awake.is_empty() || !self.held.is_empty();
            tokio::select! {
                biased;
                message = self.internal.recv() => match message {
                    Some(message) => self.on_internal(message),
                    None => return,
                },
                message = self.requests.recv() => match message {
                    Some(message) => self.on_message(message),
                    None => return,
                },
                _ = ticks.tick(), if ticking => self.on_tick(),
            }
            for _ in 0..ROUND {
                if let Ok(message) = self.internal.try_recv() {
                    self.on_internal(message);
                } else if let Ok(message) = self.requests.try_recv() {
                    self.on_message(message);
                } else {
                    break;
                }
            }
            self.finish_round();
        }
    }

    /// Lets `work` loose on a replica; a panic stops that replica only.
    fn with(&mut self, range: RangeId, work: impl FnOnce(&mut Replica, &mut Effects)) {
        let Some(replica) = self.replicas.get_mut(&range) else { return };
        self.touched.insert(range);
        let fx = &mut self.fx;
        if catch_unwind(AssertUnwindSafe(|| work(replica, fx))).is_err() {
            tracing::error!(%range, "a replica broke an invariant and stops");
            replica.stop();
        }
    }

    fn on_message(&mut self, message: WorkerMessage) {
        match message {
            WorkerMessage::Request { range, request } => {
                if self.replicas.contains_key(&range) {
                    self.with(range, |replica, fx| replica.on_request(request, fx));
                } else {
                    request.refuse(range);
                }
            }
            WorkerMessage::Packets { from, packets } => {
                for packet in packets {
                    self.on_packet(from, packet);
                }
            }
        }
    }

    fn on_packet(&mut self, from: NodeId, packet: Packet) {
        let range = packet.range;
        let present = self.replicas.get(&range).map(|r| r.id);
        if present.is_some_and(|id| id > packet.to) {
            return;
        }
        if present != Some(packet.to) {
            // Somebody knows a newer replica of this range on this node than we do: the old one is history.
            if !matches!(packet.body, PacketBody::Raft { .. }) {
                return;
            }
            if let Some(old) = present {
                tracing::info!(%range, %old, new = %packet.to, "replaced by a newer replica");
                self.remove(range, packet.to);
            }
            match layout::read_tombstone(&*self.ctx.engine, range) {
                Ok(least) if packet.to >= least && !snapshot::is_incoming(&self.ctx, range) => {}
                Ok(_) => return,
                Err(error) => return tracing::error!(%range, %error, "tombstone unreadable"),
            }
            match Replica::load(self.ctx.clone(), range, packet.to, None, &mut self.fx) {
                Ok(replica) => drop(self.replicas.insert(range, replica)),
                Err(error) => return tracing::error!(%range, %error, "replica could not be made"),
            }
        }
        self.with(range, |replica, fx| replica.receive(from, packet, fx));
    }

    fn on_internal(&mut self, message: Internal) {
        match message {
            Internal::Persisted { persists, result } => match result {
                Ok(()) => {
                    for (range, incarnation, number) in persists {
                        self.with(range, |replica, fx| {
                            if replica.incarnation == incarnation {
                                replica.persisted(number, fx);
                            }
                        });
                    }
                }
                Err(error) => {
                    tracing::error!(node = %self.ctx.node, %error, "the log cannot be made durable: the replicas concerned stop");
                    for (range, _, _) in persists {
                        self.with(range, |replica, _| replica.stop());
                    }
                }
            },
            Internal::Born(born) => self.on_born(born),
            Internal::Peer(node, event) => {
                let ranges: Vec<RangeId> = self.replicas.keys().copied().collect();
                for range in ranges {
                    self.with(range, |replica, fx| replica.on_peer(node, event, fx));
                }
            }
            Internal::Flushed(applied) => {
                for (range, index) in applied {
                    self.with(range, |replica, fx| replica.truncate(index, fx));
                }
            }
            Internal::SnapshotSent { range, to, ok } => self.with(range, |replica, _| replica.snapshot_sent(to, ok)),
            Internal::SnapshotBegins { range, replica, term, span, done } => {
                let room = self.prepare_for_snapshot(range, replica, term, span);
                let _ = done.send(room);
            }
            Internal::SnapshotArrived(arrived) => self.on_snapshot(arrived),
        }
    }

    fn on_born(&mut self, born: Born) {
        let range = born.handle.range_id();
        let id = born.handle.replica_id();
        // A snapshot may have taken its place while the split was being flushed, or it was removed: what is in the engine is not its state any more.
        if !self.ctx.map.read().get(range).is_some_and(|present| Arc::ptr_eq(present, &born.handle)) {
            return tracing::info!(node = %self.ctx.node, %range, "the right half of a split is history before it is taken up");
        }
        let loaded = Replica::load(self.ctx.clone(), range, id, Some(born.handle.clone()), &mut self.fx);
        match loaded {
            Ok(mut replica) => {
                tracing::debug!(node = %self.ctx.node, %range, leads = born.leads, "the right half of a split is taken up");
                replica.inherit(born.bound, born.hold_until);
                // It may have acknowledged a leader of the right range while it was empty.
                if let Some(empty) = self.replicas.remove(&range) {
                    replica.keep_binding(&empty);
                }
                self.replicas.insert(range, replica);
                self.with(range, |replica, _| {
                    if born.leads {
                        replica.lead_after_split();
                    }
                });
            }
            Err(error) => tracing::error!(%range, %error, "right half of a split could not be taken up"),
        }
    }

    /// A snapshot of `span` wants to come in for `replica`: what is there makes room, if it is older. Whoever comes later with what was there before, such
    /// as the right half of a split that was still being flushed, finds the place taken.
    fn prepare_for_snapshot(&mut self, range: RangeId, replica: ReplicaId, term: u64, span: Span) -> Option<Room> {
        match self.replicas.get(&range) {
            Some(present) if present.id > replica => return None,
            Some(present) if present.id == replica && present.term() > term => return None,
            _ => {}
        }
        match layout::read_tombstone(&*self.ctx.engine, range) {
            Ok(least) if replica >= least => {}
            _ => return None,
        }
        // Nothing may come between the log records that were handed over and the replica that is loaded from them later.
        self.finish_round();
        if !self.held.is_empty() {
            return None;
        }
        let old = {
            let mut map = self.ctx.map.write();
            if map.overlapping(range, &span).is_some() {
                return None;
            }
            let old = map.get(range).map(|handle| handle.descriptor().span.clone());
            map.remove(range);
            map.reserve(range, span);
            old
        };
        if let Some(mut present) = self.replicas.remove(&range) {
            present.stop();
        }
        self.awake.remove(&range);
        Some(Room { old })
    }

    fn on_snapshot(&mut self, arrived: Arrived) {
        let (range, id) = (arrived.range, arrived.replica);
        if self.replicas.get(&range).is_some_and(|r| r.id >= id) {
            return;
        }
        let handle = self.ctx.map.read().get(range).cloned();
        match Replica::load(self.ctx.clone(), range, id, handle, &mut self.fx) {
            Ok(mut replica) => {
                replica.hold_after_loss();
                self.replicas.insert(range, replica);
                self.touched.insert(range);
            }
            Err(error) => tracing::error!(%range, %error, "replica could not be taken up after its snapshot"),
        }
    }

    fn on_tick(&mut self) {
        self.retry_held();
        for range in std::mem::take(&mut self.awake) {
            self.with(range, |replica, fx| replica.tick(fx));
        }
    }

    /// Lets every replica touched work off what is ready, then carries out what came of it.
    fn finish_round(&mut self) {
        while let Some(range) = self.touched.pop_first() {
            self.with(range, |replica, fx| replica.advance(fx));
            self.touched.remove(&range);
            if !self.replicas.get(&range).is_some_and(|r| r.awake) {
                self.awake.remove(&range);
            }
        }
        self.awake.extend(self.fx.awake.drain(..));
        let gone = std::mem::take(&mut self.fx.gone);
        for (range, least) in gone {
            self.remove(range, least);
        }
        self.submit();
        for (node, packets) in std::mem::take(&mut self.fx.packets) {
            send_packets(&self.ctx, node, packets);
        }
        for order in std::mem::take(&mut self.fx.snapshots) {
            snapshot::start_sending(&self.ctx, order, self.me.clone());
        }
        if !self.fx.born.is_empty() {
            self.ctx.tasks.spawn(take_up(self.ctx.clone(), std::mem::take(&mut self.fx.born)));
        }
        // The last step, since it may take as long as a sync of a quick disk: appends to followers are on their way by now.
        if std::mem::take(&mut self.submitted) {
            self.ctx.log_writer.sync_pending();
        }
    }

    fn submit(&mut self) {
        if self.fx.log.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.fx.log);
        let persists = std::mem::take(&mut self.fx.persists);
        self.held.push_back((batch, persists));
        if self.held.len() == 1 {
            self.retry_held();
        }
    }

    fn retry_held(&mut self) {
        while let Some((batch, persists)) = self.held.pop_front() {
            let (internal, done) = (self.me.internal.clone(), persists.clone());
            let completion = Box::new(move |result| {
                if !done.is_empty() {
                    let _ = internal.send(Internal::Persisted { persists: done, result });
                }
            });
            match self.ctx.log_writer.submit_for_sync(&batch, completion) {
                Ok(()) => {
                    self.submitted = true;
                    if self.held.is_empty() {
                        self.ctx.set_disk_full(false);
                    }
                }
                Err(StorageError::DiskFull(_)) => {
                    self.ctx.set_disk_full(true);
                    self.held.push_front((batch, persists));
                    return;
                }
                Err(error) => {
                    let _ = self.me.internal.send(Internal::Persisted { persists, result: Err(error) });
                }
            }
        }
    }

    /// Drops the replica of `range` with everything it has; only replicas from `least` on may come back.
    fn remove(&mut self, range: RangeId, least: ReplicaId) {
        let Some(replica) = self.replicas.get_mut(&range) else { return };
        if replica.id >= least {
            return;
        }
        tracing::info!(node = %self.ctx.node, %range, replica = %replica.id, "replica removed");
        replica.stop();
        let mut batch = Batch::new();
        let (start, end) = layout::replica_meta_bounds(range);
        batch.delete_range(Space::Meta, start, end);
        batch.put(Space::Meta, layout::tombstone_key(range), codec::to_bytes(&least));
        if let Some(span) = replica.span() {
            let (start, end) = mvcc::engine_span(span);
            for space in [Space::Data, Space::Lock] {
                batch.delete_range(space, start.clone(), end.clone());
            }
        }
        // A removal that fails (full disk) is undone by nobody: the replica stays stopped, and after a restart it is told again.
        if let Err(error) = self.ctx.engine.apply(&batch) {
            tracing::error!(%range, %error, "removing a replica failed");
            return;
        }
        self.replicas.remove(&range);
        self.awake.remove(&range);
        let known = self.ctx.map.write().remove(range);
        self.ctx.members_changed();
        if known {
            self.ctx.events.replica_removed(range);
        }
        // Its log goes only once its removal is durable (see `flusher`): a replica whose removal a crash undid needs its log.
        self.ctx.log_garbage.lock().push((range, least));
    }
}

/// Sends packets to their node, in as few messages as their sizes allow. Failures are Raft's to cope with.
pub(crate) fn send_packets(ctx: &Context, node: NodeId, packets: Vec<Packet>) {
    let mut lot = Vec::new();
    let mut bytes = 0;
    let flush = |lot: &mut Vec<Packet>| {
        if !lot.is_empty() {
            let body = codec::to_bytes(&*lot).into();
            if let Err(error) = ctx.transport.send(node, TrafficClass::Raft, Service::Raft, body) {
                tracing::trace!(to = %node, %error, "raft packets dropped");
            }
            lot.clear();
        }
    };
    for packet in packets {
        let size = match &packet.body {
            PacketBody::Raft { message, .. } => message.len(),
            PacketBody::Transfer { handover, .. } => handover.len(),
            _ => 64,
        };
        if bytes + size > MAX_LOT_BYTES {
            flush(&mut lot);
            bytes = 0;
        }
        bytes += size;
        lot.push(packet);
    }
    flush(&mut lot);
}

/// The right half of a split begins its log only once the split itself is durable. Log and applied state become durable at different moments: without the
/// flush a crash could leave the right half with acknowledged entries but without the state under them, and its log would be begun anew.
async fn take_up(ctx: Arc<Context>, born: Vec<Born>) {
    while let Err(error) = ctx.flush() {
        tracing::warn!(%error, "flush after a split failed: the right half waits");
        tokio::time::sleep(FLUSH_RETRY).await;
    }
    for born in born {
        let worker = ctx.worker(born.handle.range_id()).clone();
        let _ = worker.internal.send(Internal::Born(born));
    }
}
