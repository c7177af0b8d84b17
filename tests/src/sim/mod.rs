//! A whole cluster in one process, from one seed.
//!
//! ```text
//!   plan       what a seed stands for: shape, settings, which faults
//!   cluster    machines, network, processes          node     the real layers of one node over simulated disk, clock, network
//!   nemesis    breaks things, at random              aimed                       and where it hurts
//!                                                    client, workload, session   work, and note in history and notes what they saw
//!   shrink     makes a run that failed smaller       seeds                       runs that once failed
//!   observer   watches leases (L1, L2)               checker  strict serializability, nothing lost, nothing half there
//!   archive    what nodes have collected
//! ```
//! A run: the cluster comes up as one node that grows; clients work while the nemesis breaks things; everything heals; every client
//! must get on again; then all that was seen is checked against what is there. Everything runs on one thread in virtual time, and every choice comes from
//! the seed: the same seed gives the same trace, byte for byte.

mod aimed;
mod archive;
mod checker;
mod client;
mod cluster;
pub mod history;
mod nemesis;
mod node;
mod notes;
mod observer;
mod plan;
mod report;
pub mod seeds;
mod session;
mod shrink;
mod signal;
mod workload;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meridian_clock::Timestamp;
use meridian_replication::api::{RangeDescriptor, RangeHost as _, RangeId};
use meridian_storage::{Reader, mvcc};
use meridian_txn::api::{Kv, KvError};
use tokio::time::{Instant, sleep, timeout};

use checker::Versions;
use client::Client;
use cluster::Cluster;
use history::{Outcome, decode};
use node::Process;
pub use plan::{Fault, Overrides, Plan};
pub use report::{Report, panics, simulated_millis, watch_panics};
use session::Session;
pub use shrink::shrink;
use signal::Signal;
use workload::{check_final, key, set_up};

/// The cluster must come up within this.
const START_LIMIT: Duration = Duration::from_secs(60);
/// After everything healed every client must get on within this.
const RECOVERY_LIMIT: Duration = Duration::from_secs(30);

/// Tries at comparing the replicas of a range.
const COMPARISONS: usize = 10;

/// Runs a plan to its end and says what was wrong.
pub fn run(plan: Plan, keep_trace: bool) -> Report {
    let _ = panics();
    // A release build has no switches.
    #[cfg(debug_assertions)]
    let _off = meridian_clock::controls::switch_off(&plan.controls);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return Report::failed(plan, format!("no runtime: {error}")),
    };
    let mut report = runtime.block_on(async {
        report::start_of_time();
        let cluster = Cluster::new(plan, keep_trace);
        // Boxed: the whole run is one large future.
        Box::pin(live(&cluster)).await;
        let report = Report::of(&cluster);
        cluster.shut_down();
        report
    });
    drop(runtime);
    report.wrong.extend(panics().into_iter().map(|panic| format!("panic: {panic}")));
    report
}

async fn live(cluster: &Arc<Cluster>) {
    let watcher = tokio::spawn(observe(cluster.clone()));
    let outcome = run_phases(cluster).await;
    watcher.abort();
    if let Err(what) = outcome {
        cluster.wrong(what);
        cluster.wrong(format!("the cluster then:\n      {}", cluster.describe()));
    }
    let observed = std::mem::take(&mut cluster.observer.lock().wrong);
    observed.into_iter().for_each(|what| cluster.wrong(what));
}

async fn observe(cluster: Arc<Cluster>) {
    loop {
        cluster.observe();
        sleep(Duration::from_millis(1)).await;
    }
}

