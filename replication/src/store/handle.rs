//! A replica as everybody but its worker sees it: a few shared cells, and the way to the worker.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use meridian_clock::controls::{self, Control};
use meridian_clock::{Clock, Timestamp};
use meridian_storage::Key;
use parking_lot::RwLock;
use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot};

use super::codec;
use super::context::RangeIds;
use super::worker::{Request, WorkerMessage};
use crate::api::{
    AdminError, Applied, Command, Lease, NodeId, NotLeaseholder, ProposeError, RangeDescriptor, RangeId, RangeReplica, ReplicaId, Term,
};
use crate::closed::Closed;
use crate::liveness::{Peer, quorum_end, solo_ahead};

/// Largest command, in encoded bytes. The transport and the log bound what one message may be.
pub const MAX_COMMAND_BYTES: usize = 32 << 20;

/// How long an administrative request may take.
pub(crate) const ADMIN_DEADLINE: Duration = Duration::from_secs(60);

/// A voter whose promise counts: `None` is the leader itself.
pub(crate) type Promiser = (Option<Arc<Peer>>, u64);

/// What a lease rests on.
#[derive(Debug)]
pub(crate) struct LeaseBasis {
    pub term: Term,
    pub low_water: Timestamp,
    /// The voters of the present configuration, and in joint consensus those of the outgoing one.
    pub voters: SmallVec<[Promiser; 8]>,
    pub outgoing: SmallVec<[Promiser; 8]>,
    /// The greatest end that anybody was told.
    reached: AtomicU64,
}

impl LeaseBasis {
    pub(crate) fn new(term: Term, low_water: Timestamp, voters: SmallVec<[Promiser; 8]>, outgoing: SmallVec<[Promiser; 8]>) -> Self {
        LeaseBasis { term, low_water, voters, outgoing, reached: AtomicU64::new(0) }
    }

    /// Up to where may be served now. It can also move back: a voter's process is a new one, whose promise does not count yet, or the voter stamps
    /// in an epoch of which the promise has not come yet, or the voters are others.
    pub(crate) fn expiration(&self, clock: &Clock) -> Timestamp {
        let end = self.promised(clock);
        if end.as_raw() > self.reached.load(Ordering::SeqCst) {
            self.reached.fetch_max(end.as_raw(), Ordering::SeqCst);
        }
        end
    }

    /// Up to where may ever have been served: what a vote waits for.
    pub(crate) fn served_until(&self, clock: &Clock) -> Timestamp {
        self.expiration(clock).max(Timestamp::from_raw(self.reached.load(Ordering::SeqCst)))
    }

    /// The same lease goes on, on another footing.
    pub(crate) fn continues(self, before: &LeaseBasis) -> Self {
        self.reached.fetch_max(before.reached.load(Ordering::SeqCst), Ordering::SeqCst);
        self
    }

    fn promised(&self, clock: &Clock) -> Timestamp {
        if controls::off(Control::LeasePromise) {
            return clock.now().latest.plus(Duration::from_secs(1));
        }
        let end = |voters: &SmallVec<[Promiser; 8]>| {
            quorum_end(voters.iter().map(|(peer, epoch)| peer.as_ref().map_or(Timestamp::MAX, |p| p.promised(*epoch))).collect())
        };
        let end = end(&self.voters).min(end(&self.outgoing));
        if end < Timestamp::MAX {
            return end;
        }
        let now = clock.now();
        now.latest.plus(solo_ahead(now))
    }
}

/// The shared side of one replica.
pub struct ReplicaHandle {
    range: RangeId,
    replica: ReplicaId,
    node: NodeId,
    clock: Clock,
    worker: mpsc::Sender<WorkerMessage>,
    descriptor: RwLock<Arc<RangeDescriptor>>,
    lease: RwLock<Option<LeaseBasis>>,
    /// As commands say.
    closed: AtomicU64,
    /// As published for this range by the feed, at the latest time that it left.
    published: AtomicU64,
    sides: Arc<Closed>,
    /// Stopped, or about to be wiped: what can be read here is worth nothing.
    gone: AtomicBool,
    applied: AtomicU64,
    /// The node that leads, as far as known; 0 if none is.
    leader: AtomicU32,
    range_ids: Arc<RangeIds>,
}

impl fmt::Debug for ReplicaHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} on {}", self.range, self.replica, self.node)
    }
}

