//! Registry, queue and real stores of Raft replicas together: a cluster of one node grows, loses a node, and heals.
//!
//! Only the path to the cluster's records is a model here (`txn` is above this crate).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_clock::{Clock, Entropy, Rng, TaskGroup};
use meridian_storage::engine::Engine;
use meridian_storage::{Key, LogWriter, LogWriterMode, MemoryEngine, Span};
use parking_lot::Mutex;

use super::super::{QueueOptions, ReplicateQueue};
use super::cluster::eventually;
use crate::api::{
    Directory, Lease, Locality, NodeId, RangeAdmin, RangeEvents, RangeHost, RangeId, RangeReplica, ReplicaRole, SystemError, SystemKv,
};
use crate::registry::{Addresses, Identity, Registry, RegistryOptions};
use crate::transport::Transport;
use crate::transport::simulated::{SimulatedNetwork, SimulatedOptions, SimulatedTime};
use crate::{Store, StoreConfig};

const MS: Duration = Duration::from_millis(1);

struct Quiet;

impl RangeEvents for Quiet {
    fn lease_started(&self, _: &Arc<dyn RangeReplica>, _: &Lease, _: Option<Bytes>) {}
    fn lease_ended(&self, _: RangeId) {}
    fn hand_over(&self, _: RangeId) -> Bytes {
        Bytes::new()
    }
    fn range_split(&self, _: &Arc<dyn RangeReplica>, _: &Arc<dyn RangeReplica>) {}
    fn replica_removed(&self, _: RangeId) {}
}

#[derive(Default)]
struct Records(Mutex<BTreeMap<Key, Bytes>>);

