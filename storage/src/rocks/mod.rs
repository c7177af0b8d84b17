//! The engine on disk: one RocksDB per store, one column family per space.
//!
//! # Durability
//!
//! ```text
//!   append ─▶ WAL buffer + memtable(log)                 sync  = WAL buffer written and fdatasynced
//!   apply  ─▶ memtables(data, lock, meta), no WAL        flush = those three memtables to SST files, in one manifest edit
//! ```
//! * Only `Log` uses the WAL; it is flushed by hand (`manual_wal_flush`), so an append is a copy in memory and a sync is one write and one
//!   `fdatasync` for everything appended since the last.
//! * `atomic_flush` makes every flush, asked for or automatic, take the memtables of several families at the same sequence
//!   number and install them in one atomic manifest edit. So after a crash `Data`, `Lock` and `Meta` are those of one moment; what was
//!   applied later is not there and comes again from the Raft log. [`Engine::flush`] names the three state families only, so that log
//!   entries, which are cut soon, are not written a second time; automatic flushes take all four.
//! * `Log` shares the database all the same: WAL replay brings back its memtable whatever the other families have flushed, and RocksDB
//!   syncs closed WALs before it installs a flush, so no family is ever ahead of a torn WAL. Pipelined and unordered writes
//!   are off: neither goes with atomic flush.
//!
//! # Space
//!
//! RocksDB must never meet a full disk, since an error in a background job stops it for everybody. So proposals are refused with
//! [`StorageError::DiskFull`] while less than a reserve is free ([`RocksOptions::min_free_bytes`], which covers memtables that have yet to be
//! flushed, and compactions); appends go on to three quarters of it, so that what was let in is also written; applies, which carry out what the log accepted, go on to half of it, and appends that only delete
//! to a quarter, because they are how space comes back. (Measured with a reserve of zero on a full tmpfs: nothing synced was lost, but
//! RocksDB refused every later write until the store was opened again; so the reserve must never be zero.) The file system is asked again as it fills, and at every refused write, so the store recovers by itself.
//!
//! # Reads
//!
//! `Data` has a bloom filter over the key without its version, for blocks and for the memtable: a point read asks one iterator for one prefix and
//! files without the key are not touched. The other spaces are read by whole key.

mod absence;
mod guard;
mod identity;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rocksdb::statistics::{StatsLevel, Ticker};
use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, ColumnFamily, ColumnFamilyDescriptor, CompactOptions, DBCompressionType,
    DBRawIteratorWithThreadMode, DBRecoveryMode, DBWithThreadMode, ErrorKind, FlushOptions, Options, Range, ReadOptions, SingleThreaded,
    SliceTransform, SnapshotWithThreadMode, WriteBatch, WriteBufferManager, WriteOptions,
};

use crate::engine::{Batch, BatchOp, Bounds, Cursor, Engine, Reader, Result, Space, StorageError};
use crate::memory::batch_bytes;
use absence::Absence;
use guard::{Admission, SpaceGuard};
pub use identity::{STORE_FORMAT, StoreId};

type Db = DBWithThreadMode<SingleThreaded>;

/// A range of fewer keys is deleted key by key: RocksDB's range tombstones make every later read of the family dearer.
const RANGE_DELETE_FROM_KEYS: usize = 512;
/// Deleted entries that a look whether a space is empty steps over.
const SKIPS_MAX: u64 = 256;
/// Bytes of the version part of a `Data` key.
const VERSION_BYTES: usize = 8;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct RocksOptions {
    /// Bytes of cached blocks, indexes and filters.
    pub block_cache_bytes: usize,
    /// Bytes of memtables, all families together; beyond it the oldest are flushed.
    pub memtable_bytes: usize,
    /// Bytes of WAL at which everything is flushed, so that the WAL can be cut and a restart stays quick.
    pub wal_bytes_max: u64,
    /// Free bytes of the file system below which appends are refused.
    pub min_free_bytes: u64,
    /// Threads for flushes and compactions.
    pub background_jobs: i32,
    /// Files kept open.
    pub open_files_max: i32,
}

