//! One replica's Raft log: what raft-rs reads from, and where its entries become bytes.
//!
//! Writing only adds to a batch; whoever drives the replica hands the batch to the log writer. Entries are readable from the moment of
//! `append`, before they are durable, because their tail stays in memory; the tail is shed once it is applied.

use std::collections::VecDeque;
use std::sync::Arc;

use meridian_storage::Engine;
use meridian_storage::engine::{Batch, Space, StorageError};
use raft::prelude::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage};

use super::codec::{RaftMessage, corrupt};
use super::layout;
use crate::api::{RangeId, ReplicaId};

/// Entries and bytes kept in memory, per replica, beyond what is not yet applied.
const TAIL_ENTRIES: usize = 1024;
const TAIL_BYTES: usize = 1 << 20;

/// A position in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub index: u64,
    pub term: u64,
}

#[derive(Debug)]
pub(crate) struct RaftLog {
    engine: Arc<dyn Engine>,
    range: RangeId,
    replica: ReplicaId,
    conf: ConfState,
    hard: HardState,
    /// The entry before the first.
    truncated: Position,
    last: Position,
    /// The newest entries, contiguous up to `last`.
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    /// What a snapshot taken now would cover.
    applied: Position,
    /// The replica once had state and a log and lost them to a snapshot that broke off.
    pub(crate) wiped: bool,
}

impl RaftLog {
    /// The log of a replica whose applied state is `applied` (zero: it has none yet). If the log ends below that (a snapshot's state became
    /// durable before its log did, or the range is new) it is begun anew there; what that needs is added to `batch`.
    pub(crate) fn load(
        engine: Arc<dyn Engine>,
        range: RangeId,
        replica: ReplicaId,
        conf: ConfState,
        applied: Position,
        batch: &mut Batch,
    ) -> Result<Self, StorageError> {
        let mut hard = match engine.get(Space::Log, &layout::hard_state_key(range, replica))? {
            Some(bytes) => HardState::parse(&bytes, "hard state")?,
            None => HardState::default(),
        };
        let kept = engine.get(Space::Log, &layout::truncated_key(range, replica))?;
        let had_log = kept.is_some();
        let truncated = kept.map_or(Ok(Position::default()), |bytes| position(&bytes))?;
        let mut last = truncated;
        {
            let (lower, upper) = layout::all_entries(range, replica);
            let mut cursor = engine.cursor(Space::Log, &lower, &upper)?;
            cursor.seek_to_last();
            if cursor.valid() {
                let entry = Entry::parse(cursor.value(), "log entry")?;
                last = last.max_index(Position { index: entry.index, term: entry.term });
            }
            cursor.status()?;
        }
        let mut log = RaftLog {
            engine,
            range,
            replica,
            conf,
            hard: HardState::default(),
            truncated,
            last,
            tail: VecDeque::new(),
            tail_bytes: 0,
            applied,
            wiped: applied.index == 0 && had_log,
        };
        // A snapshot that broke off (or was cut short by a crash) took the replica's state and left its log, which nothing can be applied to any more.
        // Term and vote stay; why the entries may go is told in `snapshot`. The zero position stays written: it tells this replica from a new one.
        if applied.index == 0 && log.last.index > 0 {
            log.begin_at(Position::default(), batch);
            log.wiped = true;
        }
        if applied.index < log.truncated.index {
            return Err(StorageError::Corruption(format!(
                "{range}: applied {} but the log begins after {}",
                applied.index, truncated.index
            )));
        }
        // A snapshot's state was flushed, and the log below it may be short, or another leader's that never committed.
        let fits = last.index >= applied.index && log.term(applied.index).is_ok_and(|term| term == applied.term);
        if applied.index > 0 && !fits {
            log.begin_at(applied, batch);
        }
        // Entries are applied only once they are durable here and committed, so applied state proves both.
        hard.commit = hard.commit.max(applied.index).min(log.last.index);
        hard.term = hard.term.max(log.last.term);
        log.hard = hard;
        Ok(log)
    }

