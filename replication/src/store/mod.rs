//! One node's replicas.
//!
//! ```text
//!            propose, split, transfer … ─┐                       ┌─▶ engine.apply (state + position, one batch)
//!   packets of other nodes ──────────────┼─▶ worker ─▶ replica ──┼─▶ log writer ─fsync─▶ back to the worker
//!   news of peers (promises) ────────────┘   (owns it outright)  └─▶ transport (one message a peer and round)
//!
//!   handle      what others see of a replica: descriptor, lease, the way to its worker
//!   worker      owns ranges; rounds; effects
//!   replica     drives one RawNode; apply, election, membership, snapshot are its chapters
//!   raft_log    the log as raft-rs reads it; layout: keys; codec: bytes; requests: applied once
//!   background  heartbeats, flushing and cutting logs, splitting by size
//! ```
//! **Crash.** Log records are synced before anything depends on them. Applied state is not: it comes back as of some earlier moment and
//! the log is replayed from the position found with it. So a log is cut only below what a completed flush covers.
//!
//! **Full disk.** The log writer and the engine refuse writes; workers hold what they have in order and try again at every tick; new
//! proposals are refused at once, reads go on.

mod admin;
mod apply;
mod background;
pub(crate) mod codec;
mod context;
mod election;
mod handle;
mod layout;
mod membership;
mod raft_log;
mod replica;
mod requests;
mod snapshot;
#[cfg(test)]
mod tests;
mod worker;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use async_trait::async_trait;
use bytes::Bytes;
use meridian_clock::{Clock, Entropy, TaskGroup};
use meridian_storage::engine::{Batch, Space, StorageError};
use meridian_storage::key::{CLUSTER_PREFIX, KEY_MAX, KEY_MIN, TABLE_PREFIX};
use meridian_storage::log_writer::LogWriter;
use meridian_storage::{Engine, Span};
use parking_lot::{Mutex, RwLock};
use rand::Rng as _;
use tokio::sync::mpsc;

pub use admin::{AdminCallError, AdminReply, AdminRequest, call as admin_call};
pub(crate) use context::Context;
pub use context::{CLOSED_LAG, StoreConfig};
pub use handle::{MAX_COMMAND_BYTES, ReplicaHandle};
pub use layout::StoreIdent;

use crate::addressing::AddressPublisher;
use crate::api::{
    AdminError, NodeId, NotLeaseholder, RangeAdmin, RangeDescriptor, RangeEvents, RangeHost, RangeId, RangeReplica, ReplicaDescriptor,
    ReplicaId, ReplicaRole, RequestId, SystemKv,
};
use crate::consistency::{self, ChecksumReport};
use crate::liveness::Peers;
use crate::transport::Transport;
use context::{RangeIds, ReplicaMap};
use worker::{Internal, Request, Worker, WorkerMessage, WorkerSender};

/// The ranges that a new cluster begins with, one replica each: addressing, cluster state, tables.
pub fn first_ranges(node: NodeId) -> Vec<RangeDescriptor> {
    let spans = [
        Span::new(Bytes::from_static(KEY_MIN), Bytes::from_static(&[CLUSTER_PREFIX])),
        Span::new(Bytes::from_static(&[CLUSTER_PREFIX]), Bytes::from_static(&[TABLE_PREFIX])),
        Span::new(Bytes::from_static(&[TABLE_PREFIX]), Bytes::from_static(KEY_MAX)),
    ];
    (1..)
        .zip(spans)
        .map(|(id, span)| RangeDescriptor {
            id: RangeId(id),
            span,
            replicas: vec![ReplicaDescriptor { node, id: ReplicaId(1), role: ReplicaRole::Voter }],
            next_replica: ReplicaId(2),
            generation: 1,
            span_epoch: 0,
        })
        .collect()
}

/// A store's replicas. Cheap to share: everything behind it is owned by workers or small cells.
pub struct Store {
    ctx: Arc<Context>,
    system_kv: Mutex<bool>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store of {}", self.ctx.node)
    }
}

