//! Frames, and how envelopes are gathered into them.
//!
//! A stream is opened with metadata that both sides check, so that an address that now belongs to another node or another cluster is noticed
//! before anything is said:
//!
//! | key | opener | answerer |
//! |---|---|---|
//! | `meridian-version` | [`VERSION`] | [`VERSION`] |
//! | `meridian-cluster` | cluster id in hex, 0 if not known yet | the same |
//! | `meridian-from` | its node id | its node id |
//! | `meridian-to` | the node it means | |
//! | `meridian-class` | traffic class | |
//! | `meridian-region-bin` | its region (for injected latency) | its region |

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tonic::metadata::{MetadataMap, MetadataValue};

use super::super::inbox::{Stamp, TransportCounters};
use super::super::{Service, TrafficClass};
use crate::api::NodeId;

#[allow(missing_docs, clippy::all)]
pub(crate) mod proto {
    tonic::include_proto!("meridian.transport.v1");
}

pub(super) use proto::envelope::Kind;
pub(super) use proto::{Envelope, Frame};

/// Version of all that nodes say to each other: of the frames, and of the bodies in them, which are postcard and would be misread and not refused. Peers
/// of another version are refused. To be raised with every change of a message.
///
/// 2: clock widths in liveness, requests that are passed on, batches of scans. 3: no other messages, but replicas that apply a split as one (the request ids
/// that its right half begins with).
pub(super) const VERSION: u32 = 3;
/// A frame is closed when its bodies reach this many bytes (a single body may be larger).
const FRAME_BYTES: usize = 256 << 10;
/// Most envelopes in a frame that we make.
const FRAME_ENVELOPES: usize = 512;
/// Most envelopes in a frame that we accept.
pub(super) const FRAME_ENVELOPES_MAX: usize = 4096;
/// A frame's own bytes around its bodies, at most.
pub(super) const FRAME_OVERHEAD: usize = 64 + FRAME_ENVELOPES * 32;
/// Longest refusal that is sent; longer ones are cut.
const REASON_BYTES_MAX: usize = 4096;

/// All services, in the order of their numbers on the wire (from 1). Only ever appended to.
const SERVICES: [Service; 7] =
    [Service::Liveness, Service::Raft, Service::Snapshot, Service::Registry, Service::Admin, Service::Kv, Service::Sql];
/// All classes, in the order of their numbers on the wire (from 1).
const CLASSES: [TrafficClass; 4] = [TrafficClass::Control, TrafficClass::Raft, TrafficClass::Kv, TrafficClass::Bulk];

pub(super) fn service_number(service: Service) -> u32 {
    SERVICES.iter().position(|s| *s == service).map_or(0, |index| index as u32 + 1)
}

pub(super) fn service(number: u32) -> Option<Service> {
    SERVICES.get((number as usize).checked_sub(1)?).copied()
}

fn class_number(class: TrafficClass) -> u32 {
    CLASSES.iter().position(|c| *c == class).map_or(0, |index| index as u32 + 1)
}

impl Envelope {
    pub fn of(kind: Kind, service: Option<Service>, correlation: u64, body: Bytes) -> Self {
        Envelope { kind: kind.into(), service: service.map_or(0, service_number), correlation, body }
    }

    /// The answer to a request.
    pub fn answer(correlation: u64, outcome: Result<Bytes, String>) -> Self {
        match outcome {
            Ok(body) => Envelope::of(Kind::Answer, None, correlation, body),
            Err(mut reason) => {
                let cut = (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0);
                reason.truncate(cut);
                Envelope::of(Kind::Refusal, None, correlation, reason.into())
            }
        }
    }

    /// What an answer or refusal says; `None` if this envelope is neither.
    pub fn outcome(self) -> Option<Result<Bytes, String>> {
        match self.kind() {
            Kind::Answer => Some(Ok(self.body)),
            Kind::Refusal => Some(Err(String::from_utf8_lossy(&self.body).into_owned())),
            Kind::Message | Kind::Request => None,
        }
    }
}

impl Frame {
    pub fn of(stamp: Stamp, envelopes: Vec<Envelope>) -> Self {
        Frame { clock_reading: stamp.reading.as_raw(), clock_error_nanos: stamp.error_nanos, envelopes }
    }

    pub fn stamp(&self) -> Stamp {
        Stamp { reading: Timestamp::from_raw(self.clock_reading), error_nanos: self.clock_error_nanos }
    }
}

