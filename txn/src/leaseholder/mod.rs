//! The leaseholder's side: what a range does with a request.
//!
//! ```text
//!   range        one served range: mutex, latches, closed timestamp, a command from evaluation to applied
//!   latches      short exclusion between requests
//!   locks        the fair lock table, four strengths
//!   row_cache    newest versions of rows, in memory
//!   bare         stretches without a live row, which reads skip
//!   tscache      up to when each key has been read (T2, C2)
//!   read         points, scans, locking reads, validation (C3)
//!   stretch      the rows of one scan
//!   write        one-phase commit, intents, resolution (C4, C8)
//!   records      transaction records: staging, final states, pushes, recovery (C5–C7)
//!   contention   waiting, and whom one does not wait for
//!   inventory    who holds and who waits, for people to see; locks of the dead go
//!   gc           old versions and old records go
//! ```
//! Evaluation is synchronous and awaits nothing: it answers, or names what is in the way. [`Leaseholders::execute`] is the thin shell
//! around it: wait for what is in the way, evaluate again, propose, wait for apply with the latches held, answer.

mod bare;
mod contention;
mod gc;
mod inventory;
mod latches;
mod locks;
mod range;
mod read;
mod records;
mod row_cache;
mod stretch;
mod tscache;
mod write;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::controls::{self, Control};
use meridian_clock::{Clock, Entropy, TaskGroup, Timestamp};
use meridian_replication::api::{AdminError, Command, Lease, NodeId, RangeEvents, RangeHost, RangeId, RangeReplica, RequestId};
use meridian_replication::store::CLOSED_LAG;
use meridian_storage::mvcc::{self, AttemptId};
use meridian_storage::{Batch, Key, Reader, Span};
use parking_lot::{Mutex, RwLock};
use rand::Rng as _;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::api::{KvError, Program, ProgramEvaluator};
use crate::request::{Header, RangeScan, Refusal, Request, Response, ScanReply};
use crate::router::Router;
use latches::LatchSpec;
use locks::LockTable;
use range::{After, Blocked, OnItsWay};
use row_cache::{Budget, RowCache};
use tscache::TimestampCache;
use write::{Evaluated, Outcome};

pub(crate) use locks::conflicts;
pub(crate) use range::RangeState;
pub(crate) use read::raw_columns;
pub(crate) use stretch::{covered, rest};

/// How often the row caches are tended.
const ROWS_TENDED: Duration = Duration::from_secs(60);
/// Bytes of rows after which an answer to many scans ends.
const SCANS_BYTES: usize = 1 << 20;

/// The ranges served here.
#[derive(Debug, Default)]
struct Served {
    by_start: BTreeMap<Key, Arc<RangeState>>,
    by_id: FxHashMap<RangeId, Arc<RangeState>>,
}

impl Served {
    fn insert(&mut self, state: Arc<RangeState>) -> Option<Arc<RangeState>> {
        let start = state.lock().span.start.clone();
        let old = self.remove(state.id);
        self.by_start.insert(start, state.clone());
        self.by_id.insert(state.id, state);
        old
    }

    fn remove(&mut self, range: RangeId) -> Option<Arc<RangeState>> {
        let old = self.by_id.remove(&range)?;
        let start = old.lock().span.start.clone();
        if self.by_start.get(&start).is_some_and(|s| Arc::ptr_eq(s, &old)) {
            self.by_start.remove(&start);
        }
        Some(old)
    }
}

/// All ranges that this node holds the lease of. Hears of leases and splits from replication, so it exists before the store does.
pub struct Leaseholders {
    clock: Clock,
    tasks: TaskGroup,
    host: OnceLock<Arc<dyn RangeHost>>,
    router: OnceLock<Weak<Router>>,
    gc_ttl: OnceLock<Duration>,
    programs: RwLock<Option<Arc<dyn ProgramEvaluator>>>,
    served: RwLock<Served>,
    /// Ranges split off here whose own lease has not begun yet.
    unborn: Mutex<BTreeMap<RangeId, Arc<RangeState>>>,
    /// What was lately heard of transactions whose intents are met: whoever meets another one of theirs need not ask again.
    fates: Mutex<VecDeque<(AttemptId, Known)>>,
    /// For the newest versions of rows, of all ranges together.
    rows: Arc<Budget>,
    /// Latch sets and, with the node and a random start, request ids.
    next: AtomicU64,
    boot: u32,
}

