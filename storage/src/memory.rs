//! The simulator's disk: an engine in memory whose crash is worse than a real one's.
//!
//! Every space exists twice: `visible`, what readers see, and `durable`, what a crash leaves. Between the two stand the
//! batches not yet synced ([`Engine::append`]) and not yet flushed ([`Engine::apply`]), in order.
//!
//! ```text
//!   append ──▶ visible Log   ──sync──▶ durable Log
//!   apply  ──▶ visible rest  ──flush─▶ durable rest
//!   crash:     durable Log  + a random prefix of the unsynced appends (a torn tail is cut at a batch, as a WAL's recovery does)
//!              durable rest + a random prefix of the unflushed applies (a background flush may have come by at any batch)
//! ```
//! The crashed engine refuses everything from then on, so that a task that outlived its node cannot write to the disk of the
//! node's next incarnation; [`MemoryEngine::crash`] returns that disk.
//!
//! Cursors stand on an `Arc` of the map; the first write after one was made copies the map if it still lives. Simulated
//! nodes hold no cursor across an await, except while they stream a snapshot.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use meridian_clock::Rng;
use parking_lot::{Mutex, RwLock};
use rand::Rng as _;

use crate::engine::{Batch, BatchOp, Cursor, Engine, Reader, Result, Space, StorageError};

type Map = BTreeMap<Bytes, Bytes>;
type Maps = [Arc<Map>; Space::ALL.len()];

/// An operation that can be stalled or made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DiskOp {
    /// [`Engine::append`].
    Append,
    /// [`Engine::sync`].
    Sync,
    /// [`Engine::apply`].
    Apply,
    /// [`Engine::flush`].
    Flush,
    /// [`Reader::get`] and [`Reader::cursor`].
    Read,
}

/// Called before every operation; may block the calling thread, or answer the error the operation shall fail with.
pub type FaultHook = Arc<dyn Fn(DiskOp) -> Result<()> + Send + Sync>;

/// An in-memory [`Engine`] with crashes and faults.
pub struct MemoryEngine {
    state: RwLock<State>,
    hook: Mutex<Option<FaultHook>>,
}

#[derive(Default)]
struct State {
    visible: Maps,
    durable: Maps,
    unsynced: Vec<Batch>,
    unflushed: Vec<Batch>,
    crashed: bool,
    /// Bytes of keys and values that fit; `None` is no limit.
    capacity: Option<u64>,
    /// Bytes of keys and values in `visible`.
    used: u64,
    counters: Counters,
}

#[derive(Clone, Copy, Default)]
struct Counters {
    syncs: u64,
    flushes: u64,
    bytes_appended: u64,
    bytes_applied: u64,
    writes_refused: u64,
}

impl Default for MemoryEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryEngine")
    }
}

impl MemoryEngine {
    /// An empty disk without a capacity limit.
    pub fn new() -> Self {
        MemoryEngine { state: RwLock::new(State::default()), hook: Mutex::new(None) }
    }

    /// Ends this engine and returns the disk as the next incarnation finds it: everything synced and flushed, and of the rest
    /// a prefix that `rng` chooses. Capacity stays; the fault hook does not.
    pub fn crash(&self, rng: &mut Rng) -> MemoryEngine {
        let mut state = self.state.write();
        let log_survivors = rng.random_range(0..=state.unsynced.len());
        let applied_survivors = rng.random_range(0..=state.unflushed.len());
        self.die(&mut state, log_survivors, applied_survivors)
    }

    /// As [`Self::crash`], with nothing left that was not made durable.
    pub fn crash_losing_all(&self) -> MemoryEngine {
        self.die(&mut self.state.write(), 0, 0)
    }

