//! The real transport: tonic, over TCP or mutual TLS.
//!
//! A node opens one stream to each node that it talks to and each traffic class, on first use and on a connection of its own, so that bulk
//! does not fill the socket that heartbeats need. Its messages and requests go out there, the answers come back there; what the other
//! node begins comes on the other node's streams. Envelopes that are ready together travel in one frame.
//!
//! What is promised: order within a stream; queues bounded in number and bytes, `Full` beyond; a call that was certainly not sent ends in
//! `Unreachable`, one that may have been executed in `NoAnswer`, at the latest at its deadline.
//!
//! Latency between regions can be injected ([`LatencyMatrix`]), and both directions to a peer can be blocked by a test
//! ([`GrpcTransport::block`]): what is blocked vanishes, as on a cut wire.

mod link;
mod server;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_clock::{Clock, Entropy, TaskGroup};
use parking_lot::{Mutex, RwLock};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, Server, ServerTlsConfig};

use super::inbox::{Inbox, Pending, TransportCounters};
use super::{BODY_BYTES_MAX, Handler, LatencyMatrix, NOBODY, Service, TrafficClass, Transport, TransportError};
use crate::api::NodeId;
use link::Link;
use wire::{Envelope, Frame, Hello, Kind};

/// How long [`GrpcTransport::shutdown`] waits for connections to close.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// Mutual TLS between nodes: files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPaths {
    /// The authority that signed every node's certificate.
    pub authority: PathBuf,
    /// This node's certificate (chain).
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The name that peers' certificates carry. `None`: the host that is dialled.
    pub server_name: Option<String>,
}

/// Limits of queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportLimits {
    /// Most envelopes waiting for one stream.
    pub queue_envelopes: usize,
    /// About the most body bytes waiting for one stream.
    pub queue_bytes: usize,
    /// Most requests of one incoming stream that are executed at once; beyond it the stream is not read.
    pub requests_per_stream: usize,
}

impl Default for TransportLimits {
    fn default() -> Self {
        TransportLimits { queue_envelopes: 8192, queue_bytes: 64 << 20, requests_per_stream: 4096 }
    }
}

/// What a real transport needs to know.
#[derive(Clone, Debug)]
pub struct GrpcConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// This node's region, as in the latency matrix.
    pub region: String,
    /// Injected latency.
    pub latency: LatencyMatrix,
    /// `None`: plain TCP.
    pub tls: Option<TlsPaths>,
    /// Limits of queues.
    pub limits: TransportLimits,
}

/// Why a transport did not start, or an address was not reached.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The port is taken, or not ours.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// A TLS file cannot be read.
    #[error("cannot read {0}: {1}")]
    TlsFile(PathBuf, std::io::Error),
    /// Not `host:port`.
    #[error("{0:?} is not an address")]
    Address(String),
    /// The peer refused to open a stream.
    #[error("refused by the peer: {0}")]
    Handshake(String),
    /// Everything that tonic reports.
    #[error("{0}")]
    Tonic(String),
}

impl GrpcError {
    fn transport(error: tonic::transport::Error) -> Self {
        // tonic prints "transport error"; the reason is in the sources.
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        GrpcError::Tonic(text)
    }
}

/// What both sides of the transport share.
struct Core {
    inbox: Arc<Inbox>,
    node: OnceLock<NodeId>,
    cluster: OnceLock<u128>,
    region: String,
    latency: LatencyMatrix,
    limits: TransportLimits,
    client_tls: Option<ClientTlsConfig>,
    entropy: Entropy,
    shutdown: CancellationToken,
    links: RwLock<BTreeMap<(NodeId, TrafficClass), Arc<Link>>>,
    blocked: RwLock<Blocked>,
}

#[derive(Default)]
struct Blocked {
    outgoing: BTreeSet<NodeId>,
    incoming: BTreeSet<NodeId>,
}