impl std::fmt::Debug for Leaseholders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leaseholders({} ranges)", self.served.read().by_id.len())
    }
}

/// What a record said, and will not take back: final records never change (C6), and `min_ts` only grows (C7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Committed(Timestamp),
    Aborted,
    /// It commits at or above this, if at all: its intents are no matter for a reader below.
    Above(Timestamp),
}

/// What is handed over in a planned lease move (L3).
#[derive(Serialize, Deserialize)]
struct HandOver {
    tscache: Bytes,
    locks: Bytes,
    closed: Timestamp,
}

impl Leaseholders {
    /// Serves nothing yet; hand it to replication as its `RangeEvents`, then to [`crate::Node::start`].
    pub fn new(clock: Clock, tasks: TaskGroup, entropy: &Entropy) -> Arc<Self> {
        Arc::new(Leaseholders {
            clock,
            tasks,
            host: OnceLock::new(),
            router: OnceLock::new(),
            gc_ttl: OnceLock::new(),
            programs: RwLock::new(None),
            served: RwLock::default(),
            unborn: Mutex::default(),
            fates: Mutex::default(),
            rows: Arc::default(),
            next: AtomicU64::new(1),
            boot: entropy.fork("requests").rng().random(),
        })
    }

    pub(crate) fn attach(&self, host: Arc<dyn RangeHost>, router: Weak<Router>, gc_ttl: Duration, row_cache_bytes: usize) {
        let _ = self.gc_ttl.set(gc_ttl);
        self.rows.set(row_cache_bytes);
        let _ = self.host.set(host);
        let _ = self.router.set(router);
    }

    pub(crate) fn register_programs(&self, evaluator: Arc<dyn ProgramEvaluator>) {
        *self.programs.write() = Some(evaluator);
    }

    pub(crate) fn start_program(&self, program: &Bytes) -> Result<Box<dyn Program>, KvError> {
        let evaluator = self.programs.read().clone();
        let evaluator = evaluator.ok_or_else(|| KvError::Internal("no program evaluator is registered on this node".into()))?;
        evaluator.start(program).map_err(|e| KvError::Internal(format!("scan program: {e}")))
    }

    fn router(&self) -> Option<Arc<Router>> {
        self.router.get().and_then(Weak::upgrade)
    }

    fn reader(&self) -> &dyn Reader {
        // `execute` refuses before `attach`, so evaluation never gets here without an engine.
        match self.host.get() {
            Some(host) => &**host.engine(),
            None => unreachable!("a request was evaluated before the node was assembled"),
        }
    }

    /// From here on nothing has been collected, whatever anybody protects. What lands or is validated in the same step lies above, so that the
    /// versions that speak against it are there.
    fn all_kept(&self) -> Timestamp {
        self.gc_ttl.get().map_or(Timestamp::ZERO, |ttl| self.clock.now().latest.minus(*ttl))
    }

    /// Memory that the row caches take.
    pub(crate) fn row_cache_bytes(&self) -> usize {
        self.rows.usage().0
    }

    /// Gives the memory of rows that nobody reads back, for ever, and when it is short that of the range whose rows are read least.
    pub(crate) async fn tend_row_caches(self: Arc<Self>) {
        loop {
            tokio::time::sleep(ROWS_TENDED).await;
            let (used, max) = self.rows.usage();
            let mut busy = Vec::new();
            for state in self.all() {
                let mut inner = state.lock();
                match inner.rows.tend() {
                    (_, 0) => {}
                    (0, _) => inner.rows.clear(),
                    (looks, bytes) => busy.push((looks as f64 / bytes as f64, state.clone())),
                }
            }
            if used > max - max / 8
                && busy.len() > 1
                && let Some((_, least)) = busy.into_iter().min_by(|a, b| a.0.total_cmp(&b.0))
            {
                least.lock().rows.clear();
            }
        }
    }

    fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn request_id(&self, node: NodeId) -> RequestId {
        RequestId((u128::from(node.0) << 96) | (u128::from(self.boot) << 64) | u128::from(self.next_id()))
    }

