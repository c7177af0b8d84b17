//! Strictly serializable transactions over ranges.
//!
//! ```text
//!   api            what SQL sees: `Kv`, `KvTxn`, requests, errors, scan programs
//!   coordinator    one transaction at its gateway: buffer, savepoints, read set, commit, the reply rule (T1, T3, C1–C10)
//!   router         range cache; batches grouped by range; local call or one RPC
//!   leaseholder    latches, lock table, timestamp cache, evaluation, one proposal (T2)
//! ```

pub mod api;
