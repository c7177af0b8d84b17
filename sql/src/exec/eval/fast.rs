//! Integer and float comparisons and arithmetic without a call: by the OID of PostgreSQL's function, on the variants that it takes.

use std::cmp::Ordering;

use crate::error::{Result, SqlError, SqlState};
use crate::types::Datum;

/// What a fast function does.
#[derive(Clone, Copy)]
pub enum Operation {
    /// Compares; the flags say which orderings are true: less, equal, greater.
    Compare(bool, bool, bool),
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
}

/// The operation behind a `pg_proc` OID (int2/4/8 and mixed, float8), if it is one of these.
pub fn operation(oid: u32) -> Option<Operation> {
    Some(match oid {
        63 | 65 | 467 | 158 | 159 | 474 | 852 | 1850 | 1856 | 293 => Operation::Compare(false, true, false),
        145 | 144 | 468 | 164 | 165 | 475 | 853 | 1851 | 1857 | 294 => Operation::Compare(true, false, true),
        64 | 66 | 469 | 160 | 161 | 476 | 854 | 1852 | 1858 | 295 => Operation::Compare(true, false, false),
        148 | 149 | 471 | 166 | 167 | 478 | 856 | 1854 | 1860 | 296 => Operation::Compare(true, true, false),
        146 | 147 | 470 | 162 | 163 | 477 | 855 | 1853 | 1859 | 297 => Operation::Compare(false, false, true),
        151 | 150 | 472 | 168 | 169 | 479 | 857 | 1855 | 1861 | 298 => Operation::Compare(false, true, true),
        177 | 463 | 218 => Operation::Add,
        181 | 464 | 219 => Operation::Subtract,
        141 | 465 | 216 => Operation::Multiply,
        _ => return None,
    })
}

/// The result, or `None` if the operands are not of the fast variants (or NULL, or a float edge case): then the function itself is called.
#[inline]
pub fn apply(operation: Operation, left: &Datum, right: &Datum) -> Option<Result<Datum>> {
    if let (Some(a), Some(b)) = (integer(left), integer(right)) {
        return match operation {
            Operation::Compare(less, equal, greater) => Some(Ok(Datum::Bool(pick(a.cmp(&b), less, equal, greater)))),
            _ => arithmetic(operation, left, right),
        };
    }
    if let (Datum::Float8(a), Datum::Float8(b)) = (left, right) {
        return match operation {
            // NaN sorts above everything in PostgreSQL: left to the function.
            Operation::Compare(less, equal, greater) => a.partial_cmp(b).map(|o| Ok(Datum::Bool(pick(o, less, equal, greater)))),
            _ => {
                let result = match operation {
                    Operation::Add => a + b,
                    Operation::Subtract => a - b,
                    _ => a * b,
                };
                // Overflow and underflow have their own errors.
                (result.is_finite() && result != 0.0).then_some(Ok(Datum::Float8(result)))
            }
        };
    }
    None
}

fn integer(datum: &Datum) -> Option<i64> {
    match datum {
        Datum::Int4(v) => Some(i64::from(*v)),
        Datum::Int8(v) => Some(*v),
        Datum::Int2(v) => Some(i64::from(*v)),
        _ => None,
    }
}

fn pick(ordering: Ordering, less: bool, equal: bool, greater: bool) -> bool {
    match ordering {
        Ordering::Less => less,
        Ordering::Equal => equal,
        Ordering::Greater => greater,
    }
}

fn arithmetic(operation: Operation, left: &Datum, right: &Datum) -> Option<Result<Datum>> {
    match (left, right) {
        (Datum::Int4(a), Datum::Int4(b)) => {
            let result = match operation {
                Operation::Add => a.checked_add(*b),
                Operation::Subtract => a.checked_sub(*b),
                _ => a.checked_mul(*b),
            };
            Some(result.map(Datum::Int4).ok_or_else(|| out_of_range("integer")))
        }
        (Datum::Int8(a), Datum::Int8(b)) => {
            let result = match operation {
                Operation::Add => a.checked_add(*b),
                Operation::Subtract => a.checked_sub(*b),
                _ => a.checked_mul(*b),
            };
            Some(result.map(Datum::Int8).ok_or_else(|| out_of_range("bigint")))
        }
        _ => None,
    }
}

fn out_of_range(name: &str) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{name} out of range"))
}
