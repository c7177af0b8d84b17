//! `numeric` operators and functions: thin bodies over [`crate::types::Numeric`], which owns the arithmetic and its scales.

use std::sync::Arc;

use super::args::{Entry, err, i4, i8, numeric, out_of_range, s};
use super::compare::six;
use crate::error::{Result, SqlState};
use crate::types::{Datum, Numeric};

/// A numeric result.
pub(super) fn num(n: Numeric) -> Datum {
    Datum::Numeric(Arc::new(n))
}

macro_rules! binary {
    ($($key:literal $method:ident;)*) => { &[$(s($key, |_, x| numeric(&x[0])?.$method(numeric(&x[1])?).map(num)),)*] };
}

/// Two operands, may fail.
pub(super) const BINARY: &[Entry] = binary! {
    "numeric_add" add; "numeric_sub" sub; "numeric_mul" mul; "numeric_div" div; "numeric_mod" rem; "numeric_div_trunc" div_trunc;
    "numeric_power" power; "numeric_lcm" lcm;
};

/// Comparison operators.
pub(super) const COMPARISON: &[Entry] = six! {
    "numeric_eq" "numeric_ne" "numeric_lt" "numeric_le" "numeric_gt" "numeric_ge": |x| numeric(&x[0])?.cmp(numeric(&x[1])?);
};

fn width_bucket(x: &[Datum]) -> Result<Datum> {
    let (v, lo, hi, n) = (numeric(&x[0])?, numeric(&x[1])?, numeric(&x[2])?, i4(&x[3])?);
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
    let ascending = match lo.cmp(hi) {
        std::cmp::Ordering::Equal => return err(bad, "lower bound cannot equal upper bound"),
        o => o.is_lt(),
    };
    let (below, above) = if ascending { (v < lo, v >= hi) } else { (v > lo, v <= hi) };
    if below {
        return Ok(Datum::Int4(0));
    }
    if above {
        return n.checked_add(1).map(Datum::Int4).ok_or_else(|| out_of_range("integer"));
    }
    let part = v.sub(lo)?.abs().mul(&Numeric::from(n))?.div_trunc(&hi.sub(lo)?.abs())?;
    Ok(Datum::Int4(part.to_integer::<i32>("integer")? + 1))
}

/// The rest.
pub(super) const OTHER: &[Entry] = &[
    s("numeric_uminus", |_, x| Ok(num(numeric(&x[0])?.neg()))),
    s("numeric_uplus", |_, x| Ok(x[0].clone())),
    s("numeric_abs", |_, x| Ok(num(numeric(&x[0])?.abs()))),
    s("numeric_ceil", |_, x| Ok(num(numeric(&x[0])?.ceil()))),
    s("numeric_floor", |_, x| Ok(num(numeric(&x[0])?.floor()))),
    s("numeric_sign", |_, x| Ok(num(numeric(&x[0])?.sign()))),
    s("numeric_sqrt", |_, x| numeric(&x[0])?.sqrt().map(num)),
    s("numeric_exp", |_, x| numeric(&x[0])?.exp().map(num)),
    s("numeric_ln", |_, x| numeric(&x[0])?.ln().map(num)),
    s("numeric_log", |_, x| Numeric::log(numeric(&x[0])?, numeric(&x[1])?).map(num)),
    s("log(numeric)", |_, x| numeric(&x[0])?.log10().map(num)),
    s("log10(numeric)", |_, x| numeric(&x[0])?.log10().map(num)),
    s("numeric_round", |_, x| Ok(num(numeric(&x[0])?.round(i64::from(i4(&x[1])?))))),
    s("round(numeric)", |_, x| Ok(num(numeric(&x[0])?.round(0)))),
    s("numeric_trunc", |_, x| Ok(num(numeric(&x[0])?.trunc(i64::from(i4(&x[1])?))))),
    s("trunc(numeric)", |_, x| Ok(num(numeric(&x[0])?.trunc(0)))),
    s("numeric_gcd", |_, x| Ok(num(numeric(&x[0])?.gcd(numeric(&x[1])?)))),
    s("numeric_fac", |_, x| Numeric::factorial(i8(&x[0])?).map(num)),
    s("numeric_inc", |_, x| numeric(&x[0])?.add(&Numeric::from(1)).map(num)),
    s("numeric_larger", |_, x| Ok(if numeric(&x[0])? > numeric(&x[1])? { x[0].clone() } else { x[1].clone() })),
    s("numeric_smaller", |_, x| Ok(if numeric(&x[0])? < numeric(&x[1])? { x[0].clone() } else { x[1].clone() })),
    s("numeric_scale", |_, x| Ok(numeric(&x[0])?.scale().map_or(Datum::Null, |v| Datum::Int4(v as i32)))),
    s("numeric_min_scale", |_, x| Ok(numeric(&x[0])?.min_scale().map_or(Datum::Null, |v| Datum::Int4(v as i32)))),
    s("numeric_trim_scale", |_, x| Ok(num(numeric(&x[0])?.trim_scale()))),
    s("numeric_cmp", |_, x| Ok(super::compare::three_way(numeric(&x[0])?.cmp(numeric(&x[1])?)))),
    s("width_bucket_numeric", |_, x| width_bucket(x)),
];
