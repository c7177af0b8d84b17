//! Whoever breaks things.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use meridian_clock::{Entropy, Rng};
use meridian_replication::api::{NodeId, RangeAdmin as _};
use meridian_replication::transport::TrafficClass;
use meridian_storage::engine::{Engine as _, Reader as _, Space, StorageError};
use meridian_storage::memory::{DiskOp, FaultHook};
use meridian_storage::mvcc;
use rand::Rng as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::aimed;
use super::cluster::Cluster;
use super::plan::Fault;
use super::workload::{key, span};

/// Breaks things until it is aborted, then [`heal`] is due.
pub async fn run(cluster: Arc<Cluster>) {
    let mut rng = Entropy::seeded(cluster.plan.seed).fork("nemesis").rng();
    let faults = cluster.plan.faults.clone();
    if faults.is_empty() {
        return std::future::pending().await;
    }
    let mut running = JoinSet::new();
    let mut count = 0u64;
    loop {
        let mean = cluster.plan.fault_every;
        sleep(mean.mul_f64(rng.random_range(0.1..1.9))).await;
        while running.try_join_next().is_some() {}
        let Some(fault) = faults.choose(&mut rng) else { continue };
        count += 1;
        if cluster.plan.strikes.as_ref().is_some_and(|only| !only.contains(&count)) {
            continue;
        }
        cluster.strikes.lock().push((count, *fault));
        let own = Entropy::seeded(cluster.plan.seed).fork(&format!("fault {count}")).rng();
        running.spawn(strike(cluster.clone(), *fault, own));
    }
}

/// Makes everything whole again and starts what does not run.
pub async fn heal(cluster: &Arc<Cluster>) {
    tracing::info!("everything heals");
    cluster.network.heal_all();
    cluster.network.reset_delays();
    cluster.network.set_loss(0.0, 0.0);
    let mut rng = Entropy::seeded(cluster.plan.seed).fork("heal").rng();
    for index in 0..cluster.plan.nodes {
        set_right(cluster, index, &mut rng);
        cluster.start(index).await;
        cluster.machines[index].set_sync_time(cluster.plan.sync_time);
        if let Some(process) = cluster.process(index) {
            cluster.network.resume(process.id());
            process.engine.set_hook(None);
            process.engine.set_capacity(None);
        }
        flip_back(cluster, index);
    }
}

pub(super) fn how_long(rng: &mut Rng, least: u64, most: u64) -> Duration {
    Duration::from_millis(rng.random_range(least..=most))
}

