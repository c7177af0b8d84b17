//! Logical nodes → physical nodes.
//!
//! Going down: the columns that are needed, the order that is wanted, and how many rows will be taken. Coming up: a plan, the
//! numbers of its columns in order (`layout`), and the order in which its rows come.

use std::sync::Arc;

use super::access::{self, OrderCol, Path, Range, Request};
use super::cost;
use super::estimate::Estimates;
use super::pushdown::Rewriter;
use crate::error::{Result, SqlError};
use crate::plan::PlanContext;
use crate::plan::expr::{Expr, SubqueryKind};
use crate::plan::logical::*;
use crate::plan::node::*;
use crate::types::{DataType, Datum};

/// A lowered tree.
#[derive(Clone)]
pub(super) struct Phys {
    pub plan: Plan,
    pub layout: Vec<ColId>,
    pub order: Vec<OrderCol>,
}

/// Lowers one statement.
pub(super) struct Lowerer<'a> {
    pub cx: &'a PlanContext<'a>,
    pub cols: Vec<ColInfo>,
    pub subqueries: Vec<Subquery>,
    /// Layouts of the rows around, innermost last.
    pub outer: Vec<Vec<ColId>>,
}

impl<'a> Lowerer<'a> {
    pub fn new(cx: &'a PlanContext<'a>, cols: Vec<ColInfo>, subqueries: Vec<Subquery>) -> Self {
        Lowerer { cx, cols, subqueries, outer: Vec::new() }
    }

