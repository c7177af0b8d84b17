//! One node's disk.
//!
//! ```text
//!   key              keys, spans, the map of the key space
//!   encoding, row    order-preserving key encodings; column-id tagged row values
//!   mvcc             versions = key + inverted timestamp; intents and transaction records beside the data
//!   engine           the disk seam: four ordered spaces, batches, cursors, two ways to be durable
//!     ├ rocks        RocksDB: one column family a space
//!     └ memory       the simulator's disk: a crash loses everything unsynced and may tear the last write
//!   log_writer       group commit: one sync for everything pending on the store
//! ```
//! This crate knows nothing of Raft's meaning, only of its bytes, and names no SQL type.

pub mod encoding;
pub mod engine;
pub mod key;
pub mod log_writer;
pub mod memory;
pub mod mvcc;
pub mod rocks;
pub mod row;

pub use engine::{Batch, BatchOp, Cursor, Engine, Reader, Space, StorageError};
pub use key::{Key, Span};
pub use log_writer::{LogWriter, LogWriterMode};
pub use memory::MemoryEngine;
pub use rocks::{RocksEngine, RocksOptions};
