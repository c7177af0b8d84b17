//! What an execution is given, and what it remembers.
//!
//! Operators hold neither the plan nor the transaction: both are handed to each `next`, so that a portal can be suspended
//! between two Execute messages and a plan can be shared by any number of executions. [`ExecContext`] is what the session lends for one
//! call; [`ExecState`] is what belongs to the execution and outlives the call.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meridian_clock::Rng;
use meridian_txn::api::{Get, Got, Kv, KvError, KvTxn, LockWait, Page, Scan};
use rustc_hash::FxHashMap;

use super::cancel::CancelToken;
use super::eval::EvalCx;
use super::fk::{DeferredChecks, StatementChecks};
use super::memory::MemoryBudget;
use super::relational::cte::CteBuffer;
use super::sequence::Sequences;
use super::spill::SpillArea;
use super::subquery::SubqueryState;
use crate::catalog::descriptor::{RelationDescriptor, TableDescriptor};
use crate::catalog::snapshot::CatalogSnapshot;
use crate::error::{Result, SqlError, SqlState};
use crate::functions::{CatalogLookup, EvalContext, FunctionDef, SessionView};
use crate::plan::expr::Expr;
use crate::plan::node::{Plan, RowChecks};
use crate::types::Datum;

/// `pg_catalog` and `information_schema` as the executor sees them: implemented by `catalog::system`.
#[async_trait]
pub trait SystemTables: Send + Sync {
    /// All rows of a system table, all its columns in order.
    async fn rows(&self, table: &'static str, catalog: &Arc<CatalogSnapshot>, session: &SessionView) -> Result<Vec<Vec<Datum>>>;
}

/// Functions with a body of `FunctionBody::Executor` that are not sequences: implemented by the session.
#[async_trait]
pub trait ExecutorFunctions: Send {
    /// Calls `function`; strictness has been seen to.
    async fn call(&mut self, function: &'static FunctionDef, args: &[Datum]) -> Result<Datum>;
}

/// Bound expressions of tables that the statement does not name: foreign key actions write such tables. Implemented over the binder.
pub trait TableExpressions: Send + Sync {
    /// What every new version of a row of `table` must pass.
    fn row_checks(&self, table: &RelationDescriptor) -> Result<Arc<RowChecks>>;
    /// The default of a column, over no row; `NULL` if it has none.
    fn column_default(&self, table: &RelationDescriptor, column: u32) -> Result<Expr>;
}

/// What the session lends for one call of `next`.
pub struct ExecContext<'a> {
    /// The transaction.
    pub txn: &'a mut dyn KvTxn,
    /// The store, for what lives outside the transaction (sequences).
    pub kv: Arc<dyn Kv>,
    /// Values of `$1`, `$2`, ….
    pub params: Arc<[Datum]>,
    /// Settings that functions see.
    pub session: Arc<SessionView>,
    /// The catalog that the plan was made from.
    pub catalog: Arc<CatalogSnapshot>,
    /// The same for functions and casts.
    pub lookup: Arc<dyn CatalogLookup>,
    /// Virtual tables.
    pub system: Arc<dyn SystemTables>,
    /// `pg_sleep`, `set_config`, advisory locks.
    pub functions: &'a mut dyn ExecutorFunctions,
    /// Binds what foreign key actions need.
    pub expressions: Arc<dyn TableExpressions>,
    /// The session's cached sequence values.
    pub sequences: &'a mut Sequences,
    /// Constraint checks put off to commit.
    pub deferred: &'a mut DeferredChecks,
    /// Randomness.
    pub rng: &'a mut Rng,
    /// Whether to stop.
    pub cancel: CancelToken,
    /// Memory.
    pub memory: MemoryBudget,
    /// Where operators spill.
    pub spill: SpillArea,
    /// `now()`.
    pub transaction_micros: i64,
    /// `statement_timestamp()`.
    pub statement_micros: i64,
    /// `lock_timeout`.
    pub lock_timeout: Option<Duration>,
    /// The statement is the whole transaction and commits right after: inserts may leave the uniqueness check to the commit.
    pub autocommit: bool,
    /// What the execution remembers; swapped in by [`super::Execution`].
    pub state: ExecState,
}

/// What an execution remembers between calls.
#[derive(Default)]
pub struct ExecState {
    /// Rows of enclosing queries; the nearest is last.
    pub outer: Vec<Arc<[Datum]>>,
    /// Results of subqueries, by the address of their plan.
    pub subqueries: FxHashMap<usize, SubqueryState>,
    /// CTEs by id.
    pub ctes: FxHashMap<usize, CteBuffer>,
    /// Work tables of recursive unions by id.
    pub work_tables: FxHashMap<usize, Arc<Vec<super::batch::RowBatch>>>,
    /// Foreign key work of this statement.
    pub checks: StatementChecks,
    /// Rows inserted, updated or deleted by the statement proper.
    pub affected: u64,
    /// Figures by the address of the plan node, when asked for (`EXPLAIN ANALYZE`).
    pub stats: Option<FxHashMap<usize, NodeStats>>,
    /// Nodes of copied plans (CTEs) and the nodes they are copies of.
    pub aliases: FxHashMap<usize, usize>,
}

/// What `EXPLAIN ANALYZE` shows of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Rows it yielded, over all loops.
    pub rows: u64,
    /// How often it was started.
    pub loops: u64,
    /// Microseconds inside it and its inputs.
    pub micros: u64,
    /// KV batches to leaseholders on this node, by it and its inputs.
    pub local_batches: u64,
    /// KV batches over the network, by it and its inputs.
    pub remote_batches: u64,
    /// Distinct ranges the transaction had touched when it was done.
    pub ranges: u64,
}

