//! Reads at the leaseholder: points, scans, locking reads, validation (T2, C2, C3).
//!
//! Evaluation is synchronous: it either answers or says what is in the way ([`Blocked`]); the shell in `mod.rs` waits and comes again.

use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_clock::controls::{self, Control};
use meridian_replication::api::RangeReplica;
use meridian_storage::mvcc::{self, AttemptId, Direction, Intent};
use meridian_storage::{Key, Reader, Span};
use smallvec::SmallVec;
use std::sync::Arc;

use super::Leaseholders;
use super::bare::DEAD_MIN;
use super::latches::LatchSpec;
use super::locks::Acquired;
use super::range::{Blocked, Inner, RangeState};
use super::row_cache::{Known, Ticket};
use super::stretch::{Stretch, VISITS_MAX, Verdict, covered, run};
use crate::api::{Columns, KvError, LockWait, Locking, Program, RetryCause};
use crate::digest::{self, Hasher};
use crate::request::{Header, LockedRow, PointGet, PointReply, RangeScan, Reads, Request, Response, ScanReply, SpanRead};

/// Points looked at under one hold of the range's mutex.
const POINTS_AT_ONCE: usize = 128;

impl Leaseholders {
    /// Plain point reads at the header's snapshot: of `gets` from `replies.len()` on, up to the next locking one or [`POINTS_AT_ONCE`]. `Err`: what
    /// is in the way of the first that has no reply yet.
    pub(super) fn try_gets(
        &self,
        state: &Arc<RangeState>,
        header: &Header,
        gets: &[PointGet],
        replies: &mut Vec<PointReply>,
    ) -> Result<(), Blocked> {
        state.lease_at(header.read_ts)?;
        let at = header.read_ts;
        let plain = gets[replies.len()..].iter().take(POINTS_AT_ONCE).take_while(|get| get.lock.is_none());
        let mut looks: SmallVec<[(&Key, Known); 1]> = SmallVec::new();
        let mut blocked = Ok(());
        {
            let mut inner = state.lock();
            for PointGet { key, .. } in plain {
                blocked = state.admit(&inner, key);
                if let (Ok(()), Some(id)) = (&blocked, inner.latches.writer_of(key)) {
                    blocked = Err(Blocked::Latch(inner.latches.wait(id)));
                }
                if blocked.is_err() {
                    break;
                }
                // C2: from here on nothing lands at or below read_ts; so what follows may look in peace.
                inner.tscache.raise_point(key, at, header.attempt);
                looks.push((key, inner.rows.look(key, at)));
            }
        }
        let reader = self.reader();
        // Intents before versions (see `range`).
        for n in 0..looks.len() {
            let (key, known) = &mut looks[n];
            if matches!(known, Known::Version(_)) {
                continue;
            }
            if let Some(intent) = mvcc::intent(reader, key)? {
                *known = Known::Ask(None);
                if self.in_the_way(&intent, header.attempt, at) {
                    blocked = Err(Blocked::Intent { key: (*key).clone(), intent: Box::new(intent), push_to: Some(at) });
                    looks.truncate(n);
                    break;
                }
            }
        }
        let asked = looks.iter().filter(|(_, known)| matches!(known, Known::Ask(None))).map(|(key, _)| &key[..]);
        let mut found = mvcc::get_many(reader, asked, at)?.into_iter();
        for (key, known) in looks {
            replies.push(match known {
                Known::Version(version) => reply(Some(version), Timestamp::ZERO),
                Known::Ask(None) => reply(found.next().flatten(), Timestamp::ZERO),
                Known::Ask(Some(ticket)) => reply(self.get_and_keep(state, key, at, ticket)?, Timestamp::ZERO),
            });
        }
        blocked
    }

