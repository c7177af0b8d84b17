//! One total order over the values of a type, for `min`/`max`, arrays, `greatest`/`least` and the rarer comparison operators.

use std::cmp::Ordering;

use crate::error::Result;
use crate::types::Datum;

/// Compares two non-NULL values of one type. `bpchar` blanks are not stripped here: its operators do that.
///
/// # Errors
/// None today; a type without an order would be one.
pub fn order(a: &Datum, b: &Datum) -> Result<Ordering> {
    Ok(a.compare(b))
}
