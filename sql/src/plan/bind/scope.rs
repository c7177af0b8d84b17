//! What names mean.

use std::sync::Arc;

use sqlparser::ast::{self, Ident};
use sqlparser::tokenizer::Span;

use super::Binder;
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};
use crate::plan::SystemTable;
use crate::plan::expr::{Expr, FunctionRef};
use crate::plan::logical::*;
use crate::plan::node::{AggregateCall, SortKey, WindowCall};
use crate::types::{DataType, Datum};

/// A column as a name finds it.
#[derive(Clone, Debug)]
pub(crate) struct ScopeCol {
    pub name: String,
    pub id: ColId,
}

/// A column's number and its id in the table.
pub(crate) type TableCol = (ColId, u32);

/// A relation in FROM.
#[derive(Clone, Debug)]
pub(crate) struct RelEntry {
    /// Alias, or the table's name.
    pub name: String,
    /// Schema, when it is a table without alias: `s.t.c` finds it.
    pub schema: Option<String>,
    /// Its OID, for tableoid.
    pub oid: Option<Oid>,
    pub cols: Vec<ScopeCol>,
    /// A function with one scalar column: the alias alone is that column.
    pub scalar: bool,
    /// The table it is, with all its columns: what FOR UPDATE and functional dependencies need.
    pub table: Option<(Arc<RelationDescriptor>, Vec<TableCol>)>,
}

/// An aggregate, window or set-returning call found while binding expressions of a SELECT.
#[derive(Clone, Debug)]
pub(crate) struct PendingWindow {
    pub col: ColId,
    pub partition: Vec<Expr>,
    pub order: Vec<SortKey>,
    pub call: WindowCall,
}

/// The names of one query level, and what is collected while its expressions are bound.
#[derive(Default)]
pub(crate) struct Scope {
    pub entries: Vec<RelEntry>,
    /// What unqualified names and `*` see, in order.
    pub star: Vec<ScopeCol>,
    /// Relations that may not be referred to from here: the name of one gives a better error.
    pub hidden: Vec<String>,
    pub aggregates: Vec<(ColId, AggregateCall)>,
    pub grouping: Vec<(ColId, Vec<Expr>)>,
    pub windows: Vec<PendingWindow>,
    pub sets: Vec<(ColId, FunctionRef, Vec<Expr>, DataType)>,
    pub named_windows: Vec<(String, ast::WindowSpec)>,
    /// `None`: allowed. `Some(clause)`: the error names the clause.
    pub no_aggregates: Option<&'static str>,
    pub no_windows: Option<&'static str>,
    pub no_sets: Option<&'static str>,
    /// Binding the arguments of an aggregate.
    pub in_aggregate: bool,
}

/// A CTE in sight.
#[derive(Clone)]
pub(crate) struct CteEntry {
    pub name: String,
    pub id: usize,
    /// Output columns: name, type, modifier.
    pub cols: Vec<(String, DataType, i32)>,
    /// Inside its own recursive part: references are to the work table.
    pub recursive: bool,
}

/// What a relation name means.
pub(crate) enum Found {
    Relation(Arc<RelationDescriptor>, String),
    System(SystemTable, String),
}

pub(crate) fn idents(name: &ast::ObjectName) -> Vec<&Ident> {
    name.0.iter().filter_map(|p| p.as_ident()).collect()
}

pub(crate) fn name_span(name: &ast::ObjectName) -> Span {
    idents(name).first().map_or_else(Span::empty, |i| i.span)
}

pub(crate) fn shown(name: &ast::ObjectName) -> String {
    idents(name).iter().map(|i| i.value.as_str()).collect::<Vec<_>>().join(".")
}

