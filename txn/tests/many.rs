//! Many reads at once, and reads of keys that are read all the time: the same answers, and the same conflicts, as one by one.

use std::sync::Arc;

use bytes::Bytes;
use meridian_clock::{Clock, Entropy, SimulatedClock, TaskGroup};
use meridian_storage::memory::MemoryEngine;
use meridian_storage::mvcc::Direction;
use meridian_storage::{Key, Span};
use meridian_txn::api::*;
use meridian_txn::{Config, Node, solo};

const UPDATE: Option<Locking> = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(None) });

fn key(k: &str) -> Key {
    Key::from(format!("\x10{k}"))
}

async fn store(splits: &[&str]) -> Arc<Node> {
    let physical = Arc::new(SimulatedClock::new(tokio::time::Instant::now(), 1_750_000_000_000_000_000));
    let clock = Clock::new(physical).unwrap();
    let (node, _) = solo::start_with_host(Arc::new(MemoryEngine::new()), clock, &Entropy::seeded(7), TaskGroup::new(), Config::default());
    node.register_programs(Arc::new(Counting));
    for split in splits {
        node.split_at(key(split)).await.unwrap();
    }
    node
}

fn begin(node: &Node) -> Box<dyn KvTxn> {
    let mut txn = node.begin(TxnOptions::default());
    txn.begin_statement();
    txn
}

async fn put(txn: &mut dyn KvTxn, k: &str, v: &str) {
    txn.put(key(k), Bytes::from(v.to_owned()), Expect::AsRead).await.unwrap();
    txn.begin_statement();
}

async fn get(txn: &mut dyn KvTxn, k: &str) -> Option<String> {
    match txn.get(vec![Get { key: key(k), columns: Columns::All, lock: None }]).await.unwrap().pop() {
        Some(Got::Value(v)) => v.map(|v| String::from_utf8(v.to_vec()).unwrap()),
        other => panic!("{other:?}"),
    }
}

async fn write(node: &Node, pairs: &[(&str, &str)]) {
    let mut txn = begin(node);
    for (k, v) in pairs {
        put(&mut *txn, k, v).await;
    }
    txn.commit().await.unwrap();
}

fn scan(from: &str, to: &str, limit_rows: u64, program: bool) -> Scan {
    Scan {
        span: Span::new(key(from), key(to)),
        direction: Direction::Forward,
        columns: Columns::All,
        limit_rows,
        limit_bytes: 0,
        program: program.then(|| Bytes::from_static(b"count")),
        lock: None,
    }
}

/// Counts rows: a partial aggregate.
#[derive(Debug)]
struct Counting;

struct Count(u64);

impl ProgramEvaluator for Counting {
    fn start(&self, _: &Bytes) -> Result<Box<dyn Program>, String> {
        Ok(Box::new(Count(0)))
    }
}

impl Program for Count {
    fn row(&mut self, _: &[u8], _: &[u8], _: &mut Vec<(Key, Bytes)>) -> Result<(), ProgramError> {
        self.0 += 1;
        Ok(())
    }
    fn finish(&mut self, out: &mut Vec<(Key, Bytes)>) -> Result<(), ProgramError> {
        out.push((Key::new(), Bytes::from(self.0.to_string())));
        Ok(())
    }
}

async fn filled(splits: &[&str]) -> Arc<Node> {
    let node = store(splits).await;
    let names: Vec<String> = (0..900).map(|i| format!("{i:03}")).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), n.as_str())).collect();
    write(&node, &pairs).await;
    node
}

