//! One transaction at a time, then two: what SQL relies on, over `solo` with one and with several ranges.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::{Clock, Entropy, SimulatedClock, TaskGroup};
use meridian_storage::memory::MemoryEngine;
use meridian_storage::mvcc::Direction;
use meridian_storage::{Key, Span};
use meridian_txn::api::*;
use meridian_txn::{Config, Node, solo};

fn key(k: &str) -> Key {
    Key::from(format!("\x10{k}"))
}

fn bytes(v: &str) -> Bytes {
    Bytes::from(v.to_string())
}

async fn store(splits: &[&str]) -> (Arc<Node>, Arc<solo::Cluster>) {
    let physical = Arc::new(SimulatedClock::new(tokio::time::Instant::now(), 1_750_000_000_000_000_000));
    let clock = Clock::new(physical).unwrap();
    let (node, host) =
        solo::start_with_host(Arc::new(MemoryEngine::new()), clock, &Entropy::seeded(7), TaskGroup::new(), Config::default());
    for split in splits {
        node.split_at(key(split)).await.unwrap();
    }
    (node, host)
}

fn begin(node: &Node) -> Box<dyn KvTxn> {
    let mut txn = node.begin(TxnOptions::default());
    txn.begin_statement();
    txn
}

async fn read(txn: &mut dyn KvTxn, k: &str) -> Result<Option<String>, KvError> {
    get(txn, k, None).await
}

async fn get(txn: &mut dyn KvTxn, k: &str, lock: Option<Locking>) -> Result<Option<String>, KvError> {
    match txn.get(vec![Get { key: key(k), columns: Columns::All, lock }]).await?.pop() {
        Some(Got::Value(v)) => Ok(v.map(|v| String::from_utf8(v.to_vec()).unwrap())),
        other => panic!("{other:?}"),
    }
}

const UPDATE: Option<Locking> = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(None) });

async fn put(txn: &mut dyn KvTxn, k: &str, v: &str) {
    txn.put(key(k), bytes(v), Expect::AsRead).await.unwrap();
    txn.begin_statement();
}

async fn all(txn: &mut dyn KvTxn, direction: Direction, limit: u64) -> Vec<String> {
    let (mut rows, mut left) = (vec![], Some(Span::new(key(""), vec![0x11])));
    while let Some(span) = left {
        let page = txn
            .scan(Scan { span, direction, columns: Columns::All, limit_rows: limit, limit_bytes: 0, program: None, lock: None })
            .await
            .unwrap();
        rows.extend(page.rows.iter().map(|(k, v)| format!("{}={}", String::from_utf8_lossy(&k[1..]), String::from_utf8_lossy(v))));
        left = page.resume;
    }
    rows
}

#[tokio::test(start_paused = true)]
async fn writes_are_seen_by_itself_then_by_others() {
    for splits in [vec![], vec!["b", "d"]] {
        let (node, _) = store(&splits).await;
        let mut txn = begin(&node);
        for k in ["a", "b", "c", "d", "e"] {
            put(&mut *txn, k, k).await;
        }
        let before = begin(&node);
        assert_eq!(all(&mut *txn, Direction::Forward, 2).await, ["a=a", "b=b", "c=c", "d=d", "e=e"]);
        let at = txn.commit().await.unwrap();
        let mut after = begin(&node);
        assert!(after.read_timestamp() > at);
        for limit in [0, 1, 2, 3] {
            assert_eq!(all(&mut *after, Direction::Forward, limit).await, ["a=a", "b=b", "c=c", "d=d", "e=e"]);
            assert_eq!(all(&mut *after, Direction::Reverse, limit).await, ["e=e", "d=d", "c=c", "b=b", "a=a"]);
        }
        // Own writes over stored rows, both ways, deletes included.
        after.delete(key("b")).await.unwrap();
        put(&mut *after, "bb", "new").await;
        put(&mut *after, "e", "E").await;
        for limit in [0, 1, 2, 3] {
            assert_eq!(all(&mut *after, Direction::Forward, limit).await, ["a=a", "bb=new", "c=c", "d=d", "e=E"]);
            assert_eq!(all(&mut *after, Direction::Reverse, limit).await, ["e=E", "d=d", "c=c", "bb=new", "a=a"]);
        }
        after.rollback().await;
        let mut old = before;
        // Begun before the commit, at a lower or equal timestamp: it sees all of it or nothing.
        let seen = all(&mut *old, Direction::Forward, 0).await.len();
        assert!(seen == 0 || (seen == 5 && old.read_timestamp() >= at));
    }
}

