//! Group commit: one sync for everything pending on the store.
//!
//! ```text
//!   worker A ── submit: append, queue ──┐
//!   worker B ── submit: append, queue ──┼──▶ [ done, done, done ] ──▶ writer: take all ─ sync once ─ call all ─┐
//!   worker C ── submit: append, queue ──┘              ▲ what arrives during the sync is the next group ───────┘
//! ```
//! `submit` appends on the caller's thread (readable at once, microseconds), so the writer does nothing but sync. A sync covers
//! every append that returned before it began, and a completion is queued only after its append returned. Real nodes run the
//! writer on a thread of its own, the simulator as a task whose sync takes simulated time.
//!
//! **Full disk.** An append that is refused is refused to its caller, who may try again later: nothing was written. A *sync* that
//! finds the disk full keeps its group and tries again until there is space; meanwhile new submissions are refused. So
//! nothing is lost and nothing is restarted.
//!
//! **Any other failure of a sync** leaves it unknown what reached the disk, and the kernel may report it only once. The writer
//! then answers everything, now and later, with that error: the node has to restart and read what is there.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meridian_clock::TaskGroup;
use meridian_clock::controls::{self, Control};
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::engine::{Batch, Engine, StorageError};

/// Completions that may wait for a sync at once. Beyond it, `submit` blocks (thread) or refuses (task).
const PENDING_MAX: usize = 64 * 1024;
/// How long after a sync met a full disk the next is tried.
const FULL_RETRY: Duration = Duration::from_millis(100);

/// Called once the batch is durable, or could not be made so. Runs on the writer: it must only hand the news on.
pub type Completion = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// A handle on the store's log writer; clones feed the same writer. It ends, after a last sync, when all handles are gone,
/// and at once when the task group is aborted.
#[derive(Clone)]
pub struct LogWriter {
    shared: Arc<Shared>,
    _handle: Arc<Handle>,
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogWriter").field("mode", &self.shared.mode).finish_non_exhaustive()
    }
}

/// Where the writer runs.
#[derive(Clone, Debug)]
pub enum LogWriterMode {
    /// On an OS thread, blocking on the disk.
    Thread,
    /// On a task; every sync takes this long in simulated time.
    Task { sync_time: SyncTime },
}

/// What a sync takes in simulated time.
#[derive(Clone, Debug)]
pub enum SyncTime {
    /// Always the same.
    Fixed(Duration),
    /// So many microseconds, as read before each sync: a disk that can be made to stall.
    Variable(Arc<AtomicU64>),
}

impl From<Duration> for SyncTime {
    fn from(time: Duration) -> Self {
        SyncTime::Fixed(time)
    }
}

impl SyncTime {
    fn now(&self) -> Duration {
        match self {
            SyncTime::Fixed(time) => *time,
            SyncTime::Variable(micros) => Duration::from_micros(micros.load(Ordering::Relaxed)),
        }
    }
}

struct Shared {
    engine: Arc<dyn Engine>,
    mode: LogWriterMode,
    queue: Mutex<Queue>,
    /// Wakes the writer thread.
    work: Condvar,
    /// Wakes submitters that wait for room.
    room: Condvar,
    /// Wakes the writer task.
    notify: Notify,
}

#[derive(Default)]
struct Queue {
    pending: Vec<Completion>,
    /// What every submission is answered with at present: the disk was full at the last sync, or the writer has failed or stopped.
    refusal: Option<StorageError>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Running,
    /// All handles are gone: sync what is pending, then end.
    Draining,
    /// Aborted or failed: answer what is pending with an error, and end.
    Stopped,
}

/// Lives as long as any [`LogWriter`].
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        if queue.phase == Phase::Running {
            queue.phase = Phase::Draining;
        }
        self.shared.wake_writer();
    }
}

/// Lives as long as the task group lets it.
struct GroupGuard(Arc<Shared>);

impl Drop for GroupGuard {
    fn drop(&mut self) {
        self.0.stop(StorageError::Io("the log writer was stopped".into()));
    }
}

