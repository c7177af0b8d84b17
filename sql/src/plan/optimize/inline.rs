//! Common table expressions that are read once and have no effects are put where they are read, as PostgreSQL does.

use super::pushdown::Rewriter;
use crate::functions::Volatility;
use crate::plan::expr::Expr;
use crate::plan::logical::*;

impl Rewriter<'_> {
    /// CTEs that are read once and have no effects are put in the place where they are read, as PostgreSQL does.
    pub(super) fn inline_ctes(&mut self, rel: Rel) -> Rel {
        let rel = map_inputs(rel, &mut |r| self.inline_ctes(r));
        let Rel::With { ctes, mut body } = rel else { return rel };
        let mut kept: Vec<CteRel> = Vec::new();
        let mut pending: Vec<CteRel> = ctes.into_iter().rev().collect();
        while let Some(cte) = pending.pop() {
            let mut count = 0;
            count_scans(&body, cte.id, &mut count);
            pending.iter().for_each(|c| count_scans(&c.rel, cte.id, &mut count));
            // A CTE read inside a subquery of an expression stays: it may run many times there.
            let mut hidden = 0;
            self.subqueries.iter().for_each(|s| count_scans(&s.rel, cte.id, &mut hidden));
            let mut effects = cte.modifies || matches!(cte.rel, Rel::Recursive { .. });
            effects |= has_effects(&cte.rel);
            let wanted = match cte.materialized {
                Some(true) => false,
                Some(false) => count == 1,
                None => count == 1,
            };
            if count == 0 && hidden == 0 && !effects {
                continue;
            }
            if wanted && hidden == 0 && !effects {
                let mut done = false;
                for c in &mut pending {
                    replace_scan(&mut c.rel, &cte, self.cols, &mut done);
                }
                replace_scan(&mut body, &cte, self.cols, &mut done);
            } else {
                kept.push(cte);
            }
        }
        if kept.is_empty() { *body } else { Rel::With { ctes: kept, body } }
    }
}

fn has_effects(rel: &Rel) -> bool {
    let mut found = matches!(rel, Rel::Insert(_) | Rel::Update(_) | Rel::Delete(_) | Rel::Lock { .. });
    rel.exprs(&mut |e| found = found || any(e, &|x| matches!(x, Expr::Call { function, .. } | Expr::ExecutorCall { function, .. } if function.0.volatility == Volatility::Volatile)));
    rel.inputs(&mut |i| found = found || has_effects(i));
    found
}

fn count_scans(rel: &Rel, id: usize, count: &mut usize) {
    if matches!(rel, Rel::CteScan { cte, .. } if *cte == id) {
        *count += 1;
    }
    rel.inputs(&mut |i| count_scans(i, id, count));
}

fn replace_scan(rel: &mut Rel, cte: &CteRel, infos: &[ColInfo], done: &mut bool) {
    if *done {
        return;
    }
    if let Rel::CteScan { cte: id, cols } = rel
        && *id == cte.id
    {
        let exprs = cols.iter().zip(&cte.cols).map(|(to, from)| (*to, Expr::Column { ordinal: *from, ty: infos[*from].ty })).collect();
        *rel = Rel::Project { input: Box::new(cte.rel.clone()), exprs };
        *done = true;
        return;
    }
    let taken = std::mem::replace(rel, Rel::OneRow);
    *rel = map_inputs(taken, &mut |mut r| {
        replace_scan(&mut r, cte, infos, done);
        r
    });
}

/// Rebuilds a node with its children changed.
pub(super) fn map_inputs(rel: Rel, f: &mut dyn FnMut(Rel) -> Rel) -> Rel {
    match rel {
        Rel::Filter { input, preds } => Rel::Filter { input: Box::new(f(*input)), preds },
        Rel::Project { input, exprs } => Rel::Project { input: Box::new(f(*input)), exprs },
        Rel::ProjectSet { input, sets } => Rel::ProjectSet { input: Box::new(f(*input)), sets },
        Rel::Join { left, right, kind, on } => {
            let left = Box::new(f(*left));
            Rel::Join { left, right: Box::new(f(*right)), kind, on }
        }
        Rel::Aggregate(mut a) => {
            a.input = f(a.input);
            Rel::Aggregate(a)
        }
        Rel::Window { input, partition, order, calls } => Rel::Window { input: Box::new(f(*input)), partition, order, calls },
        Rel::Sort { input, keys } => Rel::Sort { input: Box::new(f(*input)), keys },
        Rel::Limit { input, limit, offset, with_ties } => Rel::Limit { input: Box::new(f(*input)), limit, offset, with_ties },
        Rel::Distinct { input, cols } => Rel::Distinct { input: Box::new(f(*input)), cols },
        Rel::DistinctOn { input, keys } => Rel::DistinctOn { input: Box::new(f(*input)), keys },
        Rel::SetOp { kind, all, cols, left, left_cols, right, right_cols } => {
            let left = Box::new(f(*left));
            Rel::SetOp { kind, all, cols, left, left_cols, right: Box::new(f(*right)), right_cols }
        }
        Rel::With { ctes, body } => {
            let ctes = ctes
                .into_iter()
                .map(|mut c| {
                    c.rel = f(c.rel);
                    c
                })
                .collect();
            Rel::With { ctes, body: Box::new(f(*body)) }
        }
        Rel::Recursive { id, cols, base, base_cols, step, step_cols, distinct } => {
            let base = Box::new(f(*base));
            Rel::Recursive { id, cols, base, base_cols, step: Box::new(f(*step)), step_cols, distinct }
        }
        Rel::Lock { input, targets } => Rel::Lock { input: Box::new(f(*input)), targets },
        Rel::Insert(mut i) => {
            i.source = f(i.source);
            Rel::Insert(i)
        }
        Rel::Update(mut u) => {
            u.source = f(u.source);
            Rel::Update(u)
        }
        Rel::Delete(mut d) => {
            d.source = f(d.source);
            Rel::Delete(d)
        }
        leaf => leaf,
    }
}
