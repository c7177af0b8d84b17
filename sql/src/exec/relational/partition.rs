//! Splitting rows over files by hash, so that each part fits in memory: for aggregation, DISTINCT, set operations and hash joins.

use crate::error::{Result, SqlError, SqlState};
use crate::exec::spill::{SpillArea, SpillReader, SpillWriter};
use crate::types::Datum;

/// Parts of one split.
pub const PARTITIONS: usize = 16;
/// Splits of splits at most; 16⁶ parts, past which the rows of a part are all of one hash and splitting cannot help.
pub const LEVELS_MAX: u32 = 6;

/// Rows being split.
pub struct Partitions {
    writers: Vec<Option<SpillWriter>>,
    width: usize,
    area: SpillArea,
    /// How many splits the rows have been through, this one included.
    pub level: u32,
}

impl Partitions {
    /// The split number `level`, for rows of `width` datums.
    pub fn new(width: usize, level: u32, area: &SpillArea) -> Result<Self> {
        if level > LEVELS_MAX {
            return Err(SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory")
                .detail("Too many rows share one key to be split into parts that fit in memory.")
                .hint("Raise work_mem."));
        }
        Ok(Partitions { writers: (0..PARTITIONS).map(|_| None).collect(), width, area: area.clone(), level })
    }

    /// Adds a row to the part of its hash, which must come from a hash function of this level.
    pub fn push(&mut self, hash: u64, row: &[Datum]) -> Result<()> {
        let part = (hash >> 8) as usize % PARTITIONS;
        let writer = match &mut self.writers[part] {
            Some(writer) => writer,
            empty => empty.insert(self.area.create(self.width)?),
        };
        writer.push(row)
    }

    /// The parts, in order.
    pub fn finish(self) -> Result<Vec<Option<SpillReader>>> {
        self.writers.into_iter().map(|w| w.map(SpillWriter::finish).transpose()).collect()
    }
}