    /// The version of a key without an intent, which is kept if it is the newest.
    fn get_and_keep(&self, state: &RangeState, key: &Key, at: Timestamp, ticket: Ticket) -> Result<Option<mvcc::Version>, Blocked> {
        let reader = self.reader();
        let newest = mvcc::get(reader, key, Timestamp::MAX)?;
        match newest {
            Some(newest) if newest.ts > at => Ok(mvcc::get(reader, key, at)?),
            newest => {
                state.lock().rows.keep(ticket, key, newest.as_ref());
                Ok(newest)
            }
        }
    }

    /// A locking point read: the newest version, under its lock.
    pub(super) fn try_lock_get(
        &self,
        state: &Arc<RangeState>,
        header: &Header,
        get: &PointGet,
        lock: Locking,
    ) -> Result<PointReply, Blocked> {
        state.lease_at(header.read_ts)?;
        let key = &get.key;
        let (floor, known) = {
            let mut inner = state.lock();
            state.admit(&inner, key)?;
            if let Some(id) = inner.latches.writer_of(key) {
                return Err(Blocked::Latch(inner.latches.wait(id)));
            }
            if !take_lock(&mut inner, key, header.attempt, lock)? {
                return Ok(PointReply { value: None, version: None, hint: Timestamp::ZERO, skipped: true });
            }
            (inner.tscache.floor(key, header.attempt).max(inner.closed.next()), inner.rows.look_locked(key))
        };
        let ticket = match known {
            Ok(newest) => return Ok(locked_reply(newest, floor)),
            Err(ticket) => ticket,
        };
        let reader = self.reader();
        let intent = mvcc::intent(reader, key)?;
        let settled = intent.is_none();
        if let Some(intent) = intent
            && intent.attempt != header.attempt
        {
            return match lock.wait {
                LockWait::Block(_) => Err(Blocked::Intent { key: key.clone(), intent: Box::new(intent), push_to: None }),
                LockWait::NoWait => Err(KvError::LockNotAvailable { key: key.clone() }.into()),
                LockWait::SkipLocked => Ok(PointReply { value: None, version: None, hint: Timestamp::ZERO, skipped: true }),
            };
        }
        let newest = mvcc::get(reader, key, Timestamp::MAX)?;
        if let (true, Some(ticket)) = (settled, ticket) {
            state.lock().rows.keep(ticket, key, newest.as_ref());
        }
        Ok(locked_reply(newest, floor))
    }

    /// A plain scan of one range's part.
    pub(super) fn try_scan(&self, state: &Arc<RangeState>, header: &Header, scan: &RangeScan) -> Result<ScanReply, Blocked> {
        state.lease_at(header.read_ts)?;
        let at = header.read_ts;
        // A scan with a row limit mostly stops early: it latches, reads, and closes the past of what it covered only. Without a limit the whole
        // span is closed first, which needs no latch.
        let bounded = scan.limit_rows > 0;
        let (latch, skip) = {
            let mut inner = state.lock();
            state.admit_span(&inner, &scan.span)?;
            let latch = if bounded {
                Some(state.latch(&mut inner, self.next_id(), LatchSpec { reads: vec![scan.span.clone()], ..LatchSpec::default() })?)
            } else {
                if let Some(id) = inner.latches.writer_in(&scan.span) {
                    return Err(Blocked::Latch(inner.latches.wait(id)));
                }
                inner.tscache.raise_span(&scan.span, at, header.attempt);
                None
            };
            (latch, skip(&inner, scan, at))
        };
        let reader = self.reader();
        let in_the_way = self.first_intent(reader, &scan.span, scan.direction, header.attempt, at)?;
        let program = self.program(scan.program.as_ref())?;
        let mut stretch = run(reader, scan, skip.begin.as_ref(), at, VISITS_MAX, program, &mut |_, _| Verdict::Take)?;
        stretch.newest = stretch.newest.max(skip.newest);
        let covered = covered(&scan.span, scan.direction, stretch.resume.as_ref());
        if let Some((key, intent)) = in_the_way
            && covered.contains(&key)
        {
            return Err(Blocked::Intent { key, intent: Box::new(intent), push_to: Some(at) });
        }
        if latch.is_some() {
            self.note_dead(state, scan, &skip, at, &stretch)?;
            let mut inner = state.lock();
            state.admit_span(&inner, &scan.span)?;
            inner.tscache.raise_span(&covered, at, header.attempt);
        }
        Ok(scan_reply(stretch, at, Vec::new(), Timestamp::ZERO))
    }

