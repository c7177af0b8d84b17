//! From AST to plan.
//!
//! ```text
//!   expr           bound, typed expressions
//!   node           physical plan nodes: what the executor runs
//!   logical        the bound logical tree: columns by number
//!   bind/          AST + catalog → logical tree: names, types, coercions, subqueries, aggregates, DML
//!   optimize/      rewrites (constant folding, filter pushdown, decorrelation, column pruning), index selection, join order and method
//!   explain        the plan as PostgreSQL-like text
//! ```
//! The binder and optimizer produce [`node::Plan`]; the executor takes nothing else. Plans are generic: parameters stay
//! `Expr::Param`, so one plan serves every execution of a prepared statement.

pub mod bind;
pub mod explain;
pub mod expr;
pub mod logical;
pub mod node;
pub mod optimize;

use std::sync::Arc;

use crate::catalog::descriptor::Oid;
use crate::catalog::snapshot::CatalogSnapshot;
use crate::error::{Result, SqlError, SqlState};
use crate::front::{Parsed, Statement};
use crate::functions::{CatalogLookup, SessionView};
use crate::types::DataType;

/// A system table as the planner sees it.
#[derive(Clone, Copy, Debug)]
pub struct SystemTable {
    /// The name `SystemScan` carries.
    pub name: &'static str,
    /// Its OID in `pg_class`, 0 if it has none.
    pub oid: Oid,
    /// Columns.
    pub columns: &'static [(&'static str, DataType)],
}

/// Finds a table of `pg_catalog` or `information_schema` by schema and name.
pub type SystemTables = fn(schema: &str, name: &str) -> Option<SystemTable>;

/// What planning depends on.
#[derive(Clone, Copy)]
pub struct PlanContext<'a> {
    /// The catalog at this moment.
    pub catalog: &'a CatalogSnapshot,
    /// The current database.
    pub database: Oid,
    /// Search path, time zone, ….
    pub session: &'a SessionView,
    /// For `regclass` literals.
    pub lookup: Option<&'a dyn CatalogLookup>,
    /// Start of the transaction, for literals like `'now'`: microseconds since 2000-01-01 UTC.
    pub now: Option<i64>,
    /// System tables.
    pub system: SystemTables,
}

/// No system tables: for tests and bootstrap.
pub fn no_system_tables(_schema: &str, _name: &str) -> Option<SystemTable> {
    None
}

/// What kind of statement a plan is, for the command tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `SELECT n`
    Select,
    /// `INSERT 0 n`
    Insert,
    /// `UPDATE n`
    Update,
    /// `DELETE n`
    Delete,
}

/// A planned statement.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What to run.
    pub plan: Arc<node::Plan>,
    /// For the command tag.
    pub command: Command,
    /// Whether rows are returned to the client (a SELECT, or RETURNING).
    pub returns_rows: bool,
    /// Nothing is written or locked: it may run in a read-only transaction.
    pub read_only: bool,
    /// Relations it depends on, sorted: for privileges and invalidation.
    pub relations: Vec<Oid>,
    /// Whether the plan may be used again, by another execution of the same text under the same settings.
    pub cacheable: bool,
    /// Warnings of planning.
    pub notices: Vec<SqlError>,
}

/// Nesting of a plan above which it is refused: operators call each other on the stack of whoever pulls rows.
const MAX_PLAN_DEPTH: usize = 1000;

/// Binds and plans a query or DML statement. `param_types` holds the types that the client declared, and gets those that
/// were inferred; a parameter whose type stays unknown is `42P18`.
///
/// # Errors
/// PostgreSQL's codes and words, with positions; `0A000` for what is not supported.
pub fn prepare(parsed: &Parsed, cx: &PlanContext<'_>, param_types: &mut Vec<Option<DataType>>) -> Result<Prepared> {
    crate::front::with_stack(parsed.depth, || {
        let ast = match &parsed.statement {
            Statement::Query { ast, .. } | Statement::Dml(ast) => ast,
            _ => return Err(SqlError::internal("only queries and data modification have plans")),
        };
        if param_types.len() < parsed.parameters {
            if parsed.parameters > 65_535 {
                return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "there are more than 65535 parameters"));
            }
            param_types.resize(parsed.parameters, None);
        }
        let mut binder = bind::Binder::new(cx, &parsed.source, param_types);
        let bound = binder.statement(ast)?;
        let command = bound.command;
        let returns_rows = bound.returns_rows;
        let finished = binder.finish()?;
        let relations = finished.relations.clone();
        let (cacheable, notices) = (finished.cacheable, finished.notices.clone());
        let read_only = !finished.writes;
        let plan = optimize::optimize(bound, finished, cx)?;
        if plan.depth() > MAX_PLAN_DEPTH {
            return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "the statement's plan is nested too deeply")
                .hint("Simplify it, for instance by joining fewer subqueries at a time."));
        }
        Ok(Prepared { plan: Arc::new(plan), command, returns_rows, read_only, relations, cacheable, notices })
    })
}
