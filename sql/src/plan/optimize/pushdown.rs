//! Logical rewrites: subqueries in conditions become semi and anti joins, conditions move down to where their columns are, outer joins
//! whose padding is thrown away become inner, common table expressions used once are inlined.
//!
//! `push(rel, preds)` answers a tree that yields the rows of `rel` that pass `preds`. A condition moves
//! below a node only if it means the same there: past a projection by substitution, past grouping only over group columns, never past
//! LIMIT, window functions or DISTINCT ON; a volatile condition stays where it is.

use crate::functions::registry::{ComparisonKind, operators_named};
use crate::plan::PlanContext;
use crate::plan::expr::{Expr, FunctionRef, SubqueryKind};
use crate::plan::logical::*;
use crate::plan::node::{JoinKind, SetOpKind};
use crate::types::{DataType, Datum};

use super::fold::fold_in_place;

/// What the rewrites need.
pub(super) struct Rewriter<'a> {
    pub cx: &'a PlanContext<'a>,
    pub cols: &'a mut Vec<ColInfo>,
    pub subqueries: &'a mut Vec<Subquery>,
}

impl Rewriter<'_> {
    /// Rewrites a whole tree.
    pub fn rewrite(&mut self, rel: Rel) -> Rel {
        let rel = self.inline_ctes(rel);
        self.push(rel, Vec::new())
    }

    fn columns(&self, e: &Expr) -> ColSet {
        columns(e, self.subqueries)
    }

    /// Whether none of the columns is one of `cols`.
    fn avoids(&self, e: &Expr, cols: &ColSet) -> bool {
        self.columns(e).is_disjoint(cols)
    }

    fn filter(&self, rel: Rel, preds: Vec<Expr>) -> Rel {
        if preds.is_empty() {
            return rel;
        }
        match rel {
            Rel::Filter { input, preds: mut below } => {
                below.extend(preds);
                Rel::Filter { input, preds: below }
            }
            rel => Rel::Filter { input: Box::new(rel), preds },
        }
    }

    fn push(&mut self, rel: Rel, preds: Vec<Expr>) -> Rel {
        stacker::maybe_grow(256 << 10, 4 << 20, || self.push_inner(rel, preds))
    }

    fn push_inner(&mut self, rel: Rel, mut preds: Vec<Expr>) -> Rel {
        match rel {
            Rel::Filter { input, preds: own } => {
                for mut p in own {
                    fold_in_place(&mut p, self.cx);
                    conjuncts(p, &mut preds);
                }
                if preds.iter().any(|p| matches!(p, Expr::Const { value: Datum::Bool(false) | Datum::Null, .. })) {
                    return Rel::Empty { cols: input.outputs() };
                }
                preds.retain(|p| !matches!(p, Expr::Const { value: Datum::Bool(true), .. }));
                let mut input = *input;
                let mut rest = Vec::new();
                for p in preds {
                    match self.unnest(input, p) {
                        (rel, None) => input = rel,
                        (rel, Some(p)) => {
                            input = rel;
                            rest.push(p);
                        }
                    }
                }
                self.push(input, rest)
            }
            Rel::Project { input, exprs } => self.push_project(*input, exprs, preds),
            Rel::Join { left, right, kind, on } => self.push_join(*left, *right, kind, on, preds),
            Rel::Table(mut t) => {
                for f in &mut t.filter {
                    fold_in_place(f, self.cx);
                }
                let (down, up): (Vec<Expr>, Vec<Expr>) =
                    preds.into_iter().partition(|p| !volatile(p) && !has_subquery(p) && !has_executor_call(p));
                t.filter.extend(down);
                self.filter(Rel::Table(t), up)
            }
            Rel::System { table, cols, mut filter } => {
                let (down, up): (Vec<Expr>, Vec<Expr>) = preds.into_iter().partition(|p| !volatile(p) && !has_subquery(p));
                filter.extend(down);
                self.filter(Rel::System { table, cols, filter }, up)
            }
            Rel::Aggregate(mut a) => {
                let plain = a.sets.is_empty() && !a.groups.is_empty();
                let groups: ColSet = a.groups.iter().map(|g| g.0).collect();
                let outputs: ColSet =
                    a.groups.iter().map(|g| g.0).chain(a.calls.iter().map(|c| c.0)).chain(a.grouping.iter().map(|g| g.0)).collect();
                let (mut down, mut up) = (Vec::new(), Vec::new());
                for mut p in preds {
                    let own: ColSet = self.columns(&p).intersection(&outputs).copied().collect();
                    if plain && own.is_subset(&groups) && !own.is_empty() && !volatile(&p) && !has_subquery(&p) {
                        substitute(&mut p, &|c| a.groups.iter().find(|g| g.0 == c).map(|g| g.1.clone()));
                        down.push(p);
                    } else {
                        up.push(p);
                    }
                }
                a.input = self.push(a.input, down);
                self.filter(Rel::Aggregate(a), up)
            }
            Rel::Distinct { input, cols } => {
                let (down, up): (Vec<Expr>, Vec<Expr>) = preds.into_iter().partition(|p| !volatile(p));
                let input = Box::new(self.push(*input, down));
                self.filter(Rel::Distinct { input, cols }, up)
            }
            Rel::Sort { input, keys } => Rel::Sort { input: Box::new(self.push(*input, preds)), keys },
            Rel::SetOp { kind, all, cols, left, left_cols, right, right_cols } => {
                let (down, up): (Vec<Expr>, Vec<Expr>) = preds.into_iter().partition(|p| !volatile(p) && !has_subquery(p));
                let to = |side: &[ColId], infos: &[ColInfo], p: &Expr| {
                    let mut p = p.clone();
                    substitute(&mut p, &|c| {
                        cols.iter().position(|x| *x == c).map(|n| Expr::Column { ordinal: side[n], ty: infos[side[n]].ty })
                    });
                    p
                };
                let l: Vec<Expr> = down.iter().map(|p| to(&left_cols, self.cols, p)).collect();
                let r: Vec<Expr> = match kind {
                    // What EXCEPT removes need not be filtered, but may be.
                    SetOpKind::Union | SetOpKind::Intersect | SetOpKind::Except => {
                        down.iter().map(|p| to(&right_cols, self.cols, p)).collect()
                    }
                };
                let left = Box::new(self.push(*left, l));
                let right = Box::new(self.push(*right, r));
                self.filter(Rel::SetOp { kind, all, cols, left, left_cols, right, right_cols }, up)
            }
            Rel::With { ctes, body } => {
                let ctes = ctes.into_iter().map(|mut c| {
                    c.rel = self.push(c.rel, Vec::new());
                    c
                });
                let ctes = ctes.collect();
                Rel::With { ctes, body: Box::new(self.push(*body, preds)) }
            }
            other => {
                let rel = self.push_children(other);
                self.filter(rel, preds)
            }
        }
    }

    /// Nodes that conditions do not pass.
    fn push_children(&mut self, rel: Rel) -> Rel {
        match rel {
            Rel::ProjectSet { input, sets } => Rel::ProjectSet { input: Box::new(self.push(*input, Vec::new())), sets },
            Rel::Window { input, partition, order, calls } => {
                Rel::Window { input: Box::new(self.push(*input, Vec::new())), partition, order, calls }
            }
            Rel::Limit { input, limit, offset, with_ties } => {
                Rel::Limit { input: Box::new(self.push(*input, Vec::new())), limit, offset, with_ties }
            }
            Rel::DistinctOn { input, keys } => Rel::DistinctOn { input: Box::new(self.push(*input, Vec::new())), keys },
            Rel::Lock { input, targets } => Rel::Lock { input: Box::new(self.push(*input, Vec::new())), targets },
            Rel::Recursive { id, cols, base, base_cols, step, step_cols, distinct } => {
                let base = Box::new(self.push(*base, Vec::new()));
                let step = Box::new(self.push(*step, Vec::new()));
                Rel::Recursive { id, cols, base, base_cols, step, step_cols, distinct }
            }
            Rel::Insert(mut i) => {
                i.source = self.push(i.source, Vec::new());
                Rel::Insert(i)
            }
            Rel::Update(mut u) => {
                u.source = self.push(u.source, Vec::new());
                Rel::Update(u)
            }
            Rel::Delete(mut d) => {
                d.source = self.push(d.source, Vec::new());
                Rel::Delete(d)
            }
            leaf => leaf,
        }
    }

    /// Two projections become one where that computes nothing twice and leaves out nothing that has effects.
    fn merge_projects(&self, input: Rel, exprs: &mut [(ColId, Expr)]) -> Rel {
        let Rel::Project { input: inner, exprs: below } = input else { return input };
        let uses = |c: ColId| exprs.iter().filter(|(_, e)| self.columns(e).contains(&c)).count();
        let simple = below.iter().all(|(c, e)| {
            matches!(e, Expr::Column { .. } | Expr::Const { .. } | Expr::Param { .. })
                || (!volatile(e) && !has_subquery(e) && uses(*c) <= 1)
        });
        if !simple || exprs.iter().any(|(_, e)| has_subquery(e)) {
            return Rel::Project { input: inner, exprs: below };
        }
        for (_, e) in exprs.iter_mut() {
            substitute(e, &|c| below.iter().find(|b| b.0 == c).map(|b| b.1.clone()));
        }
        self.merge_projects(*inner, exprs)
    }

    fn push_project(&mut self, input: Rel, mut exprs: Vec<(ColId, Expr)>, preds: Vec<Expr>) -> Rel {
        let input = self.merge_projects(input, &mut exprs);
        for (_, e) in &mut exprs {
            fold_in_place(e, self.cx);
        }
        let (mut down, mut up) = (Vec::new(), Vec::new());
        for mut p in preds {
            let used = self.columns(&p);
            let movable = exprs.iter().all(|(c, e)| !used.contains(c) || (!volatile(e) && !has_subquery(e)));
            // A subquery's own references to this projection cannot be rewritten in place; plain columns keep their number.
            let through_subquery = has_subquery(&p)
                && exprs.iter().any(|(c, e)| used.contains(c) && !matches!(e, Expr::Column { ordinal, .. } if ordinal == c));
            if movable && !through_subquery && !volatile(&p) {
                substitute(&mut p, &|c| exprs.iter().find(|e| e.0 == c).map(|e| e.1.clone()));
                fold_in_place(&mut p, self.cx);
                conjuncts(p, &mut down);
            } else {
                up.push(p);
            }
        }
        let input = if down.is_empty() {
            self.push(input, down)
        } else {
            self.push(Rel::Filter { input: Box::new(input), preds: down }, Vec::new())
        };
        self.filter(Rel::Project { input: Box::new(input), exprs }, up)
    }

    fn push_join(&mut self, left: Rel, right: Rel, kind: JoinKind, on: Vec<Expr>, preds: Vec<Expr>) -> Rel {
        let mut kind = kind;
        let lcols: ColSet = left.outputs().into_iter().collect();
        let rcols: ColSet = right.outputs().into_iter().collect();
        let mut conditions = Vec::new();
        for mut p in on {
            fold_in_place(&mut p, self.cx);
            conjuncts(p, &mut conditions);
        }
        conditions.retain(|p| !matches!(p, Expr::Const { value: Datum::Bool(true), .. }));
        if kind == JoinKind::Left && preds.iter().any(|p| self.rejects_nulls(p, &rcols)) {
            kind = JoinKind::Inner;
        }
        let (mut to_left, mut to_right, mut here, mut above) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        match kind {
            JoinKind::Inner => {
                for p in conditions.into_iter().chain(preds) {
                    // Subqueries in ON may be unnested too once they are plain conditions.
                    if volatile(&p) {
                        above.push(p);
                    } else if self.avoids(&p, &rcols) {
                        to_left.push(p);
                    } else if self.avoids(&p, &lcols) {
                        to_right.push(p);
                    } else {
                        here.push(p);
                    }
                }
                self.close_equalities(&here, &mut to_left, &mut to_right, &lcols, &rcols);
                for p in &here {
                    self.branches_say(p, &rcols, &mut to_left);
                    self.branches_say(p, &lcols, &mut to_right);
                }
            }
            JoinKind::Left => {
                for p in conditions {
                    if !volatile(&p) && self.avoids(&p, &lcols) { to_right.push(p) } else { here.push(p) }
                }
                for p in preds {
                    if !volatile(&p) && self.avoids(&p, &rcols) { to_left.push(p) } else { above.push(p) }
                }
                // A constant that the left column must equal holds for the right one too.
                let mut ignored = Vec::new();
                let mut known = to_left.clone();
                self.close_equalities(&here, &mut known, &mut ignored, &lcols, &rcols);
                to_right.extend(ignored);
            }
            JoinKind::Semi => {
                for p in conditions {
                    if self.avoids(&p, &rcols) {
                        to_left.push(p);
                    } else if self.avoids(&p, &lcols) {
                        to_right.push(p);
                    } else {
                        here.push(p);
                    }
                }
                to_left.extend(preds);
            }
            JoinKind::Anti => {
                for p in conditions {
                    if self.avoids(&p, &lcols) && !self.avoids(&p, &rcols) { to_right.push(p) } else { here.push(p) }
                }
                to_left.extend(preds);
            }
            JoinKind::Full => {
                here = conditions;
                above = preds;
            }
        }
        let wrap = |rel: Rel, preds: Vec<Expr>| if preds.is_empty() { rel } else { Rel::Filter { input: Box::new(rel), preds } };
        let left = Box::new(self.push(wrap(left, to_left), Vec::new()));
        let right = Box::new(self.push(wrap(right, to_right), Vec::new()));
        self.filter(Rel::Join { left, right, kind, on: here }, above)
    }

    /// What every branch of an OR over both sides says about one side alone, as a condition of that side. The OR itself stays.
    fn branches_say(&self, p: &Expr, other: &ColSet, to: &mut Vec<Expr>) {
        let Expr::Or(branches) = p else { return };
        if volatile(p) || has_subquery(p) {
            return;
        }
        let mut said = Vec::with_capacity(branches.len());
        for branch in branches {
            let mut parts = Vec::new();
            conjuncts(branch.clone(), &mut parts);
            parts.retain(|part| self.avoids(part, other) && !self.columns(part).is_empty());
            match conjunction(parts) {
                Some(part) => said.push(part),
                None => return,
            }
        }
        let said = Expr::Or(said);
        if !to.iter().any(|known| same(known, &said)) {
            to.push(said);
        }
    }

    /// `a = b` here and `a = 1` on one side give `b = 1` on the other.
    fn close_equalities(&self, here: &[Expr], to_left: &mut Vec<Expr>, to_right: &mut Vec<Expr>, lcols: &ColSet, rcols: &ColSet) {
        let mut new_left = Vec::new();
        let mut new_right = Vec::new();
        for p in here {
            let Expr::Call { function, args, .. } = p else { continue };
            let [Expr::Column { ordinal: a, ty: ta }, Expr::Column { ordinal: b, ty: tb }] = &args[..] else { continue };
            if ta != tb || comparison(*function) != Some(ComparisonKind::Eq) {
                continue;
            }
            let (l, r) = if lcols.contains(a) && rcols.contains(b) { (*a, *b) } else { (*b, *a) };
            let copy = |preds: &[Expr], from: ColId, to: ColId, out: &mut Vec<Expr>| {
                for q in preds {
                    if let Some((c, f, value)) = equals_constant(q)
                        && c == from
                    {
                        let column = Expr::Column { ordinal: to, ty: *ta };
                        out.push(Expr::Call { function: f, args: vec![column, value.clone()], ty: DataType::BOOL });
                    }
                }
            };
            copy(to_left, l, r, &mut new_right);
            copy(to_right, r, l, &mut new_left);
        }
        let add = |to: &mut Vec<Expr>, new: Vec<Expr>| {
            for p in new {
                if !to.iter().any(|q| same(q, &p)) {
                    to.push(p);
                }
            }
        };
        add(to_left, new_left);
        add(to_right, new_right);
    }

    /// Whether the condition cannot be true when all of these columns are NULL.
    fn rejects_nulls(&self, p: &Expr, cols: &ColSet) -> bool {
        fn strict_in(e: &Expr, cols: &ColSet) -> bool {
            match e {
                Expr::Column { ordinal, .. } => cols.contains(ordinal),
                Expr::Call { function, args, .. } => function.0.strict && args.iter().any(|a| strict_in(a, cols)),
                Expr::Cast { input, .. } | Expr::Not(input) => strict_in(input, cols),
                Expr::AnyAll { left, .. } => strict_in(left, cols),
                _ => false,
            }
        }
        match p {
            Expr::And(args) => args.iter().any(|a| self.rejects_nulls(a, cols)),
            Expr::Or(args) => args.iter().all(|a| self.rejects_nulls(a, cols)),
            Expr::IsNull { input, negated: true } => strict_in(input, cols),
            Expr::IsBool { input, value: Some(_), negated: false } => strict_in(input, cols),
            Expr::Call { .. } | Expr::Column { .. } | Expr::AnyAll { .. } | Expr::Not(_) => strict_in(p, cols),
            _ => false,
        }
    }

    /// A subquery condition over `rel` as a semi or anti join; other conditions are given back.
    fn unnest(&mut self, rel: Rel, p: Expr) -> (Rel, Option<Expr>) {
        if let Some((sub, on)) = self.single_value(&rel, &p) {
            return (Rel::Join { left: Box::new(rel), right: Box::new(sub), kind: JoinKind::Inner, on: vec![on] }, None);
        }
        let (test, negated) = match &p {
            Expr::Not(inner) => (&**inner, true),
            other => (other, false),
        };
        let Expr::Subquery { plan, kind, .. } = test else { return (rel, Some(p)) };
        let index = subquery_ref(plan);
        let Some(subquery) = self.subqueries.get(index) else { return (rel, Some(p)) };
        let outputs: ColSet = rel.outputs().into_iter().collect();
        let mut on: Vec<Expr> = Vec::new();
        match kind {
            SubqueryKind::Exists => {}
            SubqueryKind::AnyAll { left, function, all: false } if comparison(*function) == Some(ComparisonKind::Eq) || !negated => {
                if has_subquery(left) || volatile(left) {
                    return (rel, Some(p));
                }
                let col = subquery.cols[0];
                // NOT IN is an anti join only where neither side can be NULL.
                if negated {
                    let left_ok = matches!(&**left, Expr::Column { ordinal, .. } if rel.not_null(*ordinal, self.cols));
                    if !left_ok || !subquery.rel.not_null(col, self.cols) {
                        return (rel, Some(p));
                    }
                }
                let right = Expr::Column { ordinal: col, ty: self.cols[col].ty };
                on.push(Expr::Call { function: *function, args: vec![(**left).clone(), right], ty: DataType::BOOL });
            }
            SubqueryKind::RowIn { left, functions } if !negated => {
                if left.iter().any(|l| has_subquery(l) || volatile(l)) {
                    return (rel, Some(p));
                }
                for ((l, f), col) in left.iter().zip(functions).zip(&subquery.cols) {
                    let right = Expr::Column { ordinal: *col, ty: self.cols[*col].ty };
                    on.push(Expr::Call { function: *f, args: vec![l.clone(), right], ty: DataType::BOOL });
                }
            }
            _ => return (rel, Some(p)),
        }
        let exists = matches!(kind, SubqueryKind::Exists);
        // Whole-query aggregates yield a row always; LIMIT and the like decide by their own rules: the lateral join below keeps their meaning.
        let mut inner = subquery.rel.clone();
        let mut pulled = Vec::new();
        let correlated: ColSet = subquery.free.iter().copied().filter(|c| outputs.contains(c)).collect();
        if exists {
            inner = drop_projection(inner);
        }
        if !correlated.is_empty() {
            inner = self.pull(inner, &correlated, &mut pulled);
        }
        on.extend(pulled);
        let kind = if negated { JoinKind::Anti } else { JoinKind::Semi };
        (Rel::Join { left: Box::new(rel), right: Box::new(inner), kind, on }, None)
    }

    /// `column = (SELECT max(x) …)`: an uncorrelated subquery of at most one row is joined instead, so that an index on the column can be used.
    fn single_value(&self, rel: &Rel, p: &Expr) -> Option<(Rel, Expr)> {
        let Expr::Call { function, args, ty } = p else { return None };
        comparison(*function)?;
        let at = args.iter().position(|a| scalar(a).is_some())?;
        let [Expr::Column { ordinal, .. }] =
            &args.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, a)| a.clone()).collect::<Vec<_>>()[..]
        else {
            return None;
        };
        let subquery = self.subqueries.get(scalar(&args[at])?)?;
        if !subquery.free.is_empty() || !at_most_one(&subquery.rel) || !rel.outputs().contains(ordinal) {
            return None;
        }
        let col = subquery.cols[0];
        let mut args = args.clone();
        replace_scalar(&mut args[at], &Expr::Column { ordinal: col, ty: self.cols[col].ty });
        Some((subquery.rel.clone(), Expr::Call { function: *function, args, ty: *ty }))
    }

    /// Takes conditions that use `outer` columns out of a tree, where they can be evaluated above it just as well.
    fn pull(&mut self, rel: Rel, outer: &ColSet, out: &mut Vec<Expr>) -> Rel {
        match rel {
            Rel::Filter { input, preds } => {
                let input = self.pull(*input, outer, out);
                let (mut keep, mut take) = (Vec::new(), Vec::new());
                for p in preds {
                    if self.avoids(&p, outer) || volatile(&p) || has_subquery(&p) { keep.push(p) } else { take.push(p) }
                }
                out.extend(take);
                self.filter(input, keep)
            }
            Rel::Project { input, mut exprs } => {
                let before = out.len();
                let input = self.pull(*input, outer, out);
                let available: ColSet = input.outputs().into_iter().collect();
                // The columns that pulled conditions use must come out.
                let mut needed = ColSet::default();
                for p in &out[before..] {
                    columns_of(p, self.subqueries, &mut needed);
                }
                let mut needed: Vec<ColId> = needed.into_iter().filter(|c| available.contains(c)).collect();
                needed.sort_unstable();
                for c in needed {
                    if !exprs.iter().any(|e| e.0 == c) {
                        exprs.push((c, Expr::Column { ordinal: c, ty: self.cols[c].ty }));
                    }
                }
                Rel::Project { input: Box::new(input), exprs }
            }
            Rel::Join { left, right, kind: JoinKind::Inner, on } => {
                let left = Box::new(self.pull(*left, outer, out));
                let right = Box::new(self.pull(*right, outer, out));
                let (mut keep, mut take) = (Vec::new(), Vec::new());
                for p in on {
                    if self.avoids(&p, outer) || volatile(&p) || has_subquery(&p) { keep.push(p) } else { take.push(p) }
                }
                out.extend(take);
                Rel::Join { left, right, kind: JoinKind::Inner, on: keep }
            }
            Rel::Sort { input, .. } => self.pull(*input, outer, out),
            other => other,
        }
    }
}

