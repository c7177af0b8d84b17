//! What a store does by itself: heartbeats between nodes, flushing and cutting logs, splitting by size.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_storage::engine::{Batch, Space, StorageError};
use meridian_storage::{Key, Span, mvcc};
use tokio::time::{Instant, MissedTickBehavior};

use super::Store;
use super::admin::AdminHandler;
use super::codec::{self, Packet};
use super::context::Context;
use super::layout;
use super::snapshot::{self, SnapshotReceiver};
use super::worker::{Internal, WorkerMessage};
use crate::api::{NodeId, RangeReplica as _};
use crate::liveness::LivenessMessage;
use crate::transport::{Handler, Service, TrafficClass};

/// For so long most peers must disagree with this node's clock before it takes itself out: a single late look proves nothing.
const CLOCK_SUSPICION: std::time::Duration = std::time::Duration::from_secs(1);
/// Bounds below this many nanoseconds are not worth a word.
const BOUND_WORTH_SAYING: u64 = 5_000_000;

/// Snapshots streamed out at the same time.
pub(crate) const SNAPSHOTS_AT_ONCE: usize = 4;

/// Registers the services of the store.
pub(crate) fn serve(store: &Arc<Store>) {
    let ctx = &store.ctx;
    ctx.transport.serve(Service::Raft, Arc::new(RaftReceiver(ctx.clone())));
    ctx.transport.serve(Service::Liveness, Arc::new(LivenessReceiver(ctx.clone())));
    ctx.transport.serve(Service::Snapshot, Arc::new(SnapshotReceiver(ctx.clone())));
    ctx.transport.serve(Service::Admin, Arc::new(AdminHandler(store.clone())));
}

/// Starts the periodic tasks.
pub(crate) fn start(ctx: &Arc<Context>) {
    ctx.tasks.spawn(heartbeats(ctx.clone()));
    ctx.tasks.spawn(flusher(ctx.clone()));
    ctx.tasks.spawn(size_splits(ctx.clone()));
}

struct RaftReceiver(Arc<Context>);

#[async_trait]
impl Handler for RaftReceiver {
    fn message(&self, from: NodeId, body: Bytes) {
        let packets: Vec<Packet> = match codec::from_bytes(&body, "raft packets") {
            Ok(packets) => packets,
            Err(error) => return tracing::warn!(%from, %error, "raft packets dropped"),
        };
        let mut by_worker: Vec<Vec<Packet>> = self.0.workers.iter().map(|_| Vec::new()).collect();
        for packet in packets {
            by_worker[self.0.worker_index(packet.range)].push(packet);
        }
        for (worker, packets) in self.0.workers.iter().zip(by_worker) {
            // A full queue drops them: Raft sends again, and a queue that grows without bound helps nobody.
            if !packets.is_empty() && worker.requests.try_send(WorkerMessage::Packets { from, packets }).is_err() {
                tracing::debug!(%from, "worker busy: raft packets dropped");
            }
        }
    }

    async fn call(&self, _: NodeId, _: Bytes) -> Result<Bytes, String> {
        Err("raft takes messages, not calls".into())
    }
}

struct LivenessReceiver(Arc<Context>);

#[async_trait]
impl Handler for LivenessReceiver {
    fn message(&self, from: NodeId, body: Bytes) {
        match codec::from_bytes::<LivenessMessage>(&body, "liveness") {
            Ok(message) => {
                if let Some(delta) = &message.closed {
                    self.0.closed.inlet.take(from, message.incarnation, delta);
                }
                for event in self.0.peers.heard(from, &message, Instant::now()) {
                    self.0.tell_workers(|| Internal::Peer(from, event));
                }
            }
            Err(error) => tracing::warn!(%from, %error, "liveness message dropped"),
        }
    }

    async fn call(&self, _: NodeId, _: Bytes) -> Result<Bytes, String> {
        Err("liveness takes messages, not calls".into())
    }
}

