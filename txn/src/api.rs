//! What SQL sees of the layers below: an ordered, strictly serializable key-value store.
//!
//! SQL hands over keys, opaque row values in the storage row format, and opaque scan programs that it registered an
//! evaluator for; nothing below names a SQL type.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_replication::api::{NodeId, RangeDescriptor};
use meridian_storage::mvcc::{AttemptId, Direction};
use meridian_storage::{Key, Span};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// How isolated a transaction is. Each gives at least what PostgreSQL documents for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Isolation {
    /// Strictly serializable: the default and the product.
    #[default]
    Serializable,
    /// One snapshot; write-write conflicts end in `40001`.
    RepeatableRead,
    /// A fresh snapshot per statement; write-write conflicts wait and go on with the newest version.
    ReadCommitted,
}

/// How to begin a transaction.
#[derive(Clone, Debug, Default)]
pub struct TxnOptions {
    /// Isolation level.
    pub isolation: Isolation,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Reads in the past: no locks, no waits, read-only.
    pub as_of: Option<Timestamp>,
    /// For messages to users: application name, user.
    pub description: String,
    /// Whose transaction it is.
    pub session: SessionId,
}

/// Which columns of a row a read depends on: validation by value compares only these (C3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Columns {
    /// The whole value.
    #[default]
    All,
    /// Only whether the row is there.
    Existence,
    /// These column ids of the storage row format.
    Some(SmallVec<[u32; 8]>),
}

/// The row-lock strengths of PostgreSQL, weakest first, with its compatibility table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum LockStrength {
    /// `FOR KEY SHARE`
    KeyShare,
    /// `FOR SHARE`
    Share,
    /// `FOR NO KEY UPDATE`, and updates that change no key
    NoKeyUpdate,
    /// `FOR UPDATE`, deletes, key updates, inserts
    Update,
}

/// What to do about a lock that somebody else holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LockWait {
    /// Queue, at most this long (`None`: until it is free). Past it: [`KvError::LockTimeout`].
    Block(Option<Duration>),
    /// [`KvError::LockNotAvailable`] at once.
    NoWait,
    /// Leave the row out.
    SkipLocked,
}

/// A lock asked for together with a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locking {
    /// How strong.
    pub strength: LockStrength,
    /// What to do if it is held.
    pub wait: LockWait,
}

/// A point read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Get {
    /// The key.
    pub key: Key,
    /// What the reader depends on.
    pub columns: Columns,
    /// Lock the key (present or not) and read its *newest* version.
    pub lock: Option<Locking>,
}

/// The answer to a [`Get`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Got {
    /// The value, `None` if there is no row.
    Value(Option<Bytes>),
    /// `SKIP LOCKED` left it out.
    Skipped,
}

/// A scan of one page. A program filters, projects and aggregates at the leaseholder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// The keys.
    pub span: Span,
    /// Which way.
    pub direction: Direction,
    /// What the reader depends on, when there is no program. With a program the dependency is the program's output.
    pub columns: Columns,
    /// At most this many output rows (0: no limit).
    pub limit_rows: u64,
    /// Stop after about this many output bytes (0: the default page size).
    pub limit_bytes: u64,
    /// Evaluated at the leaseholder by the registered [`ProgramEvaluator`]; output rows are then the program's.
    pub program: Option<Bytes>,
    /// Lock every row that the scan outputs (that the program lets pass, if there is one; such a program must be row-wise).
    pub lock: Option<Locking>,
}

/// What a scan gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Key and value; or, with a program, the key of the input row (empty for aggregates) and the program's output.
    pub rows: Vec<(Key, Bytes)>,
    /// What is left of the span; `None` when the scan is complete.
    pub resume: Option<Span>,
}

/// A scan program, as `sql` registers it with `txn` (which never looks inside).
pub trait ProgramEvaluator: Send + Sync + fmt::Debug {
    /// Readies a program. `Err` is a message for a developer: the program came from our own planner.
    fn start(&self, program: &Bytes) -> Result<Box<dyn Program>, String>;
}

/// One run of a scan program over a stretch of rows.
pub trait Program: Send {
    /// Feeds a row. May push output rows. An `Err` is a user error (for instance division by zero), encoded by SQL.
    fn row(&mut self, key: &[u8], value: &[u8], out: &mut Vec<(Key, Bytes)>) -> Result<(), ProgramError>;
    /// The end of this stretch: partial aggregates come out here.
    fn finish(&mut self, out: &mut Vec<(Key, Bytes)>) -> Result<(), ProgramError>;
}

/// A user error raised while a program ran, encoded by SQL and opaque here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramError(pub Bytes);

