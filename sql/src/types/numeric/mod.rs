//! `numeric`: PostgreSQL's arbitrary-precision decimal.
//!
//! A finite value is `coefficient × 10^-scale`; the scale is PostgreSQL's *display scale*: `1.0` and `1.00` are equal (and
//! hash alike) but print differently. Beside the finite values there are `NaN` (equal to itself, above everything) and ±Infinity.
//! The rules that choose a result's scale (division, roots, logarithms) are PostgreSQL's own and are stated in base-10000
//! digits there; [`Numeric::nbase_head`] gives what they need.

mod arith;
mod binary;
mod convert;
mod math;
mod text;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use num_bigint::{BigInt, BigUint, Sign};
use num_integer::Integer;
use num_traits::{ToPrimitive, Zero};

use crate::error::{Result, SqlError, SqlState};

/// `numeric` of PostgreSQL's full precision, with display scale, NaN and ±Infinity.
#[derive(Clone, Debug)]
pub enum Numeric {
    /// `coefficient × 10^-scale`
    Finite(BigInt, u32),
    /// Not a number; equals itself and sorts above everything.
    NaN,
    /// +∞
    Infinity,
    /// −∞
    NegInfinity,
}

/// Digits before the decimal point that the format can hold.
pub const MAX_INTEGER_DIGITS: i64 = 131_072;
/// Largest display scale the format can hold.
pub const MAX_SCALE: u32 = 16_383;
/// Largest display scale a computed (not exact) result gets.
pub(crate) const MAX_DISPLAY_SCALE: i64 = 1000;
/// Significant digits a computed result has at least.
pub(crate) const MIN_SIG_DIGITS: i64 = 16;

/// `10^n`
pub(crate) fn pow10(n: u32) -> BigInt {
    if n < 19 { BigInt::from(10u64.pow(n)) } else { BigInt::from(10u32).pow(n) }
}

/// Number of decimal digits of a magnitude; 0 for zero.
pub(crate) fn digits(n: &BigUint) -> u32 {
    if let Some(small) = n.to_u128() {
        return small.checked_ilog10().map_or(0, |d| d + 1);
    }
    // A first guess from the bit length is at most one too low.
    let guess = ((n.bits() - 1) as f64 * std::f64::consts::LOG10_2) as u32;
    let mut d = guess.max(1);
    let mut bound = BigUint::from(10u32).pow(d);
    while *n >= bound {
        d += 1;
        bound *= 10u32;
    }
    d
}

/// `a / b`, rounded half away from zero.
pub(crate) fn div_round(a: &BigInt, b: &BigInt) -> BigInt {
    let (q, r) = a.div_rem(b);
    if r.is_zero() || r.magnitude() * 2u32 < *b.magnitude() {
        q
    } else if (a.sign() == Sign::Minus) == (b.sign() == Sign::Minus) {
        q + 1
    } else {
        q - 1
    }
}

pub(crate) fn overflow() -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
}

