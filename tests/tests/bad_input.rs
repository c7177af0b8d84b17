//! A corpus of bad input. Each item gets a clean error with PostgreSQL's SQLSTATE, the server answers the next client, and its memory
//! stays within bounds. `scripts/verify fuzz` looks for what is not listed here.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use meridian_tests::process::{Scratch, Server, ServerOptions, port};
use meridian_tests::wire::{Answer, Outcome, Raw, VERSION_3, bind, execute, message, parse, process_usage, query, startup, sync};

/// A node of its own with its data in `scratch`.
fn node(scratch: &Scratch, offset: u16, flags: &[(&str, &str)]) -> Result<(Server, u16)> {
    let mut options = ServerOptions::single(scratch.path(), port(offset));
    for (name, value) in flags {
        options = options.flag(name, value);
    }
    Ok((Server::start_ready(options)?, port(offset)))
}

/// What must come of an item: SQLSTATE ("": no error), and whether the connection ends.
type Expected = (&'static str, bool);
const STAYS: bool = false;
const ENDS: bool = true;

fn check(port: u16, name: &str, bytes: &[u8], (code, closed): Expected) -> Result<()> {
    let outcome = Raw::connect(port)?.outcome(bytes).with_context(|| name.to_owned())?;
    ensure!(outcome.code == code && outcome.closed == closed, "{name}: expected {code:?}, closed {closed}: {outcome:?}");
    alive(port).with_context(|| format!("after {name}"))
}

fn alive(port: u16) -> Result<()> {
    let outcome = Raw::connect(port)?.outcome(&query(b"SELECT 1"))?;
    ensure!(outcome == Outcome { code: String::new(), message: String::new(), closed: false, rows: 1 }, "{outcome:?}");
    Ok(())
}

fn with_length(tag: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[tag], length.to_be_bytes().as_slice(), body].concat()
}

