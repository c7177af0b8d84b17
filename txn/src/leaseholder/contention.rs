//! Waiting at the leaseholder: for latches, for locks, for intents. Nobody waits for the dead, and nobody waits in a circle.
//!
//! A wait for another transaction goes on until that one is through. Meanwhile, a few times a second, the waiter's side
//!
//! * asks the other's coordinator whether it still lives (its node is in the attempt id); a lock of a dead one is dropped (locks are never the
//!   proof, C4), an intent of a dead one is settled through its record (push, recovery: C6, C7);
//! * if the record is out of reach (a link is cut between two nodes that others can both reach), sends the waiter away to settle it itself
//!   ([`Refusal::Unsettled`]);
//! * tells the waiter's coordinator whom it waits for, which sends a probe along the chain of waits; a probe that comes back has found
//!   a deadlock, and its youngest member gives up (`coordinator::registry`).

use std::sync::Arc;
use std::time::Duration;

use meridian_clock::Timestamp;
use meridian_clock::controls::{self, Control};
use meridian_storage::mvcc::{self, AttemptId, Intent};
use meridian_storage::{Key, Span};
use tokio::time::{Instant, sleep, sleep_until};

use super::locks::Queued;
use super::range::{Blocked, RangeState};
use super::{Known, Leaseholders};
use crate::api::{KvError, LockWait, RetryCause};
use crate::attempt::NOBODY;
use crate::request::{Fate, Header, Refusal};
use crate::router::Router;

/// How long a wait lasts before anybody asks questions.
const FIRST_LOOK: Duration = Duration::from_millis(40);
/// How often questions are asked after that: detection of a deadlock takes at most a few of these.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// How long an intent may be in the way before its record is looked at: most are resolved by then.
const FIRST_PUSH: Duration = Duration::from_millis(10);
/// A coordinator that has not been reached for so long is under suspicion.
const SUSPECT_AFTER: Duration = Duration::from_secs(2);
/// How long the record of an intent in the way may be out of reach before whoever waits is asked to look for itself.
const OUT_OF_REACH: Duration = Duration::from_secs(1);
/// Transactions whose end is remembered.
const FATES_MAX: usize = 32;
/// How long a lease may fail to reach a timestamp before the range counts as unavailable.
const LEASE_WAIT: Duration = Duration::from_secs(10);

/// A place in a lock queue, left when the waiter goes away.
struct Place<'a> {
    state: &'a RangeState,
    key: &'a Key,
    id: u64,
    armed: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.state.lock().locks.leave(self.key, self.id);
        }
    }
}

/// Why a wait ended without what was waited for: the key is served elsewhere now, or the attempt is over.
fn sent_away(state: &RangeState, key: &Key) -> Refusal {
    match state.admit(&state.lock(), key) {
        Err(Blocked::Refused(refusal)) => *refusal,
        _ => RetryCause::Ended.at(key.clone()).into(),
    }
}

/// What is known of another coordinator over time.
#[derive(Default)]
struct Suspicion {
    unreached_since: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coordinator {
    Alive,
    Suspect,
    Gone,
}

impl Suspicion {
    async fn look(&mut self, router: &Router, attempt: AttemptId) -> Coordinator {
        match router.alive(attempt).await {
            Some(true) => {
                self.unreached_since = None;
                Coordinator::Alive
            }
            Some(false) => Coordinator::Gone,
            None => {
                let since = *self.unreached_since.get_or_insert_with(Instant::now);
                if since.elapsed() > SUSPECT_AFTER { Coordinator::Suspect } else { Coordinator::Alive }
            }
        }
    }
}

impl Leaseholders {
    /// Waits until it is worth trying again.
    pub(super) async fn wait(&self, state: &Arc<RangeState>, header: &Header, blocked: Blocked, since: Instant) -> Result<(), Refusal> {
        match blocked {
            Blocked::Refused(refusal) => Err(*refusal),
            Blocked::Latch(woken) => {
                let _ = woken.await;
                Ok(())
            }
            Blocked::Lease => {
                if since.elapsed() > LEASE_WAIT {
                    return Err(KvError::Unavailable(format!("{}: the lease does not reach the present", state.id)).into());
                }
                sleep(Duration::from_millis(2)).await;
                Ok(())
            }
            Blocked::Lock { key, queued, wait } => self.wait_for_lock(state, header, &key, queued, wait, since).await,
            Blocked::Intent { key, intent, push_to } => self.wait_for_intent(state, header, &key, &intent, push_to).await,
        }
    }

