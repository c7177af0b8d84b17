//! Golden scenarios of the allocator, its termination, a cluster of queues over a model of ranges, and one over real stores.

mod cluster;
mod stores;

use std::error::Error;
use std::fmt::Write as _;

use meridian_storage::Span;
use proptest::prelude::*;

use super::allocator::{Action, Candidate, Policy, attainable, next_action};
use crate::api::{Locality, NodeId, RangeDescriptor, RangeId, ReplicaDescriptor, ReplicaId, ReplicaRole};
use crate::registry::{Health, NodeLoad};

fn range_of(voters: &[NodeId]) -> RangeDescriptor {
    let replica = |node: &NodeId| ReplicaDescriptor { node: *node, id: ReplicaId(u64::from(node.0)), role: ReplicaRole::Voter };
    let replicas = voters.iter().map(replica).collect();
    RangeDescriptor { id: RangeId(1), span: Span::all(), replicas, next_replica: ReplicaId(100), generation: 1, span_epoch: 0 }
}

/// Carries `action` out on the model. `false` for nothing.
fn apply(action: Action, range: &mut RangeDescriptor, lease: &mut NodeId, nodes: &mut [Candidate]) -> bool {
    let mut load = |node: NodeId, replicas: i64, leases: i64| {
        if let Some(candidate) = nodes.iter_mut().find(|candidate| candidate.id == node) {
            candidate.load.replicas = candidate.load.replicas.saturating_add_signed(replicas);
            candidate.load.leases = candidate.load.leases.saturating_add_signed(leases);
        }
    };
    let (add, remove) = match action {
        Action::Nothing => return false,
        Action::Finish => {
            range.replicas.retain(|replica| replica.role == ReplicaRole::Voter);
            return true;
        }
        Action::Add(node) => (Some(node), None),
        Action::Remove(node) => (None, Some(node)),
        Action::Replace { add, remove, .. } => (Some(add), Some(remove)),
        Action::TransferLease { to, .. } => {
            load(*lease, 0, -1);
            load(to, 0, 1);
            *lease = to;
            return true;
        }
    };
    if let Some(node) = remove {
        assert_ne!(node, *lease, "the leaseholder cannot be removed");
        assert!(range.replica_on(node).is_some());
        range.replicas.retain(|replica| replica.node != node);
        load(node, -1, 0);
    }
    if let Some(node) = add {
        assert!(range.replica_on(node).is_none());
        load(node, 1, 0);
        range.replicas.push(ReplicaDescriptor { node, id: range.next_replica, role: ReplicaRole::Voter });
        range.next_replica.0 += 1;
    }
    true
}

/// Commands: `node N key=value…` (region, zone, replicas, leases, health), `range N… lease=N`, `learner N`, `factor N`, `run`.
#[derive(Default)]
struct Script {
    nodes: Vec<Candidate>,
    range: Option<RangeDescriptor>,
    lease: NodeIdOrZero,
    policy: Policy,
}

#[derive(Default)]
struct NodeIdOrZero(u32);

impl goldenscript::Runner for Script {
    type Command = goldenscript::Command;

