//! One served range: its latches, locks, timestamp cache and closed timestamp, and the way a command goes from evaluation to applied.
//!
//! All of it sits under one short mutex that is never held over an await or a disk write. The order that makes C2 hold:
//!
//! ```text
//!   read    mutex { serving? span? no write latch there? raise timestamp cache }   then look at intents, then at versions
//!   write   mutex { serving? span? latch keys, floor = timestamp cache + 1 }       then look at intents and versions, propose, apply,
//!           and only then drop the latches
//! ```
//! A read that got in first has raised the cache, so the write lands above it. A read that comes later meets the latch and waits for the write to be
//! applied. Intents are looked at before versions, because resolution turns the one into the other in one step: a
//! reader may see both, never neither.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use meridian_clock::{TaskGroup, Timestamp};
use meridian_replication::api::{Applied, Lease, NotLeaseholder, ProposeError, RangeId, RangeReplica, Term};
use meridian_storage::mvcc::{AttemptId, Intent, Version};
use meridian_storage::{Key, Span};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::bare::Bare;
use super::latches::{LatchId, LatchSpec, Latches};
use super::locks::{LockTable, Queued};
use super::row_cache::RowCache;
use super::tscache::TimestampCache;
use crate::api::{KvError, LockWait};
use crate::request::{Refusal, storage_error};

/// Why a request cannot go on now.
#[derive(Debug)]
pub enum Blocked {
    /// Another request is being evaluated or applied there.
    Latch(oneshot::Receiver<()>),
    /// Somebody holds the row.
    Lock { key: Key, queued: Queued, wait: LockWait },
    /// A foreign intent. `push_to`: a reader would be content if it moved above this.
    Intent { key: Key, intent: Box<Intent>, push_to: Option<Timestamp> },
    /// The lease does not reach that far yet (L1): it will in a moment, if it is ours at all.
    Lease,
    /// Not here, or not at all.
    Refused(Box<Refusal>),
}

impl From<Refusal> for Blocked {
    fn from(refusal: Refusal) -> Self {
        Blocked::Refused(Box::new(refusal))
    }
}

impl From<KvError> for Blocked {
    fn from(error: KvError) -> Self {
        Blocked::Refused(Box::new(Refusal::Kv(error)))
    }
}

impl From<meridian_storage::StorageError> for Blocked {
    fn from(error: meridian_storage::StorageError) -> Self {
        storage_error(error).into()
    }
}

/// What the mutex guards.
#[derive(Debug)]
pub struct Inner {
    /// The keys served.
    pub span: Span,
    /// The lease is gone or being handed over: nothing is served any more.
    pub ended: bool,
    /// In-flight evaluations.
    pub latches: Latches,
    /// Row locks.
    pub locks: LockTable,
    /// What has been read.
    pub tscache: TimestampCache,
    /// The newest versions of rows.
    pub rows: RowCache,
    /// Stretches in which no row is alive.
    pub bare: Bare,
    /// Nothing will be written at or below this any more.
    pub closed: Timestamp,
    /// Nothing is evaluated here, and replication moves the closed timestamp on by itself ([`RangeState::stir`]).
    idle: bool,
    /// Timestamps of writes that are evaluated but not yet in the log: `closed` stays below them.
    in_flight: BTreeMap<Timestamp, u32>,
    /// Who waits for the intent on a key to be resolved.
    intent_waits: BTreeMap<Key, Vec<(AttemptId, oneshot::Sender<()>)>>,
    /// Ranges split off while latches were held, and which: they are held there too, until they are released here.
    heirs: Vec<(Arc<RangeState>, BTreeSet<LatchId>)>,
}

/// One range as its leaseholder serves it. A new lease is a new `RangeState`.
#[derive(Debug)]
pub struct RangeState {
    /// The range.
    pub id: RangeId,
    /// Its replica here.
    pub replica: Arc<dyn RangeReplica>,
    /// The term whose lease this state belongs to.
    pub term: Term,
    /// The span epoch of `Inner::span`, changed with it.
    span_epoch: AtomicU64,
    /// Versions below may have been collected, under this lease or one before.
    collected: AtomicU64,
    inner: Mutex<Inner>,
}

