//! Whole stores in one process, without Raft: for tests of the layers above, and for embedded use.
//!
//! It is the real transactional layer (leaseholder, router, coordinator, wire protocol) over a stand-in for replication: one engine holds all
//! state, a range's lease is with one node, and a command is applied at once. [`start`] gives one node, which is all that SQL tests need;
//! [`Cluster::start`] gives several, between which leases move, calls get lost and nodes die, which is what the protocol's own tests need.
//! What it does not give is durability beyond the engine's own: call `Engine::flush` when the state must survive.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use meridian_clock::{Clock, Entropy, Rng, TaskGroup, Timestamp};
use meridian_replication::addressing::{address_key, encode_descriptor};
use meridian_replication::api::{
    AdminError, Applied, Command, Directory, Lease, Locality, LogIndex, NodeId, NodeInfo, NotLeaseholder, ProposeError, RangeDescriptor,
    RangeEvents, RangeHost, RangeId, RangeReplica, ReplicaDescriptor, ReplicaId, ReplicaRole, Term,
};
use meridian_replication::transport::{Handler, Service, TrafficClass, Transport, TransportError};
use meridian_storage::{Engine, Key, Span};
use parking_lot::{Mutex, RwLock};
use rand::Rng as _;

use crate::api::{Expect, Kv, TxnOptions};
use crate::leaseholder::Leaseholders;
use crate::node::{Config, Foundation, Node};

/// What a fault hook decides about a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Apply it.
    None,
    /// The lease is lost before the command enters the log.
    Refused,
    /// The lease is lost while the command is on its way; it is applied all the same.
    AmbiguousApplied,
    /// The lease is lost while the command is on its way; it is gone.
    AmbiguousLost,
}

/// Asked for every proposal.
pub type FaultHook = Box<dyn Fn(RangeId) -> Fault + Send + Sync>;

/// A range, as all nodes share it.
#[derive(Debug)]
struct Shared {
    id: RangeId,
    descriptor: RwLock<Arc<RangeDescriptor>>,
    /// The holder (`None`: nobody at the moment) and the lease of the present term.
    lease: RwLock<(Option<NodeId>, Lease)>,
    closed: AtomicU64,
    index: AtomicU64,
}

/// A node of a [`Cluster`].
struct Member {
    events: Arc<Leaseholders>,
    node: OnceLock<Arc<Node>>,
    handler: OnceLock<Arc<dyn Handler>>,
    clock: Clock,
    tasks: TaskGroup,
    down: bool,
}

/// What the network between nodes does to calls, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkFaults {
    /// Not delivered, and the caller knows.
    pub refused: u32,
    /// Not delivered, and the caller does not know.
    pub lost: u32,
    /// Delivered, but the answer is lost.
    pub answer_lost: u32,
    /// Delivered twice.
    pub twice: u32,
    /// Longest delay of a call, in milliseconds.
    pub delay_ms_max: u32,
}

/// Several nodes over one engine.
pub struct Cluster {
    engine: Arc<dyn Engine>,
    members: RwLock<BTreeMap<NodeId, Member>>,
    ranges: RwLock<BTreeMap<RangeId, Arc<Shared>>>,
    replicas: u32,
    next: AtomicU64,
    in_flight: AtomicU32,
    hook: Mutex<Option<FaultHook>>,
    apply_delay: RwLock<Option<Duration>>,
    network: RwLock<NetworkFaults>,
    /// Nothing gets from the first to the second.
    cut: RwLock<Option<(NodeId, NodeId)>>,
    rng: Mutex<Rng>,
    /// Life of the stand-in itself.
    tasks: TaskGroup,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ranges = self.ranges.read();
        f.debug_map().entries(ranges.iter().map(|(id, s)| (id, (s.descriptor.read().span.clone(), *s.lease.read())))).finish()
    }
}