/// The subquery that an expression is, casts aside.
fn scalar(e: &Expr) -> Option<usize> {
    match e {
        Expr::Subquery { plan, kind: SubqueryKind::Scalar, .. } => Some(subquery_ref(plan)),
        Expr::Cast { input, .. } => scalar(input),
        _ => None,
    }
}

fn replace_scalar(e: &mut Expr, by: &Expr) {
    match e {
        Expr::Cast { input, .. } => replace_scalar(input, by),
        other => *other = by.clone(),
    }
}

fn at_most_one(rel: &Rel) -> bool {
    match rel {
        Rel::OneRow => true,
        Rel::Values { rows, .. } => rows.len() <= 1,
        Rel::Aggregate(a) => a.groups.is_empty() && a.sets.is_empty(),
        Rel::Filter { input, preds } => match &**input {
            Rel::Table(t) => by_unique_key(t, preds),
            other => at_most_one(other),
        },
        Rel::Project { input, .. } | Rel::Sort { input, .. } => at_most_one(input),
        _ => false,
    }
}

/// Whether every key column of some unique index must equal a constant.
fn by_unique_key(t: &TableRel, preds: &[Expr]) -> bool {
    let Some(table) = t.table.table() else { return false };
    let fixed = |id: u32| {
        let col = t.cols.iter().find(|c| c.1 == id).map(|c| c.0);
        preds.iter().any(|p| equals_constant(p).is_some_and(|(c, _, _)| Some(c) == col))
    };
    table
        .all_indexes()
        .filter(|i| (i.unique || i.id == table.primary.id) && i.predicate.is_none())
        .any(|i| i.keys.iter().all(|k| fixed(k.column)))
}

