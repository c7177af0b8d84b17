//! One SELECT.
//!
//! ```text
//!   FROM → WHERE → Aggregate → HAVING → Window… → ProjectSet → Project → DISTINCT → Sort → Limit
//! ```
//! Expressions of the select list, HAVING and ORDER BY are bound over FROM first, with aggregate and window calls replaced by columns
//! of their own; then, if the query groups, everything else in them must be made of group columns (`regroup`).

use sqlparser::ast::{self, Distinct, GroupByExpr, SelectItem, Spanned};
use sqlparser::tokenizer::Span;

use super::query::{Output, Tail};
use super::scope::{Scope, idents};
use super::{Binder, MAX_COLUMNS};
use crate::error::{Result, SqlError, SqlState};
use crate::front::lex::MARKER;
use crate::plan::expr::Expr;
use crate::plan::logical::*;
use crate::plan::node::*;
use crate::types::{DataType, Datum};
use meridian_txn::api::{LockStrength, LockWait};

struct Item {
    expr: Expr,
    name: String,
    span: Span,
}

struct Grouping {
    groups: Vec<(ColId, Expr)>,
    sets: Vec<Vec<usize>>,
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

    fn scope(&mut self) -> Result<&mut Scope> {
        self.scopes.last_mut().ok_or_else(|| SqlError::internal("no scope"))
    }

    fn restricted<T>(&mut self, place: &'static str, bind: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let scope = self.scope()?;
        let saved = (scope.no_aggregates.replace(place), scope.no_windows.replace(place), scope.no_sets.replace(place));
        let result = bind(self);
        let scope = self.scope()?;
        (scope.no_aggregates, scope.no_windows, scope.no_sets) = saved;
        result
    }

