//! Conflicts as a client sees them: 40001 says what it was about and how to avoid it, is counted by cause, and does not reach the clients of a hot row.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meridian_tests::process::{Scratch, Server, ServerOptions, http_get, port};
use tokio_postgres::{Client, Config, NoTls};

/// Clients of the hot row, and how often they add one to it together.
const CLIENTS: usize = 64;
const INCREMENTS: u64 = 64 * 12;

async fn connect(port: u16) -> Result<Client> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user("root").dbname("defaultdb").options("-c statement_timeout=120s");
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serialization_failure_names_what_it_was_about() -> Result<()> {
    let scratch = Scratch::new("conflicts")?;
    let server = Server::start_ready(ServerOptions::single(scratch.path(), port(360)))?;
    let (a, b) = (connect(port(360)).await?, connect(port(360)).await?);
    a.batch_execute(
        "CREATE TABLE account (id int PRIMARY KEY, owner text, balance int); INSERT INTO account VALUES (1, 'x', 10), (2, 'y', 20)",
    )
    .await?;
    // Write skew: each reads what the other changes.
    a.batch_execute("BEGIN; SELECT balance FROM account WHERE id = 1").await?;
    b.batch_execute("BEGIN; SELECT balance FROM account WHERE id = 2; UPDATE account SET balance = 11 WHERE id = 1; COMMIT").await?;
    a.batch_execute("UPDATE account SET balance = 21 WHERE id = 2").await?;
    let error = a.batch_execute("COMMIT").await.expect_err("write skew was let through");
    let error = error.as_db_error().context("not an answer of the server")?;
    ensure!(error.code().code() == "40001", "{error:?}");
    ensure!(error.table() == Some("account") && error.column() == Some("balance"), "{error:?}");
    let detail = error.detail().unwrap_or_default();
    for part in ["Column \"balance\"", "(id)=(1)", "\"account\"", "\"account_pkey\"", "by transaction ", "of node 1", "which began at 20"] {
        ensure!(detail.contains(part), "{part} is not in {detail}");
    }
    ensure!(error.hint().is_some_and(|h| h.contains("FOR UPDATE")), "{error:?}");

    // A row that both change: at REPEATABLE READ the second cannot go on.
    a.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM account").await?;
    b.batch_execute("UPDATE account SET balance = 12 WHERE id = 1").await?;
    let error = a.batch_execute("UPDATE account SET balance = 0 WHERE id = 1").await.expect_err("a lost update");
    let error = error.as_db_error().context("not an answer of the server")?;
    ensure!(error.code().code() == "40001" && error.table() == Some("account"), "{error:?}");
    ensure!(error.detail().is_some_and(|d| d.contains("(id)=(1)") && d.contains("by transaction ")), "{error:?}");
    a.batch_execute("ROLLBACK").await?;

    // Both are counted by cause.
    let (_, text) = http_get(server.http_port(), "/metrics")?;
    for cause in ["read_changed", "write_conflict"] {
        ensure!(text.contains(&format!("meridian_sql_conflicts_by_cause_total{{cause=\"{cause}\"}} 1\n")), "{cause}: {text}");
    }
    Ok(())
}

/// 64 clients add one to the same row until it has grown by so much, each as often as it gets its turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_row_gives_everybody_a_turn() -> Result<()> {
    let scratch = Scratch::new("hot-row")?;
    let _server = Server::start_ready(ServerOptions::single(scratch.path(), port(362)))?;
    let first = connect(port(362)).await?;
    first.batch_execute("CREATE TABLE counter (id int PRIMARY KEY, n bigint); INSERT INTO counter VALUES (1, 0)").await?;
    for level in ["serializable", "read committed"] {
        first.batch_execute("UPDATE counter SET n = 0").await?;
        let began = std::time::Instant::now();
        let mut clients = vec![];
        for _ in 0..CLIENTS {
            let client = connect(port(362)).await?;
            client.batch_execute(&format!("SET default_transaction_isolation = '{level}'")).await?;
            clients.push(tokio::spawn(async move {
                let mut wins = 0_u64;
                loop {
                    // Any error ends the test: no 40001 may reach a client of one statement.
                    let now: i64 = client.query_one("UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n", &[]).await?.get(0);
                    wins += 1;
                    if now as u64 >= INCREMENTS {
                        return Ok::<_, tokio_postgres::Error>(wins);
                    }
                }
            }));
        }
        let mut wins = vec![];
        for client in clients {
            wins.push(tokio::time::timeout(Duration::from_secs(300), client).await.context("a client starves")???);
        }
        let took = began.elapsed();
        wins.sort_unstable();
        let total: u64 = wins.iter().sum();
        let stored: i64 = first.query_one("SELECT n FROM counter", &[]).await?.get(0);
        ensure!(stored as u64 == total, "{total} answers, and the counter says {stored}");
        println!(
            "{level}: {total} increments by {CLIENTS} clients in {took:?}, {:.0}/s; wins min {} median {} max {}",
            total as f64 / took.as_secs_f64(),
            wins[0],
            wins[CLIENTS / 2],
            wins[CLIENTS - 1]
        );
        ensure!(wins[0] >= 1, "a client never had its turn: {wins:?}");
    }
    Ok(())
}
