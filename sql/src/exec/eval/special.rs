//! The expression kinds with rules of their own: row-wise IS NULL, arrays, ANY/ALL, subqueries, executor calls.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{EvalCx, Pending, Slot, SubRows, eval, invoke};
use crate::error::{Result, SqlError, SqlState};
use crate::exec::value;
use crate::functions::FunctionDef;
use crate::plan::expr::{Expr, SubqueryKind};
use crate::types::{Array, DataType, Datum};

/// `IS [NOT] NULL`; of a record, `IS NULL` asks whether all fields are, `IS NOT NULL` whether none is.
pub fn is_null(input: &Expr, negated: bool, row: &[Datum], cx: &mut EvalCx<'_>) -> Result<Datum> {
    let value = eval(input, row, cx)?;
    Ok(Datum::Bool(match &value {
        Datum::Null => !negated,
        Datum::Record(fields) if negated => fields.iter().all(|f| !matches!(f, Datum::Null)),
        Datum::Record(fields) => fields.iter().all(|f| matches!(f, Datum::Null)),
        _ => negated,
    }))
}

/// `GREATEST`, `LEAST`: NULLs are left out.
pub fn min_max(args: &[Expr], greatest: bool, row: &[Datum], cx: &mut EvalCx<'_>) -> Result<Datum> {
    let wanted = if greatest { Ordering::Greater } else { Ordering::Less };
    let mut best = Datum::Null;
    for arg in args {
        let value = eval(arg, row, cx)?;
        if matches!(value, Datum::Null) {
            continue;
        }
        if matches!(best, Datum::Null) || value::compare(&value, &best) == wanted {
            best = value;
        }
    }
    Ok(best)
}

/// Folds `left op x` over values: true decides ANY, false decides ALL, otherwise NULL if any comparison was NULL.
fn fold<'d>(
    left: &Datum,
    values: impl Iterator<Item = &'d Datum>,
    function: &'static FunctionDef,
    all: bool,
    cx: &mut EvalCx<'_>,
) -> Result<Datum> {
    let mut unknown = false;
    for value in values {
        let compared = match super::fast::operation(function.oid).and_then(|op| super::fast::apply(op, left, value)) {
            Some(result) => result?,
            None => invoke(function, &[left.clone(), value.clone()], cx)?,
        };
        match compared {
            Datum::Bool(b) if b != all => return Ok(Datum::Bool(b)),
            Datum::Bool(_) => {}
            _ => unknown = true,
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(all) })
}

/// `left op ANY/ALL (array)`
pub fn any_all(left: &Expr, array: &Expr, function: &'static FunctionDef, all: bool, row: &[Datum], cx: &mut EvalCx<'_>) -> Result<Datum> {
    let left = eval(left, row, cx)?;
    match eval(array, row, cx)? {
        Datum::Null => Ok(Datum::Null),
        Datum::Array(array) => fold(&left, array.elements.iter(), function, all, cx),
        other => Err(SqlError::internal(format!("ANY/ALL over {other:?}, which is not an array"))),
    }
}

/// `ARRAY[…]`; nested constructors join arrays of equal dimensions.
pub fn array(elements: &[Expr], element: DataType, nested: bool, row: &[Datum], cx: &mut EvalCx<'_>) -> Result<Datum> {
    let values = elements.iter().map(|e| eval(e, row, cx)).collect::<Result<Vec<_>>>()?;
    array_from(values, element, nested)
}

/// An array of one dimension over values, or, of arrays, of one dimension more.
pub fn array_from(values: Vec<Datum>, element: DataType, nested: bool) -> Result<Datum> {
    if !nested {
        let dims = if values.is_empty() { Vec::new() } else { vec![(values.len() as i32, 1)] };
        return Ok(Datum::Array(Arc::new(Array { element, dims, elements: values })));
    }
    let mismatch =
        || SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "multidimensional arrays must have array expressions with matching dimensions");
    let mut dims: Option<Vec<(i32, i32)>> = None;
    let mut flat = Vec::new();
    let count = values.len() as i32;
    for value in values {
        let inner = match value {
            Datum::Array(inner) => inner,
            Datum::Null => continue,
            other => return Err(SqlError::internal(format!("nested array constructor over {other:?}"))),
        };
        match &dims {
            None => dims = Some(inner.dims.clone()),
            Some(known) if known.iter().map(|d| d.0).eq(inner.dims.iter().map(|d| d.0)) => {}
            Some(_) => return Err(mismatch()),
        }
        flat.extend(inner.elements.iter().cloned());
    }
    let dims = match dims {
        Some(inner) if !flat.is_empty() => {
            if inner.len() >= 6 {
                return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "number of array dimensions exceeds the maximum allowed (6)"));
            }
            std::iter::once((count, 1)).chain(inner.into_iter().map(|(len, _)| (len, 1))).collect()
        }
        _ => Vec::new(),
    };
    Ok(Datum::Array(Arc::new(Array { element, dims, elements: flat })))
}

