//! Strict serializability, shown on random histories: list-append transactions over a few keys in several ranges, run by many clients at once on
//! several nodes while leases move, proposals become ambiguous, calls get lost or come twice, and nodes die.
//!
//! Every append carries a unique number, so the final lists give the order of versions, and each read says which version it saw. From these come
//! the dependencies wr, ww, rw; from real time comes rt; a cycle is a violation. A seed replays its run exactly.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::{Clock, Entropy, Rng, SimulatedClock, TaskGroup};
use meridian_replication::api::NodeId;
use meridian_storage::mvcc::Direction;
use meridian_storage::{Key, MemoryEngine, Span};
use meridian_txn::api::*;
use meridian_txn::{Config, Node, solo};
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::time::Instant;

const KEYS: usize = 5;

fn key(i: usize) -> Key {
    Key::from(vec![0x10, b'a' + i as u8])
}

fn decode(value: &Option<Bytes>) -> Vec<u32> {
    value.as_ref().map_or(vec![], |v| v.chunks(4).map(|c| u32::from_be_bytes(c.try_into().unwrap())).collect())
}

fn encode(list: &[u32]) -> Bytes {
    list.iter().flat_map(|x| x.to_be_bytes()).collect()
}

/// A transaction as its client saw it.
#[derive(Clone, Debug, Default)]
struct Done {
    start: Duration,
    /// `None`: no answer, or one that says "unknown".
    end: Option<Duration>,
    reads: Vec<(usize, Vec<u32>)>,
    appends: Vec<(usize, u32)>,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Read(usize),
    Lock(usize),
    Scan,
    LockScan,
    Append(usize),
    Blind,
    Undone(usize),
}

async fn attempt(txn: &mut dyn KvTxn, steps: &[Step], id: u32, pauses: &[Duration]) -> Result<Done, KvError> {
    let mut done = Done::default();
    let mut own: BTreeMap<usize, u32> = BTreeMap::new();
    let update = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(Some(Duration::from_secs(20))) });
    for (i, step) in steps.iter().enumerate() {
        tokio::time::sleep(pauses[i]).await;
        txn.begin_statement();
        match *step {
            Step::Read(k) | Step::Lock(k) => {
                let lock = if matches!(step, Step::Lock(_)) { update } else { None };
                let got = txn.get(vec![Get { key: key(k), columns: Columns::All, lock }]).await?;
                let Some(Got::Value(value)) = got.first() else { panic!() };
                let mut list = decode(value);
                if let Some(mine) = own.get(&k) {
                    assert_eq!(list.pop(), Some(*mine), "a transaction sees its own write");
                }
                done.reads.push((k, list));
            }
            Step::Scan | Step::LockScan => {
                let lock = if matches!(step, Step::LockScan) { update } else { None };
                let mut found: BTreeMap<Key, Bytes> = BTreeMap::new();
                let mut left = Some(Span::new(key(0), key(KEYS)));
                while let Some(span) = left {
                    let page = txn
                        .scan(Scan {
                            span,
                            direction: Direction::Forward,
                            columns: Columns::All,
                            limit_rows: 3,
                            limit_bytes: 0,
                            program: None,
                            lock,
                        })
                        .await?;
                    found.extend(page.rows);
                    left = page.resume;
                }
                for k in 0..KEYS {
                    let mut list = decode(&found.get(&key(k)).cloned());
                    if let Some(mine) = own.get(&k) {
                        assert_eq!(list.pop(), Some(*mine), "a transaction sees its own write");
                    }
                    done.reads.push((k, list));
                }
            }
            Step::Append(k) => {
                let got = txn.get(vec![Get { key: key(k), columns: Columns::All, lock: update }]).await?;
                let Some(Got::Value(value)) = got.first() else { panic!() };
                let mut list = decode(value);
                if own.contains_key(&k) {
                    continue;
                }
                done.reads.push((k, list.clone()));
                list.push(id);
                txn.put(key(k), encode(&list), Expect::AsRead).await?;
                own.insert(k, id);
                done.appends.push((k, id));
            }
            Step::Blind => {
                // Read without a lock, then write: C4 must catch what came between.
                let k = (id as usize) % KEYS;
                if own.contains_key(&k) {
                    continue;
                }
                let got = txn.get(vec![Get { key: key(k), columns: Columns::All, lock: None }]).await?;
                let Some(Got::Value(value)) = got.first() else { panic!() };
                let mut list = decode(value);
                done.reads.push((k, list.clone()));
                list.push(id);
                txn.put(key(k), encode(&list), Expect::AsRead).await?;
                own.insert(k, id);
                done.appends.push((k, id));
            }
            Step::Undone(k) => {
                let mark = txn.savepoint();
                txn.put(key(k), encode(&[u32::MAX]), Expect::AsRead).await?;
                txn.rollback_to(mark)?;
            }
        }
    }
    txn.commit().await?;
    Ok(done)
}

