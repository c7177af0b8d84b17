//! The assembly of one node's transactional layer.
//!
//! ```text
//!   Leaseholders::new(…)                    exists first: replication's RangeEvents
//!   … replication starts its store with it …
//!   Node::start(host, transport, …)         router, coordinator, Service::Kv, background queues
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_clock::{Clock, Entropy, TaskGroup, Timestamp};
use meridian_replication::api::{Directory, NodeId, RangeHost};
use meridian_replication::store::CLOSED_LAG;
use meridian_replication::transport::{Handler, Service, Transport};
use meridian_storage::{Key, Span};
use rand::Rng as _;

use crate::api::{Kv, KvError, KvTxn, LockInfo, ProgramEvaluator, RangeInfo, SessionId, SessionLocks, TxnOptions};
use crate::coordinator::{Gateway, Locks, OwnersLease, Registry, Txn, Waits};
use crate::leaseholder::Leaseholders;
use crate::protect::{Protection, Rules};
use crate::request::{Request, Response};
use crate::router::{Parts, Router, unexpected};
use crate::system::System;

/// How long the news of a closed timestamp may take to a far replica.
const FOLLOWER_READ_SLACK: Duration = Duration::from_secs(1);

/// Limits and periods of the transactional layer.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bytes that one transaction may buffer.
    pub buffer_bytes_max: usize,
    /// Old versions are kept at least this long. The same on all nodes.
    pub gc_ttl: Duration,
    /// An open transaction keeps the versions that it reads beyond that, until its snapshot is so old. Not above `gc_ttl`: it does not.
    pub snapshot_age_max: Duration,
    /// How often old versions are collected.
    pub gc_period: Duration,
    /// Tasks that read one large table at the same time, each its part of it.
    pub scan_tasks: usize,
    /// Memory for the newest versions of rows, of all ranges together.
    pub row_cache_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            buffer_bytes_max: 512 << 20,
            gc_ttl: Duration::from_secs(4 * 3600),
            snapshot_age_max: Duration::from_secs(24 * 3600),
            gc_period: Duration::from_secs(300),
            scan_tasks: 2,
            row_cache_bytes: 16 << 20,
        }
    }
}

/// What a node's transactional layer stands on.
pub struct Foundation {
    /// The ranges of this node.
    pub host: Arc<dyn RangeHost>,
    /// Other nodes.
    pub transport: Arc<dyn Transport>,
    /// Where range addressing begins.
    pub directory: Arc<dyn Directory>,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// The node's tasks.
    pub tasks: TaskGroup,
}

/// The key-value store as this node serves it.
#[derive(Debug)]
pub struct Node {
    gateway: Arc<Gateway>,
}

impl Node {
    /// Assembles the layer over `leaseholders`, registers `Service::Kv` and starts the background queues.
    pub fn start(leaseholders: &Arc<Leaseholders>, on: Foundation, config: Config) -> Arc<Node> {
        let registry = Arc::new(Registry::default());
        let parts = Parts {
            clock: on.clock.clone(),
            tasks: on.tasks.clone(),
            registry: registry.clone(),
            leaseholders: leaseholders.clone(),
            host: on.host.clone(),
            transport: on.transport.clone(),
            directory: on.directory,
        };
        let router = Router::new(parts, &on.entropy);
        registry.attach(Arc::downgrade(&router));
        leaseholders.attach(on.host, Arc::downgrade(&router), config.gc_ttl, config.row_cache_bytes);
        on.transport.serve(Service::Kv, Arc::new(KvService { router: router.clone() }));
        on.tasks.spawn(leaseholders.clone().sweep_locks());
        on.tasks.spawn(leaseholders.clone().tend_row_caches());
        let counter = AtomicU32::new(on.entropy.fork("attempts").rng().random());
        let (owners, lease) = (AtomicU32::new(0), Arc::new(OwnersLease::default()));
        let protection = Protection::new(Rules { ttl: config.gc_ttl, age_max: config.snapshot_age_max });
        let (id, period, clock) = (router.node, config.gc_period, on.clock.clone());
        let gateway =
            Gateway { router, clock: on.clock, config, protection: protection.clone(), counter, owners, lease, waits: Waits::default() };
        let node = Arc::new(Node { gateway: Arc::new(gateway) });
        let system = System::new(node.clone());
        on.tasks.spawn(leaseholders.clone().collect_garbage(period, protection.clone(), system.clone()));
        on.tasks.spawn(protection.keep(id, system, clock));
        node
    }