    /// Forgets every entry and continues after `at`.
    fn begin_at(&mut self, at: Position, batch: &mut Batch) {
        let (start, end) = layout::all_entries(self.range, self.replica);
        batch.delete_range(Space::Log, start, end);
        self.tail.clear();
        self.tail_bytes = 0;
        self.truncated = at;
        self.last = at;
        self.put_truncated(batch);
    }

    fn put_truncated(&self, batch: &mut Batch) {
        let mut bytes = Vec::with_capacity(16);
        bytes.extend(self.truncated.index.to_be_bytes());
        bytes.extend(self.truncated.term.to_be_bytes());
        batch.put(Space::Log, layout::truncated_key(self.range, self.replica), bytes);
    }

    /// Appends entries, replacing those at and after the first one's index.
    pub(crate) fn append(&mut self, entries: Vec<Entry>, batch: &mut Batch) {
        let (Some(first), Some(new_last)) = (entries.first(), entries.last()) else { return };
        let new_last = Position { index: new_last.index, term: new_last.term };
        if first.index <= self.last.index {
            while self.tail.back().is_some_and(|e| e.index >= first.index) {
                self.pop_tail();
            }
            if self.last.index > new_last.index {
                let (start, end) = layout::entry_bounds(self.range, self.replica, new_last.index + 1, self.last.index + 1);
                batch.delete_range(Space::Log, start, end);
            }
        }
        for entry in entries {
            batch.put(Space::Log, layout::entry_key(self.range, self.replica, entry.index), entry.bytes());
            self.tail_bytes += entry.data.len() + 64;
            self.tail.push_back(entry);
        }
        self.last = new_last;
    }

    fn pop_tail(&mut self) {
        if let Some(entry) = self.tail.pop_back() {
            self.tail_bytes -= entry.data.len() + 64;
        }
    }

    /// Records the hard state.
    pub(crate) fn set_hard_state(&mut self, hard: HardState, batch: &mut Batch) {
        batch.put(Space::Log, layout::hard_state_key(self.range, self.replica), hard.bytes());
        self.hard = hard;
    }

    /// The hard state as last recorded.
    pub(crate) fn hard_state(&self) -> &HardState {
        &self.hard
    }

    /// Notes what is applied, and sheds the tail that is.
    pub(crate) fn set_applied(&mut self, applied: Position) {
        self.applied = applied;
        self.shed(TAIL_ENTRIES, TAIL_BYTES);
    }

    /// Sheds the applied tail down to so many entries and bytes.
    pub(crate) fn shed(&mut self, entries: usize, bytes: usize) {
        while (self.tail.len() > entries || self.tail_bytes > bytes) && self.tail.front().is_some_and(|e| e.index <= self.applied.index) {
            if let Some(entry) = self.tail.pop_front() {
                self.tail_bytes -= entry.data.len() + 64;
            }
        }
        if self.tail.is_empty() {
            self.tail = VecDeque::new();
        }
    }

    pub(crate) fn set_conf(&mut self, conf: ConfState) {
        self.conf = conf;
    }

    /// Cuts the log at and below `index`, which must be applied and flushed.
    pub(crate) fn truncate(&mut self, index: u64, batch: &mut Batch) -> Result<(), StorageError> {
        let index = index.min(self.applied.index);
        if index <= self.truncated.index {
            return Ok(());
        }
        let term = self.term(index).map_err(|e| StorageError::Corruption(format!("term of {index}: {e}")))?;
        let (start, end) = layout::entry_bounds(self.range, self.replica, self.truncated.index + 1, index + 1);
        self.truncated = Position { index, term };
        batch.delete_range(Space::Log, start, end);
        self.put_truncated(batch);
        while self.tail.front().is_some_and(|e| e.index <= index) {
            if let Some(entry) = self.tail.pop_front() {
                self.tail_bytes -= entry.data.len() + 64;
            }
        }
        Ok(())
    }

