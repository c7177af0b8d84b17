//! Which nodes this one can talk to, and the way round where it cannot: a link that is cut, in one direction or both, is no reason for a client to
//! wait as long as both of its ends can talk to a third node.
//!
//! ```text
//!   a call in vain ──▶ unreached ──▶ asked every half second until it answers ──▶ reached
//!                         │
//!                         ├─ a request to a range goes to another of its voters, which passes it on to the leaseholder (`Batch::forward`)
//!                         └─ a question or a message to a node goes through any other node (`Envelope::Relay`)
//! ```
//! The way round is one node long: who passes on passes on to the one that was meant, or says that it cannot either. All that travels here may be
//! repeated (`request`), so taking both ways does no harm.
//!
//! Who waits for an answer for long (for a lock, mostly) asks in between whether the other is still there: a node that hears us may be one that we do
//! not hear, and no connection need break for that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::TaskGroup;
use meridian_replication::api::{Directory, NodeId};
use meridian_replication::transport::{Service, TrafficClass, Transport, TransportError};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::request::Envelope;

/// How long a question to another node may take.
const QUESTION_TIMEOUT: Duration = Duration::from_millis(700);
/// How often a node that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long an answer counts as a sign that messages arrive, too.
const FRESH: Duration = Duration::from_secs(1);
/// How often somebody who waits for an answer asks whether the node that owes it can be reached.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// What is known of one other node.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// The last answer, and the last call in vain.
    answered: Option<Instant>,
    failed: Option<Instant>,
    /// It did not answer last time, and is being asked again.
    unreached: bool,
    /// A question whether it is there is under way.
    asked: bool,
}

/// The links of one node to the others, as far as KV traffic has tried them.
pub(super) struct Links {
    node: NodeId,
    transport: Arc<dyn Transport>,
    directory: Arc<dyn Directory>,
    tasks: TaskGroup,
    peers: Mutex<BTreeMap<NodeId, Peer>>,
}

impl Links {
    pub(super) fn new(node: NodeId, transport: Arc<dyn Transport>, directory: Arc<dyn Directory>, tasks: TaskGroup) -> Arc<Self> {
        Arc::new(Links { node, transport, directory, tasks, peers: Mutex::default() })
    }

    /// Whether `node` did not answer when last called.
    pub(super) fn is_unreached(&self, node: NodeId) -> bool {
        self.peers.lock().get(&node).is_some_and(|p| p.unreached)
    }

    /// Whether a call to `node` was in vain within the last `window`.
    pub(super) fn failed_within(&self, node: NodeId, window: Duration) -> bool {
        self.peers.lock().get(&node).and_then(|p| p.failed).is_some_and(|at| at.elapsed() < window)
    }

    /// Calls `node` itself and remembers whether it answered.
    pub(super) async fn call(self: &Arc<Self>, node: NodeId, body: Bytes, timeout: Duration) -> Result<Bytes, TransportError> {
        let outcome = self.transport.call(node, TrafficClass::Kv, Service::Kv, body, timeout).await;
        match &outcome {
            Ok(_) | Err(TransportError::Refused(..)) => self.answered(node),
            Err(TransportError::Full(_)) => {}
            Err(TransportError::Unreachable(_) | TransportError::NoAnswer(_)) => self.failed(node),
        }
        outcome
    }

    /// Asks `node` something, directly or through a third node. `None`: no answer on either way.
    pub(super) async fn question(self: &Arc<Self>, node: NodeId, body: Bytes) -> Option<Bytes> {
        if !self.is_unreached(node)
            && let Ok(answer) = self.call(node, body.clone(), QUESTION_TIMEOUT).await
        {
            return Some(answer);
        }
        let via = self.detour(node)?;
        let relay = postcard::to_stdvec(&Envelope::Relay { to: node, body: body.to_vec() }).ok()?;
        let answer = self.call(via, relay.into(), QUESTION_TIMEOUT).await.ok()?;
        postcard::from_bytes::<Option<Vec<u8>>>(&answer).ok()?.map(Bytes::from)
    }

