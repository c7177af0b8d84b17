//! Transaction records at the anchor's leaseholder: staging, final states, pushes, recovery (C5, C6, C7).
//!
//! Each is a compare-and-set: latch the record, read it, decide, propose. What decides is a function of the record alone.

use std::sync::Arc;
use std::time::Duration;

use meridian_clock::Timestamp;
use meridian_clock::controls::{self, Control};
use meridian_storage::mvcc::{self, AttemptId};
use meridian_storage::{Batch, Key, Span};

use super::Leaseholders;
use super::range::{After, Blocked, LatchGuard, RangeState};
use super::write::{Evaluated, Outcome};
use crate::api::{KvError, RetryCause};
use crate::record::{Record, Status};
use crate::request::{Fate, Header, Response};

/// A pending transaction that has given no sign of life for so long is abandoned.
pub const PENDING_EXPIRES: Duration = Duration::from_secs(2);
/// A staging one settles within a round trip or two; recovering a live one is safe, only unfriendly.
pub const STAGING_EXPIRES: Duration = Duration::from_secs(1);

/// What a look at a record leads to.
enum Decision {
    Write(Record, Response),
    Delete(Response),
    Keep(Response),
}

impl Leaseholders {
    fn load(&self, anchor: &Key, attempt: AttemptId) -> Result<Option<Record>, Blocked> {
        match mvcc::record(self.reader(), anchor, attempt)? {
            Some(bytes) => Record::decode(&bytes).map(Some).map_err(|e| KvError::Corruption(e).into()),
            None => Ok(None),
        }
    }

    /// Checks a staging against the record as it stands; the bytes to write, or what to answer instead. The caller holds the latch of the anchor
    /// or of the record.
    pub(super) fn stage_record(
        &self,
        attempt: AttemptId,
        anchor: &Key,
        at: Timestamp,
        keys: &[Key],
    ) -> Result<Result<Vec<u8>, Response>, Blocked> {
        let old = self.load(anchor, attempt)?;
        let min_ts = old.as_ref().map_or(Timestamp::ZERO, |r| r.min_ts);
        match old.map(|r| r.status) {
            Some(Status::Aborted) => Err(taken_for_dead(anchor)),
            // C6: recovery has finished it.
            Some(Status::Committed { at }) => Ok(Err(Response::Committed(at))),
            // C7.
            _ if min_ts > at => Ok(Err(Response::Pushed(min_ts))),
            _ => {
                let record = Record { status: Status::Staging { at, keys: keys.to_vec() }, min_ts, heartbeat: self.clock.now().latest };
                Ok(Ok(record.encode()))
            }
        }
    }

    pub(super) fn try_stage(
        &self,
        state: &Arc<RangeState>,
        header: &Header,
        at: Timestamp,
        anchor: &Key,
        keys: &[Key],
    ) -> Result<Outcome, Blocked> {
        let lease = state.lease_at(at)?;
        let latches = self.latch_record(state, anchor, header.attempt)?;
        match self.stage_record(header.attempt, anchor, at, keys)? {
            Err(response) => Ok(Outcome::Answer(response)),
            Ok(bytes) => {
                let mut batch = Batch::new();
                mvcc::put_record(&mut batch, anchor, header.attempt, &bytes);
                Ok(Outcome::Propose(Box::new(Evaluated { lease, latches, batch, after: After::default(), response: Response::Landed })))
            }
        }
    }

    /// The explicit commit of a big transaction: the same checks as staging, but the record is the decision.
    pub(super) fn try_commit_record(
        &self,
        state: &Arc<RangeState>,
        header: &Header,
        at: Timestamp,
        anchor: &Key,
    ) -> Result<Outcome, Blocked> {
        let now = self.clock.now().latest;
        state.lease_at(at)?;
        self.decide(state, anchor, header.attempt, |old| {
            let min_ts = old.as_ref().map_or(Timestamp::ZERO, |r| r.min_ts);
            match old.map(|r| r.status) {
                Some(Status::Aborted) => Err(taken_for_dead(anchor)),
                Some(Status::Committed { at }) => Ok(Decision::Keep(Response::Committed(at))),
                _ if min_ts > at => Ok(Decision::Keep(Response::Pushed(min_ts))),
                _ => Ok(Decision::Write(Record { status: Status::Committed { at }, min_ts, heartbeat: now }, Response::Committed(at))),
            }
        })
    }