/// What must hold where a buffered write lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// The version that this transaction read under its lock (C4), or nothing if it never read the key.
    AsRead,
    /// No row: otherwise the commit fails with [`KvError::KeyExists`]. Spares an insert the round trip of a locking read.
    Absent,
}

/// A mark in the write buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Savepoint(pub u64);

/// Counters of one transaction, for `EXPLAIN ANALYZE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxnStats {
    /// Batches sent to leaseholders on this node.
    pub local_batches: u64,
    /// Batches sent over the network.
    pub remote_batches: u64,
    /// Distinct ranges touched.
    pub ranges: u64,
    /// Times that `read_ts` moved and reads were validated.
    pub validations: u64,
}

/// Why a transaction has to begin again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
pub enum RetryCause {
    /// C4, or the snapshot rule of REPEATABLE READ.
    #[error("a row that this transaction changes was changed by a concurrent transaction")]
    WriteConflict,
    /// C3.
    #[error("what this transaction read was changed by a concurrent transaction")]
    ReadChanged,
    /// A plain read, and then the lock on another version.
    #[error("a row changed between this transaction's read and its lock")]
    ChangedBeforeLock,
    /// More reads than are kept for validation.
    #[error("the transaction read too much to be validated at a later time")]
    TooManyReads,
    /// A scan's digest covers what are two ranges now.
    #[error("a range that this transaction scanned was split meanwhile")]
    RangeSplit,
    /// Readers were faster, again and again.
    #[error("the commit was pushed too often by concurrent transactions")]
    PushedTooOften,
    /// C7.
    #[error("this transaction was aborted by one that took its coordinator for dead")]
    TakenForDead,
    /// Its locks were released while it waited for another.
    #[error("the transaction was ended while it waited for another")]
    Ended,
}

impl RetryCause {
    /// All of them.
    pub const ALL: [RetryCause; 8] = [
        RetryCause::WriteConflict,
        RetryCause::ReadChanged,
        RetryCause::ChangedBeforeLock,
        RetryCause::TooManyReads,
        RetryCause::RangeSplit,
        RetryCause::PushedTooOften,
        RetryCause::TakenForDead,
        RetryCause::Ended,
    ];

    /// A word for metrics.
    pub fn label(self) -> &'static str {
        match self {
            RetryCause::WriteConflict => "write_conflict",
            RetryCause::ReadChanged => "read_changed",
            RetryCause::ChangedBeforeLock => "changed_before_lock",
            RetryCause::TooManyReads => "too_many_reads",
            RetryCause::RangeSplit => "range_split",
            RetryCause::PushedTooOften => "pushed_too_often",
            RetryCause::TakenForDead => "taken_for_dead",
            RetryCause::Ended => "ended",
        }
    }

    /// The error for one key, of which nothing more is known.
    pub fn at(self, key: Key) -> KvError {
        KvError::Retry { cause: self, key, columns: Vec::new(), other: None }
    }
}

/// What can be read off an attempt id: the node that runs the transaction, and when it began.
pub fn who(attempt: AttemptId) -> (NodeId, Timestamp) {
    (crate::attempt::coordinator(attempt), crate::attempt::started(attempt))
}

/// What a transaction can meet. Each variant is something that the caller acts on differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum KvError {
    /// `40001`: begin again. SQL does so itself as long as nothing has been sent to the client. `columns`: of `key`, those that were read, empty
    /// if that was all of the row or is not known; `other`: who
    /// was faster, if known.
    #[error("{cause}")]
    Retry { cause: RetryCause, key: Key, columns: Vec<u32>, other: Option<AttemptId> },
    /// `40P01`: chosen as the victim of a deadlock.
    #[error("deadlock detected")]
    Deadlock { key: Key, detail: String },
    /// `55P03` after `lock_timeout`.
    #[error("canceling statement due to lock timeout")]
    LockTimeout { key: Key },
    /// `55P03`, `NOWAIT`.
    #[error("could not obtain lock")]
    LockNotAvailable { key: Key },
    /// `23505` once SQL has named the constraint: [`Expect::Absent`] did not hold.
    #[error("key exists")]
    KeyExists { key: Key },
    /// `40003`: the commit may or may not have happened.
    #[error("the outcome of the commit is unknown: {0}")]
    Ambiguous(String),
    /// `53100`: no space on a store.
    #[error("could not write: {0}")]
    DiskFull(String),
    /// `53000`-class: queues are full.
    #[error("overloaded: {0}")]
    Overloaded(String),
    /// `08006`-class / `57P03`: a range cannot be reached now.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// `55000`: a read below the garbage collection horizon, or in the future.
    #[error("{0}")]
    TimestampOutOfRange(String),
    /// `54000`: a limit of the layer, named in the message.
    #[error("{0}")]
    LimitExceeded(String),
    /// A user error raised by a scan program.
    #[error("error in pushed-down expression")]
    Program(ProgramError),
    /// `25006`: a write in a read-only transaction.
    #[error("cannot write in a read-only transaction")]
    ReadOnly,
    /// `XX001`: a checksum or an invariant does not hold.
    #[error("corruption: {0}")]
    Corruption(String),
    /// `XX000`: a bug of ours.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Locks of sessions live below this prefix (see `coordinator::session_locks`), as storage's map of the key space has it.
