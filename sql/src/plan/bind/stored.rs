//! Expressions and queries that the catalog stores as text: what DDL needs of the binder.

use std::sync::Arc;

use sqlparser::ast::{self, Ident, ObjectName, ObjectNamePart};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::scope::{Found, RelEntry, Scope, ScopeCol};
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};
use crate::front::{Parsed, Source, Statement};
use crate::functions::Volatility;
use crate::plan::PlanContext;
use crate::plan::expr::Expr;
use crate::plan::logical::{any, has_subquery};
use crate::types::{DataType, NO_TYPMOD};

/// A column that a stored expression may name; the bound expression's `Column { ordinal }` is its place in the slice.
pub type Named<'a> = (&'a str, DataType, i32);

/// What a stored expression is for: decides what it may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// DEFAULT: no columns.
    Default,
    /// CHECK.
    Check,
    /// GENERATED … STORED: immutable.
    Generated,
    /// Partial index predicate: immutable.
    Predicate,
    /// Anything: `ALTER … USING`, COPY … WHERE, SPLIT AT values, EXECUTE arguments.
    Other,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Purpose::Default => "DEFAULT expressions",
            Purpose::Check => "check constraints",
            Purpose::Generated => "column generation expressions",
            Purpose::Predicate => "index predicates",
            Purpose::Other => "this expression",
        }
    }
}

/// Binds a scalar expression given as text. `expected`: assigned to a column of this name, type and modifier; `None` keeps its own type
/// (untyped literals become text).
///
/// # Errors
/// As for any expression; `42P17` for a function that is not immutable where it must be.
pub fn bind_text(cx: &PlanContext<'_>, text: &str, columns: &[Named<'_>], purpose: Purpose, expected: Option<Named<'_>>) -> Result<Expr> {
    let (source, expr) = crate::front::parse_expression(text)?;
    bind_ast(cx, &source, &expr, columns, purpose, expected)
}

/// As [`bind_text`], from syntax.
pub fn bind_ast(
    cx: &PlanContext<'_>,
    source: &Source,
    expr: &ast::Expr,
    columns: &[Named<'_>],
    purpose: Purpose,
    expected: Option<Named<'_>>,
) -> Result<Expr> {
    let mut params = Vec::new();
    let mut binder = Binder::new(cx, source, &mut params);
    let mut cols = Vec::new();
    for (name, ty, typmod) in columns {
        let id = binder.column(*name, *ty, *typmod);
        cols.push(ScopeCol { name: (*name).to_owned(), id });
    }
    let place = purpose.name();
    let entry = RelEntry { name: String::new(), schema: None, oid: None, cols: cols.clone(), scalar: false, table: None };
    binder.scopes.push(Scope {
        entries: vec![entry],
        star: cols,
        no_aggregates: Some(place),
        no_windows: Some(place),
        no_sets: Some(place),
        ..Scope::default()
    });
    let bound = binder.expr(expr)?;
    if has_subquery(&bound) {
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot use subquery in {}", place.trim_end_matches('s'))));
    }
    if any(&bound, &|e| matches!(e, Expr::Param { .. })) && purpose != Purpose::Other {
        return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
    }
    if matches!(purpose, Purpose::Generated | Purpose::Predicate) {
        let changing = any(&bound, &|e| match e {
            Expr::Call { function, .. } | Expr::ExecutorCall { function, .. } => function.0.volatility != Volatility::Immutable,
            _ => false,
        });
        if changing {
            let message = match purpose {
                Purpose::Generated => "generation expression is not immutable",
                _ => "functions in index predicate must be marked IMMUTABLE",
            };
            return Err(SqlError::new(SqlState::INVALID_OBJECT_DEFINITION, message));
        }
    }
    let bound = match (expected, purpose) {
        (Some((name, ty, typmod)), Purpose::Default) => {
            let from = bound.ty();
            match binder.try_coerce(bound, ty, typmod, crate::types::casts::CastContext::Assignment, Span::empty())? {
                Some(e) => e,
                None => {
                    let message = format!("column \"{name}\" is of type {} but default expression is of type {}", ty.name(), from.name());
                    return Err(
                        SqlError::new(SqlState::DATATYPE_MISMATCH, message).hint("You will need to rewrite or cast the expression.")
                    );
                }
            }
        }
        (Some((name, ty, typmod)), _) => binder.assign(bound, name, ty, typmod, Span::empty())?,
        (None, Purpose::Check) => binder.boolean(bound, "CHECK", Span::empty())?,
        (None, Purpose::Predicate) => binder.boolean(bound, "WHERE", Span::empty())?,
        (None, _) => binder.settle(bound)?,
    };
    Ok(crate::plan::optimize::fold::fold(bound, cx))
}

/// The default of a column (its expression, or the next value of its identity sequence), coerced to it.
pub fn bind_default(cx: &PlanContext<'_>, column: &ColumnDescriptor) -> Result<Expr> {
    let source = Source::new("");
    let mut params = Vec::new();
    let mut binder = Binder::new(cx, &source, &mut params);
    let expr = binder.default_value(column)?;
    Ok(crate::plan::optimize::fold::fold(expr, cx))
}

/// A view's query, checked and written down.
#[derive(Clone, Debug)]
pub struct StoredQuery {
    /// The query with every relation qualified.
    pub text: String,
    /// Its output: name, type, modifier.
    pub columns: Vec<(String, DataType, i32)>,
    /// Relations it reads.
    pub depends_on: Vec<Oid>,
}

/// Binds a view's query and qualifies the names of relations in it, so that it means the same under any search path.
///
/// # Errors
/// As for the query; `42P16` when two output columns have one name.
pub fn store_query(cx: &PlanContext<'_>, parsed: &Parsed) -> Result<StoredQuery> {
    let Statement::Query { ast: tree, as_of: None } = &parsed.statement else {
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "views must not contain data-modifying statements in WITH"));
    };
    if parsed.parameters > 0 {
        return Err(SqlError::new(SqlState::UNDEFINED_PARAMETER, "there is no parameter $1"));
    }
    crate::front::with_stack(parsed.depth, || {
        let mut params = Vec::new();
        let mut binder = Binder::new(cx, &parsed.source, &mut params);
        let bound = binder.statement(tree)?;
        let mut columns: Vec<(String, DataType, i32)> = Vec::new();
        for (id, name) in &bound.output {
            if columns.iter().any(|c| c.0 == *name) {
                return Err(SqlError::new(SqlState::DUPLICATE_COLUMN, format!("column \"{name}\" specified more than once")));
            }
            let info = &binder.cols[*id];
            columns.push((name.clone(), info.ty, info.typmod));
        }
        let mut copy: ast::Statement = (**tree).clone();
        qualify(cx, &mut copy)?;
        let mut depends_on = std::mem::take(&mut binder.relations);
        depends_on.sort_unstable();
        depends_on.dedup();
        Ok(StoredQuery { text: copy.to_string(), columns, depends_on })
    })
}

