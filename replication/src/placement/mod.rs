//! Which node holds which replica.
//!
//! There is one way for a replica to come to be: a range begins with one replica, and its leaseholder adds others, one step at a time, as
//! nodes join; it replaces those of nodes that stay dead in the same way. Nothing is planned centrally. [`allocator`] is the decision, a pure
//! function of a range and of what is known of the nodes; [`ReplicateQueue`] asks it for every range whose lease its node holds and carries
//! the answer out through [`crate::api::RangeAdmin`].
//!
//! ```text
//!   1. finish   a learner or joint configuration that somebody left behind
//!   2. add      while there are fewer voters than wanted and than nodes allow
//!   3. replace  a voter on a dead node
//!   4. remove   a voter beyond what is wanted: dead first, then what diversity misses least
//!   5. spread   swap a voter for one on a node that makes the range survive more (region, then zone, then node)
//!   6. balance  swap a voter from a full node to an emptier one of the same worth
//!   7. lease    move it to a voter whose node holds clearly fewer
//! ```

pub mod allocator;
mod queue;
#[cfg(test)]
mod tests;

pub use allocator::{Action, Candidate, Policy};
pub use queue::{PlacementStatus, QueueOptions, ReplicateQueue};
