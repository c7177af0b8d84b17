//! The checker: direct contradictions first, then cycles, from the plainest class to the subtlest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::class::Class;
use super::format::{History, Outcome};
use super::graph::{Search, kind};
use super::index::Index;
use super::{order, story};

/// Orders of versions that are known from elsewhere, by key.
pub type Orders = BTreeMap<String, Vec<i64>>;

/// Most anomalies of one class that are told.
const TOLD_MAX: usize = 10;

/// Something that no strictly serializable database does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// What kind.
    pub class: Class,
    /// Who did what, and why that cannot be.
    pub story: String,
    /// The transactions in it, by place in the history.
    pub txns: Vec<usize>,
}

/// What the checker found.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Everything that was wrong; empty is good.
    pub anomalies: Vec<Anomaly>,
    /// More of the same classes, not told.
    pub untold: usize,
    /// Transactions that took effect.
    pub effective: usize,
    /// Edges of the graph.
    pub edges: usize,
}

impl Verdict {
    /// Whether nothing was wrong.
    pub fn clean(&self) -> bool {
        self.anomalies.is_empty()
    }

    /// The classes that were found.
    pub fn classes(&self) -> BTreeSet<Class> {
        self.anomalies.iter().map(|a| a.class).collect()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for anomaly in &self.anomalies {
            writeln!(f, "{}", anomaly.story)?;
        }
        if self.untold > 0 {
            writeln!(f, "and {} more of these classes", self.untold)?;
        }
        Ok(())
    }
}

/// Checks a history.
pub fn check(history: &History) -> Verdict {
    check_ordered(history, &Orders::new())
}

/// Checks a history of which the orders of some registers' versions are known.
pub fn check_ordered(history: &History, orders: &Orders) -> Verdict {
    let mut index = Index::of(history);
    let made = order::edges(&mut index, orders);
    let mut found = std::mem::take(&mut index.anomalies);
    found.extend(cycles(&index, &made));
    let mut verdict =
        Verdict { effective: index.effective.iter().filter(|e| **e).count(), edges: made.graph.edges(), ..Verdict::default() };
    let mut told: BTreeMap<Class, usize> = BTreeMap::new();
    for anomaly in found {
        let count = told.entry(anomaly.class).or_default();
        *count += 1;
        if *count <= TOLD_MAX { verdict.anomalies.push(anomaly) } else { verdict.untold += 1 }
    }
    verdict
}

/// What is looked for, from the plainest to the subtlest.
const PASSES: [(u8, Search); 9] = [
    (kind::WW, Search::Shortest),
    (kind::WW | kind::WR, Search::Shortest),
    (kind::WW | kind::WR | kind::RW, Search::OneRw),
    (kind::WW | kind::WR | kind::RW, Search::Shortest),
    (kind::WW | kind::RT, Search::Shortest),
    (kind::WW | kind::WR | kind::RT, Search::Shortest),
    (kind::WW | kind::WR | kind::RW | kind::RT, Search::OneRw),
    (kind::WW | kind::WR | kind::RW | kind::TIMED_RW | kind::RT, Search::OneRw),
    (kind::WW | kind::WR | kind::RW | kind::TIMED_RW | kind::RT, Search::Shortest),
];

/// One cycle of each pass for each component that has one, unless an earlier pass told of the same transactions.
fn cycles(index: &Index<'_>, made: &order::Labelled) -> Vec<Anomaly> {
    let txns = index.txns.len() as u32;
    let all = PASSES[PASSES.len() - 1].0;
    if made.graph.components(all).0.is_empty() {
        return Vec::new();
    }
    let mut told: BTreeSet<Vec<usize>> = BTreeSet::new();
    let mut timeless: BTreeSet<u32> = BTreeSet::new();
    let mut found = Vec::new();
    for (mask, search) in PASSES {
        let (components, of) = made.graph.components(mask);
        let with_time = mask & kind::RT != 0;
        for members in &components {
            // Where something is wrong without real time, real time adds only noise.
            if with_time && members.iter().any(|m| timeless.contains(m)) {
                continue;
            }
            let Some(cycle) = made.graph.cycle(members, &of, mask, search) else { continue };
            let steps = story::steps(&cycle, &made.labels, txns);
            let class = Class::of(&steps, index);
            let of: Vec<usize> = steps.iter().map(|s| s.from as usize).collect();
            let mut set = of.clone();
            set.sort_unstable();
            if with_time {
                timeless.extend(members);
            }
            if told.insert(set) {
                found.push(Anomaly { class, story: story::cycle(index, class, &steps), txns: of });
            }
        }
        if mask == PASSES[3].0 && search == Search::Shortest {
            timeless.extend(components.iter().flatten());
        }
    }
    found
}

/// How many transactions ended how: acknowledged, failed, unknown.
impl History {
    /// How many transactions were acknowledged, failed, and stayed unknown.
    pub fn outcomes(&self) -> (usize, usize, usize) {
        let count = |wanted| self.txns.iter().filter(|t| t.outcome == wanted).count();
        (count(Outcome::Ok), count(Outcome::Fail), count(Outcome::Unknown))
    }
}
