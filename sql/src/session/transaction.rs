//! Transactions of a session: blocks, savepoints, failed blocks.
//!
//! Outside a block every statement (or query string, or pipeline up to Sync) is an implicit transaction. The KV transaction is begun
//! by the first statement that needs one, which is also when `now()` stands still.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_txn::api::{Isolation, KvTxn, Savepoint, SessionId, TxnOptions};

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
    /// The level as it was asked for: READ UNCOMMITTED is READ COMMITTED under its own name.
    pub level: &'static str,
    /// Writes are refused.
    pub read_only: bool,
    /// DEFERRABLE. A read-only serializable transaction reads one snapshot that no later commit can make inconsistent, so it never waits for a
    /// safe one and is never aborted: what the word asks for holds either way.
    pub deferrable: bool,
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
    /// How many advisory locks the transaction had taken.
    locks: usize,
}

/// What BEGIN may say, resolved.
#[derive(Clone, Debug, Default)]
pub struct BeginOptions {
    /// ISOLATION LEVEL, by its name.
    pub level: Option<&'static str>,
    /// READ ONLY
    pub read_only: Option<bool>,
    /// DEFERRABLE
    pub deferrable: Option<bool>,
    /// AS OF SYSTEM TIME
    pub as_of: Option<meridian_clock::Timestamp>,
}

impl OpenTransaction {
    /// The modes of a transaction that follows this one (AND CHAIN).
    fn again(&self) -> BeginOptions {
        BeginOptions { level: Some(self.level), read_only: Some(self.read_only), deferrable: Some(self.deferrable), as_of: None }
    }

