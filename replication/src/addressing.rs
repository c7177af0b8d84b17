//! Range addressing: where a key's range is, itself data in ranges.
//!
//! ```text
//!   0x01 ‖ end key of a range  →  its descriptor (postcard)
//! ```
//! The range of `k` is the first entry whose end key lies above `k`: one seek to `0x01 ‖ k ‖ 0x00`. Addresses of the first range
//! (which holds this space) come from gossip, everything else from here.
//!
//! The leaseholder publishes after every split and membership change and when its lease starts (its predecessor may have died
//! before it could). Entries are caches with a version: a writer replaces an entry only by one of a higher generation. That is
//! sound across ranges too, because both halves of a split take a generation above that of the whole, so of two descriptors that
//! overlap the higher generation is always the newer. A reader that was sent to the wrong place learns so from the replica it asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use meridian_clock::{Entropy, TaskGroup};
use meridian_storage::key::META_PREFIX;
use meridian_storage::{Key, Span};
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::sync::Notify;

use crate::api::{RangeDescriptor, RangeId, SystemError, SystemKv};

/// First and longest pause between two attempts to publish.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Where the address of the range that ends at `end` is kept.
pub fn address_key(end: &[u8]) -> Key {
    let mut key = BytesMut::with_capacity(1 + end.len());
    key.put_u8(META_PREFIX);
    key.put_slice(end);
    key.freeze()
}

/// The span of addresses to search for the range of `key`: its first entry is the answer.
pub fn lookup_span(key: &[u8]) -> Span {
    let mut start = BytesMut::with_capacity(2 + key.len());
    start.put_u8(META_PREFIX);
    start.put_slice(key);
    start.put_u8(0);
    Span::new(start.freeze(), Bytes::from_static(&[META_PREFIX + 1]))
}

/// Whether `key` is itself looked up in the first range, so that gossip must say where it is.
pub fn in_first_range(key: &[u8]) -> bool {
    key.first().is_none_or(|first| *first <= META_PREFIX)
}

/// A descriptor as an address entry.
pub fn encode_descriptor(descriptor: &RangeDescriptor) -> Bytes {
    // Serialising plain data into memory cannot fail.
    postcard::to_allocvec(descriptor).unwrap_or_default().into()
}

/// The descriptor of an address entry; `Err` says what is wrong with the bytes.
pub fn decode_descriptor(bytes: &[u8]) -> Result<RangeDescriptor, SystemError> {
    postcard::from_bytes(bytes).map_err(|e| SystemError(format!("range address does not decode: {e}")))
}

/// Publishes the descriptors of ranges this node leads, newest generation only, until acknowledged.
#[derive(Debug, Default)]
pub struct AddressPublisher {
    queue: Mutex<BTreeMap<RangeId, Arc<RangeDescriptor>>>,
    wake: Notify,
}

