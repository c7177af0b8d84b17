//! One client's session: what `server` talks to.
//!
//! ```text
//!   api            the seam to the wire: results, fields, how an Execute ended
//!   database       what the sessions of a gateway share: catalog, plan cache, counters, the list of sessions
//!   settings       SET, SHOW, RESET
//!   transaction    BEGIN to COMMIT: savepoints, isolation, failed blocks
//!   run            one planned statement: execution, retries inside the server, the reply rule for rows
//!   conflict       40001 and 40P01 in words
//!   simple         query strings, and every statement kind's way
//!   extended       Parse, Bind, Describe, Execute, Close, Sync
//!   cursor         DECLARE, FETCH, MOVE, CLOSE
//!   ddl analyze    schema changes and the work on rows they need; the binder for them
//!   copy explain show   COPY, EXPLAIN, SHOW and the other statements that make rows themselves
//!   functions      functions that act on the session: set_config, pg_sleep, …
//!   advisory       advisory locks
//!   plan_cache     plans by text
//! ```

mod advisory;
mod analyze;
pub mod api;
mod conflict;
mod copy;
mod copy_binary;
mod copy_format;
mod cursor;
mod database;
mod ddl;
mod environment;
mod explain;
mod extended;
mod extras;
mod functions;
mod plan_cache;
mod run;
pub mod settings;
mod show;
mod simple;
mod statistics;
mod transaction;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use database::{Database, SessionEntry, SqlCounters};

use crate::catalog::descriptor::Oid;
use crate::error::{Result, SqlError, SqlState};
use crate::exec::cancel::CancelToken;
use api::{ResultSink, SessionStart, TransactionStatus};
use environment::Environment;
pub use extended::RESULT_TYPE_CHANGED;
use extended::{Portal, Statement};
use settings::Settings;
use transaction::OpenTransaction;

/// How often an idle session with advisory locks looks whether it still has them.
const LOCKS_LOOK: Duration = Duration::from_millis(500);

/// One client's session.
pub struct Session {
    db: Arc<Database>,
    pid: i32,
    database: Oid,
    env: Environment,
    txn: Option<OpenTransaction>,
    /// Settings as they were when the transaction began, and SET LOCAL's: what rollback and commit go back to.
    settings_at_begin: Option<Settings>,
    local_settings: BTreeMap<String, String>,
    statements: BTreeMap<String, Arc<Statement>>,
    portals: BTreeMap<String, Portal>,
    cancel: CancelToken,
    /// Extended-protocol messages have come since the last Sync.
    in_pipeline: bool,
}

/// Cancels what a session is doing, from another connection.
#[derive(Clone, Debug)]
pub struct CancelHandle(CancelToken);

impl CancelHandle {
    /// Asks the present statement to stop.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

impl Session {
    /// Opens a session for an authenticated user. `pid` is what `pg_backend_pid()` shows.
    pub async fn open(db: Arc<Database>, start: SessionStart, pid: i32) -> Result<Self> {
        let mut txn = db.kv.begin(meridian_txn::api::TxnOptions { description: "session start".into(), ..Default::default() });
        let snapshot = db.catalog.snapshot(txn.as_mut()).await;
        txn.rollback().await;
        let snapshot = snapshot?;
        let Some(database) = snapshot.databases.values().find(|d| d.name == start.database) else {
            return Err(SqlError::new(SqlState::INVALID_CATALOG_NAME, format!("database \"{}\" does not exist", start.database)));
        };
        let Some(role) = snapshot.roles.values().find(|r| r.name == start.user) else {
            return Err(SqlError::new(SqlState::INVALID_AUTHORIZATION, format!("role \"{}\" does not exist", start.user)));
        };
        if !role.login {
            let message = format!("role \"{}\" is not permitted to log in", start.user);
            return Err(SqlError::new(SqlState::INVALID_AUTHORIZATION, message));
        }
        let mut settings = Settings::at_start(&start.parameters)?;
        settings.force("is_superuser", if role.superuser { "on" } else { "off" });
        settings.force("session_authorization", &start.user);
        settings.force("node_id", &db.kv.node().0.to_string());
        let database_id = database.id;
        let cancel = CancelToken::default();
        let env = Environment::new(&db, cancel.clone(), settings, &start, pid, role.id, database_id);
        let entry = SessionEntry {
            user: start.user.clone(),
            database: start.database.clone(),
            client: start.client.clone(),
            application: env.settings.get("application_name").unwrap_or_default(),
            query: Arc::from(""),
            active: false,
            transaction_started: None,
            started: env.now_micros(&db),
            statement_started: 0,
            prepared: BTreeMap::new(),
            cursors: BTreeMap::new(),
            cancel: cancel.clone(),
        };
        db.sessions.lock().insert(pid, entry);
        Ok(Session {
            db,
            pid,
            database: database_id,
            env,
            txn: None,
            settings_at_begin: None,
            local_settings: BTreeMap::new(),
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            cancel,
            in_pipeline: false,
        })
    }

