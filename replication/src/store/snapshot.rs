//! Snapshots: a range's whole state, streamed in bounded pieces beside Raft.
//!
//! ```text
//!   leader                                        follower
//!   frozen view of the engine ── Begin ─────────▶ makes room: old state out, mark "incoming", span reserved
//!                             ── Piece, Piece … ▶ straight into place; each is a call, so the stream paces itself
//!                             ── End(crc) ──────▶ state and position in, mark out, *flush*, then the log begins anew
//! ```
//! Raft decides that a follower needs one and is told how it went; its own snapshot message never travels. The position sent is that of the
//! view, which is at or after the one Raft asked for.
//!
//! **Room** is made by the worker that owns the range, in one step with the map of spans: from then on whatever else would become this replica, such as the right
//! half of a split whose flush is not over, finds its place taken and comes to nothing.
//!
//! **A sender that gives up** says so ([`SnapshotMessage::Abort`]), and one that has fallen silent or started anew is given up: the replica is then empty, forgets its log, and
//! asks its leader for another snapshot (the leader would otherwise never go below what it knows the replica to have had).
//!
//! **A crash in the middle** leaves the mark: at start the span is wiped, and the replica is empty until the next snapshot, in the same way. Losing what the
//! replica had acknowledged is harmless: the snapshot's position is committed without it (the leader knows it to be behind), so every quorum has a
//! member that refuses to elect anybody who lacks that. Its hard state (term and vote) stays in the log space throughout. Promises that bound it
//! are lost with the object that held them, so it holds still for a full promise afterwards.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_storage::engine::{Batch, Reader, Space, StorageError};
use meridian_storage::{Span, mvcc};
use raft::SnapshotStatus;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::codec::{from_bytes, to_bytes};
use super::context::Context;
use super::handle::ReplicaHandle;
use super::layout;
use super::replica::{Replica, SnapshotOrder};
use super::worker::{Internal, Room, WorkerSender};
use crate::api::{NodeId, RangeDescriptor, RangeId, ReplicaId};
use crate::transport::{Handler, Service, TrafficClass};

/// How long one piece may take.
const PIECE_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum SnapshotMessage {
    Begin {
        range: RangeId,
        to: ReplicaId,
        term: u64,
        descriptor: RangeDescriptor,
    },
    Piece {
        range: RangeId,
        to: ReplicaId,
        number: u64,
        space: Space,
        pairs: Vec<(Bytes, Bytes)>,
    },
    End {
        range: RangeId,
        to: ReplicaId,
        pieces: u64,
        crc: u32,
        applied: layout::Applied,
    },
    /// The sender has given up: the replica must not wait for the rest, but hear of its leader again.
    Abort {
        range: RangeId,
        to: ReplicaId,
    },
}

/// A snapshot on its way in.
#[derive(Debug)]
pub(crate) struct Incoming {
    from: NodeId,
    /// The process there that sends it.
    incarnation: u64,
    replica: ReplicaId,
    descriptor: RangeDescriptor,
    next: u64,
    crc: crc32fast::Hasher,
    /// When the last piece came.
    at: Instant,
}

/// A snapshot of which nothing came for this long is given up.
const ABANDONED: Duration = Duration::from_secs(60);
/// So soon if its sender has fallen silent altogether or is a new process: until then the replica hears of no other leader.
const ORPHANED: Duration = Duration::from_secs(1);

/// Gives up snapshots whose senders have fallen silent, so that others can try.
pub(crate) fn expire(ctx: &Context) {
    let now = Instant::now();
    let mut dead = Vec::new();
    ctx.incoming.lock().retain(|range, incoming| {
        let sender = ctx.peers.peer(incoming.from);
        let goes_on = sender.live() && sender.incarnation() == incoming.incarnation;
        let patience = if goes_on { ABANDONED } else { ORPHANED };
        let keep = now.saturating_duration_since(incoming.at) < patience;
        if !keep {
            dead.push((*range, incoming.descriptor.span.clone()));
        }
        keep
    });
    give_up(ctx, dead);
}

