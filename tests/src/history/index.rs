//! The first look at a history: who wrote which value, who took effect, what each transaction saw of the others.
//!
//! Everything that can be said without an order of transactions is said here: values that nobody wrote, aborted and intermediate reads, transactions
//! that contradict themselves, totals.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap as HashMap;

use super::check::Anomaly;
use super::class::Class;
use super::format::{Header, History, Op, Outcome, Txn};
use super::story;

pub(super) type KeyId = u32;
pub(super) type TxnId = u32;

/// What a transaction saw of a register that others write.
#[derive(Clone, Copy, Debug)]
pub(super) struct RegisterRead {
    pub txn: TxnId,
    pub key: KeyId,
    pub seen: Option<i64>,
    /// It was a row of a scan, or missing from it.
    pub predicate: bool,
}

/// What a transaction saw of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListRead<'a> {
    pub txn: TxnId,
    pub key: KeyId,
    /// Its own appends included.
    pub full: &'a [i64],
    /// Elements of others.
    pub external: usize,
}

/// Registers with a prefix that a transaction did not find.
#[derive(Clone, Debug)]
pub(super) struct ScanRead<'a> {
    pub txn: TxnId,
    pub prefix: &'a str,
    /// Sorted.
    pub present: Vec<KeyId>,
}

pub(super) struct Index<'a> {
    pub header: &'a Header,
    pub txns: &'a [Txn],
    pub keys: Vec<&'a str>,
    pub effective: Vec<bool>,
    /// Who wrote a value of a key, and whether it is that transaction's last of it.
    pub writers: HashMap<(KeyId, i64), (TxnId, bool)>,
    /// Last writes of registers, of transactions that took effect.
    pub finals: Vec<(TxnId, KeyId, i64)>,
    /// Appends of transactions that took effect, in their order.
    pub appends: Vec<(TxnId, KeyId, i64)>,
    pub registers: Vec<RegisterRead>,
    pub lists: Vec<ListRead<'a>>,
    pub scans: Vec<ScanRead<'a>>,
    pub anomalies: Vec<Anomaly>,
    ids: HashMap<&'a str, KeyId>,
    /// The last list of each key that was found good.
    good: HashMap<KeyId, &'a [i64]>,
}

/// What a transaction knows of a key from itself.
#[derive(Default)]
struct Own<'a> {
    /// Registers that it wrote or read: the value.
    registers: HashMap<KeyId, (Option<i64>, bool)>,
    /// Lists: own appends, and what the last read saw of others.
    appended: HashMap<KeyId, Vec<i64>>,
    lists: HashMap<KeyId, &'a [i64]>,
}

impl<'a> Index<'a> {
    pub fn of(history: &'a History) -> Index<'a> {
        let mut index = Index {
            header: &history.header,
            txns: &history.txns,
            keys: Vec::new(),
            effective: history.txns.iter().map(|t| t.outcome == Outcome::Ok).collect(),
            writers: HashMap::default(),
            finals: Vec::new(),
            appends: Vec::new(),
            registers: Vec::new(),
            lists: Vec::new(),
            scans: Vec::new(),
            anomalies: Vec::new(),
            ids: HashMap::default(),
            good: HashMap::default(),
        };
        index.find_writers();
        index.find_effective();
        for txn in 0..history.txns.len() {
            if index.effective[txn] {
                index.look(txn as TxnId);
            }
        }
        index
    }

    pub fn txn(&self, id: TxnId) -> &'a Txn {
        &self.txns[id as usize]
    }

