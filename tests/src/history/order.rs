//! From versions to edges.
//!
//! See the essay of [`super`] for where orders of versions come from. Every rule here is certain: it holds in each serial (for real-time edges: each
//! strictly serial) order that explains the reads.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap as HashMap;

use super::check::Orders;
use super::class::Class;
use super::format::Outcome;
use super::graph::{Builder, Graph, kind};
use super::index::{Index, KeyId, ListRead, TxnId};

/// What an edge means.
#[derive(Clone, Copy, Debug)]
pub(super) enum Label {
    Ww {
        key: KeyId,
        old: i64,
        new: i64,
    },
    Wr {
        key: KeyId,
        value: i64,
    },
    /// Into a bundle of writers, or (with `new`) to one.
    Rw {
        key: Option<KeyId>,
        seen: Option<i64>,
        new: Option<i64>,
        predicate: bool,
        unobserved: bool,
    },
    /// Out of a bundle, to the writer of this.
    Wrote {
        key: KeyId,
        value: i64,
    },
    RealTime,
    Bundle,
}

pub(super) struct Labelled {
    pub graph: Graph,
    pub labels: Vec<Label>,
}

struct Maker<'i, 'a> {
    index: &'i mut Index<'a>,
    builder: Builder,
    labels: Vec<Label>,
    /// Of each key the bundles of its writers by when they began, and those times.
    bundles: HashMap<KeyId, Vec<(u64, u32)>>,
}

const BUNDLE: u32 = 0;
const REAL_TIME: u32 = 1;

/// All edges of a history. Orders that are not given are inferred.
pub(super) fn edges(index: &mut Index<'_>, given: &Orders) -> Labelled {
    let builder = Builder::new(index.txns.len());
    let mut maker = Maker { index, builder, labels: vec![Label::Bundle, Label::RealTime], bundles: HashMap::default() };
    maker.lists();
    maker.registers(given);
    maker.scans();
    maker.real_time();
    Labelled { graph: maker.builder.build(), labels: maker.labels }
}

