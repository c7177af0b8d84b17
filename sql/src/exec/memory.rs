//! Memory of one query: a budget that operators reserve from before they buffer, and that tells them when to spill.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Result, SqlError, SqlState};

/// Bytes a query may hold before its operators spill.
pub const DEFAULT_WORK_MEM_BYTES: usize = 64 * 1024 * 1024;

/// One query's budget, shared by its operators.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    used: Arc<AtomicUsize>,
    /// Bytes at which operators begin to spill.
    pub limit: usize,
}

impl Default for MemoryBudget {
    fn default() -> Self {
        MemoryBudget::new(DEFAULT_WORK_MEM_BYTES)
    }
}

impl MemoryBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        MemoryBudget { used: Arc::default(), limit }
    }
    /// A reservation of nothing, to grow.
    pub fn reservation(&self) -> Reservation {
        Reservation { budget: self.clone(), held: 0 }
    }
}

/// What one operator holds of a budget. Given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    held: usize,
}

impl Reservation {
    /// Adds `bytes`; answers whether the query is still within its budget. Past it the caller spills.
    pub fn grow(&mut self, bytes: usize) -> bool {
        self.held += bytes;
        self.budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.budget.limit
    }
    /// Adds `bytes` that cannot be spilled. Four times the budget is the end: `53200`.
    pub fn require(&mut self, bytes: usize, what: &str) -> Result<()> {
        self.held += bytes;
        let used = self.budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used > self.budget.limit.saturating_mul(4) {
            return Err(SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory")
                .detail(format!("{what} needs more than four times the query's memory budget of {} bytes.", self.budget.limit))
                .hint("Raise work_mem, or make the query touch fewer rows at once."));
        }
        Ok(())
    }
    /// Gives everything back.
    pub fn release(&mut self) {
        self.budget.used.fetch_sub(self.held, Ordering::Relaxed);
        self.held = 0;
    }
    /// Bytes held.
    pub fn held(&self) -> usize {
        self.held
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}
