//! What takes two sessions to show: waiting and not waiting for locks, deadlocks, timeouts, cancelling, and an index that is built while
//! others read and write. Every outcome here is the one PostgreSQL 15 gives for the same statements.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use meridian_tests::differential::client::{Answer, Client};
use meridian_tests::differential::servers::{DATABASE, Meridian, USER};
use meridian_tests::wire::{Answer as WireAnswer, Raw, execute, message, query, sync};

/// Rows of the table that is indexed under load.
const ROWS: u32 = 50_000;
/// How often a session is asked whether it waits.
const POLLS_MAX: u32 = 20_000;

struct Session(Client);

impl Session {
    fn open(node: &Meridian) -> anyhow::Result<Self> {
        Ok(Session(Client::connect(node.port, USER, DATABASE)?))
    }

    fn answer(&mut self, sql: &str) -> anyhow::Result<Answer> {
        Ok(self.0.simple(sql)?)
    }

    /// Runs what must succeed; the rows' first column.
    fn ok(&mut self, sql: &str) -> anyhow::Result<Vec<String>> {
        let answer = self.answer(sql)?;
        if let Some(error) = answer.error {
            anyhow::bail!("{sql}: {} {}", error.sqlstate, error.message);
        }
        Ok(answer.rows.into_iter().map(|r| r.into_iter().next().flatten().unwrap_or_default()).collect())
    }

    /// Runs what must fail; SQLSTATE and message.
    fn fails(&mut self, sql: &str) -> anyhow::Result<(String, String)> {
        match self.answer(sql)?.error {
            Some(error) => Ok((error.sqlstate, error.message)),
            None => anyhow::bail!("{sql} succeeded"),
        }
    }
}

/// Waits until the session with this process id runs a statement.
fn until_active(watcher: &mut Session, pid: &str, text: &str) -> anyhow::Result<()> {
    for _ in 0..POLLS_MAX {
        let sql = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND state = 'active' AND query LIKE '{text}%'");
        if !watcher.ok(&sql)?.is_empty() {
            return Ok(());
        }
    }
    anyhow::bail!("the session never ran {text}")
}

#[test]
fn locks_timeouts_and_cancelling() -> anyhow::Result<()> {
    let node = Meridian::start()?;
    let (mut a, mut b) = (Session::open(&node)?, Session::open(&node)?);
    a.ok("CREATE TABLE t (k int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0), (3, 0)")?;

    // NOWAIT and SKIP LOCKED against a row lock.
    a.ok("BEGIN; SELECT * FROM t WHERE k = 1 FOR UPDATE")?;
    let (code, message) = b.fails("SELECT * FROM t WHERE k = 1 FOR UPDATE NOWAIT")?;
    assert_eq!((code.as_str(), message.as_str()), ("55P03", "could not obtain lock on row in relation \"t\""));
    assert_eq!(b.ok("SELECT k FROM t ORDER BY k FOR UPDATE SKIP LOCKED")?, ["2", "3"]);
    // Plain readers do not wait.
    assert_eq!(b.ok("SELECT k FROM t ORDER BY k")?, ["1", "2", "3"]);
    // lock_timeout and statement_timeout.
    b.ok("SET lock_timeout = '50ms'")?;
    let (code, message) = b.fails("UPDATE t SET v = 1 WHERE k = 1")?;
    assert_eq!((code.as_str(), message.as_str()), ("55P03", "canceling statement due to lock timeout"));
    b.ok("SET lock_timeout = 0; SET statement_timeout = '50ms'")?;
    let (code, message) = b.fails("UPDATE t SET v = 1 WHERE k = 1")?;
    assert_eq!((code.as_str(), message.as_str()), ("57014", "canceling statement due to statement timeout"));
    let (code, _) = b.fails("SELECT pg_sleep(30)")?;
    assert_eq!(code, "57014");
    b.ok("SET statement_timeout = 0")?;

    // FOR SHARE goes with FOR SHARE, and not with FOR UPDATE.
    a.ok("ROLLBACK; BEGIN; SELECT * FROM t WHERE k = 2 FOR SHARE")?;
    assert_eq!(b.ok("SELECT k FROM t WHERE k = 2 FOR SHARE NOWAIT")?, ["2"]);
    assert_eq!(b.fails("SELECT k FROM t WHERE k = 2 FOR UPDATE NOWAIT")?.0, "55P03");
    a.ok("COMMIT")?;

    // A statement that waits is cancelled by pg_cancel_backend; its block is failed, the session lives.
    a.ok("BEGIN; UPDATE t SET v = 5 WHERE k = 3")?;
    let pid = b.ok("SELECT pg_backend_pid()")?.remove(0);
    let waiting = thread::spawn(move || -> anyhow::Result<(Session, (String, String))> {
        b.ok("BEGIN")?;
        let error = b.fails("UPDATE t SET v = 6 WHERE k = 3")?;
        Ok((b, error))
    });
    until_active(&mut a, &pid, "UPDATE t SET v = 6")?;
    assert_eq!(a.ok(&format!("SELECT pg_cancel_backend({pid})"))?, ["t"]);
    let (mut b, (code, message)) = waiting.join().map_err(|_| anyhow::anyhow!("the waiting session panicked"))??;
    assert_eq!((code.as_str(), message.as_str()), ("57014", "canceling statement due to user request"));
    assert_eq!(b.fails("SELECT 1")?.0, "25P02");
    b.ok("ROLLBACK")?;
    a.ok("COMMIT")?;
    assert_eq!(b.ok("SELECT v FROM t WHERE k = 3")?, ["5"]);
    Ok(())
}

