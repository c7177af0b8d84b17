//! Whoever breaks things.

use std::sync::Arc;
use std::time::Duration;

use meridian_clock::{Entropy, Rng};
use meridian_replication::api::{NodeId, RangeAdmin as _};
use meridian_storage::engine::StorageError;
use meridian_storage::memory::{DiskOp, FaultHook};
use rand::Rng as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::cluster::Cluster;
use super::plan::Fault;
use super::workload::key;

/// Breaks things until it is aborted, then [`heal`] is due.
pub async fn run(cluster: Arc<Cluster>) {
    let mut rng = Entropy::seeded(cluster.plan.seed).fork("nemesis").rng();
    let faults = cluster.plan.faults.clone();
    if faults.is_empty() {
        return std::future::pending().await;
    }
    let mut running = JoinSet::new();
    let mut count = 0;
    loop {
        let mean = cluster.plan.fault_every;
        sleep(mean.mul_f64(rng.random_range(0.1..1.9))).await;
        while running.try_join_next().is_some() {}
        let Some(fault) = faults.choose(&mut rng) else { continue };
        count += 1;
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
    for index in 0..cluster.plan.nodes {
        cluster.start(index).await;
        cluster.machines[index].set_sync_time(cluster.plan.sync_time);
        if let Some(process) = cluster.process(index) {
            cluster.network.resume(process.id());
            process.engine.set_hook(None);
        }
    }
}

fn how_long(rng: &mut Rng, least: u64, most: u64) -> Duration {
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
            let mut all: Vec<NodeId> = (0..nodes).filter_map(|index| cluster.node(index)).collect();
            all.shuffle(rng);
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
        (Fault::DiskFull, _) => disk_full(&cluster, victim, long).await,
        (Fault::LeaseMove, _) => lease_move(&cluster, rng).await,
        (Fault::Split, _) => split(&cluster, victim, rng).await,
        (Fault::Membership, _) => membership(&cluster, rng).await,
        // The node is down.
        (Fault::Pause | Fault::OneWay | Fault::Isolate | Fault::Flap | Fault::Slow, _) => {}
    }
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
    let bound = cluster.plan.clock_errors[victim].as_nanos() as i64;
    let to = match rng.random_range(0..4) {
        0 => bound,
        1 => -bound,
        _ => rng.random_range(-bound..=bound),
    };
    cluster.machines[victim].clock.set_skew(to);
}

async fn disk_full(cluster: &Cluster, victim: usize, long: Duration) {
    let Some(process) = cluster.process(victim) else { return };
    let hook: FaultHook = Arc::new(|op| match op {
        DiskOp::Append => Err(StorageError::DiskFull("the nemesis filled it".into())),
        DiskOp::Sync | DiskOp::Apply | DiskOp::Flush | DiskOp::Read => Ok(()),
    });
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
    let prefix = ["bank", "list", "register", "pair", "riap", "ticket"].choose(rng).unwrap_or(&"bank");
    let at = match *prefix {
        "bank" | "list" | "register" => key(&format!("{prefix}/{:02}", rng.random_range(0..cluster.plan.keys + 1))),
        _ => key(&format!("{prefix}/{:08}", rng.random_range(0..2000))),
    };
    let kv: Arc<dyn meridian_txn::api::Kv> = process.kv.clone();
    drop(process);
    let outcome = kv.split_at(at.clone()).await;
    tracing::info!(?at, ?outcome, "nemesis split");
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