impl RangeState {
    /// The state of a lease that begins.
    pub fn new(replica: Arc<dyn RangeReplica>, term: Term, tscache: TimestampCache, locks: LockTable, rows: RowCache) -> Arc<Self> {
        let descriptor = replica.descriptor();
        let span = descriptor.span.clone();
        Arc::new(RangeState {
            id: replica.range_id(),
            term,
            span_epoch: AtomicU64::new(descriptor.span_epoch),
            collected: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                span,
                ended: false,
                latches: Latches::default(),
                locks,
                tscache,
                rows,
                bare: Bare::default(),
                closed: replica.closed_timestamp(),
                idle: false,
                in_flight: BTreeMap::new(),
                intent_waits: BTreeMap::new(),
                heirs: Vec::new(),
            }),
            replica,
        })
    }

    /// From now on versions below `horizon` may be gone.
    pub fn note_collected(&self, horizon: Timestamp) {
        self.collected.fetch_max(horizon.as_raw(), Ordering::SeqCst);
    }

    /// Below this an attempt cannot tell whether it was here before (C8): its own version may have been collected.
    pub fn collected(&self) -> Timestamp {
        Timestamp::from_raw(self.collected.load(Ordering::SeqCst))
    }

    /// The mutex. Keep it short; no disk, no await.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The lease, if it covers `ts` (L1), and the span epoch of now: ask before looking at the span, so that what is proposed for keys that left with a
    /// split is refused when it is applied.
    pub fn lease_at(&self, ts: Timestamp) -> Result<Lease, Blocked> {
        let span_epoch = self.span_epoch.load(Ordering::Acquire);
        let lease = self.replica.lease().map_err(|e| Blocked::from(Refusal::NotLeaseholder(e)))?;
        if lease.term != self.term {
            return Err(self.not_serving());
        }
        if ts >= lease.expiration {
            return Err(Blocked::Lease);
        }
        Ok(Lease { span_epoch, ..lease })
    }

    /// "Not here."
    pub fn not_serving(&self) -> Blocked {
        let leader = self.replica.lease().err().and_then(|e| e.leader);
        Refusal::NotLeaseholder(NotLeaseholder { range: self.id, leader }).into()
    }

    /// "Not these keys."
    pub fn mismatch(&self) -> Blocked {
        Refusal::Mismatch(vec![(*self.replica.descriptor()).clone()]).into()
    }

    /// Whether `key` is served here now.
    pub fn admit(&self, inner: &Inner, key: &[u8]) -> Result<(), Blocked> {
        if inner.ended {
            return Err(self.not_serving());
        }
        if !inner.span.contains(key) {
            return Err(self.mismatch());
        }
        Ok(())
    }

    /// Whether all of `span` is served here now.
    pub fn admit_span(&self, inner: &Inner, span: &Span) -> Result<(), Blocked> {
        if inner.ended {
            return Err(self.not_serving());
        }
        if !inner.span.covers(span) {
            return Err(self.mismatch());
        }
        Ok(())
    }

    /// Nothing goes on here: if that is so, lets replication close timestamps by itself.
    pub fn go_idle(&self, enter: &mut dyn FnMut()) {
        let mut inner = self.lock();
        if !inner.ended && inner.latches.is_empty() && inner.in_flight.is_empty() {
            inner.idle = true;
            enter();
        }
    }

    /// Something may be evaluated here from now on: what it writes lands above all that was closed meanwhile.
    pub fn stir(&self, inner: &mut Inner) {
        if std::mem::take(&mut inner.idle) {
            inner.closed = inner.closed.max(self.replica.leave_idle());
        }
    }

    /// The least timestamp above all that is closed, for a write about to be evaluated.
    pub fn above_closed(&self, inner: &mut Inner) -> Timestamp {
        self.stir(inner);
        inner.closed.next()
    }

    /// Takes latches, all or none.
    pub fn latch(self: &Arc<Self>, inner: &mut Inner, id: LatchId, spec: LatchSpec) -> Result<LatchGuard, Blocked> {
        self.stir(inner);
        inner.rows.forget(&spec.writes, spec.write_span.as_ref());
        inner.bare.cut(&spec.writes, spec.write_span.as_ref());
        match inner.latches.acquire(id, spec) {
            Ok(()) => Ok(LatchGuard { state: self.clone(), id, flight: None }),
            Err(other) => Err(Blocked::Latch(inner.latches.wait(other))),
        }
    }

    /// Stops serving: everybody who waits here is sent away.
    pub fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.latches.wake_all();
        inner.locks.end();
        inner.intent_waits.clear();
    }

    /// Registers `attempt` as waiting for the intent on `key`. Resolves `Err` when it is sent away.
    pub fn wait_for_intent(&self, key: &Key, attempt: AttemptId) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        let mut inner = self.lock();
        if !inner.ended {
            let waiters = inner.intent_waits.entry(key.clone()).or_default();
            waiters.retain(|(_, w)| !w.is_closed());
            waiters.push((attempt, wake));
        }
        woken
    }

    /// The intents on `keys` are gone; `attempt` is over and needs no lock here any more. What it has `written` and still holds latched is kept.
    pub fn resolved(&self, keys: &[Key], attempt: Option<AttemptId>, written: Vec<(Key, Version)>) {
        let mut inner = self.lock();
        for (key, version) in written {
            inner.rows.keep_written(&key, &version);
        }
        if !inner.intent_waits.is_empty() {
            for key in keys {
                for (_, waiter) in inner.intent_waits.remove(key).unwrap_or_default() {
                    let _ = waiter.send(());
                }
            }
        }
        if let Some(attempt) = attempt {
            inner.locks.release_all(attempt);
        }
    }

    /// Whoever waits for an intent in `span` looks again.
    fn resolved_span(&self, span: &Span) {
        let mut inner = self.lock();
        if !inner.intent_waits.is_empty() {
            let mut from = inner.intent_waits.split_off(&span.start);
            let mut after = from.split_off(&span.end);
            inner.intent_waits.append(&mut after);
            for (_, waiter) in from.into_values().flatten() {
                let _ = waiter.send(());
            }
        }
    }

    /// Frees the locks of an attempt that is over; `waits_too`: whatever of it still waits here is sent away.
    pub fn release(&self, attempt: AttemptId, waits_too: bool) {
        let mut inner = self.lock();
        inner.locks.release_all(attempt);
        if waits_too {
            inner.locks.leave_all(attempt);
            for waiters in inner.intent_waits.values_mut() {
                waiters.retain(|(a, _)| *a != attempt);
            }
        }
    }

    /// Who waits for the intent on which key.
    pub fn waits_for_intents(&self) -> Vec<(Key, AttemptId)> {
        let inner = self.lock();
        let open = |(key, waiters): (&Key, &Vec<(AttemptId, oneshot::Sender<()>)>)| {
            waiters.iter().filter(|(_, w)| !w.is_closed()).map(|(a, _)| (key.clone(), *a)).collect::<Vec<_>>()
        };
        inner.intent_waits.iter().flat_map(open).collect()
    }

    /// The closed timestamp that a command proposed now may carry, given the target.
    pub fn close(&self, target: Timestamp) -> Timestamp {
        let mut inner = self.lock();
        let bound = inner.in_flight.first_key_value().map_or(Timestamp::MAX, |(ts, _)| ts.prev());
        inner.closed = inner.closed.max(target.min(bound));
        inner.closed
    }

    /// The right side of a split: its locks, reads and in-flight latches leave (or, for latches, stay in both).
    pub fn split_off(self: &Arc<Self>, right: Arc<dyn RangeReplica>) -> Arc<RangeState> {
        let span = right.descriptor().span.clone();
        let mut inner = self.lock();
        self.stir(&mut inner);
        let locks = inner.locks.split_off(&span);
        let state = RangeState::new(right, Term(0), inner.tscache.clone(), locks, inner.rows.sibling());
        state.note_collected(self.collected());
        {
            let mut other = state.lock();
            other.span = span.clone();
            other.closed = inner.closed;
        }
        inner.pass_latches(&span, &state);
        inner.intent_waits.split_off(&span.start);
        inner.span.end = inner.span.end.clone().min(span.start.clone());
        self.span_epoch.store(self.replica.descriptor().span_epoch, Ordering::Release);
        state
    }

    /// Makes the state of a split-off range that of its first lease.
    pub fn adopt(self: &Arc<Self>, term: Term, low_water: Timestamp) -> Arc<RangeState> {
        let (mut tscache, locks, closed, rows) = {
            let mut inner = self.lock();
            self.stir(&mut inner);
            inner.ended = true;
            (inner.tscache.clone(), std::mem::take(&mut inner.locks), inner.closed, inner.rows.sibling())
        };
        tscache.raise_low(low_water);
        let state = RangeState::new(self.replica.clone(), term, tscache, locks, rows);
        state.raise_closed(closed);
        self.pass_latches(&state);
        state
    }

    /// Latches still held here are held in `heir` too, until they are released here.
    pub fn pass_latches(&self, heir: &Arc<RangeState>) {
        let mut inner = self.lock();
        let span = inner.span.clone();
        inner.pass_latches(&span, heir);
    }

    /// Nothing is written at or below `closed` any more.
    pub fn raise_closed(&self, closed: Timestamp) {
        let mut inner = self.lock();
        inner.closed = inner.closed.max(closed);
    }

    fn release_latch(&self, id: LatchId, flight: Option<Timestamp>) {
        let heirs = {
            let mut inner = self.lock();
            inner.latches.release(id);
            if let Some(ts) = flight {
                inner.land(ts);
            }
            if inner.heirs.is_empty() { Vec::new() } else { inner.heirs_of(id) }
        };
        for heir in heirs {
            heir.release_latch(id, None);
        }
    }
}

