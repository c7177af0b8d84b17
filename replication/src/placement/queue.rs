//! Carries the allocator's answers out, for the ranges whose lease this node holds.
//!
//! A pass looks at every such range, every `interval` and whenever the registry has news. Decisions of one pass see each other's
//! effects on the nodes' loads, so that a hundred ranges in need do not all choose the emptiest node. A few steps run at once, each range
//! only one; a step that fails makes its range wait, longer each time. Moves for balance are rationed ([`ReplicateQueue::balance_budget`]): the
//! loads of other nodes are half a second old, and everybody moving at once would overshoot for ever.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use futures::StreamExt;
use meridian_clock::{Entropy, Rng, TaskGroup};
use parking_lot::Mutex;
use rand::Rng as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::allocator::{Action, Candidate, Policy, Why, next_action};
use crate::api::{AdminError, NodeId, RangeAdmin, RangeDescriptor, RangeId, ReplicaRole};
use crate::registry::{Health, NodeLoad, Registry};

/// How the queue works.
#[derive(Clone, Copy, Debug)]
pub struct QueueOptions {
    /// What is wanted.
    pub policy: Policy,
    /// Between two passes without news, and between two passes that balance: several heartbeats.
    pub interval: Duration,
    /// Steps that run at once.
    pub concurrency: usize,
    /// A step that takes longer is given up (the change may still happen; the next pass sees).
    pub step_deadline: Duration,
    /// Most moves per pass for balance only, of replicas and of leases each.
    pub balance_moves: u64,
    /// First and longest pause of a range whose step failed.
    pub retry_min: Duration,
    /// See `retry_min`.
    pub retry_max: Duration,
}

impl Default for QueueOptions {
    fn default() -> Self {
        QueueOptions {
            policy: Policy::default(),
            interval: Duration::from_secs(1),
            concurrency: 4,
            step_deadline: Duration::from_secs(120),
            balance_moves: 8,
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(30),
        }
    }
}

/// The ranges whose lease this node holds, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlacementStatus {
    /// All of them.
    pub ranges: u64,
    /// With fewer live voters than wanted.
    pub under_replicated: u64,
    /// With more voters than wanted.
    pub over_replicated: u64,
    /// With a voter on a node that is not live.
    pub impaired: u64,
    /// In the middle of a change: a learner or a joint configuration.
    pub changing: u64,
}

impl PlacementStatus {
    /// Name and value of every figure, for metrics.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("leaseholder_ranges", self.ranges),
            ("under_replicated_ranges", self.under_replicated),
            ("over_replicated_ranges", self.over_replicated),
            ("impaired_ranges", self.impaired),
            ("changing_ranges", self.changing),
        ]
    }

    /// The status of these ranges.
    pub fn of(ranges: &[Arc<RangeDescriptor>], nodes: &[Candidate], policy: &Policy) -> Self {
        let mut status = PlacementStatus { ranges: ranges.len() as u64, ..Default::default() };
        let live = |node: NodeId| nodes.iter().any(|candidate| candidate.id == node && candidate.health == Health::Live);
        for range in ranges {
            let voters = || range.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter);
            let live_voters = voters().filter(|replica| live(replica.node)).count();
            status.under_replicated += u64::from(live_voters < policy.replication_factor);
            status.over_replicated += u64::from(voters().count() > policy.replication_factor);
            status.impaired += u64::from(live_voters < voters().count());
            status.changing += u64::from(voters().count() < range.replicas.len());
        }
        status
    }
}

/// One node's placement.
pub struct ReplicateQueue {
    admin: Arc<dyn RangeAdmin>,
    registry: Arc<Registry>,
    us: NodeId,
    options: QueueOptions,
    /// Ranges whose last step failed: when they may be tried again, and the pause after that.
    waiting: Mutex<BTreeMap<RangeId, (Instant, Duration)>>,
    /// The [`signature`] under which the last pass wanted nothing: until it changes there is nothing to decide, so that ten thousand quiet
    /// ranges cost a pass next to nothing.
    settled: Mutex<Option<u64>>,
    /// No move for balance before this: heartbeats must have carried the effect of the last ones.
    balance_due: Mutex<Instant>,
    rng: Mutex<Rng>,
}

