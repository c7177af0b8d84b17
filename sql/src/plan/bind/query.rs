//! Queries: WITH, set operations, VALUES, ORDER BY, LIMIT, locking clauses.

use sqlparser::ast::{self, LimitClause, OrderByKind, Query, SetExpr, SetOperator, SetQuantifier, Spanned};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::scope::{CteEntry, Scope};
use crate::error::{Result, SqlError, SqlState};
use crate::functions::coerce::select_common_type;
use crate::plan::Command;
use crate::plan::expr::Expr;
use crate::plan::logical::*;
use crate::plan::node::{SetOpKind, SortKey};
use crate::types::casts::CastContext;
use crate::types::{DataType, Datum};

/// Output columns of a query, in order; a column may be there twice.
pub(super) type Output = Vec<(ColId, String)>;

/// What follows a query's body.
#[derive(Default)]
pub(super) struct Tail<'q> {
    pub order: Vec<&'q ast::OrderByExpr>,
    /// LIMIT and OFFSET as written, until [`Binder::bind_limits`].
    pub limit_clause: Option<(&'q ast::Expr, &'static str)>,
    pub offset_clause: Option<&'q ast::Expr>,
    pub limit: Option<Expr>,
    pub offset: Option<Expr>,
    pub with_ties: bool,
    pub locks: &'q [ast::LockClause],
}

impl Tail<'_> {
    fn is_empty(&self) -> bool {
        let limits = self.limit.is_some() || self.limit_clause.is_some() || self.offset_clause.is_some();
        self.order.is_empty() && self.locks.is_empty() && !limits
    }
}

