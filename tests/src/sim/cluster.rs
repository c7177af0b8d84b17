//! The machines of a simulated cluster, their network, and the processes that run on them now.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use meridian_clock::{Entropy, Rng, SimulatedClock, Timestamp};
use meridian_replication::api::{NodeId, RangeAdmin as _, RangeDescriptor, RangeHost as _, RangeId, ReplicaRole};
use meridian_replication::transport::LatencyMatrix;
use meridian_replication::transport::simulated::{SimulatedNetwork, SimulatedOptions};
use meridian_storage::engine::{Reader as _, Space};
use meridian_storage::memory::MemoryEngine;
use meridian_txn::api::Kv;
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::time::Instant;

use super::history::History;
use super::nemesis::Flipped;
use super::node::{Machine, Process};
use super::notes::Notes;
use super::observer::LeaseObserver;
use super::plan::{Fault, Plan};
use super::session::TrueTime;
use super::signal::{Signal, Watcher};

/// Where simulated time begins: 2025-01-01T00:00:00Z.
const START_UNIX_NANOS: u64 = 1_735_689_600_000_000_000;

/// A simulated cluster.
pub struct Cluster {
    /// What its seed stands for.
    pub plan: Plan,
    /// Between the nodes.
    pub network: SimulatedNetwork,
    /// What outlives processes.
    pub machines: Vec<Machine>,
    /// What clients saw.
    pub history: Arc<History>,
    /// What they saw beside that.
    pub notes: Arc<Notes>,
    /// What the clients of each gateway are doing now.
    pub doing: Mutex<Vec<(usize, Arc<Mutex<String>>)>>,
    /// Leases, watched.
    pub observer: Arc<Mutex<LeaseObserver>>,
    /// What the nemesis did, by number.
    pub strikes: Mutex<Vec<(u64, Fault)>>,
    /// What nodes have collected.
    pub archive: Arc<MemoryEngine>,
    /// Bits that are flipped on disks.
    pub flipped: Mutex<Vec<Flipped>>,
    /// What went wrong so far.
    pub wrong: Mutex<Vec<String>>,
    /// Held while a fault waits for its moment and strikes: two at a time would spoil each other's.
    pub aiming: tokio::sync::Mutex<()>,
    /// When everything began.
    pub origin: Instant,
    slots: Vec<Slot>,
}

struct Slot {
    process: Mutex<Option<Arc<Process>>>,
    /// The disk while no process runs on it.
    disk: Mutex<Option<Arc<MemoryEngine>>>,
    incarnation: AtomicU64,
    up: Signal<Option<Arc<dyn Kv>>>,
}

impl Cluster {
    /// A cluster without processes.
    pub fn new(plan: Plan, keep_trace: bool) -> Arc<Self> {
        let region = |index: usize| format!("region-{}", index % plan.regions);
        let mut latency = LatencyMatrix::new();
        for a in 0..plan.regions {
            (0..a).for_each(|b| latency.set(&region(a), &region(b), plan.between_regions));
        }
        let options = SimulatedOptions {
            latency,
            delay: plan.delay,
            jitter: plan.jitter,
            break_after: Duration::from_millis(1500),
            keep_trace,
            ..SimulatedOptions::default()
        };
        let network = SimulatedNetwork::new(options, &Entropy::seeded(plan.seed));
        let origin = Instant::now();
        let archive: Arc<MemoryEngine> = Arc::default();
        let machine = |index: usize| {
            let clock = Arc::new(SimulatedClock::new(origin, START_UNIX_NANOS));
            clock.set_error(plan.clock_errors[index]);
            let sync_micros = Arc::new(AtomicU64::new(plan.sync_time.as_micros() as u64));
            Machine { address: format!("node-{}", index + 1), region: region(index), clock, sync_micros, archive: archive.clone() }
        };
        let slot = |_| Slot {
            process: Mutex::new(None),
            disk: Mutex::new(Some(Arc::default())),
            incarnation: AtomicU64::new(0),
            up: Signal::new(None),
        };
        let (machines, slots) = ((0..plan.nodes).map(machine).collect(), (0..plan.nodes).map(slot).collect());
        let (history, observer): (Arc<History>, _) = Default::default();
        let truth: TrueTime = Arc::new(move || Timestamp::from_unix_nanos(START_UNIX_NANOS + origin.elapsed().as_nanos() as u64));
        let notes = Notes::new(history.clone(), truth);
        let (wrong, doing, strikes, flipped, aiming) = Default::default();
        Arc::new(Cluster {
            plan,
            network,
            machines,
            history,
            notes,
            doing,
            strikes,
            archive,
            flipped,
            observer,
            wrong,
            aiming,
            origin,
            slots,
        })
    }

