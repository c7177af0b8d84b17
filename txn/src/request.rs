//! What coordinators and leaseholders say to each other.
//!
//! A [`Batch`] goes to one range and holds one [`Request`], which may name many keys. On the same node it is passed by
//! reference; to another node it travels as postcard over `Service::Kv`, inside an [`Envelope`] beside the few messages
//! that go from node to node rather than to a range (deadlock probes, liveness of coordinators).
//!
//! Every request may be repeated (C8): reads are idempotent, landings recognise their own intents and versions, records
//! move by compare-and-set, and final states stay.

use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_replication::api::{NodeId, NotLeaseholder, RangeDescriptor, RangeId};
use meridian_storage::mvcc::{AttemptId, Direction};
use meridian_storage::{Key, Span};
use serde::{Deserialize, Serialize};

use crate::api::{Columns, KvError, LockStrength, LockWait, Locking};
use crate::digest::Digest;

/// Names a version: when it was written and by whom. Never compared by value (C8).
pub type VersionId = (Timestamp, AttemptId);

/// Who asks, and from which snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The attempt; `attempt::NOBODY` for the system itself.
    pub attempt: AttemptId,
    /// Its snapshot.
    pub read_ts: Timestamp,
}

/// One request to one range.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// Which range the sender believes in charge.
    pub range: RangeId,
    /// Who asks.
    pub header: Header,
    /// What.
    pub request: Request,
    /// The sender cannot reach the leaseholder: whoever gets this and is not it is to pass it on.
    pub forward: bool,
}

/// A point read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PointGet {
    /// The key.
    pub key: Key,
    /// Lock it and read its newest version.
    pub lock: Option<Locking>,
}

/// One page of one range.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RangeScan {
    /// The part of the scan that lies in this range.
    pub span: Span,
    /// Which way.
    pub direction: Direction,
    /// What the digest covers when there is no program.
    pub columns: Columns,
    /// Output rows at most (0: no limit).
    pub limit_rows: u64,
    /// Output bytes at most, about.
    pub limit_bytes: u64,
    /// Filters, projects, aggregates.
    pub program: Option<Bytes>,
    /// Lock what comes out.
    pub lock: Option<Locking>,
    /// A locking scan of the header's snapshot instead of the newest versions (REPEATABLE READ): a row that has a newer one is a conflict.
    pub snapshot: bool,
    /// The read will be validated: what comes out is digested. Else the digest means nothing.
    pub recorded: bool,
}

/// A point read to validate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PointRead {
    /// The key.
    pub key: Key,
    /// The version seen; `None` if there was none.
    pub version: Option<VersionId>,
    /// What the reader depends on.
    pub columns: Columns,
    /// The digest of those columns as seen.
    pub digest: Digest,
    /// Validated up to here already.
    pub valid_at: Timestamp,
}

/// A span read to validate: the same scan must give the same digest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpanRead {
    /// Exactly the stretch that was read.
    pub span: Span,
    /// Which way.
    pub direction: Direction,
    /// What the digest covers when there is no program.
    pub columns: Columns,
    /// The program whose output the digest covers.
    pub program: Option<Bytes>,
    /// The digest of the output.
    pub digest: Digest,
    /// Validated up to here already.
    pub valid_at: Timestamp,
}

/// Reads that must hold at some timestamp.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Reads {
    /// Point reads.
    pub points: Vec<PointRead>,
    /// Span reads.
    pub spans: Vec<SpanRead>,
}

impl Reads {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.spans.is_empty()
    }
}

/// C4: what the newest version of a key must be where a write lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Landing {
    /// The key was never read: anything.
    Any,
    /// No row.
    Absent,
    /// Exactly this version (`None`: there never was one).
    Version(Option<VersionId>),
    /// No row, and laid early as part of this portion (from 1) of a bulk load: an own intent of another portion is a second row with the same key.
    Fresh(u32),
}

/// A write about to land.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Write {
    /// The key.
    pub key: Key,
    /// `None` deletes.
    pub value: Option<Bytes>,
    /// C4.
    pub landing: Landing,
}