pub const SESSION_LOCK_PREFIX: u8 = meridian_storage::key::SESSION_PREFIX;

/// A session of a node: transactions of one session, and the locks it holds beside them, count as one in the search for deadlocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionId(pub i32);

impl SessionId {
    /// Work of the node itself.
    pub const NONE: SessionId = SessionId(0);
}

/// Locks by name that one session holds, across its transactions. Dropping it releases them; so does the death of its node.
#[async_trait]
pub trait SessionLocks: Send {
    /// Takes a lock, or makes one that is held as strong as asked. `false`: not without waiting.
    ///
    /// # Errors
    /// [`KvError::LockTimeout`], [`KvError::Deadlock`], or the range cannot be reached; nothing has changed then.
    async fn acquire(&mut self, name: &[u8], strength: LockStrength, wait: LockWait) -> Result<bool, KvError>;
    /// Gives a lock up, or all of it but `keep`.
    async fn release(&mut self, name: &[u8], keep: Option<LockStrength>) -> Result<(), KvError>;
    /// Whether locks were lost: this node could not be heard for so long that others may have taken them.
    fn lost(&self) -> bool;
}

/// A lock that is held or waited for, as `pg_locks` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockInfo {
    /// What is locked.
    pub key: Key,
    /// The name, if it is a lock of a session rather than of a row.
    pub name: Option<Vec<u8>>,
    /// By or for whom.
    pub attempt: AttemptId,
    /// The node that runs the attempt.
    pub node: NodeId,
    /// The session there, if it could be asked and is one.
    pub session: SessionId,
    /// How strongly.
    pub strength: LockStrength,
    /// Held rather than waited for.
    pub granted: bool,
    /// Whom a waiter waits for.
    pub waits_for: Vec<AttemptId>,
    /// Their sessions, as far as known.
    pub blocked_by: Vec<SessionId>,
}

/// One row of `SHOW RANGES`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeInfo {
    /// The descriptor, as range addressing has it.
    pub descriptor: RangeDescriptor,
    /// The leaseholder, as far as this gateway knows.
    pub leaseholder: Option<NodeId>,
}

/// Locks that one node shows.
pub const LOCKS_SHOWN_MAX: usize = 20_000;

/// The key-value store as one gateway sees it.
#[async_trait]
pub trait Kv: Send + Sync + fmt::Debug {
    /// Begins a transaction: `L = now().latest`. Sends nothing.
    fn begin(&self, options: TxnOptions) -> Box<dyn KvTxn>;
    /// Registers the evaluator of scan programs, on every node before it serves.
    fn register_programs(&self, evaluator: Arc<dyn ProgramEvaluator>);
    /// Makes a range begin at `key`.
    async fn split_at(&self, key: Key) -> Result<(), KvError>;
    /// The ranges that overlap `span`.
    async fn ranges(&self, span: Span) -> Result<Vec<RangeInfo>, KvError>;
    /// The locks that a session will hold: none yet.
    fn session_locks(&self, session: SessionId) -> Box<dyn SessionLocks>;
    /// Locks held and waited for, of rows and of sessions, on all nodes that answer at once; at most [`LOCKS_SHOWN_MAX`] a node.
    async fn locks(&self) -> Vec<LockInfo>;
    /// This node.
    fn node(&self) -> NodeId;
    /// `now().latest` of this gateway's clock, for `now()` and `AS OF SYSTEM TIME`.
    fn now(&self) -> Timestamp;
    /// A time at which any replica can normally be read: as far back as closed timestamps trail, and a little more.
    fn follower_read_timestamp(&self) -> Timestamp;
    /// The latest time at which everything on this node can be read without asking another: what it leads, and what is closed of the rest.
    fn closed_nearby(&self) -> Timestamp;
}