#[tokio::test(start_paused = true)]
async fn many_scans_give_what_each_of_them_gives() {
    for splits in [vec![], vec!["200", "450"]] {
        let node = filled(&splits).await;
        for own_writes in [false, true] {
            let mut txn = begin(&node);
            if own_writes {
                put(&mut *txn, "1005", "own").await;
                txn.delete(key("455")).await.unwrap();
                txn.begin_statement();
            }
            // More than one request takes; some across a split, some empty, some cut short.
            let scans: Vec<Scan> = (0..300)
                .map(|i| (i * 3, 1 + i % 5))
                .map(|(at, len)| scan(&format!("{at:03}"), &format!("{:03}", at + len - 1), u64::from(at % 4 == 0), false))
                .collect();
            let many = txn.scan_many(scans.clone()).await.unwrap();
            assert_eq!(many.len(), scans.len());
            for (asked, page) in scans.into_iter().zip(many) {
                let span = asked.span.clone();
                assert_eq!(txn.scan(asked).await.unwrap(), page, "{span:?} with {splits:?}, own writes: {own_writes}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_many_scans_read_is_validated() {
    for parts in [false, true] {
        for touched in ["105", "999"] {
            let node = filled(&[]).await;
            let mut txn = begin(&node);
            let scans = if parts {
                vec![scan("000", "300", 0, true), scan("300", "600", 0, true)]
            } else {
                vec![scan("100", "110", 0, false), scan("300", "310", 0, false)]
            };
            txn.scan_many(scans).await.unwrap();
            // A new row in a span that was read, or beyond.
            write(&node, &[(&format!("{touched}x"), "new")]).await;
            // Somebody reads later what is about to be written, so the commit cannot stay at its snapshot.
            assert_eq!(get(&mut *begin(&node), "result").await, None);
            put(&mut *txn, "result", "computed").await;
            let outcome = txn.commit().await;
            assert_eq!(outcome.is_err(), touched == "105", "{outcome:?} after a write of {touched}x, parts: {parts}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn parts_cover_a_span_and_are_read_together() {
    let node = filled(&[]).await;
    let mut txn = begin(&node);
    let span = Span::new(key(""), vec![0x11]);
    let parts = txn.scan_parts(&span);
    assert_eq!(parts.len(), Config::default().scan_tasks);
    assert_eq!((&parts[0].start, &parts[parts.len() - 1].end), (&span.start, &span.end));
    assert!(parts.windows(2).all(|w| w[0].end == w[1].start));
    let scans = parts.iter().map(|part| Scan { span: part.clone(), ..scan("", "", 0, true) }).collect();
    let counts: Vec<u64> =
        txn.scan_many(scans).await.unwrap().iter().map(|page| std::str::from_utf8(&page.rows[0].1).unwrap().parse().unwrap()).collect();
    assert_eq!(counts.iter().sum::<u64>(), 900);
    assert!(counts.iter().all(|n| *n > 300), "the parts are uneven: {counts:?}");
    // Own writes have to be laid over, so there is one scan.
    put(&mut *txn, "5005", "own").await;
    assert_eq!(txn.scan_parts(&span), [span]);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_read_all_the_time_is_never_read_stale() {
    // Two ranges: the writer that touches both lays intents.
    let node = store(&["m"]).await;
    write(&node, &[("hot", "0"), ("z", "0")]).await;
    for round in 1..50 {
        let mut old = begin(&node);
        for _ in 0..4 {
            assert_eq!(get(&mut *begin(&node), "hot").await, Some((round - 1).to_string()));
        }
        let value = round.to_string();
        if round % 2 == 0 {
            write(&node, &[("hot", &value), ("z", &value)]).await;
        } else {
            write(&node, &[("hot", &value)]).await;
        }
        let mut txn = begin(&node);
        assert_eq!(get(&mut *txn, "hot").await, Some(value.clone()));
        assert_eq!(get(&mut *old, "hot").await, Some((round - 1).to_string()), "an older snapshot keeps its version");
        // C3: what was answered from memory is validated like everything else.
        for _ in 0..3 {
            assert_eq!(get(&mut *begin(&node), "hot").await, Some(value.clone()));
        }
        let mut reader = begin(&node);
        assert_eq!(get(&mut *reader, "hot").await, Some(value.clone()));
        write(&node, &[("hot", "between")]).await;
        // Somebody reads later what is about to be written, so the commit cannot stay at its snapshot.
        assert_eq!(get(&mut *begin(&node), "other").await, None);
        put(&mut *reader, "other", "depends on it").await;
        assert!(matches!(reader.commit().await, Err(KvError::Retry { .. })));
        write(&node, &[("hot", &value)]).await;
    }
    let mut txn = begin(&node);
    txn.delete(key("hot")).await.unwrap();
    txn.commit().await.unwrap();
    for _ in 0..4 {
        assert_eq!(get(&mut *begin(&node), "hot").await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_points_waits_only_for_what_is_in_its_way() {
    let node = filled(&["450"]).await;
    let gets =
        |from: usize, to: usize| (from..to).map(|i| Get { key: key(&format!("{i:03}")), columns: Columns::All, lock: None }).collect();
    let mut txn = begin(&node);
    let got = txn.get(gets(0, 900)).await.unwrap();
    for (i, got) in got.iter().enumerate() {
        assert_eq!(*got, Got::Value(Some(Bytes::from(format!("{i:03}")))));
    }
    // Rows of both ranges change meanwhile: the batch reads its snapshot.
    let mut other = begin(&node);
    assert_eq!(get(&mut *other, "003").await.as_deref(), Some("003"));
    write(&node, &[("003", "new"), ("603", "new")]).await;
    let got = other.get(gets(0, 900)).await.unwrap();
    assert!(got.iter().enumerate().all(|(i, g)| *g == Got::Value(Some(Bytes::from(format!("{i:03}"))))));
    let got = begin(&node).get(gets(600, 606)).await.unwrap();
    assert_eq!(got[3], Got::Value(Some(Bytes::from_static(b"new"))));
}

#[tokio::test(start_paused = true)]
async fn who_only_reads_is_held_to_it_and_never_fails() {
    let node = filled(&[]).await;
    let mut txn = begin(&node);
    txn.only_reads();
    assert_eq!(get(&mut *txn, "005").await.as_deref(), Some("005"));
    assert_eq!(txn.scan(scan("000", "010", 0, false)).await.unwrap().rows.len(), 10);
    write(&node, &[("005", "changed"), ("0051", "new")]).await;
    assert_eq!(get(&mut *txn, "005").await.as_deref(), Some("005"));
    txn.advance().await.unwrap();
    assert_eq!(get(&mut *txn, "005").await.as_deref(), Some("005"), "what it has read is not known, so its snapshot stays");
    assert_eq!(txn.put(key("x"), Bytes::new(), Expect::AsRead).await, Err(KvError::ReadOnly));
    assert!(txn.get(vec![Get { key: key("005"), columns: Columns::All, lock: UPDATE }]).await.is_err());
    let mut txn = begin(&node);
    txn.only_reads();
    assert_eq!(get(&mut *txn, "005").await.as_deref(), Some("changed"));
    txn.commit().await.unwrap();
    // One that has written already goes on as it was.
    let mut txn = begin(&node);
    put(&mut *txn, "y", "own").await;
    txn.only_reads();
    put(&mut *txn, "y", "again").await;
    txn.commit().await.unwrap();
}
