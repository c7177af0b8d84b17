//! One attempt of a transaction, recorded as it goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_storage::mvcc::Direction;
use meridian_storage::{Key, Span};
use meridian_txn::api::{Columns, Expect, Get, Got, Kv, KvError, KvTxn, LockStrength, LockWait, Locking, Scan, TxnOptions};

use super::history::{Op, Outcome, TxnId, VersionId, decode, encode};
use super::notes::Notes;

/// `FOR UPDATE`.
pub const FOR_UPDATE: Option<Locking> = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(None) });
/// `FOR SHARE`.
pub const FOR_SHARE: Option<Locking> = Some(Locking { strength: LockStrength::Share, wait: LockWait::Block(None) });

/// True simulated time.
pub type TrueTime = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// An attempt in progress.
pub struct Session {
    notes: Arc<Notes>,
    gateway: usize,
    kind: &'static str,
    txn: Box<dyn KvTxn>,
    id: TxnId,
    /// What it is doing, for whoever finds it stuck.
    pub doing: Arc<parking_lot::Mutex<String>>,
    /// How long it thinks before every operation.
    pub pace: Duration,
    /// How long it thinks once, before its second operation.
    pub long: Option<Duration>,
    operations: usize,
    begun: Timestamp,
}

impl Session {
    /// Whether its gateway's clock has lied meanwhile.
    pub fn lied_to(&self) -> bool {
        self.notes.has_lied(self.gateway, self.begun)
    }

    /// Begins a transaction at `gateway`.
    pub fn begin(
        notes: &Arc<Notes>,
        kv: &Arc<dyn Kv>,
        gateway: usize,
        kind: &'static str,
        read_only: bool,
        doing: Arc<parking_lot::Mutex<String>>,
    ) -> Self {
        let begun = (notes.truth)();
        let id = notes.history.begin(kind, gateway, begun);
        let mut txn = kv.begin(TxnOptions { read_only, ..Default::default() });
        txn.begin_statement();
        Session { notes: notes.clone(), gateway, kind, txn, id, doing, pace: Duration::ZERO, long: None, operations: 0, begun }
    }

    /// Its name.
    pub fn id(&self) -> TxnId {
        self.id
    }

    fn doing(&self, what: impl FnOnce() -> String) {
        *self.doing.lock() = format!("T{} ({}) {}", self.id, self.kind, what());
    }

    async fn think(&mut self) {
        self.operations += 1;
        let long = if self.operations == 2 { self.long.take() } else { None };
        let pause = self.pace + long.unwrap_or_default();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    /// The same transaction again, as after a conflict.
    pub fn restart(&mut self) {
        self.txn.restart();
        self.operations = 0;
        self.txn.begin_statement();
        self.id = self.notes.history.begin(self.kind, self.gateway, (self.notes.truth)());
    }

    /// Reads keys at once; payloads in order.
    pub async fn read(&mut self, keys: &[Key], lock: Option<Locking>) -> Result<Vec<Option<Bytes>>, KvError> {
        self.think().await;
        self.doing(|| format!("reads {keys:?} with {lock:?}"));
        let gets = keys.iter().map(|key| Get { key: key.clone(), columns: Columns::All, lock }).collect();
        let got = self.txn.get(gets).await?;
        let mut payloads = Vec::new();
        for (key, got) in keys.iter().zip(got) {
            let value = match got {
                Got::Value(value) => value,
                Got::Skipped => return Err(KvError::Internal("skipped without SKIP LOCKED".into())),
            };
            payloads.push(self.saw(key, value));
        }
        Ok(payloads)
    }

    /// Reads all rows of a span, in pages.
    pub async fn scan(&mut self, span: Span, page_rows: u64) -> Result<Vec<(Key, Bytes)>, KvError> {
        self.think().await;
        self.doing(|| format!("scans {span:?}"));
        let (mut rows, mut left) = (Vec::new(), Some(span.clone()));
        while let Some(span) = left.take() {
            let scan = Scan {
                span,
                direction: Direction::Forward,
                columns: Columns::All,
                limit_rows: page_rows,
                limit_bytes: 0,
                program: None,
                lock: None,
            };
            let page = self.txn.scan(scan).await?;
            for (key, value) in page.rows {
                if let Some(payload) = self.saw(&key, Some(value)) {
                    rows.push((key, payload));
                }
            }
            left = page.resume;
        }
        let seen: BTreeSet<Key> = rows.iter().map(|(key, _)| key.clone()).collect();
        self.notes.scanned(self.id, span, seen);
        Ok(rows)
    }

    fn saw(&self, key: &Key, value: Option<Bytes>) -> Option<Bytes> {
        let decoded = value.as_ref().map(decode);
        self.notes.history.op(self.id, Op::Read(key.clone(), decoded.as_ref().map(|(version, _)| *version)));
        decoded.map(|(_, payload)| payload)
    }

    /// Writes a key; later statements of the transaction see it.
    pub async fn write(&mut self, key: &Key, payload: &[u8], expect: Expect) -> Result<VersionId, KvError> {
        self.think().await;
        let version = VersionId::new(self.id, self.notes.history.writes(self.id));
        self.notes.history.op(self.id, Op::Write(key.clone(), version));
        self.txn.put(key.clone(), encode(version, payload), expect).await?;
        self.txn.begin_statement();
        Ok(version)
    }

    /// Lays new rows early.
    pub async fn lay(&mut self, within: &Span, keys: &[Key], keep: bool) -> Result<(), KvError> {
        self.think().await;
        self.doing(|| format!("lays {} rows from {:?}", keys.len(), keys.first()));
        if !self.txn.can_lay(within) {
            return Err(KvError::Internal("a transaction that has written nothing else may lay rows".into()));
        }
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            let version = self.next_version();
            self.notes.history.op(self.id, Op::Write(key.clone(), version));
            rows.push((key.clone(), encode(version, b"")));
        }
        self.txn.lay(within, rows, keep).await?;
        self.txn.begin_statement();
        Ok(())
    }

