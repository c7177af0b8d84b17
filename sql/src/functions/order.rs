//! One total order over the values of a type, for `min`/`max`, arrays, `greatest`/`least` and the rarer comparison operators.

use std::cmp::Ordering;

use super::args::mismatch;
use super::compare::float_order;
use crate::error::Result;
use crate::types::Datum;

/// Compares two non-NULL values of one type. `bpchar` blanks are not stripped here: its operators do that.
///
/// # Errors
/// `XX000` for values of different types.
pub fn order(a: &Datum, b: &Datum) -> Result<Ordering> {
    use Datum::*;
    Ok(match (a, b) {
        (Bool(a), Bool(b)) => a.cmp(b),
        (Int2(a), Int2(b)) => a.cmp(b),
        (Int4(a), Int4(b)) => a.cmp(b),
        (Int8(a), Int8(b)) => a.cmp(b),
        (Float4(a), Float4(b)) => float_order((*a).into(), (*b).into()),
        (Float8(a), Float8(b)) => float_order(*a, *b),
        (Text(a), Text(b)) => a.cmp(b),
        (Char(a), Char(b)) => a.cmp(b),
        (Bytea(a), Bytea(b)) => a.cmp(b),
        (Date(a), Date(b)) => a.cmp(b),
        (Time(a), Time(b)) => a.cmp(b),
        (Timestamp(a), Timestamp(b)) | (TimestampTz(a), TimestampTz(b)) => a.cmp(b),
        (Uuid(a), Uuid(b)) => a.cmp(b),
        (Oid(a), Oid(b)) => a.cmp(b),
        (a, b) => return Err(mismatch(&format!("comparable to {a:?}"), b)),
    })
}
