//! Where physical time comes from: the time seam.
//!
//! A source answers with a reading and a bound on its error: true time lies in `reading ± error`. Kernel, configured bound,
//! shared host clock and the simulator's clocks all come through [`PhysicalClock`].
//!
//! | source | reading | error |
//! |---|---|---|
//! | [`KernelClock`] | `clock_adjtime` | the kernel's maximum error, kept by chrony or ntpd; refuses while the kernel says "unsynchronised" |
//! | [`BoundedClock`] | `CLOCK_REALTIME` | stated by the operator |
//! | [`SharedHostClock`] | `CLOCK_REALTIME` | zero: every node reads the very same clock |
//! | [`ManualClock`] | set by hand | set by hand |
//! | [`SimulatedClock`] | tokio's (virtual) time + base + skew | declared; the simulator may lie with a skew beyond it |
//!
//! Readings are whole nanoseconds rounded down, so a source of a nonzero error counts that nanosecond into it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

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
///
/// The kernel itself grows its maximum error by 500 ppm between the daemon's updates and declares itself unsynchronised
/// beyond 16 seconds, so a daemon that died is seen here first as a growing error, then as [`ClockError::Unsynchronised`].
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelClock;

impl PhysicalClock for KernelClock {
    fn read(&self) -> Result<PhysicalReading, ClockError> {
        let (state, timex) = adjtime()?;
        let unsynchronised = timex.status & libc::STA_UNSYNC != 0 || state == libc::TIME_ERROR;
        if unsynchronised {
            return Err(ClockError::Unsynchronised);
        }
        let fraction = timex.time.tv_usec.max(0) as u64;
        let nanos = if timex.status & libc::STA_NANO != 0 { fraction } else { fraction * 1_000 };
        let grain = if timex.status & libc::STA_NANO != 0 { 1 } else { 1_000 };
        Ok(PhysicalReading {
            unix_nanos: timex.time.tv_sec.max(0) as u64 * 1_000_000_000 + nanos,
            error_nanos: (timex.maxerror.max(0) as u64) * 1_000 + grain,
        })
    }
}

/// Reads the kernel's clock discipline; changes nothing (`modes` is zero).
#[allow(unsafe_code)]
fn adjtime() -> Result<(libc::c_int, libc::timex), ClockError> {
    // SAFETY: `timex` is plain old data for which all zeroes is valid, and the kernel only writes into the struct it is given.
    let (state, timex) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::clock_adjtime(libc::CLOCK_REALTIME, &mut timex), timex)
    };
    if state < 0 {
        return Err(ClockError::Source(format!("clock_adjtime: {}", std::io::Error::last_os_error())));
    }
    Ok((state, timex))
}

/// `CLOCK_REALTIME`. The only place of the workspace that asks the operating system for the time of day.
fn realtime() -> Result<u64, ClockError> {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_err(|_| ClockError::Source("the host clock stands before 1970".into()))?;
    u64::try_from(since.as_nanos()).map_err(|_| ClockError::Source("the host clock stands after 2554".into()))
}

/// The kernel's clock with an error bound stated by the operator (`--clock-bound`).
#[derive(Clone, Copy, Debug)]
pub struct BoundedClock {
    bound: Duration,
}

impl BoundedClock {
    /// The host clock of which the operator knows that it is never further than `bound` from true time.
    pub fn new(bound: Duration) -> Self {
        BoundedClock { bound }
    }
}

impl PhysicalClock for BoundedClock {
    fn read(&self) -> Result<PhysicalReading, ClockError> {
        Ok(PhysicalReading { unix_nanos: realtime()?, error_nanos: saturating_nanos(self.bound).saturating_add(1) })
    }
}

/// The kernel's clock of a host that all nodes share: error zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct SharedHostClock;

impl PhysicalClock for SharedHostClock {
    fn read(&self) -> Result<PhysicalReading, ClockError> {
        Ok(PhysicalReading { unix_nanos: realtime()?, error_nanos: 0 })
    }
}

/// A clock set by hand, for tests and for injected skew.
#[derive(Debug)]
pub struct ManualClock {
    unix_nanos: AtomicU64,
    skew_nanos: AtomicI64,
    error_nanos: AtomicU64,
    failing: AtomicBool,
}

impl ManualClock {
    /// A clock that stands at `unix_nanos` with error and skew zero. It must lie after 2024, the epoch of [`crate::Timestamp`].
    pub fn new(unix_nanos: u64) -> Self {
        ManualClock {
            unix_nanos: AtomicU64::new(unix_nanos),
            skew_nanos: AtomicI64::new(0),
            error_nanos: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        }
    }

