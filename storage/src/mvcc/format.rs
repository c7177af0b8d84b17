//! How versions, intents and records look on disk.
//!
//! ```text
//!   Data   escape(key) 00 00 │ !timestamp (8, big endian)          newest version first
//!   Lock   escape(key) 00 00 │ 01                                   the intent on key
//!          escape(anchor) 00 00 │ 02 │ attempt (16, big endian)     a transaction record at its anchor
//!
//!   value  crc32 (4, little endian, of all that follows) │ kind (1) │ …
//!          kind 0  tombstone      writer (16)
//!          kind 1  version        writer (16) │ value
//!          kind 2  intent         postcard
//!          kind 3  record         the transaction layer's bytes
//! ```
//! `escape` writes a zero byte as `00 FF`; with the `00 00` at the end the engine's order is the order of the keys whatever
//! bytes they hold, and a span of keys is a span of the engine: `[escape(start), escape(end))`. Key encodings that avoid zero
//! bytes (see `encoding`) are neither longer nor need to be copied when they are read.

use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_clock::controls::{self, Control};
use smallvec::SmallVec;

use crate::engine::{Result, StorageError};
use crate::key::Span;
use crate::mvcc::{AttemptId, Intent, VersionRef};

/// A short-lived engine key: on the stack unless the user's key is long.
pub(super) type KeyBuf = SmallVec<[u8; 96]>;

const ESCAPE: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
/// Ends the escaped key.
pub(super) const TERMINATOR: [u8; 2] = [0, 0];
const TS_BYTES: usize = 8;
const WRITER_BYTES: usize = 16;
const CRC_BYTES: usize = 4;

const LOCK_INTENT: u8 = 1;
const LOCK_RECORD: u8 = 2;

const KIND_TOMBSTONE: u8 = 0;
const KIND_VERSION: u8 = 1;
const KIND_INTENT: u8 = 2;
const KIND_RECORD: u8 = 3;

fn escape_into(out: &mut impl Extend<u8>, key: &[u8]) {
    for &byte in key {
        out.extend([byte]);
        if byte == ESCAPE {
            out.extend([ESCAPED_ZERO]);
        }
    }
}

/// `escape(key)`: as a bound, it lies below every engine key of `key` and above those of all lower keys.
pub fn engine_bound(key: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(key.len() + 8);
    escape_into(&mut out, key);
    out.into()
}

/// The engine keys of `span`, in `Data` and in `Lock` alike: what to copy, measure or delete when a whole span is meant.
pub fn engine_span(span: &Span) -> (Bytes, Bytes) {
    (engine_bound(&span.start), engine_bound(&span.end))
}

/// `escape(key) 00 00`: what all engine keys of one key begin with.
pub(super) fn key_prefix(key: &[u8]) -> KeyBuf {
    let mut out = KeyBuf::new();
    if key.contains(&ESCAPE) {
        escape_into(&mut out, key);
    } else {
        out.extend_from_slice(key);
    }
    out.extend_from_slice(&TERMINATOR);
    out
}

/// Turns a prefix of one key into the bound above all its engine keys, and back.
pub(super) fn above_prefix(prefix: &mut [u8]) {
    if let Some(last) = prefix.last_mut() {
        *last = 1;
    }
}

/// Adds the version part of a `Data` key.
pub(super) fn push_ts(prefix: &mut impl Extend<u8>, ts: Timestamp) {
    prefix.extend((!ts.as_raw()).to_be_bytes());
}

/// The `Data` key of one version.
pub(super) fn data_key(key: &[u8], ts: Timestamp) -> KeyBuf {
    let mut out = key_prefix(key);
    push_ts(&mut out, ts);
    out
}

/// Splits a `Data` key: the length of its prefix (escaped key and terminator), and the timestamp.
pub(super) fn split_data_key(engine_key: &[u8]) -> Result<(usize, Timestamp)> {
    let prefix = engine_key.len().checked_sub(TS_BYTES).filter(|&n| engine_key[..n].ends_with(&TERMINATOR));
    let (Some(n), Some(inverted)) = (prefix, engine_key.last_chunk::<TS_BYTES>()) else {
        return Err(corrupt("a key in the data space has no version part", engine_key));
    };
    Ok((n, Timestamp::from_raw(!u64::from_be_bytes(*inverted))))
}

/// The user's key of a prefix; copied into `scratch` only if it holds a zero byte.
pub(super) fn user_key<'a>(prefix: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8]> {
    let escaped = &prefix[..prefix.len() - TERMINATOR.len()];
    if !escaped.contains(&ESCAPE) {
        return Ok(escaped);
    }
    scratch.clear();
    let mut bytes = escaped.iter();
    while let Some(&byte) = bytes.next() {
        if byte == ESCAPE && bytes.next() != Some(&ESCAPED_ZERO) {
            return Err(corrupt("a zero byte in a key is not escaped", prefix));
        }
        scratch.push(byte);
    }
    Ok(scratch)
}

/// What a key in `Lock` stands for.
pub(super) enum LockKey {
    /// The intent on the key.
    Intent,
    /// The record of this attempt, anchored there.
    Record(AttemptId),
}

/// The `Lock` key of the intent on `key`.
pub(super) fn intent_key(key: &[u8]) -> KeyBuf {
    let mut out = key_prefix(key);
    out.push(LOCK_INTENT);
    out
}