    /// Starts the process of a machine that has none. Goes on if the caller is aborted: a disk in the hands of a start must not get lost.
    pub async fn start(self: &Arc<Self>, index: usize) {
        let cluster = self.clone();
        let _ = tokio::spawn(async move { cluster.start_now(index).await }).await;
    }

    async fn start_now(&self, index: usize) {
        let Some(disk) = self.slots[index].disk.lock().take() else { return };
        let incarnation = self.slots[index].incarnation.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let first = &self.machines[0].address;
        let join = if index == 0 { Vec::new() } else { vec![first.clone()] };
        match Process::start(&self.plan, &self.network, &self.machines[index], disk, incarnation, join, &self.observer).await {
            Ok(process) => {
                let kv: Arc<dyn Kv> = process.kv.clone();
                *self.slots[index].process.lock() = Some(Arc::new(process));
                self.slots[index].up.replace(Some(kv));
            }
            Err(error) => self.wrong(format!("node {index} does not start: {error:#}")),
        }
    }

    /// Kills the process of a machine. Answers whether there was one.
    pub fn crash(&self, index: usize, rng: &mut Rng) -> bool {
        let Some(process) = self.slots[index].process.lock().take() else { return false };
        self.network.crash(process.id());
        process.kill();
        let disk = if rng.random_bool(0.3) { process.engine.crash_losing_all() } else { process.engine.crash(rng) };
        *self.slots[index].disk.lock() = Some(Arc::new(disk));
        self.slots[index].up.replace(None);
        true
    }

    /// Ends every process for good, so that what a run held is free for the next.
    pub fn shut_down(&self) {
        for slot in &self.slots {
            if let Some(process) = slot.process.lock().take() {
                self.network.crash(process.id());
                process.kill();
                process.engine.crash_losing_all();
            }
            slot.disk.lock().take();
            slot.up.replace(None);
        }
    }

    /// The process of a machine, if one runs.
    pub fn process(&self, index: usize) -> Option<Arc<Process>> {
        self.slots[index].process.lock().clone()
    }

    /// All running processes.
    pub fn processes(&self) -> Vec<Arc<Process>> {
        (0..self.plan.nodes).filter_map(|index| self.process(index)).collect()
    }

    /// Hears of starts and crashes of a machine's process.
    pub fn up(&self, index: usize) -> Watcher<Option<Arc<dyn Kv>>> {
        self.slots[index].up.watch()
    }

    /// The node on a machine, once it has an identity.
    pub fn node(&self, index: usize) -> Option<NodeId> {
        self.process(index).map(|process| process.id())
    }

    /// Whether a client of a gateway is committing.
    pub fn is_committing(&self, gateway: usize) -> bool {
        self.doing.lock().iter().any(|(at, doing)| *at == gateway && doing.lock().ends_with("commits"))
    }

    /// Whether the additional client of a gateway is committing what aimed faults are aimed at.
    pub fn is_relaying(&self, gateway: usize) -> bool {
        self.doing.lock().iter().any(|(at, doing)| *at == gateway && doing.lock().ends_with("(relay) commits"))
    }