#[test]
fn messages() -> Result<()> {
    let scratch = Scratch::new("bad-messages")?;
    let (_server, port) = node(&scratch, 300, &[])?;
    let prepared = |rest: Vec<u8>| [parse("s", "SELECT $1::int4 + 1"), rest, sync()].concat();
    let portal = |rest: Vec<u8>| [parse("", "SELECT generate_series(1, 3)"), bind("", "", 0, &[]), rest, sync()].concat();
    let malformed = |tag: u8, body: &[u8]| [message(tag, body), sync()].concat();
    let corpus: Vec<(&str, Vec<u8>, Expected)> = vec![
        ("a length of 1 GB", with_length(b'Q', 1 << 30, b"SELECT"), ("08P01", ENDS)),
        ("a length of 4 GB", with_length(b'Q', u32::MAX, b""), ("08P01", ENDS)),
        ("a length of 3", with_length(b'Q', 3, b""), ("08P01", ENDS)),
        ("a length of 0", with_length(b'S', 0, b""), ("08P01", ENDS)),
        ("an unknown type", message(b'!', b"what"), ("08P01", ENDS)),
        ("type NUL", message(0, b""), ("08P01", ENDS)),
        ("a password out of place", message(b'p', b"secret\0"), ("08P01", ENDS)),
        ("the function call protocol", message(b'F', &[0; 20]), ("0A000", STAYS)),
        ("a query without its NUL", message(b'Q', b"SELECT 1"), ("08P01", STAYS)),
        ("a query with a NUL inside", message(b'Q', b"SELECT 1\0 + 1\0"), ("08P01", STAYS)),
        ("a query that is no UTF-8", query(b"SELECT '\xff\xfe'"), ("22021", STAYS)),
        ("a query cut inside a character", query(b"SELECT '\xc3"), ("22021", STAYS)),
        ("an overlong encoding", query(b"SELECT '\xc0\x80'"), ("22021", STAYS)),
        ("Parse that is no UTF-8", malformed(b'P', b"\0SELECT '\xff'\0\0\0"), ("22021", STAYS)),
        ("Parse of 65,535 types it does not have", malformed(b'P', b"\0SELECT 1\0\xff\xff"), ("08P01", STAYS)),
        ("Parse cut short", malformed(b'P', b"\0SELECT 1"), ("08P01", STAYS)),
        ("Bind cut short", malformed(b'B', b"\0"), ("08P01", STAYS)),
        ("Bind of 65,535 parameters it does not have", prepared(message(b'B', b"\0s\0\0\0\xff\xff\0\0")), ("08P01", STAYS)),
        ("Bind of a parameter of 2 GB", prepared(message(b'B', b"\0s\0\0\0\0\x01\x7f\xff\xff\xff\0\0")), ("08P01", STAYS)),
        ("Bind of a parameter of -2 bytes", prepared(message(b'B', b"\0s\0\0\0\0\x01\xff\xff\xff\xfe\0\0")), ("08P01", STAYS)),
        ("Bind to a statement that is not there", [bind("", "nowhere", 0, &[]), sync()].concat(), ("26000", STAYS)),
        ("too few parameters", prepared(bind("", "s", 0, &[])), ("08P01", STAYS)),
        ("too many parameters", prepared(bind("", "s", 0, &[Some(b"1"), Some(b"2")])), ("08P01", STAYS)),
        ("format code 7", prepared(bind("", "s", 7, &[Some(b"1")])), ("22023", STAYS)),
        ("text that is no integer", prepared(bind("", "s", 0, &[Some(b"abc")])), ("22P02", STAYS)),
        ("text with a NUL", prepared(bind("", "s", 0, &[Some(b"1\0")])), ("22021", STAYS)),
        ("text that is no UTF-8", prepared(bind("", "s", 0, &[Some(b"\xff")])), ("22021", STAYS)),
        ("a binary integer of 3 bytes", prepared(bind("", "s", 1, &[Some(b"abc")])), ("08P01", STAYS)),
        ("a binary integer of 8 bytes", prepared(bind("", "s", 1, &[Some(b"12345678")])), ("22P03", STAYS)),
        ("a statement's name twice", [parse("a", "SELECT 1"), parse("a", "SELECT 1"), sync()].concat(), ("42P05", STAYS)),
        ("a portal's name twice", [parse("", "SELECT 1"), bind("p", "", 0, &[]), bind("p", "", 0, &[]), sync()].concat(), ("42P03", STAYS)),
        ("Execute of a portal that is not there", [execute("p", 0), sync()].concat(), ("34000", STAYS)),
        ("Describe of neither statement nor portal", malformed(b'D', b"Xa\0"), ("08P01", STAYS)),
        ("Describe of a statement that is not there", malformed(b'D', b"Snowhere\0"), ("26000", STAYS)),
        ("Close of neither", malformed(b'C', b"X\0"), ("08P01", STAYS)),
        ("Close of what is not there", malformed(b'C', b"Snowhere\0"), ("", STAYS)),
        ("Execute of 2^31 - 1 rows", portal(execute("", i32::MAX)), ("", STAYS)),
        ("Execute of -1 rows", portal(execute("", -1)), ("", STAYS)),
        ("Execute of -2^31 rows", portal(execute("", i32::MIN)), ("", STAYS)),
        ("two statements in Parse", [parse("", "SELECT 1; SELECT 2"), sync()].concat(), ("42601", STAYS)),
        ("parameter $0", [parse("", "SELECT $0::int"), sync()].concat(), ("42P02", STAYS)),
        ("parameter $70000", [parse("", "SELECT $70000::int"), sync()].concat(), ("54000", STAYS)),
        ("parameter $99999999999999999999", [parse("", "SELECT $99999999999999999999::int"), sync()].concat(), ("42P02", STAYS)),
        ("a parameter of no known type", [parse("", "SELECT $40000::int"), sync()].concat(), ("42P18", STAYS)),
        ("COPY messages outside of COPY", [message(b'd', b"x"), message(b'c', b""), message(b'f', b"why\0"), sync()].concat(), ("", STAYS)),
        ("Sync with a body", message(b'S', b"x"), ("08P01", STAYS)),
    ];
    for (name, bytes, expected) in &corpus {
        check(port, name, bytes, *expected)?;
    }
    // All of them again, cut at every eighth byte: the client leaves in the middle of a message.
    for (name, bytes, _) in corpus.iter().filter(|(_, bytes, _)| bytes.len() < 200) {
        for cut in (1..bytes.len()).step_by(8) {
            let mut raw = Raw::connect(port)?;
            raw.send(&bytes[..cut])?;
            raw.half_close()?;
            while raw.answer().with_context(|| format!("{name} cut at {cut}"))? != Answer::Closed {}
        }
    }
    alive(port)
}

