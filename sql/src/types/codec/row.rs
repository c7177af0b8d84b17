//! Row values over `meridian_storage::row`: integers, floats, bools and text are the row's own kinds, everything else is bytes in
//! the self-describing form.

use std::sync::Arc;

use meridian_storage::row::{ColumnValue, RowReader, RowWriter};

use super::{corrupt, decode_datum, encode_datum};
use crate::error::Result;
use crate::types::{DataType, Datum};

/// Appends a row. Columns must come with ascending ids.
pub fn encode_row(columns: &[(u32, DataType, &Datum)], out: &mut Vec<u8>) {
    let mut writer = RowWriter::with_capacity(columns.len() * 8);
    for (id, ty, value) in columns {
        encode_column(&mut writer, *id, *ty, value);
    }
    out.append(&mut writer.finish());
}

/// Adds one column to a row being written.
pub fn encode_column(writer: &mut RowWriter, id: u32, _ty: DataType, value: &Datum) {
    match value {
        Datum::Null => writer.push(id, ColumnValue::Null),
        Datum::Bool(b) => writer.push(id, ColumnValue::Bool(*b)),
        Datum::Int2(n) => writer.push(id, ColumnValue::Int(i64::from(*n))),
        Datum::Int4(n) | Datum::Date(n) => writer.push(id, ColumnValue::Int(i64::from(*n))),
        Datum::Int8(n) | Datum::Time(n) | Datum::Timestamp(n) | Datum::TimestampTz(n) => writer.push(id, ColumnValue::Int(*n)),
        Datum::Oid(n) => writer.push(id, ColumnValue::Int(i64::from(*n))),
        Datum::Char(c) => writer.push(id, ColumnValue::Int(i64::from(*c))),
        Datum::Float4(f) => writer.push(id, ColumnValue::Float(f64::from(*f))),
        Datum::Float8(f) => writer.push(id, ColumnValue::Float(*f)),
        Datum::Text(s) | Datum::Json(s) => writer.push(id, ColumnValue::Bytes(s.as_bytes())),
        Datum::Bytea(b) => writer.push(id, ColumnValue::Bytes(b)),
        Datum::Uuid(u) => writer.push(id, ColumnValue::Bytes(&u[..])),
        other => {
            let mut bytes = Vec::new();
            encode_datum(other, &mut bytes);
            writer.push(id, ColumnValue::Bytes(&bytes));
        }
    }
}

/// The value of one column.
pub fn decode_column(ty: DataType, value: ColumnValue<'_>) -> Result<Datum> {
    let text = |b: &[u8]| std::str::from_utf8(b).map(Arc::from).map_err(|_| corrupt("text is not UTF-8"));
    Ok(match value {
        ColumnValue::Null => Datum::Null,
        ColumnValue::Bool(b) => Datum::Bool(b),
        ColumnValue::Int(n) => {
            let narrow = || i32::try_from(n).map_err(|_| corrupt("integer"));
            match ty {
                DataType::INT4 => Datum::Int4(narrow()?),
                DataType::INT8 => Datum::Int8(n),
                DataType::INT2 => Datum::Int2(i16::try_from(n).map_err(|_| corrupt("integer"))?),
                DataType::DATE => Datum::Date(narrow()?),
                DataType::TIME => Datum::Time(n),
                DataType::TIMESTAMP => Datum::Timestamp(n),
                DataType::TIMESTAMPTZ => Datum::TimestampTz(n),
                DataType::CHAR_INTERNAL => Datum::Char(u8::try_from(n).map_err(|_| corrupt("char"))?),
                _ if ty.is_oid_like() => Datum::Oid(u32::try_from(n).map_err(|_| corrupt("oid"))?),
                _ => return Err(corrupt("an integer in a column of another type")),
            }
        }
        ColumnValue::Float(f) if ty == DataType::FLOAT4 => Datum::Float4(f as f32),
        ColumnValue::Float(f) => Datum::Float8(f),
        ColumnValue::Bytes(b) => match ty {
            DataType::BYTEA => Datum::Bytea(b.into()),
            DataType::JSON => Datum::Json(text(b)?),
            DataType::UUID => Datum::Uuid(Arc::new(b.try_into().map_err(|_| corrupt("uuid"))?)),
            DataType::ACLITEM | DataType::PG_NODE_TREE => Datum::Text(text(b)?),
            _ if ty.is_string() => Datum::Text(text(b)?),
            _ => {
                let mut rest = b;
                let value = decode_datum(&mut rest)?;
                if rest.is_empty() { value } else { return Err(corrupt("bytes left over")) }
            }
        },
    })
}

/// Reads the `wanted` columns (ascending ids). A column the row does not have leaves its place in `out` as it is: put the default
/// there before.
pub fn decode_row(row: &[u8], wanted: &[(u32, DataType)], out: &mut [Datum]) -> Result<()> {
    debug_assert!(wanted.is_sorted_by_key(|w| w.0));
    let mut next = 0;
    for column in RowReader::new(row) {
        let (id, value) = column?;
        while next < wanted.len() && wanted[next].0 < id {
            next += 1;
        }
        if next == wanted.len() {
            break;
        }
        if wanted[next].0 == id {
            out[next] = decode_column(wanted[next].1, value)?;
            next += 1;
        }
    }
    Ok(())
}
