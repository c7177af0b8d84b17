//! Commit: one proposal where possible, parallel commit otherwise, and what happens behind the client's back (C3–C9).
//!
//! ```text
//!   writes in one range                      writes in several ranges (or pushed once with remote reads, C9)
//!   ───────────────────                      ───────────────────────────────────────────────────────────────
//!   validate remote reads at c               validate all reads at c
//!   OnePhase: the leaseholder picks c' ≥ c,  intents at c everywhere ∥ staging record (c, keys)
//!   validates the local reads at c' and      any pushed above c?  c := that, validate there, stage again
//!   writes, all in one step                  all at or below c: committed ─▶ answer
//!   ─▶ answer                                behind: COMMITTED record durable (C5) ─▶ resolve intents ─▶ forget record
//! ```
//! Whatever may have happened unseen (a lost answer) is asked for again: landings recognise their own work (C8). Only if that
//! goes on for too long is the outcome reported as unknown.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use meridian_clock::Timestamp;
use meridian_clock::controls::{self, Control};
use meridian_storage::mvcc::AttemptId;
use meridian_storage::{Key, Span};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::{Gateway, Txn};
use crate::api::{Expect, KvError, RetryCause};
use crate::request::{Fate, Header, Landing, Reads, Request, Response, Write};
use crate::router::{Backoff, Route, Router, SendError, unexpected};

/// How far ahead of the present a commit that was pushed twice aims; doubled with every push.
const AIM_AHEAD: Duration = Duration::from_millis(4);
/// Rounds of staging before the transaction begins again.
const ROUNDS_MAX: u32 = 60;
/// Bytes of writes that one proposal carries at most.
const PROPOSAL_BYTES: usize = 4 << 20;

/// Bytes of writes per request when one proposal is not enough.
const CHUNK_BYTES: usize = 1 << 20;
/// A staging record lists at most so many bytes of keys. A transaction with more lays its intents first and then commits by its record alone:
/// a round trip more, on one that takes many anyway.
const STAGED_KEYS_BYTES: usize = 256 << 10;
/// Landing requests of one transaction under way at once.
const PARALLEL_MAX: usize = 16;
/// How often a commit that takes long gives a sign of life.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);

/// How long a victim of a deadlock waits to hear what came of its commit.
const VERDICT_WAIT: Duration = Duration::from_secs(2);

/// What a commit has done so far, for whoever has to clean up.
#[derive(Default)]
struct Progress {
    /// Intents may lie, or a record stand, since this was set.
    laid: bool,
    /// A one-phase request may have committed, or may yet, without our knowing.
    one_phase_unknown: bool,
    /// An answer was lost on the way: the request may still be waiting somewhere, whatever a later one was told.
    lost: bool,
    /// A round of intents or staging left an answer out.
    unknown: bool,
    /// Intents of a bulk load lie already, too many to list: the record alone commits.
    bulk: bool,
    /// Which writes hold intents, by index.
    landed: Vec<bool>,
    /// The record says STAGING at this timestamp.
    staged: Option<Timestamp>,
}

impl Progress {
    /// A one-phase request was evaluated and did not commit. The evaluation looked for a version of ours first, so an earlier one that changed
    /// leaders on the way did not commit either (its lease is over, it never will); one whose answer was lost may still be under way.
    fn evaluated(&mut self) {
        if !self.lost {
            self.one_phase_unknown = false;
        }
    }

    /// The same, and what spoke against it stays: a version newer than the one that this attempt read (C4). Whatever is still under way will meet it, too.
    fn refused_for_good(&mut self) {
        self.one_phase_unknown = false;
    }
}

