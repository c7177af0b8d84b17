//! What the registry keeps in ranges, and what nodes say to each other about it.
//!
//! ```text
//!   0x02 ‖ 'c'               the cluster: its id and the version that founded it
//!   0x02 ‖ 'i' ‖ "node"      the last node id given out (u32); absent: only node 1, the founder, has one
//!   0x02 ‖ 'n' ‖ id u32      a node: NodeRecord
//! ```
//! Values are postcard. Ids are given out by compare-and-set on the counter, so a call that is repeated wastes an id and never gives one twice.

use bytes::{BufMut, Bytes, BytesMut};
use meridian_storage::key::CLUSTER_PREFIX;
use meridian_storage::{Key, Span};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::{Locality, NodeId, RangeDescriptor};

/// The version of what is in this file.
pub(super) const VERSION: u32 = 1;
/// Most nodes that a message may name.
pub(super) const NODES_MAX: usize = 4096;

fn cluster_key_of(kind: u8, rest: &[u8]) -> Key {
    let mut key = BytesMut::with_capacity(2 + rest.len());
    key.put_u8(CLUSTER_PREFIX);
    key.put_u8(kind);
    key.put_slice(rest);
    key.freeze()
}

/// Where the cluster's own record is.
pub fn cluster_key() -> Key {
    cluster_key_of(b'c', &[])
}

/// Where the last node id given out is.
pub fn last_node_key() -> Key {
    cluster_key_of(b'i', b"node")
}

/// Where the record of a node is.
pub fn node_key(node: NodeId) -> Key {
    cluster_key_of(b'n', &node.0.to_be_bytes())
}

/// Where all node records are.
pub fn node_span() -> Span {
    Span::prefix(cluster_key_of(b'n', &[]))
}

/// Who a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub node: NodeId,
    /// The cluster to which it belongs.
    pub cluster: u128,
}

/// Where a node is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Its node-to-node port.
    pub rpc: String,
    /// Its SQL port.
    pub sql: String,
    /// Its HTTP port.
    pub http: String,
}

/// The cluster, as its founder wrote it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Random, given out once.
    pub id: u128,
    /// Version of the registry's records.
    pub version: u32,
}

/// A node, as it wrote itself down. Of two records the one with the higher incarnation is newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its id.
    pub id: NodeId,
    /// Where it is reached.
    pub addresses: Addresses,
    /// Where it stands.
    pub locality: Locality,
    /// Raised at every start and at every other change of the record.
    pub incarnation: u64,
    /// It was taken out of the cluster and may not come back: its replicas are replaced at once.
    pub removed: bool,
}

/// How much a node holds, for balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// Replicas of whatever role.
    pub replicas: u64,
    /// Leases.
    pub leases: u64,
}

/// All that a node knows of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Knowledge {
    pub records: Vec<NodeRecord>,
    pub first_range: Option<RangeDescriptor>,
}

/// One-way messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Gossip {
    /// I am here. `digest` covers the records that I know: if yours differs, tell me.
    Heartbeat { record: NodeRecord, load: NodeLoad, digest: u64, first_generation: u64 },
    /// What the sender knows.
    Knowledge(Knowledge),
    /// The receiver was removed from the cluster.
    YouAreRemoved,
}

/// Calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Question {
    /// Give me an id.
    Join { version: u32 },
    /// Whom do you know?
    Nodes,
    /// Found the cluster (`meridian init`).
    Init,
}

/// Answers to calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    /// To `Join`.
    Welcome { identity: Identity, knowledge: Knowledge },
    /// To `Nodes`.
    Nodes { cluster: u128, knowledge: Knowledge },
    /// To `Init`.
    Founded(Identity),
}

/// Encodes; our own types always can be.
pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    postcard::to_stdvec(value).expect("plain data has an encoding").into()
}

/// Decodes what a peer or a range holds.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    postcard::from_bytes(bytes).map_err(|error| format!("malformed registry record: {error}"))
}