    fn die(&self, state: &mut State, log_survivors: usize, applied_survivors: usize) -> MemoryEngine {
        let mut maps = std::mem::take(&mut state.durable);
        for batch in state.unsynced.drain(..).take(log_survivors) {
            write(&mut maps, &batch);
        }
        for batch in state.unflushed.drain(..).take(applied_survivors) {
            write(&mut maps, &batch);
        }
        state.crashed = true;
        state.visible = Maps::default();
        let used = maps.iter().flat_map(|m| m.iter()).map(|(k, v)| (k.len() + v.len()) as u64).sum();
        let next = State { visible: maps.clone(), durable: unshared(&maps), capacity: state.capacity, used, ..State::default() };
        MemoryEngine { state: RwLock::new(next), hook: Mutex::new(None) }
    }

    /// Limits the bytes of keys and values; writes beyond are refused with [`StorageError::DiskFull`] until it is raised or
    /// something is deleted. `None` lifts the limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.write().capacity = bytes;
    }

    /// Installs `hook` before every operation (stalls, errors), or removes it.
    pub fn set_hook(&self, hook: Option<FaultHook>) {
        *self.hook.lock() = hook;
    }

    /// Flips the bit of `value` of `key` that `rng` chooses, on disk and as read, as a bad sector would. Answers whether the key was there.
    pub fn corrupt(&self, space: Space, key: &[u8], rng: &mut Rng) -> bool {
        let mut state = self.state.write();
        let Some(value) = state.visible[space as usize].get(key).filter(|v| !v.is_empty()) else { return false };
        let mut bytes = value.to_vec();
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << rng.random_range(0..8);
        let bytes = Bytes::from(bytes);
        Arc::make_mut(&mut state.visible[space as usize]).insert(Bytes::copy_from_slice(key), bytes.clone());
        if let Some(slot) = Arc::make_mut(&mut state.durable[space as usize]).get_mut(key) {
            *slot = bytes;
        }
        true
    }

    fn before(&self, op: DiskOp) -> Result<()> {
        let hook = self.hook.lock().clone();
        hook.map_or(Ok(()), |hook| hook(op))
    }
}

/// A copy that shares no map with `maps`, so that later writes to either do not copy. Values stay shared.
fn unshared(maps: &Maps) -> Maps {
    std::array::from_fn(|i| Arc::new(maps[i].as_ref().clone()))
}

impl State {
    fn alive(&self) -> Result<()> {
        if self.crashed { Err(StorageError::Io("this engine has crashed".into())) } else { Ok(()) }
    }

    fn admit(&mut self, batch: &Batch) -> Result<u64> {
        self.alive()?;
        let (mut bytes, mut puts) = (0, 0);
        for op in &batch.ops {
            match op {
                BatchOp::Put { key, value, .. } => {
                    puts += 1;
                    bytes += (key.len() + value.len()) as u64;
                }
                BatchOp::Delete { key, .. } => bytes += key.len() as u64,
                BatchOp::DeleteRange { start, end, .. } => bytes += (start.len() + end.len()) as u64,
            }
        }
        // Deletes are always let through: they are how space comes back.
        if puts > 0 && self.capacity.is_some_and(|capacity| self.used + bytes > capacity) {
            self.counters.writes_refused += 1;
            return Err(StorageError::DiskFull(format!("{} of {} bytes used", self.used, self.capacity.unwrap_or(0))));
        }
        Ok(bytes)
    }

    fn write_visible(&mut self, batch: &Batch) {
        self.used = self.used.saturating_add_signed(write(&mut self.visible, batch));
    }
}

/// Applies `batch` and answers by how many bytes of keys and values the maps grew.
fn write(maps: &mut Maps, batch: &Batch) -> i64 {
    let mut grown = 0;
    for op in &batch.ops {
        match op {
            BatchOp::Put { space, key, value } => {
                grown += (key.len() + value.len()) as i64;
                if let Some(old) = Arc::make_mut(&mut maps[*space as usize]).insert(key.clone(), value.clone()) {
                    grown -= (key.len() + old.len()) as i64;
                }
            }
            BatchOp::Delete { space, key } => {
                if let Some(old) = Arc::make_mut(&mut maps[*space as usize]).remove(key) {
                    grown -= (key.len() + old.len()) as i64;
                }
            }
            BatchOp::DeleteRange { space, start, end } => {
                if start >= end {
                    continue;
                }
                let map = Arc::make_mut(&mut maps[*space as usize]);
                let doomed: Vec<Bytes> = map.range(start.clone()..end.clone()).map(|(k, _)| k.clone()).collect();
                for key in doomed {
                    if let Some(old) = map.remove(&key) {
                        grown -= (key.len() + old.len()) as i64;
                    }
                }
            }
        }
    }
    grown
}

