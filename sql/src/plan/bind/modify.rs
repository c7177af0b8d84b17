//! UPDATE and DELETE.

use sqlparser::ast::{self, FromTable, Spanned, TableFactor, TableWithJoins, UpdateTableFromKind};

use super::Binder;
use super::query::Output;
use super::scope::{Scope, name_span};
use super::select::filter;
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};
use crate::plan::logical::*;
use crate::plan::node::{JoinKind, RowLock};
use meridian_txn::api::{LockStrength, LockWait};

/// A computed column.
type Computed = (ColId, crate::plan::expr::Expr);

impl Binder<'_> {
    /// UPDATE … SET … [FROM …] [WHERE …] [RETURNING …]
    pub(super) fn update(&mut self, update: &ast::Update) -> Result<(Rel, Output)> {
        self.writes = true;
        if update.or.is_some() || !update.order_by.is_empty() || update.limit.is_some() || update.output.is_some() {
            return self.fail(update.span(), SqlState::SYNTAX_ERROR, "syntax error in UPDATE: this clause is not PostgreSQL's");
        }
        let from = match &update.from {
            None => &[][..],
            Some(UpdateTableFromKind::AfterSet(from)) => from,
            Some(UpdateTableFromKind::BeforeSet(_)) => {
                return self.fail(update.span(), SqlState::SYNTAX_ERROR, "syntax error at or near \"from\"");
            }
        };
        self.scopes.push(Scope::default());
        let result = self.update_inner(update, from);
        self.scopes.pop();
        result
    }

    fn update_inner(&mut self, update: &ast::Update, from: &[TableWithJoins]) -> Result<(Rel, Output)> {
        let (relation, target_rel, target) = self.modified(&update.table)?;
        let Some(table) = relation.table().cloned() else { return Err(SqlError::internal("not a table")) };
        let (rel, others) = self.others(target_rel, from)?;
        let assignments = self.limited("UPDATE", |b| b.assignments(&relation, &table, &update.assignments))?;
        let rel = self.modify_where(rel, update.selection.as_ref())?;
        // The new row, under the target's names, for checks and RETURNING.
        let entry = self.scopes.last().and_then(|s| s.entries.first().cloned()).ok_or_else(|| SqlError::internal("no target"))?;
        let (new_row, mut new_entry) = self.row_entry(&relation, &entry.name);
        new_entry.schema = entry.schema.clone();
        let checks = self.row_checks(&table, &new_row, &new_entry)?;
        let (returning, output) = self.modify_returning(update.returning.as_deref(), Some(new_entry))?;
        let changes_key = assignments.iter().any(|(id, _)| {
            table.all_indexes().any(|i| i.unique && i.keys.iter().any(|k| k.column == *id))
                || table.primary.keys.iter().any(|k| k.column == *id)
        });
        let strength = if changes_key { LockStrength::Update } else { LockStrength::NoKeyUpdate };
        let source = lock(rel, &relation, &target, &table, strength);
        let rel = UpdateRel { table: relation, source, target, others, assignments, new_row, checks, returning };
        Ok((Rel::Update(Box::new(rel)), output))
    }

    /// DELETE FROM … [USING …] [WHERE …] [RETURNING …]
    pub(super) fn delete(&mut self, delete: &ast::Delete) -> Result<(Rel, Output)> {
        self.writes = true;
        if !delete.tables.is_empty() || !delete.order_by.is_empty() || delete.limit.is_some() || delete.output.is_some() {
            return self.fail(delete.span(), SqlState::SYNTAX_ERROR, "syntax error in DELETE: this clause is not PostgreSQL's");
        }
        let from = match &delete.from {
            FromTable::WithFromKeyword(from) => from,
            FromTable::WithoutKeyword(from) => {
                let span = from.first().map_or_else(|| delete.span(), |t| t.relation.span());
                return Err(self.source.near("syntax error", self.source.clone().slice(span), span.start));
            }
        };
        let [target] = &from[..] else { return self.fail(delete.span(), SqlState::SYNTAX_ERROR, "syntax error at or near \",\"") };
        self.scopes.push(Scope::default());
        let result = self.delete_inner(delete, target);
        self.scopes.pop();
        result
    }

    fn delete_inner(&mut self, delete: &ast::Delete, from: &TableWithJoins) -> Result<(Rel, Output)> {
        let (relation, target_rel, target) = self.modified(from)?;
        let Some(table) = relation.table().cloned() else { return Err(SqlError::internal("not a table")) };
        let (rel, others) = self.others(target_rel, delete.using.as_deref().unwrap_or(&[]))?;
        let rel = self.modify_where(rel, delete.selection.as_ref())?;
        let (returning, output) = self.modify_returning(delete.returning.as_deref(), None)?;
        let source = lock(rel, &relation, &target, &table, LockStrength::Update);
        Ok((Rel::Delete(Box::new(DeleteRel { table: relation, source, target, others, returning })), output))
    }

    /// The target of UPDATE or DELETE, put into the scope on top.
    fn modified(&mut self, table: &TableWithJoins) -> Result<(std::sync::Arc<RelationDescriptor>, Rel, Vec<ColId>)> {
        let TableFactor::Table { name, alias, args: None, .. } = &table.relation else {
            return self.unsupported(table.relation.span(), "modifying this");
        };
        if !table.joins.is_empty() {
            return self.fail(table.relation.span(), SqlState::SYNTAX_ERROR, "syntax error at or near \"join\"");
        }
        let (relation, schema) = self.target_table(name).map_err(|e| self.at(name_span(name), e))?;
        let (mut rel, mut entry) = self.table(&relation, &schema);
        if let Some(alias) = alias {
            entry.name = alias.name.value.clone();
            entry.schema = None;
            if let Rel::Table(t) = &mut rel {
                t.alias = entry.name.clone();
            }
        }
        let target = rel.outputs();
        if let Some(scope) = self.scopes.last_mut() {
            scope.star.extend(entry.cols.iter().cloned());
            scope.entries.push(entry);
        }
        Ok((relation, rel, target))
    }

    /// Joins FROM or USING to the target.
    fn others(&mut self, target: Rel, from: &[TableWithJoins]) -> Result<(Rel, Vec<ColId>)> {
        if from.is_empty() {
            return Ok((target, Vec::new()));
        }
        let others = self.bind_from(from)?;
        let cols = others.outputs();
        Ok((Rel::Join { left: Box::new(target), right: Box::new(others), kind: JoinKind::Inner, on: Vec::new() }, cols))
    }

    fn limited<T>(&mut self, place: &'static str, bind: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if let Some(scope) = self.scopes.last_mut() {
            scope.no_aggregates = Some(place);
            scope.no_windows = Some(place);
            scope.no_sets = Some(place);
        }
        bind(self)
    }

    fn modify_where(&mut self, rel: Rel, selection: Option<&ast::Expr>) -> Result<Rel> {
        let Some(e) = selection else { return Ok(rel) };
        let pred = self.limited("WHERE", |b| {
            let bound = b.expr(e)?;
            b.boolean(bound, "WHERE", e.span())
        })?;
        Ok(filter(rel, pred))
    }

    /// RETURNING sees the new row in the place of the target (UPDATE) and the other tables.
    fn modify_returning(
        &mut self,
        items: Option<&[ast::SelectItem]>,
        new_entry: Option<super::scope::RelEntry>,
    ) -> Result<(Option<Vec<Computed>>, Output)> {
        let Some(items) = items else { return Ok((None, Vec::new())) };
        if let Some(entry) = new_entry
            && let Some(scope) = self.scopes.last_mut()
        {
            let width = entry.cols.len();
            for (at, col) in entry.cols.iter().enumerate().take(width) {
                scope.star[at] = col.clone();
            }
            scope.entries[0] = entry;
        }
        let (exprs, output) = self.returning(items)?;
        Ok((Some(exprs), output))
    }
}

/// The target's rows are locked as they are found.
fn lock(rel: Rel, relation: &std::sync::Arc<RelationDescriptor>, target: &[ColId], table: &TableDescriptor, strength: LockStrength) -> Rel {
    let cols = target.iter().copied().zip(table.columns.iter().map(|c| c.id)).collect();
    let lock = RowLock { strength, wait: LockWait::Block(None) };
    Rel::Lock { input: Box::new(rel), targets: vec![LockRel { table: relation.clone(), cols, lock }] }
}
