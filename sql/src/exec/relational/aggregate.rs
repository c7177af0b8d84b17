//! GROUP BY.
//!
//! Hashing: groups live in memory; once the budget is spent, rows of groups that are not there yet go to disk, split by hash, and each part is
//! aggregated afterwards in the same way. So memory is bounded and groups that came early cost nothing extra. Sorted input streams, one group at a time.
//! Grouping sets: each row is fed once per set, with the other group columns NULL and the set's number in the key.

use async_trait::async_trait;

use super::basic::mismatch;
use super::group::{CallState, GroupSpec, Groups};
use super::partition::Partitions;
use crate::error::Result;
use crate::exec::batch::RowBatch;
use crate::exec::context::ExecContext;
use crate::exec::memory::Reservation;
use crate::exec::spill::SpillReader;
use crate::exec::{Operator, subquery, value, walk};
use crate::plan::node::{Aggregate, AggregatePhase, Node, Plan};
use crate::types::Datum;

/// The operator for an aggregation.
pub fn open(input: Box<dyn Operator>, aggregate: &Aggregate) -> Box<dyn Operator> {
    if aggregate.sorted && aggregate.sets.is_empty() && !aggregate.groups.is_empty() {
        Box::new(SortedAggregate { input, current: None, done: false })
    } else {
        Box::new(HashAggregate { input, output: None, pending: Vec::new(), started: false })
    }
}

/// What is known of an aggregation before its first row.
struct Prepared<'p> {
    spec: GroupSpec<'p>,
    aggregate: &'p Aggregate,
    suspends: bool,
    /// Group key width in the table: with sets one more, for the set's number.
    key_width: usize,
}

impl<'p> Prepared<'p> {
    fn new(aggregate: &'p Aggregate) -> Result<Self> {
        let spec = GroupSpec::new(&aggregate.groups, &aggregate.calls, aggregate.phase)?;
        let suspends = walk::any_suspends(spec.exprs.iter().copied());
        let key_width = spec.groups + usize::from(!aggregate.sets.is_empty());
        Ok(Prepared { spec, aggregate, suspends, key_width })
    }

    async fn project(&self, batch: RowBatch, cx: &mut ExecContext<'_>) -> Result<RowBatch> {
        if self.aggregate.phase == AggregatePhase::Final {
            return Ok(batch);
        }
        subquery::project(&self.spec.exprs, self.suspends, &batch, cx).await
    }

    /// The output row of a group.
    fn output(&self, key: &[Datum], states: Vec<CallState>, out: &mut RowBatch) -> Result<()> {
        out.datums.extend_from_slice(&key[..self.spec.groups]);
        for (call, state) in self.spec.calls.iter().zip(states) {
            out.datums.push(call.finish(state)?);
        }
        let set = match key.get(self.spec.groups) {
            Some(Datum::Int4(set)) => self.aggregate.sets.get(*set as usize),
            _ => None,
        };
        for uses in &self.aggregate.grouping {
            let mask = uses.iter().fold(0, |mask, group| mask << 1 | i32::from(set.is_some_and(|s| !s.contains(group))));
            out.datums.push(Datum::Int4(mask));
        }
        out.len += 1;
        Ok(())
    }

    fn output_width(&self) -> usize {
        self.spec.groups + self.spec.calls.len() + self.aggregate.grouping.len()
    }
}

/// Hash aggregation.
struct HashAggregate {
    input: Box<dyn Operator>,
    started: bool,
    output: Option<std::vec::IntoIter<RowBatch>>,
    /// Parts on disk and their level.
    pending: Vec<(SpillReader, u32)>,
}

struct Table {
    groups: Groups,
    reservation: Reservation,
    overflow: Option<Partitions>,
    level: u32,
}

impl Table {
    fn new(plan: &Prepared<'_>, level: u32, cx: &ExecContext<'_>) -> Self {
        Table { groups: Groups::new(plan.key_width), reservation: cx.memory.reservation(), overflow: None, level }
    }

    /// Feeds `row` (projected) to the group `key`.
    fn feed(&mut self, plan: &Prepared<'_>, key: &[Datum], row: &[Datum], cx: &ExecContext<'_>) -> Result<()> {
        let hash = value::hash_row(key, u64::from(self.level));
        let group = match self.groups.find(hash, key) {
            Some(group) => group,
            None if self.overflow.is_some() => return self.spill(hash, key, row),
            None => {
                let (group, bytes) = self.groups.add(hash, key, &plan.spec.calls);
                if !self.reservation.grow(bytes) && self.groups.len() > 16 {
                    self.overflow = Some(Partitions::new(key.len() + row.len(), self.level + 1, &cx.spill)?);
                }
                group
            }
        };
        let bytes = self.groups.feed(group, row, &plan.spec.calls)?;
        if bytes > 0 {
            self.reservation.require(bytes, "An aggregate")?;
        }
        Ok(())
    }

    fn spill(&mut self, hash: u64, key: &[Datum], row: &[Datum]) -> Result<()> {
        let mut whole = Vec::with_capacity(key.len() + row.len());
        whole.extend_from_slice(key);
        whole.extend_from_slice(row);
        match &mut self.overflow {
            Some(overflow) => overflow.push(hash, &whole),
            None => Ok(()),
        }
    }
}

