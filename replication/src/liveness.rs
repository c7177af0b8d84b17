//! Promises between nodes: what makes a Raft leader a leaseholder.
//!
//! Every node tells every node that it shares ranges with, a few times a second: **until `T` I neither vote nor campaign in any range in
//! which I follow you.** One small message serves all their ranges. The rest of this page says when such a promise may be counted,
//! and why L1 and L2 follow.
//!
//! **Epochs.** The promises of `F` to `L` come in epochs. Within an epoch they never lapse: each is given while its predecessor stands, by
//! `F`'s own clock, under the lock that a vote takes too. A new epoch begins (with a fresh random number) when a promise has lapsed, when `L`
//! has restarted, and when `F` wants out of a range although `L` lives. Promises of earlier epochs keep standing until their last `T`; they are
//! just not prolonged.
//!
//! **Following is acknowledged in an epoch.** When `F`'s replica of a range answers an append or heartbeat of `L` in term `t`, and still is in
//! `t` when the answer is sent, the answer is stamped with the epoch whose promise stands at that moment, and the replica is *bound*
//! to (`L`, epoch). While the promise of the epoch it is bound in stands (`now().earliest <= T`) the replica drops every request for a vote or
//! pre-vote, forced ones too, and does not campaign. It is bound anew only by acknowledging a leader, so a bump of its term by a stray message
//! does not free it. `L` counts `F`'s promise for the range if `F`'s last stamp for this range in term `t` names the promise's epoch. The lease ends at
//! the quorum-minimum of what is counted: the greatest `E` such that a quorum (in joint consensus one of either configuration), `L`
//! itself included, has promised `E` or more.
//!
//! **L1.** Let `M` be the first leader after `L`'s term `t`. Its voters and any quorum that `L` counts share a voter `H`. `H` was bound to
//! `L` in an epoch `e`, and voted only when the last promise of `e` had passed by `H`'s own `earliest`: at that time true time was beyond all of
//! `e`'s promises, and no later promise is counted for `H`, since `H` can stamp no answer in `t` again. So every `E` that `L` ever has, then or
//! later (stragglers who still promise are each outweighed by such an `H`), lies below the true time of `M`'s election. Whoever leads after
//! `M` leads later still; that a replica which follows `M` is no longer bound to `L` therefore harms nobody. `L` itself does not
//! vote while its lease stands, nor after it stepped down of its own accord until everything it may have served under has passed. What it counts may
//! also shrink (the process of a follower is a new one, or a follower stamps in an epoch whose promise is still on its way): `L` waits for the
//! greatest `E` that it ever had, not for that of the moment.
//!
//! **L2.** `M` begins with `now().latest` as its low water, which is at or above true time, which is above every `E` of `L`: above every
//! timestamp that `L` served a read at. And should `M`'s own clock be wrong by then: the low water is also at or above the merged reading, so above the
//! reading of `H`'s clock that came with its vote. It begins only after applying an entry of its own term, so it has all of `L`'s writes.
//!
//! **Clocks.** `T` is set from the promiser's `earliest` and judged against the promiser's `earliest`; the leader compares `T` with the timestamps
//! of requests and never with a clock. So no bound on the difference of two clocks enters the argument, only that each interval contains
//! true time. Uncertainty costs the lease its last ε and nothing else.
//!
//! **Restarts.** Promises and bindings are not persisted. A node that starts is silent (neither votes nor campaigns) until its `earliest` has
//! passed `start.latest + duration`, which is above every `T` its former self can have given (`T <= earliest + duration` then). Ranges whose
//! only voter is this node need no silence: there is nobody else. Their lease is the leader's word to itself, a little ahead of its clock
//! (see [`solo_ahead`]), and their low water after a restart is as much further ahead.
//! All nodes must be configured with the same duration; a promise longer than our own duration is not counted.
//!
//! **Who else misses it.** Each message also names the peers that its sender has not heard of lately. When a leader's promises lapse, a follower that knows
//! from these words that a majority misses the leader campaigns at once; only if it might be alone with its impression does it ask for
//! pre-votes first, which costs one more round trip. This is a hint about disturbance, not about safety: who votes when is ruled by the promises alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meridian_clock::controls::{self, Control};
use meridian_clock::{Clock, ClockInterval, Entropy, Rng, Timestamp};
use parking_lot::{Mutex, RwLock};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::api::NodeId;
use crate::closed::{Closed, Delta};

/// Epochs of one peer that may still matter: two would do, as a promise lasts a few intervals.
const EPOCHS_KEPT: usize = 4;

