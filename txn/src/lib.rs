//! Strictly serializable transactions over ranges.
//!
//! ```text
//!   api            what SQL sees: `Kv`, `KvTxn`, requests, errors, scan programs
//!   node           the assembly of one node
//!   coordinator    one transaction at its gateway: buffer, savepoints, read set, commit, the reply rule (T1, T3, C1–C10)
//!   router         range cache; batches grouped by range; local call or one RPC
//!   request        what coordinators and leaseholders say to each other
//!   leaseholder    latches, lock table, timestamp cache, evaluation, one proposal (T2)
//!   protect        open transactions keep what they read: protected timestamps, the horizon of collection
//!   system         cluster state for the control plane
//!   solo           a whole store in one process, without Raft, for tests and embedded use
//! ```
//! The protocol is that of `ARCHITECTURE.md`, section "Transactions"; its rules T1–T3 and C1–C10 are named where the code upholds them.

pub mod api;
mod attempt;
mod coordinator;
mod digest;
mod leaseholder;
mod node;
mod protect;
mod record;
mod request;
mod router;
pub mod solo;
mod system;

pub use attempt::coordinator;
pub use leaseholder::Leaseholders;
pub use node::{Config, Foundation, Node};
pub use record::staged_at;
pub use system::System;
