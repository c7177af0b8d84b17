//! The transactional layer alone: timestamp cache, latches, lock table, validation and commit, over an engine in memory and replication's stand-in (`solo`),
//! so that neither disk nor consensus shows. One clock for all, without error: the reply rule waits for nothing.

use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use meridian_clock::{Clock, Entropy, SharedHostClock, TaskGroup};
use meridian_storage::Key;
use meridian_storage::memory::MemoryEngine;
use meridian_txn::api::{Columns, Expect, Get, Kv, LockStrength, LockWait, Locking, TxnOptions};
use meridian_txn::{Node, solo};
use tokio::runtime::Runtime;

const KEYS: usize = 10_000;

fn key(n: usize) -> Key {
    Key::from(format!("key {:06}", n % KEYS))
}

fn value() -> Bytes {
    Bytes::from_static(&[b'v'; 100])
}

async fn store() -> Arc<Node> {
    let clock = Clock::new(Arc::new(SharedHostClock)).expect("the host has a clock");
    let node = solo::start(Arc::new(MemoryEngine::new()), clock, &Entropy::seeded(1), TaskGroup::new());
    for n in 0..KEYS {
        put(&node, n).await;
    }
    node
}

async fn put(node: &Node, n: usize) {
    let mut txn = node.begin(TxnOptions::default());
    txn.put(key(n), value(), Expect::AsRead).await.expect("buffers");
    txn.commit().await.expect("nobody is in the way");
}

async fn read(node: &Node, n: usize, lock: Option<Locking>) {
    let mut txn = node.begin(TxnOptions::default());
    let gets = vec![Get { key: key(n), lock, columns: Columns::All }];
    txn.get(gets).await.expect("reads");
    match lock {
        Some(_) => txn.rollback().await,
        None => txn.wait_reply().await,
    }
}

/// What an UPDATE of one row is: a locking read, a write, a commit in one phase that validates what was read.
async fn update(node: &Node, n: usize) {
    let lock = Some(Locking { strength: LockStrength::NoKeyUpdate, wait: LockWait::Block(None) });
    let mut txn = node.begin(TxnOptions::default());
    txn.get(vec![Get { key: key(n), lock, columns: Columns::All }]).await.expect("locks");
    txn.get(vec![Get { key: key(n + 1), lock: None, columns: Columns::All }]).await.expect("reads");
    txn.put(key(n), value(), Expect::AsRead).await.expect("buffers");
    txn.commit().await.expect("nobody is in the way");
}

fn transactions(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let node = runtime.block_on(store());
    let mut n = 0;
    let mut next = move || {
        n += 7919;
        n
    };
    let lock = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(None) });
    let mut group = c.benchmark_group("txn");
    group.bench_function("read", |b| b.iter(|| runtime.block_on(read(&node, next(), None))));
    group.bench_function("locking_read", |b| b.iter(|| runtime.block_on(read(&node, next(), lock))));
    group.bench_function("blind_write", |b| b.iter(|| runtime.block_on(put(&node, next()))));
    group.bench_function("update", |b| b.iter(|| runtime.block_on(update(&node, next()))));
    group.finish();
}

criterion_group!(benches, transactions);
criterion_main!(benches);
