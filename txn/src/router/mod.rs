//! From keys to the leaseholder: which range, which node, a call there, and what to do when it has moved.
//!
//! ```text
//!   route(key)   served on this node?  ── yes ──▶ local
//!                    │ no
//!                    ▼
//!                range cache ── miss ──▶ range addressing (itself in ranges; the first range comes from the directory)
//!   send(route)  local: a call on the caller's own task, nothing serialized
//!                remote: one RPC; through another replica if the leaseholder cannot be reached from here (`links`)
//!                "not here" / "not these keys": the cache heals, the caller groups its keys again and retries
//!                "an intent whose record I cannot reach": settled from here, the leaseholder is told, the caller retries
//! ```
//! Whoever sends must be able to send again: every request may be repeated (see `request`).

mod cache;
mod links;
mod meta;
mod serve;
mod settle;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use meridian_clock::{Clock, Entropy, Rng, TaskGroup, Timestamp};
use meridian_replication::api::{Directory, NodeId, RangeDescriptor, RangeHost, RangeId, RangeReplica, ReplicaRole};
use meridian_replication::transport::{Transport, TransportError};
use meridian_storage::mvcc::AttemptId;
use meridian_storage::{Key, Span};
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::time::{Instant, sleep};

use crate::api::KvError;
use crate::attempt::{self, NOBODY};
use crate::coordinator::Registry;
use crate::leaseholder::{Leaseholders, RangeState, span_of};
use crate::request::{Batch, Envelope, Header, NodeMessage, Refusal, Request, Response};
use cache::RangeCache;
use links::Links;

/// How long a call may take that waits for nobody.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one that may wait for locks may take before it is sent again.
const LOCK_CALL_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a range may be unreachable before the client hears of it.
pub(crate) const UNREACHABLE_AFTER: Duration = Duration::from_secs(15);
/// How often somebody who waits for an answer looks whether the node that owes it is still there.
const LOST_CHECK: Duration = Duration::from_millis(25);
/// How often somebody who waits for the outcome of an election looks at the replica on this node.
const NEWS_CHECK: Duration = Duration::from_millis(4);
/// How long a request is kept waiting where an election is under way, before others are asked.
const ELECTION_PATIENCE: Duration = Duration::from_millis(600);
/// How long a node that could not be reached is not taken for a leader on the word of a replica that may not have noticed yet.
const UNREACHED: Duration = Duration::from_millis(300);
/// With thousands of replicas, looking at all of them for each read would cost more than the reads.
const NEARBY_FRESH: Duration = Duration::from_millis(100);

/// Where a key is served, as far as this node knows.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// The range.
    pub range: RangeId,
    /// Its keys.
    pub span: Span,
    target: Target,
}

#[derive(Clone, Debug)]
enum Target {
    Local(Arc<RangeState>),
    Remote(NodeId),
}

impl Route {
    /// Whether it is served on this node.
    pub fn is_local(&self) -> bool {
        matches!(self.target, Target::Local(_))
    }
}

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The route is outdated and the cache healed: group again. Certainly not done.
    Stale,
    /// Leadership changed: not known whether it was done, but it is decided by the time that the next leaseholder answers.
    Unknown(String),
    /// The answer was lost: not known whether it was done or may yet be.
    NoAnswer(String),
    /// For the transaction.
    Kv(KvError),
}

/// Paces retries: exponential, jittered, with a deadline.
pub(crate) struct Backoff {
    deadline: Instant,
    pause: Duration,
}

impl Backoff {
    pub fn new() -> Self {
        Backoff { deadline: Instant::now() + UNREACHABLE_AFTER, pause: Duration::from_millis(1) }
    }

    /// Waits before the next try, or says that it has been enough. The first pauses are short: most redirects are settled at once.
    pub async fn pause(&mut self, router: &Router, what: &str) -> Result<(), KvError> {
        if Instant::now() >= self.deadline {
            return Err(KvError::Unavailable(what.to_string()));
        }
        let jitter = router.rng.lock().random_range(0.5..1.0);
        sleep(self.pause.mul_f64(jitter)).await;
        self.pause = (self.pause * 2).min(Duration::from_millis(200));
        Ok(())
    }