#[test]
fn startup_packets() -> Result<()> {
    let scratch = Scratch::new("bad-startup")?;
    let (_server, port) = node(&scratch, 302, &[("--max-connections", "20")])?;
    let user = &[("user", "root"), ("database", "defaultdb")];
    let with = |parameters: &[(&str, &str)]| startup(VERSION_3, &[user.as_slice(), parameters].concat());
    let corpus: Vec<(&str, Vec<u8>, &str)> = vec![
        ("protocol 2.0", startup(2 << 16, user), "0A000"),
        ("protocol 4.0", startup(4 << 16, user), "0A000"),
        ("no user", startup(VERSION_3, &[("database", "defaultdb")]), "28000"),
        ("an unknown database", startup(VERSION_3, &[("user", "root"), ("database", "nowhere")]), "3D000"),
        ("an unknown user", startup(VERSION_3, &[("user", "nobody"), ("database", "defaultdb")]), "28000"),
        ("an unknown setting", with(&[("nonsense", "1")]), "42704"),
        ("a value that the setting does not take", with(&[("statement_timeout", "soon")]), "22023"),
        ("an encoding that is not there", with(&[("client_encoding", "LATIN9")]), "0A000"),
        ("options that do not parse", with(&[("options", "-z")]), "42601"),
        ("the replication protocol", with(&[("replication", "database")]), "0A000"),
        ("a name of 9,000 bytes", startup(VERSION_3, &[("user", &"x".repeat(9000)), ("database", "defaultdb")]), "28000"),
    ];
    for (name, bytes, code) in &corpus {
        let outcome = Raw::dial(port)?.outcome(bytes)?;
        ensure!(outcome.code == *code && outcome.closed, "{name}: expected {code}: {outcome:?}");
    }
    // Of these the server says nothing: whoever sent them speaks another protocol.
    for (name, bytes) in [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("a length of 1 GB", [(1_u32 << 30).to_be_bytes(), VERSION_3.to_be_bytes()].concat()),
        ("a length of 0", vec![0; 8]),
        ("TLS without asking", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
        ("half a packet", startup(VERSION_3, user)[..12].to_vec()),
        ("nothing", vec![]),
    ] {
        let mut raw = Raw::dial(port)?;
        raw.send(&bytes)?;
        let _ = raw.half_close();
        let outcome = raw.finish().with_context(|| name.to_owned())?;
        ensure!(outcome.closed && matches!(outcome.code.as_str(), "" | "08P01"), "{name}: {outcome:?}");
    }
    negotiation(port)?;
    cancel_requests(port)?;
    too_many_clients(port)
}

/// TLS and GSS are asked for, more than once, and then given up.
fn negotiation(port: u16) -> Result<()> {
    let request = |code: u32| [8_u32.to_be_bytes(), code.to_be_bytes()].concat();
    let (tls, gss) = (request(80_877_103), request(80_877_104));
    let mut raw = Raw::dial(port)?;
    for ask in [&gss, &tls] {
        raw.send(ask)?;
        ensure!(raw.bytes(1)? == b"N");
    }
    let outcome = raw.outcome(&startup(VERSION_3, &[("user", "root")]))?;
    ensure!(outcome.code.is_empty() && !outcome.closed, "{outcome:?}");
    let mut raw = Raw::dial(port)?;
    for _ in 0..3 {
        raw.send(&tls)?;
        ensure!(raw.bytes(1)? == b"N");
    }
    let outcome = raw.finish()?;
    ensure!(outcome.code == "08P01" && outcome.closed, "asking for TLS without end: {outcome:?}");
    // Protocol 3.2 is talked down to 3.0.
    let mut raw = Raw::dial(port)?;
    raw.send(&startup(VERSION_3 + 2, &[("user", "root"), ("_pq_.something", "on")]))?;
    let answers = raw.until_ready()?;
    ensure!(answers.iter().any(|a| matches!(a, Answer::Other(b'v', _))), "{answers:?}");
    ensure!(matches!(answers.last(), Some(Answer::Ready(b'I'))), "{answers:?}");
    Ok(())
}

fn cancel_requests(port: u16) -> Result<()> {
    let mut victim = Raw::connect(port)?;
    let (pid, secret) = victim.key;
    let cancel = |pid: i32, secret: i32, length: usize| -> Result<()> {
        let words = [length as i32, 80_877_102, pid, secret];
        let packet: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
        let mut raw = Raw::dial(port)?;
        raw.send(&packet[..length])?;
        raw.half_close()?;
        ensure!(raw.finish()?.closed);
        Ok(())
    };
    victim.send(&query(b"SELECT pg_sleep(0.5)"))?;
    for (pid, secret, length) in [(pid, secret ^ 1, 16), (pid + 1000, secret, 16), (i32::MIN, 0, 16), (pid, secret, 12), (pid, secret, 8)] {
        cancel(pid, secret, length)?;
    }
    let outcome = victim.finish()?;
    ensure!(outcome.code.is_empty(), "cancelled with a wrong key: {outcome:?}");
    victim.send(&query(b"SELECT pg_sleep(60)"))?;
    // The request may overtake the query: then there is nothing to cancel yet.
    let began = std::time::Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let waiting = scope.spawn(|| victim.finish());
        while !waiting.is_finished() {
            ensure!(began.elapsed() < Duration::from_secs(30), "cancel has no effect");
            cancel(pid, secret, 16)?;
            std::thread::sleep(Duration::from_millis(20));
        }
        let outcome = waiting.join().map_err(|_| anyhow::anyhow!("the waiting thread panicked"))??;
        ensure!(outcome.code == "57014" && !outcome.closed, "{outcome:?}");
        Ok(())
    })
}