impl Default for RocksOptions {
    fn default() -> Self {
        RocksOptions {
            block_cache_bytes: 128 << 20,
            memtable_bytes: 96 << 20,
            wal_bytes_max: 192 << 20,
            min_free_bytes: 256 << 20,
            background_jobs: 2,
            open_files_max: 1024,
        }
    }
}

/// A store on disk.
pub struct RocksEngine {
    db: Db,
    /// Kept for its statistics.
    options: Options,
    cache: Cache,
    id: StoreId,
    guard: SpaceGuard,
    /// Of intents and records.
    no_locks: Absence,
    log_writes: WriteOptions,
    state_writes: WriteOptions,
    syncs: AtomicU64,
    flushes: AtomicU64,
    bytes_appended: AtomicU64,
    bytes_applied: AtomicU64,
}

impl fmt::Debug for RocksEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RocksEngine({})", self.db.path().display())
    }
}

fn family_name(space: Space) -> &'static str {
    match space {
        Space::Data => "data",
        Space::Lock => "lock",
        Space::Log => "log",
        Space::Meta => "meta",
    }
}

impl RocksEngine {
    /// Opens the store in `dir`, or creates one if the directory is empty or absent.
    ///
    /// Refuses with [`StorageError::Format`] what is not a store, or one of a newer version, and with [`StorageError::Corruption`] a damaged one.
    pub fn open(dir: impl AsRef<Path>, options: &RocksOptions) -> Result<Self> {
        let dir = dir.as_ref();
        let (id, state) = identity::open_or_create(dir)?;
        let cache = Cache::new_hyper_clock_cache(options.block_cache_bytes, 0);
        let mut db_options = database_options(options);
        // Of a store that was there before, a missing database is damage, never a reason to begin anew.
        db_options.create_if_missing(state == identity::State::Creating);
        db_options.create_missing_column_families(state == identity::State::Creating);
        let families = Space::ALL.map(|space| ColumnFamilyDescriptor::new(family_name(space), family_options(space, options, &cache)));
        let db = Db::open_cf_descriptors(&db_options, dir.join(identity::DATABASE_DIR), families).map_err(|e| opening(dir, &e))?;
        identity::seal(dir, id)?;
        let (mut log_writes, mut state_writes) = (WriteOptions::new(), WriteOptions::new());
        log_writes.set_sync(false);
        state_writes.disable_wal(true);
        Ok(RocksEngine {
            db,
            options: db_options,
            cache,
            id,
            guard: SpaceGuard::new(dir, options.min_free_bytes)?,
            no_locks: Absence::default(),
            log_writes,
            state_writes,
            syncs: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            bytes_appended: AtomicU64::new(0),
            bytes_applied: AtomicU64::new(0),
        })
    }

    /// The identity of this store, given when it was created.
    pub fn store_id(&self) -> StoreId {
        self.id
    }

    /// Changes the reserve, for an operator who has to get at the last of the space, and for tests.
    pub fn set_min_free_bytes(&self, bytes: u64) {
        self.guard.set_min_free_bytes(bytes);
    }

    /// Rewrites `[start, end)` of `space` so that deleted keys give their space back.
    pub fn compact(&self, space: Space, start: &[u8], end: &[u8]) -> Result<()> {
        let mut options = CompactOptions::default();
        options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
        options.set_exclusive_manual_compaction(false);
        self.db.compact_range_cf_opt(self.family(space)?, Some(start), Some(end), &options);
        Ok(())
    }

    fn family(&self, space: Space) -> Result<&ColumnFamily> {
        // All families were opened with the database; a look-up in a map of five.
        self.db.cf_handle(family_name(space)).ok_or_else(|| StorageError::Io(format!("no column family {}", family_name(space))))
    }

