//! Landings at the leaseholder: one-phase commit, intents, resolution (C3, C4, C5, C8).

use std::sync::Arc;

use meridian_clock::Timestamp;
use meridian_clock::controls::{self, Control};
use meridian_replication::api::Lease;
use meridian_storage::mvcc::{self, AttemptId, Intent, Version};
use meridian_storage::{Batch, Key, Span};
use smallvec::SmallVec;

use super::Leaseholders;
use super::latches::LatchSpec;
use super::range::{After, Blocked, LatchGuard, RangeState};
use super::read::{raise, take_lock};
use super::records::{record_latch, with_records};
use super::row_cache::Newest;
use crate::api::{KvError, RetryCause};
use crate::request::{Header, LANDING_LOCK, Landing, Reads, Response, Write};

/// An evaluated command, its latches held, ready to propose.
pub(super) struct Evaluated {
    pub lease: Lease,
    pub latches: LatchGuard,
    pub batch: Batch,
    pub after: After,
    pub response: Response,
}

/// The outcome of an evaluation.
pub(super) enum Outcome {
    /// To propose.
    Propose(Box<Evaluated>),
    /// Nothing to write.
    Answer(Response),
}

impl Leaseholders {
    /// One-phase commit: all writes and the reads to validate here, in one atomic step and one proposal.
    pub(super) fn try_one_phase(
        &self,
        state: &Arc<RangeState>,
        header: &Header,
        at: Timestamp,
        writes: &[Write],
        reads: &Reads,
        remote_reads: bool,
    ) -> Result<Outcome, Blocked> {
        let attempt = header.attempt;
        let begun = self.begin_landing(state, attempt, at, writes, reads, None);
        if let (Err(Blocked::Lock { .. }), Some(first)) = (&begun, writes.first())
            && let Some(committed) = self.own_version(header, &first.key)?
        {
            // A replay: others hold the rows by now, and must not be waited for.
            return Ok(Outcome::Answer(Response::Committed(committed)));
        }
        let Begun { lease, latches, floor, known } = begun?;
        let reader = self.reader();
        let mut need = floor;
        for (write, known) in writes.iter().zip(&known) {
            if known.is_none() {
                self.no_foreign_intent(attempt, &write.key)?;
            }
            match self.check_landing(header, write, *known) {
                // C8: a replay of what has committed already.
                Ok(Checked::Own(committed)) => return Ok(Outcome::Answer(Response::Committed(committed))),
                // What it committed may have been collected by now: neither success nor conflict would be certain. (An open transaction's versions are protected; this is
                // for a copy of its request that comes when it is over, and for nodes that could not protect theirs.)
                _ if header.read_ts < state.collected() => return Err(too_old(header.read_ts).into()),
                Ok(Checked::Above(newest)) => need = need.max(newest),
                Err(blocked) => return Err(blocked),
            }
        }
        if need > at && remote_reads {
            return Ok(Outcome::Answer(Response::Pushed(need)));
        }
        if need >= lease.expiration {
            return Err(Blocked::Lease);
        }
        // C3: with the latches held this is atomic with the landing; C2: the cache goes up in the same step.
        let compared = self.still_valid(state, header, reads, need)?;
        debug_assert!(compared <= need);
        raise(&mut state.lock(), reads, need, attempt);
        let mut batch = Batch::new();
        let mut after = After { over: Some(attempt), ..After::default() };
        for (write, known) in writes.iter().zip(&known) {
            if let Some(known) = known {
                // A row that was read before it was written will be read again.
                if known.is_some() {
                    after.written.push((write.key.clone(), Version { ts: need, writer: attempt, value: write.value.clone() }));
                }
            } else if mvcc::intent(reader, &write.key)?.is_some() {
                // An own intent of an earlier round (C9 goes one way only, but a replay may come late).
                mvcc::delete_intent(&mut batch, &write.key);
            }
            mvcc::put_version(&mut batch, &write.key, need, attempt, write.value.as_deref());
        }
        Ok(Outcome::Propose(Box::new(Evaluated { lease, latches, batch, after, response: Response::Committed(need) })))
    }

