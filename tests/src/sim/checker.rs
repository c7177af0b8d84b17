//! Is there one order of all transactions that explains everything, and agrees with real time?
//!
//! The versions of each key and their order are read from the replicas at the end. With them the common checker ([`crate::history`]) looks for cycles; here
//! stands what only the simulator can know: timestamps, true time, and what is there at the end.
//!
//! A transaction with an unknown outcome took effect if one of its versions is there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use meridian_clock::Timestamp;
use meridian_storage::Key;

use super::history::{Op, Outcome, Record, TxnId, VersionId};
use crate::history::{self, Header, History, Txn, check_ordered};

/// The versions of every key, oldest first.
pub type Versions = BTreeMap<Key, Vec<(Timestamp, VersionId)>>;

/// What is wrong with a history; empty if nothing is.
pub fn check(records: &[Record], versions: &Versions) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut writers: BTreeMap<VersionId, (&Key, Timestamp)> = BTreeMap::new();
    for (key, list) in versions {
        for (ts, version) in list {
            if let Some((other, _)) = writers.insert(*version, (key, *ts)) {
                wrong.push(format!("{version:?} is there twice: at {} and at {}", name(other), name(key)));
            }
        }
    }
    let effective = effects(records, &writers, &mut wrong);
    for (version, (key, _)) in &writers {
        let known = records.get(version.txn() as usize).is_some_and(|r| r.writes().any(|(k, v)| k == *key && v == *version));
        if !known {
            wrong.push(format!("{} holds {version:?}, which nobody wrote", name(key)));
        }
    }
    let orders = versions.iter().map(|(key, list)| (name(key), list.iter().map(|(_, version)| version.0 as i64).collect())).collect();
    wrong.extend(check_ordered(&history(records, &effective), &orders).anomalies.into_iter().map(|anomaly| anomaly.story));
    wrong
}

/// Which attempts took effect; none may be half there, acknowledged and missing, or reported as failed and there.
fn effects(records: &[Record], writers: &BTreeMap<VersionId, (&Key, Timestamp)>, wrong: &mut Vec<String>) -> BTreeSet<TxnId> {
    let mut effective = BTreeSet::new();
    for record in records {
        // Of several writes of one key the last counts.
        let last: BTreeMap<&Key, VersionId> = record.writes().collect();
        let (there, missing): (Vec<_>, Vec<_>) = last.iter().partition(|(_, version)| writers.contains_key(version));
        let stamps: BTreeSet<Timestamp> = there.iter().map(|(_, version)| writers[version].1).collect();
        if !there.is_empty() && !missing.is_empty() {
            wrong.push(format!("half there: {} lacks {missing:?}", story(record)));
        }
        if stamps.len() > 1 {
            wrong.push(format!("{} took effect at several timestamps: {stamps:?}", story(record)));
        }
        match &record.outcome {
            Outcome::Committed(at) => {
                if let Some((key, version)) = missing.first() {
                    wrong.push(format!("acknowledged but lost: {version:?} of {} of {}", name(key), story(record)));
                }
                if let Some(stamp) = stamps.first().filter(|stamp| *stamp != at) {
                    wrong.push(format!("{} was told {at} but took effect at {stamp}", story(record)));
                }
                // T1: inside its own real time.
                let inside = record.begun.1 <= *at && record.ended.is_some_and(|(_, end)| *at <= end);
                if !inside && !last.is_empty() {
                    wrong.push(format!("T1: {} committed at {at}, outside its own real time", story(record)));
                }
                effective.insert(record.id);
            }
            Outcome::Unknown(_) if !there.is_empty() => _ = effective.insert(record.id),
            Outcome::Unknown(_) => {}
            Outcome::Open | Outcome::Failed(_) => {
                if let Some((key, version)) = there.first() {
                    wrong.push(format!("did not commit but is there: {version:?} of {} of {}", name(key), story(record)));
                }
            }
        }
    }
    effective
}