    /// A locking scan: locks every row that comes out and reads the newest state, kept still by a latch while it looks.
    pub(super) fn try_lock_scan(
        &self,
        state: &Arc<RangeState>,
        header: &Header,
        scan: &RangeScan,
        lock: Locking,
    ) -> Result<ScanReply, Blocked> {
        state.lease_at(header.read_ts)?;
        let at = if scan.snapshot { header.read_ts } else { Timestamp::MAX };
        let (_latch, skip) = {
            let mut inner = state.lock();
            state.admit_span(&inner, &scan.span)?;
            let latch = state.latch(&mut inner, self.next_id(), LatchSpec { reads: vec![scan.span.clone()], ..LatchSpec::default() })?;
            (latch, skip(&inner, scan, at))
        };
        let reader = self.reader();
        let in_the_way = match lock.wait {
            LockWait::SkipLocked => None,
            _ => self.first_intent(reader, &scan.span, scan.direction, header.attempt, Timestamp::MAX)?,
        };
        let program = self.program(scan.program.as_ref())?;
        let mut locked = Vec::new();
        let mut stopped: Option<Blocked> = None;
        let mut stretch = run(reader, scan, skip.begin.as_ref(), at, VISITS_MAX, program, &mut |key, version| {
            let key = Key::copy_from_slice(key);
            if lock.wait == LockWait::SkipLocked && mvcc::intent(reader, &key).is_ok_and(|i| i.is_some_and(|i| i.attempt != header.attempt))
            {
                return Verdict::Skip;
            }
            let taken = take_lock(&mut state.lock(), &key, header.attempt, lock);
            match taken {
                Ok(true) if scan.snapshot && is_newer(reader, &key, header.read_ts, &mut stopped) => Verdict::Stop,
                Ok(true) => {
                    let mut hasher = Hasher::default();
                    hasher.bytes(version.value.unwrap_or_default());
                    locked.push(LockedRow { key, version: (version.ts, version.writer), digest: hasher.finish() });
                    Verdict::Take
                }
                Ok(false) => Verdict::Skip,
                Err(blocked) => {
                    stopped = Some(blocked);
                    Verdict::Stop
                }
            }
        })?;
        let covered = covered(&scan.span, scan.direction, stretch.resume.as_ref());
        // An intent stands before a lock that is waited for further on, and the wait for the lock keeps its place in the queue.
        if let Some(blocked) = stopped {
            return Err(blocked);
        }
        if let Some((key, intent)) = in_the_way
            && covered.contains(&key)
        {
            return match lock.wait {
                LockWait::NoWait => Err(KvError::LockNotAvailable { key }.into()),
                _ => Err(Blocked::Intent { key, intent: Box::new(intent), push_to: None }),
            };
        }
        stretch.newest = stretch.newest.max(skip.newest);
        self.note_dead(state, scan, &skip, at, &stretch)?;
        let valid_at = header.read_ts.max(stretch.newest);
        state.lease_at(valid_at)?;
        let hint = {
            let mut inner = state.lock();
            state.admit_span(&inner, &scan.span)?;
            inner.tscache.raise_span(&covered, valid_at, header.attempt);
            let closed = inner.closed.next();
            locked
                .iter()
                .map(|row| inner.tscache.floor(&row.key, header.attempt).max(row.version.0.next()))
                .max()
                .map_or(Timestamp::ZERO, |h| h.max(closed))
        };
        Ok(scan_reply(stretch, valid_at, locked, hint))
    }

