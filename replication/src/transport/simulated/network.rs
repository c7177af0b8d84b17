//! The state of the network between simulated nodes, and its faults.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_clock::{Clock, Entropy, Rng, TaskGroup};
use parking_lot::{Mutex, RwLock};
use rand::Rng as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::inbox::{Inbox, Pending, Stamp};
use super::super::{LatencyMatrix, NOBODY, Service, TrafficClass, Transport as _, TransportError};
use super::node::SimulatedTransport;
use crate::api::NodeId;

/// How the network behaves when nothing is wrong, and how often something small is.
#[derive(Clone, Debug)]
pub struct SimulatedOptions {
    /// Round trips by region. Pairs that are not named have the default delay.
    pub latency: LatencyMatrix,
    /// One-way delay where the matrix names none.
    pub delay: Duration,
    /// Up to this much is added to the delay of each message.
    pub jitter: Duration,
    /// Share of messages, requests and answers that vanish (0 to 1).
    pub loss: f64,
    /// Share of messages and requests that arrive a second time, later and out of order. The real transport never does this; retries above it do.
    pub replay: f64,
    /// How long a link must be cut before senders know.
    pub break_after: Duration,
    /// Most messages under way in one stream; beyond it senders get `Full`.
    pub queue_limit: usize,
    /// Keep the trace as text, not only its hash.
    pub keep_trace: bool,
}

impl Default for SimulatedOptions {
    fn default() -> Self {
        SimulatedOptions {
            latency: LatencyMatrix::new(),
            delay: Duration::from_millis(1),
            jitter: Duration::ZERO,
            loss: 0.0,
            replay: 0.0,
            break_after: Duration::from_secs(3),
            queue_limit: 4096,
            keep_trace: false,
        }
    }
}

/// A network; clones are the same one.
#[derive(Clone)]
pub struct SimulatedNetwork {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    options: SimulatedOptions,
    state: Mutex<State>,
    wake: Notify,
}

struct State {
    rng: Rng,
    /// As [`SimulatedOptions::loss`] and [`SimulatedOptions::replay`], now.
    loss: f64,
    replay: f64,
    sites: BTreeMap<Arc<str>, Site>,
    links: BTreeMap<(Arc<str>, Arc<str>), Link>,
    streams: BTreeMap<(Arc<str>, Arc<str>, TrafficClass), Stream>,
    queue: BTreeMap<(Instant, u64), Packet>,
    /// Waiting for a paused node.
    held: Vec<Packet>,
    /// Calls on their way or being executed, by called site, calling site, id.
    outstanding: BTreeMap<(Arc<str>, Arc<str>, u64), TrafficClass>,
    sequence: u64,
    start: Instant,
    trace: Vec<String>,
    trace_hash: u64,
}

/// One process: what listens at an address.
pub(super) struct Site {
    pub region: String,
    pub node: NodeId,
    /// Raised by every start and crash: packets of an older one are lost.
    pub epoch: u64,
    up: bool,
    paused: bool,
    isolated_since: Option<Instant>,
    pub inbox: Arc<Inbox>,
    pub pending: Arc<Pending>,
    pub peers: Arc<RwLock<BTreeMap<NodeId, Arc<str>>>>,
}

/// What is special about one direction between two sites.
#[derive(Default)]
struct Link {
    cut_since: Option<Instant>,
    flapping: Option<Flapping>,
    delay: Option<(Duration, Duration)>,
}

struct Flapping {
    since: Instant,
    up: Duration,
    down: Duration,
}

#[derive(Default)]
struct Stream {
    last_arrival: Option<Instant>,
    under_way: usize,
}

#[derive(Clone)]
pub(super) enum Kind {
    Message,
    Request(u64),
    Answer(u64, Result<Bytes, String>),
    /// The connection broke under a call.
    Broken(u64),
}

#[derive(Clone)]
pub(super) struct Packet {
    pub from: Arc<str>,
    pub from_node: NodeId,
    pub to: Arc<str>,
    pub class: TrafficClass,
    pub service: Service,
    pub stamp: Stamp,
    pub kind: Kind,
    pub body: Bytes,
    from_epoch: u64,
    /// The process that it is meant for: a successor at the same address gets nothing of it. 0: whoever is there when it is posted.
    to_epoch: u64,
    sequence: u64,
    /// A second arrival: not counted in its stream.
    replayed: bool,
}

