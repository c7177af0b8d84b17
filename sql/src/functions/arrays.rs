//! Array functions and operators. Positions are subscripts, so lower bounds matter; NULL elements compare equal in
//! `array_position` and `array_remove` and never match in `@>` and `&&`.

use std::sync::Arc;

use super::args::{Entry, array, err, i4, one_dimension, opt, s, txt};
use super::compare::six;
use super::order::order;
use super::strings::t;
use crate::error::{Result, SqlError, SqlState};
use crate::types::{Array, DataType, Datum};

/// Most elements an array may have.
const MAX_ELEMENTS: i64 = 134_217_727;

fn made(a: Array) -> Datum {
    Datum::Array(Arc::new(a))
}

/// The element type of an argument that may be NULL.
fn element(types: &[DataType], i: usize) -> DataType {
    types.get(i).and_then(|t| t.element()).unwrap_or(DataType::TEXT)
}

/// `array_append` and `array_prepend`: a NULL array is an empty one.
fn extend(types: &[DataType], list: &Datum, item: &Datum, at: usize, front: bool) -> Result<Datum> {
    let Datum::Array(a) = list else { return Ok(one_dimension(element(types, at), vec![item.clone()])) };
    if front { a.prepend(item.clone()) } else { a.append(item.clone()) }.map(made)
}

/// `array_cat`: a NULL side counts as nothing.
fn concatenate(a: &Datum, b: &Datum) -> Result<Datum> {
    match (a, b) {
        (Datum::Null, b) => Ok(b.clone()),
        (a, Datum::Null) => Ok(a.clone()),
        (a, b) => array(a)?.concat(array(b)?).map(made),
    }
}

/// Subscripts where the element stands.
fn positions(list: &Datum, item: &Datum) -> Result<Vec<i32>> {
    match list {
        Datum::Array(a) => a.positions(item),
        _ => Ok(vec![]),
    }
}

fn fill(types: &[DataType], x: &[Datum]) -> Result<Datum> {
    let null = |what: &str| err(SqlState::NULL_VALUE_NOT_ALLOWED, what);
    let Some(Datum::Array(lengths)) = x.get(1) else { return null("dimension array or low bound array cannot be null") };
    let lowers = match x.get(2) {
        None => None,
        Some(Datum::Array(l)) => Some(l),
        Some(_) => return null("dimension array or low bound array cannot be null"),
    };
    if lengths.dims.len() > 1 {
        return Err(SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "wrong number of array subscripts")
            .detail("Dimension array must be one dimensional."));
    }
    if let Some(l) = lowers
        && l.elements.len() != lengths.elements.len()
    {
        return Err(SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "wrong number of array subscripts")
            .detail("Low bound array has different size than dimensions array."));
    }
    if lengths.elements.len() > 6 {
        return err(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("number of array dimensions ({}) exceeds the maximum allowed (6)", lengths.elements.len()),
        );
    }
    let mut dims = Vec::new();
    let mut total = 1i64;
    for (i, n) in lengths.elements.iter().enumerate() {
        let lower = lowers.map_or(&Datum::Int4(1), |l| &l.elements[i]);
        if matches!(n, Datum::Null) || matches!(lower, Datum::Null) {
            return null("dimension values cannot be null");
        }
        let n = i4(n)?;
        if n < 0 {
            return err(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("array size exceeds the maximum allowed ({MAX_ELEMENTS})"));
        }
        total = total.saturating_mul(i64::from(n));
        dims.push((n, i4(lower)?));
    }
    // In memory an element is a datum: the 1 GB limit of a value bounds them more tightly than their number does.
    if total > MAX_ELEMENTS.min((super::text_basic::MAX_VALUE_BYTES / size_of::<Datum>()) as i64) {
        return err(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("array size exceeds the maximum allowed ({MAX_ELEMENTS})"));
    }
    let element = types.first().copied().unwrap_or(DataType::TEXT);
    if dims.is_empty() || total == 0 {
        return Ok(one_dimension(element, vec![]));
    }
    Ok(made(Array { element, dims, elements: vec![x[0].clone(); total as usize] }))
}

