//! Integers, floats, byte strings, uuids.

use super::{EncodingError, Order, Read, put, take, take_array};

/// What the first byte of a small integer is counted from.
const INT_ZERO: i64 = 0x80;
const INT_SMALL_MIN: i64 = 0x18 - INT_ZERO;
const INT_SMALL_MAX: i64 = 0xe7 - INT_ZERO;
const FLOAT: u8 = 0x40;
const BYTES: u8 = 0x30;
const UUID: u8 = 0x48;
const WIDE_ZERO: u8 = 0x80;

const BYTES_END: u8 = 0x01;
const BYTES_ESCAPE: u8 = 0x02;

/// Writes an integer of any width: 1 byte near zero, at most 9.
pub fn put_int(out: &mut Vec<u8>, value: i64, order: Order) {
    put(out, order, |out| match value {
        INT_SMALL_MIN..=INT_SMALL_MAX => out.push((INT_ZERO + value) as u8),
        _ if value > 0 => {
            let n = 8 - value.leading_zeros() as usize / 8;
            out.push(0xe7 + n as u8);
            out.extend_from_slice(&value.to_be_bytes()[8 - n..]);
        }
        // The low bytes of the two's complement order negative numbers of one length.
        _ => {
            let n = (8 - value.leading_ones() as usize / 8).max(1);
            out.push(0x18 - n as u8);
            out.extend_from_slice(&value.to_be_bytes()[8 - n..]);
        }
    });
}

/// Reads what [`put_int`] wrote.
pub fn read_int(input: &[u8], order: Order) -> Read<'_, i64> {
    let (first, rest) = take(input, order)?;
    let (n, fill) = match first {
        0x18..=0xe7 => return Ok((i64::from(first) - INT_ZERO, rest)),
        0xe8..=0xef => (usize::from(first - 0xe7), 0x00),
        0x10..=0x17 => (usize::from(0x18 - first), 0xff),
        _ => return Err(EncodingError("no integer")),
    };
    let (low, rest) = rest.split_at_checked(n).ok_or(EncodingError("the key ends within an integer"))?;
    let mut bytes = [fill; 8];
    for (to, from) in bytes[8 - n..].iter_mut().zip(low) {
        *to = from ^ order.mask();
    }
    Ok((i64::from_be_bytes(bytes), rest))
}

/// Writes a bool: false before true.
pub fn put_bool(out: &mut Vec<u8>, value: bool, order: Order) {
    put_int(out, i64::from(value), order);
}

/// Reads what [`put_bool`] wrote.
pub fn read_bool(input: &[u8], order: Order) -> Read<'_, bool> {
    match read_int(input, order)? {
        (0, rest) => Ok((false, rest)),
        (1, rest) => Ok((true, rest)),
        _ => Err(EncodingError("no bool")),
    }
}

/// Writes a float, single precision ones too (every `f32` is an `f64` and order is kept). −0 is written as 0, every NaN as one
/// that is greater than all numbers.
pub fn put_float(out: &mut Vec<u8>, value: f64, order: Order) {
    let value = if value.is_nan() { f64::NAN.abs() } else { value + 0.0 };
    let bits = value.to_bits();
    let sortable = if bits >> 63 == 0 { bits | 1 << 63 } else { !bits };
    put(out, order, |out| {
        out.push(FLOAT);
        out.extend_from_slice(&sortable.to_be_bytes());
    });
}

/// Reads what [`put_float`] wrote.
pub fn read_float(input: &[u8], order: Order) -> Read<'_, f64> {
    let (FLOAT, rest) = take(input, order)? else { return Err(EncodingError("no float")) };
    let (bytes, rest) = take_array::<8>(rest, order)?;
    let sortable = u64::from_be_bytes(bytes);
    let bits = if sortable >> 63 == 1 { sortable & !(1 << 63) } else { !sortable };
    Ok((f64::from_bits(bits), rest))
}

/// Writes bytes or text of any length, ordered as `memcmp` does, a prefix first.
pub fn put_bytes(out: &mut Vec<u8>, value: &[u8], order: Order) {
    put_bytes_prefix(out, value, order);
    out.push(BYTES_END ^ order.mask());
}

/// Writes what all encodings of byte strings that begin with `value` have in common: a bound for prefix searches, not a value.
pub fn put_bytes_prefix(out: &mut Vec<u8>, value: &[u8], order: Order) {
    put(out, order, |out| {
        out.reserve(value.len() + 2);
        out.push(BYTES);
        let mut rest = value;
        while let Some(at) = rest.iter().position(|&byte| byte <= BYTES_ESCAPE) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(&[BYTES_ESCAPE, rest[at] + 1]);
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
    });
}

/// Reads what [`put_bytes`] wrote.
pub fn read_bytes(input: &[u8], order: Order) -> Read<'_, Vec<u8>> {
    let (BYTES, mut rest) = take(input, order)? else { return Err(EncodingError("no byte string")) };
    let mask = order.mask();
    let mut value = Vec::with_capacity(rest.len().min(64));
    loop {
        let at = rest.iter().position(|&byte| byte ^ mask <= BYTES_ESCAPE).ok_or(EncodingError("a byte string does not end"))?;
        value.extend(rest[..at].iter().map(|byte| byte ^ mask));
        match (rest[at] ^ mask, rest.get(at + 1).map(|byte| byte ^ mask)) {
            (BYTES_END, _) => return Ok((value, &rest[at + 1..])),
            (BYTES_ESCAPE, Some(escaped @ 1..=3)) => value.push(escaped - 1),
            _ => return Err(EncodingError("a byte string holds an unknown escape")),
        }
        rest = &rest[at + 2..];
    }
}

/// Writes 16 bytes ordered as they stand.
pub fn put_uuid(out: &mut Vec<u8>, value: &[u8; 16], order: Order) {
    put(out, order, |out| {
        out.push(UUID);
        out.extend_from_slice(value);
    });
}

/// Reads what [`put_uuid`] wrote.
pub fn read_uuid(input: &[u8], order: Order) -> Read<'_, [u8; 16]> {
    let (UUID, rest) = take(input, order)? else { return Err(EncodingError("no uuid")) };
    take_array(rest, order)
}

/// Writes an integer of up to 128 bits, such as an interval brought to one unit.
pub fn put_wide(out: &mut Vec<u8>, value: i128, order: Order) {
    put(out, order, |out| {
        let (n, first) = if value >= 0 {
            let n = 16 - value.leading_zeros() as usize / 8;
            (n, WIDE_ZERO + n as u8)
        } else {
            let n = 16 - value.leading_ones() as usize / 8;
            (n, WIDE_ZERO - 1 - n as u8)
        };
        out.push(first);
        out.extend_from_slice(&value.to_be_bytes()[16 - n..]);
    });
}

/// Reads what [`put_wide`] wrote.
pub fn read_wide(input: &[u8], order: Order) -> Read<'_, i128> {
    let (first, rest) = take(input, order)?;
    let (n, fill) = match first {
        0x80..=0x90 => (usize::from(first - WIDE_ZERO), 0x00),
        0x6f..=0x7f => (usize::from(WIDE_ZERO - 1 - first), 0xff),
        _ => return Err(EncodingError("no wide integer")),
    };
    let (low, rest) = rest.split_at_checked(n).ok_or(EncodingError("the key ends within a wide integer"))?;
    let mut bytes = [fill; 16];
    for (to, from) in bytes[16 - n..].iter_mut().zip(low) {
        *to = from ^ order.mask();
    }
    Ok((i128::from_be_bytes(bytes), rest))
}