/// The history in the common format, for the common checker: what took effect is acknowledged there (an outcome that its client does not know
/// never ends), everything else failed.
pub fn history(records: &[Record], effective: &BTreeSet<TxnId>) -> History {
    let txns = records.iter().map(|record| {
        let there = effective.contains(&record.id);
        let known = matches!(record.outcome, Outcome::Committed(_));
        Txn {
            process: record.id,
            gateway: record.gateway as u64,
            kind: if there && !known { format!("{} (unknown to its client)", record.kind) } else { record.kind.to_owned() },
            invoked: record.begun.0,
            completed: if known { record.ended.map(|(at, _)| at) } else { None },
            outcome: if there { history::Outcome::Ok } else { history::Outcome::Fail },
            error: None,
            ops: record
                .ops
                .iter()
                .map(|op| match op {
                    Op::Read(key, seen) => history::Op::Read(name(key), seen.map(|v| v.0 as i64)),
                    Op::Write(key, version) => history::Op::Write(name(key), version.0 as i64),
                })
                .collect(),
        }
    });
    History { header: Header { workload: "simulator".into(), ..Header::default() }, txns: txns.collect() }
}

fn name(key: &Key) -> String {
    String::from_utf8_lossy(&key[1..]).into_owned()
}

/// A transaction in a line.
pub fn story(record: &Record) -> String {
    let begun = record.begun.1;
    let mut text = format!("T{} ({} at gateway {}, begun {begun}", record.id, record.kind, record.gateway);
    if let Some((_, at)) = record.ended {
        let _ = write!(text, ", answered {at}");
    }
    let _ = match &record.outcome {
        Outcome::Committed(at) => write!(text, ", committed at {at})"),
        other => write!(text, ", {other:?})"),
    };
    for op in record.ops.iter().take(12) {
        let _ = match op {
            Op::Read(key, Some(seen)) => write!(text, " r({}={seen:?})", name(key)),
            Op::Read(key, None) => write!(text, " r({}=∅)", name(key)),
            Op::Write(key, version) => write!(text, " w({}={version:?})", name(key)),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ts(n: u64) -> Timestamp {
        Timestamp::from_unix_nanos(1_800_000_000_000_000_000 + n * 1_000_000)
    }

    fn record(id: u64, begun: u64, ended: u64, at: u64, ops: Vec<Op>) -> Record {
        let outcome = Outcome::Committed(ts(at));
        Record { id, kind: "test", gateway: 0, begun: (begun, ts(begun)), ended: Some((ended, ts(ended))), outcome, ops }
    }

    fn key(k: &str) -> Key {
        Key::from(format!("\x10{k}"))
    }

    #[test]
    fn a_stale_read_and_a_write_skew_are_cycles_and_a_fair_history_is_none() {
        let (a, b) = (key("a"), key("b"));
        let first = record(0, 1, 2, 1, vec![Op::Write(a.clone(), VersionId::new(0, 0)), Op::Write(b.clone(), VersionId::new(0, 1))]);
        let skew = |id, begun, ended, at, read: &Key, seen, write: &Key| {
            record(id, begun, ended, at, vec![Op::Read(read.clone(), Some(seen)), Op::Write(write.clone(), VersionId::new(id, 0))])
        };
        let (a0, b0) = (VersionId::new(0, 0), VersionId::new(0, 1));
        let versions: Versions = BTreeMap::from([
            (a.clone(), vec![(ts(1), a0), (ts(5), VersionId::new(1, 0))]),
            (b.clone(), vec![(ts(1), b0), (ts(6), VersionId::new(2, 0))]),
        ]);
        let skewed = [first.clone(), skew(1, 3, 7, 5, &b, b0, &a), skew(2, 4, 8, 6, &a, a0, &b)];
        assert_eq!(check(&skewed, &versions).len(), 1);
        let fair = [first.clone(), skew(1, 3, 7, 5, &b, b0, &a), skew(2, 4, 8, 6, &a, VersionId::new(1, 0), &b)];
        assert_eq!(check(&fair, &versions), Vec::<String>::new());
        let late = record(2, 6, 8, 6, vec![Op::Read(a.clone(), Some(a0))]);
        let stale = [first.clone(), skew(1, 3, 5, 5, &b, b0, &a), late];
        let versions_then = BTreeMap::from([(a.clone(), versions[&a].clone()), (b.clone(), vec![(ts(1), b0)])]);
        let wrong = check(&stale, &versions_then);
        assert!(wrong.len() == 1 && wrong[0].contains("stale read"), "{wrong:?}");
        let mut lost = fair.clone();
        lost[2].ops.push(Op::Write(key("c"), VersionId::new(2, 1)));
        assert_eq!(check(&lost, &versions).len(), 2, "half there, and acknowledged but lost");
    }
}