fn give_up(ctx: &Context, dead: Vec<(RangeId, Span)>) {
    for (range, span) in dead {
        let mut batch = Batch::new();
        wipe(&mut batch, range, &Mark { spans: vec![span] });
        batch.delete(Space::Meta, layout::incoming_key(range));
        match ctx.engine.apply(&batch) {
            Ok(()) => drop(ctx.map.write().remove(range)),
            // The mark stays, and with it the reservation, until the next start.
            Err(error) => tracing::error!(%range, %error, "an abandoned snapshot could not be wiped"),
        }
    }
}

/// What the mark says: the spans to wipe if the snapshot does not come to its end.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Mark {
    spans: Vec<Span>,
}

/// A snapshot is in place.
pub(crate) struct Arrived {
    pub range: RangeId,
    pub replica: ReplicaId,
}

fn feed(crc: &mut crc32fast::Hasher, space: Space, pairs: &[(Bytes, Bytes)]) {
    for (key, value) in pairs {
        crc.update(&[space as u8]);
        crc.update(&(key.len() as u64).to_be_bytes());
        crc.update(key);
        crc.update(value);
    }
}

// ---- sending ----

/// Streams a snapshot in the background and tells the worker how it went.
pub(crate) fn start_sending(ctx: &Arc<Context>, order: SnapshotOrder, worker: WorkerSender) {
    let (task_ctx, range, to) = (ctx.clone(), order.range, order.to);
    ctx.tasks.spawn(async move {
        let permit = task_ctx.sending.clone().acquire_owned().await;
        let sent = match permit {
            Ok(_permit) => send(&task_ctx, &order).await,
            Err(_) => Err("the store is stopping".to_string()),
        };
        if let Err(why) = &sent {
            tracing::warn!(%range, to = %order.node, why, "snapshot not delivered");
            let _ = call(&task_ctx, order.node, &SnapshotMessage::Abort { range, to }).await;
        }
        let _ = worker.internal.send(Internal::SnapshotSent { range, to, ok: sent.is_ok() });
    });
}

async fn send(ctx: &Context, order: &SnapshotOrder) -> Result<(), String> {
    let engine = ctx.engine.clone();
    let view = engine.snapshot();
    let record = layout::read_record(&*view, order.range).map_err(|e| e.to_string())?.ok_or("the replica has gone")?;
    let applied = layout::read_applied(&*view, order.range).map_err(|e| e.to_string())?;
    let (range, to) = (order.range, order.to);
    call(ctx, order.node, &SnapshotMessage::Begin { range, to, term: order.term, descriptor: record.descriptor.clone() }).await?;
    let data = mvcc::engine_span(&record.descriptor.span);
    let (mut number, mut crc) = (0, crc32fast::Hasher::new());
    for (space, (lower, upper)) in [(Space::Data, data.clone()), (Space::Lock, data), (Space::Meta, layout::request_bounds(range))] {
        let mut from = lower;
        loop {
            let pairs = read_piece(&*view, space, &from, &upper, ctx.config.snapshot_chunk_bytes).map_err(|e| e.to_string())?;
            let Some((last, _)) = pairs.last() else { break };
            let mut next = last.to_vec();
            next.push(0);
            from = next.into();
            feed(&mut crc, space, &pairs);
            call(ctx, order.node, &SnapshotMessage::Piece { range, to, number, space, pairs }).await?;
            number += 1;
        }
    }
    call(ctx, order.node, &SnapshotMessage::End { range, to, pieces: number, crc: crc.finalize(), applied }).await
}

fn read_piece(view: &dyn Reader, space: Space, from: &[u8], upper: &[u8], limit: usize) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
    let mut cursor = view.cursor(space, from, upper)?;
    cursor.seek_to_first();
    let (mut pairs, mut bytes) = (Vec::new(), 0);
    while cursor.valid() && bytes < limit {
        let (key, value) = (cursor.key(), cursor.value());
        if space != Space::Meta {
            mvcc::verify(key, value)?;
        }
        bytes += key.len() + value.len();
        pairs.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        cursor.next();
    }
    cursor.status()?;
    Ok(pairs)
}

