//! The suite on the simulated network, and its own promises: determinism and faults.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_clock::{Clock, Entropy, TaskGroup};
use tokio::time::Instant;

use super::super::conformance::{self, A, B, Net, Recorder};
use super::super::{NOBODY, Service, TrafficClass, Transport, TransportError};
use super::{SimulatedNetwork, SimulatedOptions, SimulatedTime, SimulatedTransport};
use crate::api::NodeId;

const C: NodeId = NodeId(3);
const ERROR: Duration = Duration::from_millis(10);
const MS: Duration = Duration::from_millis(1);

struct World {
    network: SimulatedNetwork,
    time: SimulatedTime,
}

impl World {
    fn new(options: SimulatedOptions, seed: u64) -> Self {
        World { network: SimulatedNetwork::new(options, &Entropy::seeded(seed)), time: SimulatedTime::start() }
    }

    fn add(&self, node: NodeId, region: &str) -> (Arc<SimulatedTransport>, Arc<Recorder>) {
        let clock = Clock::new(self.time.clock(ERROR)).unwrap();
        let transport = self.network.add_node(node, region, clock, TaskGroup::new());
        let recorder = Arc::new(Recorder::default());
        transport.serve(Service::Kv, recorder.clone());
        (transport, recorder)
    }
}

#[async_trait]
impl Net for World {
    async fn start(&self, node: NodeId, ahead: Duration) -> Arc<dyn Transport> {
        let source = self.time.clock(ERROR);
        source.set_skew_nanos(ahead.as_nanos() as i64);
        let transport = self.network.attach(&self.address(node), "", Clock::new(source).unwrap(), TaskGroup::new());
        if node != NOBODY {
            transport.assume_identity(node);
        }
        transport
    }

    async fn kill(&self, node: NodeId) {
        self.network.crash(node);
    }

    fn address(&self, node: NodeId) -> String {
        format!("sim:{node}")
    }
}

#[tokio::test(start_paused = true)]
async fn passes_the_suite() {
    let jittery = || SimulatedOptions { jitter: Duration::from_millis(7), ..Default::default() };
    conformance::run(|| World::new(jittery(), 1)).await;
}

fn ping() -> Bytes {
    Bytes::from_static(b"ping")
}

async fn call(from: &SimulatedTransport, to: NodeId, deadline: Duration) -> Result<Bytes, TransportError> {
    from.call(to, TrafficClass::Kv, Service::Kv, ping(), deadline).await
}

#[tokio::test(start_paused = true)]
async fn distance_is_half_a_round_trip_each_way() {
    let mut options = SimulatedOptions::default();
    options.latency.set("east", "west", 80 * MS);
    let world = World::new(options, 1);
    let ((a, _), (_b, _)) = (world.add(A, "east"), world.add(B, "west"));
    world.network.connect_all();
    let start = Instant::now();
    call(&a, B, Duration::from_secs(1)).await.unwrap();
    assert_eq!(start.elapsed(), 80 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_one_way_cut_lets_the_other_way_through() {
    let world = World::new(SimulatedOptions::default(), 1);
    let ((a, _), (b, heard)) = (world.add(A, ""), world.add(B, ""));
    world.network.connect_all();
    world.network.cut(B, A);
    a.send(B, TrafficClass::Raft, Service::Kv, ping()).unwrap();
    assert_eq!(call(&a, B, 50 * MS).await, Err(TransportError::NoAnswer(B)), "the answer is lost");
    assert_eq!(heard.messages.lock().len(), 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(call(&b, A, 50 * MS).await, Err(TransportError::Unreachable(A)), "the connection is given up");
    world.network.heal_all();
    call(&a, B, 50 * MS).await.unwrap();
    world.network.isolate(B);
    assert_eq!(call(&a, B, 50 * MS).await, Err(TransportError::NoAnswer(B)));
    world.network.rejoin(B);
    call(&b, A, 50 * MS).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_paused_node_hears_all_in_order_when_it_goes_on() {
    let world = World::new(SimulatedOptions::default(), 1);
    let ((a, _), (_b, heard)) = (world.add(A, ""), world.add(B, ""));
    world.network.connect_all();
    world.network.pause(B);
    for n in 0..5_u8 {
        a.send(B, TrafficClass::Raft, Service::Kv, Bytes::copy_from_slice(&[n])).unwrap();
    }
    tokio::time::sleep(100 * MS).await;
    assert!(heard.messages.lock().is_empty());
    world.network.resume(B);
    a.send(B, TrafficClass::Raft, Service::Kv, Bytes::from_static(&[5])).unwrap();
    tokio::time::sleep(10 * MS).await;
    let order: Vec<u8> = heard.messages.lock().iter().map(|(_, body)| body[0]).collect();
    assert_eq!(order, [0, 1, 2, 3, 4, 5]);
}

/// A noisy hour of chatter with every fault; answers with the trace.
async fn chatter(seed: u64) -> (Vec<String>, u64) {
    let options = SimulatedOptions { jitter: 9 * MS, loss: 0.05, replay: 0.1, keep_trace: true, ..Default::default() };
    let world = World::new(options, seed);
    let nodes: Vec<_> = [A, B, C].map(|node| world.add(node, "").0).into();
    world.network.connect_all();
    for round in 0..60_u32 {
        match round {
            10 => world.network.partition(A, B),
            20 => world.network.flap(B, C, 30 * MS, 20 * MS),
            30 => world.network.heal_all(),
            35 => world.network.crash(C),
            40 => {
                world.add(C, "");
                world.network.connect_all();
            }
            _ => {}
        }
        for from in &nodes {
            for to in [A, B, C] {
                let _ = from.send(to, TrafficClass::Raft, Service::Kv, Bytes::from(format!("{round}")));
            }
        }
        let calls = nodes.iter().map(|from| call(from, C, 40 * MS));
        futures::future::join_all(calls).await;
    }
    (world.network.trace(), world.network.trace_hash())
}

fn chatter_alone(seed: u64) -> (Vec<String>, u64) {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(chatter(seed))
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let (first, again, other) = (chatter_alone(7), chatter_alone(7), chatter_alone(8));
    assert!(first.0.len() > 500 && first.0.iter().any(|line| line.ends_with("lost")));
    assert_eq!(first, again);
    assert_ne!(first.1, other.1);
}
