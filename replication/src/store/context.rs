//! What all workers of a store share, and the map of its replicas.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use meridian_clock::{Clock, Entropy, TaskGroup};
use meridian_storage::engine::{Batch, Space, StorageError};
use meridian_storage::log_writer::LogWriter;
use meridian_storage::{Engine, Key, Span};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;

use super::codec::corrupt;
use super::handle::ReplicaHandle;
use super::layout;
use super::worker::WorkerSender;
use crate::addressing::AddressPublisher;
use crate::api::{NodeId, RangeEvents, RangeId, RangeReplica, ReplicaId};
use crate::closed::Closed;
use crate::liveness::{LivenessConfig, Peers};
use crate::transport::Transport;

/// How far closed timestamps trail the present: reads in the past at least this old are served by any replica, and a transaction that has run longer has its
/// commit pushed (and its reads validated).
pub const CLOSED_LAG: Duration = Duration::from_secs(3);

/// How a store runs.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Tasks that share the ranges among them.
    pub workers: usize,
    /// Promises and liveness.
    pub liveness: LivenessConfig,
    /// How far the closed timestamps of quiet ranges trail the clock.
    pub closed_lag: Duration,
    /// Raft's tick, for ranges that are awake.
    pub tick: Duration,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader after which an awake follower acts.
    pub election_ticks: usize,
    /// Ticks with nothing to do after which a range goes quiet.
    pub quiet_ticks: usize,
    /// Between two flushes of applied state (after which logs are cut).
    pub flush_interval: Duration,
    /// Log entries a leader keeps for followers that lag; beyond that they get a snapshot.
    pub log_keep_entries: u64,
    /// A range larger than this is split.
    pub range_max_bytes: u64,
    /// Between two looks at the sizes of ranges.
    pub size_interval: Duration,
    /// Bytes of state in one message of a snapshot.
    pub snapshot_chunk_bytes: usize,
    /// Proposals of one range that may be in flight.
    pub max_proposals: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            workers: 4,
            liveness: LivenessConfig::default(),
            closed_lag: CLOSED_LAG,
            tick: Duration::from_millis(50),
            heartbeat_ticks: 4,
            election_ticks: 20,
            quiet_ticks: 6,
            flush_interval: Duration::from_secs(10),
            log_keep_entries: 10_000,
            range_max_bytes: 512 << 20,
            size_interval: Duration::from_secs(10),
            snapshot_chunk_bytes: 512 << 10,
            max_proposals: 4096,
        }
    }
}

/// The replicas of a store by id and by place.
#[derive(Debug, Default)]
pub(crate) struct ReplicaMap {
    by_id: BTreeMap<RangeId, Arc<ReplicaHandle>>,
    /// Spans never overlap; includes spans that a snapshot on its way in has reserved.
    by_start: BTreeMap<Key, (Key, RangeId)>,
    starts: BTreeMap<RangeId, Key>,
}

impl ReplicaMap {
    pub(crate) fn get(&self, range: RangeId) -> Option<&Arc<ReplicaHandle>> {
        self.by_id.get(&range)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<ReplicaHandle>> {
        self.by_id.values()
    }

    pub(crate) fn for_key(&self, key: &[u8]) -> Option<&Arc<ReplicaHandle>> {
        let (_, (end, range)) = self.by_start.range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(key))).next_back()?;
        if key < end.as_ref() { self.by_id.get(range) } else { None }
    }

    /// A range other than `range` whose span, or reserved span, overlaps.
    pub(crate) fn overlapping(&self, range: RangeId, span: &Span) -> Option<RangeId> {
        self.by_start
            .range::<Bytes, _>(..span.end.clone())
            .rev()
            .take_while(|(_, (end, _))| *end > span.start)
            .map(|(_, (_, id))| *id)
            .find(|id| *id != range)
    }

    pub(crate) fn insert(&mut self, handle: Arc<ReplicaHandle>) {
        let span = handle.descriptor().span.clone();
        self.reserve(handle.range_id(), span);
        self.by_id.insert(handle.range_id(), handle);
    }

    /// Sets the span of a range.
    pub(crate) fn reserve(&mut self, range: RangeId, span: Span) {
        self.unreserve(range);
        self.starts.insert(range, span.start.clone());
        self.by_start.insert(span.start, (span.end, range));
    }

    fn unreserve(&mut self, range: RangeId) {
        if let Some(start) = self.starts.remove(&range)
            && self.by_start.get(&start).is_some_and(|(_, id)| *id == range)
        {
            self.by_start.remove(&start);
        }
    }

    /// Forgets a range; answers whether it was known.
    pub(crate) fn remove(&mut self, range: RangeId) -> bool {
        self.unreserve(range);
        self.by_id.remove(&range).is_some()
    }
}

/// Gives out range ids: the node in the upper 24 bits, a counter below.
///
/// Unique without coordination: node ids are never reused, and the counter is durable (in blocks) before an id of the block is used. The ids
/// of the first ranges lie below those of node 1.
#[derive(Debug)]
pub(crate) struct RangeIds {
    state: tokio::sync::Mutex<(u64, u64)>,
    node: NodeId,
    log_writer: LogWriter,
}

