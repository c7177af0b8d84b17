//! Exact arithmetic of `numeric`, with PostgreSQL's result scales.

use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, Signed, Zero};

use super::{MAX_DISPLAY_SCALE, MAX_SCALE, MIN_SIG_DIGITS, Numeric, div_round, pow10};
use crate::error::{Result, SqlError, SqlState};

pub(crate) fn division_by_zero() -> SqlError {
    SqlError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

/// Both coefficients at the larger scale.
fn align<'a>(a: &'a BigInt, sa: u32, b: &'a BigInt, sb: u32) -> (BigInt, BigInt, u32) {
    match sa.cmp(&sb) {
        std::cmp::Ordering::Equal => (a.clone(), b.clone(), sa),
        std::cmp::Ordering::Less => (a * pow10(sb - sa), b.clone(), sb),
        std::cmp::Ordering::Greater => (a.clone(), b * pow10(sa - sb), sa),
    }
}

impl Numeric {
    /// `a + b`
    pub fn add(&self, other: &Numeric) -> Result<Numeric> {
        use Numeric::*;
        match (self, other) {
            (Finite(a, sa), Finite(b, sb)) if sa == sb => Numeric::new(a + b, *sa),
            (Finite(a, sa), Finite(b, sb)) => {
                let (a, b, s) = align(a, *sa, b, *sb);
                Numeric::new(a + b, s)
            }
            (NaN, _) | (_, NaN) | (Infinity, NegInfinity) | (NegInfinity, Infinity) => Ok(NaN),
            (Infinity, _) | (_, Infinity) => Ok(Infinity),
            _ => Ok(NegInfinity),
        }
    }
    /// `a - b`
    pub fn sub(&self, other: &Numeric) -> Result<Numeric> {
        self.add(&other.neg())
    }
    /// `-a`
    pub fn neg(&self) -> Numeric {
        match self {
            Numeric::Finite(c, s) => Numeric::Finite(-c, *s),
            Numeric::NaN => Numeric::NaN,
            Numeric::Infinity => Numeric::NegInfinity,
            Numeric::NegInfinity => Numeric::Infinity,
        }
    }
    /// `abs(a)`
    pub fn abs(&self) -> Numeric {
        if self.signum() < 0 { self.neg() } else { self.clone() }
    }
    /// `a * b`
    pub fn mul(&self, other: &Numeric) -> Result<Numeric> {
        use Numeric::*;
        match (self, other) {
            (Finite(a, sa), Finite(b, sb)) => {
                let scale = sa + sb;
                if scale > MAX_SCALE {
                    return Numeric::new(div_round(&(a * b), &pow10(scale - MAX_SCALE)), MAX_SCALE);
                }
                Numeric::new(a * b, scale)
            }
            (NaN, _) | (_, NaN) => Ok(NaN),
            _ => Ok(match self.signum() * other.signum() {
                0 => NaN,
                1 => Infinity,
                _ => NegInfinity,
            }),
        }
    }
    /// `a / b`: at least 16 significant digits, by PostgreSQL's `select_div_scale`.
    pub fn div(&self, other: &Numeric) -> Result<Numeric> {
        use Numeric::*;
        match (self, other) {
            (NaN, _) | (_, NaN) => Ok(NaN),
            (Finite(..), Finite(..)) => {
                if other.is_zero() {
                    return Err(division_by_zero());
                }
                let scale = self.div_scale(other);
                self.div_at(other, scale)
            }
            (Finite(..), _) => Ok(Numeric::zero()),
            (_, Finite(..)) => match other.signum() {
                0 => Err(division_by_zero()),
                s if s == self.signum() => Ok(Infinity),
                _ => Ok(NegInfinity),
            },
            _ => Ok(NaN),
        }
    }
    /// The scale `a / b` gets.
    pub fn div_scale(&self, other: &Numeric) -> u32 {
        let (w1, d1, _) = self.nbase_head(1);
        let (w2, d2, _) = other.nbase_head(1);
        let mut weight = w1 - w2;
        if d1 <= d2 {
            weight -= 1;
        }
        let scale = (MIN_SIG_DIGITS - weight * 4).max(i64::from(self.scale().unwrap_or(0))).max(i64::from(other.scale().unwrap_or(0)));
        scale.clamp(0, MAX_DISPLAY_SCALE) as u32
    }
    /// `a / b` rounded to `scale`; both finite, `b` not zero (else NaN, `22012`).
    pub fn div_at(&self, other: &Numeric, scale: u32) -> Result<Numeric> {
        let (Numeric::Finite(a, sa), Numeric::Finite(b, sb)) = (self, other) else { return Ok(Numeric::NaN) };
        if b.is_zero() {
            return Err(division_by_zero());
        }
        let shift = i64::from(scale) + i64::from(*sb) - i64::from(*sa);
        let q = if shift >= 0 { div_round(&(a * pow10(shift as u32)), b) } else { div_round(a, &(b * pow10(-shift as u32))) };
        Numeric::new(q, scale)
    }
    /// `div(a, b)`: the quotient cut to an integer.
    pub fn div_trunc(&self, other: &Numeric) -> Result<Numeric> {
        match (self, other) {
            (Numeric::Finite(a, sa), Numeric::Finite(b, sb)) => {
                if b.is_zero() {
                    return Err(division_by_zero());
                }
                let (a, b, _) = align(a, *sa, b, *sb);
                Numeric::new(a / b, 0)
            }
            _ => self.div(other),
        }
    }
    /// `a % b`, with the sign of `a`.
    pub fn rem(&self, other: &Numeric) -> Result<Numeric> {
        use Numeric::*;
        match (self, other) {
            (NaN, _) | (_, NaN) => Ok(NaN),
            (Finite(a, sa), Finite(b, sb)) => {
                if b.is_zero() {
                    return Err(division_by_zero());
                }
                let (a, b, s) = align(a, *sa, b, *sb);
                Ok(Finite(a % b, s))
            }
            (_, Finite(..)) if other.is_zero() => Err(division_by_zero()),
            (Finite(..), _) => Ok(self.clone()),
            _ => Ok(NaN),
        }
    }
    /// `floor(a)`
    pub fn floor(&self) -> Numeric {
        match self {
            Numeric::Finite(c, s) => Numeric::Finite(c.div_floor(&pow10(*s)), 0),
            other => other.clone(),
        }
    }
    /// `ceil(a)`
    pub fn ceil(&self) -> Numeric {
        self.neg().floor().neg()
    }
    /// `sign(a)`
    pub fn sign(&self) -> Numeric {
        if self.is_nan() { Numeric::NaN } else { Numeric::from(self.signum()) }
    }
    /// `gcd(a, b)`
    pub fn gcd(&self, other: &Numeric) -> Numeric {
        match (self, other) {
            (Numeric::Finite(a, sa), Numeric::Finite(b, sb)) => {
                let (a, b, s) = align(a, *sa, b, *sb);
                Numeric::Finite(a.gcd(&b), s)
            }
            _ => Numeric::NaN,
        }
    }
    /// `lcm(a, b)`
    pub fn lcm(&self, other: &Numeric) -> Result<Numeric> {
        match (self, other) {
            (Numeric::Finite(a, sa), Numeric::Finite(b, sb)) => {
                let (a, b, s) = align(a, *sa, b, *sb);
                if a.is_zero() || b.is_zero() {
                    return Ok(Numeric::Finite(BigInt::zero(), s));
                }
                Numeric::new((a.clone() / a.gcd(&b) * b).abs(), s)
            }
            _ => Ok(Numeric::NaN),
        }
    }
    /// `factorial(n)`; `22003` for a negative or too large argument.
    pub fn factorial(n: i64) -> Result<Numeric> {
        if n < 0 {
            return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "factorial of a negative number is undefined"));
        }
        if n > 32_177 {
            return Err(super::overflow());
        }
        let product = (2..=n as u32).fold(BigInt::one(), |p, k| p * k);
        Numeric::new(product, 0)
    }
}