/// The `Lock` key of a record.
pub(super) fn record_key(anchor: &[u8], attempt: AttemptId) -> KeyBuf {
    let mut out = key_prefix(anchor);
    out.push(LOCK_RECORD);
    out.extend_from_slice(&attempt.0.to_be_bytes());
    out
}

/// Splits a `Lock` key into the length of its prefix and what it stands for. The attempt of a record may hold any bytes, so the
/// terminator is sought from the front.
pub(super) fn split_lock_key(engine_key: &[u8]) -> Result<(usize, LockKey)> {
    let mut at = 0;
    while let Some(zero) = engine_key[at..].iter().position(|&b| b == ESCAPE) {
        at += zero + 2;
        match engine_key.get(at - 1) {
            Some(&ESCAPED_ZERO) => {}
            Some(&ESCAPE) => match &engine_key[at..] {
                [LOCK_INTENT] => return Ok((at, LockKey::Intent)),
                [LOCK_RECORD, attempt @ ..] => match <[u8; WRITER_BYTES]>::try_from(attempt) {
                    Ok(attempt) => return Ok((at, LockKey::Record(AttemptId(u128::from_be_bytes(attempt))))),
                    Err(_) => break,
                },
                _ => break,
            },
            _ => break,
        }
    }
    Err(corrupt("a key in the lock space stands for nothing known", engine_key))
}

fn seal(mut value: Vec<u8>) -> Bytes {
    let crc = crc32fast::hash(&value[CRC_BYTES..]);
    value[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
    value.into()
}

/// Checks a stored value and returns its kind and body.
pub(super) fn open<'a>(stored: &'a [u8], engine_key: &[u8]) -> Result<(u8, &'a [u8])> {
    let Some((crc, [kind, body @ ..])) = stored.split_first_chunk::<CRC_BYTES>() else {
        return Err(corrupt("a value is too short", engine_key));
    };
    if crc32fast::hash(&stored[CRC_BYTES..]) != u32::from_le_bytes(*crc) && !controls::off(Control::Checksums) {
        return Err(corrupt("a value does not match its checksum", engine_key));
    }
    Ok((*kind, body))
}

pub(super) fn encode_version(writer: AttemptId, value: Option<&[u8]>) -> Bytes {
    let mut out = Vec::with_capacity(CRC_BYTES + 1 + WRITER_BYTES + value.map_or(0, <[u8]>::len));
    out.extend_from_slice(&[0; CRC_BYTES]);
    out.push(if value.is_some() { KIND_VERSION } else { KIND_TOMBSTONE });
    out.extend_from_slice(&writer.0.to_be_bytes());
    out.extend_from_slice(value.unwrap_or_default());
    seal(out)
}

pub(super) fn decode_version<'a>(stored: &'a [u8], ts: Timestamp, engine_key: &[u8]) -> Result<VersionRef<'a>> {
    let (kind, body) = open(stored, engine_key)?;
    let Some((writer, value)) = body.split_first_chunk::<WRITER_BYTES>() else {
        return Err(corrupt("a version is too short", engine_key));
    };
    let value = match kind {
        KIND_VERSION => Some(value),
        KIND_TOMBSTONE if value.is_empty() => None,
        _ => return Err(corrupt("a value in the data space is no version", engine_key)),
    };
    Ok(VersionRef { ts, writer: AttemptId(u128::from_be_bytes(*writer)), value })
}

/// Where the user's value begins in a stored version: lets a read share the engine's buffer.
pub(super) const VERSION_VALUE_AT: usize = CRC_BYTES + 1 + WRITER_BYTES;

pub(super) fn encode_intent(intent: &Intent) -> Bytes {
    let mut out = Vec::with_capacity(64 + intent.anchor.len() + intent.value.as_ref().map_or(0, Bytes::len));
    out.extend_from_slice(&[0, 0, 0, 0, KIND_INTENT]);
    // Writing to a Vec has no failure, and an Intent holds nothing that postcard refuses.
    seal(postcard::to_extend(intent, out).unwrap_or_else(|error| unreachable!("encoding an intent: {error}")))
}

pub(super) fn decode_intent(stored: &[u8], engine_key: &[u8]) -> Result<Intent> {
    match open(stored, engine_key)? {
        (KIND_INTENT, body) => postcard::from_bytes(body).map_err(|_| corrupt("an intent does not decode", engine_key)),
        _ => Err(corrupt("a value is no intent", engine_key)),
    }
}

pub(super) fn encode_record(record: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(CRC_BYTES + 1 + record.len());
    out.extend_from_slice(&[0, 0, 0, 0, KIND_RECORD]);
    out.extend_from_slice(record);
    seal(out)
}

pub(super) fn decode_record(stored: &Bytes, engine_key: &[u8]) -> Result<Bytes> {
    match open(stored, engine_key)? {
        (KIND_RECORD, body) => Ok(stored.slice_ref(body)),
        _ => Err(corrupt("a value is no transaction record", engine_key)),
    }
}

#[cold]
pub(super) fn corrupt(what: &str, engine_key: &[u8]) -> StorageError {
    StorageError::Corruption(format!("{what} (engine key {})", engine_key.escape_ascii()))
}