    /// Lays intents; in the anchor's range the staging record goes into the same proposal if nothing was pushed.
    pub(super) fn try_intents(
        &self,
        state: &Arc<RangeState>,
        header: &Header,
        at: Timestamp,
        anchor: &Key,
        writes: &[Write],
        stage: Option<&[Key]>,
    ) -> Result<Outcome, Blocked> {
        if stage.is_none()
            && let Some(outcome) = self.try_bulk(state, header, at, anchor, writes)?
        {
            return Ok(outcome);
        }
        let attempt = header.attempt;
        let record = stage.map(|_| record_latch(anchor, attempt));
        let Begun { lease, latches, floor, known } = self.begin_landing(state, attempt, at, writes, &Reads::default(), record)?;
        let reader = self.reader();
        let (mut need, mut highest, mut fresh) = (floor, Timestamp::ZERO, Vec::with_capacity(writes.len()));
        let mut replaced = Vec::new();
        for (write, known) in writes.iter().zip(&known) {
            // C8: an own intent is left where it is; below, an own version means committed.
            let intent = if known.is_some() { None } else { mvcc::intent(reader, &write.key)? };
            if let Some(own) = intent {
                if own.attempt != attempt {
                    return Err(Blocked::Intent { key: write.key.clone(), intent: Box::new(own), push_to: None });
                }
                highest = highest.max(own.ts);
                match write.landing {
                    Landing::Fresh(portion) if own.portion != portion && own.portion != 0 => {
                        return Err(KvError::KeyExists { key: write.key.clone() }.into());
                    }
                    Landing::Fresh(_) => {}
                    // The transaction wrote the row again after a bulk load of its own.
                    _ if own.portion != 0 => replaced.push((write, own.ts)),
                    _ => {}
                }
                continue;
            }
            match self.check_landing(header, write, *known)? {
                // An earlier one-phase request has committed after all, or recovery has.
                Checked::Own(committed) => return Ok(Outcome::Answer(Response::Committed(committed))),
                Checked::Above(newest) => {
                    need = need.max(newest);
                    fresh.push(write);
                }
            }
        }
        if !fresh.is_empty() {
            highest = highest.max(need);
        }
        if need >= lease.expiration {
            return Err(Blocked::Lease);
        }
        let mut batch = Batch::new();
        for (write, ts) in fresh.into_iter().map(|w| (w, need)).chain(replaced) {
            put_intent(&mut batch, header, anchor, write, ts);
        }
        let mut response = if highest > at { Response::Pushed(highest) } else { Response::Landed };
        if let (Some(keys), Response::Landed) = (stage, &response) {
            match self.stage_record(attempt, anchor, at, keys)? {
                Ok(bytes) => mvcc::put_record(&mut batch, anchor, attempt, &bytes),
                Err(other) => response = other,
            }
        }
        if batch.is_empty() {
            return Ok(Outcome::Answer(response));
        }
        Ok(Outcome::Propose(Box::new(Evaluated { lease, latches, batch, after: After::default(), response })))
    }

    /// A portion of a bulk load that goes where nothing was ever stored, nothing is locked and nobody looks: one latch, one look at the floor and
    /// one at each space stand for those of every key. `None`: it is not of that kind.
    fn try_bulk(
        &self,
        state: &Arc<RangeState>,
        header: &Header,
        at: Timestamp,
        anchor: &Key,
        writes: &[Write],
    ) -> Result<Option<Outcome>, Blocked> {
        let (Some(first), Some(last)) = (writes.first(), writes.last()) else { return Ok(None) };
        let fresh = |w: &Write| matches!(w.landing, Landing::Fresh(_));
        if writes.len() < BULK_FROM || !writes.iter().all(fresh) || !writes.is_sorted_by(|a, b| a.key < b.key) {
            return Ok(None);
        }
        let lease = state.lease_at(at)?;
        let span = Span { start: first.key.clone(), end: Span::point(last.key.clone()).end };
        let (latches, floor) = {
            let mut inner = state.lock();
            state.admit_span(&inner, &span)?;
            if !inner.locks.is_free(&span) {
                return Ok(None);
            }
            let closed = if controls::off(Control::ClosedTimestamp) { at } else { state.above_closed(&mut inner) };
            let floor = at.max(closed).max(self.all_kept()).max(inner.tscache.floor_span(&span, header.attempt));
            let spec = LatchSpec { write_span: Some(span.clone()), ..LatchSpec::default() };
            let mut latches = state.latch(&mut inner, self.next_id(), spec)?;
            inner.take_off(&mut latches, floor);
            (latches, floor)
        };
        // C4: under the latch, so in the same atomic step as the landing.
        if !mvcc::is_untouched(self.reader(), &span)? {
            return Ok(None);
        }
        if floor >= lease.expiration {
            return Err(Blocked::Lease);
        }
        let mut batch = Batch::new();
        for write in writes {
            put_intent(&mut batch, header, anchor, write, floor);
        }
        let response = if floor > at { Response::Pushed(floor) } else { Response::Landed };
        Ok(Some(Outcome::Propose(Box::new(Evaluated { lease, latches, batch, after: After::default(), response }))))
    }

