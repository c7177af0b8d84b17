//! AST → logical tree.
//!
//! ```text
//!   types      type names
//!   coerce     literals, parameters and casts: every coercion becomes explicit here
//!   scope      what names mean: relations in FROM, columns, CTEs, outer queries
//!   from       FROM: tables, views, subqueries, functions, joins
//!   query      WITH, set operations, VALUES, ORDER BY, LIMIT, locking
//!   select     one SELECT: windows, DISTINCT, the select list; output names are in `names`
//!   group      GROUP BY, grouping sets
//!   locking    FOR UPDATE and its kin
//!   expr       expressions
//!   call       function calls: scalar, aggregate, window, set-returning
//!   special    constructs with syntax of their own: EXTRACT, TRIM, IN, ANY, LIKE, rows, …
//!   target     columns of a table as assignment targets; checks, defaults, generated columns
//!   insert, modify   INSERT; UPDATE and DELETE
//!   stored     expressions and queries that the catalog stores as text
//! ```
//! A [`Binder`] serves one statement. Scopes form a stack, innermost last; a column found in an outer one is just its number.

mod call;
mod coerce;
mod expr;
mod from;
mod group;
mod insert;
mod locking;
mod modify;
mod names;
mod query;
mod scope;
mod select;
mod special;
pub mod stored;
mod target;
pub mod types;

use rustc_hash::FxHashMap;
use sqlparser::ast;
use sqlparser::tokenizer::Span;

use super::logical::*;
use super::{Command, PlanContext};
use crate::catalog::descriptor::Oid;
use crate::error::{Result, SqlError, SqlState};
use crate::front::Source;
use crate::types::DataType;

pub(crate) use scope::{CteEntry, Scope};

/// Expression nesting above which a statement is refused: what the recursive walks over bound trees can take on any thread.
const MAX_EXPR_DEPTH: usize = 1200;
/// Views within views.
const MAX_VIEW_DEPTH: usize = 64;
/// Columns in one select list (PostgreSQL's limit).
const MAX_COLUMNS: usize = 1664;

/// A bound statement: the tree and its output, in order.
pub struct Bound {
    /// The tree.
    pub rel: Rel,
    /// Visible output columns: number and name.
    pub output: Vec<(ColId, String)>,
    /// What it is.
    pub command: Command,
    /// Rows go to the client.
    pub returns_rows: bool,
}

/// What is left of a binder when the statement is bound.
pub struct Finished {
    /// Columns by number.
    pub cols: Vec<ColInfo>,
    /// Subqueries of expressions.
    pub subqueries: Vec<Subquery>,
    /// Relations that were named, sorted.
    pub relations: Vec<Oid>,
    /// See `Prepared`.
    pub cacheable: bool,
    /// Data is written or locked.
    pub writes: bool,
    /// Warnings.
    pub notices: Vec<SqlError>,
}

/// Where a `*` stands, and the columns it means: table and name.
pub(super) type Star = (sqlparser::tokenizer::Location, Vec<(Option<String>, String)>);

/// Binds one statement.
pub struct Binder<'a> {
    pub(super) cx: &'a PlanContext<'a>,
    pub(super) source: Source,
    pub(super) cols: Vec<ColInfo>,
    pub(super) params: &'a mut Vec<Option<DataType>>,
    pub(super) scopes: Vec<Scope>,
    pub(super) ctes: Vec<CteEntry>,
    pub(super) cte_count: usize,
    pub(super) subqueries: Vec<Subquery>,
    pub(super) spans: FxHashMap<ColId, (Span, String)>,
    pub(super) relations: Vec<Oid>,
    pub(super) cacheable: bool,
    pub(super) writes: bool,
    pub(super) notices: Vec<SqlError>,
    pub(super) view_depth: usize,
    pub(super) expr_depth: usize,
    /// Fields of columns that hold records of a function's output columns.
    pub(super) records: FxHashMap<ColId, Vec<(&'static str, DataType)>>,
    /// What each `*` stood for, by where it is: for queries that are stored. `None`: nobody asks.
    pub(super) stars: Option<Vec<Star>>,
}

impl<'a> Binder<'a> {
    /// A binder for one statement of `source`.
    pub fn new(cx: &'a PlanContext<'a>, source: &Source, params: &'a mut Vec<Option<DataType>>) -> Self {
        Binder {
            cx,
            source: source.clone(),
            cols: Vec::new(),
            params,
            scopes: Vec::new(),
            ctes: Vec::new(),
            cte_count: 0,
            subqueries: Vec::new(),
            spans: FxHashMap::default(),
            relations: Vec::new(),
            cacheable: true,
            writes: false,
            notices: Vec::new(),
            view_depth: 0,
            expr_depth: 0,
            records: FxHashMap::default(),
            stars: None,
        }
    }

    /// Binds a query or DML statement.
    pub fn statement(&mut self, statement: &ast::Statement) -> Result<Bound> {
        match statement {
            ast::Statement::Query(query) => {
                let (rel, output, command) = self.top_query(query)?;
                let returns_rows = command == Command::Select || !output.is_empty();
                Ok(Bound { rel, output, command, returns_rows })
            }
            ast::Statement::Insert(insert) => self.dml(Command::Insert, |b| b.insert(insert)),
            ast::Statement::Update(update) => self.dml(Command::Update, |b| b.update(update)),
            ast::Statement::Delete(delete) => self.dml(Command::Delete, |b| b.delete(delete)),
            _ => Err(SqlError::unsupported("this statement")),
        }
    }

    fn dml(&mut self, command: Command, bind: impl FnOnce(&mut Self) -> Result<(Rel, Vec<(ColId, String)>)>) -> Result<Bound> {
        let (rel, output) = bind(self)?;
        Ok(Bound { rel, returns_rows: !output.is_empty(), output, command })
    }

    /// Ends binding: parameters that nothing gave a type to are an error.
    pub fn finish(mut self) -> Result<Finished> {
        for (n, ty) in self.params.iter().enumerate() {
            if ty.is_none_or(|t| t == DataType::UNKNOWN) {
                return Err(SqlError::new(
                    SqlState::INDETERMINATE_DATATYPE,
                    format!("could not determine data type of parameter ${}", n + 1),
                ));
            }
        }
        self.relations.sort_unstable();
        self.relations.dedup();
        Ok(Finished {
            cols: self.cols,
            subqueries: self.subqueries,
            relations: self.relations,
            cacheable: self.cacheable,
            writes: self.writes,
            notices: self.notices,
        })
    }

    pub(super) fn column(&mut self, name: impl Into<String>, ty: DataType, typmod: i32) -> ColId {
        self.cols.push(ColInfo { name: name.into(), ty, typmod, origin: None, not_null: false });
        self.cols.len() - 1
    }

    pub(super) fn column_expr(&self, id: ColId) -> crate::plan::expr::Expr {
        crate::plan::expr::Expr::Column { ordinal: id, ty: self.cols[id].ty }
    }

    /// An error with the position of a piece of syntax.
    pub(super) fn at(&self, span: Span, error: SqlError) -> SqlError {
        // A view's text is not the client's: positions in it would mislead.
        if self.view_depth > 0 { error } else { self.source.at(error, span) }
    }

    pub(super) fn fail<T>(&self, span: Span, code: SqlState, message: impl Into<String>) -> Result<T> {
        Err(self.at(span, SqlError::new(code, message)))
    }

    pub(super) fn unsupported<T>(&self, span: Span, feature: impl std::fmt::Display) -> Result<T> {
        Err(self.at(span, SqlError::unsupported(feature)))
    }
}