struct Plan {
    nodes: u32,
    replicas: u32,
    clients: usize,
    txns: usize,
    faults: bool,
    kill: bool,
    skew: bool,
}

async fn run(seed: u64, plan: Plan) {
    let entropy = Entropy::seeded(seed);
    let mut rng = entropy.fork("plan").rng();
    let origin = Instant::now();
    let error = if plan.skew { 4_000_000i64 } else { 0 };
    let nodes: Vec<(Clock, TaskGroup)> = (0..plan.nodes)
        .map(|_| {
            let physical = SimulatedClock::new(origin, 1_750_000_000_000_000_000);
            physical.set_error(Duration::from_nanos(error as u64));
            physical.set_skew(rng.random_range(-error..=error));
            (Clock::new(Arc::new(physical)).unwrap(), TaskGroup::new())
        })
        .collect();
    let groups: Vec<TaskGroup> = nodes.iter().map(|n| n.1.clone()).collect();
    let (cluster, kvs) = solo::Cluster::start(Arc::new(MemoryEngine::new()), nodes, plan.replicas, &entropy, Config::default());
    cluster.set_apply_delay(Some(Duration::from_millis(rng.random_range(1..6))));
    for at in [2, 0, 1, 3] {
        if rng.random_bool(0.7) {
            kvs[0].split_at(key(at)).await.unwrap();
        }
    }
    if plan.faults {
        let die = Mutex::new(entropy.fork("faults").rng());
        cluster.set_fault_hook(Some(Box::new(move |_| match die.lock().random_range(0..400) {
            0 => solo::Fault::Refused,
            1 | 2 => solo::Fault::AmbiguousApplied,
            3 => solo::Fault::AmbiguousLost,
            _ => solo::Fault::None,
        })));
        cluster.set_network(solo::NetworkFaults { refused: 5, lost: 5, answer_lost: 8, twice: 10, delay_ms_max: 3 });
    } else {
        cluster.set_network(solo::NetworkFaults { delay_ms_max: 3, ..Default::default() });
    }
    let log: Arc<Mutex<Vec<Done>>> = Arc::default();
    let mut running = vec![];
    let mut id = 0;
    for client in 0..plan.clients {
        let at = client % kvs.len();
        let (kv, log) = (kvs[at].clone(), log.clone());
        let mut rng: Rng = entropy.fork(&format!("client {client}")).rng();
        let first = id;
        id += plan.txns as u32;
        running.push(groups[at].spawn(async move {
            for t in 0..plan.txns {
                client_txn(&kv, first + t as u32, origin, &mut rng, &log).await;
            }
        }));
    }
    let chaos = {
        let (cluster, mut rng) = (cluster.clone(), entropy.fork("chaos").rng());
        let (faults, kill, nodes, replicas) = (plan.faults, plan.kill, plan.nodes, plan.replicas);
        let kvs = kvs.clone();
        tokio::spawn(async move {
            let mut killed = !kill;
            for _ in 0..40 {
                tokio::time::sleep(Duration::from_millis(rng.random_range(1..40))).await;
                let ranges = cluster.ranges();
                let range = ranges[rng.random_range(0..ranges.len())];
                let to = NodeId(rng.random_range(1..=replicas));
                match rng.random_range(0..6) {
                    0 if faults => cluster.lose_lease(range, to, Duration::from_millis(rng.random_range(1..15))),
                    1 | 2 => cluster.move_lease(range, to).await,
                    3 => {
                        let _ = tokio::time::timeout(Duration::from_secs(1), kvs[0].split_at(key(rng.random_range(0..KEYS)))).await;
                    }
                    4 if !killed => {
                        killed = true;
                        cluster.kill(NodeId(nodes), Duration::from_millis(30));
                    }
                    _ => {}
                }
            }
        })
    };
    for task in running {
        match tokio::time::timeout(Duration::from_secs(600), task).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) if e.is_cancelled() => {}
            Ok(Err(e)) => panic!("seed {seed}: {e}"),
            Err(_) => panic!("seed {seed}: a client hangs"),
        }
    }
    chaos.await.unwrap();
    cluster.set_fault_hook(None);
    cluster.set_network(Default::default());
    tokio::time::sleep(Duration::from_secs(3)).await;
    if std::env::var("SEED").is_ok() {
        for k in 0..KEYS {
            let mut txn = kvs[0].begin(TxnOptions::default());
            let got = txn.get(vec![Get { key: key(k), columns: Columns::All, lock: None }]).await;
            eprintln!("{k}: {got:?} {:?}", kvs[0].ranges(Span::new(key(k), Span::point(key(k)).end)).await);
        }
    }
    let mut txn = kvs[0].begin(TxnOptions::default());
    txn.begin_statement();
    let finals = txn
        .get((0..KEYS).map(|k| Get { key: key(k), columns: Columns::All, lock: None }).collect())
        .await
        .unwrap_or_else(|e| panic!("seed {seed}: {e:?} {cluster:?}"));
    let finals: Vec<Vec<u32>> = finals.iter().map(|g| if let Got::Value(v) = g { decode(v) } else { vec![] }).collect();
    txn.commit().await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    for kv in &kvs[..kvs.len() - usize::from(plan.kill)] {
        assert_eq!(kv.live_transactions(), 0, "seed {seed}: a transaction is left over");
    }
    let log = log.lock().clone();
    if let Err(problem) = check(&finals, &log) {
        panic!("seed {seed}: {problem}\nfinals {finals:?}\n{log:#?}");
    }
}