    /// Waits until what was laid is there.
    pub async fn settle_laid(&mut self) -> Result<(), KvError> {
        self.doing(|| "waits for what it has laid".into());
        self.txn.settle_laid().await
    }

    /// The version id that the next write will have.
    pub fn next_version(&self) -> VersionId {
        VersionId::new(self.id, self.notes.history.writes(self.id))
    }

    /// A savepoint, a write that is rolled back to it, and nothing left of it.
    pub async fn write_and_take_back(&mut self, key: &Key) -> Result<(), KvError> {
        let mark = self.txn.savepoint();
        self.txn.put(key.clone(), encode(VersionId::new(self.id, 255), b"taken back"), Expect::AsRead).await?;
        self.txn.rollback_to(mark)?;
        self.txn.begin_statement();
        Ok(())
    }

    /// Commits.
    pub async fn commit(&mut self) -> Result<Timestamp, KvError> {
        self.think().await;
        self.doing(|| "commits".into());
        let writes = self.txn.has_writes();
        if writes {
            self.notes.history.committing(self.id);
        }
        let outcome = self.txn.commit().await;
        self.doing(|| "is over".into());
        let end = match &outcome {
            Ok(at) => Outcome::Committed(*at),
            Err(KvError::Ambiguous(why)) => Outcome::Unknown(why.clone()),
            Err(KvError::DiskFull(why)) if self.notes.repeats.load(Ordering::Relaxed) => Outcome::Unknown(why.clone()),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        self.notes.history.end(self.id, end, (self.notes.truth)());
        outcome
    }

    /// Gives up after `error`, which was not the commit's.
    pub async fn fail(&mut self, error: &KvError) {
        self.notes.history.end(self.id, Outcome::Failed(error.to_string()), (self.notes.truth)());
        self.doing(|| "rolls back".into());
        self.txn.rollback().await;
        self.doing(|| "is over".into());
    }
}

/// Reads all rows of a span as they were at `at`, and notes what it saw.
pub async fn look_back(notes: &Notes, kv: &Arc<dyn Kv>, gateway: usize, span: Span, at: Timestamp) -> Result<(), KvError> {
    let mut txn = kv.begin(TxnOptions { read_only: true, as_of: Some(at), ..Default::default() });
    txn.begin_statement();
    let (mut seen, mut left) = (BTreeMap::new(), Some(span.clone()));
    while let Some(span) = left.take() {
        let (direction, columns) = (Direction::Forward, Columns::All);
        let page = txn.scan(Scan { span, direction, columns, limit_rows: 3, limit_bytes: 0, program: None, lock: None }).await?;
        seen.extend(page.rows.into_iter().map(|(key, value)| (key, decode(&value).0)));
        left = page.resume;
    }
    txn.commit().await?;
    notes.looked_back(at, gateway, span, seen);
    Ok(())
}