    /// Notes what a scan, which still holds its read latch, found dead in front.
    fn note_dead(&self, state: &RangeState, scan: &RangeScan, skip: &Skip, at: Timestamp, found: &Stretch) -> Result<(), Blocked> {
        if scan.direction != Direction::Forward || found.dead.rows < DEAD_MIN {
            return Ok(());
        }
        let end = found.dead.before.as_ref().or(found.resume.as_ref().map(|left| &left.start)).unwrap_or(&scan.span.end);
        let dead = Span { start: skip.begin.as_ref().unwrap_or(&scan.span.start).clone(), end: end.clone() };
        let mut intents = false;
        mvcc::intents(self.reader(), &dead, &mut |_, _| {
            intents = true;
            false
        })?;
        // What is newer than the snapshot of the scan may be alive.
        if !intents && (at == Timestamp::MAX || mvcc::newest_above(self.reader(), &dead, at)?.is_none()) {
            state.lock().bare.add(&dead, found.dead.newest);
        }
        Ok(())
    }

    /// A read at or below the closed timestamp of any replica: nothing is written there any more, so it needs no lease, no latch and no timestamp
    /// cache. `None`: not closed yet, not all here, or an intent is in the way; the leaseholder knows what to do.
    pub(crate) fn read_closed(&self, replica: &dyn RangeReplica, header: &Header, request: &Request) -> Option<Result<Response, KvError>> {
        let at = header.read_ts;
        if replica.closed_timestamp() < at {
            return None;
        }
        let (span, reader) = (replica.descriptor().span.clone(), self.reader());
        match request {
            Request::Get { gets } => {
                let mut replies = Vec::with_capacity(gets.len());
                for get in gets {
                    if get.lock.is_some() || !span.contains(&get.key) {
                        return None;
                    }
                    match mvcc::intent(reader, &get.key) {
                        Ok(intent) if intent.as_ref().is_none_or(|i| i.ts > at) => {}
                        _ => return None,
                    }
                    match mvcc::get(reader, &get.key, at) {
                        Ok(version) => replies.push(reply(version, Timestamp::ZERO)),
                        Err(e) => return Some(Err(crate::request::storage_error(e))),
                    }
                }
                // A replica that is being removed loses its data, and says so before it does.
                (replica.closed_timestamp() >= at).then_some(Ok(Response::Points(replies)))
            }
            Request::Scan(scan) if scan.lock.is_none() && span.covers(&scan.span) => {
                if self.first_intent(reader, &scan.span, scan.direction, header.attempt, at).ok()?.is_some() {
                    return None;
                }
                let stretch =
                    self.program(scan.program.as_ref()).and_then(|p| run(reader, scan, None, at, VISITS_MAX, p, &mut |_, _| Verdict::Take));
                (replica.closed_timestamp() >= at).then(|| stretch.map(|s| Response::Page(scan_reply(s, at, Vec::new(), Timestamp::ZERO))))
            }
            _ => None,
        }
    }

    /// C3: do these reads still hold at `at`? Raises the timestamp cache first (C2), then compares by version, and by value where the version is another.
    /// Answers the newest version compared.
    pub(super) fn try_validate(
        &self,
        state: &Arc<RangeState>,
        header: &Header,
        reads: &Reads,
        at: Timestamp,
    ) -> Result<Timestamp, Blocked> {
        state.lease_at(at)?;
        {
            let mut inner = state.lock();
            for point in &reads.points {
                state.admit(&inner, &point.key)?;
                if let Some(id) = inner.latches.writer_of(&point.key) {
                    return Err(Blocked::Latch(inner.latches.wait(id)));
                }
            }
            for read in &reads.spans {
                state.admit_span(&inner, &read.span)?;
                if let Some(id) = inner.latches.writer_in(&read.span) {
                    return Err(Blocked::Latch(inner.latches.wait(id)));
                }
            }
            raise(&mut inner, reads, at, header.attempt);
        }
        self.still_valid(state, header, reads, at)
    }

