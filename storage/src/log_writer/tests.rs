use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::*;
use crate::engine::{Reader, Space};
use crate::memory::{DiskOp, MemoryEngine};

const TASK: LogWriterMode = LogWriterMode::Task { sync_time: SyncTime::Fixed(Duration::from_millis(2)) };

fn put(key: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(Space::Log, key.as_bytes().to_vec(), b"v".to_vec());
    batch
}

fn submit(writer: &LogWriter, key: &str) -> Result<oneshot::Receiver<Result<(), StorageError>>, StorageError> {
    let (tx, rx) = oneshot::channel();
    writer.submit(&put(key), Box::new(move |result| drop(tx.send(result))))?;
    Ok(rx)
}

fn counter(engine: &MemoryEngine, name: &str) -> u64 {
    engine.counters().into_iter().find(|(n, _)| *n == name).map_or(0, |(_, v)| v)
}

#[tokio::test(start_paused = true)]
async fn one_sync_serves_everything_pending() {
    let (engine, tasks) = (Arc::new(MemoryEngine::new()), TaskGroup::new());
    let writer = LogWriter::start(engine.clone(), &tasks, TASK);
    let waiting: Vec<_> = (0..100).map(|i| submit(&writer, &format!("k{i}")).unwrap()).collect();
    assert!(engine.get(Space::Log, b"k7").unwrap().is_some(), "readable before it is durable");
    for done in waiting {
        done.await.unwrap().unwrap();
    }
    assert_eq!(counter(&engine, "syncs"), 1);
    assert!(engine.crash_losing_all().get(Space::Log, b"k99").unwrap().is_some());
}

#[tokio::test]
async fn the_thread_answers_everyone_and_ends_with_its_handles() {
    let (engine, tasks) = (Arc::new(MemoryEngine::new()), TaskGroup::new());
    let writer = LogWriter::start(engine.clone(), &tasks, LogWriterMode::Thread);
    let order = Arc::new(Mutex::new(Vec::new()));
    let (tx, rx) = oneshot::channel();
    let mut tx = Some(tx);
    for i in 0..500 {
        let (order, last) = (order.clone(), if i == 499 { tx.take() } else { None });
        let done = move |result: Result<(), StorageError>| {
            result.unwrap();
            order.lock().push(i);
            if let Some(tx) = last {
                let _ = tx.send(());
            }
        };
        writer.submit(&put(&format!("{i:04}")), Box::new(done)).unwrap();
    }
    drop(writer);
    rx.await.unwrap();
    assert!(order.lock().iter().copied().eq(0..500), "completions come in the order of submission");
    assert!(engine.crash_losing_all().get(Space::Log, b"0499").unwrap().is_some());
}

