//! Taking arguments apart: what a body does first. A mismatch is a bug of the binder, reported as `XX000`, never a panic.

use std::sync::Arc;

use super::{FunctionBody, ScalarFn};
use crate::error::{Result, SqlError, SqlState};
use crate::types::{Array, DataType, Datum, Interval, Jsonb, Numeric};

/// One entry of a topic: key in `pg_proc.txt`, body.
pub(super) type Entry = (&'static str, FunctionBody);

/// A scalar entry, so that tables read as `s("int4pl", |_, a| …)`.
pub(super) const fn s(key: &'static str, body: ScalarFn) -> Entry {
    (key, FunctionBody::Scalar(body))
}

#[cold]
pub(super) fn mismatch(want: &str, got: &Datum) -> SqlError {
    SqlError::internal(format!("function argument is {got:?}, expected {want}"))
}

macro_rules! getters {
    ($($name:ident -> $type:ty, $want:literal { $($pattern:pat => $value:expr),* })*) => {
        $(#[inline]
        pub(super) fn $name(d: &Datum) -> Result<$type> {
            match d { $($pattern => Ok($value),)* other => Err(mismatch($want, other)) }
        })*
    };
}

getters! {
    boolean -> bool, "bool" { Datum::Bool(v) => *v }
    i2 -> i16, "int2" { Datum::Int2(v) => *v }
    i4 -> i32, "int4" { Datum::Int4(v) => *v, Datum::Int2(v) => i32::from(*v) }
    i8 -> i64, "int8" { Datum::Int8(v) => *v, Datum::Int4(v) => i64::from(*v), Datum::Int2(v) => i64::from(*v) }
    f4 -> f32, "float4" { Datum::Float4(v) => *v }
    f8 -> f64, "float8" { Datum::Float8(v) => *v, Datum::Float4(v) => f64::from(*v) }
    oid -> u32, "oid" { Datum::Oid(v) => *v, Datum::Int4(v) => *v as u32 }
    chr -> u8, "\"char\"" { Datum::Char(v) => *v }
    bytes -> &[u8], "bytea" { Datum::Bytea(v) => v }
    date -> i32, "date" { Datum::Date(v) => *v }
    time -> i64, "time" { Datum::Time(v) => *v }
    timetz -> (i64, i32), "timetz" { Datum::TimeTz(t, z) => (*t, *z) }
    timestamp -> i64, "timestamp" { Datum::Timestamp(v) => *v, Datum::TimestampTz(v) => *v }
    interval -> &Interval, "interval" { Datum::Interval(v) => v }
    uuid -> &[u8; 16], "uuid" { Datum::Uuid(v) => v }
    numeric -> &Arc<Numeric>, "numeric" { Datum::Numeric(v) => v }
    jsonb -> &Arc<Jsonb>, "jsonb" { Datum::Jsonb(v) => v }
    array -> &Arc<Array>, "array" { Datum::Array(v) => v }
    record -> &[Datum], "record" { Datum::Record(v) => v }
    text -> &str, "text" { Datum::Text(v) => v, Datum::Json(v) => v }
}

/// A text result.
#[inline]
pub(super) fn txt(s: impl AsRef<str>) -> Datum {
    Datum::Text(Arc::from(s.as_ref()))
}

/// A `text[]` result with lower bound 1.
pub(super) fn text_array<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Datum {
    one_dimension(DataType::TEXT, items.into_iter().map(txt).collect())
}

/// A one-dimensional array with lower bound 1; `{}` when empty.
pub(super) fn one_dimension(element: DataType, elements: Vec<Datum>) -> Datum {
    let dims = if elements.is_empty() { vec![] } else { vec![(i32::try_from(elements.len()).unwrap_or(i32::MAX), 1)] };
    Datum::Array(Arc::new(Array { element, dims, elements }))
}

/// An optional trailing argument; NULL counts as absent only where the caller's default says so.
pub(super) fn opt(a: &[Datum], i: usize) -> Option<&Datum> {
    a.get(i).filter(|d| !matches!(d, Datum::Null))
}

#[cold]
pub(super) fn err<T>(code: SqlState, message: impl Into<String>) -> Result<T> {
    Err(SqlError::new(code, message))
}

#[cold]
pub(super) fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

#[cold]
pub(super) fn out_of_range(what: &str) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{what} out of range"))
}

#[cold]
pub(super) fn division_by_zero() -> SqlError {
    SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}
