//! Faults that wait for their moment.
//!
//! What strikes at random meets a window of a few milliseconds between two messages of a commit once in thousands of seeds. These look for the moment:
//! each is aimed at what one mechanism alone prevents (`docs/verification.md`), and does nothing that a network, a disk or an operator could not do: messages
//! late or lost, a process that stops or dies, a slow disk, a lease moved, a range split.
//!
//! ```text
//!   gateway A ── hot/ (with the record) ──▶ C      A stops; whoever looks at hot/ waits, takes A for dead and asks B
//!        └────── own/ ── connection stalls ─▶ B    then A goes on: what B has not seen arrives now
//!
//!   held_commit      after B was asked and the commit was aborted: nothing may land any more (C6, prevention);
//!                    between the question and the decision (B's answer stalls): A stages again, the decision is about something else (C6, compare-and-set)
//!   crash_resolving  A tells C that it is through, cannot tell B, dies: C must know more than that its own part is gone (C5)
//!   stalled_split    everybody but the leaseholder has applied the split, and could elect another leader for the right half (L1)
//! ```

use std::sync::Arc;
use std::time::Duration;

use meridian_clock::{Rng, Timestamp};
use meridian_replication::api::{NodeId, RangeAdmin as _, RangeDescriptor};
use meridian_replication::transport::TrafficClass;
use meridian_storage::mvcc;
use meridian_txn::api::Kv;
use meridian_txn::{coordinator, staged_at};
use rand::Rng as _;
use rand::seq::IndexedRandom as _;
use tokio::time::{Instant, sleep};

use super::cluster::Cluster;
use super::nemesis::{how_long, shuffled, split_key};
use super::node::Process;
use super::workload::{key, span};

/// How long the moment is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits until a client of the victim commits, and kills it some steps later. Its messages to one of the others are slow, so that they may arrive after
/// others have begun to clean up behind it.
pub async fn crash_committing(cluster: &Arc<Cluster>, victim: usize, other: usize, rng: &mut Rng) {
    if let (Some(a), Some(b)) = (cluster.node(victim), cluster.node(other)) {
        cluster.network.set_delay(a, b, how_long(rng, 0, 400), how_long(rng, 0, 50));
    }
    until_committing(cluster, victim).await;
    sleep(how_long(rng, 0, 40)).await;
    cluster.crash(victim, rng);
    sleep(how_long(rng, 0, 200)).await;
    cluster.start(victim).await;
    cluster.network.reset_delays();
}

/// The slow link has a part of the commit when its gateway stops; when the gateway goes on, the others have met what had arrived and settled it.
pub async fn pause_committing(cluster: &Arc<Cluster>, victim: usize, other: usize, rng: &mut Rng) {
    let (Some(a), Some(b)) = (cluster.node(victim), cluster.node(other)) else { return };
    cluster.network.set_delay(a, b, how_long(rng, 100, 1000), how_long(rng, 0, 50));
    // Who settles it may be slow too, so that the gateway is back in the middle of that.
    if rng.random_bool(0.5)
        && let Some(third) = shuffled(cluster, rng).into_iter().find(|node| *node != a && *node != b)
    {
        cluster.network.set_delay(b, third, how_long(rng, 100, 1000), how_long(rng, 0, 50));
        cluster.network.set_delay(third, b, how_long(rng, 0, 500), how_long(rng, 0, 50));
    }
    until_committing(cluster, victim).await;
    sleep(how_long(rng, 0, 100)).await;
    cluster.network.pause(a);
    sleep(how_long(rng, 500, 3000)).await;
    cluster.network.resume(a);
    sleep(how_long(rng, 0, 500)).await;
    cluster.network.reset_delays();
}

/// Until a client of the gateway commits, or none does for long.
async fn until_committing(cluster: &Cluster, gateway: usize) {
    until(|| cluster.is_committing(gateway)).await;
}

/// Looks at the cluster every millisecond until it is as wanted, but not for ever. Answers whether it is.
async fn until(wanted: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while !wanted() {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(Duration::from_millis(1)).await;
    }
    true
}

/// The range of a key and the process that serves it.
fn holder(cluster: &Cluster, at: &[u8]) -> Option<(Arc<RangeDescriptor>, Arc<Process>)> {
    let of = |process: Arc<Process>| {
        let range = process.store.leaseholder_ranges().into_iter().find(|range| range.span.contains(at))?;
        Some((range, process))
    };
    cluster.processes().into_iter().find_map(of)
}

/// Moves the lease of a key's range to a node, if it is not there and can be.
async fn move_to(cluster: &Cluster, at: &[u8], node: NodeId) {
    if let Some((range, process)) = holder(cluster, at)
        && process.id() != node
    {
        let outcome = process.store.transfer_lease(range.id, node).await;
        tracing::info!(range = %range.id, %node, ?outcome, "nemesis moves a lease for an aimed fault");
    }
}

/// Three nodes for a relay: its gateway, the leaseholder of the rows that everybody looks at, and that of its own rows.
struct Stage {
    gateway: usize,
    a: NodeId,
    b: NodeId,
    c: NodeId,
}

