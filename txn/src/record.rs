//! The transaction record: the one place that decides a transaction with intents.
//!
//! ```text
//!            push(min_ts), heartbeat          restage at a higher c
//!                ┌──────┐                        ┌──────┐
//!  (none) ─────▶ PENDING ──────── stage ───────▶ STAGING ────▶ COMMITTED   final
//!     │             └──────────▶ ABORTED ◀──────────┘
//!     └──────────────────────────▶  final
//! ```
//! It lives at the anchor, the first key that the transaction wrote, beside the data (`mvcc::put_record`), so it moves with
//! the anchor's range. Final states are never overwritten (C6).

use meridian_clock::Timestamp;
use meridian_storage::Key;
use serde::{Deserialize, Serialize};

/// Where a transaction stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Running.
    Pending,
    /// Committed at `at` if every one of `keys` holds an intent of the attempt at or below `at` (parallel commit).
    Staging { at: Timestamp, keys: Vec<Key> },
    /// Committed, for good.
    Committed { at: Timestamp },
    /// Aborted, for good.
    Aborted,
}

/// A transaction record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where it stands.
    pub status: Status,
    /// C7: may not commit below this; raised by readers that pushed it.
    pub min_ts: Timestamp,
    /// When its coordinator, or whoever created it in the coordinator's place, last gave a sign of life (leaseholder's clock).
    pub heartbeat: Timestamp,
}

impl Record {
    /// The bytes stored.
    pub fn encode(&self) -> Vec<u8> {
        // Serialising to a Vec of plain data cannot fail: postcard errors only on full buffers and unsized sequences.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Reads stored bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        postcard::from_bytes(bytes).map_err(|e| format!("transaction record: {e}"))
    }
}

/// The timestamp at which a stored record says that its transaction is staged, if it is: for those who look at a store from outside.
pub fn staged_at(bytes: &[u8]) -> Option<Timestamp> {
    match Record::decode(bytes).ok()?.status {
        Status::Staging { at, .. } => Some(at),
        _ => None,
    }
}