const ID_BLOCK: u64 = 64;

fn counter_key() -> Bytes {
    // Range 0 does not exist; its log holds what must be durable by itself.
    layout::hard_state_key(RangeId(0), ReplicaId(0))
}

impl RangeIds {
    pub(crate) fn load(engine: &dyn Engine, node: NodeId, log_writer: LogWriter) -> Result<Self, StorageError> {
        let next = match engine.get(Space::Log, &counter_key())? {
            Some(bytes) => u64::from_be_bytes(bytes.as_ref().try_into().map_err(|_| corrupt("range id counter"))?),
            None => 1,
        };
        Ok(RangeIds { state: tokio::sync::Mutex::new((next, next)), node, log_writer })
    }

    pub(crate) async fn next(&self) -> Result<RangeId, StorageError> {
        let mut state = self.state.lock().await;
        if state.0 == state.1 {
            let end = state.1 + ID_BLOCK;
            let mut batch = Batch::new();
            let mut value = bytes::BytesMut::new();
            value.put_u64(end);
            batch.put(Space::Log, counter_key(), value.freeze());
            let (done, durable) = oneshot::channel();
            self.log_writer.submit(
                &batch,
                Box::new(move |result| {
                    let _ = done.send(result);
                }),
            )?;
            durable.await.map_err(|_| StorageError::Io("the log writer stopped".into()))??;
            state.1 = end;
        }
        let id = RangeId(u64::from(self.node.0) << 40 | state.0);
        state.0 += 1;
        Ok(id)
    }
}

/// Takes the checksums of replicas: node, index, sum.
pub(crate) type ChecksumSender = tokio::sync::mpsc::UnboundedSender<(NodeId, u64, u64)>;

/// What all workers of a store share.
pub(crate) struct Context {
    pub node: NodeId,
    pub config: StoreConfig,
    pub engine: Arc<dyn Engine>,
    pub log_writer: LogWriter,
    pub transport: Arc<dyn Transport>,
    pub clock: Clock,
    pub entropy: Entropy,
    pub tasks: TaskGroup,
    pub events: Arc<dyn RangeEvents>,
    pub peers: Peers,
    pub map: RwLock<ReplicaMap>,
    pub workers: Vec<WorkerSender>,
    pub publisher: Arc<AddressPublisher>,
    pub range_ids: Arc<RangeIds>,
    /// Closed timestamps of quiet ranges, told and heard.
    pub closed: Arc<Closed>,
    /// Checksums that are being collected, by request.
    pub checksums: Mutex<BTreeMap<u128, ChecksumSender>>,
    /// Logs of removed replicas, to be deleted once the removal is durable: range, least replica id that stays.
    pub log_garbage: Mutex<Vec<(RangeId, ReplicaId)>>,
    /// Snapshots on their way in.
    pub incoming: Mutex<BTreeMap<RangeId, super::snapshot::Incoming>>,
    /// Bounds the snapshots on their way out.
    pub sending: Arc<tokio::sync::Semaphore>,
    pub incarnations: std::sync::atomic::AtomicU64,
    /// Raised whenever the nodes with which ranges are shared may have changed.
    pub membership: std::sync::atomic::AtomicU64,
    /// Set while the disk refuses writes: new proposals are refused at once.
    pub disk_full: AtomicBool,
    /// Set once this node's clock is found out of bounds against most of its peers.
    pub clock_verdict: tokio::sync::watch::Sender<Option<String>>,
    pub logger: slog::Logger,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "store of {}", self.node)
    }
}

impl Context {
    /// The worker that owns `range`.
    pub(crate) fn worker(&self, range: RangeId) -> &WorkerSender {
        &self.workers[self.worker_index(range)]
    }

    pub(crate) fn worker_index(&self, range: RangeId) -> usize {
        // Fibonacci hashing spreads consecutive ids evenly.
        let hash = range.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (hash % self.workers.len() as u64) as usize
    }

    /// The nodes with which ranges are shared may have changed.
    pub(crate) fn members_changed(&self) {
        self.membership.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn disk_is_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    /// Notes whether the disk takes writes.
    pub(crate) fn set_disk_full(&self, full: bool) {
        if self.disk_full.swap(full, Ordering::Relaxed) != full {
            if full {
                tracing::error!(node = %self.node, "no space left on the store: writes are refused, reads go on");
            } else {
                tracing::info!(node = %self.node, "the store takes writes again");
            }
        }
    }

    /// Makes applied state durable. Off the runtime's workers where there are several.
    pub(crate) fn flush(&self) -> Result<(), StorageError> {
        use tokio::runtime::{Handle, RuntimeFlavor};
        match Handle::try_current().map(|h| h.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(|| self.engine.flush()),
            _ => self.engine.flush(),
        }
    }
}
