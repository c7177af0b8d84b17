//! One scenario through real drivers. tokio-postgres runs here; psycopg, asyncpg and node-postgres run by `scripts/drivers`.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, TryStreamExt, pin_mut};
use meridian_tests::process::{Scratch, Server, ServerOptions, port};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{AsyncMessage, Client, Config, IsolationLevel, NoTls};

fn node(name: &str, offset: u16) -> Result<(Scratch, Server, u16)> {
    let scratch = Scratch::new(name)?;
    let server = Server::start_ready(ServerOptions::single(scratch.path(), port(offset)))?;
    Ok((scratch, server, port(offset)))
}

fn config(port: u16) -> Config {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(port)
        .user("root")
        .dbname("defaultdb")
        .application_name("tokio scenario")
        .options("-c statement_timeout=30s");
    config
}

async fn connect(port: u16) -> Result<Client> {
    let (client, connection) = config(port).connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn code(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("", SqlState::code)
}

/// Any type's binary form, as it is on the wire.
#[derive(Debug, Clone, PartialEq)]
struct Wire(Vec<u8>);

impl<'a> FromSql<'a> for Wire {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Wire(raw.to_vec()))
    }
    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Wire {
    fn to_sql(&self, _: &Type, out: &mut bytes::BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
    fn accepts(_: &Type) -> bool {
        true
    }
    to_sql_checked!();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokio_postgres() -> Result<()> {
    let (_scratch, _server, port) = node("tokio-postgres", 340)?;
    types(&mut connect(port).await?).await?;
    prepared_and_portals(&mut connect(port).await?).await?;
    transactions(&mut connect(port).await?).await?;
    copy(&connect(port).await?).await?;
    cancel(&connect(port).await?).await?;
    errors(port).await?;
    notices(port).await?;
    pipelining(&connect(port).await?).await
}

/// Values through binary parameters and back, for each type of the wire.
async fn types(client: &mut Client) -> Result<()> {
    macro_rules! same {
        ($ty:literal, $value:expr, $rust:ty) => {
            let value: $rust = $value;
            let row = client.query_one(concat!("SELECT $1::", $ty), &[&value]).await?;
            ensure!(row.get::<_, $rust>(0) == value, "{}: {value:?} came back as {:?}", $ty, row.get::<_, $rust>(0));
            let row = client.query_one(concat!("SELECT $1::", $ty), &[&None::<$rust>]).await?;
            ensure!(row.get::<_, Option<$rust>>(0).is_none(), "NULL {}", $ty);
        };
    }
    same!("bool", true, bool);
    same!("int2", i16::MIN, i16);
    same!("int4", i32::MAX, i32);
    same!("int8", i64::MIN, i64);
    same!("float4", 1.5e-10, f32);
    same!("float8", f64::NEG_INFINITY, f64);
    same!("text", "Grüße, 世界 '\\\"\n".into(), String);
    same!("varchar", String::new(), String);
    same!("bytea", (0..=255).collect(), Vec<u8>);
    same!("oid", u32::MAX, u32);
    same!("int4[]", vec![Some(1), None, Some(-3)], Vec<Option<i32>>);
    same!("text[]", vec!["a".to_owned(), "NULL".into(), "{}".into()], Vec<String>);
    same!("float8[]", vec![], Vec<f64>);
    same!("bytea[]", vec![vec![0, 1], vec![]], Vec<Vec<u8>>);
    // The types that tokio-postgres leaves to other crates, by their bytes.
    for (ty, text) in [
        ("numeric", "-12345678901234567890.0123456789"),
        ("numeric", "0.000"),
        ("numeric", "NaN"),
        ("date", "2024-02-29"),
        ("date", "infinity"),
        ("time", "23:59:59.999999"),
        ("timestamp", "1969-12-31 23:59:59.000001"),
        ("timestamptz", "2024-02-29 12:34:56.789012+00"),
        ("interval", "1 year 2 mons -3 days +04:05:06.7"),
        ("uuid", "12345678-1234-5678-1234-567812345678"),
        ("json", "{\"a\": [1, null]}"),
        ("jsonb", "{\"a\": [1, null, {\"b\": \"x\"}]}"),
        ("numeric[]", "{1.50,NULL,-2}"),
        ("date[]", "{{2020-01-01,2020-01-02},{2020-01-03,2020-01-04}}"),
        ("jsonb[]", "{\"{\\\"a\\\": 1}\"}"),
        ("uuid[]", "{12345678-1234-5678-1234-567812345678}"),
    ] {
        let row = client.query_one(&format!("SELECT $1::text::{ty}"), &[&text]).await?;
        let wire: Wire = row.get(0);
        let row = client.query_one(&format!("SELECT $1::{ty}::text, $1::{ty}"), &[&wire]).await?;
        ensure!(row.get::<_, String>(0) == text && row.get::<_, Wire>(1) == wire, "{ty} {text}: {:?}", row.get::<_, String>(0));
    }
    Ok(())
}

async fn prepared_and_portals(client: &mut Client) -> Result<()> {
    client.batch_execute("CREATE TABLE p (a int PRIMARY KEY, b varchar(10), c numeric(10,2), d timestamptz)").await?;
    let insert = client.prepare("INSERT INTO p (a, b) VALUES ($1, $2) RETURNING a + 1 AS next, c").await?;
    ensure!(insert.params() == [Type::INT4, Type::VARCHAR], "{:?}", insert.params());
    let columns: Vec<(&str, &Type)> = insert.columns().iter().map(|c| (c.name(), c.type_())).collect();
    ensure!(columns == [("next", &Type::INT4), ("c", &Type::NUMERIC)], "{columns:?}");
    for n in 0..100 {
        ensure!(client.query_one(&insert, &[&n, &format!("row {n}")]).await?.get::<_, i32>(0) == n + 1);
    }
    let typed = client.prepare_typed("SELECT $1", &[Type::INT8]).await?;
    ensure!(client.query_one(&typed, &[&5_i64]).await?.get::<_, i64>(0) == 5);
    let transaction = client.transaction().await?;
    let portal = transaction.bind("SELECT a FROM p WHERE a >= $1 ORDER BY a", &[&10]).await?;
    let mut seen = vec![];
    loop {
        let rows = transaction.query_portal(&portal, 7).await?;
        if rows.is_empty() {
            break;
        }
        seen.extend(rows.iter().map(|r| r.get::<_, i32>(0)));
    }
    ensure!(seen == (10..100).collect::<Vec<_>>());
    transaction.batch_execute("DECLARE c SCROLL CURSOR FOR SELECT a FROM p ORDER BY a").await?;
    let at = |sql: &'static str| transaction.query(sql, &[]);
    ensure!(at("FETCH 3 FROM c").await?.len() == 3);
    ensure!(at("FETCH PRIOR FROM c").await?[0].get::<_, i32>(0) == 1);
    ensure!(at("FETCH ABSOLUTE 50 FROM c").await?[0].get::<_, i32>(0) == 49);
    transaction.commit().await?;
    let shown: String = client.query_one("SHOW application_name", &[]).await?.get(0);
    ensure!(shown == "tokio scenario");
    ensure!(client.query_one("SHOW statement_timeout", &[]).await?.get::<_, String>(0) == "30s");
    ensure!(!client.query("EXPLAIN SELECT * FROM p", &[]).await?.is_empty());
    client.batch_execute("PREPARE q (int) AS SELECT $1 * 2").await?;
    ensure!(client.query_one("EXECUTE q (21)", &[]).await?.get::<_, i32>(0) == 42);
    Ok(())
}

async fn transactions(client: &mut Client) -> Result<()> {
    client.batch_execute("CREATE TABLE s (a int PRIMARY KEY)").await?;
    let mut transaction = client.build_transaction().isolation_level(IsolationLevel::Serializable).start().await?;
    transaction.execute("INSERT INTO s VALUES (1)", &[]).await?;
    let mut savepoint = transaction.savepoint("one").await?;
    savepoint.execute("INSERT INTO s VALUES (2)", &[]).await?;
    let inner = savepoint.transaction().await?;
    let error = inner.execute("INSERT INTO s VALUES (1)", &[]).await.expect_err("a duplicate key");
    ensure!(code(&error) == "23505");
    let error = inner.query("SELECT 1", &[]).await.expect_err("an aborted block");
    ensure!(code(&error) == "25P02");
    inner.rollback().await?;
    savepoint.execute("INSERT INTO s VALUES (3)", &[]).await?;
    savepoint.commit().await?;
    let dropped = transaction.savepoint("two").await?;
    dropped.execute("INSERT INTO s VALUES (4)", &[]).await?;
    drop(dropped);
    transaction.commit().await?;
    let rows = client.query("SELECT a FROM s ORDER BY a", &[]).await?;
    ensure!(rows.iter().map(|r| r.get::<_, i32>(0)).collect::<Vec<_>>() == [1, 2, 3]);
    let read_only = client.build_transaction().read_only(true).isolation_level(IsolationLevel::ReadCommitted).start().await?;
    let error = read_only.execute("DELETE FROM s", &[]).await.expect_err("a write in a read-only transaction");
    ensure!(code(&error) == "25006");
    read_only.rollback().await?;
    Ok(())
}

async fn copy(client: &Client) -> Result<()> {
    client.batch_execute("CREATE TABLE c (a int, b text)").await?;
    let sink = client.copy_in("COPY c FROM STDIN").await?;
    pin_mut!(sink);
    for n in 0..1000 {
        sink.send(Bytes::from(format!("{n}\trow {n}\\n\n"))).await?;
    }
    ensure!(sink.finish().await? == 1000);
    let lines: Vec<Bytes> = client.copy_out("COPY (SELECT * FROM c ORDER BY a) TO STDOUT").await?.try_collect().await?;
    ensure!(lines.len() == 1000 && lines[999].as_ref() == b"999\trow 999\\n\n");
    // Binary out is binary in.
    let data: Vec<Bytes> = client.copy_out("COPY c TO STDOUT (FORMAT binary)").await?.try_collect().await?;
    let sink = client.copy_in("COPY c FROM STDIN (FORMAT binary)").await?;
    pin_mut!(sink);
    sink.send(Bytes::from(data.concat())).await?;
    ensure!(sink.finish().await? == 1000);
    let row = client.query_one("SELECT count(*), count(DISTINCT b) FROM c", &[]).await?;
    ensure!((row.get::<_, i64>(0), row.get::<_, i64>(1)) == (2000, 1000));
    // A sink that is dropped takes its rows back.
    {
        let sink = client.copy_in::<_, Bytes>("COPY c FROM STDIN").await?;
        pin_mut!(sink);
        sink.send(Bytes::from_static(b"5000\tx\n")).await?;
    }
    ensure!(client.query_one("SELECT count(*) FROM c", &[]).await?.get::<_, i64>(0) == 2000);
    Ok(())
}

async fn cancel(client: &Client) -> Result<()> {
    let token = client.cancel_token();
    let sleeping = client.query("SELECT pg_sleep(60)", &[]);
    let cancelling = async {
        // The request has no answer, and may come before the query: it is repeated until the query ends.
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = token.cancel_query(NoTls).await;
        }
    };
    tokio::select! {
        biased;
        outcome = sleeping => ensure!(code(&outcome.expect_err("a cancelled query")) == "57014"),
        () = cancelling => {}
    }
    // A late cancel may have hit this one.
    for _ in 0..3 {
        if client.query_one("SELECT 1", &[]).await.is_ok() {
            return Ok(());
        }
    }
    anyhow::bail!("the session does not go on after a cancel")
}

async fn errors(port: u16) -> Result<()> {
    let client = connect(port).await?;
    let error = client.query("SELECT 1 FRM x y", &[]).await.expect_err("a syntax error");
    let db = error.as_db_error().ok_or_else(|| anyhow::anyhow!("{error}"))?;
    ensure!(db.severity() == "ERROR" && db.code() == &SqlState::SYNTAX_ERROR);
    ensure!(db.position() == Some(&tokio_postgres::error::ErrorPosition::Original(14)), "{:?}", db.position());
    client.batch_execute("CREATE TABLE e (a int PRIMARY KEY CHECK (a > 0))").await?;
    for (sql, expected) in [("INSERT INTO e VALUES (-1)", "23514"), ("INSERT INTO e VALUES (NULL)", "23502"), ("SELECT 1/0", "22012")] {
        ensure!(code(&client.execute(sql, &[]).await.expect_err(sql)) == expected, "{sql}");
        ensure!(code(&client.simple_query(sql).await.expect_err(sql)) == expected, "{sql}");
    }
    let error = client.execute("INSERT INTO e VALUES (-1)", &[]).await.expect_err("a check");
    let db = error.as_db_error().ok_or_else(|| anyhow::anyhow!("{error}"))?;
    ensure!((db.table(), db.constraint()) == (Some("e"), Some("e_a_check")), "{db:?}");
    let refused = config(port).dbname("nowhere").connect(NoTls).await.err();
    ensure!(refused.as_ref().map(code) == Some("3D000"), "{refused:?}");
    Ok(())
}

async fn notices(port: u16) -> Result<()> {
    let (client, mut connection) = config(port).connect(NoTls).await?;
    let messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
    let collected = tokio::spawn(async move {
        messages
            .filter_map(|m| async move { if let Ok(AsyncMessage::Notice(n)) = m { Some(n.message().to_owned()) } else { None } })
            .collect::<Vec<_>>()
            .await
    });
    client.batch_execute("DROP TABLE IF EXISTS nowhere").await?;
    drop(client);
    ensure!(collected.await? == ["table \"nowhere\" does not exist, skipping"]);
    Ok(())
}

/// Requests that do not wait for each other's answers.
async fn pipelining(client: &Client) -> Result<()> {
    let statement = client.prepare("SELECT $1::int").await?;
    let numbers: Vec<i32> = (0..500).collect();
    let rows = futures::future::try_join_all(numbers.iter().map(|n| {
        let statement = &statement;
        async move { client.query_one(statement, &[n]).await }
    }))
    .await?;
    ensure!(rows.iter().map(|r| r.get::<_, i32>(0)).collect::<Vec<_>>() == numbers);
    Ok(())
}