#[tokio::test(start_paused = true)]
async fn a_statement_does_not_see_its_own_writes_but_locking_reads_do() {
    let (node, _) = store(&[]).await;
    let mut txn = begin(&node);
    txn.put(key("a"), bytes("1"), Expect::AsRead).await.unwrap();
    assert_eq!(read(&mut *txn, "a").await.unwrap(), None);
    assert_eq!(get(&mut *txn, "a", UPDATE).await.unwrap().as_deref(), Some("1"));
    txn.begin_statement();
    assert_eq!(read(&mut *txn, "a").await.unwrap().as_deref(), Some("1"));
    let mark = txn.savepoint();
    put(&mut *txn, "a", "2").await;
    put(&mut *txn, "b", "2").await;
    txn.rollback_to(mark).unwrap();
    txn.begin_statement();
    txn.commit().await.unwrap();
    let mut txn = begin(&node);
    assert_eq!(all(&mut *txn, Direction::Forward, 0).await, ["a=1"]);
}

#[tokio::test(start_paused = true)]
async fn inserts_meet_existing_rows() {
    let (node, _) = store(&["m"]).await;
    for other in [None, Some("z")] {
        let mut first = begin(&node);
        first.put(key("k"), bytes("1"), Expect::Absent).await.unwrap();
        let mut second = begin(&node);
        second.put(key("k"), bytes("2"), Expect::Absent).await.unwrap();
        if let Some(other) = other {
            put(&mut *second, other, "2").await;
        }
        first.commit().await.unwrap();
        assert!(matches!(second.commit().await, Err(KvError::KeyExists { key: k }) if k == key("k")));
        let mut txn = begin(&node);
        assert_eq!(all(&mut *txn, Direction::Forward, 0).await, ["k=1"]);
        txn.delete(key("k")).await.unwrap();
        txn.commit().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lock_waits_and_reads_the_newest_version() {
    let (node, _) = store(&["m"]).await;
    let mut first = begin(&node);
    put(&mut *first, "a", "1").await;
    put(&mut *first, "z", "1").await;
    first.commit().await.unwrap();
    let mut one = begin(&node);
    assert_eq!(get(&mut *one, "a", UPDATE).await.unwrap().as_deref(), Some("1"));
    let mut two = begin(&node);
    assert_eq!(read(&mut *two, "z").await.unwrap().as_deref(), Some("1"));
    let waits = tokio::spawn(async move {
        let seen = get(&mut *two, "a", UPDATE).await.unwrap();
        put(&mut *two, "a", "3").await;
        two.commit().await.unwrap();
        seen
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waits.is_finished());
    let mut three = begin(&node);
    let nowait = Some(Locking { strength: LockStrength::Share, wait: LockWait::NoWait });
    assert!(matches!(get(&mut *three, "a", nowait).await, Err(KvError::LockNotAvailable { .. })));
    let brief = Some(Locking { strength: LockStrength::Share, wait: LockWait::Block(Some(Duration::from_millis(30))) });
    assert!(matches!(get(&mut *three, "a", brief).await, Err(KvError::LockTimeout { .. })));
    // A plain read does not wait for a lock.
    assert_eq!(read(&mut *three, "a").await.unwrap().as_deref(), Some("1"));
    put(&mut *one, "a", "2").await;
    put(&mut *one, "y", "2").await;
    one.commit().await.unwrap();
    assert_eq!(waits.await.unwrap().as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn write_skew_and_phantoms_are_refused() {
    for splits in [vec![], vec!["b"]] {
        let (node, _) = store(&splits).await;
        let (mut one, mut two) = (begin(&node), begin(&node));
        assert_eq!(read(&mut *one, "a").await.unwrap(), None);
        assert!(all(&mut *two, Direction::Forward, 0).await.is_empty());
        put(&mut *one, "b", "1").await;
        put(&mut *two, "a", "2").await;
        let (first, second) = (one.commit().await, two.commit().await);
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        let mut txn = begin(&node);
        assert_eq!(all(&mut *txn, Direction::Forward, 0).await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadlock_is_found_within_a_second_and_the_youngest_dies() {
    let (node, _) = store(&["b"]).await;
    let started = tokio::time::Instant::now();
    let (mut old, mut young) = (begin(&node), begin(&node));
    get(&mut *old, "a", UPDATE).await.unwrap();
    get(&mut *young, "b", UPDATE).await.unwrap();
    let other = tokio::spawn(async move {
        let outcome = get(&mut *young, "a", UPDATE).await;
        young.rollback().await;
        outcome
    });
    assert_eq!(get(&mut *old, "b", UPDATE).await.unwrap(), None);
    assert!(matches!(other.await.unwrap(), Err(KvError::Deadlock { .. })));
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    old.rollback().await;
    assert_eq!(node.live_transactions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_transaction_frees_its_locks() {
    let (node, _) = store(&[]).await;
    let mut txn = begin(&node);
    get(&mut *txn, "a", UPDATE).await.unwrap();
    drop(txn);
    let mut next = begin(&node);
    get(&mut *next, "a", Some(Locking { strength: LockStrength::Update, wait: LockWait::NoWait })).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn weaker_levels_do_what_postgresql_does() {
    let (node, _) = store(&["m"]).await;
    let level = |isolation| {
        let mut txn = node.begin(TxnOptions { isolation, ..Default::default() });
        txn.begin_statement();
        txn
    };
    let (mut repeatable, mut committed) = (level(Isolation::RepeatableRead), level(Isolation::ReadCommitted));
    assert_eq!(read(&mut *repeatable, "a").await.unwrap(), None);
    assert_eq!(read(&mut *committed, "a").await.unwrap(), None);
    let mut writer = begin(&node);
    put(&mut *writer, "a", "1").await;
    writer.commit().await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    repeatable.begin_statement();
    committed.begin_statement();
    assert_eq!(read(&mut *repeatable, "a").await.unwrap(), None);
    assert_eq!(read(&mut *committed, "a").await.unwrap().as_deref(), Some("1"));
    assert_eq!(get(&mut *committed, "a", UPDATE).await.unwrap().as_deref(), Some("1"));
    put(&mut *committed, "a", "2").await;
    put(&mut *committed, "z", "2").await;
    committed.commit().await.unwrap();
    assert!(matches!(get(&mut *repeatable, "a", UPDATE).await, Err(KvError::Retry { .. })));
}

#[tokio::test(start_paused = true)]
async fn skip_locked_leaves_rows_out() {
    let (node, _) = store(&[]).await;
    let mut txn = begin(&node);
    for k in ["a", "b", "c"] {
        put(&mut *txn, k, k).await;
    }
    txn.commit().await.unwrap();
    let scan = |limit_rows| Scan {
        span: Span::new(key(""), vec![0x11]),
        direction: Direction::Forward,
        columns: Columns::All,
        limit_rows,
        limit_bytes: 0,
        program: None,
        lock: Some(Locking { strength: LockStrength::Update, wait: LockWait::SkipLocked }),
    };
    let (mut one, mut two) = (begin(&node), begin(&node));
    assert_eq!(one.scan(scan(1)).await.unwrap().rows[0].0, key("a"));
    assert_eq!(two.scan(scan(1)).await.unwrap().rows[0].0, key("b"));
    put(&mut *one, "a", "1").await;
    put(&mut *two, "b", "2").await;
    one.commit().await.unwrap();
    two.commit().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_past_is_still_there() {
    let (node, _) = store(&[]).await;
    let mut txn = begin(&node);
    put(&mut *txn, "a", "1").await;
    let at = txn.commit().await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut txn = begin(&node);
    put(&mut *txn, "a", "2").await;
    txn.commit().await.unwrap();
    let mut past = node.begin(TxnOptions { as_of: Some(at), ..Default::default() });
    assert_eq!(read(&mut *past, "a").await.unwrap().as_deref(), Some("1"));
    assert!(matches!(past.put(key("a"), bytes("x"), Expect::AsRead).await, Err(KvError::ReadOnly)));
}

#[tokio::test(start_paused = true)]
async fn a_big_transaction_commits_by_its_record_and_is_seen_whole() {
    let (node, host) = store(&["r3", "r7"]).await;
    host.set_apply_delay(Some(Duration::from_millis(200)));
    let mut txn = begin(&node);
    let count = 30_000;
    for i in 0..count {
        txn.put(key(&format!("r{i:07}")), Bytes::from(vec![b'x'; 200]), Expect::Absent).await.unwrap();
    }
    let commit = tokio::spawn(async move { txn.commit().await });
    let rows = |mut txn: Box<dyn KvTxn>| async move { all(&mut *txn, Direction::Forward, 0).await.len() };
    while !commit.is_finished() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let seen = rows(begin(&node)).await;
        assert!(seen == 0 || seen == count, "{seen}");
    }
    commit.await.unwrap().unwrap();
    assert_eq!(rows(begin(&node)).await, count);
    let mut second = begin(&node);
    second.put(key("r0000007"), bytes("y"), Expect::Absent).await.unwrap();
    assert!(matches!(second.commit().await, Err(KvError::KeyExists { .. })));
}

#[tokio::test(start_paused = true)]
async fn old_versions_go_and_reads_below_the_horizon_are_refused() {
    let physical = Arc::new(SimulatedClock::new(tokio::time::Instant::now(), 1_750_000_000_000_000_000));
    let clock = Clock::new(physical).unwrap();
    let engine = Arc::new(MemoryEngine::new());
    let config = Config { gc_ttl: Duration::from_secs(60), gc_period: Duration::from_secs(10), ..Default::default() };
    let (node, _) = solo::start_with_host(engine.clone(), clock, &Entropy::seeded(7), TaskGroup::new(), config);
    let (mut first, mut open) = (None, None);
    for i in 0..5 {
        let mut txn = begin(&node);
        put(&mut *txn, "a", &i.to_string()).await;
        first = first.or(Some(txn.commit().await.unwrap()));
        open = open.or(Some(begin(&node)));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let versions = || {
        let (mut n, mut at) = (0, meridian_clock::Timestamp::MAX);
        while let Some(v) = meridian_storage::mvcc::get(&*engine, &key("a"), at).unwrap() {
            (n, at) = (n + 1, v.ts.prev());
        }
        n
    };
    assert_eq!(versions(), 5);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(versions(), 5, "an open transaction reads them");
    let mut past = node.begin(TxnOptions { as_of: first, ..Default::default() });
    assert!(matches!(read(&mut *past, "a").await, Err(KvError::TimestampOutOfRange(_))), "it does not");
    drop(past);
    let mut open = open.unwrap();
    assert_eq!(read(&mut *open, "a").await.unwrap().as_deref(), Some("0"));
    open.commit().await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(versions(), 1);
    let mut now = begin(&node);
    assert_eq!(read(&mut *now, "a").await.unwrap().as_deref(), Some("4"));
}
