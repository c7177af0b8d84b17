//! Locks of sessions: across lease moves, lost leases and dead nodes, never with two owners, and a circle of them is a deadlock.

use std::sync::Arc;
use std::time::Duration;

use meridian_clock::{Clock, Entropy, SimulatedClock, TaskGroup};
use meridian_replication::api::NodeId;
use meridian_storage::memory::MemoryEngine;
use meridian_txn::api::*;
use meridian_txn::{Config, Node, solo};

const EXCLUSIVE: LockStrength = LockStrength::Update;
const SHARED: LockStrength = LockStrength::Share;
const TRY: LockWait = LockWait::NoWait;
const WAIT: LockWait = LockWait::Block(None);

fn cluster(nodes: usize) -> (Arc<solo::Cluster>, Vec<Arc<Node>>) {
    let members = (0..nodes)
        .map(|_| {
            let physical = Arc::new(SimulatedClock::new(tokio::time::Instant::now(), 1_750_000_000_000_000_000));
            (Clock::new(physical).unwrap(), TaskGroup::new())
        })
        .collect();
    solo::Cluster::start(Arc::new(MemoryEngine::new()), members, 3.min(nodes as u32), &Entropy::seeded(3), Config::default())
}

fn locks(node: &Node, session: i32) -> Box<dyn SessionLocks> {
    node.session_locks(SessionId(session))
}

#[tokio::test(start_paused = true)]
async fn modes_and_strengths() {
    let (_, nodes) = cluster(1);
    let (mut a, mut b) = (locks(&nodes[0], 1), locks(&nodes[0], 2));
    assert!(a.acquire(b"x", SHARED, TRY).await.unwrap());
    assert!(b.acquire(b"x", SHARED, TRY).await.unwrap());
    assert!(!a.acquire(b"x", EXCLUSIVE, TRY).await.unwrap());
    b.release(b"x", None).await.unwrap();
    assert!(a.acquire(b"x", EXCLUSIVE, TRY).await.unwrap());
    assert!(!b.acquire(b"x", SHARED, TRY).await.unwrap());
    a.release(b"x", Some(SHARED)).await.unwrap();
    assert!(b.acquire(b"x", SHARED, TRY).await.unwrap());
    // A limit on the wait.
    let limit = LockWait::Block(Some(Duration::from_millis(300)));
    assert!(matches!(b.acquire(b"x", EXCLUSIVE, limit).await, Err(KvError::LockTimeout { .. })));
    assert!(a.acquire(b"y", EXCLUSIVE, TRY).await.unwrap());
    // A session that goes lets go of all.
    drop(a);
    assert!(b.acquire(b"x", EXCLUSIVE, WAIT).await.unwrap());
    assert!(b.acquire(b"y", EXCLUSIVE, WAIT).await.unwrap());
    assert!(!b.lost());
}

#[tokio::test(start_paused = true)]
async fn they_outlive_leases_planned_and_not() {
    let (host, nodes) = cluster(3);
    let (mut a, mut b) = (locks(&nodes[0], 1), locks(&nodes[1], 2));
    assert!(a.acquire(b"x", EXCLUSIVE, TRY).await.unwrap());
    for round in 0..6 {
        for range in host.ranges() {
            let to = NodeId(round % 3 + 1);
            if round % 2 == 0 {
                host.move_lease(range, to).await;
            } else {
                // The lock table is gone with it.
                host.lose_lease(range, to, Duration::from_millis(20));
            }
        }
        assert!(!b.acquire(b"x", SHARED, TRY).await.unwrap(), "round {round}");
        assert!(!a.lost());
    }
    // Whoever waits gets it when it is given up, also where the queue was lost.
    let waiting = tokio::spawn(async move { b.acquire(b"x", EXCLUSIVE, WAIT).await.map(|got| (got, b)) });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    a.release(b"x", None).await.unwrap();
    let (got, _b) = tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap().unwrap();
    assert!(got);
}

#[tokio::test(start_paused = true)]
async fn they_go_with_their_node_and_not_before() {
    let (host, nodes) = cluster(4);
    // A gateway without replicas.
    let mut a = locks(&nodes[3], 1);
    let mut b = locks(&nodes[0], 2);
    assert!(a.acquire(b"x", EXCLUSIVE, TRY).await.unwrap());
    let died = tokio::time::Instant::now();
    host.kill(NodeId(4), Duration::from_millis(50));
    assert!(b.acquire(b"x", EXCLUSIVE, WAIT).await.unwrap());
    // Not before its lease had run out: by its own clock it was lost by then.
    assert!(died.elapsed() > Duration::from_secs(5), "{:?}", died.elapsed());
    assert!(a.lost());
    assert!(!b.lost());
}

/// A holds x and waits for y with another attempt of its session; B holds y and waits for x.
#[tokio::test(start_paused = true)]
async fn a_circle_is_a_deadlock() {
    let (_, nodes) = cluster(2);
    let (mut a, mut b) = (locks(&nodes[0], 1), locks(&nodes[1], 2));
    assert!(a.acquire(b"x", EXCLUSIVE, TRY).await.unwrap());
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(b.acquire(b"y", EXCLUSIVE, TRY).await.unwrap());
    let first = tokio::spawn(async move { (a.acquire(b"y", EXCLUSIVE, WAIT).await, a) });
    tokio::time::sleep(Duration::from_millis(5)).await;
    // The younger gives up, and can go on.
    let second = b.acquire(b"x", EXCLUSIVE, WAIT).await;
    assert!(matches!(second, Err(KvError::Deadlock { .. })), "{second:?}");
    assert!(b.acquire(b"z", EXCLUSIVE, TRY).await.unwrap());
    b.release(b"y", None).await.unwrap();
    let (got, _a) = first.await.unwrap();
    assert!(got.unwrap());
    // Who holds can be seen.
    let shown = nodes[0].locks().await;
    let x = shown.iter().find(|l| l.name.as_deref() == Some(b"x")).unwrap();
    assert_eq!((x.session, x.node, x.granted), (SessionId(1), NodeId(1), true));
}

/// A row lock of a dead node does not make SKIP LOCKED skip for ever: nobody waits, so nobody asks, but the sweep does.
#[tokio::test(start_paused = true)]
async fn locks_of_the_dead_are_swept() {
    let (host, nodes) = cluster(4);
    let key = meridian_storage::Key::from_static(b"\x10row");
    let get = |wait| vec![Get { key: key.clone(), columns: Columns::All, lock: Some(Locking { strength: EXCLUSIVE, wait }) }];
    let mut dead = nodes[3].begin(TxnOptions::default());
    dead.get(get(WAIT)).await.unwrap();
    host.kill(NodeId(4), Duration::from_millis(50));
    let mut skipped = 0;
    for _ in 0..100 {
        let mut txn = nodes[0].begin(TxnOptions::default());
        match txn.get(get(LockWait::SkipLocked)).await.unwrap()[..] {
            [Got::Skipped] => skipped += 1,
            _ => return assert!(skipped > 0, "it was never locked"),
        }
        txn.rollback().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("a dead node's lock stays");
}
