//! Membership: the one way for a replica to come to be, and to go.
//!
//! ```text
//!   add learner ─▶ Raft finds that it has nothing ─▶ snapshot ─▶ caught up ─▶ enter joint (promote it, drop another) ─▶ leave joint
//! ```
//! Each arrow is one Raft entry (or the snapshot), carrying the descriptor that it leads to; the entry is void if the range changed
//! between evaluation and apply. `change_replicas` drives them from the leaseholder and can be broken off anywhere: the next call first
//! finishes or rolls back what it finds half done.
//!
//! A replica that was removed learns it from the leaseholder, or when it asks anybody for a vote. It deletes its state and leaves a tombstone, so
//! that no message still on its way brings an old replica id back to life.

use std::sync::Arc;
use std::time::Duration;

use raft::prelude::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};
use tokio::sync::oneshot;

use super::codec::{self, AdminCommand, MembershipChange, RaftMessage as _};
use super::handle::ReplicaHandle;
use super::replica::{Effects, Replica, Waiter};
use super::worker::Request;
use crate::api::{AdminError, NodeId, RangeDescriptor, RangeId, RangeReplica as _, ReplicaDescriptor, ReplicaId, ReplicaRole, Term};
use meridian_storage::Key;

/// How long a learner may take to get its snapshot and catch up.
const CATCH_UP: Duration = Duration::from_secs(300);

/// One step of a change of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    AddLearner(NodeId),
    RemoveLearner(ReplicaId),
    EnterJoint { promote: Option<ReplicaId>, remove: Option<ReplicaId> },
    LeaveJoint,
}

/// The Raft change and the descriptor that `change` makes of `descriptor`.
pub(crate) fn plan(descriptor: &RangeDescriptor, change: &Change) -> Result<(ConfChangeV2, RangeDescriptor), String> {
    let mut next = descriptor.clone();
    next.generation += 1;
    let mut cc = ConfChangeV2::default();
    let mut single = |kind: ConfChangeType, id: ReplicaId| {
        let mut one = ConfChangeSingle { node_id: id.0, ..ConfChangeSingle::default() };
        one.set_change_type(kind);
        cc.changes.push(one);
    };
    let joint = codec::is_joint(descriptor);
    if joint != (*change == Change::LeaveJoint) {
        return Err(format!("{} is {}in joint consensus", descriptor.id, if joint { "" } else { "not " }));
    }
    let role_of = |id: ReplicaId| descriptor.replicas.iter().find(|r| r.id == id).map(|r| r.role);
    match change {
        Change::AddLearner(node) => {
            if descriptor.replica_on(*node).is_some() {
                return Err(format!("{node} has a replica of {} already", descriptor.id));
            }
            single(ConfChangeType::AddLearnerNode, next.next_replica);
            next.replicas.push(ReplicaDescriptor { node: *node, id: next.next_replica, role: ReplicaRole::Learner });
            next.next_replica.0 += 1;
        }
        Change::RemoveLearner(id) => {
            if role_of(*id) != Some(ReplicaRole::Learner) {
                return Err(format!("{id} is no learner of {}", descriptor.id));
            }
            single(ConfChangeType::RemoveNode, *id);
            next.replicas.retain(|r| r.id != *id);
        }
        Change::EnterJoint { promote, remove } => {
            if let Some(id) = promote {
                if role_of(*id) != Some(ReplicaRole::Learner) {
                    return Err(format!("{id} is no learner of {}", descriptor.id));
                }
                single(ConfChangeType::AddNode, *id);
            }
            if let Some(id) = remove {
                if role_of(*id) != Some(ReplicaRole::Voter) {
                    return Err(format!("{id} is no voter of {}", descriptor.id));
                }
                single(ConfChangeType::RemoveNode, *id);
            }
            for replica in &mut next.replicas {
                if Some(replica.id) == *promote {
                    replica.role = ReplicaRole::Incoming;
                } else if Some(replica.id) == *remove {
                    replica.role = ReplicaRole::Outgoing;
                }
            }
            if !next.replicas.iter().any(|r| matches!(r.role, ReplicaRole::Voter | ReplicaRole::Incoming)) {
                return Err(format!("{} would have no voter left", descriptor.id));
            }
            cc.set_transition(ConfChangeTransition::Explicit);
        }
        Change::LeaveJoint => {
            next.replicas.retain(|r| r.role != ReplicaRole::Outgoing);
            for replica in &mut next.replicas {
                if replica.role == ReplicaRole::Incoming {
                    replica.role = ReplicaRole::Voter;
                }
            }
        }
    }
    Ok((cc, next))
}

impl Replica {
    /// What this node wants of the replica.
    pub(crate) fn on_request(&mut self, request: Request, fx: &mut Effects) {
        match request {
            Request::Propose { term, payload, done } => self.propose(term, payload, Waiter::Command(done)),
            Request::Split { key, right, done } => self.propose_split(key, right, done),
            Request::Transfer { to, done } => self.transfer(to, done),
            Request::Change { change, done } => self.propose_change(&change, done),
            Request::CaughtUp { replica, done } => self.wait_caught_up(replica, done),
            Request::Checksum { request, done } => {
                let payload = codec::encode_admin(&AdminCommand::Checksum { request, reply_to: self.ctx.node });
                self.propose(Term(self.term()), payload, Waiter::Index(done));
            }
            Request::Stir => self.wake(),
            Request::Diverged { node, index, expected } => {
                if let Some(to) = self.descriptor.as_ref().and_then(|d| d.replica_on(node).copied()) {
                    self.send_to(node, to.id, codec::PacketBody::Diverged { index, expected }, fx);
                }
            }
        }
    }

