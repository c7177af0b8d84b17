//! What only the session layer knows: other sessions, settings, this session's prepared statements and cursors, sequences' states.

use async_trait::async_trait;

use crate::catalog::descriptor::Oid;
use crate::error::Result;
use crate::types::DataType;

/// A row of `pg_stat_activity`.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// Session number.
    pub pid: i32,
    /// User.
    pub user: String,
    /// Database.
    pub database: String,
    /// `application_name`
    pub application: String,
    /// Client address without port; empty if there is none.
    pub client_address: String,
    /// Client port.
    pub client_port: Option<i32>,
    /// `active`, `idle`, `idle in transaction` or `idle in transaction (aborted)`.
    pub state: &'static str,
    /// The present or last statement.
    pub query: String,
    /// When the session began, microseconds since 2000-01-01 UTC, as are the others.
    pub backend_start: Option<i64>,
    /// When its transaction began.
    pub xact_start: Option<i64>,
    /// When its statement began.
    pub query_start: Option<i64>,
    /// When `state` last changed.
    pub state_change: Option<i64>,
}

/// A row of `pg_settings`; the value is taken from the session.
#[derive(Clone, Debug, Default)]
pub struct SettingInfo {
    /// Name.
    pub name: &'static str,
    /// Value where the session has none of its own.
    pub default: &'static str,
    /// `ms`, `kB`, ….
    pub unit: Option<&'static str>,
    /// One line.
    pub about: &'static str,
    /// `bool`, `integer`, `real`, `string` or `enum`.
    pub vartype: &'static str,
    /// Bounds of a number.
    pub bounds: Option<(i64, i64)>,
    /// The words of an enum.
    pub words: &'static [&'static str],
    /// Cannot be set.
    pub read_only: bool,
}

/// A row of `pg_locks`.
#[derive(Clone, Debug, Default)]
pub struct Lock {
    /// `tuple` or `advisory`.
    pub locktype: &'static str,
    /// Database of an advisory lock; a row's is that of its table.
    pub database: Option<Oid>,
    /// The row's key below, if it is one.
    pub key: Option<bytes::Bytes>,
    /// `classid`, `objid` and `objsubid` of an advisory lock.
    pub object: Option<(Oid, Oid, i16)>,
    /// The transaction that holds or waits, or the session's owner of advisory locks.
    pub transaction: String,
    /// Session; 0: not known, or a transaction of a node itself.
    pub pid: i32,
    /// `RowExclusiveLock`, ….
    pub mode: &'static str,
    /// Whether it is held rather than waited for.
    pub granted: bool,
}

/// A row of `pg_prepared_statements`.
#[derive(Clone, Debug, Default)]
pub struct PreparedStatement {
    /// Name.
    pub name: String,
    /// Its text.
    pub statement: String,
    /// When it was prepared, microseconds since 2000-01-01 UTC.
    pub prepared: Option<i64>,
    /// Types of its parameters.
    pub parameters: Vec<DataType>,
    /// By `PREPARE` rather than the protocol.
    pub from_sql: bool,
}

/// A row of `pg_cursors`.
#[derive(Clone, Debug, Default)]
pub struct Cursor {
    /// Name.
    pub name: String,
    /// Its query.
    pub statement: String,
    /// `WITH HOLD`
    pub hold: bool,
    /// `BINARY`
    pub binary: bool,
    /// `SCROLL`
    pub scroll: bool,
    /// When it was declared, microseconds since 2000-01-01 UTC.
    pub created: Option<i64>,
}

/// Implemented by the session layer.
#[async_trait]
pub trait SystemExtras: Send + Sync {
    /// The clock, microseconds since 2000-01-01 UTC.
    fn now_micros(&self) -> i64;
    /// Sessions on this gateway.
    fn activity(&self) -> Vec<Activity>;
    /// All settings.
    fn settings(&self) -> Vec<SettingInfo>;
    /// Locks held and waited for, on all nodes that answer.
    async fn locks(&self) -> Vec<Lock> {
        vec![]
    }
    /// Prepared statements of the session that asks (`pg_backend_pid()`).
    fn prepared_statements(&self, pid: i32) -> Vec<PreparedStatement>;
    /// Open cursors of the session that asks.
    fn cursors(&self, pid: i32) -> Vec<Cursor>;
    /// Transactions committed and rolled back on this gateway.
    fn transactions(&self) -> (u64, u64) {
        (0, 0)
    }
    /// The last value a sequence gave, `None` if it never gave one.
    async fn sequence_last_value(&self, sequence: Oid) -> Result<Option<i64>>;
    /// A sequence's last value and whether it was given out, `None` if it was never used. They differ from [`Self::sequence_last_value`] after
    /// `setval(…, false)` only.
    async fn sequence_state(&self, sequence: Oid) -> Result<Option<(i64, bool)>> {
        Ok(self.sequence_last_value(sequence).await?.map(|last| (last, true)))
    }
}