async fn strike(cluster: Arc<Cluster>, fault: Fault, mut rng: Rng) {
    let rng = &mut rng;
    let nodes = cluster.plan.nodes;
    let victim = rng.random_range(0..nodes);
    let other = (victim + rng.random_range(1..nodes)) % nodes;
    let (network, long) = (&cluster.network, how_long(rng, 100, 3000));
    let ids = (cluster.node(victim), cluster.node(other));
    tracing::info!(?fault, victim = victim + 1, other = other + 1, ?long, "nemesis");
    match (fault, ids) {
        (Fault::Crash, _) => crash(&cluster, &[victim], rng).await,
        (Fault::CrashAll, _) => {
            let mut all: Vec<usize> = (0..nodes).collect();
            all.shuffle(rng);
            crash(&cluster, &all, rng).await;
        }
        (Fault::Pause, (Some(node), _)) => {
            network.pause(node);
            sleep(long).await;
            network.resume(node);
        }
        (Fault::Partition, _) => {
            let all = shuffled(&cluster, rng);
            let (left, right) = all.split_at(rng.random_range(1..nodes).min(all.len()));
            network.partition_groups(left, right);
            sleep(long).await;
            for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))) {
                network.heal(a, b);
                network.heal(b, a);
            }
        }
        (Fault::OneWay, (Some(a), Some(b))) => {
            network.cut(a, b);
            sleep(long).await;
            network.heal(a, b);
        }
        (Fault::Isolate, (Some(node), _)) => {
            network.isolate(node);
            sleep(long).await;
            network.rejoin(node);
        }
        (Fault::Flap, (Some(a), Some(b))) => {
            network.flap(a, b, how_long(rng, 20, 400), how_long(rng, 20, 400));
            sleep(long).await;
            network.heal(a, b);
            network.heal(b, a);
        }
        (Fault::Loss, _) => {
            network.set_loss(rng.random_range(0.002..0.1), 0.0);
            sleep(long).await;
            network.set_loss(0.0, 0.0);
        }
        (Fault::Replay, _) => {
            cluster.notes.repeats.store(true, Ordering::Relaxed);
            network.set_loss(0.0, rng.random_range(0.01..0.3));
            sleep(long).await;
            network.set_loss(0.0, 0.0);
        }
        (Fault::Slow, (Some(a), Some(b))) => {
            network.set_delay(a, b, how_long(rng, 5, 300), how_long(rng, 0, 100));
            sleep(long).await;
            network.reset_delays();
        }
        (Fault::Skew, _) => skew(&cluster, victim, rng),
        (Fault::DiskStall, _) => {
            cluster.machines[victim].set_sync_time(how_long(rng, 20, 1500));
            sleep(long).await;
            cluster.machines[victim].set_sync_time(cluster.plan.sync_time);
        }
        (Fault::DiskFull, _) => disk_full(&cluster, victim, DiskOp::Append, long).await,
        (Fault::ApplyFull, _) => disk_full(&cluster, victim, DiskOp::Apply, long).await,
        (Fault::Crawl, (Some(a), Some(b))) => {
            network.set_delay(a, b, how_long(rng, 800, 2500), how_long(rng, 0, 200));
            sleep(long * 2).await;
            network.reset_delays();
        }
        (Fault::LeaseMove, _) => lease_move(&cluster, rng).await,
        (Fault::Split, _) => split(&cluster, victim, rng).await,
        (Fault::Membership, _) => membership(&cluster, rng).await,
        (Fault::MajorityRing, _) => {
            let cut = ring(&shuffled(&cluster, rng));
            cut.iter().for_each(|(a, b)| network.partition(*a, *b));
            sleep(long).await;
            for (a, b) in cut {
                network.heal(a, b);
                network.heal(b, a);
            }
        }
        (Fault::Reorder, _) => {
            let all = shuffled(&cluster, rng);
            let jitter = how_long(rng, 5, 150);
            for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))).filter(|(a, b)| a != b) {
                network.set_delay(a, b, cluster.plan.delay, jitter);
            }
            sleep(long).await;
            network.reset_delays();
        }
        (Fault::Jump, _) => jump(&cluster, victim, long, rng).await,
        (Fault::Freeze, _) => freeze(&cluster, victim).await,
        (Fault::Lie, _) => lie(&cluster, victim, long, rng).await,
        (Fault::Corrupt, _) => corrupt(&cluster, victim, long, rng).await,
        (Fault::CrashCommitting, _) => aimed::crash_committing(&cluster, victim, other, rng).await,
        (Fault::PauseCommitting, _) => aimed::pause_committing(&cluster, victim, other, rng).await,
        (Fault::StreamStall, (Some(a), Some(b))) => network.stall(a, b, TrafficClass::Kv, how_long(rng, 500, 4000)),
        (Fault::HeldCommit, _) => aimed::held_commit(&cluster, rng).await,
        (Fault::CrashResolving, _) => aimed::crash_resolving(&cluster, rng).await,
        (Fault::StalledSplit, _) => aimed::stalled_split(&cluster, rng).await,
        (Fault::LeaseStorm, _) => {
            for _ in 0..rng.random_range(3..20) {
                lease_move(&cluster, rng).await;
            }
        }
        (Fault::IsolateLeader, _) => {
            let Some((_, _, process)) = cluster.any_range(rng) else { return };
            let node = process.id();
            drop(process);
            network.isolate(node);
            sleep(long).await;
            network.rejoin(node);
        }
        (Fault::DiskQuota, _) => {
            let Some(process) = cluster.process(victim) else { return };
            let used = process.engine.counters().into_iter().find(|(name, _)| *name == "used_bytes").map_or(0, |(_, bytes)| bytes);
            process.engine.set_capacity(Some(used + rng.random_range(0..20_000)));
            sleep(long).await;
            // By now another process may run on what it left behind.
            if let Some(process) = cluster.process(victim) {
                process.engine.set_capacity(None);
            }
        }
        // The node is down.
        (Fault::Pause | Fault::OneWay | Fault::Isolate | Fault::Flap | Fault::Slow | Fault::Crawl | Fault::StreamStall, _) => {}
    }
}

pub(super) fn shuffled(cluster: &Cluster, rng: &mut Rng) -> Vec<NodeId> {
    let mut all: Vec<NodeId> = (0..cluster.plan.nodes).filter_map(|index| cluster.node(index)).collect();
    all.shuffle(rng);
    all
}