/// Starts a store of one node over `engine`. Must be called inside a tokio runtime.
pub fn start(engine: Arc<dyn Engine>, clock: Clock, entropy: &Entropy, tasks: TaskGroup) -> Arc<Node> {
    start_with_host(engine, clock, entropy, tasks, Config::default()).0
}

/// As [`start`], with the stand-in for replication, for tests that make it misbehave.
pub fn start_with_host(
    engine: Arc<dyn Engine>,
    clock: Clock,
    entropy: &Entropy,
    tasks: TaskGroup,
    config: Config,
) -> (Arc<Node>, Arc<Cluster>) {
    let (cluster, mut nodes) = Cluster::start(engine, vec![(clock, tasks)], 1, entropy, config);
    (nodes.remove(0), cluster)
}

impl Cluster {
    /// Nodes 1, 2, … with these clocks and tasks; the first `replicas` of them hold replicas, the others are mere gateways.
    pub fn start(
        engine: Arc<dyn Engine>,
        nodes: Vec<(Clock, TaskGroup)>,
        replicas: u32,
        entropy: &Entropy,
        config: Config,
    ) -> (Arc<Cluster>, Vec<Arc<Node>>) {
        let cluster = Arc::new(Cluster {
            engine,
            members: RwLock::default(),
            ranges: RwLock::default(),
            replicas,
            next: AtomicU64::new(2),
            in_flight: AtomicU32::new(0),
            hook: Mutex::new(None),
            apply_delay: RwLock::new(None),
            network: RwLock::default(),
            cut: RwLock::default(),
            rng: Mutex::new(entropy.fork("solo").rng()),
            tasks: TaskGroup::new(),
        });
        let mut low_water = Timestamp::ZERO;
        for (i, (clock, tasks)) in nodes.iter().enumerate() {
            let id = NodeId(i as u32 + 1);
            low_water = low_water.max(clock.now().latest);
            let events = Leaseholders::new(clock.clone(), tasks.clone(), &entropy.fork(&format!("node {id}")));
            let member =
                Member { events, node: OnceLock::new(), handler: OnceLock::new(), clock: clock.clone(), tasks: tasks.clone(), down: false };
            cluster.members.write().insert(id, member);
        }
        let replicas =
            (1..=replicas).map(|n| ReplicaDescriptor { node: NodeId(n), id: ReplicaId(n.into()), role: ReplicaRole::Voter }).collect();
        let descriptor =
            RangeDescriptor { id: RangeId(1), span: Span::all(), replicas, next_replica: ReplicaId(100), generation: 1, span_epoch: 0 };
        cluster.add(descriptor, NodeId(1), low_water);
        let started = nodes
            .into_iter()
            .enumerate()
            .map(|(i, (clock, tasks))| {
                let id = NodeId(i as u32 + 1);
                let host = Arc::new(Host { node: id, cluster: cluster.clone() });
                let foundation = Foundation {
                    host: host.clone(),
                    transport: host.clone(),
                    directory: host,
                    clock,
                    entropy: entropy.fork(&format!("node {id}")),
                    tasks,
                };
                let events = cluster.members.read()[&id].events.clone();
                let node = Node::start(&events, foundation, config.clone());
                let _ = cluster.members.read()[&id].node.set(node.clone());
                node
            })
            .collect();
        cluster.begin_lease(RangeId(1));
        (cluster, started)
    }

    fn add(self: &Arc<Self>, descriptor: RangeDescriptor, holder: NodeId, low_water: Timestamp) {
        let lease = Lease { term: Term(1), low_water, expiration: Timestamp::MAX, span_epoch: 0 };
        let shared = Shared {
            id: descriptor.id,
            descriptor: RwLock::new(Arc::new(descriptor)),
            lease: RwLock::new((Some(holder), lease)),
            closed: AtomicU64::new(0),
            index: AtomicU64::new(0),
        };
        self.ranges.write().insert(shared.id, Arc::new(shared));
    }

