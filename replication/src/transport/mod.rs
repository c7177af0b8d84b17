//! The transport seam: what nodes say to each other.
//!
//! Messages of one traffic class from one node to another arrive in order or not at all; a class that is full refuses at the
//! sender. Every envelope carries the sender's clock reading, which the receiver merges or refuses (`meridian_clock`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::api::NodeId;

#[cfg(test)]
mod conformance;
pub mod grpc;
mod inbox;
mod latency;
pub mod simulated;

pub use inbox::TransportCounters;
pub use latency::{LatencyMatrix, LatencyMatrixError, ROUND_TRIP_MAX};

/// Who calls before the registry has given it an id: the sender of [`Transport::call_address`] from a node that joins. Node ids begin at 1.
pub const NOBODY: NodeId = NodeId(0);

/// The longest body of a message, request or answer. Snapshots travel in chunks well below it.
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// Traffic classes, each with a stream and a queue of its own, so that bulk never delays a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrafficClass {
    /// Liveness, promises, registry.
    Control,
    /// Raft messages.
    Raft,
    /// KV requests and answers.
    Kv,
    /// Snapshots.
    Bulk,
}

/// Who is meant on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Promises and liveness between nodes.
    Liveness,
    /// Raft messages of all ranges.
    Raft,
    /// Snapshot chunks.
    Snapshot,
    /// Joining, gossip of the first range, registry.
    Registry,
    /// Range administration: splits, lease moves, membership, checksums.
    Admin,
    /// The KV requests of `meridian-txn`.
    Kv,
    /// SQL's own: cancel requests, session lists.
    Sql,
}

/// Why nothing was delivered or no answer came.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum TransportError {
    /// Not connected and not connectable now. A call was certainly not executed.
    #[error("{0} is unreachable")]
    Unreachable(NodeId),
    /// The connection broke or the deadline passed after the call was sent: it may have been executed.
    #[error("no answer from {0}")]
    NoAnswer(NodeId),
    /// The queue to this peer is full. Certainly not executed.
    #[error("the queue to {0} is full")]
    Full(NodeId),
    /// The other side refused: no such service, malformed body, clock out of bounds.
    #[error("{0} refused: {1}")]
    Refused(NodeId, String),
}

impl TransportError {
    /// The refusal of a body above [`BODY_BYTES_MAX`], at the sender.
    pub(crate) fn too_big(to: NodeId, len: usize) -> Self {
        TransportError::Refused(to, format!("a body of {len} bytes is above the limit of {BODY_BYTES_MAX}"))
    }
}

/// The receiving side of a service.
#[async_trait]
pub trait Handler: Send + Sync {
    /// A one-way message. Runs on the receiving stream's task: must be quick.
    fn message(&self, from: NodeId, body: Bytes);
    /// A call. Each runs on a task of its own.
    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, String>;
}

/// The transport of one node.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// This node; [`NOBODY`] until [`Transport::assume_identity`].
    fn local(&self) -> NodeId;
    /// Gives this node the id that the registry gave it (or that its store remembers). Until then it can only be called at its address and
    /// only use [`Transport::call_address`]. Once; panics if it has another id already.
    fn assume_identity(&self, node: NodeId);
    /// Tells which cluster this node belongs to: nodes of other clusters are refused from now on, where the transport can tell.
    fn assume_cluster(&self, _cluster: u128) {}
    /// Registers the receiving side of `service`. Once each.
    fn serve(&self, service: Service, handler: Arc<dyn Handler>);
    /// Makes `node` reachable at `address` (replacing an earlier address).
    fn connect(&self, node: NodeId, address: &str);
    /// Whether something of `from` was refused lately because its clock reads further ahead of this node's than both bounds allow.
    fn clock_refused(&self, _from: NodeId) -> bool {
        false
    }
    /// Sends without waiting. `Ok` is no promise of delivery.
    fn send(&self, to: NodeId, class: TrafficClass, service: Service, body: Bytes) -> Result<(), TransportError>;
    /// Sends and waits for the answer, at most `deadline`.
    async fn call(
        &self,
        to: NodeId,
        class: TrafficClass,
        service: Service,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, TransportError>;
    /// Calls whoever listens at `address`, before its id is known (joining).
    async fn call_address(&self, address: &str, service: Service, body: Bytes, deadline: Duration) -> Result<Bytes, TransportError>;
}
