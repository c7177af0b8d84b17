//! Transactions of a session: blocks, savepoints, failed blocks.
//!
//! Outside a block every statement (or query string, or pipeline up to Sync) is an implicit transaction. The KV transaction is begun
//! by the first statement that needs one, which is also when `now()` stands still.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_txn::api::{Isolation, KvTxn, Savepoint, TxnOptions};

use super::Session;
use super::api::ResultSink;
use super::database::SqlCounters;
use super::settings::Settings;
use crate::catalog::snapshot::CatalogSnapshot;
use crate::catalog::store::CatalogChanges;
use crate::error::{Result, SqlError, SqlState};
use crate::exec::fk::DeferredChecks;
use crate::front;

/// An open transaction.
pub struct OpenTransaction {
    /// The KV transaction.
    pub kv: Box<dyn KvTxn>,
    /// Began with BEGIN.
    pub explicit: bool,
    /// An error happened: only ROLLBACK (TO) goes on.
    pub failed: bool,
    /// How isolated.
    pub isolation: Isolation,
    /// Writes are refused.
    pub read_only: bool,
    /// `now()`.
    pub start_micros: i64,
    /// The catalog it sees, once read.
    pub catalog: Option<Arc<CatalogSnapshot>>,
    /// What it changed in the catalog.
    pub changes: Option<CatalogChanges>,
    /// Constraint checks put off to commit.
    pub deferred: DeferredChecks,
    /// Statements that have been answered: while there is none the transaction can be run again inside the server.
    pub answered: u64,
    /// Reads in the past.
    pub in_the_past: bool,
    savepoints: Vec<NamedSavepoint>,
}

struct NamedSavepoint {
    name: String,
    kv: Savepoint,
    catalog: Option<Arc<CatalogSnapshot>>,
    changes: Option<CatalogChanges>,
    /// How many deferred checks there were.
    deferred: usize,
    /// Settings, and what SET LOCAL put aside.
    settings: (Settings, BTreeMap<String, String>),
    /// Portals there were: later ones go with what the savepoint takes back.
    portals: Vec<String>,
}

/// What BEGIN may say, resolved.
#[derive(Clone, Debug, Default)]
pub struct BeginOptions {
    /// ISOLATION LEVEL
    pub isolation: Option<Isolation>,
    /// READ ONLY
    pub read_only: Option<bool>,
    /// AS OF SYSTEM TIME
    pub as_of: Option<meridian_clock::Timestamp>,
}

impl Session {
    /// The open transaction, begun now (implicitly) if there is none.
    pub(super) fn transaction(&mut self) -> &mut OpenTransaction {
        if self.txn.is_none() {
            let txn = self.new_transaction(false, &BeginOptions::default());
            self.txn = Some(txn);
        }
        match &mut self.txn {
            Some(txn) => txn,
            // Invariant: set just above.
            None => unreachable!("a transaction was just begun"),
        }
    }

    pub(super) fn new_transaction(&mut self, explicit: bool, options: &BeginOptions) -> OpenTransaction {
        let isolation = options.isolation.unwrap_or_else(|| self.default_isolation());
        let read_only = options.read_only.unwrap_or_else(|| self.env.settings.flag("default_transaction_read_only"));
        let read_only = read_only || options.as_of.is_some();
        let kv = self.db.kv.begin(TxnOptions {
            isolation,
            // The catalog version may be written by DDL in a read-write transaction only; SQL refuses writes of its own accord.
            read_only,
            as_of: options.as_of,
            description: self.env.settings.get("application_name").unwrap_or_default(),
        });
        self.settings_at_begin = Some(self.env.settings.clone());
        OpenTransaction {
            kv,
            explicit,
            failed: false,
            isolation,
            read_only,
            // A transaction begins with its first statement: now() = statement_timestamp() there.
            start_micros: match self.env.statement_micros {
                0 => self.env.now_micros(&self.db),
                micros => micros,
            },
            catalog: None,
            changes: None,
            deferred: DeferredChecks::default(),
            answered: 0,
            in_the_past: options.as_of.is_some(),
            savepoints: vec![],
        }
    }

