//! Who is in the cluster.
//!
//! **Ids and records** are data in ranges ([`records`]), written by compare-and-set through [`SystemKv`]. **Who is alive** is not: every node
//! tells every other `I am here` twice a second, with a digest of the records that it knows; whoever knows other ones answers with all of
//! them, and with the newest descriptor of the first range, where range addressing begins. So a node can find its way ([`Directory`])
//! before it can read a single range, and after all ranges have moved while it was away: it also keeps what it knew in its store.
//!
//! **Joining.**
//! ```text
//!   new node                           any member at a join address                ranges
//!      │  Join (call_address) ───────────────►│  compare-and-set last node id ─────►│
//!      │◄──────── node id, cluster id, nodes, first range                           │
//!      │  identity to its own store; heartbeats to all                              │
//!      │  its own record, once it can reach the ranges ────────────────────────────►│
//! ```
//! The first node of all is founded by `init` instead, as node 1. Until a node has an identity it answers `Init` and nothing else.
//!
//! **Silence.** A node unheard for `live_window` is not live; unheard for `dead_after` it is dead and its replicas are replaced
//! (`placement`). When it comes back it is a member as before, but without those replicas. A node that was *removed* ([`Registry::remove`])
//! is told so by everyone it speaks to, and stands down ([`Registry::standing`]).

mod messages;
mod records;
mod rounds;
mod table;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::{Entropy, TaskGroup};
use meridian_storage::engine::{Batch, Engine, Space, StorageError};
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::api::{Directory, Locality, NodeId, NodeInfo, RangeDescriptor, RangeHost, SystemError, SystemKv};
use crate::transport::{Service, Transport, TransportError};
pub use records::{Addresses, ClusterRecord, Identity, NodeLoad, NodeRecord, cluster_key, last_node_key, node_key, node_span};
use records::{Answer, Knowledge, Question, VERSION, decode, encode};
use rounds::{heartbeats, jittered, refreshes};
pub use table::Health;
use table::Table;

/// Where, in `Space::Meta`, a store keeps what its node last knew of the cluster.
pub const KNOWLEDGE_META_KEY: &[u8] = &[0x10];
/// The node that founds a cluster.
pub const FOUNDER: NodeId = NodeId(1);
/// Each call of the joining protocol may take this long.
const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// Attempts at a compare-and-set that others keep winning.
const RACES_MAX: usize = 100;

/// Times of the registry.
#[derive(Clone, Copy, Debug)]
pub struct RegistryOptions {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// A node is live while it was heard of within this.
    pub live_window: Duration,
    /// A node that is silent for longer is dead.
    pub dead_after: Duration,
    /// Between two readings of the node records in ranges, and between two attempts to join.
    pub refresh: Duration,
    /// Between two attempts at the join addresses.
    pub retry: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        RegistryOptions {
            heartbeat: Duration::from_millis(500),
            live_window: Duration::from_secs(3),
            dead_after: Duration::from_secs(300),
            refresh: Duration::from_secs(10),
            retry: Duration::from_millis(500),
        }
    }
}

/// Why a node could not take its place.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryError {
    /// It was removed from the cluster.
    #[error("{0} was removed from the cluster; to use this machine again, start it with an empty data directory")]
    Removed(NodeId),
    /// The ranges that the node can reach are those of another cluster than its store's.
    #[error("this store belongs to cluster {ours:032x}, but the cluster it reached is {theirs:032x}")]
    OtherCluster { ours: u128, theirs: u128 },
    /// The node is live, so it cannot be removed.
    #[error("{0} is live; stop it before removing it")]
    StillLive(NodeId),
    /// There is no such node.
    #[error("{0} is not in the registry")]
    Unknown(NodeId),
    /// The ranges that hold the registry could not be reached, or hold something unreadable.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The store could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A peer answered with a refusal, or not at all.
    #[error("{address}: {error}")]
    Peer { address: String, error: TransportError },
}