impl Txn {
    pub(super) async fn commit_now(&mut self) -> Result<Timestamp, KvError> {
        self.land_portions(0).await?;
        // Others will meet our intents; and whoever waits for us may ask.
        let writes = self.writes();
        let bulk = self.bulk.take();
        let anchor = match (&bulk, writes.first()) {
            (Some(bulk), _) => bulk.anchor.clone(),
            (None, Some(first)) => first.key.clone(),
            (None, None) => return self.commit_without_writes().await,
        };
        let mut progress =
            Progress { landed: vec![false; writes.len()], bulk: bulk.is_some(), laid: bulk.is_some(), ..Progress::default() };
        let highest = bulk.as_ref().map_or(Timestamp::ZERO, |b| b.highest);
        let outcome = self.commit_writes(&writes, &anchor, highest, &mut progress).await;
        let keys = || Written {
            keys: writes.iter().map(|w| w.key.clone()).collect(),
            spans: bulk.as_ref().map_or_else(Vec::new, |b| b.spans.clone()),
            under_way: Vec::new(),
        };
        match outcome {
            Ok(at) => {
                if progress.laid {
                    self.finish_behind(anchor, keys(), Some(at));
                }
                Ok(at)
            }
            Err(error) => {
                // Landing may have taken locks for what was written unlocked.
                self.locked.extend(writes.iter().map(|w| Span::point(w.key.clone())));
                if progress.laid && (progress.unknown || progress.lost) {
                    // What we do not know about might add up to a commit: settle it before anybody hears that it failed.
                    match self.abort_now(&anchor).await {
                        Ok(None) => self.finish_behind(anchor, keys(), None),
                        Ok(Some(at)) => {
                            self.finish_behind(anchor, keys(), Some(at));
                            return Ok(at);
                        }
                        Err(_) => {
                            self.recover_behind(anchor);
                            return Err(KvError::Ambiguous(error.to_string()));
                        }
                    }
                } else if progress.laid {
                    self.finish_behind(anchor, keys(), None);
                }
                Err(if progress.one_phase_unknown { KvError::Ambiguous(error.to_string()) } else { error })
            }
        }
    }

    /// Writes the ABORTED record; answers the commit timestamp if recovery was faster and found the transaction committed (C6).
    async fn abort_now(&self, anchor: &Key) -> Result<Option<Timestamp>, KvError> {
        let header = self.header();
        match self.gateway.router.ask(anchor, &header, &Request::Finish { anchor: anchor.clone(), at: None, keys: Vec::new() }).await? {
            Response::Done => Ok(None),
            Response::Fate(Fate::Committed(at)) => Ok(Some(at)),
            other => Err(unexpected(&other)),
        }
    }

    /// Nothing was written; what was locked must still be as it was (C3).
    async fn commit_without_writes(&mut self) -> Result<Timestamp, KvError> {
        if self.reads.any_locked() {
            let at = self.read_ts.max(self.reads.newest_locked());
            let mut reads = self.reads.to_validate(at, &|_| false, true);
            if !self.strict() {
                reads.spans.clear();
            }
            self.validate(reads, at).await?;
        }
        Ok(self.read_ts)
    }

    /// The writes with what must hold where they land (C4).
    fn writes(&self) -> Vec<Write> {
        self.buffer
            .finals()
            .map(|(key, value, expect)| {
                let landing = match (self.reads.point(key), expect) {
                    (Some(read), Expect::Absent) if !read.live => Landing::Absent,
                    (Some(read), _) => Landing::Version(read.version),
                    (None, Expect::Absent) => Landing::Absent,
                    (None, Expect::AsRead) => Landing::Any,
                };
                Write { key: key.clone(), value: value.clone(), landing }
            })
            .collect()
    }

    fn reads_at(&self, at: Timestamp) -> Reads {
        self.reads.to_validate(at, &|key| self.buffer.writes(key), true)
    }

