//! Columns of a table as targets: assignments, defaults, checks, generated columns.

use std::sync::Arc;

use sqlparser::ast::{self, Spanned};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::scope::{RelEntry, Scope, ScopeCol, idents, name_span};
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};
use crate::plan::expr::Expr;
use crate::plan::logical::ColId;
use crate::plan::node::RowChecks;
use crate::types::{DataType, Datum};

/// `DEFAULT` in the place of a value.
pub(super) fn is_default(e: &ast::Expr) -> bool {
    matches!(e, ast::Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value == "default")
}

impl Binder<'_> {
    /// The target column that a name means.
    pub(super) fn target_column<'t>(
        &self,
        relation: &RelationDescriptor,
        table: &'t TableDescriptor,
        name: &ast::ObjectName,
    ) -> Result<&'t ColumnDescriptor> {
        let parts = idents(name);
        let span = name_span(name);
        let [column] = parts[..] else {
            return match parts[..] {
                [first, _] if table.column_named(&first.value).is_some() => {
                    self.unsupported(span, "assignment to a field of a composite column")
                }
                _ => {
                    let first = parts.first().map_or("", |p| p.value.as_str());
                    self.fail(
                        span,
                        SqlState::UNDEFINED_COLUMN,
                        format!("column \"{first}\" of relation \"{}\" does not exist", relation.name),
                    )
                }
            };
        };
        self.column_of(relation, table, &column.value, span)
    }

    pub(super) fn column_of<'t>(
        &self,
        relation: &RelationDescriptor,
        table: &'t TableDescriptor,
        name: &str,
        span: Span,
    ) -> Result<&'t ColumnDescriptor> {
        match table.column_named(name) {
            Some(column) => Ok(column),
            None => {
                self.fail(span, SqlState::UNDEFINED_COLUMN, format!("column \"{name}\" of relation \"{}\" does not exist", relation.name))
            }
        }
    }

    /// Binds stored text in a scope of its own: `cols` are a table's columns, or none.
    pub(super) fn stored(&mut self, text: &str, entry: Option<RelEntry>) -> Result<(Expr, Span)> {
        let (source, parsed) = crate::front::parse_expression(text)?;
        let scopes = std::mem::take(&mut self.scopes);
        let ctes = std::mem::take(&mut self.ctes);
        let outer = std::mem::replace(&mut self.source, source);
        self.view_depth += 1;
        let star = entry.as_ref().map(|e| e.cols.clone()).unwrap_or_default();
        self.scopes.push(Scope {
            entries: entry.into_iter().collect(),
            star,
            no_aggregates: Some("stored expressions"),
            no_windows: Some("stored expressions"),
            no_sets: Some("stored expressions"),
            ..Scope::default()
        });
        let result = self.expr(&parsed);
        self.view_depth -= 1;
        self.scopes = scopes;
        self.ctes = ctes;
        self.source = outer;
        result.map(|e| (e, Span::empty()))
    }

    /// What a column gets when it is given nothing.
    pub(super) fn default_value(&mut self, column: &ColumnDescriptor) -> Result<Expr> {
        if let Some(text) = &column.default {
            let (expr, span) = self.stored(&text.clone(), None)?;
            return self.assign(expr, &column.name, column.ty, column.typmod, span);
        }
        if column.identity.is_some()
            && let Some(sequence) = column.owned_sequence
        {
            let regclass = Expr::Const { value: Datum::Oid(sequence), ty: DataType::REGCLASS };
            let next = self.call_bound("nextval", vec![regclass], Span::empty())?;
            return self.assign(next, &column.name, column.ty, column.typmod, Span::empty());
        }
        Ok(Self::null(column.ty))
    }

    /// A table's columns under numbers that stand for a row of it.
    pub(super) fn row_entry(&mut self, relation: &Arc<RelationDescriptor>, name: &str) -> (Vec<ColId>, RelEntry) {
        let (rel, mut entry) = self.table(relation, "");
        entry.name = name.to_owned();
        entry.schema = None;
        entry.table = None;
        let ids = rel.outputs();
        // Hidden columns can be named by stored expressions only.
        (ids, entry)
    }

    /// Everything a new version of a row must pass; expressions over `row`.
    pub(super) fn row_checks(&mut self, table: &TableDescriptor, row: &[ColId], entry: &RelEntry) -> Result<RowChecks> {
        let mut checks = RowChecks::default();
        let mut entry = entry.clone();
        entry.cols = table.columns.iter().zip(row).map(|(c, id)| ScopeCol { name: c.name.clone(), id: *id }).collect();
        for (ordinal, column) in table.columns.iter().enumerate() {
            if let Some(text) = &column.generated {
                let (expr, span) = self.stored(text, Some(entry.clone()))?;
                let expr = self.assign(expr, &column.name, column.ty, column.typmod, span)?;
                checks.generated.push((ordinal, expr));
            }
        }
        for check in &table.checks {
            let (expr, span) = self.stored(&check.expression, Some(entry.clone()))?;
            checks.checks.push((check.name.clone(), self.boolean(expr, "CHECK", span)?));
        }
        for index in &table.indexes {
            if let Some(text) = &index.predicate {
                let (expr, span) = self.stored(text, Some(entry.clone()))?;
                checks.predicates.push((index.id, self.boolean(expr, "index predicate", span)?));
            }
        }
        Ok(checks)
    }

    /// SET clauses: column ids and values, bound in the scope on top. DEFAULT is filled in.
    pub(super) fn assignments(
        &mut self,
        relation: &Arc<RelationDescriptor>,
        table: &TableDescriptor,
        list: &[ast::Assignment],
    ) -> Result<Vec<(u32, Expr)>> {
        let mut out: Vec<(u32, Expr)> = Vec::new();
        for assignment in list {
            match &assignment.target {
                ast::AssignmentTarget::ColumnName(name) => {
                    let column = self.target_column(relation, table, name)?;
                    if column.generated.is_some() && is_default(&assignment.value) {
                        // It is computed anyway.
                        continue;
                    }
                    let value = self.assigned(column, &assignment.value, name_span(name))?;
                    out.push((column.id, value));
                }
                ast::AssignmentTarget::Tuple(names) => {
                    let columns = names.iter().map(|n| self.target_column(relation, table, n)).collect::<Result<Vec<_>>>()?;
                    self.tuple_assignment(&columns, &assignment.value, &mut out)?;
                }
            }
        }
        for (n, (id, _)) in out.iter().enumerate() {
            if out[..n].iter().any(|o| o.0 == *id) {
                let name = table.column(*id).map_or("", |c| c.name.as_str());
                return Err(SqlError::new(SqlState::SYNTAX_ERROR, format!("multiple assignments to same column \"{name}\"")));
            }
        }
        Ok(out)
    }

    fn assigned(&mut self, column: &ColumnDescriptor, value: &ast::Expr, span: Span) -> Result<Expr> {
        if is_default(value) {
            return self.default_value(column);
        }
        self.refuse_generated(column, "updated", span)?;
        if column.identity == Some(Identity::Always) {
            let error = SqlError::new(SqlState("428C9"), format!("column \"{}\" can only be updated to DEFAULT", column.name))
                .detail(format!("Column \"{}\" is an identity column defined as GENERATED ALWAYS.", column.name));
            return Err(self.at(span, error));
        }
        let bound = self.expr(value)?;
        self.assign(bound, &column.name, column.ty, column.typmod, value.span())
    }

    pub(super) fn refuse_generated(&self, column: &ColumnDescriptor, what: &str, span: Span) -> Result<()> {
        if column.generated.is_none() {
            return Ok(());
        }
        let message = if what == "updated" {
            format!("column \"{}\" can only be updated to DEFAULT", column.name)
        } else {
            format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name)
        };
        let error = SqlError::new(SqlState("428C9"), message).detail(format!("Column \"{}\" is a generated column.", column.name));
        Err(self.at(span, error))
    }

    /// `(a, b) = (x, y)`, `= ROW(x, y)`, `= (SELECT …)`.
    fn tuple_assignment(&mut self, columns: &[&ColumnDescriptor], value: &ast::Expr, out: &mut Vec<(u32, Expr)>) -> Result<()> {
        let mut inner = value;
        while let ast::Expr::Nested(e) = inner {
            inner = e;
        }
        let count = |b: &Self, n: usize| -> Result<()> {
            if n != columns.len() {
                return b.fail(value.span(), SqlState::SYNTAX_ERROR, "number of columns does not match number of values");
            }
            Ok(())
        };
        match inner {
            ast::Expr::Tuple(values) => {
                count(self, values.len())?;
                for (column, v) in columns.iter().zip(values) {
                    out.push((column.id, self.assigned(column, v, v.span())?));
                }
                Ok(())
            }
            ast::Expr::Subquery(query) => {
                let (index, cols) = self.subquery(query)?;
                count(self, cols.len())?;
                // One subquery for each column; each is the same tree with one column projected.
                for (column, col) in columns.iter().zip(&cols) {
                    self.refuse_generated(column, "updated", value.span())?;
                    let mut copy = self.subqueries[index].clone();
                    copy.cols = vec![*col];
                    let ty = self.cols[*col].ty;
                    let correlated = !copy.free.is_empty();
                    self.subqueries.push(copy);
                    let expr = crate::plan::logical::subquery_expr(
                        self.subqueries.len() - 1,
                        crate::plan::expr::SubqueryKind::Scalar,
                        correlated,
                        ty,
                    );
                    let expr = self.assign(expr, &column.name, column.ty, column.typmod, value.span())?;
                    out.push((column.id, expr));
                }
                Ok(())
            }
            ast::Expr::Function(f) if f.name.to_string() == "row" => {
                let Expr::Row { fields } = self.expr(inner)? else { return Err(SqlError::internal("ROW")) };
                count(self, fields.len())?;
                for (column, field) in columns.iter().zip(fields) {
                    self.refuse_generated(column, "updated", value.span())?;
                    let field = self.assign(field, &column.name, column.ty, column.typmod, value.span())?;
                    out.push((column.id, field));
                }
                Ok(())
            }
            one if columns.len() == 1 => {
                out.push((columns[0].id, self.assigned(columns[0], one, one.span())?));
                Ok(())
            }
            other => {
                let message = "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression";
                self.fail(other.span(), SqlState::FEATURE_NOT_SUPPORTED, message)
            }
        }
    }
}
