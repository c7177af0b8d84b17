//! Whole stores over the simulated network and the in-memory disk, on paused time, from a seed.
//!
//! A watcher looks at every lease of every node once a simulated millisecond and holds L1 and L2 against all that it ever saw.

mod groups;
mod single;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::{Clock, Entropy, Rng, TaskGroup, Timestamp};
use meridian_storage::mvcc::{self, AttemptId};
use meridian_storage::{Batch, LogWriter, LogWriterMode, MemoryEngine};
use parking_lot::Mutex;
use rand::Rng as _;

use super::{Store, StoreConfig};
use crate::api::*;
use crate::transport::simulated::{SimulatedClock, SimulatedNetwork, SimulatedOptions, SimulatedTime};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const CLUSTER: u128 = 7;
/// The clock error that every node declares; skews stay within it.
const ERROR: Duration = Duration::from_millis(5);

/// What a range's leases looked like, by term.
#[derive(Clone, Debug)]
struct Seen {
    node: NodeId,
    low_water: Timestamp,
    end: Timestamp,
    handed: bool,
}

/// Hears every node's events and watches every lease.
#[derive(Debug, Default)]
pub(super) struct Watch {
    leases: Mutex<BTreeMap<(RangeId, Term), Seen>>,
    pub splits: Mutex<Vec<(NodeId, RangeId, RangeId)>>,
    pub removed: Mutex<Vec<(NodeId, RangeId)>>,
    pub handovers: Mutex<Vec<(NodeId, RangeId, Bytes)>>,
    /// Right halves of splits: where they start, and up to when a leaseholder of the whole could serve their keys.
    rights: Mutex<BTreeMap<RangeId, (meridian_storage::Key, Timestamp)>>,
}

pub(super) struct Events {
    node: NodeId,
    watch: Arc<Watch>,
}

impl RangeEvents for Events {
    fn lease_started(&self, replica: &Arc<dyn RangeReplica>, lease: &Lease, handover: Option<Bytes>) {
        assert!(replica.lease().is_err(), "the lease is announced before it is served");
        let seen = Seen { node: self.node, low_water: lease.low_water, end: Timestamp::ZERO, handed: handover.is_some() };
        if let Some(bytes) = handover {
            self.watch.handovers.lock().push((self.node, replica.range_id(), bytes));
        }
        let twice = self.watch.leases.lock().insert((replica.range_id(), lease.term), seen);
        assert!(twice.is_none(), "two leases of {} in {}", replica.range_id(), lease.term);
    }
    fn lease_ended(&self, _: RangeId) {}
    fn hand_over(&self, range: RangeId) -> Bytes {
        Bytes::from(format!("locks of {range} from {}", self.node))
    }
    fn range_split(&self, left: &Arc<dyn RangeReplica>, right: &Arc<dyn RangeReplica>) {
        self.watch.splits.lock().push((self.node, left.range_id(), right.range_id()));
        let start = right.descriptor().span.start.clone();
        self.watch.rights.lock().entry(right.range_id()).or_insert((start, Timestamp::ZERO));
    }
    fn replica_removed(&self, range: RangeId) {
        self.watch.removed.lock().push((self.node, range));
    }
}

