//! One transaction at its gateway (T1, T3, C1–C10).
//!
//! ```text
//!   begin          L = now().latest; every read is a snapshot read at read_ts = L                         (T1, C1)
//!   get, scan      own buffered writes over what the leaseholders answer; each answer goes into the read set
//!   locking read   the newest version; newer than read_ts: earlier reads are validated there and read_ts moves up
//!   put, delete    into the buffer
//!   commit         one range: one proposal (one-phase); several: intents and staging record in parallel     (commit.rs)
//!   answer         when now().earliest has passed the commit timestamp and every version seen             (T3, C10)
//! ```
//! `session_locks` are the locks that outlive transactions. `buffer` holds the writes and the savepoints, `bulk` lays those of a bulk load early, `pages` reads many spans at once, `reads` the read set, `registry` the node's live attempts and the search for deadlocks.

mod buffer;
mod bulk;
mod commit;
mod fetch;
mod pages;
mod reads;
mod registry;
mod session_locks;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use meridian_clock::controls::{self, Control};
use meridian_clock::{Clock, Timestamp};
use meridian_replication::api::RangeId;
use meridian_storage::mvcc::AttemptId;
use meridian_storage::{Key, Span};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::api::{
    Expect, Get, Got, Isolation, KvError, KvTxn, LockStrength, LockWait, Locking, Page, Savepoint, Scan, TxnOptions, TxnStats,
};
use crate::attempt;
use crate::node::Config;
use crate::protect::{Open, Protection};
use crate::request::Header;
use crate::router::{Route, Router};
use buffer::WriteBuffer;
use bulk::Bulk;
use reads::ReadSet;
pub(crate) use registry::{Live, Registry};
pub use session_locks::lock_name;
pub(crate) use session_locks::{Locks, OwnersLease};

/// Bytes of one key with its value at most: what one proposal and one message between nodes carry well.
const ENTRY_BYTES_MAX: usize = 16 << 20;

/// What strictness cost the transactions of a gateway, since the node started.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    /// Answers held back for the clock (T3), and for how long altogether.
    pub replies: Spent,
    /// Times that reads were validated at a later timestamp by asking their leaseholders (C3), and how long that took altogether. Reads in the range
    /// of a one-phase commit are validated in its own step and are not counted: they cost nothing.
    pub validations: Spent,
}

/// How often something took time, and how much.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    pub count: AtomicU64,
    pub micros: AtomicU64,
}

impl Spent {
    fn add(&self, since: Instant) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Count and microseconds.
    pub fn read(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.micros.load(Ordering::Relaxed))
    }
}

/// What all transactions of a gateway share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub router: Arc<Router>,
    pub clock: Clock,
    pub config: Config,
    pub protection: Arc<Protection>,
    pub counter: AtomicU32,
    /// Sessions that hold locks, or have.
    pub owners: AtomicU32,
    pub lease: Arc<OwnersLease>,
    pub waits: Waits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Only `rollback`, `restart` and, before the commit, `rollback_to` are allowed.
    Failed,
    Done,
}

/// A transaction.
pub(crate) struct Txn {
    gateway: Arc<Gateway>,
    options: TxnOptions,
    /// Begun first; kept over restarts, so that a victim of a deadlock does not stay the youngest.
    started: Timestamp,
    attempt: AttemptId,
    restarts: u32,
    read_ts: Timestamp,
    /// That it reads at `read_ts`, for collection, until it is over.
    open: Option<Open>,
    buffer: WriteBuffer,
    bulk: Option<Bulk>,
    /// A bulk load was part of this attempt, even if `bulk` has been taken to its end.
    wrote_bulk: bool,
    /// One failed: what it has laid cannot be told from what it should have.
    bulk_failed: bool,
    reads: ReadSet,
    /// [`KvTxn::only_reads`].
    only_reads: bool,
    /// Where locks may be held: the spans of ranges that were asked for one.
    locked: Vec<Span>,
    live: Option<Arc<Live>>,
    /// C10: the newest version looked at, tombstones and filtered rows included.
    seen: Timestamp,
    /// A commit below this would be pushed, as leaseholders said when they gave a lock.
    hint: Timestamp,
    state: State,
    /// The commit has begun.
    committing: bool,
    stats: TxnStats,
    touched: SmallVec<[RangeId; 8]>,
}

