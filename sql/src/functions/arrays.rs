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

fn same(a: &Datum, b: &Datum) -> Result<bool> {
    Ok(match (a, b) {
        (Datum::Null, Datum::Null) => true,
        (Datum::Null, _) | (_, Datum::Null) => false,
        (a, b) => order(a, b)?.is_eq(),
    })
}

/// The element type of an argument that may be NULL.
fn element(types: &[DataType], i: usize) -> DataType {
    types.get(i).and_then(|t| t.element()).unwrap_or(DataType::TEXT)
}

fn extend(types: &[DataType], list: &Datum, item: &Datum, at: usize, front: bool) -> Result<Datum> {
    let Datum::Array(a) = list else { return Ok(one_dimension(element(types, at), vec![item.clone()])) };
    if a.dims.len() > 1 {
        return err(SqlState("22000"), "argument must be empty or one-dimensional array");
    }
    let mut elements = Vec::with_capacity(a.elements.len() + 1);
    if front {
        elements.push(item.clone());
    }
    elements.extend(a.elements.iter().cloned());
    if !front {
        elements.push(item.clone());
    }
    // The lower bound stays, so prepending shifts the old subscripts by one.
    let lower = a.dims.first().map_or(1, |d| d.1);
    Ok(made(Array { element: a.element, dims: vec![(elements.len() as i32, lower)], elements }))
}

/// `array_cat`.
fn concatenate(a: &Datum, b: &Datum) -> Result<Datum> {
    let (a, b) = match (a, b) {
        (Datum::Null, b) => return Ok(b.clone()),
        (a, Datum::Null) => return Ok(a.clone()),
        (a, b) => (array(a)?, array(b)?),
    };
    if a.dims.is_empty() {
        return Ok(Datum::Array(b.clone()));
    }
    if b.dims.is_empty() {
        return Ok(Datum::Array(a.clone()));
    }
    let incompatible =
        |detail: &str| Err(SqlError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, "cannot concatenate incompatible arrays").detail(detail));
    let lengths = |x: &[(i32, i32)]| x.iter().map(|d| d.0).collect::<Vec<_>>();
    let elements: Vec<Datum> = a.elements.iter().chain(&b.elements).cloned().collect();
    let dims = match a.dims.len() as i32 - b.dims.len() as i32 {
        0 => {
            if lengths(&a.dims[1..]) != lengths(&b.dims[1..]) {
                return incompatible("Arrays with differing element dimensions are not compatible for concatenation.");
            }
            let mut dims = a.dims.clone();
            dims[0].0 += b.dims[0].0;
            dims
        }
        1 => {
            if lengths(&a.dims[1..]) != lengths(&b.dims) {
                return incompatible("Arrays with differing dimensions are not compatible for concatenation.");
            }
            let mut dims = a.dims.clone();
            dims[0].0 += 1;
            dims
        }
        -1 => {
            if lengths(&a.dims) != lengths(&b.dims[1..]) {
                return incompatible("Arrays with differing dimensions are not compatible for concatenation.");
            }
            let mut dims = b.dims.clone();
            dims[0].0 += 1;
            dims
        }
        _ => {
            return incompatible(&format!(
                "Arrays of {} and {} dimensions are not compatible for concatenation.",
                a.dims.len(),
                b.dims.len()
            ));
        }
    };
    Ok(made(Array { element: a.element, dims, elements }))
}

fn one_dimensional(a: &Array, doing: &str) -> Result<()> {
    if a.dims.len() > 1 { err(SqlState::FEATURE_NOT_SUPPORTED, doing) } else { Ok(()) }
}

/// `array_replace`, and `array_remove` when `by` is None.
fn substitute(list: &Datum, from: &Datum, by: Option<&Datum>) -> Result<Datum> {
    let Datum::Array(a) = list else { return Ok(Datum::Null) };
    if by.is_none() {
        one_dimensional(a, "removing elements from multidimensional arrays is not supported")?;
    }
    let mut elements = Vec::with_capacity(a.elements.len());
    for e in &a.elements {
        match (same(e, from)?, by) {
            (true, Some(new)) => elements.push(new.clone()),
            (true, None) => {}
            (false, _) => elements.push(e.clone()),
        }
    }
    if by.is_some() {
        return Ok(made(Array { element: a.element, dims: a.dims.clone(), elements }));
    }
    let lower = a.dims.first().map_or(1, |d| d.1);
    let dims = if elements.is_empty() { vec![] } else { vec![(elements.len() as i32, lower)] };
    Ok(made(Array { element: a.element, dims, elements }))
}