/// An envelope on its way to a stream.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub envelope: Envelope,
    /// Injected latency: it leaves no earlier. Constant per stream, so order is kept.
    pub not_before: Option<Instant>,
    /// Held until the envelope is in a frame: bounds the requests of a stream that are being executed.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// The sending end of a queue that is bounded in envelopes by its channel and in bytes here.
#[derive(Clone, Debug)]
pub(super) struct QueueSender {
    channel: mpsc::Sender<Outgoing>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// The receiving end, which gathers envelopes into frames.
#[derive(Debug)]
pub(super) struct QueueReceiver {
    channel: mpsc::Receiver<Outgoing>,
    bytes: Arc<AtomicUsize>,
    /// Taken off the channel, but too young or too big for the last frame.
    head: Option<Outgoing>,
}

/// A queue of at most so many envelopes and about so many body bytes.
pub(super) fn queue(envelopes_max: usize, bytes_max: usize) -> (QueueSender, QueueReceiver) {
    let (sender, receiver) = mpsc::channel(envelopes_max);
    let bytes = Arc::new(AtomicUsize::new(0));
    (QueueSender { channel: sender, bytes: bytes.clone(), bytes_max }, QueueReceiver { channel: receiver, bytes, head: None })
}

impl QueueSender {
    /// Puts `outgoing` in the queue; `false` if it is full or closed.
    pub fn offer(&self, outgoing: Outgoing) -> bool {
        let len = outgoing.envelope.body.len();
        let before = self.bytes.fetch_add(len, Relaxed);
        // A body larger than the limit is let in when it is alone.
        if (before > 0 && before + len > self.bytes_max) || self.channel.try_send(outgoing).is_err() {
            self.bytes.fetch_sub(len, Relaxed);
            return false;
        }
        true
    }
}

impl QueueReceiver {
    /// Waits for envelopes and gathers what is there and due, in order. `None` when every sender is gone and nothing is left.
    pub async fn gather(&mut self) -> Option<Vec<Envelope>> {
        if self.head.is_none() {
            self.head = self.channel.recv().await;
        }
        // From here on nothing is lost if this future is dropped: the head stays where it is until the frame is made without awaiting.
        let due = self.head.as_ref()?.not_before;
        if let Some(due) = due {
            tokio::time::sleep_until(due).await;
        }
        let now = due.map(|_| Instant::now());
        let mut envelopes = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.head.take().or_else(|| self.channel.try_recv().ok()) {
            let len = next.envelope.body.len();
            let too_young = next.not_before.zip(now).is_some_and(|(due, now)| due > now);
            if too_young || (bytes > 0 && bytes + len > FRAME_BYTES) || envelopes.len() >= FRAME_ENVELOPES {
                self.head = Some(next);
                break;
            }
            bytes += len;
            self.bytes.fetch_sub(len, Relaxed);
            drop(next.permit);
            envelopes.push(next.envelope);
        }
        Some(envelopes)
    }

    /// Empties the queue of what will not be sent.
    pub fn drain(&mut self) -> Vec<Envelope> {
        let all: Vec<_> =
            self.head.take().into_iter().chain(std::iter::from_fn(|| self.channel.try_recv().ok())).map(|o| o.envelope).collect();
        self.bytes.fetch_sub(all.iter().map(|envelope| envelope.body.len()).sum(), Relaxed);
        all
    }
}

/// Counts a frame that leaves.
pub(super) fn count_sent(counters: &TransportCounters, envelopes: &[Envelope]) {
    TransportCounters::add(&counters.batches_sent, 1);
    TransportCounters::add(&counters.envelopes_sent, envelopes.len() as u64);
    TransportCounters::add(&counters.bytes_sent, envelopes.iter().map(|e| e.body.len() as u64).sum());
}

/// What one side says of itself when a stream opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub cluster: u128,
    pub from: NodeId,
    pub to: Option<NodeId>,
    pub class: Option<TrafficClass>,
    pub region: String,
}

impl Hello {
    pub fn write(&self, metadata: &mut MetadataMap) {
        let mut number = |key: &'static str, value: u32| metadata.insert(key, MetadataValue::from(value));
        number("meridian-version", VERSION);
        number("meridian-from", self.from.0);
        self.to.map(|to| number("meridian-to", to.0));
        self.class.map(|class| number("meridian-class", class_number(class)));
        if let Ok(cluster) = format!("{:x}", self.cluster).parse() {
            metadata.insert("meridian-cluster", cluster);
        }
        metadata.insert_bin("meridian-region-bin", MetadataValue::from_bytes(self.region.as_bytes()));
    }