#[test]
fn a_deadlock_ends_one_of_two() -> anyhow::Result<()> {
    let node = Meridian::start()?;
    let mut a = Session::open(&node)?;
    a.ok("CREATE TABLE t (k int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0)")?;
    let both_hold_one = Arc::new(Barrier::new(2));
    let mut threads = vec![];
    for (first, second) in [(1, 2), (2, 1)] {
        let mut session = Session::open(&node)?;
        let both_hold_one = both_hold_one.clone();
        threads.push(thread::spawn(move || -> anyhow::Result<Option<(String, String)>> {
            session.ok("BEGIN ISOLATION LEVEL READ COMMITTED")?;
            session.ok(&format!("UPDATE t SET v = v + 1 WHERE k = {first}"))?;
            both_hold_one.wait();
            let error = session.answer(&format!("UPDATE t SET v = v + 1 WHERE k = {second}"))?.error;
            session.ok(if error.is_some() { "ROLLBACK" } else { "COMMIT" })?;
            Ok(error.map(|e| (e.sqlstate, e.message)))
        }));
    }
    let mut errors = vec![];
    for outcome in threads {
        errors.extend(outcome.join().map_err(|_| anyhow::anyhow!("a session panicked"))??);
    }
    assert_eq!(errors, [("40P01".to_owned(), "deadlock detected".to_owned())]);
    // The survivor's two updates are there, the victim's is not.
    assert_eq!(a.ok("SELECT v FROM t ORDER BY k")?, ["1", "1"]);
    Ok(())
}

/// The protocol's Execute of a cursor that SQL declared, in portions and to its end, between FETCHes.
#[test]
fn a_declared_cursor_is_a_portal() -> anyhow::Result<()> {
    let node = Meridian::start()?;
    let mut raw = Raw::connect(node.port)?;
    let mut rows = |bytes: Vec<u8>| -> anyhow::Result<(String, usize)> {
        let outcome = raw.outcome(&bytes)?;
        Ok((outcome.code, outcome.rows))
    };
    let done = |n: usize| (String::new(), n);
    assert_eq!(rows(query(b"BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 10)"))?, done(0));
    assert_eq!(rows([execute("c", 3), sync()].concat())?, done(3));
    assert_eq!(rows(query(b"FETCH 2 FROM c"))?, done(2));
    assert_eq!(rows([execute("c", 0), sync()].concat())?, done(5));
    assert_eq!(rows([execute("c", 4), sync()].concat())?, done(0));
    assert_eq!(rows([execute("nothing", 0), sync()].concat())?.0, "34000");
    assert_eq!(rows([execute("c", 0), sync()].concat())?.0, "25P02");
    Ok(())
}

