//! What the sessions of one gateway share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meridian_clock::Entropy;
use meridian_txn::api::{Kv, KvError, RetryCause, TxnOptions};
use parking_lot::Mutex;

use super::extras::Extras;
use super::plan_cache::PlanCache;
use crate::catalog::store::CatalogStore;
use crate::catalog::system::SystemCatalog;
use crate::catalog::system::extras::{Cursor, PreparedStatement};
use crate::error::{Result, SqlError};
use crate::exec::cancel::CancelToken;
use crate::exec::program::SqlPrograms;

/// Counters of one gateway's SQL layer.
#[derive(Debug, Default)]
pub struct SqlCounters {
    /// Statements begun.
    pub statements: AtomicU64,
    /// Statements that ended in an error.
    pub errors: AtomicU64,
    /// Statements and transactions run again inside the server.
    pub retries: AtomicU64,
    /// Serialization failures that reached a client.
    pub serialization_failures: AtomicU64,
    /// The same retries by cause; the last is deadlock.
    pub retries_by_cause: CauseCounters,
    /// Conflicts that reached a client, by cause.
    pub conflicts_by_cause: CauseCounters,
    /// Statements planned anew.
    pub plans: AtomicU64,
    /// Transactions committed.
    pub commits: AtomicU64,
    /// Transactions rolled back.
    pub rollbacks: AtomicU64,
}

/// One counter for each cause of a retry, and one for deadlocks.
#[derive(Debug, Default)]
pub struct CauseCounters([AtomicU64; RetryCause::ALL.len() + 1]);

impl CauseCounters {
    fn add(&self, error: &SqlError) {
        let at = match error.kv() {
            Some(KvError::Retry { cause, .. }) => RetryCause::ALL.iter().position(|c| c == cause),
            Some(KvError::Deadlock { .. }) => Some(RetryCause::ALL.len()),
            _ => None,
        };
        if let Some(counter) = at.and_then(|at| self.0.get(at)) {
            SqlCounters::add(counter);
        }
    }

    /// Cause and count.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let labels = RetryCause::ALL.iter().map(|c| c.label()).chain(["deadlock"]);
        labels.zip(self.0.iter().map(|n| n.load(Ordering::Relaxed)))
    }
}

impl SqlCounters {
    /// Something is run again inside the server because of this.
    pub fn retried(&self, error: &SqlError) {
        Self::add(&self.retries);
        self.retries_by_cause.add(error);
    }

    /// This error reaches a client.
    pub fn shown_to_client(&self, error: &SqlError) {
        self.conflicts_by_cause.add(error);
    }

    /// Adds one.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A session as others see it (`pg_stat_activity`, `pg_cancel_backend`).
#[derive(Clone, Debug)]
pub struct SessionEntry {
    /// User.
    pub user: String,
    /// Database.
    pub database: String,
    /// Client address.
    pub client: String,
    /// `application_name`.
    pub application: String,
    /// The present or last statement.
    pub query: Arc<str>,
    /// Whether it runs.
    pub active: bool,
    /// When its open transaction began, microseconds since 2000-01-01 UTC.
    pub transaction_started: Option<i64>,
    /// When it began, microseconds since 2000-01-01 UTC.
    pub started: i64,
    /// When its last statement began, 0 if there was none.
    pub statement_started: i64,
    /// Its named prepared statements.
    pub prepared: BTreeMap<String, PreparedStatement>,
    /// Its cursors.
    pub cursors: BTreeMap<String, Cursor>,
    /// Cancels the present statement.
    pub cancel: CancelToken,
}

/// Sessions by process id.
pub type SessionTable = BTreeMap<i32, SessionEntry>;

/// SQL on one gateway.
#[derive(Debug)]
pub struct Database {
    pub(super) kv: Arc<dyn Kv>,
    /// The catalog.
    pub catalog: CatalogStore,
    pub(super) system: Arc<SystemCatalog>,
    pub(super) plans: PlanCache,
    pub(super) entropy: Entropy,
    /// Where queries spill.
    pub(super) spill_dir: PathBuf,
    /// Counters.
    pub counters: SqlCounters,
    pub(super) sessions: Arc<Mutex<SessionTable>>,
}

impl Database {
    /// SQL over `kv`. Queries that need more memory than they may take write to `spill_dir`.
    pub fn new(kv: Arc<dyn Kv>, entropy: Entropy, spill_dir: PathBuf) -> Arc<Self> {
        kv.register_programs(Arc::new(SqlPrograms));
        let sessions: Arc<Mutex<SessionTable>> = Arc::default();
        let extras = Extras { kv: kv.clone(), sessions: sessions.clone() };
        Arc::new(Database {
            catalog: CatalogStore::new(kv.clone()),
            kv,
            system: Arc::new(SystemCatalog::new(Arc::new(extras))),
            plans: PlanCache::default(),
            entropy,
            spill_dir,
            counters: SqlCounters::default(),
            sessions,
        })
    }

    /// The store below.
    pub fn kv(&self) -> &Arc<dyn Kv> {
        &self.kv
    }

    /// Writes the first catalog if there is none. Any node may do so, any number of times.
    pub async fn bootstrap(&self) -> Result<()> {
        self.catalog.bootstrap().await
    }

    /// Whether the catalog can be read now.
    pub async fn probe(&self) -> Result<()> {
        let mut txn = self.kv.begin(TxnOptions { read_only: true, description: "probe".into(), ..TxnOptions::default() });
        let outcome = self.catalog.snapshot(txn.as_mut()).await.map(|_| ());
        txn.rollback().await;
        outcome
    }

    /// The SCRAM verifier of a role that may log in; `None` if there is no such role or it has no password.
    pub async fn password_verifier(&self, user: &str) -> Result<Option<String>> {
        let mut txn = self.kv.begin(TxnOptions { read_only: true, description: "authentication".into(), ..TxnOptions::default() });
        let snapshot = self.catalog.snapshot(txn.as_mut()).await;
        txn.rollback().await;
        let snapshot = snapshot?;
        Ok(snapshot.roles.values().find(|r| r.name == user && r.login).and_then(|r| r.verifier.clone()))
    }

    /// Sets a role's password (the first start of a secure cluster).
    pub async fn set_password(&self, user: &str, password: &str) -> Result<()> {
        let verifier = crate::catalog::ddl::scram_verifier(password);
        self.catalog.set_verifier(user, verifier).await
    }

    /// Plans in the cache now.
    pub fn cached_plans(&self) -> usize {
        self.plans.entries()
    }

    /// Sessions now.
    pub fn sessions(&self) -> Vec<(i32, SessionEntry)> {
        self.sessions.lock().iter().map(|(pid, entry)| (*pid, entry.clone())).collect()
    }
}
