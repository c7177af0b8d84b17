//! What is noted beside the history of reads and writes: which spans were scanned, and what reads in the past saw.
//!
//! A scan also reads the rows that are *not* there. [`Notes::with_absences`] adds those reads to the history once all keys are known, so that
//! a row that a scan missed counts like a version that a read missed (phantoms, causal reverse).
//!
//! A read in the past (`AS OF SYSTEM TIME`) promises nothing about real time, but everything about its timestamp: it sees exactly the versions that
//! stand at or below it in the end, from whichever replica it was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use meridian_clock::Timestamp;
use meridian_storage::{Key, Span};
use parking_lot::Mutex;

use super::checker::Versions;
use super::history::{History, Op, Record, TxnId, VersionId};
use super::session::TrueTime;

/// A scan as it happened.
struct Scanned {
    txn: TxnId,
    /// How many operations of its transaction came before it ended.
    after: usize,
    span: Span,
    seen: BTreeSet<Key>,
}

/// A read in the past.
struct Past {
    at: Timestamp,
    gateway: usize,
    span: Span,
    seen: BTreeMap<Key, VersionId>,
}

/// A gateway whose clock lied, from when to when.
struct Lie {
    gateway: usize,
    from: Timestamp,
    to: Timestamp,
}

/// Where everybody who works in a simulation notes what was seen.
pub struct Notes {
    /// Reads and writes of transactions.
    pub history: Arc<History>,
    /// True simulated time.
    pub truth: TrueTime,
    /// Whether the network has repeated requests. No stream does that on its own; whoever is refused for a reason that passes (a full disk) may then have been
    /// through with the copy.
    pub repeats: AtomicBool,
    scans: Mutex<Vec<Scanned>>,
    pasts: Mutex<Vec<Past>>,
    lies: Mutex<Vec<Lie>>,
}

impl Notes {
    /// Nothing so far.
    pub fn new(history: Arc<History>, truth: TrueTime) -> Arc<Self> {
        Arc::new(Notes {
            history,
            truth,
            repeats: AtomicBool::new(false),
            scans: Mutex::default(),
            pasts: Mutex::default(),
            lies: Mutex::default(),
        })
    }

    /// A scan of `span` saw rows at the keys `seen`, and has noted them.
    pub fn scanned(&self, txn: TxnId, span: Span, seen: BTreeSet<Key>) {
        let after = self.history.ops(txn);
        self.scans.lock().push(Scanned { txn, after, span, seen });
    }

    /// A read of all rows of `span` as they were at `at`.
    pub fn looked_back(&self, at: Timestamp, gateway: usize, span: Span, seen: BTreeMap<Key, VersionId>) {
        self.pasts.lock().push(Past { at, gateway, span, seen });
    }

    /// From now on the clock of a gateway lies far outside its bound.
    pub fn lie_begins(&self, gateway: usize) {
        self.lies.lock().push(Lie { gateway, from: (self.truth)(), to: Timestamp::MAX });
    }

    /// It is right again, and its process is a new one.
    pub fn lie_ends(&self, gateway: usize) {
        let now = (self.truth)();
        let open = |lie: &&mut Lie| lie.gateway == gateway && lie.to == Timestamp::MAX;
        self.lies.lock().iter_mut().filter(open).for_each(|lie| lie.to = now);
    }

    /// Whether the clock of a gateway lies now.
    pub fn lies(&self, gateway: usize) -> bool {
        self.lies.lock().iter().any(|lie| lie.gateway == gateway && lie.to == Timestamp::MAX)
    }

    /// Whether the clock of a gateway has lied at any time since `since`.
    pub fn has_lied(&self, gateway: usize, since: Timestamp) -> bool {
        self.lies.lock().iter().any(|lie| lie.gateway == gateway && lie.to >= since)
    }

    /// How many reads in the past there were.
    pub fn pasts(&self) -> usize {
        self.pasts.lock().len()
    }

    /// The history with reads of absent rows for every scan.
    pub fn with_absences(&self, mut records: Vec<Record>, versions: &Versions) -> Vec<Record> {
        for scan in self.scans.lock().iter().rev() {
            let Some(record) = records.get_mut(scan.txn as usize) else { continue };
            let missing = versions.range(scan.span.start.clone()..scan.span.end.clone()).map(|(key, _)| key);
            // What it has written itself it sees; what it writes later it has not written yet.
            let own: BTreeSet<&Key> = record.ops[..scan.after].iter().filter_map(written).collect();
            let absent: Vec<Op> =
                missing.filter(|key| !scan.seen.contains(*key) && !own.contains(key)).map(|key| Op::Read(key.clone(), None)).collect();
            record.ops.splice(scan.after..scan.after, absent);
        }
        records
    }

    /// Takes out of the history what a lying clock excuses: what a client of that gateway alone saw while it lied, and when it was that it
    /// began. What it wrote counts: nobody listens to a clock that is ahead, but one that lags looks like one whose messages take long, and is listened to.
    pub fn without_lies(&self, records: Vec<Record>) -> Vec<Record> {
        let lies = self.lies.lock();
        let excused = |record: &Record| {
            let ended = record.ended.map_or(Timestamp::MAX, |(_, at)| at);
            lies.iter().any(|lie| lie.gateway == record.gateway && record.begun.1 <= lie.to && ended >= lie.from)
        };
        let misdated = |record: &Record| {
            lies.iter().any(|lie| lie.gateway == record.gateway && record.begun.1 >= lie.from && record.begun.1 <= lie.to)
        };
        let blank = |mut record: Record| {
            if excused(&record) {
                let misdated = misdated(&record);
                record.excuse(misdated);
            }
            record
        };
        records.into_iter().map(blank).collect()
    }

    /// What is wrong with the reads in the past.
    pub fn check_pasts(&self, versions: &Versions) -> Vec<String> {
        let lies = self.lies.lock();
        let mut wrong = Vec::new();
        for past in self.pasts.lock().iter() {
            if lies.iter().any(|lie| lie.gateway == past.gateway && lie.from <= past.at && past.at <= lie.to) {
                continue;
            }
            for (key, list) in versions.range(past.span.start.clone()..past.span.end.clone()) {
                let there = list.iter().rev().find(|(ts, _)| *ts <= past.at).map(|(_, version)| *version);
                let seen = past.seen.get(key).copied();
                if there != seen {
                    wrong.push(format!(
                        "a read as of {} at gateway {} saw {seen:?} at {key:?}, but at that time {there:?} was there: {list:?}",
                        past.at, past.gateway
                    ));
                }
            }
        }
        wrong.truncate(5);
        wrong
    }
}

fn written(op: &Op) -> Option<&Key> {
    match op {
        Op::Write(key, _) => Some(key),
        Op::Read(..) => None,
    }
}
