//! A whole key-value store in one process, without Raft: for tests of the layers above, and for embedded use.
//!
//! It is the real transactional layer (leaseholder, router, coordinator) over a stand-in for replication: every range has one replica, which
//! holds its lease for ever and applies commands to the engine at once. Several ranges are possible ([`crate::api::Kv::split_at`]). What it
//! does not give is durability beyond the engine's own: call `Engine::flush` when the state must survive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use meridian_clock::{Clock, Entropy, TaskGroup, Timestamp};
use meridian_replication::api::{
    AdminError, Applied, Command, Directory, Lease, LogIndex, NodeId, NodeInfo, NotLeaseholder, ProposeError, RangeDescriptor, RangeEvents,
    RangeHost, RangeId, RangeReplica, ReplicaDescriptor, ReplicaId, ReplicaRole, Term,
};
use meridian_replication::transport::{Handler, Service, TrafficClass, Transport, TransportError};
use meridian_storage::{Engine, Key, Span};
use parking_lot::{Mutex, RwLock};

use crate::leaseholder::Leaseholders;
use crate::node::{Config, Foundation, Node};

/// The only node.
const NODE: NodeId = NodeId(1);

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

/// Asked for every proposal (tests only).
pub type FaultHook = Box<dyn Fn(RangeId) -> Fault + Send + Sync>;

/// One replica of one range, without Raft.
#[derive(Debug)]
pub struct SoloReplica {
    id: RangeId,
    descriptor: RwLock<Arc<RangeDescriptor>>,
    lease: RwLock<Lease>,
    /// No lease at the moment.
    down: AtomicBool,
    closed: AtomicU64,
    index: AtomicU64,
    host: std::sync::Weak<Solo>,
}

/// The stand-in for replication.
pub struct Solo {
    engine: Arc<dyn Engine>,
    clock: Clock,
    tasks: TaskGroup,
    events: Arc<Leaseholders>,
    replicas: RwLock<BTreeMap<RangeId, Arc<SoloReplica>>>,
    next: AtomicU64,
    hook: Mutex<Option<FaultHook>>,
    apply_delay: RwLock<Option<Duration>>,
}

impl std::fmt::Debug for Solo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Solo({} ranges)", self.replicas.read().len())
    }
}

/// Starts a store over `engine`. Must be called inside a tokio runtime.
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
) -> (Arc<Node>, Arc<Solo>) {
    let events = Leaseholders::new(clock.clone(), tasks.clone(), entropy);
    let solo = Arc::new(Solo {
        engine,
        clock: clock.clone(),
        tasks: tasks.clone(),
        events: events.clone(),
        replicas: RwLock::default(),
        next: AtomicU64::new(2),
        hook: Mutex::new(None),
        apply_delay: RwLock::new(None),
    });
    solo.add(RangeId(1), Span::all(), clock.now().latest);
    let foundation =
        Foundation { host: solo.clone(), transport: Arc::new(Nowhere), directory: solo.clone(), clock, entropy: entropy.clone(), tasks };
    (Node::start(&events, foundation, config), solo)
}

impl Solo {
    fn add(self: &Arc<Self>, id: RangeId, span: Span, low_water: Timestamp) {
        let replica = self.replica_of(id, span, low_water);
        self.replicas.write().insert(id, replica.clone());
        let lease = *replica.lease.read();
        let replica: Arc<dyn RangeReplica> = replica;
        self.events.lease_started(&replica, &lease, None);
    }

    fn replica_of(self: &Arc<Self>, id: RangeId, span: Span, low_water: Timestamp) -> Arc<SoloReplica> {
        let replica = ReplicaDescriptor { node: NODE, id: ReplicaId(1), role: ReplicaRole::Voter };
        let descriptor = RangeDescriptor { id, span, replicas: vec![replica], next_replica: ReplicaId(2), generation: 1 };
        Arc::new(SoloReplica {
            id,
            descriptor: RwLock::new(Arc::new(descriptor)),
            lease: RwLock::new(Lease { term: Term(1), low_water, expiration: Timestamp::MAX }),
            down: AtomicBool::new(false),
            closed: AtomicU64::new(0),
            index: AtomicU64::new(0),
            host: Arc::downgrade(self),
        })
    }

