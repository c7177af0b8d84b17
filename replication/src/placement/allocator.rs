//! What to do next about one range. Pure: same inputs, same answer; ties go to the lower node id.
//!
//! **Diversity.** Two replicas are worth more the earlier their localities differ: regions before zones before the tiers after them.
//! The worth of a set is the sum over its pairs, with weights so far apart that no number of different zones outweighs one different region.
//!
//! **No thrashing.** Surplus is removed only above the replication factor, never because nodes became fewer. Balance moves need a
//! difference that the move itself cannot turn round ([`Policy::slack`]), and neither balance nor leases move while a node of the range is silent.

use crate::api::{Locality, NodeId, RangeDescriptor, ReplicaRole};
use crate::registry::{Health, NodeLoad, NodeStatus};

/// Tiers of a locality that count; later ones weigh like the last.
const TIERS: usize = 4;
/// One tier weighs as much as this many pairs of the next: above the pairs of any sane number of replicas.
const TIER_WEIGHT: u64 = 256;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Voters per range.
    pub replication_factor: usize,
    /// A node is too full when it holds this many replicas (or leases) more than another, and a twentieth more.
    pub slack: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { replication_factor: 3, slack: 3 }
    }
}

/// A node that may hold replicas.
pub type Candidate = NodeStatus;

/// The next step for a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// All is well, or nothing can be done now.
    Nothing,
    /// Clean up a learner or joint configuration.
    Finish,
    /// A replica on this node.
    Add(NodeId),
    /// One replica for another, in one change.
    Replace {
        /// Gets one.
        add: NodeId,
        /// Loses one.
        remove: NodeId,
        /// For logs, and for rationing what is not urgent.
        why: Why,
    },
    /// One replica less.
    Remove(NodeId),
    /// The lease to this node.
    TransferLease {
        /// The next leaseholder.
        to: NodeId,
        /// For logs.
        why: Why,
    },
}

/// Why a replica or lease moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its node is dead.
    Dead,
    /// The range survives more afterwards.
    Spread,
    /// Its node holds more than others.
    Balance,
    /// For balance the leaseholder's own replica is to go, and it cannot remove itself.
    StepAside,
}

/// A range, seen by its leaseholder.
struct View<'a> {
    policy: &'a Policy,
    nodes: &'a [Candidate],
    us: NodeId,
    voters: Vec<NodeId>,
}

/// The next step for `range`, whose lease `us` holds. `nodes` by id.
pub fn next_action(range: &RangeDescriptor, nodes: &[Candidate], policy: &Policy, us: NodeId) -> Action {
    if range.replicas.iter().any(|replica| replica.role != ReplicaRole::Voter) {
        return Action::Finish;
    }
    let view = View { policy, nodes, us, voters: range.replicas.iter().map(|replica| replica.node).collect() };
    let live = view.voters.iter().filter(|node| view.health(**node) == Health::Live).count();
    if live * 2 <= view.voters.len() {
        // Without a quorum no change can be made, whatever is wrong.
        return Action::Nothing;
    }
    let urgent = view.add().or_else(|| view.replace_dead()).or_else(|| view.remove_surplus());
    urgent.or_else(|| view.improve()).or_else(|| view.move_lease()).unwrap_or(Action::Nothing)
}

/// How many voters a range can have on so many live nodes: as many as wanted, else the next lower odd number (an even one survives no more).
pub fn attainable(policy: &Policy, live_nodes: usize) -> usize {
    let most = policy.replication_factor.min(live_nodes);
    if most < policy.replication_factor && most.is_multiple_of(2) { most.saturating_sub(1) } else { most }
}