async fn call(ctx: &Context, node: NodeId, message: &SnapshotMessage) -> Result<(), String> {
    let body = to_bytes(message).into();
    let answer = ctx.transport.call(node, TrafficClass::Bulk, Service::Snapshot, body, PIECE_DEADLINE).await;
    answer.map(drop).map_err(|e| e.to_string())
}

impl Replica {
    /// The stream to `to` has ended.
    pub(crate) fn snapshot_sent(&mut self, to: ReplicaId, ok: bool) {
        self.keep_from = None;
        self.wake();
        self.raw.report_snapshot(to.0, if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure });
    }
}

// ---- receiving ----

/// Whether a snapshot of `range` is on its way in.
pub(crate) fn is_incoming(ctx: &Context, range: RangeId) -> bool {
    ctx.incoming.lock().contains_key(&range)
}

/// The receiving side of [`Service::Snapshot`].
pub(crate) struct SnapshotReceiver(pub Arc<Context>);

#[async_trait]
impl Handler for SnapshotReceiver {
    fn message(&self, _: NodeId, _: Bytes) {}

    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, String> {
        let message: SnapshotMessage = from_bytes(&body, "snapshot").map_err(|e| e.to_string())?;
        match message {
            SnapshotMessage::Begin { range, to, term, descriptor } => self.begin(from, range, to, term, descriptor).await?,
            SnapshotMessage::Piece { range, to, number, space, pairs } => self.piece(from, range, to, number, space, pairs)?,
            SnapshotMessage::End { range, to, pieces, crc, applied } => self.end(from, range, to, pieces, crc, applied)?,
            SnapshotMessage::Abort { range, to } => self.abort(from, range, to),
        }
        Ok(Bytes::new())
    }
}

impl SnapshotReceiver {
    async fn begin(&self, from: NodeId, range: RangeId, to: ReplicaId, term: u64, descriptor: RangeDescriptor) -> Result<(), String> {
        let ctx = &self.0;
        if descriptor.id != range || descriptor.replica_on(ctx.node).is_none_or(|r| r.id != to) {
            return Err(format!("{range}: {to} is no replica on {} there", ctx.node));
        }
        if let Some(other) = ctx.map.read().overlapping(range, &descriptor.span) {
            // Most likely a split that this node has not applied yet.
            return Err(format!("the span overlaps {other} here"));
        }
        let (done, ready) = oneshot::channel();
        let begins = Internal::SnapshotBegins { range, replica: to, term, span: descriptor.span.clone(), done };
        ctx.worker(range).internal.send(begins).map_err(|_| "the store is stopping")?;
        let Ok(Some(Room { old })) = ready.await else {
            return Err(format!("{range}: {to} does not take a snapshot of term {term}"));
        };
        if old.is_some() {
            ctx.events.replica_removed(range);
        }
        let mark = Mark { spans: old.into_iter().chain([descriptor.span.clone()]).collect() };
        let mut batch = Batch::new();
        wipe(&mut batch, range, &mark);
        batch.put(Space::Meta, layout::incoming_key(range), to_bytes(&mark));
        ctx.engine.apply(&batch).map_err(|e| e.to_string())?;
        tracing::debug!(node = %ctx.node, %range, %from, "a snapshot begins");
        let incarnation = ctx.peers.peer(from).incarnation();
        let incoming = Incoming { from, incarnation, replica: to, descriptor, next: 0, crc: crc32fast::Hasher::new(), at: Instant::now() };
        ctx.incoming.lock().insert(range, incoming);
        Ok(())
    }

