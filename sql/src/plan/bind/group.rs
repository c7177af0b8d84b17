//! GROUP BY, grouping sets, and what may stand beside an aggregate.

use sqlparser::ast::{self, GroupByExpr, Spanned};
use sqlparser::tokenizer::Span;

use super::Binder;
use super::select::{Item, filter};
use crate::error::{Result, SqlError, SqlState};
use crate::plan::expr::Expr;
use crate::plan::logical::*;
use crate::plan::node::*;
use crate::types::DataType;

/// What a query groups by.
pub(super) struct Grouping {
    pub groups: Vec<(ColId, Expr)>,
    pub sets: Vec<Vec<usize>>,
}

impl Binder<'_> {
    pub(super) fn group_by(&mut self, group_by: &GroupByExpr, items: &[Item]) -> Result<Option<Grouping>> {
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
                Expr::Column { ordinal, .. } if sets.is_empty() && self.is_local(*ordinal) => (*ordinal, e),
                _ => (self.column("?group?", e.ty(), -1), e),
            })
            .collect();
        Ok(Some(Grouping { groups, sets }))
    }

    /// Whether a column is of this query's own FROM.
    fn is_local(&self, id: ColId) -> bool {
        self.scopes.last().is_some_and(|s| s.star.iter().any(|c| c.id == id) || s.entries.iter().any(|e| e.cols.iter().any(|c| c.id == id)))
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

    #[allow(clippy::too_many_arguments)]
    pub(super) fn aggregate(
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
}