async fn run_phases(cluster: &Arc<Cluster>) -> Result<(), String> {
    come_up(cluster).await?;
    let stop = Signal::new(false);
    let mut clients = Vec::new();
    let mut tasks = Vec::new();
    for gateway in 0..cluster.plan.nodes {
        let clients_here = cluster.plan.clients + usize::from(cluster.plan.relays());
        for number in 0..clients_here {
            let client = Client::new(cluster, gateway, number >= cluster.plan.clients);
            tasks.push(tokio::spawn(client.clone().run(number, stop.watch())));
            clients.push(client);
        }
    }
    let _ = timeout(cluster.plan.duration, nemesis::run(cluster.clone())).await;
    nemesis::heal(cluster).await;
    let healed = Instant::now();
    let get_on = || clients.iter().filter(|c| c.last_commit.lock().is_none_or(|at| at < healed)).collect::<Vec<_>>();
    let result = eventually(RECOVERY_LIMIT, "every client gets on after everything healed", || {
        let stuck: Vec<String> = get_on().iter().map(|c| format!("gateway {}: {}", c.gateway, c.doing.lock())).collect();
        if stuck.is_empty() { Ok(()) } else { Err(stuck.join("; ")) }
    })
    .await;
    stop.replace(true);
    result?;
    let stopped = timeout(RECOVERY_LIMIT, futures::future::join_all(tasks)).await;
    if stopped.is_err() {
        let doing: Vec<String> = clients.iter().map(|c| c.doing.lock().clone()).collect();
        return Err(format!("some clients do not stop: {doing:?}"));
    }
    check_end(cluster).await
}

