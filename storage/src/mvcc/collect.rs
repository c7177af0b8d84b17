//! Collection of old versions, and checksums of a span.
//!
//! ```text
//!   versions of one key, newest left          horizon
//!        v9        v7                            │   v5       v4      v2
//!        keep      keep                          │   keep     ✗       ✗        reads at or above the horizon see v5
//!        keep      keep                          │  (v5 ✗)    ✗       ✗        the same, if v5 is a tombstone
//! ```
//! Nothing above the horizon is touched, and the horizon never passes a protected timestamp ([`collection_horizon`]). Removal
//! is a batch like any other: it is replicated, so replicas stay identical.

use std::time::Duration;

use bytes::Bytes;
use meridian_clock::Timestamp;

use super::format::{self, KeyBuf};
use super::{Direction, read};
use crate::engine::{Batch, Reader, Result, Space};
use crate::key::{Key, Span};

/// How much one call of [`collect`] does.
#[derive(Clone, Copy, Debug)]
pub struct CollectLimits {
    /// Versions removed at most.
    pub removals_max: usize,
    /// Versions looked at, at most (checked between keys).
    pub visits_max: usize,
}

impl Default for CollectLimits {
    fn default() -> Self {
        CollectLimits { removals_max: 1_000, visits_max: 50_000 }
    }
}

/// What [`collect`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Versions whose removal was added to the batch.
    pub removed: usize,
    /// Versions looked at.
    pub visited: usize,
    /// Where to go on; `None` when the span is done.
    pub resume: Option<Key>,
}

/// The timestamp at and above which every read must stay possible: `ttl` before `now`, and never above anything protected (the read
/// timestamp of a backup, a changefeed, an open transaction).
pub fn collection_horizon(now: Timestamp, ttl: Duration, protected: impl IntoIterator<Item = Timestamp>) -> Timestamp {
    protected.into_iter().fold(now.minus(ttl), Timestamp::min)
}

/// Adds to `batch` the removal of versions in `span` that no read at or above `horizon` can see.
///
/// Stops at the limits; the removals so far are complete in themselves and `resume` says where to go on.
pub fn collect(reader: &dyn Reader, span: &Span, horizon: Timestamp, limits: CollectLimits, batch: &mut Batch) -> Result<Collected> {
    let mut done = Collected::default();
    if span.is_empty() {
        return Ok(done);
    }
    let (lower, upper) = format::engine_span(span);
    let mut cursor = reader.cursor(Space::Data, &lower, &upper)?;
    let (mut prefix, mut unescaped) = (KeyBuf::new(), Vec::new());
    cursor.seek_to_first();
    while cursor.valid() {
        let (n, _) = format::split_data_key(cursor.key())?;
        prefix.clear();
        prefix.extend_from_slice(&cursor.key()[..n]);
        if done.visited >= limits.visits_max || done.removed >= limits.removals_max {
            done.resume = Some(Bytes::copy_from_slice(format::user_key(&prefix, &mut unescaped)?));
            return Ok(done);
        }
        // The newest at or below the horizon shields the older ones. If it is a tombstone it goes too, but only when no older version is left.
        let mut shield: Option<Option<Bytes>> = None;
        let mut cut_short = false;
        while cursor.valid() && cursor.key().starts_with(&prefix) {
            done.visited += 1;
            let (_, ts) = format::split_data_key(cursor.key())?;
            if ts <= horizon {
                if shield.is_none() {
                    let tombstone = format::decode_version(cursor.value(), ts, cursor.key())?.value.is_none();
                    shield = Some(tombstone.then(|| Bytes::copy_from_slice(cursor.key())));
                } else if done.removed < limits.removals_max {
                    batch.delete(Space::Data, Bytes::copy_from_slice(cursor.key()));
                    done.removed += 1;
                } else {
                    cut_short = true;
                    break;
                }
            }
            cursor.next();
        }
        if cut_short {
            done.resume = Some(Bytes::copy_from_slice(format::user_key(&prefix, &mut unescaped)?));
            return Ok(done);
        }
        if let Some(Some(tombstone)) = shield {
            batch.delete(Space::Data, tombstone);
            done.removed += 1;
        }
    }
    cursor.status()?;
    Ok(done)
}

/// A digest to compare between replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Checksum {
    /// The digest. Equal states have equal digests; a difference means different states.
    pub digest: u64,
    /// Entries counted in.
    pub entries: u64,
    /// Bytes of keys and values counted in.
    pub bytes: u64,
}

impl Checksum {
    fn add(&mut self, key: &[u8], tag: &[u8], value: &[u8]) {
        let mut crc = crc32fast::Hasher::new();
        crc.update(key);
        crc.update(tag);
        crc.update(value);
        let lengths = ((key.len() as u64) << 32) ^ ((value.len() as u64) << 44) ^ u64::from(crc.finalize());
        // An odd multiplier permutes and the rotation carries high bits down, so order and every entry count.
        self.digest = (self.digest.rotate_left(23) ^ lengths).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.entries += 1;
        self.bytes += (key.len() + value.len()) as u64;
    }
}

/// The checksum of what a read of `span` at `at` sees, tombstones included. Equal on all replicas that have applied
/// everything at or below `at`, whatever else they have applied, as long as `at` is not below the collection horizon.
pub fn checksum(reader: &dyn Reader, span: &Span, at: Timestamp) -> Result<Checksum> {
    let mut sum = Checksum::default();
    read::scan(reader, span, at, Direction::Forward, &mut |key, version| {
        let mut tag = [0; 25];
        tag[..8].copy_from_slice(&version.ts.as_raw().to_be_bytes());
        tag[8..24].copy_from_slice(&version.writer.0.to_be_bytes());
        tag[24] = u8::from(version.value.is_some());
        sum.add(key, &tag, version.value.unwrap_or_default());
        true
    })?;
    Ok(sum)
}

/// The checksum of every stored byte of `span`: all versions, intents and records. Equal on all replicas at the same applied index.
pub fn checksum_state(reader: &dyn Reader, span: &Span) -> Result<Checksum> {
    let mut sum = Checksum::default();
    if span.is_empty() {
        return Ok(sum);
    }
    let (lower, upper) = format::engine_span(span);
    for space in [Space::Data, Space::Lock] {
        let mut cursor = reader.cursor(space, &lower, &upper)?;
        cursor.seek_to_first();
        while cursor.valid() {
            sum.add(cursor.key(), &[space as u8], cursor.value());
            cursor.next();
        }
        cursor.status()?;
    }
    Ok(sum)
}
