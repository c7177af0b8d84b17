//! Bulk loads laid early: all or nothing for others, visible to the transaction if kept, never twice, and nothing of them left behind.

use std::sync::Arc;

use bytes::Bytes;
use meridian_clock::{Clock, Entropy, SimulatedClock, TaskGroup};
use meridian_replication::api::NodeId;
use meridian_storage::memory::MemoryEngine;
use meridian_storage::mvcc::{self, Direction};
use meridian_storage::{Key, Span};
use meridian_txn::api::*;
use meridian_txn::{Config, Node, solo};

const ROWS: usize = 300;

fn key(n: usize) -> Key {
    Key::from(format!("\x10{n:05}"))
}

fn table() -> Span {
    Span::prefix("\x10")
}

fn rows(numbers: impl IntoIterator<Item = usize>) -> Vec<(Key, Bytes)> {
    numbers.into_iter().map(|n| (key(n), Bytes::from(format!("value {n}")))).collect()
}

struct Store {
    node: Arc<Node>,
    engine: Arc<MemoryEngine>,
    _host: Arc<solo::Cluster>,
}

impl Store {
    async fn new(splits: &[usize]) -> Self {
        let physical = Arc::new(SimulatedClock::new(tokio::time::Instant::now(), 1_750_000_000_000_000_000));
        let (clock, engine) = (Clock::new(physical).unwrap(), Arc::new(MemoryEngine::new()));
        let (node, host) = solo::start_with_host(engine.clone(), clock, &Entropy::seeded(7), TaskGroup::new(), Config::default());
        for split in splits {
            node.split_at(key(*split)).await.unwrap();
        }
        Store { node, engine, _host: host }
    }

    fn begin(&self) -> Box<dyn KvTxn> {
        let mut txn = self.node.begin(TxnOptions::default());
        txn.begin_statement();
        txn
    }

    async fn count(&self) -> usize {
        count(&mut *self.begin()).await
    }

    fn intents(&self) -> usize {
        let mut count = 0;
        mvcc::intents(&*self.engine, &Span::all(), &mut |_, _| {
            count += 1;
            true
        })
        .unwrap();
        count
    }

