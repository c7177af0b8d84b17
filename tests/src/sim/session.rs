//! One attempt of a transaction, recorded as it goes.

use std::sync::Arc;

use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_storage::mvcc::Direction;
use meridian_storage::{Key, Span};
use meridian_txn::api::{Columns, Expect, Get, Got, Kv, KvError, KvTxn, LockStrength, LockWait, Locking, Scan, TxnOptions};

use super::history::{History, Op, Outcome, TxnId, VersionId, decode, encode};

/// `FOR UPDATE`.
pub const FOR_UPDATE: Option<Locking> = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(None) });
/// `FOR SHARE`.
pub const FOR_SHARE: Option<Locking> = Some(Locking { strength: LockStrength::Share, wait: LockWait::Block(None) });

/// True simulated time.
pub type TrueTime = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// An attempt in progress.
pub struct Session {
    history: Arc<History>,
    truth: TrueTime,
    gateway: usize,
    kind: &'static str,
    txn: Box<dyn KvTxn>,
    id: TxnId,
    /// What it is doing, for whoever finds it stuck.
    pub doing: Arc<parking_lot::Mutex<String>>,
}

impl Session {
    /// Begins a transaction at `gateway`.
    pub fn begin(
        history: &Arc<History>,
        truth: &TrueTime,
        kv: &Arc<dyn Kv>,
        gateway: usize,
        kind: &'static str,
        read_only: bool,
        doing: Arc<parking_lot::Mutex<String>>,
    ) -> Self {
        let id = history.begin(kind, gateway, truth());
        let mut txn = kv.begin(TxnOptions { read_only, ..Default::default() });
        txn.begin_statement();
        Session { history: history.clone(), truth: truth.clone(), gateway, kind, txn, id, doing }
    }

    /// Its name.
    pub fn id(&self) -> TxnId {
        self.id
    }

    fn doing(&self, what: impl FnOnce() -> String) {
        *self.doing.lock() = format!("T{} ({}) {}", self.id, self.kind, what());
    }

    /// The same transaction again, as after a conflict.
    pub fn restart(&mut self) {
        self.txn.restart();
        self.txn.begin_statement();
        self.id = self.history.begin(self.kind, self.gateway, (self.truth)());
    }

    /// Reads keys at once; payloads in order.
    pub async fn read(&mut self, keys: &[Key], lock: Option<Locking>) -> Result<Vec<Option<Bytes>>, KvError> {
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
        self.doing(|| format!("scans {span:?}"));
        let (mut rows, mut left) = (Vec::new(), Some(span));
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
        Ok(rows)
    }

    fn saw(&self, key: &Key, value: Option<Bytes>) -> Option<Bytes> {
        let decoded = value.as_ref().map(decode);
        self.history.op(self.id, Op::Read(key.clone(), decoded.as_ref().map(|(version, _)| *version)));
        decoded.map(|(_, payload)| payload)
    }

    /// Writes a key; later statements of the transaction see it.
    pub async fn write(&mut self, key: &Key, payload: &[u8], expect: Expect) -> Result<VersionId, KvError> {
        let version = VersionId::new(self.id, self.history.writes(self.id));
        self.history.op(self.id, Op::Write(key.clone(), version));
        self.txn.put(key.clone(), encode(version, payload), expect).await?;
        self.txn.begin_statement();
        Ok(version)
    }

    /// The version id that the next write will have.
    pub fn next_version(&self) -> VersionId {
        VersionId::new(self.id, self.history.writes(self.id))
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
        self.doing(|| "commits".into());
        let writes = self.txn.has_writes();
        if writes {
            self.history.committing(self.id);
        }
        let outcome = self.txn.commit().await;
        self.doing(|| "is over".into());
        let end = match &outcome {
            Ok(at) => Outcome::Committed(*at),
            Err(KvError::Ambiguous(why)) => Outcome::Unknown(why.clone()),
            Err(error) => Outcome::Failed(error.to_string()),
        };
        self.history.end(self.id, end, (self.truth)());
        outcome
    }

    /// Gives up after `error`, which was not the commit's.
    pub async fn fail(&mut self, error: &KvError) {
        self.history.end(self.id, Outcome::Failed(error.to_string()), (self.truth)());
        self.doing(|| "rolls back".into());
        self.txn.rollback().await;
        self.doing(|| "is over".into());
    }
}
