//! Versions, intents and transaction records, as bytes in [`Space::Data`] and [`Space::Lock`].
//!
//! A version lives at `key ‖ inverted timestamp` in `Data`, newest first. At most one intent a key lives beside it in `Lock`,
//! so a scan over committed data never steps over one. A transaction record lives in `Lock` at its anchor key, so it moves
//! with the range of the anchor when that splits.
//!
//! Every version carries the id of the attempt that wrote it: a replayed request recognises its own work by id, never by
//! comparing values (C8).
//!
//! `format` says how all this looks on disk, `read` how it is found, `collect` how old versions go, `cut` where a span
//! is cut so that several can read it.

mod collect;
mod cut;
mod format;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use meridian_clock::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::{Batch, Reader, Result, Space};
use crate::key::{Key, Span};
use format::KeyBuf;

pub use collect::{Checksum, CollectLimits, Collected, checksum, checksum_state, collect, collection_horizon};
pub use cut::cuts;
pub use format::{engine_bound, engine_span};

/// The id of one attempt of a transaction; a restart takes a new one (C1). Unique in the cluster for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct AttemptId(pub u128);

impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One committed version of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Commit timestamp; unique among the versions of a key.
    pub ts: Timestamp,
    /// Who wrote it.
    pub writer: AttemptId,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// A provisional version whose fate the record at `anchor` decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Who wrote it.
    pub attempt: AttemptId,
    /// Where the transaction's record lives or will live.
    pub anchor: Key,
    /// Provisional commit timestamp.
    pub ts: Timestamp,
    /// The provisional value; `None` deletes.
    pub value: Option<Bytes>,
    /// Which request of the attempt laid it: 0 at the commit, else the number of the early portion. Tells a replay from a second row of the
    /// same key (C8: by id, never by comparing values).
    pub portion: u32,
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Reverse,
}

/// A version that borrows from the engine.
#[derive(Clone, Copy, Debug)]
pub struct VersionRef<'a> {
    /// Commit timestamp.
    pub ts: Timestamp,
    /// Who wrote it.
    pub writer: AttemptId,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// The newest version of `key` at or below `at`, tombstones included.
pub fn get(reader: &dyn Reader, key: &[u8], at: Timestamp) -> Result<Option<Version>> {
    read::get(reader, key, at)
}

/// [`get`] of many keys, in their order.
pub fn get_many<'k>(reader: &dyn Reader, keys: impl Iterator<Item = &'k [u8]>, at: Timestamp) -> Result<Vec<Option<Version>>> {
    read::get_many(reader, keys, at)
}