impl Store {
    /// Makes an empty engine the store of `node` in `cluster` (a random id). A node that joins a cluster does just this.
    pub fn initialise(engine: &dyn Engine, node: NodeId, cluster: u128) -> Result<(), StorageError> {
        if let Some(ident) = StoreIdent::read(engine)? {
            return Err(StorageError::Format(format!("this is already the store of {} in cluster {:032x}", ident.node, ident.cluster)));
        }
        let mut batch = Batch::new();
        StoreIdent::new(cluster, node).write(&mut batch);
        engine.apply(&batch)?;
        engine.flush()
    }

    /// Makes an empty engine the first store of a new cluster: its identity, and the first ranges with one replica each, here.
    pub fn bootstrap(engine: &dyn Engine, node: NodeId, cluster: u128) -> Result<(), StorageError> {
        if let Some(ident) = StoreIdent::read(engine)? {
            return Err(StorageError::Format(format!("this is already the store of {} in cluster {:032x}", ident.node, ident.cluster)));
        }
        let mut batch = Batch::new();
        StoreIdent::new(cluster, node).write(&mut batch);
        let start = layout::Applied { index: layout::INITIAL_INDEX, term: layout::INITIAL_TERM, ..layout::Applied::default() };
        for descriptor in first_ranges(node) {
            layout::put_record(&mut batch, ReplicaId(1), &descriptor);
            layout::put_applied(&mut batch, descriptor.id, &start);
        }
        engine.apply(&batch)?;
        engine.flush()
    }

    /// The identity of the store in `engine`; `None` if it is empty.
    pub fn ident(engine: &dyn Engine) -> Result<Option<StoreIdent>, StorageError> {
        StoreIdent::read(engine)
    }

