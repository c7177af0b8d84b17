//! What the layers above see of replication, and what replication tells them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use meridian_clock::Timestamp;
use meridian_storage::{Batch, Engine, Key, Span, StorageError};
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $name(pub $inner);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(/// A node, which has one store. Given out once, never reused.
    NodeId, u32, "n");
id!(/// A range. Given out once, never reused.
    RangeId, u64, "r");
id!(/// A replica: the Raft id of one incarnation of a range on a node. Never reused within its range.
    ReplicaId, u64, "p");
id!(/// A Raft term.
    Term, u64, "t");
id!(/// An index in a Raft log.
    LogIndex, u64, "i");
id!(/// A proposal, unique in the cluster; a retried one is applied once.
    RequestId, u128, "q");

/// Where a node is: ordered tiers such as `region=eu-west,zone=b`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Locality(pub Vec<(String, String)>);

impl Locality {
    /// The value of a tier, such as `region`.
    pub fn tier(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
}

/// What a replica may do in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ReplicaRole {
    /// Counts in every quorum.
    Voter,
    /// Receives the log, counts in none.
    Learner,
    /// Joint consensus: votes in the new configuration only.
    Incoming,
    /// Joint consensus: votes in the old configuration only.
    Outgoing,
}

/// One replica of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ReplicaDescriptor {
    /// Its node.
    pub node: NodeId,
    /// Its Raft id.
    pub id: ReplicaId,
    /// Its part in quorums.
    pub role: ReplicaRole,
}

/// A range: its span and who holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeDescriptor {
    /// The range.
    pub id: RangeId,
    /// Its keys.
    pub span: Span,
    /// Its replicas, by replica id.
    pub replicas: Vec<ReplicaDescriptor>,
    /// The id that the next replica gets.
    pub next_replica: ReplicaId,
    /// Raised by every split and every membership change: of two descriptors of a range the higher is newer.
    pub generation: u64,
    /// Raised by every split, on both sides: a command that was evaluated under an older one may reach beyond the span, and does not apply.
    pub span_epoch: u64,
}

impl RangeDescriptor {
    /// The replica on `node`, if there is one.
    pub fn replica_on(&self, node: NodeId) -> Option<&ReplicaDescriptor> {
        self.replicas.iter().find(|r| r.node == node)
    }
}

/// The right to serve a range, as its holder sees it now. Copied out once per request; its term binds what is proposed under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The Raft term in which the holder leads. A proposal under this lease is dropped if the term has moved.
    pub term: Term,
    /// L2: nothing may be written at or below this, except by what the hand-over of a planned move allows.
    pub low_water: Timestamp,
    /// L1: reads and writes are served only at timestamps strictly below this.
    pub expiration: Timestamp,
    /// The [`RangeDescriptor::span_epoch`] of the span that is served: what is proposed under an older one does not apply.
    pub span_epoch: u64,
}

/// This replica may not serve; try `leader`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{range} is not served here (leaseholder: {leader:?})")]
pub struct NotLeaseholder {
    /// The range.
    pub range: RangeId,
    /// The node that holds the lease, if known.
    pub leader: Option<NodeId>,
}

/// What travels in a Raft entry: the effects of an evaluated request, applied blindly and identically by every replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Applied once per id, however often it is proposed.
    pub request: RequestId,
    /// No write at or below this will be evaluated by this leaseholder any more. Replicas keep the maximum.
    pub closed: Timestamp,
    /// Changes to `Space::Data` and `Space::Lock`, within the range's span.
    pub batch: Batch,
}

/// A command has been applied on the leaseholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Where in the log.
    pub index: LogIndex,
    /// `false` if a command with this request id had been applied before, and this one was therefore a no-op.
    pub fresh: bool,
}

