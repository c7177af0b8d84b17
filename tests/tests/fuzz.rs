//! Fuzzers with a seed, for some seconds each: the wire protocol against a live node, and the SQL front in this process.
//!
//! `FUZZ_SECONDS` (default 10) and `FUZZ_SEED` (default 1) steer them; `scripts/verify fuzz --minutes N` runs them for long. A failure
//! prints the seed of the round, which reproduces it: `FUZZ_SEED=<that> FUZZ_SECONDS=1`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use meridian_sql::front;
use meridian_tests::process::{Scratch, Server, ServerOptions, port};
use meridian_tests::wire::{Answer, Raw, VERSION_3, bind, execute, message, parse, process_usage, query, startup, sync};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

fn seconds() -> Duration {
    Duration::from_secs(std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(10))
}

fn first_seed() -> u64 {
    std::env::var("FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1)
}

/// Runs rounds with consecutive seeds until time is up.
fn rounds(mut round: impl FnMut(u64, &mut SmallRng) -> Result<()>) -> Result<()> {
    let (began, mut seed) = (Instant::now(), first_seed());
    while began.elapsed() < seconds() {
        round(seed, &mut SmallRng::seed_from_u64(seed)).with_context(|| format!("FUZZ_SEED={seed}"))?;
        seed += 1;
    }
    println!("{} rounds", seed - first_seed());
    Ok(())
}

/// Statements that mutations start from: one of each kind, over tables that exist.
const SEEDS: &[&str] = &[
    "SELECT 1",
    "SELECT a, b::text, c FROM t WHERE a = 5 AND b LIKE 'x%' OR c IS NULL ORDER BY a DESC NULLS LAST LIMIT 3 OFFSET 1",
    "SELECT count(*), sum(a), max(b) FILTER (WHERE a > 1) FROM t GROUP BY ROLLUP (a, b) HAVING count(*) > 0",
    "SELECT t.a, u.d FROM t JOIN u ON t.a = u.a LEFT JOIN LATERAL (SELECT 1 AS q) z ON true WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a)",
    "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT * FROM r",
    "SELECT a, row_number() OVER (PARTITION BY b ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
    "SELECT CASE WHEN a BETWEEN 1 AND 3 THEN 'low' ELSE upper(b) END FROM t",
    "SELECT '2024-02-29 12:00:00+02'::timestamptz AT TIME ZONE 'UTC', interval '1 year 2 mons', date_trunc('month', now())",
    "SELECT '{\"a\": [1, {\"b\": null}]}'::jsonb -> 'a' -> 1 ->> 'b', jsonb_build_object('x', 1)",
    "SELECT ARRAY[1,2,3][2:3], '{a,b,NULL}'::text[], array_agg(a) FROM t WHERE a = ANY ('{1,2}'::int[])",
    "SELECT 1.5e10::numeric(20,3) / 3, 7 % 3, 2 ^ 10, |/ 25.0, -5 << 2, 'infinity'::float8",
    "SELECT substring('abcdef' FROM 2 FOR 3), position('b' IN 'abc'), trim(BOTH 'x' FROM 'xax'), overlay('abc' PLACING 'z' FROM 2)",
    "SELECT extract(epoch FROM timestamp '2020-01-01'), to_char(now(), 'YYYY-MM-DD'), format('%s %I %L', 'a', 'b', 'c')",
    "SELECT 'abc' ~ '^a(b|c)+$', regexp_replace('abc', 'b', 'x', 'g'), 'abc' SIMILAR TO '%b%'",
    "SELECT a FROM t UNION SELECT a FROM u INTERSECT SELECT 1 EXCEPT ALL SELECT 2",
    "SELECT DISTINCT ON (b) b, a FROM t ORDER BY b, a FOR UPDATE OF t SKIP LOCKED",
    "INSERT INTO t (a, b) VALUES (1, 'x'), (2, DEFAULT) ON CONFLICT (a) DO UPDATE SET b = excluded.b WHERE t.a > 0 RETURNING *",
    "UPDATE t SET b = u.d, c = DEFAULT FROM u WHERE t.a = u.a RETURNING t.*",
    "DELETE FROM t USING u WHERE t.a = u.a",
    "CREATE TABLE IF NOT EXISTS v (a serial PRIMARY KEY, b numeric(10,2) NOT NULL DEFAULT 1 CHECK (b > 0), c int REFERENCES t (a) ON DELETE CASCADE)",
    "ALTER TABLE t ADD COLUMN IF NOT EXISTS e int DEFAULT 5, ALTER COLUMN b SET NOT NULL",
    "CREATE UNIQUE INDEX IF NOT EXISTS i ON t (b DESC, lower(b)) INCLUDE (c) WHERE a > 1",
    "CREATE OR REPLACE VIEW w AS SELECT a FROM t",
    "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY",
    "SAVEPOINT s",
    "ROLLBACK TO SAVEPOINT s",
    "COMMIT",
    "SET LOCAL statement_timeout = '5s'",
    "SHOW ALL",
    "PREPARE p (int) AS SELECT $1 + 1",
    "EXECUTE p (3)",
    "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT * FROM t",
    "FETCH BACKWARD 3 FROM c",
    "EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM t",
    "COPY t (a, b) TO STDOUT (FORMAT csv, HEADER, DELIMITER ';')",
    "SELECT c.relname, pg_get_expr(d.adbin, d.adrelid) FROM pg_class c JOIN pg_attrdef d ON d.adrelid = c.oid",
    "TRUNCATE u",
    "SELECT $1::int + $2, $3 || 'x'",
    "SELECT U&'d\\0061t\\+000061', E'\\x41\\u0042', $tag$ text $tag$, B'101', X'1F'",
];

const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "(",
    ")",
    "[",
    "]",
    ",",
    ";",
    "'",
    "\"",
    "$$",
    "--",
    "/*",
    "*/",
    "::",
    "1e999",
    "-9223372036854775808",
    "99999999999999999999",
    "NULL",
    "CASE",
    "END",
    "NOT",
    "ALL",
    "ANY",
    "ARRAY[",
    "OVER",
    "WITH",
    "AS",
    "\u{0}",
    "\u{1}",
    "\u{feff}",
    "é",
    "𝕏",
    "interval",
    "int[]",
    "$1",
    "$65536",
    ":=",
    "LATERAL",
    "VALUES",
    "JOIN",
    "ON",
    "USING",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "RETURNING",
    "DEFAULT",
    "E'\\",
    "U&'",
    "IS DISTINCT FROM",
    "COLLATE",
    ".",
    "..",
    "*",
];

