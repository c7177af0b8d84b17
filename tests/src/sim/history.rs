//! What clients saw, in the true order of events.
//!
//! Every value that a workload writes begins with a [`VersionId`], unique in the run, so that each read names the write that it saw. Events are
//! numbered by one counter: the simulation runs on one thread, so that their order is the real one.

use std::fmt;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use meridian_clock::Timestamp;
use meridian_storage::Key;
use parking_lot::Mutex;

/// One attempt of a transaction.
pub type TxnId = u64;

/// One write: the transaction and the number of the write in it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VersionId(pub u64);

impl VersionId {
    /// Write number `n` of `txn`.
    pub fn new(txn: TxnId, n: usize) -> Self {
        VersionId(txn << 8 | n as u64)
    }

    /// The transaction that wrote it.
    pub fn txn(self) -> TxnId {
        self.0 >> 8
    }
}

impl fmt::Debug for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}", self.0 >> 8, self.0 & 0xff)
    }
}

/// A value with its version.
pub fn encode(version: VersionId, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(8 + payload.len());
    out.put_u64(version.0);
    out.put_slice(payload);
    out.freeze()
}

/// The version and the payload of a value.
pub fn decode(value: &Bytes) -> (VersionId, Bytes) {
    let mut head = [0; 8];
    head.copy_from_slice(&value[..8]);
    (VersionId(u64::from_be_bytes(head)), value.slice(8..))
}

/// What a transaction did to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// It saw this version, or that there is no row.
    Read(Key, Option<VersionId>),
    /// It wrote this version.
    Write(Key, VersionId),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Still running, or its gateway died before it asked to commit: nothing of it may be seen.
    Open,
    /// Acknowledged at this timestamp.
    Committed(Timestamp),
    /// The commit was asked for and its outcome is not known.
    Unknown(String),
    /// Reported as not committed.
    Failed(String),
}

/// One attempt as its client saw it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its name.
    pub id: TxnId,
    /// Which workload.
    pub kind: &'static str,
    /// Its gateway, by place.
    pub gateway: usize,
    /// When it began: event number and true time.
    pub begun: (u64, Timestamp),
    /// When its client heard of its end.
    pub ended: Option<(u64, Timestamp)>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it did, in order.
    pub ops: Vec<Op>,
}

impl Record {
    /// The versions that it wrote.
    pub fn writes(&self) -> impl Iterator<Item = (&Key, VersionId)> {
        self.ops.iter().filter_map(|op| match op {
            Op::Write(key, version) => Some((key, *version)),
            Op::Read(..) => None,
        })
    }

    /// Its gateway's clock lay outside its bound: what it read says nothing, and its end is no moment in real time. What it wrote counts as it stands.
    /// `misdated`: nor is its beginning, from which its timestamp comes. Seed 15036: a clock that lagged by fifty seconds gave a write a timestamp below one that was acknowledged.
    pub fn excuse(&mut self, misdated: bool) {
        if misdated {
            self.begun.0 = 0;
        }
        self.ops.retain(|op| matches!(op, Op::Write(..)));
        if let Outcome::Committed(_) = self.outcome {
            self.outcome = Outcome::Unknown("the clock of its gateway lied".into());
        }
    }
}

/// All attempts of a run.
#[derive(Default)]
pub struct History {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    events: u64,
    records: Vec<Record>,
}

impl History {
    /// An attempt begins.
    pub fn begin(&self, kind: &'static str, gateway: usize, now: Timestamp) -> TxnId {
        let mut inner = self.inner.lock();
        inner.events += 1;
        let (id, begun) = (inner.records.len() as TxnId, (inner.events, now));
        inner.records.push(Record { id, kind, gateway, begun, ended: None, outcome: Outcome::Open, ops: Vec::new() });
        id
    }

    /// It read or wrote.
    pub fn op(&self, txn: TxnId, op: Op) {
        self.inner.lock().records[txn as usize].ops.push(op);
    }

    /// How many operations it has noted.
    pub fn ops(&self, txn: TxnId) -> usize {
        self.inner.lock().records[txn as usize].ops.len()
    }

    /// How many writes it has made.
    pub fn writes(&self, txn: TxnId) -> usize {
        self.inner.lock().records[txn as usize].writes().count()
    }

    /// Its client asks to commit: from here on the outcome is unknown until it is known.
    pub fn committing(&self, txn: TxnId) {
        self.inner.lock().records[txn as usize].outcome = Outcome::Unknown("no answer".into());
    }

    /// Its client heard of its end.
    pub fn end(&self, txn: TxnId, outcome: Outcome, now: Timestamp) {
        let mut inner = self.inner.lock();
        inner.events += 1;
        let ended = (inner.events, now);
        let record = &mut inner.records[txn as usize];
        (record.ended, record.outcome) = (Some(ended), outcome);
    }

    /// How many transactions were open for longer than `time` and committed.
    pub fn longer_than(&self, time: Duration) -> usize {
        let longer = |record: &&Record| {
            let open = record.ended.map_or(Duration::ZERO, |(_, end)| end.since(record.begun.1));
            open > time && matches!(record.outcome, Outcome::Committed(_))
        };
        self.inner.lock().records.iter().filter(longer).count()
    }

    /// Everything so far.
    pub fn records(&self) -> Vec<Record> {
        self.inner.lock().records.clone()
    }
}
