//! Clusters of real processes: faults of any one node under load, growth, replacement.
//!
//! `scripts/verify cluster` and `scripts/verify chaos` run the long versions: `MERIDIAN_ROUNDS` rounds of faults, `MERIDIAN_DISTANCES=1` with
//! the real distances between the regions.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use meridian_tests::bank::{ANSWER_LIMIT, Bank, Entry, Outcome};
use meridian_tests::process::{LocalCluster, Scratch, http_get, port, wait_until};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Pause,
    Restart,
}

/// What a client may hear from a gateway that lives: serialization failures, and commits of which the node does not know the outcome
/// because a leaseholder died with them.
fn tolerable(entry: &Entry) -> bool {
    let error = entry.error.as_deref().unwrap_or_default();
    entry.outcome == Outcome::Acknowledged
        || error.starts_with("40001")
        || error.starts_with("40P01")
        || error.starts_with("40003")
        || error.starts_with("08007")
}

struct Figures {
    fault: Fault,
    node: usize,
    /// From the fault to the answer of the first commit that began after it, at the other gateways.
    next_commit: Duration,
    /// Longest stretch without any commit at one of the other gateways, from the fault until the node is back.
    longest_silence: Duration,
}

/// One fault under load: does it, waits for the others to go on, heals it, waits until the node serves again.
async fn fault(cluster: &LocalCluster, bank: &Bank, fault: Fault, node: usize, nodes: usize) -> Result<Figures> {
    let others: Vec<usize> = (0..nodes).filter(|g| *g != node - 1).collect();
    let began = Instant::now();
    match fault {
        Fault::Kill => cluster.act("kill", node)?,
        Fault::Pause => cluster.act("pause", node)?,
        Fault::Restart => cluster.act("restart", node)?,
    }
    let next_commit = bank.next_commit(began, &others, Duration::from_secs(30)).await?;
    // Each of the others, not only the luckiest.
    for gateway in &others {
        bank.next_commit(began, &[*gateway], Duration::from_secs(30)).await.with_context(|| format!("{fault:?} of node {node}"))?;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    match fault {
        Fault::Kill => cluster.act("restart", node)?,
        Fault::Pause => cluster.act("resume", node)?,
        Fault::Restart => {}
    }
    wait_until("the node serves again", Duration::from_secs(60), || cluster.is_ready(node))?;
    bank.next_commit(Instant::now(), &[node - 1], Duration::from_secs(60)).await.context("the healed gateway does not commit")?;
    let healed = Instant::now();
    let ledger = bank.ledger().await;
    let mut longest_silence = Duration::ZERO;
    for gateway in &others {
        let mut ends: Vec<Instant> = ledger
            .iter()
            .filter(|e| e.gateway == *gateway && e.outcome == Outcome::Acknowledged && e.ended >= began)
            .map(|e| e.ended)
            .collect();
        ends.push(healed);
        ends.sort();
        let mut last = began;
        for end in ends {
            longest_silence = longest_silence.max(end - last);
            last = end;
        }
    }
    let bad: Vec<&Entry> = ledger.iter().filter(|e| e.ended >= began && others.contains(&e.gateway) && !tolerable(e)).collect();
    ensure!(bad.is_empty(), "{fault:?} of node {node}: errors at other gateways: {:?}", &bad[..bad.len().min(5)]);
    Ok(Figures { fault, node, next_commit, longest_silence })
}

fn report(figures: &[Figures]) {
    for kind in [Fault::Kill, Fault::Pause, Fault::Restart] {
        let mut next: Vec<Duration> = figures.iter().filter(|f| f.fault == kind).map(|f| f.next_commit).collect();
        let mut silence: Vec<Duration> = figures.iter().filter(|f| f.fault == kind).map(|f| f.longest_silence).collect();
        if next.is_empty() {
            continue;
        }
        next.sort();
        silence.sort();
        let (median, worst) = (next.len() / 2, next.len() - 1);
        println!(
            "{kind:?} ×{}: next commit elsewhere median {:?} worst {:?}; longest silence of one gateway median {:?} worst {:?}",
            next.len(),
            next[median],
            next[worst],
            silence[median],
            silence[worst]
        );
    }
}

fn check_replicas(cluster: &LocalCluster, nodes: &[usize]) -> Result<usize> {
    let mut ranges = 0;
    for node in nodes {
        let (status, text) = http_get(cluster.http_port(*node), "/debug/check-replicas")?;
        ensure!(status == 200, "node {node}: {text}");
        ranges += text.lines().filter(|l| l.contains("\"agree\":true")).count();
    }
    ensure!(ranges > 0, "no range was compared");
    Ok(ranges)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_one_node_of_three_regions_may_fail() -> Result<()> {
    let (rounds, seed) = (number("MERIDIAN_ROUNDS", 3) as usize, number("MERIDIAN_SEED", 3));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let scratch = Scratch::new("faults")?;
    let mut flags = vec!["--dead-after", "600"];
    if number("MERIDIAN_DISTANCES", 0) == 0 {
        flags.push("--no-latency");
    }
    let cluster = LocalCluster::up(&scratch.path().join("c"), port(100), &flags)?;
    let urls: Vec<String> = (1..=3).map(|n| cluster.url(n)).collect();
    Bank::create(&urls[0]).await?;
    let bank = Bank::start(urls.clone(), 2, seed);
    let mut figures = vec![];
    for round in 0..rounds {
        for gateway in 0..3 {
            bank.next_commit(Instant::now(), &[gateway], ANSWER_LIMIT).await?;
        }
        let node = if round < 9 { 1 + round % 3 } else { rng.random_range(1..=3) };
        let kind = [Fault::Kill, Fault::Pause, Fault::Restart][if round < 9 { (round / 3 + round) % 3 } else { rng.random_range(0..3) }];
        let figure = fault(&cluster, &bank, kind, node, 3).await?;
        println!(
            "{:?} of node {}: next commit elsewhere after {:?}, longest silence {:?}",
            figure.fault, figure.node, figure.next_commit, figure.longest_silence
        );
        figures.push(figure);
        bank.pause().await;
        let tally = bank.verify(&urls[round % 3]).await.with_context(|| format!("after {kind:?} of node {node}"))?;
        println!("  {tally}");
        bank.resume();
    }
    bank.pause().await;
    println!("{} ranges: all replicas agree", check_replicas(&cluster, &[1, 2, 3])?);
    report(&figures);
    bank.stop().await;
    Ok(())
}

/// Waits until the live nodes together lead every range, and none lacks a replica or has one on a dead node.
fn wait_whole(cluster: &LocalCluster, nodes: &[usize], limit: Duration) -> Result<Duration> {
    wait_until("every range has three replicas on live nodes", limit, || {
        let sum = |name: &str| nodes.iter().map(|n| cluster.metric(*n, name)).sum::<Option<u64>>();
        let figures = (sum("meridian_ranges_leaseholder "), sum("meridian_ranges_underreplicated "), sum("meridian_ranges_impaired "));
        let replicas = sum("meridian_replicas ");
        matches!((figures, replicas), ((Some(ranges), Some(0), Some(0)), Some(replicas)) if ranges > 0 && replicas >= 3 * ranges)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_grows_to_six_and_a_wiped_node_comes_back_whole() -> Result<()> {
    let scratch = Scratch::new("growth")?;
    let flags = ["--regions", "us-east", "--no-latency", "--dead-after", "5"];
    let cluster = LocalCluster::up(&scratch.path().join("c"), port(200), &flags)?;
    Bank::create(&cluster.url(1)).await?;
    let bank = Bank::start(vec![cluster.url(1)], 2, 11);
    bank.next_commit(Instant::now(), &[0], ANSWER_LIMIT).await?;
    let check = |what: String, nodes: Vec<usize>| {
        let (bank, cluster) = (&bank, &cluster);
        async move {
            bank.pause().await;
            let whole = wait_whole(cluster, &nodes, Duration::from_secs(90)).with_context(|| what.clone())?;
            for node in &nodes {
                bank.verify(&cluster.url(*node)).await.with_context(|| format!("{what}, asked at node {node}"))?;
            }
            println!("{what}: whole after {whole:?}, {} ranges agree", check_replicas(cluster, &nodes)?);
            bank.resume();
            anyhow::Ok(())
        }
    };
    for region in ["eu-west", "ap-south"] {
        cluster.run(&["add", "--region", region])?;
    }
    check("three nodes".into(), vec![1, 2, 3]).await?;
    // One replica in each of three regions: every node has every range.
    let replicas: Vec<u64> = (1..=3).map(|n| cluster.metric(n, "meridian_replicas ").unwrap_or(0)).collect();
    ensure!(replicas[0] > 0 && replicas.iter().all(|r| *r == replicas[0]), "not spread over the regions: {replicas:?}");

    for region in ["us-east", "eu-west", "ap-south"] {
        cluster.run(&["add", "--region", region])?;
    }
    check("six nodes".into(), (1..=6).collect()).await?;

    cluster.act("wipe", 2)?;
    cluster.act("restart", 2)?;
    bank.next_commit(Instant::now(), &[0], ANSWER_LIMIT).await.context("node 1 stopped committing after node 2 was wiped")?;
    wait_until("the wiped node serves again", Duration::from_secs(60), || cluster.is_ready(2))?;
    check("node 2 wiped and back".into(), (1..=6).collect()).await?;
    for entry in bank.ledger().await {
        ensure!(tolerable(&entry), "{entry:?}");
    }
    bank.stop().await;
    Ok(())
}
