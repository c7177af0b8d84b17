//! What nodes have collected, kept for the checks at the end, which want every version that ever was.

use std::sync::Arc;

use bytes::Bytes;
use meridian_storage::engine::{Batch, BatchOp, Cursor, Engine, Reader, Result, Space};
use meridian_storage::memory::MemoryEngine;
use meridian_storage::mvcc;

/// A node's disk that puts versions aside before they are removed.
#[derive(Debug)]
pub struct ArchivingDisk {
    disk: Arc<MemoryEngine>,
    archive: Arc<MemoryEngine>,
}

impl ArchivingDisk {
    /// `archive` is shared by all nodes.
    pub fn new(disk: Arc<MemoryEngine>, archive: Arc<MemoryEngine>) -> Arc<Self> {
        Arc::new(ArchivingDisk { disk, archive })
    }

    /// A version whose bits were flipped is not put aside: other nodes have it whole.
    fn put_aside(&self, batch: &Batch) -> Result<()> {
        let mut kept = Batch::new();
        for op in &batch.ops {
            let BatchOp::Delete { space: Space::Data, key } = op else { continue };
            if let Some(value) = self.disk.get(Space::Data, key)?.filter(|value| mvcc::verify(key, value).is_ok()) {
                kept.put(Space::Data, key.clone(), value);
            }
        }
        if kept.is_empty() { Ok(()) } else { self.archive.apply(&kept) }
    }
}

impl Reader for ArchivingDisk {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        self.disk.get(space, key)
    }

    fn cursor<'a>(&'a self, space: Space, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + 'a>> {
        self.disk.cursor(space, lower, upper)
    }

    fn first_in(&self, space: Space, lower: &[u8], upper: &[u8]) -> Result<Option<(Bytes, Bytes)>> {
        self.disk.first_in(space, lower, upper)
    }
}

impl Engine for ArchivingDisk {
    fn snapshot<'a>(&'a self) -> Box<dyn Reader + 'a> {
        self.disk.snapshot()
    }

    fn admit_proposal(&self, bytes: u64) -> Result<()> {
        self.disk.admit_proposal(bytes)
    }

    fn append(&self, batch: &Batch) -> Result<()> {
        self.disk.append(batch)
    }

    fn sync(&self) -> Result<()> {
        self.disk.sync()
    }

    fn apply(&self, batch: &Batch) -> Result<()> {
        self.put_aside(batch)?;
        self.disk.apply(batch)
    }

    fn flush(&self) -> Result<()> {
        self.disk.flush()
    }

    fn approximate_size(&self, space: Space, start: &[u8], end: &[u8]) -> Result<u64> {
        self.disk.approximate_size(space, start, end)
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.disk.counters()
    }
}