    fn face(self: &Arc<Self>, range: RangeId, node: NodeId) -> Option<Arc<dyn RangeReplica>> {
        let shared = self.ranges.read().get(&range)?.clone();
        (node.0 <= self.replicas).then(|| Arc::new(Replica { shared, node, cluster: Arc::downgrade(self) }) as Arc<dyn RangeReplica>)
    }

    fn begin_lease(self: &Arc<Self>, range: RangeId) {
        let Some(shared) = self.ranges.read().get(&range).cloned() else { return };
        let (holder, lease) = *shared.lease.read();
        let Some((events, face)) = holder.and_then(|h| Some((self.members.read().get(&h)?.events.clone(), self.face(range, h)?))) else {
            return;
        };
        events.lease_started(&face, &lease, None);
    }

    /// Makes proposals fail.
    pub fn set_fault_hook(&self, hook: Option<FaultHook>) {
        *self.hook.lock() = hook;
    }

    /// Lets every command take up to this long from proposal to apply, so that requests overlap.
    pub fn set_apply_delay(&self, delay: Option<Duration>) {
        *self.apply_delay.write() = delay;
    }

    /// From now on nothing gets from one node to another, neither requests nor answers; the other way is open.
    pub fn set_cut(&self, cut: Option<(NodeId, NodeId)>) {
        *self.cut.write() = cut;
    }

    /// Sets what the network does.
    pub fn set_network(&self, faults: NetworkFaults) {
        *self.network.write() = faults;
    }

    /// All ranges.
    pub fn ranges(&self) -> Vec<RangeId> {
        self.ranges.read().keys().copied().collect()
    }

    /// The lease of `range` ends now, and after `pause` a new one begins at `to`, as after an unplanned change of leadership: locks and timestamp
    /// cache are lost.
    pub fn lose_lease(self: &Arc<Self>, range: RangeId, to: NodeId, pause: Duration) {
        let Some(shared) = self.ranges.read().get(&range).cloned() else { return };
        let Some(old) = shared.lease.write().0.take() else { return };
        self.members.read()[&old].events.lease_ended(range);
        let me = self.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            let to = me.up(to);
            let low_water = me.members.read()[&to].clock.now().latest;
            let lease = {
                let mut lease = shared.lease.write();
                lease.1.term = Term(lease.1.term.0 + 1);
                lease.1.low_water = low_water;
                lease.1
            };
            let (Some(face), events) = (me.face(range, to), me.members.read()[&to].events.clone()) else { return };
            events.lease_started(&face, &lease, None);
            shared.lease.write().0 = Some(to);
        });
    }

    /// A planned move of the lease to `to`: nothing in flight, locks and timestamp cache handed over (L3).
    pub async fn move_lease(self: &Arc<Self>, range: RangeId, to: NodeId) {
        let Some(shared) = self.ranges.read().get(&range).cloned() else { return };
        let to = self.up(to);
        let Some(old) = shared.lease.write().0.take() else { return };
        while self.in_flight.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        let handover = self.members.read()[&old].events.hand_over(range);
        self.members.read()[&old].events.lease_ended(range);
        let lease = {
            let mut lease = shared.lease.write();
            lease.1.term = Term(lease.1.term.0 + 1);
            lease.1
        };
        let (Some(face), events) = (self.face(range, to), self.members.read()[&to].events.clone()) else { return };
        events.lease_started(&face, &lease, Some(handover));
        shared.lease.write().0 = Some(to);
    }

    /// Kills a node: its tasks stop where they are, its leases begin elsewhere after `pause`. It does not come back.
    pub fn kill(self: &Arc<Self>, node: NodeId, pause: Duration) {
        {
            let mut members = self.members.write();
            let Some(member) = members.get_mut(&node) else { return };
            member.down = true;
            member.tasks.abort_all();
        }
        for range in self.ranges() {
            let held = self.ranges.read().get(&range).is_some_and(|s| s.lease.read().0 == Some(node));
            if held {
                let to = self.up(node);
                self.lose_lease(range, to, pause);
            }
        }
    }

    /// `node` if it can hold a lease, else the first that can.
    fn up(&self, node: NodeId) -> NodeId {
        let members = self.members.read();
        let can = |n: &NodeId| n.0 <= self.replicas && members.get(n).is_some_and(|m| !m.down);
        if can(&node) { node } else { members.keys().copied().find(|n| can(n)).unwrap_or(node) }
    }

    /// Range addressing of a range, written through the store itself, as replication's publisher does.
    fn publish(self: &Arc<Self>, descriptor: Arc<RangeDescriptor>) {
        let me = self.clone();
        self.tasks.spawn(async move {
            for _ in 0..1000 {
                let node = me.members.read()[&me.up(NodeId(1))].node.get().cloned();
                let Some(node) = node else { return };
                let mut txn = node.begin(TxnOptions::default());
                let put = txn.put(address_key(&descriptor.span.end), encode_descriptor(&descriptor), Expect::AsRead).await;
                if put.is_ok() && txn.commit().await.is_ok() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
    }
}

/// One replica of one range, as one node sees it.
struct Replica {
    shared: Arc<Shared>,
    node: NodeId,
    cluster: Weak<Cluster>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.shared.id, self.node)
    }
}

