//! Keys in words: which constraint a key that exists violates, and what a conflict was about.

use meridian_storage::key::TABLE_PREFIX;

use crate::catalog::descriptor::{IndexDescriptor, RelationDescriptor, TableDescriptor};
use crate::catalog::snapshot::CatalogSnapshot;
use crate::error::{SqlError, SqlState};
use crate::exec::value;
use crate::types::Datum;

/// A key taken apart.
#[derive(Clone, Debug)]
pub struct DescribedKey<'c> {
    /// Its table.
    pub relation: &'c RelationDescriptor,
    /// Its index.
    pub index: &'c IndexDescriptor,
    /// `(a, b)=(1, 2)`
    pub text: String,
}

/// Finds table and index of a key and prints its columns; `None` if it is no key of a table in this catalog.
pub fn describe_key<'c>(catalog: &'c CatalogSnapshot, key: &[u8]) -> Option<DescribedKey<'c>> {
    let rest = key.strip_prefix(&[TABLE_PREFIX])?;
    let storage = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?);
    let index = u32::from_be_bytes(rest.get(4..8)?.try_into().ok()?);
    // The storage id differs from the OID only after a rewrite.
    let owns = |r: &&RelationDescriptor| r.table().is_some_and(|t| t.storage_id == storage);
    let by_oid = catalog.relations.get(&storage).map(|r| &**r).filter(owns);
    let relation = by_oid.or_else(|| catalog.relations.values().map(|r| &**r).find(owns))?;
    let table = relation.table()?;
    let index = table.all_indexes().find(|i| i.id == index)?;
    let mut values = Vec::new();
    let mut input = &rest[8..];
    for part in &index.keys {
        let column = table.column(part.column)?;
        values.push(value::decode_key(&mut input, column.ty, part.descending).ok()?);
    }
    let text = key_text(table, index, &values);
    Some(DescribedKey { relation, index, text })
}

/// `(a, b)=(1, 2)`
pub fn key_text(table: &TableDescriptor, index: &IndexDescriptor, values: &[Datum]) -> String {
    let columns: Vec<u32> = index.keys.iter().map(|k| k.column).collect();
    columns_text(table, &columns, values)
}

/// `(a, b)=(1, 2)` for any columns of a table.
pub fn columns_text(table: &TableDescriptor, columns: &[u32], values: &[Datum]) -> String {
    let columns: Vec<_> = columns.iter().filter_map(|id| table.column(*id)).collect();
    let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
    let values: Vec<String> = columns.iter().zip(values).map(|(c, v)| value::to_text(v, c.ty, value::neutral_session())).collect();
    format!("({})=({})", names.join(", "), values.join(", "))
}

/// `23505` for a unique index.
pub fn unique_violation(catalog: &CatalogSnapshot, relation: &RelationDescriptor, index: &IndexDescriptor, key: &str) -> SqlError {
    let schema = catalog.schemas.get(&relation.schema).map_or("public", |s| s.name.as_str());
    SqlError::new(SqlState::UNIQUE_VIOLATION, format!("duplicate key value violates unique constraint \"{}\"", index.name))
        .detail(format!("Key {key} already exists."))
        .table(schema, &relation.name)
        .constraint(&index.name)
}

/// `23505` for a key that was there although it was expected to be absent (`KvError::KeyExists`, from a put or a commit).
pub fn unique_violation_of(catalog: &CatalogSnapshot, key: &[u8]) -> SqlError {
    match describe_key(catalog, key) {
        Some(found) => unique_violation(catalog, found.relation, found.index, &found.text),
        None => SqlError::new(SqlState::UNIQUE_VIOLATION, "duplicate key value violates unique constraint"),
    }
}