    fn encode(&self, batch: &Batch) -> Result<WriteBatch> {
        let mut out = WriteBatch::default();
        let mut puts_before = false;
        for op in &batch.ops {
            match op {
                BatchOp::Put { space, key, value } => {
                    puts_before = true;
                    out.put_cf(self.family(*space)?, key, value);
                }
                BatchOp::Delete { space, key } => out.delete_cf(self.family(*space)?, key),
                BatchOp::DeleteRange { start, end, .. } if start >= end => {}
                BatchOp::DeleteRange { space, start, end } => {
                    // Puts of this very batch are not in the database yet, so a look there would miss them.
                    if puts_before || !self.delete_few(&mut out, *space, start, end)? {
                        out.delete_range_cf(self.family(*space)?, start, end);
                    }
                }
            }
        }
        Ok(out)
    }

    /// Whether a look at the whole space meets nothing. Not where it would have to step over many deleted entries to find out.
    fn is_seen_empty(&self, space: Space) -> bool {
        let Ok(family) = self.family(space) else { return false };
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.set_max_skippable_internal_keys(SKIPS_MAX);
        let mut iterator = self.db.raw_iterator_cf_opt(family, options);
        iterator.seek_to_first();
        !iterator.valid() && iterator.status().is_ok()
    }

    /// Deletes the keys of the range one by one if they are few; answers whether they were. The caller owns the range: nobody else writes there.
    fn delete_few(&self, out: &mut WriteBatch, space: Space, start: &Bytes, end: &Bytes) -> Result<bool> {
        let family = self.family(space)?;
        let mut keys = Vec::new();
        let mut iterator = self.db.raw_iterator_cf_opt(family, bounded(start, end));
        iterator.seek_to_first();
        while let Some(key) = iterator.key() {
            if keys.len() == RANGE_DELETE_FROM_KEYS {
                return Ok(false);
            }
            keys.push(key.to_vec());
            iterator.next();
        }
        iterator.status().map_err(translate)?;
        keys.iter().for_each(|key| out.delete_cf(family, key));
        Ok(true)
    }
}

impl Drop for RocksEngine {
    fn drop(&mut self) {
        // Closing flushes the memtables that have no WAL; the log's last appends are in the WAL's buffer.
        if let Err(error) = self.db.flush_wal(true) {
            tracing::error!(%error, store = %self.db.path().display(), "the last appends may be lost: the log could not be synced on closing");
        }
    }
}

impl Reader for RocksEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        if space == Space::Lock && self.no_locks.is_certain(|| self.is_seen_empty(Space::Lock)) {
            return Ok(None);
        }
        let found = self.db.get_pinned_cf(self.family(space)?, key).map_err(translate)?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn cursor<'a>(&'a self, space: Space, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + 'a>> {
        if space == Space::Lock && self.no_locks.is_certain(|| self.is_seen_empty(Space::Lock)) {
            return Ok(Box::new(EmptyCursor));
        }
        let iterator = self.db.raw_iterator_cf_opt(self.family(space)?, bounded(lower, upper));
        Ok(Box::new(RocksCursor { iterator }))
    }

    fn first_in(&self, space: Space, lower: &[u8], upper: &[u8]) -> Result<Option<(Bytes, Bytes)>> {
        let options = point_options(space, lower, upper).unwrap_or_else(|| bounded(lower, upper));
        first(&mut self.db.raw_iterator_cf_opt(self.family(space)?, options), lower, upper)
    }

    fn firsts(&self, space: Space, bounds: &[Bounds]) -> Result<Vec<Option<(Bytes, Bytes)>>> {
        let Some((lower, upper)) = bounds.first() else { return Ok(Vec::new()) };
        // One iterator for all keys: making one costs as much as a search, and the filters are asked at every seek.
        if bounds.len() == 1 || !bounds.iter().all(|(lower, upper)| is_one_key(space, lower, upper)) {
            return bounds.iter().map(|(lower, upper)| self.first_in(space, lower, upper)).collect();
        }
        let options = point_options(space, lower, upper).unwrap_or_else(|| bounded(lower, upper));
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(space)?, options);
        bounds.iter().map(|(lower, upper)| first(&mut iterator, lower, upper)).collect()
    }
}

