//! The transactions of this gateway that others may wait for, and the search for deadlocks.
//!
//! Who waits (a leaseholder, on the waiter's behalf) reports so to the waiter's coordinator. That sends a probe to the coordinator of whom
//! it waits for, which passes it on along *its* waits, and so on:
//!
//! ```text
//!   A waits for B, B waits for C, C waits for A            n1: A → probe [A,B]
//!                                                          n2: B → probe [A,B,C]
//!                                                          n3: C → waits for A, which is in the path: a circle
//! ```
//! A session may have several attempts at once (its transaction, and the owner of its advisory locks): they wait and hold as one.
//! Whoever closes the circle names the youngest in it, and that one's coordinator gives up (`40P01`). Waits are reported again several
//! times a second and forgotten after one, so lost messages cost time, not correctness.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use meridian_storage::Key;
use meridian_storage::mvcc::AttemptId;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::{KvError, SessionId};
use crate::attempt;
use crate::request::NodeMessage;
use crate::router::Router;

/// A wait that was not reported again for so long is over.
const WAIT_STALE: Duration = Duration::from_secs(1);
/// The longest chain of waits that is followed.
const PATH_MAX: usize = 24;
/// Of the holders of one shared lock so many are followed.
const HOLDERS_MAX: usize = 64;

/// A live attempt: told when it is to give up.
#[derive(Debug, Default)]
pub struct Live {
    verdict: Mutex<Option<KvError>>,
    told: Notify,
}

impl Live {
    /// A verdict that was carried out, or came too late, counts no more: an owner of session locks lives on.
    pub fn acquit(&self) {
        *self.verdict.lock() = None;
    }

    /// Resolves when this attempt was chosen as the victim of a deadlock.
    pub async fn condemned(&self) -> KvError {
        loop {
            let told = self.told.notified();
            if let Some(error) = self.verdict.lock().clone() {
                return error;
            }
            told.await;
        }
    }
}

#[derive(Debug, Default)]
struct Entry {
    live: Arc<Live>,
    session: SessionId,
    waits: BTreeMap<Key, (Instant, Vec<AttemptId>)>,
}

/// Attempts by id, and those of each session.
#[derive(Debug, Default)]
struct Attempts {
    by_id: BTreeMap<AttemptId, Entry>,
    by_session: BTreeMap<SessionId, SmallVec<[AttemptId; 2]>>,
}

impl Attempts {
    fn enter(&mut self, attempt: AttemptId, session: SessionId) -> Arc<Live> {
        let entry = self.by_id.entry(attempt).or_default();
        if session != SessionId::NONE && entry.session == SessionId::NONE {
            entry.session = session;
            self.by_session.entry(session).or_default().push(attempt);
        }
        entry.live.clone()
    }

    fn leave(&mut self, attempt: AttemptId) {
        let Some(entry) = self.by_id.remove(&attempt) else { return };
        if let Some(of_session) = self.by_session.get_mut(&entry.session) {
            of_session.retain(|a| *a != attempt);
            if of_session.is_empty() {
                self.by_session.remove(&entry.session);
            }
        }
    }

    /// The attempts of the session that runs `attempt`, that one first.
    fn one_session(&self, attempt: AttemptId) -> impl Iterator<Item = &Entry> {
        let own = self.by_id.get(&attempt);
        let others = own.and_then(|e| self.by_session.get(&e.session)).into_iter().flatten();
        own.into_iter().chain(others.filter(move |a| **a != attempt).filter_map(|a| self.by_id.get(a)))
    }
}

/// The live attempts of one node.
#[derive(Debug, Default)]
pub struct Registry {
    attempts: Mutex<Attempts>,
    router: OnceLock<Weak<Router>>,
}

impl Registry {
    pub(crate) fn attach(&self, router: Weak<Router>) {
        let _ = self.router.set(router);
    }

    pub(crate) fn router(&self) -> Option<Arc<Router>> {
        self.router.get().and_then(Weak::upgrade)
    }