    fn select_inner(&mut self, s: &ast::Select, tail: Tail<'_>, resolve: bool) -> Result<(Rel, Output)> {
        let mut rel = self.from_clause(&s.from)?;
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
        let scope = self.scope()?;
        let (mut windows, sets) = (std::mem::take(&mut scope.windows), std::mem::take(&mut scope.sets));
        let (aggregates, groupings) = (std::mem::take(&mut scope.aggregates), std::mem::take(&mut scope.grouping));
        let grouped = grouping.is_some() || !aggregates.is_empty() || having.is_some() || !groupings.is_empty();
        if !tail.locks.is_empty() {
            let what = if grouped {
                Some("GROUP BY clause, HAVING clause or aggregate functions")
            } else if distinct {
                Some("DISTINCT clause")
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
        for item in &items {
            let id = self.output_column(&mut exprs, &item.expr, &item.name);
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
            let id = self.output_column(&mut exprs, &key.expr, "?sort?");
            if exprs.len() > visible && distinct && on.is_empty() {
                let message = "for SELECT DISTINCT, ORDER BY expressions must appear in select list";
                return self.fail(span, SqlState::INVALID_COLUMN_REFERENCE, message);
            }
            keys.push(SortKey { expr: self.column_expr(id), ..key });
        }
        let mut on_keys = Vec::new();
        for e in &on {
            let id = self.output_column(&mut exprs, e, "?on?");
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
    fn output_column(&mut self, exprs: &mut Vec<(ColId, Expr)>, e: &Expr, name: &str) -> ColId {
        if let Expr::Column { ordinal, .. } = e {
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
                    items.push(Item { expr, name, span: e.span() });
                }
                SelectItem::ExprWithAlias { expr: e, alias } => {
                    let expr = self.expr(e)?;
                    items.push(Item { expr, name: alias.value.clone(), span: e.span() });
                }
                SelectItem::Wildcard(options) => {
                    self.refuse_wildcard_options(options, item.span())?;
                    let star = self.scope()?.star.clone();
                    if star.is_empty() {
                        return self.fail(item.span(), SqlState::SYNTAX_ERROR, "SELECT * with no tables specified is not valid");
                    }
                    for col in star {
                        items.push(Item { expr: self.column_expr(col.id), name: col.name, span: item.span() });
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
                    for col in entry.cols {
                        items.push(Item { expr: self.column_expr(col.id), name: col.name, span: item.span() });
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
        name_of(e).map_or_else(|| "?column?".to_owned(), |n| n.0)
    }

    fn group_by(&mut self, group_by: &GroupByExpr, items: &[Item]) -> Result<Option<Grouping>> {
        let GroupByExpr::Expressions(exprs, modifiers) = group_by else {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"all\""));
        };
        if !modifiers.is_empty() {
            return Err(SqlError::new(SqlState::SYNTAX_ERROR, "syntax error at or near \"with\""));
        }
        if exprs.is_empty() {
            return Ok(None);
        }
        let special = exprs.iter().any(|e| matches!(e, ast::Expr::GroupingSets(_) | ast::Expr::Rollup(_) | ast::Expr::Cube(_)))
            || exprs.iter().any(|e| matches!(e, ast::Expr::Tuple(t) if t.is_empty()));
        let mut groups: Vec<Expr> = Vec::new();
        let mut sets: Vec<Vec<usize>> = vec![Vec::new()];
        for e in exprs {
            let options: Vec<Vec<usize>> = match e {
                ast::Expr::GroupingSets(list) => {
                    list.iter().map(|set| self.group_set(set, items, &mut groups)).collect::<Result<Vec<_>>>()?
                }
                ast::Expr::Rollup(list) => {
                    let parts = list.iter().map(|set| self.group_set(set, items, &mut groups)).collect::<Result<Vec<_>>>()?;
                    (0..=parts.len()).rev().map(|n| parts[..n].concat()).collect()
                }
                ast::Expr::Cube(list) => {
                    let parts = list.iter().map(|set| self.group_set(set, items, &mut groups)).collect::<Result<Vec<_>>>()?;
                    if parts.len() > 12 {
                        return self.fail(e.span(), SqlState::TOO_MANY_COLUMNS, "CUBE is limited to 12 elements");
                    }
                    let n = parts.len();
                    (0..1usize << n)
                        .rev()
                        .map(|mask| (0..n).filter(|i| mask >> (n - 1 - i) & 1 == 1).flat_map(|i| parts[i].clone()).collect())
                        .collect()
                }
                ast::Expr::Tuple(list) => vec![self.group_set(list, items, &mut groups)?],
                one => vec![self.group_set(std::slice::from_ref(one), items, &mut groups)?],
            };
            if sets.len() * options.len() > 4096 {
                return self.fail(e.span(), SqlState::STATEMENT_TOO_COMPLEX, "too many grouping sets present (maximum 4096)");
            }
            sets = sets.iter().flat_map(|s| options.iter().map(move |o| [s.clone(), o.clone()].concat())).collect();
        }
        for set in &mut sets {
            set.sort_unstable();
            set.dedup();
        }
        if !special {
            sets.clear();
        }
        let groups = groups
            .into_iter()
            .map(|e| match &e {
                Expr::Column { ordinal, .. } if sets.is_empty() => (*ordinal, e),
                _ => (self.column("?group?", e.ty(), -1), e),
            })
            .collect();
        Ok(Some(Grouping { groups, sets }))
    }

    fn group_set(&mut self, set: &[ast::Expr], items: &[Item], groups: &mut Vec<Expr>) -> Result<Vec<usize>> {
        let mut out = Vec::new();
        for e in set {
            let bound = self.group_expr(e, items)?;
            let at = match groups.iter().position(|g| same(g, &bound)) {
                Some(at) => at,
                None => {
                    groups.push(bound);
                    groups.len() - 1
                }
            };
            out.push(at);
        }
        Ok(out)
    }

    /// An ordinal, an input column, an output name, or an expression: in this order.
    fn group_expr(&mut self, e: &ast::Expr, items: &[Item]) -> Result<Expr> {
        let names: Vec<(ColId, String)> = items.iter().map(|i| (0, i.name.clone())).collect();
        let refuse = |b: &Self, bound: &Expr| -> Result<()> {
            let scope = b.scopes.last();
            let is = |ids: Vec<ColId>| any(bound, &|x| matches!(x, Expr::Column { ordinal, .. } if ids.contains(ordinal)));
            if scope.is_some_and(|s| is(s.aggregates.iter().map(|a| a.0).collect())) {
                return b.fail(e.span(), SqlState::GROUPING_ERROR, "aggregate functions are not allowed in GROUP BY");
            }
            if scope.is_some_and(|s| is(s.windows.iter().map(|w| w.col).collect())) {
                return b.fail(e.span(), SqlState::WINDOWING_ERROR, "window functions are not allowed in GROUP BY");
            }
            Ok(())
        };
        match e {
            ast::Expr::Value(v) if matches!(v.value, ast::Value::Number(..)) => {
                if let Some(n) = self.output_position(e, &names, "GROUP BY")? {
                    let bound = items[n].expr.clone();
                    refuse(self, &bound)?;
                    return Ok(bound);
                }
            }
            ast::Expr::Identifier(ident) => {
                let input = self.scopes.last().is_some_and(|s| s.star.iter().any(|c| c.name == ident.value));
                if !input && let Some(item) = items.iter().find(|i| i.name == ident.value) {
                    let bound = item.expr.clone();
                    refuse(self, &bound)?;
                    return Ok(bound);
                }
            }
            _ => {}
        }
        let bound = self.restricted("GROUP BY", |b| b.expr(e))?;
        self.settle(bound)
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

    #[allow(clippy::too_many_arguments)]
    fn aggregate(
        &mut self,
        rel: Rel,
        mut grouping: Grouping,
        calls: Vec<(ColId, AggregateCall)>,
        groupings: Vec<(ColId, Vec<Expr>)>,
        having: Option<Expr>,
        items: &mut [Item],
        order: &mut [(SortKey, Span)],
        windows: &mut [super::scope::PendingWindow],
        set_calls: &mut [(ColId, crate::plan::expr::FunctionRef, Vec<Expr>, DataType)],
    ) -> Result<Rel> {
        for (_, group) in &grouping.groups {
            if group.ty() == DataType::JSON {
                return Err(SqlError::new(SqlState::UNDEFINED_FUNCTION, "could not identify an equality operator for type json"));
            }
        }
        let local: ColSet = rel.outputs().into_iter().collect();
        let mut marks = Vec::new();
        for (id, args) in groupings {
            let ordinals =
                args.iter().map(|a| grouping.groups.iter().position(|g| same(&g.1, a))).collect::<Option<Vec<_>>>().ok_or_else(|| {
                    SqlError::new(
                        SqlState::GROUPING_ERROR,
                        "arguments to GROUPING must be grouping expressions of the associated query level",
                    )
                })?;
            marks.push((id, ordinals));
        }
        let mut having = having;
        {
            let mut exprs: Vec<&mut Expr> = items.iter_mut().map(|i| &mut i.expr).collect();
            exprs.extend(order.iter_mut().map(|o| &mut o.0.expr));
            exprs.extend(having.as_mut());
            for w in windows.iter_mut() {
                exprs.extend(w.partition.iter_mut());
                exprs.extend(w.order.iter_mut().map(|k| &mut k.expr));
                exprs.extend(w.call.args.iter_mut());
                exprs.extend(w.call.filter.as_mut());
            }
            for s in set_calls.iter_mut() {
                exprs.extend(s.2.iter_mut());
            }
            for e in exprs {
                self.regroup(e, &mut grouping, &local)?;
            }
        }
        let rel =
            Rel::Aggregate(Box::new(AggregateRel { input: rel, groups: grouping.groups, sets: grouping.sets, calls, grouping: marks }));
        Ok(match having {
            Some(pred) => filter(rel, pred),
            None => rel,
        })
    }

    /// Rewrites an expression over FROM into one over the groups.
    fn regroup(&mut self, e: &mut Expr, grouping: &mut Grouping, local: &ColSet) -> Result<()> {
        if let Some((id, g)) = grouping.groups.iter().find(|g| same(&g.1, e)) {
            *e = Expr::Column { ordinal: *id, ty: g.ty() };
            return Ok(());
        }
        match e {
            Expr::Column { ordinal, .. } => {
                let id = *ordinal;
                if !local.contains(&id) || self.depends_on_group(id, grouping) {
                    return Ok(());
                }
                let (span, name) = self.spans.get(&id).cloned().unwrap_or_else(|| (Span::empty(), self.cols[id].name.clone()));
                let message = format!("column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function");
                self.fail(span, SqlState::GROUPING_ERROR, message)
            }
            Expr::Subquery { plan, .. } => {
                let free = self.subqueries.get(subquery_ref(plan)).map(|s| s.free.clone()).unwrap_or_default();
                for id in free {
                    if !local.contains(&id) || grouping.groups.iter().any(|g| g.0 == id) || self.depends_on_group(id, grouping) {
                        continue;
                    }
                    if grouping.groups.iter().any(|g| matches!(&g.1, Expr::Column { ordinal, .. } if *ordinal == id)) {
                        return Err(SqlError::unsupported("a correlated subquery over grouping sets"));
                    }
                    let (span, name) = self.spans.get(&id).cloned().unwrap_or_else(|| (Span::empty(), self.cols[id].name.clone()));
                    let message = format!("subquery uses ungrouped column \"{name}\" from outer query");
                    return self.fail(span, SqlState::GROUPING_ERROR, message);
                }
                let mut result = Ok(());
                children_mut(e, &mut |c| {
                    if result.is_ok() {
                        result = self.regroup(c, grouping, local);
                    }
                });
                result
            }
            _ => {
                let mut result = Ok(());
                children_mut(e, &mut |c| {
                    if result.is_ok() {
                        result = self.regroup(c, grouping, local);
                    }
                });
                result
            }
        }
    }

    /// A column of a table whose whole primary key is grouped by is one value for each group: it joins the groups.
    fn depends_on_group(&mut self, id: ColId, grouping: &mut Grouping) -> bool {
        if grouping.groups.iter().any(|g| g.0 == id) {
            return true;
        }
        if !grouping.sets.is_empty() {
            return false;
        }
        let Some(scope) = self.scopes.last() else { return false };
        let owner = scope.entries.iter().find_map(|e| e.table.as_ref().filter(|(_, cols)| cols.iter().any(|c| c.0 == id)));
        let Some((relation, cols)) = owner else { return false };
        let Some(table) = relation.table() else { return false };
        let grouped = table.primary.keys.iter().all(|k| cols.iter().any(|c| c.1 == k.column && grouping.groups.iter().any(|g| g.0 == c.0)));
        let declared = table.primary.constraint.is_some() && !table.primary.keys.is_empty();
        if grouped && declared {
            let expr = self.column_expr(id);
            grouping.groups.push((id, expr));
            return true;
        }
        false
    }

    fn lock_targets(&mut self, clauses: &[ast::LockClause]) -> Result<Vec<LockRel>> {
        self.writes = true;
        let mut out: Vec<LockRel> = Vec::new();
        for clause in clauses {
            let names = clause.of.as_ref().map(idents).unwrap_or_default();
            let (strength, names) = match names.split_first() {
                Some((first, rest)) => (first.value.trim_start_matches(MARKER).to_owned(), rest.to_vec()),
                None => ("update".to_owned(), Vec::new()),
            };
            let strength = match strength.as_str() {
                "share" => LockStrength::Share,
                "keyshare" => LockStrength::KeyShare,
                "nokeyupdate" => LockStrength::NoKeyUpdate,
                _ => LockStrength::Update,
            };
            let wait = match clause.nonblock {
                None => LockWait::Block(None),
                Some(ast::NonBlock::Nowait) => LockWait::NoWait,
                Some(ast::NonBlock::SkipLocked) => LockWait::SkipLocked,
            };
            let entries = self.scope()?.entries.clone();
            let chosen: Vec<_> = if names.is_empty() {
                entries.iter().filter(|e| e.table.is_some()).collect()
            } else {
                let mut chosen = Vec::new();
                for name in &names {
                    match entries.iter().find(|e| e.name == name.value) {
                        Some(entry) if entry.table.is_some() => chosen.push(entry),
                        Some(_) => return self.unsupported(name.span, format!("FOR UPDATE of \"{}\", which is not a table,", name.value)),
                        None => {
                            let message = format!("relation \"{}\" in FOR UPDATE clause not found in FROM clause", name.value);
                            return self.fail(name.span, SqlState::UNDEFINED_TABLE, message);
                        }
                    }
                }
                chosen
            };
            for entry in chosen {
                let Some((table, cols)) = &entry.table else { continue };
                let lock = RowLock { strength, wait };
                match out.iter_mut().find(|l| l.cols.first().map(|c| c.0) == cols.first().map(|c| c.0)) {
                    // Named twice: the stronger lock.
                    Some(existing) => {
                        if rank(strength) > rank(existing.lock.strength) {
                            existing.lock.strength = strength;
                        }
                    }
                    None => out.push(LockRel { table: table.clone(), cols: cols.clone(), lock }),
                }
            }
        }
        Ok(out)
    }
}

fn rank(strength: LockStrength) -> u8 {
    match strength {
        LockStrength::KeyShare => 0,
        LockStrength::Share => 1,
        LockStrength::NoKeyUpdate => 2,
        LockStrength::Update => 3,
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

/// A name for an expression and how good it is (PostgreSQL's FigureColname).
fn name_of(e: &ast::Expr) -> Option<(String, u8)> {
    use ast::Expr as E;
    let strong = |s: &str| Some((s.to_owned(), 2));
    match e {
        E::Identifier(i) => strong(&i.value),
        E::CompoundIdentifier(parts) => parts.last().and_then(|i| strong(&i.value)),
        E::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|a| match a {
                ast::AccessExpr::Dot(E::Identifier(i)) => Some(i.value.clone()),
                _ => None,
            });
            field.map(|f| (f, 2)).or_else(|| name_of(root))
        }
        E::Nested(inner) => name_of(inner),
        E::Collate { expr, .. } => name_of(expr),
        E::Function(f) => idents(&f.name).last().and_then(|i| strong(&i.value)),
        E::Cast { expr, data_type, .. } => match name_of(expr) {
            Some((name, 2)) => Some((name, 2)),
            _ => type_column_name(data_type).map(|n| (n, 1)),
        },
        E::TypedString(t) => type_column_name(&t.data_type).map(|n| (n, 1)),
        E::Interval(_) => Some(("interval".into(), 1)),
        E::Value(v) => match v.value {
            ast::Value::Boolean(_) => Some(("bool".into(), 1)),
            _ => None,
        },
        E::Case { else_result, .. } => match else_result.as_deref().and_then(name_of) {
            Some((name, 2)) => Some((name, 2)),
            _ => Some(("case".into(), 1)),
        },
        E::Exists { negated: false, .. } => strong("exists"),
        E::Array(_) => strong("array"),
        E::Tuple(_) => strong("row"),
        E::Extract { .. } => strong("extract"),
        E::Position { .. } => strong("position"),
        E::Substring { .. } => strong("substring"),
        E::Trim { trim_where, .. } => strong(match trim_where {
            Some(ast::TrimWhereField::Leading) => "ltrim",
            Some(ast::TrimWhereField::Trailing) => "rtrim",
            _ => "btrim",
        }),
        E::Overlay { .. } => strong("overlay"),
        E::Ceil { .. } => strong("ceil"),
        E::Floor { .. } => strong("floor"),
        E::AtTimeZone { .. } => strong("timezone"),
        E::Subquery(q) => subquery_name(&q.body),
        _ => None,
    }
}

fn subquery_name(body: &ast::SetExpr) -> Option<(String, u8)> {
    match body {
        ast::SetExpr::Select(s) => match s.projection.first() {
            Some(SelectItem::ExprWithAlias { alias, .. }) => Some((alias.value.clone(), 2)),
            Some(SelectItem::UnnamedExpr(e)) => name_of(e),
            _ => None,
        },
        ast::SetExpr::Query(q) => subquery_name(&q.body),
        ast::SetExpr::Values(_) => Some(("column1".into(), 2)),
        _ => None,
    }
}

fn type_column_name(ty: &ast::DataType) -> Option<String> {
    let (resolved, _) = super::types::resolve(ty).ok()?;
    let element = resolved.element().unwrap_or(resolved);
    Some(element.typname().to_owned())
}

/// `true` as a constant.
pub(super) fn truth() -> Expr {
    Expr::Const { value: Datum::Bool(true), ty: DataType::BOOL }
}