impl Engine for RocksEngine {
    fn snapshot<'a>(&'a self) -> Box<dyn Reader + 'a> {
        Box::new(RocksSnapshot { engine: self, snapshot: self.db.snapshot() })
    }

    fn admit_proposal(&self, bytes: u64) -> Result<()> {
        self.guard.admit(bytes, Admission::Propose)
    }

    fn append(&self, batch: &Batch) -> Result<()> {
        let bytes = batch_bytes(batch);
        let grows = batch.ops.iter().any(|op| matches!(op, BatchOp::Put { .. }));
        self.guard.admit(bytes, if grows { Admission::Append } else { Admission::AppendDeletes })?;
        self.db.write_opt(self.encode(batch)?, &self.log_writes).map_err(translate)?;
        self.bytes_appended.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.db.flush_wal(true).map_err(translate)?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn apply(&self, batch: &Batch) -> Result<()> {
        let bytes = batch_bytes(batch);
        self.guard.admit(bytes, Admission::Apply)?;
        let encoded = self.encode(batch)?;
        let write = || self.db.write_opt(encoded, &self.state_writes).map_err(translate);
        let locks = batch.ops.iter().any(|op| matches!(op, BatchOp::Put { space: Space::Lock, .. }));
        if locks { self.no_locks.putting(write) } else { write() }?;
        self.bytes_applied.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let families = [self.family(Space::Data)?, self.family(Space::Lock)?, self.family(Space::Meta)?];
        self.db.flush_cfs_opt(&[&families[0], &families[1], &families[2]], &options).map_err(translate)?;
        self.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn approximate_size(&self, space: Space, start: &[u8], end: &[u8]) -> Result<u64> {
        if start >= end {
            return Ok(0);
        }
        Ok(self.db.get_approximate_sizes_cf(self.family(space)?, &[Range::new(start, end)]).iter().sum())
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let property = |name: &str| {
            let of = |space| self.family(space).ok().and_then(|f| self.db.property_int_value_cf(f, name).ok().flatten()).unwrap_or(0);
            Space::ALL.map(of).iter().sum::<u64>()
        };
        vec![
            ("syncs", self.syncs.load(Ordering::Relaxed)),
            ("flushes", self.flushes.load(Ordering::Relaxed)),
            ("bytes_appended", self.bytes_appended.load(Ordering::Relaxed)),
            ("bytes_applied", self.bytes_applied.load(Ordering::Relaxed)),
            ("writes_refused", self.guard.refused()),
            ("free_bytes", self.guard.free_bytes().unwrap_or(0)),
            ("wal_bytes_written", self.options.get_ticker_count(Ticker::WalFileBytes)),
            ("flush_bytes_written", self.options.get_ticker_count(Ticker::FlushWriteBytes)),
            ("compaction_bytes_written", self.options.get_ticker_count(Ticker::CompactWriteBytes)),
            ("block_cache_hits", self.options.get_ticker_count(Ticker::BlockCacheHit)),
            ("block_cache_misses", self.options.get_ticker_count(Ticker::BlockCacheMiss)),
            ("block_cache_bytes", self.cache.get_usage() as u64),
            (
                "filter_skips",
                self.options.get_ticker_count(Ticker::NonLastLevelSeekFiltered)
                    + self.options.get_ticker_count(Ticker::LastLevelSeekFiltered),
            ),
            ("write_stall_micros", self.options.get_ticker_count(Ticker::StallMicros)),
            ("memtable_bytes", property("rocksdb.cur-size-all-mem-tables")),
            ("sst_bytes", property("rocksdb.total-sst-files-size")),
            ("live_data_bytes", property("rocksdb.estimate-live-data-size")),
            ("pending_compaction_bytes", property("rocksdb.estimate-pending-compaction-bytes")),
            ("background_errors", property("rocksdb.background-errors")),
        ]
    }
}

struct RocksSnapshot<'a> {
    engine: &'a RocksEngine,
    snapshot: SnapshotWithThreadMode<'a, Db>,
}