fn apply(cluster: &Cluster, shared: &Shared, command: &Command) -> Result<Applied, ProposeError> {
    cluster.engine.apply(&command.batch)?;
    shared.closed.fetch_max(command.closed.as_raw(), Ordering::SeqCst);
    Ok(Applied { index: LogIndex(shared.index.fetch_add(1, Ordering::SeqCst) + 1), fresh: true })
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(futures::future::ready(value))
}

#[async_trait]
impl RangeReplica for Replica {
    fn range_id(&self) -> RangeId {
        self.shared.id
    }

    fn descriptor(&self) -> Arc<RangeDescriptor> {
        self.shared.descriptor.read().clone()
    }

    fn lease(&self) -> Result<Lease, NotLeaseholder> {
        match *self.shared.lease.read() {
            (Some(holder), lease) if holder == self.node => Ok(lease),
            (leader, _) => Err(NotLeaseholder { range: self.shared.id, leader }),
        }
    }

    fn leader(&self) -> Option<NodeId> {
        self.shared.lease.read().0
    }

    fn closed_timestamp(&self) -> Timestamp {
        Timestamp::from_raw(self.shared.closed.load(Ordering::SeqCst))
    }

    fn propose(&self, lease: &Lease, command: Command) -> BoxFuture<'static, Result<Applied, ProposeError>> {
        let id = self.shared.id;
        let refused = NotLeaseholder { range: id, leader: None };
        let Some(cluster) = self.cluster.upgrade() else { return ready(Err(refused.into())) };
        match self.lease() {
            Ok(now) if now.term == lease.term => {}
            Ok(_) => return ready(Err(refused.into())),
            Err(e) => return ready(Err(e.into())),
        }
        let fault = cluster.hook.lock().as_ref().map_or(Fault::None, |hook| hook(id));
        if fault != Fault::None {
            // Decided before the next lease begins, as Raft's change of term decides it.
            let outcome = match fault {
                Fault::Refused => Err(refused.into()),
                Fault::AmbiguousApplied => apply(&cluster, &self.shared, &command).and(Err(ProposeError::Ambiguous(id))),
                _ => Err(ProposeError::Ambiguous(id)),
            };
            let next = NodeId(self.node.0 % cluster.replicas + 1);
            cluster.lose_lease(id, next, Duration::from_millis(3));
            return ready(outcome);
        }
        let delay = *cluster.apply_delay.read();
        let Some(delay) = delay else { return ready(apply(&cluster, &self.shared, &command)) };
        let pause = delay.mul_f64(cluster.rng.lock().random_range(0.0..1.0));
        let shared = self.shared.clone();
        let term = lease.term;
        cluster.in_flight.fetch_add(1, Ordering::SeqCst);
        // On a task of its own: a command that is on its way does not stop because its proposer does.
        let counted = cluster.clone();
        let applied = cluster.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            // A lease lost meanwhile: the command may be in the log or not. Here it never is.
            let outcome = if shared.lease.read().1.term == term && (shared.lease.read().0.is_some() || counted.moving(&shared)) {
                apply(&counted, &shared, &command)
            } else {
                Err(ProposeError::Ambiguous(id))
            };
            counted.in_flight.fetch_sub(1, Ordering::SeqCst);
            outcome
        });
        Box::pin(async move { applied.await.unwrap_or(Err(ProposeError::Ambiguous(id))) })
    }

    async fn split(&self, key: Key) -> Result<(), AdminError> {
        let Some(cluster) = self.cluster.upgrade() else { return Err(AdminError::Invalid("the store is gone".into())) };
        self.lease()?;
        let id = RangeId(cluster.next.fetch_add(1, Ordering::SeqCst));
        let (left, right) = {
            let mut descriptor = self.shared.descriptor.write();
            if !descriptor.span.contains(&key) {
                return Err(AdminError::Invalid("the key is not in this range".into()));
            }
            if descriptor.span.start == key {
                return Ok(());
            }
            let (mut left, mut right) = ((**descriptor).clone(), (**descriptor).clone());
            left.generation += 1;
            left.span_epoch += 1;
            right.generation += 1;
            right.span_epoch += 1;
            right.id = id;
            right.span.start = key.clone();
            left.span.end = key;
            *descriptor = Arc::new(left.clone());
            (left, right)
        };
        cluster.add(right.clone(), self.node, Timestamp::ZERO);
        let (Some(left_face), Some(right_face)) = (cluster.face(left.id, self.node), cluster.face(id, self.node)) else { return Ok(()) };
        let events = cluster.members.read()[&self.node].events.clone();
        events.range_split(&left_face, &right_face);
        cluster.begin_lease(id);
        if cluster.members.read().len() > 1 {
            cluster.publish(Arc::new(right));
            cluster.publish(Arc::new(left));
        }
        Ok(())
    }

    async fn transfer_lease(&self, to: NodeId) -> Result<(), AdminError> {
        let Some(cluster) = self.cluster.upgrade() else { return Err(AdminError::Invalid("the store is gone".into())) };
        self.lease()?;
        cluster.move_lease(self.shared.id, to).await;
        Ok(())
    }
}

