//! One suite that every transport passes. A [`Net`] starts and kills processes; the tests below know nothing else of the transport.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{BODY_BYTES_MAX, Handler, NOBODY, Service, TrafficClass, Transport, TransportError};
use crate::api::NodeId;

pub(super) const A: NodeId = NodeId(1);
pub(super) const B: NodeId = NodeId(2);
const SECOND: Duration = Duration::from_secs(1);
/// Beyond this a test has hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// A world in which the suite can start processes.
#[async_trait]
pub(super) trait Net: Send + Sync {
    /// Starts the process of `node`, at the address that it had before if it had one. Its clock is `ahead` of true time, and claims to be exact to 10 ms.
    async fn start(&self, node: NodeId, ahead: Duration) -> Arc<dyn Transport>;
    /// Kills it.
    async fn kill(&self, node: NodeId);
    /// Where it listens.
    fn address(&self, node: NodeId) -> String;
}

/// Records messages; answers calls with the caller's id and the body, unless the body asks for something else.
#[derive(Default)]
pub(super) struct Recorder {
    pub messages: Mutex<Vec<(NodeId, Bytes)>>,
    arrived: Notify,
    release: Notify,
}

impl Recorder {
    async fn wait_for(&self, count: usize) {
        let all = async {
            while self.messages.lock().len() < count {
                self.arrived.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| panic!("{} of {count} messages arrived", self.messages.lock().len()));
    }
}

#[async_trait]
impl Handler for Recorder {
    fn message(&self, from: NodeId, body: Bytes) {
        self.messages.lock().push((from, body));
        self.arrived.notify_one();
    }