impl AddressPublisher {
    /// Queues a descriptor; an older one of the same range that still waits is forgotten.
    pub fn publish(&self, descriptor: Arc<RangeDescriptor>) {
        let mut queue = self.queue.lock();
        let newer = queue.get(&descriptor.id).is_none_or(|old| old.generation <= descriptor.generation);
        if newer {
            queue.insert(descriptor.id, descriptor);
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// How many descriptors wait.
    pub fn backlog(&self) -> usize {
        self.queue.lock().len()
    }

    /// Starts publishing through `kv`.
    pub fn start(self: &Arc<Self>, kv: Arc<dyn SystemKv>, entropy: &Entropy, tasks: &TaskGroup) {
        let this = self.clone();
        let mut rng = entropy.fork("addressing").rng();
        tasks.spawn(async move {
            let mut pause = RETRY_MIN;
            loop {
                let next = this.queue.lock().pop_first();
                let Some((_, descriptor)) = next else {
                    this.wake.notified().await;
                    continue;
                };
                match publish_one(&*kv, &descriptor).await {
                    Ok(()) => pause = RETRY_MIN,
                    Err(error) => {
                        tracing::debug!(range = %descriptor.id, %error, "address not published yet");
                        this.publish(descriptor);
                        tokio::time::sleep(pause.mul_f64(rng.random_range(0.5..1.0))).await;
                        pause = (pause * 2).min(RETRY_MAX);
                    }
                }
            }
        });
    }
}

/// Writes one descriptor unless a newer one is there, and removes older entries inside its span.
async fn publish_one(kv: &dyn SystemKv, descriptor: &RangeDescriptor) -> Result<(), SystemError> {
    let key = address_key(&descriptor.span.end);
    let bytes = encode_descriptor(descriptor);
    loop {
        let current = kv.get(key.clone()).await?;
        if let Some(current) = &current {
            // An entry that does not decode is overwritten: it helps nobody.
            if decode_descriptor(current).is_ok_and(|d| d.generation >= descriptor.generation) {
                break;
            }
        }
        if kv.compare_and_set(key.clone(), current, Some(bytes.clone())).await? {
            break;
        }
    }
    let mut inside = lookup_span(&descriptor.span.start);
    inside.end = key;
    for (stale, value) in kv.scan(inside).await? {
        if decode_descriptor(&value).map_or(true, |d| d.generation < descriptor.generation) {
            // Lost races are fine: whoever changed the entry knew better.
            kv.compare_and_set(stale, Some(value), None).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::api::{ReplicaId, SystemError};

    #[derive(Debug, Default)]
    struct Map(Mutex<BTreeMap<Key, Bytes>>);

    #[async_trait]
    impl SystemKv for Map {
        async fn get(&self, key: Key) -> Result<Option<Bytes>, SystemError> {
            Ok(self.0.lock().get(&key).cloned())
        }
        async fn scan(&self, span: Span) -> Result<Vec<(Key, Bytes)>, SystemError> {
            Ok(self.0.lock().range(span.start..span.end).map(|(k, v)| (k.clone(), v.clone())).collect())
        }
        async fn compare_and_set(&self, key: Key, expected: Option<Bytes>, new: Option<Bytes>) -> Result<bool, SystemError> {
            let mut map = self.0.lock();
            if map.get(&key) != expected.as_ref() {
                return Ok(false);
            }
            match new {
                Some(new) => drop(map.insert(key, new)),
                None => drop(map.remove(&key)),
            }
            Ok(true)
        }
    }

    fn range(id: u64, start: &'static str, end: &'static str, generation: u64) -> RangeDescriptor {
        let span = Span::new(Bytes::from_static(start.as_bytes()), Bytes::from_static(end.as_bytes()));
        RangeDescriptor { id: RangeId(id), span, replicas: Vec::new(), next_replica: ReplicaId(1), generation, span_epoch: 0 }
    }

    /// The range that addressing gives for `key`.
    async fn lookup(kv: &Map, key: &str) -> Option<u64> {
        let found = kv.scan(lookup_span(key.as_bytes())).await.unwrap();
        found.first().map(|(_, value)| decode_descriptor(value).unwrap().id.0)
    }

    #[tokio::test]
    async fn newer_descriptors_win_in_whatever_order_they_come() {
        let whole = range(3, "b", "y", 1);
        let left = range(3, "b", "m", 2);
        let right = range(9, "m", "y", 2);
        let moved = range(9, "m", "y", 3);
        for order in [[&whole, &left, &right, &moved], [&moved, &right, &left, &whole], [&right, &whole, &moved, &left]] {
            let kv = Map::default();
            for descriptor in order {
                publish_one(&kv, descriptor).await.unwrap();
            }
            assert_eq!(lookup(&kv, "b").await, Some(3));
            assert_eq!(lookup(&kv, "lzzz").await, Some(3));
            assert_eq!(lookup(&kv, "m").await, Some(9));
            assert_eq!(lookup(&kv, "y").await, None);
            assert_eq!(kv.scan(Span::prefix(vec![META_PREFIX])).await.unwrap().len(), 2);
        }
    }
}