impl Inner {
    fn pass_latches(&mut self, span: &Span, heir: &Arc<RangeState>) {
        let latches = self.latches.copy_for(span);
        let ids: BTreeSet<LatchId> = latches.ids().collect();
        heir.lock().latches = latches;
        if !ids.is_empty() {
            self.heirs.push((heir.clone(), ids));
        }
    }

    /// Who else holds the set `id`, which is being released.
    fn heirs_of(&mut self, id: LatchId) -> Vec<Arc<RangeState>> {
        let with_it = self.heirs.iter_mut().filter_map(|(heir, ids)| ids.remove(&id).then(|| heir.clone())).collect();
        self.heirs.retain(|(_, ids)| !ids.is_empty());
        with_it
    }

    /// Fixes a lower bound for the timestamp of a write being evaluated: `closed` stays below it until it is in the log.
    pub fn take_off(&mut self, guard: &mut LatchGuard, ts: Timestamp) {
        *self.in_flight.entry(ts).or_insert(0) += 1;
        guard.flight = Some(ts);
    }

    fn land(&mut self, ts: Timestamp) {
        if let Some(count) = self.in_flight.get_mut(&ts) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(&ts);
            }
        }
    }
}

/// Latches held; dropping releases them.
#[derive(Debug)]
pub struct LatchGuard {
    state: Arc<RangeState>,
    id: LatchId,
    flight: Option<Timestamp>,
}

