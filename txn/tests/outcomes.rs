//! Commits whose answer is lost: the outcome is asked for, and only where nobody can be asked is it unknown. Nothing happens twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::{Clock, Entropy, SimulatedClock, TaskGroup};
use meridian_storage::Key;
use meridian_storage::memory::MemoryEngine;
use meridian_txn::api::*;
use meridian_txn::{Config, Node, solo};

fn key(k: &str) -> Key {
    Key::from(format!("\x10{k}"))
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

/// Adds one to each key; the values it saw.
async fn add(node: &Node, keys: &[&str]) -> Result<(), KvError> {
    let mut txn = node.begin(TxnOptions::default());
    txn.begin_statement();
    let lock = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(None) });
    for k in keys {
        let now = match txn.get(vec![Get { key: key(k), columns: Columns::All, lock }]).await?.pop() {
            Some(Got::Value(Some(v))) => u64::from_be_bytes(v.as_ref().try_into().unwrap()),
            _ => 0,
        };
        txn.put(key(k), Bytes::copy_from_slice(&(now + 1).to_be_bytes()), Expect::AsRead).await?;
    }
    txn.commit().await.map(|_| ())
}

async fn value(node: &Node, k: &str) -> u64 {
    for _ in 0..100 {
        let mut txn = node.begin(TxnOptions { read_only: true, ..TxnOptions::default() });
        txn.begin_statement();
        match txn.get(vec![Get { key: key(k), columns: Columns::All, lock: None }]).await {
            Ok(mut got) => {
                return match got.pop() {
                    Some(Got::Value(Some(v))) => u64::from_be_bytes(v.as_ref().try_into().unwrap()),
                    _ => 0,
                };
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    panic!("{k} cannot be read")
}

/// The `n`-th proposal from now on meets a fault.
fn at_proposal(host: &Arc<solo::Cluster>, n: u32, fault: solo::Fault) {
    let count = AtomicU32::new(0);
    host.set_fault_hook(Some(Box::new(move |_| if count.fetch_add(1, Ordering::SeqCst) == n { fault } else { solo::Fault::None })));
}

/// Whatever proposal of a commit loses its answer, and whether it was applied or not: the client hears the truth, and every increment
/// that was acknowledged is there exactly once.
#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for() {
    for keys in [&["a"][..], &["a", "m"][..], &["a", "b", "m", "z"][..]] {
        for fault in [solo::Fault::AmbiguousApplied, solo::Fault::AmbiguousLost] {
            for n in 0..8 {
                let (node, host) = store(&["m", "t"]).await;
                add(&node, keys).await.unwrap();
                at_proposal(&host, n, fault);
                let outcome = add(&node, keys).await;
                host.set_fault_hook(None);
                // A serialization failure may be the truth (locks went with the lease); an unknown outcome is not: everybody can be asked.
                assert!(matches!(outcome, Ok(()) | Err(KvError::Retry { .. })), "{keys:?}, proposal {n}, {fault:?}: {outcome:?}");
                let expected = if outcome.is_ok() { 2 } else { 1 };
                for k in keys {
                    assert_eq!(value(&node, k).await, expected, "{k} of {keys:?}, proposal {n}, {fault:?}: {outcome:?}");
                }
            }
        }
    }
}

/// The answers of a range's only leaseholder do not arrive any more: nobody else can be asked, and that is what the client hears.
#[tokio::test(start_paused = true)]
async fn only_where_nobody_can_be_asked_is_it_unknown() {
    let members = (0..2)
        .map(|_| {
            let physical = Arc::new(SimulatedClock::new(tokio::time::Instant::now(), 1_750_000_000_000_000_000));
            (Clock::new(physical).unwrap(), TaskGroup::new())
        })
        .collect();
    let (host, nodes) = solo::Cluster::start(Arc::new(MemoryEngine::new()), members, 1, &Entropy::seeded(7), Config::default());
    let gateway = &nodes[1];
    add(gateway, &["a"]).await.unwrap();
    let mut txn = gateway.begin(TxnOptions::default());
    txn.begin_statement();
    let lock = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(None) });
    txn.get(vec![Get { key: key("a"), columns: Columns::All, lock }]).await.unwrap();
    txn.put(key("a"), Bytes::copy_from_slice(&2_u64.to_be_bytes()), Expect::AsRead).await.unwrap();
    host.set_network(solo::NetworkFaults { answer_lost: 1000, ..Default::default() });
    let outcome = txn.commit().await;
    assert!(matches!(outcome, Err(KvError::Ambiguous(_))), "{outcome:?}");
    host.set_network(solo::NetworkFaults::default());
    assert_eq!(value(gateway, "a").await, 2, "it was applied, once, however often it was asked for");
}
