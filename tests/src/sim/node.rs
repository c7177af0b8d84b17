//! One simulated node: the real replication and transaction layers over a simulated disk, clock and network.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use meridian_clock::{Clock, Entropy, SimulatedClock, TaskGroup};
use meridian_replication::api::{Locality, NodeId, RangeHost as _};
use meridian_replication::placement::{Policy, QueueOptions, ReplicateQueue};
use meridian_replication::registry::{Addresses, Entrance, Identity, Registry, RegistryOptions};
use meridian_replication::transport::Transport;
use meridian_replication::transport::simulated::SimulatedNetwork;
use meridian_replication::{Store, StoreConfig};
use meridian_storage::engine::Engine;
use meridian_storage::log_writer::{LogWriter, LogWriterMode, SyncTime};
use meridian_storage::memory::MemoryEngine;
use meridian_txn::{Config, Foundation, Leaseholders, Node, System};

use parking_lot::Mutex;

use super::archive::ArchivingDisk;
use super::observer::{LeaseObserver, Watched};
use super::plan::Plan;

/// How often the first range's descriptor is offered to the registry.
const FIRST_RANGE_INTERVAL: Duration = Duration::from_millis(200);

/// What outlives a process: its machine.
pub struct Machine {
    /// Where its process listens.
    pub address: String,
    /// Its region.
    pub region: String,
    /// Its physical clock, which no crash resets.
    pub clock: Arc<SimulatedClock>,
    /// What a sync of its disk takes, in microseconds.
    pub sync_micros: Arc<AtomicU64>,
    /// Where versions are kept that its node has collected; one for all.
    pub archive: Arc<MemoryEngine>,
}

/// A process.
pub struct Process {
    /// Its identity.
    pub identity: Identity,
    /// Its replicas.
    pub store: Arc<Store>,
    /// The key-value store as it serves it.
    pub kv: Arc<Node>,
    /// Its disk.
    pub engine: Arc<MemoryEngine>,
    tasks: TaskGroup,
    _queue: Arc<ReplicateQueue>,
}

impl Process {
    /// Starts a process on `machine` over the disk `engine`; `incarnation` counts its starts. Returns once it has an identity.
    pub async fn start(
        plan: &Plan,
        network: &SimulatedNetwork,
        machine: &Machine,
        engine: Arc<MemoryEngine>,
        incarnation: u64,
        join: Vec<String>,
        observer: &Arc<Mutex<LeaseObserver>>,
    ) -> anyhow::Result<Process> {
        let tasks = TaskGroup::new();
        let clock = Clock::new(machine.clock.clone())?;
        let entropy = Entropy::seeded(plan.seed).fork(&format!("{} {incarnation}", machine.address));
        let transport: Arc<dyn Transport> = network.attach(&machine.address, &machine.region, clock.clone(), tasks.clone());
        let disk: Arc<dyn Engine> = match plan.ttl {
            Some(_) => ArchivingDisk::new(engine.clone(), machine.archive.clone()),
            None => engine.clone(),
        };
        let known = Store::ident(&*disk)?.map(|ident| Identity { node: ident.node, cluster: ident.cluster });
        let addresses = Addresses { rpc: machine.address.clone(), ..Default::default() };
        let locality = Locality(vec![("region".into(), machine.region.clone())]);
        let options = RegistryOptions {
            live_window: Duration::from_millis(1500),
            dead_after: Duration::from_secs(4),
            refresh: Duration::from_secs(3),
            ..Default::default()
        };
        let founds = join.is_empty() && known.is_none();
        let registry = Registry::new(transport.clone(), disk.clone(), tasks.clone(), options, &entropy, addresses, locality, join)?;
        if founds {
            registry.found().map_err(anyhow::Error::msg)?;
        }
        let entrance = registry.establish(known).await.context("establishing the identity")?;
        let identity = entrance.identity();
        match entrance {
            Entrance::Restarted(_) => {}
            Entrance::Founded(_) => Store::bootstrap(&*disk, identity.node, identity.cluster)?,
            Entrance::Joined(_) => Store::initialise(&*disk, identity.node, identity.cluster)?,
        }
        let mode = LogWriterMode::Task { sync_time: SyncTime::Variable(machine.sync_micros.clone()) };
        let log = LogWriter::start(disk.clone(), &tasks, mode);
        let leaseholders = Leaseholders::new(clock.clone(), tasks.clone(), &entropy);
        let config = StoreConfig {
            workers: plan.workers,
            log_keep_entries: plan.log_keep_entries,
            flush_interval: plan.flush_interval,
            range_max_bytes: plan.range_max_bytes,
            size_interval: Duration::from_millis(700),
            snapshot_chunk_bytes: 4 << 10,
            ..StoreConfig::default()
        };
        let (fork, events) = (entropy.fork("store"), Arc::new(Watched { inner: leaseholders.clone(), observer: observer.clone() }));
        let store = Store::start(config, disk, log, transport.clone(), clock.clone(), fork, tasks.clone(), events)?;
        let foundation = Foundation {
            host: store.clone(),
            transport,
            directory: registry.clone(),
            clock,
            entropy: entropy.fork("txn"),
            tasks: tasks.clone(),
        };
        let kv = Node::start(&leaseholders, foundation, txn_config(plan));
        let system = System::new(kv.clone());
        tasks.spawn(offer_first_range(store.clone(), registry.clone()));
        store.set_system_kv(system.clone());
        registry.start(system, store.clone());
        let policy = Policy { replication_factor: plan.replication_factor, ..Policy::default() };
        let options = QueueOptions { policy, retry_max: Duration::from_secs(3), ..QueueOptions::default() };
        let queue = ReplicateQueue::start(store.clone(), registry.clone(), identity.node, options, &entropy.fork("placement"), &tasks);
        Ok(Process { identity, store, kv, engine, tasks, _queue: queue })
    }

    /// Its node id.
    pub fn id(&self) -> NodeId {
        self.identity.node
    }

    /// Ends every task of the process.
    pub fn kill(&self) {
        self.tasks.abort_all();
    }
}

impl Machine {
    /// Sets what a sync takes.
    pub fn set_sync_time(&self, time: Duration) {
        self.sync_micros.store(time.as_micros() as u64, Ordering::Relaxed);
    }
}

fn txn_config(plan: &Plan) -> Config {
    let config = Config::default();
    match plan.ttl {
        Some(ttl) => Config { gc_ttl: ttl, gc_period: ttl / 4, ..config },
        None => config,
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