impl Packet {
    pub fn new(
        from: (Arc<str>, NodeId),
        to: Arc<str>,
        class: TrafficClass,
        service: Service,
        stamp: Stamp,
        kind: Kind,
        body: Bytes,
    ) -> Self {
        Packet {
            from: from.0,
            from_node: from.1,
            to,
            class,
            service,
            stamp,
            kind,
            body,
            from_epoch: 0,
            to_epoch: 0,
            sequence: 0,
            replayed: false,
        }
    }
}

impl fmt::Debug for SimulatedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedNetwork").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl SimulatedNetwork {
    /// A network without nodes. Its delivering task lives on the present tokio runtime.
    pub fn new(options: SimulatedOptions, entropy: &Entropy) -> Self {
        let state = State {
            rng: entropy.fork("network").rng(),
            loss: options.loss,
            replay: options.replay,
            sites: BTreeMap::new(),
            links: BTreeMap::new(),
            streams: BTreeMap::new(),
            queue: BTreeMap::new(),
            held: Vec::new(),
            outstanding: BTreeMap::new(),
            sequence: 0,
            start: Instant::now(),
            trace: Vec::new(),
            trace_hash: 0xcbf2_9ce4_8422_2325,
        };
        let shared = Arc::new(Shared { options, state: Mutex::new(state), wake: Notify::new() });
        TaskGroup::new().spawn(shared.clone().deliver());
        SimulatedNetwork { shared }
    }

    /// Starts a process at `address`, which may be one that crashed (faults of its links stay). It has no node id until
    /// [`SimulatedTransport::assume_identity`]. Its handlers run in `tasks`, which a crash aborts.
    pub fn attach(&self, address: &str, region: &str, clock: Clock, tasks: TaskGroup) -> Arc<SimulatedTransport> {
        let address: Arc<str> = address.into();
        let mut state = self.shared.state.lock();
        let epoch = state.sites.get(&address).map_or(1, |old| {
            assert!(!old.up, "{address} is in use");
            old.epoch + 1
        });
        let isolated_since = state.sites.get(&address).and_then(|old| old.isolated_since);
        let site = Site {
            region: region.into(),
            node: NOBODY,
            epoch,
            up: true,
            paused: false,
            isolated_since,
            inbox: Arc::new(Inbox::new(clock, tasks)),
            pending: Arc::default(),
            peers: Arc::default(),
        };
        let transport = SimulatedTransport::new(self.shared.clone(), address.clone(), &site);
        state.sites.insert(address, site);
        Arc::new(transport)
    }

    /// Starts node `node` at the address `sim:<node>`: [`Self::attach`] for tests that hand out ids themselves.
    pub fn add_node(&self, node: NodeId, region: &str, clock: Clock, tasks: TaskGroup) -> Arc<SimulatedTransport> {
        let transport = self.attach(&format!("sim:{node}"), region, clock, tasks);
        transport.assume_identity(node);
        transport
    }

    /// Makes every node that has an id known to every other.
    pub fn connect_all(&self) {
        let state = self.shared.state.lock();
        let known: BTreeMap<NodeId, Arc<str>> = state.sites.iter().filter(|(_, s)| s.up).map(|(a, s)| (s.node, a.clone())).collect();
        for site in state.sites.values().filter(|s| s.up) {
            site.peers.write().extend(known.iter().filter(|(node, _)| **node != NOBODY).map(|(n, a)| (*n, a.clone())));
        }
    }

    /// Sets one-way delay and jitter of one direction, instead of the matrix.
    pub fn set_delay(&self, from: NodeId, to: NodeId, delay: Duration, jitter: Duration) {
        self.with_link(from, to, |link, _| link.delay = Some((delay, jitter)));
    }

    /// Ends every [`Self::set_delay`].
    pub fn reset_delays(&self) {
        self.shared.state.lock().links.values_mut().for_each(|link| link.delay = None);
    }

    /// Stalls one stream, as a connection does that waits for a packet to be sent again: nothing that is sent on it from now on arrives within `time`, then all
    /// of it does, in order. Other streams between the two nodes go on.
    pub fn stall(&self, from: NodeId, to: NodeId, class: TrafficClass, time: Duration) {
        let mut state = self.shared.state.lock();
        if let (Some(from), Some(to)) = (state.address_of(from), state.address_of(to)) {
            let (stream, until) = (state.streams.entry((from, to, class)).or_default(), Instant::now() + time);
            stream.last_arrival = Some(stream.last_arrival.map_or(until, |last| last.max(until)));
        }
    }

    /// Sets the shares of messages that vanish and that arrive twice from now on.
    pub fn set_loss(&self, loss: f64, replay: f64) {
        let mut state = self.shared.state.lock();
        (state.loss, state.replay) = (loss, replay);
    }

    /// Cuts one direction.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.with_link(from, to, |link, now| _ = link.cut_since.get_or_insert(now));
    }

    /// Cuts both directions.
    pub fn partition(&self, a: NodeId, b: NodeId) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Cuts both directions between every node of `left` and every node of `right`.
    pub fn partition_groups(&self, left: &[NodeId], right: &[NodeId]) {
        for &a in left {
            right.iter().for_each(|&b| self.partition(a, b));
        }
    }

    /// Makes both directions alternate: whole for `up`, cut for `down`, beginning whole.
    pub fn flap(&self, a: NodeId, b: NodeId, up: Duration, down: Duration) {
        assert!(!up.is_zero() && !down.is_zero(), "a flapping link is up and down for some time each");
        for (from, to) in [(a, b), (b, a)] {
            self.with_link(from, to, |link, since| link.flapping = Some(Flapping { since, up, down }));
        }
    }

    /// Makes one direction whole again.
    pub fn heal(&self, from: NodeId, to: NodeId) {
        self.with_link(from, to, |link, _| (link.cut_since, link.flapping) = (None, None));
    }

    /// Cuts a node off from all others.
    pub fn isolate(&self, node: NodeId) {
        self.with_site(node, |site| _ = site.isolated_since.get_or_insert_with(Instant::now));
    }

    /// Ends [`Self::isolate`].
    pub fn rejoin(&self, node: NodeId) {
        self.with_site(node, |site| site.isolated_since = None);
    }

    /// Makes every link whole and ends every isolation. Paused and crashed nodes stay so.
    pub fn heal_all(&self) {
        let mut state = self.shared.state.lock();
        state.links.values_mut().for_each(|link| (link.cut_since, link.flapping) = (None, None));
        state.sites.values_mut().for_each(|site| site.isolated_since = None);
    }

    /// Holds everything that goes to and from `node`, as if its process were stopped. (Its tasks do run on; they are just not heard.)
    pub fn pause(&self, node: NodeId) {
        self.with_site(node, |site| site.paused = true);
    }

    /// Ends [`Self::pause`]: what was held arrives now, in order.
    pub fn resume(&self, node: NodeId) {
        self.with_site(node, |site| site.paused = false);
        let mut state = self.shared.state.lock();
        let now = Instant::now();
        let (go, stay) = std::mem::take(&mut state.held).into_iter().partition(|p| !state.touches_paused(p));
        state.held = stay;
        for packet in go {
            state.queue.insert((now, packet.sequence), packet);
        }
        self.shared.wake.notify_one();
    }

    /// Kills the process of `node`: its tasks are aborted, its handlers vanish, what was on its way to it is lost, calls to it that
    /// wait for an answer end in `NoAnswer`. What it had sent still arrives.
    pub fn crash(&self, node: NodeId) {
        let mut state = self.shared.state.lock();
        let Some(address) = state.address_of(node) else { return };
        let state = &mut *state;
        let Some(site) = state.sites.get_mut(&address) else { return };
        (site.up, site.paused, site.node) = (false, false, NOBODY);
        site.epoch += 1;
        site.inbox.clear();
        let tasks = site.inbox.tasks().clone();
        let stamp = site.inbox.stamp();
        state.outstanding.retain(|(_, from, _), _| *from != address);
        let broken: Vec<_> = state.outstanding.iter().filter(|((to, ..), _)| *to == address).map(|(k, c)| (k.clone(), *c)).collect();
        for ((to, from, id), class) in broken {
            state.outstanding.remove(&(to.clone(), from.clone(), id));
            let packet = Packet::new((to, node), from, class, Service::Liveness, stamp, Kind::Broken(id), Bytes::new());
            state.enqueue(&self.shared.options, packet);
        }
        state.note(format_args!("crash {node}"), self.shared.options.keep_trace);
        self.shared.wake.notify_one();
        tasks.abort_all();
    }

    /// Everything that was delivered or lost so far, a line each (empty unless `keep_trace`).
    pub fn trace(&self) -> Vec<String> {
        self.shared.state.lock().trace.clone()
    }

    /// A hash of the trace, kept in any case.
    pub fn trace_hash(&self) -> u64 {
        self.shared.state.lock().trace_hash
    }

    fn with_site(&self, node: NodeId, change: impl FnOnce(&mut Site)) {
        let mut state = self.shared.state.lock();
        let address = state.address_of(node);
        if let Some(site) = address.and_then(|address| state.sites.get_mut(&address)) {
            change(site);
        }
    }

    fn with_link(&self, from: NodeId, to: NodeId, change: impl FnOnce(&mut Link, Instant)) {
        let mut state = self.shared.state.lock();
        if let (Some(from), Some(to)) = (state.address_of(from), state.address_of(to)) {
            change(state.links.entry((from, to)).or_default(), Instant::now());
        }
    }
}