    /// The same for a request about `key`. If a replica on this node takes part in the range and has lost its leader, there is nobody to ask: it
    /// will be among the first to know the next one, and the pause ends when it does.
    pub async fn pause_at(&mut self, router: &Router, key: &[u8], what: &str) -> Result<(), KvError> {
        let Some(replica) = router.host.replica_for_key(key).filter(|_| router.leaseholders.serving(key).is_none()) else {
            return self.pause(router, what).await;
        };
        let (until, range) = (Instant::now() + ELECTION_PATIENCE, replica.range_id());
        let mut waited = false;
        while router.leader_of(&*replica).is_none() && Instant::now() < until.min(self.deadline) {
            waited = true;
            sleep(NEWS_CHECK).await;
        }
        if waited && let Some(leader) = router.leader_of(&*replica) {
            router.cache.lock().redirect(range, Some(leader));
            return Ok(());
        }
        self.pause(router, what).await
    }
}

/// The router of one node.
pub struct Router {
    pub(crate) node: NodeId,
    pub(crate) clock: Clock,
    pub(crate) tasks: TaskGroup,
    pub(crate) registry: Arc<Registry>,
    leaseholders: Arc<Leaseholders>,
    host: Arc<dyn RangeHost>,
    directory: Arc<dyn Directory>,
    cache: Mutex<RangeCache>,
    /// Reads in the past that replicas on this node answered.
    pub(crate) follower_reads: AtomicU64,
    /// Requests sent to ranges led by other nodes.
    pub(crate) remote_requests: AtomicU64,
    /// What [`Router::closed_nearby`] found, and when.
    nearby: Mutex<Option<(Instant, Timestamp)>>,
    links: Arc<Links>,
    rng: Mutex<Rng>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Router({})", self.node)
    }
}

/// What a router is made of.
pub(crate) struct Parts {
    pub clock: Clock,
    pub tasks: TaskGroup,
    pub registry: Arc<Registry>,
    pub leaseholders: Arc<Leaseholders>,
    pub host: Arc<dyn RangeHost>,
    pub transport: Arc<dyn Transport>,
    pub directory: Arc<dyn Directory>,
}

impl Router {
    pub(crate) fn new(parts: Parts, entropy: &Entropy) -> Arc<Self> {
        let node = parts.host.node();
        Arc::new(Router {
            node,
            links: Links::new(node, parts.transport, parts.directory.clone(), parts.tasks.clone()),
            clock: parts.clock,
            tasks: parts.tasks,
            registry: parts.registry,
            leaseholders: parts.leaseholders,
            host: parts.host,
            directory: parts.directory,
            cache: Mutex::new(RangeCache::default()),
            follower_reads: AtomicU64::new(0),
            remote_requests: AtomicU64::new(0),
            nearby: Mutex::default(),
            rng: Mutex::new(entropy.fork("router").rng()),
        })
    }

    /// Who leads the range of a replica on this node now, unless that is not known or cannot be: a leader that is gone, or this node, not serving yet.
    fn leader_of(&self, replica: &dyn RangeReplica) -> Option<NodeId> {
        let leader = replica.leader()?;
        if leader == self.node {
            return self.leaseholders.by_id(replica.range_id()).map(|_| leader);
        }
        (!self.links.failed_within(leader, UNREACHED) && !self.host.is_lost(leader)).then_some(leader)
    }

