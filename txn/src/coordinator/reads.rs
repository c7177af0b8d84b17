//! The read set: what must still hold where the transaction commits (C3).

use std::collections::BTreeMap;

use bytes::Bytes;
use meridian_clock::Timestamp;
use meridian_clock::controls::{self, Control};
use meridian_storage::Key;

use crate::api::Columns;
use crate::digest::{self, Digest};
use crate::request::{PointRead, Reads, SpanRead, VersionId};

/// Beyond so many reads the set is dropped: the transaction can then commit only at its own snapshot, with nothing to validate.
const READS_MAX: usize = 200_000;

/// A key as read.
#[derive(Clone, Debug)]
pub struct Point {
    /// Which version.
    pub version: Option<VersionId>,
    columns: Columns,
    digest: Digest,
    valid_at: Timestamp,
    /// Read under a lock: its newest version, which the lock kept still.
    pub locked: bool,
    /// A row was there.
    pub live: bool,
    /// A span read of this transaction covers it, so that it is validated there.
    in_span: bool,
}

/// All reads of one attempt.
#[derive(Debug, Default)]
pub struct ReadSet {
    points: BTreeMap<Key, Point>,
    spans: Vec<SpanRead>,
    overflowed: bool,
}

impl ReadSet {
    /// What was read of `key` so far.
    pub fn point(&self, key: &[u8]) -> Option<&Point> {
        self.points.get(key)
    }

    /// Records a plain point read at `valid_at`.
    pub fn plain(&mut self, key: &Key, columns: &Columns, version: Option<VersionId>, value: Option<&Bytes>, valid_at: Timestamp) {
        if let Some(point) = self.points.get_mut(key)
            && !point.in_span
        {
            // Read before: at this snapshot it is as it was then, in the columns that counted (or the snapshot could not have moved).
            let columns = union(&point.columns, columns);
            if columns != point.columns || (version != point.version && !point.locked) {
                point.digest = digest::point(value, &columns);
                point.columns = columns;
            }
            if !point.locked {
                point.version = version;
                point.valid_at = point.valid_at.max(valid_at);
            }
            return;
        }
        if self.full() {
            return;
        }
        let (locked, version) = self.points.get(key).map_or((false, version), |p| (p.locked, p.version));
        let point = Point {
            version,
            digest: digest::point(value, columns),
            columns: columns.clone(),
            valid_at,
            locked,
            live: value.is_some(),
            in_span: false,
        };
        self.points.insert(key.clone(), point);
    }

    /// Records a locking point read. `Err`: what was read of the key before does not hold any more.
    pub fn locked(&mut self, key: &Key, columns: &Columns, version: Option<VersionId>, value: Option<&Bytes>) -> Result<(), ()> {
        let mut columns = columns.clone();
        if let Some(old) = self.points.get(key) {
            if old.version != version && !old.in_span && digest::point(value, &old.columns) != old.digest {
                return Err(());
            }
            columns = union(&old.columns, &columns);
        }
        let point = Point {
            version,
            digest: digest::point(value, &columns),
            columns,
            valid_at: Timestamp::ZERO,
            locked: true,
            live: value.is_some(),
            in_span: false,
        };
        self.points.insert(key.clone(), point);
        Ok(())
    }

    /// Records a row that a locking scan locked, which depends on these columns of it (all, or its existence). `digest`: of the whole row.
    /// `in_span`: the scan itself is recorded and covers it.
    pub fn locked_row(&mut self, key: Key, version: VersionId, digest: Digest, columns: &Columns, in_span: bool) -> Result<(), ()> {
        let mut columns = columns.clone();
        if let Some(old) = self.points.get(&key) {
            if old.version == Some(version) {
                let mut old = old.clone();
                old.locked = true;
                self.points.insert(key, old);
                return Ok(());
            }
            // The whole-row digest does not compare with one over columns; by version it has changed. Of a row that is there that is all one can ask.
            let was_there = old.columns == Columns::Existence && old.live;
            if !old.in_span && !was_there {
                return Err(());
            }
            columns = union(&Columns::Existence, &columns);
        }
        let digest = if columns == Columns::Existence { digest::point(Some(&Bytes::new()), &columns) } else { digest };
        let point = Point { version: Some(version), columns, digest, valid_at: Timestamp::ZERO, locked: true, live: true, in_span };
        self.points.insert(key, point);
        Ok(())
    }

    /// Records a span read.
    pub fn span(&mut self, read: SpanRead) {
        if self.full() || read.span.is_empty() {
            return;
        }
        // Pages of one scan at one snapshot join up without a program only by their digests, so they stay apart; the same page twice does not.
        if self.spans.last().is_some_and(|last| {
            last.span == read.span && last.digest == read.digest && last.program == read.program && last.columns == read.columns
        }) {
            return;
        }
        self.spans.push(read);
    }

    fn full(&mut self) -> bool {
        if !self.overflowed && self.points.len() + self.spans.len() >= READS_MAX {
            self.overflowed = true;
            self.spans = Vec::new();
            self.points.retain(|_, p| p.locked);
        }
        self.overflowed
    }

    /// Whether reads were dropped: nothing above the snapshot can be validated.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// The reads to validate at `at`. `written`: keys whose landing checks them itself (C4). `locked`: whether locked reads count (at commit they
    /// do, C3; while the transaction runs their lock keeps them).
    pub fn to_validate(&self, at: Timestamp, written: &dyn Fn(&[u8]) -> bool, locked: bool) -> Reads {
        let locked = locked && !controls::off(Control::LockValidation);
        let points = self
            .points
            .iter()
            .filter(|(key, p)| !p.in_span && p.valid_at < at && (locked || !p.locked) && !written(key))
            .map(|(key, p)| PointRead {
                key: key.clone(),
                version: p.version,
                columns: p.columns.clone(),
                digest: p.digest,
                valid_at: p.valid_at,
            })
            .collect();
        Reads { points, spans: self.spans.iter().filter(|s| s.valid_at < at).cloned().collect() }
    }

    /// `reads` were found valid at `at`.
    pub fn validated(&mut self, reads: &Reads, at: Timestamp) {
        for read in &reads.points {
            if let Some(point) = self.points.get_mut(&read.key) {
                point.valid_at = point.valid_at.max(at);
            }
        }
        if !reads.spans.is_empty() {
            for span in &mut self.spans {
                span.valid_at = span.valid_at.max(at);
            }
        }
    }

    /// Only locked reads stay (READ COMMITTED between statements).
    pub fn forget_plain(&mut self) {
        self.points.retain(|_, p| p.locked);
        self.spans.clear();
    }

    /// The newest version read under a lock.
    pub fn newest_locked(&self) -> Timestamp {
        self.points.values().filter(|p| p.locked).filter_map(|p| p.version).map(|(ts, _)| ts).max().unwrap_or(Timestamp::ZERO)
    }

    /// Whether any lock was taken with a read.
    pub fn any_locked(&self) -> bool {
        self.points.values().any(|p| p.locked)
    }
}

fn union(a: &Columns, b: &Columns) -> Columns {
    match (a, b) {
        (Columns::All, _) | (_, Columns::All) => Columns::All,
        (Columns::Existence, other) | (other, Columns::Existence) => other.clone(),
        (Columns::Some(x), Columns::Some(y)) => {
            let mut all = x.clone();
            all.extend(y.iter().copied());
            all.sort_unstable();
            all.dedup();
            Columns::Some(all)
        }
    }
}