impl Core {
    fn local(&self) -> NodeId {
        self.node.get().copied().unwrap_or(NOBODY)
    }

    fn cluster(&self) -> u128 {
        self.cluster.get().copied().unwrap_or(0)
    }

    fn hello(&self, to: Option<NodeId>, class: Option<TrafficClass>) -> Hello {
        Hello { cluster: self.cluster(), from: self.local(), to, class, region: self.region.clone() }
    }

    fn outgoing_blocked(&self, peer: NodeId) -> bool {
        self.blocked.read().outgoing.contains(&peer)
    }

    fn incoming_blocked(&self, peer: NodeId) -> bool {
        self.blocked.read().incoming.contains(&peer)
    }

    /// A peer that opens a stream to us can be dialled again: no need to wait out the pause.
    fn peer_is_back(&self, peer: NodeId) {
        for (_, link) in self.links.read().iter().filter(|((node, _), _)| *node == peer) {
            link.wake.notify_waiters();
        }
    }
}

/// The transport of one node.
pub struct GrpcTransport {
    core: Arc<Core>,
    address: SocketAddr,
    peers: RwLock<BTreeMap<NodeId, Arc<str>>>,
    own_calls: Arc<Pending>,
    own_messages: mpsc::Sender<(Service, Bytes)>,
    server: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl GrpcTransport {
    /// Listens, in `tasks`. The node has no id until [`Transport::assume_identity`].
    pub async fn start(config: GrpcConfig, clock: Clock, entropy: &Entropy, tasks: TaskGroup) -> Result<Arc<Self>, GrpcError> {
        let (server_tls, client_tls) = match &config.tls {
            Some(paths) => load_tls(paths).await.map(|(server, client)| (Some(server), Some(client)))?,
            None => (None, None),
        };
        let listener = TcpListener::bind(config.listen).await.map_err(|e| GrpcError::Listen(config.listen, e))?;
        let address = listener.local_addr().map_err(|e| GrpcError::Listen(config.listen, e))?;
        let core = Arc::new(Core {
            inbox: Arc::new(Inbox::new(clock, tasks.clone())),
            node: OnceLock::new(),
            cluster: OnceLock::new(),
            region: config.region,
            latency: config.latency,
            limits: config.limits,
            client_tls,
            entropy: entropy.fork("transport"),
            shutdown: CancellationToken::new(),
            links: RwLock::default(),
            blocked: RwLock::default(),
        });
        let mut builder = Server::builder()
            .http2_keepalive_interval(Some(link::KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(link::KEEPALIVE_TIMEOUT))
            .initial_stream_window_size(link::STREAM_WINDOW)
            .initial_connection_window_size(link::CONNECTION_WINDOW);
        if let Some(tls) = server_tls {
            builder = builder.tls_config(tls).map_err(GrpcError::transport)?;
        }
        let router = builder.add_service(server::service(&core));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let shutdown = core.shutdown.clone();
        let server = tasks.spawn(async move {
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned()).await {
                tracing::error!("the node-to-node server ended: {}", GrpcError::transport(error));
            }
        });
        let (own_messages, mut own) = mpsc::channel::<(Service, Bytes)>(core.limits.queue_envelopes);
        let own_core = core.clone();
        tasks.spawn(async move {
            while let Some((service, body)) = own.recv().await {
                own_core.inbox.message(own_core.local(), service, body);
            }
        });
        let (peers, own_calls) = (RwLock::default(), Arc::default());
        Ok(Arc::new(GrpcTransport { core, address, peers, own_calls, own_messages, server: Mutex::new(Some(server)) }))
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// For tests: cuts (or restores) what goes to `peer` and what comes from it. What is cut vanishes; and since no stream survives a gap, what is
    /// restored begins with new ones.
    pub fn block(&self, peer: NodeId, outgoing: bool, incoming: bool) {
        let mut blocked = self.core.blocked.write();
        let was = (blocked.outgoing.contains(&peer), blocked.incoming.contains(&peer));
        let mut set = |on: bool, set: fn(&mut Blocked) -> &mut BTreeSet<NodeId>| match on {
            true => _ = set(&mut blocked).insert(peer),
            false => _ = set(&mut blocked).remove(&peer),
        };
        set(outgoing, |b| &mut b.outgoing);
        set(incoming, |b| &mut b.incoming);
        if (was.0 && !outgoing) || (was.1 && !incoming) {
            self.end_streams(peer);
        }
    }

    /// Ends the streams to `peer`; the next use opens new ones.
    fn end_streams(&self, peer: NodeId) {
        self.core.links.write().retain(|(node, _), link| {
            if *node == peer {
                link.stop.cancel();
            }
            *node != peer
        });
    }

    /// Counters since the start.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.core.inbox.counters.snapshot()
    }

    /// Closes every stream and stops listening. Calls under way end in `NoAnswer`.
    pub async fn shutdown(&self) {
        self.core.shutdown.cancel();
        let server = self.server.lock().take();
        if let Some(server) = server
            && tokio::time::timeout(SHUTDOWN_PATIENCE, server).await.is_err()
        {
            tracing::warn!("node-to-node connections did not close in {SHUTDOWN_PATIENCE:?}");
        }
    }

    fn link(&self, to: NodeId, class: TrafficClass) -> Result<Arc<Link>, TransportError> {
        if self.core.shutdown.is_cancelled() || self.core.local() == NOBODY {
            return Err(TransportError::Unreachable(to));
        }
        if let Some(link) = self.core.links.read().get(&(to, class)) {
            return Ok(link.clone());
        }
        let address = self.peers.read().get(&to).cloned().ok_or(TransportError::Unreachable(to))?;
        let mut links = self.core.links.write();
        Ok(links.entry((to, class)).or_insert_with(|| Link::open(&self.core, to, class, address)).clone())
    }

    async fn call_itself(&self, service: Service, body: Bytes, deadline: Duration) -> Result<Bytes, TransportError> {
        let (us, ticket, calls) = (self.core.local(), self.own_calls.begin(), self.own_calls.clone());
        let id = ticket.id;
        let reply = move |outcome: Result<Bytes, String>| calls.finish(id, outcome.map_err(|reason| TransportError::Refused(us, reason)));
        self.core.inbox.request(us, service, body, reply);
        ticket.wait(us, deadline).await
    }

    async fn dial_and_call(&self, address: &str, service: Service, body: Bytes) -> Result<Bytes, TransportError> {
        let channel = match link::endpoint(&self.core, address) {
            Ok(endpoint) => endpoint.connect().await.map_err(GrpcError::transport),
            Err(error) => Err(error),
        };
        let channel = channel.map_err(|error| {
            tracing::debug!(address, "not connected: {error}");
            TransportError::Unreachable(NOBODY)
        })?;
        let envelope = Envelope::of(Kind::Request, Some(service), 0, body);
        let mut request = Request::new(Frame::of(self.core.inbox.stamp(), vec![envelope]));
        self.core.hello(None, None).write(request.metadata_mut());
        let answer = link::client(channel).call(request).await.map_err(|status| match status.code() {
            tonic::Code::FailedPrecondition | tonic::Code::InvalidArgument => TransportError::Refused(NOBODY, status.message().into()),
            _ => TransportError::NoAnswer(NOBODY),
        })?;
        let frame = answer.into_inner();
        self.core.inbox.accept(NOBODY, frame.stamp(), 1).map_err(|_| TransportError::NoAnswer(NOBODY))?;
        let outcome = frame.envelopes.into_iter().next().and_then(Envelope::outcome).ok_or(TransportError::NoAnswer(NOBODY))?;
        outcome.map_err(|reason| TransportError::Refused(NOBODY, reason))
    }

    /// Counts how a send or a call ended.
    fn counted<T>(&self, outcome: Result<T, TransportError>) -> Result<T, TransportError> {
        match &outcome {
            Err(TransportError::Full(_)) => TransportCounters::add(&self.core.inbox.counters.queue_full, 1),
            Err(TransportError::NoAnswer(_)) => TransportCounters::add(&self.core.inbox.counters.calls_unanswered, 1),
            _ => {}
        }
        outcome
    }
}

#[async_trait]
impl Transport for GrpcTransport {
    fn local(&self) -> NodeId {
        self.core.local()
    }

