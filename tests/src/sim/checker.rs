//! Is there one order of all transactions that explains everything, and agrees with real time?
//!
//! The versions of each key and their order are read from the replicas at the end. Then every transaction that took effect is a node of a graph:
//!
//! ```text
//!   wr   T wrote the version that U read            ww   U's version of a key follows T's
//!   rw   T read the version that U's replaced       rt   T was answered before U began
//! ```
//! The history is strictly serializable exactly if this graph has no cycle. Real time would need an edge for every pair, so it goes through a
//! chain of moments instead: answered → next moment → … → begun.
//!
//! A transaction with an unknown outcome took effect if one of its versions is there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use meridian_clock::Timestamp;
use meridian_storage::Key;

use super::history::{Op, Outcome, Record, TxnId, VersionId};

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
    for record in records.iter().filter(|r| effective.contains(&r.id)) {
        wrong.extend(inside(record, records, &writers));
    }
    for (version, (key, _)) in &writers {
        let known = records.get(version.txn() as usize).is_some_and(|r| r.writes().any(|(k, v)| k == *key && v == *version));
        if !known {
            wrong.push(format!("{} holds {version:?}, which nobody wrote", name(key)));
        }
    }
    if wrong.is_empty() {
        wrong.extend(cycle(records, versions, &effective));
    }
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

/// What one transaction saw must exist, and be the same each time it looked.
fn inside(record: &Record, records: &[Record], writers: &BTreeMap<VersionId, (&Key, Timestamp)>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut own: BTreeMap<&Key, Option<VersionId>> = BTreeMap::new();
    for op in &record.ops {
        match op {
            Op::Write(key, version) => _ = own.insert(key, Some(*version)),
            Op::Read(key, seen) => {
                if let Some(before) = own.get(key).filter(|before| *before != seen) {
                    wrong.push(format!("{} saw {seen:?} at {} after {before:?}", story(record), name(key)));
                }
                if let Some(version) = seen.filter(|v| v.txn() != record.id && !writers.contains_key(v)) {
                    let writer = records.get(version.txn() as usize).map(story).unwrap_or_default();
                    wrong.push(format!(
                        "{} saw {version:?} at {}, which never took effect (written by {writer})",
                        story(record),
                        name(key)
                    ));
                }
                own.insert(key, *seen);
            }
        }
    }
    wrong
}

#[derive(Clone, Debug)]
enum Why {
    Wr(Key, VersionId),
    Ww(Key, VersionId, VersionId),
    Rw(Key, Option<VersionId>, VersionId),
    Time,
}

struct Graph {
    /// Transactions by id, then moments.
    edges: Vec<Vec<(usize, Why)>>,
}

fn cycle(records: &[Record], versions: &Versions, effective: &BTreeSet<TxnId>) -> Option<String> {
    let mut graph = Graph { edges: vec![Vec::new(); records.len()] };
    let mut next: BTreeMap<(&Key, Option<VersionId>), VersionId> = BTreeMap::new();
    for (key, list) in versions {
        let mut before = None;
        for (_, version) in list {
            next.insert((key, before), *version);
            if let Some(before) = before {
                graph.edge(before, *version, Why::Ww(key.clone(), before, *version));
            }
            before = Some(*version);
        }
    }
    for record in records.iter().filter(|r| effective.contains(&r.id)) {
        for op in &record.ops {
            let Op::Read(key, seen) = op else { continue };
            if let Some(version) = seen {
                graph.edge(*version, VersionId::new(record.id, 0), Why::Wr(key.clone(), *version));
            }
            if let Some(after) = next.get(&(key, *seen)) {
                graph.edge(VersionId::new(record.id, 0), *after, Why::Rw(key.clone(), *seen, *after));
            }
        }
    }
    graph.real_time(records, effective);
    let (from, path) = graph.shortest_cycle(records.len())?;
    let mut text = String::from("not strictly serializable:");
    let mut at = from;
    let mut told = BTreeSet::new();
    for (to, why) in path {
        if at < records.len() && told.insert(at) {
            let _ = write!(text, "\n    {}", story(&records[at]));
        }
        match why {
            Why::Wr(key, v) => _ = write!(text, "\n      wrote {v:?} of {}, which was read by", name(&key)),
            Why::Ww(key, a, b) => _ = write!(text, "\n      wrote {a:?} of {}, replaced by {b:?} of", name(&key)),
            Why::Rw(key, a, b) => _ = write!(text, "\n      read {a:?} of {}, not yet replaced by {b:?} of", name(&key)),
            Why::Time if at < records.len() => text.push_str("\n      was answered before the start of"),
            Why::Time => {}
        }
        at = to;
    }
    if at < records.len() {
        let _ = write!(text, "\n    T{}", records[at].id);
    }
    Some(text)
}