    /// Reads and checks what the other side wrote.
    pub fn read(metadata: &MetadataMap) -> Result<Self, String> {
        let text = |key: &'static str| metadata.get(key).and_then(|value| value.to_str().ok());
        let number = |key: &'static str| text(key).and_then(|value| value.parse::<u32>().ok());
        let version = number("meridian-version").ok_or("not a Meridian node")?;
        if version != VERSION {
            return Err(format!("it speaks version {version} of the transport, this node version {VERSION}"));
        }
        let cluster = text("meridian-cluster").and_then(|value| u128::from_str_radix(value, 16).ok()).ok_or("no cluster id")?;
        let from = NodeId(number("meridian-from").ok_or("no node id")?);
        let class = number("meridian-class").and_then(|n| CLASSES.get((n as usize).checked_sub(1)?).copied());
        let region = metadata.get_bin("meridian-region-bin").and_then(|value| value.to_bytes().ok()).unwrap_or_default();
        let region = String::from_utf8(region.to_vec()).map_err(|_| "its region is not UTF-8")?;
        Ok(Hello { cluster, from, to: number("meridian-to").map(NodeId), class, region })
    }

    /// Whether both may belong to one cluster.
    pub fn same_cluster(&self, cluster: u128) -> bool {
        self.cluster == 0 || cluster == 0 || self.cluster == cluster
    }
}

/// When an envelope that is ready now may leave, under an injected one-way delay.
pub(super) fn leave_at(delay: Duration) -> Option<Instant> {
    (!delay.is_zero()).then(|| Instant::now() + delay)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn envelope() -> impl Strategy<Value = Envelope> {
        (0..4_i32, 0..9_u32, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(kind, service, correlation, body)| Envelope { kind, service, correlation, body: body.into() })
    }

    proptest! {
        #[test]
        fn any_bytes_decode_to_a_frame_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(frame) = Frame::decode(bytes.as_slice()) {
                for envelope in frame.envelopes {
                    let _ = (service(envelope.service), envelope.kind(), envelope.outcome());
                }
            }
        }

        #[test]
        fn damaged_frames_never_panic(
            envelopes in proptest::collection::vec(envelope(), 0..6), at in any::<prop::sample::Index>(), flip in any::<u8>(), cut in any::<bool>(),
        ) {
            let frame = Frame { clock_reading: 7, clock_error_nanos: 9, envelopes };
            let mut bytes = frame.encode_to_vec();
            prop_assert_eq!(&Frame::decode(bytes.as_slice()).unwrap(), &frame);
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
            let _ = Frame::decode(bytes.as_slice());
        }

        #[test]
        fn frames_keep_order_and_limits(sizes in proptest::collection::vec(0..200_000_usize, 1..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (sender, mut receiver) = queue(sizes.len(), usize::MAX / 2);
            for (n, size) in sizes.iter().enumerate() {
                let envelope = Envelope::of(Kind::Message, Some(Service::Kv), n as u64, vec![0; *size].into());
                let taken = sender.offer(Outgoing { envelope, not_before: None, permit: None });
                prop_assert!(taken);
            }
            let extra = Envelope::of(Kind::Message, None, 0, Bytes::new());
            let taken = sender.offer(Outgoing { envelope: extra, not_before: None, permit: None });
            prop_assert!(!taken);
            let bytes = sender.bytes.clone();
            drop(sender);
            let mut seen = Vec::new();
            while let Some(envelopes) = runtime.block_on(receiver.gather()) {
                let total: usize = envelopes.iter().map(|e| e.body.len()).sum();
                prop_assert!(!envelopes.is_empty() && (envelopes.len() == 1 || total <= FRAME_BYTES));
                seen.extend(envelopes.into_iter().map(|e| (e.correlation as usize, e.body.len())));
            }
            prop_assert_eq!(seen, sizes.into_iter().enumerate().collect::<Vec<_>>());
            prop_assert_eq!(bytes.load(Relaxed), 0);
        }
    }

    #[test]
    fn every_service_and_class_has_a_number() {
        for known in SERVICES {
            assert_eq!(service(service_number(known)), Some(known));
        }
        assert_eq!((service(0), service(8)), (None, None));
        let hello =
            Hello {
                cluster: u128::MAX, from: NodeId(3), to: Some(NodeId(4)), class: Some(TrafficClass::Bulk), region: "são-paulo".into()
            };
        let mut metadata = MetadataMap::new();
        hello.write(&mut metadata);
        assert_eq!(Hello::read(&metadata), Ok(hello));
    }
}
