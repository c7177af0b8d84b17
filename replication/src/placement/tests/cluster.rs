//! Registries and queues of a whole cluster on the simulated network, over a model of ranges that any node may change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_clock::{Clock, Entropy, TaskGroup};
use meridian_storage::engine::Engine;
use meridian_storage::{Key, MemoryEngine, Span};
use parking_lot::Mutex;

use super::super::{Policy, QueueOptions, ReplicateQueue};
use crate::api::{
    AdminError, Directory, Locality, NodeId, NotLeaseholder, RangeAdmin, RangeDescriptor, RangeHost, RangeId, RangeReplica,
    ReplicaDescriptor, ReplicaRole, SystemError, SystemKv,
};
use crate::registry::{self, Addresses, Entrance, Identity, Registry, RegistryError, RegistryOptions, Standing};
use crate::transport::Transport;
use crate::transport::simulated::{SimulatedNetwork, SimulatedOptions, SimulatedTime, SimulatedTransport};

const RANGES: u64 = 20;

/// Ranges as if every node shared one memory: what Raft makes of them is not the matter here.
#[derive(Debug, Default)]
struct World {
    ranges: Mutex<BTreeMap<RangeId, (RangeDescriptor, NodeId)>>,
    kv: Mutex<BTreeMap<Key, Bytes>>,
    refused: Mutex<BTreeSet<RangeId>>,
    down: Mutex<BTreeSet<NodeId>>,
}

#[derive(Debug)]
struct Store {
    world: Arc<World>,
    us: NodeId,
    engine: Arc<dyn Engine>,
}

impl World {
    fn voters(&self, range: u64) -> BTreeSet<NodeId> {
        self.ranges.lock()[&RangeId(range)].0.replicas.iter().map(|replica| replica.node).collect()
    }

    /// Raft's part when a node dies: another voter gets the lease.
    fn fail_over(&self, dead: NodeId) {
        self.down.lock().insert(dead);
        for (descriptor, lease) in self.ranges.lock().values_mut().filter(|(_, lease)| *lease == dead) {
            *lease = descriptor.replicas.iter().map(|replica| replica.node).find(|node| *node != dead).unwrap_or(*lease);
        }
    }

    fn count(&self, of: impl Fn(&(RangeDescriptor, NodeId)) -> Vec<NodeId>) -> BTreeMap<NodeId, u64> {
        let mut counts = BTreeMap::new();
        self.ranges.lock().values().flat_map(of).for_each(|node| *counts.entry(node).or_default() += 1);
        counts
    }
}

#[async_trait]
impl RangeAdmin for Store {
    fn leaseholder_ranges(&self) -> Vec<Arc<RangeDescriptor>> {
        self.world.ranges.lock().values().filter(|(_, lease)| *lease == self.us).map(|(range, _)| Arc::new(range.clone())).collect()
    }

    fn replica_count(&self) -> u64 {
        self.world.ranges.lock().values().filter(|(range, _)| range.replica_on(self.us).is_some()).count() as u64
    }

    async fn change_replicas(&self, range: RangeId, add: Option<NodeId>, remove: Option<NodeId>) -> Result<(), AdminError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if self.world.refused.lock().remove(&range) {
            return Err(AdminError::Invalid("refused once, to see it tried again".into()));
        }
        let mut ranges = self.world.ranges.lock();
        let (descriptor, lease) = ranges.get_mut(&range).ok_or_else(|| AdminError::Invalid(format!("no {range}")))?;
        if *lease != self.us {
            return Err(NotLeaseholder { range, leader: Some(*lease) }.into());
        }
        if remove == Some(self.us) || add.is_some_and(|node| descriptor.replica_on(node).is_some()) {
            return Err(AdminError::Invalid(format!("{range}: +{add:?} -{remove:?}")));
        }
        descriptor.replicas.retain(|replica| Some(replica.node) != remove);
        if let Some(node) = add {
            let id = descriptor.next_replica;
            descriptor.next_replica.0 += 1;
            descriptor.replicas.push(ReplicaDescriptor { node, id, role: ReplicaRole::Voter });
        }
        descriptor.generation += 1;
        Ok(())
    }

    async fn transfer_lease(&self, range: RangeId, to: NodeId) -> Result<(), AdminError> {
        let mut ranges = self.world.ranges.lock();
        let (descriptor, lease) = ranges.get_mut(&range).ok_or_else(|| AdminError::Invalid(format!("no {range}")))?;
        if *lease != self.us || descriptor.replica_on(to).is_none() || self.world.down.lock().contains(&to) {
            return Err(AdminError::Invalid(format!("{range}: lease to {to}")));
        }
        *lease = to;
        Ok(())
    }
}

