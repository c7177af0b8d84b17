//! Set-returning functions: `generate_series`, `generate_subscripts`, `unnest`, `string_to_table`. (Those of regular expressions and
//! JSON are with their topics.) Rows are handed out one by one; nothing is collected here.

use super::args::{Entry, array, boolean, i4, i8, invalid, numeric};
use super::numeric::num;
use super::{EvalContext, FunctionBody};
use crate::error::Result;
use crate::types::{Datum, Numeric};

/// What takes the rows.
pub(super) type Emit<'a> = dyn FnMut(Vec<Datum>) -> Result<()> + 'a;

pub(super) const fn set(
    key: &'static str,
    rows: fn(&mut EvalContext<'_>, &[Datum], &mut dyn FnMut(Vec<Datum>) -> Result<()>) -> Result<()>,
) -> Entry {
    (key, FunctionBody::Set { rows, columns: &[] })
}

fn zero_step() -> crate::error::SqlError {
    invalid("step size cannot equal zero")
}

/// Integers from `from` to `to`; stops, without an error, where the next would not fit, as PostgreSQL does.
fn integers(from: i64, to: i64, step: i64, make: fn(i64) -> Datum, emit: &mut Emit<'_>) -> Result<()> {
    if step == 0 {
        return Err(zero_step());
    }
    let mut at = from;
    while if step > 0 { at <= to } else { at >= to } {
        emit(vec![make(at)])?;
        match at.checked_add(step) {
            Some(next) => at = next,
            None => break,
        }
    }
    Ok(())
}

fn numerics(x: &[Datum], emit: &mut Emit<'_>) -> Result<()> {
    let one = Numeric::from(1);
    let (from, to): (&Numeric, &Numeric) = (numeric(&x[0])?, numeric(&x[1])?);
    let step: &Numeric = match x.get(2) {
        Some(d) => numeric(d)?,
        None => &one,
    };
    for (v, name) in [(from, "start"), (to, "stop"), (step, "step")] {
        let what = if name == "step" { "step size" } else { name };
        let value = if name == "step" { "" } else { " value" };
        if v.is_nan() {
            return Err(invalid(format!("{what}{value} cannot be NaN")));
        }
        if v.is_infinite() {
            return Err(invalid(format!("{what}{value} cannot be infinity")));
        }
    }
    if step.is_zero() {
        return Err(zero_step());
    }
    let up = step.signum() > 0;
    let mut at = from.clone();
    while if up { at <= *to } else { at >= *to } {
        emit(vec![num(at.clone())])?;
        at = at.add(step)?;
    }
    Ok(())
}

fn subscripts(x: &[Datum], emit: &mut Emit<'_>) -> Result<()> {
    let (a, n) = (array(&x[0])?, i4(&x[1])?);
    let reverse = x.get(2).map(boolean).transpose()?.unwrap_or(false);
    let Some((len, lower)) = usize::try_from(n - 1).ok().and_then(|i| a.dims.get(i).copied()) else { return Ok(()) };
    for i in 0..len {
        emit(vec![Datum::Int4(if reverse { lower + len - 1 - i } else { lower + i })])?;
    }
    Ok(())
}

pub(super) const ENTRIES: &[Entry] = &[
    set("generate_series_int4", |_, x, e| integers(i8(&x[0])?, i8(&x[1])?, 1, |v| Datum::Int4(v as i32), e)),
    set("generate_series_step_int4", |_, x, e| integers(i8(&x[0])?, i8(&x[1])?, i8(&x[2])?, |v| Datum::Int4(v as i32), e)),
    set("generate_series_int8", |_, x, e| integers(i8(&x[0])?, i8(&x[1])?, 1, Datum::Int8, e)),
    set("generate_series_step_int8", |_, x, e| integers(i8(&x[0])?, i8(&x[1])?, i8(&x[2])?, Datum::Int8, e)),
    set("generate_series_numeric", |_, x, e| numerics(x, e)),
    set("generate_series_step_numeric", |_, x, e| numerics(x, e)),
    set("generate_subscripts", |_, x, e| subscripts(x, e)),
    set("generate_subscripts_nodir", |_, x, e| subscripts(x, e)),
    set("array_unnest", |_, x, e| array(&x[0])?.elements.iter().try_for_each(|v| e(vec![v.clone()]))),
    set("text_to_table", |_, x, e| super::strings::split(x)?.unwrap_or_default().into_iter().try_for_each(|v| e(vec![v]))),
    set("text_to_table_null", |_, x, e| super::strings::split(x)?.unwrap_or_default().into_iter().try_for_each(|v| e(vec![v]))),
];
