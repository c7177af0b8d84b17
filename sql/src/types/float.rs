//! `float4` and `float8` as text.
//!
//! Output is the shortest digit string that reads back as the same value (PostgreSQL 12 and later, `extra_float_digits` > 0),
//! or `%.*g` for `extra_float_digits` ≤ 0. PostgreSQL's Ryu never uses a digit string that lies exactly *on* the rounding
//! boundary, Rust's printer does where ties-to-even would read it back: [`shortest`] tells the two apart.

use num_bigint::BigUint;

use crate::error::{Result, SqlError, SqlState};

/// Digits (no leading or trailing zeros) and the decimal exponent of the first.
fn shortest(magnitude: f64, single: bool) -> (Vec<u8>, i32) {
    let text = if single { format!("{:e}", magnitude as f32) } else { format!("{magnitude:e}") };
    let (mut digits, exponent) = split(&text);
    if digits.len() >= if single { 7 } else { 16 } {
        tie_to_even(&mut digits, magnitude);
    }
    // Only integers above the mantissa's range can have a short decimal on the boundary between two floats.
    let threshold = if single { 16_777_216.0 } else { 9_007_199_254_740_992.0 };
    if magnitude >= threshold && magnitude < 1e41 && on_boundary(&digits, exponent, magnitude, single) {
        let precision = digits.len();
        for p in precision..18 {
            let text = if single { format!("{:.*e}", p, magnitude as f32) } else { format!("{magnitude:.p$e}") };
            let reads_back = if single {
                text.parse::<f32>().is_ok_and(|f| f == magnitude as f32)
            } else {
                text.parse::<f64>().is_ok_and(|f| f == magnitude)
            };
            let (digits, exponent) = split(&text);
            if reads_back && !on_boundary(&digits, exponent, magnitude, single) {
                return (digits, exponent);
            }
        }
    }
    (digits, exponent)
}

/// Where the value lies exactly between two shortest strings, Rust takes the upper and PostgreSQL the even one.
fn tie_to_even(digits: &mut [u8], magnitude: f64) {
    let n = digits.len();
    if digits[n - 1].is_multiple_of(2) {
        return;
    }
    // 30 more digits tell a tie from its neighbourhood: a binary fraction with a 5 there and zeros after it ends there.
    let (exact, _) = split(&format!("{:.*e}", n + 30, magnitude));
    if exact.len() == n + 1 && exact[n] == b'5' && exact[n - 1] + 1 == digits[n - 1] {
        digits[n - 1] -= 1;
    }
}

/// `d.ddde±x` → digits without trailing zeros, exponent.
fn split(text: &str) -> (Vec<u8>, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    while digits.len() > 1 && digits.last() == Some(&b'0') {
        digits.pop();
    }
    (digits, exponent.parse().unwrap_or(0))
}

/// Whether the decimal lies exactly half-way between `magnitude` and a neighbour.
fn on_boundary(digits: &[u8], exponent: i32, magnitude: f64, single: bool) -> bool {
    let shift = exponent - (digits.len() as i32 - 1);
    if shift < 0 {
        return false;
    }
    let decimal = BigUint::parse_bytes(digits, 10).unwrap_or_default() * BigUint::from(10u32).pow(shift as u32);
    let (lower, upper) = if single {
        let f = magnitude as f32;
        (f64::from(f32::from_bits(f.to_bits() - 1)), f64::from(f32::from_bits(f.to_bits() + 1)))
    } else {
        (f64::from_bits(magnitude.to_bits() - 1), f64::from_bits(magnitude.to_bits() + 1))
    };
    let exact = |f: f64| BigUint::from(f as u128);
    if upper >= 3.4e38 {
        return false;
    }
    let doubled = decimal * 2u32;
    let value = exact(magnitude);
    doubled == &value + exact(lower) || doubled == value + exact(upper)
}

fn scientific(out: &mut String, digits: &[u8], exponent: i32) {
    out.push(digits[0] as char);
    if digits.len() > 1 {
        out.push('.');
        out.extend(digits[1..].iter().map(|&d| d as char));
    }
    out.push('e');
    out.push(if exponent < 0 { '-' } else { '+' });
    let e = exponent.unsigned_abs();
    if e < 10 {
        out.push('0');
    }
    out.push_str(&e.to_string());
}

