//! A link that is cut, in one direction or both, between a gateway and a leaseholder that a third node reaches: nobody waits for it to heal.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::{Clock, Entropy, SimulatedClock, TaskGroup};
use meridian_replication::api::NodeId;
use meridian_storage::Key;
use meridian_storage::memory::MemoryEngine;
use meridian_txn::api::*;
use meridian_txn::{Config, Node, solo};
use tokio::time::{Instant, timeout};

const ONE: NodeId = NodeId(1);
const TWO: NodeId = NodeId(2);
const THREE: NodeId = NodeId(3);
const FOREVER: Duration = Duration::from_secs(3600);

fn key(k: &'static str) -> Key {
    Key::from_static(k.as_bytes())
}

/// Three nodes; the range of "a" is led by node 1, that of "x" by node 3.
async fn cluster() -> (Arc<solo::Cluster>, Vec<Arc<Node>>) {
    let members = (0..3)
        .map(|_| {
            let physical = Arc::new(SimulatedClock::new(Instant::now(), 1_750_000_000_000_000_000));
            (Clock::new(physical).unwrap(), TaskGroup::new())
        })
        .collect();
    let (host, nodes) = solo::Cluster::start(Arc::new(MemoryEngine::new()), members, 3, &Entropy::seeded(5), Config::default());
    nodes[0].split_at(key("m")).await.unwrap();
    let right = nodes[0].ranges(meridian_storage::Span::new("x", "y")).await.unwrap()[0].descriptor.id;
    for range in host.ranges() {
        host.move_lease(range, if range == right { THREE } else { ONE }).await;
    }
    let mut txn = nodes[0].begin(TxnOptions::default());
    for k in ["a", "x"] {
        txn.put(key(k), Bytes::from_static(b"0"), Expect::AsRead).await.unwrap();
    }
    txn.commit().await.unwrap();
    (host, nodes)
}

async fn locked(txn: &mut Box<dyn KvTxn>, k: &'static str) -> Result<(), KvError> {
    let lock = Locking { strength: LockStrength::Update, wait: LockWait::Block(None) };
    txn.get(vec![Get { key: key(k), lock: Some(lock), columns: Columns::All }]).await.map(|_| ())
}

async fn add_one(node: &Node) -> Result<(), KvError> {
    let mut txn = node.begin(TxnOptions::default());
    for k in ["a", "x"] {
        locked(&mut txn, k).await?;
        txn.put(key(k), Bytes::from_static(b"1"), Expect::AsRead).await?;
    }
    txn.commit().await.map(|_| ())
}

/// Both directions in turn: what is sent vanishes, or what is answered does.
const CUTS: [(NodeId, NodeId); 2] = [(TWO, THREE), (THREE, TWO)];

#[tokio::test(start_paused = true)]
async fn a_gateway_goes_round_a_cut_link() {
    for (from, to) in CUTS {
        let (host, nodes) = cluster().await;
        host.set_cut(Some((from, to)));
        let begun = Instant::now();
        // The first to meet the cut waits until it is noticed; the ranges that it locked meanwhile are kept from others for no longer.
        timeout(FOREVER, add_one(&nodes[1])).await.unwrap().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(6), "{from} to {to}: {:?}", begun.elapsed());
        let begun = Instant::now();
        for _ in 0..5 {
            add_one(&nodes[1]).await.unwrap();
            add_one(&nodes[0]).await.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(3), "{from} to {to}: {:?}", begun.elapsed());
        // Whole again: the direct way is taken again.
        host.set_cut(None);
        tokio::time::sleep(Duration::from_secs(3)).await;
        host.set_cut(Some((ONE, TWO)));
        let mut txn = nodes[1].begin(TxnOptions::default());
        assert!(timeout(Duration::from_secs(1), locked(&mut txn, "x")).await.is_ok());
    }
}

/// A holds "a" and waits for "x", which B holds, who waits for "a". B's gateway does not hear the leaseholder of "x", or is not heard by it.
#[tokio::test(start_paused = true)]
async fn a_circle_across_a_cut_link_is_a_deadlock() {
    for (from, to) in CUTS {
        let (host, nodes) = cluster().await;
        let (mut a, mut b) = (nodes[1].begin(TxnOptions::default()), nodes[0].begin(TxnOptions::default()));
        locked(&mut a, "a").await.unwrap();
        locked(&mut b, "x").await.unwrap();
        host.set_cut(Some((from, to)));
        let begun = Instant::now();
        let first = tokio::spawn(async move { (locked(&mut a, "x").await, a) });
        let second = tokio::spawn(async move { (locked(&mut b, "a").await, b) });
        let (first, second) = timeout(FOREVER, async {
            let (mut first, mut second) = (first, second);
            tokio::select! {
                biased;
                done = &mut first => { let (outcome, mut txn) = done.unwrap(); txn.rollback().await; (outcome, second.await.unwrap().0) }
                done = &mut second => { let (outcome, mut txn) = done.unwrap(); txn.rollback().await; (first.await.unwrap().0, outcome) }
            }
        })
        .await
        .unwrap();
        let deadlocks = [&first, &second].iter().filter(|o| matches!(o, Err(KvError::Deadlock { .. }))).count();
        assert_eq!(deadlocks, 1, "{from} to {to}: {first:?}, {second:?}");
        assert!(begun.elapsed() < Duration::from_secs(6), "{from} to {to}: {:?}", begun.elapsed());
    }
}

/// The coordinator that a leaseholder cannot ask is not taken for dead: its locks stay.
#[tokio::test(start_paused = true)]
async fn a_lock_is_kept_while_its_owner_can_be_asked_the_long_way() {
    for (from, to) in CUTS {
        let (host, nodes) = cluster().await;
        let mut owner = nodes[1].begin(TxnOptions::default());
        locked(&mut owner, "x").await.unwrap();
        host.set_cut(Some((from, to)));
        let mut other = nodes[0].begin(TxnOptions::default());
        assert!(timeout(Duration::from_secs(20), locked(&mut other, "x")).await.is_err(), "{from} to {to}");
    }
}

/// The first request vanishes, and what comes of it is unknown; the second meets a version that the first would meet, too: the client hears of a conflict and
/// not of an unknown outcome.
#[tokio::test(start_paused = true)]
async fn a_conflict_that_stays_is_no_unknown_outcome() {
    let (host, nodes) = cluster().await;
    let mut txn = nodes[1].begin(TxnOptions::default());
    txn.get(vec![Get { key: key("a"), lock: None, columns: Columns::All }]).await.unwrap();
    txn.put(key("a"), Bytes::from_static(b"mine"), Expect::AsRead).await.unwrap();
    add_one(&nodes[0]).await.unwrap();
    host.set_cut(Some((TWO, ONE)));
    let outcome = timeout(FOREVER, txn.commit()).await.unwrap();
    assert!(matches!(outcome, Err(KvError::Retry { cause: RetryCause::WriteConflict, .. })), "{outcome:?}");
}
