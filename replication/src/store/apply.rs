//! What committed entries do, identically on every replica.
//!
//! Commands become one engine batch per round, with the applied position and the request window in the same batch, so that applied state
//! is of one moment wherever a crash cuts. Applied state is not synced: after a crash it is that of some earlier moment, and the log is
//! replayed from the position found there.

use std::sync::Arc;

use meridian_storage::engine::{Batch, StorageError};
use meridian_storage::mvcc;
use raft::prelude::{ConfChangeV2, Entry, EntryType};

use super::codec::{self, AdminCommand, MembershipChange, PacketBody, Payload, RaftMessage as _};
use super::handle::ReplicaHandle;
use super::layout;
use super::raft_log::Position;
use super::replica::{Born, Effects, Pending, Replica, Waiter};
use crate::api::{AdminError, Applied, LogIndex, RangeDescriptor, RangeReplica};

/// A round of applying that the engine has yet to take.
#[derive(Default)]
pub(crate) struct Staged {
    batch: Batch,
    done: Vec<(Waiter, Applied)>,
    after: After,
}

/// What follows once the batch is in the engine.
#[derive(Default)]
enum After {
    #[default]
    Nothing,
    Split {
        left: Arc<RangeDescriptor>,
        right: Arc<RangeDescriptor>,
        own: bool,
    },
    Membership(Arc<RangeDescriptor>),
}

impl Replica {
    /// Applies what is committed, as far as the disk takes it.
    pub(super) fn apply_committed(&mut self, fx: &mut Effects) {
        if self.staged.is_some() || self.to_apply.is_empty() {
            return;
        }
        let mut staged = Staged::default();
        while let Some(entry) = self.to_apply.pop_front() {
            if let Err(error) = self.apply_entry(entry, &mut staged, fx) {
                tracing::error!(range = %self.range, replica = %self.id, %error, "entry could not be applied: the replica stops");
                return self.stop();
            }
            // Changes of the range take effect before the next entry is looked at.
            if !matches!(staged.after, After::Nothing) {
                if !self.commit_staged(std::mem::take(&mut staged), fx) {
                    return;
                }
                if self.broken {
                    return;
                }
            }
        }
        self.commit_staged(staged, fx);
    }

    /// Tries again what a full disk refused.
    pub(super) fn retry_staged(&mut self, fx: &mut Effects) {
        if let Some(staged) = self.staged.take()
            && self.commit_staged(staged, fx)
        {
            // If the log is still refused, its next try says so again.
            self.ctx.set_disk_full(false);
            self.apply_committed(fx);
        }
    }

    fn apply_entry(&mut self, entry: Entry, staged: &mut Staged, fx: &mut Effects) -> Result<(), StorageError> {
        let (index, term) = (entry.index, entry.term);
        self.applied.index = index;
        self.applied.term = term;
        let waiter = self.pending.remove(&index).and_then(|Pending { term: proposed, waiter }| {
            if proposed == term {
                return Some(waiter);
            }
            // Another leader's entry took the place of ours, which therefore never commits.
            waiter.fail(self.not_leaseholder());
            None
        });
        let request = match entry.get_entry_type() {
            EntryType::EntryNormal => match codec::decode_payload(entry.data)? {
                // Raft puts an empty entry in the place of a membership change that it cannot take now.
                Payload::Empty => Some(false),
                // Evaluated before a split and logged after it: it may write keys that belong to the other half by now, whose own log and checks
                // would never see them. Every replica drops it, since all have the same descriptor here, and its proposer evaluates it again.
                Payload::Command(_, span_epoch) if self.descriptor.as_ref().is_some_and(|d| d.span_epoch != span_epoch) => {
                    if let Some(waiter) = waiter {
                        let leader = Some(self.ctx.node);
                        waiter.fail(crate::api::NotLeaseholder { range: self.range, leader }.into());
                    }
                    return Ok(());
                }
                Payload::Command(command, _) => {
                    let fresh = self.is_fresh(command.request, &mut staged.batch);
                    if fresh {
                        staged.batch.extend(command.batch);
                        self.applied.closed = self.applied.closed.max(command.closed);
                    }
                    Some(fresh)
                }
                Payload::Admin(command) => {
                    let fresh = self.is_fresh(command.request(), &mut staged.batch);
                    if fresh {
                        self.apply_admin(*command, staged, fx)?;
                    }
                    Some(fresh)
                }
            },
            EntryType::EntryConfChangeV2 => {
                let change = ConfChangeV2::parse(&entry.data, "membership change")?;
                let MembershipChange { at_generation, descriptor, .. } = codec::from_bytes(&change.context, "membership change")?;
                let valid = self.descriptor.as_ref().is_some_and(|d| d.generation == at_generation);
                if valid {
                    self.apply_membership(&change, descriptor, staged)?;
                }
                Some(valid)
            }
            EntryType::EntryConfChange => return Err(StorageError::Format("membership entry of an old kind".into())),
        };
        if let Some(waiter) = waiter {
            staged.done.push((waiter, Applied { index: LogIndex(index), fresh: request.unwrap_or(true) }));
        }
        Ok(())
    }

