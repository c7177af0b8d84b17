//! Open transactions keep what they read, beyond the time for which old versions are kept otherwise; and where that cannot be had, they get
//! an error and never a wrong value.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::{Clock, Entropy, SimulatedClock, TaskGroup, Timestamp};
use meridian_replication::api::{NodeId, RangeId};
use meridian_storage::memory::MemoryEngine;
use meridian_storage::mvcc::{self, Direction};
use meridian_storage::{Key, Span};
use meridian_txn::api::*;
use meridian_txn::solo::Fault;
use meridian_txn::{Config, Node, solo};
use tokio::time::sleep;

const TTL: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_secs(5);
/// Where the control plane's state is, once split off.
const SYSTEM: RangeId = RangeId(1);

struct Store {
    nodes: Vec<Arc<Node>>,
    engine: Arc<MemoryEngine>,
    cluster: Arc<solo::Cluster>,
}

impl Store {
    /// Of the nodes, the first holds all leases, the others are gateways. Tables have a range of their own.
    async fn new(nodes: usize, config: Config) -> Store {
        let engine = Arc::new(MemoryEngine::new());
        let clock = || Clock::new(Arc::new(SimulatedClock::new(tokio::time::Instant::now(), 1_750_000_000_000_000_000))).unwrap();
        let members = (0..nodes).map(|_| (clock(), TaskGroup::new())).collect();
        let (cluster, nodes) = solo::Cluster::start(engine.clone(), members, 1, &Entropy::seeded(7), config);
        nodes[0].split_at(Key::from_static(b"\x10")).await.unwrap();
        let store = Store { nodes, engine, cluster };
        for k in ["a", "b"] {
            store.write(k, 0).await;
        }
        store
    }

    async fn write(&self, k: &str, value: usize) {
        let mut txn = self.nodes[0].begin(TxnOptions::default());
        txn.put(key(k), Bytes::from(value.to_string()), Expect::AsRead).await.unwrap();
        txn.commit().await.unwrap();
    }

    /// Writes new values for so many periods of collection, and looks at the transaction after each.
    async fn go_on(&self, periods: usize, txn: &mut dyn KvTxn, mut look: impl FnMut(usize, Result<String, KvError>)) {
        for i in 1..=periods {
            sleep(PERIOD).await;
            for k in ["a", "b"] {
                self.write(k, i).await;
            }
            look(i, both(txn).await);
        }
    }

    fn versions(&self, key: &[u8]) -> usize {
        let (mut n, mut at) = (0, Timestamp::MAX);
        while let Some(v) = mvcc::get(&*self.engine, key, at).unwrap() {
            (n, at) = (n + 1, v.ts.prev());
        }
        n
    }

    /// Whether a node's protection is stored.
    fn protects(&self, node: u8) -> bool {
        mvcc::get(&*self.engine, &[2, b'p', 0, 0, 0, node], Timestamp::MAX).unwrap().is_some_and(|v| v.value.is_some())
    }
}

fn config() -> Config {
    Config { gc_ttl: TTL, gc_period: PERIOD, ..Config::default() }
}

fn key(k: &str) -> Key {
    Key::from(format!("\x10{k}"))
}

/// One row by key, then both in a scan: what is in them, which must be the same.
async fn both(txn: &mut dyn KvTxn) -> Result<String, KvError> {
    let got = txn.get(vec![Get { key: key("a"), columns: Columns::All, lock: None }]).await?;
    let Some(Got::Value(Some(a))) = got.into_iter().next() else { panic!("the row is gone") };
    let (span, direction, columns) = (Span::prefix(key("")), Direction::Forward, Columns::All);
    let page = txn.scan(Scan { span, direction, columns, limit_rows: 0, limit_bytes: 0, program: None, lock: None }).await?;
    let values: Vec<Bytes> = page.rows.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [a.clone(), a.clone()], "of one snapshot");
    Ok(String::from_utf8(a.to_vec()).unwrap())
}

fn refused(outcome: &Result<String, KvError>) -> bool {
    matches!(outcome, Err(KvError::TimestampOutOfRange(_)))
}

#[tokio::test(start_paused = true)]
async fn an_open_transaction_keeps_what_it_reads_and_holds_back_no_more_than_that() {
    let store = Store::new(3, config()).await;
    let mut first = store.nodes[2].begin(TxnOptions::default());
    // Ten times the TTL.
    store.go_on(60, &mut *first, |_, seen| assert_eq!(seen.unwrap(), "0")).await;
    let mut second = store.nodes[1].begin(TxnOptions { read_only: true, ..TxnOptions::default() });
    store.go_on(60, &mut *second, |_, seen| assert_eq!(seen.unwrap(), "60")).await;
    assert_eq!(both(&mut *first).await.unwrap(), "0");
    assert!(store.protects(2) && store.protects(3) && !store.protects(1));
    assert!(store.versions(&key("a")) > 120, "nothing was removed above the oldest snapshot");
    assert!(store.nodes[2].protected_age() > Duration::from_secs(600) && store.nodes[0].protected_age().is_zero());
    first.commit().await.unwrap();
    // The second holds back what is newer than it, no more.
    store.go_on(6, &mut *second, |_, seen| assert_eq!(seen.unwrap(), "60")).await;
    let versions = store.versions(&key("a"));
    assert!((60..75).contains(&versions) && !store.protects(3), "{versions}");
    second.rollback().await;
    sleep(TTL * 2).await;
    assert_eq!(store.versions(&key("a")), 1);
    assert!(!store.protects(2));
}

