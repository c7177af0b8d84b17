//! Bytes: what travels in Raft entries and between stores.
//!
//! ```text
//!   entry   := 0x01 command | 0x02 admin (postcard)            (an empty entry is Raft's own)
//!   command := request u128 ‖ closed u64 ‖ op*
//!   op      := (kind | space << 4) u8 ‖ len key ‖ [len value]    lengths are LEB128
//! ```
//! Commands decode without copying: keys and values are slices of the entry. Everything decoded here came from a peer or a disk, so
//! every decoder answers an error, never a panic.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use meridian_clock::Timestamp;
use meridian_storage::{Batch, BatchOp, Key, Space, StorageError};
use raft::prelude::ConfState;
use serde::{Deserialize, Serialize};

use crate::api::{Command, RangeDescriptor, RangeId, ReplicaDescriptor, ReplicaId, ReplicaRole, RequestId};

const COMMAND: u8 = 1;
const ADMIN: u8 = 2;

/// Changes of a range itself, replicated like commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum AdminCommand {
    /// `left` replaces the range, `right` is born. Void unless the range still has the generation it was evaluated at.
    Split { request: RequestId, at_generation: u64, left: Box<RangeDescriptor>, right: Box<RangeDescriptor> },
    /// Every replica computes its checksum at this very entry and tells `reply_to`.
    Checksum { request: RequestId, reply_to: crate::api::NodeId },
}

impl AdminCommand {
    pub(crate) fn request(&self) -> RequestId {
        match self {
            AdminCommand::Split { request, .. } | AdminCommand::Checksum { request, .. } => *request,
        }
    }
}

/// A decoded entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Empty,
    /// With the span epoch that it was evaluated under.
    Command(Command, u64),
    Admin(Box<AdminCommand>),
}

/// What the context of a membership entry carries: the descriptor that it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MembershipChange {
    pub request: RequestId,
    pub at_generation: u64,
    pub descriptor: RangeDescriptor,
}

pub(crate) fn corrupt(what: &str) -> StorageError {
    StorageError::Corruption(what.to_string())
}

pub(crate) fn to_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    // Plain data into memory: postcard fails only on types that we do not use (unsized sequences).
    postcard::to_allocvec(value).unwrap_or_default()
}

pub(crate) fn from_bytes<'a, T: Deserialize<'a>>(bytes: &'a [u8], what: &str) -> Result<T, StorageError> {
    postcard::from_bytes(bytes).map_err(|e| StorageError::Corruption(format!("{what}: {e}")))
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    let mut n = bytes.len();
    while n >= 0x80 {
        out.put_u8((n as u8 & 0x7f) | 0x80);
        n >>= 7;
    }
    out.put_u8(n as u8);
    out.put_slice(bytes);
}

fn take_bytes(input: &mut Bytes) -> Result<Bytes, StorageError> {
    let (mut n, mut shift) = (0_u64, 0);
    loop {
        if !input.has_remaining() || shift > 35 {
            return Err(corrupt("command: bad length"));
        }
        let byte = input.get_u8();
        n |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
        shift += 7;
    }
    if n > input.remaining() as u64 {
        return Err(corrupt("command: cut short"));
    }
    Ok(input.split_to(n as usize))
}

fn space_tag(space: Space) -> u8 {
    match space {
        Space::Data => 0,
        Space::Lock => 1,
        Space::Log => 2,
        Space::Meta => 3,
    }
}

