//! Integer arithmetic and bits: tiny, allocation-free bodies. Overflow is `22003`, a zero divisor `22012`.

use super::args::{Entry, division_by_zero, err, i2, i4, i8, oid, out_of_range, s};
use crate::error::SqlState;
use crate::types::Datum;

macro_rules! arithmetic {
    ($($prefix:literal: $a:ident, $b:ident -> $variant:ident($type:ty), $what:literal;)*) => {
        &[$(
            s(concat!($prefix, "pl"), |_, x| {
                <$type>::from($a(&x[0])?).checked_add(<$type>::from($b(&x[1])?)).map(Datum::$variant).ok_or_else(|| out_of_range($what))
            }),
            s(concat!($prefix, "mi"), |_, x| {
                <$type>::from($a(&x[0])?).checked_sub(<$type>::from($b(&x[1])?)).map(Datum::$variant).ok_or_else(|| out_of_range($what))
            }),
            s(concat!($prefix, "mul"), |_, x| {
                <$type>::from($a(&x[0])?).checked_mul(<$type>::from($b(&x[1])?)).map(Datum::$variant).ok_or_else(|| out_of_range($what))
            }),
            s(concat!($prefix, "div"), |_, x| {
                let (l, r) = (<$type>::from($a(&x[0])?), <$type>::from($b(&x[1])?));
                if r == 0 { return Err(division_by_zero()); }
                l.checked_div(r).map(Datum::$variant).ok_or_else(|| out_of_range($what))
            }),
        )*]
    };
}

/// `+ - * /` over every pair of integer types.
pub(super) const ARITHMETIC: &[Entry] = arithmetic! {
    "int2": i2, i2 -> Int2(i16), "smallint";
    "int4": i4, i4 -> Int4(i32), "integer";
    "int8": i8, i8 -> Int8(i64), "bigint";
    "int24": i2, i4 -> Int4(i32), "integer";
    "int42": i4, i2 -> Int4(i32), "integer";
    "int28": i2, i8 -> Int8(i64), "bigint";
    "int82": i8, i2 -> Int8(i64), "bigint";
    "int48": i4, i8 -> Int8(i64), "bigint";
    "int84": i8, i4 -> Int8(i64), "bigint";
};

macro_rules! unary {
    ($($prefix:literal: $a:ident -> $variant:ident($type:ty), $what:literal;)*) => {
        &[$(
            s(concat!($prefix, "um"), |_, x| $a(&x[0])?.checked_neg().map(Datum::$variant).ok_or_else(|| out_of_range($what))),
            s(concat!($prefix, "up"), |_, x| Ok(Datum::$variant($a(&x[0])?))),
            s(concat!($prefix, "abs"), |_, x| $a(&x[0])?.checked_abs().map(Datum::$variant).ok_or_else(|| out_of_range($what))),
            s(concat!($prefix, "mod"), |_, x| {
                let r = $a(&x[1])?;
                if r == 0 { return Err(division_by_zero()); }
                Ok(Datum::$variant($a(&x[0])?.wrapping_rem(r)))
            }),
            s(concat!($prefix, "and"), |_, x| Ok(Datum::$variant($a(&x[0])? & $a(&x[1])?))),
            s(concat!($prefix, "or"), |_, x| Ok(Datum::$variant($a(&x[0])? | $a(&x[1])?))),
            s(concat!($prefix, "xor"), |_, x| Ok(Datum::$variant($a(&x[0])? ^ $a(&x[1])?))),
            s(concat!($prefix, "not"), |_, x| Ok(Datum::$variant(!$a(&x[0])?))),
            s(concat!($prefix, "larger"), |_, x| Ok(Datum::$variant($a(&x[0])?.max($a(&x[1])?)))),
            s(concat!($prefix, "smaller"), |_, x| Ok(Datum::$variant($a(&x[0])?.min($a(&x[1])?)))),
            s(concat!($prefix, "gcd"), |_, x| gcd(i8(&x[0])?, i8(&x[1])?, <$type>::MAX as i64).map(|v| Datum::$variant(v as $type)).ok_or_else(|| out_of_range($what))),
            s(concat!($prefix, "lcm"), |_, x| {
                let (a, b) = (i8(&x[0])?, i8(&x[1])?);
                if a == 0 || b == 0 { return Ok(Datum::$variant(0)); }
                let g = gcd(a, b, i64::MAX).ok_or_else(|| out_of_range($what))?;
                (a / g).checked_mul(b).and_then(i64::checked_abs).filter(|v| *v <= <$type>::MAX as i64)
                    .map(|v| Datum::$variant(v as $type)).ok_or_else(|| out_of_range($what))
            }),
        )*]
    };
}

