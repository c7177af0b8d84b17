//! Keys: encoded order is [`compare_typed`](crate::types::compare_typed) order.

use std::sync::Arc;

use meridian_storage::encoding::{self, Decimal, Nulls, Order};
use num_bigint::{BigInt, Sign};

use super::corrupt;
use crate::error::{Result, SqlError};
use crate::types::numeric::pow10;
use crate::types::{Array, DataType, Datum, Interval, Jsonb, Numeric};

/// Whether a key gives back the very value, not just an equal one.
pub fn key_is_lossless(ty: DataType) -> bool {
    match ty.element() {
        Some(element) => key_is_lossless(element),
        None => !matches!(
            ty,
            DataType::NUMERIC
                | DataType::BPCHAR
                | DataType::FLOAT4
                | DataType::FLOAT8
                | DataType::INTERVAL
                | DataType::JSONB
                | DataType::JSON
                | DataType::RECORD
        ),
    }
}

/// Appends a value of type `ty` to a key. `nulls_first` holds whatever the direction. `0A000` for a type without an order.
pub fn encode_key(ty: DataType, value: &Datum, desc: bool, nulls_first: bool, out: &mut Vec<u8>) -> Result<()> {
    let order = if desc { Order::Descending } else { Order::Ascending };
    put(ty, value, order, if nulls_first { Nulls::First } else { Nulls::Last }, out)
}

fn put(ty: DataType, value: &Datum, order: Order, nulls: Nulls, out: &mut Vec<u8>) -> Result<()> {
    match value {
        Datum::Null => encoding::put_null(out, nulls),
        Datum::Bool(b) => encoding::put_bool(out, *b, order),
        Datum::Int2(n) => encoding::put_int(out, i64::from(*n), order),
        Datum::Int4(n) | Datum::Date(n) => encoding::put_int(out, i64::from(*n), order),
        Datum::Int8(n) | Datum::Time(n) | Datum::Timestamp(n) | Datum::TimestampTz(n) => encoding::put_int(out, *n, order),
        Datum::Oid(n) => encoding::put_int(out, i64::from(*n), order),
        Datum::Char(c) => encoding::put_int(out, i64::from(*c), order),
        Datum::Float4(f) => encoding::put_float(out, f64::from(*f), order),
        Datum::Float8(f) => encoding::put_float(out, *f, order),
        Datum::Numeric(n) => encoding::put_decimal(out, &to_decimal(n), order),
        Datum::Text(s) if ty == DataType::BPCHAR => encoding::put_bytes(out, s.trim_end_matches(' ').as_bytes(), order),
        Datum::Text(s) => encoding::put_bytes(out, s.as_bytes(), order),
        Datum::Bytea(b) => encoding::put_bytes(out, b, order),
        Datum::Uuid(u) => encoding::put_uuid(out, u, order),
        Datum::TimeTz(t, zone) => {
            encoding::put_int(out, t + i64::from(*zone) * 1_000_000, order);
            encoding::put_int(out, i64::from(*zone), order);
        }
        Datum::Interval(i) => encoding::put_wide(out, i.span(), order),
        Datum::Jsonb(j) => put_jsonb(j, order, true, out),
        Datum::Array(a) => {
            encoding::put_array_start(out, order);
            for element in &a.elements {
                encoding::put_array_element(out, order);
                put(a.element, element, order, order.default_nulls(), out)?;
            }
            encoding::put_array_end(out, order);
            encoding::put_int(out, a.dims.len() as i64, order);
            for length in a.dims.iter().map(|d| d.0).chain(a.dims.iter().map(|d| d.1)) {
                encoding::put_int(out, i64::from(length), order);
            }
        }
        Datum::Json(_) | Datum::Record(_) | Datum::Void => {
            return Err(SqlError::unsupported(format!("a key of type {}", ty.name())));
        }
    }
    Ok(())
}

fn to_decimal(n: &Numeric) -> Decimal {
    match n {
        Numeric::NaN => Decimal::NaN,
        Numeric::Infinity => Decimal::Infinity,
        Numeric::NegInfinity => Decimal::NegativeInfinity,
        Numeric::Finite(c, scale) => {
            let text = c.magnitude().to_string();
            Decimal::Finite {
                negative: c.sign() == Sign::Minus,
                exponent: text.len() as i64 - i64::from(*scale),
                digits: text.bytes().map(|b| b - b'0').collect(),
            }
        }
    }
}