    /// `highest`: that of the intents of a bulk load.
    async fn commit_writes(
        &mut self,
        writes: &[Write],
        anchor: &Key,
        highest: Timestamp,
        progress: &mut Progress,
    ) -> Result<Timestamp, KvError> {
        let bytes: usize = writes.iter().map(|w| w.key.len() + w.value.as_ref().map_or(0, |v| v.len()) + 64).sum();
        let mut at = self.read_ts.max(self.reads.newest_locked()).max(highest);
        let mut one_phase = bytes <= PROPOSAL_BYTES;
        let (mut backoff, mut pushes) = (Backoff::new(), 0);
        for _ in 0..ROUNDS_MAX {
            let router = self.gateway.router.clone();
            let groups = router.group(&writes.iter().map(|w| &w.key).collect::<SmallVec<[&Key; 4]>>()).await?;
            if one_phase && groups.len() == 1 && !progress.laid {
                match self.one_phase(&groups[0].0, writes, at, progress).await? {
                    OnePhase::Committed(at) => return Ok(at),
                    OnePhase::Again => {
                        let what = "the range of this transaction's writes does not answer";
                        backoff.pause_at(&router, anchor, what).await?;
                    }
                    OnePhase::Pushed(to) => {
                        // C9: two transactions that validate each other's writes would chase each other for ever.
                        at = to;
                        one_phase = false;
                    }
                }
                continue;
            }
            // A commit below the hint would be pushed; asking for it at once spares a round.
            if progress.staged.is_none() {
                at = at.max(self.hint);
            }
            let reads = self.reads_at(at);
            if !reads.is_empty() {
                self.stats.validations += 1;
                self.validate(reads, at).await?;
            }
            match self.lay(groups, writes, anchor, at, progress).await? {
                Laid::Committed(at) => return Ok(at),
                Laid::Pushed(to) => {
                    // Readers that keep pushing would outrun every round: from the second push on aim ahead of them. The reply rule waits it out.
                    at = to;
                    if pushes > 0 {
                        at = at.max(self.gateway.clock.now().latest.plus(AIM_AHEAD * (1 << pushes.min(6))));
                    }
                    pushes += 1;
                }
                Laid::Again => backoff.pause_at(&router, anchor, "a range of this transaction's writes does not answer").await?,
            }
        }
        Err(RetryCause::PushedTooOften.at(anchor.clone()))
    }

    async fn one_phase(&mut self, route: &Route, writes: &[Write], at: Timestamp, progress: &mut Progress) -> Result<OnePhase, KvError> {
        // All reads that are not written, wherever; those here travel along, in case the leaseholder must push.
        let all = if self.reads.overflowed() { Reads::default() } else { self.reads_at(Timestamp::MAX) };
        let here = Reads {
            points: all.points.iter().filter(|p| route.span.contains(&p.key)).cloned().collect(),
            spans: all.spans.iter().filter(|s| route.span.covers(&s.span)).cloned().collect(),
        };
        let elsewhere = Reads {
            points: all.points.into_iter().filter(|p| !route.span.contains(&p.key)).collect(),
            spans: all.spans.into_iter().filter(|s| !route.span.covers(&s.span)).collect(),
        };
        let remote_reads = !elsewhere.is_empty() || self.reads.overflowed();
        let due = Reads {
            points: elsewhere.points.into_iter().filter(|p| p.valid_at < at).collect(),
            spans: elsewhere.spans.into_iter().filter(|s| s.valid_at < at).collect(),
        };
        if !due.is_empty() {
            self.stats.validations += 1;
            self.validate(due, at).await?;
        }
        self.count(route);
        let request = Request::OnePhase { at, writes: writes.to_vec(), reads: here, remote_reads };
        let (router, header) = (self.gateway.router.clone(), self.header());
        match self.through(route, &writes[0].key, router.send(route, &header, request), progress).await? {
            Ok(Response::Committed(at)) => Ok(OnePhase::Committed(at)),
            Ok(Response::Pushed(to)) => {
                progress.evaluated();
                Ok(OnePhase::Pushed(to))
            }
            Ok(other) => Err(unexpected(&other)),
            Err(SendError::Stale | SendError::Kv(KvError::Overloaded(_))) => Ok(OnePhase::Again),
            Err(SendError::Kv(e)) => {
                match e {
                    KvError::Retry { cause: RetryCause::WriteConflict, .. } => progress.refused_for_good(),
                    KvError::Retry { .. } | KvError::KeyExists { .. } => progress.evaluated(),
                    _ => {}
                }
                Err(e)
            }
            Err(SendError::Unknown(why)) => {
                tracing::debug!(attempt = ?self.attempt, why, "a one-phase commit is asked for again");
                progress.one_phase_unknown = true;
                Ok(OnePhase::Again)
            }
            Err(SendError::NoAnswer(why)) => {
                tracing::debug!(attempt = ?self.attempt, why, "a one-phase commit is asked for again");
                (progress.one_phase_unknown, progress.lost) = (true, true);
                Ok(OnePhase::Again)
            }
        }
    }

