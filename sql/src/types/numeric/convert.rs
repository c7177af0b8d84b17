//! Between `numeric` and the machine number types.

use num_bigint::BigInt;
use num_traits::ToPrimitive;

use super::{Numeric, div_round, pow10};
use crate::error::{Result, SqlError, SqlState};

impl From<i64> for Numeric {
    fn from(n: i64) -> Self {
        Numeric::Finite(BigInt::from(n), 0)
    }
}

impl From<i32> for Numeric {
    fn from(n: i32) -> Self {
        Numeric::Finite(BigInt::from(n), 0)
    }
}

impl From<i128> for Numeric {
    fn from(n: i128) -> Self {
        Numeric::Finite(BigInt::from(n), 0)
    }
}

fn special(n: &Numeric, to: &str) -> SqlError {
    let what = if n.is_nan() { "NaN" } else { "infinity" };
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, format!("cannot convert {what} to {to}"))
}

impl Numeric {
    /// From `float8`, by its 15 significant digits, as PostgreSQL does.
    pub fn from_f64(x: f64) -> Numeric {
        Self::from_float(x.is_nan(), x.is_infinite(), x > 0.0, || format!("{x:.14e}"))
    }
    /// From `float4`, by its 6 significant digits.
    pub fn from_f32(x: f32) -> Numeric {
        Self::from_float(x.is_nan(), x.is_infinite(), x > 0.0, || format!("{x:.5e}"))
    }
    fn from_float(nan: bool, infinite: bool, positive: bool, digits: impl Fn() -> String) -> Numeric {
        if nan {
            Numeric::NaN
        } else if infinite {
            if positive { Numeric::Infinity } else { Numeric::NegInfinity }
        } else {
            // `%.15g` has no trailing zeros behind the point.
            Numeric::parse(&digits()).map_or(Numeric::NaN, |n| n.trim_scale())
        }
    }
    /// Nearest `float8`; ±Infinity when out of range.
    pub fn to_f64(&self) -> f64 {
        match self {
            Numeric::NaN => f64::NAN,
            Numeric::Infinity => f64::INFINITY,
            Numeric::NegInfinity => f64::NEG_INFINITY,
            Numeric::Finite(c, s) => {
                if let (Some(n), true) = (c.to_i64(), *s <= 22)
                    && n.unsigned_abs() < 1 << 53
                {
                    // Both exact: one correctly rounded division.
                    return n as f64 / 10f64.powi(*s as i32);
                }
                format!("{c}e-{s}").parse().unwrap_or(f64::NAN)
            }
        }
    }
    /// Rounded to an integer, or `22003` (`0A000` for NaN and infinities), naming the type `to` (`bigint`).
    pub fn to_integer<T: TryFrom<i64>>(&self, to: &str) -> Result<T> {
        let Numeric::Finite(c, s) = self else { return Err(special(self, to)) };
        let rounded = if *s == 0 { c.to_i64() } else { div_round(c, &pow10(*s)).to_i64() };
        rounded
            .and_then(|n| T::try_from(n).ok())
            .ok_or_else(|| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{to} out of range")))
    }
    /// The value as `i64` if it is an integer that fits.
    pub fn to_i64_exact(&self) -> Option<i64> {
        match self.trim_scale() {
            Numeric::Finite(c, 0) => c.to_i64(),
            _ => None,
        }
    }
}