impl Shared {
    /// Gives `site` its node id.
    pub fn identify(&self, address: &Arc<str>, node: NodeId) {
        let mut state = self.state.lock();
        assert!(state.address_of(node).is_none_or(|other| other == *address), "{node} is in use");
        if let Some(site) = state.sites.get_mut(address) {
            site.node = node;
        }
    }

    /// Sends a packet of the process that was started as `epoch`. `Err` if the sender knows that it cannot arrive.
    pub fn post(&self, mut packet: Packet, epoch: u64) -> Result<(), TransportError> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let to = state.sites.get(&packet.to).map_or(NOBODY, |site| site.node);
        if state.sites.get(&packet.from).is_none_or(|site| site.epoch != epoch) {
            return Err(TransportError::Unreachable(to));
        }
        if !matches!(packet.kind, Kind::Answer(..)) {
            let broken = state.cut_since(&packet.from, &packet.to).is_some_and(|since| since.elapsed() >= self.options.break_after);
            if broken || state.sites.get(&packet.to).is_none_or(|site| !site.up) {
                return Err(TransportError::Unreachable(to));
            }
            let stream = state.streams.entry((packet.from.clone(), packet.to.clone(), packet.class)).or_default();
            if stream.under_way >= self.options.queue_limit {
                return Err(TransportError::Full(to));
            }
        }
        match packet.kind {
            Kind::Request(id) => _ = state.outstanding.insert((packet.to.clone(), packet.from.clone(), id), packet.class),
            Kind::Answer(id, _) => _ = state.outstanding.remove(&(packet.from.clone(), packet.to.clone(), id)),
            Kind::Message | Kind::Broken(_) => {}
        }
        packet.from_epoch = epoch;
        state.enqueue(&self.options, packet);
        self.wake.notify_one();
        Ok(())
    }

    /// The delivering task.
    async fn deliver(self: Arc<Self>) {
        loop {
            let wake = self.wake.notified();
            let next = self.state.lock().queue.first_key_value().map(|((at, _), _)| *at);
            match next {
                Some(at) if at <= Instant::now() => {
                    self.deliver_first();
                    // Handlers and tasks woken by a delivery run before the next one, as they would on nodes of their own.
                    tokio::task::yield_now().await;
                }
                Some(at) => tokio::select! { biased; () = wake => {}, () = tokio::time::sleep_until(at) => {} },
                None => wake.await,
            }
        }
    }

    fn deliver_first(self: &Arc<Self>) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let Some((_, packet)) = state.queue.pop_first() else { return };
        if state.touches_paused(&packet) {
            state.held.push(packet);
            return;
        }
        if !packet.replayed {
            let key = (packet.from.clone(), packet.to.clone(), packet.class);
            state.streams.entry(key).or_default().under_way -= 1;
        }
        // That a call broke is known on the caller's own side.
        let cut = !matches!(packet.kind, Kind::Broken(_)) && state.cut_since(&packet.from, &packet.to).is_some();
        let site = state.sites.get(&packet.to).filter(|site| site.up && site.epoch == packet.to_epoch && !cut);
        let receiver = site.map(|site| (site.inbox.clone(), site.pending.clone(), site.node, site.epoch));
        let fate = if receiver.is_some() { "" } else { " lost" };
        state.note(format_args!("{packet}{fate}"), self.options.keep_trace);
        if receiver.is_none() {
            state.forget(&self.options, &packet);
        }
        drop(guard);
        if let Some((inbox, pending, node, epoch)) = receiver {
            self.hand_over(packet, &inbox, &pending, node, epoch);
        }
    }

    fn hand_over(self: &Arc<Self>, packet: Packet, inbox: &Arc<Inbox>, pending: &Pending, node: NodeId, epoch: u64) {
        let Packet { from, from_node, to, class, service, stamp, kind, body, from_epoch, .. } = packet;
        let accepted = if from == to || matches!(kind, Kind::Broken(_)) { Ok(()) } else { inbox.accept(from_node, stamp, 1) };
        match kind {
            Kind::Message if accepted.is_ok() => inbox.message(from_node, service, body),
            Kind::Message => {}
            Kind::Request(id) => {
                let (shared, replier) = (self.clone(), inbox.clone());
                let reply = move |outcome| {
                    let kind = Kind::Answer(id, outcome);
                    // As on one stream both ways: a replier that has crashed answers nobody, and a caller that has started again gets no answer
                    // that was meant for its former self, whose calls had the same numbers.
                    let answer = Packet::new((to, node), from, class, service, replier.stamp(), kind, Bytes::new());
                    let _ = shared.post(Packet { to_epoch: from_epoch, ..answer }, epoch);
                };
                match accepted {
                    Ok(()) => inbox.request(from_node, service, body, reply),
                    Err(reason) => reply(Err(reason)),
                }
            }
            Kind::Answer(id, _) if accepted.is_err() => pending.finish(id, Err(TransportError::NoAnswer(from_node))),
            Kind::Answer(id, outcome) => pending.finish(id, outcome.map_err(|reason| TransportError::Refused(from_node, reason))),
            Kind::Broken(id) => pending.finish(id, Err(TransportError::NoAnswer(from_node))),
        }
    }
}