async fn client_txn(kv: &Arc<Node>, id: u32, origin: Instant, rng: &mut Rng, log: &Mutex<Vec<Done>>) {
    let steps: Vec<Step> = (0..rng.random_range(1..5))
        .map(|_| match rng.random_range(0..12) {
            0..=2 => Step::Read(rng.random_range(0..KEYS)),
            3 => Step::Lock(rng.random_range(0..KEYS)),
            4 => Step::Scan,
            5 => Step::LockScan,
            6 => Step::Blind,
            7 => Step::Undone(rng.random_range(0..KEYS)),
            _ => Step::Append(rng.random_range(0..KEYS)),
        })
        .collect();
    let pauses: Vec<Duration> = steps.iter().map(|_| Duration::from_micros(rng.random_range(0..4000))).collect();
    tokio::time::sleep(Duration::from_micros(rng.random_range(0..20_000))).await;
    let slot = {
        // Entered before the first attempt: a client that dies has written all it meant to, or nothing.
        let mut log = log.lock();
        let appends = (0..KEYS).map(|k| (k, id)).collect();
        log.push(Done { start: origin.elapsed(), end: None, reads: vec![], appends });
        log.len() - 1
    };
    let mut txn = kv.begin(TxnOptions::default());
    let start = origin.elapsed();
    for _ in 0..200 {
        match attempt(&mut *txn, &steps, id, &pauses).await {
            Ok(mut done) => {
                (done.start, done.end) = (start, Some(origin.elapsed()));
                log.lock()[slot] = done;
                return;
            }
            Err(KvError::Retry { .. } | KvError::Deadlock { .. } | KvError::LockTimeout { .. }) => txn.restart(),
            Err(KvError::Unavailable(_) | KvError::Overloaded(_)) => {
                txn.rollback().await;
                log.lock()[slot].appends.clear();
                return;
            }
            // Nobody knows: it stays in the log as a transaction that may have written, with no end.
            Err(KvError::Ambiguous(_)) => return,
            Err(e) => panic!("{e:?}"),
        }
    }
    panic!("{id} was begun again 200 times");
}