/// How a node came by its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// Its store had it.
    Restarted(Identity),
    /// It founded the cluster: the caller creates the first range, with one replica on this node.
    Founded(Identity),
    /// A member gave it.
    Joined(Identity),
}

impl Entrance {
    /// The identity.
    pub fn identity(&self) -> Identity {
        let (Entrance::Restarted(identity) | Entrance::Founded(identity) | Entrance::Joined(identity)) = self;
        *identity
    }
}

/// Whether this node still belongs to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does, as far as it knows.
    Member,
    /// It was removed: it must stop.
    Removed,
}

/// A node, as placement and status pages look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// The node.
    pub id: NodeId,
    /// Where it stands.
    pub locality: Locality,
    /// How it does.
    pub health: Health,
    /// What it holds, by its last heartbeat.
    pub load: NodeLoad,
}

/// One node's registry.
pub struct Registry {
    transport: Arc<dyn Transport>,
    engine: Arc<dyn Engine>,
    tasks: TaskGroup,
    options: RegistryOptions,
    entropy: Entropy,
    addresses: Addresses,
    locality: Locality,
    join: Vec<String>,
    identity: OnceLock<Identity>,
    founded: Notify,
    kv: OnceLock<Arc<dyn SystemKv>>,
    host: OnceLock<Arc<dyn RangeHost>>,
    table: Mutex<Table>,
    own_load: Mutex<NodeLoad>,
    changes: watch::Sender<u64>,
    standing: watch::Sender<Standing>,
}

impl Registry {
    /// The registry of a node that is about to start, and serves [`Service::Registry`] from now on. `join`: where other nodes may listen.
    #[expect(clippy::too_many_arguments, reason = "each is one seam of the node, named at the one call")]
    pub fn new(
        transport: Arc<dyn Transport>,
        engine: Arc<dyn Engine>,
        tasks: TaskGroup,
        options: RegistryOptions,
        entropy: &Entropy,
        addresses: Addresses,
        locality: Locality,
        join: Vec<String>,
    ) -> Result<Arc<Self>, RegistryError> {
        let mut table = Table::default();
        if let Some(bytes) = engine.get(Space::Meta, KNOWLEDGE_META_KEY)? {
            let known: Knowledge = decode(&bytes).map_err(StorageError::Corruption)?;
            known.records.into_iter().for_each(|record| _ = table.merge_record(record, Instant::now()));
            known.first_range.iter().for_each(|first| _ = table.merge_first_range(first));
        }
        let registry = Arc::new(Registry {
            transport,
            engine,
            tasks,
            options,
            entropy: entropy.fork("registry"),
            addresses,
            locality,
            join,
            identity: OnceLock::new(),
            founded: Notify::new(),
            kv: OnceLock::new(),
            host: OnceLock::new(),
            table: Mutex::new(table),
            own_load: Mutex::default(),
            changes: watch::Sender::new(0),
            standing: watch::Sender::new(Standing::Member),
        });
        registry.transport.serve(Service::Registry, Arc::new(messages::Receiver(Arc::downgrade(&registry))));
        Ok(registry)
    }

    /// Gives the node its identity: the one in its store, or that of a new member, or of the founder once somebody asks for it
    /// (`init`). Tries for as long as it takes. From here on heartbeats go out; the caller writes the identity to the store.
    pub async fn establish(self: &Arc<Self>, known: Option<Identity>) -> Result<Entrance, RegistryError> {
        let entrance = match known {
            Some(identity) => Entrance::Restarted(self.become_member(identity)),
            None => self.enter().await,
        };
        let us = self.identity()?;
        let record = {
            let mut table = self.table.lock();
            let known = table.record(us.node).map(|record| (record.incarnation, record.removed));
            if let Some((_, true)) = known {
                return Err(RegistryError::Removed(us.node));
            }
            let record = NodeRecord {
                id: us.node,
                addresses: self.addresses.clone(),
                locality: self.locality.clone(),
                incarnation: known.map_or(1, |(incarnation, _)| incarnation + 1),
                removed: false,
            };
            table.merge_record(record.clone(), Instant::now());
            record
        };
        tracing::info!(node = %us.node, cluster = format!("{:032x}", us.cluster), incarnation = record.incarnation, "identity established");
        self.connect_all();
        self.changed()?;
        let registry = Arc::downgrade(self);
        self.tasks.spawn(heartbeats(registry, self.options.heartbeat, self.entropy.fork("heartbeats").rng()));
        Ok(entrance)
    }