impl State {
    fn address_of(&self, node: NodeId) -> Option<Arc<str>> {
        // A crashed process keeps its address but not its node id, so that the id can start elsewhere; faults then name the live one.
        let by_id = self.sites.iter().find(|(_, site)| site.node == node).map(|(address, _)| address.clone());
        by_id.or_else(|| self.sites.get_key_value(format!("sim:{node}").as_str()).map(|(address, _)| address.clone()))
    }

    fn touches_paused(&self, packet: &Packet) -> bool {
        [&packet.from, &packet.to].iter().any(|address| self.sites.get(*address).is_some_and(|site| site.paused))
    }

    /// Since when nothing gets from one site to another, if so.
    fn cut_since(&self, from: &Arc<str>, to: &Arc<str>) -> Option<Instant> {
        if from == to {
            return None;
        }
        let isolated = [from, to].iter().filter_map(|address| self.sites.get(*address)?.isolated_since).min();
        let Some(link) = self.links.get(&(from.clone(), to.clone())) else { return isolated };
        let flapped = link.flapping.as_ref().and_then(|flapping| {
            let into = flapping.since.elapsed().as_nanos() % (flapping.up + flapping.down).as_nanos();
            // A flapping link is never down long enough to be given up.
            (into >= flapping.up.as_nanos()).then(Instant::now)
        });
        [isolated, link.cut_since, flapped].into_iter().flatten().min()
    }

