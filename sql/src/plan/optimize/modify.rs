//! INSERT, UPDATE, DELETE and row locks.
//!
//! A lock is pushed into the scan when every row that the scan lets through is one the statement wants: a single table, all
//! conditions in the scan. Otherwise `LockRows` locks what came out at the end, refreshes and re-checks it.

use super::access::OrderCol;
use super::cost;
use super::lower::{Lowerer, Phys};
use crate::error::{Result, SqlError};
use crate::plan::expr::Expr;
use crate::plan::logical::*;
use crate::plan::node::*;

impl Lowerer<'_> {
    pub(super) fn lock(&mut self, input: &Rel, targets: &[LockRel], need: &ColSet, want: &[OrderCol], limit: Option<f64>) -> Result<Phys> {
        // One table and nothing between: the scan locks.
        let (sorted, inner) = match input {
            Rel::Sort { input, keys } => (Some(keys), &**input),
            other => (None, other),
        };
        if let ([target], Rel::Table(t)) = (targets, super::join::plain(inner))
            && t.cols.first().map(|c| c.0) == target.cols.first().map(|c| c.0)
        {
            let mut locked = (**t).clone();
            locked.lock = Some(target.lock);
            let locked = Rel::Table(Box::new(locked));
            match sorted {
                None => return self.lower(&locked, need, want, limit),
                Some(keys) => {
                    let phys = self.lower(&Rel::Sort { input: Box::new(locked), keys: keys.clone() }, need, want, limit)?;
                    // With a sort above, a LIMIT would come after too many locks: then lock what comes out.
                    if limit.is_none() || !matches!(phys.plan.node, Node::Sort { .. }) {
                        return Ok(phys);
                    }
                }
            }
        }
        let mut inner_need = need.clone();
        for target in targets {
            let table = target.table.table().ok_or_else(|| SqlError::internal("a lock on no table"))?;
            // The key to find the row by; the conditions' columns to look at again.
            for key in &table.primary.keys {
                inner_need.extend(target.cols.iter().filter(|c| c.1 == key.column).map(|c| c.0));
            }
        }
        let mut rechecks = Vec::new();
        conditions(inner, &mut rechecks);
        rechecks.retain(|p| !has_subquery(p) && !volatile(p));
        rechecks.iter().for_each(|p| columns_of(p, &self.subqueries, &mut inner_need));
        let phys = self.lower(input, &inner_need, want, limit)?;
        let available: ColSet = phys.layout.iter().copied().collect();
        let mut lowered = Vec::new();
        for target in targets {
            let table = target.table.table().ok_or_else(|| SqlError::internal("a lock on no table"))?;
            let place = |id: ColId| phys.layout.iter().position(|c| *c == id);
            let mut key = Vec::new();
            for k in &table.primary.keys {
                let at = target.cols.iter().find(|c| c.1 == k.column).and_then(|c| place(c.0));
                key.push(at.ok_or_else(|| SqlError::internal("a lock without its key"))?);
            }
            let columns = target.cols.iter().filter_map(|c| place(c.0).map(|at| (at, c.1))).collect();
            let own: ColSet = target.cols.iter().map(|c| c.0).collect();
            let mine: Vec<Expr> = rechecks
                .iter()
                .filter(|p| {
                    let cols = columns_in(p, &self.subqueries, &available);
                    !cols.is_disjoint(&own) && cols.is_subset(&available)
                })
                .cloned()
                .collect();
            let recheck = self.predicate(&mine, &phys.layout)?;
            lowered.push(LockTarget { table: target.table.clone(), key, columns, recheck, lock: target.lock });
        }
        let (rows, cost) = (phys.plan.rows, phys.plan.cost + cost::ROUND + phys.plan.rows * cost::FETCH);
        let plan = self.plan(Node::LockRows { input: Box::new(phys.plan), targets: lowered }, &phys.layout, rows, cost);
        Ok(Phys { plan, layout: phys.layout, order: phys.order })
    }

    fn checks(&mut self, checks: &RowChecks, row: &[ColId]) -> Result<RowChecks> {
        let mut out = RowChecks::default();
        for (n, e) in &checks.generated {
            out.generated.push((*n, self.expr(&super::fold::fold(e.clone(), self.cx), row)?));
        }
        for (name, e) in &checks.checks {
            out.checks.push((name.clone(), self.expr(&super::fold::fold(e.clone(), self.cx), row)?));
        }
        for (id, e) in &checks.predicates {
            out.predicates.push((*id, self.expr(&super::fold::fold(e.clone(), self.cx), row)?));
        }
        Ok(out)
    }

    fn returning(&mut self, returning: Option<&Vec<(ColId, Expr)>>, row: &[ColId]) -> Result<(Option<Vec<Expr>>, Vec<ColId>)> {
        match returning {
            None => Ok((None, Vec::new())),
            Some(list) => {
                let exprs = list.iter().map(|(_, e)| self.expr(&super::fold::fold(e.clone(), self.cx), row)).collect::<Result<Vec<_>>>()?;
                Ok((Some(exprs), list.iter().map(|r| r.0).collect()))
            }
        }
    }

    pub(super) fn insert(&mut self, i: &InsertRel) -> Result<Phys> {
        let need: ColSet = i.source_cols.iter().copied().collect();
        let source = self.lower(&i.source, &need, &[], None)?;
        let mut source = self.exactly(source, &i.source_cols);
        if let Node::Values { rows } = &mut source.node {
            for e in rows.iter_mut().flatten() {
                super::fold::fold_in_place(e, self.cx);
            }
        }
        let checks = self.checks(&i.checks, &i.new_row)?;
        let both: Vec<ColId> = i.existing.iter().chain(&i.new_row).copied().collect();
        let conflict = match &i.conflict {
            None => None,
            Some(OnConflict { arbiters, update }) => {
                let update = match update {
                    None => None,
                    Some(u) => {
                        let assignments =
                            u.assignments.iter().map(|(id, e)| Ok((*id, self.expr(e, &both)?))).collect::<Result<Vec<_>>>()?;
                        Some(ConflictUpdate { assignments, predicate: self.option(u.predicate.as_ref(), &both)? })
                    }
                };
                Some(OnConflict { arbiters: arbiters.clone(), update })
            }
        };
        let (returning, layout) = self.returning(i.returning.as_ref(), &i.new_row)?;
        let (rows, cost) = (source.rows, source.cost + cost::ROUND + source.rows * cost::FETCH);
        let node = Node::Insert(Box::new(Insert {
            table: i.table.clone(),
            source,
            columns: i.columns.clone(),
            checks,
            conflict,
            returning,
            derived: Derived::default(),
        }));
        Ok(Phys { plan: self.plan(node, &layout, rows, cost), layout, order: Vec::new() })
    }

    pub(super) fn update(&mut self, u: &UpdateRel) -> Result<Phys> {
        let mut used = ColSet::default();
        u.assignments.iter().for_each(|a| columns_of(&a.1, &self.subqueries, &mut used));
        u.returning.iter().flatten().for_each(|r| columns_of(&r.1, &self.subqueries, &mut used));
        let others: Vec<ColId> = u.others.iter().copied().filter(|c| used.contains(c)).collect();
        let row: Vec<ColId> = u.target.iter().chain(&others).copied().collect();
        let need: ColSet = row.iter().copied().collect();
        let source = self.lower(&u.source, &need, &[], None)?;
        let source = self.exactly(source, &row);
        let assignments = u
            .assignments
            .iter()
            .map(|(id, e)| Ok((*id, self.expr(&super::fold::fold(e.clone(), self.cx), &row)?)))
            .collect::<Result<Vec<_>>>()?;
        let checks = self.checks(&u.checks, &u.new_row)?;
        let returned: Vec<ColId> = u.new_row.iter().chain(&others).copied().collect();
        let (returning, layout) = self.returning(u.returning.as_ref(), &returned)?;
        let (rows, cost) = (source.rows, source.cost + cost::ROUND + source.rows * cost::FETCH);
        let node =
            Node::Update(Box::new(Update { table: u.table.clone(), source, assignments, checks, returning, derived: Derived::default() }));
        Ok(Phys { plan: self.plan(node, &layout, rows, cost), layout, order: Vec::new() })
    }

    pub(super) fn delete(&mut self, d: &DeleteRel) -> Result<Phys> {
        let mut used = ColSet::default();
        d.returning.iter().flatten().for_each(|r| columns_of(&r.1, &self.subqueries, &mut used));
        let others: Vec<ColId> = d.others.iter().copied().filter(|c| used.contains(c)).collect();
        let row: Vec<ColId> = d.target.iter().chain(&others).copied().collect();
        let need: ColSet = row.iter().copied().collect();
        let source = self.lower(&d.source, &need, &[], None)?;
        let source = self.exactly(source, &row);
        let (returning, layout) = self.returning(d.returning.as_ref(), &row)?;
        let (rows, cost) = (source.rows, source.cost + cost::ROUND + source.rows * cost::FETCH);
        let node = Node::Delete(Box::new(Delete { table: d.table.clone(), source, returning, derived: Derived::default() }));
        Ok(Phys { plan: self.plan(node, &layout, rows, cost), layout, order: Vec::new() })
    }
}

fn columns_in(p: &Expr, subqueries: &[Subquery], available: &ColSet) -> ColSet {
    columns(p, subqueries).into_iter().filter(|c| available.contains(c)).collect()
}

/// The conditions that rows of a tree satisfy: those of inner joins, filters and scans.
fn conditions(rel: &Rel, out: &mut Vec<Expr>) {
    match rel {
        Rel::Filter { input, preds } => {
            out.extend(preds.iter().cloned());
            conditions(input, out);
        }
        Rel::Table(t) => out.extend(t.filter.iter().cloned()),
        Rel::Join { left, right, kind, on } => {
            conditions(left, out);
            if *kind == JoinKind::Inner {
                out.extend(on.iter().cloned());
                conditions(right, out);
            }
        }
        Rel::Sort { input, .. } => conditions(input, out),
        Rel::Project { input, .. } => conditions(input, out),
        _ => {}
    }
}