impl Watch {
    fn look(&self, stores: &[Arc<Store>]) {
        let mut leases = self.leases.lock();
        let mut rights = self.rights.lock();
        let mut now: BTreeMap<RangeId, Term> = BTreeMap::new();
        for store in stores {
            for replica in store.replicas() {
                if let Ok(lease) = replica.lease() {
                    let range = replica.range_id();
                    for (right, (start, end)) in rights.iter_mut() {
                        if *right != range && replica.descriptor().span.contains(start) {
                            *end = (*end).max(lease.expiration);
                        }
                    }
                    if let Some(other) = now.insert(range, lease.term) {
                        let later = &leases[&(range, lease.term.max(other))];
                        assert!(!later.handed, "{range}: {other} and {} are served, though one was handed over", lease.term);
                    }
                    let seen = leases.get_mut(&(replica.range_id(), lease.term)).expect("a lease that was not announced");
                    assert_eq!(seen.node, store.node());
                    seen.end = seen.end.max(lease.expiration);
                }
            }
        }
        // L1 and L2: what a later leaseholder may write lies above all that an earlier one could ever serve.
        let mut ends: BTreeMap<RangeId, (Term, NodeId, Timestamp)> = BTreeMap::new();
        for ((range, term), seen) in &*leases {
            if let Some((_, end)) = rights.get(range) {
                assert!(seen.handed || seen.low_water >= *end, "{range} began in {term} on {} below what its left half served", seen.node);
            }
            if let Some((before, node, end)) = ends.get(range) {
                assert!(
                    seen.handed || seen.low_water >= *end,
                    "{range}: {node} served in {before} up to {end}, but {} began in {term} at {}",
                    seen.node,
                    seen.low_water
                );
            }
            let entry = ends.entry(*range).or_insert((*term, seen.node, seen.end));
            if seen.end >= entry.2 {
                *entry = (*term, seen.node, seen.end);
            }
        }
    }
}

pub(super) struct Node {
    pub engine: Arc<MemoryEngine>,
    pub store: Option<Arc<Store>>,
    tasks: TaskGroup,
    source: Arc<SimulatedClock>,
    starts: u64,
}

pub(super) struct World {
    pub network: SimulatedNetwork,
    time: SimulatedTime,
    pub nodes: BTreeMap<NodeId, Node>,
    pub watch: Arc<Watch>,
    pub config: StoreConfig,
    entropy: Entropy,
    pub rng: Rng,
    next_request: u128,
}

impl World {
    /// A cluster of one node.
    pub fn new(seed: u64) -> World {
        let entropy = Entropy::seeded(seed);
        let options = SimulatedOptions { jitter: 3 * MS, keep_trace: true, ..SimulatedOptions::default() };
        let mut world = World {
            network: SimulatedNetwork::new(options, &entropy),
            time: SimulatedTime::start(),
            nodes: BTreeMap::new(),
            watch: Arc::default(),
            config: StoreConfig { workers: 2, flush_interval: Duration::from_millis(500), log_keep_entries: 20, ..StoreConfig::default() },
            rng: entropy.fork("test").rng(),
            entropy,
            next_request: 1,
        };
        let engine = MemoryEngine::new();
        Store::bootstrap(&engine, NodeId(1), CLUSTER).unwrap();
        world.add(NodeId(1), engine);
        world
    }

    /// A cluster of `count` nodes with a voter of every range on each of the first three.
    pub async fn replicated(seed: u64, count: u32) -> World {
        let mut world = World::new(seed);
        for id in 2..=count {
            let engine = MemoryEngine::new();
            Store::initialise(&engine, NodeId(id), CLUSTER).unwrap();
            world.add(NodeId(id), engine);
        }
        world.run(300 * MS).await;
        for range in 1..=3 {
            for id in 2..=count.min(3) {
                let store = world.store(1).clone();
                world.until_done(async move { store.change_replicas(RangeId(range), Some(NodeId(id)), None).await }).await.unwrap();
            }
        }
        world
    }

    fn add(&mut self, id: NodeId, engine: MemoryEngine) {
        let source = self.time.clock(ERROR);
        let skew = self.rng.random_range(-4_000_000..4_000_000);
        source.set_skew_nanos(skew);
        let node = Node { engine: Arc::new(engine), store: None, tasks: TaskGroup::new(), source, starts: 0 };
        self.nodes.insert(id, node);
        self.start(id);
    }