impl Numeric {
    /// Zero, with scale 0.
    pub fn zero() -> Self {
        Numeric::Finite(BigInt::zero(), 0)
    }
    /// `coefficient × 10^-scale`, or `22003` if the format cannot hold it.
    pub fn new(coefficient: BigInt, scale: u32) -> Result<Self> {
        if scale > MAX_SCALE {
            return Err(overflow());
        }
        // 3.33 bits a digit: the exact count is needed only near the limit.
        if coefficient.bits() > 400_000 && i64::from(digits(coefficient.magnitude())) - i64::from(scale) > MAX_INTEGER_DIGITS {
            return Err(overflow());
        }
        Ok(Numeric::Finite(coefficient, scale))
    }
    /// Whether it is NaN.
    pub fn is_nan(&self) -> bool {
        matches!(self, Numeric::NaN)
    }
    /// Whether it is finite.
    pub fn is_finite(&self) -> bool {
        matches!(self, Numeric::Finite(..))
    }
    /// Whether it is ±Infinity.
    pub fn is_infinite(&self) -> bool {
        matches!(self, Numeric::Infinity | Numeric::NegInfinity)
    }
    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        matches!(self, Numeric::Finite(c, _) if c.is_zero())
    }
    /// Whether it is a finite integer.
    pub fn is_integer(&self) -> bool {
        match self {
            Numeric::Finite(_, 0) => true,
            Numeric::Finite(c, s) => (c % pow10(*s)).is_zero(),
            _ => false,
        }
    }
    /// −1, 0 or 1; 0 for NaN.
    pub fn signum(&self) -> i32 {
        match self {
            Numeric::Finite(c, _) => match c.sign() {
                Sign::Minus => -1,
                Sign::NoSign => 0,
                Sign::Plus => 1,
            },
            Numeric::NaN => 0,
            Numeric::Infinity => 1,
            Numeric::NegInfinity => -1,
        }
    }
    /// `scale(numeric)`: the display scale, none for the special values.
    pub fn scale(&self) -> Option<u32> {
        match self {
            Numeric::Finite(_, s) => Some(*s),
            _ => None,
        }
    }
    /// `min_scale(numeric)`
    pub fn min_scale(&self) -> Option<u32> {
        match self {
            Numeric::Finite(c, s) => Some(strip_zeros(c, *s).1),
            _ => None,
        }
    }
    /// `trim_scale(numeric)`
    pub fn trim_scale(&self) -> Numeric {
        match self {
            Numeric::Finite(c, s) => {
                let (c, s) = strip_zeros(c, *s);
                Numeric::Finite(c, s)
            }
            other => other.clone(),
        }
    }
    /// Approximate bytes held.
    pub fn size(&self) -> usize {
        match self {
            Numeric::Finite(c, _) => 48 + (c.bits() / 8) as usize,
            _ => 48,
        }
    }
    /// Position of the leading decimal digit: the value is in `[10^p, 10^(p+1))`. None for zero and the special values.
    pub(crate) fn leading_position(&self) -> Option<i64> {
        match self {
            Numeric::Finite(c, s) if !c.is_zero() => Some(i64::from(digits(c.magnitude())) - 1 - i64::from(*s)),
            _ => None,
        }
    }
    /// PostgreSQL's `weight` and up to `count` leading base-10000 digits as one number with the power of ten that goes with it.
    /// Zero gives `(0, 0, 0)`.
    pub(crate) fn nbase_head(&self, count: u32) -> (i64, u64, i64) {
        let (Some(p), Numeric::Finite(c, s)) = (self.leading_position(), self) else { return (0, 0, 0) };
        let weight = p.div_euclid(4);
        // The lowest decimal place that still belongs to the wanted digits, but no lower than the value's own last group.
        let last_group = -(i64::from(u32::div_ceil(*s, 4)) * 4);
        let mut low = (weight - i64::from(count) + 1) * 4;
        low = low.max(last_group.min(weight * 4));
        let shift = low + i64::from(*s);
        let head =
            if shift >= 0 { c.magnitude() / pow10(shift as u32).magnitude() } else { c.magnitude() * pow10(-shift as u32).magnitude() };
        (weight, head.to_u64().unwrap_or(u64::MAX), low)
    }
}

/// Removes trailing zeros behind the decimal point.
fn strip_zeros(c: &BigInt, mut scale: u32) -> (BigInt, u32) {
    let mut c = c.clone();
    if c.is_zero() {
        return (c, 0);
    }
    for step in [64u32, 16, 4, 1] {
        let unit = pow10(step);
        while scale >= step {
            let (q, r) = c.div_rem(&unit);
            if !r.is_zero() {
                break;
            }
            c = q;
            scale -= step;
        }
    }
    (c, scale)
}

/// The value as coefficient and scale without any trailing zero at all (the scale may be negative): one form per value.
pub(crate) fn canonical(c: &BigInt, scale: u32) -> (BigInt, i64) {
    let (mut c, s) = strip_zeros(c, scale);
    let mut scale = i64::from(s);
    if s == 0 && !c.is_zero() {
        for step in [256u32, 64, 16, 4, 1] {
            let unit = pow10(step);
            loop {
                let (q, r) = c.div_rem(&unit);
                if !r.is_zero() {
                    break;
                }
                c = q;
                scale -= i64::from(step);
            }
        }
    }
    (c, scale)
}

impl Ord for Numeric {
    fn cmp(&self, other: &Self) -> Ordering {
        fn rank(n: &Numeric) -> u8 {
            match n {
                Numeric::NegInfinity => 0,
                Numeric::Finite(..) => 1,
                Numeric::Infinity => 2,
                Numeric::NaN => 3,
            }
        }
        let (Numeric::Finite(a, sa), Numeric::Finite(b, sb)) = (self, other) else { return rank(self).cmp(&rank(other)) };
        match sa.cmp(sb) {
            Ordering::Equal => a.cmp(b),
            _ if a.sign() != b.sign() => a.sign().cmp(&b.sign()),
            Ordering::Less => (a * pow10(sb - sa)).cmp(b),
            Ordering::Greater => a.cmp(&(b * pow10(sa - sb))),
        }
    }
}

impl PartialOrd for Numeric {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Numeric {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Numeric {}

impl Hash for Numeric {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Numeric::Finite(c, s) => canonical(c, *s).hash(state),
            Numeric::NaN => 1u8.hash(state),
            Numeric::Infinity => 2u8.hash(state),
            Numeric::NegInfinity => 3u8.hash(state),
        }
    }
}
