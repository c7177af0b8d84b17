//! Walks over expressions and plans: what refers to outer rows, what needs the executor, what reads a work table.

use crate::plan::expr::{Expr, SubqueryKind};
use crate::plan::node::*;

/// Calls `visit` for the direct operands of `expr`.
pub fn for_each_operand<'e>(expr: &'e Expr, visit: &mut dyn FnMut(&'e Expr)) {
    match expr {
        Expr::Const { .. } | Expr::Column { .. } | Expr::Outer { .. } | Expr::Param { .. } => {}
        Expr::Call { args, .. }
        | Expr::And(args)
        | Expr::Or(args)
        | Expr::Coalesce { args, .. }
        | Expr::MinMax { args, .. }
        | Expr::ExecutorCall { args, .. } => args.iter().for_each(visit),
        Expr::Cast { input, .. } | Expr::IsNull { input, .. } | Expr::IsBool { input, .. } | Expr::Field { input, .. } => visit(input),
        Expr::Not(input) => visit(input),
        Expr::IsDistinct { left, right, .. } => {
            visit(left);
            visit(right);
        }
        Expr::Case { branches, otherwise, .. } => {
            for (condition, result) in branches {
                visit(condition);
                visit(result);
            }
            if let Some(otherwise) = otherwise {
                visit(otherwise);
            }
        }
        Expr::AnyAll { left, array, .. } => {
            visit(left);
            visit(array);
        }
        Expr::Array { elements, .. } => elements.iter().for_each(visit),
        Expr::Row { fields } => fields.iter().for_each(visit),
        Expr::Subscript { input, indices, .. } => {
            visit(input);
            for (lower, upper, _) in indices {
                lower.iter().for_each(&mut *visit);
                upper.iter().for_each(&mut *visit);
            }
        }
        Expr::Subquery { kind, .. } => match kind {
            SubqueryKind::AnyAll { left, .. } => visit(left),
            SubqueryKind::RowIn { left, .. } => left.iter().for_each(visit),
            SubqueryKind::Scalar | SubqueryKind::Exists | SubqueryKind::Array { .. } => {}
        },
    }
}

/// Whether `test` holds for `expr` or anything in it (not inside its subqueries' plans).
pub fn any(expr: &Expr, test: &mut dyn FnMut(&Expr) -> bool) -> bool {
    if test(expr) {
        return true;
    }
    let mut found = false;
    for_each_operand(expr, &mut |operand| found = found || any(operand, test));
    found
}

/// Whether evaluation may stop for a subquery or an executor call.
pub fn suspends(expr: &Expr) -> bool {
    any(expr, &mut |e| matches!(e, Expr::Subquery { .. } | Expr::ExecutorCall { .. }))
}

/// Whether any of them may.
pub fn any_suspends<'e>(exprs: impl IntoIterator<Item = &'e Expr>) -> bool {
    exprs.into_iter().any(suspends)
}

/// The input plans of a node, with whether each sees this node's left rows as an outer row (lateral).
pub fn inputs(plan: &Plan) -> Vec<(&Plan, bool)> {
    match &plan.node {
        Node::OneRow
        | Node::Empty
        | Node::Values { .. }
        | Node::Scan(_)
        | Node::SystemScan { .. }
        | Node::FunctionScan { .. }
        | Node::CteScan { .. }
        | Node::WorkTable { .. } => Vec::new(),
        Node::Filter { input, .. }
        | Node::Project { input, .. }
        | Node::ProjectSet { input, .. }
        | Node::Sort { input, .. }
        | Node::Limit { input, .. }
        | Node::Distinct { input }
        | Node::DistinctOn { input, .. }
        | Node::Window { input, .. }
        | Node::LockRows { input, .. } => vec![(input, false)],
        Node::LookupJoin { left, .. } => vec![(left, false)],
        Node::Aggregate(aggregate) => vec![(&aggregate.input, false)],
        Node::HashJoin { left, right, .. } | Node::MergeJoin { left, right, .. } | Node::SetOp { left, right, .. } => {
            vec![(left, false), (right, false)]
        }
        Node::NestedLoop { left, right, lateral, .. } => vec![(left, false), (right, *lateral)],
        Node::Append { inputs } => inputs.iter().map(|i| (i, false)).collect(),
        Node::With { ctes, body } => ctes.iter().map(|c| (&c.plan, false)).chain([(&**body, false)]).collect(),
        Node::RecursiveUnion { base, step, .. } => vec![(base, false), (step, false)],
        Node::Insert(insert) => vec![(&insert.source, false)],
        Node::Update(update) => vec![(&update.source, false)],
        Node::Delete(delete) => vec![(&delete.source, false)],
    }
}