    /// Until what goes on behind the callers' backs is through.
    async fn quiet(&self) {
        for _ in 0..1000 {
            if self.intents() == 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{} intents are left behind", self.intents());
    }
}

async fn count(txn: &mut dyn KvTxn) -> usize {
    let (mut found, mut left) = (0, Some(table()));
    while let Some(span) = left {
        let scan =
            Scan { span, direction: Direction::Forward, columns: Columns::All, limit_rows: 0, limit_bytes: 0, program: None, lock: None };
        let page = txn.scan(scan).await.unwrap();
        found += page.rows.len();
        left = page.resume;
    }
    found
}

async fn load(txn: &mut dyn KvTxn, keep: bool) {
    let all = rows(0..ROWS);
    for portion in all.chunks(64) {
        assert!(txn.can_lay(&table()));
        txn.lay(&table(), portion.to_vec(), keep).await.unwrap();
    }
    txn.settle_laid().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_load_is_seen_whole_or_not_at_all() {
    for splits in [vec![], vec![100, 200]] {
        let store = Store::new(&splits).await;
        let mut txn = store.begin();
        load(&mut *txn, false).await;
        assert_eq!(store.intents(), ROWS);
        // A reader below pushes the load and goes on; it sees nothing, then or later.
        let mut before = store.begin();
        assert_eq!(count(&mut *before).await, 0);
        let at = txn.commit().await.unwrap();
        assert_eq!(count(&mut *before).await, 0);
        assert!(before.read_timestamp() < at, "the reader closed its past (T2)");
        assert_eq!(store.count().await, ROWS);
        store.quiet().await;
        assert_eq!(store.count().await, ROWS);
    }
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_load_leaves_nothing() {
    for splits in [vec![], vec![100, 200]] {
        for how in 0..3 {
            let store = Store::new(&splits).await;
            let mut txn = store.begin();
            load(&mut *txn, false).await;
            match how {
                0 => txn.rollback().await,
                1 => drop(txn),
                _ => {
                    txn.restart();
                    txn.begin_statement();
                    load(&mut *txn, false).await;
                    txn.rollback().await;
                }
            }
            assert_eq!(store.count().await, 0);
            store.quiet().await;
            let mut again = store.begin();
            load(&mut *again, false).await;
            again.commit().await.unwrap();
            assert_eq!(store.count().await, ROWS);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_exists_is_named() {
    let store = Store::new(&[100]).await;
    let mut one = store.begin();
    one.put(key(77), Bytes::from_static(b"here"), Expect::AsRead).await.unwrap();
    one.commit().await.unwrap();
    // In the store.
    let mut txn = store.begin();
    let error = match txn.lay(&table(), rows(50..120), false).await {
        Ok(()) => txn.settle_laid().await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error, KvError::KeyExists { key: key(77) });
    assert!(!txn.can_lay(&table()));
    txn.rollback().await;
    assert_eq!(store.count().await, 1);
    // In an earlier portion of its own.
    let mut txn = store.begin();
    txn.lay(&table(), rows(200..230), false).await.unwrap();
    txn.lay(&table(), rows([210]), false).await.unwrap();
    assert_eq!(txn.settle_laid().await.unwrap_err(), KvError::KeyExists { key: key(210) });
    txn.rollback().await;
    store.quiet().await;
    assert_eq!(store.count().await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_can_be_read_changed_and_deleted() {
    let store = Store::new(&[100]).await;
    let mut txn = store.begin();
    load(&mut *txn, true).await;
    txn.begin_statement();
    assert_eq!(count(&mut *txn).await, ROWS);
    let lock = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(None) });
    let got =
        txn.get(vec![Get { key: key(5), columns: Columns::All, lock }, Get { key: key(6), columns: Columns::All, lock }]).await.unwrap();
    assert_eq!(got[0], Got::Value(Some(Bytes::from_static(b"value 5"))));
    txn.put(key(5), Bytes::from_static(b"changed"), Expect::AsRead).await.unwrap();
    txn.delete(key(6)).await.unwrap();
    assert!(!txn.can_lay(&table()), "a row waits for the commit");
    let mark = txn.savepoint();
    txn.delete(key(7)).await.unwrap();
    txn.rollback_to(mark).unwrap();
    txn.begin_statement();
    assert_eq!(count(&mut *txn).await, ROWS - 1);
    txn.commit().await.unwrap();
    store.quiet().await;
    let mut after = store.begin();
    let gets = [5, 6, 7].map(|n| Get { key: key(n), columns: Columns::All, lock: None }).to_vec();
    let expected = [Some("changed"), None, Some("value 7")].map(|v| Got::Value(v.map(|v: &'static str| Bytes::from_static(v.as_bytes()))));
    assert_eq!(after.get(gets).await.unwrap(), expected);
    assert_eq!(count(&mut *after).await, ROWS - 1);
}

#[tokio::test(start_paused = true)]
async fn a_circle_of_a_load_and_a_row_ends_with_one_of_them() {
    let store = Store::new(&[100]).await;
    let lock = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(None) });
    let get = |n| vec![Get { key: key(n), columns: Columns::All, lock }];
    // Each may be the younger one, who gives up.
    for load_first in [true, false] {
        let (mut row, mut txn);
        if load_first {
            txn = store.begin();
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            row = store.begin();
        } else {
            row = store.begin();
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            txn = store.begin();
        }
        row.get(get(150)).await.unwrap();
        txn.lay(&table(), rows(0..20), false).await.unwrap();
        txn.settle_laid().await.unwrap();
        let (loaded, locked) = tokio::join!(
            async {
                let mut outcome = txn.lay(&table(), rows(140..160), false).await;
                if outcome.is_ok() {
                    outcome = txn.settle_laid().await;
                }
                if outcome.is_err() {
                    txn.rollback().await;
                    return outcome;
                }
                txn.commit().await.map(|_| ())
            },
            async {
                let outcome = row.get(get(5)).await;
                row.rollback().await;
                outcome.map(|_| ())
            },
        );
        if load_first {
            assert_eq!(loaded, Ok(()));
            assert!(matches!(locked, Err(KvError::Deadlock { .. })), "{locked:?}");
        } else {
            assert!(matches!(loaded, Err(KvError::Deadlock { .. })), "{loaded:?}");
            assert_eq!(locked, Ok(()));
            // What was still on its way goes without anybody meeting it.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            assert_eq!(store.intents(), 0);
        }
        store.quiet().await;
        assert_eq!(store.count().await, if load_first { 40 } else { 0 });
        if load_first {
            let mut clear = store.begin();
            for n in (0..20).chain(140..160) {
                clear.delete(key(n)).await.unwrap();
            }
            clear.commit().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_savepoint_after_a_load_is_like_any_other() {
    let store = Store::new(&[]).await;
    let mut txn = store.begin();
    load(&mut *txn, true).await;
    txn.begin_statement();
    let mark = txn.savepoint();
    txn.put(key(ROWS), Bytes::from_static(b"undone"), Expect::Absent).await.unwrap();
    // A statement that fails; nobody here knows any program.
    let nowhere = Scan {
        span: Span::all(),
        direction: Direction::Forward,
        columns: Columns::All,
        limit_rows: 0,
        limit_bytes: 0,
        program: Some(Bytes::from_static(b"no program")),
        lock: None,
    };
    assert!(txn.scan(nowhere).await.is_err());
    txn.rollback_to(mark).unwrap();
    txn.begin_statement();
    assert_eq!(count(&mut *txn).await, ROWS);
    txn.commit().await.unwrap();
    assert_eq!(store.count().await, ROWS);
    store.quiet().await;
}

/// Node 2 leads what is read, node 1 leads the record and runs the load, and node 2 hears nothing of node 1. Node 3 hears both.
#[tokio::test(start_paused = true)]
async fn who_can_reach_the_record_settles_the_intent() {
    for end in ["open", "committed", "rolled back"] {
        let members = (0..3).map(|_| {
            let physical = Arc::new(SimulatedClock::new(tokio::time::Instant::now(), 1_750_000_000_000_000_000));
            (Clock::new(physical).unwrap(), TaskGroup::new())
        });
        let engine = Arc::new(MemoryEngine::new());
        let (host, nodes) = solo::Cluster::start(engine, members.collect(), 3, &Entropy::seeded(7), Config::default());
        nodes[0].split_at(key(100)).await.unwrap();
        let ranges = host.ranges();
        for range in &ranges {
            host.move_lease(*range, NodeId(1)).await;
        }
        host.move_lease(*ranges.last().unwrap(), NodeId(2)).await;
        let begin = |node: usize| {
            let mut txn = nodes[node].begin(TxnOptions::default());
            txn.begin_statement();
            txn
        };
        let mut txn = begin(0);
        load(&mut *txn, false).await;
        host.set_cut(Some((NodeId(1), NodeId(2))));
        let mut expected = 0;
        match end {
            "open" => {}
            // By its record, which is at hand; its intents at node 2 stay.
            "committed" => {
                txn.commit().await.unwrap();
                expected = ROWS;
            }
            _ => txn.rollback().await,
        }
        let begun = tokio::time::Instant::now();
        assert_eq!(count(&mut *begin(2)).await, expected, "{end}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{end}: {:?}", begun.elapsed());
        // Who comes next does not wait again, unless it has to push further.
        let begun = tokio::time::Instant::now();
        assert_eq!(count(&mut *begin(2)).await, expected, "{end}");
        assert!(end == "open" || begun.elapsed() < std::time::Duration::from_millis(500), "{end}: {:?}", begun.elapsed());
        host.set_cut(None);
    }
}
