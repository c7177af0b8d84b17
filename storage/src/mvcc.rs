//! Versions, intents and transaction records, as bytes in [`Space::Data`] and [`Space::Lock`].
//!
//! A version lives at `key ‖ inverted timestamp` in `Data`, newest first. At most one intent a key lives beside it in `Lock`,
//! so a scan over committed data never steps over one. A transaction record lives in `Lock` at its anchor key, so it moves
//! with the range of the anchor when that splits.
//!
//! Every version carries the id of the attempt that wrote it: a replayed request recognises its own work by id, never by
//! comparing values (C8).

use std::fmt;

use bytes::Bytes;
use meridian_clock::Timestamp;
use serde::{Deserialize, Serialize};

use crate::engine::{Batch, Reader, Result};
use crate::key::{Key, Span};

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
}

/// Which way a scan goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Reverse,
}

/// The newest version of `key` at or below `at`, tombstones included.
pub fn get(reader: &dyn Reader, key: &[u8], at: Timestamp) -> Result<Option<Version>> {
    todo!("{key:?} {at} {}", reader.get(crate::Space::Data, key)?.is_some())
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
    let _ = (reader, span, at, direction, visit);
    todo!()
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

/// The timestamp of the newest version of any key in `span`, if it lies above `above`: "did anything land here since?".
pub fn newest_above(reader: &dyn Reader, span: &Span, above: Timestamp) -> Result<Option<Timestamp>> {
    let _ = (reader, span, above);
    todo!()
}

/// Adds a committed version to `batch`.
pub fn put_version(batch: &mut Batch, key: &[u8], ts: Timestamp, writer: AttemptId, value: Option<&[u8]>) {
    let _ = (batch, key, ts, writer, value);
    todo!()
}

/// The intent on `key`, if there is one.
pub fn intent(reader: &dyn Reader, key: &[u8]) -> Result<Option<Intent>> {
    let _ = (reader, key);
    todo!()
}

/// The intents in `span`, ascending, until `visit` answers `false`.
pub fn intents(reader: &dyn Reader, span: &Span, visit: &mut dyn FnMut(&[u8], Intent) -> bool) -> Result<()> {
    let _ = (reader, span, visit);
    todo!()
}

/// Adds an intent to `batch`, in place of the one that is there.
pub fn put_intent(batch: &mut Batch, key: &[u8], intent: &Intent) {
    let _ = (batch, key, intent);
    todo!()
}

/// Adds the removal of the intent on `key` to `batch`.
pub fn delete_intent(batch: &mut Batch, key: &[u8]) {
    let _ = (batch, key);
    todo!()
}

/// The bytes of the transaction record of `attempt` at `anchor`.
pub fn record(reader: &dyn Reader, anchor: &[u8], attempt: AttemptId) -> Result<Option<Bytes>> {
    let _ = (reader, anchor, attempt);
    todo!()
}

/// Adds a transaction record to `batch`.
pub fn put_record(batch: &mut Batch, anchor: &[u8], attempt: AttemptId, record: &[u8]) {
    let _ = (batch, anchor, attempt, record);
    todo!()
}

/// Adds the removal of a transaction record to `batch`.
pub fn delete_record(batch: &mut Batch, anchor: &[u8], attempt: AttemptId) {
    let _ = (batch, anchor, attempt);
    todo!()
}
