//! The assembly of one node, from the disk up to SQL.
//!
//! The same code starts a node of a real cluster and one of the simulator's: everything that touches the outside world comes in
//! through [`Foundation`]. Order matters: identity (restarted, founded, joined) → store → transactional layer → control plane (which
//! keeps its state in ranges, through that layer) → SQL.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meridian_clock::{Clock, Entropy, TaskGroup};
use meridian_replication::api::{Locality, NodeId, RangeHost};
use meridian_replication::placement::{PlacementStatus, QueueOptions, ReplicateQueue};
use meridian_replication::registry::{Addresses, Entrance, Identity, Registry, RegistryError, RegistryOptions};
use meridian_replication::store::{Store, StoreConfig};
use meridian_replication::transport::Transport;
use meridian_sql::session::Database;
use meridian_storage::engine::{Engine, StorageError};
use meridian_storage::log_writer::{LogWriter, LogWriterMode};
use meridian_txn::api::Kv;
use meridian_txn::{Config as TxnConfig, Foundation as TxnFoundation, Leaseholders, Node as TxnNode, System};

/// How often the first range's descriptor is offered to gossip.
const FIRST_RANGE_INTERVAL: Duration = Duration::from_millis(200);
/// Pause between two tries to write the first catalog.
const BOOTSTRAP_RETRY: Duration = Duration::from_millis(300);

/// The outside world of a node, and its settings.
pub struct Foundation {
    /// The disk.
    pub engine: Arc<dyn Engine>,
    /// How log writes are made durable.
    pub log_mode: LogWriterMode,
    /// Other nodes.
    pub transport: Arc<dyn Transport>,
    /// Time.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
    /// The node's tasks.
    pub tasks: TaskGroup,
    /// Where it is reached.
    pub addresses: Addresses,
    /// Where it stands.
    pub locality: Locality,
    /// Where other nodes may listen.
    pub join: Vec<String>,
    /// A one-node cluster: found it at once.
    pub found: bool,
    /// Where queries spill.
    pub spill_dir: PathBuf,
    /// Times of registry and liveness.
    pub registry: RegistryOptions,
    /// Replication's settings.
    pub store: StoreConfig,
    /// Placement's settings.
    pub placement: QueueOptions,
    /// Transactions' settings.
    pub txn: TxnConfig,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its disk.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Its place in the cluster.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It could not found a cluster.
    #[error("{0}")]
    Found(String),
}

/// A running node.
pub struct Node {
    /// Its identity.
    pub identity: Identity,
    /// Its replicas.
    pub store: Arc<Store>,
    /// Who is in the cluster.
    pub registry: Arc<Registry>,
    /// The key-value store as it serves it.
    pub kv: Arc<TxnNode>,
    /// SQL as it serves it.
    pub database: Arc<Database>,
    queue: Arc<ReplicateQueue>,
    /// The node's tasks: aborting them ends it.
    pub tasks: TaskGroup,
}

impl Node {
    /// Starts a node. Waits until it has an identity: a new node without `found` until somebody says `init` or a member lets it join.
    pub async fn start(on: Foundation) -> Result<Node, StartError> {
        let known = Store::ident(&*on.engine)?.map(|ident| Identity { node: ident.node, cluster: ident.cluster });
        let registry = Registry::new(
            on.transport.clone(),
            on.engine.clone(),
            on.tasks.clone(),
            on.registry,
            &on.entropy,
            on.addresses,
            on.locality,
            on.join,
        )?;
        if on.found && known.is_none() {
            registry.found().map_err(StartError::Found)?;
        }
        let entrance = registry.establish(known).await?;
        let identity = entrance.identity();
        match entrance {
            Entrance::Restarted(_) => {}
            Entrance::Founded(_) => Store::bootstrap(&*on.engine, identity.node, identity.cluster)?,
            Entrance::Joined(_) => Store::initialise(&*on.engine, identity.node, identity.cluster)?,
        }
        let log_writer = LogWriter::start(on.engine.clone(), &on.tasks, on.log_mode);
        let leaseholders = Leaseholders::new(on.clock.clone(), on.tasks.clone(), &on.entropy);
        let store = Store::start(
            on.store,
            on.engine,
            log_writer,
            on.transport.clone(),
            on.clock.clone(),
            on.entropy.fork("store"),
            on.tasks.clone(),
            leaseholders.clone(),
        )?;
        let kv = TxnNode::start(
            &leaseholders,
            TxnFoundation {
                host: store.clone(),
                transport: on.transport,
                directory: registry.clone(),
                clock: on.clock,
                entropy: on.entropy.fork("txn"),
                tasks: on.tasks.clone(),
            },
            on.txn,
        );
        let system = System::new(kv.clone() as Arc<dyn Kv>);
        on.tasks.spawn(offer_first_range(store.clone(), registry.clone()));
        store.set_system_kv(system.clone());
        registry.start(system, store.clone());
        let queue =
            ReplicateQueue::start(store.clone(), registry.clone(), identity.node, on.placement, &on.entropy.fork("placement"), &on.tasks);
        let database = Database::new(kv.clone(), on.entropy.fork("sql"), on.spill_dir);
        if matches!(entrance, Entrance::Founded(_)) {
            on.tasks.spawn(bootstrap_catalog(database.clone()));
        }
        on.tasks.spawn(meridian_sql::catalog::garbage::run(database.clone()));
        Ok(Node { identity, store, registry, kv, database, queue, tasks: on.tasks })
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.identity.node
    }

    /// The state of the ranges whose lease this node holds.
    pub fn placement(&self) -> PlacementStatus {
        self.queue.status()
    }

    /// Moves this node's leases to other live replicas before it leaves, as far as that works within `limit`.
    pub async fn give_leases_away(&self, limit: Duration) {
        let moves = async {
            for descriptor in meridian_replication::api::RangeAdmin::leaseholder_ranges(&*self.store) {
                let successor = descriptor
                    .replicas
                    .iter()
                    .find(|r| r.node != self.id() && r.role == meridian_replication::api::ReplicaRole::Voter && self.store.is_live(r.node));
                if let (Some(to), Some(replica)) = (successor, self.store.replica(descriptor.id))
                    && let Err(error) = replica.transfer_lease(to.node).await
                {
                    tracing::info!(range = %descriptor.id, %error, "a lease was not handed over before leaving");
                }
            }
        };
        if tokio::time::timeout(limit, moves).await.is_err() {
            tracing::warn!("not every lease could be handed over in time");
        }
    }
}

/// Range addressing begins in the first range; whoever has a replica of it tells the others where it is.
async fn offer_first_range(store: Arc<Store>, registry: Arc<Registry>) {
    loop {
        if let Some(replica) = store.replica_for_key(&[]) {
            registry.publish_first_range(&replica.descriptor());
        }
        tokio::time::sleep(FIRST_RANGE_INTERVAL).await;
    }
}

async fn bootstrap_catalog(database: Arc<Database>) {
    while let Err(error) = database.bootstrap().await {
        tracing::debug!(%error, "the first catalog is not written yet");
        tokio::time::sleep(BOOTSTRAP_RETRY).await;
    }
}