    /// The coordinator's last word. `keys` of the anchor's range are resolved in the same step, so after the record (C5).
    pub(super) fn try_finish(
        &self,
        state: &Arc<RangeState>,
        header: &Header,
        anchor: &Key,
        at: Option<Timestamp>,
        keys: &[Key],
    ) -> Result<Outcome, Blocked> {
        let lease = state.lease_at(Timestamp::ZERO)?;
        let attempt = header.attempt;
        let latches = self.latch_keys(state, keys.iter().cloned().chain([record_latch(anchor, attempt)]))?;
        let old = self.load(anchor, attempt)?;
        let min_ts = old.as_ref().map_or(Timestamp::ZERO, |r| r.min_ts);
        let status = match (old.map(|r| r.status), at) {
            (Some(Status::Committed { at }), None) => return Ok(Outcome::Answer(Response::Fate(Fate::Committed(at)))),
            (Some(Status::Aborted), Some(at)) => {
                return Err(KvError::Corruption(format!("{attempt:?} is committed at {at} but its record says aborted (C6)")).into());
            }
            (_, Some(at)) => Status::Committed { at },
            (_, None) => Status::Aborted,
        };
        let mut batch = Batch::new();
        let record = Record { status, min_ts, heartbeat: self.clock.now().latest };
        mvcc::put_record(&mut batch, anchor, attempt, &record.encode());
        self.resolve_into(&mut batch, attempt, at, keys)?;
        let after = After { resolved: keys.to_vec(), over: Some(attempt), ..After::default() };
        Ok(Outcome::Propose(Box::new(Evaluated { lease, latches, batch, after, response: Response::Done })))
    }

    pub(super) fn try_forget(&self, state: &Arc<RangeState>, header: &Header, anchor: &Key) -> Result<Outcome, Blocked> {
        self.decide(state, anchor, header.attempt, |old| match old {
            Some(r) if matches!(r.status, Status::Committed { .. }) => Ok(Decision::Delete(Response::Done)),
            _ => Ok(Decision::Keep(Response::Done)),
        })
    }

    pub(super) fn try_heartbeat(&self, state: &Arc<RangeState>, header: &Header, anchor: &Key) -> Result<Outcome, Blocked> {
        let now = self.clock.now().latest;
        self.decide(state, anchor, header.attempt, |old| {
            let mut record = old.unwrap_or(Record { status: Status::Pending, min_ts: Timestamp::ZERO, heartbeat: now });
            Ok(match record.status {
                Status::Aborted => Decision::Keep(Response::Fate(Fate::Aborted)),
                Status::Committed { at } => Decision::Keep(Response::Fate(Fate::Committed(at))),
                _ => {
                    record.heartbeat = now;
                    Decision::Write(record, Response::Fate(Fate::Live))
                }
            })
        })
    }

    /// C7. `suspect` and `force` say what the pusher knows of the coordinator: not reached for a while; known to be gone.
    pub(super) fn try_push(
        &self,
        state: &Arc<RangeState>,
        target: AttemptId,
        anchor: &Key,
        to: Option<Timestamp>,
        force: bool,
        suspect: bool,
    ) -> Result<Outcome, Blocked> {
        let now = self.clock.now().latest;
        let aborted = |min_ts| Decision::Write(Record { status: Status::Aborted, min_ts, heartbeat: now }, Response::Fate(Fate::Aborted));
        self.decide(state, anchor, target, |old| {
            let Some(mut record) = old else {
                return Ok(match to {
                    _ if force || suspect => aborted(Timestamp::ZERO),
                    Some(to) if controls::off(Control::PushRecord) => Decision::Keep(Response::Fate(Fate::Pushed(to.next()))),
                    Some(to) => Decision::Write(
                        Record { status: Status::Pending, min_ts: to.next(), heartbeat: now },
                        Response::Fate(Fate::Pushed(to.next())),
                    ),
                    None => Decision::Keep(Response::Fate(Fate::Live)),
                });
            };
            let silent = now.since(record.heartbeat);
            Ok(match (&record.status, to) {
                (Status::Committed { at }, _) => Decision::Keep(Response::Fate(Fate::Committed(*at))),
                (Status::Aborted, _) => Decision::Keep(Response::Fate(Fate::Aborted)),
                // A staging transaction is recovered, never pushed.
                (Status::Staging { at, keys }, _) if force || silent > STAGING_EXPIRES => {
                    Decision::Keep(Response::Fate(Fate::Staging { at: *at, keys: keys.clone() }))
                }
                (Status::Staging { .. }, _) => Decision::Keep(Response::Fate(Fate::Live)),
                // Silence alone does not kill: a coordinator that answers may just be slow to lay many intents, and its signs of life queue behind them.
                (Status::Pending, _) if force || (suspect && silent > PENDING_EXPIRES) => aborted(record.min_ts),
                (Status::Pending, Some(to)) if record.min_ts > to => Decision::Keep(Response::Fate(Fate::Pushed(record.min_ts))),
                (Status::Pending, Some(to)) if controls::off(Control::PushRecord) => {
                    Decision::Keep(Response::Fate(Fate::Pushed(to.next())))
                }
                (Status::Pending, Some(to)) => {
                    record.min_ts = to.next();
                    Decision::Write(record, Response::Fate(Fate::Pushed(to.next())))
                }
                (Status::Pending, None) => Decision::Keep(Response::Fate(Fate::Live)),
            })
        })
    }