    fn piece(
        &self,
        from: NodeId,
        range: RangeId,
        to: ReplicaId,
        number: u64,
        space: Space,
        pairs: Vec<(Bytes, Bytes)>,
    ) -> Result<(), String> {
        let mut incoming = self.0.incoming.lock();
        let current = incoming.get_mut(&range).filter(|i| i.from == from && i.replica == to && i.next == number);
        let current = current.ok_or_else(|| format!("{range}: piece {number} is not expected"))?;
        let (lower, upper) = match space {
            Space::Data | Space::Lock => mvcc::engine_span(&current.descriptor.span),
            Space::Meta => layout::request_bounds(range),
            Space::Log => return Err("a snapshot has no log".into()),
        };
        if pairs.iter().any(|(key, _)| *key < lower || *key >= upper) {
            return Err(format!("{range}: a key outside the span"));
        }
        feed(&mut current.crc, space, &pairs);
        current.next += 1;
        current.at = Instant::now();
        let mut batch = Batch::new();
        for (key, value) in pairs {
            batch.put(space, key, value);
        }
        self.0.engine.apply(&batch).map_err(|e| e.to_string())
    }

    fn abort(&self, from: NodeId, range: RangeId, to: ReplicaId) {
        let aborted = {
            let mut all = self.0.incoming.lock();
            if all.get(&range).is_some_and(|i| i.from == from && i.replica == to) { all.remove(&range) } else { None }
        };
        give_up(&self.0, aborted.into_iter().map(|i| (range, i.descriptor.span)).collect());
    }

    fn end(&self, from: NodeId, range: RangeId, to: ReplicaId, pieces: u64, crc: u32, applied: layout::Applied) -> Result<(), String> {
        let ctx = &self.0;
        let incoming = {
            let mut all = ctx.incoming.lock();
            match all.get(&range) {
                Some(i) if i.from == from && i.replica == to && i.next == pieces => all.remove(&range),
                _ => None,
            }
        };
        let incoming = incoming.ok_or_else(|| format!("{range}: this end is not expected"))?;
        if incoming.crc.finalize() != crc {
            tracing::error!(%range, %from, "snapshot checksum differs: discarded");
            return Err(format!("{range}: the checksum differs"));
        }
        let mut batch = Batch::new();
        layout::put_record(&mut batch, to, &incoming.descriptor);
        layout::put_applied(&mut batch, range, &applied);
        batch.delete(Space::Meta, layout::incoming_key(range));
        ctx.engine.apply(&batch).map_err(|e| e.to_string())?;
        // The log may begin anew only once the state that replaces it is durable.
        ctx.flush().map_err(|e| e.to_string())?;
        tracing::debug!(node = %ctx.node, %range, %from, ?applied, "a snapshot is in place");
        let worker = ctx.worker(range);
        let handle = ReplicaHandle::new(
            to,
            ctx.node,
            ctx.clock.clone(),
            worker.requests.clone(),
            Arc::new(incoming.descriptor),
            &ctx.range_ids,
            &ctx.closed,
        );
        ctx.map.write().insert(Arc::new(handle));
        ctx.members_changed();
        worker.internal.send(Internal::SnapshotArrived(Arrived { range, replica: to })).map_err(|_| "the store is stopping")?;
        Ok(())
    }
}

/// Adds the removal of everything a replica of `range` had to `batch`.
fn wipe(batch: &mut Batch, range: RangeId, mark: &Mark) {
    for span in &mark.spans {
        let (start, end) = mvcc::engine_span(span);
        for space in [Space::Data, Space::Lock] {
            batch.delete_range(space, start.clone(), end.clone());
        }
    }
    let (start, end) = layout::replica_meta_bounds(range);
    batch.delete_range(Space::Meta, start, end);
}

/// At start: wipes what snapshots that never ended left behind.
pub(crate) fn clean_up(engine: &dyn meridian_storage::Engine) -> Result<(), StorageError> {
    let mut batch = Batch::new();
    {
        let (lower, upper) = layout::kind_bounds(3);
        let mut cursor = engine.cursor(Space::Meta, &lower, &upper)?;
        cursor.seek_to_first();
        while cursor.valid() {
            let mark: Mark = from_bytes(cursor.value(), "snapshot mark")?;
            if let Some(range) = layout::range_of(cursor.key()) {
                wipe(&mut batch, range, &mark);
                batch.delete(Space::Meta, layout::incoming_key(range));
            }
            cursor.next();
        }
        cursor.status()?;
    }
    if batch.is_empty() { Ok(()) } else { engine.apply(&batch) }
}
