//! Where physical time comes from: the time seam.
//!
//! A source answers with a reading and a bound on its error: true time lies in `reading ± error`. Kernel, configured bound,
//! shared host clock and the simulator's manual clock all come through [`PhysicalClock`].

use std::fmt;

use crate::ClockError;

/// One reading of a physical clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhysicalReading {
    /// Nanoseconds since the Unix epoch.
    pub unix_nanos: u64,
    /// True time differs from `unix_nanos` by at most this many nanoseconds.
    pub error_nanos: u64,
}

/// The time seam. Implementations must be cheap (they are read for every transaction) and may go backwards; [`crate::Clock`] copes.
pub trait PhysicalClock: Send + Sync + fmt::Debug + 'static {
    /// The present reading, or why there is none (for instance a kernel clock that nobody disciplines).
    fn read(&self) -> Result<PhysicalReading, ClockError>;
}

/// The kernel's clock with the error that chrony or ntpd maintains (`clock_adjtime`).
#[derive(Debug)]
pub struct KernelClock;
/// The kernel's clock with an error bound stated by the operator.
#[derive(Debug)]
pub struct BoundedClock;
/// The kernel's clock of a host that all nodes share: error zero.
#[derive(Debug)]
pub struct SharedHostClock;
/// A clock set by hand, for the simulator and for injected skew.
#[derive(Debug)]
pub struct ManualClock;
