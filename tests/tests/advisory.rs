//! Advisory locks in a cluster: one lock for all gateways, kept when leaseholders die, gone when their session's node does.

use std::time::Duration;

use anyhow::{Result, ensure};
use meridian_tests::process::{LocalCluster, Scratch, port, wait_until};
use tokio_postgres::{Client, NoTls};

async fn connect(cluster: &LocalCluster, node: usize) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(&cluster.url(node), NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute("SET statement_timeout = '60s'").await?;
    Ok(client)
}

/// `pg_try_advisory_lock`, given back at once if it is free. A range that is between two leaseholders is asked again.
async fn is_free(client: &Client, key: i64) -> Result<bool> {
    let mut last = None;
    for _ in 0..30 {
        match client.query_one("SELECT pg_try_advisory_lock($1) AND pg_advisory_unlock($1)", &[&key]).await {
            Ok(row) => return Ok(row.get(0)),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(anyhow::anyhow!("no answer: {last:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_outlive_leaseholders_and_not_their_node() -> Result<()> {
    let scratch = Scratch::new("advisory")?;
    let cluster = LocalCluster::up(&scratch.path().join("c"), port(370), &["--no-latency", "--dead-after", "600"])?;
    let (a, b, c) = (connect(&cluster, 1).await?, connect(&cluster, 2).await?, connect(&cluster, 3).await?);
    // One lock for all gateways; shared ones go together.
    a.batch_execute("SELECT pg_advisory_lock(1), pg_advisory_lock_shared(2)").await?;
    ensure!(!is_free(&b, 1).await? && !is_free(&c, 1).await?, "an exclusive lock is not seen by another gateway");
    b.batch_execute("SELECT pg_advisory_lock_shared(2)").await?;
    ensure!(!is_free(&c, 2).await?, "shared locks do not keep an exclusive one out");
    // pg_locks shows what all of them hold, and whom a waiter on another node waits for.
    let pid: i32 = a.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    let shown = c.query("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND granted", &[]).await?;
    ensure!(shown.len() == 1 && shown[0].get::<_, i32>(0) == pid, "{shown:?}");
    let waiter = connect(&cluster, 2).await?;
    let waiting_pid: i32 = waiter.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    let waiting = tokio::spawn(async move {
        waiter.batch_execute("SELECT pg_advisory_lock(1)").await?;
        Ok::<_, tokio_postgres::Error>(waiter)
    });
    let mut blockers: Vec<i32> = vec![];
    for _ in 0..2000 {
        blockers = c.query_one("SELECT pg_blocking_pids($1)", &[&waiting_pid]).await?.get(0);
        if !blockers.is_empty() {
            break;
        }
    }
    ensure!(blockers == [pid], "{blockers:?} instead of {pid}");
    a.batch_execute("SELECT pg_advisory_unlock(1)").await?;
    let waiter = waiting.await??;
    waiter.batch_execute("SELECT pg_advisory_unlock(1)").await?;
    a.batch_execute("SELECT pg_advisory_lock(1)").await?;
    // Every other node dies and comes back, leaseholders among them: the lock stays.
    for node in [2, 3] {
        cluster.act("kill", node)?;
        let other = if node == 2 { &c } else { &connect(&cluster, 2).await? };
        ensure!(!is_free(other, 1).await?, "the lock went with node {node}");
        a.batch_execute("SELECT 1").await?;
        cluster.act("restart", node)?;
        wait_until("the node serves again", Duration::from_secs(60), || cluster.is_ready(node))?;
        ensure!(!is_free(&connect(&cluster, node).await?, 1).await?, "the lock went with node {node}");
    }
    // Its own node dies: it is free, once the node may not be heard any more.
    let b = connect(&cluster, 2).await?;
    cluster.act("kill", 1)?;
    b.batch_execute("SELECT pg_advisory_lock(1)").await?;
    // A session that just ends lets go at once.
    let c = connect(&cluster, 3).await?;
    ensure!(!is_free(&c, 1).await?);
    drop(b);
    c.batch_execute("SELECT pg_advisory_lock(1)").await?;
    Ok(())
}

/// A node that stands still for longer than its sessions' locks last: another session gets the lock, and the one that had it is told so, by the end
/// of its connection, before it can do anything under it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lock_ends_its_session() -> Result<()> {
    let scratch = Scratch::new("advisory-lost")?;
    let cluster = LocalCluster::up(&scratch.path().join("c"), port(400), &["--no-latency", "--dead-after", "600"])?;
    let (a, idle, b) = (connect(&cluster, 1).await?, connect(&cluster, 1).await?, connect(&cluster, 2).await?);
    a.batch_execute("SELECT pg_advisory_lock(1); BEGIN; SELECT pg_advisory_xact_lock(2)").await?;
    cluster.act("pause", 1)?;
    b.batch_execute("SELECT pg_advisory_lock(1), pg_advisory_lock(2)").await?;
    cluster.act("resume", 1)?;
    let error = a.batch_execute("COMMIT").await.expect_err("the session goes on without its locks");
    ensure!(error.is_closed() || error.code().is_some_and(|c| c.code() == "57P01"), "{error:?}");
    // Sessions of the node that held nothing go on.
    wait_until("the node serves again", Duration::from_secs(60), || cluster.is_ready(1))?;
    let mut last = None;
    for _ in 0..60 {
        match idle.query_one("SELECT pg_try_advisory_lock(1), pg_try_advisory_lock(3)", &[]).await {
            Ok(row) => {
                ensure!(!row.get::<_, bool>(0) && row.get::<_, bool>(1));
                return Ok(());
            }
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Err(anyhow::anyhow!("the session does not go on: {last:?}"))
}