impl RangeHost for Store {
    fn node(&self) -> NodeId {
        self.us
    }
    fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }
    fn replica_for_key(&self, _: &[u8]) -> Option<Arc<dyn RangeReplica>> {
        None
    }
    fn replica(&self, _: RangeId) -> Option<Arc<dyn RangeReplica>> {
        None
    }
    fn replicas(&self) -> Vec<Arc<dyn RangeReplica>> {
        Vec::new()
    }
}

#[async_trait]
impl SystemKv for Store {
    async fn get(&self, key: Key) -> Result<Option<Bytes>, SystemError> {
        Ok(self.world.kv.lock().get(&key).cloned())
    }
    async fn scan(&self, span: Span) -> Result<Vec<(Key, Bytes)>, SystemError> {
        Ok(self.world.kv.lock().range(span.start..span.end).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
    async fn compare_and_set(&self, key: Key, expected: Option<Bytes>, new: Option<Bytes>) -> Result<bool, SystemError> {
        let mut kv = self.world.kv.lock();
        if kv.get(&key) != expected.as_ref() {
            return Ok(false);
        }
        match new {
            Some(value) => _ = kv.insert(key, value),
            None => _ = kv.remove(&key),
        }
        Ok(true)
    }
}

struct Node {
    registry: Arc<Registry>,
    queue: Arc<ReplicateQueue>,
    transport: Arc<SimulatedTransport>,
    engine: Arc<MemoryEngine>,
    identity: Identity,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.identity.node)
    }
}

struct Cluster {
    network: SimulatedNetwork,
    time: SimulatedTime,
    world: Arc<World>,
}

const REGISTRY: RegistryOptions = RegistryOptions {
    heartbeat: Duration::from_millis(200),
    live_window: Duration::from_secs(1),
    dead_after: Duration::from_secs(20),
    refresh: Duration::from_secs(5),
    retry: Duration::from_millis(200),
};

impl Cluster {
    fn new() -> Self {
        let network = SimulatedNetwork::new(SimulatedOptions::default(), &Entropy::seeded(1));
        Cluster { network, time: SimulatedTime::start(), world: Arc::default() }
    }

    fn attach(&self, address: &str, tasks: &TaskGroup) -> Arc<SimulatedTransport> {
        let clock = Clock::new(self.time.clock(Duration::from_millis(1))).unwrap();
        self.network.attach(address, "", clock, tasks.clone())
    }

    /// Starts a process at `address` that joins by way of `join`, or goes on as `known`.
    async fn start(
        &self,
        address: &str,
        region: &str,
        join: &[&str],
        engine: Arc<MemoryEngine>,
        known: Option<Identity>,
    ) -> Result<(Entrance, Node), RegistryError> {
        let tasks = TaskGroup::new();
        let transport = self.attach(address, &tasks);
        let locality = Locality(vec![("region".into(), region.into())]);
        let addresses = Addresses { rpc: address.into(), sql: format!("{address}-sql"), http: String::new() };
        let join = join.iter().map(|&address| address.into()).collect();
        let entropy = Entropy::seeded(3).fork(address);
        let (seam, disk): (Arc<dyn Transport>, Arc<dyn Engine>) = (transport.clone(), engine.clone());
        let registry = Registry::new(seam, disk.clone(), tasks.clone(), REGISTRY, &entropy, addresses, locality, join)?;
        let entrance = registry.establish(known).await?;
        let identity = entrance.identity();
        self.world.down.lock().remove(&identity.node);
        let store = Arc::new(Store { world: self.world.clone(), us: identity.node, engine: disk });
        registry.start(store.clone(), store.clone());
        let options = QueueOptions { policy: Policy::default(), ..Default::default() };
        let queue = ReplicateQueue::start(store, registry.clone(), identity.node, options, &entropy, &tasks);
        Ok((entrance, Node { registry, queue, transport, engine, identity }))
    }

    async fn join(&self, address: &str, region: &str) -> Node {
        let (entrance, node) = self.start(address, region, &["nowhere", "one"], Arc::default(), None).await.unwrap();
        assert!(matches!(entrance, Entrance::Joined(_)));
        node
    }

