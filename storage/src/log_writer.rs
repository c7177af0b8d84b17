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
//! **Quick disks.** Where a sync takes less than waking two threads does, handing it over is most of a commit's latency. There a submitter that says so
//! ([`LogWriter::sync_pending`]) syncs on its own thread, for itself and for whoever submits meanwhile; one thread does so at a time.
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
use std::time::{Duration, Instant};

use meridian_clock::TaskGroup;
use meridian_clock::controls::{self, Control};
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::engine::{Batch, Engine, StorageError};

/// Completions that may wait for a sync at once. Beyond it, `submit` blocks (thread) or refuses (task).
const PENDING_MAX: usize = 64 * 1024;
/// How long after a sync met a full disk the next is tried.
const FULL_RETRY: Duration = Duration::from_millis(100);

/// Syncs that take longer are left to the writer's thread; an average over the last few.
const QUICK_SYNC: Duration = Duration::from_micros(400);
/// Groups that a submitter syncs in a row before it hands over to the writer's thread.
const GROUPS_MAX: usize = 4;

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
    /// What a sync takes, in microseconds, averaged; a slow disk shows at its first.
    sync_micros: AtomicU64,
}

#[derive(Default)]
struct Queue {
    pending: Vec<Completion>,
    /// What every submission is answered with at present: the disk was full at the last sync, or the writer has failed or stopped.
    refusal: Option<StorageError>,
    phase: Phase,
    /// A sync is under way. Who makes it takes what comes meanwhile next.
    syncing: bool,
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
            sync_micros: AtomicU64::new(0),
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
    pub fn submit(&self, batch: &Batch, done: Completion) -> Result<(), StorageError> {
        if self.enqueue(batch, done)? {
            self.shared.wake_writer();
        }
        Ok(())
    }

    /// The same for a submitter that calls [`LogWriter::sync_pending`] next.
    pub fn submit_for_sync(&self, batch: &Batch, done: Completion) -> Result<(), StorageError> {
        let alone = self.enqueue(batch, done)?;
        if alone && matches!(self.shared.mode, LogWriterMode::Task { .. }) {
            self.shared.wake_writer();
        }
        Ok(())
    }

    /// Has what was submitted synced, by this thread if the disk is quick: completions may have been called when this returns.
    pub fn sync_pending(&self) {
        if matches!(self.shared.mode, LogWriterMode::Thread) && !self.shared.sync_here() {
            self.shared.wake_writer();
        }
    }

    /// `true`: nobody else sees to the sync yet.
    fn enqueue(&self, batch: &Batch, done: Completion) -> Result<bool, StorageError> {
        self.admit()?;
        self.shared.engine.append(batch)?;
        let mut queue = self.shared.queue.lock();
        if queue.phase == Phase::Stopped {
            // The writer ended between the two steps: the completion must not be forgotten.
            let error = queue.refusal.clone().unwrap_or_else(stopped);
            drop(queue);
            done(Err(error));
            return Ok(false);
        }
        queue.pending.push(done);
        Ok(queue.pending.len() == 1 && !queue.syncing)
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
                // Where a submitter syncs, it takes what is pending, or says so when it leaves that to this thread.
                while (queue.pending.is_empty() || queue.syncing) && queue.phase == Phase::Running && group.is_empty() {
                    self.work.wait(&mut queue);
                }
                if !self.take(&mut queue, &mut group) {
                    break;
                }
                queue.syncing = true;
            }
            if let After::RetryWhenSpace = self.sync(&mut group) {
                // Room does not come because somebody tells us, so look again after a while, or stop early if told to.
                let mut queue = self.queue.lock();
                if queue.phase == Phase::Running {
                    self.work.wait_for(&mut queue, FULL_RETRY);
                }
            }
            self.queue.lock().syncing = false;
        }
        self.finish(group);
    }

    /// Syncs what is pending on this thread, if syncs are quick. `false`: that is for the writer's thread, which has to be woken.
    fn sync_here(&self) -> bool {
        if self.sync_micros.load(Ordering::Relaxed) > QUICK_SYNC.as_micros() as u64 {
            return false;
        }
        let mut group = Vec::new();
        for round in 0..GROUPS_MAX {
            let mut queue = self.queue.lock();
            if round == 0 && queue.syncing {
                // Whoever it is takes what is pending next.
                return true;
            }
            queue.syncing = queue.phase == Phase::Running && queue.refusal.is_none() && self.take(&mut queue, &mut group);
            if !queue.syncing {
                return queue.pending.is_empty();
            }
            drop(queue);
            if let After::RetryWhenSpace = self.sync(&mut group) {
                break;
            }
        }
        let mut queue = self.queue.lock();
        queue.syncing = false;
        // A group for which there was no space goes before what came later.
        group.append(&mut queue.pending);
        queue.pending = group;
        queue.pending.is_empty()
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
        let begun = Instant::now();
        let outcome = if controls::off(Control::LogSync) { Ok(()) } else { self.engine.sync() };
        let (took, average) = (begun.elapsed().as_micros() as u64, self.sync_micros.load(Ordering::Relaxed));
        self.sync_micros.store((7 * average + took) / 8, Ordering::Relaxed);
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
mod tests;
