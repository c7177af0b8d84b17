//! Binary wire forms: `typreceive` and `typsend`.

use std::sync::Arc;

use super::array::{MAX_DIMENSIONS, MAX_ELEMENTS, too_large};
use super::casts::apply_typmod;
use super::{Array, DataType, Datum, Interval, Numeric, datetime, json};
use crate::error::{Result, SqlError, SqlState};

/// Appends the binary form of a value (which must not be NULL) of type `ty`, without a length.
pub fn write_binary(value: &Datum, _ty: DataType, out: &mut Vec<u8>) {
    match value {
        Datum::Null | Datum::Void => {}
        Datum::Bool(b) => out.push(u8::from(*b)),
        Datum::Int2(n) => out.extend_from_slice(&n.to_be_bytes()),
        Datum::Int4(n) | Datum::Date(n) => out.extend_from_slice(&n.to_be_bytes()),
        Datum::Int8(n) | Datum::Time(n) | Datum::Timestamp(n) | Datum::TimestampTz(n) => out.extend_from_slice(&n.to_be_bytes()),
        Datum::Float4(f) => out.extend_from_slice(&f.to_be_bytes()),
        Datum::Float8(f) => out.extend_from_slice(&f.to_be_bytes()),
        Datum::Numeric(n) => n.write_binary(out),
        Datum::Text(s) | Datum::Json(s) => out.extend_from_slice(s.as_bytes()),
        Datum::Char(c) => out.push(*c),
        Datum::Bytea(b) => out.extend_from_slice(b),
        Datum::TimeTz(t, zone) => {
            out.extend_from_slice(&t.to_be_bytes());
            out.extend_from_slice(&zone.to_be_bytes());
        }
        Datum::Interval(i) => {
            out.extend_from_slice(&i.micros.to_be_bytes());
            out.extend_from_slice(&i.days.to_be_bytes());
            out.extend_from_slice(&i.months.to_be_bytes());
        }
        Datum::Uuid(u) => out.extend_from_slice(&**u),
        Datum::Jsonb(j) => {
            out.push(1);
            out.extend_from_slice(j.to_string().as_bytes());
        }
        Datum::Oid(o) => out.extend_from_slice(&o.to_be_bytes()),
        Datum::Array(a) => write_array(a, out),
        Datum::Record(fields) => {
            out.extend_from_slice(&(fields.len() as i32).to_be_bytes());
            for field in fields.iter() {
                let ty = field.natural_type();
                out.extend_from_slice(&ty.0.to_be_bytes());
                write_sized(field, ty, out);
            }
        }
    }
}

/// Appends a value with its length in front; −1 for NULL.
pub fn write_sized(value: &Datum, ty: DataType, out: &mut Vec<u8>) {
    if value.is_null() {
        return out.extend_from_slice(&(-1i32).to_be_bytes());
    }
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write_binary(value, ty, out);
    let length = (out.len() - at - 4) as i32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn write_array(a: &Array, out: &mut Vec<u8>) {
    let has_null = a.elements.iter().any(Datum::is_null);
    out.extend_from_slice(&(a.dims.len() as i32).to_be_bytes());
    out.extend_from_slice(&i32::from(has_null).to_be_bytes());
    out.extend_from_slice(&a.element.0.to_be_bytes());
    for (length, lower) in &a.dims {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&lower.to_be_bytes());
    }
    for element in &a.elements {
        write_sized(element, a.element, out);
    }
}

/// A cursor over a binary value.
pub(super) struct Cursor<'a>(pub &'a [u8]);

pub(super) fn short() -> SqlError {
    SqlError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message")
}

impl<'a> Cursor<'a> {
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(short)?;
        self.0 = tail;
        Ok(head)
    }
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or_else(short)?;
        self.0 = tail;
        Ok(*head)
    }
    pub fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }
    pub fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }
    pub fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }
}

fn bad(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_BINARY_REPRESENTATION, message)
}

fn utf8(bytes: &[u8]) -> Result<&str> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let at = e.valid_up_to();
        let wrong: Vec<String> = bytes[at..(at + 4).min(bytes.len())].iter().map(|b| format!("0x{b:02x}")).collect();
        SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, format!("invalid byte sequence for encoding \"UTF8\": {}", wrong.join(" ")))
    })?;
    if text.contains('\0') {
        return Err(SqlError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, "invalid byte sequence for encoding \"UTF8\": 0x00"));
    }
    Ok(text)
}

/// Reads the binary form of a value of type `ty` and applies its modifier.
pub fn parse_binary(ty: DataType, typmod: i32, bytes: &[u8]) -> Result<Datum> {
    let mut cursor = Cursor(bytes);
    let value = read(ty, &mut cursor)?;
    if !cursor.0.is_empty() {
        return Err(bad("incorrect binary data format"));
    }
    if typmod < 0 { Ok(value) } else { apply_typmod(ty, typmod, value, false) }
}