/// How long a silent peer counts as lost. Beyond that the transport's own means find out: a peer may also be silent because it has no range
/// in common with this node any more.
const LOST_LATELY: Duration = Duration::from_secs(10);

/// How liveness runs. The same on all nodes of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct LivenessConfig {
    /// Between two messages to the same peer.
    pub interval: Duration,
    /// How far ahead a promise reaches. A dead leader is replaced no sooner than this.
    pub duration: Duration,
    /// A peer that was not heard of for this long gets no further promises.
    pub suspect: Duration,
}

impl Default for LivenessConfig {
    fn default() -> Self {
        // A follower's promise reaches its leader within two intervals and one trip of the last word it answers: over 100 ms one way that leaves the
        // lease 200 ms for a stalled process. Shorter would save less than an election's round trips cost.
        LivenessConfig { interval: Duration::from_millis(60), duration: Duration::from_millis(450), suspect: Duration::from_millis(220) }
    }
}

/// How far ahead of its clock the only voter of a range serves: room for the clocks of coordinators elsewhere.
pub(crate) fn solo_ahead(now: ClockInterval) -> Duration {
    Duration::from_millis(20) + now.latest.since(now.earliest) * 2
}

/// What one node tells another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LivenessMessage {
    /// Drawn at random when the sender started.
    pub incarnation: u64,
    /// Epoch and end of the promise to the receiver; none if the receiver was not heard of lately.
    pub promise: Option<(u64, Timestamp)>,
    /// The incarnation of the receiver that the promise is made to.
    pub to_incarnation: u64,
    /// The duration that the sender works with, in microseconds.
    pub duration_micros: u64,
    /// Peers that fell silent lately: not heard of for the suspicion time.
    pub missing: Vec<NodeId>,
    /// The sender lately refused what the receiver sent, because the receiver's clock reads too far ahead.
    pub refuses_you: bool,
    /// Closed timestamps of quiet ranges that the sender leads (see [`crate::closed`]).
    pub closed: Option<Delta>,
    /// How far the sender has got with those of the receiver: the receiver's incarnation, stream, sequence.
    pub closed_upto: (u64, u64, u64),
}

/// What changed about a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerEvent {
    /// Heard of again, or for the first time, or restarted.
    Up { restarted: bool },
    /// Silent, and every promise to it has lapsed: its ranges need other leaders.
    Down,
    /// It promises in a new epoch: ranges led here need a fresh acknowledgement from it.
    Epoch,
}

/// One other node.
#[derive(Debug)]
pub(crate) struct Peer {
    pub node: NodeId,
    /// What we promised it. The lock makes "still stands, prolong" and "has lapsed, vote" exclude each other.
    given: Mutex<Given>,
    /// What it promised us: newest epoch last.
    received: RwLock<SmallVec<[(u64, Timestamp); EPOCHS_KEPT]>>,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Given {
    /// 0: none at present; the next promise begins a new epoch.
    epoch: u64,
    until: Timestamp,
    /// Earlier epochs and their last ends.
    frozen: SmallVec<[(u64, Timestamp); EPOCHS_KEPT]>,
    rng: Rng,
}

#[derive(Debug)]
struct Seen {
    incarnation: u64,
    heard: Option<Instant>,
    live: bool,
    /// Whom it misses, by its last word.
    missing: Vec<NodeId>,
    /// Whether it refuses what we send for the sake of our clock, by its last word.
    refuses_us: bool,
    /// How far it has got with our closed timestamps, by its last word: our incarnation, stream, sequence.
    closed_upto: (u64, u64, u64),
}

impl Peer {
    /// The epoch whose promise stands now, 0 if none does.
    pub(crate) fn stamp(&self, now: ClockInterval) -> u64 {
        let given = self.given.lock();
        if given.epoch != 0 && now.earliest <= given.until { given.epoch } else { 0 }
    }

    /// Until when a replica bound in `epoch` is bound, `None` if it is free. A free answer ends the epoch for good.
    pub(crate) fn binds(&self, epoch: u64, now: ClockInterval) -> Option<Timestamp> {
        if epoch == 0 {
            return None;
        }
        let mut given = self.given.lock();
        if given.epoch == epoch {
            if now.earliest <= given.until {
                return Some(given.until);
            }
            given.freeze();
            return None;
        }
        given.frozen.iter().find(|(e, until)| *e == epoch && now.earliest <= *until).map(|(_, until)| *until)
    }

    /// Stops prolonging the promises of `epoch`.
    pub(crate) fn withdraw(&self, epoch: u64) {
        let mut given = self.given.lock();
        if given.epoch == epoch {
            given.freeze();
        }
    }