impl Cluster {
    /// Whether the lease is between holders because of a planned move, which waits for what is in flight.
    fn moving(&self, shared: &Shared) -> bool {
        let members = self.members.read();
        members.values().any(|m| m.events.by_id(shared.id).is_some())
    }
}

/// What one node sees: its replicas, the directory, the others.
struct Host {
    node: NodeId,
    cluster: Arc<Cluster>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Host({})", self.node)
    }
}

impl RangeHost for Host {
    fn node(&self) -> NodeId {
        self.node
    }

    fn engine(&self) -> &Arc<dyn Engine> {
        &self.cluster.engine
    }

    fn replica_for_key(&self, key: &[u8]) -> Option<Arc<dyn RangeReplica>> {
        let id = self.cluster.ranges.read().values().find(|r| r.descriptor.read().span.contains(key)).map(|r| r.id)?;
        self.cluster.face(id, self.node)
    }

    fn replica(&self, range: RangeId) -> Option<Arc<dyn RangeReplica>> {
        self.cluster.face(range, self.node)
    }

    fn replicas(&self) -> Vec<Arc<dyn RangeReplica>> {
        self.cluster.ranges().into_iter().filter_map(|r| self.cluster.face(r, self.node)).collect()
    }
}

impl Directory for Host {
    fn first_range(&self) -> Option<Arc<RangeDescriptor>> {
        self.cluster.ranges.read().get(&RangeId(1)).map(|r| r.descriptor.read().clone())
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        let none = String::new;
        let info = |(id, member): (&NodeId, &Member)| NodeInfo {
            id: *id,
            rpc_address: none(),
            sql_address: none(),
            http_address: none(),
            locality: Locality::default(),
            live: !member.down,
        };
        self.cluster.members.read().iter().map(info).collect()
    }
}