    async fn call(&self, from: NodeId, body: Bytes) -> Result<Bytes, String> {
        match body.as_ref() {
            b"refuse" => Err("as asked".into()),
            b"hang" => {
                self.messages.lock().push((from, body));
                self.arrived.notify_one();
                self.release.notified().await;
                Ok(Bytes::new())
            }
            _ => Ok([format!("{from}:").as_bytes(), &body].concat().into()),
        }
    }
}

async fn pair(net: &dyn Net) -> (Arc<dyn Transport>, Arc<dyn Transport>, Arc<Recorder>) {
    let (a, b) = (net.start(A, Duration::ZERO).await, net.start(B, Duration::ZERO).await);
    let recorder = Arc::new(Recorder::default());
    b.serve(Service::Kv, recorder.clone());
    a.connect(B, &net.address(B));
    b.connect(A, &net.address(A));
    (a, b, recorder)
}

/// Calls until the peer is connected.
async fn reach(transport: &Arc<dyn Transport>, to: NodeId) {
    let connected = async {
        loop {
            match transport.call(to, TrafficClass::Kv, Service::Kv, Bytes::from_static(b"ping"), SECOND).await {
                Ok(_) => return,
                Err(TransportError::Unreachable(_) | TransportError::NoAnswer(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(other) => panic!("{other}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, connected).await.expect("the peer is reachable");
}

fn body(n: u32) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

async fn messages_arrive_in_order(net: &dyn Net) {
    let (a, _b, recorder) = pair(net).await;
    reach(&a, B).await;
    for n in 0..1000 {
        a.send(B, TrafficClass::Raft, Service::Kv, body(n)).unwrap();
        if n % 100 == 99 {
            recorder.wait_for(n as usize + 1).await;
        }
    }
    let seen: Vec<_> = recorder.messages.lock().clone();
    assert_eq!(seen, (0..1000).map(|n| (A, body(n))).collect::<Vec<_>>());
}

async fn calls_are_answered(net: &dyn Net) {
    let (a, b, _recorder) = pair(net).await;
    reach(&a, B).await;
    let calls = (0..100).map(|n| a.call(B, TrafficClass::Kv, Service::Kv, Bytes::from(format!("{n}")), 10 * SECOND));
    for (n, answer) in futures::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), format!("n1:{n}"));
    }
    // A node calls itself like any other.
    assert_eq!(b.call(B, TrafficClass::Kv, Service::Kv, Bytes::from_static(b"me"), SECOND).await.unwrap(), "n2:me");
    // Whoever has no id yet is nobody.
    let stranger = net.start(NOBODY, Duration::ZERO).await;
    assert_eq!(stranger.local(), NOBODY);
    let answer = stranger.call_address(&net.address(B), Service::Kv, Bytes::from_static(b"join"), 10 * SECOND).await;
    assert_eq!(answer.unwrap(), "n0:join");
}

/// Calls are numbered anew by every process: the answer to the first call of one that died is not that to the first of its successor.
async fn answers_are_not_for_successors(net: &dyn Net) {
    let (a, _b, recorder) = pair(net).await;
    let calls = |a: Arc<dyn Transport>| {
        tokio::spawn(async move {
            loop {
                match a.call(B, TrafficClass::Kv, Service::Kv, Bytes::from_static(b"hang"), 10 * SECOND).await {
                    Err(TransportError::Unreachable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                    other => return other,
                }
            }
        })
    };
    let former = calls(a);
    recorder.wait_for(1).await;
    net.kill(A).await;
    former.abort();
    let a = net.start(A, Duration::ZERO).await;
    a.connect(B, &net.address(B));
    let successor = calls(a);
    recorder.wait_for(2).await;
    // Who waited first is released first.
    recorder.release.notify_one();
    tokio::time::sleep(SECOND).await;
    assert!(!successor.is_finished(), "{:?}", successor.await);
    recorder.release.notify_one();
    tokio::time::timeout(PATIENCE, successor).await.expect("its own answer").unwrap().unwrap();
}

async fn refusals_are_told(net: &dyn Net) {
    let (a, _b, _recorder) = pair(net).await;
    reach(&a, B).await;
    let refused = a.call(B, TrafficClass::Kv, Service::Kv, Bytes::from_static(b"refuse"), SECOND).await;
    assert_eq!(refused, Err(TransportError::Refused(B, "as asked".into())));
    let unknown = a.call(B, TrafficClass::Kv, Service::Sql, Bytes::new(), SECOND).await;
    assert!(matches!(&unknown, Err(TransportError::Refused(B, reason)) if reason.contains("Sql")), "{unknown:?}");
    let huge = Bytes::from(vec![0; BODY_BYTES_MAX + 1]);
    assert!(matches!(a.send(B, TrafficClass::Bulk, Service::Kv, huge.clone()), Err(TransportError::Refused(..))));
    assert!(matches!(a.call(B, TrafficClass::Bulk, Service::Kv, huge, SECOND).await, Err(TransportError::Refused(..))));
}

async fn big_bodies_pass(net: &dyn Net) {
    let (a, _b, _recorder) = pair(net).await;
    reach(&a, B).await;
    let big: Bytes = (0..BODY_BYTES_MAX - 16).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let answer = a.call(B, TrafficClass::Bulk, Service::Kv, big.clone(), PATIENCE).await.unwrap();
    assert!(answer.strip_prefix(b"n1:").is_some_and(|rest| rest == big));
}

async fn the_absent_are_unreachable(net: &dyn Net) {
    let (a, _b, recorder) = pair(net).await;
    let stranger = a.call(NodeId(9), TrafficClass::Kv, Service::Kv, Bytes::new(), SECOND).await;
    assert_eq!(stranger, Err(TransportError::Unreachable(NodeId(9))));
    assert_eq!(a.send(NodeId(9), TrafficClass::Kv, Service::Kv, Bytes::new()), Err(TransportError::Unreachable(NodeId(9))));
    reach(&a, B).await;
    // A call under way when the peer dies may have been executed, and does not wait for its deadline.
    let caller = a.clone();
    let hanging =
        tokio::spawn(async move { caller.call(B, TrafficClass::Kv, Service::Kv, Bytes::from_static(b"hang"), 10 * PATIENCE).await });
    recorder.wait_for(1).await;
    net.kill(B).await;
    let outcome = tokio::time::timeout(PATIENCE, hanging).await.expect("it hears of the death").unwrap();
    assert_eq!(outcome, Err(TransportError::NoAnswer(B)));
    let gone = async {
        while a.call(B, TrafficClass::Kv, Service::Kv, Bytes::new(), SECOND).await != Err(TransportError::Unreachable(B)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("then it is known to be unreachable");
    let nobody_there = a.call_address(&net.address(B), Service::Kv, Bytes::new(), SECOND).await;
    assert!(matches!(nobody_there, Err(TransportError::Unreachable(_))), "{nobody_there:?}");
}

async fn a_restarted_peer_is_found_again(net: &dyn Net) {
    let (a, _b, _recorder) = pair(net).await;
    reach(&a, B).await;
    net.kill(B).await;
    let again = net.start(B, Duration::ZERO).await;
    again.serve(Service::Kv, Arc::new(Recorder::default()));
    reach(&a, B).await;
}

async fn a_deadline_ends_a_call(net: &dyn Net) {
    let (a, _b, _recorder) = pair(net).await;
    reach(&a, B).await;
    let late = a.call(B, TrafficClass::Kv, Service::Kv, Bytes::from_static(b"hang"), Duration::from_millis(50)).await;
    assert_eq!(late, Err(TransportError::NoAnswer(B)));
}

async fn a_full_queue_refuses(net: &dyn Net) {
    let (a, _b, recorder) = pair(net).await;
    reach(&a, B).await;
    // Nothing is taken off the queue while this task does not yield (one thread), so it must fill up.
    let mut accepted = 0;
    let refusal = loop {
        match a.send(B, TrafficClass::Raft, Service::Kv, body(accepted)) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 1_000_000, "the queue has a limit");
    };
    assert_eq!(refusal, TransportError::Full(B));
    // Other classes are not affected, and what was accepted arrives.
    a.call(B, TrafficClass::Kv, Service::Kv, Bytes::from_static(b"ping"), 10 * SECOND).await.unwrap();
    recorder.wait_for(accepted as usize).await;
    assert_eq!(recorder.messages.lock().len(), accepted as usize);
}

async fn a_clock_out_of_bounds_is_refused(net: &dyn Net) {
    let (a, b, recorder) = pair(net).await;
    let ahead = net.start(NodeId(3), Duration::from_secs(5)).await;
    ahead.connect(B, &net.address(B));
    ahead.serve(Service::Kv, Arc::new(Recorder::default()));
    let reached = async {
        loop {
            match ahead.call(B, TrafficClass::Kv, Service::Kv, Bytes::from_static(b"from the future"), SECOND).await {
                Err(TransportError::Refused(B, reason)) => return reason,
                Err(TransportError::Unreachable(_) | TransportError::NoAnswer(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                other => panic!("{other:?}"),
            }
        }
    };
    let reason = tokio::time::timeout(PATIENCE, reached).await.expect("an answer");
    assert!(reason.contains("clock"), "{reason}");
    ahead.send(B, TrafficClass::Kv, Service::Kv, Bytes::from_static(b"unheard")).unwrap();
    assert!(matches!(ahead.call(B, TrafficClass::Kv, Service::Kv, Bytes::new(), SECOND).await, Err(TransportError::Refused(..))));
    assert!(recorder.messages.lock().is_empty());
    // Its answers are worth nothing either: the call may have been executed.
    b.connect(NodeId(3), &net.address(NodeId(3)));
    let asked = async {
        loop {
            match b.call(NodeId(3), TrafficClass::Kv, Service::Kv, Bytes::new(), SECOND).await {
                Err(TransportError::Unreachable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                other => return other,
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, asked).await.expect("an outcome"), Err(TransportError::NoAnswer(NodeId(3))));
    reach(&a, B).await;
}

/// The whole suite, one fresh world per test.
pub(super) async fn run<N: Net + 'static>(world: impl Fn() -> N) {
    macro_rules! each {
        ($($test:ident),*) => {$(
            println!("{}", stringify!($test));
            tokio::time::timeout(4 * PATIENCE, $test(&world())).await.expect(stringify!($test));
        )*};
    }
    each!(
        messages_arrive_in_order,
        calls_are_answered,
        answers_are_not_for_successors,
        refusals_are_told,
        big_bodies_pass,
        the_absent_are_unreachable,
        a_restarted_peer_is_found_again,
        a_deadline_ends_a_call,
        a_full_queue_refuses,
        a_clock_out_of_bounds_is_refused
    );
}
