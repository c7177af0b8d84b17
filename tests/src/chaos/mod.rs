//! A campaign against a cluster of real processes: workloads through SQL at every gateway while things break, everything recorded and checked.
//!
//! ```text
//!   round:   workload starts ─ quiet ─ fault ─ heal ─ quiet ─ fault ─ heal ─ … ─ workload stops ─ everything read once more ─ checker
//! ```
//! Three regions at their real distances, clocks set off within their bound. One fault at a time: what it touches may fail in any way that is not a lie;
//! the other gateways may answer with success or a serialization failure, or wait, and nothing else.
//!
//! * [`fault`]: what breaks, and how it is healed. * [`figures`]: what clients saw of it.

pub mod fault;
pub mod figures;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use crate::history::{Outcome, Txn, check};
use crate::process::{LocalCluster, http_get};
use crate::workloads::{Level, Load, LoadPlan, Workload};
use fault::{Fault, Kind, Target};
use figures::{Figures, Summary};

/// Nodes: one a region.
pub const NODES: usize = 3;
/// Quiet time before each fault: what p99 is compared with.
const QUIET: Duration = Duration::from_millis(2500);
/// After this, a gateway that nothing stands in the way of has stopped.
const STUCK: Duration = Duration::from_secs(60);
/// How often the history is looked at while waiting.
const POLL: Duration = Duration::from_millis(10);

/// A campaign.
#[derive(Clone, Debug)]
pub struct Plan {
    /// It ends after this.
    pub duration: Duration,
    /// It ends after so many faults.
    pub faults_max: usize,
    /// Of all choices.
    pub seed: u64,
    /// Workloads, in turn.
    pub workloads: Vec<Workload>,
    /// Kinds of faults, in turn.
    pub kinds: Vec<Kind>,
    /// Faults under one workload.
    pub faults_per_round: usize,
    /// Clients at each gateway.
    pub per_gateway: usize,
    /// Of the clocks.
    pub clock_bound: Duration,
    /// No distance between the regions.
    pub near: bool,
    /// Where data, and histories with something wrong, are kept.
    pub directory: PathBuf,
    /// First port.
    pub base_port: u16,
}

/// One workload's run.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// Which.
    pub workload: &'static str,
    /// Acknowledged transactions.
    pub acknowledged: usize,
    /// Refused.
    pub failed: usize,
    /// With an unknown outcome.
    pub unknown: usize,
    /// Of the checked graph.
    pub edges: usize,
    /// Names of anomalies.
    pub anomalies: Vec<&'static str>,
    /// Where the history is, if something is wrong with it.
    pub history: Option<PathBuf>,
}

/// What a campaign came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Workloads.
    pub rounds: Vec<Round>,
    /// Faults.
    pub faults: Vec<Figures>,
    /// By kind of fault.
    pub summary: BTreeMap<&'static str, Summary>,
    /// Ranges whose replicas were compared at the end and agree.
    pub ranges_compared: usize,
    /// Anomalies, errors at gateways that no fault touched, gateways that stopped.
    pub wrong: Vec<String>,
}

