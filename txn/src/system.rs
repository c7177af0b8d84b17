//! Cluster state for the control plane ([`SystemKv`]), over the ordinary transactional path.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_replication::api::{SystemError, SystemKv};
use meridian_storage::mvcc::Direction;
use meridian_storage::{Key, Span};

use crate::api::{Columns, Expect, Get, Got, Kv, KvError, KvTxn, LockStrength, LockWait, Locking, Scan, TxnOptions};

/// Attempts of one call before the control plane is told to come again later.
const TRIES_MAX: u32 = 20;

/// [`SystemKv`] over a [`Kv`].
#[derive(Debug)]
pub struct System(Arc<dyn Kv>);

impl System {
    /// Over `kv`.
    pub fn new(kv: Arc<dyn Kv>) -> Arc<Self> {
        Arc::new(System(kv))
    }

    fn begin(&self, read_only: bool) -> Box<dyn KvTxn> {
        self.0.begin(TxnOptions { read_only, description: "cluster control plane".into(), ..TxnOptions::default() })
    }
}

fn told(error: KvError) -> SystemError {
    SystemError(error.to_string())
}

async fn swap(txn: &mut dyn KvTxn, key: &Key, expected: Option<&Bytes>, new: Option<&Bytes>) -> Result<bool, KvError> {
    let lock = Some(Locking { strength: LockStrength::Update, wait: LockWait::Block(None) });
    let got = txn.get(vec![Get { key: key.clone(), columns: Columns::All, lock }]).await?;
    let same = matches!(got.first(), Some(Got::Value(value)) if value.as_ref() == expected);
    if same {
        match new {
            Some(value) => txn.put(key.clone(), value.clone(), Expect::AsRead).await?,
            None => txn.delete(key.clone()).await?,
        }
    }
    txn.commit().await?;
    Ok(same)
}

#[async_trait]
impl SystemKv for System {
    async fn get(&self, key: Key) -> Result<Option<Bytes>, SystemError> {
        let mut txn = self.begin(true);
        let got = txn.get(vec![Get { key, columns: Columns::All, lock: None }]).await.map_err(told)?;
        txn.commit().await.map_err(told)?;
        match got.into_iter().next() {
            Some(Got::Value(value)) => Ok(value),
            _ => Ok(None),
        }
    }

    async fn scan(&self, span: Span) -> Result<Vec<(Key, Bytes)>, SystemError> {
        let mut txn = self.begin(true);
        let (mut rows, mut left) = (Vec::new(), Some(span));
        while let Some(span) = left {
            let scan = Scan {
                span,
                direction: Direction::Forward,
                columns: Columns::All,
                limit_rows: 0,
                limit_bytes: 0,
                program: None,
                lock: None,
            };
            let page = txn.scan(scan).await.map_err(told)?;
            rows.extend(page.rows);
            left = page.resume;
        }
        txn.commit().await.map_err(told)?;
        Ok(rows)
    }

    async fn compare_and_set(&self, key: Key, expected: Option<Bytes>, new: Option<Bytes>) -> Result<bool, SystemError> {
        let mut txn = self.begin(false);
        for _ in 0..TRIES_MAX {
            match swap(&mut *txn, &key, expected.as_ref(), new.as_ref()).await {
                Ok(same) => return Ok(same),
                Err(KvError::Retry { .. } | KvError::Deadlock { .. }) => txn.restart(),
                Err(error) => return Err(told(error)),
            }
        }
        Err(SystemError("too much contention".into()))
    }
}
