//! Anomalies as small stories: who did what and when, and why each must come before the next.

use std::fmt::Write as _;

use super::class::Class;
use super::format::{Op, Outcome, Txn};
use super::graph::{Cycle, kind};
use super::index::{Index, KeyId, TxnId};
use super::order::Label;

/// Values of a list or rows of a scan that are shown.
const SHOWN_MAX: usize = 12;

/// Why one transaction comes before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Because {
    Ww { key: KeyId, old: i64, new: i64 },
    Wr { key: KeyId, value: i64 },
    Rw { key: KeyId, seen: Option<i64>, new: i64, predicate: bool, timed: bool, unobserved: bool },
    RealTime,
}

/// An edge between transactions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub from: TxnId,
    pub to: TxnId,
    pub because: Because,
}

/// The edges between transactions of a cycle, without the bundles.
pub(super) fn steps(cycle: &Cycle, labels: &[Label], txns: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut entered: Option<(TxnId, u8, Label)> = None;
    for (from, edge) in cycle {
        let label = labels[edge.label as usize];
        if *from < txns {
            entered = Some((*from, edge.kind, label));
        }
        if edge.to < txns
            && let Some((from, entry, first)) = entered
        {
            let timed = entry == kind::TIMED_RW;
            let because = match (first, label) {
                (Label::Ww { key, old, .. }, Label::Wrote { value, .. }) => Because::Ww { key, old, new: value },
                (Label::Ww { key, old, new }, _) => Because::Ww { key, old, new },
                (Label::Wr { key, value }, _) => Because::Wr { key, value },
                (Label::Rw { seen, predicate, unobserved, .. }, Label::Wrote { key, value }) => {
                    Because::Rw { key, seen, new: value, predicate, timed, unobserved }
                }
                (Label::Rw { key: Some(key), seen, new: Some(new), predicate, unobserved }, _) => {
                    Because::Rw { key, seen, new, predicate, timed, unobserved }
                }
                _ => Because::RealTime,
            };
            steps.push(Step { from, to: edge.to, because });
        }
    }
    steps
}

/// The story of a cycle.
pub(super) fn cycle(index: &Index<'_>, class: Class, steps: &[Step]) -> String {
    let mut text = format!("{}: {} transactions, each before the next, in a circle", class.name(), steps.len());
    let name = |txn: TxnId| format!("T{}", steps.iter().position(|s| s.from == txn).map_or(0, |at| at + 1));
    for step in steps {
        let _ = write!(text, "\n  {} = {}", name(step.from), line(index.txn(step.from), index.header.per_millisecond));
    }
    for step in steps {
        let _ = write!(text, "\n  {} before {}: {}", name(step.from), name(step.to), reason(index, step, &name));
    }
    text
}

fn reason(index: &Index<'_>, step: &Step, name: &dyn Fn(TxnId) -> String) -> String {
    let (from, to) = (name(step.from), name(step.to));
    match step.because {
        Because::Ww { key, old, new } if old == new => format!("{from} wrote {} = {old}, and {to} wrote later", index.key(key)),
        Because::Ww { key, old, new } => format!("{from} wrote {} = {old}, and next in its order is {new} of {to}", index.key(key)),
        Because::Wr { key, value } => format!("{from} wrote {} = {value}, which {to} read", index.key(key)),
        Because::Rw { key, seen, new, predicate, timed, unobserved } => {
            let key = index.key(key);
            let saw = match seen {
                None if predicate => format!("{from} looked for rows and did not find {key}"),
                None => format!("{from} found nothing at {key}"),
                Some(seen) => format!("{from} read {key} = {seen}"),
            };
            if unobserved {
                format!("{saw} as the last, without {new}, which {to} added")
            } else if timed {
                format!("{saw}, which was there before {to} began, and {to} wrote {new}")
            } else {
                format!("{saw}, before {to} wrote {new}")
            }
        }
        Because::RealTime => {
            let unit = |at: u64| moment(at, index.header.per_millisecond);
            let (a, b) = (index.txn(step.from).completed.unwrap_or_default(), index.txn(step.to).invoked);
            format!("{from} was answered at {}, {to} began at {}", unit(a), unit(b))
        }
    }
}

/// The story of an anomaly that is no cycle.
pub(super) fn plain(index: &Index<'_>, class: Class, txns: &[TxnId], what: &str) -> String {
    let mut text = format!("{}: {what}", class.name());
    for (at, txn) in txns.iter().enumerate() {
        let _ = write!(text, "\n  T{} = {}", at + 1, line(index.txn(*txn), index.header.per_millisecond));
    }
    text
}

fn moment(at: u64, per_millisecond: u64) -> String {
    if per_millisecond == 0 { at.to_string() } else { format!("{:.3} ms", at as f64 / per_millisecond as f64) }
}

/// A transaction in a line.
pub fn line(txn: &Txn, per_millisecond: u64) -> String {
    let mut text = format!("process {} at gateway {}", txn.process, txn.gateway);
    if !txn.kind.is_empty() {
        let _ = write!(text, ", {}", txn.kind);
    }
    let end = txn.completed.map_or("?".into(), |at| moment(at, per_millisecond));
    let _ = write!(
        text,
        ", {} – {end}, {}:",
        moment(txn.invoked, per_millisecond),
        match txn.outcome {
            Outcome::Ok => "ok",
            Outcome::Fail => "failed",
            Outcome::Unknown => "unknown",
        }
    );
    for op in &txn.ops {
        let _ = match op {
            Op::Append(key, value) => write!(text, " append {key} {value};"),
            Op::List(key, values) => write!(text, " list {key} = [{}];", shorten(values.iter().map(i64::to_string), true)),
            Op::Write(key, value) => write!(text, " write {key} = {value};"),
            Op::Read(key, Some(value)) => write!(text, " read {key} = {value};"),
            Op::Read(key, None) => write!(text, " read {key}: no row;"),
            Op::Scan(prefix, rows) => {
                write!(text, " scan {prefix} = {{{}}};", shorten(rows.iter().map(|(k, v)| format!("{k}: {v}")), false))
            }
            Op::Balances(bank, rows) => {
                write!(text, " balances of {bank}: {};", shorten(rows.iter().map(|(k, v)| format!("{k} {v}")), false))
            }
        };
    }
    text.trim_end_matches(';').to_owned()
}

/// Of long lists the end (or the beginning) is shown.
fn shorten(items: impl Iterator<Item = String>, end: bool) -> String {
    let items: Vec<String> = items.collect();
    let more = items.len().saturating_sub(SHOWN_MAX);
    match (more, end) {
        (0, _) => items.join(", "),
        (_, true) => format!("… {more} more, {}", items[more..].join(", ")),
        (_, false) => format!("{}, … {more} more", items[..SHOWN_MAX].join(", ")),
    }
}