    /// Waits for a one-phase request. A victim of a deadlock does not just walk away: the request may be past all waiting and commit. It has
    /// whatever still waits sent away, and listens to what comes of it.
    async fn through(
        &self,
        route: &Route,
        key: &Key,
        request: impl Future<Output = Result<Response, SendError>>,
        progress: &mut Progress,
    ) -> Result<Result<Response, SendError>, KvError> {
        let Some(live) = &self.live else { return Ok(request.await) };
        let mut request = std::pin::pin!(request);
        let verdict = tokio::select! {
            biased;
            answer = &mut request => {
                self.gateway.router.registry.goes_on(self.attempt);
                return Ok(answer);
            }
            verdict = live.condemned() => verdict,
        };
        let (router, header) = (&self.gateway.router, self.header());
        let give_up = async {
            // Again and again: it may have been on its way to a wait when it was sent away first.
            loop {
                let _ = router.send(route, &header, Request::Release { key: key.clone() }).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            biased;
            answer = &mut request => match answer {
                Ok(Response::Pushed(_)) | Err(SendError::Kv(_) | SendError::Stale) => {
                    progress.evaluated();
                    Err(verdict)
                }
                answer => Ok(answer),
            },
            () = give_up => Err(verdict),
            () = tokio::time::sleep(VERDICT_WAIT) => {
                (progress.one_phase_unknown, progress.lost) = (true, true);
                Err(verdict)
            }
        }
    }

    /// One round of the parallel commit.
    async fn lay(
        &mut self,
        groups: Vec<(Route, Vec<usize>)>,
        writes: &[Write],
        anchor: &Key,
        at: Timestamp,
        progress: &mut Progress,
    ) -> Result<Laid, KvError> {
        self.enter();
        progress.laid = true;
        let keys: Vec<Key> = writes.iter().map(|w| w.key.clone()).collect();
        let mut requests: Vec<(Route, Vec<usize>, Request)> = Vec::new();
        let listed: usize = keys.iter().map(|k| k.len() + 2).sum();
        let explicit = progress.bulk || listed > STAGED_KEYS_BYTES;
        let mut staging = explicit || progress.staged == Some(at);
        for (route, of_range) in groups {
            let to_lay: Vec<usize> = of_range.into_iter().filter(|i| !progress.landed[*i]).collect();
            self.count(&route);
            for chunk in chunks(&to_lay, writes) {
                let mut stage = None;
                if !staging && route.span.contains(anchor) {
                    stage = Some(keys.clone());
                    staging = true;
                }
                let part = chunk.iter().map(|i| writes[*i].clone()).collect();
                requests.push((route.clone(), chunk, Request::Intents { at, anchor: anchor.clone(), writes: part, stage }));
            }
            if !staging && route.span.contains(anchor) {
                staging = true;
                requests.push((route.clone(), Vec::new(), Request::Stage { at, anchor: anchor.clone(), keys: keys.clone() }));
            }
        }
        let (router, header) = (self.gateway.router.clone(), self.header());
        let metas: Vec<(Vec<usize>, bool)> = requests
            .iter()
            .map(|(_, at, request)| (at.clone(), matches!(request, Request::Stage { .. } | Request::Intents { stage: Some(_), .. })))
            .collect();
        let answers = self
            .guarded(async {
                let sends = requests.into_iter().map(|(route, _, request)| {
                    let router = &router;
                    async move { router.send(&route, &header, request).await }
                });
                let laying = async {
                    // In order, a few at a time: a big transaction must not fill every queue at once.
                    let answers: Vec<_> = futures::stream::iter(sends).buffered(PARALLEL_MAX).collect().await;
                    Ok(answers)
                };
                tokio::select! {
                    biased;
                    answers = laying => answers,
                    () = heartbeat(&router, &header, anchor) => Ok(Vec::new()),
                }
            })
            .await
            .inspect_err(|_| progress.unknown = true)?;
        let (mut highest, mut again, mut failed, mut unknown) = (at, false, None, false);
        for ((of_range, stages), answer) in metas.into_iter().zip(answers) {
            match answer {
                Ok(Response::Committed(at)) => return Ok(Laid::Committed(at)),
                Ok(Response::Landed) => {
                    of_range.iter().for_each(|i| progress.landed[*i] = true);
                    if stages {
                        progress.staged = Some(at);
                    }
                }
                Ok(Response::Pushed(to)) => {
                    of_range.iter().for_each(|i| progress.landed[*i] = true);
                    highest = highest.max(to);
                }
                Ok(other) => failed = Some(unexpected(&other)),
                Err(SendError::Stale | SendError::Kv(KvError::Overloaded(_))) => again = true,
                Err(SendError::Kv(e)) => failed = Some(e),
                Err(SendError::Unknown(_)) => (unknown, again) = (true, true),
                Err(SendError::NoAnswer(_)) => (progress.lost, again) = (true, true),
            }
        }
        // It stays so: a later round may be refused for another reason (a full disk) where an earlier one has been through.
        progress.unknown |= unknown;
        match failed {
            Some(error) => Err(error),
            None if highest > at => Ok(Laid::Pushed(highest)),
            None if again => Ok(Laid::Again),
            None if explicit && progress.landed.iter().all(|l| *l) => self.commit_record(anchor, at, progress).await,
            None if progress.staged == Some(at) && progress.landed.iter().all(|l| *l) => Ok(Laid::Committed(at)),
            None => Ok(Laid::Again),
        }
    }

    /// All intents are in place at or below `at`: the record decides.
    async fn commit_record(&mut self, anchor: &Key, at: Timestamp, progress: &mut Progress) -> Result<Laid, KvError> {
        let (router, header) = (self.gateway.router.clone(), self.header());
        let route = router.route(anchor).await?;
        match router.send(&route, &header, Request::CommitRecord { at, anchor: anchor.clone() }).await {
            Ok(Response::Committed(at)) => Ok(Laid::Committed(at)),
            Ok(Response::Pushed(to)) => Ok(Laid::Pushed(to)),
            Ok(other) => Err(unexpected(&other)),
            Err(SendError::Kv(KvError::Overloaded(_)) | SendError::Stale) => Ok(Laid::Again),
            Err(SendError::Kv(e)) => Err(e),
            Err(SendError::Unknown(_)) => {
                progress.unknown = true;
                Ok(Laid::Again)
            }
            Err(SendError::NoAnswer(_)) => {
                progress.lost = true;
                Ok(Laid::Again)
            }
        }
    }

    /// The record goes to its final state, then the intents are resolved, then the record is forgotten; all behind the client's back.
    pub(super) fn finish_behind(&mut self, anchor: Key, written: Written, at: Option<Timestamp>) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (gateway, attempt) = (self.gateway.clone(), self.attempt);
        // Still alive for those who ask, until the intents are gone: they wait for the resolution instead of starting their own.
        self.live = None;
        let router = gateway.router.clone();
        router.tasks.spawn(async move {
            if let Err(error) = finish(&gateway, attempt, &anchor, written, at).await {
                tracing::warn!(?attempt, %error, "resolving intents was left to those who meet them");
            }
            gateway.router.registry.leave(attempt);
        });
    }