    pub fn start(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).unwrap();
        node.tasks = TaskGroup::new();
        node.starts += 1;
        let clock = Clock::new(node.source.clone()).unwrap();
        let transport = self.network.add_node(id, "", clock.clone(), node.tasks.clone());
        let log = LogWriter::start(node.engine.clone(), &node.tasks, LogWriterMode::Task { sync_time: (2 * MS).into() });
        let events = Arc::new(Events { node: id, watch: self.watch.clone() });
        let entropy = self.entropy.fork(&format!("{id} {}", node.starts));
        let store =
            Store::start(self.config.clone(), node.engine.clone(), log, transport, clock, entropy, node.tasks.clone(), events).unwrap();
        node.store = Some(store);
        self.network.connect_all();
    }

    /// Kills a node; its disk keeps what was durable and some of the rest.
    pub fn crash(&mut self, id: NodeId) {
        self.network.crash(id);
        let node = self.nodes.get_mut(&id).unwrap();
        node.tasks.abort_all();
        node.store = None;
        node.engine = Arc::new(node.engine.crash(&mut self.rng));
    }

    pub fn store(&self, id: u32) -> &Arc<Store> {
        self.nodes[&NodeId(id)].store.as_ref().unwrap()
    }

    fn stores(&self) -> Vec<Arc<Store>> {
        self.nodes.values().filter_map(|n| n.store.clone()).collect()
    }

    /// Lets time pass under watch.
    pub async fn run(&self, time: Duration) {
        self.until_done(tokio::time::sleep(time)).await;
    }

    /// Lets time pass under watch until `work` is done.
    pub async fn until_done<T>(&self, work: impl Future<Output = T>) -> T {
        let stores = self.stores();
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(MS) => self.watch.look(&stores),
            }
        }
    }

    /// The node that holds the lease of `range` now.
    pub fn leaseholder(&self, range: RangeId) -> Option<(NodeId, Lease)> {
        self.stores().iter().find_map(|s| Some((s.node(), s.replica(range)?.lease().ok()?)))
    }

    /// Waits until somebody other than `not` holds the lease of `range`; answers who, and how long it took.
    pub async fn await_lease(&self, range: RangeId, not: Option<NodeId>) -> (NodeId, Duration) {
        let start = tokio::time::Instant::now();
        loop {
            if let Some((node, _)) = self.leaseholder(range).filter(|(n, _)| Some(*n) != not) {
                return (node, start.elapsed());
            }
            assert!(start.elapsed() < Duration::from_secs(20), "nobody leads {range}");
            self.run(MS).await;
        }
    }

    pub fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// A command that writes one version.
    pub fn command(&mut self, key: &str, value: &str) -> Command {
        let ts = Timestamp::from_unix_nanos(self.time.unix_nanos());
        let request = self.request();
        let mut batch = Batch::new();
        mvcc::put_version(&mut batch, key.as_bytes(), ts, AttemptId(request.0), Some(value.as_bytes()));
        Command { request, closed: Timestamp::ZERO, batch }
    }

    /// Writes, wherever the lease is, until it is acknowledged.
    pub async fn put(&mut self, key: &str, value: &str) -> Applied {
        let command = self.command(key, value);
        let start = tokio::time::Instant::now();
        loop {
            assert!(start.elapsed() < Duration::from_secs(20), "{key} could not be written");
            let holder = self.stores().into_iter().find_map(|s| {
                let replica = s.replica_for_key(key.as_bytes())?;
                let lease = replica.lease().ok()?;
                Some((replica, lease))
            });
            if let Some((replica, lease)) = holder
                && let Ok(applied) = self.until_done(replica.propose(&lease, command.clone())).await
            {
                return applied;
            }
            self.run(5 * MS).await;
        }
    }

    /// The newest value of `key` as applied on `node`.
    pub fn get(&self, node: u32, key: &str) -> Option<String> {
        let version = mvcc::get(&*self.nodes[&NodeId(node)].engine, key.as_bytes(), Timestamp::MAX).unwrap()?;
        version.value.map(|v| String::from_utf8(v.to_vec()).unwrap())
    }
}