    /// Modes for a transaction that has done something: only what is so already, and READ ONLY.
    fn change_later(&mut self, options: &BeginOptions) -> Result<()> {
        let refuse = |what: &str| Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, what));
        if options.level.is_some_and(|l| l != self.level) {
            return refuse(if self.savepoints.is_empty() {
                "SET TRANSACTION ISOLATION LEVEL must be called before any query"
            } else {
                "SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction"
            });
        }
        if options.read_only == Some(false) && self.read_only {
            return refuse(if self.savepoints.is_empty() {
                "transaction read-write mode must be set before any query"
            } else {
                "cannot set transaction read-write mode inside a read-only transaction"
            });
        }
        if options.deferrable.is_some() {
            return refuse(if self.savepoints.is_empty() {
                "SET TRANSACTION [NOT] DEFERRABLE must be called before any query"
            } else {
                "SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction"
            });
        }
        if options.as_of.is_some() {
            return refuse("AS OF SYSTEM TIME must be set before any query");
        }
        self.read_only |= options.read_only == Some(true);
        Ok(())
    }
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
        let level = options.level.unwrap_or_else(|| self.default_level());
        let isolation = isolation_named(level);
        let deferrable = options.deferrable.unwrap_or_else(|| self.env.settings.flag("default_transaction_deferrable"));
        let read_only = options.read_only.unwrap_or_else(|| self.env.settings.flag("default_transaction_read_only"));
        let read_only = read_only || options.as_of.is_some();
        let kv = self.db.kv.begin(TxnOptions {
            isolation,
            // The catalog version may be written by DDL in a read-write transaction only; SQL refuses writes of its own accord.
            read_only,
            as_of: options.as_of,
            description: self.env.settings.get("application_name").unwrap_or_default(),
            session: SessionId(self.pid),
        });
        self.settings_at_begin = Some(self.env.settings.clone());
        OpenTransaction {
            kv,
            explicit,
            failed: false,
            isolation,
            level,
            read_only,
            deferrable,
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

    fn default_level(&self) -> &'static str {
        level_named(&self.env.settings.get("default_transaction_isolation").unwrap_or_default()).unwrap_or("serializable")
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
            Some(txn) if txn.answered > 0 && modes.isolation.is_none() => {
                txn.explicit = true;
                txn.deferrable = modes.deferrable.unwrap_or(txn.deferrable);
            }
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
        Ok(BeginOptions { level: modes.isolation.map(level), read_only: modes.read_only, deferrable: modes.deferrable, as_of })
    }

    /// SET TRANSACTION: only before the first query.
    pub(super) async fn set_transaction(&mut self, modes: &front::TransactionModes) -> Result<()> {
        let options = self.begin_options(modes).await?;
        self.change_modes(&options)
    }

    /// Gives the open transaction, if there is one, other modes; most only before its first query.
    pub(super) fn change_modes(&mut self, options: &BeginOptions) -> Result<()> {
        let Some(txn) = &mut self.txn else { return Ok(()) };
        let untouched = txn.answered == 0 && !txn.kv.has_writes() && txn.savepoints.is_empty();
        if !untouched {
            return txn.change_later(options);
        }
        let explicit = txn.explicit;
        let merged = BeginOptions {
            level: Some(options.level.unwrap_or(txn.level)),
            read_only: Some(options.read_only.unwrap_or(txn.read_only)),
            deferrable: Some(options.deferrable.unwrap_or(txn.deferrable)),
            as_of: options.as_of.or_else(|| txn.in_the_past.then(|| txn.kv.read_timestamp())),
        };
        // The one that is dropped has done nothing; dropping it rolls it back.
        let txn = self.new_transaction(explicit, &merged);
        self.txn = Some(txn);
        Ok(())
    }

    /// COMMIT. Answers with the tag: `ROLLBACK` if the block had failed.
    pub(super) async fn commit_block(&mut self, chain: bool, sink: &mut dyn ResultSink) -> Result<&'static str> {
        let open = self.txn.as_ref().map(|t| (t.explicit, t.failed, t.again()));
        if !open.as_ref().is_some_and(|(explicit, ..)| *explicit) {
            if chain {
                return Err(SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "COMMIT AND CHAIN can only be used in transaction blocks"));
            }
            let warning = SqlError::new(SqlState::NO_ACTIVE_SQL_TRANSACTION, "there is no transaction in progress");
            self.send_notices(vec![("WARNING", warning)], sink).await?;
        }
        let Some((_, failed, again)) = open else { return Ok("COMMIT") };
        let tag = if failed {
            self.abandon().await;
            "ROLLBACK"
        } else {
            self.commit().await?;
            "COMMIT"
        };
        if chain {
            let txn = self.new_transaction(true, &again);
            self.txn = Some(txn);
        }
        Ok(tag)
    }

    /// ROLLBACK.
    pub(super) async fn rollback_block(&mut self, chain: bool, sink: &mut dyn ResultSink) -> Result<()> {
        let again = self.txn.as_ref().map(OpenTransaction::again);
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
                self.env.functions.advisory.rollback_to(0).await;
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
        self.env.functions.advisory.check()?;
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
            self.env.functions.advisory.rollback_to(0).await;
            self.finish_transaction(false);
        }
    }

    /// SAVEPOINT.
    pub(super) fn savepoint(&mut self, name: &str) -> Result<()> {
        let settings = (self.env.settings.clone(), self.local_settings.clone());
        let portals = self.portals.keys().cloned().collect();
        let locks = self.env.functions.advisory.in_transaction();
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
            locks,
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
    pub(super) async fn rollback_to(&mut self, name: &str) -> Result<()> {
        let txn = self.block("ROLLBACK TO SAVEPOINT")?;
        let at = find_savepoint(txn, name)?;
        let savepoint = &txn.savepoints[at];
        txn.kv.rollback_to(savepoint.kv)?;
        txn.catalog = savepoint.catalog.clone();
        txn.changes = savepoint.changes.clone();
        txn.deferred.rollback_to(savepoint.deferred);
        let ((settings, local), portals) = (savepoint.settings.clone(), savepoint.portals.clone());
        let locks = savepoint.locks;
        txn.savepoints.truncate(at + 1);
        txn.failed = false;
        if settings != self.env.settings {
            (self.env.settings, self.local_settings) = (settings, local);
            self.env.refresh();
        }
        self.portals.retain(|name, portal| portals.contains(name) || portal.held());
        self.list_cursors();
        self.env.functions.advisory.rollback_to(locks).await;
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

    /// Refuses statements in a failed block, and all in a session that lost what it relies on.
    pub(super) fn check_usable(&self) -> Result<()> {
        self.env.functions.advisory.check()?;
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
                if txn.savepoints.is_empty() {
                    // Nothing can go on from here, so nobody has to wait for what it locked until its client says ROLLBACK.
                    txn.kv.rollback().await;
                    self.env.functions.advisory.rollback_to(0).await;
                }
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

/// A level's name.
pub(super) fn level(asked: front::Isolation) -> &'static str {
    match asked {
        front::Isolation::ReadUncommitted => "read uncommitted",
        front::Isolation::ReadCommitted => "read committed",
        front::Isolation::RepeatableRead => "repeatable read",
        front::Isolation::Serializable => "serializable",
    }
}

/// The level of this name, written in any case.
pub(super) fn level_named(name: &str) -> Option<&'static str> {
    ["serializable", "repeatable read", "read committed", "read uncommitted"].into_iter().find(|l| l.eq_ignore_ascii_case(name))
}

/// The isolation that gives at least what a level asks for.
fn isolation_named(level: &str) -> Isolation {
    match level {
        "read committed" | "read uncommitted" => Isolation::ReadCommitted,
        "repeatable read" => Isolation::RepeatableRead,
        _ => Isolation::Serializable,
    }
}