impl ReplicateQueue {
    /// Starts the queue of node `us`, in `tasks`. It ends when the last handle is dropped.
    pub fn start(
        admin: Arc<dyn RangeAdmin>,
        registry: Arc<Registry>,
        us: NodeId,
        options: QueueOptions,
        entropy: &Entropy,
        tasks: &TaskGroup,
    ) -> Arc<Self> {
        let changes = registry.changes();
        let rng = Mutex::new(entropy.fork("replicate queue").rng());
        let queue = Arc::new(ReplicateQueue {
            admin,
            registry,
            us,
            options,
            waiting: Mutex::default(),
            settled: Mutex::default(),
            balance_due: Mutex::new(Instant::now()),
            rng,
        });
        tasks.spawn(passes(Arc::downgrade(&queue), changes, options.interval));
        queue
    }

    /// The status of the ranges whose lease this node holds now.
    pub fn status(&self) -> PlacementStatus {
        PlacementStatus::of(&self.admin.leaseholder_ranges(), &self.registry.statuses(), &self.options.policy)
    }

    /// Whether there was anything to do.
    async fn pass(&self) -> bool {
        let ranges = self.admin.leaseholder_ranges();
        self.registry.set_load(NodeLoad { replicas: self.admin.replica_count(), leases: ranges.len() as u64 });
        let nodes = self.registry.statuses();
        let signature = signature(&ranges, &nodes);
        if *self.settled.lock() == Some(signature) {
            return false;
        }
        let (steps, settled) = self.decide(&ranges, nodes);
        *self.settled.lock() = settled.then_some(signature);
        let busy = !steps.is_empty();
        let running = futures::stream::iter(steps).map(|(range, action)| self.step(range, action));
        running.buffer_unordered(self.options.concurrency.max(1)).collect::<()>().await;
        busy
    }

    /// The steps of this pass, the most urgent first; and whether nothing is wanted at all, now or when a pause is over.
    fn decide(&self, ranges: &[Arc<RangeDescriptor>], mut nodes: Vec<Candidate>) -> (Vec<(RangeId, Action)>, bool) {
        let now = Instant::now();
        let mut waiting = self.waiting.lock();
        waiting.retain(|id, _| ranges.iter().any(|range| range.id == *id));
        let mut budget = self.balance_budget(&nodes, now);
        let (mut urgent, mut balance, mut settled) = (Vec::new(), Vec::new(), true);
        for range in ranges {
            if waiting.get(&range.id).is_some_and(|(until, _)| *until > now) {
                settled = false;
                continue;
            }
            let action = next_action(range, &nodes, &self.options.policy, self.us);
            settled &= action == Action::Nothing;
            let left = match action {
                Action::Nothing => continue,
                Action::Replace { why: Why::Balance, .. } | Action::TransferLease { why: Why::StepAside, .. } => &mut budget.replicas,
                Action::TransferLease { why: Why::Balance, .. } => &mut budget.leases,
                Action::Finish | Action::Add(_) | Action::Remove(_) | Action::Replace { .. } | Action::TransferLease { .. } => {
                    urgent.push((range.id, action));
                    foresee(&mut nodes, action, self.us);
                    continue;
                }
            };
            let Some(less) = left.checked_sub(1) else { continue };
            *left = less;
            balance.push((range.id, action));
            foresee(&mut nodes, action, self.us);
        }
        urgent.extend(balance);
        (urgent, settled)
    }

    /// How many moves for balance this pass may make. Loads of others are as old as their last heartbeat, and every node that sees the same
    /// imbalance acts on it: each takes the share that makes all of them together close about half of the gap, by chance where it is below one.
    fn balance_budget(&self, nodes: &[Candidate], now: Instant) -> NodeLoad {
        let mut rng = self.rng.lock();
        let mut due = self.balance_due.lock();
        if now < *due {
            return NodeLoad::default();
        }
        *due = now + self.options.interval.mul_f64(rng.random_range(0.75..1.25));
        let live = || nodes.iter().filter(|candidate| candidate.health == Health::Live);
        let mut share = |most: Option<u64>, least: Option<u64>| {
            let gap = most.unwrap_or(0).saturating_sub(least.unwrap_or(0));
            let share = gap as f64 / (2 * live().count().max(1)) as f64;
            let chance = rng.random_bool(share.fract());
            (share as u64 + u64::from(chance)).min(self.options.balance_moves)
        };
        let replicas = share(live().map(|c| c.load.replicas).max(), live().map(|c| c.load.replicas).min());
        let own = live().find(|c| c.id == self.us).map(|c| c.load.leases);
        NodeLoad { replicas, leases: share(own, live().map(|c| c.load.leases).min()) }
    }

