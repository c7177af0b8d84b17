//! Figures. Units are PostgreSQL's: a sequential page read is about 1; here a round to a range is the dear thing.

use crate::catalog::descriptor::Oid;
use crate::functions::registry::ComparisonKind;
use crate::plan::expr::Expr;
use crate::plan::logical::*;

/// Rows of a table that nothing is known of.
pub(super) const UNKNOWN_ROWS: f64 = 1000.0;
/// One round of requests to ranges.
pub(super) const ROUND: f64 = 4.0;
/// Reading one index entry.
pub(super) const ENTRY: f64 = 0.01;
/// Fetching one row by primary key, in a batch.
pub(super) const FETCH: f64 = 0.05;
/// One more point or span in a batched lookup.
pub(super) const LOOKUP: f64 = 0.06;
/// Handling one row in an operator.
pub(super) const ROW: f64 = 0.01;
/// Evaluating one condition.
pub(super) const CONDITION: f64 = 0.0025;

/// Rows of a table.
pub(super) fn table_rows(counts: &std::collections::BTreeMap<Oid, u64>, table: Oid) -> f64 {
    counts.get(&table).map_or(UNKNOWN_ROWS, |n| (*n as f64).max(1.0))
}

/// The share of rows that pass a condition.
pub(super) fn selectivity(p: &Expr) -> f64 {
    match p {
        Expr::And(args) => args.iter().map(selectivity).product(),
        Expr::Or(args) => args.iter().map(selectivity).sum::<f64>().min(1.0),
        Expr::Not(inner) => (1.0 - selectivity(inner)).max(0.05),
        Expr::IsNull { negated, .. } => {
            if *negated {
                0.9
            } else {
                0.1
            }
        }
        Expr::AnyAll { all: false, array, .. } => (0.005 * array_length(array)).min(0.5),
        Expr::Call { function, .. } => match super::pushdown::comparison(*function) {
            Some(ComparisonKind::Eq) => 0.005,
            Some(ComparisonKind::Ne) => 0.995,
            Some(_) => 0.333,
            None if function.0.name == "like" || function.0.name == "textlike" => 0.05,
            None => 0.25,
        },
        Expr::Const { value: crate::types::Datum::Bool(true), .. } => 1.0,
        _ => 0.333,
    }
}

/// How many elements an array expression has, as far as can be seen.
pub(super) fn array_length(array: &Expr) -> f64 {
    match array {
        Expr::Const { value: crate::types::Datum::Array(a), .. } => a.elements.len() as f64,
        Expr::Array { elements, .. } => elements.len() as f64,
        _ => 10.0,
    }
}

/// The cost of sorting.
pub(super) fn sort(rows: f64) -> f64 {
    rows.max(2.0) * rows.max(2.0).log2() * 0.01
}

/// The row estimate of a logical tree, for choosing a join order before anything is lowered.
pub(super) fn rows(rel: &Rel, counts: &std::collections::BTreeMap<Oid, u64>) -> f64 {
    let estimate = match rel {
        Rel::OneRow => 1.0,
        Rel::Empty { .. } => 0.0,
        Rel::Values { rows, .. } => rows.len() as f64,
        Rel::Table(t) => table_rows(counts, t.table.id) * t.filter.iter().map(selectivity).product::<f64>(),
        Rel::System { filter, .. } => 100.0 * filter.iter().map(selectivity).product::<f64>(),
        Rel::Function { .. } => 100.0,
        Rel::Filter { input, preds } => rows(input, counts) * preds.iter().map(selectivity).product::<f64>(),
        Rel::Project { input, .. } | Rel::Sort { input, .. } | Rel::Window { input, .. } | Rel::Lock { input, .. } => rows(input, counts),
        Rel::ProjectSet { input, .. } => rows(input, counts) * 10.0,
        Rel::Join { left, right, kind, on } => {
            let (l, r) = (rows(left, counts), rows(right, counts));
            match kind {
                crate::plan::node::JoinKind::Semi | crate::plan::node::JoinKind::Anti => l * 0.5,
                _ => (l * r * on.iter().map(selectivity).product::<f64>()).max(l.min(r)),
            }
        }
        Rel::Aggregate(a) => {
            if a.groups.is_empty() {
                1.0
            } else {
                rows(&a.input, counts) * 0.1
            }
        }
        Rel::Limit { input, limit, .. } => {
            let n = limit.as_ref().and_then(constant_count).unwrap_or(f64::MAX);
            rows(input, counts).min(n)
        }
        Rel::Distinct { input, .. } | Rel::DistinctOn { input, .. } => rows(input, counts) * 0.3,
        Rel::SetOp { left, right, .. } => rows(left, counts) + rows(right, counts),
        Rel::With { body, .. } => rows(body, counts),
        Rel::CteScan { .. } | Rel::WorkTable { .. } => 100.0,
        Rel::Recursive { base, .. } => rows(base, counts) * 10.0,
        Rel::Insert(i) => rows(&i.source, counts),
        Rel::Update(u) => rows(&u.source, counts),
        Rel::Delete(d) => rows(&d.source, counts),
    };
    estimate.max(if matches!(rel, Rel::Empty { .. }) { 0.0 } else { 1.0 })
}

/// A LIMIT that is a number.
pub(super) fn constant_count(e: &Expr) -> Option<f64> {
    match e {
        Expr::Const { value: crate::types::Datum::Int8(n), .. } => Some(*n as f64),
        _ => None,
    }
}
