//! INSERT.

use std::sync::Arc;

use sqlparser::ast::{self, ConflictTarget, OnConflictAction, OnInsert, SetExpr, Spanned, TableObject};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::query::Output;
use super::scope::{RelEntry, Scope, name_span};
use super::target::is_default;
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};
use crate::plan::expr::Expr;
use crate::plan::logical::*;
use crate::plan::node::{ConflictUpdate, OnConflict};
use crate::types::DataType;

impl Binder<'_> {
    /// INSERT … [ON CONFLICT …] [RETURNING …]
    pub(super) fn insert(&mut self, insert: &ast::Insert) -> Result<(Rel, Output)> {
        self.writes = true;
        let TableObject::TableName(name) = &insert.table else { return self.unsupported(insert.span(), "INSERT into this") };
        let foreign = insert.or.is_some()
            || insert.overwrite
            || !insert.assignments.is_empty()
            || insert.replace_into
            || insert.insert_alias.is_some();
        if foreign || insert.partitioned.is_some() || insert.output.is_some() || insert.ignore {
            return self.fail(name_span(name), SqlState::SYNTAX_ERROR, "syntax error in INSERT: this clause is not PostgreSQL's");
        }
        let (relation, schema) = self.target_table(name).map_err(|e| self.at(name_span(name), e))?;
        let Some(table) = relation.table().cloned() else { return Err(SqlError::internal("not a table")) };
        let mut targets: Vec<usize> = Vec::new();
        for column in &insert.columns {
            let column_desc = self.target_column(&relation, &table, column)?;
            let at = table.columns.iter().position(|c| c.id == column_desc.id).unwrap_or(0);
            if targets.contains(&at) {
                let message = format!("column \"{}\" specified more than once", column_desc.name);
                return self.fail(name_span(column), SqlState::DUPLICATE_COLUMN, message);
            }
            targets.push(at);
        }
        let explicit = !targets.is_empty();
        if !explicit {
            targets = (0..table.columns.len()).filter(|n| !table.columns[*n].hidden).collect();
        }
        let visible = self.ctes.len();
        let source = self.insert_source(insert, &relation, &table, &targets, explicit);
        let (source, source_cols, columns, ctes) = match source {
            Ok(source) => source,
            Err(e) => {
                self.ctes.truncate(visible);
                return Err(e);
            }
        };
        let result = self.insert_rest(insert, relation, schema, table, source, source_cols, columns);
        self.ctes.truncate(visible);
        let (rel, output) = result?;
        Ok(if ctes.is_empty() { (rel, output) } else { (Rel::With { ctes, body: Box::new(rel) }, output) })
    }

    /// The rows to insert: one column for each stored column that is not generated, defaults filled in.
    #[allow(clippy::type_complexity)]
    fn insert_source(
        &mut self,
        insert: &ast::Insert,
        relation: &RelationDescriptor,
        table: &TableDescriptor,
        targets: &[usize],
        explicit: bool,
    ) -> Result<(Rel, Vec<ColId>, Vec<u32>, Vec<CteRel>)> {
        let overriding = insert.overriding.as_ref().map(ToString::to_string).unwrap_or_default().to_lowercase();
        let system = overriding.contains("system");
        let user = overriding.contains("user");
        let stored: Vec<usize> = (0..table.columns.len()).filter(|n| table.columns[*n].generated.is_none()).collect();
        let columns: Vec<u32> = stored.iter().map(|n| table.columns[*n].id).collect();
        let too_many = |b: &Self, given: usize, span: Span| -> Result<()> {
            if given > targets.len() {
                return b.fail(span, SqlState::SYNTAX_ERROR, "INSERT has more expressions than target columns");
            }
            if explicit && given < targets.len() {
                return b.fail(span, SqlState::SYNTAX_ERROR, "INSERT has more target columns than expressions");
            }
            Ok(())
        };
        let always = |b: &Self, n: usize, span: Span| -> Result<()> {
            let column = &table.columns[n];
            b.refuse_generated(column, "inserted", span)?;
            if column.identity == Some(Identity::Always) && !system && !user {
                let error = SqlError::new(SqlState("428C9"), format!("cannot insert a non-DEFAULT value into column \"{}\"", column.name))
                    .detail(format!("Column \"{}\" is an identity column defined as GENERATED ALWAYS.", column.name))
                    .hint("Use OVERRIDING SYSTEM VALUE to override.");
                return Err(b.at(span, error));
            }
            Ok(())
        };
        let _ = relation;
        let fresh = |b: &mut Self| -> Vec<ColId> {
            stored.iter().map(|n| b.column(table.columns[*n].name.clone(), table.columns[*n].ty, table.columns[*n].typmod)).collect()
        };
        let Some(query) = &insert.source else {
            // DEFAULT VALUES
            let row = stored.iter().map(|n| self.default_value(&table.columns[*n])).collect::<Result<Vec<_>>>()?;
            let cols = fresh(self);
            return Ok((Rel::Values { cols: cols.clone(), rows: vec![row] }, cols, columns, Vec::new()));
        };
        // VALUES directly under INSERT: each expression is assigned to its column, DEFAULT is allowed.
        if let SetExpr::Values(values) = &*query.body
            && query.with.is_none()
            && query.order_by.is_none()
            && query.limit_clause.is_none()
        {
            let mut defaults: Vec<Option<Expr>> = vec![None; table.columns.len()];
            let mut rows = Vec::with_capacity(values.rows.len());
            self.scopes.push(Scope {
                no_aggregates: Some("VALUES"),
                no_windows: Some("VALUES"),
                no_sets: Some("VALUES"),
                ..Scope::default()
            });
            for row in &values.rows {
                if row.content.len() != values.rows[0].content.len() {
                    let span = row.content.first().map_or_else(Span::empty, Spanned::span);
                    return self.fail(span, SqlState::SYNTAX_ERROR, "VALUES lists must all be the same length");
                }
                let span = row.content.get(targets.len()).or(row.content.first()).map_or_else(Span::empty, Spanned::span);
                too_many(self, row.content.len(), span)?;
                let mut out: Vec<Expr> = Vec::with_capacity(stored.len());
                for n in &stored {
                    let column = &table.columns[*n];
                    let given = targets.iter().position(|t| t == n).and_then(|at| row.content.get(at));
                    let value = match given {
                        Some(e) if !(is_default(e) || user && column.identity.is_some()) => {
                            always(self, *n, e.span())?;
                            let bound = self.expr(e)?;
                            Some(self.assign(bound, &column.name, column.ty, column.typmod, e.span())?)
                        }
                        _ => None,
                    };
                    out.push(match value {
                        Some(value) => value,
                        None => match &defaults[*n] {
                            Some(default) => default.clone(),
                            None => {
                                let default = self.default_value(column)?;
                                defaults[*n].insert(default).clone()
                            }
                        },
                    });
                }
                for (at, e) in row.content.iter().enumerate() {
                    let n = targets[at];
                    if table.columns[n].generated.is_some() && !is_default(e) {
                        always(self, n, e.span())?;
                    }
                }
                rows.push(out);
            }
            self.scopes.pop();
            let cols = fresh(self);
            return Ok((Rel::Values { cols: cols.clone(), rows }, cols, columns, Vec::new()));
        }
        let (rel, output) = self.query_as(query, false)?;
        too_many(self, output.len(), query.span())?;
        // Untyped literals of the select list take the column's type.
        let mut types = Vec::new();
        for (at, (col, _)) in output.iter().enumerate() {
            let column = &table.columns[targets[at]];
            always(self, targets[at], query.span())?;
            types.push((*col, if self.cols[*col].ty == DataType::UNKNOWN { column.ty } else { self.cols[*col].ty }));
        }
        let (rel, given) = self.retype(rel, &types, Vec::new())?;
        let mut exprs = Vec::new();
        let mut cols = Vec::new();
        for n in &stored {
            let column = &table.columns[*n];
            let value = match targets.iter().position(|t| t == n).and_then(|at| given.get(at)) {
                Some(col) if !(user && column.identity.is_some()) => {
                    let input = self.column_expr(*col);
                    self.assign(input, &column.name, column.ty, column.typmod, query.span())?
                }
                _ => self.default_value(column)?,
            };
            let id = self.column(column.name.clone(), column.ty, column.typmod);
            exprs.push((id, value));
            cols.push(id);
        }
        Ok((Rel::Project { input: Box::new(rel), exprs }, cols, columns, Vec::new()))
    }

    #[allow(clippy::too_many_arguments)]
    fn insert_rest(
        &mut self,
        insert: &ast::Insert,
        relation: Arc<RelationDescriptor>,
        schema: String,
        table: TableDescriptor,
        source: Rel,
        source_cols: Vec<ColId>,
        columns: Vec<u32>,
    ) -> Result<(Rel, Output)> {
        let alias = insert.table_alias.as_ref().map_or_else(|| relation.name.clone(), |a| a.alias.value.clone());
        let (new_row, mut entry) = self.row_entry(&relation, &alias);
        entry.schema = insert.table_alias.is_none().then_some(schema);
        let checks = self.row_checks(&table, &new_row, &entry)?;
        let (existing, conflict) = match &insert.on {
            None => (Vec::new(), None),
            Some(OnInsert::OnConflict(on)) => self.on_conflict(on, &relation, &table, &new_row, &alias)?,
            Some(_) => return self.fail(insert.span(), SqlState::SYNTAX_ERROR, "syntax error at or near \"duplicate\""),
        };
        let (returning, output) = match &insert.returning {
            None => (None, Vec::new()),
            Some(items) => {
                let star = entry.cols.clone();
                self.scopes.push(Scope { entries: vec![entry], star, ..Scope::default() });
                let result = self.returning(items);
                self.scopes.pop();
                let (exprs, output) = result?;
                (Some(exprs), output)
            }
        };
        let rel = InsertRel { table: relation, source, source_cols, columns, new_row, existing, checks, conflict, returning };
        Ok((Rel::Insert(Box::new(rel)), output))
    }

    fn on_conflict(
        &mut self,
        on: &ast::OnConflict,
        relation: &Arc<RelationDescriptor>,
        table: &TableDescriptor,
        new_row: &[ColId],
        alias: &str,
    ) -> Result<(Vec<ColId>, Option<OnConflict>)> {
        let arbiters = match &on.conflict_target {
            None => Vec::new(),
            Some(ConflictTarget::OnConstraint(name)) => {
                let wanted = super::scope::shown(name);
                let found = table.all_indexes().find(|i| i.name == wanted && i.constraint.is_some());
                match found {
                    Some(index) => vec![index.id],
                    None => {
                        let message = format!("constraint \"{wanted}\" for table \"{}\" does not exist", relation.name);
                        return self.fail(name_span(name), SqlState::UNDEFINED_OBJECT, message);
                    }
                }
            }
            Some(ConflictTarget::Columns { columns, predicate }) => {
                let mut ids = Vec::new();
                for ident in columns {
                    ids.push(match table.column_named(&ident.value) {
                        Some(column) => column.id,
                        None => {
                            return self.fail(ident.span, SqlState::UNDEFINED_COLUMN, format!("column \"{}\" does not exist", ident.value));
                        }
                    });
                }
                ids.sort_unstable();
                ids.dedup();
                let matches = |i: &&IndexDescriptor| {
                    let mut keys: Vec<u32> = i.keys.iter().map(|k| k.column).collect();
                    keys.sort_unstable();
                    // A partial index is an arbiter only if the clause's predicate is its own.
                    let partial = match (&i.predicate, predicate) {
                        (None, _) => true,
                        (Some(p), Some(e)) => normalized(p) == normalized(&e.to_string()),
                        (Some(_), None) => false,
                    };
                    (i.unique || i.id == table.primary.id) && keys == ids && partial
                };
                let found: Vec<u32> = table.all_indexes().filter(matches).map(|i| i.id).collect();
                if found.is_empty() {
                    let message = "there is no unique or exclusion constraint matching the ON CONFLICT specification";
                    return Err(SqlError::new(SqlState::INVALID_COLUMN_REFERENCE, message));
                }
                found
            }
        };
        let update = match &on.action {
            OnConflictAction::DoNothing => return Ok((Vec::new(), Some(OnConflict { arbiters, update: None }))),
            OnConflictAction::DoUpdate(update) => update,
        };
        if on.conflict_target.is_none() {
            let error = SqlError::new(SqlState::SYNTAX_ERROR, "ON CONFLICT DO UPDATE requires inference specification or constraint name")
                .hint("For example, ON CONFLICT (column_name).");
            return Err(error);
        }
        let (existing, mut target) = self.row_entry(relation, alias);
        target.oid = Some(relation.id);
        let excluded = RelEntry {
            name: "excluded".into(),
            cols: table
                .columns
                .iter()
                .zip(new_row)
                .filter(|(c, _)| !c.hidden)
                .map(|(c, id)| super::scope::ScopeCol { name: c.name.clone(), id: *id })
                .collect(),
            ..target.clone()
        };
        // Unqualified names mean the target, as in PostgreSQL.
        let star = target.cols.clone();
        self.scopes.push(Scope {
            entries: vec![target, excluded],
            star,
            no_aggregates: Some("UPDATE"),
            no_windows: Some("UPDATE"),
            no_sets: Some("UPDATE"),
            ..Scope::default()
        });
        let result = self.assignments(relation, table, &update.assignments).and_then(|assignments| {
            let predicate = match &update.selection {
                Some(e) => {
                    let bound = self.expr(e)?;
                    Some(self.boolean(bound, "WHERE", e.span())?)
                }
                None => None,
            };
            Ok(ConflictUpdate { assignments, predicate })
        });
        self.scopes.pop();
        Ok((existing, Some(OnConflict { arbiters, update: Some(result?) })))
    }
}

/// Predicate texts are compared without blanks, parentheses and case.
fn normalized(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '(' | ')')).flat_map(char::to_lowercase).collect()
}
