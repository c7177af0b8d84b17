//! Row values: the columns of a row that its key does not hold, each tagged with its column id.
//!
//! ```text
//!   ( header │ payload )*       header  = (id − previous id) · 8 + kind, as a varint; ids ascend, the first counts from 0
//!
//!   kind 0  NULL                nothing            kind 3  integer   zigzag varint
//!        1  false               nothing                 4  float     8 bytes, little endian
//!        2  true                nothing                 5  bytes     length varint, bytes
//! ```
//! A row says nothing of columns that did not exist when it was written, so adding a column rewrites nothing: *absent* means the
//! default the catalog keeps for older rows, *NULL* means NULL. A dropped column's value stays until the row is next written.
//! Whoever maps its types onto the kinds owns that mapping; this module names no SQL type.
//!
//! Reading allocates nothing: values borrow from the row.

use crate::encoding::EncodingError;

/// Identifies a column within its table, for ever; 0 is never given out.
pub type ColumnId = u32;

const KIND_BITS: u32 = 3;
const KIND_MASK: u64 = (1 << KIND_BITS) - 1;
const NULL: u64 = 0;
const FALSE: u64 = 1;
const TRUE: u64 = 2;
const INT: u64 = 3;
const FLOAT: u64 = 4;
const BYTES: u64 = 5;

/// A value of one column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ColumnValue<'a> {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// A float of either precision.
    Float(f64),
    /// Anything else, in the writer's own encoding.
    Bytes(&'a [u8]),
}

/// Builds a row. Columns are added with ascending ids.
#[derive(Clone, Debug, Default)]
pub struct RowWriter {
    out: Vec<u8>,
    last: ColumnId,
}

impl RowWriter {
    /// An empty row.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty row that will take about `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        RowWriter { out: Vec::with_capacity(bytes), last: 0 }
    }

    /// Adds a column. Its id must be above that of the one before.
    pub fn push(&mut self, id: ColumnId, value: ColumnValue<'_>) {
        match value {
            ColumnValue::Null => self.header(id, NULL),
            ColumnValue::Bool(value) => self.header(id, if value { TRUE } else { FALSE }),
            ColumnValue::Int(value) => {
                self.header(id, INT);
                put_varint(&mut self.out, ((value << 1) ^ (value >> 63)) as u64);
            }
            ColumnValue::Float(value) => {
                self.header(id, FLOAT);
                self.out.extend_from_slice(&value.to_bits().to_le_bytes());
            }
            ColumnValue::Bytes(value) => {
                self.header(id, BYTES);
                put_varint(&mut self.out, value.len() as u64);
                self.out.extend_from_slice(value);
            }
        }
    }

    /// The finished row.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// The finished row; the writer starts anew with its buffer, for loops.
    pub fn finish_and_reset(&mut self) -> Vec<u8> {
        self.last = 0;
        let capacity = self.out.len();
        std::mem::replace(&mut self.out, Vec::with_capacity(capacity))
    }

    fn header(&mut self, id: ColumnId, kind: u64) {
        assert!(id > self.last, "column {id} after {}: columns are written with ascending ids", self.last);
        put_varint(&mut self.out, (u64::from(id - self.last) << KIND_BITS) | kind);
        self.last = id;
    }
}

/// Reads a row.
#[derive(Clone, Copy, Debug)]
pub struct RowReader<'a> {
    row: &'a [u8],
}

impl<'a> RowReader<'a> {
    /// A reader of an encoded row. Checks nothing yet.
    pub fn new(row: &'a [u8]) -> Self {
        RowReader { row }
    }