    /// The end of what the peer promised us in `epoch`.
    pub(crate) fn promised(&self, epoch: u64) -> Timestamp {
        if epoch == 0 {
            return Timestamp::ZERO;
        }
        self.received.read().iter().find(|(e, _)| *e == epoch).map_or(Timestamp::ZERO, |(_, until)| *until)
    }

    /// Whether it was heard of lately.
    pub(crate) fn live(&self) -> bool {
        self.seen.lock().live
    }

    /// Which of its processes was heard of last; 0 before any was.
    pub(crate) fn incarnation(&self) -> u64 {
        self.seen.lock().incarnation
    }

    /// Whether it fell silent within the last [`LOST_LATELY`]: what was sent to it will hardly be answered.
    pub(crate) fn lost_lately(&self, at: Instant) -> bool {
        let seen = self.seen.lock();
        !seen.live && seen.heard.is_some_and(|heard| at.saturating_duration_since(heard) < LOST_LATELY)
    }

    /// Prolongs the promise to `duration` after the peer was heard, `age` ago: so a peer that dies is free to be replaced that long after its
    /// last word, however often its followers speak.
    fn renew(&self, now: ClockInterval, duration: Duration, age: Duration) -> Option<(u64, Timestamp)> {
        let mut given = self.given.lock();
        let until = now.earliest.plus(duration.checked_sub(age)?);
        if given.epoch == 0 || now.earliest > given.until {
            given.freeze();
            given.epoch = given.rng.random::<u64>() | 1;
            given.until = Timestamp::ZERO;
        }
        given.until = given.until.max(until);
        Some((given.epoch, given.until))
    }
}

impl Given {
    fn freeze(&mut self) {
        if self.epoch == 0 {
            return;
        }
        // Forgetting a promise that still stands would free its replicas too early; the oldest of four has long passed,
        // since `Peers::message` begins at most one epoch per interval.
        if self.frozen.len() == EPOCHS_KEPT {
            let held = self.frozen[0].1;
            self.frozen.remove(0);
            if let Some(next) = self.frozen.first_mut() {
                next.1 = next.1.max(held);
            }
        }
        self.frozen.push((self.epoch, self.until));
        self.epoch = 0;
    }
}

/// All peers of one node, and its own silence.
#[derive(Debug)]
pub(crate) struct Peers {
    clock: Clock,
    config: LivenessConfig,
    incarnation: u64,
    /// Neither votes nor campaigns until `earliest` has passed this.
    silent_until: Timestamp,
    entropy: Entropy,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
}

impl Peers {
    pub(crate) fn new(clock: Clock, config: LivenessConfig, entropy: &Entropy) -> Self {
        let entropy = entropy.fork("liveness");
        let silent_until = clock.now().latest.plus(config.duration);
        // The clock separates this process from its predecessor even if both were handed the same seed.
        let incarnation = (entropy.rng().random::<u64>() ^ clock.now().latest.as_raw()) | 1;
        Peers { clock, config, incarnation, silent_until, entropy, peers: RwLock::default() }
    }

    /// Whether this node started too recently to vote.
    pub(crate) fn silent(&self, now: ClockInterval) -> bool {
        now.earliest <= self.silent_until
    }

    /// The peer `node`, known from now on.
    pub(crate) fn peer(&self, node: NodeId) -> Arc<Peer> {
        if let Some(peer) = self.peers.read().get(&node) {
            return peer.clone();
        }
        let mut peers = self.peers.write();
        let rng = self.entropy.fork(&format!("epochs of {} to {node}", self.incarnation)).rng();
        let new = || {
            Arc::new(Peer {
                node,
                given: Mutex::new(Given { epoch: 0, until: Timestamp::ZERO, frozen: SmallVec::new(), rng }),
                received: RwLock::default(),
                seen: Mutex::new(Seen {
                    incarnation: 0,
                    heard: None,
                    live: false,
                    missing: Vec::new(),
                    refuses_us: false,
                    closed_upto: (0, 0, 0),
                }),
            })
        };
        peers.entry(node).or_insert_with(new).clone()
    }

