//! Values as bytes: in keys (order-preserving), in rows (tagged by column id), and self-describing (spill files, programs sent to
//! the leaseholder, the insides of rows).
//!
//! A key keeps a value up to *equality*: `1.0` and `1.00`, `1 month` and `30 days`, `'a'` and `'a  '` of `bpchar` have one
//! key each. Where that loses something ([`key_is_lossless`] is false), the row must keep the column too if it is ever shown.

mod key;
mod row;
mod spill;

pub use key::{decode_key, encode_key, key_is_lossless};
pub use row::{decode_column, decode_row, encode_column, encode_row};
pub use spill::{decode_datum, encode_datum};

#[cfg(test)]
mod tests;

use crate::error::{SqlError, SqlState};
use meridian_storage::encoding::EncodingError;

fn corrupt(what: &str) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, format!("malformed stored value: {what}"))
}

impl From<EncodingError> for SqlError {
    fn from(e: EncodingError) -> Self {
        SqlError::new(SqlState::DATA_CORRUPTED, e.to_string())
    }
}