/// Answers to a client that pipelines are sent together, but none is held back while a statement behind it waits, and none is lost when the client
/// asks and leaves in one breath.
#[test]
fn an_answer_is_not_held_back_by_a_statement_that_waits() -> anyhow::Result<()> {
    let node = Meridian::start()?;
    let mut a = Session::open(&node)?;
    a.ok("CREATE TABLE t (k int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)")?;
    a.ok("BEGIN; UPDATE t SET v = 1 WHERE k = 1")?;
    let mut raw = Raw::connect(node.port)?;
    let rows = |raw: &mut Raw| raw.finish().map(|outcome| (outcome.code, outcome.rows));
    let pipeline = [
        query(b"SELECT 1"),
        query(b"SELECT 2 UNION ALL SELECT 3"),
        query(b"UPDATE t SET v = v + 1 WHERE k = 1 RETURNING v"),
        query(b"SELECT 4"),
    ];
    raw.send(&pipeline.concat())?;
    assert_eq!(rows(&mut raw)?, (String::new(), 1));
    assert_eq!(rows(&mut raw)?, (String::new(), 2));
    a.ok("COMMIT")?;
    assert_eq!(rows(&mut raw)?, (String::new(), 1));
    assert_eq!(rows(&mut raw)?, (String::new(), 1));
    raw.send(&[query(b"SELECT 5"), message(b'X', b"")].concat())?;
    assert_eq!(rows(&mut raw)?, (String::new(), 1));
    assert_eq!(raw.answer()?, WireAnswer::Closed);
    Ok(())
}

/// PostgreSQL's table of row locks, from weakest to strongest: who holds, who asks.
#[test]
fn row_lock_strengths() -> anyhow::Result<()> {
    let node = Meridian::start()?;
    let (mut a, mut b) = (Session::open(&node)?, Session::open(&node)?);
    a.ok("CREATE TABLE t (k int PRIMARY KEY, v int); CREATE TABLE u (k int PRIMARY KEY); INSERT INTO t VALUES (1, 0), (2, 0); INSERT INTO u VALUES (1)")?;
    let strengths = ["KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE"];
    let goes_together = [[true, true, true, false], [true, true, false, false], [true, false, false, false], [false, false, false, false]];
    for (held, row) in strengths.iter().zip(goes_together) {
        for (asked, together) in strengths.iter().zip(row) {
            a.ok(&format!("BEGIN; SELECT 1 FROM t WHERE k = 1 FOR {held}"))?;
            let sql = format!("SELECT k FROM t WHERE k = 1 FOR {asked}");
            let context = format!("{asked} beside {held}");
            assert_eq!(b.answer(&format!("{sql} NOWAIT"))?.error.map(|e| e.sqlstate), (!together).then(|| "55P03".into()), "{context}");
            assert_eq!(b.ok(&format!("{sql} SKIP LOCKED"))?.len(), usize::from(together), "{context}");
            a.ok("ROLLBACK")?;
        }
    }
    // What statements hold: a foreign key's reference goes with an update that changes no key, and not with a delete.
    a.ok("BEGIN; UPDATE t SET v = 1 WHERE k = 1")?;
    assert_eq!(b.ok("SELECT k FROM t WHERE k = 1 FOR KEY SHARE NOWAIT")?, ["1"]);
    assert_eq!(b.fails("SELECT k FROM t WHERE k = 1 FOR SHARE NOWAIT")?.0, "55P03");
    a.ok("ROLLBACK; BEGIN; DELETE FROM t WHERE k = 1")?;
    assert_eq!(b.fails("SELECT k FROM t WHERE k = 1 FOR KEY SHARE NOWAIT")?.0, "55P03");
    // OF locks only what it names.
    a.ok("ROLLBACK; BEGIN; SELECT 1 FROM t JOIN u USING (k) FOR UPDATE OF u")?;
    assert_eq!(b.ok("SELECT k FROM t WHERE k = 1 FOR UPDATE NOWAIT")?, ["1"]);
    assert_eq!(b.fails("SELECT k FROM u WHERE k = 1 FOR UPDATE NOWAIT")?.0, "55P03");
    // An error ends the wait of others at once: nobody waits for the ROLLBACK of a block that cannot go on.
    assert_eq!(a.fails("SELECT 1/0")?.0, "22012");
    assert_eq!(b.ok("SELECT k FROM u WHERE k = 1 FOR UPDATE NOWAIT")?, ["1"]);
    a.ok("ROLLBACK")?;
    Ok(())
}