    /// The columns with ascending ids. Ends after the first error.
    pub fn iter(&self) -> Columns<'a> {
        Columns { rest: self.row, last: 0 }
    }

    /// The column with this id; `None` if the row does not have it. Reads no further than it has to.
    pub fn find(&self, id: ColumnId) -> Result<Option<ColumnValue<'a>>, EncodingError> {
        for column in self.iter() {
            let (found, value) = column?;
            if found >= id {
                return Ok((found == id).then_some(value));
            }
        }
        Ok(None)
    }

    /// The columns `ids` (ascending) in one pass: calls `take` with the position in `ids` and the value, `None` for those that are absent.
    pub fn project(&self, ids: &[ColumnId], take: &mut dyn FnMut(usize, Option<ColumnValue<'a>>)) -> Result<(), EncodingError> {
        debug_assert!(ids.is_sorted());
        let mut columns = self.iter();
        let mut at = columns.next().transpose()?;
        for (position, &id) in ids.iter().enumerate() {
            while at.is_some_and(|(found, _)| found < id) {
                at = columns.next().transpose()?;
            }
            take(position, at.filter(|(found, _)| *found == id).map(|(_, value)| value));
        }
        Ok(())
    }
}

impl<'a> IntoIterator for RowReader<'a> {
    type Item = Result<(ColumnId, ColumnValue<'a>), EncodingError>;
    type IntoIter = Columns<'a>;
    fn into_iter(self) -> Columns<'a> {
        self.iter()
    }
}

/// The columns of a row; see [`RowReader::iter`].
#[derive(Clone, Debug)]
pub struct Columns<'a> {
    rest: &'a [u8],
    last: ColumnId,
}

