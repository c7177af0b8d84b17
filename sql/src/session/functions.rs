//! Functions that act on the session or on other sessions, called by the executor by name.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use meridian_txn::api::SessionId;

use super::advisory::Advisory;
use super::database::Database;
use crate::catalog::descriptor::Oid;
use crate::error::{Result, SqlError, SqlState};
use crate::exec::ExecutorFunctions;
use crate::exec::cancel::CancelToken;
use crate::functions::FunctionDef;
use crate::types::{DataType, Datum};

/// What such functions are lent for one batch.
pub struct SessionFunctions {
    db: Arc<Database>,
    cancel: CancelToken,
    pid: i32,
    role: Oid,
    /// `set_config` calls: name, value, local. Applied by the session after the batch.
    changes: Vec<(String, String, bool)>,
    /// Warnings to send after the batch.
    warnings: Vec<SqlError>,
    database: Oid,
    /// The session's advisory locks.
    pub advisory: Advisory,
    /// `lock_timeout`
    pub lock_timeout: Option<Duration>,
}

impl SessionFunctions {
    /// For one session.
    pub fn new(db: &Arc<Database>, cancel: CancelToken, pid: i32, role: Oid, database: Oid) -> Self {
        let advisory = Advisory::new(db.kv.session_locks(SessionId(pid)));
        SessionFunctions { db: db.clone(), cancel, pid, role, changes: vec![], warnings: vec![], database, advisory, lock_timeout: None }
    }

    /// Lets go of all advisory locks at once: the session ends.
    pub fn forget_locks(&mut self) {
        self.advisory = Advisory::new(self.db.kv.session_locks(SessionId(self.pid)));
    }

    /// Warnings of the batch.
    pub fn take_warnings(&mut self) -> Vec<SqlError> {
        std::mem::take(&mut self.warnings)
    }

    /// Settings that the batch changed.
    pub fn take_changes(&mut self) -> Vec<(String, String, bool)> {
        std::mem::take(&mut self.changes)
    }

    /// The cancel token of another session that this role may cancel.
    fn target(&self, args: &[Datum]) -> Option<CancelToken> {
        let Some(Datum::Int4(pid)) = args.first() else { return None };
        if *pid == self.pid {
            return Some(self.cancel.clone());
        }
        tracing::debug!(role = self.role, pid, "a session is cancelled by another");
        self.db.sessions.lock().get(pid).map(|entry| entry.cancel.clone())
    }
}

#[async_trait]
impl ExecutorFunctions for SessionFunctions {
    async fn call(&mut self, function: &'static FunctionDef, args: &[Datum]) -> Result<Datum> {
        match (function.name, args) {
            ("clock_timestamp", []) => Ok(Datum::TimestampTz(super::environment::clock_micros(&self.db))),
            ("pg_sleep", [Datum::Float8(seconds)]) => {
                let limit = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::from_secs(86_400 * 365));
                self.cancel.run(tokio::time::sleep(limit)).await?;
                Ok(Datum::Void)
            }
            ("set_config", [Datum::Text(name), value, Datum::Bool(local)]) => {
                let value = match value {
                    Datum::Text(value) => value.to_string(),
                    _ => String::new(),
                };
                self.changes.push((name.to_string(), value.clone(), *local));
                Ok(Datum::Text(Arc::from(value)))
            }
            ("pg_cancel_backend", args) => match self.target(args) {
                Some(token) => {
                    token.cancel();
                    Ok(Datum::Bool(true))
                }
                None => Ok(Datum::Bool(false)),
            },
            ("pg_blocking_pids", [Datum::Int4(pid)]) => {
                let locks = self.db.kv.locks().await;
                let waits = locks.iter().filter(|l| !l.granted && l.session == SessionId(*pid));
                let mut pids: Vec<i32> = waits.flat_map(|l| &l.blocked_by).map(|s| s.0).filter(|other| other != pid).collect();
                pids.sort_unstable();
                pids.dedup();
                Ok(crate::catalog::system::array(DataType::INT4, pids))
            }
            (name, args) if name.contains("advisory") => {
                let Self { advisory, database, lock_timeout, warnings, .. } = self;
                let done = advisory.call(name, *database, args, *lock_timeout, warnings).await?;
                done.ok_or_else(|| SqlError::unsupported(format!("function {name}")))
            }
            (name, _) => Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("function {name} is not supported"))),
        }
    }
}
