//! A full disk: writes are refused with 53100, reads go on, nothing is lost, and writes come back without a restart.
//!
//! With a tmpfs of its own where the test may mount one (as root); otherwise through the reserve alone: a node whose reserve is larger
//! than any disk refuses every write from its start.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meridian_tests::bank::connect;
use meridian_tests::process::{Scratch, Server, ServerOptions, port};
use tokio_postgres::error::SqlState;

struct Mount<'a>(&'a Path);

impl Mount<'_> {
    fn new(at: &Path) -> Option<Mount<'_>> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=256m", "tmpfs"]).arg(at).output().is_ok_and(|o| o.status.success());
        mounted.then_some(Mount(at))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_serves_reads_and_recovers() -> Result<()> {
    let scratch = Scratch::new("full")?;
    let disk = scratch.path().join("disk");
    std::fs::create_dir_all(&disk)?;
    let Some(_mount) = Mount::new(&disk) else {
        eprintln!("no right to mount a tmpfs: only the refusal is shown");
        return refused_from_the_start(scratch.path()).await;
    };
    let mut server = Server::start_ready(ServerOptions::single(&disk, port(50)).flag("--min-free-mib", "64"))?;
    let client = connect(&server.url()).await.map_err(anyhow::Error::msg)?;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'before' FROM generate_series(1, 500) g")
        .await?;

    // Something else eats into the reserve.
    let ballast = disk.join("ballast");
    let free = free_bytes(&disk)?;
    Command::new("fallocate").args(["-l", &(free - (56 << 20)).to_string()]).arg(&ballast).status()?;
    let mut acknowledged = 0;
    let refusal = loop {
        match client.execute("INSERT INTO t VALUES ($1, repeat('x', 65536))", &[&(1000 + acknowledged)]).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        // The store may write a few MiB before it asks the file system again.
        ensure!(acknowledged < 2_000, "a full disk goes on taking writes");
    };
    ensure!(refusal.code() == Some(&SqlState::DISK_FULL), "{refusal:?}");
    let rows: i64 = client.query_one("SELECT count(*) FROM t", &[]).await?.get(0);
    ensure!(rows == 500 + i64::from(acknowledged), "{rows} rows, {acknowledged} were acknowledged");
    let again = client.execute("UPDATE t SET v = 'x' WHERE id = 1", &[]).await.err().context("a full disk took an update")?;
    ensure!(again.code() == Some(&SqlState::DISK_FULL), "{again:?}");

    std::fs::remove_file(&ballast)?;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while let Err(error) = client.execute("UPDATE t SET v = 'after' WHERE id = 1", &[]).await {
        ensure!(tokio::time::Instant::now() < deadline, "no recovery: {error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.kill()?;
    server.restart()?;
    server.wait_ready(Duration::from_secs(30))?;
    let client = connect(&server.url()).await.map_err(anyhow::Error::msg)?;
    let row = client.query_one("SELECT count(*), min(v) FILTER (WHERE id = 1) FROM t", &[]).await?;
    ensure!(row.get::<_, i64>(0) == rows && row.get::<_, &str>(1) == "after", "{row:?}");
    Ok(())
}

fn free_bytes(at: &Path) -> Result<u64> {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(at).output()?;
    String::from_utf8(output.stdout)?.lines().nth(1).context("df")?.trim().parse().context("df")
}

async fn refused_from_the_start(scratch: &Path) -> Result<()> {
    let mut server = Server::start_ready(ServerOptions::single(scratch, port(54)))?;
    connect(&server.url()).await.map_err(anyhow::Error::msg)?.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await?;
    server.kill()?;
    server.options_mut().flags.extend(["--min-free-mib".to_owned(), "1000000000".to_owned()]);
    server.restart()?;
    server.wait_ready(Duration::from_secs(30))?;
    let client = connect(&server.url()).await.map_err(anyhow::Error::msg)?;
    client.query("SELECT * FROM t", &[]).await?;
    let refusal = client.execute("INSERT INTO t VALUES (1)", &[]).await.err().context("a full disk took a write")?;
    ensure!(refusal.code() == Some(&SqlState::DISK_FULL), "{refusal:?}");
    Ok(())
}