impl LatchGuard {
    /// The command is in the log's queue: `closed` may pass its timestamp in later commands.
    pub fn landed(&mut self) {
        if let Some(ts) = self.flight.take() {
            self.state.lock().land(ts);
        }
    }
}

impl Drop for LatchGuard {
    fn drop(&mut self) {
        self.state.release_latch(self.id, self.flight.take());
    }
}

/// What happens once a command is applied.
#[derive(Debug, Default)]
pub struct After {
    /// Intents that are gone or moved: who waits for them looks again.
    pub resolved: Vec<Key>,
    /// The same for all intents of an attempt in a span.
    pub resolved_span: Option<Span>,
    /// An attempt that is over: its locks here go.
    pub over: Option<AttemptId>,
    /// What was written of keys that are kept in memory, for as long as the latch is still held.
    pub written: Vec<(Key, Version)>,
}

/// A command on its way. If its caller goes away the latches stay until the outcome is known, or a reader could look
/// where something is about to appear.
pub struct OnItsWay {
    future: Option<BoxFuture<'static, Result<Applied, ProposeError>>>,
    latches: Option<LatchGuard>,
    after: After,
    tasks: TaskGroup,
}

impl OnItsWay {
    /// Watches over a proposal.
    pub fn new(future: BoxFuture<'static, Result<Applied, ProposeError>>, latches: LatchGuard, after: After, tasks: TaskGroup) -> Self {
        OnItsWay { future: Some(future), latches: Some(latches), after, tasks }
    }

    /// Waits until it is applied, then does what comes after and drops the latches.
    pub async fn applied(mut self) -> Result<(), Refusal> {
        let Some(future) = self.future.as_mut() else { return Ok(()) };
        let outcome = future.await;
        self.future = None;
        match self.latches.take() {
            Some(latches) => conclude(latches, std::mem::take(&mut self.after), outcome),
            None => Ok(()),
        }
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        if let (Some(future), Some(latches)) = (self.future.take(), self.latches.take()) {
            let after = std::mem::take(&mut self.after);
            if tokio::runtime::Handle::try_current().is_ok() {
                self.tasks.spawn(async move {
                    let _ = conclude(latches, after, future.await);
                });
            }
        }
    }
}

fn conclude(latches: LatchGuard, after: After, outcome: Result<Applied, ProposeError>) -> Result<(), Refusal> {
    match outcome {
        Ok(applied) => {
            if let Some(span) = &after.resolved_span {
                latches.state.resolved_span(span);
            }
            // What had been applied before may have been overwritten before, too.
            let written = if applied.fresh { after.written } else { Vec::new() };
            latches.state.resolved(&after.resolved, after.over, written);
            Ok(())
        }
        Err(ProposeError::NotLeaseholder(e)) => Err(Refusal::NotLeaseholder(e)),
        Err(ProposeError::Ambiguous(range)) => {
            // Until the next lease begins (when it is decided) nobody may look at what this command might still change.
            latches.state.end();
            Err(Refusal::Ambiguous(format!("{range}: leadership changed while a command was on its way")))
        }
        Err(ProposeError::Overloaded(range)) => Err(KvError::Overloaded(format!("{range}: too many proposals in flight")).into()),
        Err(ProposeError::Storage(e)) => Err(e.into()),
    }
}
