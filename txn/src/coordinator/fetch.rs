//! Reads of a transaction: what the leaseholders answer, under what the transaction itself has written.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::future::join_all;
use meridian_clock::Timestamp;
use meridian_storage::mvcc::Direction;
use meridian_storage::{Key, Span};
use smallvec::SmallVec;
use tokio::time::Instant;

use super::Txn;
use crate::api::{Columns, Get, Got, Isolation, KvError, LockStrength, LockWait, Locking, Page, RetryCause, Scan};
use crate::leaseholder::{covered, raw_columns, rest};
use crate::request::{Header, PointGet, PointReply, RangeScan, Reads, Request, Response, ScanReply, SpanRead};
use crate::router::{Backoff, Route, Router, SendError, unexpected};

/// The default page.
pub(super) const PAGE_BYTES: u64 = 1 << 20;

/// A point read on its way.
struct Wanted {
    /// Its place in the caller's list.
    at: usize,
    columns: Columns,
    get: PointGet,
    /// The caller asked for the lock (and sees all own writes); else C9 did.
    explicit: bool,
}

impl Txn {
    pub(super) async fn fetch_points(&mut self, gets: Vec<Get>) -> Result<Vec<Got>, KvError> {
        if let [get] = &gets[..]
            && let Some(got) = self.fetch_here(get).await?
        {
            return Ok(vec![got]);
        }
        let mut results: Vec<Got> = vec![Got::Skipped; gets.len()];
        let mut wanted: Vec<Wanted> = Vec::with_capacity(gets.len());
        let forced = self.forced_lock();
        for (at, get) in gets.into_iter().enumerate() {
            self.check_lock(get.lock.as_ref())?;
            let explicit = get.lock.is_some();
            if !explicit && let Some(own) = self.buffer.visible(&get.key, false) {
                results[at] = Got::Value(own.clone());
                continue;
            }
            wanted.push(Wanted { at, columns: get.columns, get: PointGet { key: get.key, lock: get.lock.or(forced) }, explicit });
        }
        if wanted.is_empty() {
            return Ok(results);
        }
        if wanted.iter().any(|w| w.get.lock.is_some()) {
            self.enter();
        }
        let mut moved_to = Timestamp::ZERO;
        let mut backoff: Option<Backoff> = None;
        while !wanted.is_empty() {
            let groups = self.gateway.router.group(&wanted.iter().map(|w| &w.get.key).collect::<SmallVec<[&Key; 4]>>()).await?;
            for (route, at) in &groups {
                self.count(route);
                if at.iter().any(|i| wanted[*i].get.lock.is_some()) {
                    self.may_hold_locks(route);
                }
            }
            let (header, past) = (self.header(), self.options.as_of.is_some());
            let nearby = AtomicU64::new(0);
            let router = self.gateway.router.clone();
            let requests: Vec<(Route, Request)> = groups
                .iter()
                .map(|(route, at)| (route.clone(), Request::Get { gets: at.iter().map(|i| wanted[*i].get.clone()).collect() }))
                .collect();
            let answers = self
                .guarded(async {
                    let mut requests = requests;
                    // One range, the common case: on this very task.
                    if requests.len() == 1
                        && let Some((route, request)) = requests.pop()
                    {
                        return Ok(vec![send_read(&router, past, &route, &header, request, &nearby).await]);
                    }
                    Ok(join_all(requests.into_iter().map(|(route, request)| {
                        let (router, nearby) = (&router, &nearby);
                        async move { send_read(router, past, &route, &header, request, nearby).await }
                    }))
                    .await)
                })
                .await?;
            self.count_nearby(&nearby);
            let mut again: Vec<bool> = vec![false; wanted.len()];
            for ((_, at), answer) in groups.iter().zip(answers) {
                match answer {
                    Ok(Response::Points(replies)) if replies.len() == at.len() => {
                        for (i, reply) in at.iter().zip(replies) {
                            let want = &wanted[*i];
                            results[want.at] = self.take_point(want, reply, &mut moved_to)?;
                        }
                    }
                    Ok(other) => return Err(unexpected(&other)),
                    Err(SendError::Kv(e)) => return Err(e),
                    Err(SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_)) => at.iter().for_each(|i| again[*i] = true),
                }
            }
            let mut again = again.into_iter();
            wanted.retain(|_| again.next().unwrap_or(false));
            if let Some(first) = wanted.first() {
                let router = &self.gateway.router;
                backoff.get_or_insert_with(Backoff::new).pause_at(router, &first.get.key, "a range does not answer").await?;
            }
        }
        self.move_to(moved_to).await?;
        Ok(results)
    }

    /// One plain read of a key that this node serves: the common case, without the lists of the general one. `None`: that one has to do it.
    async fn fetch_here(&mut self, get: &Get) -> Result<Option<Got>, KvError> {
        if get.lock.is_some() || self.forced_lock().is_some() || self.options.as_of.is_some() {
            return Ok(None);
        }
        if let Some(own) = self.buffer.visible(&get.key, false) {
            return Ok(Some(Got::Value(own.clone())));
        }
        let router = self.gateway.router.clone();
        let Some(route) = router.route_now(&get.key).filter(Route::is_local) else { return Ok(None) };
        let header = self.header();
        let request = Request::Get { gets: vec![PointGet { key: get.key.clone(), lock: None }] };
        match self.guarded(async { Ok(router.send(&route, &header, request).await) }).await? {
            Ok(Response::Points(mut replies)) => {
                self.count(&route);
                let Some(reply) = replies.pop() else { return Ok(None) };
                self.seen = self.seen.max(reply.version.map_or(Timestamp::ZERO, |(ts, _)| ts));
                if self.records_reads() {
                    self.reads.plain(&get.key, &get.columns, reply.version, reply.value.as_ref(), self.read_ts);
                }
                Ok(Some(Got::Value(reply.value)))
            }
            Ok(other) => Err(unexpected(&other)),
            Err(SendError::Kv(e)) => Err(e),
            Err(SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_)) => Ok(None),
        }
    }

    fn take_point(&mut self, want: &Wanted, reply: PointReply, moved_to: &mut Timestamp) -> Result<Got, KvError> {
        if reply.skipped {
            return Ok(Got::Skipped);
        }
        let key = &want.get.key;
        let at = reply.version.map_or(Timestamp::ZERO, |(ts, _)| ts);
        self.seen = self.seen.max(at);
        if want.get.lock.is_none() {
            if self.records_reads() {
                self.reads.plain(key, &want.columns, reply.version, reply.value.as_ref(), self.read_ts);
            }
            return Ok(Got::Value(reply.value));
        }
        self.hint = self.hint.max(reply.hint);
        let keeps = want.get.lock.map_or(LockStrength::Update, |l| l.strength);
        // A reference (a foreign key's check) only asks whether the row is there now; PostgreSQL looks past the snapshot for it, too.
        let reference = keeps == LockStrength::KeyShare && want.columns == Columns::Existence && reply.value.is_some();
        if at > self.read_ts {
            if !reference {
                self.newer_than_snapshot(key, reply.version.map(|v| v.1))?;
            }
            *moved_to = (*moved_to).max(at);
        }
        let columns = if self.strict() { want.columns.clone() } else { kept_still(keeps) };
        if self.reads.locked(key, &columns, reply.version, reply.value.as_ref()).is_err() {
            return Err(changed_before_lock(key));
        }
        Ok(Got::Value(match self.buffer.visible(key, want.explicit) {
            Some(own) => own.clone(),
            None => reply.value,
        }))
    }

    /// A lock gave a version that the snapshot does not have.
    fn newer_than_snapshot(&self, key: &Key, other: Option<meridian_storage::mvcc::AttemptId>) -> Result<(), KvError> {
        if self.options.isolation == Isolation::RepeatableRead {
            return Err(KvError::Retry { cause: RetryCause::WriteConflict, key: key.clone(), columns: Vec::new(), other });
        }
        Ok(())
    }

    /// The snapshot moves up to a version that was read under a lock; earlier reads are validated there.
    pub(super) async fn move_to(&mut self, ts: Timestamp) -> Result<(), KvError> {
        if ts <= self.read_ts || !self.strict() {
            return Ok(());
        }
        self.stats.validations += 1;
        let reads = self.reads.to_validate(ts, &|_| false, false);
        self.validate(reads, ts).await?;
        self.read_at(ts);
        Ok(())
    }

    /// C3: asks the leaseholders whether `reads` hold at `at`, in parallel. What speaks against them must not have been collected: as with reads, that is
    /// certain only when the answers have come.
    pub(super) async fn validate(&mut self, reads: Reads, at: Timestamp) -> Result<(), KvError> {
        if self.reads.overflowed() {
            return Err(RetryCause::TooManyReads.at(Key::new()));
        }
        if reads.is_empty() {
            return Ok(());
        }
        let since = Instant::now();
        let outcome = self.ask_validity(reads, at).await;
        self.gateway.waits.validations.add(since);
        outcome
    }

    async fn ask_validity(&mut self, reads: Reads, at: Timestamp) -> Result<(), KvError> {
        let mut pending = Reads { points: reads.points.clone(), spans: reads.spans.clone() };
        let mut backoff: Option<Backoff> = None;
        loop {
            let points = pending.points.len();
            let keys: Vec<&Key> = pending.points.iter().map(|p| &p.key).chain(pending.spans.iter().map(|s| &s.span.start)).collect();
            let groups = self.gateway.router.group(&keys).await?;
            let mut batches = Vec::with_capacity(groups.len());
            for (route, at) in groups {
                self.count(&route);
                let mut part = Reads::default();
                for i in at {
                    if i < points {
                        part.points.push(pending.points[i].clone());
                    } else {
                        let read = pending.spans[i - points].clone();
                        if !route.span.covers(&read.span) {
                            return Err(RetryCause::RangeSplit.at(read.span.start.clone()));
                        }
                        part.spans.push(read);
                    }
                }
                batches.push((route, part));
            }
            let header = self.header();
            let router = self.gateway.router.clone();
            let answers = self
                .guarded(async {
                    Ok(join_all(
                        batches.iter().map(|(route, part)| router.send(route, &header, Request::Validate { reads: part.clone(), at })),
                    )
                    .await)
                })
                .await?;
            pending = Reads::default();
            for ((_, part), answer) in batches.into_iter().zip(answers) {
                match answer {
                    Ok(Response::Valid(newest)) => self.seen = self.seen.max(newest),
                    Ok(other) => return Err(unexpected(&other)),
                    Err(SendError::Kv(e)) => return Err(e),
                    Err(SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_)) => {
                        pending.points.extend(part.points);
                        pending.spans.extend(part.spans);
                    }
                }
            }
            if pending.is_empty() {
                self.check_kept(at)?;
                self.reads.validated(&reads, at);
                return Ok(());
            }
            let first = pending.points.first().map(|p| &p.key).or(pending.spans.first().map(|s| &s.span.start));
            let (router, key) = (&self.gateway.router, first.cloned().unwrap_or_default());
            backoff.get_or_insert_with(Backoff::new).pause_at(router, &key, "a range does not answer").await?;
        }
    }

    pub(super) async fn fetch_page(&mut self, scan: Scan) -> Result<Page, KvError> {
        self.check_lock(scan.lock.as_ref())?;
        let explicit = scan.lock.is_some();
        let lock = match scan.lock {
            Some(lock) => Some(lock),
            None if scan.program.is_none() => self.forced_lock(),
            None => None,
        };
        if lock.is_some() {
            self.enter();
        }
        let overlay = self.buffer.overlaps(&scan.span, explicit);
        let mut page = Page::default();
        let mut left = Some(scan.span.clone()).filter(|s| !s.is_empty());
        let (mut bytes, mut moved_to) = (0u64, Timestamp::ZERO);
        let bytes_max = if scan.limit_bytes == 0 { PAGE_BYTES } else { scan.limit_bytes };
        while let Some(span) = left {
            let mut request = range_scan(&scan, &span, lock, overlay, page.rows.len() as u64, bytes_max - bytes);
            request.snapshot = lock.is_some() && self.options.isolation == Isolation::RepeatableRead;
            request.recorded = self.records_reads();
            let (part, reply) = self.scan_range(request).await?;
            let stopped = reply.resume.is_some();
            let stretch = covered(&part.span, part.direction, reply.resume.as_ref());
            let rows = self.take_page(&part, &stretch, reply, &mut moved_to)?;
            let from = page.rows.len();
            let cut = if overlay {
                self.overlay(&scan, &stretch, rows, explicit, &mut page)?
            } else {
                page.rows.extend(rows);
                None
            };
            bytes += page.rows[from..].iter().map(|(k, v)| (k.len() + v.len()) as u64).sum::<u64>();
            left = match (cut, scan.direction) {
                (Some(after), direction) => rest(&span, direction, &after),
                (None, Direction::Forward) => Some(Span { start: stretch.end, end: span.end }),
                (None, Direction::Reverse) => Some(Span { start: span.start, end: stretch.start }),
            }
            .filter(|s| !s.is_empty());
            let full = (scan.limit_rows > 0 && page.rows.len() as u64 >= scan.limit_rows) || bytes >= bytes_max;
            // A stretch that ended before its range did, for whatever limit, ends the page too; only a limit that own deletes ate up goes on.
            if full || (stopped && !(overlay && page.rows.is_empty())) {
                break;
            }
        }
        page.resume = left;
        self.move_to(moved_to).await?;
        Ok(page)
    }

    /// One stretch of one range. Answers what was asked in the end (the part of the span that this range has) and the reply.
    async fn scan_range(&mut self, mut request: RangeScan) -> Result<(RangeScan, ScanReply), KvError> {
        let whole = request.span.clone();
        let mut backoff: Option<Backoff> = None;
        loop {
            let router = self.gateway.router.clone();
            let route = match request.direction {
                Direction::Forward => router.route(&whole.start).await?,
                Direction::Reverse => router.route_below(&whole.end).await?,
            };
            if let Some(part) = whole.intersect(&route.span) {
                request.span = part;
                self.count(&route);
                if request.lock.is_some() {
                    self.may_hold_locks(&route);
                }
                let (header, past) = (self.header(), self.options.as_of.is_some());
                let (sent, nearby) = (Request::Scan(request.clone()), AtomicU64::new(0));
                let answer = self.guarded(async { Ok(send_read(&router, past, &route, &header, sent, &nearby).await) }).await?;
                self.count_nearby(&nearby);
                match answer {
                    Ok(Response::Page(reply)) => return Ok((request, reply)),
                    Ok(other) => return Err(unexpected(&other)),
                    Err(SendError::Kv(e)) => return Err(e),
                    Err(SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_)) => {}
                }
            }
            backoff.get_or_insert_with(Backoff::new).pause_at(&router, &request.span.start, "a range does not answer").await?;
        }
    }

    /// Takes a stretch into the read set; answers its rows.
    pub(super) fn take_page(
        &mut self,
        part: &RangeScan,
        stretch: &Span,
        reply: ScanReply,
        moved_to: &mut Timestamp,
    ) -> Result<Vec<(Key, Bytes)>, KvError> {
        self.seen = self.seen.max(reply.newest);
        self.hint = self.hint.max(reply.hint);
        let skips = part.lock.is_some_and(|l| l.wait == LockWait::SkipLocked);
        // SKIP LOCKED asks for an inconsistent view; only the rows that it took are depended on.
        let recorded = self.records_reads() && !skips;
        if recorded {
            self.reads.span(SpanRead {
                span: stretch.clone(),
                direction: part.direction,
                columns: part.columns.clone(),
                program: part.program.clone(),
                digest: reply.digest,
                valid_at: reply.valid_at,
            });
        }
        if part.lock.is_some() && self.records_reads() && reply.newest > self.read_ts {
            *moved_to = (*moved_to).max(reply.newest);
        }
        let columns = match part.lock {
            Some(lock) if !self.strict() => kept_still(lock.strength),
            _ => Columns::All,
        };
        for row in reply.locked {
            if row.version.0 > self.read_ts {
                self.newer_than_snapshot(&row.key, Some(row.version.1))?;
            }
            if self.reads.locked_row(row.key.clone(), row.version, row.digest, &columns, recorded).is_err() {
                return Err(changed_before_lock(&row.key));
            }
        }
        Ok(reply.rows)
    }

    /// Lays the own writes over a stretch and, if the scan has a program, runs it here. Answers the key after which the page was cut by its row
    /// limit, if it was.
    fn overlay(&self, scan: &Scan, stretch: &Span, rows: Vec<(Key, Bytes)>, all: bool, page: &mut Page) -> Result<Option<Key>, KvError> {
        let forward = scan.direction == Direction::Forward;
        let own: Vec<(&Key, &Option<Bytes>)> =
            if forward { self.buffer.range(stretch, all).collect() } else { self.buffer.range(stretch, all).rev().collect() };
        let mut program = match &scan.program {
            Some(program) => Some(self.gateway.router.leaseholders().start_program(program)?),
            None => None,
        };
        let limit = if scan.limit_rows == 0 { usize::MAX } else { usize::try_from(scan.limit_rows).unwrap_or(usize::MAX) };
        let (mut stored, mut own) = (rows.into_iter().peekable(), own.into_iter().peekable());
        loop {
            if page.rows.len() >= limit {
                break;
            }
            let own_first = match (stored.peek(), own.peek()) {
                (None, None) => {
                    if let Some(program) = &mut program {
                        program.finish(&mut page.rows).map_err(KvError::Program)?;
                    }
                    return Ok(None);
                }
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some((s, _)), Some((o, _))) => {
                    if s == *o {
                        stored.next();
                        true
                    } else {
                        (s > *o) == forward
                    }
                }
            };
            let (key, value) = if own_first {
                match own.next() {
                    Some((key, Some(value))) => (key.clone(), value.clone()),
                    _ => continue,
                }
            } else {
                match stored.next() {
                    Some(row) => row,
                    None => continue,
                }
            };
            match &mut program {
                Some(program) => program.row(&key, &value, &mut page.rows).map_err(KvError::Program)?,
                None => page.rows.push((key.clone(), value)),
            }
            if page.rows.len() >= limit {
                if let Some(program) = &mut program {
                    program.finish(&mut page.rows).map_err(KvError::Program)?;
                }
                return Ok(Some(key));
            }
        }
        Ok(None)
    }
}