impl Stage {
    /// Sets it up, as far as ranges can be moved.
    async fn set(cluster: &Cluster, rng: &mut Rng) -> Option<Stage> {
        let (hot, own) = (key("hot/"), key("own/"));
        let holds = |at: &[u8]| -> Vec<NodeId> {
            holder(cluster, at).map(|(range, _)| range.replicas.iter().map(|r| r.node).collect()).unwrap_or_default()
        };
        let c = *holds(&hot).choose(rng)?;
        let b = *holds(&own).into_iter().filter(|node| *node != c).collect::<Vec<_>>().choose(rng)?;
        let a = shuffled(cluster, rng).into_iter().find(|node| *node != b && *node != c)?;
        let gateway = (0..cluster.plan.nodes).find(|index| cluster.node(*index) == Some(a))?;
        move_to(cluster, &hot, c).await;
        move_to(cluster, &own, b).await;
        Some(Stage { gateway, a, b, c })
    }

    /// Whether an intent of the gateway lies in the rows of `prefix`, on the disk of `node`.
    fn lies(&self, cluster: &Cluster, node: NodeId, prefix: &str) -> bool {
        let Some(process) = process_of(cluster, node) else { return false };
        let mut lies = false;
        let outcome = mvcc::intents(&*process.engine, &span(prefix), &mut |_, intent| {
            lies |= coordinator(intent.attempt) == self.a;
            !lies
        });
        outcome.is_ok() && lies
    }

    /// At which timestamp the record of the gateway's transaction says that it is staged.
    fn staged(&self, cluster: &Cluster) -> Option<Timestamp> {
        let mut at = None;
        let outcome = mvcc::records(&*process_of(cluster, self.c)?.engine, &span("hot/"), &mut |_, attempt, record| {
            at = at.max(staged_at(&record).filter(|_| coordinator(attempt) == self.a));
            true
        });
        outcome.ok().and(at)
    }
}

fn process_of(cluster: &Cluster, node: NodeId) -> Option<Arc<Process>> {
    cluster.processes().into_iter().find(|process| process.id() == node)
}

/// The part of a commit at B is on a stalled connection when A stops, which it does for about as long as it takes others to find the part that has arrived
/// and to settle it.
pub async fn held_commit(cluster: &Arc<Cluster>, rng: &mut Rng) {
    let Ok(_alone) = cluster.aiming.try_lock() else { return };
    let Some(stage) = Stage::set(cluster, rng).await else { return };
    let (network, pause) = (&cluster.network, how_long(rng, 1500, 2400));
    if !until(|| cluster.is_relaying(stage.gateway)).await {
        return;
    }
    network.stall(stage.a, stage.b, TrafficClass::Kv, pause);
    if !until(|| stage.staged(cluster).is_some() && stage.lies(cluster, stage.c, "hot/")).await {
        return;
    }
    // The answer that it lies there may still reach A, or not.
    sleep(how_long(rng, 0, 120)).await;
    tracing::info!(gateway = %stage.a, own = %stage.b, hot = %stage.c, ?pause, "nemesis stops a gateway");
    network.pause(stage.a);
    if rng.random_bool(0.5) {
        stage_again(cluster, &stage, pause, rng).await;
    } else {
        sleep(pause).await;
        network.resume(stage.a);
    }
}

/// While A stops, B's answers to C stall, until a little after A goes on: A finds what B has prevented, stages again, and cannot say what became of that.
async fn stage_again(cluster: &Cluster, stage: &Stage, pause: Duration, rng: &mut Rng) {
    let (network, kv) = (&cluster.network, TrafficClass::Kv);
    let (first, after) = (how_long(rng, 700, 1100), how_long(rng, 50, 600));
    sleep(first).await;
    network.stall(stage.b, stage.c, kv, pause - first + after);
    sleep(pause - first).await;
    let staged = stage.staged(cluster);
    network.resume(stage.a);
    if until(|| stage.staged(cluster) > staged).await {
        network.stall(stage.a, stage.c, kv, after + how_long(rng, 0, 400));
    }
}

/// A commit is through and its gateway is about to tell both ranges so. It does not get through to B, and dies.
pub async fn crash_resolving(cluster: &Arc<Cluster>, rng: &mut Rng) {
    let Ok(_alone) = cluster.aiming.try_lock() else { return };
    let Some(stage) = Stage::set(cluster, rng).await else { return };
    if !until(|| cluster.is_relaying(stage.gateway)).await || !until(|| stage.lies(cluster, stage.b, "own/")).await {
        return;
    }
    cluster.network.cut(stage.a, stage.b);
    sleep(how_long(rng, 20, 250)).await;
    cluster.crash(stage.gateway, rng);
    sleep(how_long(rng, 0, 500)).await;
    cluster.start(stage.gateway).await;
    // The same id again: the links of a node are those of its machine.
    cluster.network.heal(stage.a, stage.b);
}

/// The followers have the split in their logs and hear that it is committed; the leaseholder's own disk has not even its entry yet.
pub async fn stalled_split(cluster: &Arc<Cluster>, rng: &mut Rng) {
    let Ok(_alone) = cluster.aiming.try_lock() else { return };
    let at = split_key(cluster, rng);
    let Some((range, process)) = holder(cluster, &at) else { return };
    let Some(victim) = (0..cluster.plan.nodes).find(|index| cluster.node(*index) == Some(process.id())) else { return };
    let stall = how_long(rng, 1000, 4000);
    cluster.machines[victim].set_sync_time(stall);
    sleep(how_long(rng, 0, 30)).await;
    tracing::info!(range = %range.id, ?at, leaseholder = %process.id(), ?stall, "nemesis splits beside a stalled disk");
    let kv: Arc<dyn Kv> = process.kv.clone();
    drop(process);
    let _ = tokio::time::timeout(stall, kv.split_at(at)).await;
    cluster.machines[victim].set_sync_time(cluster.plan.sync_time);
}