    /// The comparison itself. The caller has made sure that nothing lands at or below `at` meanwhile.
    pub(super) fn still_valid(&self, state: &RangeState, header: &Header, reads: &Reads, at: Timestamp) -> Result<Timestamp, Blocked> {
        let reader = self.reader();
        let mut newest = Timestamp::ZERO;
        if controls::off(Control::Validation) {
            return Ok(newest);
        }
        for point in reads.points.iter().filter(|p| p.valid_at < at) {
            let key = &point.key;
            if let Some(intent) = mvcc::intent(reader, key)?
                && self.in_the_way(&intent, header.attempt, at)
            {
                return Err(Blocked::Intent { key: key.clone(), intent: Box::new(intent), push_to: Some(at) });
            }
            let now = mvcc::get(reader, key, at)?;
            if let Some(v) = &now {
                newest = newest.max(v.ts);
            }
            if now.as_ref().map(|v| (v.ts, v.writer)) == point.version {
                continue;
            }
            let value = now.as_ref().and_then(|v| v.value.as_ref());
            if digest::point(value, &point.columns) != point.digest {
                return Err(changed(key, &point.columns, now.map(|v| v.writer)));
            }
        }
        for read in reads.spans.iter().filter(|s| s.valid_at < at) {
            newest = newest.max(self.span_valid(state, reader, header, read, at)?);
        }
        Ok(newest)
    }

    fn span_valid(
        &self,
        state: &RangeState,
        reader: &dyn Reader,
        header: &Header,
        read: &SpanRead,
        at: Timestamp,
    ) -> Result<Timestamp, Blocked> {
        if let Some((key, intent)) = self.first_intent(reader, &read.span, Direction::Forward, header.attempt, at)? {
            return Err(Blocked::Intent { key, intent: Box::new(intent), push_to: Some(at) });
        }
        // What died before the read, and stayed dead, has not changed since.
        let begin = state.lock().bare.skip(&read.span, read.valid_at).map_or_else(|| read.span.start.clone(), |(begin, _)| begin);
        if mvcc::newest_above(reader, &Span { start: begin, end: read.span.end.clone() }, read.valid_at)?.is_none() {
            return Ok(Timestamp::ZERO);
        }
        let scan = RangeScan {
            span: read.span.clone(),
            direction: read.direction,
            columns: read.columns.clone(),
            limit_rows: 0,
            limit_bytes: u64::MAX,
            program: read.program.clone(),
            lock: None,
            snapshot: false,
            recorded: true,
        };
        let program = self.program(read.program.as_ref())?;
        let stretch = run(reader, &scan, None, at, usize::MAX, program, &mut |_, _| Verdict::Take)?;
        if stretch.digest == read.digest {
            return Ok(stretch.newest);
        }
        // For the message: a row that is new. One that went has left none.
        let mut found: Option<(Key, AttemptId)> = None;
        mvcc::scan(reader, &read.span, at, Direction::Forward, &mut |key, version| {
            if version.ts > read.valid_at {
                found = Some((Key::copy_from_slice(key), version.writer));
            }
            found.is_none()
        })?;
        Err(match found {
            Some((key, writer)) => changed(&key, &read.columns, Some(writer)),
            None => changed(&read.span.start, &read.columns, None),
        })
    }

    /// The foreign intent at or below `at` that a scan in `direction` meets first.
    fn first_intent(
        &self,
        reader: &dyn Reader,
        span: &Span,
        direction: Direction,
        attempt: AttemptId,
        at: Timestamp,
    ) -> Result<Option<(Key, Intent)>, Blocked> {
        let mut found = None;
        mvcc::intents(reader, span, &mut |key, intent| {
            if !self.in_the_way(&intent, attempt, at) {
                return true;
            }
            found = Some((Key::copy_from_slice(key), intent));
            direction == Direction::Reverse
        })?;
        Ok(found)
    }

    fn program(&self, program: Option<&Bytes>) -> Result<Option<Box<dyn Program>>, KvError> {
        let Some(program) = program else { return Ok(None) };
        self.start_program(program).map(Some)
    }
}