    fn recover_behind(&mut self, anchor: Key) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (router, attempt) = (self.gateway.router.clone(), self.attempt);
        router.registry.leave(attempt);
        self.live = None;
        let tasks = router.tasks.clone();
        tasks.spawn(async move {
            let _ = router.settle(attempt, &anchor, None, true, false).await;
        });
    }
}

enum OnePhase {
    Committed(Timestamp),
    Pushed(Timestamp),
    Again,
}

enum Laid {
    Committed(Timestamp),
    Pushed(Timestamp),
    Again,
}

/// Writes of one range in portions that fit a proposal.
fn chunks(of_range: &[usize], writes: &[Write]) -> Vec<Vec<usize>> {
    let (mut all, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
    for &i in of_range {
        let size = writes[i].key.len() + writes[i].value.as_ref().map_or(0, |v| v.len()) + 64;
        if bytes + size > CHUNK_BYTES && !chunk.is_empty() {
            all.push(std::mem::take(&mut chunk));
            bytes = 0;
        }
        bytes += size;
        chunk.push(i);
    }
    if !chunk.is_empty() {
        all.push(chunk);
    }
    all
}

/// Signs of life in the record, for those who cannot reach this node. Ends when dropped.
async fn heartbeat(router: &Arc<Router>, header: &Header, anchor: &Key) {
    loop {
        tokio::time::sleep(HEARTBEAT_EVERY).await;
        let _ = router.ask(anchor, header, &Request::Heartbeat { anchor: anchor.clone() }).await;
    }
}

/// Intents resolved per request.
const RESOLVE_CHUNK: usize = 4096;

/// Where an attempt has laid intents.
#[derive(Default)]
pub(super) struct Written {
    pub keys: Vec<Key>,
    /// Of a bulk load.
    pub spans: Vec<Span>,
    /// Portions of a bulk load that may still be on their way.
    pub under_way: Vec<oneshot::Receiver<Result<Timestamp, KvError>>>,
}

async fn finish(gateway: &Arc<Gateway>, attempt: AttemptId, anchor: &Key, written: Written, at: Option<Timestamp>) -> Result<(), KvError> {
    let Written { keys, spans, under_way } = written;
    let router: &Arc<Router> = &gateway.router;
    let header = Header { attempt, read_ts: Timestamp::ZERO };
    let mut backoff = Backoff::new();
    if controls::off(Control::RecordFirst) {
        router.ask_all(&keys, &header, &|keys| Request::Resolve { target: attempt, at, keys }).await?;
    }
    // C5: the record first; the intents of the anchor's range in the same step.
    let with_record = loop {
        let route = router.route(anchor).await?;
        let here: Vec<Key> = keys.iter().filter(|k| route.span.contains(k)).take(RESOLVE_CHUNK).cloned().collect();
        match router.send(&route, &header, Request::Finish { anchor: anchor.clone(), at, keys: here.clone() }).await {
            Ok(Response::Done) => break here,
            // Recovery was faster and found it committed while we gave up: its word is final (C6).
            Ok(_) => return Ok(()),
            Err(SendError::Kv(e)) => return Err(e),
            Err(SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_)) => {
                backoff.pause_at(router, anchor, "the range of the record does not answer").await?
            }
        }
    };
    let done: BTreeSet<Key> = with_record.into_iter().collect();
    let left: Vec<Key> = keys.into_iter().filter(|k| !done.contains(k)).collect();
    for portion in left.chunks(RESOLVE_CHUNK) {
        router.ask_all(portion, &header, &|keys| Request::Resolve { target: attempt, at, keys }).await?;
    }
    resolve_spans(router, &header, &spans, at).await?;
    if !under_way.is_empty() {
        // Only now: a portion may be waiting for somebody who waited for what has just been resolved. What it still laid goes too.
        futures::future::join_all(under_way).await;
        resolve_spans(router, &header, &spans, at).await?;
    }
    if at.is_some() {
        router.ask(anchor, &header, &Request::Forget { anchor: anchor.clone() }).await?;
    }
    Ok(())
}

