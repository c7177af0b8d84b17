//! A batch of rows: what operators hand each other, so that an async boundary is crossed once per thousand rows.

use crate::types::Datum;

/// Rows of a batch at most.
pub const BATCH_ROWS: usize = 1024;
/// Bytes of a batch, about, at most.
pub const BATCH_BYTES: usize = 256 * 1024;

/// Rows, flattened: `datums.len() == width * len`.
#[derive(Clone, Debug, Default)]
pub struct RowBatch {
    /// Datums a row.
    pub width: usize,
    /// Rows. Not derived from `datums`, because rows may have no columns.
    pub len: usize,
    /// Row after row.
    pub datums: Vec<Datum>,
}

impl RowBatch {
    /// An empty batch of rows of this width.
    pub fn new(width: usize) -> Self {
        RowBatch { width, len: 0, datums: Vec::new() }
    }
    /// An empty batch with room for `rows`.
    pub fn with_capacity(width: usize, rows: usize) -> Self {
        RowBatch { width, len: 0, datums: Vec::with_capacity(width * rows) }
    }
    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Whether it is time to hand it on.
    pub fn is_full(&self) -> bool {
        self.len >= BATCH_ROWS
    }
    /// A row.
    pub fn row(&self, index: usize) -> &[Datum] {
        &self.datums[index * self.width..(index + 1) * self.width]
    }
    /// All rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = &[Datum]> {
        (0..self.len).map(move |i| self.row(i))
    }
    /// Appends a row by cloning its datums.
    pub fn push(&mut self, row: &[Datum]) {
        debug_assert_eq!(row.len(), self.width);
        self.datums.extend_from_slice(row);
        self.len += 1;
    }
    /// Appends a row.
    pub fn push_owned(&mut self, row: impl IntoIterator<Item = Datum>) {
        self.datums.extend(row);
        self.len += 1;
        debug_assert_eq!(self.datums.len(), self.width * self.len);
    }
    /// Appends `left ++ right`.
    pub fn push_pair(&mut self, left: &[Datum], right: &[Datum]) {
        self.datums.extend_from_slice(left);
        self.datums.extend_from_slice(right);
        self.len += 1;
    }
    /// Appends `left ++ nulls`.
    pub fn push_padded(&mut self, left: &[Datum], nulls: usize) {
        self.datums.extend_from_slice(left);
        self.datums.extend(std::iter::repeat_n(Datum::Null, nulls));
        self.len += 1;
    }
    /// Appends `nulls ++ right`.
    pub fn push_padded_left(&mut self, nulls: usize, right: &[Datum]) {
        self.datums.extend(std::iter::repeat_n(Datum::Null, nulls));
        self.datums.extend_from_slice(right);
        self.len += 1;
    }
    /// Keeps the first `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        if rows < self.len {
            self.len = rows;
            self.datums.truncate(rows * self.width);
        }
    }
    /// Drops the first `rows` rows.
    pub fn skip(&mut self, rows: usize) {
        let rows = rows.min(self.len);
        self.datums.drain(..rows * self.width);
        self.len -= rows;
    }
    /// Keeps the rows for which `keep` says so.
    pub fn retain(&mut self, keep: &[bool]) {
        if self.width == 0 {
            self.len = keep.iter().filter(|k| **k).count();
            return;
        }
        let width = self.width;
        let mut index = 0;
        self.datums.retain(|_| {
            let kept = keep[index / width];
            index += 1;
            kept
        });
        self.len = self.datums.len() / width;
    }
}
