//! The window of request ids that a range has applied: a retried proposal is recognised and not applied twice.
//!
//! The window is applied state: it changes only by applying entries, lies in `Space::Meta`, travels in snapshots and is copied to the
//! right half of a split. So all replicas agree about what is fresh, whoever leads.

use std::collections::VecDeque;

use bytes::Bytes;
use meridian_storage::engine::{Batch, Reader, Space, StorageError};
use rustc_hash::FxHashSet;

use super::codec::corrupt;
use super::layout;
use crate::api::{RangeId, RequestId};

/// Requests remembered per range. A retry comes within seconds; a range applies some thousand commands a second.
pub(crate) const WINDOW: u64 = 16_384;

/// Of them, those that the right half of a split begins with: with all of them every split of a busy range would write 16,384 rows, and ten thousand would take
/// gigabytes.
const WINDOW_OF_SPLIT: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct RequestWindow {
    /// Oldest first; at most [`WINDOW`].
    ring: VecDeque<RequestId>,
    /// The same ids; never iterated.
    set: FxHashSet<u128>,
}

impl RequestWindow {
    /// Reads the window of `range`, of which `count` requests were applied so far.
    pub(crate) fn load(reader: &dyn Reader, range: RangeId, count: u64) -> Result<Self, StorageError> {
        let mut slots = Vec::new();
        let (lower, upper) = layout::request_bounds(range);
        let mut cursor = reader.cursor(Space::Meta, &lower, &upper)?;
        cursor.seek_to_first();
        while cursor.valid() {
            let slot = cursor.key().get(10..14).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
            let id = cursor.value().try_into().ok().map(u128::from_be_bytes);
            match (slot, id) {
                (Some(slot), Some(id)) => slots.push((u64::from(slot), RequestId(id))),
                _ => return Err(corrupt("request window")),
            }
            cursor.next();
        }
        cursor.status()?;
        // Slots after the next one to be written are the older ones.
        let next = count % WINDOW;
        slots.sort_by_key(|(slot, _)| (*slot < next, *slot));
        let mut window = RequestWindow::default();
        for (_, id) in slots {
            window.remember(id);
        }
        Ok(window)
    }

    pub(crate) fn contains(&self, request: RequestId) -> bool {
        self.set.contains(&request.0)
    }

    fn remember(&mut self, request: RequestId) {
        if self.ring.len() as u64 >= WINDOW
            && let Some(old) = self.ring.pop_front()
        {
            self.set.remove(&old.0);
        }
        self.ring.push_back(request);
        self.set.insert(request.0);
    }

    /// Records a fresh request, the `count`-th of the range (from 0).
    pub(crate) fn insert(&mut self, range: RangeId, request: RequestId, count: u64, batch: &mut Batch) {
        self.remember(request);
        batch.put(Space::Meta, layout::request_key(range, (count % WINDOW) as u32), Bytes::copy_from_slice(&request.0.to_be_bytes()));
    }

    /// Copies the newest of the window to `range`, which has the same count of requests. What was evaluated before the split applies nowhere after it
    /// (its span epoch is another), so this is for requests that are retried as they are.
    pub(crate) fn copy_to(&self, range: RangeId, count: u64, batch: &mut Batch) {
        let mut copy = RequestWindow::default();
        let skipped = self.ring.len().saturating_sub(WINDOW_OF_SPLIT);
        let first = count - (self.ring.len() - skipped) as u64;
        for (i, id) in self.ring.iter().skip(skipped).enumerate() {
            copy.insert(range, *id, first + i as u64, batch);
        }
    }
}
