//! One SELECT.
//!
//! ```text
//!   FROM → WHERE → Aggregate → HAVING → Window… → ProjectSet → Project → DISTINCT → Sort → Limit
//! ```
//! Expressions of the select list, HAVING and ORDER BY are bound over FROM first, with aggregate and window calls replaced by columns
//! of their own; then, if the query groups, everything else in them must be made of group columns (`regroup`).

use sqlparser::ast::{self, Distinct, SelectItem, Spanned};
use sqlparser::tokenizer::Span;

use super::group::Grouping;
use super::names;
use super::query::{Output, Tail};
use super::scope::{Scope, idents};
use super::{Binder, MAX_COLUMNS};
use crate::error::{Result, SqlError, SqlState};
use crate::plan::expr::Expr;
use crate::plan::logical::*;
use crate::plan::node::*;
use crate::types::DataType;

pub(super) struct Item {
    pub expr: Expr,
    pub name: String,
}

impl Binder<'_> {
    pub(super) fn select(&mut self, s: &ast::Select, tail: Tail<'_>, resolve: bool) -> Result<(Rel, Output)> {
        self.refuse_foreign(s)?;
        self.scopes.push(Scope::default());
        let depth = self.scopes.len();
        let result = self.select_inner(s, tail, resolve);
        self.scopes.truncate(depth - 1);
        result
    }

    /// Clauses of other dialects that sqlparser reads.
    fn refuse_foreign(&self, s: &ast::Select) -> Result<()> {
        let foreign =
            s.top.is_some() || !s.lateral_views.is_empty() || s.prewhere.is_some() || s.qualify.is_some() || !s.cluster_by.is_empty();
        if foreign
            || !s.connect_by.is_empty()
            || !s.distribute_by.is_empty()
            || !s.sort_by.is_empty()
            || s.value_table_mode.is_some()
            || s.exclude.is_some()
        {
            return self.fail(s.span(), SqlState::SYNTAX_ERROR, "syntax error in SELECT: this clause is not PostgreSQL's");
        }
        if s.into.is_some() {
            return self.unsupported(s.span(), "SELECT INTO");
        }
        Ok(())
    }

    pub(super) fn scope(&mut self) -> Result<&mut Scope> {
        self.scopes.last_mut().ok_or_else(|| SqlError::internal("no scope"))
    }

    pub(super) fn restricted<T>(&mut self, place: &'static str, bind: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let scope = self.scope()?;
        let saved = (scope.no_aggregates.replace(place), scope.no_windows.replace(place), scope.no_sets.replace(place));
        let result = bind(self);
        let scope = self.scope()?;
        (scope.no_aggregates, scope.no_windows, scope.no_sets) = saved;
        result
    }

    fn select_inner(&mut self, s: &ast::Select, mut tail: Tail<'_>, resolve: bool) -> Result<(Rel, Output)> {
        let mut rel = self.bind_from(&s.from)?;
        if let Some(e) = &s.selection {
            let pred = self.restricted("WHERE", |b| {
                let bound = b.expr(e)?;
                b.boolean(bound, "WHERE", e.span())
            })?;
            rel = filter(rel, pred);
        }
        for ast::NamedWindowDefinition(name, spec) in &s.named_window {
            let spec = match spec {
                ast::NamedWindowExpr::WindowSpec(spec) => spec.clone(),
                ast::NamedWindowExpr::NamedWindow(base) => {
                    ast::WindowSpec { window_name: Some(base.clone()), partition_by: vec![], order_by: vec![], window_frame: None }
                }
            };
            let scope = self.scope()?;
            if scope.named_windows.iter().any(|w| w.0 == name.value) {
                return self.fail(name.span, SqlState::WINDOWING_ERROR, format!("window \"{}\" is already defined", name.value));
            }
            scope.named_windows.push((name.value.clone(), spec));
        }
        let mut items = self.select_list(&s.projection)?;
        let distinct = !matches!(s.distinct, None | Some(Distinct::All));
        if resolve || distinct {
            for item in &mut items {
                let e = std::mem::replace(&mut item.expr, Self::null(DataType::TEXT));
                item.expr = self.settle(e)?;
            }
        }
        let grouping = self.group_by(&s.group_by, &items)?;
        let having = match &s.having {
            Some(e) => {
                let scope = self.scope()?;
                let saved = (scope.no_windows.replace("HAVING"), scope.no_sets.replace("HAVING"));
                let bound = self.expr(e).and_then(|x| self.boolean(x, "HAVING", e.span()));
                let scope = self.scope()?;
                (scope.no_windows, scope.no_sets) = saved;
                Some(bound?)
            }
            None => None,
        };
        let mut order = self.order_by(&tail.order, &items)?;
        let on = match &s.distinct {
            Some(Distinct::On(exprs)) => self.distinct_on(exprs, &items)?,
            _ => Vec::new(),
        };
        self.bind_limits(&mut tail)?;
        let scope = self.scope()?;
        let (mut windows, sets) = (std::mem::take(&mut scope.windows), std::mem::take(&mut scope.sets));
        let (aggregates, groupings) = (std::mem::take(&mut scope.aggregates), std::mem::take(&mut scope.grouping));
        let grouped = grouping.is_some() || !aggregates.is_empty() || having.is_some() || !groupings.is_empty();
        if !tail.locks.is_empty() {
            let what = if distinct || !on.is_empty() {
                Some("DISTINCT clause")
            } else if grouping.is_some() {
                Some("GROUP BY clause")
            } else if having.is_some() {
                Some("HAVING clause")
            } else if grouped {
                Some("aggregate functions")
            } else if !windows.is_empty() {
                Some("window functions")
            } else if !sets.is_empty() {
                Some("set-returning functions in the target list")
            } else {
                None
            };
            if let Some(what) = what {
                return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("FOR UPDATE is not allowed with {what}")));
            }
        }
        let mut sets = sets;
        if grouped {
            let grouping = grouping.unwrap_or(Grouping { groups: Vec::new(), sets: Vec::new() });
            rel = self.aggregate(rel, grouping, aggregates, groupings, having, &mut items, &mut order, &mut windows, &mut sets)?;
        }
        for group in group_windows(windows) {
            let calls = group.iter().map(|w| (w.col, w.call.clone())).collect();
            let Some(first) = group.into_iter().next() else { continue };
            rel = Rel::Window { input: Box::new(rel), partition: first.partition, order: first.order, calls };
        }
        if !sets.is_empty() {
            rel = Rel::ProjectSet { input: Box::new(rel), sets };
        }
        self.output(rel, items, order, on, distinct, s, tail)
    }

    /// Project, DISTINCT, Sort, Limit; locks.
    #[allow(clippy::too_many_arguments)]
    fn output(
        &mut self,
        mut rel: Rel,
        items: Vec<Item>,
        order: Vec<(SortKey, Span)>,
        on: Vec<Expr>,
        distinct: bool,
        s: &ast::Select,
        tail: Tail<'_>,
    ) -> Result<(Rel, Output)> {
        let mut exprs: Vec<(ColId, Expr)> = Vec::new();
        let mut output: Output = Vec::new();
        let local: ColSet = rel.outputs().into_iter().collect();
        for item in &items {
            let id = self.output_column(&local, &mut exprs, &item.expr, &item.name);
            output.push((id, item.name.clone()));
        }
        if !tail.locks.is_empty() {
            // Locks come after the sort and before the limit; projecting comes last, so that the sort keys are over FROM's columns.
            let targets = self.lock_targets(tail.locks)?;
            let keys: Vec<SortKey> = order.into_iter().map(|o| o.0).collect();
            if !keys.is_empty() {
                rel = Rel::Sort { input: Box::new(rel), keys: keys.clone() };
            }
            rel = Rel::Lock { input: Box::new(rel), targets };
            rel = limit(rel, tail, keys)?;
            return Ok((Rel::Project { input: Box::new(rel), exprs }, output));
        }
        let visible = exprs.len();
        let mut keys = Vec::new();
        for (key, span) in order {
            let id = self.output_column(&local, &mut exprs, &key.expr, "?sort?");
            if exprs.len() > visible && distinct && on.is_empty() {
                let message = "for SELECT DISTINCT, ORDER BY expressions must appear in select list";
                return self.fail(span, SqlState::INVALID_COLUMN_REFERENCE, message);
            }
            keys.push(SortKey { expr: self.column_expr(id), ..key });
        }
        let mut on_keys = Vec::new();
        for e in &on {
            let id = self.output_column(&local, &mut exprs, e, "?on?");
            on_keys.push(self.column_expr(id));
        }
        rel = Rel::Project { input: Box::new(rel), exprs: exprs.clone() };
        if matches!(s.distinct, Some(Distinct::Distinct)) {
            for (id, _) in &exprs {
                if self.cols[*id].ty == DataType::JSON {
                    return Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, "could not identify an equality operator for type json"));
                }
            }
            rel = Rel::Distinct { input: Box::new(rel), cols: exprs.iter().map(|e| e.0).collect() };
        }
        if !on_keys.is_empty() {
            self.check_distinct_on(&on_keys, &mut keys)?;
        }
        if !keys.is_empty() {
            rel = Rel::Sort { input: Box::new(rel), keys: keys.clone() };
        }
        if !on_keys.is_empty() {
            rel = Rel::DistinctOn { input: Box::new(rel), keys: on_keys };
        }
        rel = limit(rel, tail, keys)?;
        if exprs.len() > visible {
            let kept = exprs[..visible].iter().map(|(c, _)| (*c, self.column_expr(*c))).collect();
            rel = Rel::Project { input: Box::new(rel), exprs: kept };
        }
        Ok((rel, output))
    }

    /// ORDER BY must begin with the DISTINCT ON expressions, in any order; those it lacks are sorted by last.
    fn check_distinct_on(&mut self, on: &[Expr], keys: &mut Vec<SortKey>) -> Result<()> {
        let is_on = |e: &Expr| on.iter().any(|o| same(o, e));
        let leading = keys.iter().take_while(|k| is_on(&k.expr)).count();
        let all = on.iter().all(|o| keys[..leading].iter().any(|k| same(&k.expr, o)));
        if !all && leading < keys.len() {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
            ));
        }
        for o in on {
            if !keys.iter().any(|k| same(&k.expr, o)) {
                keys.push(SortKey { expr: o.clone(), descending: false, nulls_first: false });
            }
        }
        Ok(())
    }

    /// The output column of an expression: a plain column is itself, an expression that is there already is shared.
    fn output_column(&mut self, local: &ColSet, exprs: &mut Vec<(ColId, Expr)>, e: &Expr, name: &str) -> ColId {
        // A column of an enclosing query gets a number of its own: as an output of this one it is another column.
        if let Expr::Column { ordinal, .. } = e
            && local.contains(ordinal)
        {
            if !exprs.iter().any(|x| x.0 == *ordinal) {
                exprs.push((*ordinal, e.clone()));
            }
            return *ordinal;
        }
        if !volatile(e)
            && !matches!(e, Expr::Const { .. } | Expr::Param { .. })
            && let Some((id, _)) = exprs.iter().find(|x| same(&x.1, e))
        {
            return *id;
        }
        let typmod = match e {
            Expr::Cast { typmod, .. } => *typmod,
            _ => -1,
        };
        let id = self.column(name, e.ty(), typmod);
        exprs.push((id, e.clone()));
        id
    }

    fn select_list(&mut self, projection: &[SelectItem]) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for item in projection {
            match item {
                SelectItem::UnnamedExpr(e) => {
                    // `(t).*` and `(f(x)).*` are not read by sqlparser; `t.*` is below.
                    let expr = self.expr(e)?;
                    let name = self.column_name(e);
                    items.push(Item { expr, name });
                }
                SelectItem::ExprWithAlias { expr: e, alias } => {
                    let expr = self.expr(e)?;
                    items.push(Item { expr, name: alias.value.clone() });
                }
                SelectItem::Wildcard(options) => {
                    self.refuse_wildcard_options(options, item.span())?;
                    let star = self.scope()?.star.clone();
                    if star.is_empty() {
                        return self.fail(item.span(), SqlState::SYNTAX_ERROR, "SELECT * with no tables specified is not valid");
                    }
                    self.note_star(options, &star);
                    for col in star {
                        items.push(Item { expr: self.column_expr(col.id), name: col.name });
                    }
                }
                SelectItem::QualifiedWildcard(ast::SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    self.refuse_wildcard_options(options, item.span())?;
                    let parts = idents(name);
                    let Some(table) = parts.last() else { return self.unsupported(item.span(), "this wildcard") };
                    let schema = parts.len().checked_sub(2).map(|n| parts[n].value.clone());
                    let entry = self.scopes.iter().rev().find_map(|s| {
                        s.entries
                            .iter()
                            .find(|e| e.name == table.value && schema.as_ref().is_none_or(|s| e.schema.as_ref() == Some(s)))
                            .cloned()
                    });
                    let Some(entry) = entry else { return Err(self.missing_from(table)) };
                    self.note_star(options, &entry.cols);
                    for col in entry.cols {
                        items.push(Item { expr: self.column_expr(col.id), name: col.name });
                    }
                }
                other => return self.unsupported(other.span(), "this select item"),
            }
            if items.len() > MAX_COLUMNS {
                return Err(SqlError::new(SqlState::TOO_MANY_COLUMNS, format!("target lists can have at most {MAX_COLUMNS} entries")));
            }
        }
        Ok(items)
    }

    fn note_star(&mut self, options: &ast::WildcardAdditionalOptions, cols: &[super::scope::ScopeCol]) {
        if self.view_depth > 0 || self.stars.is_none() {
            return;
        }
        let owner = |id: ColId| {
            self.scopes.iter().rev().flat_map(|s| &s.entries).find(|e| e.cols.iter().any(|c| c.id == id)).map(|e| e.name.clone())
        };
        let named = cols.iter().map(|c| (owner(c.id), c.name.clone())).collect();
        let at = options.wildcard_token.0.span.start;
        if let Some(stars) = &mut self.stars {
            stars.push((at, named));
        }
    }

    fn refuse_wildcard_options(&self, o: &ast::WildcardAdditionalOptions, span: Span) -> Result<()> {
        if let Some(alias) = &o.opt_alias {
            return Err(self.source.near("syntax error", &alias.value, alias.span.start));
        }
        if o.opt_ilike.is_some() || o.opt_exclude.is_some() || o.opt_except.is_some() || o.opt_replace.is_some() || o.opt_rename.is_some() {
            return self.fail(span, SqlState::SYNTAX_ERROR, "syntax error after \"*\"");
        }
        Ok(())
    }

    /// RETURNING: a select list over the scope on top.
    pub(super) fn returning(&mut self, items: &[SelectItem]) -> Result<(Vec<(ColId, Expr)>, Output)> {
        let items = self.restricted("RETURNING", |b| b.select_list(items))?;
        let (mut exprs, mut output) = (Vec::new(), Vec::new());
        for item in items {
            let expr = self.settle(item.expr)?;
            let id = self.column(item.name.clone(), expr.ty(), -1);
            if let Expr::Column { ordinal, .. } = &expr {
                let (origin, typmod) = (self.cols[*ordinal].origin, self.cols[*ordinal].typmod);
                self.cols[id].origin = origin;
                self.cols[id].typmod = typmod;
            }
            exprs.push((id, expr));
            output.push((id, item.name));
        }
        Ok((exprs, output))
    }

    /// The name PostgreSQL gives an unnamed output column.
    fn column_name(&self, e: &ast::Expr) -> String {
        names::name_of(e).map_or_else(|| "?column?".to_owned(), |n| n.0)
    }

    fn order_by(&mut self, keys: &[&ast::OrderByExpr], items: &[Item]) -> Result<Vec<(SortKey, Span)>> {
        let mut out = Vec::new();
        for key in keys {
            let span = key.expr.span();
            let expr = match self.item_position(&key.expr, items, "ORDER BY")? {
                Some(n) => items[n].expr.clone(),
                None => {
                    let bound = self.expr(&key.expr)?;
                    self.settle(bound)?
                }
            };
            out.push((self.sort_key(expr, &key.options, span)?, span));
        }
        Ok(out)
    }

    fn item_position(&self, e: &ast::Expr, items: &[Item], clause: &str) -> Result<Option<usize>> {
        // Same names with the same expression are no ambiguity: number the distinct ones.
        let mut distinct: Vec<&Expr> = Vec::new();
        let wanted =
            |i: &Item| matches!(e, ast::Expr::Identifier(ident) if ident.value == i.name) || !matches!(e, ast::Expr::Identifier(_));
        let names: Vec<(ColId, String)> = items
            .iter()
            .map(|i| {
                if !wanted(i) {
                    return (usize::MAX, i.name.clone());
                }
                let at = distinct.iter().position(|d| same(d, &i.expr)).unwrap_or_else(|| {
                    distinct.push(&i.expr);
                    distinct.len() - 1
                });
                (at, i.name.clone())
            })
            .collect();
        self.output_position(e, &names, clause)
    }

    fn distinct_on(&mut self, exprs: &[ast::Expr], items: &[Item]) -> Result<Vec<Expr>> {
        let mut out = Vec::new();
        for e in exprs {
            out.push(match self.item_position(e, items, "DISTINCT ON")? {
                Some(n) => items[n].expr.clone(),
                None => {
                    let bound = self.expr(e)?;
                    self.settle(bound)?
                }
            });
        }
        Ok(out)
    }
}

pub(super) fn filter(rel: Rel, pred: Expr) -> Rel {
    let mut preds = Vec::new();
    conjuncts(pred, &mut preds);
    Rel::Filter { input: Box::new(rel), preds }
}

fn limit(rel: Rel, tail: Tail<'_>, keys: Vec<SortKey>) -> Result<Rel> {
    if tail.limit.is_none() && tail.offset.is_none() {
        return Ok(rel);
    }
    Ok(Rel::Limit { input: Box::new(rel), limit: tail.limit, offset: tail.offset, with_ties: tail.with_ties.then_some(keys) })
}

/// Calls with the same window are computed together.
fn group_windows(windows: Vec<super::scope::PendingWindow>) -> Vec<Vec<super::scope::PendingWindow>> {
    let mut out: Vec<(String, Vec<super::scope::PendingWindow>)> = Vec::new();
    for w in windows {
        let key = format!("{:?}{:?}", w.partition, w.order);
        match out.iter_mut().find(|o| o.0 == key) {
            Some((_, group)) => group.push(w),
            None => out.push((key, vec![w])),
        }
    }
    out.into_iter().map(|o| o.1).collect()
}