    /// Founds a cluster with this node as its first, at once (`start-single-node`).
    pub fn found(&self) -> Result<Identity, String> {
        if let Some(identity) = self.identity.get() {
            return Err(format!("this node is {} of a cluster already", identity.node));
        }
        let cluster = self.entropy.fork("cluster id").rng().random::<u128>().max(1);
        let identity = self.become_member(Identity { node: FOUNDER, cluster });
        self.founded.notify_one();
        Ok(identity)
    }

    /// Ranges can be reached from here on: answers `Join`, writes this node's record (trying until it succeeds) and keeps reading the others'.
    pub fn start(self: &Arc<Self>, kv: Arc<dyn SystemKv>, host: Arc<dyn RangeHost>) {
        let _ = self.kv.set(kv);
        let _ = self.host.set(host);
        let registry = Arc::downgrade(self);
        self.tasks.spawn(refreshes(registry, self.options, self.entropy.fork("refresh").rng()));
    }

    /// Takes a node that is not live out of the cluster for good.
    pub async fn remove(&self, node: NodeId) -> Result<(), RegistryError> {
        let kv = self.kv()?;
        if self.health(node) == Health::Live {
            return Err(RegistryError::StillLive(node));
        }
        for _ in 0..RACES_MAX {
            let stored = kv.get(node_key(node)).await?.ok_or(RegistryError::Unknown(node))?;
            let mut record: NodeRecord = decode(&stored).map_err(SystemError)?;
            (record.removed, record.incarnation) = (true, record.incarnation + 1);
            if kv.compare_and_set(node_key(node), Some(stored), Some(encode(&record))).await? {
                self.learn(Knowledge { records: vec![record], first_range: None })?;
                return Ok(());
            }
        }
        Err(SystemError(format!("the record of {node} keeps changing")).into())
    }

    /// What this node holds, for its next heartbeat.
    pub fn set_load(&self, load: NodeLoad) {
        *self.own_load.lock() = load;
    }

    /// A descriptor of the first range that this node has applied.
    pub fn publish_first_range(&self, descriptor: &RangeDescriptor) {
        if self.table.lock().merge_first_range(descriptor)
            && let Err(error) = self.changed()
        {
            tracing::warn!("could not keep what is known of the cluster: {error}");
        }
    }

    /// Raised whenever nodes, their health or the first range change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Whether this node was removed.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// How `node` does.
    pub fn health(&self, node: NodeId) -> Health {
        if self.identity.get().is_some_and(|us| us.node == node) {
            return Health::Live;
        }
        self.table.lock().health(node, Instant::now(), self.options.live_window, self.options.dead_after)
    }

    /// All nodes, by id.
    pub fn statuses(&self) -> Vec<NodeStatus> {
        let us = self.identity.get().map(|us| us.node);
        let own_load = *self.own_load.lock();
        let (table, now) = (self.table.lock(), Instant::now());
        let status = |record: &NodeRecord| {
            let (id, own) = (record.id, us == Some(record.id));
            let health = if own { Health::Live } else { table.health(id, now, self.options.live_window, self.options.dead_after) };
            NodeStatus { id, locality: record.locality.clone(), health, load: if own { own_load } else { table.load(id) } }
        };
        table.records().map(status).collect()
    }

    fn identity(&self) -> Result<Identity, RegistryError> {
        self.identity.get().copied().ok_or_else(|| SystemError("this node has no identity yet".into()).into())
    }