/// `a[i]`, `a[i][j]`, `a[l:u]`: outside the bounds NULL, of a slice the empty array.
pub fn subscript(input: &Expr, indices: &[(Option<Expr>, Option<Expr>, bool)], row: &[Datum], cx: &mut EvalCx<'_>) -> Result<Datum> {
    let Datum::Array(array) = eval(input, row, cx)? else { return Ok(Datum::Null) };
    let sliced = indices.iter().any(|(_, _, slice)| *slice);
    let mut bounds = Vec::with_capacity(indices.len());
    for (lower, upper, slice) in indices {
        let lower = lower.as_ref().map(|e| eval(e, row, cx)).transpose()?;
        let upper = upper.as_ref().map(|e| eval(e, row, cx)).transpose()?;
        let as_index = |d: Datum| match d {
            Datum::Int4(v) => Some(v),
            Datum::Int8(v) => i32::try_from(v).ok(),
            Datum::Int2(v) => Some(i32::from(v)),
            _ => None,
        };
        if matches!(lower, Some(Datum::Null)) || matches!(upper, Some(Datum::Null)) {
            return Ok(Datum::Null);
        }
        let (lower, upper) = (lower.and_then(as_index), upper.and_then(as_index));
        // The binder puts a plain index second; among slices it means 1:index.
        bounds.push(match (*slice, sliced) {
            (true, _) => (lower, upper),
            (false, true) => (Some(1), upper.or(lower)),
            (false, false) => (upper.or(lower), None),
        });
    }
    if sliced { slice(&array, &bounds) } else { Ok(element(&array, &bounds)) }
}

fn element(array: &Array, bounds: &[(Option<i32>, Option<i32>)]) -> Datum {
    if bounds.len() != array.dims.len() {
        return Datum::Null;
    }
    let mut offset = 0usize;
    for ((length, base), (index, _)) in array.dims.iter().zip(bounds) {
        let Some(at) = index.and_then(|i| i.checked_sub(*base)).filter(|at| (0..*length).contains(at)) else { return Datum::Null };
        offset = offset * *length as usize + at as usize;
    }
    array.elements.get(offset).cloned().unwrap_or(Datum::Null)
}

fn slice(array: &Array, bounds: &[(Option<i32>, Option<i32>)]) -> Result<Datum> {
    let empty = || Datum::Array(Arc::new(Array { element: array.element, dims: Vec::new(), elements: Vec::new() }));
    if bounds.len() > array.dims.len() {
        return Ok(empty());
    }
    // Per dimension: first offset and count.
    let mut windows = Vec::with_capacity(array.dims.len());
    for (at, (length, base)) in array.dims.iter().enumerate() {
        let (lower, upper) = bounds.get(at).copied().unwrap_or((None, None));
        let first = lower.unwrap_or(*base).max(*base);
        let last = upper.unwrap_or(base + length - 1).min(base + length - 1);
        if first > last {
            return Ok(empty());
        }
        windows.push(((first - base) as usize, (last - first + 1) as usize));
    }
    let mut elements = Vec::new();
    let total: usize = windows.iter().map(|w| w.1).product();
    for n in 0..total {
        let (mut rest, mut offset, mut stride) = (n, 0usize, 1usize);
        for (at, (first, count)) in windows.iter().enumerate().rev() {
            offset += (first + rest % count) * stride;
            rest /= count;
            stride *= array.dims[at].0 as usize;
        }
        elements.push(array.elements[offset].clone());
    }
    let dims = windows.iter().map(|(_, count)| (*count as i32, 1)).collect();
    Ok(Datum::Array(Arc::new(Array { element: array.element, dims, elements })))
}

fn slot_id(expr: &Expr) -> usize {
    std::ptr::from_ref(expr) as usize
}

