//! The simulated transport of one node.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;

use super::super::inbox::{Inbox, Pending, TransportCounters};
use super::super::{BODY_BYTES_MAX, Handler, NOBODY, Service, TrafficClass, Transport, TransportError};
use super::network::{Kind, Packet, Shared, Site};
use crate::api::NodeId;

/// A process on a [`super::SimulatedNetwork`], as the layers above see it.
pub struct SimulatedTransport {
    shared: Arc<Shared>,
    address: Arc<str>,
    epoch: u64,
    node: OnceLock<NodeId>,
    inbox: Arc<Inbox>,
    pending: Arc<Pending>,
    peers: Arc<RwLock<BTreeMap<NodeId, Arc<str>>>>,
}

impl SimulatedTransport {
    pub(super) fn new(shared: Arc<Shared>, address: Arc<str>, site: &Site) -> Self {
        let (inbox, pending, peers) = (site.inbox.clone(), site.pending.clone(), site.peers.clone());
        SimulatedTransport { shared, address, epoch: site.epoch, node: OnceLock::new(), inbox, pending, peers }
    }

    /// Where others reach this process.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Counters since the start.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.inbox.counters.snapshot()
    }

    fn packet(&self, to: Arc<str>, class: TrafficClass, service: Service, kind: Kind, body: Bytes) -> Packet {
        TransportCounters::add(&self.inbox.counters.envelopes_sent, 1);
        TransportCounters::add(&self.inbox.counters.bytes_sent, body.len() as u64);
        Packet::new((self.address.clone(), self.local()), to, class, service, self.inbox.stamp(), kind, body)
    }

    fn address_of(&self, node: NodeId) -> Result<Arc<str>, TransportError> {
        if node == self.local() {
            return Ok(self.address.clone());
        }
        self.peers.read().get(&node).cloned().ok_or(TransportError::Unreachable(node))
    }

    /// Posts; errors name `to`, whoever listens at the address by now.
    fn post(&self, packet: Packet, to: NodeId) -> Result<(), TransportError> {
        if packet.body.len() > BODY_BYTES_MAX {
            return Err(TransportError::too_big(to, packet.body.len()));
        }
        self.shared.post(packet, self.epoch).map_err(|error| match error {
            TransportError::Full(_) => {
                TransportCounters::add(&self.inbox.counters.queue_full, 1);
                TransportError::Full(to)
            }
            _ => TransportError::Unreachable(to),
        })
    }

    async fn ask(
        &self,
        (to, address): (NodeId, Arc<str>),
        class: TrafficClass,
        service: Service,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        TransportCounters::add(&self.inbox.counters.calls, 1);
        let ticket = self.pending.begin();
        self.post(self.packet(address, class, service, Kind::Request(ticket.id), body), to)?;
        let outcome = ticket.wait(to, deadline).await;
        if matches!(outcome, Err(TransportError::NoAnswer(_))) {
            TransportCounters::add(&self.inbox.counters.calls_unanswered, 1);
        }
        outcome
    }
}

#[async_trait]
impl Transport for SimulatedTransport {
    fn local(&self) -> NodeId {
        self.node.get().copied().unwrap_or(NOBODY)
    }

    fn assume_identity(&self, node: NodeId) {
        assert_eq!(*self.node.get_or_init(|| node), node, "a node has one id");
        self.shared.identify(&self.address, node);
    }

    fn serve(&self, service: Service, handler: Arc<dyn Handler>) {
        self.inbox.serve(service, handler);
    }

    fn connect(&self, node: NodeId, address: &str) {
        self.peers.write().insert(node, address.into());
    }

    fn clock_refused(&self, from: NodeId) -> bool {
        self.inbox.refused_lately(from)
    }

    fn send(&self, to: NodeId, class: TrafficClass, service: Service, body: Bytes) -> Result<(), TransportError> {
        let address = self.address_of(to)?;
        self.post(self.packet(address, class, service, Kind::Message, body), to)
    }

    async fn call(
        &self,
        to: NodeId,
        class: TrafficClass,
        service: Service,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        let address = self.address_of(to)?;
        self.ask((to, address), class, service, body, deadline).await
    }

    async fn call_address(&self, address: &str, service: Service, body: Bytes, deadline: Duration) -> Result<Bytes, TransportError> {
        self.ask((NOBODY, address.into()), TrafficClass::Control, service, body, deadline).await
    }
}

impl fmt::Debug for SimulatedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedTransport").field("node", &self.local()).field("address", &self.address).finish_non_exhaustive()
    }
}