    fn kv(&self) -> Result<&Arc<dyn SystemKv>, SystemError> {
        self.kv.get().ok_or_else(|| SystemError("this node cannot reach the ranges yet".into()))
    }

    fn become_member(&self, identity: Identity) -> Identity {
        let identity = *self.identity.get_or_init(|| identity);
        self.transport.assume_cluster(identity.cluster);
        self.transport.assume_identity(identity.node);
        identity
    }

    /// Asks around for an id until one is given or somebody founds the cluster here.
    async fn enter(&self) -> Entrance {
        let mut rng = self.entropy.fork("join").rng();
        loop {
            for address in &self.join {
                if let Some(founder) = self.identity.get() {
                    return Entrance::Founded(*founder);
                }
                match self.ask(address, &Question::Join { version: VERSION }).await {
                    Ok(Answer::Welcome { identity, knowledge }) => {
                        // Founded in the meantime: that identity stands, and the one just given is wasted.
                        let ours = self.become_member(identity);
                        if ours != identity {
                            return Entrance::Founded(ours);
                        }
                        self.merge(knowledge);
                        return Entrance::Joined(identity);
                    }
                    Ok(other) => tracing::warn!(address, "unexpected answer to a join: {other:?}"),
                    Err(error) => tracing::info!("cannot join yet: {error}"),
                }
            }
            tokio::select! {
                biased;
                () = self.founded.notified() => {
                    if let Some(founder) = self.identity.get() {
                        return Entrance::Founded(*founder);
                    }
                }
                () = tokio::time::sleep(jittered(self.options.retry, &mut rng)) => {}
            }
        }
    }

    async fn ask(&self, address: &str, question: &Question) -> Result<Answer, RegistryError> {
        let failed = |error| RegistryError::Peer { address: address.into(), error };
        let answer = self.transport.call_address(address, Service::Registry, encode(question), CALL_DEADLINE).await.map_err(failed)?;
        Ok(decode(&answer).map_err(SystemError)?)
    }

    /// Writes this node's record, and the founder's notes if they are missing.
    async fn register(&self) -> Result<(), RegistryError> {
        let (us, kv) = (self.identity()?, self.kv()?);
        let cluster = encode(&ClusterRecord { id: us.cluster, version: VERSION });
        if us.node == FOUNDER && kv.get(cluster_key()).await?.is_none() {
            kv.compare_and_set(cluster_key(), None, Some(cluster)).await?;
        }
        if let Some(stored) = kv.get(cluster_key()).await? {
            let theirs = decode::<ClusterRecord>(&stored).map_err(SystemError)?.id;
            if theirs != us.cluster {
                return Err(RegistryError::OtherCluster { ours: us.cluster, theirs });
            }
        }
        for _ in 0..RACES_MAX {
            let stored = kv.get(node_key(us.node)).await?;
            let known: Option<NodeRecord> = stored.as_deref().map(decode).transpose().map_err(SystemError)?;
            if known.as_ref().is_some_and(|record| record.removed) {
                return Err(RegistryError::Removed(us.node));
            }
            let Some(mut own) = self.table.lock().record(us.node).cloned() else { return Err(RegistryError::Unknown(us.node)) };
            own.incarnation = own.incarnation.max(known.map_or(0, |record| record.incarnation + 1));
            if kv.compare_and_set(node_key(us.node), stored, Some(encode(&own))).await? {
                return self.learn(Knowledge { records: vec![own], first_range: None });
            }
        }
        Err(SystemError(format!("the record of {} keeps changing", us.node)).into())
    }

    /// Reads the node records in ranges.
    async fn read_records(&self) -> Result<(), RegistryError> {
        let mut records = Vec::new();
        for (_, value) in self.kv()?.scan(node_span()).await? {
            records.push(decode(&value).map_err(SystemError)?);
        }
        self.learn(Knowledge { records, first_range: None })
    }