    pub fn key(&self, id: KeyId) -> &'a str {
        self.keys[id as usize]
    }

    /// Whether it wrote nothing.
    pub fn read_only(&self, id: TxnId) -> bool {
        !self.txn(id).ops.iter().any(|op| matches!(op, Op::Append(..) | Op::Write(..)))
    }

    pub fn wrong(&mut self, class: Class, txns: Vec<TxnId>, what: &str) {
        let story = story::plain(self, class, &txns, what);
        self.anomalies.push(Anomaly { class, story, txns: txns.iter().map(|t| *t as usize).collect() });
    }

    fn intern(&mut self, key: &'a str) -> KeyId {
        let next = self.keys.len() as KeyId;
        let id = *self.ids.entry(key).or_insert(next);
        if id == next {
            self.keys.push(key);
        }
        id
    }

    fn find_writers(&mut self) {
        let mut twice = Vec::new();
        for (at, txn) in self.txns.iter().enumerate() {
            let mut last: HashMap<KeyId, i64> = HashMap::default();
            for op in &txn.ops {
                match op {
                    Op::Append(key, value) | Op::Write(key, value) => {
                        let id = self.intern(key);
                        if let Some(before) = last.insert(id, *value) {
                            self.writers.insert((id, before), (at as TxnId, false));
                        }
                        if let Some((other, _)) = self.writers.insert((id, *value), (at as TxnId, true)) {
                            twice.push((other, at as TxnId, key, *value));
                        }
                    }
                    Op::List(key, _) | Op::Read(key, _) => _ = self.intern(key),
                    Op::Scan(_, rows) => rows.iter().for_each(|(key, _)| _ = self.intern(key)),
                    Op::Balances(..) => {}
                }
            }
        }
        for (one, two, key, value) in twice {
            self.wrong(Class::NotUnique, vec![one, two], &format!("both write {value} to {key}"));
        }
    }

    /// Acknowledged, or seen by one that took effect.
    fn find_effective(&mut self) {
        let mut todo: Vec<usize> = (0..self.txns.len()).filter(|t| self.effective[*t]).collect();
        // The longest list of each key so far: its beginnings need no second look.
        let mut longest: HashMap<&str, &[i64]> = HashMap::default();
        while let Some(at) = todo.pop() {
            let mut seen = |key: &str, value: i64| {
                let Some((writer, _)) = self.ids.get(key).and_then(|id| self.writers.get(&(*id, value))) else { return };
                let writer = *writer as usize;
                if !self.effective[writer] && self.txns[writer].outcome == Outcome::Unknown {
                    self.effective[writer] = true;
                    todo.push(writer);
                }
            };
            for op in &self.txns[at].ops {
                match op {
                    Op::List(key, values) => {
                        let known = longest.entry(key).or_default();
                        if !known.starts_with(values) {
                            values.iter().for_each(|v| seen(key, *v));
                            *known = values;
                        }
                    }
                    Op::Read(key, Some(value)) => seen(key, *value),
                    Op::Scan(_, rows) => rows.iter().for_each(|(key, value)| seen(key, *value)),
                    Op::Read(_, None) | Op::Append(..) | Op::Write(..) | Op::Balances(..) => {}
                }
            }
        }
    }

    fn look(&mut self, txn: TxnId) {
        let mut own = Own::default();
        let ops = &self.txn(txn).ops;
        for op in ops {
            match op {
                Op::Append(key, value) => {
                    let key = self.ids[key.as_str()];
                    own.appended.entry(key).or_default().push(*value);
                    self.appends.push((txn, key, *value));
                }
                Op::List(key, values) => self.look_at_list(txn, self.ids[key.as_str()], values, &mut own),
                Op::Write(key, value) => _ = own.registers.insert(self.ids[key.as_str()], (Some(*value), true)),
                Op::Read(key, seen) => self.look_at_register(txn, self.ids[key.as_str()], *seen, false, &mut own),
                Op::Scan(prefix, rows) => self.look_at_scan(txn, prefix, rows, &mut own),
                Op::Balances(bank, balances) => self.look_at_balances(txn, bank, balances),
            }
        }
        let mut finals: Vec<(KeyId, i64)> =
            own.registers.iter().filter_map(|(key, (value, mine))| value.filter(|_| *mine).map(|v| (*key, v))).collect();
        finals.sort_unstable();
        self.finals.extend(finals.into_iter().map(|(key, value)| (txn, key, value)));
    }

    fn look_at_register(&mut self, txn: TxnId, key: KeyId, seen: Option<i64>, predicate: bool, own: &mut Own<'a>) {
        match own.registers.get(&key).copied() {
            Some((before, _)) if before == seen => return,
            Some((before, mine)) => {
                let show = |v: Option<i64>| v.map_or("no row".to_owned(), |v| v.to_string());
                let how = if mine { "itself wrote" } else { "had read" };
                let what = format!("it read {} = {} although it {how} {}", self.key(key), show(seen), show(before));
                self.wrong(Class::Internal, vec![txn], &what);
                if mine {
                    return;
                }
            }
            None => {}
        }
        own.registers.insert(key, (seen, false));
        if seen.is_none_or(|value| self.known(txn, key, value)) {
            self.registers.push(RegisterRead { txn, key, seen, predicate });
        }
    }

    /// Whether a value that was seen may be seen; reports it if not.
    fn known(&mut self, txn: TxnId, key: KeyId, value: i64) -> bool {
        let name = self.key(key);
        match self.writers.get(&(key, value)).copied() {
            None => self.wrong(Class::Garbage, vec![txn], &format!("it read {name} = {value}, which nobody wrote")),
            Some((writer, _)) if self.txn(writer).outcome == Outcome::Fail => {
                self.wrong(Class::G1a, vec![txn, writer], &format!("the first read {name} = {value} of the second, which did not commit"));
            }
            Some((writer, false)) if writer != txn => {
                let what = format!("the first read {name} = {value}, which the second replaced before it committed");
                self.wrong(Class::G1b, vec![txn, writer], &what);
                return true;
            }
            Some(_) => return true,
        }
        false
    }

    fn look_at_list(&mut self, txn: TxnId, key: KeyId, values: &'a [i64], own: &mut Own<'a>) {
        let name = self.key(key);
        let mine = own.appended.get(&key).map_or(&[][..], Vec::as_slice);
        let external = values.len().saturating_sub(mine.len());
        if values.len() < mine.len() || values[external..] != *mine {
            let what = format!("it read {name} = {values:?}, which does not end with its own {mine:?}");
            self.wrong(Class::Internal, vec![txn], &what);
            return;
        }
        let others = &values[..external];
        if let Some(before) = own.lists.insert(key, others).filter(|before| *before != others) {
            self.wrong(Class::Internal, vec![txn], &format!("it read {name} = {others:?} although it had read {before:?}"));
        }
        // Of a list that was found good, beginnings are good but for their last element, which must be its writer's last.
        let looked = if self.good.get(&key).is_some_and(|good| good.starts_with(others)) { external.saturating_sub(1) } else { 0 };
        let mut good = true;
        for (at, value) in others.iter().enumerate().skip(looked) {
            match self.writers.get(&(key, *value)).copied() {
                Some((writer, last)) if self.txn(writer).outcome != Outcome::Fail && (last || at + 1 < others.len()) => {}
                _ => good &= self.known(txn, key, *value),
            }
        }
        if good {
            if looked == 0 {
                self.good.insert(key, others);
            }
            self.lists.push(ListRead { txn, key, full: values, external });
        }
    }

    fn look_at_scan(&mut self, txn: TxnId, prefix: &'a str, rows: &'a [(String, i64)], own: &mut Own<'a>) {
        let mut present = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            let key = self.ids[key.as_str()];
            present.push(key);
            self.look_at_register(txn, key, Some(*value), true, own);
        }
        present.sort_unstable();
        let mut missing: Vec<(KeyId, i64)> = own
            .registers
            .iter()
            .filter(|(key, _)| self.key(**key).starts_with(prefix) && present.binary_search(key).is_err())
            .filter_map(|(key, (value, _))| value.map(|v| (*key, v)))
            .collect();
        missing.sort_unstable();
        for (key, value) in missing {
            let what = format!("it scanned {prefix} without finding {} = {value}, which it had written or read", self.key(key));
            self.wrong(Class::Internal, vec![txn], &what);
        }
        self.scans.push(ScanRead { txn, prefix, present });
    }

    fn look_at_balances(&mut self, txn: TxnId, bank: &str, balances: &[(String, i64)]) {
        let Some(expected) = self.header.totals.get(bank).copied() else { return };
        let total: i64 = balances.iter().map(|(_, b)| b).sum();
        if total != expected {
            let list: BTreeMap<&str, i64> = balances.iter().map(|(k, b)| (k.as_str(), *b)).collect();
            self.wrong(Class::WrongTotal, vec![txn], &format!("it found {total} in {bank} instead of {expected}: {list:?}"));
        }
    }
}