fn from_decimal(d: Decimal) -> Result<Numeric> {
    Ok(match d {
        Decimal::NaN => Numeric::NaN,
        Decimal::Infinity => Numeric::Infinity,
        Decimal::NegativeInfinity => Numeric::NegInfinity,
        Decimal::Finite { negative, exponent, digits } => {
            let text: Vec<u8> = digits.iter().map(|d| b'0' + d).collect();
            let mut c =
                if text.is_empty() { BigInt::ZERO } else { BigInt::parse_bytes(&text, 10).ok_or_else(|| corrupt("decimal digits"))? };
            if negative {
                c = -c;
            }
            let scale = text.len() as i64 - exponent;
            if text.is_empty() {
                Numeric::zero()
            } else if scale >= 0 {
                Numeric::new(c, u32::try_from(scale).map_err(|_| corrupt("decimal scale"))?)?
            } else if -scale <= crate::types::numeric::MAX_INTEGER_DIGITS {
                Numeric::new(c * pow10(-scale as u32), 0)?
            } else {
                return Err(corrupt("decimal exponent"));
            }
        }
    })
}

const RANK_EMPTY_ARRAY: i64 = -1;

/// Rank, then the value; containers by their length first. `top`: an empty array sorts below all scalars there.
fn put_jsonb(j: &Jsonb, order: Order, top: bool, out: &mut Vec<u8>) {
    let rank = |out: &mut Vec<u8>, n: i64| encoding::put_int(out, n, order);
    match j {
        Jsonb::Null => rank(out, 0),
        Jsonb::String(s) => {
            rank(out, 1);
            encoding::put_bytes(out, s.as_bytes(), order);
        }
        Jsonb::Number(n) => {
            rank(out, 2);
            encoding::put_decimal(out, &to_decimal(n), order);
        }
        Jsonb::Bool(b) => {
            rank(out, 3);
            encoding::put_bool(out, *b, order);
        }
        Jsonb::Array(a) if a.is_empty() && top => rank(out, RANK_EMPTY_ARRAY),
        Jsonb::Array(a) => {
            rank(out, 4);
            encoding::put_int(out, a.len() as i64, order);
            a.iter().for_each(|e| put_jsonb(e, order, false, out));
        }
        Jsonb::Object(o) => {
            rank(out, 5);
            encoding::put_int(out, o.len() as i64, order);
            for (key, value) in o {
                encoding::put_bytes(out, key.as_bytes(), order);
                put_jsonb(value, order, false, out);
            }
        }
    }
}

fn read_jsonb(input: &[u8], order: Order, depth: usize) -> Result<(Jsonb, &[u8])> {
    if depth > crate::types::json::MAX_DEPTH {
        return Err(corrupt("jsonb nesting"));
    }
    let (rank, rest) = encoding::read_int(input, order)?;
    Ok(match rank {
        RANK_EMPTY_ARRAY => (Jsonb::Array(vec![]), rest),
        0 => (Jsonb::Null, rest),
        1 => {
            let (bytes, rest) = encoding::read_bytes(rest, order)?;
            (Jsonb::string(&utf8(bytes)?), rest)
        }
        2 => {
            let (n, rest) = encoding::read_decimal(rest, order)?;
            (Jsonb::Number(from_decimal(n)?), rest)
        }
        3 => {
            let (b, rest) = encoding::read_bool(rest, order)?;
            (Jsonb::Bool(b), rest)
        }
        4 => {
            let (count, mut rest) = encoding::read_int(rest, order)?;
            let mut elements = Vec::new();
            for _ in 0..count {
                let (element, after) = read_jsonb(rest, order, depth + 1)?;
                elements.push(element);
                rest = after;
            }
            (Jsonb::Array(elements), rest)
        }
        5 => {
            let (count, mut rest) = encoding::read_int(rest, order)?;
            let mut pairs: Vec<(Arc<str>, Jsonb)> = Vec::new();
            for _ in 0..count {
                let (key, after) = encoding::read_bytes(rest, order)?;
                let (value, after) = read_jsonb(after, order, depth + 1)?;
                pairs.push((Arc::from(utf8(key)?), value));
                rest = after;
            }
            (Jsonb::Object(pairs), rest)
        }
        _ => return Err(corrupt("jsonb rank")),
    })
}

fn utf8(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| corrupt("text is not UTF-8"))
}

/// Reads a value of type `ty` off the front of a key; the rest of the key comes with it. See [`key_is_lossless`].
pub fn decode_key(ty: DataType, input: &[u8], desc: bool) -> Result<(Datum, &[u8])> {
    read(ty, input, if desc { Order::Descending } else { Order::Ascending })
}