impl LogWriter {
    /// Starts the writer of `engine`. Must be called within a tokio runtime.
    pub fn start(engine: Arc<dyn Engine>, tasks: &TaskGroup, mode: LogWriterMode) -> Self {
        let shared = Arc::new(Shared {
            engine,
            mode: mode.clone(),
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            notify: Notify::new(),
        });
        match mode {
            LogWriterMode::Thread => {
                let on_thread = shared.clone();
                let started = std::thread::Builder::new().name("log-writer".into()).spawn(move || on_thread.run_on_thread());
                match started {
                    Ok(_) => {
                        // An aborted group stops the thread through the guard. The task ends with the writer.
                        let guard = GroupGuard(shared.clone());
                        tasks.spawn(async move { guard.0.ended().await });
                    }
                    Err(error) => shared.stop(StorageError::Io(format!("starting the log writer: {error}"))),
                }
            }
            LogWriterMode::Task { sync_time } => {
                let guard = GroupGuard(shared.clone());
                tasks.spawn(async move { guard.0.run_as_task(&sync_time).await });
            }
        }
        LogWriter { _handle: Arc::new(Handle { shared: shared.clone() }), shared }
    }

    /// Queues `batch`. Its records are readable from the engine when this returns; `done` is called after the sync that covers them.
    /// Batches become durable in the order of their submission.
    ///
    /// An error means that nothing was written and `done` will not be called; after [`StorageError::DiskFull`] it may be tried again.
    pub fn submit(&self, batch: Batch, done: Completion) -> Result<(), StorageError> {
        self.admit()?;
        self.shared.engine.append(&batch)?;
        let mut queue = self.shared.queue.lock();
        if queue.phase == Phase::Stopped {
            // The writer ended between the two steps: the completion must not be forgotten.
            let error = queue.refusal.clone().unwrap_or_else(stopped);
            drop(queue);
            done(Err(error));
            return Ok(());
        }
        queue.pending.push(done);
        if queue.pending.len() == 1 {
            self.shared.wake_writer();
        }
        Ok(())
    }

    /// Waits for room, or refuses. Many submitters may pass at once: the limit is kept up to their number.
    fn admit(&self) -> Result<(), StorageError> {
        let mut queue = self.shared.queue.lock();
        loop {
            if let Some(refusal) = &queue.refusal {
                return Err(refusal.clone());
            }
            if queue.pending.len() < PENDING_MAX {
                return Ok(());
            }
            match self.shared.mode {
                LogWriterMode::Thread => self.shared.room.wait(&mut queue),
                LogWriterMode::Task { .. } => return Err(StorageError::Io(format!("{PENDING_MAX} log writes already wait for a sync"))),
            }
        }
    }
}

fn stopped() -> StorageError {
    StorageError::Io("the log writer has ended".into())
}

/// What the writer does after a sync.
enum After {
    Go,
    RetryWhenSpace,
}

impl Shared {
    fn wake_writer(&self) {
        match self.mode {
            LogWriterMode::Thread => {
                self.work.notify_all();
            }
            LogWriterMode::Task { .. } => self.notify.notify_one(),
        }
    }

    fn run_on_thread(&self) {
        let mut group = Vec::new();
        loop {
            {
                let mut queue = self.queue.lock();
                while queue.pending.is_empty() && queue.phase == Phase::Running && group.is_empty() {
                    self.work.wait(&mut queue);
                }
                if !self.take(&mut queue, &mut group) {
                    break;
                }
            }
            if let After::RetryWhenSpace = self.sync(&mut group) {
                // Room does not come because somebody tells us, so look again after a while, or stop early if told to.
                let mut queue = self.queue.lock();
                if queue.phase == Phase::Running {
                    self.work.wait_for(&mut queue, FULL_RETRY);
                }
            }
        }
        self.finish(group);
    }

    async fn run_as_task(&self, sync_time: &SyncTime) {
        let mut group = GroupInFlight { shared: self, group: Vec::new() };
        loop {
            let proceed = {
                let mut queue = self.queue.lock();
                if queue.pending.is_empty() && queue.phase == Phase::Running && group.group.is_empty() {
                    None
                } else {
                    Some(self.take(&mut queue, &mut group.group))
                }
            };
            match proceed {
                None => self.notify.notified().await,
                Some(false) => return,
                Some(true) => {
                    tokio::time::sleep(sync_time.now()).await;
                    if let After::RetryWhenSpace = self.sync(&mut group.group) {
                        tokio::time::sleep(FULL_RETRY).await;
                    }
                }
            }
        }
    }