    fn assume_identity(&self, node: NodeId) {
        assert_eq!(*self.core.node.get_or_init(|| node), node, "a node has one id");
    }

    fn assume_cluster(&self, cluster: u128) {
        assert_eq!(*self.core.cluster.get_or_init(|| cluster), cluster, "a node belongs to one cluster");
    }

    fn serve(&self, service: Service, handler: Arc<dyn Handler>) {
        self.core.inbox.serve(service, handler);
    }

    fn connect(&self, node: NodeId, address: &str) {
        let address: Arc<str> = address.into();
        if self.peers.write().insert(node, address.clone()).is_none_or(|old| old == address) {
            return;
        }
        self.end_streams(node);
    }

    fn clock_refused(&self, from: NodeId) -> bool {
        self.core.inbox.refused_lately(from)
    }

    fn send(&self, to: NodeId, class: TrafficClass, service: Service, body: Bytes) -> Result<(), TransportError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(TransportError::too_big(to, body.len()));
        }
        if to == self.core.local() && to != NOBODY {
            return self.counted(self.own_messages.try_send((service, body)).map_err(|_| TransportError::Full(to)));
        }
        let link = self.link(to, class)?;
        // What is sent while blocked vanishes, even if the block ends before the writer comes to it.
        if self.core.outgoing_blocked(to) { Ok(()) } else { self.counted(link.send(service, body)) }
    }

    async fn call(
        &self,
        to: NodeId,
        class: TrafficClass,
        service: Service,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, TransportError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(TransportError::too_big(to, body.len()));
        }
        TransportCounters::add(&self.core.inbox.counters.calls, 1);
        if to == self.core.local() && to != NOBODY {
            return self.counted(self.call_itself(service, body, deadline).await);
        }
        let link = self.link(to, class)?;
        self.counted(link.call(service, body, deadline).await)
    }

    async fn call_address(&self, address: &str, service: Service, body: Bytes, deadline: Duration) -> Result<Bytes, TransportError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(TransportError::too_big(NOBODY, body.len()));
        }
        TransportCounters::add(&self.core.inbox.counters.calls, 1);
        let outcome = tokio::time::timeout(deadline, self.dial_and_call(address, service, body)).await;
        self.counted(outcome.unwrap_or(Err(TransportError::NoAnswer(NOBODY))))
    }
}

impl Drop for GrpcTransport {
    fn drop(&mut self) {
        self.core.shutdown.cancel();
    }
}

impl fmt::Debug for GrpcTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcTransport").field("node", &self.local()).field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("node", &self.local()).finish_non_exhaustive()
    }
}

async fn load_tls(paths: &TlsPaths) -> Result<(ServerTlsConfig, ClientTlsConfig), GrpcError> {
    let read = |path: PathBuf| async move { tokio::fs::read(&path).await.map_err(|error| GrpcError::TlsFile(path, error)) };
    let authority = Certificate::from_pem(read(paths.authority.clone()).await?);
    let identity = Identity::from_pem(read(paths.certificate.clone()).await?, read(paths.key.clone()).await?);
    let server = ServerTlsConfig::new().identity(identity.clone()).client_ca_root(authority.clone());
    let mut client = ClientTlsConfig::new().ca_certificate(authority).identity(identity);
    if let Some(name) = &paths.server_name {
        client = client.domain_name(name);
    }
    Ok((server, client))
}
