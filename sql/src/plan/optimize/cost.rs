//! Figures. Units are PostgreSQL's: a sequential page read is about 1; here a round to a range is the dear thing.

use crate::plan::expr::Expr;

/// Rows of a table that nothing is known of.
pub(super) const UNKNOWN_ROWS: f64 = 1000.0;
/// One round of requests to ranges.
pub(super) const ROUND: f64 = 4.0;
/// Reading one index entry.
pub(super) const ENTRY: f64 = 0.01;
/// Fetching one row by primary key, in a batch.
pub(super) const FETCH: f64 = 0.05;
/// One more point in a batched lookup.
pub(super) const LOOKUP: f64 = 0.05;
/// One more span in a batched lookup: an iterator, a mark in the timestamp cache and a digest of its own.
pub(super) const LOOKUP_SPAN: f64 = 0.2;
/// Handling one row in an operator.
pub(super) const ROW: f64 = 0.01;
/// Evaluating one condition.
pub(super) const CONDITION: f64 = 0.0025;

/// One more look-up of this kind in a batch.
pub(super) fn lookup(unique: bool) -> f64 {
    if unique { LOOKUP } else { LOOKUP_SPAN }
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

/// A LIMIT that is a number.
pub(super) fn constant_count(e: &Expr) -> Option<f64> {
    match e {
        Expr::Const { value: crate::types::Datum::Int8(n), .. } => Some(*n as f64),
        _ => None,
    }
}