/// What a scan need not look at.
struct Skip {
    /// Nothing in front of this is alive.
    begin: Option<Key>,
    /// When the last of it died.
    newest: Timestamp,
}

/// What a scan at `at` need not look at.
fn skip(inner: &Inner, scan: &RangeScan, at: Timestamp) -> Skip {
    let found = if scan.direction == Direction::Forward { inner.bare.skip(&scan.span, at) } else { None };
    let (begin, newest) = found.map_or((None, Timestamp::ZERO), |(begin, newest)| (Some(begin), newest));
    Skip { begin, newest }
}

/// Raises the timestamp cache for every read up to `at`.
pub(super) fn raise(inner: &mut Inner, reads: &Reads, at: Timestamp, attempt: AttemptId) {
    for point in &reads.points {
        inner.tscache.raise_point(&point.key, at, attempt);
    }
    for read in &reads.spans {
        inner.tscache.raise_span(&read.span, at, attempt);
    }
}

fn changed(key: &Key, columns: &Columns, other: Option<AttemptId>) -> Blocked {
    let columns = match columns {
        Columns::Some(ids) => ids.to_vec(),
        Columns::All | Columns::Existence => Vec::new(),
    };
    KvError::Retry { cause: RetryCause::ReadChanged, key: key.clone(), columns, other }.into()
}

/// Takes a row lock. `false`: skipped.
pub(super) fn take_lock(inner: &mut Inner, key: &Key, attempt: AttemptId, lock: Locking) -> Result<bool, Blocked> {
    match inner.locks.acquire(key, attempt, lock.strength, matches!(lock.wait, LockWait::Block(_))) {
        Acquired::Granted => Ok(true),
        Acquired::Queued(queued) => Err(Blocked::Lock { key: key.clone(), queued, wait: lock.wait }),
        Acquired::Conflict if lock.wait == LockWait::SkipLocked => Ok(false),
        Acquired::Conflict => Err(KvError::LockNotAvailable { key: key.clone() }.into()),
        Acquired::TooMany(what) => Err(KvError::LimitExceeded(format!("too many {what}")).into()),
    }
}

fn reply(version: Option<mvcc::Version>, hint: Timestamp) -> PointReply {
    match version {
        Some(v) => PointReply { version: Some((v.ts, v.writer)), value: v.value, hint, skipped: false },
        None => PointReply { value: None, version: None, hint, skipped: false },
    }
}

/// The newest version of a locked row, which can be written above it and above `floor`.
fn locked_reply(newest: Option<mvcc::Version>, floor: Timestamp) -> PointReply {
    let hint = newest.as_ref().map_or(floor, |v| floor.max(v.ts.next()));
    reply(newest, hint)
}

fn scan_reply(stretch: Stretch, valid_at: Timestamp, locked: Vec<LockedRow>, hint: Timestamp) -> ScanReply {
    ScanReply { rows: stretch.rows, resume: stretch.resume, digest: stretch.digest, newest: stretch.newest, valid_at, locked, hint }
}

/// Whether a row of a snapshot has changed since, and the conflict or error that this is.
fn is_newer(reader: &dyn Reader, key: &Key, read_ts: Timestamp, stopped: &mut Option<Blocked>) -> bool {
    match mvcc::get(reader, key, Timestamp::MAX) {
        Ok(Some(v)) if v.ts > read_ts => {
            let (cause, other) = (RetryCause::WriteConflict, Some(v.writer));
            *stopped = Some(KvError::Retry { cause, key: key.clone(), columns: Vec::new(), other }.into());
        }
        Ok(_) => {}
        Err(error) => *stopped = Some(error.into()),
    }
    stopped.is_some()
}

/// What the digest of a scan without a program covers, for scans that the coordinator evaluates itself.
pub(crate) fn raw_columns(columns: &Columns, program: Option<&Bytes>) -> Columns {
    if program.is_some() { Columns::All } else { columns.clone() }
}
