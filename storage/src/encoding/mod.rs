//! Order-preserving encodings: the bytes of two encoded values compare as the values do.
//!
//! A key is a sequence of such values, each self-delimiting, so tuples compare column by column. Every value may be written
//! ascending, or descending as the complement of the ascending bytes. What stands where is known from the schema; the bytes do not
//! name their type.
//!
//! ```text
//!   NULL      02 (first) or FE (last), never complemented          every value begins with a byte in 10..=EF, complemented or not
//!   integer   18..=E7 is the value −104..=103 itself; 17,16,…10 + 1..8 bytes below, E8..=EF + 1..8 bytes above
//!   bool      as the integers 0 and 1
//!   float     40, then the 8 bytes of the IEEE value with sign flipped or complemented; −0 = 0; one NaN, above everything
//!   bytes     30, then the bytes with 00, 01, 02 written as 02 01, 02 02, 02 03; ends in 01
//!   uuid      48, then 16 bytes
//!   wide      80 ± n, then n bytes: integers of 128 bits, for normalised intervals
//!   decimal   20 −∞ · 30 negative · 40 zero · 50 positive · 60 +∞ · 70 NaN; then exponent and pairs of digits (see `decimal`)
//!   array     38, then for each element 04 and its encoding (NULL elements above all others), ends in 01
//! ```
//! Zero bytes are avoided wherever a format leaves the choice, because the MVCC layer has to escape them.
//!
//! Writers append to a `Vec<u8>`; readers take a slice and return the value and the rest.

mod decimal;
mod scalar;

pub use decimal::{Decimal, put_decimal, read_decimal};
pub use scalar::{
    put_bool, put_bytes, put_bytes_prefix, put_float, put_int, put_uuid, put_wide, read_bool, read_bytes, read_float, read_int, read_uuid,
    read_wide,
};

use crate::engine::StorageError;

/// Which way a column of a key is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Order {
    /// Smallest value first.
    #[default]
    Ascending,
    /// Greatest value first.
    Descending,
}

impl Order {
    /// What every byte is combined with (exclusive or).
    fn mask(self) -> u8 {
        match self {
            Order::Ascending => 0,
            Order::Descending => 0xff,
        }
    }

    /// Where PostgreSQL puts NULLs unless told otherwise: they are greater than every value.
    pub fn default_nulls(self) -> Nulls {
        match self {
            Order::Ascending => Nulls::Last,
            Order::Descending => Nulls::First,
        }
    }
}

/// Where NULLs stand in a column of a key, whatever its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Nulls {
    /// Before all values.
    First,
    /// After all values.
    Last,
}

/// The bytes are not what the schema says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed key encoding: {0}")]
pub struct EncodingError(pub &'static str);

impl From<EncodingError> for StorageError {
    fn from(error: EncodingError) -> Self {
        StorageError::Corruption(error.to_string())
    }
}

/// The result of a reader: the value and the rest of the input.
pub type Read<'a, T> = Result<(T, &'a [u8]), EncodingError>;

const NULL_FIRST: u8 = 0x02;
const NULL_LAST: u8 = 0xfe;
const ARRAY: u8 = 0x38;
const ELEMENT: u8 = 0x04;
const END: u8 = 0x01;

/// Writes a NULL.
pub fn put_null(out: &mut Vec<u8>, nulls: Nulls) {
    out.push(match nulls {
        Nulls::First => NULL_FIRST,
        Nulls::Last => NULL_LAST,
    });
}

/// If a NULL stands at the front of `input`, the rest behind it.
pub fn read_null(input: &[u8]) -> Option<&[u8]> {
    match input {
        [NULL_FIRST | NULL_LAST, rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Begins an array. Follow with [`put_array_element`] and the element's encoding in the same `order` for each, NULLs among them
/// with [`Order::default_nulls`], and [`put_array_end`]. A shorter array sorts before a longer one that begins with it.
pub fn put_array_start(out: &mut Vec<u8>, order: Order) {
    out.push(ARRAY ^ order.mask());
}

/// Announces an element.
pub fn put_array_element(out: &mut Vec<u8>, order: Order) {
    out.push(ELEMENT ^ order.mask());
}

/// Ends an array.
pub fn put_array_end(out: &mut Vec<u8>, order: Order) {
    out.push(END ^ order.mask());
}

/// Reads the beginning of an array.
pub fn read_array_start(input: &[u8], order: Order) -> Read<'_, ()> {
    match take(input, order)? {
        (ARRAY, rest) => Ok(((), rest)),
        _ => Err(EncodingError("no array")),
    }
}

/// Whether another element follows; its encoding, or what follows the array, is the rest.
pub fn read_array_element(input: &[u8], order: Order) -> Read<'_, bool> {
    match take(input, order)? {
        (ELEMENT, rest) => Ok((true, rest)),
        (END, rest) => Ok((false, rest)),
        _ => Err(EncodingError("neither an array element nor the end of the array")),
    }
}

/// Writes what `write` appends, in `order`.
fn put(out: &mut Vec<u8>, order: Order, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    if order == Order::Descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
}

/// The first byte as it would be ascending.
fn take(input: &[u8], order: Order) -> Read<'_, u8> {
    input.split_first().map(|(byte, rest)| (byte ^ order.mask(), rest)).ok_or(EncodingError("the key ends within a value"))
}

/// The first `N` bytes as they would be ascending.
fn take_array<const N: usize>(input: &[u8], order: Order) -> Read<'_, [u8; N]> {
    let (bytes, rest) = input.split_first_chunk::<N>().ok_or(EncodingError("the key ends within a value"))?;
    Ok((bytes.map(|byte| byte ^ order.mask()), rest))
}

#[cfg(test)]
mod tests;
