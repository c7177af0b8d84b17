//! Rows on disk: what does not fit a query's memory, in unlinked temporary files.
//!
//! ```text
//!   file   = frame*
//!   frame  = u32 length ‖ rows of one batch in the spill codec
//! ```
//! Files have no name (they vanish with the process), are written once in order, and read back in order.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::batch::{BATCH_BYTES, BATCH_ROWS, RowBatch};
use super::value;
use crate::error::{Result, SqlError, SqlState};
use crate::types::Datum;

/// Bytes that one query may spill.
pub const DEFAULT_SPILL_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// Where a query spills, and how much it may.
#[derive(Clone, Debug)]
pub struct SpillArea {
    directory: Arc<PathBuf>,
    used: Arc<AtomicU64>,
    /// Bytes at most.
    pub limit: u64,
}

impl SpillArea {
    /// Spilling into `directory`, at most `limit` bytes.
    pub fn new(directory: impl Into<PathBuf>, limit: u64) -> Self {
        SpillArea { directory: Arc::new(directory.into()), used: Arc::default(), limit }
    }

    /// A new file for rows of `width` datums.
    pub fn create(&self, width: usize) -> Result<SpillWriter> {
        let file = tempfile::tempfile_in(&*self.directory).map_err(io_error)?;
        Ok(SpillWriter { area: self.clone(), file: BufWriter::new(file), width, frame: Vec::new(), frame_rows: 0, rows: 0, bytes: 0 })
    }

    fn charge(&self, bytes: u64) -> Result<()> {
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit {
            return Err(SqlError::new(
                SqlState::CONFIGURATION_LIMIT_EXCEEDED,
                format!("temporary file size exceeds temp_file_limit ({}kB)", self.limit / 1024),
            ));
        }
        Ok(())
    }
}

fn io_error(error: std::io::Error) -> SqlError {
    let code = if error.kind() == std::io::ErrorKind::StorageFull { SqlState::DISK_FULL } else { SqlState::IO_ERROR };
    SqlError::new(code, format!("could not use a temporary file: {error}"))
}

/// A file being written.
#[derive(Debug)]
pub struct SpillWriter {
    area: SpillArea,
    file: BufWriter<File>,
    width: usize,
    frame: Vec<u8>,
    frame_rows: usize,
    rows: u64,
    bytes: u64,
}

