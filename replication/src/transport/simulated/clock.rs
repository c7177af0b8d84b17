//! The physical clock of a simulated node: virtual (tokio) time, with a skew and an error bound set by the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use meridian_clock::{ClockError, PhysicalClock, PhysicalReading};
use tokio::time::Instant;

/// Where simulated time begins: 2025-01-01T00:00:00Z.
const START_UNIX_NANOS: u64 = 1_735_689_600_000_000_000;

/// The true time of a simulation, from which each node's clock is off by its own skew. Clones share the same start.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedTime {
    start: Instant,
}

impl SimulatedTime {
    /// Time begins now. Must be called inside a tokio runtime (with paused time, for determinism).
    pub fn start() -> Self {
        SimulatedTime { start: Instant::now() }
    }

    /// A node's clock, exact at first, that promises to be off by at most `error`.
    pub fn clock(&self, error: Duration) -> Arc<SimulatedClock> {
        let error_nanos = AtomicU64::new(u64::try_from(error.as_nanos()).unwrap_or(u64::MAX));
        Arc::new(SimulatedClock { time: *self, skew_nanos: AtomicI64::new(0), error_nanos })
    }

    /// Nanoseconds since the Unix epoch, truly.
    pub fn unix_nanos(&self) -> u64 {
        START_UNIX_NANOS + self.start.elapsed().as_nanos() as u64
    }
}

/// A physical clock on virtual time.
#[derive(Debug)]
pub struct SimulatedClock {
    time: SimulatedTime,
    skew_nanos: AtomicI64,
    error_nanos: AtomicU64,
}

impl SimulatedClock {
    /// From now on this clock is off true time by `nanos`. Beyond the error bound it breaks its promise: that is a fault, too.
    pub fn set_skew_nanos(&self, nanos: i64) {
        self.skew_nanos.store(nanos, Relaxed);
    }

    /// From now on this clock promises this bound.
    pub fn set_error(&self, error: Duration) {
        self.error_nanos.store(u64::try_from(error.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl PhysicalClock for SimulatedClock {
    fn read(&self) -> Result<PhysicalReading, ClockError> {
        let unix_nanos = self.time.unix_nanos().saturating_add_signed(self.skew_nanos.load(Relaxed));
        Ok(PhysicalReading { unix_nanos, error_nanos: self.error_nanos.load(Relaxed) })
    }
}
