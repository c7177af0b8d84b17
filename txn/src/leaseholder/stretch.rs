//! One stretch of a scan: versions read in order until a limit, fed to the program, digested.

use bytes::{Bytes, BytesMut};
use meridian_clock::Timestamp;
use meridian_storage::mvcc::{self, Direction, VersionRef};
use meridian_storage::{Key, Reader, Span};

use super::bare::DEAD_MIN;
use crate::api::{KvError, Program};
use crate::digest::{self, Hasher};
use crate::request::RangeScan;

/// A stretch ends after this many rows looked at, however few came out, so that one request never keeps a worker for long.
pub(super) const VISITS_MAX: usize = 100_000;

/// What a locking scan does with a row that came out.
pub(super) enum Verdict {
    Take,
    Skip,
    Stop,
}

/// What a stretch of a scan gave.
pub(super) struct Stretch {
    pub rows: Vec<(Key, Bytes)>,
    pub digest: digest::Digest,
    pub newest: Timestamp,
    pub resume: Option<Span>,
    /// Dead rows in front of the first live one.
    pub dead: Dead,
}

/// The dead rows that a scan met before it met a live one.
#[derive(Default)]
pub(super) struct Dead {
    pub rows: usize,
    /// The newest of their tombstones.
    pub newest: Timestamp,
    /// The first live row, where there were enough dead ones to be noted.
    pub before: Option<Key>,
    met_live: bool,
}

impl Dead {
    fn visit(&mut self, key: &[u8], version: &VersionRef<'_>) {
        if self.met_live {
            return;
        }
        if version.value.is_some() {
            self.met_live = true;
            self.before = (self.rows >= DEAD_MIN).then(|| Key::copy_from_slice(key));
        } else {
            self.rows += 1;
            self.newest = self.newest.max(version.ts);
        }
    }
}

/// The part of `span` that was read, given what is left.
pub(crate) fn covered(span: &Span, direction: Direction, resume: Option<&Span>) -> Span {
    match (resume, direction) {
        (None, _) => span.clone(),
        (Some(left), Direction::Forward) => Span { start: span.start.clone(), end: left.start.clone() },
        (Some(left), Direction::Reverse) => Span { start: left.end.clone(), end: span.end.clone() },
    }
}

/// Rows without a program, packed into one buffer: two allocations a page instead of two a row.
#[derive(Default)]
struct Packed {
    bytes: BytesMut,
    ends: Vec<(usize, usize)>,
}

impl Packed {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }

    fn pop(&mut self) {
        self.ends.pop();
        self.bytes.truncate(self.ends.last().map_or(0, |e| e.1));
    }

    fn into_rows(self) -> Vec<(Key, Bytes)> {
        let bytes = self.bytes.freeze();
        let mut start = 0;
        self.ends
            .into_iter()
            .map(|(key_end, end)| {
                let row = (bytes.slice(start..key_end), bytes.slice(key_end..end));
                start = end;
                row
            })
            .collect()
    }
}

/// Reads versions at `at` until a limit, feeds the program, digests what comes out. `begin`: nothing in front of it is alive.
pub(super) fn run(
    reader: &dyn Reader,
    scan: &RangeScan,
    begin: Option<&Key>,
    at: Timestamp,
    visits_max: usize,
    mut program: Option<Box<dyn Program>>,
    verdict: &mut dyn FnMut(&[u8], VersionRef<'_>) -> Verdict,
) -> Result<Stretch, KvError> {
    let locking = scan.lock.is_some();
    let rows_max = if scan.limit_rows == 0 { usize::MAX } else { usize::try_from(scan.limit_rows).unwrap_or(usize::MAX) };
    let (mut packed, mut out) = (Packed::default(), Vec::new());
    let (mut hasher, mut newest, mut bytes, mut visits) = (Hasher::default(), Timestamp::ZERO, 0u64, 0usize);
    let (mut resume, mut failed, mut dead) = (None, None, Dead::default());
    let span = Span { start: begin.unwrap_or(&scan.span.start).clone(), end: scan.span.end.clone() };
    mvcc::scan(reader, &span, at, scan.direction, &mut |key, version| {
        newest = newest.max(version.ts);
        visits += 1;
        dead.visit(key, &version);
        if let Some(value) = version.value {
            let before = out.len();
            match &mut program {
                Some(program) => {
                    if let Err(e) = program.row(key, value, &mut out) {
                        failed = Some(KvError::Program(e));
                        return false;
                    }
                }
                None => packed.push(key, value),
            }
            if locking && (program.is_none() || out.len() > before) {
                match verdict(key, version) {
                    Verdict::Take => {}
                    Verdict::Skip if program.is_some() => {
                        out.truncate(before);
                        return true;
                    }
                    Verdict::Skip => {
                        packed.pop();
                        return true;
                    }
                    Verdict::Stop => return false,
                }
            }
            if program.is_none() {
                bytes += (key.len() + value.len()) as u64;
                if scan.recorded {
                    hasher.bytes(key);
                    hasher.row(value, &scan.columns);
                }
            } else {
                bytes += hash_output(&mut hasher, &out[before..]);
            }
        }
        if packed.ends.len().max(out.len()) >= rows_max || bytes >= scan.limit_bytes || visits >= visits_max {
            resume = rest(&scan.span, scan.direction, key);
            return false;
        }
        true
    })
    .map_err(crate::request::storage_error)?;
    if let Some(error) = failed {
        return Err(error);
    }
    let rows = match program {
        None => packed.into_rows(),
        Some(mut program) => {
            let before = out.len();
            program.finish(&mut out).map_err(KvError::Program)?;
            hash_output(&mut hasher, &out[before..]);
            out
        }
    };
    Ok(Stretch { rows, digest: hasher.finish(), newest, resume, dead })
}

fn hash_output(hasher: &mut Hasher, rows: &[(Key, Bytes)]) -> u64 {
    let mut bytes = 0;
    for (key, value) in rows {
        hasher.bytes(key);
        hasher.bytes(value);
        bytes += (key.len() + value.len()) as u64;
    }
    bytes
}

/// What is left of `span` after `key`.
pub(crate) fn rest(span: &Span, direction: Direction, key: &[u8]) -> Option<Span> {
    let left = match direction {
        Direction::Forward => Span { start: Span::point(Key::copy_from_slice(key)).end, end: span.end.clone() },
        Direction::Reverse => Span { start: span.start.clone(), end: Key::copy_from_slice(key) },
    };
    (!left.is_empty()).then_some(left)
}
