//! Index entries as bytes: what is in the key, what is in the value, and reading back only what is wanted.
//!
//! ```text
//!   primary             prefix ‖ key columns                       → every column that the key does not give back exactly
//!   unique, no NULL     prefix ‖ key columns                       → primary key columns, INCLUDE columns, inexact key columns
//!   other secondary     prefix ‖ key columns ‖ primary key columns → INCLUDE columns, inexact columns of the key
//! ```
//! A NULL of a column that has a `missing_value` is written out, so that it is not taken for a row from before the column.

use bytes::Bytes;
use meridian_txn::api::Columns;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::catalog::descriptor::{IndexDescriptor, TableDescriptor};
use crate::catalog::keys::index_prefix;
use crate::error::{Result, SqlError, SqlState};
use crate::exec::value;
use crate::types::{DataType, Datum};

/// A column as part of an index key.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyPart {
    /// Column id.
    pub column: u32,
    /// Place in the table's row.
    pub ordinal: usize,
    /// Type.
    pub ty: DataType,
    /// Descending.
    pub descending: bool,
    /// NULLs first.
    pub nulls_first: bool,
}

/// How entries of one index look.
#[derive(Clone, Debug)]
pub struct IndexLayout {
    /// Index id.
    pub id: u32,
    /// Whether it holds the rows.
    pub primary: bool,
    /// Whether two rows may not share a key.
    pub unique: bool,
    /// Prefix of all its entries.
    pub prefix: Vec<u8>,
    /// Key columns.
    pub keys: Vec<KeyPart>,
    /// Primary key columns, as they are appended.
    pub suffix: Vec<KeyPart>,
    /// Columns in the value by ascending id, with place in the row and whether NULL is written out. Those of the primary key of a unique index stand in
    /// `suffix_values`.
    values: Vec<ValuePart>,
    suffix_values: Vec<ValuePart>,
}

#[derive(Clone, Debug)]
struct ValuePart {
    column: u32,
    ordinal: usize,
    ty: DataType,
    explicit_null: bool,
}