    /// What is known of rows.
    pub fn estimates(&self) -> Estimates<'_> {
        Estimates { catalog: self.cx.catalog, cols: &self.cols }
    }

    pub fn output(&self, id: ColId) -> OutputColumn {
        let info = &self.cols[id];
        OutputColumn { name: info.name.clone(), ty: info.ty, typmod: info.typmod, origin: info.origin }
    }

    pub fn outputs(&self, ids: &[ColId]) -> Vec<OutputColumn> {
        ids.iter().map(|id| self.output(*id)).collect()
    }

    pub fn plan(&self, node: Node, layout: &[ColId], rows: f64, cost: f64) -> Plan {
        Plan { node, columns: self.outputs(layout), rows, cost }
    }

    /// The same rows with exactly these columns in this order.
    pub fn exactly(&self, phys: Phys, ids: &[ColId]) -> Plan {
        if phys.layout == ids {
            return phys.plan;
        }
        // Two projections in a row are one.
        let Phys { plan, layout, .. } = phys;
        let place = |id: &ColId| layout.iter().position(|c| c == id);
        if let Node::Project { input, exprs } = plan.node {
            let exprs = ids.iter().filter_map(|id| place(id).map(|n| exprs[n].clone())).collect();
            return Plan { node: Node::Project { input, exprs }, columns: self.outputs(ids), rows: plan.rows, cost: plan.cost };
        }
        let exprs = ids.iter().filter_map(|id| place(id).map(|n| Expr::Column { ordinal: n, ty: self.cols[*id].ty })).collect();
        let (rows, cost) = (plan.rows, plan.cost + plan.rows * cost::ROW * 0.1);
        Plan { node: Node::Project { input: Box::new(plan), exprs }, columns: self.outputs(ids), rows, cost }
    }

    /// An expression over rows of this layout.
    pub fn expr(&mut self, e: &Expr, layout: &[ColId]) -> Result<Expr> {
        let mut out = e.clone();
        super::fold::fold_in_place(&mut out, self.cx);
        self.place(&mut out, layout)?;
        Ok(out)
    }

    pub fn exprs<'e>(&mut self, list: impl IntoIterator<Item = &'e Expr>, layout: &[ColId]) -> Result<Vec<Expr>> {
        list.into_iter().map(|e| self.expr(e, layout)).collect()
    }

    pub fn option(&mut self, e: Option<&Expr>, layout: &[ColId]) -> Result<Option<Expr>> {
        e.map(|e| self.expr(e, layout)).transpose()
    }

    pub fn predicate(&mut self, preds: &[Expr], layout: &[ColId]) -> Result<Option<Expr>> {
        Ok(conjunction(self.exprs(preds, layout)?))
    }

    fn place(&mut self, e: &mut Expr, layout: &[ColId]) -> Result<()> {
        match e {
            Expr::Column { ordinal, ty } => {
                if let Some(n) = layout.iter().position(|c| c == ordinal) {
                    *ordinal = n;
                    return Ok(());
                }
                for (depth, row) in self.outer.iter().rev().enumerate() {
                    if let Some(n) = row.iter().position(|c| c == ordinal) {
                        *e = Expr::Outer { depth: depth + 1, ordinal: n, ty: *ty };
                        return Ok(());
                    }
                }
                Err(SqlError::internal(format!("column {} ({}) is not available here", *ordinal, self.cols[*ordinal].name)))
            }
            Expr::Subquery { plan, kind, correlated, ty } => {
                match kind {
                    SubqueryKind::AnyAll { left, .. } => self.place(left, layout)?,
                    SubqueryKind::RowIn { left, .. } => left.iter_mut().try_for_each(|l| self.place(l, layout))?,
                    _ => {}
                }
                let index = subquery_ref(plan);
                let lowered = self.subplan(index, layout, matches!(kind, SubqueryKind::Exists))?;
                let free = self.subqueries.get(index).is_some_and(|s| !s.free.is_empty());
                *plan = Arc::new(lowered);
                *correlated = free;
                let _ = ty;
                Ok(())
            }
            other => {
                let mut result = Ok(());
                children_mut(other, &mut |c| {
                    if result.is_ok() {
                        result = self.place(c, layout);
                    }
                });
                result
            }
        }
    }

    fn subplan(&mut self, index: usize, layout: &[ColId], exists: bool) -> Result<Plan> {
        let Some(subquery) = self.subqueries.get(index).cloned() else { return Err(SqlError::internal("a subquery without a tree")) };
        let rel = Rewriter { cx: self.cx, cols: &mut self.cols, subqueries: &mut self.subqueries }.rewrite(subquery.rel);
        self.outer.push(layout.to_vec());
        let need: ColSet = if exists { ColSet::default() } else { subquery.cols.iter().copied().collect() };
        let phys = self.lower(&rel, &need, &[], exists.then_some(1.0));
        self.outer.pop();
        let phys = phys?;
        Ok(if exists { phys.plan } else { self.exactly(phys, &subquery.cols) })
    }

    /// Lowers a tree.
    pub fn lower(&mut self, rel: &Rel, need: &ColSet, want: &[OrderCol], limit: Option<f64>) -> Result<Phys> {
        stacker::maybe_grow(256 << 10, 4 << 20, || self.lower_inner(rel, need, want, limit))
    }

    fn lower_inner(&mut self, rel: &Rel, need: &ColSet, want: &[OrderCol], limit: Option<f64>) -> Result<Phys> {
        match rel {
            Rel::OneRow => Ok(Phys { plan: self.plan(Node::OneRow, &[], 1.0, 0.01), layout: Vec::new(), order: Vec::new() }),
            Rel::Empty { cols } => {
                let layout: Vec<ColId> = cols.iter().copied().filter(|c| need.contains(c)).collect();
                Ok(Phys { plan: self.plan(Node::Empty, &layout, 0.0, 0.0), layout, order: Vec::new() })
            }
            Rel::Values { cols, rows } => {
                let rows = rows.iter().map(|row| self.exprs(row, &[])).collect::<Result<Vec<_>>>()?;
                let count = rows.len() as f64;
                Ok(Phys { plan: self.plan(Node::Values { rows }, cols, count, count * cost::ROW), layout: cols.clone(), order: Vec::new() })
            }
            Rel::Table(t) => self.table(t, &[], need, want, limit),
            Rel::System { table, cols, filter } => self.system(table, cols, filter, need),
            Rel::Function { function, args, cols, ordinality } => {
                let args = self.exprs(args, &[])?;
                let node = Node::FunctionScan { function: *function, args, ordinality: *ordinality };
                Ok(Phys { plan: self.plan(node, cols, 100.0, 1.0), layout: cols.clone(), order: Vec::new() })
            }
            Rel::Filter { input, preds } => self.filter(input, preds, need, want, limit),
            Rel::Project { input, exprs } => self.project(input, exprs, need, want, limit),
            Rel::ProjectSet { input, sets } => self.project_set(input, sets, need),
            Rel::Join { .. } => self.join_tree(rel, need, want, limit),
            Rel::Aggregate(a) => self.aggregate(a, need),
            Rel::Window { input, partition, order, calls } => self.window(input, partition, order, calls, need),
            Rel::Sort { input, keys } => self.sort(input, keys, need, limit, None),
            Rel::Limit { input, limit: count, offset, with_ties } => {
                self.limit(input, count.as_ref(), offset.as_ref(), with_ties.as_deref(), need)
            }
            Rel::Distinct { input, cols } => {
                let all: ColSet = cols.iter().copied().collect();
                let phys = self.lower(input, &all, want, None)?;
                let order = phys.order.clone();
                let plan = self.exactly(phys, cols);
                let (rows, cost) = ((plan.rows * 0.3).max(1.0), plan.cost + plan.rows * cost::ROW * 2.0);
                let _ = order;
                Ok(Phys {
                    plan: self.plan(Node::Distinct { input: Box::new(plan) }, cols, rows, cost),
                    layout: cols.clone(),
                    order: Vec::new(),
                })
            }
            Rel::DistinctOn { input, keys } => {
                let mut inner = need.clone();
                keys.iter().for_each(|k| columns_of(k, &self.subqueries, &mut inner));
                let phys = self.lower(input, &inner, &[], None)?;
                let keys = self.exprs(keys, &phys.layout)?;
                let (rows, cost) = ((phys.plan.rows * 0.3).max(1.0), phys.plan.cost + phys.plan.rows * cost::ROW);
                let node = Node::DistinctOn { input: Box::new(phys.plan), keys };
                Ok(Phys { plan: self.plan(node, &phys.layout, rows, cost), layout: phys.layout, order: phys.order })
            }
            Rel::SetOp { kind, all, cols, left, left_cols, right, right_cols } => {
                self.set_op(*kind, *all, cols, (left, left_cols), (right, right_cols))
            }
            Rel::With { ctes, body } => self.with(ctes, body, need, want, limit),
            Rel::CteScan { cte, cols } => {
                Ok(Phys { plan: self.plan(Node::CteScan { cte: *cte }, cols, 100.0, 1.0), layout: cols.clone(), order: Vec::new() })
            }
            Rel::WorkTable { id, cols } => {
                Ok(Phys { plan: self.plan(Node::WorkTable { id: *id }, cols, 10.0, 0.1), layout: cols.clone(), order: Vec::new() })
            }
            Rel::Recursive { id, cols, base, base_cols, step, step_cols, distinct } => {
                let base_need: ColSet = base_cols.iter().copied().collect();
                let base = self.lower(base, &base_need, &[], None)?;
                let base = self.exactly(base, base_cols);
                let step_need: ColSet = step_cols.iter().copied().collect();
                let step = self.lower(step, &step_need, &[], None)?;
                let step = self.exactly(step, step_cols);
                let (rows, cost) = (base.rows + step.rows * 10.0, base.cost + step.cost * 10.0);
                let node = Node::RecursiveUnion { id: *id, base: Box::new(base), step: Box::new(step), distinct: *distinct };
                Ok(Phys { plan: self.plan(node, cols, rows, cost), layout: cols.clone(), order: Vec::new() })
            }
            Rel::Lock { input, targets } => self.lock(input, targets, need, want, limit),
            Rel::Insert(i) => self.insert(i),
            Rel::Update(u) => self.update(u),
            Rel::Delete(d) => self.delete(d),
        }
    }

    /// A read of a table, with `extra` conditions beside its own.
    pub fn table(&mut self, t: &TableRel, extra: &[Expr], need: &ColSet, want: &[OrderCol], limit: Option<f64>) -> Result<Phys> {
        let mut preds = t.filter.clone();
        preds.extend_from_slice(extra);
        let Some((path, needed)) = self.path(t, &preds, need, want, limit) else { return Err(SqlError::internal("not a table")) };
        let (scan, layout) = self.scan(t, &preds, &path, &needed, &[])?;
        let order = if path.ordered { want.to_vec() } else { path.order.clone() };
        let plan = self.plan(Node::Scan(Box::new(scan)), &layout, path.rows, path.cost);
        Ok(Phys { plan, layout, order })
    }

    /// The best path for these conditions, and the columns (number and id) that the scan must yield.
    pub fn path(
        &self,
        t: &TableRel,
        preds: &[Expr],
        need: &ColSet,
        want: &[OrderCol],
        limit: Option<f64>,
    ) -> Option<(Path, Vec<(ColId, u32)>)> {
        let mut all = need.clone();
        preds.iter().for_each(|p| columns_of(p, &self.subqueries, &mut all));
        // A first look decides which conditions the index answers: their columns need not be read.
        let request = |needed: &[u32]| {
            access::best(&Request {
                cx: self.cx,
                cols: &self.cols,
                subqueries: &self.subqueries,
                table: t,
                preds,
                needed,
                want,
                limit,
                whole_row: t.lock.is_some(),
            })
        };
        let needed_ids: Vec<u32> = t.cols.iter().filter(|c| all.contains(&c.0)).map(|c| c.1).collect();
        let path = request(&needed_ids)?;
        let mut fewer = need.clone();
        preds.iter().enumerate().filter(|(n, _)| !path.used.contains(n)).for_each(|(_, p)| columns_of(p, &self.subqueries, &mut fewer));
        let needed = t.cols.iter().copied().filter(|c| fewer.contains(&c.0)).collect();
        Some((path, needed))
    }

    /// The scan of a path; bounds see rows of `left` (a lookup join's left side, else nothing).
    pub fn scan(
        &mut self,
        t: &TableRel,
        preds: &[Expr],
        path: &Path,
        needed: &[(ColId, u32)],
        left: &[ColId],
    ) -> Result<(Scan, Vec<ColId>)> {
        let layout: Vec<ColId> = needed.iter().map(|c| c.0).collect();
        let rest: Vec<Expr> = preds.iter().enumerate().filter(|(n, _)| !path.used.contains(n)).map(|(_, p)| p.clone()).collect();
        let filter = self.predicate(&rest, &layout)?;
        let ranges = match &path.range {
            None => Vec::new(),
            Some(range) => vec![self.range(range, left)?],
        };
        // What the index alone gives back after the answered conditions have gone.
        let table = t.table.table().ok_or_else(|| SqlError::internal("not a table"))?;
        let covered = path.covering
            || path.index == table.primary.id
            || (t.lock.is_none() && table.indexes.iter().any(|i| i.id == path.index && covers_all(table, i, needed)));
        let scan = Scan {
            table: t.table.clone(),
            index: path.index,
            ranges,
            reverse: path.reverse,
            columns: needed.iter().map(|c| c.1).collect(),
            fetch_primary: !covered,
            filter,
            limit: None,
            aggregate: None,
            lock: t.lock,
            derived: Derived::default(),
        };
        Ok((scan, layout))
    }

    fn range(&mut self, range: &Range, left: &[ColId]) -> Result<IndexRange> {
        let bound = |this: &mut Self, b: &Option<(Expr, bool)>| {
            b.as_ref().map(|(e, inclusive)| this.expr(e, left).map(|e| (e, *inclusive))).transpose()
        };
        Ok(IndexRange {
            equal: self.exprs(&range.equal, left)?,
            lower: bound(self, &range.lower)?,
            upper: bound(self, &range.upper)?,
            null_equal: range.null_equal.clone(),
            any: range.any,
        })
    }

    fn system(&mut self, table: &'static str, cols: &[(ColId, usize)], filter: &[Expr], need: &ColSet) -> Result<Phys> {
        let mut all = need.clone();
        filter.iter().for_each(|p| columns_of(p, &self.subqueries, &mut all));
        let kept: Vec<(ColId, usize)> = cols.iter().copied().filter(|c| all.contains(&c.0)).collect();
        let layout: Vec<ColId> = kept.iter().map(|c| c.0).collect();
        let filter_expr = self.predicate(filter, &layout)?;
        let rows = (100.0 * self.estimates().all(filter)).max(1.0);
        let node = Node::SystemScan { table, columns: kept.iter().map(|c| c.1).collect(), filter: filter_expr };
        Ok(Phys { plan: self.plan(node, &layout, rows, 1.0), layout, order: Vec::new() })
    }

    fn filter(&mut self, input: &Rel, preds: &[Expr], need: &ColSet, want: &[OrderCol], limit: Option<f64>) -> Result<Phys> {
        let mut inner = need.clone();
        preds.iter().for_each(|p| columns_of(p, &self.subqueries, &mut inner));
        let pass: f64 = self.estimates().all(preds);
        let phys = self.lower(input, &inner, want, limit.map(|l| l / pass.max(1e-6)))?;
        self.filtered(phys, preds)
    }

    /// A filter over a lowered input.
    pub fn filtered(&mut self, phys: Phys, preds: &[Expr]) -> Result<Phys> {
        let Some(predicate) = self.predicate(preds, &phys.layout)? else { return Ok(phys) };
        let pass: f64 = self.estimates().all(preds);
        let rows = (phys.plan.rows * pass).max(1.0);
        let cost = phys.plan.cost + phys.plan.rows * cost::CONDITION * preds.len() as f64;
        let plan = self.plan(Node::Filter { input: Box::new(phys.plan), predicate }, &phys.layout, rows, cost);
        Ok(Phys { plan, layout: phys.layout, order: phys.order })
    }

    fn project(&mut self, input: &Rel, exprs: &[(ColId, Expr)], need: &ColSet, want: &[OrderCol], limit: Option<f64>) -> Result<Phys> {
        let kept: Vec<&(ColId, Expr)> = exprs.iter().filter(|e| need.contains(&e.0) || volatile(&e.1)).collect();
        let mut inner = ColSet::default();
        kept.iter().for_each(|e| columns_of(&e.1, &self.subqueries, &mut inner));
        // The wanted order in terms of the input, as far as it is of plain columns.
        let translate = |id: ColId| {
            exprs.iter().find(|e| e.0 == id).and_then(|e| match &e.1 {
                Expr::Column { ordinal, .. } => Some(*ordinal),
                _ => None,
            })
        };
        let inner_want: Vec<OrderCol> = want.iter().map_while(|o| translate(o.col).map(|col| OrderCol { col, ..*o })).collect();
        let inner_want = if inner_want.len() == want.len() { inner_want } else { Vec::new() };
        let phys = self.lower(input, &inner, &inner_want, limit)?;
        let ids: Vec<ColId> = kept.iter().map(|e| e.0).collect();
        let order: Vec<OrderCol> = phys
            .order
            .iter()
            .map_while(|o| {
                let out = kept.iter().find(|e| matches!(&e.1, Expr::Column { ordinal, .. } if *ordinal == o.col));
                out.map(|e| OrderCol { col: e.0, ..*o })
            })
            .collect();
        if kept.iter().all(|e| matches!(&e.1, Expr::Column { ordinal, .. } if *ordinal == e.0)) {
            // Nothing is computed: the parent picks by number.
            return Ok(Phys { order, ..phys });
        }
        let lowered = kept.iter().map(|e| self.expr(&e.1, &phys.layout)).collect::<Result<Vec<_>>>()?;
        if super::is_identity(&lowered) && lowered.len() == phys.layout.len() {
            let mut plan = phys.plan;
            plan.columns = self.outputs(&ids);
            return Ok(Phys { plan, layout: ids, order });
        }
        let (rows, cost) = (phys.plan.rows, phys.plan.cost + phys.plan.rows * cost::ROW * 0.5);
        let plan = self.plan(Node::Project { input: Box::new(phys.plan), exprs: lowered }, &ids, rows, cost);
        Ok(Phys { plan, layout: ids, order })
    }

    fn project_set(
        &mut self,
        input: &Rel,
        sets: &[(ColId, crate::plan::expr::FunctionRef, Vec<Expr>, DataType)],
        need: &ColSet,
    ) -> Result<Phys> {
        let mut inner: ColSet = need.iter().copied().filter(|c| !sets.iter().any(|s| s.0 == *c)).collect();
        sets.iter().flat_map(|s| &s.2).for_each(|e| columns_of(e, &self.subqueries, &mut inner));
        let phys = self.lower(input, &inner, &[], None)?;
        let mut layout = phys.layout.clone();
        let mut exprs: Vec<ProjectSetExpr> = phys
            .layout
            .iter()
            .enumerate()
            .map(|(n, c)| ProjectSetExpr::Scalar(Expr::Column { ordinal: n, ty: self.cols[*c].ty }))
            .collect();
        for (id, function, args, ty) in sets {
            exprs.push(ProjectSetExpr::Set { function: *function, args: self.exprs(args, &phys.layout)?, ty: *ty });
            layout.push(*id);
        }
        let (rows, cost) = (phys.plan.rows * 10.0, phys.plan.cost + phys.plan.rows * cost::ROW * 10.0);
        let plan = self.plan(Node::ProjectSet { input: Box::new(phys.plan), exprs }, &layout, rows, cost);
        Ok(Phys { plan, layout, order: Vec::new() })
    }

    pub fn sort_keys(&mut self, keys: &[SortKey], layout: &[ColId]) -> Result<Vec<SortKey>> {
        keys.iter().map(|k| Ok(SortKey { expr: self.expr(&k.expr, layout)?, ..k.clone() })).collect()
    }

    /// Sort keys that are plain columns, as a wanted order; empty if any is not.
    fn wanted(keys: &[SortKey]) -> Vec<OrderCol> {
        let cols: Vec<OrderCol> = keys
            .iter()
            .map_while(|k| match &k.expr {
                Expr::Column { ordinal, .. } => Some(OrderCol { col: *ordinal, descending: k.descending, nulls_first: k.nulls_first }),
                _ => None,
            })
            .collect();
        if cols.len() == keys.len() { cols } else { Vec::new() }
    }

    fn sort(&mut self, input: &Rel, keys: &[SortKey], need: &ColSet, limit: Option<f64>, top: Option<&Expr>) -> Result<Phys> {
        // Constants and repetitions order nothing.
        let mut useful: Vec<SortKey> = Vec::new();
        for key in keys {
            let constant = matches!(key.expr, Expr::Const { .. } | Expr::Param { .. });
            if !constant && !useful.iter().any(|k| same(&k.expr, &key.expr)) {
                useful.push(key.clone());
            }
        }
        let mut inner = need.clone();
        useful.iter().for_each(|k| columns_of(&k.expr, &self.subqueries, &mut inner));
        let want = Self::wanted(&useful);
        let phys = self.lower(input, &inner, &want, limit)?;
        if useful.is_empty() || (!want.is_empty() && phys.order.starts_with(&want)) {
            return Ok(phys);
        }
        self.sorted(phys, &useful, top)
    }

    /// A sort over a lowered input.
    pub fn sorted(&mut self, phys: Phys, keys: &[SortKey], top: Option<&Expr>) -> Result<Phys> {
        let order = Self::wanted(keys);
        let lowered = self.sort_keys(keys, &phys.layout)?;
        let limit = top.map(|e| self.expr(e, &[])).transpose()?;
        let (rows, cost) = (phys.plan.rows, phys.plan.cost + cost::sort(phys.plan.rows));
        let plan = self.plan(Node::Sort { input: Box::new(phys.plan), keys: lowered, limit }, &phys.layout, rows, cost);
        Ok(Phys { plan, layout: phys.layout, order })
    }

    fn limit(&mut self, input: &Rel, limit: Option<&Expr>, offset: Option<&Expr>, ties: Option<&[SortKey]>, need: &ColSet) -> Result<Phys> {
        let folded = |e: Option<&Expr>| e.map(|e| super::fold::fold(e.clone(), self.cx));
        let (limit, offset) = (folded(limit), folded(offset));
        let (limit, offset) = (limit.as_ref(), offset.as_ref());
        let number = |e: Option<&Expr>| e.and_then(cost::constant_count);
        let take = match (limit, offset) {
            (None, _) => None,
            (Some(_), None) => Some(number(limit).unwrap_or(100.0)),
            (Some(_), Some(_)) => Some(number(limit).unwrap_or(100.0) + number(offset).unwrap_or(0.0)),
        };
        // How many rows anything below has to make: exact only without ties.
        let cap = match (limit, offset) {
            (Some(l), None) if ties.is_none() => Some(l.clone()),
            (Some(Expr::Const { value: Datum::Int8(l), ty }), Some(Expr::Const { value: Datum::Int8(o), .. })) if ties.is_none() => {
                l.checked_add(*o).map(|n| Expr::Const { value: Datum::Int8(n), ty: *ty })
            }
            _ => None,
        };
        let cap = cap.filter(|e| matches!(e, Expr::Const { .. } | Expr::Param { .. }));
        let mut inner = need.clone();
        ties.iter().copied().flatten().for_each(|k| columns_of(&k.expr, &self.subqueries, &mut inner));
        let hint = if ties.is_some() { None } else { take };
        let mut phys = match input {
            Rel::Sort { input, keys } => self.sort(input, keys, &inner, hint, cap.as_ref())?,
            other => self.lower(other, &inner, &[], hint)?,
        };
        if let Some(cap) = &cap {
            let negative = matches!(cap, Expr::Const { value: Datum::Int8(n), .. } if *n < 0);
            if !negative {
                push_limit(&mut phys.plan, cap);
            }
        }
        let with_ties = ties.map(|k| self.sort_keys(k, &phys.layout)).transpose()?;
        let (limit, offset) = (self.option(limit, &[])?, self.option(offset, &[])?);
        let rows = take.map_or(phys.plan.rows, |n| phys.plan.rows.min(n));
        let cost = phys.plan.cost;
        let plan = self.plan(Node::Limit { input: Box::new(phys.plan), limit, offset, with_ties }, &phys.layout, rows, cost);
        Ok(Phys { plan, layout: phys.layout, order: phys.order })
    }

    fn set_op(&mut self, kind: SetOpKind, all: bool, cols: &[ColId], left: (&Rel, &[ColId]), right: (&Rel, &[ColId])) -> Result<Phys> {
        let mut side = |(rel, ids): (&Rel, &[ColId])| -> Result<Plan> {
            let need: ColSet = ids.iter().copied().collect();
            let phys = self.lower(rel, &need, &[], None)?;
            Ok(self.exactly(phys, ids))
        };
        let (l, r) = (side(left)?, side(right)?);
        let (rows, cost) = (l.rows + r.rows, l.cost + r.cost);
        let node = if kind == SetOpKind::Union && all {
            let mut inputs = Vec::new();
            for plan in [l, r] {
                match plan.node {
                    Node::Append { inputs: more } => inputs.extend(more),
                    _ => inputs.push(plan),
                }
            }
            Node::Append { inputs }
        } else {
            Node::SetOp { left: Box::new(l), right: Box::new(r), kind, all }
        };
        let rows = match kind {
            SetOpKind::Union if all => rows,
            _ => (rows * 0.5).max(1.0),
        };
        Ok(Phys { plan: self.plan(node, cols, rows, cost + rows * cost::ROW), layout: cols.to_vec(), order: Vec::new() })
    }

    fn with(&mut self, ctes: &[CteRel], body: &Rel, need: &ColSet, want: &[OrderCol], limit: Option<f64>) -> Result<Phys> {
        let mut lowered = Vec::new();
        for cte in ctes {
            let all: ColSet = cte.cols.iter().copied().collect();
            let phys = self.lower(&cte.rel, &all, &[], None)?;
            let plan = if cte.cols.is_empty() { phys.plan } else { self.exactly(phys, &cte.cols) };
            lowered.push(Cte { id: cte.id, name: cte.name.clone(), plan, modifies: cte.modifies });
        }
        let phys = self.lower(body, need, want, limit)?;
        let (rows, cost) = (phys.plan.rows, phys.plan.cost + lowered.iter().map(|c| c.plan.cost).sum::<f64>());
        let plan = self.plan(Node::With { ctes: lowered, body: Box::new(phys.plan) }, &phys.layout, rows, cost);
        Ok(Phys { plan, layout: phys.layout, order: phys.order })
    }

    fn window(&mut self, input: &Rel, partition: &[Expr], order: &[SortKey], calls: &[(ColId, WindowCall)], need: &ColSet) -> Result<Phys> {
        let mut inner: ColSet = need.iter().copied().filter(|c| !calls.iter().any(|w| w.0 == *c)).collect();
        let mut add = |e: &Expr| columns_of(e, &self.subqueries, &mut inner);
        partition.iter().for_each(&mut add);
        order.iter().for_each(|k| add(&k.expr));
        for (_, call) in calls {
            call.args.iter().chain(&call.filter).for_each(&mut add);
        }
        let mut keys: Vec<SortKey> = partition.iter().map(|e| SortKey { expr: e.clone(), descending: false, nulls_first: false }).collect();
        keys.extend(order.iter().cloned());
        let phys = if keys.is_empty() { self.lower(input, &inner, &[], None)? } else { self.sort(input, &keys, &inner, None, None)? };
        let mut layout = phys.layout.clone();
        let mut lowered = Vec::new();
        for (id, call) in calls {
            let bound = |this: &mut Self, b: &FrameBound| -> Result<FrameBound> {
                Ok(match b {
                    FrameBound::Preceding(e) => FrameBound::Preceding(this.expr(e, &phys.layout)?),
                    FrameBound::Following(e) => FrameBound::Following(this.expr(e, &phys.layout)?),
                    other => other.clone(),
                })
            };
            let frame = Frame { unit: call.frame.unit, start: bound(self, &call.frame.start)?, end: bound(self, &call.frame.end)? };
            let args = self.exprs(&call.args, &phys.layout)?;
            let filter = self.option(call.filter.as_ref(), &phys.layout)?;
            lowered.push(WindowCall { function: call.function, args, filter, frame, ty: call.ty });
            layout.push(*id);
        }
        let partition = self.exprs(partition, &phys.layout)?;
        let order_keys = self.sort_keys(order, &phys.layout)?;
        let (rows, cost) = (phys.plan.rows, phys.plan.cost + phys.plan.rows * cost::ROW * calls.len() as f64);
        let node = Node::Window { input: Box::new(phys.plan), partition, order: order_keys, calls: lowered };
        Ok(Phys { plan: self.plan(node, &layout, rows, cost), layout, order: phys.order })
    }
}

fn covers_all(
    table: &crate::catalog::descriptor::TableDescriptor,
    index: &crate::catalog::descriptor::IndexDescriptor,
    needed: &[(ColId, u32)],
) -> bool {
    needed.iter().all(|(_, id)| {
        let in_key = index.keys.iter().any(|k| k.column == *id) || table.primary.keys.iter().any(|k| k.column == *id);
        index.include.contains(id) || (in_key && table.column(*id).is_some_and(|c| crate::types::codec::key_is_lossless(c.ty)))
    })
}

/// Lets the scan below stop early, past nodes that keep rows one for one.
fn push_limit(plan: &mut Plan, cap: &Expr) {
    match &mut plan.node {
        Node::Scan(scan) if scan.aggregate.is_none() => scan.limit = Some(cap.clone()),
        Node::Project { input, .. } => push_limit(input, cap),
        Node::Append { inputs } => inputs.iter_mut().for_each(|i| push_limit(i, cap)),
        _ => {}
    }
}
