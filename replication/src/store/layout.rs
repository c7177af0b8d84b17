//! Where a store keeps what replicas need, in `Space::Log` and `Space::Meta`.
//!
//! ```text
//!   Log    0 u64 ‖ 0 u64 ‖ 0x00                      counter of range ids given out by this node (there is no range 0)
//!          0 u64 ‖ 1 u64 ‖ 0x00                      how far promises of this node may reach, if ever beyond the ordinary, in microseconds
//!          range u64 ‖ replica u64 ‖ 0x00            hard state (Raft's encoding)
//!          range u64 ‖ replica u64 ‖ 0x01            truncated: index u64, term u64
//!          range u64 ‖ replica u64 ‖ 0x02 ‖ index    entry (Raft's encoding)
//!   Meta   0x00                                      identity of the store
//!          0x01 ‖ range u64 ‖ 0x00                   descriptor and replica id
//!          0x01 ‖ range u64 ‖ 0x01                   applied: index, term, closed, count of requests
//!          0x01 ‖ range u64 ‖ 0x02 ‖ slot u32        applied request id (a ring)
//!          0x02 ‖ range u64                          tombstone: least replica id that may come to this node
//!          0x03 ‖ range u64                          a snapshot is on its way in: its span holds no valid state
//! ```
//! The log is keyed by the replica's id too. `Log` and `Meta` become durable at different moments, so after a crash the log of a replica
//! may outlive the state that says it exists; under its own key it cannot be mistaken for that of a later incarnation.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use meridian_clock::Timestamp;
use meridian_storage::engine::{Batch, Reader, Space, StorageError};
use serde::{Deserialize, Serialize};

use super::codec::{from_bytes, to_bytes};
use crate::api::{NodeId, RangeDescriptor, RangeId, ReplicaId};

/// Version of this layout.
/// 2: descriptors and commands carry the span epoch.
const FORMAT: u32 = 2;

/// Who this store is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreIdent {
    /// Version of the layout.
    pub format: u32,
    /// Random id of the cluster.
    pub cluster: u128,
    /// The node whose only store this is.
    pub node: NodeId,
}

impl StoreIdent {
    /// The identity of a new store.
    pub fn new(cluster: u128, node: NodeId) -> Self {
        StoreIdent { format: FORMAT, cluster, node }
    }

    /// The identity of the store in `reader`; `None` if nothing was ever written to it.
    pub fn read(reader: &dyn Reader) -> Result<Option<StoreIdent>, StorageError> {
        let Some(bytes) = reader.get(Space::Meta, &[0])? else { return Ok(None) };
        let ident: StoreIdent = from_bytes(&bytes, "store identity")?;
        if ident.format != FORMAT {
            return Err(StorageError::Format(format!("store has replica format {}, this version reads {FORMAT}", ident.format)));
        }
        Ok(Some(ident))
    }

    /// Writes the identity.
    pub fn write(&self, batch: &mut Batch) {
        batch.put(Space::Meta, vec![0], to_bytes(self));
    }
}

fn reach_key() -> Bytes {
    // Range 0 does not exist; its log holds what must be durable by itself.
    hard_state_key(RangeId(0), ReplicaId(1))
}

/// How far promises of this node may reach; zero if they never reached beyond the ordinary.
pub fn read_reach(reader: &dyn Reader) -> Result<Duration, StorageError> {
    let Some(bytes) = reader.get(Space::Log, &reach_key())? else { return Ok(Duration::ZERO) };
    let micros = bytes.as_ref().try_into().map(u64::from_be_bytes);
    micros.map(Duration::from_micros).map_err(|_| StorageError::Corruption("the reach of promises is malformed".into()))
}

/// Writes it.
pub fn put_reach(batch: &mut Batch, reach: Duration) {
    let micros = u64::try_from(reach.as_micros()).unwrap_or(u64::MAX);
    batch.put(Space::Log, reach_key(), Bytes::copy_from_slice(&micros.to_be_bytes()));
}

/// The descriptor record of an initialised replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplicaRecord {
    pub replica: ReplicaId,
    pub descriptor: RangeDescriptor,
}

/// How far a replica has applied its log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Applied {
    pub index: u64,
    pub term: u64,
    /// The greatest closed timestamp of any applied command.
    pub closed: Timestamp,
    /// Fresh commands applied since the range began; the next request id goes to slot `requests % window`.
    pub requests: u64,
}

/// The log position at which a range starts: below it there are no entries anywhere, so a replica that has nothing needs a snapshot.
pub(crate) const INITIAL_INDEX: u64 = 10;
/// The term of [`INITIAL_INDEX`].
pub(crate) const INITIAL_TERM: u64 = 5;