    fn is_fresh(&mut self, request: crate::api::RequestId, batch: &mut Batch) -> bool {
        if self.requests.contains(request) {
            return false;
        }
        self.requests.insert(self.range, request, self.applied.requests, batch);
        self.applied.requests += 1;
        true
    }

    /// Hands the round to the engine and does what follows from it. `false`: the disk is full, the round waits.
    fn commit_staged(&mut self, mut staged: Staged, fx: &mut Effects) -> bool {
        let position = Position { index: self.applied.index, term: self.applied.term };
        layout::put_applied(&mut staged.batch, self.range, &self.applied);
        match self.ctx.engine.apply(&staged.batch) {
            Ok(()) => {}
            Err(StorageError::DiskFull(_)) => {
                self.ctx.set_disk_full(true);
                self.wake();
                self.staged = Some(staged);
                return false;
            }
            Err(error) => {
                tracing::error!(range = %self.range, replica = %self.id, %error, "applying failed: the replica stops");
                self.stop();
                return true;
            }
        }
        self.raw.mut_store().set_applied(position);
        self.raw.advance_apply_to(position.index);
        if let Some(handle) = &self.handle {
            handle.set_applied(position.index, self.applied.closed);
        }
        match staged.after {
            After::Nothing => {}
            After::Split { left, right, own } => self.after_split(left, right, own, fx),
            After::Membership(descriptor) => self.after_membership(descriptor, fx),
        }
        for (waiter, applied) in staged.done {
            answer(waiter, applied, self.range);
        }
        true
    }

    fn apply_admin(&mut self, command: AdminCommand, staged: &mut Staged, fx: &mut Effects) -> Result<(), StorageError> {
        match command {
            AdminCommand::Split { at_generation, left, right, .. } => {
                if self.descriptor.as_ref().is_none_or(|d| d.generation != at_generation) {
                    self.split_in_flight = false;
                    return Ok(());
                }
                layout::put_record(&mut staged.batch, self.id, &left);
                layout::put_record(&mut staged.batch, self.id, &right);
                let applied = layout::Applied {
                    index: layout::INITIAL_INDEX,
                    term: layout::INITIAL_TERM,
                    closed: self.applied.closed,
                    requests: self.applied.requests,
                };
                layout::put_applied(&mut staged.batch, right.id, &applied);
                self.requests.copy_to(right.id, applied.requests, &mut staged.batch);
                staged.after = After::Split { left: Arc::from(left), right: Arc::from(right), own: self.is_leader() };
            }
            AdminCommand::Checksum { request, reply_to } => {
                // The state before this entry: what is staged must be in the engine first.
                layout::put_applied(&mut staged.batch, self.range, &self.applied);
                match self.ctx.engine.apply(&staged.batch) {
                    Ok(()) => staged.batch = Batch::new(),
                    // No answer from here this time.
                    Err(StorageError::DiskFull(_)) => return Ok(()),
                    Err(error) => return Err(error),
                }
                let Some(span) = self.span().cloned() else { return Ok(()) };
                let sum = mvcc::checksum_state(&*self.ctx.engine, &span)?;
                let body = PacketBody::Checksum { request, index: self.applied.index, sum: sum.digest };
                if reply_to == self.ctx.node {
                    if let Some(collector) = self.ctx.checksums.lock().get(&request.0) {
                        let _ = collector.send((self.ctx.node, self.applied.index, sum.digest));
                    }
                } else if let Some(to) = self.descriptor.as_ref().and_then(|d| d.replica_on(reply_to).copied()) {
                    self.send_to(reply_to, to.id, body, fx);
                }
            }
        }
        Ok(())
    }

