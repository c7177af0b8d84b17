//! The opener's side of a stream: connect, write frames, read answers, and again after a pause when it breaks.
//!
//! ```text
//!            first use           stream open
//!   (none) ───────────► Dialling ───────────► Up
//!                         │  ▲                │ broken: what was sent ends in NoAnswer, what was queued in Unreachable
//!                  refused│  │pause over      │
//!                         ▼  │                ▼
//!                         Down ◄──────────────┘          Down: senders are told Unreachable at once
//! ```
//! The pause grows from [`PAUSE_MIN`] to [`PAUSE_MAX`] with jitter, and ends early when the peer opens a stream to us.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::Rng;
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Streaming};

use super::super::inbox::{Pending, TransportCounters};
use super::super::{BODY_BYTES_MAX, Service, TrafficClass, TransportError};
use super::wire::proto::transport_client::TransportClient;
use super::wire::{self, Envelope, FRAME_OVERHEAD, Frame, Hello, Kind, Outgoing, QueueReceiver, QueueSender};
use super::{Core, GrpcError};
use crate::api::NodeId;

/// The first pause before dialling again, and the longest.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long dialling may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// An HTTP/2 ping goes out this often, and must be answered this soon: a peer that stopped is noticed after their sum.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// HTTP/2 flow-control windows: enough for bulk traffic over a long distance.
pub(super) const STREAM_WINDOW: u32 = 8 << 20;
pub(super) const CONNECTION_WINDOW: u32 = 16 << 20;
/// Frames between our writer and HTTP/2: one being sent and one ready; everything else waits in the queue, where it is gathered.
const FRAMES_AHEAD: usize = 1;

const DIALLING: u8 = 0;
const UP: u8 = 1;
const DOWN: u8 = 2;

/// One outgoing stream.
#[derive(Debug)]
pub(super) struct Link {
    peer: NodeId,
    class: TrafficClass,
    queue: QueueSender,
    pending: Arc<Pending>,
    state: AtomicU8,
    /// Injected one-way delay, known once the peer has told its region.
    delay: Mutex<Duration>,
    /// Ends a pause early.
    pub(super) wake: Notify,
    /// Cancelled when the peer's address changes or the transport shuts down.
    pub(super) stop: CancellationToken,
}

impl Link {
    /// A link whose task dials at once.
    pub fn open(core: &Arc<Core>, peer: NodeId, class: TrafficClass, address: Arc<str>) -> Arc<Self> {
        let (queue, receiver) = wire::queue(core.limits.queue_envelopes, core.limits.queue_bytes);
        let link = Arc::new(Link {
            peer,
            class,
            queue,
            pending: Arc::default(),
            state: AtomicU8::new(DIALLING),
            delay: Mutex::default(),
            wake: Notify::new(),
            stop: core.shutdown.child_token(),
        });
        let task = LinkTask { core: core.clone(), link: link.clone(), address, queue: receiver };
        core.inbox.tasks().spawn(task.run());
        link
    }

    fn offer(&self, envelope: Envelope) -> Result<(), TransportError> {
        if self.state.load(SeqCst) == DOWN || self.stop.is_cancelled() {
            return Err(TransportError::Unreachable(self.peer));
        }
        let not_before = wire::leave_at(*self.delay.lock());
        if self.queue.offer(Outgoing { envelope, not_before, permit: None }) { Ok(()) } else { Err(TransportError::Full(self.peer)) }
    }

    pub fn send(&self, service: Service, body: Bytes) -> Result<(), TransportError> {
        self.offer(Envelope::of(Kind::Message, Some(service), 0, body))
    }

    pub async fn call(&self, service: Service, body: Bytes, deadline: Duration) -> Result<Bytes, TransportError> {
        let ticket = self.pending.begin();
        self.offer(Envelope::of(Kind::Request, Some(service), ticket.id, body))?;
        ticket.wait(self.peer, deadline).await
    }
}

struct LinkTask {
    core: Arc<Core>,
    link: Arc<Link>,
    address: Arc<str>,
    queue: QueueReceiver,
}