impl Txn {
    pub fn begin(gateway: Arc<Gateway>, options: TxnOptions) -> Self {
        let now = snapshot(&gateway.clock);
        let attempt = next_attempt(&gateway, now);
        let read_ts = options.as_of.unwrap_or(now);
        Txn {
            read_ts,
            open: Some(gateway.protection.open(read_ts, now)),
            started: now,
            attempt,
            restarts: 0,
            buffer: WriteBuffer::default(),
            bulk: None,
            wrote_bulk: false,
            bulk_failed: false,
            reads: ReadSet::default(),
            only_reads: false,
            locked: Vec::new(),
            live: None,
            seen: Timestamp::ZERO,
            hint: Timestamp::ZERO,
            state: State::Open,
            committing: false,
            stats: TxnStats::default(),
            touched: SmallVec::new(),
            options,
            gateway,
        }
    }

    fn header(&self) -> Header {
        Header { attempt: self.attempt, read_ts: self.read_ts }
    }

    fn strict(&self) -> bool {
        self.options.isolation == Isolation::Serializable
    }

    /// Whether reads are recorded at all: nothing is ever validated in a transaction that cannot write, or at the weaker levels.
    fn records_reads(&self) -> bool {
        self.strict() && !self.options.read_only && !self.only_reads && self.options.as_of.is_none()
    }

    /// C9: from the second restart on a strict transaction locks what it reads.
    fn forced_lock(&self) -> Option<Locking> {
        (self.restarts >= 2 && self.records_reads()).then_some(Locking { strength: LockStrength::NoKeyUpdate, wait: LockWait::Block(None) })
    }

    fn check_open(&self) -> Result<(), KvError> {
        match self.state {
            State::Open => Ok(()),
            _ => Err(KvError::Internal("the transaction is over or has failed; only rollback is possible".into())),
        }
    }

    /// A read must lie where nothing was collected yet, and one in the past must lie in the past. It is this look **after** an answer has come that
    /// makes the answer right (`protect`): beyond the horizon a read gets an error, never an answer with versions missing.
    fn check_snapshot(&self) -> Result<(), KvError> {
        let at = self.read_ts;
        if self.options.as_of.is_some() && at > self.gateway.clock.now().latest {
            return Err(KvError::TimestampOutOfRange(format!("cannot read at {at}: it is in the future")));
        }
        self.check_kept(at)
    }

    /// Up to this moment nothing that a look at `at` could need had been collected.
    fn check_kept(&self, at: Timestamp) -> Result<(), KvError> {
        let now = self.gateway.clock.now();
        if !self.gateway.protection.allows(at, now) {
            return Err(KvError::TimestampOutOfRange(self.gateway.protection.refusal(at, self.started, now)));
        }
        Ok(())
    }

    fn read_at(&mut self, at: Timestamp) {
        self.read_ts = at;
        if let Some(open) = &mut self.open {
            open.move_to(at);
        }
    }

    fn check_lock(&self, lock: Option<&Locking>) -> Result<(), KvError> {
        if lock.is_some() && (self.options.as_of.is_some() || self.only_reads) { Err(KvError::ReadOnly) } else { Ok(()) }
    }

    /// After this others may have to wait for this attempt, and can ask whether it lives.
    fn enter(&mut self) {
        if self.live.is_none() {
            self.live = Some(self.gateway.router.registry.enter(self.attempt, self.options.session));
        }
    }

    /// Remembers that locks may be held in a range.
    fn may_hold_locks(&mut self, route: &Route) {
        if !self.locked.iter().any(|s| s.covers(&route.span)) {
            self.locked.push(route.span.clone());
        }
    }

    fn count(&mut self, route: &Route) {
        if route.is_local() {
            self.stats.local_batches += 1;
        } else {
            self.stats.remote_batches += 1;
        }
        if !self.touched.contains(&route.range) {
            self.touched.push(route.range);
            self.stats.ranges = self.touched.len() as u64;
        }
    }

    /// Some of what was counted as going elsewhere was answered by a replica here.
    fn count_nearby(&mut self, nearby: &AtomicU64) {
        let nearby = nearby.load(Ordering::Relaxed);
        self.stats.remote_batches -= nearby;
        self.stats.local_batches += nearby;
    }

    /// Runs something that may wait for other transactions, until it is through or this one must give up.
    async fn guarded<T>(&self, future: impl Future<Output = Result<T, KvError>>) -> Result<T, KvError> {
        let Some(live) = &self.live else { return future.await };
        let outcome = tokio::select! {
            biased;
            error = live.condemned() => Err(error),
            outcome = future => outcome,
        };
        self.gateway.router.registry.goes_on(self.attempt);
        outcome
    }