    /// Sets the time before skew; backwards too.
    pub fn set(&self, unix_nanos: u64) {
        self.unix_nanos.store(unix_nanos, Ordering::SeqCst);
    }

    /// Moves the time forward.
    pub fn advance(&self, by: Duration) {
        self.unix_nanos.fetch_add(saturating_nanos(by), Ordering::SeqCst);
    }

    /// Reads `nanos` ahead of (or behind) the time that was set.
    pub fn set_skew(&self, nanos: i64) {
        self.skew_nanos.store(nanos, Ordering::SeqCst);
    }

    /// Declares this error bound; whether the skew keeps to it is the caller's choice.
    pub fn set_error(&self, error: Duration) {
        self.error_nanos.store(saturating_nanos(error), Ordering::SeqCst);
    }

    /// Makes reads fail as an undisciplined kernel's do, or work again.
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }
}

impl PhysicalClock for ManualClock {
    fn read(&self) -> Result<PhysicalReading, ClockError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(ClockError::Unsynchronised);
        }
        Ok(PhysicalReading {
            unix_nanos: self.unix_nanos.load(Ordering::SeqCst).saturating_add_signed(self.skew_nanos.load(Ordering::SeqCst)),
            error_nanos: self.error_nanos.load(Ordering::SeqCst),
        })
    }
}

/// A node's clock inside the simulator: it runs with `tokio::time`, which a paused runtime advances itself.
///
/// All nodes of one simulation share `origin`, so their true time is the same and only skew and declared error differ.
#[derive(Debug)]
pub struct SimulatedClock {
    origin: Instant,
    base_unix_nanos: u64,
    skew_nanos: AtomicI64,
    error_nanos: AtomicU64,
    failing: AtomicBool,
}

impl SimulatedClock {
    /// A clock that read `base_unix_nanos` at `origin`, with skew and error zero. The base must lie after 2024.
    pub fn new(origin: Instant, base_unix_nanos: u64) -> Self {
        SimulatedClock {
            origin,
            base_unix_nanos,
            skew_nanos: AtomicI64::new(0),
            error_nanos: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        }
    }

    /// True simulated time, which no node can see.
    pub fn true_unix_nanos(&self) -> u64 {
        self.base_unix_nanos.saturating_add(saturating_nanos(self.origin.elapsed()))
    }

    /// Reads `nanos` ahead of (or behind) true time. Within the declared error nothing may go wrong; beyond it the node lies.
    pub fn set_skew(&self, nanos: i64) {
        self.skew_nanos.store(nanos, Ordering::SeqCst);
    }

    /// The present skew.
    pub fn skew(&self) -> i64 {
        self.skew_nanos.load(Ordering::SeqCst)
    }

    /// Declares this error bound.
    pub fn set_error(&self, error: Duration) {
        self.error_nanos.store(saturating_nanos(error), Ordering::SeqCst);
    }

    /// Makes reads fail as an undisciplined kernel's do, or work again.
    pub fn set_failing(&self, failing: bool) {
        self.failing.store(failing, Ordering::SeqCst);
    }
}

impl PhysicalClock for SimulatedClock {
    fn read(&self) -> Result<PhysicalReading, ClockError> {
        if self.failing.load(Ordering::SeqCst) {
            return Err(ClockError::Unsynchronised);
        }
        Ok(PhysicalReading {
            unix_nanos: self.true_unix_nanos().saturating_add_signed(self.skew()),
            error_nanos: self.error_nanos.load(Ordering::SeqCst),
        })
    }
}

fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers_or_says_why_not() {
        match KernelClock.read() {
            Ok(reading) => {
                let host = realtime().unwrap();
                assert!(reading.unix_nanos.abs_diff(host) < 60_000_000_000, "{reading:?} against {host}");
                assert!(reading.error_nanos > 0);
            }
            Err(ClockError::Unsynchronised | ClockError::Source(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn host_clocks_differ_only_in_their_error() {
        let shared = SharedHostClock.read().unwrap();
        let bounded = BoundedClock::new(Duration::from_millis(5)).read().unwrap();
        assert_eq!(shared.error_nanos, 0);
        assert_eq!(bounded.error_nanos, 5_000_001);
        assert!(bounded.unix_nanos >= shared.unix_nanos);
    }

    #[tokio::test(start_paused = true)]
    async fn simulated_time_runs_with_the_paused_runtime() {
        let clock = SimulatedClock::new(Instant::now(), 1_800_000_000_000_000_000);
        tokio::time::advance(Duration::from_millis(7)).await;
        clock.set_skew(-2_000_000);
        clock.set_error(Duration::from_millis(3));
        assert_eq!(clock.read().unwrap(), PhysicalReading { unix_nanos: 1_800_000_000_005_000_000, error_nanos: 3_000_000 });
    }
}