    /// Gives out the next node id.
    async fn allocate(&self) -> Result<NodeId, RegistryError> {
        let kv = self.kv()?;
        for _ in 0..RACES_MAX {
            let stored = kv.get(last_node_key()).await?;
            let last = stored.as_deref().map_or(Ok(FOUNDER.0), decode).map_err(SystemError)?;
            let next = last.checked_add(1).ok_or_else(|| SystemError("node ids are used up".into()))?;
            if kv.compare_and_set(last_node_key(), stored, Some(encode(&next))).await? {
                return Ok(NodeId(next));
            }
        }
        Err(SystemError("too many nodes join at once".into()).into())
    }

    /// Takes in what somebody knows; keeps, connects and tells if it is news.
    fn learn(&self, knowledge: Knowledge) -> Result<(), RegistryError> {
        if self.merge(knowledge) {
            self.connect_all();
            self.changed()?;
        }
        Ok(())
    }

    fn merge(&self, knowledge: Knowledge) -> bool {
        let us = self.identity.get().map(|us| us.node);
        let (mut table, now) = (self.table.lock(), Instant::now());
        let before = table.version();
        for record in knowledge.records {
            if us == Some(record.id) && record.removed {
                self.stand_down();
            }
            table.merge_record(record, now);
        }
        if let Some(first) = &knowledge.first_range {
            table.merge_first_range(first);
        }
        // Whatever others remember of this node, its present self is the newest.
        if let Some(mut own) = us.and_then(|us| table.record(us)).cloned()
            && !own.removed
            && (own.addresses != self.addresses || own.locality != self.locality)
        {
            own =
                NodeRecord { addresses: self.addresses.clone(), locality: self.locality.clone(), incarnation: own.incarnation + 1, ..own };
            table.merge_record(own, now);
        }
        table.version() != before
    }

    fn stand_down(&self) {
        if self.standing.send_replace(Standing::Removed) == Standing::Member {
            tracing::error!("this node was removed from the cluster and stands down");
        }
    }

    fn connect_all(&self) {
        let us = self.transport.local();
        let peers: Vec<_> =
            self.table.lock().records().filter(|r| r.id != us && !r.removed).map(|r| (r.id, r.addresses.rpc.clone())).collect();
        for (node, address) in peers {
            self.transport.connect(node, &address);
        }
    }

    /// Keeps what is known in the store and wakes whoever waits for news.
    fn changed(&self) -> Result<(), StorageError> {
        let (version, knowledge) = {
            let table = self.table.lock();
            (table.version(), table.knowledge())
        };
        let mut batch = Batch::new();
        batch.put(Space::Meta, Bytes::from_static(KNOWLEDGE_META_KEY), encode(&knowledge));
        self.changes.send_replace(version);
        self.engine.apply(&batch)
    }
}

impl Directory for Registry {
    fn first_range(&self) -> Option<Arc<RangeDescriptor>> {
        self.table.lock().first_range()
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        let health: Vec<_> = self.statuses().into_iter().map(|status| (status.id, status.health)).collect();
        let table = self.table.lock();
        let info = |(id, health): (NodeId, Health)| {
            let record = table.record(id)?;
            Some(NodeInfo {
                id,
                rpc_address: record.addresses.rpc.clone(),
                sql_address: record.addresses.sql.clone(),
                http_address: record.addresses.http.clone(),
                locality: record.locality.clone(),
                live: health == Health::Live,
            })
        };
        health.into_iter().filter_map(info).collect()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("identity", &self.identity.get()).finish_non_exhaustive()
    }
}

/// Founds the cluster at the node that listens at `address`: `meridian init`.
pub async fn init(transport: &dyn Transport, address: &str) -> Result<Identity, RegistryError> {
    let failed = |error| RegistryError::Peer { address: address.into(), error };
    let answer = transport.call_address(address, Service::Registry, encode(&Question::Init), CALL_DEADLINE).await.map_err(failed)?;
    match decode(&answer).map_err(SystemError)? {
        Answer::Founded(identity) => Ok(identity),
        other => Err(SystemError(format!("unexpected answer: {other:?}")).into()),
    }
}