    async fn step(&self, range: RangeId, action: Action) {
        let change = async {
            match action {
                Action::Nothing => Ok(()),
                Action::Finish => self.admin.change_replicas(range, None, None).await,
                Action::Add(node) => self.admin.change_replicas(range, Some(node), None).await,
                Action::Remove(node) => self.admin.change_replicas(range, None, Some(node)).await,
                Action::Replace { add, remove, .. } => self.admin.change_replicas(range, Some(add), Some(remove)).await,
                Action::TransferLease { to, .. } => self.admin.transfer_lease(range, to).await,
            }
        };
        match tokio::time::timeout(self.options.step_deadline, change).await {
            Ok(Ok(())) => {
                tracing::info!(%range, ?action, "placement step done");
                self.waiting.lock().remove(&range);
            }
            // The lease has moved: the range is somebody else's.
            Ok(Err(AdminError::NotLeaseholder(_))) => {}
            Ok(Err(error)) => self.postpone(range, action, &error.to_string()),
            Err(_) => self.postpone(range, action, "it takes too long"),
        }
    }

    fn postpone(&self, range: RangeId, action: Action, error: &str) {
        let mut waiting = self.waiting.lock();
        let pause = waiting.get(&range).map_or(self.options.retry_min, |(_, pause)| *pause);
        let jittered = pause.mul_f64(self.rng.lock().random_range(0.75..1.25));
        waiting.insert(range, (Instant::now() + jittered, (pause * 2).min(self.options.retry_max)));
        tracing::warn!(%range, ?action, "placement step failed, again in {jittered:?}: {error}");
    }
}

/// Differs (but for a collision, which the next change of anything ends) when anything that decisions depend on does.
fn signature(ranges: &[Arc<RangeDescriptor>], nodes: &[Candidate]) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    for range in ranges {
        (range.id, range.generation, range.replicas.len()).hash(&mut hasher);
    }
    for node in nodes {
        (node.id, node.health as u8, node.load.replicas, node.load.leases, &node.locality).hash(&mut hasher);
    }
    hasher.finish()
}

/// What the loads will be after `action`.
fn foresee(nodes: &mut [Candidate], action: Action, us: NodeId) {
    let mut bump = |node: NodeId, replicas: i64, leases: i64| {
        if let Some(candidate) = nodes.iter_mut().find(|candidate| candidate.id == node) {
            candidate.load.replicas = candidate.load.replicas.saturating_add_signed(replicas);
            candidate.load.leases = candidate.load.leases.saturating_add_signed(leases);
        }
    };
    match action {
        Action::Nothing | Action::Finish => {}
        Action::Add(node) => bump(node, 1, 0),
        Action::Remove(node) => bump(node, -1, 0),
        Action::Replace { add, remove, .. } => {
            bump(add, 1, 0);
            bump(remove, -1, 0);
        }
        Action::TransferLease { to, .. } => {
            bump(to, 0, 1);
            bump(us, 0, -1);
        }
    }
}

async fn passes(queue: Weak<ReplicateQueue>, mut changes: watch::Receiver<u64>, interval: Duration) {
    loop {
        let busy = {
            let Some(queue) = queue.upgrade() else { return };
            queue.pass().await
        };
        // A pass that found work is followed by another one soon: most ranges need more than one step.
        let pause = if busy { interval / 10 } else { interval };
        tokio::select! {
            biased;
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl fmt::Debug for ReplicateQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicateQueue").field("us", &self.us).field("options", &self.options).finish_non_exhaustive()
    }
}