impl<'a> Maker<'_, 'a> {
    fn label(&mut self, label: Label) -> u32 {
        self.labels.push(label);
        self.labels.len() as u32 - 1
    }

    fn edge(&mut self, from: TxnId, to: u32, kind: u8, label: Label) {
        if from != to {
            let label = self.label(label);
            self.builder.edge(from, to, kind, label);
        }
    }

    /// Bundles over writers (with what they wrote), in the order given: each stands for its writer and all later ones.
    fn chain(&mut self, writers: &[(TxnId, KeyId, i64)]) -> Vec<u32> {
        let bundles: Vec<u32> = writers.iter().map(|_| self.builder.bundle()).collect();
        for (at, (writer, key, value)) in writers.iter().enumerate() {
            let label = self.label(Label::Wrote { key: *key, value: *value });
            self.builder.edge(bundles[at], *writer, kind::BUNDLE, label);
            if let Some(next) = bundles.get(at + 1) {
                self.builder.edge(bundles[at], *next, kind::BUNDLE, BUNDLE);
            }
        }
        bundles
    }

    fn lists(&mut self) {
        let mut longest: BTreeMap<KeyId, ListRead<'a>> = BTreeMap::new();
        for read in &self.index.lists {
            let best = longest.entry(read.key).or_insert(*read);
            if read.full.len() > best.full.len() {
                *best = *read;
            }
        }
        let mut appends: BTreeMap<KeyId, Vec<(TxnId, i64)>> = BTreeMap::new();
        for (txn, key, value) in &self.index.appends {
            appends.entry(*key).or_default().push((*txn, *value));
        }
        // Bundles over the appends that no read saw, which come after all those that were seen.
        let mut unseen: HashMap<KeyId, u32> = HashMap::default();
        for (key, appends) in appends {
            let order = longest.get(&key).map_or(&[][..], |read| read.full);
            if let Some(first) = self.list_order(key, order, appends) {
                unseen.insert(key, first);
            }
        }
        for read in std::mem::take(&mut self.index.lists) {
            let order = longest[&read.key];
            if !order.full.starts_with(read.full) {
                let what = format!("the first read {} = {:?}, the second {:?}", self.index.key(read.key), read.full, order.full);
                self.index.wrong(Class::IncompatibleOrder, vec![read.txn, order.txn], &what);
                continue;
            }
            self.list_read(&read, order.full, unseen.get(&read.key).copied());
        }
    }

    /// ww between the appends of a list; the first bundle of those that nobody saw.
    fn list_order(&mut self, key: KeyId, order: &[i64], appends: Vec<(TxnId, i64)>) -> Option<u32> {
        let mut places: HashMap<i64, usize> = HashMap::default();
        for (at, value) in order.iter().enumerate() {
            if places.insert(*value, at).is_some() {
                let name = self.index.key(key);
                let writer = self.index.writers.get(&(key, *value)).map(|(txn, _)| *txn);
                let what = format!("the list {name} holds {value} twice: {order:?}");
                self.index.wrong(Class::Duplicate, writer.into_iter().collect(), &what);
            }
        }
        for pair in order.windows(2) {
            let writer = |value| self.index.writers.get(&(key, value)).map(|(txn, _)| *txn);
            if let (Some(from), Some(to)) = (writer(pair[0]), writer(pair[1])) {
                self.edge(from, to, kind::WW, Label::Ww { key, old: pair[0], new: pair[1] });
            }
        }
        let mut unseen: Vec<(TxnId, KeyId, i64)> =
            appends.into_iter().filter(|(_, value)| !places.contains_key(value)).map(|(txn, value)| (txn, key, value)).collect();
        unseen.sort_by_key(|(txn, ..)| self.index.txn(*txn).invoked);
        let first = self.chain(&unseen).first().copied()?;
        if let Some((value, (writer, _))) = order.last().and_then(|v| Some((*v, *self.index.writers.get(&(key, *v))?))) {
            self.edge(writer, first, kind::WW, Label::Ww { key, old: value, new: value });
        }
        Some(first)
    }

    fn list_read(&mut self, read: &ListRead<'a>, order: &[i64], unseen: Option<u32>) {
        let (key, seen) = (read.key, read.external.checked_sub(1).map(|last| read.full[last]));
        if let Some(value) = seen
            && let Some((writer, _)) = self.index.writers.get(&(key, value)).copied()
        {
            self.edge(writer, read.txn, kind::WR, Label::Wr { key, value });
        }
        let rw = |new, unobserved| Label::Rw { key: Some(key), seen, new, predicate: false, unobserved };
        match (order.get(read.external), unseen) {
            (Some(next), _) => {
                if let Some((writer, _)) = self.index.writers.get(&(key, *next)).copied() {
                    self.edge(read.txn, writer, kind::RW, rw(Some(*next), false));
                }
            }
            (None, Some(first)) => self.edge(read.txn, first, kind::RW, rw(None, true)),
            (None, None) => {}
        }
    }

    fn registers(&mut self, given: &Orders) {
        let mut writers: BTreeMap<KeyId, Vec<(TxnId, i64)>> = BTreeMap::new();
        for (txn, key, value) in &self.index.finals {
            writers.entry(*key).or_default().push((*txn, *value));
        }
        let mut next: HashMap<(KeyId, Option<i64>), i64> = HashMap::default();
        for (key, writers) in &mut writers {
            match given.get(self.index.key(*key)) {
                Some(order) => self.given_order(*key, order, &mut next),
                None => {
                    writers.sort_by_key(|(txn, _)| self.index.txn(*txn).invoked);
                    let all: Vec<(TxnId, KeyId, i64)> = writers.iter().map(|(txn, value)| (*txn, *key, *value)).collect();
                    let began = all.iter().map(|(txn, ..)| self.index.txn(*txn).invoked).collect::<Vec<_>>();
                    let chain = self.chain(&all);
                    self.bundles.insert(*key, began.into_iter().zip(chain).collect());
                }
            }
        }
        let replaced = self.replaced();
        let there_by = self.there_by();
        for read in std::mem::take(&mut self.index.registers) {
            let (key, txn) = (read.key, read.txn);
            let rw = |new| Label::Rw { key: Some(key), seen: read.seen, new, predicate: read.predicate, unobserved: false };
            if let Some(value) = read.seen
                && let Some((writer, _)) = self.index.writers.get(&(key, value)).copied()
            {
                self.edge(writer, txn, kind::WR, Label::Wr { key, value });
            }
            if let Some(new) = next.get(&(key, read.seen)).copied() {
                if let Some((writer, _)) = self.index.writers.get(&(key, new)).copied() {
                    self.edge(txn, writer, kind::RW, rw(Some(new)));
                }
                continue;
            }
            for (writer, new) in replaced.get(&(key, read.seen)).into_iter().flatten() {
                self.edge(txn, *writer, kind::RW, rw(Some(*new)));
            }
            let Some(bundles) = self.bundles.get(&key) else { continue };
            let (from, kind) = match read.seen {
                None => (0, kind::RW),
                // What began after the version was there follows it.
                Some(value) => match there_by.get(&(key, value)) {
                    Some(moment) => (bundles.partition_point(|(began, _)| began <= moment), kind::TIMED_RW),
                    None => continue,
                },
            };
            if let Some((_, bundle)) = bundles.get(from).copied() {
                self.edge(txn, bundle, kind, rw(None));
            }
        }
    }

    fn given_order(&mut self, key: KeyId, order: &[i64], next: &mut HashMap<(KeyId, Option<i64>), i64>) {
        let mut before = None;
        for value in order {
            next.insert((key, before), *value);
            if let Some(old) = before
                && let (Some((from, _)), Some((to, _))) =
                    (self.index.writers.get(&(key, old)).copied(), self.index.writers.get(&(key, *value)).copied())
            {
                self.edge(from, to, kind::WW, Label::Ww { key, old, new: *value });
            }
            before = Some(*value);
        }
    }

    /// Who read a version and wrote the next one. Two that did so with one version have lost an update.
    fn replaced(&self) -> HashMap<(KeyId, Option<i64>), Vec<(TxnId, i64)>> {
        let finals: HashMap<(TxnId, KeyId), i64> = self.index.finals.iter().map(|(txn, key, value)| ((*txn, *key), *value)).collect();
        let mut replaced: HashMap<(KeyId, Option<i64>), Vec<(TxnId, i64)>> = HashMap::default();
        for read in self.index.registers.iter().filter(|read| read.seen.is_some()) {
            if let Some(new) = finals.get(&(read.txn, read.key)) {
                let list = replaced.entry((read.key, read.seen)).or_default();
                if !list.contains(&(read.txn, *new)) {
                    list.push((read.txn, *new));
                }
            }
        }
        replaced
    }

    /// The earliest moment by which a version was certainly there: its writer, or somebody who had read it, was answered.
    fn there_by(&self) -> HashMap<(KeyId, i64), u64> {
        let mut there: HashMap<(KeyId, i64), u64> = HashMap::default();
        let mut note = |key, value, txn: TxnId| {
            let txn = self.index.txn(txn);
            if let (Outcome::Ok, Some(at)) = (txn.outcome, txn.completed) {
                let moment = there.entry((key, value)).or_insert(at);
                *moment = at.min(*moment);
            }
        };
        self.index.finals.iter().for_each(|(txn, key, value)| note(*key, *value, *txn));
        self.index.registers.iter().for_each(|read| _ = read.seen.map(|value| note(read.key, value, read.txn)));
        there
    }

    /// Rows that a scan did not find: it comes before whoever wrote them.
    fn scans(&mut self) {
        let mut chains: BTreeMap<&str, Vec<(KeyId, u32)>> = BTreeMap::new();
        for scan in std::mem::take(&mut self.index.scans) {
            if !chains.contains_key(scan.prefix) {
                let chain = self.prefix_chain(scan.prefix);
                chains.insert(scan.prefix, chain);
            }
            let chain = &chains[scan.prefix];
            let found = |key: &KeyId| scan.present.binary_search(key).is_ok();
            let after = chain.iter().rposition(|(key, _)| found(key)).map_or(0, |last| last + 1);
            let mut targets: Vec<(Option<KeyId>, u32)> = chain[..after]
                .iter()
                .filter(|(key, _)| !found(key))
                .filter_map(|(key, _)| Some((Some(*key), self.bundles.get(key)?.first()?.1)))
                .collect();
            targets.extend(chain.get(after).map(|(_, bundle)| (None, *bundle)));
            for (key, bundle) in targets {
                self.edge(scan.txn, bundle, kind::RW, Label::Rw { key, seen: None, new: None, predicate: true, unobserved: false });
            }
        }
    }

    /// The written keys with a prefix by when they were first written, each with a bundle for all writers of it and of later ones.
    fn prefix_chain(&mut self, prefix: &str) -> Vec<(KeyId, u32)> {
        let mut keys: Vec<(u64, KeyId, u32)> = self
            .bundles
            .iter()
            .filter(|(key, _)| self.index.key(**key).starts_with(prefix))
            .filter_map(|(key, writers)| writers.first().map(|(began, bundle)| (*began, *key, *bundle)))
            .collect();
        keys.sort_unstable();
        let chain: Vec<(KeyId, u32)> = keys.iter().map(|(_, key, _)| (*key, self.builder.bundle())).collect();
        for (at, (_, _, writers)) in keys.iter().enumerate() {
            self.builder.edge(chain[at].1, *writers, kind::BUNDLE, BUNDLE);
            if let Some((_, next)) = chain.get(at + 1) {
                self.builder.edge(chain[at].1, *next, kind::BUNDLE, BUNDLE);
            }
        }
        chain
    }

    /// answered → moment → next moment → … → begun.
    fn real_time(&mut self) {
        let mut events: Vec<(u64, bool, TxnId)> = Vec::new();
        for (at, txn) in self.index.txns.iter().enumerate().filter(|(at, _)| self.index.effective[*at]) {
            events.push((txn.invoked, false, at as TxnId));
            if let (Outcome::Ok, Some(completed)) = (txn.outcome, txn.completed) {
                events.push((completed, true, at as TxnId));
            }
        }
        events.sort_unstable();
        let mut moment: Option<u32> = None;
        for (_, ends, txn) in events {
            if ends {
                let new = self.builder.bundle();
                self.builder.edge(txn, new, kind::RT, REAL_TIME);
                if let Some(old) = moment.replace(new) {
                    self.builder.edge(old, new, kind::BUNDLE, BUNDLE);
                }
            } else if let Some(moment) = moment {
                self.builder.edge(moment, txn, kind::BUNDLE, BUNDLE);
            }
        }
    }
}