    /// The route to `key` if it needs no lookup.
    pub(crate) fn route_now(&self, key: &[u8]) -> Option<Route> {
        if let Some(state) = self.leaseholders.serving(key) {
            return Some(Route { range: state.id, span: span_of(&state), target: Target::Local(state) });
        }
        let cached = self.cache.lock().get(key)?;
        let node = cached.target()?;
        if node == self.node {
            // We were told that we hold the lease but do not serve it (yet): ask the other replicas in turn.
            let others: Vec<NodeId> = cached.descriptor.replicas.iter().map(|r| r.node).filter(|n| *n != self.node).collect();
            let node = *others.get(cached.tries as usize % others.len().max(1))?;
            return Some(Route { range: cached.descriptor.id, span: cached.descriptor.span.clone(), target: Target::Remote(node) });
        }
        Some(Route { range: cached.descriptor.id, span: cached.descriptor.span.clone(), target: Target::Remote(node) })
    }

    /// The route to the range that a reverse scan of what lies below `end` begins in.
    pub(crate) async fn route_below(&self, end: &[u8]) -> Result<Route, KvError> {
        let mut backoff = Backoff::new();
        loop {
            if let Some(state) = self.leaseholders.serving_below(end) {
                return Ok(Route { range: state.id, span: span_of(&state), target: Target::Local(state) });
            }
            let start = self.cache.lock().below(end).map(|c| c.descriptor.span.start.clone());
            if let Some(start) = start {
                return self.route(&start).await;
            }
            match self.lookup_below(end).await {
                Ok(Some(descriptor)) => self.cache.lock().insert(&descriptor),
                Ok(None) => {}
                Err(e) => tracing::debug!(error = %e, "range lookup"),
            }
            backoff.pause(self, "the range of a key cannot be found").await?;
        }
    }

    /// The route to `key`, looked up if need be.
    pub(crate) async fn route(&self, key: &[u8]) -> Result<Route, KvError> {
        if let Some(route) = self.route_now(key) {
            return Ok(route);
        }
        let mut backoff = Backoff::new();
        loop {
            match self.lookup(key).await {
                Ok(Some(descriptor)) => self.cache.lock().insert(&descriptor),
                Ok(None) => {}
                Err(e) => tracing::debug!(error = %e, "range lookup"),
            }
            if let Some(route) = self.route_now(key) {
                return Ok(route);
            }
            // A replica on this node knows its range even if nobody answers; its leader may be about to be elected.
            if let Some(replica) = self.host.replica_for_key(key) {
                let leader = replica.lease().err().and_then(|e| e.leader);
                let mut cache = self.cache.lock();
                cache.insert(&replica.descriptor());
                cache.redirect(replica.range_id(), leader);
            }
            backoff.pause(self, "the range of a key cannot be found").await?;
        }
    }

    /// Indices of `keys` by route, routes in order of first appearance.
    pub(crate) async fn group(&self, keys: &[&Key]) -> Result<Vec<(Route, Vec<usize>)>, KvError> {
        let mut groups: Vec<(Route, Vec<usize>)> = Vec::new();
        for (i, key) in keys.iter().enumerate() {
            // Keys mostly come sorted: the last group first, then the others.
            if let Some(group) = groups.iter_mut().rev().find(|(route, _)| route.span.contains(key)) {
                group.1.push(i);
            } else {
                groups.push((self.route(key).await?, vec![i]));
            }
        }
        Ok(groups)
    }

    /// A read in the past from the replica on this node, leaseholder or not, if its closed timestamp covers it. `None`: ask the leaseholder.
    pub(crate) fn read_nearby(&self, header: &Header, request: &Request) -> Option<Result<Response, KvError>> {
        let key = match request {
            Request::Get { gets } => &gets.first()?.key,
            Request::Scan(scan) => &scan.span.start,
            _ => return None,
        };
        let replica = self.host.replica_for_key(key)?;
        let answer = self.leaseholders.read_closed(&*replica, header, request)?;
        self.follower_reads.fetch_add(1, Ordering::Relaxed);
        Some(answer)
    }