/// The links to cut so that each node of a ring hears its neighbours only: a majority with itself, and another one for each. Of three nodes, two stop
/// hearing each other.
fn ring(nodes: &[NodeId]) -> Vec<(NodeId, NodeId)> {
    let n = nodes.len();
    if n <= 3 {
        return nodes.first().copied().zip(nodes.last().copied()).filter(|_| n == 3).into_iter().collect();
    }
    let reach = n / 2 / 2 + (n / 2) % 2;
    let apart = |i: usize, j: usize| (j - i).min(n - (j - i)) > reach;
    (0..n).flat_map(|i| (i + 1..n).filter(move |j| apart(i, *j)).map(move |j| (i, j))).map(|(i, j)| (nodes[i], nodes[j])).collect()
}

/// From one end of the bound to the other and back.
async fn jump(cluster: &Cluster, victim: usize, long: Duration, rng: &mut Rng) {
    let bound = cluster.plan.clock_errors[victim].as_nanos() as i64;
    let end = tokio::time::Instant::now() + long;
    let mut sign = if rng.random_bool(0.5) { 1 } else { -1 };
    while tokio::time::Instant::now() < end && !cluster.notes.lies(victim) {
        cluster.machines[victim].clock.set_skew(sign * bound);
        sign = -sign;
        sleep(how_long(rng, 1, 60)).await;
    }
}