    fn run(&mut self, command: &goldenscript::Command, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let mut output = String::new();
        match command.name.as_str() {
            "node" => {
                let id = NodeId(args.next_pos().ok_or("node id")?.parse()?);
                let old = self.nodes.iter().position(|candidate| candidate.id == id).map(|at| self.nodes.remove(at));
                let mut node =
                    old.unwrap_or(Candidate { id, locality: Locality::default(), health: Health::Live, load: NodeLoad::default() });
                for tier in ["region", "zone"] {
                    if let Some(value) = args.take_key(tier) {
                        node.locality.0.push((tier.into(), value.into()));
                    }
                }
                node.load.replicas = args.take_key("replicas").map_or(Ok(node.load.replicas), str::parse)?;
                node.load.leases = args.take_key("leases").map_or(Ok(node.load.leases), str::parse)?;
                node.health = match args.take_key("health") {
                    None => node.health,
                    Some("live") => Health::Live,
                    Some("suspect") => Health::Suspect,
                    Some("dead") => Health::Dead,
                    Some(other) => return Err(format!("health {other}").into()),
                };
                self.nodes.push(node);
                self.nodes.sort_by_key(|candidate| candidate.id);
            }
            "range" => {
                self.lease.0 = args.take_key("lease").ok_or("lease")?.parse()?;
                let voters = std::iter::from_fn(|| args.next_pos()).map(|arg| arg.parse().map(NodeId)).collect::<Result<Vec<_>, _>>()?;
                self.range = Some(range_of(&voters));
            }
            "learner" => {
                let node = NodeId(args.next_pos().ok_or("node id")?.parse()?);
                let range = self.range.as_mut().ok_or("no range")?;
                range.replicas.push(ReplicaDescriptor { node, id: ReplicaId(99), role: ReplicaRole::Learner });
            }
            "factor" => self.policy.replication_factor = args.next_pos().ok_or("number")?.parse()?,
            "run" => {
                let range = self.range.as_mut().ok_or("no range")?;
                let mut lease = NodeId(self.lease.0);
                for _ in 0..20 {
                    let action = next_action(range, &self.nodes, &self.policy, lease);
                    if !apply(action, range, &mut lease, &mut self.nodes) {
                        break;
                    }
                    writeln!(output, "{action:?}")?;
                }
                self.lease.0 = lease.0;
                let voters: Vec<_> = range.replicas.iter().map(|replica| replica.node).collect();
                writeln!(output, "voters {voters:?}, lease {lease}")?;
            }
            other => return Err(format!("unknown command {other}").into()),
        }
        args.reject_next()?;
        Ok(output)
    }
}

#[test]
fn scenarios() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/placement/tests/scenarios");
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        goldenscript::run(&mut Script::default(), &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let health = prop_oneof![6 => Just(Health::Live), 1 => Just(Health::Suspect), 2 => Just(Health::Dead)];
    proptest::collection::vec((health, 0..3_u8, 0..3_u8, 0..30_u64, 0..30_u64), 1..9).prop_map(|nodes| {
        let node = |(index, (health, region, zone, replicas, leases)): (usize, (Health, u8, u8, u64, u64))| Candidate {
            id: NodeId(index as u32 + 1),
            locality: Locality(vec![("region".into(), region.to_string()), ("zone".into(), zone.to_string())]),
            health,
            load: NodeLoad { replicas, leases },
        };
        nodes.into_iter().enumerate().map(node).collect()
    })
}

proptest! {
    /// Whatever the start, the steps come to an end, keep a quorum alive throughout, and leave as many voters as there can be.
    #[test]
    fn steps_converge(
        nodes in candidates(), start in proptest::collection::vec(any::<prop::sample::Index>(), 1..6), holder in any::<prop::sample::Index>(),
    ) {
        let mut nodes = nodes;
        let mut voters: Vec<NodeId> = start.iter().map(|index| nodes[index.index(nodes.len())].id).collect();
        voters.sort();
        voters.dedup();
        let mut lease = voters[holder.index(voters.len())];
        nodes[lease.0 as usize - 1].health = Health::Live;
        let health: Vec<Health> = nodes.iter().map(|candidate| candidate.health).collect();
        let live = |node: &NodeId| health[node.0 as usize - 1] == Health::Live;
        let quorum = |range: &RangeDescriptor| range.replicas.iter().filter(|r| live(&r.node)).count() * 2 > range.replicas.len();
        let mut range = range_of(&voters);
        let policy = Policy::default();
        prop_assume!(quorum(&range));
        let mut steps = 0;
        loop {
            let action = next_action(&range, &nodes, &policy, lease);
            if let Action::Add(node) | Action::Replace { add: node, .. } | Action::TransferLease { to: node, .. } = action {
                prop_assert!(live(&node), "{:?}", action);
            }
            if !apply(action, &mut range, &mut lease, &mut nodes) {
                break;
            }
            prop_assert!(quorum(&range), "{:?} loses the quorum", action);
            steps += 1;
            prop_assert!(steps < 60, "no end: {:?}", action);
        }
        let alive = health.iter().filter(|health| **health == Health::Live).count();
        prop_assert!(range.replicas.len() >= attainable(&policy, alive));
        prop_assert!(range.replicas.len() <= policy.replication_factor);
        let dead_left = range.replicas.iter().filter(|r| health[r.node.0 as usize - 1] == Health::Dead).count();
        let free = health.iter().enumerate().filter(|(n, h)| **h == Health::Live && range.replica_on(NodeId(*n as u32 + 1)).is_none()).count();
        prop_assert!(dead_left == 0 || free == 0, "dead voters stay although nodes are free");
    }
}