/// A request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Point reads, locking or not.
    Get { gets: Vec<PointGet> },
    /// A scan.
    Scan(RangeScan),
    /// Are these reads still valid at `at`? Raises the timestamp cache there like any read.
    Validate { reads: Reads, at: Timestamp },
    /// Commit at or above `at` in one proposal. `remote_reads`: there are reads elsewhere too, so a pushed commit must come back.
    OnePhase { at: Timestamp, writes: Vec<Write>, reads: Reads, remote_reads: bool },
    /// Lay intents at or above `at`; in the anchor's range also write the staging record (parallel commit).
    Intents { at: Timestamp, anchor: Key, writes: Vec<Write>, stage: Option<Vec<Key>> },
    /// Write the staging record alone (later rounds).
    Stage { at: Timestamp, anchor: Key, keys: Vec<Key> },
    /// Commit at `at` by the record alone, all intents being in place: for transactions with too many keys to list in a staging record.
    CommitRecord { at: Timestamp, anchor: Key },
    /// Write the final record (C5) and resolve `keys`, which lie in the anchor's range, in the same proposal. Only the coordinator sends it:
    /// it knows what it decided. `at`: `None` aborts.
    Finish { anchor: Key, at: Option<Timestamp>, keys: Vec<Key> },
    /// A record whose intents are all resolved goes.
    Forget { anchor: Key },
    /// A sign of life; creates the record if there is none.
    Heartbeat { anchor: Key },
    /// Asks for the fate of `target`, and may settle it. `to`: let it commit only above this (C7). `force`: its coordinator is known to be gone;
    /// `suspect`: it has not been reached for a while.
    Push { target: AttemptId, anchor: Key, to: Option<Timestamp>, force: bool, suspect: bool },
    /// Recovery asks for the intents of `target`; those that are not there at or below `at` are prevented for ever (C6).
    Prevent { target: AttemptId, at: Timestamp, keys: Vec<Key> },
    /// Recovery decides, if the record still stands at the very staging it asked about (C6).
    Recover { target: AttemptId, anchor: Key, staged: Timestamp, commit: bool },
    /// Makes intents of `target` versions at `at`, or removes them.
    Resolve { target: AttemptId, at: Option<Timestamp>, keys: Vec<Key> },
    /// The same for a portion of the intents of `target` in `span`; answered with what is left of it.
    ResolveSpan { target: AttemptId, at: Option<Timestamp>, span: Span },
    /// What the record of `target` says, from somebody who could reach it, after [`Refusal::Unsettled`] on `key`.
    Learn { target: AttemptId, fate: Fate, key: Key },
    /// Frees all locks of the attempt in this range, near `key`.
    Release { key: Key },
    /// Makes a range begin at `key`.
    Split { key: Key },
    /// Gives up one lock of the attempt and its place in that queue, or all of the lock but `keep`.
    Unlock { key: Key, keep: Option<LockStrength> },
    /// Many scans without locks, in order; answered as far as one answer reaches.
    Scans { scans: Vec<RangeScan> },
}

impl Request {
    /// Whether the leaseholder may have to wait for another client: such a call gets a long deadline.
    pub fn may_wait_for_locks(&self) -> bool {
        match self {
            Request::Get { gets } => gets.iter().any(|g| g.lock.is_some()),
            Request::Scan(scan) => scan.lock.is_some(),
            Request::OnePhase { .. } | Request::Intents { .. } => true,
            _ => false,
        }
    }
}

/// The answer to a [`PointGet`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PointReply {
    /// The value.
    pub value: Option<Bytes>,
    /// Which version, tombstones included (C10).
    pub version: Option<VersionId>,
    /// A write of this key could land here, as things stand: spares a round at commit.
    pub hint: Timestamp,
    /// `SKIP LOCKED` left it out.
    pub skipped: bool,
}

/// A row that a locking scan locked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LockedRow {
    /// Its key.
    pub key: Key,
    /// Its newest version.
    pub version: VersionId,
    /// Digest of the whole value.
    pub digest: Digest,
}

/// The answer to a [`RangeScan`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScanReply {
    /// Output rows.
    pub rows: Vec<(Key, Bytes)>,
    /// What is left of the span that was asked for.
    pub resume: Option<Span>,
    /// Digest of the output of the stretch covered.
    pub digest: Digest,
    /// The newest version looked at, tombstones and filtered rows included (C10).
    pub newest: Timestamp,
    /// The stretch is as read at this timestamp, and stays so.
    pub valid_at: Timestamp,
    /// Rows locked.
    pub locked: Vec<LockedRow>,
    /// A write could land here.
    pub hint: Timestamp,
}