/// Waits until `check` is content.
async fn eventually(limit: Duration, what: &str, check: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let deadline = Instant::now() + limit;
    loop {
        match check() {
            Ok(()) => return Ok(()),
            Err(why) if Instant::now() >= deadline => return Err(format!("not within {limit:?}: {what}: {why}")),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The ranges and who serves them, once everything is served: a lease that is just being moved is served by nobody.
async fn all_served(cluster: &Arc<Cluster>) -> Result<Vec<(Arc<RangeDescriptor>, Arc<Process>)>, String> {
    eventually(RECOVERY_LIMIT, "the whole key space is served", || cluster.served().map(|_| ())).await?;
    cluster.served()
}

async fn come_up(cluster: &Arc<Cluster>) -> Result<(), String> {
    for index in 0..cluster.plan.nodes {
        let started = timeout(START_LIMIT, cluster.start(index)).await;
        started.map_err(|_| format!("node {index} does not start within {START_LIMIT:?}"))?;
    }
    eventually(START_LIMIT, "every range has all its replicas", || cluster.settled()).await?;
    let first = cluster.process(0).ok_or("the first node is gone")?;
    let kv: Arc<dyn Kv> = first.kv.clone();
    for at in ["list/", "pair/", "register/"].into_iter().chain(cluster.plan.splits.iter().copied()) {
        kv.split_at(key(at)).await.map_err(|error| format!("splitting at {at}: {error}"))?;
    }
    let keys = cluster.plan.keys;
    let mut session = Session::begin(&cluster.notes, &kv, 0, "set-up", false, Arc::default());
    let failed = |error: KvError| format!("writing the accounts: {error}");
    set_up(&mut session, keys).await.map_err(failed)?;
    session.commit().await.map_err(failed)?;
    tracing::info!("the cluster is up");
    Ok(())
}

/// Reads everything through a gateway, then looks at the replicas themselves.
async fn check_end(cluster: &Arc<Cluster>) -> Result<(), String> {
    let rows = final_rows(cluster).await?;
    let versions = versions(cluster, &all_served(cluster).await?)?;
    let order = |key: &meridian_storage::Key| versions.get(key).map(|list| list.iter().map(|(_, v)| *v).collect()).unwrap_or_default();
    for what in check_final(&rows, cluster.plan.keys, order) {
        cluster.wrong(what);
    }
    let records = cluster.notes.with_absences(cluster.history.records(), &versions);
    for what in checker::check(&cluster.notes.without_lies(records), &versions) {
        cluster.wrong(what);
    }
    for what in cluster.notes.check_pasts(&versions) {
        cluster.wrong(what);
    }
    for (range, _) in all_served(cluster).await? {
        compare_replicas(cluster, range.id).await?;
    }
    Ok(())
}

/// All replicas of a range must be equal, and answer.
async fn compare_replicas(cluster: &Arc<Cluster>, range: RangeId) -> Result<(), String> {
    let mut last = String::new();
    for _ in 0..COMPARISONS {
        let served = all_served(cluster).await?;
        // Merged or not, the range is somebody's or no more.
        let Some((_, process)) = served.into_iter().find(|(r, _)| r.id == range) else { return Ok(()) };
        match process.store.check_replicas(range).await {
            Ok(report) if !report.differing.is_empty() => return Err(format!("replicas differ: {report:?}")),
            Ok(report) if report.missing.is_empty() => return Ok(()),
            // A replica that got the entry inside a snapshot does not answer; and leases move.
            Ok(report) => last = format!("{report:?}"),
            Err(error) => last = error.to_string(),
        }
        sleep(Duration::from_millis(100)).await;
    }
    Err(format!("the replicas of {range} could not be compared in {COMPARISONS} tries: {last}"))
}

async fn final_rows(cluster: &Arc<Cluster>) -> Result<Vec<(meridian_storage::Key, bytes::Bytes)>, String> {
    let gateway = (cluster.plan.seed % cluster.plan.nodes as u64) as usize;
    let process = cluster.process(gateway).ok_or("the gateway of the last audit is down")?;
    let kv: Arc<dyn Kv> = process.kv.clone();
    let everything = meridian_storage::Span::prefix(key(""));
    let mut last = String::new();
    for _ in 0..5 {
        let mut session = Session::begin(&cluster.notes, &kv, gateway, "last audit", true, Arc::default());
        match timeout(RECOVERY_LIMIT, session.scan(everything.clone(), 0)).await {
            Ok(Ok(rows)) => match session.commit().await {
                Ok(_) => return Ok(rows),
                Err(error) => last = error.to_string(),
            },
            Ok(Err(error)) => {
                session.fail(&error).await;
                last = error.to_string();
            }
            Err(_) => return Err("the last audit hangs".into()),
        }
    }
    Err(format!("the last audit fails: {last}"))
}

/// Every version of every key, from the replicas that hold the leases and from what was collected.
fn versions(cluster: &Cluster, served: &[(Arc<RangeDescriptor>, Arc<Process>)]) -> Result<Versions, String> {
    let mut keys: BTreeMap<meridian_storage::Key, ()> = BTreeMap::new();
    for record in cluster.history.records() {
        for op in &record.ops {
            let (history::Op::Read(key, _) | history::Op::Write(key, _)) = op;
            keys.insert(key.clone(), ());
        }
    }
    let mut versions = Versions::new();
    for key in keys.into_keys() {
        let holder = served.iter().find(|(range, _)| range.span.contains(&key)).map(|(_, process)| process);
        let engine = holder.ok_or_else(|| format!("nobody serves {key:?}"))?.store.engine().clone();
        // A version that is in both is the same.
        let mut list = BTreeMap::new();
        for disk in [&*cluster.archive as &dyn Reader, &*engine as &dyn Reader] {
            let mut at = Timestamp::MAX;
            while let Some(version) = mvcc::get(disk, &key, at).map_err(|error| format!("reading {key:?}: {error}"))? {
                if let Some(value) = &version.value {
                    list.insert(version.ts, decode(value).0);
                }
                at = version.ts.prev();
            }
        }
        versions.insert(key, list.into_iter().collect());
    }
    Ok(versions)
}

/// How many attempts ended how.
fn tally(cluster: &Cluster) -> (usize, usize, usize) {
    let (mut committed, mut unknown, mut failed) = (0, 0, 0);
    for record in cluster.history.records() {
        match record.outcome {
            Outcome::Committed(_) => committed += 1,
            Outcome::Unknown(_) => unknown += 1,
            Outcome::Open | Outcome::Failed(_) => failed += 1,
        }
    }
    (committed, unknown, failed)
}