impl Graph {
    fn edge(&mut self, from: VersionId, to: VersionId, why: Why) {
        let (from, to) = (from.txn() as usize, to.txn() as usize);
        if from != to {
            self.edges[from].push((to, why));
        }
    }

    /// answered → moment → next moment → … → begun.
    fn real_time(&mut self, records: &[Record], effective: &BTreeSet<TxnId>) {
        let mut events: BTreeMap<u64, (usize, bool)> = BTreeMap::new();
        for record in records.iter().filter(|r| effective.contains(&r.id)) {
            events.insert(record.begun.0, (record.id as usize, false));
            if let (Some((at, _)), Outcome::Committed(_)) = (record.ended, &record.outcome) {
                events.insert(at, (record.id as usize, true));
            }
        }
        let mut moment = None;
        for (txn, ends) in events.into_values() {
            if ends {
                let new = self.edges.len();
                self.edges.push(Vec::new());
                self.edges[txn].push((new, Why::Time));
                if let Some(old) = moment.replace(new) {
                    self.edges[old].push((new, Why::Time));
                }
            } else if let Some(moment) = moment {
                let moment: usize = moment;
                self.edges[moment].push((txn, Why::Time));
            }
        }
    }

    /// A cycle with the fewest transactions, as the steps from its first transaction back to it.
    fn shortest_cycle(&self, txns: usize) -> Option<(usize, Vec<(usize, Why)>)> {
        let component = self.components();
        let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
        component.iter().for_each(|c| *sizes.entry(*c).or_default() += 1);
        let suspects: Vec<usize> = (0..txns).filter(|n| sizes[&component[*n]] > 1).collect();
        let cycles = suspects.iter().take(200).filter_map(|start| Some((*start, self.back_to(*start, &component)?)));
        cycles.min_by_key(|(_, path)| path.iter().filter(|(to, _)| *to < txns).count())
    }

    /// The way from `start` back to it with the fewest steps between transactions: steps along moments cost nothing.
    fn back_to(&self, start: usize, component: &[usize]) -> Option<Vec<(usize, Why)>> {
        let mut came: BTreeMap<usize, (usize, Why)> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for (to, why) in &self.edges[at] {
                if component[*to] != component[start] || (came.contains_key(to)) {
                    continue;
                }
                came.insert(*to, (at, why.clone()));
                if *to == start {
                    let (mut path, mut node) = (Vec::new(), start);
                    loop {
                        let (from, why) = came[&node].clone();
                        path.push((node, why));
                        node = from;
                        if node == start {
                            break;
                        }
                    }
                    path.reverse();
                    return Some(path);
                }
                if matches!(why, Why::Time) { queue.push_front(*to) } else { queue.push_back(*to) }
            }
        }
        None
    }

    /// Strongly connected components (Tarjan's algorithm, without recursion).
    fn components(&self) -> Vec<usize> {
        const UNSEEN: usize = usize::MAX;
        let n = self.edges.len();
        let (mut index, mut low, mut component) = (vec![UNSEEN; n], vec![0; n], vec![UNSEEN; n]);
        let (mut stack, mut calls, mut count) = (Vec::new(), Vec::new(), 0);
        for root in 0..n {
            if index[root] != UNSEEN {
                continue;
            }
            calls.push((root, 0));
            while let Some((node, edge)) = calls.pop() {
                if edge == 0 && index[node] == UNSEEN {
                    (index[node], low[node]) = (count, count);
                    count += 1;
                    stack.push(node);
                }
                if let Some((to, _)) = self.edges[node].get(edge) {
                    calls.push((node, edge + 1));
                    if index[*to] == UNSEEN {
                        calls.push((*to, 0));
                    } else if component[*to] == UNSEEN {
                        low[node] = low[node].min(index[*to]);
                    }
                    continue;
                }
                if low[node] == index[node] {
                    while let Some(member) = stack.pop() {
                        component[member] = node;
                        if member == node {
                            break;
                        }
                    }
                }
                if let Some((parent, _)) = calls.last() {
                    low[*parent] = low[*parent].min(low[node]);
                }
            }
        }
        component
    }
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
        assert!(wrong.len() == 1 && wrong[0].contains("answered before"), "{wrong:?}");
        let mut lost = fair.clone();
        lost[2].ops.push(Op::Write(key("c"), VersionId::new(2, 1)));
        assert_eq!(check(&lost, &versions).len(), 2, "half there, and acknowledged but lost");
    }
}