/// The newest version of every key of `span` at or below `at`, tombstones included (T3 counts them), in `direction`, until
/// `visit` answers `false`.
pub fn scan(
    reader: &dyn Reader,
    span: &Span,
    at: Timestamp,
    direction: Direction,
    visit: &mut dyn FnMut(&[u8], VersionRef<'_>) -> bool,
) -> Result<()> {
    read::scan(reader, span, at, direction, visit)
}

/// The timestamp of the newest version of any key in `span`, if it lies above `above`: "did anything land here since?".
pub fn newest_above(reader: &dyn Reader, span: &Span, above: Timestamp) -> Result<Option<Timestamp>> {
    read::newest_above(reader, span, above)
}

/// Adds a committed version to `batch`.
pub fn put_version(batch: &mut Batch, key: &[u8], ts: Timestamp, writer: AttemptId, value: Option<&[u8]>) {
    debug_assert!(ts != Timestamp::ZERO && ts != Timestamp::MAX, "a version needs a real timestamp");
    batch.put(Space::Data, format::data_key(key, ts).into_vec(), format::encode_version(writer, value));
}

/// The intent on `key`, if there is one.
pub fn intent(reader: &dyn Reader, key: &[u8]) -> Result<Option<Intent>> {
    let engine_key = format::intent_key(key);
    reader.get(Space::Lock, &engine_key)?.map(|stored| format::decode_intent(&stored, &engine_key)).transpose()
}

/// The intents in `span`, ascending, until `visit` answers `false`.
pub fn intents(reader: &dyn Reader, span: &Span, visit: &mut dyn FnMut(&[u8], Intent) -> bool) -> Result<()> {
    if span.is_empty() {
        return Ok(());
    }
    let (lower, upper) = format::engine_span(span);
    let mut cursor = reader.cursor(Space::Lock, &lower, &upper)?;
    let mut unescaped = Vec::new();
    cursor.seek_to_first();
    while cursor.valid() {
        if let (n, format::LockKey::Intent) = format::split_lock_key(cursor.key())? {
            let intent = format::decode_intent(cursor.value(), cursor.key())?;
            if !visit(format::user_key(&cursor.key()[..n], &mut unescaped)?, intent) {
                return Ok(());
            }
        }
        cursor.next();
    }
    cursor.status()
}

/// Whether a stored value of the data or lock space is as it was written. What copies values without looking into them asks before it passes
/// them on, or the damage of one replica would become that of the next.
pub fn verify(engine_key: &[u8], stored: &[u8]) -> Result<()> {
    format::open(stored, engine_key).map(|_| ())
}

/// Whether nothing at all is stored in `span`: no version, no tombstone, no intent, no record.
pub fn is_untouched(reader: &dyn Reader, span: &Span) -> Result<bool> {
    let (lower, upper) = format::engine_span(span);
    for space in [Space::Lock, Space::Data] {
        let mut cursor = reader.cursor(space, &lower, &upper)?;
        cursor.seek_to_first();
        if cursor.valid() {
            return Ok(false);
        }
        cursor.status()?;
    }
    Ok(true)
}

/// Where a portion of the intents and records in `span` ends that has at most so many entries and about so many bytes, but at least one key;
/// `None` if all of them fit.
pub fn lock_portion(reader: &dyn Reader, span: &Span, entries: usize, bytes: usize) -> Result<Option<Key>> {
    let (lower, upper) = format::engine_span(span);
    let mut cursor = reader.cursor(Space::Lock, &lower, &upper)?;
    let (mut count, mut size, mut first) = (0, 0, KeyBuf::new());
    cursor.seek_to_first();
    while cursor.valid() {
        let (n, _) = format::split_lock_key(cursor.key())?;
        let prefix = &cursor.key()[..n];
        if (count >= entries || size >= bytes) && *prefix != first[..] {
            return Ok(Some(Key::copy_from_slice(format::user_key(prefix, &mut Vec::new())?)));
        }
        if count == 0 {
            first.extend_from_slice(prefix);
        }
        count += 1;
        size += cursor.key().len() + cursor.value().len();
        cursor.next();
    }
    cursor.status()?;
    Ok(None)
}

/// Adds to `batch` what resolves the intents of `target` in `span`: versions at `at`, or nothing if it aborted. Intents and records of others stay.
/// Answers how many there were. If nothing else is stored among them they go with a single range deletion, which costs later scans nothing.
pub fn resolve_span(reader: &dyn Reader, batch: &mut Batch, span: &Span, target: AttemptId, at: Option<Timestamp>) -> Result<usize> {
    let (lower, upper) = format::engine_span(span);
    let mut cursor = reader.cursor(Space::Lock, &lower, &upper)?;
    let (mut unescaped, mut alone, mut found) = (Vec::new(), true, Vec::new());
    cursor.seek_to_first();
    while cursor.valid() {
        if let (n, format::LockKey::Intent) = format::split_lock_key(cursor.key())?
            && let intent = format::decode_intent(cursor.value(), cursor.key())?
            && intent.attempt == target
        {
            if let Some(at) = at {
                put_version(batch, format::user_key(&cursor.key()[..n], &mut unescaped)?, at, target, intent.value.as_deref());
            }
            found.push(Bytes::copy_from_slice(cursor.key()));
        } else {
            alone = false;
        }
        cursor.next();
    }
    cursor.status()?;
    let count = found.len();
    if alone && count > RANGE_DELETION_FROM {
        batch.delete_range(Space::Lock, lower, upper);
    } else {
        found.into_iter().for_each(|key| batch.delete(Space::Lock, key));
    }
    Ok(count)
}

/// Intents from which on a range deletion is cheaper than so many single ones.
const RANGE_DELETION_FROM: usize = 64;

/// Adds an intent to `batch`, in place of the one that is there.
pub fn put_intent(batch: &mut Batch, key: &[u8], intent: &Intent) {
    batch.put(Space::Lock, format::intent_key(key).into_vec(), format::encode_intent(intent));
}

/// Adds the removal of the intent on `key` to `batch`.
pub fn delete_intent(batch: &mut Batch, key: &[u8]) {
    batch.delete(Space::Lock, format::intent_key(key).into_vec());
}

/// The bytes of the transaction record of `attempt` at `anchor`.
pub fn record(reader: &dyn Reader, anchor: &[u8], attempt: AttemptId) -> Result<Option<Bytes>> {
    let engine_key = format::record_key(anchor, attempt);
    reader.get(Space::Lock, &engine_key)?.map(|stored| format::decode_record(&stored, &engine_key)).transpose()
}

/// The transaction records anchored in `span`, ascending by anchor and attempt, until `visit` answers `false`: for the sweep of abandoned ones.
pub fn records(reader: &dyn Reader, span: &Span, visit: &mut dyn FnMut(&[u8], AttemptId, Bytes) -> bool) -> Result<()> {
    if span.is_empty() {
        return Ok(());
    }
    let (lower, upper) = format::engine_span(span);
    let mut cursor = reader.cursor(Space::Lock, &lower, &upper)?;
    let mut unescaped = Vec::new();
    cursor.seek_to_first();
    while cursor.valid() {
        if let (n, format::LockKey::Record(attempt)) = format::split_lock_key(cursor.key())? {
            let record = format::decode_record(&Bytes::copy_from_slice(cursor.value()), cursor.key())?;
            if !visit(format::user_key(&cursor.key()[..n], &mut unescaped)?, attempt, record) {
                return Ok(());
            }
        }
        cursor.next();
    }
    cursor.status()
}

/// Adds a transaction record to `batch`.
pub fn put_record(batch: &mut Batch, anchor: &[u8], attempt: AttemptId, record: &[u8]) {
    batch.put(Space::Lock, format::record_key(anchor, attempt).into_vec(), format::encode_record(record));
}

/// Adds the removal of a transaction record to `batch`.
pub fn delete_record(batch: &mut Batch, anchor: &[u8], attempt: AttemptId) {
    batch.delete(Space::Lock, format::record_key(anchor, attempt).into_vec());
}