impl Reader for MemoryEngine {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        self.before(DiskOp::Read)?;
        let state = self.state.read();
        state.alive()?;
        Ok(state.visible[space as usize].get(key).cloned())
    }

    fn cursor<'a>(&'a self, space: Space, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + 'a>> {
        self.before(DiskOp::Read)?;
        let state = self.state.read();
        state.alive()?;
        Ok(Box::new(MemoryCursor::new(state.visible[space as usize].clone(), lower, upper)))
    }

    fn first_in(&self, space: Space, lower: &[u8], upper: &[u8]) -> Result<Option<(Bytes, Bytes)>> {
        self.before(DiskOp::Read)?;
        let state = self.state.read();
        state.alive()?;
        Ok(first_in(&state.visible[space as usize], lower, upper))
    }
}

impl Engine for MemoryEngine {
    fn snapshot<'a>(&'a self) -> Box<dyn Reader + 'a> {
        Box::new(MemorySnapshot { maps: self.state.read().visible.clone() })
    }

    fn admit_proposal(&self, bytes: u64) -> Result<()> {
        let state = self.state.read();
        match state.capacity {
            Some(capacity) if state.used + bytes > capacity => {
                Err(StorageError::DiskFull(format!("{} of {capacity} bytes used", state.used)))
            }
            _ => Ok(()),
        }
    }

    fn append(&self, batch: &Batch) -> Result<()> {
        self.before(DiskOp::Append)?;
        let mut state = self.state.write();
        let bytes = state.admit(batch)?;
        state.write_visible(batch);
        state.unsynced.push(batch.clone());
        state.counters.bytes_appended += bytes;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.before(DiskOp::Sync)?;
        let mut state = self.state.write();
        state.alive()?;
        let State { durable, unsynced, counters, .. } = &mut *state;
        for batch in unsynced.drain(..) {
            write(durable, &batch);
        }
        counters.syncs += 1;
        Ok(())
    }

    fn apply(&self, batch: &Batch) -> Result<()> {
        self.before(DiskOp::Apply)?;
        let mut state = self.state.write();
        // What was accepted into the log must be able to take effect: capacity refuses appends, never applies.
        state.alive()?;
        state.write_visible(batch);
        state.unflushed.push(batch.clone());
        state.counters.bytes_applied += batch_bytes(batch);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.before(DiskOp::Flush)?;
        let mut state = self.state.write();
        state.alive()?;
        let State { durable, unflushed, counters, .. } = &mut *state;
        for batch in unflushed.drain(..) {
            write(durable, &batch);
        }
        counters.flushes += 1;
        Ok(())
    }

    fn approximate_size(&self, space: Space, start: &[u8], end: &[u8]) -> Result<u64> {
        let state = self.state.read();
        state.alive()?;
        if start >= end {
            return Ok(0);
        }
        let bounds = (Bound::Included(start), Bound::Excluded(end));
        Ok(state.visible[space as usize].range::<[u8], _>(bounds).map(|(k, v)| (k.len() + v.len()) as u64).sum())
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let state = self.state.read();
        let c = state.counters;
        vec![
            ("syncs", c.syncs),
            ("flushes", c.flushes),
            ("bytes_appended", c.bytes_appended),
            ("bytes_applied", c.bytes_applied),
            ("writes_refused", c.writes_refused),
            ("used_bytes", state.used),
            ("free_bytes", state.capacity.map_or(u64::MAX, |c| c.saturating_sub(state.used))),
        ]
    }
}