async fn resolve_spans(router: &Router, header: &Header, spans: &[Span], at: Option<Timestamp>) -> Result<(), KvError> {
    for span in spans {
        let mut left = span.clone();
        while !left.is_empty() {
            left = resolve_portion(router, header, &left, at).await?;
        }
    }
    Ok(())
}

/// Resolves a portion of the intents of a bulk load; answers what is left of `span`.
async fn resolve_portion(router: &Router, header: &Header, span: &Span, at: Option<Timestamp>) -> Result<Span, KvError> {
    let mut backoff = Backoff::new();
    loop {
        let route = router.route(&span.start).await?;
        let here = span.intersect(&route.span).unwrap_or_else(|| Span::point(span.start.clone()));
        let after = Span { start: here.end.clone(), end: span.end.clone() };
        match router.send(&route, header, Request::ResolveSpan { target: header.attempt, at, span: here }).await {
            Ok(Response::Resolved(None)) => return Ok(after),
            Ok(Response::Resolved(Some(left))) => return Ok(Span { start: left.start, end: span.end.clone() }),
            Ok(other) => return Err(unexpected(&other)),
            Err(SendError::Kv(e)) => return Err(e),
            Err(SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_)) => {
                backoff.pause(router, "a range does not answer").await?
            }
        }
    }
}