/// Submitters that sync themselves, others that do not, and a disk that is full for a while: everything is answered once, when it is durable.
#[tokio::test]
async fn whoever_syncs_everybody_is_answered() {
    let (engine, tasks) = (Arc::new(MemoryEngine::new()), TaskGroup::new());
    let writer = LogWriter::start(engine.clone(), &tasks, LogWriterMode::Thread);
    let (answered, syncs) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = syncs.clone();
    engine.set_hook(Some(Arc::new(move |op| match op {
        DiskOp::Sync if (0..3).contains(&counted.fetch_add(1, Ordering::SeqCst)) => Err(StorageError::DiskFull("test".into())),
        _ => Ok(()),
    })));
    let one = |writer: LogWriter, answered: Arc<AtomicUsize>, name: usize| {
        for n in 0..1000 {
            let key = format!("{name}-{n:04}");
            loop {
                let answered = answered.clone();
                let done = Box::new(move |result: Result<(), StorageError>| {
                    result.expect("durable in the end");
                    answered.fetch_add(1, Ordering::SeqCst);
                });
                let submitted = if name == 0 { writer.submit(&put(&key), done) } else { writer.submit_for_sync(&put(&key), done) };
                match submitted {
                    Ok(()) => break,
                    Err(StorageError::DiskFull(_)) => std::thread::sleep(Duration::from_millis(1)),
                    Err(error) => panic!("{error}"),
                }
            }
            if name != 0 {
                writer.sync_pending();
            }
        }
    };
    let threads: Vec<_> = (0..4)
        .map(|name| {
            let (writer, answered) = (writer.clone(), answered.clone());
            std::thread::spawn(move || one(writer, answered, name))
        })
        .collect();
    tokio::task::spawn_blocking(|| threads.into_iter().for_each(|t| t.join().expect("a submitter"))).await.expect("joined");
    for _ in 0..1000 {
        if answered.load(Ordering::SeqCst) == 4000 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(answered.load(Ordering::SeqCst), 4000);
    let left = engine.crash_losing_all();
    assert!((0..4).all(|name| left.get(Space::Log, format!("{name}-0999").as_bytes()).unwrap().is_some()));
    assert!(syncs.load(Ordering::SeqCst) > 3, "the disk was full for a while");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_then_goes_on() {
    let (engine, tasks) = (Arc::new(MemoryEngine::new()), TaskGroup::new());
    let writer = LogWriter::start(engine.clone(), &tasks, TASK);
    let full = Arc::new(AtomicBool::new(true));
    let seen = full.clone();
    engine.set_hook(Some(Arc::new(move |op| match op {
        DiskOp::Sync if seen.load(Ordering::SeqCst) => Err(StorageError::DiskFull("test".into())),
        _ => Ok(()),
    })));
    let first = submit(&writer, "a").unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(matches!(submit(&writer, "b"), Err(StorageError::DiskFull(_))));
    assert!(engine.get(Space::Log, b"b").unwrap().is_none(), "refused means not written");
    full.store(false, Ordering::SeqCst);
    first.await.unwrap().unwrap();
    submit(&writer, "b").unwrap().await.unwrap().unwrap();
    engine.set_hook(None);
    engine.set_capacity(Some(4));
    assert!(matches!(submit(&writer, "c"), Err(StorageError::DiskFull(_))));
    engine.set_capacity(None);
    submit(&writer, "c").unwrap().await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_is_final() {
    let (engine, tasks) = (Arc::new(MemoryEngine::new()), TaskGroup::new());
    let writer = LogWriter::start(engine.clone(), &tasks, TASK);
    let syncs = Arc::new(AtomicUsize::new(0));
    engine.set_hook(Some(Arc::new(move |op| match op {
        DiskOp::Sync if syncs.fetch_add(1, Ordering::SeqCst) == 0 => Err(StorageError::Io("EIO".into())),
        _ => Ok(()),
    })));
    assert!(matches!(submit(&writer, "a").unwrap().await.unwrap(), Err(StorageError::Io(_))));
    assert!(matches!(submit(&writer, "b"), Err(StorageError::Io(_))), "a later sync may succeed and prove nothing");
}

#[tokio::test]
async fn an_aborted_group_leaves_nobody_waiting() {
    for mode in [LogWriterMode::Thread, LogWriterMode::Task { sync_time: Duration::from_secs(3600).into() }] {
        let (engine, tasks) = (Arc::new(MemoryEngine::new()), TaskGroup::new());
        let (gate, held) = std::sync::mpsc::channel::<()>();
        let held = Mutex::new(held);
        engine.set_hook(Some(Arc::new(move |op| {
            if op == DiskOp::Sync {
                let _ = held.lock().recv();
            }
            Ok(())
        })));
        let writer = LogWriter::start(engine, &tasks, mode);
        let first = submit(&writer, "a").unwrap();
        tokio::task::yield_now().await;
        tasks.abort_all();
        drop(gate);
        // In thread mode the sync may have won the race; what counts is that an answer comes.
        let _ = first.await.unwrap();
        while let Ok(answer) = submit(&writer, "b") {
            let _ = answer.await.unwrap();
            tokio::task::yield_now().await;
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Submit,
    Wait(u64),
    Full(bool),
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    use proptest::prelude::*;
    prop_oneof![5 => Just(Step::Submit), 3 => (0u64..8).prop_map(Step::Wait), 1 => any::<bool>().prop_map(Step::Full)]
}

proptest::proptest! {
    /// At any moment, under load and with the disk filling up and emptying: what was acknowledged survives a crash that loses all
    /// the rest, acknowledgements come in order, refusals leave nothing, and in the end everybody has an answer.
    #[test]
    fn acknowledged_means_durable(steps in proptest::collection::vec(step(), 1..60), seed in proptest::prelude::any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (engine, tasks) = (Arc::new(MemoryEngine::new()), TaskGroup::new());
            let writer = LogWriter::start(engine.clone(), &tasks, TASK);
            let full = Arc::new(AtomicBool::new(false));
            let seen = full.clone();
            engine.set_hook(Some(Arc::new(move |op| match op {
                DiskOp::Sync if seen.load(Ordering::SeqCst) => Err(StorageError::DiskFull("test".into())),
                _ => Ok(()),
            })));
            let answers = Arc::new(Mutex::new(Vec::new()));
            let (mut accepted, mut refused) = (Vec::new(), Vec::new());
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Submit => {
                        let heard = answers.clone();
                        let done = Box::new(move |result: Result<(), StorageError>| heard.lock().push((n, result.is_ok())));
                        match writer.submit(&put(&format!("{n:03}")), done) {
                            Ok(()) => accepted.push(n),
                            Err(_) => refused.push(n),
                        }
                    }
                    Step::Wait(millis) => tokio::time::sleep(Duration::from_millis(millis)).await,
                    Step::Full(is) => full.store(is, Ordering::SeqCst),
                }
            }
            let acknowledged: Vec<usize> = answers.lock().iter().filter(|(_, ok)| *ok).map(|(n, _)| *n).collect();
            assert!(acknowledged.is_sorted());
            assert!(accepted.starts_with(&acknowledged));
            // The crash: the tasks stop, then the disk is what it is.
            tasks.abort_all();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let disk = engine.crash(&mut meridian_clock::Entropy::seeded(seed).rng());
            let there = |n: usize| disk.get(Space::Log, format!("{n:03}").as_bytes()).unwrap().is_some();
            assert!(acknowledged.iter().all(|&n| there(n)));
            assert!(!refused.iter().any(|&n| there(n)));
            let survivors = accepted.iter().filter(|&&n| there(n)).count();
            assert!(accepted[..survivors].iter().all(|&n| there(n)), "no holes");
            let mut answered: Vec<usize> = answers.lock().iter().map(|(n, _)| *n).collect();
            answered.sort_unstable();
            assert_eq!(answered, accepted);
            assert!(matches!(engine.append(&put("late")), Err(StorageError::Io(_))), "a task that outlives its node cannot write");
        });
    }
}