fn too_many_clients(port: u16) -> Result<()> {
    let mut clients = vec![];
    let refused = loop {
        ensure!(clients.len() < 40, "more clients than the limit");
        let mut raw = Raw::dial(port)?;
        let outcome = raw.outcome(&startup(VERSION_3, &[("user", "root"), ("database", "defaultdb")]))?;
        if outcome.closed {
            break outcome;
        }
        clients.push(raw);
    };
    ensure!(refused.code == "53300", "{refused:?}");
    ensure!(clients.len() >= 15, "only {} clients", clients.len());
    drop(clients);
    // Places come back.
    let began = std::time::Instant::now();
    while alive(port).is_err() {
        ensure!(began.elapsed() < Duration::from_secs(10), "the places of clients that left are not given back");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[test]
fn statements() -> Result<()> {
    let scratch = Scratch::new("bad-statements")?;
    let (_server, port) = node(&scratch, 304, &[])?;
    let nested =
        |open: &str, inner: &str, close: &str, depth: usize| format!("SELECT {}{inner}{}", open.repeat(depth), close.repeat(depth));
    let numbers = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    let deep = 10_000;
    let corpus: Vec<(&str, String, &str)> = vec![
        ("an identifier of 100 kB", format!("SELECT 1 AS \"{}\"", "x".repeat(100_000)), ""),
        ("a column of 100 kB", format!("SELECT {}", "x".repeat(100_000)), "42703"),
        ("a function of 100 kB", format!("SELECT {}()", "f".repeat(100_000)), "42883"),
        ("a type of 100 kB", format!("SELECT 1::{}", "t".repeat(100_000)), "42704"),
        ("10,000 parentheses", nested("(", "1", ")", deep), "54001"),
        ("10,000 minus signs", nested("- ", "1", "", deep), "54001"),
        ("10,000 NOTs", nested("NOT ", "true", "", deep), "54001"),
        ("10,000 CASEs", nested("CASE WHEN true THEN ", "1", " END", deep), "54001"),
        ("10,000 subqueries", nested("(SELECT ", "1", ")", deep), "54001"),
        ("10,000 calls", nested("abs(", "1", ")", deep), "54001"),
        ("10,000 ARRAYs", nested("ARRAY[", "1", "]", deep), "54001"),
        ("10,000 additions", nested("1 + ", "1", "", deep), "54001"),
        ("10,000 concatenations", nested("'a' || ", "'b'", "", deep), "54001"),
        ("100,000 casts", format!("SELECT 1{}", "::int".repeat(100_000)), "54001"),
        ("10,000 ORs", nested("true OR ", "true", "", deep), ""),
        ("10,000 UNIONs", format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(deep)), "54001"),
        (
            "2,000 joins",
            format!("SELECT 1 FROM (SELECT 1) a{}", (0..2000).map(|n| format!(" CROSS JOIN (SELECT 1) t{n}")).collect::<String>()),
            "54001",
        ),
        ("10,000 open parentheses", "SELECT ".to_owned() + &"(".repeat(deep), "54001"),
        ("10,000 close parentheses", "SELECT ".to_owned() + &")".repeat(deep), "42601"),
        ("an IN list of 100,000", format!("SELECT 1 WHERE 5 IN ({})", numbers(100_000)), ""),
        ("VALUES of 50,000 rows", format!("SELECT count(*) FROM (VALUES (1){}) v", ", (1)".repeat(50_000)), ""),
        ("2,000 columns", format!("SELECT {}", vec!["1"; 2000].join(",")), "54011"),
        ("JSON nested 100,000 deep", format!("SELECT '{}{}'::jsonb", "[".repeat(100_000), "]".repeat(100_000)), "54001"),
        ("json (text) nested 100,000 deep", format!("SELECT '{}{}'::json", "[".repeat(100_000), "]".repeat(100_000)), "54001"),
        ("an array literal nested 100 deep", format!("SELECT '{}{}'::int[]", "{".repeat(100), "}".repeat(100)), "54000"),
        ("a number of 200,000 digits", format!("SELECT {}", "9".repeat(200_000)), "22003"),
        ("an exponent without end", "SELECT 1e999999999".into(), "22003"),
        ("a string without end", format!("SELECT '{}", "x".repeat(1_000_000)), "42601"),
        ("an identifier without end", format!("SELECT \"{}", "x".repeat(100_000)), "42601"),
        ("a comment without end", format!("SELECT /* {}", "x".repeat(100_000)), "42601"),
        ("nested comments without end", "SELECT ".to_owned() + &"/* ".repeat(10_000), "42601"),
        ("dollar quotes without end", format!("SELECT $$ {}", "x".repeat(100_000)), "42601"),
        ("a regular expression that explodes", "SELECT repeat('a', 100000) ~ '(a+)+$'".into(), ""),
        ("a regular expression of 100,000 groups", format!("SELECT 'a' ~ '{}'", "(".repeat(100_000)), "2201B"),
        ("repeat without end", "SELECT length(repeat('x', 2000000000))".into(), "54000"),
        ("lpad without end", "SELECT length(lpad('x', 2000000000, 'y'))".into(), "54000"),
        ("numeric power without end", "SELECT 9.9 ^ 999999.0".into(), "22003"),
        ("factors of an array without end", "SELECT array_fill(1, ARRAY[100000, 100000])".into(), "54000"),
        ("a series without end", "SELECT generate_series(1, 9000000000000000000) LIMIT 3".into(), ""),
        ("a series without end in FROM", "SELECT * FROM generate_series(1, 9e18::int8) g LIMIT 3".into(), ""),
        (
            "series without end side by side",
            "SELECT * FROM ROWS FROM (generate_series(1, 9e18::int8), generate_series(1, 2)) g LIMIT 9".into(),
            "",
        ),
        ("LIKE without end", format!("SELECT repeat('a', 5000) LIKE '{}b'", "%a".repeat(50)), ""),
        ("a zero-length identifier", "SELECT 1 AS \"\"".into(), "42601"),
        ("a Unicode escape of no character", "SELECT U&'\\D800'".into(), "42601"),
        ("control characters", "SELECT \u{1}\u{2}".into(), "42601"),
    ];
    for (name, sql, code) in &corpus {
        let began = std::time::Instant::now();
        check(port, name, &query(sql.as_bytes()), (code, STAYS))?;
        ensure!(began.elapsed() < Duration::from_secs(30), "{name} took {:?}", began.elapsed());
        // The extended protocol must not differ.
        if sql.len() < 1_000_000 {
            check(port, name, &[parse("", sql), bind("", "", 0, &[]), execute("", 0), sync()].concat(), (code, STAYS))?;
        }
    }
    let (resident, _) = process_usage(&scratch.path().join("data"))?;
    ensure!(resident < 1 << 30, "{resident} bytes after the corpus");
    Ok(())
}

#[test]
fn large_values_and_copy() -> Result<()> {
    let scratch = Scratch::new("bad-values")?;
    let (_server, port) = node(&scratch, 306, &[])?;
    let mut raw = Raw::connect(port)?;
    let outcome = raw.outcome(&query(b"CREATE TABLE t (a int PRIMARY KEY, b text)"))?;
    ensure!(outcome.code.is_empty(), "{outcome:?}");
    // 100 MB as a parameter and back as its length.
    let text = vec![b'x'; 100 << 20];
    let outcome = raw.outcome(&[parse("", "SELECT length($1::text)"), bind("", "", 0, &[Some(&text)]), execute("", 0), sync()].concat())?;
    ensure!(outcome.code.is_empty() && outcome.rows == 1, "{outcome:?}");
    // As a row it is refused or stored, never half of either.
    let outcome =
        raw.outcome(&[parse("", "INSERT INTO t VALUES (1, $1)"), bind("", "", 0, &[Some(&text)]), execute("", 0), sync()].concat())?;
    let stored = raw.outcome(&query(b"SELECT 1 FROM t WHERE length(b) = 104857600"))?;
    ensure!(outcome.code.is_empty() == (stored.rows == 1), "{outcome:?} {stored:?}");
    ensure!(matches!(outcome.code.as_str(), "" | "54000"), "{outcome:?}");
    drop(text);
    copy_garbage(port)?;
    // 65,535 parameters are the most there can be.
    let list = (1..=65_535).map(|n| format!("${n}::int")).collect::<Vec<_>>().join(",");
    let values = vec![Some(b"1".as_slice()); 65_535];
    let sql = format!("SELECT array_length(ARRAY[{list}], 1)");
    let outcome = Raw::connect(port)?.outcome(&[parse("", &sql), bind("", "", 0, &values), execute("", 0), sync()].concat())?;
    ensure!(outcome.code.is_empty() && outcome.rows == 1, "{outcome:?}");
    // A statement of several megabytes.
    let rows = (2..100_000).map(|n| format!("({n},'row {n}')")).collect::<Vec<_>>().join(",");
    let outcome = Raw::connect(port)?.outcome(&query(format!("INSERT INTO t VALUES {rows}").as_bytes()))?;
    ensure!(outcome.code.is_empty(), "{outcome:?}");
    alive(port)?;
    let (resident, _) = process_usage(&scratch.path().join("data"))?;
    ensure!(resident < 2 << 30, "{resident} bytes afterwards");
    Ok(())
}

fn copy_garbage(port: u16) -> Result<()> {
    let begin = |options: &str| query(format!("COPY t FROM STDIN {options}").as_bytes());
    let data = |bytes: &[u8]| message(b'd', bytes);
    let done = || message(b'c', b"");
    for (name, options, rest, code) in [
        ("text for an integer", "", [data(b"x\ty\n"), done()].concat(), "22P02"),
        ("too few columns", "", [data(b"1000000\n"), done()].concat(), "22P04"),
        ("too many columns", "", [data(b"1000000\ta\tb\n"), done()].concat(), "22P04"),
        ("no UTF-8", "", [data(b"1000000\t\xff\n"), done()].concat(), "22021"),
        ("CSV without a closing quote", "(FORMAT csv)", [data(b"1000000,\"open\n"), done()].concat(), "22P04"),
        ("text for binary", "(FORMAT binary)", [data(b"1\ta\n"), done()].concat(), "22P04"),
        ("binary cut short", "(FORMAT binary)", [data(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0"), done()].concat(), "22P04"),
        (
            "binary fields of 2 GB",
            "(FORMAT binary)",
            [data(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\x7f\xff\xff\xff"), done()].concat(),
            "22P04",
        ),
        ("the client gives up", "", [data(b"1000000\ta\n"), message(b'f', b"no\0")].concat(), "57014"),
        ("a query in the middle", "", query(b"SELECT 1"), "08P01"),
        ("no data", "", done(), ""),
    ] {
        let mut raw = Raw::connect(port)?;
        let outcome = raw.outcome(&[begin(options), rest].concat()).with_context(|| name.to_owned())?;
        ensure!(outcome.code == code, "{name}: expected {code:?}: {outcome:?}");
        alive(port).with_context(|| name.to_owned())?;
    }
    let outcome = Raw::connect(port)?.outcome(&query(b"SELECT 1 FROM t WHERE a = 1000000"))?;
    ensure!(outcome.rows == 0, "a row of a failed COPY stayed");
    Ok(())
}

#[test]
fn idle_clients() -> Result<()> {
    let scratch = Scratch::new("idle-clients")?;
    let (_server, port) = node(&scratch, 308, &[("--max-connections", "1100")])?;
    // Idle in a transaction for too long: told so, and the transaction is gone.
    let mut raw = Raw::connect(port)?;
    let outcome = raw.outcome(&query(b"CREATE TABLE t (a int); SET idle_in_transaction_session_timeout = '200ms'"))?;
    ensure!(outcome.code.is_empty(), "{outcome:?}");
    raw.outcome(&query(b"BEGIN; INSERT INTO t VALUES (1)"))?;
    ensure!(matches!(raw.answer()?, Answer::Error(severity, code, _) if severity == "FATAL" && code == "25P03"));
    ensure!(raw.answer()? == Answer::Closed);
    ensure!(Raw::connect(port)?.outcome(&query(b"SELECT 1 FROM t"))?.rows == 0);
    // A thousand sessions that have each run something.
    let data = scratch.path().join("data");
    let one = |port: u16| -> Result<Raw> {
        let mut raw = Raw::connect(port)?;
        raw.outcome(
            &[query(b"SELECT 1"), [parse("s", "SELECT $1::int"), bind("", "s", 0, &[Some(b"1")]), execute("", 0), sync()].concat()]
                .concat(),
        )?;
        raw.finish()?;
        Ok(raw)
    };
    let warm: Vec<Raw> = (0..20).map(|_| one(port)).collect::<Result<_>>()?;
    let (before, _) = process_usage(&data)?;
    let clients: Vec<Raw> = (0..1000).map(|_| one(port)).collect::<Result<_>>()?;
    let (after, ticks) = process_usage(&data)?;
    let each = after.saturating_sub(before) / clients.len() as u64;
    std::thread::sleep(Duration::from_secs(2));
    let (_, later) = process_usage(&data)?;
    println!("{each} bytes a session; with {} idle sessions {} ms of CPU in 2 s", clients.len() + warm.len(), (later - ticks) * 10);
    ensure!(each < 256 * 1024, "an idle session costs {each} bytes");
    Ok(())
}