    /// Starts the replicas in `engine`, which must have an identity. Registers the services Raft, Liveness, Snapshot and Admin.
    #[allow(clippy::too_many_arguments)]
    pub fn start(
        config: StoreConfig,
        engine: Arc<dyn Engine>,
        log_writer: LogWriter,
        transport: Arc<dyn Transport>,
        clock: Clock,
        entropy: Entropy,
        tasks: TaskGroup,
        events: Arc<dyn RangeEvents>,
    ) -> Result<Arc<Store>, StorageError> {
        let ident = StoreIdent::read(&*engine)?.ok_or_else(|| StorageError::Format("the store is empty: init or join first".into()))?;
        let node = ident.node;
        snapshot::clean_up(&*engine)?;
        let count = config.workers.max(1);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count)
            .map(|_| {
                let (requests, from_requests) = mpsc::channel(worker::QUEUE);
                let (internal, from_internal) = mpsc::unbounded_channel();
                (WorkerSender { requests, internal }, (from_requests, from_internal))
            })
            .unzip();
        let range_ids = Arc::new(RangeIds::load(&*engine, node, log_writer.clone())?);
        let ctx = Arc::new(Context {
            node,
            peers: Peers::new(clock.clone(), config.liveness, layout::read_reach(&*engine)?, &entropy),
            config,
            engine,
            log_writer,
            transport,
            clock,
            entropy,
            tasks: tasks.clone(),
            events,
            map: RwLock::new(ReplicaMap::default()),
            workers: senders.clone(),
            publisher: Arc::new(AddressPublisher::default()),
            range_ids,
            closed: Arc::default(),
            checksums: Mutex::default(),
            log_garbage: Mutex::default(),
            incoming: Mutex::new(BTreeMap::new()),
            sending: Arc::new(tokio::sync::Semaphore::new(background::SNAPSHOTS_AT_ONCE)),
            incarnations: AtomicU64::new(1),
            membership: AtomicU64::new(1),
            disk_full: AtomicBool::new(false),
            clock_verdict: tokio::sync::watch::Sender::new(None),
            logger: slog::Logger::root(slog::Discard, slog::o!()),
        });
        let mut workers: Vec<Worker> = senders
            .iter()
            .zip(receivers)
            .map(|(me, (requests, internal))| Worker::new(ctx.clone(), me.clone(), requests, internal))
            .collect();
        ctx.take_up_replicas(&mut workers)?;
        let store = Arc::new(Store { ctx: ctx.clone(), system_kv: Mutex::new(false) });
        background::serve(&store);
        for worker in workers {
            tasks.spawn(worker.run());
        }
        background::start(&ctx);
        Ok(store)
    }

    /// Gives the store the means to publish range addresses. Later calls have no effect.
    pub fn set_system_kv(&self, kv: Arc<dyn SystemKv>) {
        let mut set = self.system_kv.lock();
        if !std::mem::replace(&mut *set, true) {
            self.ctx.publisher.start(kv, &self.ctx.entropy, &self.ctx.tasks);
        }
    }

    /// Hears why this node must take itself out of service, if its clock is out of bounds against most of its peers.
    pub fn clock_verdict(&self) -> tokio::sync::watch::Receiver<Option<String>> {
        self.ctx.clock_verdict.subscribe()
    }

    /// The present bound on the error of this node's clock.
    pub fn clock_error(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.ctx.clock.error_nanos())
    }

    /// Quiet ranges led here whose closed timestamps are told by node.
    pub fn idle_ranges(&self) -> usize {
        self.ctx.closed.feed.ranges()
    }

    /// Descriptors that wait to be published in range addressing.
    pub fn unpublished(&self) -> usize {
        self.ctx.publisher.backlog()
    }

    /// The identity of this store.
    pub fn node_id(&self) -> NodeId {
        self.ctx.node
    }

    /// Whether `node` was heard of within the suspicion time; this node itself always.
    pub fn is_live(&self, node: NodeId) -> bool {
        node == self.ctx.node || self.ctx.peers.peer(node).live()
    }

    /// The local replica of `range` with what only replication itself uses.
    pub fn handle(&self, range: RangeId) -> Option<Arc<ReplicaHandle>> {
        self.ctx.map.read().get(range).cloned()
    }

    /// Compares the checksums of all replicas of `range`, whose lease this node must hold, and stops those that differ.
    pub async fn check_replicas(&self, range: RangeId) -> Result<ChecksumReport, AdminError> {
        let handle = self.handle(range).ok_or(NotLeaseholder { range, leader: None })?;
        consistency::check(&self.ctx, &handle).await
    }

    /// Makes all applied state durable and lets logs be cut below it. Done periodically anyway.
    pub fn flush(&self) -> Result<(), StorageError> {
        background::flush(&self.ctx)
    }
}

impl RangeHost for Store {
    fn is_lost(&self, node: NodeId) -> bool {
        node != self.ctx.node && self.ctx.peers.peer(node).lost_lately(tokio::time::Instant::now())
    }

    fn node(&self) -> NodeId {
        self.ctx.node
    }

    fn engine(&self) -> &Arc<dyn Engine> {
        &self.ctx.engine
    }

    fn replica_for_key(&self, key: &[u8]) -> Option<Arc<dyn RangeReplica>> {
        self.ctx.map.read().for_key(key).map(|h| h.clone() as Arc<dyn RangeReplica>)
    }

    fn replica(&self, range: RangeId) -> Option<Arc<dyn RangeReplica>> {
        self.ctx.map.read().get(range).map(|h| h.clone() as Arc<dyn RangeReplica>)
    }

    fn replicas(&self) -> Vec<Arc<dyn RangeReplica>> {
        self.ctx.map.read().all().map(|h| h.clone() as Arc<dyn RangeReplica>).collect()
    }
}

#[async_trait]
impl RangeAdmin for Store {
    fn leaseholder_ranges(&self) -> Vec<Arc<RangeDescriptor>> {
        self.ctx.map.read().all().filter(|h| h.lease().is_ok()).map(|h| h.descriptor()).collect()
    }

    fn replica_count(&self) -> u64 {
        self.ctx.map.read().all().count() as u64
    }