    /// A read in the past from a replica in this node's own region, if the leaseholder is in another and this node has none itself.
    pub(crate) async fn read_in_region(&self, route: &Route, header: &Header, request: &Request) -> Option<Response> {
        let Target::Remote(leader) = &route.target else { return None };
        let descriptor = self.cache.lock().get(&route.span.start)?.descriptor.clone();
        if descriptor.replica_on(self.node).is_some() {
            return None;
        }
        let nodes = self.directory.nodes();
        let region = |node: NodeId| nodes.iter().find(|n| n.id == node).and_then(|n| n.locality.tier("region"));
        let ours = region(self.node)?;
        if region(*leader) == Some(ours) {
            return None;
        }
        let live = |node: NodeId| nodes.iter().any(|n| n.id == node && n.live);
        let near = descriptor.replicas.iter().map(|r| r.node).find(|n| region(*n) == Some(ours) && live(*n))?;
        let batch = Batch { range: route.range, header: *header, request: request.clone(), forward: false };
        let body = postcard::to_stdvec(&Envelope::Nearby(batch)).ok()?;
        let answer = self.links.call(near, body.into(), CALL_TIMEOUT).await.ok()?;
        postcard::from_bytes::<Option<Response>>(&answer).ok()?
    }

    /// The latest time at which all replicas on this node can be read here: led from here, or closed. Looked up anew after [`NEARBY_FRESH`].
    pub(crate) fn closed_nearby(&self) -> Timestamp {
        let mut nearby = self.nearby.lock();
        if let Some((_, closed)) = nearby.filter(|(at, _)| at.elapsed() < NEARBY_FRESH) {
            return closed;
        }
        let followed = self.host.replicas().into_iter().filter(|replica| replica.lease().is_err());
        let closed = followed.map(|replica| replica.closed_timestamp()).min().unwrap_or(Timestamp::MAX);
        let closed = closed.min(self.clock.now().earliest);
        *nearby = Some((Instant::now(), closed));
        closed
    }