/// From the upper end of the bound the clock stands still (in steps of a millisecond: it even goes back a little) until it is at the lower one.
async fn freeze(cluster: &Cluster, victim: usize) {
    let bound = cluster.plan.clock_errors[victim].as_nanos() as i64;
    let clock = &cluster.machines[victim].clock;
    let began = tokio::time::Instant::now();
    loop {
        if cluster.notes.lies(victim) {
            return;
        }
        let skew = bound - began.elapsed().as_nanos() as i64;
        clock.set_skew(skew.max(-bound));
        if skew <= -bound {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Far outside its bound, and outside everybody's together, so that no message passes either way. What the node's own clients see meanwhile is excused;
/// nobody else may notice. Whoever sets the clock right again restarts the process.
async fn lie(cluster: &Arc<Cluster>, victim: usize, long: Duration, rng: &mut Rng) {
    let notes = &cluster.notes;
    let bounds: Duration = cluster.plan.clock_errors.iter().sum();
    let far = (bounds * 2 + how_long(rng, 50, 60_000)).as_nanos() as i64;
    // Who starts with a wrong clock has nothing to compare it with.
    if cluster.process(victim).is_none() || notes.lies(victim) {
        return;
    }
    notes.lie_begins(victim);
    cluster.machines[victim].clock.set_skew(if rng.random_bool(0.5) { far } else { -far });
    sleep(long).await;
    set_right(cluster, victim, rng);
    cluster.start(victim).await;
}

/// Ends a lie: the process dies with it.
fn set_right(cluster: &Cluster, victim: usize, rng: &mut Rng) {
    if cluster.notes.lies(victim) {
        cluster.crash(victim, rng);
        cluster.machines[victim].clock.set_skew(0);
        cluster.notes.lie_ends(victim);
    }
}

/// A bit of the newest version of a row, or of an intent, flips, and flips back.
async fn corrupt(cluster: &Cluster, victim: usize, long: Duration, rng: &mut Rng) {
    let Some(process) = cluster.process(victim) else { return };
    let engine = process.engine.clone();
    drop(process);
    let space = if rng.random_bool(0.8) { Space::Data } else { Space::Lock };
    let (lower, upper) = mvcc::engine_span(&span(""));
    let mut keys = Vec::new();
    let Ok(mut cursor) = engine.cursor(space, &lower, &upper) else { return };
    cursor.seek_to_first();
    while cursor.valid() {
        keys.push(bytes::Bytes::copy_from_slice(cursor.key()));
        cursor.next();
    }
    drop(cursor);
    let Some(key) = keys.choose(rng).cloned() else { return };
    // Two flips of one value would hide each other from whoever flips them back.
    if cluster.flipped.lock().iter().any(|flipped| flipped.victim == victim && flipped.key == key) {
        return;
    }
    let choice = rng.clone();
    if !engine.corrupt(space, &key, rng) {
        return;
    }
    let Ok(Some(bad)) = engine.get(space, &key) else { return };
    tracing::info!(victim = victim + 1, ?space, ?key, "nemesis flipped a bit");
    cluster.flipped.lock().push(Flipped { victim, space, key, bad, choice });
    sleep(long).await;
    flip_back(cluster, victim);
}

/// A bit that was flipped.
pub struct Flipped {
    victim: usize,
    space: Space,
    key: bytes::Bytes,
    bad: bytes::Bytes,
    choice: Rng,
}

/// The same choices again flip the bits back, where the values are still there.
fn flip_back(cluster: &Cluster, victim: usize) {
    // A process that died left its disk to the next; without one, later.
    let Some(process) = cluster.process(victim) else { return };
    cluster.flipped.lock().retain(|flipped| {
        if flipped.victim == victim {
            let Flipped { space, key, bad, choice, .. } = flipped;
            if process.engine.get(*space, key).is_ok_and(|now| now.as_ref() == Some(bad)) {
                process.engine.corrupt(*space, key, &mut choice.clone());
            }
        }
        flipped.victim != victim
    });
}

async fn crash(cluster: &Arc<Cluster>, victims: &[usize], rng: &mut Rng) {
    let mut crashed = Vec::new();
    for &victim in victims {
        if cluster.crash(victim, rng) {
            crashed.push(victim);
        }
        if victims.len() > 1 && rng.random_bool(0.5) {
            sleep(how_long(rng, 0, 20)).await;
        }
    }
    let mut long = how_long(rng, 50, 3000);
    for victim in crashed {
        sleep(long).await;
        cluster.start(victim).await;
        long = how_long(rng, 0, 300);
    }
}

/// Moves a clock to anywhere within its declared error: often to its very end.
fn skew(cluster: &Cluster, victim: usize, rng: &mut Rng) {
    if cluster.notes.lies(victim) {
        return;
    }
    let bound = cluster.plan.clock_errors[victim].as_nanos() as i64;
    let to = match rng.random_range(0..4) {
        0 => bound,
        1 => -bound,
        _ => rng.random_range(-bound..=bound),
    };
    cluster.machines[victim].clock.set_skew(to);
}

/// One operation of a disk finds no space.
async fn disk_full(cluster: &Cluster, victim: usize, full: DiskOp, long: Duration) {
    let Some(process) = cluster.process(victim) else { return };
    let hook: FaultHook = Arc::new(move |op| if op == full { Err(StorageError::DiskFull("the nemesis filled it".into())) } else { Ok(()) });
    process.engine.set_hook(Some(hook));
    sleep(long).await;
    process.engine.set_hook(None);
}

async fn lease_move(cluster: &Cluster, rng: &mut Rng) {
    let Some((range, descriptor, process)) = cluster.any_range(rng) else { return };
    let others: Vec<NodeId> = descriptor.replicas.iter().map(|r| r.node).filter(|node| *node != process.id()).collect();
    let Some(to) = others.choose(rng) else { return };
    tracing::info!(%range, %to, "nemesis moves a lease");
    let outcome = process.store.transfer_lease(range, *to).await;
    tracing::info!(%range, %to, ?outcome, "nemesis moved a lease");
}

async fn split(cluster: &Cluster, victim: usize, rng: &mut Rng) {
    let Some(process) = cluster.process(victim) else { return };
    let at = split_key(cluster, rng);
    let kv: Arc<dyn meridian_txn::api::Kv> = process.kv.clone();
    drop(process);
    let outcome = kv.split_at(at.clone()).await;
    tracing::info!(?at, ?outcome, "nemesis split");
}

/// Somewhere in the middle of a workload.
pub(super) fn split_key(cluster: &Cluster, rng: &mut Rng) -> meridian_storage::Key {
    let prefix = ["bank", "list", "register", "pair", "riap", "ticket"].choose(rng).unwrap_or(&"bank");
    match *prefix {
        "bank" | "list" | "register" => key(&format!("{prefix}/{:02}", rng.random_range(0..cluster.plan.keys + 1))),
        _ => key(&format!("{prefix}/{:08}", rng.random_range(0..2000))),
    }
}

async fn membership(cluster: &Cluster, rng: &mut Rng) {
    let Some((range, descriptor, process)) = cluster.any_range(rng) else { return };
    let holds: Vec<NodeId> = descriptor.replicas.iter().map(|r| r.node).collect();
    let free: Vec<NodeId> = cluster.processes().iter().map(|p| p.id()).filter(|node| !holds.contains(node)).collect();
    let removable: Vec<NodeId> = holds.iter().copied().filter(|node| *node != process.id()).collect();
    let add = if rng.random_bool(0.7) { free.choose(rng).copied() } else { None };
    let remove = if rng.random_bool(0.6) { removable.choose(rng).copied() } else { None };
    tracing::info!(%range, ?add, ?remove, "nemesis changes replicas");
    let outcome = process.store.change_replicas(range, add, remove).await;
    tracing::info!(%range, ?add, ?remove, ?outcome, "nemesis changed replicas");
}