/// A transaction at its gateway. Dropping it unfinished rolls it back.
///
/// Reads overlay the transaction's own buffered writes up to the last [`KvTxn::begin_statement`], so that a statement does not see
/// its own effects; locking reads overlay all of them.
///
/// After an error other than `LockNotAvailable`, `LockTimeout`, `KeyExists` from a locking read, or `Program`, only `rollback` and `restart` are
/// allowed, and `rollback_to` if the commit has not begun: the transaction goes on from the mark, with the locks and the reads it has.
#[async_trait]
pub trait KvTxn: Send {
    /// The present attempt.
    fn attempt(&self) -> AttemptId;
    /// The snapshot that reads see.
    fn read_timestamp(&self) -> Timestamp;
    /// Starts a statement: reads see all that was written before it. READ COMMITTED takes a fresh snapshot here.
    fn begin_statement(&mut self);
    /// The transaction will not write or lock, and is held to it: from here on it records no reads, like one that began read-only.
    fn only_reads(&mut self) {}
    /// Reads, or locks and reads, many keys at once. Answers in request order. Keys need not be sorted or distinct.
    async fn get(&mut self, gets: Vec<Get>) -> Result<Vec<Got>, KvError>;
    /// Reads one page. Pages of one scan see one snapshot.
    async fn scan(&mut self, scan: Scan) -> Result<Page, KvError>;
    /// Reads the first page of each of many scans, in order. An implementation may read them in parallel; a lookup join asks for hundreds at once.
    async fn scan_many(&mut self, scans: Vec<Scan>) -> Result<Vec<Page>, KvError> {
        let mut pages = Vec::with_capacity(scans.len());
        for scan in scans {
            pages.push(self.scan(scan).await?);
        }
        Ok(pages)
    }
    /// Parts of a span that are worth reading by one [`KvTxn::scan_many`], in order; the span alone if it is to be read in one piece. For scans without
    /// a lock or a limit of rows, of many rows.
    fn scan_parts(&self, span: &Span) -> Vec<Span> {
        vec![span.clone()]
    }
    /// Buffers a write. Asynchronous only because a large buffer is spilled to intents.
    async fn put(&mut self, key: Key, value: Bytes, expect: Expect) -> Result<(), KvError>;
    /// Buffers a delete.
    async fn delete(&mut self, key: Key) -> Result<(), KvError>;
    /// Whether new rows of an index, all of whose entries lie in `within`, can be laid early.
    fn can_lay(&self, within: &Span) -> bool {
        let _ = within;
        false
    }
    /// Bulk load: writes rows whose keys must be new as intents right away, without lock, read or (unless `keep`) buffer. Only where
    /// [`KvTxn::can_lay`] says so. A few portions are on their way at a time: an error may be that of an earlier one. After an error only
    /// `rollback` is allowed; [`KvError::KeyExists`] names the key that was there, in the store or in an earlier portion. `rows` ascend by key.
    /// Without `keep` the transaction must not read `within` again.
    async fn lay(&mut self, within: &Span, rows: Vec<(Key, Bytes)>, keep: bool) -> Result<(), KvError> {
        let _ = (within, rows, keep);
        Err(KvError::Internal("this transaction lays nothing early".into()))
    }
    /// Waits for the portions that are on their way.
    async fn settle_laid(&mut self) -> Result<(), KvError> {
        Ok(())
    }
    /// Marks the present state of the write buffer.
    fn savepoint(&mut self) -> Savepoint;
    /// Restores the write buffer to the mark exactly. The mark stays usable. Reads made since then still count.
    fn rollback_to(&mut self, savepoint: Savepoint) -> Result<(), KvError>;
    /// Commits, waits out the reply rule (T3), and answers with the commit timestamp (the read timestamp if nothing was written).
    async fn commit(&mut self) -> Result<Timestamp, KvError>;
    /// Gives up: locks are released, intents removed behind the caller's back.
    async fn rollback(&mut self);
    /// Waits until `now().earliest` has passed everything seen so far: before a result leaves inside an open transaction (C10).
    async fn wait_reply(&mut self);
    /// Begins again after [`KvError::Retry`] or [`KvError::Deadlock`]: a new attempt, a new `L`, an empty buffer. From the second restart on, plain reads take locks (C9).
    fn restart(&mut self);
    /// Moves the snapshot of a strict transaction to the present, if all that it has read is still so; else it stays. For one that has waited
    /// for something outside of itself (an advisory lock), and would otherwise go on from before the wait.
    async fn advance(&mut self) -> Result<(), KvError>;
    /// Whether anything is buffered or was written.
    fn has_writes(&self) -> bool;
    /// Counters so far.
    fn stats(&self) -> TxnStats;
}