    /// Sends one request along a route.
    pub(crate) async fn send(&self, route: &Route, header: &Header, request: Request) -> Result<Response, SendError> {
        let answer = match &route.target {
            Target::Local(state) => self.leaseholders.execute(state, header, &request).await,
            Target::Remote(node) => {
                self.remote_requests.fetch_add(1, Ordering::Relaxed);
                let to = self.way_to(route, *node);
                let batch = Batch { range: route.range, header: *header, request, forward: to != *node };
                match self.call_replica(to, batch).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        self.cache.lock().next_target(route.range);
                        return Err(error);
                    }
                }
            }
        };
        let refusal = match answer {
            Ok(response) => return Ok(response),
            Err(refusal) => refusal,
        };
        Err(match refusal {
            Refusal::NotLeaseholder(e) => {
                let mut cache = self.cache.lock();
                // Told that it is us: then our own replica knows best what the range is by now, and if that does not have the key, the descriptor
                // that led us there is outdated.
                if (route.is_local() || e.leader == Some(self.node))
                    && let Some(replica) = self.host.replica(route.range)
                {
                    cache.insert(&replica.descriptor());
                }
                cache.redirect(e.range, e.leader);
                SendError::Stale
            }
            Refusal::Mismatch(descriptors) => {
                let mut cache = self.cache.lock();
                cache.evict(&route.span.start);
                for descriptor in &descriptors {
                    cache.insert(descriptor);
                }
                SendError::Stale
            }
            Refusal::Ambiguous(m) => SendError::Unknown(m),
            Refusal::NotAnswered(node) => SendError::NoAnswer(format!("no answer from {node}, asked by another node")),
            Refusal::Kv(e) => SendError::Kv(e),
            Refusal::Unsettled { target, anchor, key, push_to, suspect } => {
                self.settle_for(route, header, (target, anchor), key, push_to, suspect).await;
                SendError::Stale
            }
        })
    }

    /// The node to send a request for the leaseholder `leader` to: that one, or, if it cannot be reached from here, another voter of the range, to pass it on.
    fn way_to(&self, route: &Route, leader: NodeId) -> NodeId {
        if !self.links.is_unreached(leader) {
            return leader;
        }
        let Some(cached) = self.cache.lock().get(&route.span.start) else { return leader };
        let mut others: Vec<NodeId> = voters(&cached.descriptor);
        others.retain(|n| *n != leader && *n != self.node && !self.links.is_unreached(*n));
        if others.is_empty() { leader } else { others[cached.tries as usize % others.len()] }
    }

    /// Sends a request to the replica of its range on `node`, and takes what that answers. Errors: `Stale`, if it certainly did not get there, and `NoAnswer`.
    async fn call_replica(&self, node: NodeId, batch: Batch) -> Result<Result<Response, Refusal>, SendError> {
        let timeout = if batch.request.may_wait_for_locks() { LOCK_CALL_TIMEOUT } else { CALL_TIMEOUT };
        let range = batch.range;
        let body = postcard::to_stdvec(&Envelope::Batch(batch))
            .map_err(|e| SendError::Kv(KvError::Internal(format!("encoding a request: {e}"))))?;
        match self.unless_lost(range, node, self.links.call(node, body.into(), timeout)).await {
            Ok(bytes) => {
                postcard::from_bytes(&bytes).map_err(|e| SendError::Kv(KvError::Internal(format!("decoding the answer of {node}: {e}"))))
            }
            Err(TransportError::NoAnswer(_)) => {
                self.links.failed(node);
                Err(SendError::NoAnswer(format!("no answer from {node}")))
            }
            Err(_) => {
                self.links.failed(node);
                Err(SendError::Stale)
            }
        }
    }

    /// Waits for the answer of `node`, but no longer than it is there, where this node can know: a frozen leaseholder keeps its connections,
    /// and its successor serves long before a time-out.
    async fn unless_lost(
        &self,
        range: RangeId,
        node: NodeId,
        call: impl Future<Output = Result<Bytes, TransportError>>,
    ) -> Result<Bytes, TransportError> {
        let in_common = self.host.replica(range).is_some_and(|r| r.descriptor().replica_on(node).is_some());
        let is_lost = || in_common && self.host.is_lost(node);
        if is_lost() {
            return Err(TransportError::Unreachable(node));
        }
        tokio::pin!(call);
        let silent = self.links.until_silent(node);
        tokio::pin!(silent);
        loop {
            tokio::select! {
                biased;
                outcome = &mut call => return outcome,
                () = &mut silent => return Err(TransportError::NoAnswer(node)),
                () = sleep(LOST_CHECK), if in_common => {
                    if is_lost() {
                        return Err(TransportError::NoAnswer(node));
                    }
                }
            }
        }
    }

    /// Sends a request about one key until it is answered.
    pub(crate) async fn ask(&self, key: &Key, header: &Header, request: &Request) -> Result<Response, KvError> {
        let mut backoff = Backoff::new();
        loop {
            let route = self.route(key).await?;
            match self.send(&route, header, request.clone()).await {
                Ok(response) => return Ok(response),
                Err(SendError::Kv(e)) => return Err(e),
                Err(SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_)) => {
                    backoff.pause_at(self, key, "a range does not answer").await?
                }
            }
        }
    }

    /// Sends requests about many keys, one per range and round, in parallel, until all are answered.
    pub(crate) async fn ask_all(
        &self,
        keys: &[Key],
        header: &Header,
        make: &(dyn Fn(Vec<Key>) -> Request + Sync),
    ) -> Result<Vec<Response>, KvError> {
        let (mut pending, mut responses, mut backoff): (Vec<Key>, _, _) = (keys.to_vec(), Vec::new(), Backoff::new());
        loop {
            let groups = self.group(&pending.iter().collect::<Vec<_>>()).await?;
            let batches: Vec<(Route, Vec<Key>)> =
                groups.into_iter().map(|(r, at)| (r, at.iter().map(|i| pending[*i].clone()).collect())).collect();
            let answers = join_all(batches.iter().map(|(route, keys)| self.send(route, header, make(keys.clone())))).await;
            pending = Vec::new();
            for ((_, keys), answer) in batches.into_iter().zip(answers) {
                match answer {
                    Ok(response) => responses.push(response),
                    Err(SendError::Kv(e)) => return Err(e),
                    Err(SendError::Stale | SendError::Unknown(_) | SendError::NoAnswer(_)) => pending.extend(keys),
                }
            }
            let Some(first) = pending.first() else { return Ok(responses) };
            backoff.pause_at(self, first, "a range does not answer").await?;
        }
    }

    /// Tells the waiter's coordinator whom it waits for.
    pub(crate) async fn report_wait(&self, waiter: AttemptId, holders: Vec<AttemptId>, key: &Key) {
        if !holders.is_empty() {
            self.tell(attempt::coordinator(waiter), NodeMessage::Waiting { waiter, holders, key: key.clone() });
        }
    }

    /// A one-way message to a node, this one included.
    pub(crate) fn tell(&self, node: NodeId, message: NodeMessage) {
        if node == self.node {
            return self.registry.hear(message, self);
        }
        if let Ok(body) = postcard::to_stdvec(&Envelope::Node(message)) {
            // Lost ones are repeated: waiters report again and again.
            self.links.tell(node, body.into());
        }
    }

    /// The header of requests that belong to no transaction.
    pub(crate) fn system_header(&self) -> Header {
        Header { attempt: NOBODY, read_ts: self.clock.now().latest }
    }

    /// The leaseholders of this node.
    pub(crate) fn leaseholders(&self) -> &Arc<Leaseholders> {
        &self.leaseholders
    }

    /// Frees an attempt's locks in `spans`: at once where they are on this node, else behind the caller's back.
    pub(crate) fn release_locks(self: &Arc<Self>, attempt: AttemptId, spans: Vec<Span>) {
        let mut remote: Vec<Span> = Vec::new();
        for mut span in spans {
            while !span.is_empty() {
                let Some(state) = self.leaseholders.serving(&span.start) else {
                    remote.push(span);
                    break;
                };
                state.release(attempt, false);
                span.start = span_of(&state).end;
            }
        }
        if remote.is_empty() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let me = self.clone();
        self.tasks.spawn(async move {
            let header = Header { attempt, read_ts: Timestamp::ZERO };
            for mut span in remote {
                while !span.is_empty() {
                    let Ok(route) = me.route(&span.start).await else { break };
                    if me.ask(&span.start, &header, &Request::Release { key: span.start.clone() }).await.is_err() {
                        break;
                    }
                    span.start = route.span.end.clone();
                }
            }
        });
    }

    /// The ranges that overlap `span`, as range addressing has them, and who led them when this node last asked.
    pub(crate) async fn ranges(&self, span: &Span) -> Result<Vec<(RangeDescriptor, Option<NodeId>)>, KvError> {
        self.look_up_all(span).await?;
        let (mut found, mut at): (Vec<(RangeDescriptor, Option<NodeId>)>, Key) = (Vec::new(), span.start.clone());
        while at < span.end {
            let route = self.route(&at).await?;
            let (descriptor, node) = match &route.target {
                Target::Local(state) => ((*state.replica.descriptor()).clone(), Some(self.node)),
                Target::Remote(node) => match self.cache.lock().get(&at) {
                    Some(cached) => ((*cached.descriptor).clone(), Some(*node)),
                    None => continue,
                },
            };
            at = route.span.end.clone();
            found.push((descriptor, node));
        }
        Ok(found)
    }
}

/// Nodes that may hold the lease: voters, in order.
pub(crate) fn voters(descriptor: &RangeDescriptor) -> Vec<NodeId> {
    descriptor.replicas.iter().filter(|r| r.role != ReplicaRole::Learner).map(|r| r.node).collect()
}

/// An answer that does not fit its question.
pub(crate) fn unexpected(response: &Response) -> KvError {
    KvError::Internal(format!("unexpected answer {response:?}"))
}