    /// The range that serves `key` on this node, if one does.
    pub(crate) fn serving(&self, key: &[u8]) -> Option<Arc<RangeState>> {
        let served = self.served.read();
        let (_, state) = served.by_start.range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(key))).next_back()?;
        state.lock().span.contains(key).then(|| state.clone())
    }

    /// The range that serves the keys right below `end` on this node, if one does.
    pub(crate) fn serving_below(&self, end: &[u8]) -> Option<Arc<RangeState>> {
        let served = self.served.read();
        let (_, state) = served.by_start.range::<[u8], _>((std::ops::Bound::Unbounded, std::ops::Bound::Excluded(end))).next_back()?;
        (state.lock().span.end[..] >= *end).then(|| state.clone())
    }

    /// A range served on this node.
    pub(crate) fn by_id(&self, range: RangeId) -> Option<Arc<RangeState>> {
        self.served.read().by_id.get(&range).cloned()
    }

    /// All ranges served on this node, by id.
    pub(crate) fn all(&self) -> Vec<Arc<RangeState>> {
        let mut all: Vec<_> = self.served.read().by_start.values().cloned().collect();
        all.sort_by_key(|s| s.id);
        all
    }

    /// Does what a request asks, here.
    pub(crate) async fn execute(&self, state: &Arc<RangeState>, header: &Header, request: &Request) -> Result<Response, Refusal> {
        if self.host.get().is_none() {
            return Err(KvError::Unavailable("the node is starting".into()).into());
        }
        match request {
            Request::Get { gets } => {
                let mut replies = Vec::with_capacity(gets.len());
                while replies.len() < gets.len() {
                    let (since, at) = (Instant::now(), replies.len());
                    loop {
                        let tried = match gets[at].lock {
                            None => self.try_gets(state, header, gets, &mut replies),
                            Some(lock) => self.try_lock_get(state, header, &gets[at], lock).map(|reply| replies.push(reply)),
                        };
                        match tried {
                            Ok(()) => break,
                            // Some of them are there: the next one has its own time to wait.
                            Err(blocked) if replies.len() > at => {
                                self.wait(state, header, blocked, Instant::now()).await?;
                                break;
                            }
                            Err(blocked) => self.wait(state, header, blocked, since).await?,
                        }
                    }
                }
                Ok(Response::Points(replies))
            }
            Request::Scan(scan) => self.scan(state, header, scan).await.map(Response::Page),
            Request::Scans { scans } => {
                let (mut replies, mut bytes) = (Vec::with_capacity(scans.len()), 0);
                for scan in scans {
                    let reply = self.scan(state, header, scan).await?;
                    bytes += reply.rows.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
                    replies.push(reply);
                    if bytes >= SCANS_BYTES {
                        break;
                    }
                }
                Ok(Response::Pages(replies))
            }
            Request::Validate { reads, at } => {
                let since = Instant::now();
                loop {
                    match self.try_validate(state, header, reads, *at) {
                        Ok(newest) => return Ok(Response::Valid(newest)),
                        Err(blocked) => self.wait(state, header, blocked, since).await?,
                    }
                }
            }
            Request::Release { key } => {
                state.admit(&state.lock(), key).map_err(refusal)?;
                state.release(header.attempt, true);
                Ok(Response::Done)
            }
            Request::Split { key } => self.split(state, key).await,
            Request::Learn { target, fate, key } => {
                state.admit(&state.lock(), key).map_err(refusal)?;
                self.learn_fate(*target, fate);
                Ok(Response::Done)
            }
            Request::Unlock { key, keep } => {
                let mut inner = state.lock();
                state.admit(&inner, key).map_err(refusal)?;
                inner.locks.release_one(key, header.attempt, *keep);
                Ok(Response::Done)
            }
            _ => self.change(state, header, request).await,
        }
    }

    async fn scan(&self, state: &Arc<RangeState>, header: &Header, scan: &RangeScan) -> Result<ScanReply, Refusal> {
        let since = Instant::now();
        loop {
            let tried = match scan.lock {
                None => self.try_scan(state, header, scan),
                Some(lock) => self.try_lock_scan(state, header, scan, lock),
            };
            match tried {
                Ok(reply) => return Ok(reply),
                Err(blocked) => self.wait(state, header, blocked, since).await?,
            }
        }
    }

    /// Ascending keys that cut `span`, which is served here, into at most `parts` parts of about the same size.
    pub(crate) fn cuts(&self, span: &Span, parts: usize) -> Vec<Key> {
        // Without them it is read in one piece, and an error of the disk shows there.
        self.host.get().and_then(|host| mvcc::cuts(&**host.engine(), span, parts).ok()).unwrap_or_default()
    }

    /// Requests that end in a proposal.
    async fn change(&self, state: &Arc<RangeState>, header: &Header, request: &Request) -> Result<Response, Refusal> {
        let since = Instant::now();
        loop {
            let tried = match request {
                Request::OnePhase { at, writes, reads, remote_reads } => {
                    self.try_one_phase(state, header, *at, writes, reads, *remote_reads)
                }
                Request::Intents { at, anchor, writes, stage } => self.try_intents(state, header, *at, anchor, writes, stage.as_deref()),
                Request::Stage { at, anchor, keys } => self.try_stage(state, header, *at, anchor, keys),
                Request::CommitRecord { at, anchor } => self.try_commit_record(state, header, *at, anchor),
                Request::Finish { anchor, at, keys } => self.try_finish(state, header, anchor, *at, keys),
                Request::Forget { anchor } => self.try_forget(state, header, anchor),
                Request::Heartbeat { anchor } => self.try_heartbeat(state, header, anchor),
                Request::Push { target, anchor, to, force, suspect } => self.try_push(state, *target, anchor, *to, *force, *suspect),
                Request::Prevent { target, at, keys } => self.try_prevent(state, *target, *at, keys),
                Request::Recover { target, anchor, staged, commit } => self.try_recover(state, *target, anchor, *staged, *commit),
                Request::Resolve { target, at, keys } => self.try_resolve(state, *target, *at, keys),
                Request::ResolveSpan { target, at, span } => self.try_resolve_span(state, *target, *at, span),
                Request::Get { .. }
                | Request::Scan(_)
                | Request::Scans { .. }
                | Request::Validate { .. }
                | Request::Release { .. }
                | Request::Learn { .. }
                | Request::Unlock { .. }
                | Request::Split { .. } => {
                    return Err(KvError::Internal("not a change".into()).into());
                }
            };
            match tried {
                Ok(Outcome::Answer(response)) => return Ok(response),
                Ok(Outcome::Propose(evaluated)) => return self.propose(state, *evaluated).await,
                Err(blocked) => self.wait(state, header, blocked, since).await?,
            }
        }
    }

    /// A change of the leaseholder's own (resolution, pushed intents) until it is through. Waits for latches and leases only.
    async fn propose_loop(
        &self,
        state: &Arc<RangeState>,
        evaluate: &mut (dyn FnMut() -> Result<Outcome, Blocked> + Send),
    ) -> Result<(), Refusal> {
        loop {
            match evaluate() {
                Ok(Outcome::Answer(_)) => return Ok(()),
                Ok(Outcome::Propose(evaluated)) => return self.propose(state, *evaluated).await.map(|_| ()),
                Err(Blocked::Refused(refusal)) => return Err(*refusal),
                Err(Blocked::Latch(woken)) => {
                    let _ = woken.await;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }

    async fn propose(&self, state: &Arc<RangeState>, evaluated: Evaluated) -> Result<Response, Refusal> {
        let Evaluated { lease, mut latches, batch, after, response } = evaluated;
        let closed = state.close(self.clock.now().earliest.minus(CLOSED_LAG));
        let node = self.host.get().map_or(NodeId(0), |h| h.node());
        let command = Command { request: self.request_id(node), closed, batch };
        let future = state.replica.propose(&lease, command);
        // In the log's queue, in call order: later commands may close its timestamp.
        latches.landed();
        OnItsWay::new(future, latches, after, self.tasks.clone()).applied().await?;
        Ok(response)
    }

    /// Proposes a batch of the background (garbage collection), which needs no latches: it changes nothing that anybody may still read.
    pub(crate) async fn propose_plain(&self, state: &Arc<RangeState>, lease: Lease, batch: Batch) -> Result<(), Refusal> {
        let latches = {
            let mut inner = state.lock();
            state.latch(&mut inner, self.next_id(), LatchSpec::default()).map_err(refusal)?
        };
        self.propose(state, Evaluated { lease, latches, batch, after: After::default(), response: Response::Done }).await.map(|_| ())
    }

    /// No latch is held meanwhile: the split itself may write range addressing, which may lie in this very range. Commands in flight
    /// across the split keep their latches on both sides (`RangeState::split_off`).
    async fn split(&self, state: &Arc<RangeState>, key: &Key) -> Result<Response, Refusal> {
        {
            let inner = state.lock();
            state.admit(&inner, key).map_err(refusal)?;
            if inner.span.start == *key {
                return Ok(Response::Done);
            }
        }
        match state.replica.split(key.clone()).await {
            Ok(()) => Ok(Response::Done),
            Err(AdminError::NotLeaseholder(e)) => Err(Refusal::NotLeaseholder(e)),
            Err(AdminError::Invalid(m)) => Err(KvError::Internal(format!("split: {m}")).into()),
            Err(AdminError::Propose(e)) => Err(Refusal::Ambiguous(format!("split: {e}"))),
        }
    }
}

fn refusal(blocked: Blocked) -> Refusal {
    match blocked {
        Blocked::Refused(refusal) => *refusal,
        other => KvError::Internal(format!("{other:?}")).into(),
    }
}

impl RangeEvents for Leaseholders {
    fn lease_started(&self, replica: &Arc<dyn RangeReplica>, lease: &Lease, handover: Option<Bytes>) {
        let range = replica.range_id();
        // L2.
        let low_water = if controls::off(Control::LowWater) { Timestamp::ZERO } else { lease.low_water };
        let unborn = self.unborn.lock().remove(&range);
        let rows = RowCache::new(self.rows.clone());
        let state = match (handover.as_deref().map(postcard::from_bytes::<HandOver>), unborn) {
            (Some(Ok(h)), unborn) => {
                let tscache = TimestampCache::taken_over(&h.tscache);
                let locks = LockTable::taken_over(&h.locks);
                if let Err(e) = tscache.as_ref().map(|_| ()).and(locks.as_ref().map(|_| ())) {
                    tracing::warn!(%range, error = %e, "hand-over not readable; starting from the lease's low-water mark");
                }
                let state = RangeState::new(
                    replica.clone(),
                    lease.term,
                    tscache.unwrap_or_else(|_| TimestampCache::new(low_water)),
                    locks.unwrap_or_default(),
                    rows,
                );
                state.raise_closed(h.closed);
                if let Some(unborn) = unborn {
                    unborn.pass_latches(&state);
                }
                state
            }
            (_, Some(unborn)) => unborn.adopt(lease.term, low_water),
            _ => RangeState::new(replica.clone(), lease.term, TimestampCache::new(low_water), LockTable::default(), rows),
        };
        // Those who led before may have collected up to there.
        state.note_collected(self.all_kept());
        let old = self.served.write().insert(state);
        if let Some(old) = old {
            old.end();
        }
    }

    fn lease_ended(&self, range: RangeId) {
        let old = self.served.write().remove(range);
        if let Some(old) = old {
            old.end();
        }
    }

    fn hand_over(&self, range: RangeId) -> Bytes {
        // A split-off range hands over before its own lease begins; it stays among the unborn for the latches that are still held.
        let served = self.served.write().remove(range);
        let Some(state) = served.or_else(|| self.unborn.lock().get(&range).cloned()) else { return Bytes::new() };
        let handover = {
            let mut inner = state.lock();
            state.stir(&mut inner);
            // From here on nothing raises the cache or takes a lock here any more.
            inner.ended = true;
            HandOver { tscache: inner.tscache.hand_over(), locks: inner.locks.hand_over(), closed: inner.closed }
        };
        state.end();
        postcard::to_stdvec(&handover).unwrap_or_default().into()
    }

    fn range_split(&self, left: &Arc<dyn RangeReplica>, right: &Arc<dyn RangeReplica>) {
        let Some(state) = self.by_id(left.range_id()) else { return };
        let right = state.split_off(right.clone());
        self.unborn.lock().insert(right.id, right);
    }

    fn idle(&self, range: RangeId, enter: &mut dyn FnMut()) {
        if let Some(state) = self.by_id(range) {
            state.go_idle(enter);
        }
    }

    fn replica_removed(&self, range: RangeId) {
        self.unborn.lock().remove(&range);
        self.lease_ended(range);
    }
}

/// The whole span of a range as it is served now.
pub(crate) fn span_of(state: &RangeState) -> Span {
    state.lock().span.clone()
}