/// Builds the dependency graph and looks for a cycle.
fn check(finals: &[Vec<u32>], log: &[Done]) -> Result<(), String> {
    let mut writer: BTreeMap<u32, usize> = BTreeMap::new();
    for (t, done) in log.iter().enumerate() {
        for (_, id) in &done.appends {
            writer.insert(*id, t);
        }
        if done.end.is_some() {
            for (k, id) in &done.appends {
                if finals[*k].iter().filter(|x| *x == id).count() != 1 {
                    return Err(format!(
                        "acknowledged append {id} to {k} is there {} times",
                        finals[*k].iter().filter(|x| *x == id).count()
                    ));
                }
            }
        }
    }
    let n = log.len();
    let mut edges: Vec<Vec<(usize, String)>> = vec![vec![]; n];
    let mut add = |a: usize, b: usize, why: String| {
        if a != b {
            edges[a].push((b, why));
        }
    };
    for (k, list) in finals.iter().enumerate() {
        let at = |id: u32| writer.get(&id).copied().ok_or(format!("{id} in list {k} was written by nobody"));
        for pair in list.windows(2) {
            add(at(pair[0])?, at(pair[1])?, format!("ww {k}"));
        }
        for id in list {
            at(*id)?;
        }
    }
    for (t, done) in log.iter().enumerate() {
        for (k, seen) in &done.reads {
            if !finals[*k].starts_with(seen) {
                return Err(format!("txn {t} read {seen:?} of {k}, which never was"));
            }
            if let Some(last) = seen.last() {
                add(writer[last], t, format!("wr {k}"));
            }
            if let Some(next) = finals[*k].get(seen.len()) {
                add(t, writer[next], format!("rw {k}"));
            }
        }
        for (u, other) in log.iter().enumerate() {
            if done.end.is_some_and(|end| end < other.start)
                && (other.end.is_some() || other.appends.iter().any(|(k, id)| finals[*k].contains(id)))
            {
                add(t, u, "rt".into());
            }
        }
    }
    for start in 0..n {
        let mut from: Vec<Option<(usize, String)>> = vec![None; n];
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for (to, why) in &edges[at] {
                if *to == start {
                    let (mut path, mut here) = (format!("{at} -{why}-> {start}"), at);
                    while here != start {
                        let (before, why) = from[here].clone().unwrap();
                        path = format!("{before} -{why}-> {path}");
                        here = before;
                    }
                    return Err(format!("cycle {path}"));
                }
                if from[*to].is_none() {
                    from[*to] = Some((at, why.clone()));
                    queue.push_back(*to);
                }
            }
        }
    }
    Ok(())
}

fn seeds(plan: impl Fn() -> Plan, from: u64, count: u64) {
    let (from, count) = match std::env::var("SEED") {
        Ok(seed) => (seed.parse().unwrap(), 1),
        Err(_) => (from, std::env::var("SEEDS").map_or(count, |n| n.parse().unwrap())),
    };
    for seed in from..from + count {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(seed, plan()));
    }
}

#[test]
fn one_node() {
    seeds(|| Plan { nodes: 1, replicas: 1, clients: 6, txns: 12, faults: false, kill: false, skew: false }, 0, 30);
}

#[test]
fn one_node_whose_lease_fails() {
    seeds(|| Plan { nodes: 1, replicas: 1, clients: 6, txns: 12, faults: true, kill: false, skew: true }, 1000, 30);
}

#[test]
fn several_nodes_with_skewed_clocks() {
    seeds(|| Plan { nodes: 4, replicas: 3, clients: 8, txns: 10, faults: false, kill: false, skew: true }, 2000, 30);
}

#[test]
fn several_nodes_with_every_fault() {
    seeds(|| Plan { nodes: 4, replicas: 3, clients: 8, txns: 10, faults: true, kill: true, skew: true }, 3000, 60);
}
