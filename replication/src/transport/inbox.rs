//! What both transports share: the table of services, the clock check on every envelope, calls waiting for answers, counters.
//!
//! An envelope carries a [`Stamp`]: the sender's hybrid reading and the bound on its error. [`Inbox::accept`] merges it or refuses it;
//! nothing of a refused envelope reaches a handler. A refused request is answered with the reason, a refused answer counts as
//! no answer (the call may have been executed), a refused message is dropped; each is counted and named in the log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::{Clock, TaskGroup, Timestamp};
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{BODY_BYTES_MAX, Handler, Service, TransportError};
use crate::api::NodeId;

/// At most one log line about refused clocks per peer in this time.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(5);

/// How long a refusal counts in [`Inbox::refused_lately`].
const REFUSAL_MEMORY: Duration = Duration::from_secs(1);

/// The sender's clock, as an envelope carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The sender's hybrid reading when the envelope was made.
    pub reading: Timestamp,
    /// The bound on the error of the sender's physical clock.
    pub error_nanos: u64,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident),* $(,)?) => {
        /// What a transport counted since it started.
        #[derive(Debug, Default)]
        pub struct TransportCounters { $($(#[$doc])* pub(crate) $field: AtomicU64),* }
        impl TransportCounters {
            /// Name and value of every counter.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field.load(Relaxed))),*]
            }
        }
    };
}

counters! {
    /// Envelopes handed to a stream.
    envelopes_sent,
    /// Envelopes that arrived, refused ones included.
    envelopes_received,
    /// Body bytes handed to a stream.
    bytes_sent,
    /// Body bytes that arrived.
    bytes_received,
    /// Batches (stream writes) that carried the envelopes sent.
    batches_sent,
    /// Calls made to other nodes.
    calls,
    /// Calls that ended without an answer.
    calls_unanswered,
    /// Sends and calls refused because a queue was full.
    queue_full,
    /// Streams that came up.
    connects,
    /// Streams that broke.
    disconnects,
    /// Envelopes refused because the sender's clock is out of bounds.
    clock_refused,
    /// Envelopes that could not be decoded or were for no service of this node.
    malformed,
}

impl TransportCounters {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Relaxed);
    }
}

/// The receiving side of one node.
pub(crate) struct Inbox {
    clock: Clock,
    tasks: TaskGroup,
    handlers: RwLock<BTreeMap<Service, Arc<dyn Handler>>>,
    last_refusal: Mutex<BTreeMap<NodeId, Instant>>,
    /// Whose clock was out of bounds, and when last.
    refused: Mutex<BTreeMap<NodeId, Instant>>,
    pub counters: TransportCounters,
}

impl Inbox {
    pub fn new(clock: Clock, tasks: TaskGroup) -> Self {
        Inbox {
            clock,
            tasks,
            handlers: RwLock::default(),
            last_refusal: Mutex::default(),
            refused: Mutex::default(),
            counters: TransportCounters::default(),
        }
    }

    /// The tasks of this node.
    pub fn tasks(&self) -> &TaskGroup {
        &self.tasks
    }

    /// This node's clock, for an envelope that leaves now.
    pub fn stamp(&self) -> Stamp {
        // Not this node's own bound: a peer with a wider one may have moved the hybrid part ahead, and many ticks within one instant do, too.
        let (reading, error_nanos) = self.clock.stamp();
        Stamp { reading, error_nanos }
    }

    pub fn serve(&self, service: Service, handler: Arc<dyn Handler>) {
        let earlier = self.handlers.write().insert(service, handler);
        assert!(earlier.is_none(), "{service:?} is served twice");
    }

    /// Drops every handler: a node that crashed answers nothing.
    pub fn clear(&self) {
        self.handlers.write().clear();
    }