    /// Moves what is pending behind the group that still waits for space. `false`: nothing is left to do, or nothing more may be done.
    fn take(&self, queue: &mut Queue, group: &mut Vec<Completion>) -> bool {
        if queue.phase == Phase::Stopped {
            return false;
        }
        group.append(&mut queue.pending);
        self.room.notify_all();
        !group.is_empty()
    }

    /// One sync for the group. Calls its completions, unless the disk is full.
    fn sync(&self, group: &mut Vec<Completion>) -> After {
        let outcome = if controls::off(Control::LogSync) { Ok(()) } else { self.engine.sync() };
        match outcome {
            Ok(()) => {
                let mut queue = self.queue.lock();
                if queue.phase != Phase::Stopped && queue.refusal.take().is_some() {
                    tracing::info!("there is space again: the log goes on");
                }
                drop(queue);
                group.drain(..).for_each(|done| done(Ok(())));
                After::Go
            }
            Err(StorageError::DiskFull(detail)) => {
                let mut queue = self.queue.lock();
                if queue.refusal.is_none() {
                    tracing::warn!(%detail, "the log cannot be synced for lack of space: writes are refused until there is some");
                    queue.refusal = Some(StorageError::DiskFull(detail));
                    self.room.notify_all();
                }
                if queue.phase == Phase::Draining {
                    // Nobody is left who could make room and hear of it.
                    queue.phase = Phase::Stopped;
                }
                After::RetryWhenSpace
            }
            Err(error) => {
                tracing::error!(%error, "the log could not be synced: this store takes no more writes until it is restarted");
                self.stop(error.clone());
                group.drain(..).for_each(|done| done(Err(error.clone())));
                After::Go
            }
        }
    }

    fn stop(&self, error: StorageError) {
        let pending = {
            let mut queue = self.queue.lock();
            if queue.phase != Phase::Stopped || queue.refusal.is_none() {
                queue.phase = Phase::Stopped;
                queue.refusal = Some(error);
            }
            std::mem::take(&mut queue.pending)
        };
        self.room.notify_all();
        self.wake_writer();
        // Whoever waits for the end of the thread mode's writer.
        self.notify.notify_one();
        self.answer_stopped(pending);
    }

    /// The writer's last act: nobody is left without an answer.
    fn finish(&self, group: Vec<Completion>) {
        self.stop(stopped());
        self.answer_stopped(group);
    }

    fn answer_stopped(&self, completions: Vec<Completion>) {
        if !completions.is_empty() {
            let error = self.queue.lock().refusal.clone().unwrap_or_else(stopped);
            completions.into_iter().for_each(|done| done(Err(error.clone())));
        }
    }

    /// Returns when the writer has stopped (thread mode).
    async fn ended(&self) {
        while self.queue.lock().phase != Phase::Stopped {
            self.notify.notified().await;
        }
    }
}

/// The group of the task-mode writer: if the task is dropped mid-sync, its completions still hear of it.
struct GroupInFlight<'a> {
    shared: &'a Shared,
    group: Vec<Completion>,
}

impl Drop for GroupInFlight<'_> {
    fn drop(&mut self) {
        self.shared.finish(std::mem::take(&mut self.group));
    }
}

#[cfg(test)]
mod tests {
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
        writer.submit(put(key), Box::new(move |result| drop(tx.send(result))))?;
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
            writer.submit(put(&format!("{i:04}")), Box::new(done)).unwrap();
        }
        drop(writer);
        rx.await.unwrap();
        assert!(order.lock().iter().copied().eq(0..500), "completions come in the order of submission");
        assert!(engine.crash_losing_all().get(Space::Log, b"0499").unwrap().is_some());
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
                            match writer.submit(put(&format!("{n:03}")), done) {
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
}
