//! `kill -9` of a single node at random moments under load: every acknowledged commit is there afterwards, none is half there.
//!
//! `MERIDIAN_KILLS` sets how often (8 without it; `scripts/verify crash` does 100), `MERIDIAN_SEED` the random moments.

use std::time::{Duration, Instant};

use anyhow::Result;
use meridian_tests::bank::{Bank, connect};
use meridian_tests::process::{Scratch, Server, ServerOptions, port};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_at_random_moments_loses_and_halves_nothing() -> Result<()> {
    let (kills, seed) = (number("MERIDIAN_KILLS", 8), number("MERIDIAN_SEED", 7));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let scratch = Scratch::new("crash")?;
    let mut server = Server::start_ready(ServerOptions::single(scratch.path(), port(0)))?;
    let url = server.url();
    Bank::create(&url).await?;
    let bank = Bank::start(vec![url.clone()], 6, seed);
    let mut recoveries = vec![];
    let mut while_starting = 0;
    for kill in 1..=kills {
        bank.next_commit(Instant::now(), &[0], Duration::from_secs(30)).await?;
        tokio::time::sleep(Duration::from_millis(rng.random_range(50..1200))).await;
        server.kill()?;
        // Now and then the node dies again while it recovers.
        while rng.random_bool(0.25) {
            server.restart()?;
            tokio::time::sleep(Duration::from_millis(rng.random_range(1..400))).await;
            server.kill()?;
            while_starting += 1;
        }
        let began = Instant::now();
        server.restart()?;
        recoveries.push(bank.next_commit(began, &[0], Duration::from_secs(60)).await?);
        // The whole is read through in each of the first rounds, and in every tenth later.
        if kill <= 10 || kill % 10 == 0 || kill == kills {
            bank.pause().await;
            let tally = bank.verify(&url).await?;
            println!("after {kill} kills under load and {while_starting} while starting: {tally}");
            bank.resume();
        }
    }
    recoveries.sort();
    println!("from start to the next commit: median {:?}, worst {:?}", recoveries[recoveries.len() / 2], recoveries[recoveries.len() - 1]);
    bank.stop().await;
    Ok(())
}

/// What a clean shutdown leaves is all there, sessions that idle hear 57P01, and a session in a transaction may finish.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_and_the_store_comes_back_whole() -> Result<()> {
    let scratch = Scratch::new("drain")?;
    let mut server = Server::start_ready(ServerOptions::single(scratch.path(), port(4)))?;
    let (busy, idle) = (open(&server.url()).await?, open(&server.url()).await?);
    busy.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").await?;
    busy.batch_execute("INSERT INTO t SELECT g FROM generate_series(1, 1000) g").await?;
    idle.batch_execute("SELECT 1").await?;
    busy.batch_execute("BEGIN; INSERT INTO t VALUES (1001)").await?;
    server.terminate()?;

    // The idle session is told why, and closed.
    let told = tokio::time::timeout(Duration::from_secs(5), async {
        while !idle.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    told.await.expect("an idle session was not closed by the drain");
    // New ones are not taken in.
    assert!(connect(&server.url()).await.is_err(), "a draining node accepted a session");
    // The transaction under way finishes.
    busy.batch_execute("INSERT INTO t VALUES (1002)").await?;
    busy.batch_execute("COMMIT").await?;
    assert!(server.wait_end(Duration::from_secs(15))?, "a drained node must end with success");

    server.restart()?;
    server.wait_ready(Duration::from_secs(30))?;
    let client = open(&server.url()).await?;
    let rows: i64 = client.query_one("SELECT count(*) FROM t", &[]).await?.get(0);
    assert_eq!(rows, 1002);
    Ok(())
}

async fn open(url: &str) -> Result<tokio_postgres::Client> {
    connect(url).await.map_err(anyhow::Error::msg)
}

/// The message that an idle session gets when its node drains.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_session_hears_57p01() -> Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let scratch = Scratch::new("goodbye")?;
    let server = Server::start_ready(ServerOptions::single(scratch.path(), port(8)))?;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port(8))).await?;
    let mut startup = vec![0, 3, 0, 0];
    startup.extend(b"user\0root\0database\0defaultdb\0\0");
    let mut message = u32::try_from(startup.len() + 4)?.to_be_bytes().to_vec();
    message.extend(startup);
    stream.write_all(&message).await?;
    // Until ReadyForQuery ('Z', length 5, 'I').
    let mut seen = vec![];
    while !seen.ends_with(b"Z\0\0\0\x05I") {
        let mut byte = [0u8];
        stream.read_exact(&mut byte).await?;
        seen.push(byte[0]);
    }
    server.terminate()?;
    let mut rest = vec![];
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await??;
    let text = String::from_utf8_lossy(&rest);
    assert!(text.starts_with('E') && text.contains("SFATAL\0") && text.contains("C57P01\0"), "{text:?}");
    Ok(())
}