fn ordinal_of(table: &TableDescriptor, column: u32) -> Result<usize> {
    table
        .columns
        .iter()
        .position(|c| c.id == column)
        .ok_or_else(|| SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column {column} of the table does not exist")))
}

impl IndexLayout {
    /// The layout of an index of a table.
    pub fn new(table: &TableDescriptor, index: &IndexDescriptor) -> Result<Self> {
        let part = |column: u32, descending: bool, nulls_first: bool| -> Result<KeyPart> {
            let ordinal = ordinal_of(table, column)?;
            Ok(KeyPart { column, ordinal, ty: table.columns[ordinal].ty, descending, nulls_first })
        };
        let primary = index.id == table.primary.id;
        let keys = index.keys.iter().map(|k| part(k.column, k.descending, k.nulls_first)).collect::<Result<Vec<_>>>()?;
        let suffix = match primary {
            true => Vec::new(),
            false => table.primary.keys.iter().map(|k| part(k.column, false, false)).collect::<Result<Vec<_>>>()?,
        };
        let value_part = |column: u32| -> Result<ValuePart> {
            let ordinal = ordinal_of(table, column)?;
            let c = &table.columns[ordinal];
            Ok(ValuePart { column, ordinal, ty: c.ty, explicit_null: c.missing_value.is_some() })
        };
        let exact_in_key = |id: u32, parts: &[KeyPart]| parts.iter().any(|p| p.column == id && value::key_is_exact(p.ty));
        let mut values = Vec::new();
        let mut suffix_values = Vec::new();
        if primary {
            for column in table.columns.iter().filter(|c| !exact_in_key(c.id, &keys)) {
                values.push(value_part(column.id)?);
            }
        } else {
            let mut ids: Vec<u32> = index.include.clone();
            ids.extend(keys.iter().filter(|k| !value::key_is_exact(k.ty)).map(|k| k.column));
            ids.extend(suffix.iter().filter(|k| !value::key_is_exact(k.ty)).map(|k| k.column));
            ids.retain(|id| !exact_in_key(*id, &keys));
            ids.sort_unstable();
            ids.dedup();
            for id in &ids {
                values.push(value_part(*id)?);
            }
            for part in suffix.iter().filter(|s| !ids.contains(&s.column) && !exact_in_key(s.column, &keys)) {
                suffix_values.push(value_part(part.column)?);
            }
        }
        values.sort_unstable_by_key(|part| part.column);
        let prefix = index_prefix(table.storage_id, index.id);
        Ok(IndexLayout { id: index.id, primary, unique: index.unique || primary, prefix, keys, suffix, values, suffix_values })
    }

    /// Whether an entry of this index gives this column.
    pub fn holds(&self, column: u32) -> bool {
        self.keys.iter().chain(&self.suffix).any(|k| k.column == column) || self.values.iter().any(|v| v.column == column)
    }

    /// Whether the key of this row stands for itself: unique and without NULL.
    pub fn is_arbiter(&self, row: &[Datum]) -> bool {
        self.primary || self.unique && !self.keys.iter().any(|k| matches!(row[k.ordinal], Datum::Null))
    }

    /// The key of a row's entry.
    pub fn key(&self, row: &[Datum]) -> Result<Bytes> {
        let mut key = Vec::with_capacity(self.prefix.len() + 10 * (self.keys.len() + self.suffix.len()));
        key.extend_from_slice(&self.prefix);
        for part in &self.keys {
            value::encode_key(&row[part.ordinal], part.ty, part.descending, part.nulls_first, &mut key)?;
        }
        if !self.is_arbiter(row) {
            for part in &self.suffix {
                value::encode_key(&row[part.ordinal], part.ty, false, false, &mut key)?;
            }
        }
        Ok(key.into())
    }

    /// The key of the entry whose key columns have these values (in key order, none NULL), for a unique index.
    pub fn key_of_values(&self, values: &[Datum]) -> Result<Bytes> {
        let mut key = self.prefix.clone();
        for (part, datum) in self.keys.iter().zip(values) {
            value::encode_key(datum, part.ty, part.descending, part.nulls_first, &mut key)?;
        }
        Ok(key.into())
    }

    /// The value of a row's entry.
    pub fn value(&self, row: &[Datum]) -> Result<Bytes> {
        let mut writer = value::RowWriter::new();
        let mut push = |part: &ValuePart| writer.push(part.column, part.ty, &row[part.ordinal], part.explicit_null);
        if self.suffix_values.is_empty() || !self.is_arbiter(row) {
            self.values.iter().for_each(&mut push);
        } else {
            let mut parts: SmallVec<[&ValuePart; 16]> = self.values.iter().chain(&self.suffix_values).collect();
            parts.sort_unstable_by_key(|p| p.column);
            parts.into_iter().for_each(push);
        }
        Ok(writer.finish())
    }

    /// How to read `columns` from entries of this index.
    pub fn reader(&self, table: &TableDescriptor, columns: &[u32]) -> Result<EntryReader> {
        let mut reader = EntryReader {
            width: columns.len(),
            prefix: self.prefix.len(),
            keys: self.keys.iter().map(|k| (k.clone(), SmallVec::new())).collect(),
            suffix: self.suffix.iter().map(|k| (k.clone(), SmallVec::new())).collect(),
            values: Vec::new(),
            wanted: Vec::new(),
            parts: 0,
        };
        for (slot, column) in columns.iter().enumerate() {
            let exact = |part: &&mut (KeyPart, SmallVec<[usize; 2]>)| part.0.column == *column && value::key_is_exact(part.0.ty);
            if let Some(part) = reader.keys.iter_mut().find(exact) {
                part.1.push(slot);
                continue;
            }
            if let Some(part) = reader.suffix.iter_mut().find(exact) {
                part.1.push(slot);
                // Of a unique entry it is in the value instead.
                if !self.unique {
                    continue;
                }
            }
            let ordinal = ordinal_of(table, *column)?;
            let descriptor = &table.columns[ordinal];
            let missing = match &descriptor.missing_value {
                Some(text) => value::from_text(text, descriptor.ty, descriptor.typmod)?,
                None => Datum::Null,
            };
            reader.values.push((slot, Missing(missing)));
            reader.wanted.push((*column, descriptor.ty));
        }
        // The row codec is read in one pass over ascending column ids.
        let mut order: Vec<usize> = (0..reader.wanted.len()).collect();
        order.sort_by_key(|i| reader.wanted[*i].0);
        reader.values = order.iter().map(|i| reader.values[*i].clone()).collect();
        reader.wanted = order.iter().map(|i| reader.wanted[*i]).collect();
        let used = |parts: &[(KeyPart, SmallVec<[usize; 2]>)]| parts.iter().rposition(|p| !p.1.is_empty()).map_or(0, |at| at + 1);
        reader.parts = match used(&reader.suffix) {
            0 => used(&reader.keys),
            suffix => reader.keys.len() + suffix,
        };
        Ok(reader)
    }
}

/// What a row from before the column reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Missing(#[serde(with = "value::serde_datum")] Datum);

/// Reads chosen columns from index entries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EntryReader {
    /// Columns read.
    pub width: usize,
    prefix: usize,
    keys: Vec<(KeyPart, SmallVec<[usize; 2]>)>,
    suffix: Vec<(KeyPart, SmallVec<[usize; 2]>)>,
    /// Slot and missing value of each of `wanted`.
    values: Vec<(usize, Missing)>,
    wanted: Vec<(u32, DataType)>,
    /// Key parts that must be decoded.
    parts: usize,
}

impl EntryReader {
    /// What a read of these columns depends on (C3).
    pub fn dependency(&self) -> Columns {
        if self.wanted.is_empty() { Columns::Existence } else { Columns::Some(self.wanted.iter().map(|w| w.0).collect()) }
    }

    /// Appends the columns of an entry to `out`.
    pub fn read(&self, key: &[u8], entry: &[u8], out: &mut Vec<Datum>) -> Result<()> {
        let base = out.len();
        out.resize(base + self.width, Datum::Null);
        for (slot, Missing(missing)) in &self.values {
            if !matches!(missing, Datum::Null) {
                out[base + slot] = missing.clone();
            }
        }
        if !self.wanted.is_empty() {
            value::decode_row(entry, &self.wanted, |index, datum| out[base + self.values[index].0] = datum)?;
        }
        if self.parts > 0 {
            let mut rest = key.get(self.prefix..).ok_or_else(|| corrupt("an index key is too short"))?;
            for (at, (part, slots)) in self.keys.iter().chain(&self.suffix).enumerate().take(self.parts) {
                if at >= self.keys.len() && rest.is_empty() {
                    break;
                }
                if slots.is_empty() {
                    value::decode_key(&mut rest, part.ty, part.descending)?;
                    continue;
                }
                let mut datum = value::decode_key(&mut rest, part.ty, part.descending)?;
                for slot in &slots[1..] {
                    out[base + slot] = datum.clone();
                }
                std::mem::swap(&mut out[base + slots[0]], &mut datum);
            }
        }
        Ok(())
    }
}

fn corrupt(what: &str) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, what)
}

/// An index of a table by id.
pub fn index_of(table: &TableDescriptor, id: u32) -> Result<&IndexDescriptor> {
    table.all_indexes().find(|i| i.id == id).ok_or_else(|| SqlError::internal(format!("the table has no index {id}")))
}
