//! The answering side: accepts streams and single calls, hands envelopes to the inbox, sends answers back.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tonic::{Request, Response, Status, Streaming};

use super::super::inbox::TransportCounters;
use super::super::{BODY_BYTES_MAX, NOBODY};
use super::Core;
use super::wire::proto::transport_server::{Transport as TransportRpc, TransportServer};
use super::wire::{self, Envelope, FRAME_ENVELOPES_MAX, FRAME_OVERHEAD, Frame, Hello, Kind, Outgoing, QueueReceiver, QueueSender};
use crate::api::NodeId;

/// A call at an address is given up after this, whatever its caller thinks.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

pub(super) struct Answerer {
    core: Arc<Core>,
}

/// The tonic service with our limits.
pub(super) fn service(core: &Arc<Core>) -> TransportServer<Answerer> {
    let limit = BODY_BYTES_MAX + FRAME_OVERHEAD;
    TransportServer::new(Answerer { core: core.clone() }).max_decoding_message_size(limit).max_encoding_message_size(limit)
}

#[tonic::async_trait]
impl TransportRpc for Answerer {
    type OpenStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

    async fn open(&self, request: Request<Streaming<Frame>>) -> Result<Response<Self::OpenStream>, Status> {
        let theirs = Hello::read(request.metadata()).map_err(Status::failed_precondition)?;
        self.check(&theirs)?;
        let core = self.core.clone();
        // Permits bound what is being executed; an answer always has its place in the queue.
        let (sender, receiver) = wire::queue(core.limits.requests_per_stream, usize::MAX / 2);
        let reader = Reader {
            peer: theirs.from,
            delay: core.latency.one_way(&core.region, &theirs.region),
            permits: Arc::new(Semaphore::new(core.limits.requests_per_stream)),
            answers: sender,
            core: core.clone(),
        };
        core.peer_is_back(theirs.from);
        core.inbox.tasks().spawn(reader.run(request.into_inner()));
        let mut response = Response::new(answers(core.clone(), theirs.from, receiver));
        core.hello(None, None).write(response.metadata_mut());
        Ok(response)
    }

    async fn call(&self, request: Request<Frame>) -> Result<Response<Frame>, Status> {
        let theirs = Hello::read(request.metadata()).map_err(Status::failed_precondition)?;
        if !theirs.same_cluster(self.core.cluster()) {
            return Err(Status::failed_precondition("it belongs to another cluster"));
        }
        let frame = request.into_inner();
        let accepted = self.core.inbox.accept(theirs.from, frame.stamp(), 1);
        let envelope = frame.envelopes.into_iter().next().ok_or_else(|| Status::invalid_argument("no envelope"))?;
        let outcome = match (accepted, wire::service(envelope.service)) {
            (Err(reason), _) => Err(reason),
            (_, None) => Err(format!("unknown service {}", envelope.service)),
            (Ok(()), Some(service)) => {
                let (sender, receiver) = oneshot::channel();
                self.core.inbox.request(theirs.from, service, envelope.body, move |outcome| drop(sender.send(outcome)));
                match tokio::time::timeout(CALL_DEADLINE, receiver).await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) | Err(_) => return Err(Status::deadline_exceeded("the call did not end")),
                }
            }
        };
        Ok(Response::new(Frame::of(self.core.inbox.stamp(), vec![Envelope::answer(envelope.correlation, outcome)])))
    }
}

impl Answerer {
    fn check(&self, theirs: &Hello) -> Result<(), Status> {
        let us = self.core.local();
        if !theirs.same_cluster(self.core.cluster()) {
            return Err(Status::failed_precondition("it belongs to another cluster"));
        }
        if us == NOBODY || theirs.to != Some(us) {
            return Err(Status::failed_precondition(format!("here is {us}, not the node that was meant")));
        }
        if theirs.from == NOBODY || theirs.class.is_none() {
            return Err(Status::failed_precondition("a stream needs a node id and a traffic class"));
        }
        Ok(())
    }
}

/// The answers of one stream, as frames. Ends with the transport, or when the reader and every request are gone.
fn answers(core: Arc<Core>, peer: NodeId, queue: QueueReceiver) -> <Answerer as TransportRpc>::OpenStream {
    Box::pin(futures::stream::unfold((core, queue), move |(core, mut queue)| async move {
        loop {
            let envelopes = tokio::select! {
                biased;
                () = core.shutdown.cancelled() => return None,
                envelopes = queue.gather() => envelopes?,
            };
            if core.outgoing_blocked(peer) {
                continue;
            }
            wire::count_sent(&core.inbox.counters, &envelopes);
            let frame = Frame::of(core.inbox.stamp(), envelopes);
            return Some((Ok(frame), (core, queue)));
        }
    }))
}

/// Reads one stream.
struct Reader {
    core: Arc<Core>,
    peer: NodeId,
    delay: Duration,
    permits: Arc<Semaphore>,
    answers: QueueSender,
}

impl Reader {
    async fn run(self, mut inbound: Streaming<Frame>) {
        loop {
            let frame = tokio::select! {
                biased;
                () = self.core.shutdown.cancelled() => return,
                frame = inbound.message() => frame,
            };
            match frame {
                Ok(Some(frame)) if frame.envelopes.len() > FRAME_ENVELOPES_MAX => {
                    tracing::warn!(peer = %self.peer, envelopes = frame.envelopes.len(), "stream closed: a frame above the limit");
                    return;
                }
                Ok(Some(_)) if self.core.incoming_blocked(self.peer) => {}
                Ok(Some(frame)) => self.frame(frame).await,
                Ok(None) => return,
                Err(status) => {
                    tracing::debug!(peer = %self.peer, "incoming stream ended: {}", status.message());
                    return;
                }
            }
        }
    }

    async fn frame(&self, frame: Frame) {
        let accepted = self.core.inbox.accept(self.peer, frame.stamp(), frame.envelopes.len() as u64);
        for envelope in frame.envelopes {
            let (kind, correlation) = (envelope.kind(), envelope.correlation);
            let service = wire::service(envelope.service);
            match (kind, &accepted, service) {
                (Kind::Message, Ok(()), Some(service)) => self.core.inbox.message(self.peer, service, envelope.body),
                (Kind::Message, Err(_), _) => {}
                (Kind::Request, accepted, service) => {
                    // Out of permits: stop reading, which by flow control stops the sender.
                    let Ok(permit) = self.permits.clone().acquire_owned().await else { return };
                    match (accepted, service) {
                        (Ok(()), Some(service)) => {
                            let (answers, delay) = (self.answers.clone(), self.delay);
                            let reply = move |outcome| answer(&answers, delay, correlation, outcome, permit);
                            self.core.inbox.request(self.peer, service, envelope.body, reply);
                        }
                        (Ok(()), None) => {
                            let reason = format!("unknown service {}", envelope.service);
                            answer(&self.answers, self.delay, correlation, Err(reason), permit);
                        }
                        (Err(reason), _) => answer(&self.answers, self.delay, correlation, Err(reason.clone()), permit),
                    }
                }
                (Kind::Message, Ok(()), None) | (Kind::Answer | Kind::Refusal, ..) => {
                    TransportCounters::add(&self.core.inbox.counters.malformed, 1);
                }
            }
        }
    }
}

fn answer(answers: &QueueSender, delay: Duration, correlation: u64, outcome: Result<bytes::Bytes, String>, permit: OwnedSemaphorePermit) {
    let envelope = Envelope::answer(correlation, outcome);
    // Fails only when the stream is gone, and with it whoever waits.
    let _ = answers.offer(Outgoing { envelope, not_before: wire::leave_at(delay), permit: Some(permit) });
}