impl Reader for RocksSnapshot<'_> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        let found = self.snapshot.get_pinned_cf(self.engine.family(space)?, key).map_err(translate)?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn cursor<'a>(&'a self, space: Space, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + 'a>> {
        let iterator = self.snapshot.raw_iterator_cf_opt(self.engine.family(space)?, bounded(lower, upper));
        Ok(Box::new(RocksCursor { iterator }))
    }

    fn first_in(&self, space: Space, lower: &[u8], upper: &[u8]) -> Result<Option<(Bytes, Bytes)>> {
        let options = point_options(space, lower, upper).unwrap_or_else(|| bounded(lower, upper));
        first(&mut self.snapshot.raw_iterator_cf_opt(self.engine.family(space)?, options), lower, upper)
    }
}

/// A cursor over nothing.
struct EmptyCursor;

impl Cursor for EmptyCursor {
    fn seek(&mut self, _: &[u8]) {}
    fn seek_for_prev(&mut self, _: &[u8]) {}
    fn seek_to_first(&mut self) {}
    fn seek_to_last(&mut self) {}
    fn next(&mut self) {}
    fn prev(&mut self) {}
    fn valid(&self) -> bool {
        false
    }
    fn key(&self) -> &[u8] {
        &[]
    }
    fn value(&self) -> &[u8] {
        &[]
    }
    fn status(&self) -> Result<()> {
        Ok(())
    }
}

struct RocksCursor<'a> {
    iterator: DBRawIteratorWithThreadMode<'a, Db>,
}

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, key: &[u8]) {
        self.iterator.seek(key);
    }
    fn seek_for_prev(&mut self, key: &[u8]) {
        self.iterator.seek_for_prev(key);
    }
    fn seek_to_first(&mut self) {
        self.iterator.seek_to_first();
    }
    fn seek_to_last(&mut self) {
        self.iterator.seek_to_last();
    }
    fn next(&mut self) {
        self.iterator.next();
    }
    fn prev(&mut self) {
        self.iterator.prev();
    }
    fn valid(&self) -> bool {
        self.iterator.valid()
    }
    fn key(&self) -> &[u8] {
        self.iterator.key().unwrap_or_default()
    }
    fn value(&self) -> &[u8] {
        self.iterator.value().unwrap_or_default()
    }
    fn entry(&self) -> Option<(&[u8], &[u8])> {
        self.iterator.item()
    }
    fn status(&self) -> Result<()> {
        self.iterator.status().map_err(translate)
    }
}

fn first(iterator: &mut DBRawIteratorWithThreadMode<'_, Db>, lower: &[u8], upper: &[u8]) -> Result<Option<(Bytes, Bytes)>> {
    iterator.seek(lower);
    match iterator.item() {
        Some((key, value)) if key < upper => Ok(Some((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)))),
        Some(_) => Ok(None),
        None => iterator.status().map_err(translate).map(|()| None),
    }
}

/// An iterator over `[lower, upper)` that ignores prefixes and their filters.
fn bounded(lower: &[u8], upper: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_total_order_seek(true);
    options.set_iterate_lower_bound(lower);
    options.set_iterate_upper_bound(upper.max(lower));
    options
}

/// Whether these are the bounds of the versions of one key: `lower` is a prefix that ends in 00 00 and a version, `upper` the same prefix ending in
/// 00 01 (see `mvcc::format`).
fn is_one_key(space: Space, lower: &[u8], upper: &[u8]) -> bool {
    let prefix = lower.len().checked_sub(VERSION_BYTES).filter(|&n| n >= 2 && n == upper.len());
    prefix.is_some_and(|n| space == Space::Data && lower[..n].ends_with(&[0, 0]) && upper[n - 1] == 1 && lower[..n - 1] == upper[..n - 1])
}