    /// The founder, founded by `meridian init` from outside, with every range on it.
    async fn found(&self) -> Node {
        let outside = async {
            let client = self.attach("client", &TaskGroup::new());
            loop {
                if let Ok(identity) = registry::init(client.as_ref(), "one").await {
                    let again = registry::init(client.as_ref(), "one").await;
                    assert!(again.is_err(), "a cluster is founded once");
                    return identity;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let (founded, started) = tokio::join!(outside, self.start("one", "a", &["one"], Arc::default(), None));
        let (entrance, node) = started.unwrap();
        assert_eq!(entrance, Entrance::Founded(founded));
        for id in 1..=RANGES {
            let mut range = super::range_of(&[NodeId(1)]);
            range.id = RangeId(id);
            self.world.ranges.lock().insert(range.id, (range, NodeId(1)));
        }
        node.registry.publish_first_range(&super::range_of(&[NodeId(1)]));
        node
    }
}

pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..4000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {what}");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_grows_heals_and_evens_out() {
    let cluster = Cluster::new();
    let world = &cluster.world;
    let one = cluster.found().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(one.queue.status().under_replicated, RANGES);
    let two = cluster.join("two", "b").await;
    world.refused.lock().insert(RangeId(7));
    let three = cluster.join("three", "c").await;
    assert_eq!([two.identity.node, three.identity.node], [NodeId(2), NodeId(3)]);
    let everywhere = BTreeSet::from([1, 2, 3].map(NodeId));
    eventually("three replicas of every range", || (1..=RANGES).all(|range| world.voters(range) == everywhere)).await;
    for node in [&one, &two, &three] {
        eventually("everybody knows everybody", || node.registry.nodes().iter().filter(|info| info.live).count() == 3).await;
        assert_eq!(node.registry.first_range().expect("gossiped").id, RangeId(1));
        assert_eq!(node.registry.nodes()[1].sql_address, "two-sql");
        assert_eq!(node.queue.status().under_replicated, 0);
    }
    let even = |counts: BTreeMap<NodeId, u64>, nodes: usize, within: u64| {
        counts.len() == nodes && counts.values().max().zip(counts.values().min()).is_some_and(|(max, min)| max - min <= within)
    };
    let leases = || world.count(|(_, lease)| vec![*lease]);
    let replicas = || world.count(|(range, _)| range.replicas.iter().map(|replica| replica.node).collect());
    eventually("leases even out", || even(leases(), 3, 3)).await;

    let mut joined = Vec::new();
    for (address, region) in [("four", "a"), ("five", "b"), ("six", "c")] {
        joined.push(cluster.join(address, region).await);
    }
    eventually("replicas even out", || even(replicas(), 6, 3)).await;
    eventually("leases even out over six", || even(leases(), 6, 3)).await;
    let region = |node: NodeId| (node.0 - 1) % 3;
    let spread = |range| world.voters(range).into_iter().map(region).collect::<BTreeSet<_>>().len() == 3;
    assert!((1..=RANGES).all(spread), "one replica in every region");

    // And then there is peace: balance does not chase its own tail.
    let state = || format!("{:?}", world.ranges.lock());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let settled = state();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(settled, state());

    // It dies: nothing moves until it has been silent for long, then all its replicas are replaced, in its region.
    cluster.network.crash(NodeId(2));
    world.fail_over(NodeId(2));
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!one.registry.nodes()[1].live);
    assert!(replicas().contains_key(&NodeId(2)));
    eventually("the dead one is replaced", || !replicas().contains_key(&NodeId(2))).await;
    assert!((1..=RANGES).all(|range| world.voters(range).len() == 3 && spread(range)));

    // It comes back elsewhere with its old store and without join addresses, and is a member as before.
    let (entrance, two) = cluster.start("two-moved", "b", &[], two.engine, Some(two.identity)).await.unwrap();
    assert_eq!(entrance, Entrance::Restarted(Identity { node: NodeId(2), ..one.identity }));
    let found = || one.registry.nodes()[1].live && one.registry.nodes()[1].rpc_address == "two-moved";
    eventually("it is found at its new address", found).await;
    eventually("it gets replicas again", || replicas().contains_key(&NodeId(2))).await;

    // A live node cannot be removed; a dead one can, is replaced without waiting, and is told when it returns.
    assert!(matches!(one.registry.remove(NodeId(2)).await, Err(RegistryError::StillLive(_))));
    cluster.network.crash(NodeId(2));
    world.fail_over(NodeId(2));
    eventually("its silence is noticed", || !one.registry.nodes()[1].live).await;
    one.registry.remove(NodeId(2)).await.unwrap();
    eventually("the removed one is replaced", || !replicas().contains_key(&NodeId(2))).await;
    drop(two.transport);
    let (_, two) = cluster.start("two-moved", "b", &["one"], two.engine, Some(two.identity)).await.unwrap();
    let mut standing = two.registry.standing();
    eventually("it is told", || *standing.borrow_and_update() == Standing::Removed).await;
    assert!(!one.registry.nodes()[1].live);
}
