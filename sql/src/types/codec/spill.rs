//! The self-describing form: a tag, then the value; numbers as zigzag varints.

use std::sync::Arc;

use num_bigint::BigInt;

use super::corrupt;
use crate::error::Result;
use crate::types::json::MAX_DEPTH;
use crate::types::{Array, DataType, Datum, Interval, Jsonb, Numeric};

mod tag {
    pub const NULL: u8 = 0;
    pub const FALSE: u8 = 1;
    pub const TRUE: u8 = 2;
    pub const INT2: u8 = 3;
    pub const INT4: u8 = 4;
    pub const INT8: u8 = 5;
    pub const FLOAT4: u8 = 6;
    pub const FLOAT8: u8 = 7;
    pub const NUMERIC: u8 = 8;
    pub const NAN: u8 = 9;
    pub const INFINITY: u8 = 10;
    pub const NEG_INFINITY: u8 = 11;
    pub const TEXT: u8 = 12;
    pub const CHAR: u8 = 13;
    pub const BYTEA: u8 = 14;
    pub const DATE: u8 = 15;
    pub const TIME: u8 = 16;
    pub const TIMETZ: u8 = 17;
    pub const TIMESTAMP: u8 = 18;
    pub const TIMESTAMPTZ: u8 = 19;
    pub const INTERVAL: u8 = 20;
    pub const UUID: u8 = 21;
    pub const JSON: u8 = 22;
    pub const JSONB: u8 = 23;
    pub const ARRAY: u8 = 24;
    pub const OID: u8 = 25;
    pub const RECORD: u8 = 26;
    pub const VOID: u8 = 27;
}

