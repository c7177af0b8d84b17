//! How far promises reach: farther as clocks become less certain, and never farther than the store remembers.
//!
//! A promise is judged by the promiser's `earliest`, a lease by the leader's `latest`; so of what a promise reaches, the widths of both clocks are lost
//! to the leader. While clocks are good that is little. When they worsen, promises reach farther by as much, in steps, so that leases go on and only become slower to
//! replace (L1 and L2 are untouched: they speak of where a promise ends, not of how far it reaches).
//!
//! A process that starts must hold still for as long as promises of the one before it may stand, whose clock may have been worse than its own. So the
//! farthest reach is made durable before it is first used, and taken back once every promise that used it has lapsed:
//!
//! ```text
//!   wanted > durable:  promise with `durable` ─▶ write `wanted`, sync ─▶ promise with `wanted`
//!   not used for as long as it reaches:  promise with less from now on ─▶ write less
//! ```

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Widths that the ordinary reach covers.
const COVERED: Duration = Duration::from_millis(100);
/// Steps beyond that: each costs a sync, when clocks worsen.
const STEP: Duration = Duration::from_millis(250);
/// The farthest: two clocks that are a second and a half off each. Worse ones do not lead.
const EXTRA_MAX: Duration = Duration::from_secs(6);

/// After a write that failed: a full disk is not asked again at every heartbeat, nor the log filled with it.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// How far the promises of one node reach, and how far they may.
#[derive(Debug)]
pub(crate) struct Reach {
    base: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the store remembers.
    durable: Duration,
    /// The farthest that was wanted since the last write.
    wanted: Duration,
    /// When more than `base` was last used.
    used: Option<Instant>,
    /// A write is under way.
    writing: bool,
    /// When the last write failed.
    failed: Option<Instant>,
}

impl Reach {
    pub(crate) fn new(base: Duration, durable: Duration) -> Self {
        Reach { base, state: Mutex::new(State { durable: durable.max(base), wanted: base, used: None, writing: false, failed: None }) }
    }

    /// The farthest that a promise of this store may reach.
    pub(crate) fn farthest(&self) -> Duration {
        self.state.lock().durable
    }

    /// How far a promise is to reach between two clocks of these widths in sum: as far as needed, if the store remembers it.
    pub(crate) fn of(&self, widths: Duration, at: Instant) -> Duration {
        if widths <= COVERED {
            return self.base;
        }
        let steps = u32::try_from(widths.as_nanos().div_ceil(STEP.as_nanos())).unwrap_or(u32::MAX);
        let wanted = self.base + STEP.saturating_mul(steps).min(EXTRA_MAX);
        let mut state = self.state.lock();
        state.wanted = state.wanted.max(wanted);
        state.used = Some(at);
        wanted.min(state.durable)
    }

    /// What must be written now, if anything; [`Reach::written`] is to follow. `quiet`: this node is past the silence that follows a start.
    pub(crate) fn to_write(&self, at: Instant, quiet: bool) -> Option<Duration> {
        let mut state = self.state.lock();
        if state.writing || state.failed.is_some_and(|failed| at.saturating_duration_since(failed) < TRY_AGAIN) {
            return None;
        }
        let write = if state.wanted > state.durable {
            state.wanted
        } else {
            let idle = state.used.is_none_or(|used| at.saturating_duration_since(used) > state.durable);
            if state.durable == self.base || !idle || !quiet {
                return None;
            }
            // Less from now on, whether or not the write succeeds.
            (state.durable, state.wanted) = (self.base, self.base);
            self.base
        };
        state.writing = true;
        Some(write)
    }

    /// The outcome of a write.
    pub(crate) fn written(&self, reach: Duration, done: bool, at: Instant) {
        let mut state = self.state.lock();
        state.writing = false;
        state.failed = (!done).then_some(at);
        if done {
            state.durable = state.durable.max(reach);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(450);
    const WIDE: Duration = Duration::from_millis(800);

    #[tokio::test(start_paused = true)]
    async fn reaches_no_farther_than_is_durable_and_comes_back() {
        let reach = Reach::new(BASE, Duration::ZERO);
        let now = Instant::now();
        assert_eq!(reach.of(COVERED, now), BASE);
        assert_eq!(reach.to_write(now, true), None);
        // Not before it is written.
        assert_eq!(reach.of(WIDE, now), BASE);
        let write = reach.to_write(now, true).unwrap();
        assert!(write >= BASE + WIDE);
        assert_eq!(reach.to_write(now, true), None, "one write at a time");
        reach.written(write, false, now);
        assert_eq!(reach.of(WIDE, now), BASE, "the write failed");
        assert_eq!(reach.to_write(now, true), None, "not at every heartbeat");
        tokio::time::advance(TRY_AGAIN).await;
        let now = Instant::now();
        assert_eq!(reach.to_write(now, true), Some(write));
        reach.written(write, true, now);
        assert_eq!((reach.of(WIDE, now), reach.farthest()), (write, write));
        // It is remembered while a promise that used it may stand.
        tokio::time::advance(write / 2).await;
        assert_eq!(reach.to_write(Instant::now(), true), None);
        tokio::time::advance(write).await;
        assert_eq!(reach.to_write(Instant::now(), false), None, "not while former promises may stand");
        assert_eq!(reach.to_write(Instant::now(), true), Some(BASE));
        assert_eq!(reach.farthest(), BASE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_successor_holds_still_for_as_long() {
        let reach = Reach::new(BASE, WIDE);
        assert_eq!(reach.farthest(), WIDE);
        assert_eq!(reach.of(Duration::from_secs(100), Instant::now()), WIDE);
        assert_eq!(reach.to_write(Instant::now(), false), Some(BASE + EXTRA_MAX));
    }
}