fn has_executor_call(e: &Expr) -> bool {
    any(e, &|x| matches!(x, Expr::ExecutorCall { .. }))
}

fn drop_projection(rel: Rel) -> Rel {
    match rel {
        Rel::Project { input, .. } => drop_projection(*input),
        Rel::Sort { input, .. } => drop_projection(*input),
        Rel::Distinct { input, .. } => drop_projection(*input),
        other => other,
    }
}

/// `column = value` with a value that no column is in. The same function serves any other column of the same type.
fn equals_constant(p: &Expr) -> Option<(ColId, FunctionRef, &Expr)> {
    let Expr::Call { function, args, .. } = p else { return None };
    let [Expr::Column { ordinal, .. }, value @ (Expr::Const { .. } | Expr::Param { .. })] = &args[..] else { return None };
    (comparison(*function) == Some(ComparisonKind::Eq)).then_some((*ordinal, *function, value))
}

/// What a comparison function asks, by its OID.
pub(super) fn comparison(function: FunctionRef) -> Option<ComparisonKind> {
    use rustc_hash::FxHashMap;
    use std::sync::LazyLock;
    static KINDS: LazyLock<FxHashMap<u32, ComparisonKind>> = LazyLock::new(|| {
        ["=", "<>", "<", "<=", ">", ">="]
            .iter()
            .flat_map(|name| operators_named(name))
            .filter(|o| o.left.is_some())
            .filter_map(|o| o.comparison.map(|k| (o.function.oid, k)))
            .collect()
    });
    KINDS.get(&function.0.oid).copied()
}