fn fixed(out: &mut String, digits: &[u8], exponent: i32) {
    if exponent < 0 {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', (-exponent - 1) as usize));
        out.extend(digits.iter().map(|&d| d as char));
        return;
    }
    let whole = exponent as usize + 1;
    for i in 0..whole {
        out.push(digits.get(i).map_or('0', |&d| d as char));
    }
    if digits.len() > whole {
        out.push('.');
        out.extend(digits[whole..].iter().map(|&d| d as char));
    }
}

fn write_float(out: &mut String, value: f64, single: bool, extra_float_digits: i32) {
    if value.is_nan() {
        return out.push_str("NaN");
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    let magnitude = value.abs();
    if magnitude.is_infinite() {
        return out.push_str("Infinity");
    }
    if magnitude == 0.0 {
        return out.push('0');
    }
    let base_precision = if single { 6 } else { 15 };
    let (digits, exponent, limit) = if extra_float_digits > 0 {
        let (d, e) = shortest(magnitude, single);
        (d, e, base_precision)
    } else {
        let precision = (base_precision + extra_float_digits).max(1);
        let (d, e) = split(&format!("{:.*e}", precision as usize - 1, magnitude));
        (d, e, precision)
    };
    if exponent < -4 || exponent >= limit { scientific(out, &digits, exponent) } else { fixed(out, &digits, exponent) }
}

/// Appends a `float8` as PostgreSQL prints it.
pub fn write_f64(out: &mut String, value: f64, extra_float_digits: i32) {
    write_float(out, value, false, extra_float_digits);
}

/// Appends a `float4` as PostgreSQL prints it.
pub fn write_f32(out: &mut String, value: f32, extra_float_digits: i32) {
    write_float(out, f64::from(value), true, extra_float_digits);
}

/// A `float8` as PostgreSQL prints it by default.
pub fn f64_to_text(value: f64) -> String {
    let mut out = String::new();
    write_f64(&mut out, value, 1);
    out
}

fn parse_checked<F: std::str::FromStr>(text: &str, ty: &str, suspicious: fn(&F) -> bool) -> Result<F> {
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\x0b');
    let value: F = trimmed
        .parse()
        .map_err(|_| SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("invalid input syntax for type {ty}: \"{text}\"")))?;
    // Infinity from digits, or zero from digits that are not all zero: out of range.
    let mantissa = trimmed.split(['e', 'E']).next().unwrap_or("");
    let numeric = mantissa.bytes().any(|b| b.is_ascii_digit());
    if numeric && suspicious(&value) && mantissa.bytes().any(|b| (b'1'..=b'9').contains(&b)) {
        return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("\"{trimmed}\" is out of range for type {ty}")));
    }
    Ok(value)
}

/// Reads a `float8`.
pub fn parse_f64(text: &str) -> Result<f64> {
    parse_checked(text, "double precision", |f: &f64| f.is_infinite() || *f == 0.0)
}

/// Reads a `float4`.
pub fn parse_f32(text: &str) -> Result<f32> {
    parse_checked(text, "real", |f: &f32| f.is_infinite() || *f == 0.0)
}

/// `float8` → `float4`, `22003` on overflow or underflow.
pub fn to_f32(value: f64) -> Result<f32> {
    let narrow = value as f32;
    let range = |what| Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("value out of range: {what}")));
    if narrow.is_infinite() && !value.is_infinite() {
        range("overflow")
    } else if narrow == 0.0 && value != 0.0 {
        range("underflow")
    } else {
        Ok(narrow)
    }
}

/// `float8` → integer, rounding half to even; `22003` out of range.
pub fn to_integer<T: TryFrom<i64>>(value: f64, ty: &str) -> Result<T> {
    let rounded = value.round_ties_even();
    // 2^63 itself is out of range, -2^63 is not.
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded);
    if fits && let Ok(n) = T::try_from(rounded as i64) {
        return Ok(n);
    }
    Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{ty} out of range")))
}