    /// Notes a violation.
    pub fn wrong(&self, what: String) {
        tracing::error!("WRONG: {what}");
        self.wrong.lock().push(what);
    }

    /// Samples all leases now.
    pub fn observe(&self) {
        let mut leases = Vec::new();
        for index in 0..self.plan.nodes {
            let Some(process) = self.process(index) else { continue };
            for replica in process.store.replicas() {
                if let Ok(mut lease) = replica.lease() {
                    // How far its lease reaches by a lying clock is its own affair: nobody is answered there but its own clients, who are excused.
                    if self.notes.lies(index) {
                        lease.expiration = Timestamp::ZERO;
                    }
                    leases.push((replica.range_id(), process.id(), lease, replica.descriptor().span.clone()));
                }
            }
        }
        self.observer.lock().sample(&leases);
    }

    /// The ranges, each with the process that holds its lease, if the whole key space is served now.
    pub fn served(&self) -> Result<Vec<(Arc<RangeDescriptor>, Arc<Process>)>, String> {
        let mut ranges = Vec::new();
        for process in self.processes() {
            ranges.extend(process.store.leaseholder_ranges().into_iter().map(|range| (range, process.clone())));
        }
        ranges.sort_by(|a, b| a.0.span.start.cmp(&b.0.span.start));
        let mut from = bytes::Bytes::from_static(meridian_storage::key::KEY_MIN);
        for (range, _) in &ranges {
            if range.span.start != from {
                return Err(format!("nobody serves {from:?} up to {:?}", range.span.start));
            }
            from = range.span.end.clone();
        }
        if from != meridian_storage::key::KEY_MAX { Err(format!("nobody serves {from:?} up to the end")) } else { Ok(ranges) }
    }

    /// Whether every range has all its replicas and nothing is being changed.
    pub fn settled(&self) -> Result<(), String> {
        let wanted = self.plan.replication_factor.min(self.plan.nodes);
        for (range, _) in self.served()? {
            if range.replicas.len() != wanted || range.replicas.iter().any(|r| r.role != ReplicaRole::Voter) {
                return Err(format!("{} has the replicas {:?}", range.id, range.replicas));
            }
        }
        Ok(())
    }

    /// How many versions were collected.
    pub fn collected(&self) -> usize {
        let Ok(mut cursor) = self.archive.cursor(Space::Data, &[], &[0xff]) else { return 0 };
        cursor.seek_to_first();
        std::iter::from_fn(|| cursor.valid().then(|| cursor.next())).count()
    }

    /// Every replica of every range, for reports.
    pub fn describe(&self) -> String {
        let mut lines = Vec::new();
        for process in self.processes() {
            for replica in process.store.replicas() {
                let (id, d) = (replica.range_id(), replica.descriptor());
                let roles: Vec<_> = d.replicas.iter().map(|r| format!("{}:{:?}", r.node, r.role)).collect();
                let handle = process.store.handle(id);
                let applied = handle.as_ref().map(|h| h.applied_index());
                let hint = handle.and_then(|h| h.leader_hint());
                let lease = replica.lease().ok().map(|l| (l.term, l.expiration));
                lines.push(format!(
                    "{} {id} gen {} {:?}..{:?} {roles:?} applied {applied:?} leader {hint:?} lease {lease:?}",
                    process.id(),
                    d.generation,
                    d.span.start,
                    d.span.end
                ));
            }
        }
        lines.join("\n      ")
    }

    /// A range and the process that holds its lease, at random.
    pub fn any_range(&self, rng: &mut Rng) -> Option<(RangeId, Arc<RangeDescriptor>, Arc<Process>)> {
        let mut ranges = Vec::new();
        for process in self.processes() {
            ranges.extend(process.store.leaseholder_ranges().into_iter().map(|range| (range, process.clone())));
        }
        let at = (!ranges.is_empty()).then(|| rng.random_range(0..ranges.len()))?;
        let (range, process) = ranges.swap_remove(at);
        Some((range.id, range, process))
    }
}