fn unsigned(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn signed(out: &mut Vec<u8>, n: i64) {
    unsigned(out, ((n << 1) ^ (n >> 63)) as u64);
}

fn sized(out: &mut Vec<u8>, bytes: &[u8]) {
    unsigned(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a value of any type.
pub fn encode_datum(value: &Datum, out: &mut Vec<u8>) {
    let tagged = |out: &mut Vec<u8>, tag: u8, n: i64| {
        out.push(tag);
        signed(out, n);
    };
    let bytes = |out: &mut Vec<u8>, tag: u8, b: &[u8]| {
        out.push(tag);
        sized(out, b);
    };
    match value {
        Datum::Null => out.push(tag::NULL),
        Datum::Bool(b) => out.push(if *b { tag::TRUE } else { tag::FALSE }),
        Datum::Int2(n) => tagged(out, tag::INT2, i64::from(*n)),
        Datum::Int4(n) => tagged(out, tag::INT4, i64::from(*n)),
        Datum::Int8(n) => tagged(out, tag::INT8, *n),
        Datum::Float4(f) => {
            out.push(tag::FLOAT4);
            out.extend_from_slice(&f.to_le_bytes());
        }
        Datum::Float8(f) => {
            out.push(tag::FLOAT8);
            out.extend_from_slice(&f.to_le_bytes());
        }
        Datum::Numeric(n) => numeric(out, n),
        Datum::Text(s) => bytes(out, tag::TEXT, s.as_bytes()),
        Datum::Char(c) => out.extend_from_slice(&[tag::CHAR, *c]),
        Datum::Bytea(b) => bytes(out, tag::BYTEA, b),
        Datum::Date(n) => tagged(out, tag::DATE, i64::from(*n)),
        Datum::Time(n) => tagged(out, tag::TIME, *n),
        Datum::TimeTz(t, zone) => {
            tagged(out, tag::TIMETZ, *t);
            signed(out, i64::from(*zone));
        }
        Datum::Timestamp(n) => tagged(out, tag::TIMESTAMP, *n),
        Datum::TimestampTz(n) => tagged(out, tag::TIMESTAMPTZ, *n),
        Datum::Interval(i) => {
            tagged(out, tag::INTERVAL, i64::from(i.months));
            signed(out, i64::from(i.days));
            signed(out, i.micros);
        }
        Datum::Uuid(u) => {
            out.push(tag::UUID);
            out.extend_from_slice(&u[..]);
        }
        Datum::Json(s) => bytes(out, tag::JSON, s.as_bytes()),
        Datum::Jsonb(j) => {
            out.push(tag::JSONB);
            jsonb(out, j);
        }
        Datum::Array(a) => {
            out.push(tag::ARRAY);
            unsigned(out, u64::from(a.element.0));
            unsigned(out, a.dims.len() as u64);
            for (length, lower) in &a.dims {
                signed(out, i64::from(*length));
                signed(out, i64::from(*lower));
            }
            unsigned(out, a.elements.len() as u64);
            a.elements.iter().for_each(|e| encode_datum(e, out));
        }
        Datum::Oid(n) => tagged(out, tag::OID, i64::from(*n)),
        Datum::Record(fields) => {
            out.push(tag::RECORD);
            unsigned(out, fields.len() as u64);
            fields.iter().for_each(|f| encode_datum(f, out));
        }
        Datum::Void => out.push(tag::VOID),
    }
}

fn numeric(out: &mut Vec<u8>, n: &Numeric) {
    match n {
        Numeric::NaN => out.push(tag::NAN),
        Numeric::Infinity => out.push(tag::INFINITY),
        Numeric::NegInfinity => out.push(tag::NEG_INFINITY),
        Numeric::Finite(c, scale) => {
            out.push(tag::NUMERIC);
            unsigned(out, u64::from(*scale));
            sized(out, &c.to_signed_bytes_le());
        }
    }
}

fn jsonb(out: &mut Vec<u8>, j: &Jsonb) {
    match j {
        Jsonb::Null => out.push(0),
        Jsonb::Bool(b) => out.push(1 + u8::from(*b)),
        Jsonb::Number(n) => {
            out.push(3);
            numeric(out, n);
        }
        Jsonb::String(s) => {
            out.push(4);
            sized(out, s.as_bytes());
        }
        Jsonb::Array(a) => {
            out.push(5);
            unsigned(out, a.len() as u64);
            a.iter().for_each(|e| jsonb(out, e));
        }
        Jsonb::Object(o) => {
            out.push(6);
            unsigned(out, o.len() as u64);
            for (key, value) in o {
                sized(out, key.as_bytes());
                jsonb(out, value);
            }
        }
    }
}

struct Input<'a, 'b>(&'b mut &'a [u8]);

impl<'a> Input<'a, '_> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(|| corrupt("it ends early"))?;
        *self.0 = tail;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or_else(|| corrupt("it ends early"))?;
        *self.0 = tail;
        Ok(*head)
    }
    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }
    fn unsigned(&mut self) -> Result<u64> {
        let mut n = 0u64;
        for shift in (0..70).step_by(7) {
            let b = self.byte()?;
            n |= u64::from(b & 0x7f).checked_shl(shift).unwrap_or(0);
            if b & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(corrupt("a number does not end"))
    }
    fn signed(&mut self) -> Result<i64> {
        let n = self.unsigned()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }
    fn int<T: TryFrom<i64>>(&mut self) -> Result<T> {
        T::try_from(self.signed()?).map_err(|_| corrupt("a number out of range"))
    }
    fn sized(&mut self) -> Result<&'a [u8]> {
        let n = usize::try_from(self.unsigned()?).map_err(|_| corrupt("a length"))?;
        self.take(n)
    }
    fn text(&mut self) -> Result<Arc<str>> {
        std::str::from_utf8(self.sized()?).map(Arc::from).map_err(|_| corrupt("text is not UTF-8"))
    }
    /// A count of things that take a byte each at least.
    fn count(&mut self) -> Result<usize> {
        usize::try_from(self.unsigned()?).ok().filter(|n| *n <= self.0.len()).ok_or_else(|| corrupt("a count"))
    }
    fn numeric(&mut self, tag: u8) -> Result<Numeric> {
        Ok(match tag {
            tag::NAN => Numeric::NaN,
            tag::INFINITY => Numeric::Infinity,
            tag::NEG_INFINITY => Numeric::NegInfinity,
            tag::NUMERIC => {
                let scale = u32::try_from(self.unsigned()?).map_err(|_| corrupt("a scale"))?;
                Numeric::new(BigInt::from_signed_bytes_le(self.sized()?), scale)?
            }
            _ => return Err(corrupt("no number")),
        })
    }
    fn jsonb(&mut self, depth: usize) -> Result<Jsonb> {
        if depth > MAX_DEPTH {
            return Err(corrupt("jsonb nesting"));
        }
        Ok(match self.byte()? {
            0 => Jsonb::Null,
            1 => Jsonb::Bool(false),
            2 => Jsonb::Bool(true),
            3 => {
                let tag = self.byte()?;
                Jsonb::Number(self.numeric(tag)?)
            }
            4 => Jsonb::String(self.text()?),
            5 => {
                let n = self.count()?;
                Jsonb::Array((0..n).map(|_| self.jsonb(depth + 1)).collect::<Result<_>>()?)
            }
            6 => {
                let n = self.count()?;
                Jsonb::Object((0..n).map(|_| Ok((self.text()?, self.jsonb(depth + 1)?))).collect::<Result<_>>()?)
            }
            _ => return Err(corrupt("jsonb")),
        })
    }
    fn datum(&mut self, depth: usize) -> Result<Datum> {
        if depth > MAX_DEPTH {
            return Err(corrupt("nesting"));
        }
        Ok(match self.byte()? {
            tag::NULL => Datum::Null,
            tag::FALSE => Datum::Bool(false),
            tag::TRUE => Datum::Bool(true),
            tag::INT2 => Datum::Int2(self.int()?),
            tag::INT4 => Datum::Int4(self.int()?),
            tag::INT8 => Datum::Int8(self.signed()?),
            tag::FLOAT4 => Datum::Float4(f32::from_le_bytes(self.array()?)),
            tag::FLOAT8 => Datum::Float8(f64::from_le_bytes(self.array()?)),
            number @ (tag::NUMERIC | tag::NAN | tag::INFINITY | tag::NEG_INFINITY) => Datum::Numeric(Arc::new(self.numeric(number)?)),
            tag::TEXT => Datum::Text(self.text()?),
            tag::CHAR => Datum::Char(self.byte()?),
            tag::BYTEA => Datum::Bytea(self.sized()?.into()),
            tag::DATE => Datum::Date(self.int()?),
            tag::TIME => Datum::Time(self.signed()?),
            tag::TIMETZ => Datum::TimeTz(self.signed()?, self.int()?),
            tag::TIMESTAMP => Datum::Timestamp(self.signed()?),
            tag::TIMESTAMPTZ => Datum::TimestampTz(self.signed()?),
            tag::INTERVAL => Datum::Interval(Interval { months: self.int()?, days: self.int()?, micros: self.signed()? }),
            tag::UUID => Datum::Uuid(Arc::new(self.array()?)),
            tag::JSON => Datum::Json(self.text()?),
            tag::JSONB => Datum::Jsonb(Arc::new(self.jsonb(0)?)),
            tag::ARRAY => {
                let element = DataType(u32::try_from(self.unsigned()?).map_err(|_| corrupt("an element type"))?);
                let ndim = self.count()?;
                let dims = (0..ndim).map(|_| Ok((self.int()?, self.int()?))).collect::<Result<Vec<(i32, i32)>>>()?;
                let n = self.count()?;
                let elements = (0..n).map(|_| self.datum(depth + 1)).collect::<Result<_>>()?;
                Datum::Array(Arc::new(Array { element, dims, elements }))
            }
            tag::OID => Datum::Oid(self.int()?),
            tag::RECORD => {
                let n = self.count()?;
                Datum::Record((0..n).map(|_| self.datum(depth + 1)).collect::<Result<Vec<_>>>()?.into())
            }
            tag::VOID => Datum::Void,
            _ => return Err(corrupt("an unknown tag")),
        })
    }
}

/// Reads a value off the front of `input`.
pub fn decode_datum(input: &mut &[u8]) -> Result<Datum> {
    Input(input).datum(0)
}