fn meta(kind: u8, range: RangeId, rest: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(9 + rest.len());
    key.put_u8(kind);
    key.put_u64(range.0);
    key.put_slice(rest);
    key.freeze()
}

pub(crate) fn record_key(range: RangeId) -> Bytes {
    meta(1, range, &[0])
}
pub(crate) fn applied_key(range: RangeId) -> Bytes {
    meta(1, range, &[1])
}
pub(crate) fn request_key(range: RangeId, slot: u32) -> Bytes {
    let s = slot.to_be_bytes();
    meta(1, range, &[2, s[0], s[1], s[2], s[3]])
}
/// Everything in `Meta` that goes when the replica goes.
pub(crate) fn replica_meta_bounds(range: RangeId) -> (Bytes, Bytes) {
    (meta(1, range, &[]), meta(1, range, &[0xff]))
}
pub(crate) fn request_bounds(range: RangeId) -> (Bytes, Bytes) {
    (meta(1, range, &[2]), meta(1, range, &[3]))
}
pub(crate) fn tombstone_key(range: RangeId) -> Bytes {
    meta(2, range, &[])
}
pub(crate) fn incoming_key(range: RangeId) -> Bytes {
    meta(3, range, &[])
}
/// All records of `kind` 1 (replicas), 2 (tombstones) or 3 (incoming snapshots).
pub(crate) fn kind_bounds(kind: u8) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(&[kind]), Bytes::copy_from_slice(&[kind + 1]))
}
/// The range of a `Meta` key of these kinds.
pub(crate) fn range_of(key: &[u8]) -> Option<RangeId> {
    Some(RangeId(u64::from_be_bytes(key.get(1..9)?.try_into().ok()?)))
}

fn log(range: RangeId, replica: ReplicaId, rest: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(16 + rest.len());
    key.put_u64(range.0);
    key.put_u64(replica.0);
    key.put_slice(rest);
    key.freeze()
}
pub(crate) fn hard_state_key(range: RangeId, replica: ReplicaId) -> Bytes {
    log(range, replica, &[0])
}
pub(crate) fn truncated_key(range: RangeId, replica: ReplicaId) -> Bytes {
    log(range, replica, &[1])
}
pub(crate) fn entry_key(range: RangeId, replica: ReplicaId, index: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(25);
    key.put_u64(range.0);
    key.put_u64(replica.0);
    key.put_u8(2);
    key.put_u64(index);
    key.freeze()
}
/// Entries with indexes `[low, high)`.
pub(crate) fn entry_bounds(range: RangeId, replica: ReplicaId, low: u64, high: u64) -> (Bytes, Bytes) {
    (entry_key(range, replica, low), entry_key(range, replica, high))
}
/// All entries.
pub(crate) fn all_entries(range: RangeId, replica: ReplicaId) -> (Bytes, Bytes) {
    (log(range, replica, &[2]), log(range, replica, &[3]))
}
/// Everything in the log of replicas of `range` whose id is below `replica`.
pub(crate) fn log_below(range: RangeId, replica: ReplicaId) -> (Bytes, Bytes) {
    (log(range, ReplicaId(0), &[]), log(range, replica, &[]))
}

/// Adds the applied state to `batch`.
pub(crate) fn put_applied(batch: &mut Batch, range: RangeId, applied: &Applied) {
    batch.put(Space::Meta, applied_key(range), to_bytes(applied));
}

/// Adds the descriptor to `batch`.
pub(crate) fn put_record(batch: &mut Batch, replica: ReplicaId, descriptor: &RangeDescriptor) {
    let record = ReplicaRecord { replica, descriptor: descriptor.clone() };
    batch.put(Space::Meta, record_key(descriptor.id), to_bytes(&record));
}

/// The record of `range`, if an initialised replica is here.
pub(crate) fn read_record(reader: &dyn Reader, range: RangeId) -> Result<Option<ReplicaRecord>, StorageError> {
    reader.get(Space::Meta, &record_key(range))?.map(|b| from_bytes(&b, "replica record")).transpose()
}

/// The applied state of `range`.
pub(crate) fn read_applied(reader: &dyn Reader, range: RangeId) -> Result<Applied, StorageError> {
    match reader.get(Space::Meta, &applied_key(range))? {
        Some(bytes) => from_bytes(&bytes, "applied state"),
        None => Err(StorageError::Corruption(format!("{range}: replica without applied state"))),
    }
}

/// The least replica id of `range` that may come to this node.
pub(crate) fn read_tombstone(reader: &dyn Reader, range: RangeId) -> Result<ReplicaId, StorageError> {
    Ok(match reader.get(Space::Meta, &tombstone_key(range))? {
        Some(bytes) => from_bytes(&bytes, "tombstone")?,
        None => ReplicaId(0),
    })
}
