//! Where things live in the key space.
//!
//! ```text
//!   TABLE_PREFIX ‖ be32 storage id ‖ be32 index id ‖ key columns…            → row / index entry
//!   TABLE_PREFIX ‖ be32 0 ‖ …                                               the catalog itself
//!   TABLE_PREFIX ‖ be32 1 ‖ be32 sequence oid                                a sequence's last value
//! ```
//! A primary entry's value holds every column (by column id) that its key does not give back exactly. A unique secondary entry
//! whose key has no NULL is `key columns → primary key columns + include columns`; any other secondary entry appends the primary key
//! columns to the key, and its value holds the include columns.

use meridian_storage::Key;
use meridian_storage::key::TABLE_PREFIX;

use super::descriptor::Oid;

/// Storage id of the catalog.
pub const CATALOG_STORAGE: Oid = 0;
/// Storage id of sequence states.
pub const SEQUENCE_STORAGE: Oid = 1;

/// The prefix of all keys of a table.
pub fn table_prefix(storage: Oid) -> Vec<u8> {
    let mut key = Vec::with_capacity(9);
    key.push(TABLE_PREFIX);
    key.extend_from_slice(&storage.to_be_bytes());
    key
}

/// The prefix of all entries of an index.
pub fn index_prefix(storage: Oid, index: u32) -> Vec<u8> {
    let mut key = table_prefix(storage);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// Where a sequence keeps its state.
pub fn sequence_key(sequence: Oid) -> Key {
    let mut key = table_prefix(SEQUENCE_STORAGE);
    key.extend_from_slice(&sequence.to_be_bytes());
    key.into()
}
