//! The bounded-uncertainty clock of one node.
//!
//! Two answers, kept apart on purpose:
//!
//! ```text
//!   now()            [earliest ──── reading ──── latest]    true time is inside; from the physical source alone
//!   tick()/observe() ────────────────●──●●───●───────▶      hybrid reading: only rises, carries causality between nodes
//! ```
//! Nothing that peers say moves the interval, and a timestamp that lies in the future (a `latest`, a commit timestamp) is
//! never observed: it would ratchet every clock of the cluster forward.
//!
//! The hybrid state is `hlc-gen`'s generator whose own clock is never set, so its `update(x)` is an atomic
//! `state = max(state, x) + 1` on the 64 bits of a [`Timestamp`]. The carry out of the low 22 bits, which the crate reports as
//! an error, is done here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hlc_gen::error::HlcError;
use hlc_gen::source::ManualClock as NeverSet;
use hlc_gen::{HlcGenerator, HlcTimestamp};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::timestamp::LOGICAL_BITS;
use crate::{PhysicalClock, PhysicalReading, Timestamp};

/// How much the error of the last good reading grows while the source gives no new one: what Linux assumes of an undisciplined oscillator.
const DRIFT_PER_MILLION: u64 = 500;
/// The last good reading is remembered at most this often, in nanoseconds, so that the hot path takes no lock.
const REMEMBER_EVERY_NANOS: u64 = 1_000_000;
/// Below this rest a waiter gives its turn to other tasks instead of arming a timer, whose grain is a millisecond.
const YIELD_BELOW: Duration = Duration::from_micros(50);
/// So many turns; after that the timer, since virtual time does not move while tasks only yield.
const YIELDS_MAX: u32 = 32;
/// A waiter looks at the clock at least this often, because clocks can be stepped.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// What a clock refuses.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ClockError {
    /// The kernel says that nobody disciplines its clock, so no bound on its error is known.
    #[error(
        "the kernel clock is not synchronised; run chrony or ntpd, or state a bound with --clock-bound, or --shared-host-clock if all nodes run on this host"
    )]
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