    /// Turns a portion of the intents of `target` in `span` into versions at `at`, or removes them.
    pub(super) fn try_resolve_span(
        &self,
        state: &Arc<RangeState>,
        target: AttemptId,
        at: Option<Timestamp>,
        span: &Span,
    ) -> Result<Outcome, Blocked> {
        let lease = state.lease_at(Timestamp::ZERO)?;
        let reader = self.reader();
        let next = mvcc::lock_portion(reader, span, RESOLVE_MAX, RESOLVE_BYTES)?;
        let portion = Span { start: span.start.clone(), end: next.clone().unwrap_or_else(|| span.end.clone()) };
        let left = next.map(|start| Span { start, end: span.end.clone() });
        let latches = {
            let mut inner = state.lock();
            state.admit_span(&inner, &portion)?;
            let spec = LatchSpec { write_span: Some(with_records(&portion)), ..LatchSpec::default() };
            state.latch(&mut inner, self.next_id(), spec)?
        };
        let mut batch = Batch::new();
        mvcc::resolve_span(reader, &mut batch, &portion, target, at)?;
        if batch.is_empty() {
            return Ok(Outcome::Answer(Response::Resolved(left)));
        }
        let after = After { resolved_span: Some(portion), over: Some(target), ..After::default() };
        Ok(Outcome::Propose(Box::new(Evaluated { lease, latches, batch, after, response: Response::Resolved(left) })))
    }

    /// Turns intents of `target` into versions at `at`, or removes them.
    pub(super) fn try_resolve(
        &self,
        state: &Arc<RangeState>,
        target: AttemptId,
        at: Option<Timestamp>,
        keys: &[Key],
    ) -> Result<Outcome, Blocked> {
        let lease = state.lease_at(Timestamp::ZERO)?;
        let latches = self.latch_keys(state, keys.iter().cloned())?;
        let mut batch = Batch::new();
        self.resolve_into(&mut batch, target, at, keys)?;
        if batch.is_empty() {
            state.resolved(keys, Some(target), Vec::new());
            return Ok(Outcome::Answer(Response::Done));
        }
        let after = After { resolved: keys.to_vec(), over: Some(target), ..After::default() };
        Ok(Outcome::Propose(Box::new(Evaluated { lease, latches, batch, after, response: Response::Done })))
    }

    pub(super) fn resolve_into(&self, batch: &mut Batch, target: AttemptId, at: Option<Timestamp>, keys: &[Key]) -> Result<(), Blocked> {
        let reader = self.reader();
        for key in keys {
            let Some(intent) = mvcc::intent(reader, key)?.filter(|i| i.attempt == target) else { continue };
            mvcc::delete_intent(batch, key);
            if let Some(at) = at {
                mvcc::put_version(batch, key, at, target, intent.value.as_deref());
            }
        }
        Ok(())
    }

    /// C6: which of `keys` hold an intent of `target` at or below `at`? The others never will: the timestamp cache goes up to `at`
    /// there, in memory, where L2 and the hand-over keep it across lease moves, and against everybody, the transaction itself included.
    pub(super) fn try_prevent(&self, state: &Arc<RangeState>, target: AttemptId, at: Timestamp, keys: &[Key]) -> Result<Outcome, Blocked> {
        state.lease_at(at)?;
        {
            let mut inner = state.lock();
            for key in keys {
                state.admit(&inner, key)?;
                if let Some(id) = inner.latches.writer_of(key) {
                    return Err(Blocked::Latch(inner.latches.wait(id)));
                }
            }
            for key in keys {
                inner.tscache.raise_point(key, at, crate::attempt::NOBODY);
            }
        }
        let mut all = true;
        for key in keys {
            all &= mvcc::intent(self.reader(), key)?.is_some_and(|i| i.attempt == target && i.ts <= at);
        }
        Ok(Outcome::Answer(Response::AllThere(all)))
    }

    /// Latches writes and reads at once, makes sure that nobody else holds a row that is written, and answers the least timestamp
    /// at which the writes may land as far as memory knows, and the newest versions that it knows.
    fn begin_landing(
        &self,
        state: &Arc<RangeState>,
        attempt: AttemptId,
        at: Timestamp,
        writes: &[Write],
        reads: &Reads,
        record: Option<Key>,
    ) -> Result<Begun, Blocked> {
        let lease = state.lease_at(at)?;
        let spec = LatchSpec {
            writes: writes.iter().map(|w| w.key.clone()).chain(record).collect(),
            reads: reads.points.iter().map(|p| Span::point(p.key.clone())).chain(reads.spans.iter().map(|s| s.span.clone())).collect(),
            write_span: None,
        };
        let mut inner = state.lock();
        for write in writes {
            state.admit(&inner, &write.key)?;
        }
        for span in &spec.reads {
            state.admit_span(&inner, span)?;
        }
        let mut floor = if controls::off(Control::ClosedTimestamp) { at } else { at.max(state.above_closed(&mut inner)) };
        floor = floor.max(self.all_kept());
        for write in writes {
            if inner.locks.blocker(&write.key, attempt).is_some() {
                take_lock(&mut inner, &write.key, attempt, LANDING_LOCK)?;
            }
            floor = floor.max(inner.tscache.floor(&write.key, attempt));
        }
        // Before the latch, which forgets them; with it they stay true.
        let known = writes.iter().map(|w| inner.rows.newest(&w.key)).collect();
        let mut latches = state.latch(&mut inner, self.next_id(), spec)?;
        // In the same step in which `closed` was looked at: it stays below the floor until this is in the log.
        inner.take_off(&mut latches, floor);
        Ok(Begun { lease, latches, floor, known })
    }

