//! Ranges: the key space cut into Raft groups, spread over nodes.
//!
//! ```text
//!   api            what the layers above see: ids, descriptors, leases, commands, the traits both ways
//!   transport      the transport seam: ordered messages and calls between nodes, real (tonic) and simulated
//!   store          one node's replicas: workers that own their RawNodes outright, log writer, apply
//!   liveness       promises between nodes (L1–L3)
//!   closed         closed timestamps of quiet ranges, told by node
//!   addressing     where a range is, itself data in ranges
//!   consistency    checksums of replicas compared
//!   registry       who is in the cluster: ids, joining, gossip, who is alive
//!   placement      which node holds which replica: up-replication, repair, balance
//! ```

pub mod addressing;
pub mod api;
pub(crate) mod closed;
pub mod consistency;
pub(crate) mod liveness;
pub mod placement;
pub(crate) mod reach;
pub mod registry;
pub mod store;
pub mod transport;

pub use liveness::LivenessConfig;
pub use store::{Store, StoreConfig};