/// A command as entry bytes. Refuses changes to the spaces that belong to replication.
pub(crate) fn encode_command(command: &Command, span_epoch: u64) -> Result<Vec<u8>, StorageError> {
    let mut out = BytesMut::with_capacity(64 + command.batch.ops.iter().map(op_size).sum::<usize>());
    out.put_u8(COMMAND);
    out.put_u128(command.request.0);
    out.put_u64(command.closed.as_raw());
    out.put_u64(span_epoch);
    for op in &command.batch.ops {
        let (kind, space) = match op {
            BatchOp::Put { space, .. } => (0, *space),
            BatchOp::Delete { space, .. } => (1, *space),
            BatchOp::DeleteRange { space, .. } => (2, *space),
        };
        if !matches!(space, Space::Data | Space::Lock) {
            return Err(corrupt("a command may change data and locks only"));
        }
        out.put_u8(kind | space_tag(space) << 4);
        match op {
            BatchOp::Put { key, value, .. } => {
                put_bytes(&mut out, key);
                put_bytes(&mut out, value);
            }
            BatchOp::Delete { key, .. } => put_bytes(&mut out, key),
            BatchOp::DeleteRange { start, end, .. } => {
                put_bytes(&mut out, start);
                put_bytes(&mut out, end);
            }
        }
    }
    Ok(out.into())
}

fn op_size(op: &BatchOp) -> usize {
    match op {
        BatchOp::Put { key, value, .. } => key.len() + value.len() + 10,
        BatchOp::Delete { key, .. } => key.len() + 6,
        BatchOp::DeleteRange { start, end, .. } => start.len() + end.len() + 10,
    }
}

pub(crate) fn encode_admin(command: &AdminCommand) -> Vec<u8> {
    let mut out = vec![ADMIN];
    out.extend(to_bytes(command));
    out
}

/// The payload of an entry's data.
pub(crate) fn decode_payload(data: Vec<u8>) -> Result<Payload, StorageError> {
    let mut input = Bytes::from(data);
    if input.is_empty() {
        return Ok(Payload::Empty);
    }
    match input.get_u8() {
        COMMAND => decode_command(input).map(|(command, span_epoch)| Payload::Command(command, span_epoch)),
        ADMIN => from_bytes(&input, "admin command").map(|command| Payload::Admin(Box::new(command))),
        other => Err(StorageError::Format(format!("entry of unknown kind {other}: written by a newer version?"))),
    }
}

fn decode_command(mut input: Bytes) -> Result<(Command, u64), StorageError> {
    if input.remaining() < 32 {
        return Err(corrupt("command: cut short"));
    }
    let request = RequestId(input.get_u128());
    let closed = Timestamp::from_raw(input.get_u64());
    let span_epoch = input.get_u64();
    let mut batch = Batch::new();
    while input.has_remaining() {
        let tag = input.get_u8();
        let space = match tag >> 4 {
            0 => Space::Data,
            1 => Space::Lock,
            _ => return Err(corrupt("command: bad space")),
        };
        let first = take_bytes(&mut input)?;
        match tag & 0xf {
            0 => batch.put(space, first, take_bytes(&mut input)?),
            1 => batch.delete(space, first),
            2 => batch.delete_range(space, first, take_bytes(&mut input)?),
            _ => return Err(corrupt("command: bad operation")),
        }
    }
    Ok((Command { request, closed, batch }, span_epoch))
}

/// What one replica says to another. One message of the transport carries many.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Packet {
    pub range: RangeId,
    pub from: ReplicaId,
    pub to: ReplicaId,
    pub body: PacketBody,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum PacketBody {
    /// A Raft message (its own encoding).
    Raft {
        message: Bytes,
        /// The epoch of the sender's standing promise to the receiver if the sender follows it in the message's term; else 0.
        stamp: u64,
        /// Set on vote requests of a candidate to whom the leader of this term gave its lease.
        release: Option<Release>,
        /// The start of the range, so that a replica that has not yet applied the split knows whose promises bind it.
        start: Key,
    },
    /// The leader stops ticking: whoever has everything up to `commit` in `term` may stop too.
    Quiet { term: u64, commit: u64 },
    /// Is anybody leading here? A quiet leader wakes and beats.
    Wake,
    /// The receiver is not a member any more and never will be again under this id.
    Gone { next_replica: ReplicaId },
    /// The leader of `term` has given its lease up in favour of the receiver.
    Transfer { term: u64, handover: Bytes },
    /// The checksum of the sender's replica at the entry of this request.
    Checksum { request: RequestId, index: u64, sum: u64 },
    /// The receiver's replica differs from that of the majority or the leaseholder and must stop.
    Diverged { index: u64, expected: u64 },
}