    /// Merges the sender's clock, or says why the envelopes that came with it are refused.
    pub fn accept(&self, from: NodeId, stamp: Stamp, envelopes: u64) -> Result<(), String> {
        TransportCounters::add(&self.counters.envelopes_received, envelopes);
        let Err(error) = self.clock.observe(stamp.reading, stamp.error_nanos) else { return Ok(()) };
        TransportCounters::add(&self.counters.clock_refused, envelopes);
        let now = Instant::now();
        self.refused.lock().insert(from, now);
        let mut last = self.last_refusal.lock();
        if last.get(&from).is_none_or(|at| now - *at >= REFUSAL_LOG_INTERVAL) {
            last.insert(from, now);
            tracing::error!(peer = %from, refused = self.counters.clock_refused.load(Relaxed), "message refused, clock out of bounds: {error}");
        }
        Err(format!("clock out of bounds: {error}"))
    }

    /// Whether something of `from` was refused lately because its clock reads too far ahead of ours.
    pub fn refused_lately(&self, from: NodeId) -> bool {
        self.refused.lock().get(&from).is_some_and(|at| at.elapsed() < REFUSAL_MEMORY)
    }

    /// Hands a one-way message to its service, on the caller's task.
    pub fn message(&self, from: NodeId, service: Service, body: Bytes) {
        TransportCounters::add(&self.counters.bytes_received, body.len() as u64);
        let handler = self.handlers.read().get(&service).cloned();
        match handler {
            Some(handler) => handler.message(from, body),
            None => {
                TransportCounters::add(&self.counters.malformed, 1);
                tracing::debug!(peer = %from, ?service, "message for a service that this node does not have");
            }
        }
    }

    /// Runs a call on a task of its own and gives its outcome to `reply`.
    pub fn request(&self, from: NodeId, service: Service, body: Bytes, reply: impl FnOnce(Result<Bytes, String>) + Send + 'static) {
        TransportCounters::add(&self.counters.bytes_received, body.len() as u64);
        let handler = self.handlers.read().get(&service).cloned();
        match handler {
            Some(handler) => drop(self.tasks.spawn(async move { reply(handler.call(from, body).await.and_then(within_limit)) })),
            None => {
                TransportCounters::add(&self.counters.malformed, 1);
                reply(Err(format!("no service {service:?} here")));
            }
        }
    }
}

fn within_limit(answer: Bytes) -> Result<Bytes, String> {
    if answer.len() > BODY_BYTES_MAX {
        return Err(format!("an answer of {} bytes is above the limit of {BODY_BYTES_MAX}", answer.len()));
    }
    Ok(answer)
}

/// The outcome of a call.
pub(crate) type Outcome = Result<Bytes, TransportError>;

/// Calls that wait for answers.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    next: AtomicU64,
    calls: Mutex<BTreeMap<u64, oneshot::Sender<Outcome>>>,
}

impl Pending {
    /// A new call: its correlation id and the place where its outcome will arrive. Dropping the ticket forgets the call.
    pub fn begin(self: &Arc<Self>) -> Ticket {
        let id = self.next.fetch_add(1, Relaxed) + 1;
        let (sender, outcome) = oneshot::channel();
        self.calls.lock().insert(id, sender);
        Ticket { id, outcome, pending: self.clone() }
    }

    /// Ends call `id`; no-op if nobody waits for it any more.
    pub fn finish(&self, id: u64, outcome: Outcome) {
        let sender = self.calls.lock().remove(&id);
        if let Some(sender) = sender {
            let _ = sender.send(outcome);
        }
    }

    /// Ends all calls without an answer.
    pub fn fail_all(&self, error: &TransportError) {
        let calls = std::mem::take(&mut *self.calls.lock());
        for (_, sender) in calls {
            let _ = sender.send(Err(error.clone()));
        }
    }
}

/// A call that was begun.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub id: u64,
    outcome: oneshot::Receiver<Outcome>,
    pending: Arc<Pending>,
}

impl Ticket {
    /// Waits for the outcome, at most `deadline`; `peer` is named in the error.
    pub async fn wait(mut self, peer: NodeId, deadline: Duration) -> Outcome {
        match tokio::time::timeout(deadline, &mut self.outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(TransportError::NoAnswer(peer)),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pending.calls.lock().remove(&self.id);
    }
}
