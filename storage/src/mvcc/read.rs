//! Point reads and scans over versions.
//!
//! A forward scan meets the newest version of a key first, a reverse scan the oldest. Both step over a few unwanted versions
//! one by one, because a step costs a fifteenth of a seek, and seek past a longer pile. Nothing is allocated per row.

use bytes::Bytes;
use meridian_clock::Timestamp;

use super::format::{self, KeyBuf};
use super::{Direction, Version, VersionRef};
use crate::engine::{Bounds, Cursor, Reader, Result, Space};
use crate::key::Span;

/// So many versions are stepped over before seeking.
const STEPS_BEFORE_SEEK: usize = 6;

/// See [`super::get`].
pub(super) fn get(reader: &dyn Reader, key: &[u8], at: Timestamp) -> Result<Option<Version>> {
    let (lower, upper) = version_bounds(key, at);
    reader.first_in(Space::Data, &lower, &upper)?.map(version).transpose()
}

/// See [`super::get_many`].
pub(super) fn get_many<'k>(reader: &dyn Reader, keys: impl Iterator<Item = &'k [u8]>, at: Timestamp) -> Result<Vec<Option<Version>>> {
    let bounds: Vec<Bounds> = keys.map(|key| version_bounds(key, at)).collect();
    reader.firsts(Space::Data, &bounds)?.into_iter().map(|found| found.map(version).transpose()).collect()
}

/// The engine keys of the versions of `key` at or below `at`.
fn version_bounds(key: &[u8], at: Timestamp) -> Bounds {
    let mut upper = format::key_prefix(key);
    let mut lower = upper.clone();
    format::push_ts(&mut lower, at);
    format::above_prefix(&mut upper);
    (lower, upper)
}

fn version((found, stored): (Bytes, Bytes)) -> Result<Version> {
    let (_, ts) = format::split_data_key(&found)?;
    let version = format::decode_version(&stored, ts, &found)?;
    let (writer, live) = (version.writer, version.value.is_some());
    let value =
        live.then(|| if stored.len() == format::VERSION_VALUE_AT { Bytes::new() } else { stored.slice(format::VERSION_VALUE_AT..) });
    Ok(Version { ts, writer, value })
}