/// Subscripts where the element stands, from a starting subscript.
fn positions(list: &Datum, item: &Datum, start: Option<i32>) -> Result<Vec<i32>> {
    let Datum::Array(a) = list else { return Ok(vec![]) };
    one_dimensional(a, "searching for elements in multidimensional arrays is not supported")?;
    let lower = a.dims.first().map_or(1, |d| d.1);
    let mut out = Vec::new();
    for (i, e) in a.elements.iter().enumerate() {
        let at = lower + i as i32;
        if start.is_none_or(|s| at >= s) && same(e, item)? {
            out.push(at);
        }
    }
    Ok(out)
}

fn contains(a: &Array, b: &Array) -> Result<bool> {
    for x in &b.elements {
        if matches!(x, Datum::Null) || !has(a, x)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has(a: &Array, x: &Datum) -> Result<bool> {
    for e in &a.elements {
        if !matches!(e, Datum::Null) && order(e, x)?.is_eq() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn overlaps(a: &Array, b: &Array) -> Result<bool> {
    for x in b.elements.iter().filter(|x| !matches!(x, Datum::Null)) {
        if has(a, x)? {
            return Ok(true);
        }
    }
    Ok(false)
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
    if total > MAX_ELEMENTS {
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

fn trim(a: &Array, n: i32) -> Result<Datum> {
    let have = a.dims.first().map_or(0, |d| d.0);
    if n < 0 || n > have {
        return err(SqlState("2202E"), format!("number of elements to trim must be between 0 and {have}"));
    }
    let keep = have - n;
    if keep == 0 {
        return Ok(one_dimension(a.element, vec![]));
    }
    let row = a.elements.len() / have as usize;
    let mut dims = a.dims.clone();
    dims[0] = (keep, 1);
    Ok(made(Array { element: a.element, dims, elements: a.elements[..keep as usize * row].to_vec() }))
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
    s("array_remove", |_, x| substitute(&x[0], &x[1], None)),
    s("array_replace", |_, x| substitute(&x[0], &x[1], Some(&x[2]))),
    s("array_position", |_, x| Ok(positions(&x[0], &x[1], None)?.first().map_or(Datum::Null, |p| Datum::Int4(*p)))),
    s("array_position_start", |_, x| {
        let Some(start) = opt(x, 2) else { return err(SqlState::NULL_VALUE_NOT_ALLOWED, "initial position must not be null") };
        Ok(positions(&x[0], &x[1], Some(i4(start)?))?.first().map_or(Datum::Null, |p| Datum::Int4(*p)))
    }),
    s("array_positions", |_, x| {
        if let Datum::Null = x[0] {
            return Ok(Datum::Null);
        }
        Ok(one_dimension(DataType::INT4, positions(&x[0], &x[1], None)?.into_iter().map(Datum::Int4).collect()))
    }),
    t("array_fill", |_, ty, x| fill(ty, x)),
    t("array_fill_with_lower_bounds", |_, ty, x| fill(ty, x)),
    s("array_length", |_, x| Ok(dimension(x)?.map_or(Datum::Null, |d| Datum::Int4(d.0)))),
    s("array_lower", |_, x| Ok(dimension(x)?.map_or(Datum::Null, |d| Datum::Int4(d.1)))),
    s("array_upper", |_, x| Ok(dimension(x)?.map_or(Datum::Null, |d| Datum::Int4(d.0 + d.1 - 1)))),
    s("array_ndims", |_, x| Ok(Some(array(&x[0])?.dims.len()).filter(|n| *n > 0).map_or(Datum::Null, |n| Datum::Int4(n as i32)))),
    s("array_dims", |_, x| {
        let dims: String = array(&x[0])?.dims.iter().map(|(n, l)| format!("[{l}:{}]", l + n - 1)).collect();
        Ok(if dims.is_empty() { Datum::Null } else { txt(dims) })
    }),
    s("array_cardinality", |_, x| Ok(Datum::Int4(array(&x[0])?.elements.len() as i32))),
    s("trim_array", |_, x| trim(array(&x[0])?, i4(&x[1])?)),
    s("arraycontains", |_, x| contains(array(&x[0])?, array(&x[1])?).map(Datum::Bool)),
    s("arraycontained", |_, x| contains(array(&x[1])?, array(&x[0])?).map(Datum::Bool)),
    s("arrayoverlap", |_, x| overlaps(array(&x[0])?, array(&x[1])?).map(Datum::Bool)),
    s("array_larger", |_, x| Ok(if order(&x[0], &x[1])?.is_gt() { x[0].clone() } else { x[1].clone() })),
    s("array_smaller", |_, x| Ok(if order(&x[0], &x[1])?.is_lt() { x[0].clone() } else { x[1].clone() })),
];
