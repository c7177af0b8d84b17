//! COPY's binary format, as pure functions over bytes (PostgreSQL manual, COPY, "Binary Format").
//!
//! A header with a signature, then per row a count of fields and each field behind its length (−1: NULL), then −1 as the trailer.
//! Values are in the types' binary wire format.

use crate::error::{Result, SqlError, SqlState};
use crate::types::{DataType, Datum, write_binary};

/// Signature, no flags, no header extension.
pub const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// What ends the data.
pub const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
const SIGNATURE_BYTES: usize = 11;
/// Longest single row, in bytes.
const MAX_ROW_BYTES: usize = 256 << 20;

/// A row's fields; `None` is NULL.
pub type BinaryRecord = Vec<Option<Vec<u8>>>;

/// Appends one row.
pub fn write_row(row: &[Datum], types: impl Iterator<Item = DataType>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(row.len() as i16).to_be_bytes());
    for (value, ty) in row.iter().zip(types) {
        if matches!(value, Datum::Null) {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            continue;
        }
        let at = out.len();
        out.extend_from_slice(&[0; 4]);
        write_binary(value, ty, out);
        let length = (out.len() - at - 4) as i32;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
}

fn bad(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::BAD_COPY_FILE_FORMAT, message)
}

/// Cuts rows out of a stream of chunks.
#[derive(Debug, Default)]
pub struct BinaryReader {
    buffer: Vec<u8>,
    at: usize,
    in_rows: bool,
    ended: bool,
    /// Rows read so far, from 1: "line" in messages.
    pub line: u64,
}

impl BinaryReader {
    /// More input.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<()> {
        if self.ended && !chunk.is_empty() {
            return Err(bad("received copy data after EOF marker"));
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        if self.buffer.len() + chunk.len() > MAX_ROW_BYTES {
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("a COPY row is longer than {MAX_ROW_BYTES} bytes")));
        }
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// The next whole row; `None`: feed more, or (after `last`) the end.
    pub fn next(&mut self, last: bool) -> Result<Option<BinaryRecord>> {
        if self.ended {
            return Ok(None);
        }
        let rest = &self.buffer[self.at..];
        let Some(parsed) = (if self.in_rows { row(rest)? } else { header(rest)? }) else {
            // PostgreSQL takes the end of the stream for the end of the data between rows only.
            return match (last, self.in_rows, rest.is_empty()) {
                (false, ..) => Ok(None),
                (true, true, true) => Ok(None),
                (true, true, false) => Err(bad("unexpected EOF in COPY data")),
                (true, false, _) => Err(bad("COPY file signature not recognized")),
            };
        };
        match parsed {
            Piece::Header(length) => {
                self.at += length;
                self.in_rows = true;
                self.next(last)
            }
            Piece::Row(length, record) => {
                self.at += length;
                self.line += 1;
                Ok(Some(record))
            }
            Piece::Trailer => {
                self.at += TRAILER.len();
                self.ended = true;
                if self.at < self.buffer.len() {
                    return Err(bad("received copy data after EOF marker"));
                }
                Ok(None)
            }
        }
    }
}

enum Piece {
    Header(usize),
    Row(usize, BinaryRecord),
    Trailer,
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(i32::from_be_bytes)
}

fn header(rest: &[u8]) -> Result<Option<Piece>> {
    let have = rest.len().min(SIGNATURE_BYTES);
    if rest[..have] != HEADER[..have] {
        return Err(bad("COPY file signature not recognized"));
    }
    let Some(flags) = i32_at(rest, SIGNATURE_BYTES) else { return Ok(None) };
    if flags & (1 << 16) != 0 {
        return Err(bad("invalid COPY file header (WITH OIDS)"));
    }
    // The upper half are flags that a reader must understand.
    if (flags as u32) >> 16 != 0 {
        return Err(bad("unrecognized critical flags in COPY file header"));
    }
    let Some(extension) = i32_at(rest, SIGNATURE_BYTES + 4) else { return Ok(None) };
    let extension = usize::try_from(extension).map_err(|_| bad("invalid COPY file header (missing length)"))?;
    let length = SIGNATURE_BYTES + 8 + extension;
    Ok((rest.len() >= length).then_some(Piece::Header(length)))
}

fn row(rest: &[u8]) -> Result<Option<Piece>> {
    let Some(count) = rest.get(..2) else { return Ok(None) };
    let count = i16::from_be_bytes([count[0], count[1]]);
    if count == -1 {
        return Ok(Some(Piece::Trailer));
    }
    let count = usize::try_from(count).map_err(|_| bad("invalid field count"))?;
    let mut record = Vec::with_capacity(count.min(1600));
    let mut at = 2;
    for _ in 0..count {
        let Some(length) = i32_at(rest, at) else { return Ok(None) };
        at += 4;
        if length == -1 {
            record.push(None);
            continue;
        }
        let length = usize::try_from(length).map_err(|_| bad("invalid field size"))?;
        let Some(value) = rest.get(at..at.saturating_add(length)) else { return Ok(None) };
        record.push(Some(value.to_vec()));
        at += length;
    }
    Ok(Some(Piece::Row(at, record)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(input: &[u8], chunk: usize) -> Result<Vec<BinaryRecord>> {
        let mut reader = BinaryReader::default();
        let mut records = vec![];
        for piece in input.chunks(chunk) {
            reader.feed(piece)?;
            while let Some(record) = reader.next(false)? {
                records.push(record);
            }
        }
        while let Some(record) = reader.next(true)? {
            records.push(record);
        }
        Ok(records)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(rows in prop::collection::vec(prop::collection::vec(prop::option::of(any::<i32>()), 3), 0..6), chunk in 1_usize..40) {
            let mut out = HEADER.to_vec();
            for row in &rows {
                let row: Vec<Datum> = row.iter().map(|v| v.map_or(Datum::Null, Datum::Int4)).collect();
                write_row(&row, std::iter::repeat(DataType::INT4), &mut out);
            }
            out.extend_from_slice(&TRAILER);
            let expected: Vec<BinaryRecord> =
                rows.iter().map(|row| row.iter().map(|v| v.map(|n| n.to_be_bytes().to_vec())).collect()).collect();
            prop_assert_eq!(read_all(&out, chunk).unwrap(), expected);
            // Cut anywhere inside a row it is an error, never a shorter row.
            out.truncate(out.len() - 3);
            prop_assert!(rows.is_empty() || read_all(&out, chunk).is_err());
        }

        #[test]
        fn no_input_panics(input: Vec<u8>, with_header: bool, chunk in 1_usize..9) {
            let mut all = if with_header { HEADER.to_vec() } else { vec![] };
            all.extend(input);
            let _ = read_all(&all, chunk);
        }
    }
}