/// A statement with some bytes, words or other statements' parts put in, taken out or doubled.
fn mutated_sql(rng: &mut SmallRng) -> String {
    let mut text: Vec<char> = SEEDS.choose(rng).map_or(vec![], |s| s.chars().collect());
    for _ in 0..rng.random_range(0..6) {
        let at = rng.random_range(0..=text.len());
        let to = (at + rng.random_range(0..12)).min(text.len());
        match rng.random_range(0..7) {
            0 => drop(text.drain(at..to)),
            1 => drop(text.splice(at..at, WORDS.choose(rng).map_or("", |w| w).chars())),
            2 => drop(text.splice(at..to, WORDS.choose(rng).map_or("", |w| w).chars())),
            3 => {
                let piece: Vec<char> = text[at..to].to_vec();
                let times = rng.random_range(1..50);
                drop(text.splice(at..at, piece.iter().copied().cycle().take(piece.len() * times)));
            }
            4 => {
                let other: Vec<char> = SEEDS.choose(rng).map_or(vec![], |s| s.chars().collect());
                let from = rng.random_range(0..=other.len());
                drop(text.splice(at..to, other[from..].iter().copied()));
            }
            5 if at < text.len() => text[at] = char::from_u32(rng.random_range(0..0x250)).unwrap_or('?'),
            _ => text.truncate(at),
        }
        text.truncate(20_000);
    }
    text.into_iter().collect()
}

#[test]
fn sql_front() -> Result<()> {
    rounds(|_, rng| {
        let text = mutated_sql(rng);
        let began = Instant::now();
        let outcome = std::panic::catch_unwind(|| front::parse(&text));
        let outcome = outcome.map_err(|_| anyhow::anyhow!("the front panics on {text:?}"))?;
        ensure!(began.elapsed() < Duration::from_secs(5), "{:?} for {text:?}", began.elapsed());
        if let Err(error) = outcome {
            // Whatever is wrong with it, it is the statement's fault, and said in those classes.
            let class = &error.code.0[..2];
            ensure!(matches!(class, "42" | "0A" | "54" | "22"), "{} {} for {text:?}", error.code.0, error.message);
        }
        let _ =
            std::panic::catch_unwind(|| front::parse_expression(&text)).map_err(|_| anyhow::anyhow!("an expression panics: {text:?}"))?;
        Ok(())
    })
}

fn node(name: &str, offset: u16) -> Result<(Scratch, Server, u16)> {
    let scratch = Scratch::new(name)?;
    let server = Server::start_ready(ServerOptions::single(scratch.path(), port(offset)))?;
    let port = port(offset);
    let setup = "CREATE TABLE t (a int PRIMARY KEY, b text, c numeric); CREATE TABLE u (a int, d text); \
                 INSERT INTO t SELECT n, 'x' || n, n / 2.0 FROM generate_series(1, 20) AS n; INSERT INTO u SELECT n, 'y' FROM generate_series(1, 5) AS n";
    let outcome = Raw::connect(port)?.outcome(&query(setup.as_bytes()))?;
    ensure!(outcome.code.is_empty(), "{outcome:?}");
    Ok((scratch, server, port))
}

