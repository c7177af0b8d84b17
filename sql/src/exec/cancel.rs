//! Cancellation: one token a statement, seen between batches and during every wait.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::{Result, SqlError, SqlState};

/// Says whether a statement is to stop, and why. Clones share the flag.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    shared: Arc<Shared>,
    /// `statement_timeout`, as the moment it strikes.
    pub deadline: Option<Instant>,
}

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    notify: Notify,
}

impl CancelToken {
    /// A token that nobody has cancelled, for the next statement: same flag owner, another deadline.
    pub fn with_deadline(&self, deadline: Option<Instant>) -> Self {
        CancelToken { shared: self.shared.clone(), deadline }
    }
    /// Asks the statement to stop (a CancelRequest, `pg_cancel_backend`).
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
        self.shared.notify.notify_waiters();
    }
    /// Forgets a cancellation that came too late for its statement.
    pub fn reset(&self) {
        self.shared.cancelled.store(false, Ordering::Release);
    }
    /// `57014` if the statement is to stop.
    pub fn check(&self) -> Result<()> {
        if self.shared.cancelled.load(Ordering::Acquire) {
            return Err(SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to user request"));
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(timeout()),
            _ => Ok(()),
        }
    }
    /// Runs `work`, giving it up when the statement is to stop.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        let notified = self.shared.notify.notified();
        tokio::pin!(notified);
        // Registered before the flag is read: a cancellation in between is not lost.
        notified.as_mut().enable();
        self.check()?;
        match self.deadline {
            None => tokio::select! {
                biased;
                value = work => Ok(value),
                () = notified => Err(SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")),
            },
            Some(deadline) => tokio::select! {
                biased;
                value = work => Ok(value),
                () = notified => Err(SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")),
                () = tokio::time::sleep_until(deadline) => Err(timeout()),
            },
        }
    }
}

fn timeout() -> SqlError {
    SqlError::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
}
