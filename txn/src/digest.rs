//! 128-bit digests of what a read saw, so that validation by value (C3) ships sixteen bytes instead of the value.
//!
//! Two multiply-fold lanes over eight bytes at a time. Not cryptographic: both sides are our own nodes, and a collision
//! has a chance of about 2⁻¹²⁸ per validation that would otherwise fail. The function is part of the wire protocol.

use bytes::Bytes;

use meridian_storage::row::{ColumnValue, RowReader};
use smallvec::SmallVec;

use crate::api::Columns;

/// The digest of something read.
pub type Digest = u128;

/// An incremental digest.
#[derive(Clone, Debug)]
pub struct Hasher {
    a: u64,
    b: u64,
}

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xd6e8_feb8_6659_fd93;

fn fold(x: u64, k: u64) -> u64 {
    let wide = u128::from(x) * u128::from(k);
    (wide as u64) ^ ((wide >> 64) as u64)
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher { a: 0x243f_6a88_85a3_08d3, b: 0x1319_8a2e_0370_7344 }
    }
}

impl Hasher {
    fn word(&mut self, w: u64) {
        self.a = fold(self.a ^ w, K0).rotate_left(23).wrapping_add(w);
        self.b = fold(self.b.wrapping_add(w) ^ K0, K1).rotate_left(41) ^ w;
    }

    /// Adds bytes, with their length, so that two fields never run into each other.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.word(u64::from_le_bytes(chunk.try_into().unwrap_or([0; 8])));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    /// Adds one row: what `columns` of it the reader depends on.
    pub fn row(&mut self, value: &[u8], columns: &Columns) {
        match columns {
            Columns::All => self.bytes(value),
            Columns::Existence => self.word(1),
            Columns::Some(ids) => {
                let mut ids = ids.clone();
                ids.sort_unstable();
                let mut fields: SmallVec<[Digest; 8]> = SmallVec::from_elem(u128::MAX, ids.len());
                let read = RowReader::new(value).project(&ids, &mut |i, field| {
                    if let (Some(field), Some(slot)) = (field, fields.get_mut(i)) {
                        *slot = column(&field);
                    }
                });
                match read {
                    Ok(()) => fields.iter().for_each(|f| {
                        self.word(*f as u64);
                        self.word((*f >> 64) as u64);
                    }),
                    // Not a row: depend on all of it.
                    Err(_) => self.bytes(value),
                }
            }
        }
    }

    /// The digest so far.
    pub fn finish(&self) -> Digest {
        let (a, b) = (fold(self.a ^ K1, K0) ^ self.b, fold(self.b ^ K0, K1) ^ self.a.rotate_left(32));
        (u128::from(a) << 64) | u128::from(b)
    }
}

fn column(value: &ColumnValue<'_>) -> Digest {
    let mut hasher = Hasher::default();
    match value {
        ColumnValue::Null => hasher.word(0),
        ColumnValue::Bool(b) => hasher.word(1 + u64::from(*b)),
        ColumnValue::Int(i) => {
            hasher.word(3);
            hasher.word(*i as u64);
        }
        ColumnValue::Float(f) => {
            hasher.word(4);
            hasher.word(f.to_bits());
        }
        ColumnValue::Bytes(b) => {
            hasher.word(5);
            hasher.bytes(b);
        }
    }
    hasher.finish()
}

/// The digest of a point read.
pub fn point(value: Option<&Bytes>, columns: &Columns) -> Digest {
    let mut hasher = Hasher::default();
    match value {
        None => hasher.word(0),
        Some(value) => {
            hasher.word(2);
            hasher.row(value, columns);
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_do_not_run_together(a in prop::collection::vec(any::<u8>(), 0..40), b in prop::collection::vec(any::<u8>(), 0..40)) {
            let digest = |x: &[u8], y: &[u8]| { let mut h = Hasher::default(); h.bytes(x); h.bytes(y); h.finish() };
            let joined = [a.as_slice(), b.as_slice()].concat();
            prop_assert_eq!(digest(&a, &b), digest(&a, &b));
            if !b.is_empty() {
                prop_assert_ne!(digest(&a, &b), digest(&joined, &[]));
            }
            if a != b {
                prop_assert_ne!(digest(&a, &b), digest(&b, &a));
            }
        }
    }
}
