//! The simulated network: the transport seam inside one process, on paused tokio time, from one seed.
//!
//! ```text
//!   send ──► queue, ordered by (time of arrival, sequence) ──► one task delivers ──► handlers of the receiving node
//! ```
//! One queue and one delivering task for the whole network: what happens depends on the seed and on nothing else, and the trace
//! ([`SimulatedNetwork::trace`]) is the same byte for byte. Within a stream (sender, receiver, class) a message never arrives before an earlier one;
//! between streams they overtake each other by jitter. Tokio's timers have a grain of a millisecond, so delays are multiples of it.
//!
//! Faults: cut links (one way or both), isolated nodes, flapping links, loss, replay, paused nodes, crashed nodes. What is on its way over
//! a link that is cut, or to a node that crashes, is lost; a call to a node that crashes ends in `NoAnswer` as soon as the news
//! can have travelled; a call whose request or answer is lost ends in `NoAnswer` after `break_after`, when a real connection would count as broken.
//! Once a link has been cut for `break_after`, senders know
//! (`Unreachable`). Messages held for a paused node arrive, in order, when it goes on.

mod clock;
mod network;
mod node;
#[cfg(test)]
mod tests;

pub use clock::{SimulatedClock, SimulatedTime};
pub use network::{SimulatedNetwork, SimulatedOptions};
pub use node::SimulatedTransport;