fn read(ty: DataType, c: &mut Cursor<'_>) -> Result<Datum> {
    Ok(match ty {
        DataType::BOOL => Datum::Bool(c.array::<1>()?[0] != 0),
        DataType::INT2 => Datum::Int2(c.i16()?),
        DataType::INT4 => Datum::Int4(c.i32()?),
        DataType::INT8 => Datum::Int8(c.i64()?),
        DataType::FLOAT4 => Datum::Float4(f32::from_be_bytes(c.array()?)),
        DataType::FLOAT8 => Datum::Float8(f64::from_be_bytes(c.array()?)),
        DataType::NUMERIC => {
            let all = c.take(c.0.len())?;
            Datum::Numeric(Arc::new(Numeric::read_binary(all)?))
        }
        DataType::TEXT | DataType::VARCHAR | DataType::BPCHAR | DataType::UNKNOWN | DataType::CSTRING => {
            Datum::text(utf8(c.take(c.0.len())?)?)
        }
        DataType::NAME => {
            let text = utf8(c.take(c.0.len())?)?;
            if text.len() > 63 {
                return Err(
                    SqlError::new(SqlState::NAME_TOO_LONG, "identifier too long").detail("Identifier must be less than 64 characters.")
                );
            }
            Datum::text(text)
        }
        DataType::CHAR_INTERNAL => Datum::Char(c.array::<1>()?[0]),
        DataType::BYTEA => Datum::Bytea(c.take(c.0.len())?.into()),
        DataType::DATE => {
            let days = c.i32()?;
            datetime::check_date(days)?;
            Datum::Date(days)
        }
        DataType::TIME => Datum::Time(check_time(c.i64()?)?),
        DataType::TIMETZ => {
            let micros = check_time(c.i64()?)?;
            let zone = c.i32()?;
            if zone.abs() >= 16 * 3600 {
                return Err(SqlError::new(SqlState("22009"), "time zone displacement out of range"));
            }
            Datum::TimeTz(micros, zone)
        }
        DataType::TIMESTAMP => Datum::Timestamp(datetime::check_timestamp(c.i64()?)?),
        DataType::TIMESTAMPTZ => Datum::TimestampTz(datetime::check_timestamp(c.i64()?)?),
        DataType::INTERVAL => {
            let (micros, days, months) = (c.i64()?, c.i32()?, c.i32()?);
            Datum::Interval(Interval { months, days, micros })
        }
        DataType::UUID => Datum::Uuid(Arc::new(c.array::<16>()?)),
        DataType::JSON => {
            let text = utf8(c.take(c.0.len())?)?;
            json::validate(text)?;
            Datum::Json(Arc::from(text))
        }
        DataType::JSONB => {
            let version = c.array::<1>()?[0];
            if version != 1 {
                return Err(SqlError::internal(format!("unsupported jsonb version number {version}")));
            }
            Datum::Jsonb(Arc::new(json::parse(utf8(c.take(c.0.len())?)?)?))
        }
        DataType::VOID => Datum::Void,
        DataType::RECORD => return Err(SqlError::unsupported("input of anonymous composite types")),
        _ if ty.is_oid_like() => Datum::Oid(c.u32()?),
        _ => match ty.element() {
            Some(element) => read_array(element, c)?,
            None => {
                return Err(SqlError::new(
                    SqlState::UNDEFINED_FUNCTION,
                    format!("no binary input function available for type {}", ty.name()),
                ));
            }
        },
    })
}

fn check_time(micros: i64) -> Result<i64> {
    if (0..=86_400_000_000).contains(&micros) {
        Ok(micros)
    } else {
        Err(SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "time out of range"))
    }
}

fn read_array(element: DataType, c: &mut Cursor<'_>) -> Result<Datum> {
    let ndim = c.i32()?;
    if ndim < 0 {
        return Err(bad(format!("invalid number of dimensions: {ndim}")));
    }
    if ndim as usize > MAX_DIMENSIONS {
        return Err(SqlError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("number of array dimensions ({ndim}) exceeds the maximum allowed ({MAX_DIMENSIONS})"),
        ));
    }
    let flags = c.i32()?;
    if !matches!(flags, 0 | 1) {
        return Err(bad("invalid array flags"));
    }
    let sent = DataType(c.u32()?);
    if sent != element {
        return Err(SqlError::new(
            SqlState::DATATYPE_MISMATCH,
            format!(
                "binary data has array element type {} ({}) instead of expected {} ({})",
                sent.0,
                sent.name(),
                element.0,
                element.name()
            ),
        ));
    }
    let mut dims = Vec::with_capacity(ndim as usize);
    let mut count: usize = usize::from(ndim > 0);
    for _ in 0..ndim {
        let (length, lower) = (c.i32()?, c.i32()?);
        let length_ok = usize::try_from(length).map_err(|_| too_large())?;
        count = count.checked_mul(length_ok).filter(|n| *n <= MAX_ELEMENTS).ok_or_else(too_large)?;
        if length > 0 && lower.checked_add(length - 1).is_none() {
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("array lower bound is too large: {lower}")));
        }
        dims.push((length, lower));
    }
    if count == 0 {
        return Ok(Datum::Array(Arc::new(Array::empty(element))));
    }
    // Each element takes four bytes at least: a huge count with a short body must not allocate.
    if count > c.0.len() / 4 {
        return Err(short());
    }
    let mut elements = Vec::with_capacity(count);
    for _ in 0..count {
        let length = c.i32()?;
        elements.push(match usize::try_from(length) {
            Ok(n) => parse_binary(element, -1, c.take(n)?)?,
            Err(_) if length == -1 => Datum::Null,
            Err(_) => return Err(short()),
        });
    }
    Ok(Datum::Array(Arc::new(Array { element, dims, elements })))
}