#[async_trait]
impl SystemKv for Records {
    async fn get(&self, key: Key) -> Result<Option<Bytes>, SystemError> {
        Ok(self.0.lock().get(&key).cloned())
    }
    async fn scan(&self, span: Span) -> Result<Vec<(Key, Bytes)>, SystemError> {
        Ok(self.0.lock().range(span.start..span.end).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
    async fn compare_and_set(&self, key: Key, expected: Option<Bytes>, new: Option<Bytes>) -> Result<bool, SystemError> {
        let mut records = self.0.lock();
        let same = records.get(&key) == expected.as_ref();
        if let Some(value) = new.filter(|_| same) {
            records.insert(key, value);
        }
        Ok(same)
    }
}

struct Node {
    identity: Identity,
    registry: Arc<Registry>,
    store: Arc<Store>,
    queue: Arc<ReplicateQueue>,
    engine: Arc<MemoryEngine>,
    tasks: TaskGroup,
}

struct Cluster {
    network: SimulatedNetwork,
    time: SimulatedTime,
    records: Arc<Records>,
}

impl Cluster {
    async fn start(&self, address: &str, region: &str, engine: Arc<MemoryEngine>, known: Option<Identity>) -> Node {
        let tasks = TaskGroup::new();
        let clock = Clock::new(self.time.clock(5 * MS)).unwrap();
        let transport = self.network.attach(address, region, clock.clone(), tasks.clone());
        let options = RegistryOptions { dead_after: Duration::from_secs(10), ..Default::default() };
        let addresses = Addresses { rpc: address.into(), ..Default::default() };
        let locality = Locality(vec![("region".into(), region.into())]);
        let entropy = Entropy::seeded(5).fork(address);
        let (seam, disk): (Arc<dyn Transport>, Arc<dyn Engine>) = (transport, engine.clone());
        let join = if address == "one" { vec![] } else { vec!["one".into()] };
        let registry = Registry::new(seam.clone(), disk.clone(), tasks.clone(), options, &entropy, addresses, locality, join).unwrap();
        if address == "one" && known.is_none() {
            registry.found().unwrap();
        }
        let identity = registry.establish(known).await.unwrap().identity();
        if known.is_none() && address == "one" {
            Store::bootstrap(&*engine, identity.node, identity.cluster).unwrap();
        } else if known.is_none() {
            Store::initialise(&*engine, identity.node, identity.cluster).unwrap();
        }
        let log = LogWriter::start(disk.clone(), &tasks, LogWriterMode::Task { sync_time: (2 * MS).into() });
        let config = StoreConfig { workers: 2, ..StoreConfig::default() };
        let store = Store::start(config, disk, log, seam, clock, entropy.fork("store"), tasks.clone(), Arc::new(Quiet)).unwrap();
        registry.start(self.records.clone(), store.clone());
        let queue = ReplicateQueue::start(store.clone(), registry.clone(), identity.node, QueueOptions::default(), &entropy, &tasks);
        Node { identity, registry, store, queue, engine, tasks }
    }

    /// Kills a node; its disk keeps what was durable and some of the rest.
    fn crash(&self, node: &Node, rng: &mut Rng) -> Arc<MemoryEngine> {
        self.network.crash(node.identity.node);
        node.tasks.abort_all();
        Arc::new(node.engine.crash(rng))
    }
}

/// The voters of every range, by those who hold the leases; `None` while a range has no leaseholder or is being changed.
fn voters(nodes: &[&Node]) -> Option<BTreeMap<RangeId, BTreeSet<NodeId>>> {
    let mut voters = BTreeMap::new();
    for range in nodes.iter().flat_map(|node| node.store.leaseholder_ranges()) {
        if range.replicas.iter().any(|replica| replica.role != ReplicaRole::Voter) {
            return None;
        }
        voters.insert(range.id, range.replicas.iter().map(|replica| replica.node).collect());
    }
    (!voters.is_empty()).then_some(voters)
}

#[tokio::test(start_paused = true)]
async fn one_node_becomes_three_and_heals() {
    let network = SimulatedNetwork::new(SimulatedOptions::default(), &Entropy::seeded(2));
    let cluster = Cluster { network, time: SimulatedTime::start(), records: Arc::default() };
    let one = cluster.start("one", "a", Arc::default(), None).await;
    eventually("the first leases", || one.store.leaseholder_ranges().len() == one.store.replicas().len()).await;
    let count = one.store.replicas().len();
    let two = cluster.start("two", "b", Arc::default(), None).await;
    let three = cluster.start("three", "c", Arc::default(), None).await;
    let everywhere = |want: &[&Node], on: &[&Node]| {
        let want: BTreeSet<NodeId> = want.iter().map(|node| node.identity.node).collect();
        voters(on).is_some_and(|voters| voters.len() == count && voters.values().all(|have| *have == want))
    };
    let all = [&one, &two, &three];
    eventually("every range on three nodes", || everywhere(&all, &all)).await;
    assert!(all.iter().all(|node| node.queue.status().under_replicated == 0));
    eventually("the first range is known everywhere", || {
        all.iter().all(|node| node.registry.first_range().is_some_and(|first| first.replicas.len() == 3))
    })
    .await;

    // A fourth node stands by in the region of the one that dies.
    let four = cluster.start("four", "b", Arc::default(), None).await;
    eventually("it is known", || one.registry.nodes().len() == 4).await;
    let disk = cluster.crash(&two, &mut Entropy::seeded(9).rng());
    let left = [&one, &three, &four];
    eventually("the dead one's replicas are replaced", || everywhere(&left, &left)).await;
    assert!(left.iter().all(|node| node.queue.status().under_replicated == 0));

    // When it comes back it finds that its replicas are gone, and lets go of them.
    let two = cluster.start("two", "b", disk, Some(two.identity)).await;
    eventually("it is live again", || one.registry.nodes().iter().all(|info| info.live)).await;
    let all = [&one, &two, &three, &four];
    let consistent = || {
        let Some(voters) = voters(&all) else { return false };
        let held: usize = all.iter().map(|node| node.store.replicas().len()).sum();
        voters.len() == count && voters.values().all(|have| have.len() == 3) && held == 3 * count
    };
    eventually("no replica too many is left anywhere", consistent).await;
}