impl Binder<'_> {
    /// The statement's own query; it may be data modification under WITH.
    pub(super) fn top_query(&mut self, query: &Query) -> Result<(Rel, Output, Command)> {
        let command = match &*query.body {
            SetExpr::Insert(_) => Command::Insert,
            SetExpr::Update(_) => Command::Update,
            SetExpr::Delete(_) => Command::Delete,
            _ => Command::Select,
        };
        let (rel, output) = self.query(query)?;
        Ok((rel, output, command))
    }

    /// Binds a query; untyped literals in its output become text.
    pub(super) fn query(&mut self, query: &Query) -> Result<(Rel, Output)> {
        self.query_as(query, true)
    }

    /// As [`Binder::query`]; `resolve` false leaves untyped literals for the caller to type (set operations, INSERT).
    pub(super) fn query_as(&mut self, query: &Query, resolve: bool) -> Result<(Rel, Output)> {
        self.expr_depth += 8;
        let result = if self.expr_depth > super::MAX_EXPR_DEPTH * 4 {
            Err(crate::front::too_deep())
        } else {
            stacker::maybe_grow(512 << 10, 8 << 20, || self.query_inner(query, resolve))
        };
        self.expr_depth -= 8;
        result
    }

    fn query_inner(&mut self, query: &Query, resolve: bool) -> Result<(Rel, Output)> {
        if query.for_clause.is_some() || query.settings.is_some() || query.format_clause.is_some() || !query.pipe_operators.is_empty() {
            return Err(self.source.near("syntax error", "for", query.span().start));
        }
        let visible = self.ctes.len();
        let ctes = match &query.with {
            Some(with) => self.with(with)?,
            None => Vec::new(),
        };
        let tail = self.tail(query)?;
        let result = self.body(&query.body, tail, resolve);
        self.ctes.truncate(visible);
        let (rel, output) = result?;
        Ok(if ctes.is_empty() { (rel, output) } else { (Rel::With { ctes, body: Box::new(rel) }, output) })
    }

    fn tail<'q>(&mut self, query: &'q Query) -> Result<Tail<'q>> {
        let mut tail = Tail { locks: &query.locks, ..Tail::default() };
        if let Some(order) = &query.order_by {
            match &order.kind {
                OrderByKind::Expressions(keys) => tail.order = keys.iter().collect(),
                OrderByKind::All(_) => return Err(self.source.near("syntax error", "all", order.span().start)),
            }
        }
        match &query.limit_clause {
            None => {}
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) => {
                if !limit_by.is_empty() {
                    return Err(self.source.near("syntax error", "by", limit_by[0].span().start));
                }
                tail.limit_clause = limit.as_ref().map(|e| (e, "LIMIT"));
                tail.offset_clause = offset.as_ref().map(|o| &o.value);
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                let error = SqlError::new(SqlState::SYNTAX_ERROR, "LIMIT #,# syntax is not supported")
                    .hint("Use separate LIMIT and OFFSET clauses.");
                return Err(error);
            }
        }
        if let Some(fetch) = &query.fetch {
            if fetch.percent {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"percent\""));
            }
            match &fetch.quantity {
                Some(e) => tail.limit_clause = Some((e, "LIMIT")),
                None => tail.limit = Some(Expr::Const { value: Datum::Int8(1), ty: DataType::INT8 }),
            }
            tail.with_ties = fetch.with_ties;
            if fetch.with_ties && tail.order.is_empty() {
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, "WITH TIES cannot be specified without ORDER BY clause"));
            }
        }
        Ok(tail)
    }

    /// Binds LIMIT and OFFSET in the scope on top. The query's own columns are in sight, as in PostgreSQL, and refused.
    pub(super) fn bind_limits(&mut self, tail: &mut Tail<'_>) -> Result<()> {
        if let Some(e) = tail.offset_clause.take() {
            tail.offset = self.limit_expr(e, "OFFSET")?;
        }
        if let Some((e, what)) = tail.limit_clause.take() {
            // LIMIT ALL and LIMIT NULL are no limit.
            tail.limit = self.limit_expr(e, what)?;
        }
        Ok(())
    }

    fn limit_expr(&mut self, e: &ast::Expr, what: &'static str) -> Result<Option<Expr>> {
        let bound = self.restricted(what, |b| b.expr(e))?;
        if let Expr::Const { value: Datum::Null, .. } = bound {
            return Ok(None);
        }
        let ty = bound.ty();
        let own = self.scopes.last().map(|s| s.entries.iter().flat_map(|e| &e.cols).map(|c| c.id).collect::<Vec<_>>()).unwrap_or_default();
        let used = columns(&bound, &self.subqueries);
        let Some(bound) = self.try_coerce(bound, DataType::INT8, -1, CastContext::Assignment, e.span())? else {
            let message = format!("argument of {what} must be type bigint, not type {}", ty.name());
            return self.fail(e.span(), SqlState::DATATYPE_MISMATCH, message);
        };
        if own.iter().any(|c| used.contains(c)) {
            return self.fail(e.span(), SqlState::INVALID_COLUMN_REFERENCE, format!("argument of {what} must not contain variables"));
        }
        Ok(Some(bound))
    }

    fn body(&mut self, body: &SetExpr, tail: Tail<'_>, resolve: bool) -> Result<(Rel, Output)> {
        match body {
            SetExpr::Select(select) => self.select(select, tail, resolve),
            SetExpr::Query(inner) => {
                if tail.is_empty() {
                    return self.query_as(inner, resolve);
                }
                let (rel, output) = self.query_as(inner, true)?;
                self.finish_tail(rel, output, tail)
            }
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                let (rel, output) = self.set_operation(left, *op, *set_quantifier, right, body.span())?;
                self.finish_tail(rel, output, tail)
            }
            SetExpr::Values(values) => {
                let (rel, output) = self.values(values, resolve)?;
                self.finish_tail(rel, output, tail)
            }
            SetExpr::Insert(ast::Statement::Insert(insert)) => self.insert(insert),
            SetExpr::Update(ast::Statement::Update(update)) => self.update(update),
            SetExpr::Delete(ast::Statement::Delete(delete)) => self.delete(delete),
            other => self.unsupported(other.span(), "this query"),
        }
    }

    /// ORDER BY and LIMIT over a finished output: only its names and ordinals can be used.
    fn finish_tail(&mut self, mut rel: Rel, output: Output, mut tail: Tail<'_>) -> Result<(Rel, Output)> {
        self.scopes.push(Scope::default());
        let limits = self.bind_limits(&mut tail);
        self.scopes.pop();
        limits?;
        if !tail.locks.is_empty() {
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "FOR UPDATE is not allowed with UNION/INTERSECT/EXCEPT"));
        }
        let mut keys: Vec<SortKey> = Vec::new();
        for key in &tail.order {
            let column = match self.output_position(&key.expr, &output, "ORDER BY")? {
                Some(n) => output[n].0,
                None => match &key.expr {
                    ast::Expr::Identifier(ident) => {
                        return self.fail(ident.span, SqlState::UNDEFINED_COLUMN, format!("column \"{}\" does not exist", ident.value));
                    }
                    other => {
                        let error = SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "invalid UNION/INTERSECT/EXCEPT ORDER BY clause")
                            .detail("Only result column names can be used, not expressions or functions.")
                            .hint("Add the expression/function to every SELECT, or move the UNION into a FROM clause.");
                        return Err(self.at(other.span(), error));
                    }
                },
            };
            let expr = self.column_expr(column);
            keys.push(self.sort_key(expr, &key.options, key.expr.span())?);
        }
        if !keys.is_empty() {
            rel = Rel::Sort { input: Box::new(rel), keys: keys.clone() };
        }
        if tail.limit.is_some() || tail.offset.is_some() {
            let with_ties = tail.with_ties.then_some(keys);
            rel = Rel::Limit { input: Box::new(rel), limit: tail.limit, offset: tail.offset, with_ties };
        }
        Ok((rel, output))
    }

    /// An ordinal or an output name. Of two outputs with one name, they must be the same column.
    pub(super) fn output_position(&self, e: &ast::Expr, output: &[(ColId, String)], clause: &str) -> Result<Option<usize>> {
        match e {
            ast::Expr::Value(v) => match &v.value {
                ast::Value::Number(text, _) => match text.parse::<usize>() {
                    Ok(n) if (1..=output.len()).contains(&n) => Ok(Some(n - 1)),
                    Ok(n) => self.fail(v.span, SqlState::INVALID_COLUMN_REFERENCE, format!("{clause} position {n} is not in select list")),
                    Err(_) => self.fail(v.span, SqlState::SYNTAX_ERROR, format!("non-integer constant in {clause}")),
                },
                ast::Value::Null | ast::Value::Placeholder(_) => Ok(None),
                _ => self.fail(v.span, SqlState::SYNTAX_ERROR, format!("non-integer constant in {clause}")),
            },
            ast::Expr::Identifier(ident) => {
                let mut found = output.iter().enumerate().filter(|(_, o)| o.1 == ident.value);
                let Some((first, o)) = found.next() else { return Ok(None) };
                if found.any(|(_, other)| other.0 != o.0) {
                    return self.fail(ident.span, SqlState::AMBIGUOUS_COLUMN, format!("{clause} \"{}\" is ambiguous", ident.value));
                }
                Ok(Some(first))
            }
            _ => Ok(None),
        }
    }

    fn set_operation(
        &mut self,
        left: &SetExpr,
        op: SetOperator,
        quantifier: SetQuantifier,
        right: &SetExpr,
        span: Span,
    ) -> Result<(Rel, Output)> {
        let (kind, name) = match op {
            SetOperator::Union => (SetOpKind::Union, "UNION"),
            SetOperator::Intersect => (SetOpKind::Intersect, "INTERSECT"),
            SetOperator::Except => (SetOpKind::Except, "EXCEPT"),
            SetOperator::Minus => return Err(self.source.near("syntax error", "minus", span.start)),
        };
        let all = match quantifier {
            SetQuantifier::All => true,
            SetQuantifier::Distinct | SetQuantifier::None => false,
            _ => return Err(self.source.near("syntax error", "by", span.start)),
        };
        let (mut lrel, lout) = self.operand(left)?;
        let (mut rrel, rout) = self.operand(right)?;
        if lout.len() != rout.len() {
            return self.fail(right.span(), SqlState::SYNTAX_ERROR, format!("each {name} query must have the same number of columns"));
        }
        let (mut lcols, mut rcols, mut cols, mut output) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut ltypes, mut rtypes) = (Vec::new(), Vec::new());
        for ((l, column), (r, _)) in lout.iter().zip(&rout) {
            let ty = select_common_type(&[self.cols[*l].ty, self.cols[*r].ty], name).map_err(|e| self.at(right.span(), e))?;
            let typmod = if self.cols[*l].typmod == self.cols[*r].typmod && self.cols[*l].ty == self.cols[*r].ty {
                self.cols[*l].typmod
            } else {
                -1
            };
            if !all && ty == DataType::JSON {
                return self.fail(right.span(), SqlState::UNDEFINED_FUNCTION, "could not identify an equality operator for type json");
            }
            ltypes.push((*l, ty));
            rtypes.push((*r, ty));
            let id = self.column(column.clone(), ty, typmod);
            cols.push(id);
            output.push((id, column.clone()));
        }
        (lrel, lcols) = self.retype(lrel, &ltypes, lcols)?;
        (rrel, rcols) = self.retype(rrel, &rtypes, rcols)?;
        let rel = Rel::SetOp { kind, all, cols, left: Box::new(lrel), left_cols: lcols, right: Box::new(rrel), right_cols: rcols };
        Ok((rel, output))
    }

    fn operand(&mut self, body: &SetExpr) -> Result<(Rel, Output)> {
        // A chain of set operations nests to the left as deep as it is long.
        self.expr_depth += 1;
        let result = if self.expr_depth > super::MAX_EXPR_DEPTH * 2 {
            Err(crate::front::too_deep())
        } else {
            stacker::maybe_grow(512 << 10, 8 << 20, || self.body(body, Tail::default(), false))
        };
        self.expr_depth -= 1;
        result
    }

    /// Gives output columns the types asked for: untyped literals are read as them in place, others are cast on top.
    pub(super) fn retype(&mut self, mut rel: Rel, types: &[(ColId, DataType)], mut out: Vec<ColId>) -> Result<(Rel, Vec<ColId>)> {
        for (col, ty) in types {
            if self.cols[*col].ty == DataType::UNKNOWN {
                self.type_literal(&mut rel, *col, *ty)?;
            }
        }
        let mut exprs: Vec<(ColId, Expr)> = Vec::new();
        let mut changed = false;
        for (col, ty) in types {
            let input = self.column_expr(*col);
            if input.ty() == *ty {
                if !exprs.iter().any(|e| e.0 == *col) {
                    exprs.push((*col, input));
                }
                out.push(*col);
            } else {
                changed = true;
                let name = self.cols[*col].name.clone();
                let cast = self.coerce(input, *ty, Span::empty())?;
                let id = self.column(name, *ty, -1);
                exprs.push((id, cast));
                out.push(id);
            }
        }
        if changed {
            rel = Rel::Project { input: Box::new(rel), exprs };
        }
        Ok((rel, out))
    }

    /// Types an `unknown` output column where it is made, if it is a literal or parameter there.
    fn type_literal(&mut self, rel: &mut Rel, col: ColId, ty: DataType) -> Result<()> {
        match rel {
            Rel::Project { exprs, .. } => {
                for (id, e) in exprs.iter_mut() {
                    if *id == col && e.ty() == DataType::UNKNOWN {
                        let literal = std::mem::replace(e, Self::null(ty));
                        *e = self.coerce(literal, ty, Span::empty())?;
                        self.cols[col].ty = ty;
                    }
                }
            }
            Rel::Values { cols, rows } => {
                if let Some(n) = cols.iter().position(|c| *c == col) {
                    for row in rows.iter_mut() {
                        let literal = std::mem::replace(&mut row[n], Self::null(ty));
                        row[n] = self.coerce(literal, ty, Span::empty())?;
                    }
                    self.cols[col].ty = ty;
                }
            }
            Rel::Sort { input, .. } | Rel::Limit { input, .. } | Rel::Filter { input, .. } => self.type_literal(input, col, ty)?,
            Rel::With { body, .. } => self.type_literal(body, col, ty)?,
            _ => {}
        }
        Ok(())
    }

    fn values(&mut self, values: &ast::Values, resolve: bool) -> Result<(Rel, Output)> {
        let width = values.rows.first().map_or(0, |r| r.content.len());
        let mut columns: Vec<Vec<Expr>> = (0..width).map(|_| Vec::with_capacity(values.rows.len())).collect();
        self.scopes.push(Scope { no_aggregates: Some("VALUES"), no_windows: Some("VALUES"), no_sets: Some("VALUES"), ..Scope::default() });
        let result = self.value_rows(values, width, &mut columns);
        self.scopes.pop();
        result?;
        let (mut cols, mut output) = (Vec::new(), Vec::new());
        for (n, column) in columns.iter_mut().enumerate() {
            let exprs = std::mem::take(column);
            let all_unknown = exprs.iter().all(|e| e.ty() == DataType::UNKNOWN);
            let ty = if all_unknown && !resolve {
                *column = exprs;
                DataType::UNKNOWN
            } else {
                let spans: Vec<Span> = values.rows.iter().filter_map(|r| r.content.get(n).map(Spanned::span)).collect();
                let (exprs, ty) = self.unify(exprs, "VALUES", &spans)?;
                *column = exprs;
                ty
            };
            let name = format!("column{}", n + 1);
            let id = self.column(name.clone(), ty, -1);
            cols.push(id);
            output.push((id, name));
        }
        let mut rows: Vec<Vec<Expr>> = (0..values.rows.len()).map(|_| Vec::with_capacity(width)).collect();
        for column in columns {
            for (row, e) in rows.iter_mut().zip(column) {
                row.push(e);
            }
        }
        Ok((Rel::Values { cols, rows }, output))
    }

    fn value_rows(&mut self, values: &ast::Values, width: usize, columns: &mut [Vec<Expr>]) -> Result<()> {
        for row in &values.rows {
            if row.content.len() != width {
                let span = row.content.first().map_or_else(Span::empty, Spanned::span);
                return self.fail(span, SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length");
            }
            for (column, e) in columns.iter_mut().zip(&row.content) {
                if super::target::is_default(e) {
                    return self.fail(e.span(), SqlState::SYNTAX_ERROR, "DEFAULT is not allowed in this context");
                }
                let bound = self.expr(e)?;
                column.push(bound);
            }
        }
        Ok(())
    }

    fn with(&mut self, with: &ast::With) -> Result<Vec<CteRel>> {
        let mut out: Vec<CteRel> = Vec::new();
        for cte in &with.cte_tables {
            let name = cte.alias.name.value.clone();
            if out.iter().any(|c| c.name == name) {
                return self.fail(
                    cte.alias.name.span,
                    SqlState::DUPLICATE_ALIAS,
                    format!("WITH query name \"{name}\" specified more than once"),
                );
            }
            let modifies = matches!(&*cte.query.body, SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_));
            if modifies && self.scopes.iter().any(|s| !s.entries.is_empty()) {
                let message = "WITH clause containing a data-modifying statement must be at the top level";
                return self.fail(cte.alias.name.span, SqlState::FEATURE_NOT_SUPPORTED, message);
            }
            self.cte_count += 1;
            let id = self.cte_count;
            let recursive = with.recursive && refers_to(&cte.query, &name);
            let (rel, output) = if recursive { self.recursive(cte, id)? } else { self.query(&cte.query)? };
            let mut names: Vec<String> = output.iter().map(|o| o.1.clone()).collect();
            if cte.alias.columns.len() > names.len() {
                let message = format!(
                    "WITH query \"{name}\" has {} columns available but {} columns specified",
                    names.len(),
                    cte.alias.columns.len()
                );
                return self.fail(cte.alias.name.span, SqlState::INVALID_COLUMN_REFERENCE, message);
            }
            for (to, from) in names.iter_mut().zip(&cte.alias.columns) {
                *to = from.name.value.clone();
            }
            let cols: Vec<ColId> = output.iter().map(|o| o.0).collect();
            let described = names.into_iter().zip(&cols).map(|(n, c)| (n, self.cols[*c].ty, self.cols[*c].typmod)).collect();
            self.ctes.push(CteEntry { name: name.clone(), id, cols: described, recursive: false });
            let materialized = match &cte.materialized {
                Some(ast::CteAsMaterialized::Materialized) => Some(true),
                Some(ast::CteAsMaterialized::NotMaterialized) => Some(false),
                None => None,
            };
            out.push(CteRel { id, name, rel, cols, modifies, materialized });
        }
        Ok(out)
    }

    fn recursive(&mut self, cte: &ast::Cte, id: usize) -> Result<(Rel, Output)> {
        let name = &cte.alias.name.value;
        let span = cte.alias.name.span;
        let SetExpr::SetOperation { left, op: SetOperator::Union, set_quantifier, right } = &*cte.query.body else {
            let message = format!("recursive query \"{name}\" does not have the form non-recursive-term UNION [ALL] recursive-term");
            return self.fail(span, SqlState::INVALID_RECURSION, message);
        };
        if cte.query.order_by.is_some() {
            return self.unsupported(span, "ORDER BY in a recursive query");
        }
        if cte.query.limit_clause.is_some() || cte.query.fetch.is_some() {
            return self.unsupported(span, "LIMIT in a recursive query");
        }
        let visible = self.ctes.len();
        let inner = match &cte.query.with {
            Some(with) => self.with(with)?,
            None => Vec::new(),
        };
        let (base, output) = self.body(left, Tail::default(), true)?;
        let base_cols: Vec<ColId> = output.iter().map(|o| o.0).collect();
        let mut described = Vec::new();
        for (n, (col, column)) in output.iter().enumerate() {
            let shown = cte.alias.columns.get(n).map_or(column.clone(), |c| c.name.value.clone());
            described.push((shown, self.cols[*col].ty, self.cols[*col].typmod));
        }
        self.ctes.push(CteEntry { name: name.clone(), id, cols: described, recursive: true });
        let (step, step_output) = self.body(right, Tail::default(), false)?;
        self.ctes.truncate(visible);
        if step_output.len() != output.len() {
            return self.fail(right.span(), SqlState::SYNTAX_ERROR, "each UNION query must have the same number of columns");
        }
        let mut types = Vec::new();
        for (n, ((b, _), (s, _))) in output.iter().zip(&step_output).enumerate() {
            let (want, have) = (self.cols[*b].ty, self.cols[*s].ty);
            let overall = select_common_type(&[want, have], "UNION").map_err(|e| self.at(right.span(), e))?;
            if overall != want {
                let message = format!(
                    "recursive query \"{name}\" column {} has type {} in non-recursive term but type {} overall",
                    n + 1,
                    want.name(),
                    overall.name()
                );
                let error = SqlError::new(SqlState::DATATYPE_MISMATCH, message)
                    .hint("Cast the output of the non-recursive term to the correct type.");
                return Err(self.at(left.span(), error));
            }
            types.push((*s, want));
        }
        let (step, step_cols) = self.retype(step, &types, Vec::new())?;
        let distinct = !matches!(set_quantifier, SetQuantifier::All);
        let mut cols = Vec::new();
        let mut out = Vec::new();
        for (col, column) in &output {
            let fresh = self.column(column.clone(), self.cols[*col].ty, self.cols[*col].typmod);
            cols.push(fresh);
            out.push((fresh, column.clone()));
        }
        let rel = Rel::Recursive { id, cols, base: Box::new(base), base_cols, step: Box::new(step), step_cols, distinct };
        Ok(if inner.is_empty() { (rel, out) } else { (Rel::With { ctes: inner, body: Box::new(rel) }, out) })
    }
}

/// Whether a query names a relation anywhere in it.
fn refers_to(query: &Query, name: &str) -> bool {
    use std::ops::ControlFlow;
    let found: ControlFlow<()> = ast::visit_relations(query, |relation| match &relation.0[..] {
        [ast::ObjectNamePart::Identifier(ident)] if ident.value == name => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}