struct Inner {
    source: Arc<dyn PhysicalClock>,
    hybrid: HlcGenerator<NeverSet>,
    /// Where the interval comes from while the source fails.
    last_good: Mutex<(PhysicalReading, Instant)>,
    /// `unix_nanos` of `last_good`, to see without the lock whether it is time to remember a newer one.
    last_good_nanos: AtomicU64,
    /// Whether the failure of the source has been reported; reset when it reads again.
    failure_reported: AtomicBool,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Clock {
    /// A clock over `source`. Fails if the source has no reading at all.
    pub fn new(source: Arc<dyn PhysicalClock>) -> Result<Self, ClockError> {
        let reading = source.read()?;
        let start = Timestamp::from_unix_nanos(reading.unix_nanos);
        if HlcTimestamp::try_from(start.as_raw()).is_err() || start == Timestamp::ZERO {
            return Err(ClockError::Source(format!("the clock reads {} ns, outside the years 2024 to 2109", reading.unix_nanos)));
        }
        Ok(Clock {
            inner: Arc::new(Inner {
                source,
                hybrid: HlcGenerator::manual(0),
                last_good: Mutex::new((reading, Instant::now())),
                last_good_nanos: AtomicU64::new(reading.unix_nanos),
                failure_reported: AtomicBool::new(false),
            }),
        })
    }

    /// An interval that contains true time, from the physical source alone: neither earlier answers nor peers move it.
    ///
    /// If the source fails after the start, the last good reading is carried on by the monotonic clock with an error that
    /// grows by 500 ppm, and a warning is logged once: slower, never wrong.
    pub fn now(&self) -> ClockInterval {
        let reading = self.inner.physical();
        ClockInterval {
            earliest: Timestamp::from_unix_nanos(reading.unix_nanos.saturating_sub(reading.error_nanos)),
            latest: Timestamp::from_unix_nanos(reading.unix_nanos.saturating_add(reading.error_nanos)),
        }
    }

    /// The present bound on the clock's error, in nanoseconds: half the width of [`Clock::now`].
    pub fn error_nanos(&self) -> u64 {
        self.inner.physical().error_nanos
    }

    /// A hybrid logical reading: above every reading given before, every timestamp observed, and at or above the physical reading.
    pub fn tick(&self) -> Timestamp {
        self.inner.raise(Timestamp::from_unix_nanos(self.inner.physical().unix_nanos))
    }

    /// A hybrid reading for a message to a peer, with the error the peer should allow for: how far the reading may lie ahead of
    /// true time. That is more than this node's own error when a third node with a wider bound has moved the hybrid part.
    pub fn stamp(&self) -> (Timestamp, u64) {
        let reading = self.tick();
        let ahead = reading.since(self.now().earliest);
        (reading, u64::try_from(ahead.as_nanos()).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// Merges the hybrid reading of a peer. Refuses one beyond `latest` plus the peer's own error `peer_error_nanos`.
    ///
    /// With the pair of the peer's [`Clock::stamp`] this is exactly the test whether the two intervals share an instant.
    pub fn observe(&self, reading: Timestamp, peer_error_nanos: u64) -> Result<(), ClockError> {
        let latest = self.now().latest;
        if reading > latest.plus(Duration::from_nanos(peer_error_nanos)) {
            let ahead_micros = u64::try_from(reading.since(latest).as_micros()).unwrap_or(u64::MAX);
            return Err(ClockError::OutOfBounds { reading, latest, ahead_micros });
        }
        self.inner.raise(reading);
        Ok(())
    }

    /// Returns once `now().earliest > ts` (the reply rule T3, and lease waits).
    pub async fn wait_until_past(&self, ts: Timestamp) {
        let mut yields = 0;
        loop {
            let earliest = self.now().earliest;
            if earliest > ts {
                return;
            }
            let rest = ts.since(earliest) + Duration::from_nanos(1);
            if rest < YIELD_BELOW && yields < YIELDS_MAX {
                yields += 1;
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(rest.min(SLEEP_MAX)).await;
            }
        }
    }
}

impl Inner {
    fn physical(&self) -> PhysicalReading {
        match self.source.read() {
            Ok(reading) => {
                self.remember(reading);
                reading
            }
            Err(error) => self.extrapolate(&error),
        }
    }

    fn remember(&self, reading: PhysicalReading) {
        let last = self.last_good_nanos.load(Ordering::Relaxed);
        if reading.unix_nanos.abs_diff(last) < REMEMBER_EVERY_NANOS {
            return;
        }
        // Whoever finds it locked leaves it to the one who holds it.
        if let Some(mut last_good) = self.last_good.try_lock() {
            *last_good = (reading, Instant::now());
            self.last_good_nanos.store(reading.unix_nanos, Ordering::Relaxed);
        }
        if self.failure_reported.load(Ordering::Relaxed) && self.failure_reported.swap(false, Ordering::Relaxed) {
            tracing::info!(error_nanos = reading.error_nanos, "the clock source reads again");
        }
    }

    fn extrapolate(&self, error: &ClockError) -> PhysicalReading {
        let (reading, at) = *self.last_good.lock();
        let elapsed = u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let grown = reading.error_nanos.saturating_add(elapsed / 1_000_000 * DRIFT_PER_MILLION).saturating_add(DRIFT_PER_MILLION);
        if !self.failure_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, error_nanos = grown, "the clock source fails: carrying its last reading on with a growing error bound");
        }
        PhysicalReading { unix_nanos: reading.unix_nanos.saturating_add(elapsed), error_nanos: grown }
    }

    /// `state = max(state, to) + 1`, carrying into the milliseconds when the low bits are full.
    fn raise(&self, to: Timestamp) -> Timestamp {
        let mut to = to;
        loop {
            // Only readings beyond the year 2109 do not convert; the hybrid state then goes on from where it is.
            let incoming = HlcTimestamp::try_from(to.as_raw()).unwrap_or_else(|_| self.hybrid.timestamp());
            match self.hybrid.update(&incoming) {
                Ok(raised) => return Timestamp::from_raw(raised.as_u64()),
                Err(HlcError::LogicalClockExceedsMax(..)) => {
                    // The fraction of this millisecond is used up: go on at the start of the next one.
                    let full = self.hybrid.timestamp().as_u64().max(incoming.as_u64());
                    to = Timestamp::from_raw(((full >> LOGICAL_BITS) + 1) << LOGICAL_BITS);
                }
                Err(_) => return Timestamp::from_raw(self.hybrid.timestamp().as_u64()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ManualClock, SimulatedClock};
    use proptest::prelude::*;

    const BASE: u64 = 1_800_000_000_000_000_000;

    fn manual(error: Duration) -> (Arc<ManualClock>, Clock) {
        let source = Arc::new(ManualClock::new(BASE));
        source.set_error(error);
        (source.clone(), Clock::new(source).unwrap())
    }

    #[test]
    fn the_interval_is_the_source_and_nothing_else() {
        let (source, clock) = manual(Duration::from_millis(2));
        clock.observe(Timestamp::from_unix_nanos(BASE + 1_500_000), 0).unwrap();
        let now = clock.now();
        assert_eq!(now.earliest, Timestamp::from_unix_nanos(BASE - 2_000_000));
        assert_eq!(now.latest, Timestamp::from_unix_nanos(BASE + 2_000_000));
        source.set(BASE - 10_000_000);
        assert_eq!(clock.now().latest, Timestamp::from_unix_nanos(BASE - 8_000_000), "it may go backwards");
    }

    #[test]
    fn a_peer_out_of_bounds_is_refused_and_leaves_no_trace() {
        let (_, clock) = manual(Duration::from_millis(1));
        let far = Timestamp::from_unix_nanos(BASE + 2_000_001);
        let before = clock.tick();
        assert!(matches!(clock.observe(far, 1_000_000), Err(ClockError::OutOfBounds { ahead_micros: 1000, .. })));
        assert!(clock.tick() < far);
        clock.observe(far, 1_000_001).unwrap();
        let after = clock.tick();
        assert!(before < far && far < after);
    }

    #[test]
    fn a_wide_node_does_not_get_its_narrow_listeners_refused() {
        let (wide_source, wide) = manual(Duration::from_millis(10));
        wide_source.set_skew(9_000_000);
        let (_, narrow) = manual(Duration::from_millis(1));
        let (_, third) = manual(Duration::from_millis(1));
        let (reading, error) = wide.stamp();
        narrow.observe(reading, error).unwrap();
        let (reading, error) = narrow.stamp();
        assert!(reading > Timestamp::from_unix_nanos(BASE + 9_000_000));
        third.observe(reading, error).unwrap();
    }

    #[test]
    fn the_logical_part_carries() {
        let (_, clock) = manual(Duration::from_millis(5));
        let full = Timestamp::from_raw(Timestamp::from_unix_nanos(BASE).as_raw() | ((1 << LOGICAL_BITS) - 1));
        clock.observe(full.prev(), 0).unwrap();
        let next = clock.tick();
        assert!(next > full);
        assert_eq!(next.as_raw() >> LOGICAL_BITS, (full.as_raw() >> LOGICAL_BITS) + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_source_widens_the_interval() {
        let source = Arc::new(SimulatedClock::new(Instant::now(), BASE));
        source.set_error(Duration::from_millis(1));
        let clock = Clock::new(source.clone()).unwrap();
        source.set_failing(true);
        tokio::time::advance(Duration::from_secs(100)).await;
        let now = clock.now();
        let truth = Timestamp::from_unix_nanos(source.true_unix_nanos());
        assert!(now.earliest < truth && truth < now.latest);
        assert!(now.latest.since(now.earliest) >= Duration::from_millis(102));
        source.set_failing(false);
        assert_eq!(clock.now().latest.since(clock.now().earliest), Duration::from_millis(2));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_past_the_timestamp_in_virtual_time() {
        let source = Arc::new(SimulatedClock::new(Instant::now(), BASE));
        source.set_error(Duration::from_millis(3));
        let clock = Clock::new(source).unwrap();
        for ahead in [0, 100, 20_000, 700_000, 10_000_000, 250_000_000] {
            let ts = clock.now().latest.plus(Duration::from_nanos(ahead));
            let started = Instant::now();
            clock.wait_until_past(ts).await;
            assert!(clock.now().earliest > ts);
            assert!(started.elapsed() <= Duration::from_nanos(ahead) + Duration::from_millis(8));
        }
    }

    #[test]
    fn a_clock_without_a_reading_does_not_start() {
        let source = Arc::new(ManualClock::new(BASE));
        source.set_failing(true);
        assert_eq!(Clock::new(source).unwrap_err(), ClockError::Unsynchronised);
        assert!(Clock::new(Arc::new(ManualClock::new(1_000))).is_err(), "before 2024");
    }

    proptest! {
        /// Whatever the source does and whatever peers send within bounds, ticks rise and stay above all that was merged.
        #[test]
        fn ticks_rise(steps in proptest::collection::vec((any::<bool>(), 0u64..5_000_000), 1..60)) {
            let (source, clock) = manual(Duration::from_millis(5));
            let mut floor = Timestamp::ZERO;
            for (peer, offset) in steps {
                if peer {
                    let reading = Timestamp::from_unix_nanos(BASE + offset);
                    if clock.observe(reading, 0).is_ok() {
                        floor = floor.max(reading);
                    }
                } else {
                    source.set(BASE + offset);
                }
                let tick = clock.tick();
                prop_assert!(tick > floor);
                prop_assert!(tick >= clock.now().earliest);
                floor = tick;
            }
        }

        /// The format loses less than a nanosecond and keeps the order.
        #[test]
        fn timestamps_keep_order(a in BASE..BASE * 2, delta in 0u64..10_000_000) {
            let (x, y) = (Timestamp::from_unix_nanos(a), Timestamp::from_unix_nanos(a + delta));
            prop_assert_eq!(x < y, delta > 0);
            prop_assert!(a - x.unix_nanos() <= 1);
            prop_assert!(y.since(x).as_nanos().abs_diff(u128::from(delta)) <= 1);
        }
    }
}
