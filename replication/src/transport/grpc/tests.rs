//! The suite over real sockets, and what only this transport has: TLS, injected latency, blocking, cluster checks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use tokio::time::Instant;

use super::super::conformance::{self, A, B, Net, Recorder};
use super::super::simulated::SimulatedTime;
use super::*;

const ERROR: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

struct Sockets {
    time: SimulatedTime,
    tls: Option<TlsPaths>,
    running: Mutex<BTreeMap<NodeId, Arc<GrpcTransport>>>,
    addresses: Mutex<BTreeMap<NodeId, SocketAddr>>,
}

impl Sockets {
    fn new(tls: Option<TlsPaths>) -> Self {
        Sockets { time: SimulatedTime::start(), tls, running: Mutex::default(), addresses: Mutex::default() }
    }

    async fn launch(&self, node: NodeId, ahead: Duration, region: &str, latency: LatencyMatrix) -> Arc<GrpcTransport> {
        let source = self.time.clock(ERROR);
        source.set_skew_nanos(ahead.as_nanos() as i64);
        let listen = self.addresses.lock().get(&node).copied().unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        let limits = TransportLimits { queue_envelopes: 1000, ..Default::default() };
        let config = GrpcConfig { listen, region: region.into(), latency, tls: self.tls.clone(), limits };
        let clock = Clock::new(source).unwrap();
        let transport = GrpcTransport::start(config, clock, &Entropy::seeded(1), TaskGroup::new()).await.unwrap();
        if node != NOBODY {
            transport.assume_identity(node);
        }
        self.addresses.lock().insert(node, transport.local_address());
        self.running.lock().insert(node, transport.clone());
        transport
    }
}

#[async_trait]
impl Net for Sockets {
    async fn start(&self, node: NodeId, ahead: Duration) -> Arc<dyn Transport> {
        self.launch(node, ahead, "", LatencyMatrix::new()).await
    }

    async fn kill(&self, node: NodeId) {
        let transport = self.running.lock().remove(&node).unwrap();
        transport.shutdown().await;
    }

    fn address(&self, node: NodeId) -> String {
        self.addresses.lock()[&node].to_string()
    }
}

#[tokio::test]
async fn passes_the_suite() {
    conformance::run(|| Sockets::new(None)).await;
}

fn certificates(dir: &Path) -> TlsPaths {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    let node_key = rcgen::KeyPair::generate().unwrap();
    let node = rcgen::CertificateParams::new(vec!["node.meridian".into()]).unwrap().signed_by(&node_key, &authority).unwrap();
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    TlsPaths {
        authority: write("ca.crt", authority.pem()),
        certificate: write("node.crt", node.pem()),
        key: write("node.key", node_key.serialize_pem()),
        server_name: Some("node.meridian".into()),
    }
}

#[tokio::test]
async fn passes_the_suite_over_mutual_tls_and_refuses_strangers() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let paths = certificates(dir.path());
    conformance::run(|| Sockets::new(Some(paths.clone()))).await;

    let world = Sockets::new(Some(paths));
    let b = world.launch(B, Duration::ZERO, "", LatencyMatrix::new()).await;
    b.serve(Service::Kv, Arc::new(Recorder::default()));
    for tls in [None, Some(certificates(other.path()))] {
        let stranger = Sockets { time: world.time, ..Sockets::new(tls) };
        let a = stranger.launch(A, Duration::ZERO, "", LatencyMatrix::new()).await;
        let outcome = a.call_address(&world.address(B), Service::Kv, Bytes::new(), SECOND).await;
        assert!(matches!(outcome, Err(TransportError::Unreachable(_) | TransportError::NoAnswer(_))), "{outcome:?}");
    }
}

async fn connected_pair(world: &Sockets, latency: &LatencyMatrix) -> (Arc<GrpcTransport>, Arc<GrpcTransport>, Arc<Recorder>) {
    let a = world.launch(A, Duration::ZERO, "east", latency.clone()).await;
    let b = world.launch(B, Duration::ZERO, "west", latency.clone()).await;
    let recorder = Arc::new(Recorder::default());
    b.serve(Service::Kv, recorder.clone());
    a.connect(B, &world.address(B));
    b.connect(A, &world.address(A));
    (a, b, recorder)
}

async fn ping(from: &GrpcTransport, deadline: Duration) -> Result<Bytes, TransportError> {
    from.call(B, TrafficClass::Kv, Service::Kv, Bytes::from_static(b"ping"), deadline).await
}

#[tokio::test]
async fn injected_latency_is_a_round_trip() {
    let mut latency = LatencyMatrix::new();
    latency.set("east", "west", Duration::from_millis(80));
    let world = Sockets::new(None);
    let (a, _b, _) = connected_pair(&world, &latency).await;
    ping(&a, 5 * SECOND).await.unwrap();
    let start = Instant::now();
    ping(&a, 5 * SECOND).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(80), "{:?}", start.elapsed());
    // Latency is not throughput: calls overlap.
    let start = Instant::now();
    futures::future::join_all((0..50).map(|_| ping(&a, 5 * SECOND))).await;
    assert!(start.elapsed() < 50 * Duration::from_millis(80) / 4);
}

#[tokio::test]
async fn what_is_blocked_vanishes() {
    let world = Sockets::new(None);
    let (a, _b, recorder) = connected_pair(&world, &LatencyMatrix::new()).await;
    ping(&a, 5 * SECOND).await.unwrap();
    for (outgoing, incoming) in [(true, false), (false, true)] {
        a.block(B, outgoing, incoming);
        assert_eq!(ping(&a, Duration::from_millis(50)).await, Err(TransportError::NoAnswer(B)));
        assert_eq!(a.send(B, TrafficClass::Kv, Service::Kv, Bytes::from_static(b"m")), Ok(()));
    }
    // While only answers are cut messages arrive; what is on its way when a cut heals goes with its stream.
    while recorder.messages.lock().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    a.block(B, false, false);
    ping(&a, 5 * SECOND).await.unwrap();
    assert_eq!(recorder.messages.lock().len(), 1, "only the one sent while answers were cut");
}

#[tokio::test]
async fn an_address_of_another_node_or_cluster_is_refused() {
    let world = Sockets::new(None);
    let (a, b, _) = connected_pair(&world, &LatencyMatrix::new()).await;
    let wrong = NodeId(7);
    a.connect(wrong, &world.address(B));
    let call = |to| a.call(to, TrafficClass::Control, Service::Kv, Bytes::new(), 5 * SECOND);
    assert_eq!(call(wrong).await, Err(TransportError::Unreachable(wrong)));
    b.assume_cluster(1);
    call(B).await.unwrap();
    a.assume_cluster(2);
    assert_eq!(ping(&a, 5 * SECOND).await, Err(TransportError::Unreachable(B)), "a new stream is refused");
    let joined = a.call_address(&world.address(B), Service::Kv, Bytes::new(), SECOND).await;
    assert!(matches!(&joined, Err(TransportError::Refused(_, reason)) if reason.contains("cluster")), "{joined:?}");
}