    /// A one-way message to `node`, directly or through a third node; may be lost.
    pub(super) fn tell(self: &Arc<Self>, node: NodeId, body: Bytes) {
        let (unreached, fresh) = {
            let peer = self.peers.lock().get(&node).copied().unwrap_or_default();
            (peer.unreached, peer.answered.is_some_and(|at| at.elapsed() < FRESH))
        };
        if unreached && let Some(via) = self.detour(node) {
            if let Ok(relay) = postcard::to_stdvec(&Envelope::Relay { to: node, body: body.to_vec() }) {
                let _ = self.transport.send(via, TrafficClass::Kv, Service::Kv, relay.into());
            }
            return;
        }
        let _ = self.transport.send(node, TrafficClass::Kv, Service::Kv, body);
        if !fresh {
            self.ask_behind(node);
        }
    }

    /// Passes on what another node could not send to `to` itself.
    pub(super) async fn pass_on(self: &Arc<Self>, to: NodeId, body: Vec<u8>) -> Option<Vec<u8>> {
        if self.is_unreached(to) {
            return None;
        }
        self.call(to, body.into(), QUESTION_TIMEOUT).await.ok().map(|answer| answer.to_vec())
    }

    /// The same for a message.
    pub(super) fn pass_on_message(&self, to: NodeId, body: Vec<u8>) {
        let _ = self.transport.send(to, TrafficClass::Kv, Service::Kv, body.into());
    }

    /// Ends when `node` has left two questions in a row unanswered. However many wait for it, one of them asks and all know.
    pub(super) async fn until_silent(self: &Arc<Self>, node: NodeId) {
        loop {
            sleep(WATCH_EVERY).await;
            let answered = self.peers.lock().get(&node).and_then(|p| p.answered);
            if answered.is_some_and(|at| at.elapsed() < WATCH_EVERY) {
                continue;
            }
            if !self.is_there(node).await && !self.is_there(node).await {
                return;
            }
        }
    }

    async fn is_there(self: &Arc<Self>, node: NodeId) -> bool {
        let Ok(body) = postcard::to_stdvec(&Envelope::Alive(Vec::new())) else { return false };
        self.call(node, body.into(), QUESTION_TIMEOUT).await.is_ok()
    }

    /// A live node that this one reaches, to go through to `node`.
    fn detour(&self, node: NodeId) -> Option<NodeId> {
        let nodes = self.directory.nodes();
        nodes.iter().filter(|n| n.live && n.id != node && n.id != self.node).map(|n| n.id).find(|n| !self.is_unreached(*n))
    }

    fn answered(&self, node: NodeId) {
        let mut peers = self.peers.lock();
        let peer = peers.entry(node).or_default();
        peer.answered = Some(Instant::now());
        if std::mem::replace(&mut peer.unreached, false) {
            tracing::info!(node = %self.node, peer = %node, "it answers again");
        }
    }

    /// A call to `node` was in vain: it is asked until it answers.
    pub(super) fn failed(self: &Arc<Self>, node: NodeId) {
        {
            let mut peers = self.peers.lock();
            let peer = peers.entry(node).or_default();
            peer.failed = Some(Instant::now());
            if !std::mem::replace(&mut peer.unreached, true) {
                tracing::info!(node = %self.node, peer = %node, "it does not answer: what is for it goes through other nodes until it does");
            }
        }
        self.ask_behind(node);
    }

    fn ask_behind(self: &Arc<Self>, node: NodeId) {
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        if std::mem::replace(&mut self.peers.lock().entry(node).or_default().asked, true) {
            return;
        }
        let me = self.clone();
        self.tasks.spawn(async move {
            loop {
                let there = me.is_there(node).await;
                // It may have failed again since; and nobody asks one that left the cluster.
                if (there && !me.is_unreached(node)) || !me.directory.nodes().iter().any(|n| n.id == node) {
                    break;
                }
                sleep(ASK_AGAIN).await;
            }
            me.peers.lock().entry(node).or_default().asked = false;
        });
    }
}
