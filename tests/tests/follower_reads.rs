//! Reads in the past, in three regions at their real distances: the replica beside the gateway answers, whatever way the past is asked for.
//!
//! Shown by counters, not by clocks: `meridian_kv_follower_reads_total` rises with every such read, and next to no request leaves the node
//! (what does is the node's own housekeeping). A read in the present from the same gateway does leave it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meridian_tests::bank::connect;
use meridian_tests::process::{LocalCluster, Scratch, port, wait_until};
use tokio_postgres::Client;

/// Reads of each kind.
const READS: u64 = 30;

struct Counters {
    followers: u64,
    remote: u64,
}

fn counters(cluster: &LocalCluster, node: usize) -> Result<Counters> {
    let get = |name: &str| cluster.metric(node, name).with_context(|| name.to_owned());
    Ok(Counters { followers: get("meridian_kv_follower_reads_total ")?, remote: get("meridian_kv_remote_requests_total ")? })
}

/// Runs `read` often and answers what the counters moved by.
async fn watch<F: Future<Output = Result<()>>>(cluster: &LocalCluster, node: usize, mut read: impl FnMut() -> F) -> Result<Counters> {
    let before = counters(cluster, node)?;
    for _ in 0..READS {
        read().await?;
    }
    let after = counters(cluster, node)?;
    Ok(Counters { followers: after.followers - before.followers, remote: after.remote - before.remote })
}