/// One small message to every node with which ranges are shared, every interval; and who has fallen silent.
async fn heartbeats(ctx: Arc<Context>) {
    let interval = ctx.config.liveness.interval;
    let mut ticks = tokio::time::interval(interval / 2);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0_u64;
    let (mut peers, mut known) = (BTreeSet::new(), 0);
    let (mut bound, mut suspected) = (BoundWatch::new(&ctx), None);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        if count.is_multiple_of(2) {
            snapshot::expire(&ctx);
            // Who shares ranges changes rarely; with many ranges, looking is dearer than telling.
            let version = ctx.membership.load(Ordering::Relaxed);
            if version != known {
                known = version;
                peers = shared_with(&ctx);
            }
            ctx.closed.feed.advance(ctx.clock.now(), ctx.config.closed_lag, &ctx.peers);
            for node in &peers {
                let message = ctx.peers.message(*node, now, &ctx.closed, ctx.transport.clock_refused(*node));
                let body = codec::to_bytes(&message).into();
                if let Err(error) = ctx.transport.send(*node, TrafficClass::Control, Service::Liveness, body) {
                    tracing::trace!(to = %node, %error, "heartbeat not sent");
                }
            }
            bound.look(&ctx);
            remember_reach(&ctx, now);
            judge_own_clock(&ctx, &peers, now, &mut suspected);
        }
        count += 1;
        for node in ctx.peers.fallen(now) {
            tracing::info!(node = %ctx.node, peer = %node, "peer has fallen silent");
            ctx.tell_workers(|| Internal::Peer(node, crate::liveness::PeerEvent::Down));
        }
    }
}

/// Makes durable how far promises are to reach, if clocks have become so much worse, or better.
fn remember_reach(ctx: &Arc<Context>, now: Instant) {
    let Some(reach) = ctx.peers.reach().to_write(now, !ctx.peers.silent(ctx.clock.now())) else { return };
    let mut batch = Batch::new();
    layout::put_reach(&mut batch, reach);
    let me = ctx.clone();
    let submitted = ctx.log_writer.submit(
        &batch,
        Box::new(move |outcome| {
            match &outcome {
                Ok(()) => tracing::info!(node = %me.node, ?reach, "promises may reach so far"),
                Err(error) => tracing::warn!(node = %me.node, ?reach, %error, "promises cannot reach so far: it cannot be made durable"),
            }
            me.peers.reach().written(reach, outcome.is_ok(), Instant::now());
        }),
    );
    if submitted.is_err() {
        ctx.peers.reach().written(reach, false, now);
    }
}

/// A node that most of its peers cannot agree with about the time is the one that is wrong, whatever its own source says: it takes itself out. With one
/// peer nobody can tell which of the two it is; they refuse each other's messages, and an operator must look.
fn judge_own_clock(ctx: &Context, peers: &BTreeSet<NodeId>, now: Instant, suspected: &mut Option<Instant>) {
    let against: Vec<NodeId> =
        peers.iter().copied().filter(|peer| ctx.transport.clock_refused(*peer) || ctx.peers.refused_by(*peer, now)).collect();
    if against.len() < 2 || against.len() * 2 <= peers.len() {
        *suspected = None;
        return;
    }
    let since = *suspected.get_or_insert(now);
    if now.saturating_duration_since(since) >= CLOCK_SUSPICION && ctx.clock_verdict.borrow().is_none() {
        let side = if ctx.transport.clock_refused(against[0]) { "behind" } else { "ahead of" };
        let error = std::time::Duration::from_nanos(ctx.clock.error_nanos());
        let why = format!(
            "the clock of this node is {side} the clocks of most of its peers ({} of {}: {against:?}) by more than the bounds allow (own bound ±{error:?})",
            against.len(),
            peers.len()
        );
        tracing::error!(node = %ctx.node, "{why}: it takes itself out of service");
        ctx.clock_verdict.send_replace(Some(why));
    }
}

/// Says when the bound on the clock's error grows: everything that waits out the uncertainty becomes slower with it.
struct BoundWatch {
    said: u64,
}

impl BoundWatch {
    fn new(ctx: &Context) -> Self {
        BoundWatch { said: ctx.clock.error_nanos().max(BOUND_WORTH_SAYING) }
    }

    fn look(&mut self, ctx: &Context) {
        let error = ctx.clock.error_nanos();
        let shown = std::time::Duration::from_nanos(error);
        if error >= self.said.saturating_mul(2) {
            tracing::warn!(node = %ctx.node, error = ?shown, "the bound on the clock's error has grown: commits and fresh reads wait up to twice as long");
            self.said = error;
        } else if error.saturating_mul(2) <= self.said && self.said > BOUND_WORTH_SAYING {
            tracing::info!(node = %ctx.node, error = ?shown, "the bound on the clock's error has shrunk again");
            self.said = error.max(BOUND_WORTH_SAYING);
        }
    }
}

