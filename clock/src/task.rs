//! The tasks of one node, which live and die together.
//!
//! A node spawns every background task through its [`TaskGroup`]. Shutting a node down aborts the group; so does a crash
//! in the simulator, where many nodes share one runtime and a crashed node must not run one more step.

use std::future::Future;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinHandle};

/// A handle on the tasks of one node; clones name the same group.
#[derive(Clone, Debug, Default)]
pub struct TaskGroup {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    aborted: bool,
    handles: Vec<AbortHandle>,
    /// Finished handles are swept when the list reaches this length, so that the group stays as small as what runs.
    sweep_at: usize,
}

impl TaskGroup {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` until it ends or the group is aborted. In an aborted group it never runs.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut inner = self.inner.lock();
        let handle = tokio::spawn(future);
        if inner.aborted {
            handle.abort();
            return handle;
        }
        if inner.handles.len() >= inner.sweep_at.max(64) {
            inner.handles.retain(|h| !h.is_finished());
            inner.sweep_at = inner.handles.len() * 2;
        }
        inner.handles.push(handle.abort_handle());
        handle
    }

    /// Stops every task of the group at its next await, and those spawned later before their first step.
    pub fn abort_all(&self) {
        let mut inner = self.inner.lock();
        inner.aborted = true;
        for handle in inner.handles.drain(..) {
            handle.abort();
        }
    }
}
