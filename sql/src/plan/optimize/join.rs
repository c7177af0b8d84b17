//! Joins: order and method.
//!
//! Inner joins that stand together form one group of relations and conditions. Up to [`EXHAUSTIVE`] relations, dynamic programming over
//! sets finds the best left-deep order by estimated cost; above, each step takes the cheapest next. Each step then chooses among a
//! lookup in an index of the next table for every row, hashing, merging two sorted inputs, and a nested loop.
//! Outer, semi and anti joins keep their place; their sides are planned in the same way.

use rustc_hash::FxHashMap;

use super::access::OrderCol;
use super::cost;
use super::lower::{Lowerer, Phys};
use super::pushdown::{Rewriter, comparison};
use crate::error::Result;
use crate::functions::registry::ComparisonKind;
use crate::plan::expr::Expr;
use crate::plan::logical::*;
use crate::plan::node::*;
use crate::types::DataType;
use crate::types::casts::{CastContext, find_cast};

/// Relations in one group up to which every order is tried.
const EXHAUSTIVE: usize = 8;

/// Left rows up to which running the right side once for each of them is thought about.
const FEW: f64 = 100.0;

/// A relation of a group.
struct Member<'r> {
    rel: &'r Rel,
    cols: ColSet,
    /// Columns of other members that it needs (LATERAL).
    after: ColSet,
    rows: f64,
    /// What reading all of it costs.
    read: f64,
}

/// An equality between the two sides of a join.
struct Equality {
    left: Expr,
    right: Expr,
}