/// See [`super::scan`].
pub(super) fn scan(
    reader: &dyn Reader,
    span: &Span,
    at: Timestamp,
    direction: Direction,
    visit: &mut dyn FnMut(&[u8], VersionRef<'_>) -> bool,
) -> Result<()> {
    if span.is_empty() {
        return Ok(());
    }
    let (lower, upper) = format::engine_span(span);
    let mut cursor = reader.cursor(Space::Data, &lower, &upper)?;
    match direction {
        Direction::Forward => forward(&mut *cursor, at, visit)?,
        Direction::Reverse => reverse(&mut *cursor, at, visit)?,
    }
    cursor.status()
}

fn forward(cursor: &mut dyn Cursor, at: Timestamp, visit: &mut dyn FnMut(&[u8], VersionRef<'_>) -> bool) -> Result<()> {
    // What the cursor stands on is asked for once a step: each question crosses into the engine.
    let (mut prefix, mut unescaped, mut older) = (KeyBuf::new(), Vec::new(), 0);
    cursor.seek_to_first();
    while let Some((key, value)) = cursor.entry() {
        if !prefix.is_empty() && key.starts_with(&prefix) {
            // An older version of the key that was visited last.
            older += 1;
            if older < STEPS_BEFORE_SEEK {
                cursor.next();
            } else {
                format::above_prefix(&mut prefix);
                cursor.seek(&prefix);
                prefix.clear();
            }
            continue;
        }
        let (n, ts) = format::split_data_key(key)?;
        prefix.clear();
        prefix.extend_from_slice(&key[..n]);
        if ts > at {
            to_version(cursor, &mut prefix, at)?;
            prefix.clear();
            continue;
        }
        let version = format::decode_version(value, ts, key)?;
        if !visit(format::user_key(&prefix, &mut unescaped)?, version) {
            return Ok(());
        }
        older = 0;
        cursor.next();
    }
    Ok(())
}

/// From a version that is too new to the newest one at or below `at` of the same key, or beyond the key if there is none.
fn to_version(cursor: &mut dyn Cursor, prefix: &mut KeyBuf, at: Timestamp) -> Result<()> {
    for _ in 0..STEPS_BEFORE_SEEK {
        cursor.next();
        if !cursor.valid() || !cursor.key().starts_with(prefix) || format::split_data_key(cursor.key())?.1 <= at {
            return Ok(());
        }
    }
    format::push_ts(prefix, at);
    cursor.seek(prefix);
    Ok(())
}

/// To the newest version of the next key.
pub(super) fn to_next_key(cursor: &mut dyn Cursor, prefix: &mut KeyBuf) {
    for _ in 0..STEPS_BEFORE_SEEK {
        cursor.next();
        if !cursor.valid() || !cursor.key().starts_with(prefix) {
            return;
        }
    }
    format::above_prefix(prefix);
    cursor.seek(prefix);
}

fn reverse(cursor: &mut dyn Cursor, at: Timestamp, visit: &mut dyn FnMut(&[u8], VersionRef<'_>) -> bool) -> Result<()> {
    let (mut prefix, mut unescaped, mut stored) = (KeyBuf::new(), Vec::new(), Vec::new());
    cursor.seek_to_last();
    while cursor.valid() {
        let (n, oldest) = format::split_data_key(cursor.key())?;
        prefix.clear();
        prefix.extend_from_slice(&cursor.key()[..n]);
        if oldest > at {
            to_previous_key(cursor, &prefix);
            continue;
        }
        let ts = newest_backwards(cursor, &mut prefix, at, oldest, &mut stored)?;
        let version = format::decode_version(&stored, ts, &prefix)?;
        if !visit(format::user_key(&prefix, &mut unescaped)?, version) {
            return Ok(());
        }
    }
    Ok(())
}

/// Standing on the oldest version of a key, which is at or below `at`: copies the newest such one to `stored`, and leaves the
/// cursor on the previous key.
fn newest_backwards(
    cursor: &mut dyn Cursor,
    prefix: &mut KeyBuf,
    at: Timestamp,
    oldest: Timestamp,
    stored: &mut Vec<u8>,
) -> Result<Timestamp> {
    let mut ts = oldest;
    for _ in 0..STEPS_BEFORE_SEEK {
        stored.clear();
        stored.extend_from_slice(cursor.value());
        cursor.prev();
        if !cursor.valid() || !cursor.key().starts_with(prefix) {
            return Ok(ts);
        }
        let newer = format::split_data_key(cursor.key())?.1;
        if newer > at {
            to_previous_key(cursor, prefix);
            return Ok(ts);
        }
        ts = newer;
    }
    let n = prefix.len();
    format::push_ts(prefix, at);
    cursor.seek(prefix);
    prefix.truncate(n);
    if !cursor.valid() {
        // The version we came from is still there: only an error of the engine ends here.
        cursor.status()?;
        return Err(format::corrupt("a version vanished under a cursor", prefix));
    }
    ts = format::split_data_key(cursor.key())?.1;
    stored.clear();
    stored.extend_from_slice(cursor.value());
    cursor.seek_for_prev(prefix);
    Ok(ts)
}

fn to_previous_key(cursor: &mut dyn Cursor, prefix: &KeyBuf) {
    for _ in 0..STEPS_BEFORE_SEEK {
        cursor.prev();
        if !cursor.valid() || !cursor.key().starts_with(prefix) {
            return;
        }
    }
    // No version has the bare prefix as its key, so this lands before all of them.
    cursor.seek_for_prev(prefix);
}

/// See [`super::newest_above`].
pub(super) fn newest_above(reader: &dyn Reader, span: &Span, above: Timestamp) -> Result<Option<Timestamp>> {
    if is_point(span) {
        let mut upper = format::key_prefix(&span.start);
        let lower = format::data_key(&span.start, Timestamp::MAX);
        format::above_prefix(&mut upper);
        let Some((key, _)) = reader.first_in(Space::Data, &lower, &upper)? else { return Ok(None) };
        let (_, ts) = format::split_data_key(&key)?;
        return Ok((ts > above).then_some(ts));
    }
    if span.is_empty() {
        return Ok(None);
    }
    let (lower, upper) = format::engine_span(span);
    let mut cursor = reader.cursor(Space::Data, &lower, &upper)?;
    let (mut prefix, mut newest) = (KeyBuf::new(), None);
    cursor.seek_to_first();
    while cursor.valid() {
        let (n, ts) = format::split_data_key(cursor.key())?;
        prefix.clear();
        prefix.extend_from_slice(&cursor.key()[..n]);
        newest = newest.max((ts > above).then_some(ts));
        to_next_key(&mut *cursor, &mut prefix);
    }
    cursor.status()?;
    Ok(newest)
}

fn is_point(span: &Span) -> bool {
    span.end.len() == span.start.len() + 1 && span.end.last() == Some(&0) && span.end.starts_with(&span.start)
}
