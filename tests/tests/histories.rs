//! The checker itself: it finds what was planted, says why, and finds nothing where nothing is.
//!
//! Golden files: `tests/histories/NAME.jsonl` is a history, `NAME.story` what the checker says of it. `MERIDIAN_GOLDEN=update` writes the stories anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use meridian_tests::history::{Class, Header, History, Op, Outcome, Txn, check};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[test]
fn planted_anomalies_are_found_and_told() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("histories");
    let update = std::env::var("MERIDIAN_GOLDEN").is_ok_and(|v| v == "update");
    let mut names: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|e| e.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|e| e == "jsonl"));
    names.sort();
    let (mut classes, mut wrong) = (BTreeSet::new(), Vec::new());
    for path in names {
        let history = History::load(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let verdict = check(&history);
        classes.extend(verdict.classes());
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        assert_eq!(name.contains("clean"), verdict.clean(), "{name}: {verdict}");
        let story = if verdict.clean() { "nothing wrong\n".to_owned() } else { verdict.to_string() };
        let golden = path.with_extension("story");
        if update {
            std::fs::write(&golden, &story).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != story {
            wrong.push(format!("{name}: now told so:\n{story}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    use Class::*;
    let all = [
        NotUnique,
        Garbage,
        Duplicate,
        IncompatibleOrder,
        Internal,
        G1a,
        G1b,
        WrongTotal,
        G0,
        G1c,
        LostUpdate,
        LostAppend,
        GSingle,
        WriteSkew,
        LongFork,
        G2Item,
        G2,
        StaleRead,
        CausalReverse,
        NonMonotonic,
        Sequential,
        G0Realtime,
        G1cRealtime,
    ];
    let missing: Vec<&Class> = all.iter().filter(|class| !classes.contains(class)).collect();
    assert!(missing.is_empty(), "no golden history has {missing:?}");
}

fn register(k: u64) -> String {
    format!("r{}/{k}", k / 6)
}

/// A history that a strictly serializable database could have: each transaction takes effect at a moment inside its own time.
fn serial(seed: u64, txns: usize, keys: u64, processes: u64) -> History {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut lists: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut registers: BTreeMap<String, i64> = BTreeMap::new();
    let mut free = vec![0u64; processes as usize];
    let mut history = History { header: Header { workload: "made up".into(), ..Header::default() }, txns: Vec::new() };
    let mut value = 0;
    for at in 0..txns {
        let effect = 1000 + at as u64 * 10;
        let ready: Vec<u64> = (0..processes).filter(|p| free[*p as usize] < effect).collect();
        let Some(process) = (!ready.is_empty()).then(|| ready[rng.random_range(0..ready.len())]) else { continue };
        let invoked = rng.random_range(free[process as usize].max(effect.saturating_sub(80))..effect);
        let completed = effect + rng.random_range(1..80);
        free[process as usize] = completed + 1;
        let (outcome, applied) = match rng.random_range(0..20) {
            0 => (Outcome::Fail, false),
            1 => (Outcome::Unknown, true),
            2 => (Outcome::Unknown, false),
            _ => (Outcome::Ok, true),
        };
        // What a transaction that does not commit did is undone, last first.
        let mut undo: Vec<(String, Option<Option<i64>>)> = Vec::new();
        let mut ops = Vec::new();
        for _ in 0..rng.random_range(1..=4) {
            let k = rng.random_range(0..keys);
            value += 1;
            match rng.random_range(0..5) {
                0 => {
                    lists.entry(format!("l{k}")).or_default().push(value);
                    undo.push((format!("l{k}"), None));
                    ops.push(Op::Append(format!("l{k}"), value));
                }
                1 => ops.push(Op::List(format!("l{k}"), lists.get(&format!("l{k}")).cloned().unwrap_or_default())),
                2 => {
                    let before = registers.insert(register(k), value);
                    undo.push((register(k), Some(before)));
                    ops.push(Op::Write(register(k), value));
                }
                3 => ops.push(Op::Read(register(k), registers.get(&register(k)).copied())),
                _ => {
                    let prefix = format!("r{}/", k / 6);
                    let from = registers.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
                    let rows = from.map(|(k, v)| (k.clone(), *v)).collect();
                    ops.push(Op::Scan(prefix, rows));
                }
            }
        }
        if !applied {
            for (key, before) in undo.into_iter().rev() {
                match before {
                    None => _ = lists.get_mut(&key).and_then(Vec::pop),
                    Some(Some(value)) => _ = registers.insert(key, value),
                    Some(None) => _ = registers.remove(&key),
                }
            }
        }
        let completed = (outcome != Outcome::Unknown).then_some(completed);
        let (kind, error) = (String::new(), None);
        history.txns.push(Txn { process, gateway: process % 3, kind, invoked, completed, outcome, error, ops });
    }
    history
}

/// An acknowledged reader of a list, the place of its read, and the index of an element that was acknowledged before it began.
fn old_elements(history: &History) -> Vec<(usize, usize, usize)> {
    let mut done: BTreeMap<(&str, i64), u64> = BTreeMap::new();
    for txn in history.txns.iter().filter(|t| t.outcome == Outcome::Ok) {
        for op in &txn.ops {
            if let (Op::Append(key, value), Some(at)) = (op, txn.completed) {
                done.insert((key, *value), at);
            }
        }
    }
    let mut found = Vec::new();
    for (at, txn) in history.txns.iter().enumerate().filter(|(_, t)| t.outcome == Outcome::Ok) {
        for (place, op) in txn.ops.iter().enumerate() {
            let Op::List(key, values) = op else { continue };
            for (n, value) in values.iter().enumerate() {
                if done.get(&(key, *value)).is_some_and(|done| *done < txn.invoked) {
                    found.push((at, place, n));
                }
            }
        }
    }
    found
}

fn list_of(history: &mut History, at: usize, place: usize) -> &mut Vec<i64> {
    match &mut history.txns[at].ops[place] {
        Op::List(_, values) => values,
        other => panic!("{other:?} is no read of a list"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn serial_histories_are_clean_and_mutations_are_found(seed in any::<u64>(), keys in 1u64..12, processes in 1u64..8) {
        let history = serial(seed, 150, keys, processes);
        let verdict = check(&history);
        prop_assert!(verdict.clean(), "{verdict}");
        let mut rng = ChaCha8Rng::seed_from_u64(seed);

        // An element that was acknowledged before the reader began disappears from what it saw.
        let old = old_elements(&history);
        if !old.is_empty() {
            let (at, place, n) = old[rng.random_range(0..old.len())];
            let mut dropped = history.clone();
            list_of(&mut dropped, at, place).remove(n);
            prop_assert!(!check(&dropped).clean(), "dropped element {n} of op {place} of transaction {at}");
        }

        // Two elements change places, and somebody else saw them in order.
        let swapped = old.iter().find(|(at, place, n)| *n > 0 && old.iter().any(|(other, p, m)| {
            let key = |at: &usize, place: &usize| match &history.txns[*at].ops[*place] { Op::List(key, _) => key.clone(), _ => String::new() };
            other != at && m >= n && key(other, p) == key(at, place)
        }));
        if let Some((at, place, n)) = swapped {
            let mut swapped = history.clone();
            list_of(&mut swapped, *at, *place).swap(*n, n - 1);
            prop_assert!(!check(&swapped).clean(), "swapped {n} and the one before in op {place} of transaction {at}");
        }

        // A register's reader sees the version before one that was acknowledged before it began.
        if let Some((at, place, older)) = older_version(&history, &mut rng) {
            let mut stale = history.clone();
            if let Op::Read(_, seen) = &mut stale.txns[at].ops[place] {
                *seen = older;
            }
            prop_assert!(!check(&stale).clean(), "stale read of {older:?} in op {place} of transaction {at}");
        }
    }
}

/// A first read of a register by an acknowledged transaction, and an older value of it: one whose replacement was acknowledged before the reader began.
fn older_version(history: &History, rng: &mut ChaCha8Rng) -> Option<(usize, usize, Option<i64>)> {
    let mut versions: BTreeMap<&str, Vec<(i64, u64)>> = BTreeMap::new();
    for txn in history.txns.iter().filter(|t| t.outcome == Outcome::Ok) {
        let last: BTreeMap<&str, i64> =
            txn.ops.iter().filter_map(|op| if let Op::Write(key, value) = op { Some((key.as_str(), *value)) } else { None }).collect();
        for (key, value) in last {
            versions.entry(key).or_default().push((value, txn.completed.unwrap_or(u64::MAX)));
        }
    }
    let mut found = Vec::new();
    for (at, txn) in history.txns.iter().enumerate().filter(|(_, t)| t.outcome == Outcome::Ok) {
        for (place, op) in txn.ops.iter().enumerate() {
            let Op::Read(key, Some(_)) = op else { continue };
            let touched = txn.ops[..place].iter().any(|op| matches!(op, Op::Write(k, _) | Op::Read(k, _) if k == key));
            let scanned = txn.ops.iter().any(|op| matches!(op, Op::Scan(..)));
            let old = versions.get(key.as_str()).into_iter().flatten().filter(|(_, done)| *done < txn.invoked).count();
            if !touched && !scanned && old > 0 {
                found.push((at, place, None));
            }
        }
    }
    (!found.is_empty()).then(|| found[rng.random_range(0..found.len())])
}

#[test]
fn a_hundred_thousand_transactions_take_seconds() {
    let history = serial(7, 100_000, 2_000, 50);
    let began = Instant::now();
    let verdict = check(&history);
    let took = began.elapsed();
    println!("{} transactions, {} edges: {took:?}", history.txns.len(), verdict.edges);
    assert!(verdict.clean(), "{verdict}");
    let mut bytes = Vec::new();
    history.write(&mut bytes).unwrap();
    assert_eq!(History::read(bytes.as_slice()).unwrap(), history, "the format keeps everything");
}
