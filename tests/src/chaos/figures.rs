//! What clients of the gateways that a fault does not touch saw of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::fault::{Fault, Kind};
use crate::history::{Outcome, Txn};

/// Figures of one fault; times in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// What broke.
    pub fault: String,
    /// Its kind.
    pub kind: &'static str,
    /// From the fault until every gateway committed again after it was healed.
    pub window: f64,
    /// Transactions that ended in the window at gateways that the fault does not touch.
    pub acknowledged: usize,
    /// Serialization failures and deadlocks there.
    pub retryable: usize,
    /// Unknown outcomes there (`40003`), which count as violations, too.
    pub unknown: usize,
    /// 99th percentile of latency there, of acknowledged transactions.
    pub p99: Option<f64>,
    /// The same in the quiet time before.
    pub p99_before: Option<f64>,
    /// Longest time without an acknowledged transaction at one of them.
    pub longest_gap: Option<f64>,
    /// From the fault to the answer of the first transaction that began after it, at the first of them.
    pub first_commit: Option<f64>,
    /// The same at the last of them.
    pub last_first_commit: Option<f64>,
    /// From the beginning of healing until every gateway committed again.
    pub recovery: f64,
    /// Errors that these gateways must not return, by text.
    pub violations: BTreeMap<String, usize>,
    /// What makes the campaign fail.
    #[serde(skip)]
    pub wrong: Vec<String>,
}

fn millis(nanos: u64) -> f64 {
    (nanos / 10_000) as f64 / 100.0
}

fn p99(mut latencies: Vec<u64>) -> Option<f64> {
    latencies.sort_unstable();
    latencies.get(latencies.len().saturating_sub(1) * 99 / 100).copied().map(millis)
}

impl Figures {
    /// Of a fault: (quiet since, struck, healing since, healed).
    pub fn of(fault: &Fault, txns: &[Txn], untouched: &[usize], (quiet, struck, healing, healed): (u64, u64, u64, u64)) -> Self {
        let at = |txn: &&Txn| untouched.contains(&(txn.gateway as usize));
        let ended = |txn: &Txn| txn.completed.unwrap_or(u64::MAX);
        let within: Vec<&Txn> = txns.iter().filter(at).filter(|txn| ended(txn) >= struck && txn.invoked < healed).collect();
        let ok = |txn: &&&Txn| txn.outcome == Outcome::Ok;
        let latency = |txn: &Txn| ended(txn) - txn.invoked;
        let before = txns.iter().filter(at).filter(|t| t.outcome == Outcome::Ok && t.invoked >= quiet && ended(t) < struck);
        let mut violations: BTreeMap<String, usize> = BTreeMap::new();
        let (mut retryable, mut unknown) = (0, 0);
        for txn in &within {
            let error = txn.error.as_deref().unwrap_or_default();
            match txn.outcome {
                Outcome::Ok => {}
                _ if error.starts_with("40001") || error.starts_with("40P01") => retryable += 1,
                // Two clients that add the same element of a list meet at its primary key.
                Outcome::Fail if error.starts_with("23505") => retryable += 1,
                // An unknown outcome among them: whoever can reach a majority can find out.
                _ => {
                    unknown += usize::from(error.starts_with("40003"));
                    *violations.entry(error.to_owned()).or_default() += 1;
                }
            }
        }
        let firsts = untouched.iter().filter_map(|gateway| {
            let began_after = within.iter().filter(ok).filter(|t| t.gateway == *gateway as u64 && t.invoked >= struck);
            began_after.map(|t| ended(t) - struck).min()
        });
        let firsts: Vec<u64> = firsts.collect();
        let gaps = untouched.iter().map(|gateway| {
            let mut ends: Vec<u64> = within.iter().filter(ok).filter(|t| t.gateway == *gateway as u64).map(|t| ended(t)).collect();
            ends.push(healed);
            ends.sort_unstable();
            let mut last = struck;
            ends.into_iter().map(|end| end.saturating_sub(std::mem::replace(&mut last, end))).max().unwrap_or(0)
        });
        Figures {
            fault: fault.to_string(),
            kind: fault.kind().name(),
            window: millis(healed - struck),
            acknowledged: within.iter().filter(ok).count(),
            retryable,
            unknown,
            p99: p99(within.iter().filter(ok).map(|t| latency(t)).collect()),
            p99_before: p99(before.map(latency).collect()),
            longest_gap: gaps.max().map(millis),
            first_commit: firsts.iter().min().copied().map(millis),
            last_first_commit: firsts.iter().max().copied().map(millis),
            recovery: millis(healed.saturating_sub(healing)),
            wrong: violations.iter().map(|(error, count)| format!("{count} × {error}")).collect(),
            violations,
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |v: Option<f64>| v.map_or("–".into(), |v| format!("{v:.0}"));
        write!(
            f,
            "  {:<44} {:>5} ok {:>4} retry {:>3} unknown; ms: p99 {} (before {}), longest gap {}, first commit {} to {}, recovery {:.0}",
            self.fault,
            self.acknowledged,
            self.retryable,
            self.unknown,
            show(self.p99),
            show(self.p99_before),
            show(self.longest_gap),
            show(self.first_commit),
            show(self.last_first_commit),
            self.recovery
        )?;
        for what in &self.wrong {
            write!(f, "\n    ✗ {what}")?;
        }
        Ok(())
    }
}

/// All faults of one kind; times in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// How many.
    pub faults: usize,
    /// Acknowledged at gateways that they do not touch.
    pub acknowledged: usize,
    /// Serialization failures there.
    pub retryable: usize,
    /// Unknown outcomes there.
    pub unknown: usize,
    /// Other errors there.
    pub violations: usize,
    /// Median and worst p99 there.
    pub p99: (f64, f64),
    /// Median and worst longest gap there.
    pub longest_gap: (f64, f64),
    /// Median and worst time to the first commit at the last of them.
    pub failover: (f64, f64),
    /// Median and worst recovery.
    pub recovery: (f64, f64),
}

fn median_and_worst(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values.get(values.len() / 2).copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0))
}

impl Summary {
    /// Sums up.
    pub fn by_kind(figures: &[Figures]) -> BTreeMap<&'static str, Summary> {
        let mut summary = BTreeMap::new();
        for kind in Kind::ALL {
            let of: Vec<&Figures> = figures.iter().filter(|f| f.kind == kind.name()).collect();
            if of.is_empty() {
                continue;
            }
            let sum = |what: fn(&Figures) -> usize| of.iter().map(|f| what(f)).sum();
            let pair = |what: fn(&Figures) -> Option<f64>| median_and_worst(of.iter().filter_map(|f| what(f)));
            let summed = Summary {
                faults: of.len(),
                acknowledged: sum(|f| f.acknowledged),
                retryable: sum(|f| f.retryable),
                unknown: sum(|f| f.unknown),
                violations: sum(|f| f.violations.values().sum()),
                p99: pair(|f| f.p99),
                longest_gap: pair(|f| f.longest_gap),
                failover: pair(|f| f.last_first_commit),
                recovery: pair(|f| Some(f.recovery)),
            };
            summary.insert(kind.name(), summed);
        }
        summary
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = |(median, worst): (f64, f64)| format!("{median:.0}/{worst:.0}");
        write!(
            f,
            "{:>4} | {:>7} | {:>5} | {:>4} | {:>4} | {:>11} | {:>11} | {:>11} | {:>11}",
            self.faults,
            self.acknowledged,
            self.retryable,
            self.unknown,
            self.violations,
            pair(self.p99),
            pair(self.longest_gap),
            pair(self.failover),
            pair(self.recovery)
        )
    }
}
