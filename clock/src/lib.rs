//! Time, and the other inputs that make a run repeatable.
//!
//! Everything above this crate sees the outside world through four narrow doors, so that a whole cluster can run inside
//! one seeded simulator. Three of them are here: physical time ([`PhysicalClock`], read only by [`Clock`]), randomness
//! ([`Entropy`]) and the birth and death of tasks ([`TaskGroup`]). The others are the disk (`meridian-storage`) and the
//! transport (`meridian-replication`).
//!
//! Sleeping is `tokio::time`, which the simulator pauses and advances itself; `std::time::Instant`, `SystemTime::now`
//! and `rand::rng()` appear nowhere above this crate.

mod clock;
pub mod controls;
mod entropy;
mod physical;
mod task;
mod timestamp;

pub use clock::{Clock, ClockError, ClockInterval};
pub use entropy::{Entropy, Rng};
pub use physical::{BoundedClock, KernelClock, ManualClock, PhysicalClock, PhysicalReading, SharedHostClock, SimulatedClock};
pub use task::TaskGroup;
pub use timestamp::Timestamp;