    /// Marks the transaction failed unless the error is one that it survives.
    fn settle<T>(&mut self, outcome: Result<T, KvError>) -> Result<T, KvError> {
        if let Err(error) = &outcome
            && !matches!(
                error,
                KvError::LockNotAvailable { .. }
                    | KvError::LockTimeout { .. }
                    | KvError::KeyExists { .. }
                    | KvError::Program(_)
                    | KvError::ReadOnly
            )
        {
            self.state = State::Failed;
        }
        outcome
    }

    /// The outcome of a step of a bulk load.
    fn bulk_step(&mut self, outcome: Result<(), KvError>) -> Result<(), KvError> {
        if outcome.is_err() {
            (self.state, self.bulk_failed) = (State::Failed, true);
        }
        outcome
    }

    fn write(&mut self, key: Key, value: Option<Bytes>, expect: Expect) -> Result<(), KvError> {
        check_size(key.len() + value.as_ref().map_or(0, Bytes::len))?;
        self.check_open()?;
        if self.options.read_only || self.only_reads || self.options.as_of.is_some() {
            return Err(KvError::ReadOnly);
        }
        if expect == Expect::Absent && !self.buffer.writes(&key) && self.reads.point(&key).is_some_and(|p| p.locked && p.live) {
            return Err(KvError::KeyExists { key });
        }
        if self.buffer.bytes() > self.gateway.config.buffer_bytes_max {
            return Err(KvError::LimitExceeded(format!(
                "the transaction has written more than {} MiB; split it into smaller ones",
                self.gateway.config.buffer_bytes_max >> 20
            )));
        }
        self.buffer.write(key, value, expect)
    }

    /// T3.
    async fn wait_past(&self, depends_on: Timestamp) {
        if controls::off(Control::ReplyRule) || self.gateway.clock.now().earliest > depends_on {
            return;
        }
        let since = Instant::now();
        self.gateway.clock.wait_until_past(depends_on).await;
        self.gateway.waits.replies.add(since);
    }

    /// Frees all locks of this attempt and lets go of it. Intents of the commit, if any were laid, are somebody else's care by now; those of a bulk load
    /// that never got to its commit go.
    fn let_go(&mut self) {
        self.abandon_bulk();
        if !self.locked.is_empty() {
            self.gateway.router.release_locks(self.attempt, std::mem::take(&mut self.locked));
        }
        if self.live.take().is_some() {
            self.gateway.router.registry.leave(self.attempt);
        }
        self.open = None;
    }
}

fn check_size(bytes: usize) -> Result<(), KvError> {
    if bytes > ENTRY_BYTES_MAX {
        let message = format!("an entry of {bytes} bytes is larger than the {ENTRY_BYTES_MAX} bytes that a row or index entry may take");
        return Err(KvError::LimitExceeded(message));
    }
    Ok(())
}

/// T1: what was answered before lies below this, whichever node answered.
fn snapshot(clock: &Clock) -> Timestamp {
    let now = clock.now();
    if controls::off(Control::StartAtLatest) { now.earliest } else { now.latest }
}

fn next_attempt(gateway: &Gateway, started: Timestamp) -> AttemptId {
    attempt::make(gateway.router.node, started, gateway.counter.fetch_add(1, Ordering::Relaxed))
}

#[async_trait]
impl KvTxn for Txn {
    fn attempt(&self) -> AttemptId {
        self.attempt
    }

    fn read_timestamp(&self) -> Timestamp {
        self.read_ts
    }

    fn begin_statement(&mut self) {
        self.buffer.begin_statement();
        if self.options.isolation == Isolation::ReadCommitted && self.options.as_of.is_none() {
            self.read_at(snapshot(&self.gateway.clock));
            self.reads.forget_plain();
        }
    }

    fn only_reads(&mut self) {
        if self.buffer.is_empty() && self.locked.is_empty() && !self.wrote_bulk {
            self.only_reads = true;
            self.reads = ReadSet::default();
        }
    }

    async fn get(&mut self, gets: Vec<Get>) -> Result<Vec<Got>, KvError> {
        self.check_open()?;
        self.check_snapshot()?;
        let outcome = self.fetch_points(gets).await;
        // It may have waited for long, and only now is it known whether it came in time.
        self.check_snapshot()?;
        self.settle(outcome)
    }