/// For the versions of one key: the filters apply, and no bounds have to be copied because the prefix ends the iteration.
fn point_options(space: Space, lower: &[u8], upper: &[u8]) -> Option<ReadOptions> {
    is_one_key(space, lower, upper).then(|| {
        let mut options = ReadOptions::default();
        options.set_prefix_same_as_start(true);
        options
    })
}

fn database_options(options: &RocksOptions) -> Options {
    let mut db = Options::default();
    db.set_atomic_flush(true);
    db.set_manual_wal_flush(true);
    // A torn tail is the ordinary end of a WAL after a crash: nothing behind it was ever reported as synced.
    db.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    db.set_max_total_wal_size(options.wal_bytes_max);
    db.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(options.memtable_bytes, false));
    db.set_max_background_jobs(options.background_jobs.max(2));
    db.set_max_open_files(options.open_files_max);
    // Written steadily in the background instead of all at once, which would stall the log's fsync.
    db.set_bytes_per_sync(1 << 20);
    db.set_keep_log_file_num(4);
    db.set_max_log_file_size(8 << 20);
    db.set_stats_dump_period_sec(0);
    db.enable_statistics();
    db.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    db
}

fn family_options(space: Space, options: &RocksOptions, cache: &Cache) -> Options {
    let mut family = Options::default();
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_format_version(5);
    table.set_block_size(16 << 10);
    table.set_bloom_filter(10.0, false);
    table.set_optimize_filters_for_memory(true);
    family.set_level_compaction_dynamic_level_bytes(true);
    family.set_write_buffer_size((options.memtable_bytes / 2).clamp(1 << 20, 64 << 20));
    family.set_max_write_buffer_number(4);
    family.set_compression_type(DBCompressionType::Lz4);
    match space {
        Space::Data => {
            table.set_whole_key_filtering(false);
            family.set_prefix_extractor(SliceTransform::create("meridian.key", without_version, Some(has_version)));
            family.set_memtable_prefix_bloom_ratio(0.1);
            // Collected versions leave tombstones that every scan would step over.
            family.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
        }
        Space::Lock => {
            family.set_memtable_prefix_bloom_ratio(0.1);
            family.set_memtable_whole_key_filtering(true);
            family.add_compact_on_deletion_collector_factory(1024, 256, 0.3);
        }
        Space::Log | Space::Meta => {}
    }
    family.set_block_based_table_factory(&table);
    family
}

fn without_version(key: &[u8]) -> &[u8] {
    &key[..key.len() - VERSION_BYTES]
}

fn has_version(key: &[u8]) -> bool {
    key.len().checked_sub(VERSION_BYTES).is_some_and(|n| key[..n].ends_with(&[0, 0]))
}

fn opening(dir: &Path, error: &rocksdb::Error) -> StorageError {
    match error.kind() {
        ErrorKind::IOError if error.as_ref().contains("lock") => {
            StorageError::Io(format!("{} is in use by another process ({error})", dir.display()))
        }
        ErrorKind::NotSupported => StorageError::Format(format!("{}: {error}", dir.display())),
        ErrorKind::InvalidArgument => StorageError::Corruption(format!("{}: {error}", dir.display())),
        _ => match translate(error.clone()) {
            StorageError::Corruption(detail) => StorageError::Corruption(format!("{}: {detail}", dir.display())),
            other => other,
        },
    }
}

fn translate(error: rocksdb::Error) -> StorageError {
    match error.kind() {
        ErrorKind::Corruption => StorageError::Corruption(error.into_string()),
        _ if error.as_ref().contains("No space left on device") => StorageError::DiskFull(error.into_string()),
        _ => StorageError::Io(error.into_string()),
    }
}

/// Opens the store and hands it out as the disk seam.
pub fn open(dir: impl AsRef<Path>, options: &RocksOptions) -> Result<Arc<dyn Engine>> {
    Ok(Arc::new(RocksEngine::open(dir, options)?))
}