    async fn wait_for_lock(
        &self,
        state: &Arc<RangeState>,
        header: &Header,
        key: &Key,
        mut queued: Queued,
        wait: LockWait,
        since: Instant,
    ) -> Result<(), Refusal> {
        let mut place = Place { state, key, id: queued.id, armed: true };
        let deadline = match wait {
            LockWait::Block(Some(limit)) => Some(since + limit),
            _ => None,
        };
        let mut next = Instant::now() + FIRST_LOOK;
        let mut suspicion: Vec<(AttemptId, Suspicion)> = Vec::new();
        loop {
            tokio::select! {
                biased;
                granted = &mut queued.granted => {
                    place.armed = false;
                    return match granted {
                        Ok(()) => Ok(()),
                        Err(_) => Err(sent_away(state, key)),
                    };
                }
                _ = sleep_until(deadline.map_or(next, |d| d.min(next))) => {}
            }
            if deadline.is_some_and(|d| Instant::now() >= d) {
                return Err(KvError::LockTimeout { key: key.clone() }.into());
            }
            next = Instant::now() + LOOK_EVERY;
            let others = state.lock().locks.waits_for(key, queued.id);
            let Some(router) = self.router() else { continue };
            if header.attempt != NOBODY {
                router.report_wait(header.attempt, others.clone(), key).await;
            }
            suspicion.retain(|(attempt, _)| others.contains(attempt));
            for other in others {
                let at = match suspicion.iter().position(|(attempt, _)| *attempt == other) {
                    Some(at) => at,
                    None => {
                        suspicion.push((other, Suspicion::default()));
                        suspicion.len() - 1
                    }
                };
                if suspicion[at].1.look(&router, other).await != Coordinator::Alive {
                    state.release(other, true);
                }
            }
        }
    }

    async fn wait_for_intent(
        &self,
        state: &Arc<RangeState>,
        header: &Header,
        key: &Key,
        intent: &Intent,
        push_to: Option<Timestamp>,
    ) -> Result<(), Refusal> {
        let target = intent.attempt;
        let mut woken = state.wait_for_intent(key, header.attempt);
        // It may have gone between the look and the registration.
        match mvcc::intent(self.reader(), key)? {
            Some(i) if i.attempt == target && push_to.is_none_or(|to| self.in_the_way(&i, NOBODY, to)) => {}
            _ => return Ok(()),
        }
        match self.known_fate(target) {
            Some(Known::Committed(at)) => return self.resolve_here(state, target, Some(at), key).await,
            Some(Known::Aborted) => return self.resolve_here(state, target, None, key).await,
            Some(Known::Above(_)) | None => {}
        }
        let mut suspicion = Suspicion::default();
        let (mut pause, begun) = (FIRST_PUSH, Instant::now());
        loop {
            tokio::select! {
                biased;
                woken = &mut woken => return match woken {
                    Ok(()) => Ok(()),
                    Err(_) => Err(sent_away(state, key)),
                },
                _ = sleep(pause) => {}
            }
            pause = (pause * 2).min(LOOK_EVERY);
            let Some(router) = self.router() else { return Ok(()) };
            if begun.elapsed() > FIRST_LOOK && header.attempt != NOBODY {
                router.report_wait(header.attempt, vec![target], key).await;
            }
            let coordinator = suspicion.look(&router, target).await;
            let (force, suspect) = (coordinator == Coordinator::Gone, coordinator == Coordinator::Suspect);
            let settling = tokio::time::timeout(OUT_OF_REACH, router.settle(target, &intent.anchor, push_to, force, suspect)).await;
            match settling.unwrap_or_else(|_| Err(KvError::Unavailable("the record does not answer".into()))) {
                Ok(fate @ (Fate::Committed(_) | Fate::Aborted)) => {
                    self.learn_fate(target, &fate);
                    let at = if let Fate::Committed(at) = fate { Some(at) } else { None };
                    return self.resolve_here(state, target, at, key).await;
                }
                Ok(fate @ Fate::Pushed(to)) if push_to.is_some_and(|wanted| to > wanted) => {
                    self.learn_fate(target, &fate);
                    return Ok(());
                }
                // Nobody in particular asks: keep waiting.
                Err(KvError::Unavailable(_)) if header.attempt != NOBODY => {
                    return Err(Refusal::Unsettled { target, anchor: intent.anchor.clone(), key: key.clone(), push_to, suspect });
                }
                // Alive, being settled by somebody else, or its record cannot be reached now: keep waiting.
                Ok(_) | Err(_) => {}
            }
        }
    }

    async fn resolve_here(&self, state: &Arc<RangeState>, target: AttemptId, at: Option<Timestamp>, key: &Key) -> Result<(), Refusal> {
        // Its other intents nearby go in the same step: a bulk load leaves many.
        let span = Span { start: key.clone(), end: super::span_of(state).end };
        self.propose_loop(state, &mut || self.try_resolve_span(state, target, at, &span)).await
    }

    /// What is remembered of a transaction.
    fn known_fate(&self, target: AttemptId) -> Option<Known> {
        self.fates.lock().iter().find(|(attempt, _)| *attempt == target).map(|(_, known)| *known)
    }

    /// Remembers what a record says. C7: a push is durable there, so the intents themselves need not move.
    pub(super) fn learn_fate(&self, target: AttemptId, fate: &Fate) {
        let known = match fate {
            Fate::Committed(at) => Known::Committed(*at),
            Fate::Aborted => Known::Aborted,
            Fate::Pushed(to) => Known::Above(*to),
            Fate::Live | Fate::Staging { .. } => return,
        };
        let mut fates = self.fates.lock();
        fates.retain(|(attempt, _)| *attempt != target);
        if fates.len() >= FATES_MAX {
            fates.pop_front();
        }
        fates.push_back((target, known));
    }

    /// Whether a foreign intent is in the way of a reader at `at`.
    pub(super) fn in_the_way(&self, intent: &Intent, reader: AttemptId, at: Timestamp) -> bool {
        intent.attempt != reader
            && intent.ts <= at
            && !controls::off(Control::ReadIntents)
            && !matches!(self.known_fate(intent.attempt), Some(Known::Above(min_ts)) if min_ts > at)
    }
}