    /// C6: decides the very staging that was asked about, or reports what stands there instead.
    pub(super) fn try_recover(
        &self,
        state: &Arc<RangeState>,
        target: AttemptId,
        anchor: &Key,
        staged: Timestamp,
        commit: bool,
    ) -> Result<Outcome, Blocked> {
        let now = self.clock.now().latest;
        self.decide(state, anchor, target, |old| {
            let Some(record) = old else { return Ok(Decision::Keep(Response::Fate(Fate::Live))) };
            Ok(match record.status {
                Status::Committed { at } => Decision::Keep(Response::Fate(Fate::Committed(at))),
                Status::Aborted => Decision::Keep(Response::Fate(Fate::Aborted)),
                Status::Staging { at, .. } if at == staged || controls::off(Control::RecoveryCas) => {
                    let (status, fate) =
                        if commit { (Status::Committed { at }, Fate::Committed(at)) } else { (Status::Aborted, Fate::Aborted) };
                    Decision::Write(Record { status, min_ts: record.min_ts, heartbeat: now }, Response::Fate(fate))
                }
                _ => Decision::Keep(Response::Fate(Fate::Live)),
            })
        })
    }

    fn decide(
        &self,
        state: &Arc<RangeState>,
        anchor: &Key,
        attempt: AttemptId,
        decision: impl FnOnce(Option<Record>) -> Result<Decision, Blocked>,
    ) -> Result<Outcome, Blocked> {
        let lease = state.lease_at(Timestamp::ZERO)?;
        let latches = self.latch_record(state, anchor, attempt)?;
        let mut batch = Batch::new();
        let response = match decision(self.load(anchor, attempt)?)? {
            Decision::Keep(response) => return Ok(Outcome::Answer(response)),
            Decision::Write(record, response) => {
                mvcc::put_record(&mut batch, anchor, attempt, &record.encode());
                response
            }
            Decision::Delete(response) => {
                mvcc::delete_record(&mut batch, anchor, attempt);
                response
            }
        };
        Ok(Outcome::Propose(Box::new(Evaluated { lease, latches, batch, after: After::default(), response })))
    }

    fn latch_record(&self, state: &Arc<RangeState>, anchor: &Key, attempt: AttemptId) -> Result<LatchGuard, Blocked> {
        self.latch_keys(state, [record_latch(anchor, attempt)])
    }
}

fn taken_for_dead(anchor: &Key) -> Blocked {
    RetryCause::TakenForDead.at(anchor.clone()).into()
}

/// `span`, and the record latches of every anchor in it: those of keys that its end begins with lie behind that end.
pub(super) fn with_records(span: &Span) -> Span {
    let zeros = (0..span.end.len()).filter(|at| span.end[*at] == 0);
    let anchors = zeros.map(|zero| &span.end[..zero]).filter(|anchor| *anchor >= &span.start[..]);
    let end = anchors.map(|anchor| Key::from([anchor, &[0, 0xff]].concat())).max();
    Span { start: span.start.clone(), end: end.unwrap_or_default().max(span.end.clone()) }
}

/// What is latched for a record: right after its anchor, so in the same range.
pub(super) fn record_latch(anchor: &Key, attempt: AttemptId) -> Key {
    let mut key = Vec::with_capacity(anchor.len() + 18);
    key.extend_from_slice(anchor);
    key.extend_from_slice(&[0, 0xfe]);
    key.extend_from_slice(&attempt.0.to_be_bytes());
    key.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_span_with_its_records_covers_the_latch_of_every_anchor_in_it(
            // Zeros and their neighbours, where one key is the beginning of another.
            mut keys in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xfd), Just(0xff)], 0..5), 3),
            attempt in any::<u128>(),
        ) {
            keys.sort();
            let span = Span { start: keys[0].clone().into(), end: keys[2].clone().into() };
            let anchor = Key::from(keys[1].clone());
            if span.contains(&anchor) {
                prop_assert!(with_records(&span).contains(&record_latch(&anchor, AttemptId(attempt))));
            }
        }
    }
}