/// A plan node's identity within an execution: its address, fixed as long as the plan is shared.
pub fn node_id(plan: &Plan) -> usize {
    std::ptr::from_ref(plan) as usize
}

impl ExecContext<'_> {
    /// What pure expressions are evaluated with.
    pub fn eval(&mut self) -> EvalCx<'_> {
        EvalCx::new(
            EvalContext {
                transaction_micros: self.transaction_micros,
                statement_micros: self.statement_micros,
                session: &self.session,
                rng: self.rng,
                catalog: &*self.lookup,
            },
            &self.params,
            &self.state.outer,
        )
    }

    /// `KvTxn::get`, given up on cancellation.
    pub async fn get(&mut self, gets: Vec<Get>) -> Result<Vec<Got>> {
        if gets.is_empty() {
            return Ok(Vec::new());
        }
        self.cancel.run(self.txn.get(gets)).await?.map_err(kv_error)
    }

    /// `KvTxn::scan`, given up on cancellation.
    pub async fn scan(&mut self, scan: Scan) -> Result<Page> {
        self.cancel.run(self.txn.scan(scan)).await?.map_err(kv_error)
    }

    /// `KvTxn::scan_many`, given up on cancellation.
    pub async fn scan_many(&mut self, scans: Vec<Scan>) -> Result<Vec<Page>> {
        self.cancel.run(self.txn.scan_many(scans)).await?.map_err(kv_error)
    }

    /// How long to wait for a lock that the plan leaves to the session.
    pub fn lock_wait(&self, wait: LockWait) -> LockWait {
        match wait {
            LockWait::Block(None) => LockWait::Block(self.lock_timeout),
            other => other,
        }
    }

    /// A relation by OID, which the catalog must have.
    pub fn relation(&self, oid: u32) -> Result<Arc<RelationDescriptor>> {
        self.catalog
            .relations
            .get(&oid)
            .cloned()
            .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation with OID {oid} does not exist")))
    }
}

/// The table of a relation that the planner or the catalog says is one.
pub fn table_of(relation: &RelationDescriptor) -> Result<&TableDescriptor> {
    relation.table().ok_or_else(|| SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{}\" is not a table", relation.name)))
}

/// A KV error as SQL reports it; a user error of a scan program becomes itself again.
pub fn kv_error(error: KvError) -> SqlError {
    match error {
        KvError::Program(program) => super::program::decode_error(&program),
        other => other.into(),
    }
}

impl ExecContext<'_> {
    /// `KvTxn::put`.
    pub async fn put(&mut self, key: bytes::Bytes, value: bytes::Bytes, expect: meridian_txn::api::Expect) -> Result<()> {
        self.txn.put(key, value, expect).await.map_err(kv_error)
    }
    /// `KvTxn::delete`.
    pub async fn delete(&mut self, key: bytes::Bytes) -> Result<()> {
        self.txn.delete(key).await.map_err(kv_error)
    }
}