    /// Puts a packet on its way, or loses it.
    fn enqueue(&mut self, options: &SimulatedOptions, mut packet: Packet) {
        let key = (packet.from.clone(), packet.to.clone());
        let own = packet.from == packet.to;
        let lost = !own && (self.cut_since(&packet.from, &packet.to).is_some() || (self.loss > 0.0 && self.rng.random_bool(self.loss)));
        if packet.to_epoch == 0 {
            packet.to_epoch = self.sites.get(&packet.to).map_or(0, |site| site.epoch);
        }
        if lost {
            self.note(format_args!("{packet} lost"), options.keep_trace);
            self.forget(options, &packet);
            return;
        }
        let (delay, jitter) = match self.links.get(&key).and_then(|link| link.delay) {
            _ if own => (Duration::ZERO, Duration::ZERO),
            Some(special) => special,
            None => (self.distance(options, &key), options.jitter),
        };
        let arrival = Instant::now() + delay + self.up_to(jitter);
        self.sequence += 1;
        packet.sequence = self.sequence;
        let stream = self.streams.entry((key.0, key.1, packet.class)).or_default();
        let arrival = stream.last_arrival.map_or(arrival, |last| last.max(arrival));
        stream.last_arrival = Some(arrival);
        stream.under_way += 1;
        let again =
            !own && self.replay > 0.0 && matches!(packet.kind, Kind::Message | Kind::Request(_)) && self.rng.random_bool(self.replay);
        if again {
            self.sequence += 1;
            let copy = Packet { replayed: true, sequence: self.sequence, ..packet.clone() };
            let later = arrival + self.up_to((delay + jitter) * 4 + Duration::from_millis(1));
            self.queue.insert((later, copy.sequence), copy);
        }
        self.queue.insert((arrival, packet.sequence), packet);
    }