/// Sends a read; one in the past is answered from the replica on this node if that can, or from one in this region. `nearby` counts the former.
async fn send_read(
    router: &Router,
    past: bool,
    route: &Route,
    header: &Header,
    request: Request,
    nearby: &AtomicU64,
) -> Result<Response, SendError> {
    if past && !route.is_local() {
        if let Some(answer) = router.read_nearby(header, &request) {
            nearby.fetch_add(1, Ordering::Relaxed);
            return answer.map_err(SendError::Kv);
        }
        if let Some(response) = router.read_in_region(route, header, &request).await {
            return Ok(response);
        }
    }
    router.send(route, header, request).await
}

/// What to ask of the ranges for what is left of a scan.
pub(super) fn range_scan(scan: &Scan, span: &Span, lock: Option<Locking>, overlay: bool, have_rows: u64, bytes: u64) -> RangeScan {
    let local_program = overlay && scan.program.is_some();
    RangeScan {
        span: span.clone(),
        direction: scan.direction,
        columns: if local_program { raw_columns(&scan.columns, scan.program.as_ref()) } else { scan.columns.clone() },
        limit_rows: match scan.limit_rows {
            0 => 0,
            // How many raw rows a program needs for its output nobody knows; the page of bytes bounds it.
            rows if local_program => rows.saturating_sub(have_rows).max(256),
            rows => rows.saturating_sub(have_rows).max(1),
        },
        limit_bytes: bytes.max(1),
        program: if local_program { None } else { scan.program.clone() },
        lock,
        snapshot: false,
        recorded: false,
    }
}

/// What a lock of this strength keeps still, and the weaker levels therefore validate: a lost lock is an error there, not a detail (C3). Beside KEY SHARE
/// others may change what is no key.
fn kept_still(strength: LockStrength) -> Columns {
    if strength == LockStrength::KeyShare { Columns::Existence } else { Columns::All }
}

fn changed_before_lock(key: &Key) -> KvError {
    RetryCause::ChangedBeforeLock.at(key.clone())
}