impl SpillWriter {
    /// Appends a row.
    pub fn push(&mut self, row: &[Datum]) -> Result<()> {
        value::encode_spill(row, &mut self.frame);
        self.frame_rows += 1;
        self.rows += 1;
        if self.frame_rows >= BATCH_ROWS || self.frame.len() >= BATCH_BYTES {
            self.flush_frame()?;
        }
        Ok(())
    }
    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }
    fn flush_frame(&mut self) -> Result<()> {
        if self.frame_rows == 0 {
            return Ok(());
        }
        let bytes = 8 + self.frame.len() as u64;
        self.area.charge(bytes)?;
        self.bytes += bytes;
        self.file.write_all(&(self.frame.len() as u32).to_le_bytes()).map_err(io_error)?;
        self.file.write_all(&(self.frame_rows as u32).to_le_bytes()).map_err(io_error)?;
        self.file.write_all(&self.frame).map_err(io_error)?;
        self.frame.clear();
        self.frame_rows = 0;
        Ok(())
    }
    /// Ends writing and reads from the start.
    pub fn finish(mut self) -> Result<SpillReader> {
        self.flush_frame()?;
        let mut file = self.file.into_inner().map_err(|e| io_error(e.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(io_error)?;
        Ok(SpillReader {
            area: self.area,
            file: BufReader::new(file),
            width: self.width,
            left: self.bytes,
            bytes: self.bytes,
            rows: self.rows,
        })
    }
}

/// A file being read.
#[derive(Debug)]
pub struct SpillReader {
    area: SpillArea,
    file: BufReader<File>,
    width: usize,
    left: u64,
    bytes: u64,
    rows: u64,
}

impl SpillReader {
    /// The next batch.
    pub fn next(&mut self) -> Result<Option<RowBatch>> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut word = [0u8; 4];
        self.file.read_exact(&mut word).map_err(io_error)?;
        let length = u32::from_le_bytes(word) as usize;
        self.file.read_exact(&mut word).map_err(io_error)?;
        let rows = u32::from_le_bytes(word) as usize;
        let mut frame = vec![0; length];
        self.file.read_exact(&mut frame).map_err(io_error)?;
        self.left = self.left.saturating_sub(8 + length as u64);
        let mut batch = RowBatch::with_capacity(self.width, rows);
        let mut input = frame.as_slice();
        for _ in 0..rows {
            value::decode_spill(&mut input, self.width, &mut batch.datums)?;
            batch.len += 1;
        }
        Ok(Some(batch))
    }
    /// Starts over.
    pub fn rewind(&mut self) -> Result<()> {
        self.file.seek(SeekFrom::Start(0)).map_err(io_error)?;
        self.left = self.bytes;
        Ok(())
    }
    /// Rows in all.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl Drop for SpillReader {
    fn drop(&mut self) {
        self.area.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A queue of rows that keeps what fits in memory and spills the rest: written once, then read (any number of times).
#[derive(Debug)]
pub struct RowStore {
    width: usize,
    memory: Vec<RowBatch>,
    reservation: super::memory::Reservation,
    overflow: Option<SpillWriter>,
    area: SpillArea,
    reader: Option<SpillReader>,
    position: usize,
    rows: u64,
}

impl RowStore {
    /// An empty store of rows of `width` datums.
    pub fn new(width: usize, memory: &super::memory::MemoryBudget, area: &SpillArea) -> Self {
        RowStore {
            width,
            memory: Vec::new(),
            reservation: memory.reservation(),
            overflow: None,
            area: area.clone(),
            reader: None,
            position: 0,
            rows: 0,
        }
    }
    /// Appends a batch.
    pub fn push(&mut self, batch: RowBatch) -> Result<()> {
        self.rows += batch.len as u64;
        if self.overflow.is_none() {
            if self.reservation.grow(batch.datums.iter().map(value::size).sum::<usize>() + 64) {
                self.memory.push(batch);
                return Ok(());
            }
            self.overflow = Some(self.area.create(self.width)?);
        }
        if let Some(writer) = &mut self.overflow {
            for row in batch.rows() {
                writer.push(row)?;
            }
        }
        Ok(())
    }
    /// Rows pushed.
    pub fn rows(&self) -> u64 {
        self.rows
    }
    /// Begins reading at the first row.
    pub fn rewind(&mut self) -> Result<()> {
        self.position = 0;
        if let Some(writer) = self.overflow.take() {
            self.reader = Some(writer.finish()?);
        }
        if let Some(reader) = &mut self.reader {
            reader.rewind()?;
        }
        Ok(())
    }
    /// The next batch, a copy: the rows stay for another reading.
    pub fn next(&mut self) -> Result<Option<RowBatch>> {
        if let Some(batch) = self.memory.get(self.position) {
            self.position += 1;
            return Ok(Some(batch.clone()));
        }
        match &mut self.reader {
            Some(reader) => reader.next(),
            None => Ok(None),
        }
    }
    /// The next batch, taken out.
    pub fn take_next(&mut self) -> Result<Option<RowBatch>> {
        if let Some(batch) = self.memory.get_mut(self.position) {
            self.position += 1;
            return Ok(Some(std::mem::take(batch)));
        }
        self.memory.clear();
        self.position = 0;
        self.reservation.release();
        match &mut self.reader {
            Some(reader) => reader.next(),
            None => Ok(None),
        }
    }
    /// The batches in memory and the reader's position, for readers that keep their own cursor.
    pub fn batch(&self, index: usize) -> Option<&RowBatch> {
        self.memory.get(index)
    }
    /// Whether everything is in memory.
    pub fn in_memory(&self) -> bool {
        self.overflow.is_none() && self.reader.is_none()
    }
}

/// Batches by number, read in any order and any number of times: in memory while the query has some, then on disk.
#[derive(Debug)]
pub struct BatchLog {
    width: usize,
    slots: Vec<LogSlot>,
    file: Option<(File, u64)>,
    area: SpillArea,
    reservation: super::memory::Reservation,
}

#[derive(Debug)]
enum LogSlot {
    Memory(Arc<RowBatch>),
    Disk { offset: u64, bytes: usize, rows: usize },
}

impl BatchLog {
    /// An empty log of rows of `width` datums.
    pub fn new(width: usize, memory: &super::memory::MemoryBudget, area: &SpillArea) -> Self {
        BatchLog { width, slots: Vec::new(), file: None, area: area.clone(), reservation: memory.reservation() }
    }
    /// Batches so far.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
    /// Appends a batch.
    pub fn push(&mut self, batch: RowBatch) -> Result<()> {
        use std::os::unix::fs::FileExt;
        if self.file.is_none() {
            if self.reservation.grow(value::row_size(&batch.datums) + 64) {
                self.slots.push(LogSlot::Memory(Arc::new(batch)));
                return Ok(());
            }
            self.file = Some((tempfile::tempfile_in(&*self.area.directory).map_err(io_error)?, 0));
        }
        let Some((file, end)) = &mut self.file else { return Ok(()) };
        let mut bytes = Vec::new();
        for row in batch.rows() {
            value::encode_spill(row, &mut bytes);
        }
        self.area.charge(bytes.len() as u64)?;
        file.write_all_at(&bytes, *end).map_err(io_error)?;
        self.slots.push(LogSlot::Disk { offset: *end, bytes: bytes.len(), rows: batch.len });
        *end += bytes.len() as u64;
        Ok(())
    }
    /// A batch by number.
    pub fn get(&self, index: usize) -> Result<Option<Arc<RowBatch>>> {
        use std::os::unix::fs::FileExt;
        match (self.slots.get(index), &self.file) {
            (Some(LogSlot::Memory(batch)), _) => Ok(Some(batch.clone())),
            (Some(LogSlot::Disk { offset, bytes, rows }), Some((file, _))) => {
                let mut buffer = vec![0; *bytes];
                file.read_exact_at(&mut buffer, *offset).map_err(io_error)?;
                let mut batch = RowBatch::with_capacity(self.width, *rows);
                let mut input = buffer.as_slice();
                for _ in 0..*rows {
                    value::decode_spill(&mut input, self.width, &mut batch.datums)?;
                    batch.len += 1;
                }
                Ok(Some(Arc::new(batch)))
            }
            _ => Ok(None),
        }
    }
}

impl Drop for BatchLog {
    fn drop(&mut self) {
        if let Some((_, end)) = &self.file {
            self.area.used.fetch_sub(*end, Ordering::Relaxed);
        }
    }
}
