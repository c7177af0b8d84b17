//! Text form and modifiers of `numeric`.

use std::fmt;
use std::str::FromStr;

use num_bigint::BigInt;
use num_traits::Zero;

use super::{MAX_INTEGER_DIGITS, MAX_SCALE, Numeric, div_round, overflow, pow10};
use crate::error::{Result, SqlError, SqlState};
use crate::types::data_type::numeric_typmod;

fn bad(text: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type numeric: \"{text}\""))
}

impl Numeric {
    /// Reads PostgreSQL's text form: decimal digits with point and exponent, `NaN`, `±Infinity`, `±inf`.
    pub fn parse(text: &str) -> Result<Numeric> {
        let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
        let (negative, unsigned) = match trimmed.as_bytes().first() {
            Some(b'-') => (true, &trimmed[1..]),
            Some(b'+') => (false, &trimmed[1..]),
            _ => (false, trimmed),
        };
        if unsigned.eq_ignore_ascii_case("infinity") || unsigned.eq_ignore_ascii_case("inf") {
            return Ok(if negative { Numeric::NegInfinity } else { Numeric::Infinity });
        }
        if trimmed.eq_ignore_ascii_case("nan") {
            return Ok(Numeric::NaN);
        }
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
            None => (unsigned, None),
        };
        let exponent = match exponent {
            None => 0i64,
            Some(e) => {
                let digits = e.strip_prefix(['+', '-']).unwrap_or(e);
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                    return Err(bad(text));
                }
                let n: i64 = e.parse().map_err(|_| overflow())?;
                if n.abs() >= i64::from(i32::MAX / 2) {
                    return Err(overflow());
                }
                n
            }
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(bad(text));
        }
        let mut coefficient = parse_digits(whole, fraction);
        if negative {
            coefficient = -coefficient;
        }
        let scale = fraction.len() as i64 - exponent;
        if scale > i64::from(MAX_SCALE) {
            return Err(overflow());
        }
        if scale >= 0 {
            return Numeric::new(coefficient, scale as u32);
        }
        if coefficient.is_zero() {
            return Ok(Numeric::zero());
        }
        if -scale > MAX_INTEGER_DIGITS {
            return Err(overflow());
        }
        Numeric::new(coefficient * pow10(-scale as u32), 0)
    }

    /// Applies `numeric(p, s)`: rounds to the scale, refuses what does not fit (`22003`).
    pub fn apply_typmod(self, typmod: i32) -> Result<Numeric> {
        if typmod < 4 {
            return Ok(self);
        }
        let (precision, scale) = numeric_typmod(typmod);
        let field_overflow = |detail: String| SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").detail(detail);
        match &self {
            Numeric::NaN => return Ok(self),
            Numeric::Infinity | Numeric::NegInfinity => {
                return Err(field_overflow(format!("A field with precision {precision}, scale {scale} cannot hold an infinite value.")));
            }
            Numeric::Finite(..) => {}
        }
        let rounded = self.round(i64::from(scale));
        let integer_digits = i64::from(precision - scale);
        if rounded.leading_position().is_some_and(|p| p + 1 > integer_digits) {
            let limit = if integer_digits != 0 { format!("10^{integer_digits}") } else { "1".to_owned() };
            return Err(field_overflow(format!(
                "A field with precision {precision}, scale {scale} must round to an absolute value less than {limit}."
            )));
        }
        Ok(rounded)
    }

    /// Rounds half away from zero to `places` decimal places (negative: to tens, hundreds, …); the display scale becomes `max(places, 0)`.
    pub fn round(&self, places: i64) -> Numeric {
        self.rescale(places, true)
    }

    /// Cuts to `places` decimal places.
    pub fn trunc(&self, places: i64) -> Numeric {
        self.rescale(places, false)
    }

    fn rescale(&self, places: i64, round: bool) -> Numeric {
        let Numeric::Finite(c, s) = self else { return self.clone() };
        let places = places.clamp(-(MAX_INTEGER_DIGITS + 1), i64::from(MAX_SCALE));
        let scale = i64::from(*s);
        if places >= scale {
            return Numeric::Finite(if places == scale { c.clone() } else { c * pow10((places - scale) as u32) }, places as u32);
        }
        let unit = pow10((scale - places) as u32);
        let cut = if round { div_round(c, &unit) } else { c / unit };
        if places >= 0 { Numeric::Finite(cut, places as u32) } else { Numeric::Finite(cut * pow10(-places as u32), 0) }
    }
}

fn parse_digits(whole: &str, fraction: &str) -> BigInt {
    if whole.len() + fraction.len() <= 18 {
        let n = whole.bytes().chain(fraction.bytes()).fold(0i64, |n, b| n * 10 + i64::from(b - b'0'));
        return BigInt::from(n);
    }
    let mut all = String::with_capacity(whole.len() + fraction.len());
    all.push_str(whole);
    all.push_str(fraction);
    BigInt::parse_bytes(all.as_bytes(), 10).unwrap_or_default()
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (c, s) = match self {
            Numeric::NaN => return f.write_str("NaN"),
            Numeric::Infinity => return f.write_str("Infinity"),
            Numeric::NegInfinity => return f.write_str("-Infinity"),
            Numeric::Finite(c, s) => (c, *s as usize),
        };
        if s == 0 {
            return write!(f, "{c}");
        }
        let digits = c.magnitude().to_string();
        if c.sign() == num_bigint::Sign::Minus {
            f.write_str("-")?;
        }
        if digits.len() > s {
            let (whole, fraction) = digits.split_at(digits.len() - s);
            write!(f, "{whole}.{fraction}")
        } else {
            write!(f, "0.{}{digits}", "0".repeat(s - digits.len()))
        }
    }
}

impl FromStr for Numeric {
    type Err = SqlError;
    fn from_str(text: &str) -> Result<Self> {
        Numeric::parse(text)
    }
}