    /// Reads in the past that replicas on this node answered without their range's leaseholder.
    pub fn follower_reads(&self) -> u64 {
        self.gateway.router.follower_reads.load(Ordering::Relaxed)
    }

    /// Requests sent to ranges led by other nodes.
    pub fn remote_requests(&self) -> u64 {
        self.gateway.router.remote_requests.load(Ordering::Relaxed)
    }

    /// Answers of this gateway held back until the clock had certainly passed what they rest on (T3): how many, and for how many microseconds altogether.
    pub fn reply_waits(&self) -> (u64, u64) {
        self.gateway.waits.replies.read()
    }

    /// Times that transactions of this gateway asked leaseholders whether their reads hold at a later timestamp (C3): how many, and how many microseconds
    /// that took altogether.
    pub fn validations(&self) -> (u64, u64) {
        self.gateway.waits.validations.read()
    }

    /// Memory that the row caches of this node take.
    pub fn row_cache_bytes(&self) -> usize {
        self.gateway.router.leaseholders().row_cache_bytes()
    }

    /// How far back this node holds the collection of old versions, for its open transactions; zero if it does not.
    pub fn protected_age(&self) -> Duration {
        self.gateway.protection.age(self.gateway.clock.now())
    }

    /// How far back the horizon of this node's last collection of old versions lies; `None` before the first.
    pub fn collection_horizon_age(&self) -> Option<Duration> {
        self.gateway.protection.horizon_age(self.gateway.clock.now())
    }

    /// The number of transactions of this gateway that others may be waiting for.
    pub fn live_transactions(&self) -> usize {
        self.gateway.router.registry.len()
    }
}

#[async_trait]
impl Kv for Node {
    fn begin(&self, options: TxnOptions) -> Box<dyn KvTxn> {
        Box::new(Txn::begin(self.gateway.clone(), options))
    }

    fn register_programs(&self, evaluator: Arc<dyn ProgramEvaluator>) {
        self.gateway.router.leaseholders().register_programs(evaluator);
    }

    async fn split_at(&self, key: Key) -> Result<(), KvError> {
        let router = &self.gateway.router;
        match router.ask(&key, &router.system_header(), &Request::Split { key: key.clone() }).await? {
            Response::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn ranges(&self, span: Span) -> Result<Vec<RangeInfo>, KvError> {
        let found = self.gateway.router.ranges(&span).await?;
        Ok(found.into_iter().map(|(descriptor, leaseholder)| RangeInfo { descriptor, leaseholder }).collect())
    }

    fn session_locks(&self, session: SessionId) -> Box<dyn SessionLocks> {
        Box::new(Locks::new(self.gateway.clone(), session))
    }

    async fn locks(&self) -> Vec<LockInfo> {
        self.gateway.router.locks().await
    }

    fn node(&self) -> NodeId {
        self.gateway.router.node
    }

    fn now(&self) -> Timestamp {
        self.gateway.clock.now().latest
    }

    fn follower_read_timestamp(&self) -> Timestamp {
        self.gateway.clock.now().earliest.minus(CLOSED_LAG + FOLLOWER_READ_SLACK)
    }

    fn closed_nearby(&self) -> Timestamp {
        self.gateway.router.closed_nearby()
    }
}

/// The receiving side of `Service::Kv`.
struct KvService {
    router: Arc<Router>,
}

#[async_trait]
impl Handler for KvService {
    fn message(&self, _from: NodeId, body: Bytes) {
        self.router.hear(&body);
    }

    async fn call(&self, _from: NodeId, body: Bytes) -> Result<Bytes, String> {
        self.router.serve(&body).await
    }
}