impl<'a> Columns<'a> {
    fn read(&mut self) -> Result<(ColumnId, ColumnValue<'a>), EncodingError> {
        let header = take_varint(&mut self.rest)?;
        let delta = u32::try_from(header >> KIND_BITS).ok().filter(|&delta| delta > 0);
        self.last = delta.and_then(|delta| self.last.checked_add(delta)).ok_or(EncodingError("column ids of a row do not ascend"))?;
        let value = match header & KIND_MASK {
            NULL => ColumnValue::Null,
            FALSE => ColumnValue::Bool(false),
            TRUE => ColumnValue::Bool(true),
            INT => {
                let zigzag = take_varint(&mut self.rest)?;
                ColumnValue::Int((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
            }
            FLOAT => {
                let (bits, rest) = self.rest.split_first_chunk::<8>().ok_or(EncodingError("a row ends within a float"))?;
                self.rest = rest;
                ColumnValue::Float(f64::from_bits(u64::from_le_bytes(*bits)))
            }
            BYTES => {
                let len = usize::try_from(take_varint(&mut self.rest)?).map_err(|_| EncodingError("a row ends within a value"))?;
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or(EncodingError("a row ends within a value"))?;
                self.rest = rest;
                ColumnValue::Bytes(bytes)
            }
            _ => return Err(EncodingError("a row holds a value of an unknown kind")),
        };
        Ok((self.last, value))
    }
}

impl<'a> Iterator for Columns<'a> {
    type Item = Result<(ColumnId, ColumnValue<'a>), EncodingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let column = self.read();
        if column.is_err() {
            self.rest = &[];
        }
        Some(column)
    }
}

/// Whether two rows agree in the columns `ids` (ascending): what validation by value asks (a read stays valid when the columns it
/// used are unchanged). Absent and NULL differ, because absent means a default that need not be NULL; floats are compared by bits.
pub fn columns_equal(a: &[u8], b: &[u8], ids: &[ColumnId]) -> Result<bool, EncodingError> {
    debug_assert!(ids.is_sorted());
    if a == b {
        return Ok(true);
    }
    let (mut left, mut right) = (RowReader::new(a).iter(), RowReader::new(b).iter());
    let (mut x, mut y) = (left.next().transpose()?, right.next().transpose()?);
    for &id in ids {
        while x.is_some_and(|(found, _)| found < id) {
            x = left.next().transpose()?;
        }
        while y.is_some_and(|(found, _)| found < id) {
            y = right.next().transpose()?;
        }
        let equal = match (x.filter(|(found, _)| *found == id), y.filter(|(found, _)| *found == id)) {
            (None, None) => true,
            (Some((_, ColumnValue::Float(p))), Some((_, ColumnValue::Float(q)))) => p.to_bits() == q.to_bits(),
            (p, q) => p == q,
        };
        if !equal {
            return Ok(false);
        }
    }
    Ok(true)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(input: &mut &[u8]) -> Result<u64, EncodingError> {
    let mut value = 0u64;
    for (i, &byte) in input.iter().enumerate().take(10) {
        if i == 9 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *input = &input[i + 1..];
            return Ok(value);
        }
    }
    Err(EncodingError("a row holds a broken number"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Owned {
        Null,
        Bool(bool),
        Int(i64),
        Float(f64),
        Bytes(Vec<u8>),
    }

    impl Owned {
        fn value(&self) -> ColumnValue<'_> {
            match self {
                Owned::Null => ColumnValue::Null,
                Owned::Bool(v) => ColumnValue::Bool(*v),
                Owned::Int(v) => ColumnValue::Int(*v),
                Owned::Float(v) => ColumnValue::Float(*v),
                Owned::Bytes(v) => ColumnValue::Bytes(v),
            }
        }
    }

    fn row() -> impl Strategy<Value = BTreeMap<ColumnId, Owned>> {
        let value = prop_oneof![
            Just(Owned::Null),
            any::<bool>().prop_map(Owned::Bool),
            any::<i64>().prop_map(Owned::Int),
            (-2i64..3).prop_map(Owned::Int),
            proptest::num::f64::NORMAL.prop_map(Owned::Float),
            proptest::collection::vec(any::<u8>(), 0..9).prop_map(Owned::Bytes),
        ];
        proptest::collection::btree_map(prop_oneof![1u32..12, Just(u32::MAX)], value, 0..8)
    }

    fn encode(row: &BTreeMap<ColumnId, Owned>) -> Vec<u8> {
        let mut writer = RowWriter::new();
        row.iter().for_each(|(id, value)| writer.push(*id, value.value()));
        writer.finish()
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(row in row(), ids in proptest::collection::btree_set(1u32..14, 0..6)) {
            let bytes = encode(&row);
            let reader = RowReader::new(&bytes);
            let found: Vec<_> = reader.iter().map(Result::unwrap).collect();
            prop_assert_eq!(found, row.iter().map(|(id, v)| (*id, v.value())).collect::<Vec<_>>());
            for id in 1..14 {
                prop_assert_eq!(reader.find(id).unwrap(), row.get(&id).map(Owned::value));
            }
            let ids: Vec<_> = ids.into_iter().collect();
            let mut projected = vec![None; ids.len()];
            reader.project(&ids, &mut |at, value| projected[at] = value).unwrap();
            prop_assert_eq!(projected, ids.iter().map(|id| row.get(id).map(Owned::value)).collect::<Vec<_>>());
        }

        #[test]
        fn equality_looks_only_at_the_columns_asked_for(a in row(), changes in row(), ids in proptest::collection::btree_set(1u32..14, 0..4)) {
            let mut b = a.clone();
            b.extend(changes);
            let ids: Vec<_> = ids.into_iter().collect();
            let expected = ids.iter().all(|id| a.get(id).map(Owned::value) == b.get(id).map(Owned::value));
            prop_assert_eq!(columns_equal(&encode(&a), &encode(&b), &ids).unwrap(), expected);
            let all: Vec<_> = a.keys().copied().collect();
            prop_assert!(columns_equal(&encode(&a), &encode(&a), &all).unwrap());
        }

        #[test]
        fn garbage_is_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..40), id in any::<u32>()) {
            let reader = RowReader::new(&bytes);
            prop_assert!(reader.iter().count() <= bytes.len());
            let _ = reader.find(id);
            let _ = columns_equal(&bytes, &[], &[id]);
        }
    }

    #[test]
    #[should_panic(expected = "ascending ids")]
    fn ids_must_ascend() {
        let mut writer = RowWriter::new();
        writer.push(2, ColumnValue::Null);
        writer.push(2, ColumnValue::Null);
    }
}