/// Runs a campaign. An error means that it could not be carried out; what the database did wrong is in the report.
pub async fn run(plan: &Plan) -> Result<Report> {
    let began = Instant::now();
    let mut rng = ChaCha8Rng::seed_from_u64(plan.seed);
    let bound = format!("{}us", plan.clock_bound.as_micros());
    let skews: Vec<String> = [1.0, -1.0, 0.0].iter().map(|part| format!("{:.0}us", part * plan.clock_bound.as_micros() as f64)).collect();
    let skews = skews.join(",").replace("-0us", "0us");
    let mut flags = vec!["--dead-after", "600", "--clock-bound", &bound, "--clock-skew", &skews];
    if plan.near {
        flags.push("--no-latency");
    }
    let cluster = LocalCluster::up(&plan.directory.join("cluster"), plan.base_port, &flags)?;
    let target = Target::new(&cluster, plan.clock_bound)?;
    let mut report = Report { seed: plan.seed, ..Report::default() };
    let mut turn = 0;
    while began.elapsed() < plan.duration && report.faults.len() < plan.faults_max {
        let workload = plan.workloads[turn % plan.workloads.len()];
        round(plan, &cluster, &target, workload, turn, began, &mut rng, &mut report).await.with_context(|| format!("round {turn}"))?;
        turn += 1;
    }
    report.ranges_compared = compare_replicas(&cluster)?;
    report.seconds = began.elapsed().as_secs_f64();
    report.summary = Summary::by_kind(&report.faults);
    Ok(report)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one campaign")]
async fn round(
    plan: &Plan,
    cluster: &LocalCluster,
    target: &Target<'_>,
    workload: Workload,
    turn: usize,
    began: Instant,
    rng: &mut ChaCha8Rng,
    report: &mut Report,
) -> Result<()> {
    let load_plan = LoadPlan {
        urls: (1..=NODES).map(|node| cluster.url(node)).collect(),
        per_gateway: plan.per_gateway,
        workload,
        tag: format!("r{turn}_{}", workload.name().replace('-', "_")),
        level: Level::Serializable,
        seed: plan.seed.wrapping_add(turn as u64),
        think: Duration::from_millis(10),
    };
    let load = Load::start(load_plan, began).await?;
    for _ in 0..plan.faults_per_round {
        if began.elapsed() >= plan.duration || report.faults.len() >= plan.faults_max {
            break;
        }
        let kind = plan.kinds[report.faults.len() % plan.kinds.len()];
        let fault = Fault::draw(kind, rng);
        let figures = one_fault(target, &load, fault, rng).await?;
        println!("{figures}");
        report.wrong.extend(figures.wrong.iter().map(|what| format!("{} under {}: {what}", figures.fault, workload.name())));
        report.faults.push(figures);
    }
    let history = load.stop().await?;
    let verdict = check(&history);
    let (acknowledged, failed, unknown) = history.outcomes();
    let name = workload.name();
    let kept = (!verdict.clean()).then(|| plan.directory.join(format!("{name}-seed{}-round{turn}.jsonl", plan.seed)));
    if let Some(file) = &kept {
        history.save(file)?;
        report.wrong.extend(verdict.anomalies.iter().map(|anomaly| format!("{name}: {}", anomaly.story)));
    }
    println!(
        "{name}: {acknowledged} acknowledged, {failed} refused, {unknown} unknown, {} edges: {}",
        verdict.edges,
        if verdict.clean() { "nothing wrong".to_owned() } else { verdict.to_string() }
    );
    let anomalies = verdict.anomalies.iter().map(|a| a.class.name()).collect();
    report.rounds.push(Round { workload: name, acknowledged, failed, unknown, edges: verdict.edges, anomalies, history: kept });
    Ok(())
}

/// Quiet, fault, heal, and what the clients saw of it.
async fn one_fault(target: &Target<'_>, load: &Load, fault: Fault, rng: &mut ChaCha8Rng) -> Result<Figures> {
    let mut wrong = Vec::new();
    wait_for_commits(load, load.now(), &[1, 2, 3], &mut wrong).await;
    let quiet = load.now();
    tokio::time::sleep(QUIET).await;
    let struck = load.now();
    tokio::task::block_in_place(|| target.strike(&fault))?;
    if let Fault::Splits | Fault::SkewJump | Fault::MoveLeases = fault {
        for _ in 0..4 {
            target.small(&fault, load.shared(), rng).await?;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    let untouched = fault.untouched();
    // Each of the others goes on, not only the luckiest.
    wait_for_commits(load, struck, &untouched, &mut wrong).await;
    tokio::time::sleep(Duration::from_millis(rng.random_range(1000..3000))).await;
    let healing = load.now();
    tokio::task::block_in_place(|| target.heal(&fault))?;
    wait_for_commits(load, load.now(), &[1, 2, 3], &mut wrong).await;
    let healed = load.now();
    let figures = load.with_txns(|txns| Figures::of(&fault, txns, &untouched, (quiet, struck, healing, healed)));
    Ok(Figures { wrong: wrong.into_iter().chain(figures.wrong.clone()).collect(), ..figures })
}

/// Waits until a transaction that began after `since` has committed at each of the gateways.
async fn wait_for_commits(load: &Load, since: u64, gateways: &[usize], wrong: &mut Vec<String>) {
    let began = Instant::now();
    loop {
        let committed = |txns: &[Txn], gateway: usize| {
            // In the order of their ends.
            let recent = txns.iter().rev().take_while(|txn| txn.completed.is_some_and(|at| at >= since));
            recent.into_iter().any(|txn| txn.gateway == gateway as u64 && txn.outcome == Outcome::Ok && txn.invoked >= since)
        };
        let missing: Vec<usize> = load.with_txns(|txns| gateways.iter().copied().filter(|g| !committed(txns, *g)).collect());
        if missing.is_empty() {
            return;
        }
        if began.elapsed() > STUCK {
            wrong.push(format!("gateways {missing:?} do not commit within {STUCK:?}"));
            return;
        }
        tokio::time::sleep(POLL).await;
    }
}

fn compare_replicas(cluster: &LocalCluster) -> Result<usize> {
    let mut ranges = 0;
    for node in 1..=NODES {
        let (status, text) = http_get(cluster.http_port(node), "/debug/check-replicas")?;
        ensure!(status == 200, "replicas differ, or could not be compared, at node {node}: {text}");
        ranges += text.lines().filter(|line| line.contains("\"agree\":true")).count();
    }
    Ok(ranges)
}

/// Writes the report.
pub fn save(report: &Report, path: &Path) -> Result<()> {
    std::fs::write(path, serde_json::to_string_pretty(report)?).with_context(|| format!("writing {}", path.display()))
}
