//! Datums as bytes, through `types::codec`: keys, rows, spilled rows.

use bytes::Bytes;
use meridian_storage::encoding::EncodingError;
use meridian_storage::row::{RowReader, RowWriter as StoredRow};

use crate::error::{Result, SqlError, SqlState};
use crate::types::codec;
use crate::types::{DataType, Datum};

fn corrupt(error: EncodingError) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, format!("a stored row cannot be read: {}", error.0))
}

/// Whether a key gives a value of this type back exactly.
pub fn key_is_exact(ty: DataType) -> bool {
    codec::key_is_lossless(ty)
}

/// Appends a value to a key.
pub fn encode_key(datum: &Datum, ty: DataType, descending: bool, nulls_first: bool, out: &mut Vec<u8>) -> Result<()> {
    codec::encode_key(ty, datum, descending, nulls_first, out)
}

/// Reads a value off the front of a key.
pub fn decode_key(input: &mut &[u8], ty: DataType, descending: bool) -> Result<Datum> {
    let (datum, rest) = codec::decode_key(ty, input, descending)?;
    *input = rest;
    Ok(datum)
}

/// A row being written; columns in ascending order of id.
pub struct RowWriter {
    row: StoredRow,
}

/// Bytes that most rows take at most.
const ROW_BYTES: usize = 128;

impl RowWriter {
    /// An empty row.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        RowWriter { row: StoredRow::with_capacity(ROW_BYTES) }
    }
    /// Adds a column. A NULL is left out unless it must be told from an absent column.
    pub fn push(&mut self, column: u32, ty: DataType, datum: &Datum, explicit_null: bool) {
        if explicit_null || !matches!(datum, Datum::Null) {
            codec::encode_column(&mut self.row, column, ty, datum);
        }
    }
    /// The row.
    pub fn finish(self) -> Bytes {
        self.row.finish().into()
    }
}

/// Reads the wanted columns (ascending ids) of a row; absent ones are not given to `take`.
#[inline]
pub fn decode_row(row: &[u8], wanted: &[(u32, DataType)], mut take: impl FnMut(usize, Datum)) -> Result<()> {
    let mut at = 0;
    for column in RowReader::new(row).iter() {
        let (id, value) = column.map_err(corrupt)?;
        while at < wanted.len() && wanted[at].0 < id {
            at += 1;
        }
        while at < wanted.len() && wanted[at].0 == id {
            take(at, codec::decode_column(wanted[at].1, value)?);
            at += 1;
        }
        if at == wanted.len() {
            break;
        }
    }
    Ok(())
}

/// Appends a row.
pub fn encode_spill(row: &[Datum], out: &mut Vec<u8>) {
    for datum in row {
        codec::encode_datum(datum, out);
    }
}

/// Reads a row of `width` datums off the front of `input`, appending it to `out`.
pub fn decode_spill(input: &mut &[u8], width: usize, out: &mut Vec<Datum>) -> Result<()> {
    for _ in 0..width {
        out.push(codec::decode_datum(input)?);
    }
    Ok(())
}

/// Serde of a datum by the spill codec.
pub mod serde_datum {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::*;

    /// As bytes.
    pub fn serialize<S: Serializer>(datum: &Datum, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        codec::encode_datum(datum, &mut bytes);
        bytes.serialize(serializer)
    }

    /// From bytes.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Datum, D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        codec::decode_datum(&mut bytes.as_slice()).map_err(|e| serde::de::Error::custom(e.message))
    }
}