/// What a push found or did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Fate {
    /// Its coordinator is alive: wait.
    Live,
    /// It can commit only at or above this now.
    Pushed(Timestamp),
    /// Abandoned while staging: recover it.
    Staging { at: Timestamp, keys: Vec<Key> },
    /// Committed.
    Committed(Timestamp),
    /// Aborted.
    Aborted,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Response {
    /// To `Get`, in order.
    Points(Vec<PointReply>),
    /// To `Scan`.
    Page(ScanReply),
    /// To `Validate`: all valid; the newest version compared.
    Valid(Timestamp),
    /// To `OnePhase`: committed at.
    Committed(Timestamp),
    /// To `OnePhase`, `Stage`, `Intents`: not done at the timestamp asked for; possible at or above this one. (Intents are laid nonetheless.)
    Pushed(Timestamp),
    /// To `Intents`, `Stage`: done at or below the timestamp asked for.
    Landed,
    /// To `Push`, `Recover`.
    Fate(Fate),
    /// To `ResolveSpan`: what is left.
    Resolved(Option<Span>),
    /// To `Prevent`: whether all were there.
    AllThere(bool),
    /// Done.
    Done,
    /// To `Scans`: of the first of them, in order, at least of one.
    Pages(Vec<ScanReply>),
}

/// Why a range did not do as asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Refusal {
    /// Go elsewhere.
    NotLeaseholder(NotLeaseholder),
    /// The keys are not (all) in this range any more; these ranges are nearby.
    Mismatch(Vec<RangeDescriptor>),
    /// It may have happened: ask again.
    Ambiguous(String),
    /// It was passed on to this node, which did not answer: it may have happened or yet happen.
    NotAnswered(NodeId),
    /// The intent of `target` on `key` is in the way, and its record cannot be reached from here. Nothing was done: whoever asked may reach both, and is to settle
    /// it, tell this range, and ask again. `suspect`: nothing was heard of its coordinator here for a while.
    Unsettled { target: AttemptId, anchor: Key, key: Key, push_to: Option<Timestamp>, suspect: bool },
    /// For the transaction.
    Kv(KvError),
}

impl From<KvError> for Refusal {
    fn from(error: KvError) -> Self {
        Refusal::Kv(error)
    }
}

impl From<meridian_storage::StorageError> for Refusal {
    fn from(error: meridian_storage::StorageError) -> Self {
        Refusal::Kv(storage_error(error))
    }
}

/// How a disk error looks to a transaction.
pub fn storage_error(error: meridian_storage::StorageError) -> KvError {
    use meridian_storage::StorageError;
    match error {
        StorageError::DiskFull(m) => KvError::DiskFull(m),
        StorageError::Corruption(m) => KvError::Corruption(m),
        other => KvError::Unavailable(other.to_string()),
    }
}

/// What a node says to a node about transactions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum NodeMessage {
    /// To the waiter's coordinator: `waiter` waits for `holders` on `key`.
    Waiting { waiter: AttemptId, holders: Vec<AttemptId>, key: Key },
    /// To the coordinator of the last of `path`: each waits for the next. Found to be a circle, the youngest dies.
    Probe { path: Vec<AttemptId>, key: Key },
    /// To the coordinator of `victim`: give up, you are part of a deadlock.
    Victim { victim: AttemptId, key: Key, detail: String },
}

/// All that travels over `Service::Kv`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Envelope {
    /// To a range; answered with `Result<Response, Refusal>`.
    Batch(Batch),
    /// To a node; one-way.
    Node(NodeMessage),
    /// Are these attempts still run by this node? Answered with `Vec<bool>`.
    Alive(Vec<AttemptId>),
    /// The locks of the ranges served here. Answered with `Vec<LockInfo>`.
    Locks,
    /// Whose attempts are these? Answered with `Vec<SessionId>`.
    Sessions(Vec<AttemptId>),
    /// For a node that the sender cannot reach: a question, answered with `Option<Vec<u8>>`, or a one-way message.
    Relay { to: NodeId, body: Vec<u8> },
    /// A read in the past that the replica there may answer if it can; the answer is `Option<Response>`.
    Nearby(Batch),
}

/// How strong a lock a landing write needs if its transaction holds none.
pub const LANDING_LOCK: Locking = Locking { strength: LockStrength::Update, wait: LockWait::Block(None) };
