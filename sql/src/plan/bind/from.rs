//! FROM.
//!
//! While it is bound, the scope on top of the stack holds the items that came before: LATERAL subqueries and functions see them, plain
//! subqueries do not.

use std::sync::Arc;

use sqlparser::ast::{self, JoinConstraint, JoinOperator, Spanned, TableFactor, TableWithJoins};
use sqlparser::tokenizer::Span;

use super::call::{in_information_schema, set_columns};
use super::scope::{CteEntry, Found, RelEntry, Scope, ScopeCol, idents, name_span, shown};
use super::{Binder, MAX_VIEW_DEPTH};
use crate::catalog::descriptor::*;
use crate::error::{Result, SqlError, SqlState};
use crate::front::lex;
use crate::functions::resolve::resolve_function;
use crate::functions::{FunctionBody, ORDINALITY};
use crate::plan::expr::{Expr, FunctionRef};
use crate::plan::logical::*;
use crate::plan::node::JoinKind;
use crate::types::DataType;

/// Items of one FROM clause, at most: join trees are walked recursively, and ordering more joins takes too long.
const MAX_FROM_ITEMS: usize = 600;

/// A bound FROM item.
pub(super) struct FromItem {
    pub rel: Rel,
    pub entries: Vec<RelEntry>,
    pub star: Vec<ScopeCol>,
}

impl FromItem {
    fn of(rel: Rel, entry: RelEntry) -> FromItem {
        let star = entry.cols.clone();
        FromItem { rel, entries: vec![entry], star }
    }
}

