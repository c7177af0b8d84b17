//! Group commit: one sync for everything pending on the store.
//!
//! Workers hand over batches of log records and a completion; the writer appends all that is pending, syncs once, and calls
//! the completions. Real nodes run it on a thread of its own, the simulator as a task whose sync takes simulated time.

use std::sync::Arc;

use meridian_clock::TaskGroup;

use crate::engine::{Batch, Engine, StorageError};

/// Called once the batch is durable, or could not be made so. Runs on the writer: it must only hand the news on.
pub type Completion = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// A handle on the store's log writer; clones feed the same writer.
#[derive(Clone, Debug)]
pub struct LogWriter;

/// Where the writer runs.
#[derive(Clone, Copy, Debug)]
pub enum LogWriterMode {
    /// On an OS thread, blocking on the disk.
    Thread,
    /// On a task; every sync takes this long in simulated time.
    Task { sync_time: std::time::Duration },
}

impl LogWriter {
    /// Starts the writer of `engine`.
    pub fn start(engine: Arc<dyn Engine>, tasks: &TaskGroup, mode: LogWriterMode) -> Self {
        let _ = (engine, tasks, mode);
        todo!()
    }

    /// Queues `batch`. Its records are readable from the engine when this returns; `done` is called after the sync that covers them.
    /// Batches become durable in the order of their submission.
    pub fn submit(&self, batch: Batch, done: Completion) -> Result<(), StorageError> {
        let _ = (batch, done);
        todo!()
    }
}