fn read(ty: DataType, input: &[u8], order: Order) -> Result<(Datum, &[u8])> {
    if let Some(rest) = encoding::read_null(input) {
        return Ok((Datum::Null, rest));
    }
    let int = || encoding::read_int(input, order);
    let narrow = |n: i64| i32::try_from(n).map_err(|_| corrupt("integer"));
    Ok(match ty {
        DataType::INT4 => int().map_err(SqlError::from).and_then(|(n, rest)| Ok((Datum::Int4(narrow(n)?), rest)))?,
        DataType::INT8 => int().map(|(n, rest)| (Datum::Int8(n), rest))?,
        DataType::INT2 => {
            let (n, rest) = int()?;
            (Datum::Int2(i16::try_from(n).map_err(|_| corrupt("integer"))?), rest)
        }
        DataType::TEXT | DataType::VARCHAR | DataType::BPCHAR | DataType::NAME | DataType::UNKNOWN | DataType::CSTRING => {
            let (bytes, rest) = encoding::read_bytes(input, order)?;
            (Datum::text(utf8(bytes)?), rest)
        }
        DataType::BOOL => encoding::read_bool(input, order).map(|(b, rest)| (Datum::Bool(b), rest))?,
        DataType::FLOAT8 => encoding::read_float(input, order).map(|(f, rest)| (Datum::Float8(f), rest))?,
        DataType::FLOAT4 => encoding::read_float(input, order).map(|(f, rest)| (Datum::Float4(f as f32), rest))?,
        DataType::NUMERIC => {
            let (d, rest) = encoding::read_decimal(input, order)?;
            (Datum::Numeric(Arc::new(from_decimal(d)?)), rest)
        }
        DataType::CHAR_INTERNAL => {
            let (n, rest) = int()?;
            (Datum::Char(u8::try_from(n).map_err(|_| corrupt("char"))?), rest)
        }
        DataType::BYTEA => encoding::read_bytes(input, order).map(|(b, rest)| (Datum::Bytea(b.into()), rest))?,
        DataType::UUID => encoding::read_uuid(input, order).map(|(u, rest)| (Datum::Uuid(Arc::new(u)), rest))?,
        DataType::DATE => {
            let (n, rest) = int()?;
            (Datum::Date(narrow(n)?), rest)
        }
        DataType::TIME => int().map(|(n, rest)| (Datum::Time(n), rest))?,
        DataType::TIMESTAMP => int().map(|(n, rest)| (Datum::Timestamp(n), rest))?,
        DataType::TIMESTAMPTZ => int().map(|(n, rest)| (Datum::TimestampTz(n), rest))?,
        DataType::TIMETZ => {
            let (utc, rest) = int()?;
            let (zone, rest) = encoding::read_int(rest, order)?;
            (Datum::TimeTz(utc.wrapping_sub(zone.wrapping_mul(1_000_000)), narrow(zone)?), rest)
        }
        DataType::INTERVAL => {
            let (span, rest) = encoding::read_wide(input, order)?;
            (Datum::Interval(interval_of(span)?), rest)
        }
        DataType::JSONB => {
            let (j, rest) = read_jsonb(input, order, 0)?;
            (Datum::Jsonb(Arc::new(j)), rest)
        }
        _ if ty.is_oid_like() => {
            let (n, rest) = int()?;
            (Datum::Oid(u32::try_from(n).map_err(|_| corrupt("oid"))?), rest)
        }
        _ => match ty.element() {
            Some(element) => read_array(element, input, order)?,
            None => return Err(SqlError::unsupported(format!("a key of type {}", ty.name()))),
        },
    })
}

/// An interval of the given length, in whole days as far as they go.
fn interval_of(span: i128) -> Result<Interval> {
    let day = i128::from(crate::types::datetime::MICROS_PER_DAY);
    let days = span / day;
    let months = (days / 30).clamp(i128::from(i32::MIN), i128::from(i32::MAX));
    let rest_days = (days - months * 30).clamp(i128::from(i32::MIN), i128::from(i32::MAX));
    let micros = span - (months * 30 + rest_days) * day;
    Ok(Interval { months: months as i32, days: rest_days as i32, micros: micros.try_into().map_err(|_| corrupt("interval"))? })
}

fn read_array(element: DataType, input: &[u8], order: Order) -> Result<(Datum, &[u8])> {
    let ((), mut rest) = encoding::read_array_start(input, order)?;
    let mut elements = Vec::new();
    loop {
        let (more, after) = encoding::read_array_element(rest, order)?;
        if !more {
            rest = after;
            break;
        }
        let (value, after) = read(element, after, order)?;
        elements.push(value);
        rest = after;
    }
    let (ndim, mut rest) = encoding::read_int(rest, order)?;
    if !(0..=crate::types::array::MAX_DIMENSIONS as i64).contains(&ndim) {
        return Err(corrupt("array dimensions"));
    }
    let mut numbers = Vec::new();
    for _ in 0..2 * ndim {
        let (n, after) = encoding::read_int(rest, order)?;
        numbers.push(i32::try_from(n).map_err(|_| corrupt("array bound"))?);
        rest = after;
    }
    let (lengths, lowers) = numbers.split_at(ndim as usize);
    let dims = lengths.iter().copied().zip(lowers.iter().copied()).collect();
    Ok((Datum::Array(Arc::new(Array { element, dims, elements })), rest))
}