#[tokio::test(start_paused = true)]
async fn a_read_in_the_past_stays_open_and_locks_and_writes_work_in_old_transactions() {
    let store = Store::new(2, config()).await;
    let past = store.nodes[0].now();
    sleep(TTL - Duration::from_secs(5)).await;
    let mut reader = store.nodes[1].begin(TxnOptions { as_of: Some(past), ..TxnOptions::default() });
    let mut writer = store.nodes[1].begin(TxnOptions::default());
    store.go_on(24, &mut *reader, |_, seen| assert_eq!(seen.unwrap(), "0")).await;
    // What it locks is the newest; it has read nothing that would have had to stay.
    let lock = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(None) });
    writer.get(vec![Get { key: key("a"), columns: Columns::All, lock }]).await.unwrap();
    writer.put(key("a"), Bytes::from_static(b"own"), Expect::AsRead).await.unwrap();
    writer.commit().await.unwrap();
    // One that was too old when it began stays so, with whatever its node protects.
    let mut late = store.nodes[0].begin(TxnOptions { as_of: Some(past), ..TxnOptions::default() });
    assert!(refused(&both(&mut *late).await));
    drop(reader);
    sleep(TTL).await;
    let mut late = store.nodes[1].begin(TxnOptions { as_of: Some(past), ..TxnOptions::default() });
    assert!(refused(&both(&mut *late).await));
}

#[tokio::test(start_paused = true)]
async fn read_committed_keeps_the_snapshot_of_its_statement() {
    let store = Store::new(1, config()).await;
    let mut txn = store.nodes[0].begin(TxnOptions { isolation: Isolation::ReadCommitted, ..TxnOptions::default() });
    txn.begin_statement();
    store.go_on(30, &mut *txn, |_, seen| assert_eq!(seen.unwrap(), "0")).await;
    assert!(store.protects(1));
    txn.begin_statement();
    assert_eq!(both(&mut *txn).await.unwrap(), "30");
    sleep(PERIOD * 3).await;
    assert!(!store.protects(1), "the new statement's snapshot is not old yet");
    assert!(store.versions(&key("a")) < 20);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_renew_refuses_and_never_reads_what_is_left() {
    let store = Store::new(2, config()).await;
    let mut txn = store.nodes[1].begin(TxnOptions::default());
    store.go_on(24, &mut *txn, |_, seen| assert_eq!(seen.unwrap(), "0")).await;
    // Rows are readable and cannot be written: everybody knows what the node protected, until that lapses.
    store.cluster.set_fault_hook(Some(Box::new(|range| if range == SYSTEM { Fault::Refused } else { Fault::None })));
    let (mut reads, mut refusals) = (0, 0);
    store
        .go_on(36, &mut *txn, |_, seen| match seen {
            Ok(seen) => {
                assert!(seen == "0" && refusals == 0, "once refused, always refused");
                reads += 1;
            }
            other => {
                assert!(refused(&other), "{other:?}");
                refusals += 1;
            }
        })
        .await;
    assert!((1..=8).contains(&reads) && refusals > 20, "{reads} {refusals}");
    let versions = store.versions(&key("a"));
    assert!(versions < 20, "collection goes on: {versions}");
    store.cluster.set_fault_hook(None);
    sleep(TTL).await;
    assert!(refused(&both(&mut *txn).await));
    let why = both(&mut *txn).await.unwrap_err().to_string();
    assert!(why.contains("this node could not"), "{why}");
    assert!(!store.protects(2), "the row has lapsed and was removed");
}

#[tokio::test(start_paused = true)]
async fn without_the_rows_nothing_is_collected() {
    let store = Store::new(2, config()).await;
    let mut txn = store.nodes[1].begin(TxnOptions::default());
    store.go_on(6, &mut *txn, |_, seen| assert_eq!(seen.unwrap(), "0")).await;
    store.cluster.lose_lease(SYSTEM, NodeId(1), TTL * 4);
    let mut refusals = 0;
    store.go_on(36, &mut *txn, |_, seen| refusals += usize::from(refused(&seen))).await;
    assert!(refusals > 20, "a node that does not know what it holds says so: {refusals}");
    assert!(store.versions(&key("a")) > 40);
    sleep(TTL * 4).await;
    assert!(store.versions(&key("a")) < 3);
}

#[tokio::test(start_paused = true)]
async fn the_dead_and_the_very_old_hold_nothing_back() {
    let store = Store::new(2, Config { snapshot_age_max: TTL * 5, ..config() }).await;
    let mut dead = store.nodes[1].begin(TxnOptions::default());
    let mut old = store.nodes[0].begin(TxnOptions::default());
    store.go_on(24, &mut *dead, |_, seen| assert_eq!(seen.unwrap(), "0")).await;
    assert!(store.protects(2));
    store.cluster.kill(NodeId(2), Duration::from_millis(10));
    store
        .go_on(48, &mut *old, |i, seen| match i {
            ..36 => assert_eq!(seen.unwrap(), "0"),
            36 | 37 => {}
            _ => assert!(refused(&seen)),
        })
        .await;
    assert!(!store.protects(2));
    let why = both(&mut *old).await.unwrap_err().to_string();
    assert!(why.contains("at most 300 seconds"), "{why}");
    let versions = store.versions(&key("a"));
    assert!(versions < 20, "{versions}");
}