impl View<'_> {
    fn status(&self, node: NodeId) -> Option<&Candidate> {
        self.nodes.iter().find(|candidate| candidate.id == node)
    }

    fn health(&self, node: NodeId) -> Health {
        self.status(node).map_or(Health::Dead, |candidate| candidate.health)
    }

    fn load(&self, node: NodeId) -> NodeLoad {
        self.status(node).map(|candidate| candidate.load).unwrap_or_default()
    }

    /// What `node` adds to the diversity of `others`.
    fn worth(&self, node: NodeId, others: &[NodeId]) -> u64 {
        let unknown = Locality::default();
        let locality = |id| self.status(id).map_or(&unknown, |candidate| &candidate.locality);
        others.iter().filter(|other| **other != node).map(|other| pair_worth(locality(node), locality(*other))).sum()
    }

    fn without(&self, gone: NodeId) -> Vec<NodeId> {
        self.voters.iter().copied().filter(|node| *node != gone).collect()
    }

    /// Live nodes without a replica, best first for a range whose other voters are `others`.
    fn best_addition(&self, others: &[NodeId]) -> Option<NodeId> {
        let free = self.nodes.iter().filter(|c| c.health == Health::Live && !self.voters.contains(&c.id));
        free.max_by_key(|c| (self.worth(c.id, others), std::cmp::Reverse((c.load.replicas, c.id)))).map(|c| c.id)
    }

    fn add(&self) -> Option<Action> {
        let live = self.nodes.iter().filter(|candidate| candidate.health == Health::Live).count();
        let short = self.voters.len() < attainable(self.policy, live);
        if short { self.best_addition(&self.voters).map(Action::Add) } else { None }
    }

    fn replace_dead(&self) -> Option<Action> {
        let dead = self.voters.iter().copied().find(|node| self.health(*node) == Health::Dead)?;
        if self.voters.len() > self.policy.replication_factor {
            return Some(Action::Remove(dead));
        }
        let add = self.best_addition(&self.without(dead))?;
        Some(Action::Replace { add, remove: dead, why: Why::Dead })
    }

    fn remove_surplus(&self) -> Option<Action> {
        if self.voters.len() <= self.policy.replication_factor {
            return None;
        }
        let dispensable = self.voters.iter().copied().filter(|node| *node != self.us);
        let least = dispensable.min_by_key(|node| {
            let ill = self.health(*node) != Health::Live;
            let others = self.without(*node);
            (!ill, self.worth(*node, &others), std::cmp::Reverse((self.load(*node).replicas, *node)))
        });
        least.map(Action::Remove)
    }

    fn all_live(&self) -> bool {
        self.voters.iter().all(|node| self.health(*node) == Health::Live)
    }

    /// Spread and balance: the best swap, if it is worth one.
    fn improve(&self) -> Option<Action> {
        if !self.all_live() || self.voters.len() < attainable(self.policy, self.nodes.len()) {
            return None;
        }
        let mut best: Option<(u64, u64, NodeId, NodeId)> = None;
        // The leaseholder's own replica comes last: of equal swaps those are better that need no lease move.
        let mut removable = self.voters.clone();
        removable.sort_by_key(|node| (*node == self.us, *node));
        for remove in removable {
            let others = self.without(remove);
            let Some(add) = self.best_addition(&others) else { continue };
            let (before, after) = (self.worth(remove, &others), self.worth(add, &others));
            let (full, empty) = (self.load(remove).replicas, self.load(add).replicas);
            let gain = after.saturating_sub(before);
            let relief = if after >= before && self.much_more(full, empty) { full - empty } else { 0 };
            let better = (gain, relief) > best.map_or((0, 0), |(gain, relief, ..)| (gain, relief));
            if better {
                best = Some((gain, relief, remove, add));
            }
        }
        let (gain, _, remove, add) = best?;
        let why = if gain > 0 { Why::Spread } else { Why::Balance };
        if remove == self.us {
            let others = self.without(remove);
            let heir = others.into_iter().min_by_key(|node| (self.load(*node).leases, *node))?;
            return Some(Action::TransferLease { to: heir, why: if gain > 0 { Why::Spread } else { Why::StepAside } });
        }
        Some(Action::Replace { add, remove, why })
    }

    fn move_lease(&self) -> Option<Action> {
        if !self.all_live() {
            return None;
        }
        let (to, leases) = self.voters.iter().map(|node| (*node, self.load(*node).leases)).min_by_key(|(node, leases)| (*leases, *node))?;
        let worth_it = to != self.us && self.much_more(self.load(self.us).leases, leases);
        worth_it.then_some(Action::TransferLease { to, why: Why::Balance })
    }

    fn much_more(&self, more: u64, less: u64) -> bool {
        more >= less + self.policy.slack.max(2).max(less / 20)
    }
}

/// What two replicas at these places are worth together.
fn pair_worth(a: &Locality, b: &Locality) -> u64 {
    let tiers = a.0.len().max(b.0.len()).min(TIERS);
    let differs = (0..tiers).find(|tier| a.0.get(*tier) != b.0.get(*tier));
    // On the same spot they are still two nodes, which every pair is.
    differs.map_or(0, |tier| TIER_WEIGHT.pow((TIERS - 1 - tier) as u32))
}