    fn read(&self, index: u64) -> Result<Option<Entry>, StorageError> {
        let bytes = self.engine.get(Space::Log, &layout::entry_key(self.range, self.replica, index))?;
        bytes.map(|b| Entry::parse(&b, "log entry")).transpose()
    }

    fn in_tail(&self, index: u64) -> Option<&Entry> {
        let first = self.tail.front()?.index;
        self.tail.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }
}

impl Position {
    fn max_index(self, other: Position) -> Position {
        if other.index > self.index { other } else { self }
    }
}

fn position(bytes: &[u8]) -> Result<Position, StorageError> {
    let (index, term) = bytes.split_at_checked(8).ok_or_else(|| corrupt("truncated state"))?;
    match (index.try_into(), term.try_into()) {
        (Ok(index), Ok(term)) => Ok(Position { index: u64::from_be_bytes(index), term: u64::from_be_bytes(term) }),
        _ => Err(corrupt("truncated state")),
    }
}

fn other(error: StorageError) -> raft::Error {
    raft::Error::Store(raft::StorageError::Other(Box::new(error)))
}

impl Storage for RaftLog {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard.clone(), self.conf.clone()))
    }

    fn entries(&self, low: u64, high: u64, max_size: impl Into<Option<u64>>, _: GetEntriesContext) -> raft::Result<Vec<Entry>> {
        if low <= self.truncated.index {
            return Err(raft::Error::Store(raft::StorageError::Compacted));
        }
        if high > self.last.index + 1 {
            return Err(raft::Error::Store(raft::StorageError::Unavailable));
        }
        let max = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0;
        let mut out = Vec::new();
        let tail_from = self.tail.front().map_or(high, |e| e.index).clamp(low, high);
        if low < tail_from {
            let (lower, upper) = layout::entry_bounds(self.range, self.replica, low, tail_from);
            let mut cursor = self.engine.cursor(Space::Log, &lower, &upper).map_err(other)?;
            cursor.seek_to_first();
            while cursor.valid() {
                size += cursor.value().len() as u64;
                if size > max && !out.is_empty() {
                    return Ok(out);
                }
                let entry = Entry::parse(cursor.value(), "log entry").map_err(other)?;
                if entry.index != low + out.len() as u64 {
                    return Err(other(corrupt("a log entry is missing")));
                }
                out.push(entry);
                cursor.next();
            }
            cursor.status().map_err(other)?;
            if out.len() as u64 != tail_from - low {
                return Err(other(corrupt("a log entry is missing")));
            }
        }
        for index in tail_from..high {
            let Some(entry) = self.in_tail(index) else { return Err(other(corrupt("the log tail has a hole"))) };
            size += entry.data.len() as u64 + 24;
            if size > max && !out.is_empty() {
                break;
            }
            out.push(entry.clone());
        }
        Ok(out)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.truncated.index {
            return Ok(self.truncated.term);
        }
        if index == self.last.index {
            return Ok(self.last.term);
        }
        if index < self.truncated.index {
            return Err(raft::Error::Store(raft::StorageError::Compacted));
        }
        if index > self.last.index {
            return Err(raft::Error::Store(raft::StorageError::Unavailable));
        }
        if let Some(entry) = self.in_tail(index) {
            return Ok(entry.term);
        }
        match self.read(index).map_err(other)? {
            Some(entry) => Ok(entry.term),
            None => Err(other(corrupt("a log entry is missing"))),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.truncated.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last.index)
    }

    /// Only the position and configuration: the state itself is streamed beside Raft (see `snapshot`).
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.applied.index < request_index || self.applied.index == 0 {
            return Err(raft::Error::Store(raft::StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let meta = snapshot.mut_metadata();
        meta.index = self.applied.index;
        meta.term = self.applied.term;
        meta.conf_state = Some(self.conf.clone());
        Ok(snapshot)
    }
}