    /// Makes proposals fail (tests only).
    pub fn set_fault_hook(&self, hook: Option<FaultHook>) {
        *self.hook.lock() = hook;
    }

    /// Lets every command take this long from proposal to apply, so that requests overlap (tests only).
    pub fn set_apply_delay(&self, delay: Option<Duration>) {
        *self.apply_delay.write() = delay;
    }

    /// The lease of `range` ends now and a new one begins after `pause`, as after an unplanned change of leadership: locks and timestamp cache
    /// are lost (tests only).
    pub fn lose_lease(&self, range: RangeId, pause: Duration) {
        let Some(replica) = self.replicas.read().get(&range).cloned() else { return };
        if replica.down.swap(true, Ordering::SeqCst) {
            return;
        }
        self.events.lease_ended(range);
        let (events, clock) = (self.events.clone(), self.clock.clone());
        self.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            let lease = {
                let mut lease = replica.lease.write();
                lease.term = Term(lease.term.0 + 1);
                lease.low_water = clock.now().latest;
                *lease
            };
            let dynamic: Arc<dyn RangeReplica> = replica.clone();
            events.lease_started(&dynamic, &lease, None);
            replica.down.store(false, Ordering::SeqCst);
        });
    }

    /// A planned move of the lease, away and back at once: locks and timestamp cache are handed over (tests only).
    pub fn bounce_lease(&self, range: RangeId) {
        let Some(replica) = self.replicas.read().get(&range).cloned() else { return };
        if replica.down.swap(true, Ordering::SeqCst) {
            return;
        }
        let handover = self.events.hand_over(range);
        let lease = {
            let mut lease = replica.lease.write();
            lease.term = Term(lease.term.0 + 1);
            *lease
        };
        let dynamic: Arc<dyn RangeReplica> = replica.clone();
        self.events.lease_started(&dynamic, &lease, Some(handover));
        replica.down.store(false, Ordering::SeqCst);
    }
}

impl SoloReplica {
    fn apply(&self, host: &Solo, command: &Command) -> Result<Applied, ProposeError> {
        host.engine.apply(&command.batch)?;
        self.closed.fetch_max(command.closed.as_raw(), Ordering::SeqCst);
        Ok(Applied { index: LogIndex(self.index.fetch_add(1, Ordering::SeqCst) + 1), fresh: true })
    }
}

#[async_trait]
impl RangeReplica for SoloReplica {
    fn range_id(&self) -> RangeId {
        self.id
    }

    fn descriptor(&self) -> Arc<RangeDescriptor> {
        self.descriptor.read().clone()
    }

    fn lease(&self) -> Result<Lease, NotLeaseholder> {
        if self.down.load(Ordering::SeqCst) {
            return Err(NotLeaseholder { range: self.id, leader: None });
        }
        Ok(*self.lease.read())
    }

    fn closed_timestamp(&self) -> Timestamp {
        Timestamp::from_raw(self.closed.load(Ordering::SeqCst))
    }