impl HashAggregate {
    async fn consume(&mut self, plan: &Prepared<'_>, cx: &mut ExecContext<'_>) -> Result<()> {
        let aggregate = plan.aggregate;
        let mut table = Table::new(plan, 0, cx);
        let mut key = Vec::with_capacity(plan.key_width);
        while let Some(batch) = self.input.next(&aggregate.input, cx).await? {
            cx.cancel.check()?;
            let rows = plan.project(batch, cx).await?;
            for row in rows.rows() {
                if aggregate.sets.is_empty() {
                    table.feed(plan, &row[..plan.spec.groups], row, cx)?;
                    continue;
                }
                for (number, set) in aggregate.sets.iter().enumerate() {
                    key.clear();
                    key.extend((0..plan.spec.groups).map(|g| if set.contains(&g) { row[g].clone() } else { Datum::Null }));
                    key.push(Datum::Int4(number as i32));
                    table.feed(plan, &key, row, cx)?;
                }
            }
        }
        self.add_empty_groups(plan, &mut table);
        self.emit(plan, table)
    }

    /// A set without columns has a row even over no input.
    fn add_empty_groups(&self, plan: &Prepared<'_>, table: &mut Table) {
        let mut add = |key: &[Datum]| {
            let hash = value::hash_row(key, 0);
            if table.groups.find(hash, key).is_none() {
                table.groups.add(hash, key, &plan.spec.calls);
            }
        };
        if plan.aggregate.sets.is_empty() {
            if plan.spec.groups == 0 {
                add(&[]);
            }
            return;
        }
        for (number, _) in plan.aggregate.sets.iter().enumerate().filter(|(_, set)| set.is_empty()) {
            let mut key = vec![Datum::Null; plan.spec.groups];
            key.push(Datum::Int4(number as i32));
            // A spilled table has rows, so every set has its group already, in memory or on disk.
            if table.overflow.is_none() {
                add(&key);
            }
        }
    }

    fn emit(&mut self, plan: &Prepared<'_>, table: Table) -> Result<()> {
        let mut batches = Vec::new();
        let mut batch = RowBatch::new(plan.output_width());
        for (key, states) in table.groups.drain(plan.spec.calls.len()) {
            plan.output(&key, states, &mut batch)?;
            if batch.is_full() {
                batches.push(std::mem::replace(&mut batch, RowBatch::new(plan.output_width())));
            }
        }
        if !batch.is_empty() {
            batches.push(batch);
        }
        if let Some(overflow) = table.overflow {
            let level = overflow.level;
            self.pending.extend(overflow.finish()?.into_iter().flatten().map(|part| (part, level)));
        }
        self.output = Some(batches.into_iter());
        Ok(())
    }

    fn next_part(&mut self, plan: &Prepared<'_>, cx: &mut ExecContext<'_>) -> Result<bool> {
        let Some((mut reader, level)) = self.pending.pop() else { return Ok(false) };
        let mut table = Table::new(plan, level, cx);
        while let Some(batch) = reader.next()? {
            cx.cancel.check()?;
            for row in batch.rows() {
                let (key, row) = row.split_at(plan.key_width);
                table.feed(plan, key, row, cx)?;
            }
        }
        self.emit(plan, table)?;
        Ok(true)
    }
}

#[async_trait]
impl Operator for HashAggregate {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Aggregate(aggregate) = &plan.node else { return Err(mismatch()) };
        if self.output.is_none() && !self.started {
            self.started = true;
            let plan = Prepared::new(aggregate)?;
            self.consume(&plan, cx).await?;
        }
        loop {
            if let Some(batch) = self.output.as_mut().and_then(Iterator::next) {
                return Ok(Some(batch));
            }
            if self.pending.is_empty() {
                return Ok(None);
            }
            let plan = Prepared::new(aggregate)?;
            self.next_part(&plan, cx)?;
        }
    }
}

/// Aggregation of input sorted by the groups.
struct SortedAggregate {
    input: Box<dyn Operator>,
    current: Option<(Vec<Datum>, Vec<CallState>)>,
    done: bool,
}

#[async_trait]
impl Operator for SortedAggregate {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Aggregate(aggregate) = &plan.node else { return Err(mismatch()) };
        if self.done {
            return Ok(None);
        }
        let plan = Prepared::new(aggregate)?;
        let mut out = RowBatch::new(plan.output_width());
        let mut held = cx.memory.reservation();
        while out.is_empty() {
            let Some(batch) = self.input.next(&aggregate.input, cx).await? else {
                self.done = true;
                if let Some((key, states)) = self.current.take() {
                    plan.output(&key, states, &mut out)?;
                }
                break;
            };
            let rows = plan.project(batch, cx).await?;
            for row in rows.rows() {
                let key = &row[..plan.spec.groups];
                if !self.current.as_ref().is_some_and(|(current, _)| value::equal_rows(current, key)) {
                    if let Some((key, states)) = self.current.take() {
                        plan.output(&key, states, &mut out)?;
                        held.release();
                    }
                    self.current = Some((key.to_vec(), plan.spec.calls.iter().map(|c| c.start()).collect()));
                }
                if let Some((_, states)) = &mut self.current {
                    for (call, state) in plan.spec.calls.iter().zip(states) {
                        let bytes = call.feed(state, row)?;
                        if bytes > 0 {
                            held.require(bytes, "An aggregate")?;
                        }
                    }
                }
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }
}