impl Host {
    fn handler(&self, to: NodeId) -> Result<Arc<dyn Handler>, TransportError> {
        let members = self.cluster.members.read();
        members.get(&to).filter(|m| !m.down).and_then(|m| m.handler.get().cloned()).ok_or(TransportError::Unreachable(to))
    }

    /// What befalls a call: a delay and a die.
    fn is_cut(&self, from: NodeId, to: NodeId) -> bool {
        *self.cluster.cut.read() == Some((from, to))
    }

    fn fate(&self) -> (Duration, u32, NetworkFaults) {
        let faults = *self.cluster.network.read();
        let mut rng = self.cluster.rng.lock();
        (Duration::from_micros(rng.random_range(0..=u64::from(faults.delay_ms_max) * 1000)), rng.random_range(0..1000), faults)
    }
}

#[async_trait]
impl Transport for Host {
    fn local(&self) -> NodeId {
        self.node
    }

    fn serve(&self, service: Service, handler: Arc<dyn Handler>) {
        if service == Service::Kv
            && let Some(member) = self.cluster.members.read().get(&self.node)
        {
            let _ = member.handler.set(handler);
        }
    }

    fn connect(&self, _node: NodeId, _address: &str) {}

    fn assume_identity(&self, _node: NodeId) {}

    fn send(&self, to: NodeId, _class: TrafficClass, _service: Service, body: Bytes) -> Result<(), TransportError> {
        let (handler, from) = (self.handler(to)?, self.node);
        let (delay, die, faults) = self.fate();
        if self.is_cut(from, to) {
            return Ok(());
        }
        if die >= faults.refused + faults.lost {
            self.cluster.tasks.spawn(async move {
                tokio::time::sleep(delay).await;
                handler.message(from, body);
            });
        }
        Ok(())
    }

    async fn call(&self, to: NodeId, _: TrafficClass, _: Service, body: Bytes, deadline: Duration) -> Result<Bytes, TransportError> {
        let (handler, from) = (self.handler(to)?, self.node);
        let (delay, mut die, faults) = self.fate();
        if self.is_cut(from, to) {
            tokio::time::sleep(deadline).await;
            return Err(TransportError::NoAnswer(to));
        }
        if die < faults.refused {
            return Err(TransportError::Full(to));
        }
        die -= faults.refused;
        if die < faults.lost {
            tokio::time::sleep(delay * 4).await;
            return Err(TransportError::NoAnswer(to));
        }
        die -= faults.lost;
        let tasks = match self.cluster.members.read().get(&to) {
            Some(member) => member.tasks.clone(),
            None => return Err(TransportError::Unreachable(to)),
        };
        let again =
            (die >= faults.answer_lost && die < faults.answer_lost + faults.twice).then(|| (handler.clone(), body.clone(), self.fate().0));
        let served = tasks.spawn(async move {
            tokio::time::sleep(delay).await;
            handler.call(from, body).await
        });
        if let Some((handler, body, later)) = again {
            tasks.spawn(async move {
                tokio::time::sleep(later * 10).await;
                let _ = handler.call(from, body).await;
            });
        }
        if self.is_cut(to, from) {
            tokio::time::sleep(deadline).await;
            return Err(TransportError::NoAnswer(to));
        }
        if die < faults.answer_lost {
            tokio::time::sleep(delay * 2).await;
            return Err(TransportError::NoAnswer(to));
        }
        match tokio::time::timeout(deadline, served).await {
            Ok(Ok(answer)) => answer.map_err(|m| TransportError::Refused(to, m)),
            _ => Err(TransportError::NoAnswer(to)),
        }
    }

    async fn call_address(&self, _: &str, _: Service, _: Bytes, _: Duration) -> Result<Bytes, TransportError> {
        Err(TransportError::Unreachable(self.node))
    }
}
