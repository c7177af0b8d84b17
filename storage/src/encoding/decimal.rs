//! Decimals of arbitrary precision.
//!
//! ```text
//!   123.45 = 0.12345 · 10³     50 │ 83 │ 0E 24 34 │ 01       positive │ exponent 3 as an integer │ pairs 12 34 50, each + 2 │ end
//! ```
//! The value is written with neither leading nor trailing zeros, so 1.5 and 1.500 are one key; how many digits a column shows is
//! not order and has to be kept in the row. Everything behind the first byte of a negative number is complemented. Order:
//! −∞ < numbers < +∞ < NaN, and NaN equals itself, as PostgreSQL's `numeric`.

use smallvec::SmallVec;

use super::{EncodingError, Order, Read, put, put_int, read_int, take};

const NEGATIVE_INFINITY: u8 = 0x20;
const NEGATIVE: u8 = 0x30;
const ZERO: u8 = 0x40;
const POSITIVE: u8 = 0x50;
const INFINITY: u8 = 0x60;
const NAN: u8 = 0x70;

const PAIR_ZERO: u8 = 0x02;
const PAIR_MAX: u8 = PAIR_ZERO + 99;
const END: u8 = 0x01;

/// A decimal by its digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decimal {
    /// Below every number.
    NegativeInfinity,
    /// ± 0.d₁d₂d₃… · 10^`exponent`.
    Finite {
        /// The sign. Zero has none: it is read back as not negative.
        negative: bool,
        /// The power of ten behind the point before the first digit.
        exponent: i64,
        /// Digits 0 to 9, most significant first. Zeros at either end are allowed when writing and gone when reading; none is zero.
        digits: SmallVec<[u8; 32]>,
    },
    /// Above every number.
    Infinity,
    /// Above everything.
    NaN,
}

/// Writes a decimal.
pub fn put_decimal(out: &mut Vec<u8>, value: &Decimal, order: Order) {
    put(out, order, |out| match value {
        Decimal::NegativeInfinity => out.push(NEGATIVE_INFINITY),
        Decimal::Infinity => out.push(INFINITY),
        Decimal::NaN => out.push(NAN),
        Decimal::Finite { negative, exponent, digits } => {
            let Some(first) = digits.iter().position(|&d| d != 0) else { return out.push(ZERO) };
            let last = digits.iter().rposition(|&d| d != 0).unwrap_or(first);
            let (digits, exponent) = (&digits[first..=last], exponent - first as i64);
            let sign = if *negative { Order::Descending } else { Order::Ascending };
            out.push(if *negative { NEGATIVE } else { POSITIVE });
            put(out, sign, |out| {
                put_int(out, exponent, Order::Ascending);
                out.extend(digits.chunks(2).map(|pair| PAIR_ZERO + pair[0] * 10 + pair.get(1).copied().unwrap_or(0)));
                out.push(END);
            });
        }
    });
}

/// Reads what [`put_decimal`] wrote.
pub fn read_decimal(input: &[u8], order: Order) -> Read<'_, Decimal> {
    let (class, rest) = take(input, order)?;
    let negative = match class {
        NEGATIVE_INFINITY => return Ok((Decimal::NegativeInfinity, rest)),
        INFINITY => return Ok((Decimal::Infinity, rest)),
        NAN => return Ok((Decimal::NaN, rest)),
        ZERO => return Ok((Decimal::Finite { negative: false, exponent: 0, digits: SmallVec::new() }, rest)),
        NEGATIVE => true,
        POSITIVE => false,
        _ => return Err(EncodingError("no decimal")),
    };
    // The complement of a complement is the ascending form.
    let order = match (order, negative) {
        (Order::Ascending, false) | (Order::Descending, true) => Order::Ascending,
        _ => Order::Descending,
    };
    let (exponent, mut rest) = read_int(rest, order)?;
    let mut digits = SmallVec::new();
    loop {
        let (byte, next) = take(rest, order)?;
        rest = next;
        match byte {
            END => break,
            PAIR_ZERO..=PAIR_MAX => digits.extend([(byte - PAIR_ZERO) / 10, (byte - PAIR_ZERO) % 10]),
            _ => return Err(EncodingError("a decimal holds no digit pair")),
        }
    }
    while digits.last() == Some(&0) {
        digits.pop();
    }
    if digits.first().is_none_or(|&d| d == 0) {
        return Err(EncodingError("a decimal is not normalised"));
    }
    Ok((Decimal::Finite { negative, exponent, digits }, rest))
}