fn dimension(x: &[Datum]) -> Result<Option<(i32, i32)>> {
    let (a, n) = (array(&x[0])?, i4(&x[1])?);
    Ok(usize::try_from(n - 1).ok().and_then(|i| a.dims.get(i).copied()))
}

/// Comparison operators.
pub(super) const COMPARISON: &[Entry] = six! {
    "array_eq" "array_ne" "array_lt" "array_le" "array_gt" "array_ge": |x| order(&x[0], &x[1])?;
    "record_eq" "record_ne" "record_lt" "record_le" "record_gt" "record_ge": |x| order(&x[0], &x[1])?;
    "oidvectoreq" "oidvectorne" "oidvectorlt" "oidvectorle" "oidvectorgt" "oidvectorge": |x| order(&x[0], &x[1])?;
};

pub(super) const ENTRIES: &[Entry] = &[
    t("array_append", |_, ty, x| extend(ty, &x[0], &x[1], 0, false)),
    t("array_prepend", |_, ty, x| extend(ty, &x[1], &x[0], 1, true)),
    s("array_cat", |_, x| concatenate(&x[0], &x[1])),
    s("array_remove", |_, x| if let Datum::Array(a) = &x[0] { a.remove(&x[1]).map(made) } else { Ok(Datum::Null) }),
    s("array_replace", |_, x| Ok(if let Datum::Array(a) = &x[0] { made(a.replace(&x[1], &x[2])) } else { Datum::Null })),
    s("array_position", |_, x| Ok(positions(&x[0], &x[1])?.first().map_or(Datum::Null, |p| Datum::Int4(*p)))),
    s("array_position_start", |_, x| {
        let Some(start) = opt(x, 2) else { return err(SqlState::NULL_VALUE_NOT_ALLOWED, "initial position must not be null") };
        let start = i4(start)?;
        Ok(positions(&x[0], &x[1])?.into_iter().find(|p| *p >= start).map_or(Datum::Null, Datum::Int4))
    }),
    s("array_positions", |_, x| {
        if let Datum::Null = x[0] {
            return Ok(Datum::Null);
        }
        Ok(one_dimension(DataType::INT4, positions(&x[0], &x[1])?.into_iter().map(Datum::Int4).collect()))
    }),
    t("array_fill", |_, ty, x| fill(ty, x)),
    t("array_fill_with_lower_bounds", |_, ty, x| fill(ty, x)),
    s("array_length", |_, x| Ok(dimension(x)?.map_or(Datum::Null, |d| Datum::Int4(d.0)))),
    s("array_lower", |_, x| Ok(dimension(x)?.map_or(Datum::Null, |d| Datum::Int4(d.1)))),
    s("array_upper", |_, x| Ok(dimension(x)?.map_or(Datum::Null, |d| Datum::Int4(d.0 + d.1 - 1)))),
    s("array_ndims", |_, x| Ok(Some(array(&x[0])?.dims.len()).filter(|n| *n > 0).map_or(Datum::Null, |n| Datum::Int4(n as i32)))),
    s("array_dims", |_, x| Ok(array(&x[0])?.dims_text().map_or(Datum::Null, txt))),
    s("array_cardinality", |_, x| Ok(Datum::Int4(array(&x[0])?.elements.len() as i32))),
    s("trim_array", |_, x| array(&x[0])?.trim(i4(&x[1])?).map(made)),
    s("arraycontains", |_, x| Ok(Datum::Bool(array(&x[0])?.contains(array(&x[1])?)))),
    s("arraycontained", |_, x| Ok(Datum::Bool(array(&x[1])?.contains(array(&x[0])?)))),
    s("arrayoverlap", |_, x| Ok(Datum::Bool(array(&x[0])?.overlaps(array(&x[1])?)))),
    s("array_larger", |_, x| Ok(if order(&x[0], &x[1])?.is_gt() { x[0].clone() } else { x[1].clone() })),
    s("array_smaller", |_, x| Ok(if order(&x[0], &x[1])?.is_lt() { x[0].clone() } else { x[1].clone() })),
];