impl ReplicaHandle {
    pub(crate) fn new(
        replica: ReplicaId,
        node: NodeId,
        clock: Clock,
        worker: mpsc::Sender<WorkerMessage>,
        descriptor: Arc<RangeDescriptor>,
        range_ids: &Arc<RangeIds>,
        sides: &Arc<Closed>,
    ) -> Self {
        ReplicaHandle {
            range: descriptor.id,
            replica,
            node,
            clock,
            worker,
            descriptor: RwLock::new(descriptor),
            lease: RwLock::new(None),
            closed: AtomicU64::new(0),
            published: AtomicU64::new(0),
            sides: sides.clone(),
            gone: AtomicBool::new(false),
            applied: AtomicU64::new(0),
            leader: AtomicU32::new(0),
            range_ids: range_ids.clone(),
        }
    }

    /// This replica's id.
    pub fn replica_id(&self) -> ReplicaId {
        self.replica
    }

    /// The index of the last applied entry.
    pub fn applied_index(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// The node that leads the range, as far as this replica knows.
    pub fn leader_hint(&self) -> Option<NodeId> {
        Some(NodeId(self.leader.load(Ordering::Acquire))).filter(|n| n.0 != 0)
    }

    pub(crate) fn set_applied(&self, index: u64, closed: Timestamp) {
        self.applied.store(index, Ordering::Release);
        self.closed.store(closed.as_raw(), Ordering::Release);
    }

    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    /// Takes the range out of the feed.
    pub(crate) fn leave_feed(&self) {
        self.note_published(self.sides.feed.leave(self.range));
    }

    /// Notes that the feed has published up to `closed`.
    pub(crate) fn note_published(&self, closed: Timestamp) {
        self.published.fetch_max(closed.as_raw(), Ordering::SeqCst);
    }

    pub(crate) fn set_leader(&self, node: Option<NodeId>) {
        self.leader.store(node.map_or(0, |n| n.0), Ordering::Release);
    }

    pub(crate) fn set_descriptor(&self, descriptor: Arc<RangeDescriptor>) {
        *self.descriptor.write() = descriptor;
    }

    /// Replaces the lease; answers with the one that was there.
    pub(crate) fn set_lease(&self, basis: Option<LeaseBasis>) -> Option<LeaseBasis> {
        std::mem::replace(&mut *self.lease.write(), basis)
    }

    /// The term of the lease held.
    pub(crate) fn lease_term(&self) -> Option<Term> {
        self.lease.read().as_ref().map(|b| b.term)
    }

    /// Up to where the lease held may ever have been served under, whether that has passed or not.
    pub(crate) fn served_until(&self) -> Option<Timestamp> {
        self.lease.read().as_ref().map(|b| b.served_until(&self.clock))
    }

    /// Counts the promises of `peer` in `epoch` from now on.
    pub(crate) fn count_promise(&self, peer: NodeId, epoch: u64) {
        let mut lease = self.lease.write();
        if let Some(basis) = &mut *lease {
            for (voter, counted) in basis.voters.iter_mut().chain(basis.outgoing.iter_mut()) {
                if voter.as_ref().is_some_and(|p| p.node == peer) {
                    *counted = epoch;
                }
            }
        }
    }

    /// Replaces the voters under a standing lease.
    pub(crate) fn set_voters(&self, voters: SmallVec<[Promiser; 8]>, outgoing: SmallVec<[Promiser; 8]>) {
        if let Some(basis) = &mut *self.lease.write() {
            basis.voters = voters;
            basis.outgoing = outgoing;
        }
    }

    pub(crate) fn not_leaseholder(&self) -> NotLeaseholder {
        NotLeaseholder { range: self.range, leader: self.leader_hint().filter(|n| *n != self.node) }
    }

    /// Sends an administrative request to the worker and waits for its answer.
    pub(crate) async fn admin<T>(&self, make: impl FnOnce(oneshot::Sender<Result<T, AdminError>>) -> Request) -> Result<T, AdminError> {
        self.admin_within(ADMIN_DEADLINE, make).await
    }

    /// The same with a deadline of its own.
    pub(crate) async fn admin_within<T>(
        &self,
        deadline: Duration,
        make: impl FnOnce(oneshot::Sender<Result<T, AdminError>>) -> Request,
    ) -> Result<T, AdminError> {
        let (done, answer) = oneshot::channel();
        let message = WorkerMessage::Request { range: self.range, request: make(done) };
        self.worker.send(message).await.map_err(|_| AdminError::Invalid("this node is stopping".into()))?;
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(AdminError::Propose(ProposeError::Ambiguous(self.range))),
        }
    }
}

#[async_trait]
impl RangeReplica for ReplicaHandle {
    fn range_id(&self) -> RangeId {
        self.range
    }

    fn descriptor(&self) -> Arc<RangeDescriptor> {
        self.descriptor.read().clone()
    }