    /// From here on others may find `attempt` in their way.
    pub(crate) fn enter(&self, attempt: AttemptId, session: SessionId) -> Arc<Live> {
        self.attempts.lock().enter(attempt, session)
    }

    /// Whose attempt it is.
    pub(crate) fn session_of(&self, attempt: AttemptId) -> SessionId {
        self.attempts.lock().by_id.get(&attempt).map_or(SessionId::NONE, |e| e.session)
    }

    /// `attempt` is over, its intents resolved.
    pub(crate) fn leave(&self, attempt: AttemptId) {
        self.attempts.lock().leave(attempt);
    }

    /// Whether `attempt` is run by this node.
    pub(crate) fn is_alive(&self, attempt: AttemptId) -> bool {
        self.attempts.lock().by_id.contains_key(&attempt)
    }

    /// A request of `attempt` came back: it waits no more.
    pub(crate) fn goes_on(&self, attempt: AttemptId) {
        if let Some(entry) = self.attempts.lock().by_id.get_mut(&attempt) {
            entry.waits.clear();
        }
    }

    /// The number of live attempts.
    pub(crate) fn len(&self) -> usize {
        self.attempts.lock().by_id.len()
    }

    /// A message between coordinators.
    pub(crate) fn hear(&self, message: NodeMessage, router: &Router) {
        match message {
            NodeMessage::Waiting { waiter, mut holders, key } => {
                holders.truncate(HOLDERS_MAX);
                {
                    let mut attempts = self.attempts.lock();
                    let Some(entry) = attempts.by_id.get_mut(&waiter) else { return };
                    entry.waits.insert(key.clone(), (Instant::now(), holders.clone()));
                }
                for holder in holders {
                    router.tell(attempt::coordinator(holder), NodeMessage::Probe { path: vec![waiter, holder], key: key.clone() });
                }
            }
            NodeMessage::Probe { path, key } => {
                let Some(last) = path.last() else { return };
                for next in self.waits_of(*last) {
                    let again = path.iter().position(|p| *p == next || self.same_session(*p, next));
                    if let Some(at) = again {
                        let circle = &path[at..];
                        let Some(victim) = circle.iter().copied().reduce(|a, b| if attempt::younger(a, b) { a } else { b }) else {
                            continue;
                        };
                        let detail = format!("{} transactions wait for each other: {circle:?}", circle.len());
                        router.tell(attempt::coordinator(victim), NodeMessage::Victim { victim, key: key.clone(), detail });
                    } else if path.len() < PATH_MAX {
                        let mut path = path.clone();
                        path.push(next);
                        router.tell(attempt::coordinator(next), NodeMessage::Probe { path, key: key.clone() });
                    }
                }
            }
            NodeMessage::Victim { victim, key, detail } => {
                let attempts = self.attempts.lock();
                for entry in attempts.one_session(victim) {
                    // It may have got what it waited for meanwhile.
                    if entry.waits.values().any(|(at, _)| at.elapsed() < WAIT_STALE) {
                        *entry.live.verdict.lock() = Some(KvError::Deadlock { key: key.clone(), detail: detail.clone() });
                        entry.live.told.notify_waiters();
                    }
                }
            }
        }
    }

    fn same_session(&self, a: AttemptId, b: AttemptId) -> bool {
        let attempts = self.attempts.lock();
        let session = |x| attempts.by_id.get(&x).map(|e| e.session).filter(|s| *s != SessionId::NONE);
        session(a).is_some_and(|s| session(b) == Some(s))
    }

    /// Whom an attempt waits for, or its session under another attempt's name: what the session holds is held until that is through.
    fn waits_of(&self, attempt: AttemptId) -> Vec<AttemptId> {
        let attempts = self.attempts.lock();
        let waits = attempts.one_session(attempt).flat_map(|entry| entry.waits.values());
        let mut all: Vec<AttemptId> =
            waits.filter(|(at, _)| at.elapsed() < WAIT_STALE).flat_map(|(_, holders)| holders.iter().copied()).collect();
        all.sort();
        all.dedup();
        all
    }
}