    async fn scan(&mut self, scan: Scan) -> Result<Page, KvError> {
        self.check_open()?;
        self.check_snapshot()?;
        let outcome = self.fetch_page(scan).await;
        self.check_snapshot()?;
        self.settle(outcome)
    }

    async fn scan_many(&mut self, scans: Vec<Scan>) -> Result<Vec<Page>, KvError> {
        self.check_open()?;
        self.check_snapshot()?;
        let outcome = self.fetch_pages(scans).await;
        self.check_snapshot()?;
        self.settle(outcome)
    }

    fn scan_parts(&self, span: &Span) -> Vec<Span> {
        self.parts_of(span)
    }

    async fn put(&mut self, key: Key, value: Bytes, expect: Expect) -> Result<(), KvError> {
        self.write(key, Some(value), expect)
    }

    async fn delete(&mut self, key: Key) -> Result<(), KvError> {
        self.write(key, None, Expect::AsRead)
    }

    fn can_lay(&self, within: &Span) -> bool {
        let writable = !self.options.read_only && !self.only_reads && self.options.as_of.is_none();
        self.state == State::Open && writable && !self.buffer.keeps_back(within)
    }

    async fn lay(&mut self, within: &Span, rows: Vec<(Key, Bytes)>, keep: bool) -> Result<(), KvError> {
        self.check_open()?;
        let outcome = self.lay_portion(within, rows, keep).await;
        self.bulk_step(outcome)
    }

    async fn settle_laid(&mut self) -> Result<(), KvError> {
        let outcome = self.land_portions(0).await;
        self.bulk_step(outcome)
    }

    fn savepoint(&mut self) -> Savepoint {
        self.buffer.savepoint()
    }

    fn rollback_to(&mut self, savepoint: Savepoint) -> Result<(), KvError> {
        self.buffer.rollback_to(savepoint)?;
        // What failed was a read, or the wait for a lock. Whatever it had read or locked by then still counts, so the transaction may go on without it.
        // A commit that failed, or a bulk load that did, has left more behind than the buffer knows.
        if self.state == State::Failed && !self.committing && !self.bulk_failed {
            self.state = State::Open;
            if let Some(live) = &self.live {
                live.acquit();
            }
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<Timestamp, KvError> {
        self.check_open()?;
        self.committing = true;
        let outcome = self.commit_now().await;
        self.state = if outcome.is_ok() { State::Done } else { State::Failed };
        self.let_go();
        // T3, C10: an error depends on what was seen, too.
        let seen = if controls::off(Control::SeenVersions) { Timestamp::ZERO } else { self.seen };
        let depends_on = match &outcome {
            Ok(at) if self.has_writes() => seen.max(*at),
            _ => seen,
        };
        self.wait_past(depends_on).await;
        outcome
    }

    async fn rollback(&mut self) {
        if self.state != State::Done {
            self.state = State::Done;
            self.let_go();
        }
    }

    async fn wait_reply(&mut self) {
        self.wait_past(self.seen).await;
    }

    fn restart(&mut self) {
        self.let_go();
        let now = snapshot(&self.gateway.clock);
        // C1: a new attempt, a new L. What the earlier attempts saw still counts for the answer (C10).
        self.attempt = next_attempt(&self.gateway, self.started);
        self.read_ts = self.options.as_of.unwrap_or(now);
        self.open = Some(self.gateway.protection.open(self.read_ts, now));
        self.restarts += 1;
        self.buffer = WriteBuffer::default();
        (self.wrote_bulk, self.bulk_failed) = (false, false);
        self.reads = ReadSet::default();
        self.hint = Timestamp::ZERO;
        self.state = State::Open;
        self.committing = false;
    }

    async fn advance(&mut self) -> Result<(), KvError> {
        self.check_open()?;
        // What was read and not recorded could not be validated there.
        if self.options.as_of.is_some() || self.only_reads {
            return Ok(());
        }
        // Reads that hold no more do no harm here: the snapshot that they belong to stays.
        match self.move_to(self.gateway.clock.now().latest).await {
            Err(KvError::Retry { .. }) => Ok(()),
            other => self.settle(other),
        }
    }

    fn has_writes(&self) -> bool {
        !self.buffer.is_empty() || self.wrote_bulk
    }

    fn stats(&self) -> TxnStats {
        self.stats
    }
}

impl Drop for Txn {
    fn drop(&mut self) {
        self.let_go();
    }
}
