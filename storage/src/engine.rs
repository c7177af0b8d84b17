//! The disk seam: what a store asks of the engine below it.
//!
//! Four ordered spaces, and two ways to become durable, because the Raft log is the only log:
//!
//! * [`Engine::append`] writes (Raft entries and hard state, in [`Space::Log`]) are readable at once and durable after the
//!   next [`Engine::sync`]. The group-committing [`crate::log_writer`] is the only caller of `sync`.
//! * [`Engine::apply`] writes (applied state, in the other spaces) are readable at once and durable after the next
//!   [`Engine::flush`]. They have no log of their own: after a crash the state of every space but `Log` is that of some
//!   moment at or after the last flush, *all of it at the same moment*, each batch wholly there or wholly absent, and the
//!   replica replays the Raft log from the applied index it finds in [`Space::Meta`].
//!
//! So a Raft log may be cut only below the applied index that a completed flush covers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// The ordered key spaces of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Space {
    /// Committed MVCC versions.
    Data,
    /// Intents and transaction records, by the user key they stand beside.
    Lock,
    /// Raft entries and hard state. Written by `append` only.
    Log,
    /// Replica-local state: applied index, descriptor, store identity.
    Meta,
}

impl Space {
    /// All spaces.
    pub const ALL: [Space; 4] = [Space::Data, Space::Lock, Space::Log, Space::Meta];
}

/// One change to one space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BatchOp {
    /// Sets `key` to `value`.
    Put { space: Space, key: Bytes, value: Bytes },
    /// Removes `key`; no error if it is not there.
    Delete { space: Space, key: Bytes },
    /// Removes every key in `[start, end)`.
    DeleteRange { space: Space, start: Bytes, end: Bytes },
}

/// Changes that happen together or not at all, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The changes, applied first to last.
    pub ops: Vec<BatchOp>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a put.
    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.ops.push(BatchOp::Put { space, key: key.into(), value: value.into() });
    }
    /// Adds a delete.
    pub fn delete(&mut self, space: Space, key: impl Into<Bytes>) {
        self.ops.push(BatchOp::Delete { space, key: key.into() });
    }
    /// Adds the removal of `[start, end)`.
    pub fn delete_range(&mut self, space: Space, start: impl Into<Bytes>, end: impl Into<Bytes>) {
        self.ops.push(BatchOp::DeleteRange { space, start: start.into(), end: end.into() });
    }
    /// Appends the changes of `other`.
    pub fn extend(&mut self, other: Batch) {
        self.ops.extend(other.ops);
    }
    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

/// What a store can suffer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// No space left: the write did not happen, reads go on. SQLSTATE `53100`.
    #[error("could not write: no space left on device ({0})")]
    DiskFull(String),
    /// A checksum or an invariant of the format does not hold. The range stops.
    #[error("corruption: {0}")]
    Corruption(String),
    /// The store was written by a newer version, or is not a store.
    #[error("store format: {0}")]
    Format(String),
    /// Any other failure of the disk or engine.
    #[error("storage: {0}")]
    Io(String),
}

/// The result of an engine call.
pub type Result<T, E = StorageError> = std::result::Result<T, E>;

/// The lower (included) and upper (excluded) bound of a look-up, on the stack unless keys are long.
pub type Bounds = (SmallVec<[u8; 96]>, SmallVec<[u8; 96]>);

/// Reads, from the newest state ([`Engine`]) or from a frozen one ([`Engine::snapshot`]).
pub trait Reader: Send + Sync {
    /// The value of `key`, if there is one.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>>;

    /// A cursor over `[lower, upper)`, on a state that does not change while the cursor lives. It stands nowhere until a seek.
    fn cursor<'a>(&'a self, space: Space, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + 'a>>;

    /// [`Reader::first_in`] for many bounds, in their order. Each answer is that of some moment during the call.
    fn firsts(&self, space: Space, bounds: &[Bounds]) -> Result<Vec<Option<(Bytes, Bytes)>>> {
        bounds.iter().map(|(lower, upper)| self.first_in(space, lower, upper)).collect()
    }

    /// The first key in `[lower, upper)` and its value. What a point read of the newest version is, so engines make it quick.
    fn first_in(&self, space: Space, lower: &[u8], upper: &[u8]) -> Result<Option<(Bytes, Bytes)>> {
        let mut cursor = self.cursor(space, lower, upper)?;
        cursor.seek_to_first();
        if !cursor.valid() {
            cursor.status()?;
            return Ok(None);
        }
        Ok(Some((Bytes::copy_from_slice(cursor.key()), Bytes::copy_from_slice(cursor.value()))))
    }
}

/// A position in an ordered space. `key` and `value` may be called only while `valid`.
pub trait Cursor {
    /// To the first key at or above `key` (and the lower bound).
    fn seek(&mut self, key: &[u8]);
    /// To the last key at or below `key` (and below the upper bound).
    fn seek_for_prev(&mut self, key: &[u8]);
    /// To the first key within bounds.
    fn seek_to_first(&mut self);
    /// To the last key within bounds.
    fn seek_to_last(&mut self);
    /// To the next key.
    fn next(&mut self);
    /// To the previous key.
    fn prev(&mut self);
    /// Whether the cursor stands on a key. `false` after the end or after an error: ask `status`.
    fn valid(&self) -> bool;
    /// The key it stands on.
    fn key(&self) -> &[u8];
    /// The value it stands on.
    fn value(&self) -> &[u8];
    /// Key and value it stands on, if it does: dearer engines answer this in fewer calls than one by one.
    fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.valid().then(|| (self.key(), self.value()))
    }
    /// The error that ended the iteration, if one did.
    fn status(&self) -> Result<()>;
}

/// The disk seam. All calls may block on the disk; none may be made while holding a lock that a reader needs.
pub trait Engine: Reader + std::fmt::Debug + 'static {
    /// A frozen view of all spaces at once.
    fn snapshot<'a>(&'a self) -> Box<dyn Reader + 'a>;
    /// Whether something new of about `bytes` may be begun: [`StorageError::DiskFull`] if not. A disk that fills up refuses this before it
    /// refuses appends, so that what was let in finds room.
    fn admit_proposal(&self, bytes: u64) -> Result<()>;
    /// Writes log records: readable now, durable after [`Engine::sync`].
    fn append(&self, batch: &Batch) -> Result<()>;
    /// Makes every `append` that returned before this call durable (one fsync).
    fn sync(&self) -> Result<()>;
    /// Writes applied state: readable now, durable after [`Engine::flush`]. What the log accepted must be able to take effect, so
    /// a disk that fills up refuses appends long before applies.
    fn apply(&self, batch: &Batch) -> Result<()>;
    /// Makes every `apply` that returned before this call durable.
    fn flush(&self) -> Result<()>;
    /// Approximate bytes that `[start, end)` of `space` takes.
    fn approximate_size(&self, space: Space, start: &[u8], end: &[u8]) -> Result<u64>;
    /// Figures for metrics, by name: `syncs`, `bytes_appended`, `bytes_applied`, `free_bytes`, and what else the engine counts.
    fn counters(&self) -> Vec<(&'static str, u64)>;
}
