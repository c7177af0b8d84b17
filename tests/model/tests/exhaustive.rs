//! Every scenario, explored to its end; and every rule taken out, found missing.
//!
//! `cargo test -p meridian-model -- --nocapture` prints the states explored and the time. CI explores a slice (fewer ticks); `scripts/verify model` sets
//! `MERIDIAN_MODEL_WHOLE` and explores everything. `MERIDIAN_MODEL=name` runs one scenario, `MERIDIAN_RULE=name` takes out one rule and tells the story.

use std::time::Instant;

use meridian_model::scenario::all;
use meridian_model::{Rule, Scenario, invariants};
use stateright::{Checker as _, Model as _};

const THREADS: usize = 2;
const EVERYTHING: &str = "every invariant holds";

/// Explores a scenario; the steps to the first violation, and how many states were looked at.
fn explore(scenario: &Scenario) -> (Option<String>, usize, f64) {
    let started = Instant::now();
    let checker = scenario.clone().checker().threads(THREADS).spawn_bfs().join();
    let states = checker.unique_state_count();
    let story = checker.discovery(EVERYTHING).map(|path| {
        let last = path.last_state().clone();
        let name = invariants::broken(scenario, &last).unwrap_or("?");
        let steps: Vec<String> = path.into_actions().iter().map(|action| format!("    {action:?}")).collect();
        format!("{name}\n{}\n  {last:?}", steps.join("\n"))
    });
    (story, states, started.elapsed().as_secs_f64())
}

#[test]
fn every_invariant_holds_in_every_state() {
    let (only, whole) = (std::env::var("MERIDIAN_MODEL").ok(), std::env::var_os("MERIDIAN_MODEL_WHOLE").is_some());
    let (mut total, started) = (0, Instant::now());
    for scenario in all().into_iter().filter(|s| only.as_ref().is_none_or(|name| s.name == name)) {
        let scenario = if whole { scenario } else { scenario.cut_to_slice() };
        let (story, states, seconds) = explore(&scenario);
        println!("{:<40} {states:>9} states {seconds:>6.1} s", scenario.name);
        total += states;
        if let Some(story) = story {
            panic!("{}: {story}", scenario.name);
        }
    }
    println!("{total} states in {:.1} s", started.elapsed().as_secs_f64());
}

/// The scenario that shows the absence of each rule to a client.
const SHOWN_BY: [(Rule, &str); 17] = [
    (Rule::StartAtLatest, "causal"),
    (Rule::ReadIntents, "recovery"),
    (Rule::ReplyRule, "causal"),
    (Rule::TimestampCache, "skew"),
    (Rule::Validation, "skew"),
    (Rule::LockValidation, "locked and not written"),
    (Rule::NewestVersion, "lost update"),
    (Rule::RecordFirst, "recovery"),
    (Rule::RecoveryCas, "recovery"),
    (Rule::Prevention, "recovery"),
    (Rule::PushRecord, "pushes"),
    (Rule::Replay, "recovery"),
    (Rule::SeenVersions, "causal"),
    (Rule::LeasePromise, "lease change, readers"),
    (Rule::VotePromise, "lease change, readers"),
    (Rule::LowWater, "lease change"),
    (Rule::HandOver, "planned move"),
];

#[test]
fn every_rule_is_missed_when_it_is_gone() {
    let only = std::env::var("MERIDIAN_RULE").ok();
    let mut unnoticed = Vec::new();
    for (rule, name) in SHOWN_BY.into_iter().filter(|(rule, _)| only.as_ref().is_none_or(|name| format!("{rule:?}") == *name)) {
        let scenario = Scenario::named(name).unwrap_or_else(|| panic!("no scenario {name}"));
        let (story, states, seconds) = explore(&scenario.without(rule));
        let found = story.as_deref().and_then(|story| story.lines().next()).unwrap_or("NOT NOTICED");
        println!("without {:<16} {name:<28} {states:>9} states {seconds:>6.1} s: {found}", format!("{rule:?}"));
        if only.is_some() {
            println!("{}", story.clone().unwrap_or_default());
        }
        if story.is_none() {
            unnoticed.push(rule);
        }
    }
    assert!(unnoticed.is_empty(), "nothing noticed the absence of {unnoticed:?}");
    assert_eq!(SHOWN_BY.len(), Rule::ALL.len());
}
