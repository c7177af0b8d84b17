//! Whole clusters under faults, from seeds: the slice that runs in CI. Longer campaigns: `scripts/verify simulate`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use meridian_tests::sim::seeds::regressions;
use meridian_tests::sim::{Plan, run, watch_panics};

/// Seeds of the slice, unless `MERIDIAN_SIM_SEEDS` says otherwise.
const SEEDS: u64 = 300;
/// Where the slice begins.
const FIRST: u64 = 1;

/// Runs all plans, two at a time, and panics with what was wrong.
fn all_right(plans: Vec<Plan>) {
    watch_panics();
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(plan) = plans.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let report = run(plan.clone(), false);
                    if !report.wrong.is_empty() {
                        failures.lock().unwrap().push(format!("{report}\n  replay: {}", plan.replay()));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {} seeds failed:\n{}", failures.len(), plans.len(), failures.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 9, 14, 69] {
        let (one, two) = (run(Plan::of(seed), true), run(Plan::of(seed), true));
        let differs = one.trace.iter().zip(&two.trace).position(|(a, b)| a != b);
        assert_eq!(differs.map(|at| (&one.trace[at], &two.trace[at])), None, "seed {seed}");
        assert_eq!(one.trace_hash, two.trace_hash, "seed {seed}");
        assert!(one.trace.len() > 1000);
    }
}

#[test]
fn seeds_that_once_failed() {
    all_right(regressions().into_iter().map(|regression| Plan::with(regression.seed, regression.overrides)).collect());
}

#[test]
fn a_slice_of_seeds() {
    let seeds = std::env::var("MERIDIAN_SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(SEEDS);
    all_right((FIRST..FIRST + seeds).map(Plan::of).collect());
}