/// Bytes of keys and values that `batch` carries.
pub(crate) fn batch_bytes(batch: &Batch) -> u64 {
    let bytes = |op: &BatchOp| match op {
        BatchOp::Put { key, value, .. } => key.len() + value.len(),
        BatchOp::Delete { key, .. } => key.len(),
        BatchOp::DeleteRange { start, end, .. } => start.len() + end.len(),
    };
    batch.ops.iter().map(|op| bytes(op) as u64).sum()
}

struct MemorySnapshot {
    maps: Maps,
}

impl Reader for MemorySnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.maps[space as usize].get(key).cloned())
    }

    fn cursor<'a>(&'a self, space: Space, lower: &[u8], upper: &[u8]) -> Result<Box<dyn Cursor + 'a>> {
        Ok(Box::new(MemoryCursor::new(self.maps[space as usize].clone(), lower, upper)))
    }
}

fn first_in(map: &Map, lower: &[u8], upper: &[u8]) -> Option<(Bytes, Bytes)> {
    if lower >= upper {
        return None;
    }
    let bounds = (Bound::Included(lower), Bound::Excluded(upper));
    map.range::<[u8], _>(bounds).next().map(|(k, v)| (k.clone(), v.clone()))
}

struct MemoryCursor {
    map: Arc<Map>,
    lower: Bytes,
    upper: Bytes,
    at: Option<(Bytes, Bytes)>,
}

impl MemoryCursor {
    fn new(map: Arc<Map>, lower: &[u8], upper: &[u8]) -> Self {
        MemoryCursor { map, lower: Bytes::copy_from_slice(lower), upper: Bytes::copy_from_slice(upper), at: None }
    }

    fn first(&mut self, from: Bound<&[u8]>) {
        let start = match from {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        self.at = if start >= self.upper.as_ref() {
            None
        } else {
            let found = self.map.range::<[u8], _>((from, Bound::Excluded(self.upper.as_ref()))).next();
            found.map(|(k, v)| (k.clone(), v.clone()))
        };
    }

    fn last(&mut self, to: Bound<&[u8]>) {
        let end = match to {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let none = end < self.lower.as_ref() || (end == self.lower.as_ref() && matches!(to, Bound::Excluded(_)));
        self.at = if none {
            None
        } else {
            let found = self.map.range::<[u8], _>((Bound::Included(self.lower.as_ref()), to)).next_back();
            found.map(|(k, v)| (k.clone(), v.clone()))
        };
    }
}

impl Cursor for MemoryCursor {
    fn seek(&mut self, key: &[u8]) {
        let from = self.lower.clone();
        self.first(Bound::Included(key.max(&from)));
    }

    fn seek_for_prev(&mut self, key: &[u8]) {
        let upper = self.upper.clone();
        self.last(if key < upper.as_ref() { Bound::Included(key) } else { Bound::Excluded(&upper) });
    }

    fn seek_to_first(&mut self) {
        let lower = self.lower.clone();
        self.first(Bound::Included(&lower));
    }

    fn seek_to_last(&mut self) {
        let upper = self.upper.clone();
        self.last(Bound::Excluded(&upper));
    }

    fn next(&mut self) {
        if let Some((key, _)) = self.at.take() {
            self.first(Bound::Excluded(&key));
        }
    }

    fn prev(&mut self) {
        if let Some((key, _)) = self.at.take() {
            self.last(Bound::Excluded(&key));
        }
    }

    fn valid(&self) -> bool {
        self.at.is_some()
    }

    fn key(&self) -> &[u8] {
        self.at.as_ref().map_or(&[], |(k, _)| k)
    }

    fn value(&self) -> &[u8] {
        self.at.as_ref().map_or(&[], |(_, v)| v)
    }

    fn status(&self) -> Result<()> {
        Ok(())
    }
}
