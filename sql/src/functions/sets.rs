//! Set-returning functions: `generate_series`, `generate_subscripts`, `unnest`, `string_to_table`. (Those of regular expressions and
//! JSON are with their topics.) Rows are handed out one by one; nothing is collected here.
//!
//! `generate_series` alone can give more rows than its arguments have bytes, so it is also there as an iterator ([`lazy`]): the
//! executor pulls from it as far as somebody wants rows. Every other set is at most as long as its argument.

use super::args::{Entry, array, boolean, i4, i8, interval, invalid, numeric, timestamp};
use super::numeric::num;
use super::{EvalContext, FunctionBody, FunctionDef};
use crate::error::Result;
use crate::types::datetime as dt;
use crate::types::{DataType, Datum, Interval, Numeric};

/// The values of a set, computed as they are taken.
pub type LazyRows = Box<dyn Iterator<Item = Result<Datum>> + Send>;

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
fn integers(from: i64, to: i64, step: i64, make: fn(i64) -> Datum) -> Result<LazyRows> {
    if step == 0 {
        return Err(zero_step());
    }
    let within = move |at: &i64| if step > 0 { *at <= to } else { *at >= to };
    let series = std::iter::successors(Some(from), move |at| at.checked_add(step)).take_while(within);
    Ok(Box::new(series.map(move |at| Ok(make(at)))))
}

fn numerics(x: &[Datum]) -> Result<LazyRows> {
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
    let (to, step) = (to.clone(), step.clone());
    let up = step.signum() > 0;
    Ok(stepped(from.clone(), move |at| if up { *at <= to } else { *at >= to }, move |at| at.add(&step), num))
}

/// Timestamps; the step may be months, so each is added to the last.
fn timestamps(x: &[Datum], zone: Option<&str>) -> Result<LazyRows> {
    let (from, to, step) = (timestamp(&x[0])?, timestamp(&x[1])?, interval(&x[2])?.to_owned());
    let direction = step.cmp(&Interval::default());
    if direction.is_eq() {
        return Err(zero_step());
    }
    let within = move |at: &i64| if direction.is_gt() { *at <= to } else { *at >= to };
    Ok(match zone.map(str::to_owned) {
        Some(zone) => stepped(from, within, move |at| dt::timestamptz_add(*at, &step, &zone), Datum::TimestampTz),
        None => stepped(from, within, move |at| dt::timestamp_add(*at, &step), Datum::Timestamp),
    })
}

/// A series whose step may fail; the failure is its last element.
fn stepped<T: Clone + Send + 'static>(
    from: T,
    within: impl Fn(&T) -> bool + Send + 'static,
    next: impl Fn(&T) -> Result<T> + Send + 'static,
    make: fn(T) -> Datum,
) -> LazyRows {
    let mut at = Some(Ok(from));
    Box::new(std::iter::from_fn(move || match at.take()? {
        Ok(here) if within(&here) => {
            at = Some(next(&here));
            Some(Ok(make(here)))
        }
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }))
}

/// The values of a `generate_series` call whose arguments are not NULL; `None`: another function, whose rows come all at once.
///
/// # Errors
/// A step of zero, bounds that are no numbers.
pub fn lazy(function: &FunctionDef, x: &[Datum], zone: &str) -> Result<Option<LazyRows>> {
    if function.name != "generate_series" {
        return Ok(None);
    }
    let step = || x.get(2).map_or(Ok(1), i8);
    Ok(Some(match function.returns {
        DataType::INT4 => integers(i8(&x[0])?, i8(&x[1])?, step()?, |v| Datum::Int4(v as i32))?,
        DataType::INT8 => integers(i8(&x[0])?, i8(&x[1])?, step()?, Datum::Int8)?,
        DataType::NUMERIC => numerics(x)?,
        DataType::TIMESTAMP => timestamps(x, None)?,
        _ => timestamps(x, Some(zone))?,
    }))
}

/// The row numbers of `ROWS FROM (…) WITH ORDINALITY`: as a set as long as the longest beside it, which only `ProjectSet` knows. In no registry.
pub static ORDINALITY: FunctionDef = FunctionDef {
    oid: 0,
    name: "ordinality",
    args: &[],
    variadic: false,
    optional: 0,
    returns: DataType::INT8,
    strict: false,
    volatility: super::Volatility::Volatile,
    body: FunctionBody::Set { rows: |_, _, _| Ok(()), columns: &[] },
};

/// All of a series at once, for callers that take rows from a function whatever it is.
fn all(rows: LazyRows, emit: &mut Emit<'_>) -> Result<()> {
    for value in rows {
        emit(vec![value?])?;
    }
    Ok(())
}

/// `information_schema._pg_expandarray`: an array's elements with their positions.
fn expand_array(x: &[Datum], emit: &mut Emit<'_>) -> Result<()> {
    let elements = array(&x[0])?.elements.iter();
    elements.zip(1..).try_for_each(|(value, at)| emit(vec![value.clone(), Datum::Int4(at)]))
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
    set("generate_series_int4", |_, x, e| all(integers(i8(&x[0])?, i8(&x[1])?, 1, |v| Datum::Int4(v as i32))?, e)),
    set("generate_series_step_int4", |_, x, e| all(integers(i8(&x[0])?, i8(&x[1])?, i8(&x[2])?, |v| Datum::Int4(v as i32))?, e)),
    set("generate_series_int8", |_, x, e| all(integers(i8(&x[0])?, i8(&x[1])?, 1, Datum::Int8)?, e)),
    set("generate_series_step_int8", |_, x, e| all(integers(i8(&x[0])?, i8(&x[1])?, i8(&x[2])?, Datum::Int8)?, e)),
    set("generate_series_numeric", |_, x, e| all(numerics(x)?, e)),
    set("generate_series_step_numeric", |_, x, e| all(numerics(x)?, e)),
    set("generate_series_timestamp", |_, x, e| all(timestamps(x, None)?, e)),
    set("generate_series_timestamptz", |c, x, e| all(timestamps(x, Some(&c.session.timezone))?, e)),
    set("pg_expandarray", |_, x, e| expand_array(x, e)),
    set("generate_subscripts", |_, x, e| subscripts(x, e)),
    set("generate_subscripts_nodir", |_, x, e| subscripts(x, e)),
    set("array_unnest", |_, x, e| array(&x[0])?.elements.iter().try_for_each(|v| e(vec![v.clone()]))),
    set("text_to_table", |_, x, e| super::strings::split(x)?.unwrap_or_default().into_iter().try_for_each(|v| e(vec![v]))),
    set("text_to_table_null", |_, x, e| super::strings::split(x)?.unwrap_or_default().into_iter().try_for_each(|v| e(vec![v]))),
];