impl LinkTask {
    async fn run(mut self) {
        let link = self.link.clone();
        let mut rng = self.core.entropy.fork(&format!("link {} {:?}", link.peer, link.class)).rng();
        let mut pause = PAUSE_MIN;
        loop {
            link.state.store(DIALLING, SeqCst);
            let ended = tokio::select! {
                biased;
                () = link.stop.cancelled() => None,
                ended = self.once() => Some(ended),
            };
            link.state.store(DOWN, SeqCst);
            // What never left was certainly not executed; for the rest nobody knows.
            for envelope in self.queue.drain() {
                link.pending.finish(envelope.correlation, Err(TransportError::Unreachable(link.peer)));
            }
            link.pending.fail_all(&TransportError::NoAnswer(link.peer));
            match ended {
                None => return,
                Some(Ended::Broken(reason)) => {
                    TransportCounters::add(&self.core.inbox.counters.disconnects, 1);
                    tracing::info!(peer = %link.peer, class = ?link.class, "stream ended: {reason}");
                    pause = PAUSE_MIN;
                }
                Some(Ended::NotConnected(reason)) => {
                    tracing::debug!(peer = %link.peer, class = ?link.class, address = %self.address, "not connected: {reason}");
                }
            }
            tokio::select! {
                biased;
                () = link.stop.cancelled() => return,
                () = link.wake.notified() => {}
                () = tokio::time::sleep(jittered(pause, &mut rng)) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Dials and serves the stream until it ends.
    async fn once(&mut self) -> Ended {
        let (frames, outbound) = mpsc::channel(FRAMES_AHEAD);
        let (hello, inbound) = match tokio::time::timeout(DIAL_TIMEOUT, self.dial(outbound)).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Ended::NotConnected(error.to_string()),
            Err(_) => return Ended::NotConnected("dialling timed out".into()),
        };
        *self.link.delay.lock() = self.core.latency.one_way(&self.core.region, &hello.region);
        self.link.state.store(UP, SeqCst);
        TransportCounters::add(&self.core.inbox.counters.connects, 1);
        tracing::debug!(peer = %self.link.peer, class = ?self.link.class, "stream open");
        let (core, link) = (self.core.clone(), self.link.clone());
        tokio::select! {
            biased;
            reason = read_answers(&core, &link, inbound) => Ended::Broken(reason),
            reason = self.write_frames(frames) => Ended::Broken(reason),
        }
    }

    async fn dial(&self, outbound: mpsc::Receiver<Frame>) -> Result<(Hello, Streaming<Frame>), GrpcError> {
        let channel = endpoint(&self.core, &self.address)?.connect().await.map_err(GrpcError::transport)?;
        let mut request = Request::new(ReceiverStream::new(outbound));
        let hello = self.core.hello(Some(self.link.peer), Some(self.link.class));
        hello.write(request.metadata_mut());
        let response = client(channel).open(request).await.map_err(|status| GrpcError::Handshake(status.message().into()))?;
        let theirs = Hello::read(response.metadata()).map_err(GrpcError::Handshake)?;
        Ok((theirs, response.into_inner()))
    }

    async fn write_frames(&mut self, frames: mpsc::Sender<Frame>) -> String {
        loop {
            // Room first: while HTTP/2 is busy the queue fills up, and the next frame gathers more.
            let Ok(room) = frames.reserve().await else { return "the sending half closed".into() };
            let Some(envelopes) = self.queue.gather().await else { return "nobody sends any more".into() };
            if self.core.outgoing_blocked(self.link.peer) {
                continue;
            }
            wire::count_sent(&self.core.inbox.counters, &envelopes);
            room.send(Frame::of(self.core.inbox.stamp(), envelopes));
        }
    }
}

enum Ended {
    NotConnected(String),
    Broken(String),
}

fn jittered(pause: Duration, rng: &mut Rng) -> Duration {
    pause.mul_f64(rng.random_range(0.5..1.5))
}

async fn read_answers(core: &Core, link: &Link, mut inbound: Streaming<Frame>) -> String {
    loop {
        let frame = match inbound.message().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return "closed by the peer".into(),
            Err(status) => return status.message().into(),
        };
        if core.incoming_blocked(link.peer) {
            continue;
        }
        let accepted = core.inbox.accept(link.peer, frame.stamp(), frame.envelopes.len() as u64).is_ok();
        for envelope in frame.envelopes {
            let correlation = envelope.correlation;
            TransportCounters::add(&core.inbox.counters.bytes_received, envelope.body.len() as u64);
            match envelope.outcome() {
                Some(_) if !accepted => link.pending.finish(correlation, Err(TransportError::NoAnswer(link.peer))),
                Some(outcome) => link.pending.finish(correlation, outcome.map_err(|reason| TransportError::Refused(link.peer, reason))),
                None => TransportCounters::add(&core.inbox.counters.malformed, 1),
            }
        }
    }
}

/// A client with our limits.
pub(super) fn client(channel: Channel) -> TransportClient<Channel> {
    let limit = BODY_BYTES_MAX + FRAME_OVERHEAD;
    TransportClient::new(channel).max_decoding_message_size(limit).max_encoding_message_size(limit)
}

/// How an address is dialled.
pub(super) fn endpoint(core: &Core, address: &str) -> Result<Endpoint, GrpcError> {
    let scheme = if core.client_tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).map_err(|_| GrpcError::Address(address.into()))?;
    let endpoint = endpoint
        .connect_timeout(DIAL_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    match &core.client_tls {
        Some(tls) => endpoint.tls_config(tls.clone()).map_err(GrpcError::transport),
        None => Ok(endpoint),
    }
}