    pub(super) fn latch_keys(&self, state: &Arc<RangeState>, keys: impl IntoIterator<Item = Key>) -> Result<LatchGuard, Blocked> {
        let mut inner = state.lock();
        let writes: Vec<Key> = keys.into_iter().collect();
        for key in &writes {
            state.admit(&inner, key)?;
        }
        state.latch(&mut inner, self.next_id(), LatchSpec { writes, ..LatchSpec::default() })
    }

    fn no_foreign_intent(&self, attempt: AttemptId, key: &Key) -> Result<(), Blocked> {
        match mvcc::intent(self.reader(), key)? {
            Some(intent) if intent.attempt != attempt => Err(Blocked::Intent { key: key.clone(), intent: Box::new(intent), push_to: None }),
            _ => Ok(()),
        }
    }

    /// The timestamp of the version that the attempt wrote. It can only lie at or above its snapshot (C1); mostly nothing does.
    fn own_version(&self, header: &Header, key: &Key) -> Result<Option<Timestamp>, Blocked> {
        if controls::off(Control::Replay) {
            return Ok(None);
        }
        let mut look = mvcc::get(self.reader(), key, Timestamp::MAX)?;
        while let Some(v) = look.filter(|v| v.ts >= header.read_ts) {
            if v.writer == header.attempt {
                return Ok(Some(v.ts));
            }
            look = mvcc::get(self.reader(), key, v.ts.prev())?;
        }
        Ok(None)
    }

    /// C4, C8. `known`: the newest version, if it is known without looking.
    fn check_landing(&self, header: &Header, write: &Write, known: Option<Newest>) -> Result<Checked, Blocked> {
        let (newest, live) = match known {
            Some(newest) => (newest, newest.is_some()),
            None => {
                let found = mvcc::get(self.reader(), &write.key, Timestamp::MAX)?;
                (found.as_ref().map(|v| (v.ts, v.writer)), found.is_some_and(|v| v.value.is_some()))
            }
        };
        if newest.is_some_and(|(ts, _)| ts >= header.read_ts)
            && let Some(own) = self.own_version(header, &write.key)?
        {
            return Ok(Checked::Own(own));
        }
        let holds = match write.landing {
            Landing::Any => true,
            Landing::Absent | Landing::Fresh(_) if live => return Err(KvError::KeyExists { key: write.key.clone() }.into()),
            Landing::Absent | Landing::Fresh(_) => true,
            Landing::Version(_) if controls::off(Control::NewestVersion) => true,
            Landing::Version(expected) => newest == expected,
        };
        if !holds {
            let other = newest.map(|(_, writer)| writer);
            return Err(KvError::Retry { cause: RetryCause::WriteConflict, key: write.key.clone(), columns: Vec::new(), other }.into());
        }
        Ok(Checked::Above(newest.map_or(Timestamp::ZERO, |(ts, _)| ts.next())))
    }
}

fn too_old(read_ts: Timestamp) -> KvError {
    let message = format!(
        "a transaction that reads at {read_ts} is too old to commit here: what it may have written already could have been collected"
    );
    KvError::TimestampOutOfRange(message)
}

/// Rows from which on a portion of a bulk load is checked as a whole.
const BULK_FROM: usize = 16;
/// Entries of the lock space that one resolution of a span looks at.
const RESOLVE_MAX: usize = 4096;
/// And about so many bytes.
const RESOLVE_BYTES: usize = 1 << 20;

fn put_intent(batch: &mut Batch, header: &Header, anchor: &Key, write: &Write, ts: Timestamp) {
    let portion = if let Landing::Fresh(portion) = write.landing { portion } else { 0 };
    let intent = Intent { attempt: header.attempt, anchor: anchor.clone(), ts, value: write.value.clone(), portion };
    mvcc::put_intent(batch, &write.key, &intent);
}

/// A landing that holds its latches.
struct Begun {
    lease: Lease,
    latches: LatchGuard,
    /// The least timestamp at which it may land, as far as memory knows.
    floor: Timestamp,
    /// Of each write the newest version, where that is known.
    known: SmallVec<[Option<Newest>; 4]>,
}

enum Checked {
    /// This attempt's own version is there, at this timestamp.
    Own(Timestamp),
    /// The write may land at or above this.
    Above(Timestamp),
}
