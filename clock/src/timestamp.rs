//! A point in time as every layer writes it: 64 bits, ordered as a `u64`.
//!
//! ```text
//!  63                                    22 21                    0
//! ┌────────────────────────────────────────┬───────────────────────┐
//! │ milliseconds since 2024-01-01T00:00Z   │ fraction of the ms,   │
//! │ (hlc-gen's epoch)                      │ 0.24 ns a tick        │
//! └────────────────────────────────────────┴───────────────────────┘
//! ```
//! The upper part of the low 22 bits is the fraction of the millisecond, so nobody ever waits out a millisecond because of
//! the format; the lowest bits double as the logical counter of the hybrid clock.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds between the Unix epoch and the epoch of `hlc-gen` (2024-01-01T00:00:00Z).
pub const EPOCH_UNIX_MILLIS: u64 = 1_704_067_200_000;
/// Bits below the millisecond.
pub const LOGICAL_BITS: u32 = 22;

/// A hybrid logical timestamp. `Ord` is the order of time; equal only if identical.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Before every timestamp that a clock can give.
    pub const ZERO: Timestamp = Timestamp(0);
    /// After every timestamp that a clock can give; usable as "no upper bound" when reading, never written.
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// The timestamp with exactly these bits.
    pub const fn from_raw(raw: u64) -> Self {
        Timestamp(raw)
    }

    /// The bits, whose unsigned order is the order of time.
    pub const fn as_raw(self) -> u64 {
        self.0
    }

    /// The timestamp of an instant given in nanoseconds since the Unix epoch; instants before 2024 saturate to [`Self::ZERO`].
    pub fn from_unix_nanos(nanos: u64) -> Self {
        let Some(since) = nanos.checked_sub(EPOCH_UNIX_MILLIS * 1_000_000) else { return Self::ZERO };
        let (millis, fraction) = (since / 1_000_000, since % 1_000_000);
        Timestamp((millis << LOGICAL_BITS) | ((fraction << LOGICAL_BITS) / 1_000_000))
    }

    /// Nanoseconds since the Unix epoch, rounded down.
    pub fn unix_nanos(self) -> u64 {
        let fraction = self.0 & ((1 << LOGICAL_BITS) - 1);
        ((self.0 >> LOGICAL_BITS) + EPOCH_UNIX_MILLIS) * 1_000_000 + ((fraction * 1_000_000) >> LOGICAL_BITS)
    }

    /// The least timestamp above this one (saturates at [`Self::MAX`]).
    pub const fn next(self) -> Self {
        Timestamp(self.0.saturating_add(1))
    }

    /// The greatest timestamp below this one (saturates at [`Self::ZERO`]).
    pub const fn prev(self) -> Self {
        Timestamp(self.0.saturating_sub(1))
    }

    /// This timestamp moved `by` into the future (saturating).
    pub fn plus(self, by: Duration) -> Self {
        Timestamp(self.0.saturating_add(ticks(by)))
    }

    /// This timestamp moved `by` into the past (saturating).
    pub fn minus(self, by: Duration) -> Self {
        Timestamp(self.0.saturating_sub(ticks(by)))
    }

    /// The time from `earlier` to this timestamp; zero if it is not earlier.
    pub fn since(self, earlier: Timestamp) -> Duration {
        let ticks = u128::from(self.0.saturating_sub(earlier.0));
        Duration::from_nanos(((ticks * 1_000_000) >> LOGICAL_BITS) as u64)
    }
}

fn ticks(by: Duration) -> u64 {
    u64::try_from((by.as_nanos() << LOGICAL_BITS) / 1_000_000).unwrap_or(u64::MAX)
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Decimal form as used by `AS OF SYSTEM TIME`: Unix nanoseconds, a point, the logical remainder (all 22 low bits).
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Timestamp::ZERO => write!(f, "0"),
            Timestamp::MAX => write!(f, "max"),
            ts => write!(f, "{}.{:07}", ts.unix_nanos(), ts.0 & ((1 << LOGICAL_BITS) - 1)),
        }
    }
}