    /// What to tell `node` now.
    pub(crate) fn message(&self, node: NodeId, at: Instant, closed: &Closed, refuses_you: bool) -> LivenessMessage {
        let peer = self.peer(node);
        let (age, to_incarnation, (ours, stream, upto)) = {
            let seen = peer.seen.lock();
            (seen.heard.map(|heard| at.saturating_duration_since(heard)), seen.incarnation, seen.closed_upto)
        };
        let position = if ours == self.incarnation { (stream, upto) } else { (0, 0) };
        let delta = (to_incarnation != 0).then(|| closed.feed.delta(node, to_incarnation, position)).flatten();
        let age = age.filter(|age| *age <= self.config.suspect);
        let promise = age.and_then(|age| peer.renew(self.clock.now(), self.config.duration, age));
        let duration_micros = u64::try_from(self.config.duration.as_micros()).unwrap_or(u64::MAX);
        LivenessMessage {
            incarnation: self.incarnation,
            promise,
            to_incarnation,
            duration_micros,
            missing: self.missing(at),
            refuses_you,
            closed: delta,
            closed_upto: closed.inlet.position(node),
        }
    }

    /// Whether `peer`, heard of just now, said that it refuses what we send because of our clock.
    pub(crate) fn refused_by(&self, peer: NodeId, at: Instant) -> bool {
        let peer = self.peer(peer);
        let seen = peer.seen.lock();
        seen.refuses_us && seen.heard.is_some_and(|heard| at.saturating_duration_since(heard) <= self.config.suspect)
    }

    /// The peers that fell silent lately.
    fn missing(&self, at: Instant) -> Vec<NodeId> {
        let silent = |peer: &Peer| {
            let heard = peer.seen.lock().heard.map(|heard| at.saturating_duration_since(heard));
            heard.is_some_and(|age| age > self.config.suspect && age < LOST_LATELY)
        };
        self.peers.read().values().filter(|peer| silent(peer)).map(|peer| peer.node).collect()
    }

    /// Whether `by`, heard of just now, said that it misses `node`.
    pub(crate) fn missed_by(&self, node: NodeId, by: NodeId, at: Instant) -> bool {
        let peer = self.peer(by);
        let seen = peer.seen.lock();
        seen.live
            && seen.heard.is_some_and(|heard| at.saturating_duration_since(heard) <= self.config.suspect)
            && seen.missing.contains(&node)
    }

    /// Takes note of what `from` told us; answers what changed.
    pub(crate) fn heard(&self, from: NodeId, message: &LivenessMessage, at: Instant) -> SmallVec<[PeerEvent; 2]> {
        let mut events = SmallVec::new();
        let peer = self.peer(from);
        {
            let mut seen = peer.seen.lock();
            let restarted = seen.incarnation != 0 && seen.incarnation != message.incarnation;
            if seen.incarnation != message.incarnation {
                seen.incarnation = message.incarnation;
                // What the former process promised is moot for us, and what we promised it must not be prolonged for its successor,
                // which leads nothing yet: our replicas would stay bound to a leader that is no more.
                peer.received.write().clear();
                peer.given.lock().freeze();
            }
            if !seen.live || restarted {
                events.push(PeerEvent::Up { restarted });
            }
            seen.live = true;
            seen.heard = Some(at);
            seen.missing.clone_from(&message.missing);
            seen.refuses_us = message.refuses_you;
            seen.closed_upto = message.closed_upto;
        }
        let ours = u64::try_from(self.config.duration.as_micros()).unwrap_or(u64::MAX);
        if let Some((epoch, until)) = message.promise
            && message.to_incarnation == self.incarnation
            && message.duration_micros <= ours
        {
            let mut received = peer.received.write();
            match received.iter_mut().find(|(e, _)| *e == epoch) {
                Some(entry) => entry.1 = entry.1.max(until),
                None => {
                    if received.len() == EPOCHS_KEPT {
                        received.remove(0);
                    }
                    received.push((epoch, until));
                    events.push(PeerEvent::Epoch);
                }
            }
        }
        events
    }

    /// The peers that have newly fallen silent with every promise to them lapsed.
    pub(crate) fn fallen(&self, at: Instant) -> Vec<NodeId> {
        let peers: Vec<Arc<Peer>> = self.peers.read().values().cloned().collect();
        let now = self.clock.now();
        let mut fallen = Vec::new();
        for peer in peers {
            let silent = {
                let seen = peer.seen.lock();
                seen.live && seen.heard.is_some_and(|heard| at.saturating_duration_since(heard) > self.config.suspect)
            };
            if silent && (peer.stamp(now) == 0 || controls::off(Control::VotePromise)) {
                peer.seen.lock().live = false;
                fallen.push(peer.node);
            }
        }
        fallen
    }
}

/// The end of a lease: the greatest timestamp that a majority of `promised` (one entry a voter) reaches.
pub(crate) fn quorum_end(mut promised: SmallVec<[Timestamp; 8]>) -> Timestamp {
    if promised.is_empty() {
        return Timestamp::MAX;
    }
    promised.sort_unstable_by(|a, b| b.cmp(a));
    promised[promised.len() / 2]
}