fn scan_exprs<'p>(scan: &'p Scan, visit: &mut dyn FnMut(&'p Expr)) {
    for range in &scan.ranges {
        range.equal.iter().for_each(&mut *visit);
        range.lower.iter().for_each(|(e, _)| visit(e));
        range.upper.iter().for_each(|(e, _)| visit(e));
    }
    scan.filter.iter().for_each(&mut *visit);
    scan.limit.iter().for_each(&mut *visit);
    if let Some(aggregate) = &scan.aggregate {
        aggregate.groups.iter().for_each(&mut *visit);
        aggregate.calls.iter().for_each(|c| call_exprs(c, visit));
    }
}

fn call_exprs<'p>(call: &'p AggregateCall, visit: &mut dyn FnMut(&'p Expr)) {
    call.args.iter().for_each(&mut *visit);
    call.order.iter().for_each(|k| visit(&k.expr));
    call.filter.iter().for_each(&mut *visit);
}

/// Calls `visit` for every expression that the node itself evaluates.
pub fn for_each_expr<'p>(plan: &'p Plan, visit: &mut dyn FnMut(&'p Expr)) {
    match &plan.node {
        Node::OneRow
        | Node::Empty
        | Node::Distinct { .. }
        | Node::Append { .. }
        | Node::SetOp { .. }
        | Node::With { .. }
        | Node::CteScan { .. }
        | Node::RecursiveUnion { .. }
        | Node::WorkTable { .. } => {}
        Node::Values { rows } => rows.iter().flatten().for_each(visit),
        Node::Scan(scan) => scan_exprs(scan, visit),
        Node::SystemScan { filter, .. } => filter.iter().for_each(visit),
        Node::FunctionScan { args, .. } => args.iter().for_each(visit),
        Node::Filter { predicate, .. } => visit(predicate),
        Node::Project { exprs, .. } | Node::DistinctOn { keys: exprs, .. } => exprs.iter().for_each(visit),
        Node::ProjectSet { exprs, .. } => exprs.iter().for_each(|e| match e {
            ProjectSetExpr::Scalar(e) => visit(e),
            ProjectSetExpr::Set { args, .. } => args.iter().for_each(&mut *visit),
        }),
        Node::Sort { keys, limit, .. } => {
            keys.iter().for_each(|k| visit(&k.expr));
            limit.iter().for_each(visit);
        }
        Node::Limit { limit, offset, with_ties, .. } => {
            limit.iter().for_each(&mut *visit);
            offset.iter().for_each(&mut *visit);
            with_ties.iter().flatten().for_each(|k| visit(&k.expr));
        }
        Node::Aggregate(aggregate) => {
            aggregate.groups.iter().for_each(&mut *visit);
            aggregate.calls.iter().for_each(|c| call_exprs(c, visit));
        }
        Node::Window { partition, order, calls, .. } => {
            partition.iter().for_each(&mut *visit);
            order.iter().for_each(|k| visit(&k.expr));
            for call in calls {
                call.args.iter().for_each(&mut *visit);
                call.filter.iter().for_each(&mut *visit);
                for bound in [&call.frame.start, &call.frame.end] {
                    if let FrameBound::Preceding(e) | FrameBound::Following(e) = bound {
                        visit(e);
                    }
                }
            }
        }
        Node::HashJoin { left_keys, right_keys, residual, .. } => {
            left_keys.iter().chain(right_keys).for_each(&mut *visit);
            residual.iter().for_each(visit);
        }
        Node::MergeJoin { left_keys, right_keys, residual, .. } => {
            left_keys.iter().chain(right_keys).for_each(|k| visit(&k.expr));
            residual.iter().for_each(visit);
        }
        Node::LookupJoin { lookup, residual, .. } => {
            scan_exprs(lookup, visit);
            residual.iter().for_each(visit);
        }
        Node::NestedLoop { predicate, .. } => predicate.iter().for_each(visit),
        Node::LockRows { targets, .. } => targets.iter().flat_map(|t| &t.recheck).for_each(visit),
        Node::Insert(insert) => {
            checks_exprs(&insert.checks, visit);
            insert.returning.iter().flatten().for_each(&mut *visit);
            if let Some(update) = insert.conflict.as_ref().and_then(|c| c.update.as_ref()) {
                update.assignments.iter().for_each(|(_, e)| visit(e));
                update.predicate.iter().for_each(visit);
            }
        }
        Node::Update(update) => {
            update.assignments.iter().for_each(|(_, e)| visit(e));
            checks_exprs(&update.checks, visit);
            update.returning.iter().flatten().for_each(visit);
        }
        Node::Delete(delete) => delete.returning.iter().flatten().for_each(visit),
    }
}