    fn lease(&self) -> Result<Lease, NotLeaseholder> {
        let lease = self.lease.read();
        let Some(basis) = &*lease else { return Err(self.not_leaseholder()) };
        let expiration = basis.expiration(&self.clock);
        if expiration <= self.clock.now().earliest {
            // Cut off from its quorum, it leads in name only; nobody knows a better address yet.
            return Err(NotLeaseholder { range: self.range, leader: None });
        }
        Ok(Lease { term: basis.term, low_water: basis.low_water, expiration, span_epoch: self.descriptor.read().span_epoch })
    }

    fn leader(&self) -> Option<NodeId> {
        self.leader_hint()
    }

    fn closed_timestamp(&self) -> Timestamp {
        if self.gone.load(Ordering::SeqCst) {
            return Timestamp::ZERO;
        }
        let closed = Timestamp::from_raw(self.closed.load(Ordering::Acquire));
        closed.max(self.sides.inlet.closed(self.range, self.applied_index()))
    }

    fn leave_idle(&self) -> Timestamp {
        self.leave_feed();
        // If the worker is too busy to hear of it the range is not forgotten: the proposal that mostly follows wakes it as well.
        let _ = self.worker.try_send(WorkerMessage::Request { range: self.range, request: Request::Stir });
        Timestamp::from_raw(self.published.load(Ordering::SeqCst))
    }

    fn propose(&self, lease: &Lease, command: Command) -> BoxFuture<'static, Result<Applied, ProposeError>> {
        let payload = match codec::encode_command(&command, lease.span_epoch) {
            Ok(payload) if payload.len() <= MAX_COMMAND_BYTES => payload,
            Ok(_) => return futures::future::ready(Err(ProposeError::Overloaded(self.range))).boxed(),
            Err(error) => return futures::future::ready(Err(error.into())).boxed(),
        };
        let (done, answer) = oneshot::channel();
        let request = Request::Propose { term: lease.term, payload, done };
        // Sent before the future is first polled, so that one caller's proposals keep their order.
        match self.worker.try_send(WorkerMessage::Request { range: self.range, request }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return futures::future::ready(Err(ProposeError::Overloaded(self.range))).boxed(),
            Err(mpsc::error::TrySendError::Closed(_)) => return futures::future::ready(Err(self.not_leaseholder().into())).boxed(),
        }
        let range = self.range;
        async move { answer.await.unwrap_or(Err(ProposeError::Ambiguous(range))) }.boxed()
    }

    async fn split(&self, key: Key) -> Result<(), AdminError> {
        if self.descriptor().span.start == key {
            return Ok(());
        }
        let right = self.range_ids.next().await.map_err(ProposeError::Storage)?;
        self.admin(|done| Request::Split { key, right, done }).await
    }

    async fn transfer_lease(&self, to: NodeId) -> Result<(), AdminError> {
        self.admin(|done| Request::Transfer { to, done }).await
    }
}

#[cfg(test)]
mod tests {
    use meridian_clock::Entropy;
    use tokio::time::Instant;

    use super::*;
    use crate::liveness::{LivenessConfig, LivenessMessage, Peers};
    use crate::transport::simulated::SimulatedTime;

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_shrinks_is_over_when_all_that_it_reached_is() {
        let clock = Clock::new(SimulatedTime::start().clock(Duration::ZERO)).unwrap();
        let peers = Peers::new(clock.clone(), LivenessConfig::default(), &Entropy::seeded(1));
        let ours = peers.message(NodeId(2), Instant::now(), &Closed::default(), false).incarnation;
        let word = |incarnation, promise| LivenessMessage {
            incarnation,
            promise,
            to_incarnation: ours,
            duration_micros: 1,
            missing: Vec::new(),
            refuses_you: false,
            closed: None,
            closed_upto: (0, 0, 0),
        };
        let (soon, later) = (clock.now().latest.plus(Duration::from_millis(10)), clock.now().latest.plus(Duration::from_millis(400)));
        peers.heard(NodeId(2), &word(7, Some((5, later))), Instant::now());
        peers.heard(NodeId(3), &word(8, Some((6, soon))), Instant::now());
        let voters = || SmallVec::from_iter([(None, 0), (Some(peers.peer(NodeId(2))), 5), (Some(peers.peer(NodeId(3))), 6)]);
        let lease = LeaseBasis::new(Term(7), Timestamp::ZERO, voters(), SmallVec::new());
        assert_eq!(lease.expiration(&clock), later);
        // The process of node 2 is a new one, which has promised nothing.
        peers.heard(NodeId(2), &word(9, None), Instant::now());
        assert_eq!(lease.expiration(&clock), soon, "nothing more is served on the word of the former process");
        assert_eq!(lease.served_until(&clock), later, "but it may have been");
        let again = LeaseBasis::new(Term(7), Timestamp::ZERO, voters(), SmallVec::new()).continues(&lease);
        assert_eq!((again.expiration(&clock), again.served_until(&clock)), (soon, later));
    }
}