fn alive(port: u16) -> Result<()> {
    let outcome = Raw::connect(port)?.outcome(&query(b"SELECT 1"))?;
    ensure!(outcome.rows == 1 && outcome.code.is_empty(), "the next client gets {outcome:?}");
    Ok(())
}

/// Statements through binder, planner and executor: any error but one of the server's own.
#[test]
fn statements() -> Result<()> {
    let (_scratch, _server, port) = node("fuzz-statements", 320)?;
    rounds(|_, rng| {
        let mut raw = Raw::connect(port)?;
        raw.outcome(&query(b"SET statement_timeout = '2s'"))?;
        for _ in 0..20 {
            let text = mutated_sql(rng).replace('\0', "");
            let bytes = match rng.random_range(0..2) {
                0 => query(text.as_bytes()),
                _ => [parse("", &text), bind("", "", 0, &[]), message(b'D', b"P\0"), execute("", rng.random_range(0..5)), sync()].concat(),
            };
            let outcome = raw.outcome(&bytes).with_context(|| format!("{text:?}"))?;
            ensure!(!outcome.code.starts_with("XX"), "{outcome:?} for {text:?}");
            ensure!(!outcome.closed, "{outcome:?} closes the session: {text:?}");
        }
        Ok(())
    })?;
    alive(port)
}

/// One message, mostly sane.
fn some_message(rng: &mut SmallRng) -> Vec<u8> {
    let names = ["", "a", "b"];
    let name = |rng: &mut SmallRng| *names.choose(rng).unwrap_or(&"");
    match rng.random_range(0..14) {
        0 => query(SEEDS.choose(rng).map_or("", |s| s).as_bytes()),
        1 | 2 => parse(name(rng), SEEDS.choose(rng).map_or("", |s| s)),
        3 | 4 => {
            let values: Vec<Option<&[u8]>> =
                (0..rng.random_range(0..4)).map(|n| [None, Some(b"1".as_slice()), Some(b"\0\0\0\x05"), Some(b"xyz")][n]).collect();
            bind(name(rng), name(rng), rng.random_range(0..2), &values)
        }
        5 => message(b'D', &[if rng.random() { b"S" } else { b"P" }, name(rng).as_bytes(), b"\0"].concat()),
        6 | 7 => execute(name(rng), rng.random_range(-1..4)),
        8 => message(b'C', &[if rng.random() { b"S" } else { b"P" }, name(rng).as_bytes(), b"\0"].concat()),
        9 | 10 => sync(),
        11 => message(b'H', b""),
        12 => message(b'd', b"1\tx\t2\n"),
        _ => message(*b"cfpFX".choose(rng).unwrap_or(&b'c'), b"\0"),
    }
}

/// Streams of messages with their bytes changed: the server may refuse and close, and lives.
#[test]
fn wire_protocol() -> Result<()> {
    let (scratch, _server, port) = node("fuzz-wire", 322)?;
    let data = scratch.path().join("data");
    rounds(|seed, rng| {
        let mut stream: Vec<u8> =
            if rng.random_ratio(1, 8) { vec![] } else { startup(VERSION_3, &[("user", "root"), ("database", "defaultdb")]) };
        if rng.random_ratio(1, 4) {
            stream.extend(query(b"COPY t FROM STDIN"));
        }
        for _ in 0..rng.random_range(0..20) {
            stream.extend(some_message(rng));
        }
        for _ in 0..rng.random_range(0..4) {
            // Mostly behind the start-up packet, so that something is reached.
            let low = if rng.random_ratio(1, 8) { 0 } else { 41.min(stream.len()) };
            let at = rng.random_range(low..=stream.len());
            match rng.random_range(0..4) {
                0 if at < stream.len() => stream[at] = rng.random(),
                1 if at < stream.len() => stream[at] ^= 1 << rng.random_range(0..8),
                2 => drop(stream.splice(at..at, (0..rng.random_range(1..9)).map(|_| rng.random::<u8>()).collect::<Vec<_>>())),
                _ => stream.truncate(at),
            }
        }
        let mut raw = Raw::dial(port)?;
        // The server may have closed already: that is an answer too.
        let _ = raw.send(&stream);
        let _ = raw.half_close();
        while raw.answer().with_context(|| format!("no end to {stream:?}"))? != Answer::Closed {}
        if seed % 50 == 0 {
            alive(port)?;
        }
        Ok(())
    })?;
    alive(port)?;
    let (resident, _) = process_usage(&data)?;
    ensure!(resident < 1 << 30, "{resident} bytes afterwards");
    Ok(())
}