impl Binder<'_> {
    /// The schemas that an unqualified name is looked up in, in order; `pg_catalog` comes first unless named.
    pub(super) fn search_path(&self) -> Vec<(Oid, String)> {
        let mut out = Vec::new();
        if !self.cx.session.search_path.iter().any(|s| s == "pg_catalog") {
            out.push((PG_CATALOG_OID, "pg_catalog".to_owned()));
        }
        for schema in &self.cx.session.search_path {
            let name = if schema == "$user" { &self.cx.session.user } else { schema };
            if let Some(oid) = self.cx.catalog.schema_named(self.cx.database, name) {
                out.push((oid, name.clone()));
            }
        }
        out
    }

    fn in_schema(&self, schema: Oid, schema_name: &str, name: &str) -> Option<Found> {
        if matches!(schema, PG_CATALOG_OID | INFORMATION_SCHEMA_OID)
            && let Some(table) = (self.cx.system)(schema_name, name)
        {
            return Some(Found::System(table, schema_name.to_owned()));
        }
        self.cx.catalog.relation_named(schema, name).map(|r| Found::Relation(r.clone(), schema_name.to_owned()))
    }

    /// Looks a relation name up.
    ///
    /// # Errors
    /// `42P01`, `3F000` never: a missing schema makes the relation missing, as in PostgreSQL.
    pub(super) fn relation(&mut self, name: &ast::ObjectName) -> Result<Found> {
        let parts = idents(name);
        let span = name_span(name);
        let found = match parts[..] {
            [relation] => self.search_path().iter().find_map(|(oid, schema)| self.in_schema(*oid, schema, &relation.value)),
            [schema, relation] => self.schema_relation(&schema.value, &relation.value),
            [database, schema, relation] => {
                if database.value != self.cx.session.database {
                    let message = format!("cross-database references are not implemented: \"{}\"", shown(name));
                    return self.fail(span, SqlState::FEATURE_NOT_SUPPORTED, message);
                }
                self.schema_relation(&schema.value, &relation.value)
            }
            _ => {
                return self.fail(
                    span,
                    SqlState::SYNTAX_ERROR,
                    format!("improper qualified name (too many dotted names): {}", shown(name)),
                );
            }
        };
        match found {
            Some(found) => {
                if let Found::Relation(relation, _) = &found {
                    self.relations.push(relation.id);
                }
                Ok(found)
            }
            None => self.fail(span, SqlState::UNDEFINED_TABLE, format!("relation \"{}\" does not exist", shown(name))),
        }
    }

    fn schema_relation(&self, schema: &str, relation: &str) -> Option<Found> {
        let oid = self.cx.catalog.schema_named(self.cx.database, schema)?;
        self.in_schema(oid, schema, relation)
    }

    /// A table that may be written.
    pub(super) fn target_table(&mut self, name: &ast::ObjectName) -> Result<(Arc<RelationDescriptor>, String)> {
        match self.relation(name)? {
            Found::Relation(relation, schema) => match relation.kind {
                RelationKind::Table(_) => Ok((relation, schema)),
                RelationKind::View(_) => Err(SqlError::new(
                    SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
                    format!("cannot change data through view \"{}\": updatable views are not supported", relation.name),
                )
                .detail("Views are read-only here.")),
                RelationKind::Sequence(_) => {
                    Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("cannot change sequence \"{}\"", relation.name)))
                }
            },
            Found::System(table, _) => {
                Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("permission denied: \"{}\" is a system catalog", table.name)))
            }
        }
    }

    /// An unqualified name as a column, through all query levels.
    pub(super) fn unqualified(&mut self, ident: &Ident) -> Result<Expr> {
        for n in (0..self.scopes.len()).rev() {
            let scope = &self.scopes[n];
            let mut matches = scope.star.iter().filter(|c| c.name == ident.value);
            if let Some(first) = matches.next() {
                if matches.next().is_some() {
                    return self.fail(ident.span, SqlState::AMBIGUOUS_COLUMN, format!("column reference \"{}\" is ambiguous", ident.value));
                }
                let id = first.id;
                return Ok(self.reference(id, ident.span, n));
            }
            // A function's alias is its scalar value; a table's is the whole row.
            if let Some(at) = scope.entries.iter().position(|e| e.name == ident.value) {
                let entry = &scope.entries[at];
                if entry.scalar && entry.cols.len() == 1 {
                    let id = entry.cols[0].id;
                    return Ok(self.reference(id, ident.span, n));
                }
                let ids: Vec<ColId> = entry.cols.iter().map(|c| c.id).collect();
                return Ok(Expr::Row { fields: ids.into_iter().map(|id| self.reference(id, ident.span, n)).collect() });
            }
            if let Some(expr) = self.system_column(&ident.value, n, None, ident.span)? {
                return Ok(expr);
            }
        }
        let mut error = SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{}\" does not exist", ident.value));
        if let Some(hint) = self.similar(&ident.value) {
            error = error.hint(hint);
        }
        Err(self.at(ident.span, error))
    }

    fn reference(&mut self, id: ColId, span: Span, level: usize) -> Expr {
        self.spans.entry(id).or_insert_with(|| {
            let scope = &self.scopes[level];
            let entry = scope.entries.iter().find(|e| e.cols.iter().any(|c| c.id == id));
            let name = self.cols[id].name.clone();
            (span, entry.map_or(name.clone(), |e| format!("{}.{name}", e.name)))
        });
        self.column_expr(id)
    }

    fn system_column(&self, name: &str, level: usize, relation: Option<usize>, span: Span) -> Result<Option<Expr>> {
        match name {
            "tableoid" => {
                let entries = &self.scopes[level].entries;
                let entry = relation.map_or_else(|| entries.iter().find(|e| e.oid.is_some()), |n| entries.get(n));
                Ok(entry.and_then(|e| e.oid).map(|oid| Expr::Const { value: Datum::Oid(oid), ty: DataType::OID }))
            }
            "ctid" | "xmin" | "xmax" | "cmin" | "cmax" if self.scopes[level].entries.iter().any(|e| e.oid.is_some()) => {
                self.unsupported(span, format!("system column {name}"))
            }
            _ => Ok(None),
        }
    }

    /// `t.c`, `s.t.c`: the entry by name, in the innermost scope that has it.
    pub(super) fn qualified(&mut self, parts: &[Ident]) -> Result<Option<Expr>> {
        let (schema, table, column) = match parts {
            [table, column] => (None, table, column),
            [schema, table, column] => (Some(schema), table, column),
            [_, schema, table, column] => (Some(schema), table, column),
            _ => return Ok(None),
        };
        for n in (0..self.scopes.len()).rev() {
            let scope = &self.scopes[n];
            let hits = |e: &&RelEntry| e.name == table.value && schema.is_none_or(|s| e.schema.as_ref() == Some(&s.value));
            let Some(at) = scope.entries.iter().position(|e| hits(&e)) else { continue };
            if scope.entries[at + 1..].iter().any(|e| hits(&e)) {
                return self.fail(table.span, SqlState::AMBIGUOUS_ALIAS, format!("table reference \"{}\" is ambiguous", table.value));
            }
            let mut found = scope.entries[at].cols.iter().filter(|c| c.name == column.value);
            if let Some(first) = found.next() {
                if found.next().is_some() {
                    return self.fail(
                        table.span,
                        SqlState::AMBIGUOUS_COLUMN,
                        format!("column reference \"{}\" is ambiguous", column.value),
                    );
                }
                let id = first.id;
                return Ok(Some(self.reference(id, table.span, n)));
            }
            if let Some(expr) = self.system_column(&column.value, n, Some(at), column.span)? {
                return Ok(Some(expr));
            }
            let message = format!("column {}.{} does not exist", table.value, column.value);
            return self.fail(table.span, SqlState::UNDEFINED_COLUMN, message);
        }
        Ok(None)
    }

    /// `missing FROM-clause entry for table "x"`, or why a table that is there cannot be used.
    pub(super) fn missing_from(&self, table: &Ident) -> SqlError {
        let hidden = self.scopes.iter().any(|s| s.hidden.contains(&table.value));
        let error = if hidden {
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("invalid reference to FROM-clause entry for table \"{}\"", table.value))
                .hint(format!("There is an entry for table \"{}\", but it cannot be referenced from this part of the query.", table.value))
        } else {
            SqlError::new(SqlState::UNDEFINED_TABLE, format!("missing FROM-clause entry for table \"{}\"", table.value))
        };
        self.at(table.span, error)
    }

    /// PostgreSQL's `Perhaps you meant to reference the column "t.c".`
    fn similar(&self, name: &str) -> Option<String> {
        let mut best: Option<(usize, String)> = None;
        for entry in self.scopes.iter().flat_map(|s| &s.entries) {
            for col in &entry.cols {
                let distance = distance(name, &col.name);
                let close = distance <= 3 && distance <= name.chars().count() / 2;
                if close && best.as_ref().is_none_or(|b| distance < b.0) {
                    best = Some((distance, format!("{}.{}", entry.name, col.name)));
                }
            }
        }
        best.map(|(_, column)| format!("Perhaps you meant to reference the column \"{column}\"."))
    }
}

/// Levenshtein distance, of names up to 63 bytes.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut previous = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = previous + usize::from(x != *y);
            previous = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(previous + 1);
        }
    }
    row[b.len()]
}