/// Rows in two ranges, a circle of three sessions: the one that began last gives up.
#[test]
fn the_youngest_of_a_deadlock_across_ranges_gives_up() -> anyhow::Result<()> {
    let node = Meridian::start()?;
    let mut watcher = Session::open(&node)?;
    watcher.ok("CREATE TABLE t (k int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0), (2, 0), (3, 0)")?;
    watcher.ok("ALTER TABLE t SPLIT AT VALUES (2), (3)")?;
    let mut sessions = vec![];
    for k in 1..=3 {
        let mut session = Session::open(&node)?;
        session.ok("BEGIN ISOLATION LEVEL READ COMMITTED")?;
        session.ok(&format!("UPDATE t SET v = v + 1 WHERE k = {k}"))?;
        let pid = session.ok("SELECT pg_backend_pid()")?.remove(0);
        sessions.push((k, pid, session));
    }
    // The one in the middle is youngest by now: it begins again.
    sessions[1].2.ok("ROLLBACK; BEGIN ISOLATION LEVEL READ COMMITTED; UPDATE t SET v = v + 1 WHERE k = 2")?;
    let mut threads = vec![];
    for (k, pid, mut session) in sessions {
        threads.push(thread::spawn(move || -> anyhow::Result<(i32, Option<String>)> {
            let error = session.answer(&format!("UPDATE t SET v = v + 1 WHERE k = {}", k % 3 + 1))?.error;
            session.ok(if error.is_some() { "ROLLBACK" } else { "COMMIT" })?;
            Ok((k, error.map(|e| e.sqlstate)))
        }));
        if k < 3 {
            // Each waits before the next is sent on: the last one closes the circle.
            until_blocked(&mut watcher, &pid)?;
        }
    }
    let mut outcomes = vec![];
    for thread in threads {
        outcomes.push(thread.join().map_err(|_| anyhow::anyhow!("a session panicked"))??);
    }
    assert_eq!(outcomes, [(1, None), (2, Some("40P01".to_owned())), (3, None)]);
    assert_eq!(watcher.ok("SELECT v FROM t ORDER BY k")?, ["2", "1", "1"]);
    Ok(())
}

/// Waits until `pg_locks` has the session wait, and `pg_blocking_pids` says for whom.
fn until_blocked(watcher: &mut Session, pid: &str) -> anyhow::Result<()> {
    for _ in 0..POLLS_MAX {
        let sql = format!("SELECT pg_blocking_pids({pid}) FROM pg_locks WHERE pid = {pid} AND NOT granted AND locktype = 'tuple'");
        if watcher.ok(&sql)?.iter().any(|pids| pids != "{}") {
            return Ok(());
        }
    }
    anyhow::bail!("the session never waited")
}