    fn apply_membership(&mut self, change: &ConfChangeV2, descriptor: RangeDescriptor, staged: &mut Staged) -> Result<(), StorageError> {
        let conf = self.raw.apply_conf_change(change).map_err(|e| StorageError::Corruption(format!("membership change: {e}")))?;
        if !codec::same_conf(&conf, &codec::conf_state(&descriptor)) {
            return Err(StorageError::Corruption(format!("membership change: {conf:?} is not what {descriptor:?} says")));
        }
        self.raw.mut_store().set_conf(conf);
        layout::put_record(&mut staged.batch, self.id, &descriptor);
        staged.after = After::Membership(Arc::new(descriptor));
        Ok(())
    }

    fn after_split(&mut self, left: Arc<RangeDescriptor>, right: Arc<RangeDescriptor>, own: bool, fx: &mut Effects) {
        self.split_in_flight = false;
        let Some(handle) = self.handle.clone() else { return };
        tracing::debug!(node = %self.ctx.node, range = %self.range, right = %right.id, index = self.applied.index, "a split is applied");
        let worker = self.ctx.worker(right.id);
        let born = Arc::new(ReplicaHandle::new(
            self.id,
            self.ctx.node,
            self.ctx.clock.clone(),
            worker.requests.clone(),
            right.clone(),
            &self.ctx.range_ids,
            &self.ctx.closed,
        ));
        born.set_applied(layout::INITIAL_INDEX, self.applied.closed);
        {
            let mut map = self.ctx.map.write();
            handle.set_descriptor(left.clone());
            map.insert(handle.clone());
            map.insert(born.clone());
        }
        self.descriptor = Some(left.clone());
        self.leave_feed();
        let (left_face, right_face): (Arc<dyn RangeReplica>, Arc<dyn RangeReplica>) = (handle, born.clone());
        self.ctx.events.range_split(&left_face, &right_face);
        if own {
            self.ctx.publisher.publish(right);
            self.ctx.publisher.publish(left);
            // Fresh stamps for what was not counted while the split was on its way.
            self.raw.ping();
        }
        let leads = own && self.lease_of.is_some();
        fx.born.push(Born { handle: born, bound: self.bound.clone(), hold_until: self.hold_until, leads });
    }

    fn after_membership(&mut self, descriptor: Arc<RangeDescriptor>, fx: &mut Effects) {
        // Its lease rests on other promises from now on.
        self.leave_feed();
        let before = self.descriptor.replace(descriptor.clone());
        self.learn_nodes();
        self.ctx.members_changed();
        if let Some(handle) = &self.handle {
            handle.set_descriptor(descriptor.clone());
        }
        if self.is_leader() {
            self.refresh_voters();
            self.ctx.publisher.publish(descriptor.clone());
            for old in before.iter().flat_map(|b| &b.replicas) {
                if !descriptor.replicas.iter().any(|r| r.id == old.id) {
                    self.stamps.remove(&old.id.0);
                    self.tell_gone(old.id.0, old.node, fx);
                }
            }
        }
        if !descriptor.replicas.iter().any(|r| r.id == self.id) {
            fx.gone.push((self.range, descriptor.next_replica));
        }
    }
}

fn answer(waiter: Waiter, applied: Applied, range: crate::api::RangeId) {
    match waiter {
        Waiter::Command(done) => drop(done.send(Ok(applied))),
        Waiter::Index(done) => drop(done.send(Ok(applied.index.0))),
        // A change that found the range changed before it was void.
        Waiter::Admin(done) if applied.fresh => drop(done.send(Ok(()))),
        Waiter::Admin(done) => drop(done.send(Err(AdminError::Invalid(format!("{range} changed meanwhile"))))),
    }
}
