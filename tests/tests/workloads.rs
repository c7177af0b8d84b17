//! SQL workloads, checked: PostgreSQL 15 shows that the checker has teeth and does not bite without reason; then Meridian, one node and three.
//!
//! `MERIDIAN_WORKLOAD_MS` says how long each workload runs. Histories in which something is wrong are kept in `MERIDIAN_HISTORIES` (by default the
//! temporary directory). The long form, with faults: `scripts/verify chaos`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use meridian_tests::differential::servers::Postgres;
use meridian_tests::history::{Class, Verdict, check};
use meridian_tests::process::{LocalCluster, Scratch, Server, ServerOptions, port};
use meridian_tests::workloads::{Level, LoadPlan, Workload, run_for};

/// How long each workload runs.
fn duration(default_millis: u64) -> Duration {
    Duration::from_millis(std::env::var("MERIDIAN_WORKLOAD_MS").ok().and_then(|v| v.parse().ok()).unwrap_or(default_millis))
}

async fn run(urls: &[String], workload: Workload, level: Level, seed: u64, millis: u64) -> Result<Verdict> {
    let tag = format!("{}_{}_{seed}", workload.name().replace('-', "_"), level.sql().replace(' ', "_"));
    let plan = LoadPlan {
        urls: urls.to_vec(),
        per_gateway: if urls.len() == 1 { 6 } else { 3 },
        workload,
        tag: tag.clone(),
        level,
        seed,
        think: Duration::from_millis(2),
    };
    let history = run_for(plan, duration(millis)).await?;
    let verdict = check(&history);
    let (ok, failed, unknown) = history.outcomes();
    println!(
        "{:>18}, {}: {ok} ok, {failed} failed, {unknown} unknown; {} edges, {:?}",
        workload.name(),
        level.sql(),
        verdict.edges,
        verdict.classes()
    );
    if !verdict.clean() && level == Level::Serializable {
        let directory = std::env::var_os("MERIDIAN_HISTORIES").map_or_else(std::env::temp_dir, PathBuf::from);
        history.save(&directory.join(format!("{tag}.jsonl")))?;
    }
    Ok(verdict)
}

/// Runs every workload; none may find anything, and each must have got something done.
async fn all_clean(urls: &[String], seed: u64, millis: u64) -> Result<()> {
    for workload in Workload::ALL {
        let verdict = run(urls, workload, Level::Serializable, seed, millis).await?;
        ensure!(verdict.clean(), "{}:\n{verdict}", workload.name());
        ensure!(verdict.effective > 10, "{}: only {} transactions", workload.name(), verdict.effective);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_serializable_is_clean_and_the_weaker_levels_are_caught() -> Result<()> {
    let postgres = Postgres::start()?;
    let urls = [format!("postgresql://root@127.0.0.1:{}/defaultdb?sslmode=disable", postgres.port)];
    all_clean(&urls, 1, 800).await?;
    // READ COMMITTED loses updates and skews reads; REPEATABLE READ (a snapshot) does neither, but skews writes and lets phantoms through.
    let expected: [(Level, Workload, &[Class]); 6] = [
        (Level::ReadCommitted, Workload::Bank, &[Class::LostUpdate, Class::WrongTotal]),
        (Level::ReadCommitted, Workload::BankAcrossTables, &[Class::WrongTotal]),
        (Level::ReadCommitted, Workload::ListAppend, &[Class::GSingle]),
        (Level::ReadCommitted, Workload::Monotonic, &[Class::LostUpdate]),
        (Level::RepeatableRead, Workload::WriteSkew, &[Class::WriteSkew]),
        (Level::RepeatableRead, Workload::Phantom, &[Class::G2]),
    ];
    for (level, workload, classes) in expected {
        let mut found = BTreeSet::new();
        for seed in 2..10 {
            found.extend(run(&urls, workload, level, seed, 800).await?.classes());
            if classes.iter().all(|class| found.contains(class)) {
                break;
            }
        }
        ensure!(
            classes.iter().all(|class| found.contains(class)),
            "{} at {}: {found:?}, not all of {classes:?}",
            workload.name(),
            level.sql()
        );
    }
    for workload in [Workload::Bank, Workload::LongFork, Workload::ListAppend] {
        let found = run(&urls, workload, Level::RepeatableRead, 20, 800).await?.classes();
        let forbidden = [Class::LostUpdate, Class::GSingle, Class::WrongTotal, Class::G1a, Class::G1b, Class::G0, Class::LongFork];
        ensure!(forbidden.iter().all(|class| !found.contains(class)), "a snapshot does not allow {found:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_is_strictly_serializable() -> Result<()> {
    let scratch = Scratch::new("workloads-one")?;
    let server = Server::start_ready(ServerOptions::single(scratch.path(), port(320)))?;
    all_clean(&[server.url()], 1, 1_200).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_with_skewed_clocks_are_strictly_serializable() -> Result<()> {
    let scratch = Scratch::new("workloads-three")?;
    // Within the bound, as far apart as it allows.
    let flags = ["--no-latency", "--clock-bound", "4ms", "--clock-skew", "4ms,-4ms,0ms"];
    let cluster = LocalCluster::up(&scratch.path().join("c"), port(330), &flags)?;
    let urls: Vec<String> = (1..=3).map(|node| cluster.url(node)).collect();
    all_clean(&urls, 1, 1_500).await
}