    /// ReadyForQuery's status.
    pub fn status(&self) -> TransactionStatus {
        match &self.txn {
            Some(txn) if txn.explicit && txn.failed => TransactionStatus::Failed,
            Some(txn) if txn.explicit => TransactionStatus::InTransaction,
            _ => TransactionStatus::Idle,
        }
    }

    /// A handle for cancel requests.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle(self.cancel.clone())
    }

    /// Settings that the client is told at start.
    pub fn reported_parameters(&self) -> Vec<(String, String)> {
        self.env.settings.reported()
    }

    /// How long the client may be idle in its present state.
    pub fn idle_timeout(&self) -> Option<Duration> {
        match self.status() {
            TransactionStatus::Idle => self.env.settings.timeout("idle_session_timeout"),
            _ => self.env.settings.timeout("idle_in_transaction_session_timeout"),
        }
    }

    /// What the client is told when it was idle for too long.
    pub fn idle_timeout_error(&self) -> SqlError {
        match self.status() {
            TransactionStatus::Idle => SqlError::new(SqlState("57P05"), "terminating connection due to idle-session timeout"),
            _ => {
                let message = "terminating connection due to idle-in-transaction timeout";
                SqlError::new(SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, message)
            }
        }
    }

    /// Resolves, with what to tell the client, when the session has lost advisory locks and must end.
    pub async fn locks_lost(&mut self) -> SqlError {
        loop {
            if let Err(error) = self.env.functions.advisory.check() {
                return error;
            }
            match self.env.functions.advisory.any() {
                true => tokio::time::sleep(LOCKS_LOOK).await,
                // It can take none while nobody talks to it.
                false => std::future::pending::<()>().await,
            }
        }
    }

    /// Ends the session: an open transaction is rolled back.
    pub async fn close(&mut self) {
        self.portals.clear();
        self.abandon().await;
        self.env.functions.forget_locks();
        self.db.sessions.lock().remove(&self.pid);
    }

    /// A statement begins: others can see it, and cancel it.
    fn begin_activity(&mut self, text: &str) {
        SqlCounters::add(&self.db.counters.statements);
        self.cancel.reset();
        self.cancel.deadline = None;
        if let Some(limit) = self.env.settings.timeout("statement_timeout") {
            self.cancel.deadline = Some(tokio::time::Instant::now() + limit);
        }
        self.env.statement_micros = self.env.now_micros(&self.db);
        let now = self.env.statement_micros;
        let transaction = self.txn.as_ref().map_or(now, |txn| txn.start_micros);
        if let Some(entry) = self.db.sessions.lock().get_mut(&self.pid) {
            entry.statement_started = now;
            if entry.query.as_ref() != text {
                entry.query = Arc::from(text);
            }
            (entry.active, entry.transaction_started) = (true, Some(transaction));
        }
    }

    /// A statement has ended.
    fn end_activity(&mut self, failed: Option<&SqlError>) {
        if let Some(error) = failed {
            SqlCounters::add(&self.db.counters.errors);
            if error.code == SqlState::SERIALIZATION_FAILURE {
                SqlCounters::add(&self.db.counters.serialization_failures);
            }
            self.db.counters.shown_to_client(error);
        }
        let transaction = self.txn.as_ref().map(|txn| txn.start_micros);
        if let Some(entry) = self.db.sessions.lock().get_mut(&self.pid) {
            (entry.active, entry.transaction_started) = (false, transaction);
        }
    }

    /// Sends notices that `client_min_messages` lets through.
    async fn send_notices(&mut self, notices: Vec<(&'static str, SqlError)>, sink: &mut dyn ResultSink) -> Result<()> {
        let level = self.env.settings.get("client_min_messages").unwrap_or_default();
        for (severity, notice) in notices {
            let shown = match level.as_str() {
                "error" => false,
                "warning" => severity == "WARNING",
                _ => true,
            };
            if shown {
                sink.notice(severity, &notice).await?;
            }
        }
        Ok(())
    }
}