    /// A call whose request or answer is lost hears of it after `break_after`: a stream that loses something is a broken connection, whose keep-alive
    /// (or reset) ends the calls on it. Without that, a call that may wait long for a lock would hang until its deadline of minutes.
    fn forget(&mut self, options: &SimulatedOptions, packet: &Packet) {
        let (caller, callee, id) = match &packet.kind {
            _ if packet.replayed => return,
            Kind::Request(id) => (&packet.from, &packet.to, *id),
            Kind::Answer(id, _) | Kind::Broken(id) => (&packet.to, &packet.from, *id),
            Kind::Message => return,
        };
        if let Kind::Request(id) = packet.kind {
            self.outstanding.remove(&(packet.to.clone(), packet.from.clone(), id));
        }
        let node = self.sites.get(callee).map_or(NOBODY, |site| site.node);
        let Some(to_epoch) = self.sites.get(caller).filter(|site| site.up).map(|site| site.epoch) else { return };
        self.sequence += 1;
        let from = (callee.clone(), node);
        let news = Packet::new(from, caller.clone(), packet.class, packet.service, packet.stamp, Kind::Broken(id), Bytes::new());
        let news = Packet { to_epoch, sequence: self.sequence, replayed: true, ..news };
        self.queue.insert((Instant::now() + options.break_after, self.sequence), news);
    }

    fn distance(&self, options: &SimulatedOptions, (from, to): &(Arc<str>, Arc<str>)) -> Duration {
        let (Some(from), Some(to)) = (self.sites.get(from), self.sites.get(to)) else { return options.delay };
        Some(options.latency.one_way(&from.region, &to.region)).filter(|delay| !delay.is_zero()).unwrap_or(options.delay)
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        if most.is_zero() { most } else { Duration::from_micros(self.rng.random_range(0..=most.as_micros() as u64)) }
    }

    fn note(&mut self, what: fmt::Arguments<'_>, keep: bool) {
        let line = format!("{:>10} {what}", self.start.elapsed().as_micros());
        for byte in line.bytes() {
            self.trace_hash = (self.trace_hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if keep {
            self.trace.push(line);
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, id, body) = match &self.kind {
            Kind::Message => ("message", 0, &self.body),
            Kind::Request(id) => ("request", *id, &self.body),
            Kind::Answer(id, Ok(body)) => ("answer", *id, body),
            Kind::Answer(id, Err(_)) => ("refusal", *id, &self.body),
            Kind::Broken(id) => ("broken", *id, &self.body),
        };
        let crc = crc32fast::hash(body);
        write!(f, "{}→{} {:?}/{:?} {kind} {id} {} bytes {crc:08x}", self.from, self.to, self.class, self.service, body.len())
    }
}