#[test]
fn an_index_is_built_beside_readers_and_writers() -> anyhow::Result<()> {
    let node = Meridian::start()?;
    let mut builder = Session::open(&node)?;
    builder.ok("CREATE TABLE big (k int PRIMARY KEY, v int NOT NULL)")?;
    for from in (0..ROWS).step_by(5000) {
        builder.ok(&format!("INSERT INTO big SELECT n, n % 1000 FROM generate_series({from}, {}) n", from + 4999))?;
    }
    let done = Arc::new(AtomicBool::new(false));
    let (reads, writes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let reader = {
        let (mut session, done, reads) = (Session::open(&node)?, done.clone(), reads.clone());
        thread::spawn(move || -> anyhow::Result<()> {
            while !done.load(Ordering::Relaxed) {
                session.ok("SET statement_timeout = '20s'; SELECT v FROM big WHERE k = 4711")?;
                reads.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    };
    let writer = {
        let (mut session, done, writes) = (Session::open(&node)?, done.clone(), writes.clone());
        thread::spawn(move || -> anyhow::Result<()> {
            session.ok("SET statement_timeout = '20s'")?;
            for n in 0..u32::MAX {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // New rows, rows that move within the index, rows that go.
                session.ok(&format!("INSERT INTO big VALUES ({}, {})", ROWS + n, n % 1000))?;
                session.ok(&format!("UPDATE big SET v = v + 1 WHERE k = {}", (n * 7919) % ROWS))?;
                session.ok(&format!("DELETE FROM big WHERE k = {}", (n * 104_729) % ROWS))?;
                writes.fetch_add(3, Ordering::Relaxed);
            }
            Ok(())
        })
    };
    // Both are at work before the index is begun.
    while reads.load(Ordering::Relaxed) == 0 || writes.load(Ordering::Relaxed) == 0 {
        if reader.is_finished() || writer.is_finished() {
            break;
        }
        thread::yield_now();
    }
    let before = (reads.load(Ordering::Relaxed), writes.load(Ordering::Relaxed));
    let built = builder.ok("CREATE INDEX big_v ON big (v)");
    let after = (reads.load(Ordering::Relaxed), writes.load(Ordering::Relaxed));
    done.store(true, Ordering::Relaxed);
    reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    built?;
    assert!(after.0 > before.0 && after.1 > before.1, "reads and writes went on: {before:?} before the index, {after:?} after");
    // The index and the table hold the same rows: the sum of each over the index column, by index ranges and by rows.
    let plan = builder.ok("EXPLAIN SELECT count(*) FROM big WHERE v BETWEEN 10 AND 20")?.join("\n");
    assert!(plan.contains("big_v"), "the index is used: {plan}");
    let mut by_index = 0;
    for v in 0..=1001 {
        if v % 50 == 0 {
            by_index += builder.ok(&format!("SELECT count(*) FROM big WHERE v >= {v} AND v < {}", v + 50))?[0].parse::<u64>()?;
        }
    }
    assert_eq!(by_index.to_string(), builder.ok("SELECT count(*) FROM big WHERE k >= 0")?[0]);
    // A column's values found by the index are those found by the rows.
    let indexed = builder.ok("SELECT k FROM big WHERE v = 77 ORDER BY k")?;
    assert_eq!(indexed, builder.ok("SELECT k FROM big WHERE v + 0 = 77 ORDER BY k")?);
    Ok(())
}

#[test]
fn schema_changes_are_transactional() -> anyhow::Result<()> {
    let node = Meridian::start()?;
    let (mut a, mut b) = (Session::open(&node)?, Session::open(&node)?);
    a.ok("CREATE TABLE t (k int PRIMARY KEY); INSERT INTO t VALUES (1)")?;
    a.ok("BEGIN; ALTER TABLE t ADD COLUMN v int DEFAULT 7; CREATE TABLE fresh (x int); CREATE INDEX t_v ON t (v)")?;
    assert_eq!(a.ok("SELECT v FROM t")?, ["7"]);
    // Nobody else sees it before the commit.
    assert_eq!(b.fails("SELECT v FROM t")?.0, "42703");
    assert_eq!(b.fails("SELECT * FROM fresh")?.0, "42P01");
    assert_eq!(b.ok("SELECT count(*) FROM pg_class WHERE relname IN ('fresh', 't_v')")?, ["0"]);
    a.ok("ROLLBACK")?;
    assert_eq!(a.fails("SELECT v FROM t")?.0, "42703");
    a.ok("BEGIN; ALTER TABLE t ADD COLUMN v int DEFAULT 7; DROP TABLE IF EXISTS fresh; CREATE TABLE fresh (x int); COMMIT")?;
    assert_eq!(b.ok("SELECT v FROM t")?, ["7"]);
    assert_eq!(b.ok("SELECT count(*) FROM fresh")?, ["0"]);
    Ok(())
}