    fn propose_change(&mut self, change: &Change, done: oneshot::Sender<Result<(), AdminError>>) {
        let serving = self.handle.as_ref().is_some_and(|h| h.lease_term() == Some(Term(self.term())));
        let Some(descriptor) = self.descriptor.clone().filter(|_| serving && self.is_leader() && !self.split_in_flight) else {
            let _ = done.send(Err(self.not_leaseholder().into()));
            return;
        };
        if let Change::EnterJoint { remove: Some(id), .. } = change
            && *id == self.id
        {
            let _ = done.send(Err(AdminError::Invalid("the leaseholder cannot remove itself: move the lease first".into())));
            return;
        }
        let (mut cc, next) = match plan(&descriptor, change) {
            Ok(planned) => planned,
            Err(why) => return drop(done.send(Err(AdminError::Invalid(why)))),
        };
        let request = self.own_request();
        cc.context = codec::to_bytes(&MembershipChange { request, at_generation: descriptor.generation, descriptor: next });
        debug_assert!(!cc.bytes().is_empty());
        match self.raw.propose_conf_change(Vec::new(), cc) {
            Ok(()) => self.wait_for_last(Waiter::Admin(done)),
            Err(_) => drop(done.send(Err(self.not_leaseholder().into()))),
        }
    }

    fn propose_split(&mut self, key: Key, right: RangeId, done: oneshot::Sender<Result<(), AdminError>>) {
        let Some(descriptor) = self.descriptor.clone() else {
            let _ = done.send(Err(self.not_leaseholder().into()));
            return;
        };
        if descriptor.span.start == key {
            let _ = done.send(Ok(()));
            return;
        }
        if !descriptor.span.contains(&key) {
            let _ = done.send(Err(AdminError::Invalid(format!("the key lies outside {}", self.range))));
            return;
        }
        if codec::is_joint(&descriptor) || self.split_in_flight || self.transfer.is_some() {
            let _ = done.send(Err(AdminError::Invalid(format!("{} is being changed", self.range))));
            return;
        }
        let (mut left, mut new) = ((*descriptor).clone(), (*descriptor).clone());
        left.generation += 1;
        new.generation += 1;
        left.span_epoch += 1;
        new.span_epoch += 1;
        new.id = right;
        left.span.end = key.clone();
        new.span.start = key;
        let request = self.own_request();
        let command = AdminCommand::Split { request, at_generation: descriptor.generation, left: Box::new(left), right: Box::new(new) };
        let before = self.pending.len();
        self.propose(Term(self.term()), codec::encode_admin(&command), Waiter::Admin(done));
        self.split_in_flight = self.pending.len() > before;
    }
}

async fn step(handle: &ReplicaHandle, change: Change) -> Result<(), AdminError> {
    handle.admin(|done| Request::Change { change, done }).await
}

/// Adds and removes replicas of the range of `handle`, which this node must lead. See [`crate::api::RangeAdmin::change_replicas`].
pub(crate) async fn change_replicas(handle: &Arc<ReplicaHandle>, add: Option<NodeId>, remove: Option<NodeId>) -> Result<(), AdminError> {
    handle.lease()?;
    if codec::is_joint(&handle.descriptor()) {
        step(handle, Change::LeaveJoint).await?;
    }
    for replica in &handle.descriptor().replicas {
        if replica.role == ReplicaRole::Learner && Some(replica.node) != add {
            step(handle, Change::RemoveLearner(replica.id)).await?;
            if add.is_none() && Some(replica.node) == remove {
                return Ok(());
            }
        }
    }
    let descriptor = handle.descriptor();
    let outgoing = match remove.map(|node| (node, descriptor.replica_on(node))) {
        Some((node, None)) => return Err(AdminError::Invalid(format!("{node} has no replica of {}", descriptor.id))),
        Some((_, Some(replica))) => Some(replica.id),
        None => None,
    };
    let promote = match add {
        Some(node) => Some(add_learner(handle, node).await?),
        None => None,
    };
    if promote.is_none() && outgoing.is_none() {
        return Ok(());
    }
    step(handle, Change::EnterJoint { promote, remove: outgoing }).await?;
    step(handle, Change::LeaveJoint).await
}

/// Makes a learner on `node` and waits until it has (nearly) everything; takes it away again if that fails.
async fn add_learner(handle: &Arc<ReplicaHandle>, node: NodeId) -> Result<ReplicaId, AdminError> {
    match handle.descriptor().replica_on(node) {
        None => step(handle, Change::AddLearner(node)).await?,
        Some(replica) if replica.role == ReplicaRole::Learner => {}
        Some(_) => return Err(AdminError::Invalid(format!("{node} has a voter of {} already", handle.range_id()))),
    }
    let Some(learner) = handle.descriptor().replica_on(node).copied() else {
        return Err(AdminError::Invalid(format!("the learner on {node} has gone")));
    };
    let caught_up = handle.admin_within(CATCH_UP, |done| Request::CaughtUp { replica: learner.id, done }).await;
    if let Err(error) = caught_up {
        // Best effort: the next change cleans up as well.
        let _ = step(handle, Change::RemoveLearner(learner.id)).await;
        return Err(error);
    }
    Ok(learner.id)
}
