//! Every mechanism of the protocol taken out, and noticed: what the simulator does not find missing, it does not prove present.
//!
//! Each control names the faults and the workload shape in which its absence shows soonest; seeds run from 1 until one of them finds something wrong. The
//! figures in `docs/verification.md` are what `cargo test --test controls -- --nocapture` prints. The model (`tests/model`) has switches of the same names.
#![cfg(debug_assertions)]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use meridian_clock::controls::Control;
use meridian_tests::sim::{Fault, Overrides, Plan, run, watch_panics};

/// Seeds after which an absence counts as unnoticed, unless `MERIDIAN_SEEDS` says otherwise.
const SEEDS_MAX: u64 = 200;

/// How to see that a mechanism is gone.
struct Case {
    control: Control,
    overrides: Overrides,
}

fn case(control: Control, change: impl FnOnce(&mut Overrides)) -> Case {
    // No collection but where it is what counts.
    let mut overrides = Overrides { controls: vec![control], ttl: Some(0), ..Overrides::default() };
    change(&mut overrides);
    Case { control, overrides }
}

fn with(faults: &[Fault]) -> impl FnOnce(&mut Overrides) {
    let faults = faults.to_vec();
    move |overrides| overrides.faults = Some(faults)
}

/// Only the clients that this fault is aimed at.
fn held_commits(overrides: &mut Overrides) {
    overrides.faults = Some(vec![Fault::HeldCommit]);
    (overrides.clients, overrides.millis) = (Some(0), Some(12_000));
}

fn cases() -> Vec<Case> {
    let plain = |_: &mut Overrides| {};
    vec![
        case(Control::StartAtLatest, plain),
        case(Control::ReadIntents, plain),
        case(Control::ReplyRule, plain),
        case(Control::TimestampCache, plain),
        case(Control::Validation, plain),
        case(Control::LockValidation, plain),
        case(Control::NewestVersion, plain),
        case(Control::PushRecord, with(&[Fault::StreamStall])),
        case(Control::LogSync, plain),
        case(Control::LeasePromise, plain),
        case(Control::VotePromise, plain),
        case(Control::SeenVersions, |o| {
            o.faults = Some(vec![Fault::Skew, Fault::Jump]);
            (o.clock_error, o.keys, o.clients) = (Some(60), Some(2), Some(3));
        }),
        case(Control::Checksums, with(&[Fault::Corrupt])),
        case(Control::Replay, with(&[Fault::IsolateLeader, Fault::Replay])),
        case(Control::Prevention, held_commits),
        case(Control::RecordFirst, with(&[Fault::CrashResolving])),
        case(Control::RecoveryCas, held_commits),
        case(Control::SplitBinding, with(&[Fault::StalledSplit])),
        case(Control::LowWater, |o| {
            o.faults = Some(vec![Fault::IsolateLeader]);
            o.slow = Some(0.4);
        }),
        case(Control::HandOver, |o| {
            o.faults = Some(vec![Fault::LeaseStorm, Fault::LeaseMove]);
            o.slow = Some(0.3);
        }),
        case(Control::ClosedTimestamp, |o| {
            o.faults = Some(vec![Fault::StreamStall]);
            (o.slow, o.millis) = (Some(0.3), Some(12_000));
        }),
        case(Control::Protection, |o| {
            o.faults = Some(Vec::new());
            (o.ttl, o.slow) = (Some(1000), Some(0.3));
        }),
    ]
}

/// The first seed that finds something wrong, and what.
fn first_found(case: &Case, seeds: u64) -> Option<(u64, String)> {
    let (next, found, enough) = (AtomicU64::new(1), Mutex::new(None::<(u64, String)>), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    let report = run(Plan::with(seed, case.overrides.clone()), false);
                    if let Some(what) = report.wrong.first() {
                        enough.store(true, Ordering::Relaxed);
                        let mut found = found.lock().unwrap();
                        if found.as_ref().is_none_or(|(other, _)| seed < *other) {
                            *found = Some((seed, what.lines().next().unwrap_or_default().chars().take(110).collect()));
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

#[test]
fn every_mechanism_is_missed_when_it_is_gone() {
    watch_panics();
    // The name of one, or `all`, as without it.
    let asked = std::env::var("MERIDIAN_CONTROL").ok().filter(|name| name != "all");
    let wanted = |control: Control| asked.as_deref().is_none_or(|name| Control::named(name) == Some(control));
    let seeds = std::env::var("MERIDIAN_SEEDS").map_or(SEEDS_MAX, |n| n.parse().expect("MERIDIAN_SEEDS is a number"));
    let mut unnoticed = Vec::new();
    for case in cases().iter().filter(|case| wanted(case.control)) {
        match first_found(case, seeds) {
            Some((seed, what)) => println!("{:<16} seed {seed:>3} {}: {what}", format!("{:?}", case.control), case.overrides),
            None => unnoticed.push(case.control),
        }
    }
    assert!(unnoticed.is_empty(), "{seeds} seeds found nothing without {unnoticed:?}");
    let missing: Vec<Control> = Control::ALL.into_iter().filter(|control| !cases().iter().any(|case| case.control == *control)).collect();
    assert!(missing.is_empty(), "no test takes out {missing:?}");
    assert!(cases().iter().any(|case| wanted(case.control)), "there is no control {asked:?}");
}