    fn propose(&self, lease: &Lease, command: Command) -> BoxFuture<'static, Result<Applied, ProposeError>> {
        let refused = NotLeaseholder { range: self.id, leader: None };
        let Some(host) = self.host.upgrade() else { return Box::pin(futures::future::ready(Err(refused.into()))) };
        if self.down.load(Ordering::SeqCst) || self.lease.read().term != lease.term {
            return Box::pin(futures::future::ready(Err(refused.into())));
        }
        let fault = host.hook.lock().as_ref().map_or(Fault::None, |hook| hook(self.id));
        let id = self.id;
        if fault != Fault::None {
            // Decided before the next lease begins, as Raft's term change decides it.
            let outcome = match fault {
                Fault::Refused => Err(refused.into()),
                Fault::AmbiguousApplied => self.apply(&host, &command).and(Err(ProposeError::Ambiguous(id))),
                _ => Err(ProposeError::Ambiguous(id)),
            };
            host.lose_lease(id, Duration::from_millis(3));
            return Box::pin(futures::future::ready(outcome));
        }
        let delay = *host.apply_delay.read();
        let me = host.replicas.read().get(&id).cloned();
        match (delay, me) {
            (Some(delay), Some(me)) => Box::pin(async move {
                tokio::time::sleep(delay).await;
                me.apply(&host, &command)
            }),
            _ => Box::pin(futures::future::ready(self.apply(&host, &command))),
        }
    }

    async fn split(&self, key: Key) -> Result<(), AdminError> {
        let Some(host) = self.host.upgrade() else { return Err(AdminError::Invalid("the store is gone".into())) };
        let (left, right) = {
            let mut descriptor = self.descriptor.write();
            if !descriptor.span.contains(&key) {
                return Err(AdminError::Invalid("the key is not in this range".into()));
            }
            if descriptor.span.start == key {
                return Ok(());
            }
            let mut left = (**descriptor).clone();
            let right = Span { start: key.clone(), end: left.span.end.clone() };
            left.span.end = key;
            left.generation += 1;
            *descriptor = Arc::new(left.clone());
            (left, right)
        };
        let id = RangeId(host.next.fetch_add(1, Ordering::SeqCst));
        let right = host.replica_of(id, right, Timestamp::ZERO);
        let Some(left) = host.replicas.read().get(&left.id).cloned() else { return Ok(()) };
        host.replicas.write().insert(id, right.clone());
        let lease = *right.lease.read();
        let (left, right): (Arc<dyn RangeReplica>, Arc<dyn RangeReplica>) = (left, right);
        host.events.range_split(&left, &right);
        host.events.lease_started(&right, &lease, None);
        Ok(())
    }

    async fn transfer_lease(&self, _to: NodeId) -> Result<(), AdminError> {
        Err(AdminError::Invalid("there is one node".into()))
    }
}

impl RangeHost for Solo {
    fn node(&self) -> NodeId {
        NODE
    }

    fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    fn replica_for_key(&self, key: &[u8]) -> Option<Arc<dyn RangeReplica>> {
        let replicas = self.replicas.read();
        replicas.values().find(|r| r.descriptor.read().span.contains(key)).map(|r| r.clone() as Arc<dyn RangeReplica>)
    }

    fn replica(&self, range: RangeId) -> Option<Arc<dyn RangeReplica>> {
        self.replicas.read().get(&range).map(|r| r.clone() as Arc<dyn RangeReplica>)
    }

    fn replicas(&self) -> Vec<Arc<dyn RangeReplica>> {
        self.replicas.read().values().map(|r| r.clone() as Arc<dyn RangeReplica>).collect()
    }
}

impl Directory for Solo {
    fn first_range(&self) -> Option<Arc<RangeDescriptor>> {
        self.replicas.read().get(&RangeId(1)).map(|r| r.descriptor())
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        Vec::new()
    }
}

/// The transport of a node that is alone.
#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl Transport for Nowhere {
    fn local(&self) -> NodeId {
        NODE
    }

    fn serve(&self, _service: Service, _handler: Arc<dyn Handler>) {}

    fn connect(&self, _node: NodeId, _address: &str) {}

    fn assume_identity(&self, _node: NodeId) {}

    fn send(&self, to: NodeId, _class: TrafficClass, _service: Service, _body: Bytes) -> Result<(), TransportError> {
        Err(TransportError::Unreachable(to))
    }

    async fn call(&self, to: NodeId, _: TrafficClass, _: Service, _: Bytes, _: Duration) -> Result<Bytes, TransportError> {
        Err(TransportError::Unreachable(to))
    }

    async fn call_address(&self, _: &str, _: Service, _: Bytes, _: Duration) -> Result<Bytes, TransportError> {
        Err(TransportError::Unreachable(NODE))
    }
}