    async fn change_replicas(&self, range: RangeId, add: Option<NodeId>, remove: Option<NodeId>) -> Result<(), AdminError> {
        let handle = self.handle(range).ok_or(NotLeaseholder { range, leader: None })?;
        membership::change_replicas(&handle, add, remove).await
    }

    async fn transfer_lease(&self, range: RangeId, to: NodeId) -> Result<(), AdminError> {
        let handle = self.handle(range).ok_or(NotLeaseholder { range, leader: None })?;
        handle.transfer_lease(to).await
    }
}

/// A replica that differs from the others.
pub(crate) struct Diverging {
    pub node: NodeId,
    pub index: u64,
    pub expected: u64,
}

impl ReplicaHandle {
    pub(crate) async fn propose_checksum(&self, request: RequestId) -> Result<u64, AdminError> {
        self.admin(|done| Request::Checksum { request, done }).await
    }
}

impl Context {
    /// Hands the replicas found in the engine to their workers.
    fn take_up_replicas(self: &Arc<Self>, workers: &mut [Worker]) -> Result<(), StorageError> {
        let mut found = Vec::new();
        let mut garbage = Vec::new();
        {
            let (lower, upper) = layout::kind_bounds(1);
            let mut cursor = self.engine.cursor(Space::Meta, &lower, &upper)?;
            cursor.seek_to_first();
            while cursor.valid() {
                let Some(range) = layout::range_of(cursor.key()) else {
                    return Err(StorageError::Format("a key of no known kind among the replicas".into()));
                };
                if cursor.key() == layout::record_key(range) {
                    found.push(codec::from_bytes::<layout::ReplicaRecord>(cursor.value(), "replica record")?);
                }
                // On to the next range: request windows may be long.
                let (_, end) = layout::replica_meta_bounds(range);
                cursor.seek(&end);
            }
            cursor.status()?;
            let (lower, upper) = layout::kind_bounds(2);
            let mut cursor = self.engine.cursor(Space::Meta, &lower, &upper)?;
            cursor.seek_to_first();
            while cursor.valid() {
                if let Some(range) = layout::range_of(cursor.key()) {
                    garbage.push((range, codec::from_bytes(cursor.value(), "tombstone")?));
                }
                cursor.next();
            }
            cursor.status()?;
        }
        self.log_garbage.lock().extend(garbage);
        for record in &found {
            let worker = self.worker(record.descriptor.id).requests.clone();
            let descriptor = Arc::new(record.descriptor.clone());
            let handle =
                ReplicaHandle::new(record.replica, self.node, self.clock.clone(), worker, descriptor, &self.range_ids, &self.closed);
            self.map.write().insert(Arc::new(handle));
        }
        for record in found {
            let range = record.descriptor.id;
            let index = self.worker_index(range);
            workers[index].adopt_at_start(range, record.replica)?;
        }
        Ok(())
    }

    /// Begins to collect checksums under a new request id.
    pub(crate) fn collect_checksums(&self, sender: mpsc::UnboundedSender<(NodeId, u64, u64)>) -> RequestId {
        let count = self.incarnations.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = RequestId(self.entropy.fork(&format!("checksum {count} {}", self.clock.now().latest)).rng().random());
        self.checksums.lock().insert(id.0, sender);
        id
    }

    pub(crate) fn forget_checksums(&self, request: RequestId) {
        self.checksums.lock().remove(&request.0);
    }

    /// Tells a replica that it differs.
    pub(crate) fn stop_diverged(&self, handle: &ReplicaHandle, diverging: Diverging) {
        let range = handle.range_id();
        let Diverging { node, index, expected } = diverging;
        let request = Request::Diverged { node, index, expected };
        if self.worker(range).requests.try_send(WorkerMessage::Request { range, request }).is_err() {
            tracing::error!(%range, "the worker is too busy to stop a diverged replica; the next check will");
        }
    }

    /// Tells all workers.
    pub(crate) fn tell_workers(&self, mut make: impl FnMut() -> Internal) {
        for worker in &self.workers {
            let _ = worker.internal.send(make());
        }
    }
}