/// Qualifies relation names; names of CTEs stay.
fn qualify(cx: &PlanContext<'_>, statement: &mut ast::Statement) -> Result<()> {
    use std::ops::ControlFlow;
    let mut ctes: Vec<String> = Vec::new();
    let _: ControlFlow<()> = ast::visit_relations(&*statement, |_| ControlFlow::Continue(()));
    collect_ctes(statement, &mut ctes);
    let source = Source::new("");
    let mut params = Vec::new();
    let mut binder = Binder::new(cx, &source, &mut params);
    let mut failure = None;
    let _: ControlFlow<()> = ast::visit_relations_mut(statement, |name: &mut ObjectName| {
        let [ObjectNamePart::Identifier(ident)] = &name.0[..] else { return ControlFlow::Continue(()) };
        if ctes.contains(&ident.value) {
            return ControlFlow::Continue(());
        }
        match binder.relation(name) {
            Ok(Found::Relation(_, schema) | Found::System(_, schema)) => {
                name.0.insert(0, ObjectNamePart::Identifier(quoted(&schema)));
                if let Some(ObjectNamePart::Identifier(last)) = name.0.last_mut() {
                    *last = quoted(&last.value);
                }
                ControlFlow::Continue(())
            }
            // A function in FROM is visited too: it has no schema to add.
            Err(e) if e.code == SqlState::UNDEFINED_TABLE => ControlFlow::Continue(()),
            Err(e) => {
                failure = Some(e);
                ControlFlow::Break(())
            }
        }
    });
    match failure {
        Some(e) => Err(e),
        None => Ok(()),
    }
}

fn quoted(name: &str) -> Ident {
    if crate::front::quote_identifier(name) == name { Ident::new(name) } else { Ident::with_quote('"', name) }
}

struct CteNames<'a>(&'a mut Vec<String>);

impl ast::Visitor for CteNames<'_> {
    type Break = ();
    fn pre_visit_query(&mut self, query: &ast::Query) -> std::ops::ControlFlow<()> {
        for cte in query.with.iter().flat_map(|w| &w.cte_tables) {
            self.0.push(cte.alias.name.value.clone());
        }
        std::ops::ControlFlow::Continue(())
    }
}

fn collect_ctes(statement: &ast::Statement, out: &mut Vec<String>) {
    use sqlparser::ast::Visit;
    let _ = statement.visit(&mut CteNames(out));
}

/// Columns of a table for [`bind_text`], in descriptor order.
pub fn columns_of(table: &TableDescriptor) -> Vec<Named<'_>> {
    table.columns.iter().map(|c| (c.name.as_str(), c.ty, c.typmod)).collect()
}

/// Finds a relation as statements do: for DDL. `Ok(None)`: there is none of this name.
pub fn find_relation(cx: &PlanContext<'_>, name: &ObjectName) -> Result<Option<Arc<RelationDescriptor>>> {
    let source = Source::new("");
    let mut params = Vec::new();
    let mut binder = Binder::new(cx, &source, &mut params);
    match binder.relation(name) {
        Ok(Found::Relation(relation, _)) => Ok(Some(relation)),
        Ok(Found::System(..)) => Ok(None),
        Err(e) if e.code == SqlState::UNDEFINED_TABLE => Ok(None),
        Err(e) => Err(e),
    }
}

/// `NO_TYPMOD`, for callers that have no modifier.
pub const ANY_TYPMOD: i32 = NO_TYPMOD;
