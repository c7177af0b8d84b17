//! From the `kill -9` of a leaseholder to the next committed write, over three regions.
//!
//! One client a gateway writes its own row in a loop, one statement a transaction. Each round finds who leads the table's range and kills that node;
//! at once a write begins at each of the other gateways, and the times from the kill to their answers are taken.
//! From the same run come the time that the same statement takes at the same gateway when all is well again: what lies above it is the failover.
//!
//! `scripts/verify failover [ROUNDS]` runs it over the real distances; CI runs two rounds without distance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use meridian_tests::bank::connect;
use meridian_tests::process::{LocalCluster, Scratch, port, wait_until};
use tokio::sync::Mutex;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Acknowledged writes of one gateway: begin and end.
type Ledger = Arc<Mutex<Vec<(Instant, Instant)>>>;

async fn probe(url: String, gateway: usize, ledger: Ledger) {
    loop {
        let Ok(client) = connect(&url).await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        loop {
            let began = Instant::now();
            let write = client.batch_execute(&format!("UPDATE probe SET n = n + 1 WHERE id = {gateway}")).await;
            match write {
                Ok(()) => ledger.lock().await.push((began, Instant::now())),
                Err(_) => break,
            }
        }
    }
}

/// The time from `since` to the end of the first write that began after it.
async fn first_after(ledger: &Ledger, since: Instant) -> Result<Duration> {
    while since.elapsed() < Duration::from_secs(30) {
        let first =
            ledger.lock().await.iter().rev().take_while(|(_, end)| *end > since).filter(|(began, _)| *began >= since).map(|w| w.1).min();
        if let Some(end) = first {
            return Ok(end - since);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    anyhow::bail!("no write came through within 30 s")
}

/// The node that says of itself that it leads the table's range; others may only believe so.
async fn leaseholder(cluster: &LocalCluster) -> Result<usize> {
    for _ in 0..100 {
        for node in 1..=3 {
            let client = connect(&cluster.url(node)).await.map_err(anyhow::Error::msg)?;
            let row = client.query_one("SHOW RANGES FROM TABLE probe", &[]).await?;
            let id = cluster.metric(node, "meridian_node_id ");
            if id.is_some() && row.get::<_, Option<i32>>("leaseholder").map(|n| n as u64) == id {
                return Ok(node);
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("nobody says that it leads the range")
}

fn median_and_worst(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort();
    (times[times.len() / 2], times[times.len() - 1])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_write_after_the_leaseholder_is_killed() -> Result<()> {
    let rounds = number("MERIDIAN_ROUNDS", 2) as usize;
    let scratch = Scratch::new("failover")?;
    let mut flags = vec!["--dead-after", "600"];
    let distances = number("MERIDIAN_DISTANCES", 0) != 0;
    if !distances {
        flags.push("--no-latency");
    }
    let cluster = LocalCluster::up(&scratch.path().join("c"), port(300), &flags)?;
    let urls: Vec<String> = (1..=3).map(|n| cluster.url(n)).collect();
    let client = connect(&urls[0]).await.map_err(anyhow::Error::msg)?;
    client
        .batch_execute(
            "CREATE TABLE probe (id int PRIMARY KEY, n int NOT NULL); INSERT INTO probe SELECT g, 0 FROM generate_series(0, 5) AS g",
        )
        .await?;
    let ledgers: Vec<Ledger> = (0..3).map(|_| Ledger::default()).collect();
    let probes: Vec<_> = (0..3).map(|g| tokio::spawn(probe(urls[g].clone(), g, ledgers[g].clone()))).collect();
    let (mut firsts, mut lasts, mut above) = (vec![], vec![], vec![]);
    for _ in 0..rounds {
        for ledger in &ledgers {
            first_after(ledger, Instant::now()).await?;
        }
        let victim = leaseholder(&cluster).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let others: Vec<usize> = (0..3).filter(|g| g + 1 != victim).collect();
        // Clients that are idle at the kill and write right after it: those of the load are in the middle of a statement.
        let mut writes = vec![];
        for gateway in &others {
            writes.push((connect(&urls[*gateway]).await.map_err(anyhow::Error::msg)?, *gateway));
        }
        let killed = Instant::now();
        cluster.act("kill", victim)?;
        let writes = writes.iter().map(|(client, gateway)| async move {
            client
                .batch_execute(&format!("UPDATE probe SET n = n + 1 WHERE id = {}", gateway + 3))
                .await
                .map(|()| (killed.elapsed(), *gateway))
        });
        let mut times =
            tokio::time::timeout(Duration::from_secs(30), futures::future::try_join_all(writes)).await.context("no answer")??;
        times.sort();
        // What the same statement takes now that somebody leads again.
        let usual_from = Instant::now();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let ledger = ledgers[times[0].1].lock().await;
        let usual: Vec<Duration> = ledger.iter().rev().take_while(|w| w.0 > usual_from).map(|w| w.1 - w.0).collect();
        drop(ledger);
        ensure!(!usual.is_empty(), "gateway {} does not go on", times[0].1 + 1);
        let usual = median_and_worst(usual).0;
        println!(
            "kill of node {victim}: next write at node {} after {:?} (there usually {usual:?}), at node {} after {:?}",
            times[0].1 + 1,
            times[0].0,
            times[1].1 + 1,
            times[1].0
        );
        firsts.push(times[0].0);
        lasts.push(times[1].0);
        above.push(times[0].0.saturating_sub(usual));
        cluster.act("restart", victim)?;
        wait_until("the node serves again", Duration::from_secs(60), || cluster.is_ready(victim))?;
    }
    probes.iter().for_each(tokio::task::JoinHandle::abort);
    let (first, last, above) = (median_and_worst(firsts), median_and_worst(lasts), median_and_worst(above));
    println!(
        "{rounds} kills of the leaseholder: next write anywhere median {:?} worst {:?}; above that statement's usual time median {:?} worst {:?}; at both other gateways median {:?} worst {:?}",
        first.0, first.1, above.0, above.1, last.0, last.1
    );
    ensure!(distances || first.1 < Duration::from_secs(5), "the worst failover took {:?}", first.1);
    Ok(())
}