/// Greatest common divisor, if it fits.
fn gcd(a: i64, b: i64, max: i64) -> Option<i64> {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).ok().filter(|v| *v <= max)
}

/// Negation, absolute value, remainder, bits, gcd and lcm.
pub(super) const UNARY: &[Entry] = unary! {
    "int2": i2 -> Int2(i16), "smallint";
    "int4": i4 -> Int4(i32), "integer";
    "int8": i8 -> Int8(i64), "bigint";
};

/// Shifts (as C does them: the count is taken modulo the width), bounds, formatting.
pub(super) const OTHER: &[Entry] = &[
    s("int2shl", |_, x| Ok(Datum::Int2(i32::from(i2(&x[0])?).wrapping_shl(i4(&x[1])? as u32) as i16))),
    s("int2shr", |_, x| Ok(Datum::Int2(i32::from(i2(&x[0])?).wrapping_shr(i4(&x[1])? as u32) as i16))),
    s("int4shl", |_, x| Ok(Datum::Int4(i4(&x[0])?.wrapping_shl(i4(&x[1])? as u32)))),
    s("int4shr", |_, x| Ok(Datum::Int4(i4(&x[0])?.wrapping_shr(i4(&x[1])? as u32)))),
    s("int8shl", |_, x| Ok(Datum::Int8(i8(&x[0])?.wrapping_shl(i4(&x[1])? as u32)))),
    s("int8shr", |_, x| Ok(Datum::Int8(i8(&x[0])?.wrapping_shr(i4(&x[1])? as u32)))),
    s("int8inc", |_, x| i8(&x[0])?.checked_add(1).map(Datum::Int8).ok_or_else(|| out_of_range("bigint"))),
    s("to_hex32", |_, x| Ok(super::args::txt(format!("{:x}", i4(&x[0])?)))),
    s("to_hex64", |_, x| Ok(super::args::txt(format!("{:x}", i8(&x[0])?)))),
    s("oidlarger", |_, x| Ok(Datum::Oid(oid(&x[0])?.max(oid(&x[1])?)))),
    s("oidsmaller", |_, x| Ok(Datum::Oid(oid(&x[0])?.min(oid(&x[1])?)))),
    s("width_bucket_float8", |_, x| {
        let (v, lo, hi, n) = (super::args::f8(&x[0])?, super::args::f8(&x[1])?, super::args::f8(&x[2])?, i4(&x[3])?);
        let bad = SqlState("2201G");
        if n <= 0 {
            return err(bad, "count must be greater than zero");
        }
        if v.is_nan() || lo.is_nan() || hi.is_nan() {
            return err(bad, "operand, lower bound, and upper bound cannot be NaN");
        }
        if lo.is_infinite() || hi.is_infinite() {
            return err(bad, "lower and upper bounds must be finite");
        }
        if lo == hi {
            return err(bad, "lower bound cannot equal upper bound");
        }
        let (below, above, part) = if lo < hi { (v < lo, v >= hi, (v - lo) / (hi - lo)) } else { (v > lo, v <= hi, (lo - v) / (lo - hi)) };
        let bucket = if below {
            0
        } else if above {
            i64::from(n) + 1
        } else {
            // Rounding may push the quotient to 1 although the value lies inside.
            ((part * f64::from(n)) as i64).min(i64::from(n) - 1) + 1
        };
        i32::try_from(bucket).map(Datum::Int4).map_err(|_| out_of_range("integer"))
    }),
];
