//! How an attempt id is made (C1), and what can be read off it.
//!
//! ```text
//!  127          96 95                              32 31           0
//! ┌───────────────┬──────────────────────────────────┬──────────────┐
//! │ coordinator   │ L of the transaction's first try │ counter      │
//! └───────────────┴──────────────────────────────────┴──────────────┘
//! ```
//! The coordinator's node is in it, so whoever meets an intent or a lock knows whom to ask without a lookup. The age is that of
//! the *transaction*, not of the attempt: a deadlock victim that begins again does not become younger and younger.

use meridian_clock::Timestamp;
use meridian_replication::api::NodeId;
use meridian_storage::mvcc::AttemptId;

/// No transaction: requests of the system itself (recovery, resolution, range lookups) carry it.
pub const NOBODY: AttemptId = AttemptId(0);

/// A new id. `counter` must not repeat on `node` within one reading of the clock.
pub fn make(node: NodeId, started: Timestamp, counter: u32) -> AttemptId {
    AttemptId((u128::from(node.0) << 96) | (u128::from(started.as_raw()) << 32) | u128::from(counter))
}

/// The node whose coordinator runs the attempt.
pub fn coordinator(attempt: AttemptId) -> NodeId {
    NodeId((attempt.0 >> 96) as u32)
}

/// When its transaction began first.
pub fn started(attempt: AttemptId) -> Timestamp {
    Timestamp::from_raw((attempt.0 >> 32) as u64)
}

/// Whether `a` is the better victim of a deadlock than `b`: the younger one, ties broken by id.
pub fn younger(a: AttemptId, b: AttemptId) -> bool {
    (started(a), a) > (started(b), b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back() {
        let id = make(NodeId(7), Timestamp::from_raw(u64::MAX - 3), 9);
        assert_eq!((coordinator(id), started(id)), (NodeId(7), Timestamp::from_raw(u64::MAX - 3)));
        assert!(younger(make(NodeId(1), Timestamp::from_raw(5), 0), make(NodeId(9), Timestamp::from_raw(4), 0)));
    }
}