fn shared_with(ctx: &Context) -> BTreeSet<NodeId> {
    let map = ctx.map.read();
    let mut nodes: BTreeSet<NodeId> = map.all().flat_map(|h| h.descriptor().replicas.iter().map(|r| r.node).collect::<Vec<_>>()).collect();
    nodes.remove(&ctx.node);
    nodes
}

/// Makes applied state durable, then lets logs be cut below it.
async fn flusher(ctx: Arc<Context>) {
    let mut ticks = tokio::time::interval(ctx.config.flush_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut flushed = Vec::new();
    loop {
        ticks.tick().await;
        let applied = applied_indexes(&ctx);
        if applied == flushed && ctx.log_garbage.lock().is_empty() {
            continue;
        }
        match flush(&ctx) {
            Ok(()) => flushed = applied,
            Err(error) => tracing::warn!(%error, "flush failed; logs are not cut"),
        }
    }
}

fn applied_indexes(ctx: &Context) -> Vec<(crate::api::RangeId, u64)> {
    ctx.map.read().all().map(|h| (h.range_id(), h.applied_index())).collect()
}

pub(crate) fn flush(ctx: &Context) -> Result<(), StorageError> {
    let applied = applied_indexes(ctx);
    let garbage = std::mem::take(&mut *ctx.log_garbage.lock());
    if let Err(error) = ctx.flush() {
        ctx.log_garbage.lock().extend(garbage);
        return Err(error);
    }
    for (index, worker) in ctx.workers.iter().enumerate() {
        let mine = applied.iter().filter(|(range, _)| ctx.worker_index(*range) == index).copied().collect();
        let _ = worker.internal.send(Internal::Flushed(mine));
    }
    if garbage.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::new();
    for (range, least) in &garbage {
        let (start, end) = layout::log_below(*range, *least);
        batch.delete_range(Space::Log, start, end);
    }
    let done = Box::new(|result: Result<(), StorageError>| {
        if let Err(error) = result {
            tracing::warn!(%error, "logs of removed replicas not deleted; the next start will");
        }
    });
    ctx.log_writer.submit(&batch, done)
}

/// Splits ranges that have grown beyond the limit.
async fn size_splits(ctx: Arc<Context>) {
    let mut ticks = tokio::time::interval(ctx.config.size_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let handles: Vec<_> = ctx.map.read().all().filter(|h| h.lease_term().is_some()).cloned().collect();
        for handle in handles {
            let span = handle.descriptor().span.clone();
            // The addressing range stays whole: whoever looks something up must be able to find it from gossip alone.
            if handle.lease().is_err() || span.start.is_empty() {
                continue;
            }
            match middle_key(&ctx, &span) {
                Ok(Some(key)) => {
                    tracing::info!(range = %handle.range_id(), ?key, "range is too large and is split");
                    if let Err(error) = handle.split(key).await {
                        tracing::info!(range = %handle.range_id(), %error, "split by size did not happen");
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(range = %handle.range_id(), %error, "size of range unknown"),
            }
        }
    }
}

/// The key at which a range that is too large is best split; `None` if it is not too large or cannot be split.
fn middle_key(ctx: &Context, span: &Span) -> Result<Option<Key>, StorageError> {
    let (start, end) = mvcc::engine_span(span);
    if ctx.engine.approximate_size(Space::Data, &start, &end)? <= ctx.config.range_max_bytes {
        return Ok(None);
    }
    // Halve the span's engine keys by size: walk from the start until half the limit has passed. The walk touches at most half a range
    // and happens once per split.
    let half = ctx.config.range_max_bytes / 2;
    let mut seen = 0;
    let mut found = None;
    let mut visit = |key: &[u8], version: mvcc::VersionRef<'_>| {
        if seen >= half && key > span.start.as_ref() {
            found = Some(Key::copy_from_slice(key));
            return false;
        }
        seen += (key.len() + version.value.map_or(0, <[u8]>::len)) as u64;
        true
    };
    mvcc::scan(&*ctx.engine, span, meridian_clock::Timestamp::MAX, mvcc::Direction::Forward, &mut visit)?;
    Ok(found)
}