/// A leader's word that nothing is served under its lease of `term` any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Release {
    pub leader: ReplicaId,
    pub term: u64,
}

/// Raft's own types in their own encoding. Under the prost codec only `write_to_bytes` and `merge_from_bytes` exist.
pub(crate) trait RaftMessage: protobuf::Message + Default {
    fn bytes(&self) -> Vec<u8> {
        // Into memory: cannot fail.
        self.write_to_bytes().unwrap_or_default()
    }
    fn parse(bytes: &[u8], what: &str) -> Result<Self, StorageError> {
        let mut out = Self::default();
        out.merge_from_bytes(bytes).map_err(|e| StorageError::Corruption(format!("{what}: {e}")))?;
        Ok(out)
    }
}

impl<M: protobuf::Message + Default> RaftMessage for M {}

/// The Raft configuration that a descriptor's roles describe.
pub(crate) fn conf_state(descriptor: &RangeDescriptor) -> ConfState {
    let pick =
        |roles: &[ReplicaRole]| -> Vec<u64> { descriptor.replicas.iter().filter(|r| roles.contains(&r.role)).map(|r| r.id.0).collect() };
    let mut state = ConfState { learners: pick(&[ReplicaRole::Learner]), ..ConfState::default() };
    if is_joint(descriptor) {
        state.voters = pick(&[ReplicaRole::Voter, ReplicaRole::Incoming]);
        state.voters_outgoing = pick(&[ReplicaRole::Voter, ReplicaRole::Outgoing]);
    } else {
        state.voters = pick(&[ReplicaRole::Voter]);
    }
    state
}

/// Whether the range is between two configurations.
pub(crate) fn is_joint(descriptor: &RangeDescriptor) -> bool {
    descriptor.replicas.iter().any(|r| matches!(r.role, ReplicaRole::Incoming | ReplicaRole::Outgoing))
}

/// Whether this replica counts in some quorum.
pub(crate) fn votes(replica: &ReplicaDescriptor) -> bool {
    replica.role != ReplicaRole::Learner
}

/// Whether two configurations have the same members in the same roles.
pub(crate) fn same_conf(a: &ConfState, b: &ConfState) -> bool {
    let same = |a: &[u64], b: &[u64]| {
        let (mut a, mut b) = (a.to_vec(), b.to_vec());
        a.sort_unstable();
        b.sort_unstable();
        a == b
    };
    same(&a.voters, &b.voters)
        && same(&a.voters_outgoing, &b.voters_outgoing)
        && same(&a.learners, &b.learners)
        && same(&a.learners_next, &b.learners_next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }

    fn op() -> impl Strategy<Value = BatchOp> {
        let space = prop_oneof![Just(Space::Data), Just(Space::Lock)];
        (space, bytes(), bytes(), 0..3).prop_map(|(space, a, b, kind)| match kind {
            0 => BatchOp::Put { space, key: a, value: b },
            1 => BatchOp::Delete { space, key: a },
            _ => BatchOp::DeleteRange { space, start: a, end: b },
        })
    }

    proptest! {
        #[test]
        fn commands_come_back(request in any::<u128>(), closed in any::<u64>(), ops in prop::collection::vec(op(), 0..8), cut in any::<usize>()) {
            let command = Command { request: RequestId(request), closed: Timestamp::from_raw(closed), batch: Batch { ops } };
            let encoded = encode_command(&command, closed ^ 7).unwrap();
            prop_assert_eq!(decode_payload(encoded.clone()).unwrap(), Payload::Command(command.clone(), closed ^ 7));
            // Cut short it is an error or a shorter command, never the same one and never a panic.
            let cut = cut % encoded.len();
            if let Ok(Payload::Command(other, _)) = decode_payload(encoded[..cut].to_vec()) {
                prop_assert_ne!(other, command);
            }
        }

        #[test]
        fn noise_is_an_error_not_a_panic(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_payload(noise.clone());
            let _ = from_bytes::<Vec<Packet>>(&noise, "packets");
        }
    }
}