impl Binder<'_> {
    fn top(&mut self) -> &mut Scope {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    /// Binds the list and leaves its names in the scope on top.
    pub(super) fn bind_from(&mut self, tables: &[TableWithJoins]) -> Result<Rel> {
        let items: usize = tables.iter().map(|t| 1 + t.joins.len()).sum();
        if items > MAX_FROM_ITEMS {
            let message = format!("FROM has {items} items, and at most {MAX_FROM_ITEMS} are possible");
            return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, message));
        }
        let mut whole: Option<Rel> = None;
        for table in tables {
            let item = self.joined(table)?;
            self.check_aliases(&item, table.relation.span())?;
            let scope = self.top();
            scope.entries.extend(item.entries);
            scope.star.extend(item.star);
            whole = Some(match whole {
                None => item.rel,
                Some(left) => Rel::Join { left: Box::new(left), right: Box::new(item.rel), kind: JoinKind::Inner, on: Vec::new() },
            });
        }
        Ok(whole.unwrap_or(Rel::OneRow))
    }

    fn check_aliases(&mut self, item: &FromItem, span: Span) -> Result<()> {
        let scope = self.top();
        let clash = item.entries.iter().find(|e| {
            scope
                .entries
                .iter()
                .any(|o| o.name == e.name && (o.schema == e.schema || o.schema.is_none() || e.schema.is_none()) && !o.name.is_empty())
        });
        match clash.map(|e| e.name.clone()) {
            Some(name) => self.fail(span, SqlState::DUPLICATE_ALIAS, format!("table name \"{name}\" specified more than once")),
            None => Ok(()),
        }
    }

    fn joined(&mut self, table: &TableWithJoins) -> Result<FromItem> {
        let mut left = self.factor(&table.relation)?;
        for join in &table.joins {
            let scope = self.top();
            let (entries, star) = (scope.entries.len(), scope.star.len());
            scope.entries.extend(left.entries.iter().cloned());
            scope.star.extend(left.star.iter().cloned());
            let right = self.factor(&join.relation);
            let right = right.and_then(|r| self.check_aliases(&r, join.relation.span()).map(|()| r));
            let scope = self.top();
            scope.entries.truncate(entries);
            scope.star.truncate(star);
            left = self.join(left, right?, &join.join_operator, join.relation.span())?;
        }
        Ok(left)
    }

    fn join(&mut self, left: FromItem, right: FromItem, operator: &JoinOperator, span: Span) -> Result<FromItem> {
        let (kind, swapped, constraint) = match operator {
            JoinOperator::Join(c) | JoinOperator::Inner(c) | JoinOperator::CrossJoin(c) => (JoinKind::Inner, false, c),
            JoinOperator::Left(c) | JoinOperator::LeftOuter(c) => (JoinKind::Left, false, c),
            JoinOperator::Right(c) | JoinOperator::RightOuter(c) => (JoinKind::Left, true, c),
            JoinOperator::FullOuter(c) => (JoinKind::Full, false, c),
            other => {
                let name = format!("{other:?}");
                return self.unsupported(span, format!("join {}", name.split('(').next().unwrap_or("")));
            }
        };
        let mut on = Vec::new();
        let mut merged: Vec<(String, ColId, ColId)> = Vec::new();
        match constraint {
            JoinConstraint::None => {
                if !matches!(operator, JoinOperator::CrossJoin(_)) {
                    return Err(self.source.syntax_error(None));
                }
            }
            JoinConstraint::On(e) => {
                let pred = self.join_condition(&left, &right, e)?;
                conjuncts(pred, &mut on);
            }
            JoinConstraint::Using(names) => {
                for name in names {
                    let name = shown(name);
                    merged.push(self.using_column(&left, &right, &name, span)?);
                }
            }
            JoinConstraint::UsingAlias(..) => return self.unsupported(span, "JOIN USING alias"),
            JoinConstraint::Natural => {
                let names: Vec<String> =
                    left.star.iter().filter(|c| right.star.iter().any(|r| r.name == c.name)).map(|c| c.name.clone()).collect();
                for name in names {
                    if !merged.iter().any(|m| m.0 == name) {
                        merged.push(self.using_column(&left, &right, &name, span)?);
                    }
                }
            }
        }
        for (_, l, r) in &merged {
            let (a, b) = (self.column_expr(*l), self.column_expr(*r));
            on.push(self.operator("=", a, b, span, span)?);
        }
        let (mut star, mut computed) = (Vec::new(), Vec::new());
        for (name, l, r) in &merged {
            let id = match (kind, swapped) {
                (JoinKind::Full, _) => {
                    let (a, b) = (self.column_expr(*l), self.column_expr(*r));
                    let (args, ty) = self.unify(vec![a, b], "JOIN/USING", &[])?;
                    let id = self.column(name.clone(), ty, -1);
                    computed.push((id, Expr::Coalesce { args, ty }));
                    id
                }
                (_, true) => *r,
                _ => *l,
            };
            star.push(ScopeCol { name: name.clone(), id });
        }
        let in_merge = |c: &&ScopeCol, right: bool| !merged.iter().any(|m| m.0 == c.name && c.id == if right { m.2 } else { m.1 });
        star.extend(left.star.iter().filter(|c| in_merge(c, false)).cloned());
        star.extend(right.star.iter().filter(|c| in_merge(c, true)).cloned());
        let (l, r) = if swapped { (right.rel, left.rel) } else { (left.rel, right.rel) };
        let mut rel = Rel::Join { left: Box::new(l), right: Box::new(r), kind, on };
        if !computed.is_empty() {
            let mut exprs: Vec<(ColId, Expr)> = rel.outputs().into_iter().map(|c| (c, self.column_expr(c))).collect();
            exprs.extend(computed);
            rel = Rel::Project { input: Box::new(rel), exprs };
        }
        let mut entries = left.entries;
        entries.extend(right.entries);
        Ok(FromItem { rel, entries, star })
    }

    fn using_column(&self, left: &FromItem, right: &FromItem, name: &str, span: Span) -> Result<(String, ColId, ColId)> {
        let find = |item: &FromItem, side: &str| -> Result<ColId> {
            let mut found = item.star.iter().filter(|c| c.name == name);
            match (found.next(), found.next()) {
                (Some(c), None) => Ok(c.id),
                (None, _) => {
                    let message = format!("column \"{name}\" specified in USING clause does not exist in {side} table");
                    self.fail(span, SqlState::UNDEFINED_COLUMN, message)
                }
                _ => {
                    let message = format!("common column name \"{name}\" appears more than once in {side} table");
                    self.fail(span, SqlState::AMBIGUOUS_COLUMN, message)
                }
            }
        };
        Ok((name.to_owned(), find(left, "left")?, find(right, "right")?))
    }

    fn join_condition(&mut self, left: &FromItem, right: &FromItem, e: &ast::Expr) -> Result<Expr> {
        // Only the two sides are in sight, and the enclosing queries.
        let scope = self.top();
        let saved = (
            std::mem::replace(&mut scope.entries, left.entries.iter().chain(&right.entries).cloned().collect()),
            std::mem::replace(&mut scope.star, left.star.iter().chain(&right.star).cloned().collect()),
            scope.no_aggregates.replace("JOIN conditions"),
            scope.no_windows.replace("JOIN conditions"),
            scope.no_sets.replace("JOIN conditions"),
        );
        scope.hidden.extend(saved.0.iter().map(|e| e.name.clone()));
        let result = self.expr(e).and_then(|x| self.boolean(x, "JOIN/ON", e.span()));
        let scope = self.top();
        scope.hidden.clear();
        (scope.entries, scope.star, scope.no_aggregates, scope.no_windows, scope.no_sets) = saved;
        result
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<FromItem> {
        match factor {
            TableFactor::Table { name, alias, args: None, with_ordinality: false, sample, version, .. } => {
                if sample.is_some() {
                    return self.unsupported(factor.span(), "TABLESAMPLE");
                }
                if version.is_some() {
                    return self.unsupported(factor.span(), "this table version clause");
                }
                self.named_relation(name, alias.as_ref())
            }
            TableFactor::Table { name, alias, args: Some(args), with_ordinality, .. } => {
                self.function_item(name, &args.args, *with_ordinality, alias.as_ref())
            }
            TableFactor::Function { name, args, alias, with_ordinality, .. } => {
                self.function_item(name, args, *with_ordinality, alias.as_ref())
            }
            TableFactor::UNNEST { alias, array_exprs, with_offset: false, with_ordinality, .. } => {
                self.unnest(array_exprs, *with_ordinality, alias.as_ref(), factor.span())
            }
            TableFactor::Derived { lateral, subquery, alias, sample: None } => self.derived(*lateral, subquery, alias.as_ref()),
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let mut item = self.joined(table_with_joins)?;
                if let Some(alias) = alias {
                    let cols = item.star.clone();
                    let mut entry = RelEntry { name: alias.name.value.clone(), schema: None, oid: None, cols, scalar: false, table: None };
                    self.rename(&mut entry, alias)?;
                    item.star = entry.cols.clone();
                    item.entries = vec![entry];
                }
                Ok(item)
            }
            other => self.unsupported(other.span(), "this FROM item"),
        }
    }

    fn rename(&mut self, entry: &mut RelEntry, alias: &ast::TableAlias) -> Result<()> {
        entry.name = alias.name.value.clone();
        entry.schema = None;
        if alias.columns.len() > entry.cols.len() {
            let message = format!(
                "table \"{}\" has {} columns available but {} columns specified",
                entry.name,
                entry.cols.len(),
                alias.columns.len()
            );
            return self.fail(alias.name.span, SqlState::INVALID_COLUMN_REFERENCE, message);
        }
        for (col, def) in entry.cols.iter_mut().zip(&alias.columns) {
            if def.data_type.is_some() {
                return self.unsupported(def.name.span, "column definition lists");
            }
            col.name = def.name.value.clone();
        }
        Ok(())
    }

    fn named_relation(&mut self, name: &ast::ObjectName, alias: Option<&ast::TableAlias>) -> Result<FromItem> {
        if let [ident] = idents(name)[..]
            && let Some(cte) = self.ctes.iter().rev().find(|c| c.name == ident.value).cloned()
        {
            return self.cte_item(&cte, alias);
        }
        match self.relation(name)? {
            Found::Relation(relation, schema) => match &relation.kind {
                RelationKind::Table(_) => {
                    let (rel, entry) = self.table(&relation, &schema);
                    self.aliased(rel, entry, alias)
                }
                RelationKind::View(view) => {
                    let view = view.clone();
                    self.view(&relation, &schema, &view, alias)
                }
                RelationKind::Sequence(_) => self.sequence(&relation, &schema, alias, name_span(name)),
            },
            Found::System(table, schema) => {
                let mut cols = Vec::new();
                let mut ids = Vec::new();
                for (n, (name, ty)) in table.columns.iter().enumerate() {
                    let id = self.column(*name, *ty, -1);
                    self.cols[id].origin = (table.oid != 0).then_some((table.oid, n as i16 + 1));
                    ids.push((id, n));
                    cols.push(ScopeCol { name: (*name).to_owned(), id });
                }
                // The catalog's contents are not data under MVCC: plans over them are not kept.
                let rel = Rel::System { table: table.name, cols: ids, filter: Vec::new() };
                let oid = Some(table.oid).filter(|o| *o != 0);
                let short = name_of(table.name).to_owned();
                let entry = RelEntry { name: short, schema: Some(schema), oid, cols, scalar: false, table: None };
                self.aliased(rel, entry, alias)
            }
        }
    }

    fn aliased(&mut self, rel: Rel, mut entry: RelEntry, alias: Option<&ast::TableAlias>) -> Result<FromItem> {
        let mut rel = rel;
        if let Some(alias) = alias {
            self.rename(&mut entry, alias)?;
            if let Rel::Table(t) = &mut rel {
                t.alias = entry.name.clone();
            }
        }
        Ok(FromItem::of(rel, entry))
    }

    /// A table with a number for each column.
    pub(super) fn table(&mut self, relation: &Arc<RelationDescriptor>, schema: &str) -> (Rel, RelEntry) {
        let (mut ids, mut cols) = (Vec::new(), Vec::new());
        if let RelationKind::Table(table) = &relation.kind {
            for c in &table.columns {
                self.cols.push(ColInfo {
                    name: c.name.clone(),
                    ty: c.ty,
                    typmod: c.typmod,
                    origin: Some((relation.id, c.id as i16)),
                    not_null: c.not_null,
                });
                let id = self.cols.len() - 1;
                ids.push((id, c.id));
                if !c.hidden {
                    cols.push(ScopeCol { name: c.name.clone(), id });
                }
            }
        }
        let entry = RelEntry {
            name: relation.name.clone(),
            schema: Some(schema.to_owned()),
            oid: Some(relation.id),
            cols,
            scalar: false,
            table: Some((relation.clone(), ids.clone())),
        };
        let rel = TableRel { table: relation.clone(), alias: relation.name.clone(), cols: ids, filter: Vec::new(), lock: None };
        (Rel::Table(Box::new(rel)), entry)
    }

    fn view(
        &mut self,
        relation: &Arc<RelationDescriptor>,
        schema: &str,
        view: &ViewDescriptor,
        alias: Option<&ast::TableAlias>,
    ) -> Result<FromItem> {
        if self.view_depth >= MAX_VIEW_DEPTH {
            return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, format!("views are nested more than {MAX_VIEW_DEPTH} deep")));
        }
        let parsed = crate::front::parse_one(&view.query)?.ok_or_else(|| SqlError::internal("a view without a query"))?;
        let crate::front::Statement::Query { ast, .. } = &parsed.statement else {
            return Err(SqlError::internal("a view that is no query"));
        };
        let ast::Statement::Query(query) = &**ast else { return Err(SqlError::internal("a view that is no query")) };
        // Nothing of the statement around it is in sight.
        let scopes = std::mem::take(&mut self.scopes);
        let ctes = std::mem::take(&mut self.ctes);
        let source = std::mem::replace(&mut self.source, parsed.source.clone());
        self.view_depth += 1;
        let result = self.query(query);
        self.view_depth -= 1;
        self.source = source;
        self.scopes = scopes;
        self.ctes = ctes;
        let (mut rel, output) = result?;
        let mut cols = Vec::new();
        let mut exprs = Vec::new();
        for (n, column) in view.columns.iter().enumerate() {
            let Some((id, _)) = output.get(n) else { return Err(SqlError::internal("a view with fewer columns than it declares")) };
            let input = self.column_expr(*id);
            let value = self.cast(input, column.ty, column.typmod, Span::empty())?;
            let id = self.column(column.name.clone(), column.ty, column.typmod);
            self.cols[id].origin = Some((relation.id, column.id as i16));
            exprs.push((id, value));
            cols.push(ScopeCol { name: column.name.clone(), id });
        }
        rel = Rel::Project { input: Box::new(rel), exprs };
        let entry = RelEntry {
            name: relation.name.clone(),
            schema: Some(schema.to_owned()),
            oid: Some(relation.id),
            cols,
            scalar: false,
            table: None,
        };
        self.aliased(rel, entry, alias)
    }

    /// `SELECT last_value, log_cnt, is_called FROM s`
    fn sequence(
        &mut self,
        relation: &Arc<RelationDescriptor>,
        schema: &str,
        alias: Option<&ast::TableAlias>,
        span: Span,
    ) -> Result<FromItem> {
        let table = (self.cx.system)("pg_catalog", "pg_sequence_state");
        let Some(table) = table else {
            return self.unsupported(span, "reading a sequence as a table");
        };
        let mut ids = Vec::new();
        let mut cols = Vec::new();
        let mut filter = Vec::new();
        for (n, (name, ty)) in table.columns.iter().enumerate() {
            let id = self.column(*name, *ty, -1);
            ids.push((id, n));
            if n == 0 {
                let (a, b) = (self.column_expr(id), Expr::Const { value: crate::types::Datum::Oid(relation.id), ty: DataType::OID });
                filter.push(self.operator("=", a, b, span, span)?);
            } else {
                cols.push(ScopeCol { name: (*name).to_owned(), id });
            }
        }
        let rel = Rel::System { table: table.name, cols: ids, filter };
        let entry = RelEntry {
            name: relation.name.clone(),
            schema: Some(schema.to_owned()),
            oid: Some(relation.id),
            cols,
            scalar: false,
            table: None,
        };
        self.aliased(rel, entry, alias)
    }

    fn cte_item(&mut self, cte: &CteEntry, alias: Option<&ast::TableAlias>) -> Result<FromItem> {
        let mut cols = Vec::new();
        for (name, ty, typmod) in &cte.cols {
            let id = self.column(name.clone(), *ty, *typmod);
            cols.push(ScopeCol { name: name.clone(), id });
        }
        let ids = cols.iter().map(|c| c.id).collect();
        let rel = if cte.recursive { Rel::WorkTable { id: cte.id, cols: ids } } else { Rel::CteScan { cte: cte.id, cols: ids } };
        let entry = RelEntry { name: cte.name.clone(), schema: None, oid: None, cols, scalar: false, table: None };
        self.aliased(rel, entry, alias)
    }

    fn derived(&mut self, lateral: bool, query: &ast::Query, alias: Option<&ast::TableAlias>) -> Result<FromItem> {
        let saved = if lateral {
            None
        } else {
            let scope = self.top();
            let entries = std::mem::take(&mut scope.entries);
            scope.hidden = entries.iter().map(|e| e.name.clone()).collect();
            Some((entries, std::mem::take(&mut scope.star)))
        };
        let level = self.scopes.len();
        let result = self.query(query);
        self.scopes.truncate(level);
        if let Some((entries, star)) = saved {
            let scope = self.top();
            scope.entries = entries;
            scope.star = star;
            scope.hidden.clear();
        }
        let (rel, output) = result?;
        let Some(alias) = alias else {
            let error = SqlError::new(SqlState::SYNTAX_ERROR, "subquery in FROM must have an alias")
                .hint("For example, FROM (SELECT ...) [AS] foo.");
            return Err(self.at(query.span(), error));
        };
        let cols = output.into_iter().map(|(id, name)| ScopeCol { name, id }).collect();
        let mut entry = RelEntry { name: String::new(), schema: None, oid: None, cols, scalar: false, table: None };
        self.rename(&mut entry, alias)?;
        Ok(FromItem::of(rel, entry))
    }

    fn function_args<'e>(&self, args: &'e [ast::FunctionArg], span: Span) -> Result<Vec<&'e ast::Expr>> {
        args.iter()
            .map(|a| match a {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(e)) => Ok(e),
                _ => self.unsupported(span, "named arguments"),
            })
            .collect()
    }

    fn function_item(
        &mut self,
        name: &ast::ObjectName,
        args: &[ast::FunctionArg],
        ordinality: bool,
        alias: Option<&ast::TableAlias>,
    ) -> Result<FromItem> {
        let span = name_span(name);
        let parts = idents(name);
        let function = match parts[..] {
            [f] if f.value == lex::ROWS_FROM => return self.rows_from(args, ordinality, alias, span),
            [f] if !in_information_schema("information_schema", &f.value) => f.value.clone(),
            [schema, f] if schema.value == "pg_catalog" || in_information_schema(&schema.value, &f.value) => f.value.clone(),
            _ => return self.fail(span, SqlState::UNDEFINED_FUNCTION, format!("function {}() does not exist", shown(name))),
        };
        let asts = self.function_args(args, span)?;
        let bound = self.bound_args(&asts)?;
        self.function_rel(&function, bound, ordinality, alias, span)
    }

    /// Arguments of a function in FROM.
    fn bound_args(&mut self, args: &[&ast::Expr]) -> Result<Vec<Expr>> {
        let scope = self.top();
        let saved = (
            scope.no_aggregates.replace("functions in FROM"),
            scope.no_windows.replace("functions in FROM"),
            scope.no_sets.replace("functions in FROM arguments"),
        );
        let bound = args.iter().map(|e| self.expr(e)).collect();
        let scope = self.top();
        (scope.no_aggregates, scope.no_windows, scope.no_sets) = saved;
        bound
    }

    /// `ROWS FROM (f(…), g(…))`: the functions' columns side by side, the shorter ones padded with NULL.
    fn rows_from(&mut self, args: &[ast::FunctionArg], ordinality: bool, alias: Option<&ast::TableAlias>, span: Span) -> Result<FromItem> {
        let mut calls: Vec<(String, Vec<Expr>)> = Vec::new();
        for arg in self.function_args(args, span)? {
            let ast::Expr::Function(f) = arg else { return Err(self.source.near("syntax error", &arg.to_string(), arg.span().start)) };
            let name = match idents(&f.name)[..] {
                [name] => name.value.clone(),
                [schema, name] if schema.value == "pg_catalog" || in_information_schema(&schema.value, &name.value) => name.value.clone(),
                _ => return self.fail(span, SqlState::UNDEFINED_FUNCTION, format!("function {}() does not exist", shown(&f.name))),
            };
            let asts = match &f.args {
                ast::FunctionArguments::List(list) if list.clauses.is_empty() => self.function_args(&list.args, span)?,
                _ => return self.unsupported(arg.span(), "this call in ROWS FROM"),
            };
            let bound = self.bound_args(&asts)?;
            // unnest of several arrays is as many functions.
            if name == "unnest" && bound.len() > 1 {
                calls.extend(bound.into_iter().map(|array| ("unnest".to_owned(), vec![array])));
            } else {
                calls.push((name, bound));
            }
        }
        if calls.len() == 1
            && let Some((name, bound)) = calls.pop()
        {
            return self.function_rel(&name, bound, ordinality, alias, span);
        }
        self.side_by_side(calls, "", ordinality, alias, span)
    }

    /// Several functions as one relation.
    fn side_by_side(
        &mut self,
        calls: Vec<(String, Vec<Expr>)>,
        name: &str,
        ordinality: bool,
        alias: Option<&ast::TableAlias>,
        span: Span,
    ) -> Result<FromItem> {
        let (mut sets, mut exprs, mut cols) = (Vec::new(), Vec::new(), Vec::new());
        for (function, bound) in calls {
            let types: Vec<DataType> = bound.iter().map(Expr::ty).collect();
            let call = resolve_function(&function, &types, false).map_err(|e| self.at(span, e))?;
            let args = self.call_args(&call, bound, span)?;
            let fields = set_columns(&call);
            if fields.len() <= 1 {
                let name = fields.first().map_or(function, |f| f.0.to_owned());
                let id = self.column(name.clone(), call.returns, -1);
                sets.push((id, FunctionRef(call.def), args, call.returns));
                exprs.push((id, self.column_expr(id)));
                cols.push(ScopeCol { name, id });
                continue;
            }
            let record = self.column(function, DataType::RECORD, -1);
            sets.push((record, FunctionRef(call.def), args, DataType::RECORD));
            for (index, (name, ty)) in fields.into_iter().enumerate() {
                let id = self.column(name, ty, -1);
                exprs.push((id, Expr::Field { input: Box::new(self.column_expr(record)), index, ty }));
                cols.push(ScopeCol { name: name.to_owned(), id });
            }
        }
        if ordinality {
            let id = self.column("ordinality", DataType::INT8, -1);
            sets.push((id, FunctionRef(&ORDINALITY), Vec::new(), DataType::INT8));
            exprs.push((id, self.column_expr(id)));
            cols.push(ScopeCol { name: "ordinality".into(), id });
        }
        let rel = Rel::ProjectSet { input: Box::new(Rel::OneRow), sets };
        let rel = Rel::Project { input: Box::new(rel), exprs };
        let mut entry = RelEntry { name: name.to_owned(), schema: None, oid: None, cols, scalar: false, table: None };
        if let Some(alias) = alias {
            self.rename(&mut entry, alias)?;
        }
        Ok(FromItem::of(rel, entry))
    }

    fn function_rel(
        &mut self,
        name: &str,
        bound: Vec<Expr>,
        ordinality: bool,
        alias: Option<&ast::TableAlias>,
        span: Span,
    ) -> Result<FromItem> {
        let types: Vec<DataType> = bound.iter().map(Expr::ty).collect();
        let shown = alias.map_or(name, |a| a.name.value.as_str()).to_owned();
        let (rel, mut cols, scalar) = match resolve_function(name, &types, false) {
            Ok(call) if matches!(call.def.body, FunctionBody::Set { .. }) => {
                let args = self.call_args(&call, bound, span)?;
                let columns = set_columns(&call);
                let mut cols = Vec::new();
                if columns.len() <= 1 {
                    // One column is named by the alias, unless the function names it itself.
                    let own = columns.first().map_or(shown.clone(), |c| c.0.to_owned());
                    let id = self.column(own.clone(), call.returns, -1);
                    cols.push(ScopeCol { name: own, id });
                } else {
                    for (name, ty) in &columns {
                        let id = self.column(*name, *ty, -1);
                        cols.push(ScopeCol { name: (*name).to_owned(), id });
                    }
                }
                if call.returns == DataType::RECORD && columns.is_empty() {
                    let error =
                        SqlError::new(SqlState::SYNTAX_ERROR, "a column definition list is required for functions returning \"record\"");
                    return Err(self.at(span, error));
                }
                if ordinality {
                    let id = self.column("ordinality", DataType::INT8, -1);
                    cols.push(ScopeCol { name: "ordinality".into(), id });
                }
                let ids: Vec<ColId> = cols.iter().map(|c| c.id).collect();
                let scalar = columns.len() <= 1;
                (Rel::Function { function: FunctionRef(call.def), args, cols: ids, ordinality }, cols, scalar)
            }
            _ => {
                let value = self.call_bound(name, bound, span)?;
                let id = self.column(shown.clone(), value.ty(), -1);
                let mut exprs = vec![(id, value)];
                let mut cols = vec![ScopeCol { name: shown.clone(), id }];
                if ordinality {
                    let id = self.column("ordinality", DataType::INT8, -1);
                    exprs.push((id, Expr::Const { value: crate::types::Datum::Int8(1), ty: DataType::INT8 }));
                    cols.push(ScopeCol { name: "ordinality".into(), id });
                }
                (Rel::Project { input: Box::new(Rel::OneRow), exprs }, cols, true)
            }
        };
        if let Some(alias) = alias
            && alias.columns.is_empty()
            && scalar
            && let Some(first) = cols.first_mut()
            && first.name == shown
        {
            first.name = alias.name.value.clone();
        }
        let mut entry = RelEntry { name: shown, schema: None, oid: None, cols, scalar: scalar && !ordinality, table: None };
        if let Some(alias) = alias {
            self.rename(&mut entry, alias)?;
        }
        Ok(FromItem::of(rel, entry))
    }

    fn unnest(&mut self, arrays: &[ast::Expr], ordinality: bool, alias: Option<&ast::TableAlias>, span: Span) -> Result<FromItem> {
        let bound = arrays.iter().map(|e| self.expr(e)).collect::<Result<Vec<_>>>()?;
        if bound.len() == 1 {
            return self.function_rel("unnest", bound, ordinality, alias, span);
        }
        let calls = bound.into_iter().map(|array| ("unnest".to_owned(), vec![array])).collect();
        self.side_by_side(calls, "unnest", ordinality, alias, span)
    }
}

/// The part after the last dot.
fn name_of(table: &'static str) -> &'static str {
    table.rsplit('.').next().unwrap_or(table)
}