    fn default_isolation(&self) -> Isolation {
        isolation_named(&self.env.settings.get("default_transaction_isolation").unwrap_or_default())
    }

    /// BEGIN.
    pub(super) async fn begin(&mut self, modes: &front::TransactionModes, sink: &mut dyn ResultSink) -> Result<()> {
        if self.txn.as_ref().is_some_and(|t| t.explicit) {
            let warning = SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, "there is already a transaction in progress");
            self.send_notices(vec![("WARNING", warning)], sink).await?;
            return self.set_transaction(modes).await;
        }
        let options = self.begin_options(modes).await?;
        match &mut self.txn {
            // Earlier statements of this query string belong to the block, as in PostgreSQL.
            Some(txn) if txn.answered > 0 && modes.isolation.is_none() => txn.explicit = true,
            _ => {
                self.abandon().await;
                let txn = self.new_transaction(true, &options);
                self.txn = Some(txn);
            }
        }
        Ok(())
    }

    async fn begin_options(&mut self, modes: &front::TransactionModes) -> Result<BeginOptions> {
        if modes.snapshot.is_some() {
            return Err(SqlError::unsupported("SET TRANSACTION SNAPSHOT"));
        }
        let as_of = match &modes.as_of {
            Some(expr) => Some(self.system_time(expr).await?),
            None => None,
        };
        Ok(BeginOptions { isolation: modes.isolation.map(isolation), read_only: modes.read_only, as_of })
    }

    /// SET TRANSACTION: only before the first query.
    pub(super) async fn set_transaction(&mut self, modes: &front::TransactionModes) -> Result<()> {
        let options = self.begin_options(modes).await?;
        let Some(txn) = &mut self.txn else { return Ok(()) };
        let untouched = txn.answered == 0 && !txn.kv.has_writes();
        if !untouched {
            if options.isolation.is_some_and(|i| i != txn.isolation) {
                let message = if txn.savepoints.is_empty() {
                    "SET TRANSACTION ISOLATION LEVEL must be called before any query"
                } else {
                    "SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction"
                };
                return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
            }
            if options.read_only == Some(false) && txn.read_only {
                let message = "transaction read-write mode must be set before any query";
                return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
            }
            if options.as_of.is_some() {
                let message = "AS OF SYSTEM TIME must be set before any query";
                return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
            }
            if options.read_only == Some(true) {
                txn.read_only = true;
            }
            return Ok(());
        }
        let explicit = txn.explicit;
        let merged = BeginOptions {
            isolation: Some(options.isolation.unwrap_or(txn.isolation)),
            read_only: Some(options.read_only.unwrap_or(txn.read_only)),
            as_of: options.as_of,
        };
        txn.kv.rollback().await;
        let txn = self.new_transaction(explicit, &merged);
        self.txn = Some(txn);
        Ok(())
    }

    /// COMMIT. Answers with the tag: `ROLLBACK` if the block had failed.
    pub(super) async fn commit_block(&mut self, chain: bool, sink: &mut dyn ResultSink) -> Result<&'static str> {
        let open = self.txn.as_ref().map(|t| (t.explicit, t.failed, t.isolation, t.read_only));
        if !open.is_some_and(|(explicit, ..)| explicit) {
            if chain {
                return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "COMMIT AND CHAIN can only be used in transaction blocks"));
            }
            let warning = SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
            self.send_notices(vec![("WARNING", warning)], sink).await?;
        }
        let Some((_, failed, isolation, read_only)) = open else { return Ok("COMMIT") };
        let tag = if failed {
            self.abandon().await;
            "ROLLBACK"
        } else {
            self.commit().await?;
            "COMMIT"
        };
        if chain {
            let again = BeginOptions { isolation: Some(isolation), read_only: Some(read_only), as_of: None };
            let txn = self.new_transaction(true, &again);
            self.txn = Some(txn);
        }
        Ok(tag)
    }

    /// ROLLBACK.
    pub(super) async fn rollback_block(&mut self, chain: bool, sink: &mut dyn ResultSink) -> Result<()> {
        let again = self.txn.as_ref().map(|t| BeginOptions { isolation: Some(t.isolation), read_only: Some(t.read_only), as_of: None });
        if !self.txn.as_ref().is_some_and(|t| t.explicit) {
            if chain {
                let message = "ROLLBACK AND CHAIN can only be used in transaction blocks";
                return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
            }
            let warning = SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
            self.send_notices(vec![("WARNING", warning)], sink).await?;
        }
        self.abandon().await;
        if let (true, Some(options)) = (chain, again) {
            let txn = self.new_transaction(true, &options);
            self.txn = Some(txn);
        }
        Ok(())
    }

    /// Commits what is open: deferred checks, the KV commit with its wait (T3), settings. After an error nothing is open.
    pub(super) async fn commit(&mut self) -> Result<()> {
        if self.txn.is_none() {
            return Ok(());
        }
        let outcome = self.commit_kv().await;
        match outcome {
            Ok(()) => {
                SqlCounters::add(&self.db.counters.commits);
                self.finish_transaction(true);
                Ok(())
            }
            Err(error) => {
                let error = self.explain_commit_error(error);
                self.abandon().await;
                Err(error)
            }
        }
    }

    /// The commit proper; on an error the transaction is left for the caller to run again or abandon.
    pub(super) async fn commit_kv(&mut self) -> Result<()> {
        self.run_deferred_checks(false).await?;
        let cancel = self.cancel.clone();
        match &mut self.txn {
            // A commit is not given up half way: its outcome would be unknown.
            Some(txn) => {
                cancel.check()?;
                txn.kv.commit().await?;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// After a commit or rollback: settings, cursors.
    pub(super) fn finish_transaction(&mut self, committed: bool) {
        self.txn = None;
        let begin = self.settings_at_begin.take();
        if !committed {
            if let Some(settings) = begin {
                self.env.settings = settings;
                self.env.refresh();
            }
        } else if !self.local_settings.is_empty() {
            for (name, value) in std::mem::take(&mut self.local_settings) {
                // They were values of these settings before, so they are valid.
                let _ = self.env.settings.set(&name, &value);
            }
            self.env.refresh();
        }
        self.local_settings.clear();
        if !self.portals.is_empty() {
            self.portals.retain(|_, portal| portal.held());
            self.list_cursors();
        }
    }

    /// Rolls back what is open, if anything is.
    pub(super) async fn abandon(&mut self) {
        if let Some(txn) = &mut self.txn {
            txn.kv.rollback().await;
            SqlCounters::add(&self.db.counters.rollbacks);
            self.finish_transaction(false);
        }
    }

    /// SAVEPOINT.
    pub(super) fn savepoint(&mut self, name: &str) -> Result<()> {
        let settings = (self.env.settings.clone(), self.local_settings.clone());
        let portals = self.portals.keys().cloned().collect();
        let txn = self.block("SAVEPOINT")?;
        let kv = txn.kv.savepoint();
        txn.savepoints.push(NamedSavepoint {
            name: name.to_owned(),
            kv,
            catalog: txn.catalog.clone(),
            changes: txn.changes.clone(),
            deferred: txn.deferred.mark(),
            settings,
            portals,
        });
        Ok(())
    }

    /// RELEASE SAVEPOINT.
    pub(super) fn release(&mut self, name: &str) -> Result<()> {
        let txn = self.block("RELEASE SAVEPOINT")?;
        let at = find_savepoint(txn, name)?;
        txn.savepoints.truncate(at);
        Ok(())
    }

    /// ROLLBACK TO SAVEPOINT: also what gets a failed block going again.
    pub(super) fn rollback_to(&mut self, name: &str) -> Result<()> {
        let txn = self.block("ROLLBACK TO SAVEPOINT")?;
        let at = find_savepoint(txn, name)?;
        let savepoint = &txn.savepoints[at];
        txn.kv.rollback_to(savepoint.kv)?;
        txn.catalog = savepoint.catalog.clone();
        txn.changes = savepoint.changes.clone();
        txn.deferred.rollback_to(savepoint.deferred);
        let ((settings, local), portals) = (savepoint.settings.clone(), savepoint.portals.clone());
        txn.savepoints.truncate(at + 1);
        txn.failed = false;
        if settings != self.env.settings {
            (self.env.settings, self.local_settings) = (settings, local);
            self.env.refresh();
        }
        self.portals.retain(|name, portal| portals.contains(name) || portal.held());
        self.list_cursors();
        Ok(())
    }

    fn block(&mut self, command: &str) -> Result<&mut OpenTransaction> {
        match &mut self.txn {
            Some(txn) if txn.explicit => Ok(txn),
            _ => {
                let message = format!("{command} can only be used in transaction blocks");
                Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, message))
            }
        }
    }

    /// The catalog that the next statement sees.
    pub(super) async fn catalog(&mut self) -> Result<Arc<CatalogSnapshot>> {
        self.transaction();
        let Some(txn) = &mut self.txn else { return Err(SqlError::internal("no transaction")) };
        // READ COMMITTED reads it anew for each statement; others see one catalog, as they see one snapshot.
        if let Some(catalog) = &txn.catalog
            && (txn.changes.is_some() || txn.isolation != Isolation::ReadCommitted)
        {
            return Ok(catalog.clone());
        }
        let catalog = self.cancel.run(self.db.catalog.snapshot(txn.kv.as_mut())).await??;
        txn.catalog = Some(catalog.clone());
        Ok(catalog)
    }

    /// Refuses statements in a failed block.
    pub(super) fn check_usable(&self) -> Result<()> {
        match &self.txn {
            Some(txn) if txn.failed => {
                let message = "current transaction is aborted, commands ignored until end of transaction block";
                Err(SqlError::new(SqlState::IN_FAILED_SQL_TRANSACTION, message))
            }
            _ => Ok(()),
        }
    }

    /// After a failed statement: a block stays, failed; an implicit transaction is rolled back.
    pub(super) async fn statement_failed(&mut self) {
        match &mut self.txn {
            Some(txn) if txn.explicit => {
                // Cursors stay: ROLLBACK TO a savepoint goes on with those declared before it.
                txn.failed = true;
                self.portals.retain(|_, portal| portal.cursor.is_some());
            }
            _ => self.abandon().await,
        }
    }
}

fn find_savepoint(txn: &OpenTransaction, name: &str) -> Result<usize> {
    let at = txn.savepoints.iter().rposition(|s| s.name == name);
    at.ok_or_else(|| SqlError::new(SqlState::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist")))
}

/// The level that gives at least what was asked.
fn isolation(asked: front::Isolation) -> Isolation {
    match asked {
        front::Isolation::ReadUncommitted | front::Isolation::ReadCommitted => Isolation::ReadCommitted,
        front::Isolation::RepeatableRead => Isolation::RepeatableRead,
        front::Isolation::Serializable => Isolation::Serializable,
    }
}

fn isolation_named(name: &str) -> Isolation {
    match name {
        "read committed" | "read uncommitted" => Isolation::ReadCommitted,
        "repeatable read" => Isolation::RepeatableRead,
        _ => Isolation::Serializable,
    }
}

/// What `SHOW transaction_isolation` says.
pub fn isolation_name(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Serializable => "serializable",
        Isolation::RepeatableRead => "repeatable read",
        Isolation::ReadCommitted => "read committed",
    }
}