/// A call that the executor makes; its value is in a slot, or asked for.
pub fn executor_call(expr: &Expr, row: &[Datum], cx: &mut EvalCx<'_>) -> Result<Datum> {
    let Expr::ExecutorCall { function, args, .. } = expr else { return Err(SqlError::internal("not an executor call")) };
    let slot = slot_id(expr);
    if let Some(Slot::Value(value)) = cx.slot(slot) {
        return Ok(value.clone());
    }
    let args = args.iter().map(|a| eval(a, row, cx)).collect::<Result<Vec<_>>>()?;
    if function.0.strict && args.iter().any(|a| matches!(a, Datum::Null)) {
        return Ok(Datum::Null);
    }
    cx.suspend(Pending::Call { slot, function: function.0, args })
}

/// A subquery; its rows are in a slot, or asked for.
pub fn subquery(expr: &Expr, row: &[Datum], cx: &mut EvalCx<'_>) -> Result<Datum> {
    let Expr::Subquery { plan, kind, correlated, .. } = expr else { return Err(SqlError::internal("not a subquery")) };
    let slot = slot_id(expr);
    let Some(Slot::Rows(rows)) = cx.slot(slot).cloned() else {
        let rows_max = match kind {
            SubqueryKind::Scalar => 2,
            SubqueryKind::Exists => 1,
            _ => usize::MAX,
        };
        let hashed = !correlated
            && matches!(kind, SubqueryKind::AnyAll { function, all: false, .. } if is_equality(function.0.oid, function.0.name));
        return cx.suspend(Pending::Subquery { slot, plan: plan.clone(), correlated: *correlated, rows_max, hashed });
    };
    match kind {
        SubqueryKind::Exists => Ok(Datum::Bool(rows.len > 0)),
        SubqueryKind::Scalar => match rows.len {
            0 => Ok(Datum::Null),
            1 => Ok(rows.datums.first().cloned().unwrap_or(Datum::Null)),
            _ => Err(SqlError::new(SqlState::CARDINALITY_VIOLATION, "more than one row returned by a subquery used as an expression")),
        },
        SubqueryKind::AnyAll { left, function, all } => {
            let left = eval(left, row, cx)?;
            match &rows.set {
                Some((set, has_null)) if !*all && is_equality(function.0.oid, function.0.name) => {
                    Ok(member(&left, set, *has_null, rows.len))
                }
                _ => fold(&left, rows.datums.iter().step_by(rows.width.max(1)), function.0, *all, cx),
            }
        }
        SubqueryKind::RowIn { left, functions } => {
            let left = left.iter().map(|e| eval(e, row, cx)).collect::<Result<Vec<_>>>()?;
            row_in(&left, functions.iter().map(|f| f.0), &rows, cx)
        }
        SubqueryKind::Array { element } => {
            let values = rows.datums.iter().step_by(rows.width.max(1)).cloned().collect::<Vec<_>>();
            let nested = element.is_array();
            array_from(values, *element, nested)
        }
    }
}

fn is_equality(oid: u32, name: &str) -> bool {
    name == "=" || name.ends_with("eq") || matches!(super::fast::operation(oid), Some(super::fast::Operation::Compare(false, true, false)))
}

fn member(left: &Datum, set: &value::DatumSet, has_null: bool, len: usize) -> Datum {
    if len == 0 {
        return Datum::Bool(false);
    }
    match left {
        Datum::Null => Datum::Null,
        _ if set.contains(left) => Datum::Bool(true),
        _ if has_null => Datum::Null,
        _ => Datum::Bool(false),
    }
}

/// `(a, b) IN (query)`: true if a row equals in all columns, NULL if one might.
fn row_in(
    left: &[Datum],
    functions: impl Iterator<Item = &'static FunctionDef> + Clone,
    rows: &SubRows,
    cx: &mut EvalCx<'_>,
) -> Result<Datum> {
    let mut unknown = false;
    for index in 0..rows.len {
        let right = &rows.datums[index * rows.width..(index + 1) * rows.width];
        let (mut equal, mut null) = (true, false);
        for ((a, b), function) in left.iter().zip(right).zip(functions.clone()) {
            match invoke(function, &[a.clone(), b.clone()], cx)? {
                Datum::Bool(true) => {}
                Datum::Bool(false) => {
                    equal = false;
                    break;
                }
                _ => null = true,
            }
        }
        match (equal, null) {
            (true, false) => return Ok(Datum::Bool(true)),
            (true, true) => unknown = true,
            _ => {}
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(false) })
}
