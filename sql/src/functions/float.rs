//! Floating point: arithmetic with PostgreSQL's overflow and underflow errors, and the mathematical functions.

use super::args::{Entry, division_by_zero, err, f4, f8, s};
use crate::error::{Result, SqlState};
use crate::types::Datum;

#[cold]
fn overflow<T>() -> Result<T> {
    err(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

#[cold]
fn underflow<T>() -> Result<T> {
    err(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow")
}

#[cold]
fn out_of_domain<T>() -> Result<T> {
    err(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "input is out of range")
}

macro_rules! arithmetic {
    ($($prefix:literal: $a:ident, $b:ident -> $variant:ident($type:ty);)*) => {
        &[$(
            s(concat!($prefix, "pl"), |_, x| {
                let (l, r) = (<$type>::from($a(&x[0])?), <$type>::from($b(&x[1])?));
                let v = l + r;
                if v.is_infinite() && l.is_finite() && r.is_finite() { return overflow(); }
                Ok(Datum::$variant(v))
            }),
            s(concat!($prefix, "mi"), |_, x| {
                let (l, r) = (<$type>::from($a(&x[0])?), <$type>::from($b(&x[1])?));
                let v = l - r;
                if v.is_infinite() && l.is_finite() && r.is_finite() { return overflow(); }
                Ok(Datum::$variant(v))
            }),
            s(concat!($prefix, "mul"), |_, x| {
                let (l, r) = (<$type>::from($a(&x[0])?), <$type>::from($b(&x[1])?));
                let v = l * r;
                if v.is_infinite() && l.is_finite() && r.is_finite() { return overflow(); }
                if v == 0.0 && l != 0.0 && r != 0.0 { return underflow(); }
                Ok(Datum::$variant(v))
            }),
            s(concat!($prefix, "div"), |_, x| {
                let (l, r) = (<$type>::from($a(&x[0])?), <$type>::from($b(&x[1])?));
                if r == 0.0 && !l.is_nan() { return Err(division_by_zero()); }
                let v = l / r;
                if v.is_infinite() && l.is_finite() { return overflow(); }
                if v == 0.0 && l != 0.0 && r.is_finite() { return underflow(); }
                Ok(Datum::$variant(v))
            }),
        )*]
    };
}

/// `+ - * /` over both float types and their mixtures.
pub(super) const ARITHMETIC: &[Entry] = arithmetic! {
    "float4": f4, f4 -> Float4(f32);
    "float8": f8, f8 -> Float8(f64);
    "float48": f4, f8 -> Float8(f64);
    "float84": f8, f4 -> Float8(f64);
};

/// A function of one `float8` that may leave the finite range.
fn checked(x: f64, v: f64) -> Result<Datum> {
    if v.is_infinite() && x.is_finite() { overflow() } else { Ok(Datum::Float8(v)) }
}

/// A trigonometric function that has no value at infinity.
fn finite_input(x: f64, f: fn(f64) -> f64) -> Result<Datum> {
    if x.is_infinite() { out_of_domain() } else { checked(x, f(x)) }
}

/// An inverse function with domain [-1, 1].
fn unit_input(x: f64, f: fn(f64) -> f64) -> Result<Datum> {
    if (-1.0..=1.0).contains(&x) || x.is_nan() { Ok(Datum::Float8(f(x))) } else { out_of_domain() }
}

/// Sine of degrees, exact at multiples of 30 as PostgreSQL's is.
fn sind(x: f64) -> f64 {
    let x = x % 360.0;
    let (x, sign) = if x < 0.0 { (-x, -1.0) } else { (x, 1.0) };
    let (x, sign) = if x > 180.0 { (360.0 - x, -sign) } else { (x, sign) };
    let x = if x > 90.0 { 180.0 - x } else { x };
    sign * sind_q1(x)
}

fn cosd(x: f64) -> f64 {
    let x = (x % 360.0).abs();
    let x = if x > 180.0 { 360.0 - x } else { x };
    if x > 90.0 { -cosd_q1(180.0 - x) } else { cosd_q1(x) }
}

fn sind_0_to_30(x: f64) -> f64 {
    (x.to_radians().sin() / 30f64.to_radians().sin()) / 2.0
}

fn cosd_0_to_60(x: f64) -> f64 {
    1.0 - ((1.0 - x.to_radians().cos()) / (1.0 - 60f64.to_radians().cos())) / 2.0
}

fn sind_q1(x: f64) -> f64 {
    if x <= 30.0 { sind_0_to_30(x) } else { cosd_0_to_60(90.0 - x) }
}

fn cosd_q1(x: f64) -> f64 {
    if x <= 60.0 { cosd_0_to_60(x) } else { sind_0_to_30(90.0 - x) }
}

/// Tangent of degrees.
fn tand(x: f64) -> f64 {
    let mut sign = 1.0;
    let mut x = x % 360.0;
    if x < 0.0 {
        x = -x;
        sign = -sign;
    }
    if x > 180.0 {
        x = 360.0 - x;
        sign = -sign;
    }
    if x > 90.0 {
        x = 180.0 - x;
        sign = -sign;
    }
    let v = sign * ((sind_q1(x) / cosd_q1(x)) / (sind_q1(45.0) / cosd_q1(45.0)));
    if v == 0.0 { 0.0 } else { v }
}

fn asind(x: f64) -> f64 {
    let q1 = |x: f64| {
        if x <= 0.5 { (x.asin() / 0.5f64.asin()) * 30.0 } else { 90.0 - (x.acos() / 0.5f64.acos()) * 60.0 }
    };
    if x >= 0.0 { q1(x) } else { -q1(-x) }
}

fn acosd(x: f64) -> f64 {
    let q1 = |x: f64| {
        if x <= 0.5 { 90.0 - (x.asin() / 0.5f64.asin()) * 30.0 } else { (x.acos() / 0.5f64.acos()) * 60.0 }
    };
    if x >= 0.0 { q1(x) } else { 90.0 + asind(-x) }
}

/// PostgreSQL's `dpow`, with the SQL standard's error cases.
pub(super) fn power(x: f64, y: f64) -> Result<Datum> {
    if x.is_nan() {
        return Ok(Datum::Float8(if y == 0.0 { 1.0 } else { f64::NAN }));
    }
    if y.is_nan() {
        return Ok(Datum::Float8(if x == 1.0 { 1.0 } else { f64::NAN }));
    }
    if x == 0.0 && y < 0.0 {
        return err(SqlState::INVALID_ARGUMENT_FOR_POWER, "zero raised to a negative power is undefined");
    }
    if x < 0.0 && y.is_finite() && y.floor() != y {
        return err(SqlState::INVALID_ARGUMENT_FOR_POWER, "a negative number raised to a non-integer power yields a complex result");
    }
    let v = x.powf(y);
    if v.is_infinite() && x.is_finite() && y.is_finite() {
        return overflow();
    }
    if v == 0.0 && x != 0.0 && x.is_finite() && y.is_finite() {
        return underflow();
    }
    Ok(Datum::Float8(v))
}

fn logarithm(x: f64, f: fn(f64) -> f64) -> Result<Datum> {
    if x == 0.0 {
        return err(SqlState::INVALID_ARGUMENT_FOR_LOG, "cannot take logarithm of zero");
    }
    if x < 0.0 {
        return err(SqlState::INVALID_ARGUMENT_FOR_LOG, "cannot take logarithm of a negative number");
    }
    Ok(Datum::Float8(f(x)))
}

/// Roots, powers, rounding, trigonometry, randomness.
pub(super) const MATH: &[Entry] = &[
    s("float4um", |_, x| Ok(Datum::Float4(-f4(&x[0])?))),
    s("float8um", |_, x| Ok(Datum::Float8(-f8(&x[0])?))),
    s("float4up", |_, x| Ok(Datum::Float4(f4(&x[0])?))),
    s("float8up", |_, x| Ok(Datum::Float8(f8(&x[0])?))),
    s("float4abs", |_, x| Ok(Datum::Float4(f4(&x[0])?.abs()))),
    s("float8abs", |_, x| Ok(Datum::Float8(f8(&x[0])?.abs()))),
    s("dround", |_, x| Ok(Datum::Float8(f8(&x[0])?.round_ties_even()))),
    s("dceil", |_, x| Ok(Datum::Float8(f8(&x[0])?.ceil()))),
    s("dfloor", |_, x| Ok(Datum::Float8(f8(&x[0])?.floor()))),
    s("dtrunc", |_, x| Ok(Datum::Float8(f8(&x[0])?.trunc()))),
    s("dsign", |_, x| {
        let v = f8(&x[0])?;
        Ok(Datum::Float8(if v > 0.0 {
            1.0
        } else if v < 0.0 {
            -1.0
        } else {
            0.0
        }))
    }),
    s("dsqrt", |_, x| {
        let v = f8(&x[0])?;
        if v < 0.0 {
            return err(SqlState::INVALID_ARGUMENT_FOR_POWER, "cannot take square root of a negative number");
        }
        Ok(Datum::Float8(v.sqrt()))
    }),
    s("dcbrt", |_, x| Ok(Datum::Float8(f8(&x[0])?.cbrt()))),
    s("dpow", |_, x| power(f8(&x[0])?, f8(&x[1])?)),
    s("dexp", |_, x| {
        let v = f8(&x[0])?;
        let r = v.exp();
        if r == 0.0 && v.is_finite() {
            return underflow();
        }
        checked(v, r)
    }),
    s("dlog1", |_, x| logarithm(f8(&x[0])?, f64::ln)),
    s("dlog10", |_, x| logarithm(f8(&x[0])?, f64::log10)),
    s("dpi", |_, _| Ok(Datum::Float8(std::f64::consts::PI))),
    s("degrees", |_, x| checked(f8(&x[0])?, f8(&x[0])? / (std::f64::consts::PI / 180.0))),
    s("radians", |_, x| Ok(Datum::Float8(f8(&x[0])? * (std::f64::consts::PI / 180.0)))),
    s("dsin", |_, x| finite_input(f8(&x[0])?, f64::sin)),
    s("dcos", |_, x| finite_input(f8(&x[0])?, f64::cos)),
    s("dtan", |_, x| finite_input(f8(&x[0])?, f64::tan)),
    s("dcot", |_, x| {
        let v = f8(&x[0])?;
        if v.is_infinite() {
            return out_of_domain();
        }
        Ok(Datum::Float8(1.0 / v.tan()))
    }),
    s("dasin", |_, x| unit_input(f8(&x[0])?, f64::asin)),
    s("dacos", |_, x| unit_input(f8(&x[0])?, f64::acos)),
    s("datan", |_, x| Ok(Datum::Float8(f8(&x[0])?.atan()))),
    s("datan2", |_, x| Ok(Datum::Float8(f8(&x[0])?.atan2(f8(&x[1])?)))),
    s("dsind", |_, x| finite_input(f8(&x[0])?, sind)),
    s("dcosd", |_, x| finite_input(f8(&x[0])?, cosd)),
    s("dtand", |_, x| {
        let v = f8(&x[0])?;
        if v.is_infinite() { out_of_domain() } else { Ok(Datum::Float8(tand(v))) }
    }),
    s("dcotd", |_, x| {
        let v = f8(&x[0])?;
        if v.is_infinite() { out_of_domain() } else { Ok(Datum::Float8(1.0 / tand(v))) }
    }),
    s("dasind", |_, x| unit_input(f8(&x[0])?, asind)),
    s("dacosd", |_, x| unit_input(f8(&x[0])?, acosd)),
    s("datand", |_, x| Ok(Datum::Float8((f8(&x[0])?.atan() / 1f64.atan()) * 45.0))),
    s("datan2d", |_, x| Ok(Datum::Float8((f8(&x[0])?.atan2(f8(&x[1])?) / 1f64.atan()) * 45.0))),
    s("dsinh", |_, x| Ok(Datum::Float8(f8(&x[0])?.sinh()))),
    s("dcosh", |_, x| Ok(Datum::Float8(f8(&x[0])?.cosh()))),
    s("dtanh", |_, x| Ok(Datum::Float8(f8(&x[0])?.tanh()))),
    s("dasinh", |_, x| Ok(Datum::Float8(f8(&x[0])?.asinh()))),
    s("dacosh", |_, x| {
        let v = f8(&x[0])?;
        if v < 1.0 { out_of_domain() } else { Ok(Datum::Float8(v.acosh())) }
    }),
    s("datanh", |_, x| unit_input(f8(&x[0])?, f64::atanh)),
    s("drandom", |ctx, _| Ok(Datum::Float8(rand::Rng::random::<f64>(ctx.rng)))),
    s("float4larger", |_, x| Ok(Datum::Float4(f4(&x[0])?.max(f4(&x[1])?)))),
    s("float8larger", |_, x| Ok(Datum::Float8(f8(&x[0])?.max(f8(&x[1])?)))),
];