impl Lowerer<'_> {
    pub(super) fn join_tree(&mut self, rel: &Rel, need: &ColSet, want: &[OrderCol], limit: Option<f64>) -> Result<Phys> {
        let Rel::Join { left, right, kind, on } = rel else { return self.lower(rel, need, want, limit) };
        if *kind != JoinKind::Inner {
            let mut inner = need.clone();
            on.iter().for_each(|p| columns_of(p, &self.subqueries, &mut inner));
            inner.extend(right.free(&self.subqueries));
            let keep = matches!(kind, JoinKind::Left | JoinKind::Semi | JoinKind::Anti);
            let l = self.lower(left, &inner, if keep { want } else { &[] }, None)?;
            return self.join(l, right, *kind, on, need, None);
        }
        let (mut rels, mut preds) = (Vec::new(), Vec::new());
        flatten(rel, &mut rels, &mut preds);
        let members = self.members(&rels);
        let order = if members.len() <= EXHAUSTIVE { self.exhaustive(&members, &preds) } else { self.greedy(&members, &preds) };
        self.build(&members, &order, &preds, need, want, limit)
    }

    fn members<'r>(&self, rels: &[&'r Rel]) -> Vec<Member<'r>> {
        let mut out: Vec<Member<'r>> = Vec::new();
        for rel in rels {
            let after = rel.free(&self.subqueries).into_iter().collect();
            let rows = self.estimates().rows(rel);
            let cols: ColSet = rel.outputs().into_iter().collect();
            let read = match rel {
                Rel::Table(t) => self.path(t, &t.filter, &cols, &[], None).map_or(rows, |p| p.0.cost),
                _ => cost::ROUND + rows * cost::ROW,
            };
            out.push(Member { rel, cols, after, rows, read });
        }
        let all: ColSet = out.iter().flat_map(|m| m.cols.iter().copied()).collect();
        for m in &mut out {
            m.after.retain(|c| all.contains(c));
        }
        out
    }

    /// Conditions that can be looked at once `have` and the new member are there, and could not before.
    fn ready(&self, preds: &[Expr], have: &ColSet, new: &ColSet, all: &ColSet) -> Vec<usize> {
        let group = |p: &Expr| -> ColSet { columns(p, &self.subqueries).into_iter().filter(|c| all.contains(c)).collect() };
        preds
            .iter()
            .enumerate()
            .filter(|(_, p)| {
                let cols = group(p);
                (have.is_empty() || !cols.is_subset(have)) && cols.iter().all(|c| have.contains(c) || new.contains(c))
            })
            .map(|(n, _)| n)
            .collect()
    }

    /// Estimated rows and cost of adding a member.
    fn step(&self, rows: f64, cost_so_far: f64, have: &ColSet, m: &Member<'_>, preds: &[Expr], all: &ColSet) -> (f64, f64) {
        let ready = self.ready(preds, have, &m.cols, all);
        let estimates = self.estimates();
        let pairs: Vec<(&Expr, &Expr)> = ready.iter().filter_map(|n| self.pair(&preds[*n], &m.cols)).collect();
        let equal = !pairs.is_empty();
        let rest = ready.iter().map(|n| &preds[*n]).filter(|p| self.pair(p, &m.cols).is_none());
        let share = rest.map(|p| estimates.selectivity(p)).product::<f64>() * estimates.equal_pairs(pairs.into_iter(), rows, m.rows);
        if rows == 0.0 {
            // The first: what it takes to read it.
            return (m.rows, m.read);
        }
        let out = (rows * m.rows * share).max(1.0);
        let base = match m.rel {
            Rel::Table(t) => {
                // The better of a lookup for each row and one read of everything.
                let with: Vec<Expr> = t.filter.iter().cloned().chain(ready.iter().map(|n| preds[*n].clone())).collect();
                let whole = m.read + m.rows * cost::ROW;
                match self.path(t, &with, &m.cols, &[], None) {
                    Some((path, _)) if equal && path.range.is_some() && self.uses_join(&path, t.filter.len()) => {
                        let each = cost::lookup(path.unique) + path.scanned * (cost::ENTRY + if path.covering { 0.0 } else { cost::FETCH });
                        (cost::ROUND * (1.0 + rows / 1000.0) + rows * each).min(whole)
                    }
                    _ => whole,
                }
            }
            _ => cost::ROUND + m.rows * cost::ROW * 2.0,
        };
        let loops = if equal || !m.after.is_empty() { 0.0 } else { rows * m.rows * cost::CONDITION };
        let lateral = if m.after.is_empty() { 0.0 } else { rows * base };
        (out, cost_so_far + base + rows * cost::ROW + out * cost::ROW + loops + lateral)
    }

    /// The sides of an equality between what is there and a new member: the member's last. `None` for any other condition.
    fn pair<'e>(&self, p: &'e Expr, member: &ColSet) -> Option<(&'e Expr, &'e Expr)> {
        let Expr::Call { function, args, .. } = p else { return None };
        let [a, b] = &args[..] else { return None };
        if comparison(*function) != Some(ComparisonKind::Eq) {
            return None;
        }
        let (of_a, of_b) = (columns(a, &self.subqueries), columns(b, &self.subqueries));
        if of_a.is_empty() || of_b.is_empty() {
            return None;
        }
        match (of_a.is_subset(member), of_b.is_subset(member)) {
            (false, true) => Some((a, b)),
            (true, false) => Some((b, a)),
            _ => None,
        }
    }

    /// Whether a path uses a condition past the table's own.
    fn uses_join(&self, path: &super::access::Path, own: usize) -> bool {
        path.used.iter().any(|n| *n >= own)
    }

    fn exhaustive(&self, members: &[Member<'_>], preds: &[Expr]) -> Vec<usize> {
        let n = members.len();
        let all: ColSet = members.iter().flat_map(|m| m.cols.iter().copied()).collect();
        let have_of =
            |mask: usize| -> ColSet { (0..n).filter(|i| mask >> i & 1 == 1).flat_map(|i| members[i].cols.iter().copied()).collect() };
        // Best (cost, rows, last member) for each set.
        let mut best: Vec<Option<(f64, f64, usize)>> = vec![None; 1 << n];
        best[0] = Some((0.0, 0.0, usize::MAX));
        for mask in 0..(1usize << n) {
            let Some((so_far, rows, _)) = best[mask] else { continue };
            let have = have_of(mask);
            for (i, m) in members.iter().enumerate() {
                if mask >> i & 1 == 1 || !m.after.is_subset(&have) {
                    continue;
                }
                let (out, total) = self.step(rows, so_far, &have, m, preds, &all);
                let next = mask | 1 << i;
                if best[next].is_none_or(|b| total < b.0) {
                    best[next] = Some((total, out.max(1.0), i));
                }
            }
        }
        let mut order = Vec::new();
        let mut mask = (1usize << n) - 1;
        while mask != 0 {
            let Some((_, _, last)) = best[mask] else { return (0..n).collect() };
            order.push(last);
            mask &= !(1 << last);
        }
        order.reverse();
        order
    }

    fn greedy(&self, members: &[Member<'_>], preds: &[Expr]) -> Vec<usize> {
        let all: ColSet = members.iter().flat_map(|m| m.cols.iter().copied()).collect();
        let mut left: Vec<usize> = (0..members.len()).collect();
        let mut order = Vec::new();
        let (mut have, mut rows, mut total) = (ColSet::default(), 0.0, 0.0);
        while !left.is_empty() {
            let mut best: Option<(usize, f64, f64)> = None;
            for (at, i) in left.iter().enumerate() {
                if !members[*i].after.is_subset(&have) {
                    continue;
                }
                let (out, cost) = self.step(rows, total, &have, &members[*i], preds, &all);
                if best.is_none_or(|b| cost + out * cost::ROW < b.2 + b.1 * cost::ROW) {
                    best = Some((at, out.max(1.0), cost));
                }
            }
            let (at, out, cost) = best.unwrap_or((0, rows, total));
            let i = left.remove(at);
            have.extend(members[i].cols.iter().copied());
            order.push(i);
            (rows, total) = (out, cost);
        }
        order
    }

    fn build(
        &mut self,
        members: &[Member<'_>],
        order: &[usize],
        preds: &[Expr],
        need: &ColSet,
        want: &[OrderCol],
        limit: Option<f64>,
    ) -> Result<Phys> {
        let all: ColSet = members.iter().flat_map(|m| m.cols.iter().copied()).collect();
        let mut inner = need.clone();
        preds.iter().for_each(|p| columns_of(p, &self.subqueries, &mut inner));
        members.iter().for_each(|m| inner.extend(m.after.iter().copied()));
        let mut have = ColSet::default();
        let mut done: Vec<usize> = Vec::new();
        let mut current: Option<Phys> = None;
        for i in order {
            let m = &members[*i];
            let ready: Vec<usize> = self.ready(preds, &have, &m.cols, &all).into_iter().filter(|n| !done.contains(n)).collect();
            let on: Vec<Expr> = ready.iter().map(|n| preds[*n].clone()).collect();
            done.extend(&ready);
            current = Some(match current {
                None => {
                    let first_want = if want.iter().all(|w| m.cols.contains(&w.col)) { want } else { &[] };
                    let phys = self.lower(m.rel, &inner, first_want, limit)?;
                    if on.is_empty() { phys } else { self.filtered(phys, &on)? }
                }
                Some(left) => self.join(left, m.rel, JoinKind::Inner, &on, &inner, limit)?,
            });
            have.extend(m.cols.iter().copied());
        }
        let rest: Vec<Expr> = preds.iter().enumerate().filter(|(n, _)| !done.contains(n)).map(|(_, p)| p.clone()).collect();
        match current {
            Some(phys) => self.filtered(phys, &rest),
            None => self.lower(&Rel::OneRow, need, &[], None),
        }
    }

    /// One join of a lowered left side with a logical right side.
    fn join(&mut self, left: Phys, right: &Rel, kind: JoinKind, on: &[Expr], need: &ColSet, limit: Option<f64>) -> Result<Phys> {
        let lcols: ColSet = left.layout.iter().copied().collect();
        let right = plain(right);
        let rcols: ColSet = right.outputs().into_iter().collect();
        let mut inner: ColSet = need.clone();
        on.iter().for_each(|p| columns_of(p, &self.subqueries, &mut inner));
        let lateral = right.free(&self.subqueries).iter().any(|c| lcols.contains(c));
        if lateral {
            return self.nested(left, right, kind, on, &inner, true);
        }
        let (equal, residual) = self.equalities(on, &lcols, &rcols);
        let lookup = self.lookup(&left, right, kind, on, need, limit)?;
        let whole = self.lower(right, &inner, &[], None)?;
        let hash_cost = left.plan.cost + whole.plan.cost + whole.plan.rows * cost::ROW * 2.0 + left.plan.rows * cost::ROW;
        if let Some(lookup) = lookup
            && (lookup.plan.cost < hash_cost || (equal.is_empty() && kind != JoinKind::Full))
        {
            return Ok(lookup);
        }
        if equal.is_empty() {
            return self.nested(left, right, kind, on, &inner, false);
        }
        // A few left rows and a right side of more than one table: the conditions may do more inside of it.
        if left.plan.rows <= FEW && kind != JoinKind::Full && !matches!(right, Rel::Table(_)) {
            let filtered = Rel::Filter { input: Box::new(right.clone()), preds: on.to_vec() };
            let pushed = Rewriter { cx: self.cx, cols: &mut self.cols, subqueries: &mut self.subqueries }.rewrite(filtered);
            let lateral = self.nested(left.clone(), &pushed, kind, &[], need, true)?;
            if lateral.plan.cost < hash_cost {
                return Ok(lateral);
            }
        }
        self.hash(left, whole, kind, &equal, &residual)
    }

    fn hash(&mut self, left: Phys, right: Phys, kind: JoinKind, equal: &[Equality], residual: &[Expr]) -> Result<Phys> {
        let layout = joined(&left.layout, &right.layout, kind);
        let both: Vec<ColId> = left.layout.iter().chain(&right.layout).copied().collect();
        let left_keys = equal.iter().map(|e| self.expr(&e.left, &left.layout)).collect::<Result<Vec<_>>>()?;
        let right_keys = equal.iter().map(|e| self.expr(&e.right, &right.layout)).collect::<Result<Vec<_>>>()?;
        let (l, r) = (left.plan.rows, right.plan.rows);
        let pairs = self.estimates().equal_pairs(equal.iter().map(|e| (&e.left, &e.right)), l, r);
        let rest = self.estimates().all(residual);
        let residual = self.predicate(residual, &both)?;
        let rows = match kind {
            JoinKind::Semi | JoinKind::Anti => (l * 0.5).max(1.0),
            JoinKind::Left => (l * r * pairs).max(l),
            JoinKind::Full => l + r,
            JoinKind::Inner => (l * r * pairs * rest).max(1.0),
        };
        let merge = merge_keys(&left, &right, equal);
        if let Some(keys) = merge
            && kind != JoinKind::Full
        {
            let sort = |e: &Expr, o: &OrderCol| SortKey { expr: e.clone(), descending: o.descending, nulls_first: o.nulls_first };
            let lk: Vec<SortKey> = keys.iter().map(|(n, o)| sort(&left_keys[*n], o)).collect();
            let rk: Vec<SortKey> = keys.iter().map(|(n, o)| sort(&right_keys[*n], o)).collect();
            let cost = left.plan.cost + right.plan.cost + (l + r) * cost::ROW;
            let order = left.order.clone();
            let node =
                Node::MergeJoin { left: Box::new(left.plan), right: Box::new(right.plan), kind, left_keys: lk, right_keys: rk, residual };
            return Ok(Phys { plan: self.plan(node, &layout, rows, cost), layout, order });
        }
        let cost = left.plan.cost + right.plan.cost + r * cost::ROW * 2.0 + l * cost::ROW + rows * cost::ROW;
        // The smaller side is hashed; an inner join may be turned around.
        let (node, layout) = if kind == JoinKind::Inner && r > l * 2.0 && residual.is_none() {
            let layout = joined(&right.layout, &left.layout, kind);
            let node = Node::HashJoin {
                left: Box::new(right.plan),
                right: Box::new(left.plan),
                kind,
                left_keys: right_keys,
                right_keys: left_keys,
                residual: None,
            };
            (node, layout)
        } else {
            (Node::HashJoin { left: Box::new(left.plan), right: Box::new(right.plan), kind, left_keys, right_keys, residual }, layout)
        };
        Ok(Phys { plan: self.plan(node, &layout, rows, cost), layout, order: Vec::new() })
    }

    fn nested(&mut self, left: Phys, right: &Rel, kind: JoinKind, on: &[Expr], need: &ColSet, lateral: bool) -> Result<Phys> {
        if lateral {
            self.outer.push(left.layout.clone());
        }
        let lowered = self.lower(right, need, &[], None);
        if lateral {
            self.outer.pop();
        }
        let right = lowered?;
        let layout = joined(&left.layout, &right.layout, kind);
        let both: Vec<ColId> = left.layout.iter().chain(&right.layout).copied().collect();
        let predicate = self.predicate(on, &both)?;
        let (l, r) = (left.plan.rows, right.plan.rows);
        let pass = self.estimates().all(on);
        let rows = match kind {
            JoinKind::Semi | JoinKind::Anti => (l * 0.5).max(1.0),
            _ => (l * r * pass).max(1.0),
        };
        let runs = if lateral { l.max(1.0) } else { 1.0 };
        let cost = left.plan.cost + right.plan.cost * runs + l * r * cost::CONDITION + rows * cost::ROW;
        let order = left.order.clone();
        let node = Node::NestedLoop { left: Box::new(left.plan), right: Box::new(right.plan), kind, predicate, lateral };
        Ok(Phys { plan: self.plan(node, &layout, rows, cost), layout, order })
    }

    /// A lookup in an index of the right side for each left row.
    fn lookup(&mut self, left: &Phys, right: &Rel, kind: JoinKind, on: &[Expr], need: &ColSet, limit: Option<f64>) -> Result<Option<Phys>> {
        if kind == JoinKind::Full {
            return Ok(None);
        }
        let Rel::Table(t) = right else { return Ok(None) };
        if t.lock.is_some() {
            return Ok(None);
        }
        let own: ColSet = t.cols.iter().map(|c| c.0).collect();
        let mut preds = t.filter.clone();
        let first_join = preds.len();
        preds.extend_from_slice(on);
        // Semi and anti joins need no columns but those of the conditions.
        let wanted: ColSet = if matches!(kind, JoinKind::Semi | JoinKind::Anti) { ColSet::default() } else { need.clone() };
        let Some((path, _)) = self.path(t, &preds, &wanted, &[], None) else { return Ok(None) };
        let joins = path.used.iter().any(|n| *n >= first_join);
        if path.range.is_none() || !joins {
            return Ok(None);
        }
        // What concerns only the table filters in the scan; the rest is looked at over both rows.
        let mut used = path.used.clone();
        let (mut scan_preds, mut residual) = (Vec::new(), Vec::new());
        for (n, p) in preds.iter().enumerate() {
            if used.contains(&n) {
                continue;
            }
            let cols = columns(p, &self.subqueries);
            if n < first_join || (cols.is_subset(&own) && !has_subquery(p)) { scan_preds.push(p.clone()) } else { residual.push(p.clone()) }
        }
        let mut all = wanted.clone();
        scan_preds.iter().chain(&residual).for_each(|p| columns_of(p, &self.subqueries, &mut all));
        let needed: Vec<(ColId, u32)> = t.cols.iter().copied().filter(|c| all.contains(&c.0)).collect();
        used.clear();
        let bare = super::access::Path { used, ..path.clone() };
        let (scan, right_layout) = self.scan(t, &scan_preds, &bare, &needed, &left.layout)?;
        let both: Vec<ColId> = left.layout.iter().chain(&right_layout).copied().collect();
        let residual = self.predicate(&residual, &both)?;
        let layout = joined(&left.layout, &right_layout, kind);
        let l = left.plan.rows;
        let probes = limit.map_or(l, |n| n.min(l));
        let each = cost::lookup(path.unique) + path.scanned * (cost::ENTRY + if scan.fetch_primary { cost::FETCH } else { 0.0 });
        let per_left = path.rows;
        let rows = match kind {
            JoinKind::Semi | JoinKind::Anti => (l * 0.5).max(1.0),
            JoinKind::Left => (l * per_left).max(l),
            _ => (l * per_left).max(1.0),
        };
        let cost = left.plan.cost + cost::ROUND * (1.0 + probes / 1000.0) + probes * each + rows * cost::ROW;
        let order = left.order.clone();
        let node = Node::LookupJoin { left: Box::new(left.plan.clone()), kind, lookup: Box::new(scan), residual };
        Ok(Some(Phys { plan: self.plan(node, &layout, rows, cost), layout, order }))
    }

    /// Splits conditions into hashable equalities and the rest.
    fn equalities(&self, on: &[Expr], lcols: &ColSet, rcols: &ColSet) -> (Vec<Equality>, Vec<Expr>) {
        let (mut equal, mut rest) = (Vec::new(), Vec::new());
        for p in on {
            match self.equality(p, lcols, rcols) {
                Some(e) => equal.push(e),
                None => rest.push(p.clone()),
            }
        }
        (equal, rest)
    }

    fn equality(&self, p: &Expr, lcols: &ColSet, rcols: &ColSet) -> Option<Equality> {
        let Expr::Call { function, args, .. } = p else { return None };
        let [a, b] = &args[..] else { return None };
        if comparison(*function) != Some(ComparisonKind::Eq) || volatile(p) || has_subquery(p) {
            return None;
        }
        let (ca, cb) = (columns(a, &self.subqueries), columns(b, &self.subqueries));
        let on_left = |c: &ColSet| c.is_disjoint(rcols) && !c.is_disjoint(lcols);
        let on_right = |c: &ColSet| c.is_disjoint(lcols) && !c.is_disjoint(rcols);
        let (left, right) = if on_left(&ca) && on_right(&cb) {
            (a, b)
        } else if on_left(&cb) && on_right(&ca) {
            (b, a)
        } else {
            return None;
        };
        let (left, right) = same_type(left.clone(), right.clone())?;
        Some(Equality { left, right })
    }
}

/// Both sides as one type, so that equal values hash alike.
fn same_type(left: Expr, right: Expr) -> Option<(Expr, Expr)> {
    let (l, r) = (left.ty(), right.ty());
    if l == DataType::RECORD || r == DataType::RECORD {
        return None;
    }
    if l == r {
        return Some((left, right));
    }
    let cast = |e: Expr, from, to| Expr::Cast { input: Box::new(e), from, to, typmod: -1, explicit: false };
    // Zones make the conversion between the timestamp types depend on settings; it is still one value for the whole statement.
    if find_cast(l, r, CastContext::Implicit).is_some() {
        return Some((cast(left, l, r), right));
    }
    if find_cast(r, l, CastContext::Implicit).is_some() {
        return Some((left, cast(right, r, l)));
    }
    None
}

/// The equalities in an order that both inputs come in, if there is one that takes all of them.
fn merge_keys(left: &Phys, right: &Phys, equal: &[Equality]) -> Option<Vec<(usize, OrderCol)>> {
    if left.order.len() < equal.len() || right.order.len() < equal.len() || left.plan.rows + right.plan.rows < 2000.0 {
        return None;
    }
    let mut out = Vec::new();
    for (l, r) in left.order.iter().zip(&right.order).take(equal.len()) {
        let n = equal.iter().position(|e| {
            matches!((&e.left, &e.right), (Expr::Column { ordinal: a, .. }, Expr::Column { ordinal: b, .. }) if *a == l.col && *b == r.col)
        })?;
        if (l.descending, l.nulls_first) != (r.descending, r.nulls_first) {
            return None;
        }
        out.push((n, *l));
    }
    let unique: FxHashMap<usize, ()> = out.iter().map(|o| (o.0, ())).collect();
    (unique.len() == equal.len()).then_some(out)
}

fn joined(left: &[ColId], right: &[ColId], kind: JoinKind) -> Vec<ColId> {
    match kind {
        JoinKind::Semi | JoinKind::Anti => left.to_vec(),
        _ => left.iter().chain(right).copied().collect(),
    }
}

/// Without projections that only pick columns.
pub(super) fn plain(rel: &Rel) -> &Rel {
    match rel {
        Rel::Project { input, exprs } if exprs.iter().all(|(c, e)| matches!(e, Expr::Column { ordinal, .. } if ordinal == c)) => {
            plain(input)
        }
        other => other,
    }
}

/// The relations and conditions of inner joins that stand together.
fn flatten<'r>(rel: &'r Rel, rels: &mut Vec<&'r Rel>, preds: &mut Vec<Expr>) {
    match plain(rel) {
        Rel::Join { left, right, kind: JoinKind::Inner, on } => {
            flatten(left, rels, preds);
            flatten(right, rels, preds);
            preds.extend(on.iter().cloned());
        }
        Rel::OneRow => {}
        other => rels.push(other),
    }
}