async fn read_only(client: &Client, statement: &str) -> Result<()> {
    match client.batch_execute(statement).await {
        Ok(()) => anyhow::bail!("{statement} was carried out"),
        Err(error) => {
            let code = error.code().map(tokio_postgres::error::SqlState::code);
            ensure!(code == Some("25006"), "{statement}: {error:?}");
            Ok(())
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_in_the_past_stay_in_their_region() -> Result<()> {
    let scratch = Scratch::new("follower")?;
    let cluster = LocalCluster::up(&scratch.path().join("c"), port(440), &["--dead-after", "600"])?;
    let client = connect(&cluster.url(1)).await.map_err(anyhow::Error::msg)?;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL); INSERT INTO t SELECT g, g FROM generate_series(1, 100) AS g")
        .await?;
    // A gateway that does not lead the table's range.
    let mut gateway = 0;
    for node in 1..=3 {
        let asked = connect(&cluster.url(node)).await.map_err(anyhow::Error::msg)?;
        let row = asked.query_one("SHOW RANGES FROM TABLE t", &[]).await?;
        if row.get::<_, Option<i32>>("leaseholder").map(|n| n as u64) != cluster.metric(node, "meridian_node_id ") {
            gateway = node;
        }
    }
    ensure!(gateway != 0, "every node says that it leads the range");
    let client = connect(&cluster.url(gateway)).await.map_err(anyhow::Error::msg)?;
    // The range is idle: its closed timestamp moves on all the same, until the table is old enough to be seen there.
    let seen = "SELECT count(*) FROM t AS OF SYSTEM TIME '-10s'";
    let began = std::time::Instant::now();
    while client.simple_query(seen).await.is_err() {
        ensure!(began.elapsed() < Duration::from_secs(30), "the table does not appear in the past");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    wait_until("reads in the past are answered here", Duration::from_secs(30), || {
        counters(&cluster, gateway).is_ok_and(|c| c.followers > 0)
    })?;

    let forms = ["follower_read_timestamp()", "'-5s'", "with_max_staleness('10s')", "with_min_timestamp(now() - '10s'::interval)"];
    for form in forms {
        // Over both protocols, as a statement and as a transaction.
        let text = format!("SELECT count(*) FROM t AS OF SYSTEM TIME {form}");
        let with_parameter = format!("SELECT n FROM t AS OF SYSTEM TIME {form} WHERE id = $1");
        let block = format!("BEGIN AS OF SYSTEM TIME {form}; SELECT sum(n) FROM t; SELECT n FROM t WHERE id = 7; COMMIT");
        let set = format!("BEGIN; SET TRANSACTION AS OF SYSTEM TIME {form}; SELECT sum(n) FROM t; COMMIT");
        let simple = watch(&cluster, gateway, || async { Ok(client.batch_execute(&text).await?) }).await?;
        let extended = watch(&cluster, gateway, || async {
            ensure!(client.query_one(&with_parameter, &[&42]).await?.get::<_, i32>(0) == 42);
            Ok(())
        })
        .await?;
        let blocks = watch(&cluster, gateway, || async { Ok(client.batch_execute(&block).await?) }).await?;
        let sets = watch(&cluster, gateway, || async { Ok(client.batch_execute(&set).await?) }).await?;
        for (what, moved) in [("simple", simple), ("extended", extended), ("BEGIN", blocks), ("SET TRANSACTION", sets)] {
            println!("{form}, {what}: {READS} reads, {} answered by the replica here, {} requests left", moved.followers, moved.remote);
            ensure!(moved.followers >= READS, "{form}, {what}: only {} reads were answered here", moved.followers);
            ensure!(moved.remote < READS / 2, "{form}, {what}: {} requests left the node", moved.remote);
        }
    }
    // By decimal HLC and by literal: a fixed time.
    let row = client
        .query_one(
            "SELECT (extract(epoch FROM now() - '6s'::interval) * 1000000000)::numeric(30)::text, (now() - '6s'::interval)::text",
            &[],
        )
        .await?;
    let (decimal, literal): (String, String) = (row.get(0), row.get(1));
    for form in [format!("{decimal}.0000000000"), format!("'{literal}'")] {
        let text = format!("SELECT count(*) FROM t AS OF SYSTEM TIME {form}");
        let moved = watch(&cluster, gateway, || async { Ok(client.batch_execute(&text).await?) }).await?;
        ensure!(moved.followers >= READS && moved.remote < READS / 2, "{form}: {} and {}", moved.followers, moved.remote);
    }
    // By default, until it is switched off.
    client.batch_execute("SET default_transaction_use_follower_reads = on").await?;
    let moved = watch(&cluster, gateway, || async { Ok(client.batch_execute("SELECT count(*) FROM t").await?) }).await?;
    ensure!(moved.followers >= READS && moved.remote < READS / 2, "by default: {} and {}", moved.followers, moved.remote);
    // The past is read-only, and says so: nothing is silently done in the present instead.
    read_only(&client, "UPDATE t SET n = 0 WHERE id = 1").await?;
    client.batch_execute("BEGIN READ WRITE; UPDATE t SET n = n WHERE id = 1; COMMIT").await.context("BEGIN READ WRITE")?;
    client.batch_execute("SET default_transaction_use_follower_reads = off").await?;
    for write in ["INSERT INTO t VALUES (1000, 1)", "SELECT * FROM t FOR UPDATE", "CREATE TABLE u (a int)", "DELETE FROM t"] {
        client.batch_execute("BEGIN AS OF SYSTEM TIME '-5s'").await?;
        read_only(&client, write).await?;
        client.batch_execute("ROLLBACK").await?;
    }
    // The present is asked of its leaseholder.
    let moved = watch(&cluster, gateway, || async { Ok(client.batch_execute("SELECT count(*) FROM t").await?) }).await?;
    ensure!(moved.followers == 0 && moved.remote >= READS, "in the present: {} and {}", moved.followers, moved.remote);
    // Below the horizon and in the future: errors, no answers.
    for (form, code) in [("'2024-06-01'", "55000"), ("'-100000s'", "55000"), ("now() + '1h'::interval", "22023")] {
        let outcome = client.simple_query(&format!("SELECT count(*) FROM t AS OF SYSTEM TIME {form}")).await;
        let found = outcome.as_ref().err().and_then(|e| e.code()).map(|c| c.code().to_owned());
        ensure!(found.as_deref() == Some(code), "{form}: {outcome:?}");
    }
    Ok(())
}
