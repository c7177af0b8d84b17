//! The bounded-uncertainty clock of one node.

use std::sync::Arc;

use crate::{PhysicalClock, Timestamp};

/// What a clock refuses.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClockError {
    /// The kernel says that nobody disciplines its clock, so no bound on its error is known.
    #[error("the kernel clock is not synchronised; run chrony or ntpd, or state a bound with --clock-bound, or --shared-host-clock if all nodes run on this host")]
    Unsynchronised,
    /// A peer's reading lies further ahead than both bounds allow.
    #[error("a peer's clock reading {reading} is {ahead_micros} µs ahead of this node's latest {latest}, more than the bounds allow")]
    OutOfBounds { reading: Timestamp, latest: Timestamp, ahead_micros: u64 },
    /// The source could not be read.
    #[error("reading the clock: {0}")]
    Source(String),
}

/// True time lies in `[earliest, latest]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockInterval {
    /// True time is at or after this.
    pub earliest: Timestamp,
    /// True time is at or before this.
    pub latest: Timestamp,
}

/// A node's clock: a bounded physical interval, and a hybrid logical reading that carries causality between nodes.
///
/// Cheap to clone; clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    source: Arc<dyn PhysicalClock>,
}

impl Clock {
    /// A clock over `source`. Fails if the source has no reading at all.
    pub fn new(source: Arc<dyn PhysicalClock>) -> Result<Self, ClockError> {
        source.read()?;
        Ok(Clock { inner: Arc::new(Inner { source }) })
    }

    /// An interval that contains true time, from the physical source alone: neither earlier answers nor peers move it.
    pub fn now(&self) -> ClockInterval {
        todo!("interval of {:?}", self.inner.source)
    }

    /// A hybrid logical reading: above every reading given before, every timestamp observed, and at or above the physical reading.
    pub fn tick(&self) -> Timestamp {
        todo!()
    }

    /// Merges the hybrid reading of a peer. Refuses one beyond `latest` plus the peer's own error `peer_error_nanos`.
    pub fn observe(&self, reading: Timestamp, peer_error_nanos: u64) -> Result<(), ClockError> {
        todo!("{reading} {peer_error_nanos}")
    }

    /// Returns once `now().earliest > ts` (the reply rule T3, and lease waits).
    pub async fn wait_until_past(&self, ts: Timestamp) {
        todo!("{ts}")
    }
}