fn checks_exprs<'p>(checks: &'p RowChecks, visit: &mut dyn FnMut(&'p Expr)) {
    checks.generated.iter().for_each(|(_, e)| visit(e));
    checks.checks.iter().for_each(|(_, e)| visit(e));
    checks.predicates.iter().for_each(|(_, e)| visit(e));
}

/// Collects the outer columns that a subquery's plan reads from around itself, as (depth, ordinal) seen from just outside of it.
pub fn outer_references(plan: &Plan, level: usize, found: &mut Vec<(usize, usize)>) {
    // In a lookup join the scan's bounds see the left row as depth 1.
    let own = usize::from(matches!(plan.node, Node::LookupJoin { .. }));
    for_each_expr(plan, &mut |expr| expr_outer_references(expr, level + own, level, found));
    for (input, lateral) in inputs(plan) {
        outer_references(input, level + usize::from(lateral), found);
    }
}

fn expr_outer_references(expr: &Expr, level: usize, base: usize, found: &mut Vec<(usize, usize)>) {
    match expr {
        Expr::Outer { depth, ordinal, .. } if *depth > base.min(level) => {
            // A residual of a lookup join counts without the extra level; taking both readings only makes the memo more careful.
            for at in [depth.checked_sub(level), depth.checked_sub(base)].into_iter().flatten().filter(|d| *d > 0) {
                if !found.contains(&(at, *ordinal)) {
                    found.push((at, *ordinal));
                }
            }
        }
        Expr::Subquery { plan, .. } => outer_references(plan, level + 1, found),
        _ => {}
    }
    for_each_operand(expr, &mut |operand| expr_outer_references(operand, level, base, found));
}

/// Whether `test` holds for any node of the plan, subqueries included.
pub fn any_node(plan: &Plan, test: &mut dyn FnMut(&Plan) -> bool) -> bool {
    if test(plan) {
        return true;
    }
    let mut subplans = Vec::new();
    for_each_expr(plan, &mut |expr| collect_subplans(expr, &mut subplans));
    inputs(plan).into_iter().map(|(input, _)| input).chain(subplans).any(|p| any_node(p, test))
}

fn collect_subplans<'p>(expr: &'p Expr, found: &mut Vec<&'p Plan>) {
    if let Expr::Subquery { plan, .. } = expr {
        found.push(plan);
    }
    for_each_operand(expr, &mut |operand| collect_subplans(operand, found));
}

/// Whether the plan writes.
pub fn modifies(plan: &Plan) -> bool {
    any_node(plan, &mut |p| matches!(p.node, Node::Insert(_) | Node::Update(_) | Node::Delete(_)))
}