/// Why a proposal was not seen to apply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProposeError {
    /// It certainly was not and will not be applied.
    #[error(transparent)]
    NotLeaseholder(#[from] NotLeaseholder),
    /// It may or may not have been or still be applied: leadership was lost after it entered the log. Retry with the same request id.
    #[error("{0}: outcome unknown, leadership changed while the command was on its way")]
    Ambiguous(RangeId),
    /// Certainly not applied: the queue of this range is full.
    #[error("{0}: too many proposals in flight")]
    Overloaded(RangeId),
    /// Certainly not applied: this store cannot write.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A change of a range that was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdminError {
    /// Only the leaseholder does this.
    #[error(transparent)]
    NotLeaseholder(#[from] NotLeaseholder),
    /// The request makes no sense for the range as it is now.
    #[error("{0}")]
    Invalid(String),
    /// It was tried and did not come through.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

/// One replica on this node: the door through which txn reads, evaluates and proposes.
#[async_trait]
pub trait RangeReplica: Send + Sync + fmt::Debug {
    /// The range.
    fn range_id(&self) -> RangeId;
    /// Its descriptor, as applied here.
    fn descriptor(&self) -> Arc<RangeDescriptor>;
    /// The present lease if this replica holds it. Cheap: a few atomic loads.
    fn lease(&self) -> Result<Lease, NotLeaseholder>;
    /// The node that leads the range as far as this replica knows: perhaps this one, not yet serving, perhaps one that is gone.
    fn leader(&self) -> Option<NodeId> {
        None
    }
    /// Everything at or below this can be read here, leaseholder or not.
    fn closed_timestamp(&self) -> Timestamp;
    /// Something is about to be evaluated here: from now on the closed timestamp moves with commands only. Answers up to where it was published while the
    /// range was idle ([`RangeEvents::idle`]): nothing may be written at or below. Cheap, does not block, and may be called under any lock.
    fn leave_idle(&self) -> Timestamp {
        Timestamp::ZERO
    }
    /// Replicates `command`. Resolves once it is committed *and applied* on this replica. The command enters the log only in the
    /// term of `lease`, and applies only if the range was not split since `lease.span_epoch` (else [`ProposeError::NotLeaseholder`]). Proposals of one caller enter the log in call order.
    fn propose(&self, lease: &Lease, command: Command) -> BoxFuture<'static, Result<Applied, ProposeError>>;
    /// Splits the range so that a new range begins at `key`. No-op if one begins there already.
    async fn split(&self, key: Key) -> Result<(), AdminError>;
    /// Moves the lease to the replica on `to`, handing over locks and timestamp cache (L3).
    async fn transfer_lease(&self, to: NodeId) -> Result<(), AdminError>;
}

/// The replicas of this node.
pub trait RangeHost: Send + Sync + fmt::Debug {
    /// This node.
    fn node(&self) -> NodeId;
    /// The disk under all its replicas.
    fn engine(&self) -> &Arc<dyn Engine>;
    /// The local replica whose span contains `key`.
    fn replica_for_key(&self, key: &[u8]) -> Option<Arc<dyn RangeReplica>>;
    /// The local replica of a range.
    fn replica(&self, range: RangeId) -> Option<Arc<dyn RangeReplica>>;
    /// All local replicas, by range id.
    fn replicas(&self) -> Vec<Arc<dyn RangeReplica>>;
    /// Whether `node`, which has a range in common with this one, has just fallen silent, with every promise to it lapsed: others are about to
    /// lead its ranges, and waiting for its answers is in vain.
    fn is_lost(&self, _node: NodeId) -> bool {
        false
    }
}

/// What placement asks of a node's store (implemented by the store of Raft replicas, called by
/// `placement::ReplicateQueue`, one call per range at a time).
///
/// Every call but the first two is for ranges whose lease this node holds, and answers [`AdminError::NotLeaseholder`] otherwise.
#[async_trait]
pub trait RangeAdmin: Send + Sync + fmt::Debug {
    /// The applied descriptors of the ranges for which [`RangeReplica::lease`] answers `Ok` now, by range id.
    fn leaseholder_ranges(&self) -> Vec<Arc<RangeDescriptor>>;
    /// How many replicas this node holds, of whatever role.
    fn replica_count(&self) -> u64;
    /// Adds a replica on one node, removes that of another, or both in one change, by the one way there is: a learner, its snapshot,
    /// joint consensus, and out of the joint state again. Resolves once the leaseholder has applied the final configuration; a learner or
    /// joint state left behind by an earlier attempt that broke off is finished or rolled back first.
    ///
    /// `add` on a node that has a voter already, `remove` from one that has no replica, and the removal of the leaseholder itself (move
    /// the lease first) are [`AdminError::Invalid`]. Both `None`: only the cleaning up just described.
    async fn change_replicas(&self, range: RangeId, add: Option<NodeId>, remove: Option<NodeId>) -> Result<(), AdminError>;
    /// Moves the lease to the voter on `to` ([`RangeReplica::transfer_lease`]).
    async fn transfer_lease(&self, range: RangeId, to: NodeId) -> Result<(), AdminError>;
}

/// What txn hears from replication. Called on the worker that owns the range: implementations must be quick and must not block.
pub trait RangeEvents: Send + Sync {
    /// This replica holds the lease from now on. `handover` is what [`RangeEvents::hand_over`] returned at the previous holder after a planned
    /// move; without it locks are gone and the timestamp cache starts at `lease.low_water`. Called after every entry of earlier
    /// terms has been applied and before [`RangeReplica::lease`] answers `Ok` for the new term.
    fn lease_started(&self, replica: &Arc<dyn RangeReplica>, lease: &Lease, handover: Option<Bytes>);
    /// This replica holds the lease no longer: whoever waits here must be sent away.
    fn lease_ended(&self, range: RangeId);
    /// A planned move begins: [`RangeReplica::lease`] answers `Err` from before this call on. Returns locks and timestamp cache for the successor.
    fn hand_over(&self, range: RangeId) -> Bytes;
    /// `left` was split: in-memory state of keys in `right.span` now belongs to `right`. Called on the leaseholder and on followers.
    fn range_split(&self, left: &Arc<dyn RangeReplica>, right: &Arc<dyn RangeReplica>);
    /// The range has nothing to do and everything in its log is applied. If nothing is being evaluated either, `enter` is to be called, under the
    /// lock that evaluation takes before it chooses a timestamp: from then on the closed timestamp of the range advances by itself, until
    /// [`RangeReplica::leave_idle`] is called under that lock. Doing nothing is always right.
    fn idle(&self, _range: RangeId, _enter: &mut dyn FnMut()) {}
    /// The replica has left this node.
    fn replica_removed(&self, range: RangeId);
}

/// The cluster as this node knows it.
pub trait Directory: Send + Sync {
    /// The descriptor of the first range, where range addressing begins, from gossip.
    fn first_range(&self) -> Option<Arc<RangeDescriptor>>;
    /// All known nodes, by id.
    fn nodes(&self) -> Vec<NodeInfo>;
}

/// A node in the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// The node.
    pub id: NodeId,
    /// Where its node-to-node port is reached.
    pub rpc_address: String,
    /// Where its SQL port is reached.
    pub sql_address: String,
    /// Where its HTTP port is reached.
    pub http_address: String,
    /// Where it stands.
    pub locality: Locality,
    /// Whether it was heard of within the liveness window.
    pub live: bool,
}

/// Cluster state kept in ranges, as the control plane (registry, liveness, addressing, placement) uses it. Implemented by `txn`
/// over the ordinary transactional path; every call is one strictly serializable transaction.
#[async_trait]
pub trait SystemKv: Send + Sync {
    /// The value of `key`.
    async fn get(&self, key: Key) -> Result<Option<Bytes>, SystemError>;
    /// All pairs of `span`, ascending.
    async fn scan(&self, span: Span) -> Result<Vec<(Key, Bytes)>, SystemError>;
    /// Writes `new` (`None` deletes) if the value is `expected`; answers whether it was.
    async fn compare_and_set(&self, key: Key, expected: Option<Bytes>, new: Option<Bytes>) -> Result<bool, SystemError>;
}

/// The control plane could not reach its state; it tries again later.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cluster state: {0}")]
pub struct SystemError(pub String);
