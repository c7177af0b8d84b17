//! What other nodes ask of this one.

use bytes::Bytes;
use futures::future::join_all;
use meridian_replication::api::NodeId;
use meridian_storage::mvcc::AttemptId;
use tokio::time::{Instant, sleep};

use super::{ELECTION_PATIENCE, NEWS_CHECK, Router, SendError};
use crate::api::{LockInfo, SessionId};
use crate::attempt;
use crate::request::{Batch, Envelope, Refusal, Response};

impl Router {
    /// Serves what came over the wire.
    pub(crate) async fn serve(&self, body: &[u8]) -> Result<Bytes, String> {
        let envelope: Envelope = postcard::from_bytes(body).map_err(|e| format!("malformed KV request: {e}"))?;
        let answer = match envelope {
            Envelope::Batch(batch) => postcard::to_stdvec(&self.serve_batch(batch).await),
            Envelope::Nearby(batch) => postcard::to_stdvec(&self.read_nearby(&batch.header, &batch.request).and_then(Result::ok)),
            Envelope::Alive(attempts) => postcard::to_stdvec(&attempts.iter().map(|a| self.registry.is_alive(*a)).collect::<Vec<_>>()),
            Envelope::Locks => postcard::to_stdvec(&self.leaseholders.inventory()),
            Envelope::Sessions(attempts) => postcard::to_stdvec(&attempts.iter().map(|a| self.registry.session_of(*a)).collect::<Vec<_>>()),
            Envelope::Relay { to, body } => postcard::to_stdvec(&self.links.pass_on(to, body).await),
            Envelope::Node(message) => {
                self.registry.hear(message, self);
                Ok(Vec::new())
            }
        };
        answer.map(Bytes::from).map_err(|e| format!("encoding an answer: {e}"))
    }

    async fn serve_batch(&self, batch: Batch) -> Result<Response, Refusal> {
        if let Some(state) = self.leaseholders.by_id(batch.range) {
            return self.leaseholders.execute(&state, &batch.header, &batch.request).await;
        }
        let refusal = |leader| Refusal::NotLeaseholder(meridian_replication::api::NotLeaseholder { range: batch.range, leader });
        let Some(replica) = self.host.replica(batch.range) else { return Err(refusal(None)) };
        // An election is under way, or this node has won it and its lease begins with the first entry that is through: a refusal would cost the sender
        // a round trip or two, and the answer is a moment away.
        let until = Instant::now() + ELECTION_PATIENCE;
        while self.leader_of(&*replica).is_none() && Instant::now() < until {
            sleep(NEWS_CHECK).await;
        }
        if let Some(state) = self.leaseholders.by_id(batch.range) {
            return self.leaseholders.execute(&state, &batch.header, &batch.request).await;
        }
        let leader = replica.lease().err().and_then(|e| e.leader).filter(|n| !self.host.is_lost(*n));
        match leader {
            Some(leader) if batch.forward && leader != self.node && !self.links.is_unreached(leader) => self.pass_on(leader, batch).await,
            _ => Err(refusal(leader)),
        }
    }

    /// Passes a request on to the leaseholder that its sender cannot reach.
    async fn pass_on(&self, leader: NodeId, batch: Batch) -> Result<Response, Refusal> {
        let range = batch.range;
        match self.call_replica(leader, Batch { forward: false, ..batch }).await {
            Ok(answer) => answer,
            Err(SendError::NoAnswer(_)) => Err(Refusal::NotAnswered(leader)),
            Err(SendError::Kv(e)) => Err(Refusal::Kv(e)),
            Err(_) => Err(Refusal::NotLeaseholder(meridian_replication::api::NotLeaseholder { range, leader: None })),
        }
    }

    /// One-way messages.
    pub(crate) fn hear(&self, body: &[u8]) {
        match postcard::from_bytes::<Envelope>(body) {
            Ok(Envelope::Node(message)) => self.registry.hear(message, self),
            Ok(Envelope::Relay { to, body }) => self.links.pass_on_message(to, body),
            Ok(_) => tracing::warn!("a KV request came as a one-way message"),
            Err(e) => tracing::warn!(error = %e, "malformed KV message"),
        }
    }

    /// Locks held and waited for on all nodes that answer, with the sessions that they belong to.
    pub(crate) async fn locks(&self) -> Vec<LockInfo> {
        let others: Vec<NodeId> = self.directory.nodes().iter().map(|n| n.id).filter(|n| *n != self.node).collect();
        let mut all = self.leaseholders.inventory();
        let answers = join_all(others.iter().map(|node| self.question::<Vec<LockInfo>>(*node, &Envelope::Locks))).await;
        all.extend(answers.into_iter().flatten().flatten());
        let mut asked: std::collections::BTreeMap<NodeId, Vec<AttemptId>> = Default::default();
        for attempt in all.iter().flat_map(|l| l.waits_for.iter().chain([&l.attempt])) {
            asked.entry(attempt::coordinator(*attempt)).or_default().push(*attempt);
        }
        let mut sessions: std::collections::BTreeMap<AttemptId, SessionId> = Default::default();
        for (node, mut attempts) in asked {
            attempts.sort();
            attempts.dedup();
            let answer = match node == self.node {
                true => Some(attempts.iter().map(|a| self.registry.session_of(*a)).collect()),
                false => self.question::<Vec<SessionId>>(node, &Envelope::Sessions(attempts.clone())).await,
            };
            sessions.extend(attempts.into_iter().zip(answer.unwrap_or_default()));
        }
        for lock in &mut all {
            lock.session = sessions.get(&lock.attempt).copied().unwrap_or_default();
            lock.blocked_by = lock.waits_for.iter().filter_map(|a| sessions.get(a)).copied().filter(|s| *s != SessionId::NONE).collect();
        }
        all
    }
}
