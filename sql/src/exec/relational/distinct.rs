//! DISTINCT by hashing, and DISTINCT ON over sorted input.

use async_trait::async_trait;

use super::basic::mismatch;
use super::partition::Partitions;
use crate::error::Result;
use crate::exec::batch::RowBatch;
use crate::exec::context::ExecContext;
use crate::exec::memory::Reservation;
use crate::exec::spill::SpillReader;
use crate::exec::{Operator, subquery, value, walk};
use crate::plan::expr::Expr;
use crate::plan::node::{Node, Plan};
use crate::types::Datum;

/// Rows seen so far; past the budget, rows not yet seen are put aside on disk.
pub struct DistinctSet {
    seen: value::KeyMap,
    reservation: Reservation,
    overflow: Option<Partitions>,
    level: u32,
    /// Must answer at once for every row: nothing is put aside.
    in_memory: bool,
}

impl DistinctSet {
    /// Nothing seen, and never spilling: past four times the budget it is `53200`.
    pub fn in_memory(width: usize, cx: &ExecContext<'_>) -> Self {
        DistinctSet { in_memory: true, ..DistinctSet::new(width, 0, cx) }
    }
    /// Nothing seen.
    pub fn new(width: usize, level: u32, cx: &ExecContext<'_>) -> Self {
        DistinctSet { seen: value::KeyMap::new(width), reservation: cx.memory.reservation(), overflow: None, level, in_memory: false }
    }

    /// Whether the row is new and to be handed on now.
    pub fn insert(&mut self, row: &[Datum], cx: &ExecContext<'_>) -> Result<bool> {
        let hash = value::hash_row(row, u64::from(self.level));
        if self.seen.find(hash, row).is_some() {
            return Ok(false);
        }
        if let Some(overflow) = &mut self.overflow {
            overflow.push(hash, row)?;
            return Ok(false);
        }
        self.seen.add(hash, row);
        if self.in_memory {
            self.reservation.require(value::row_size(row) + 32, "A recursive query")?;
        } else if !self.reservation.grow(value::row_size(row) + 32) && self.seen.len() > 16 {
            self.overflow = Some(Partitions::new(row.len(), self.level + 1, &cx.spill)?);
        }
        Ok(true)
    }

    /// The parts put aside, with their level.
    pub fn finish(self) -> Result<Vec<(SpillReader, u32)>> {
        let level = self.level + 1;
        match self.overflow {
            None => Ok(Vec::new()),
            Some(overflow) => Ok(overflow.finish()?.into_iter().flatten().map(|part| (part, level)).collect()),
        }
    }
}

/// State of a `Distinct`.
pub struct Distinct {
    input: Box<dyn Operator>,
    set: Option<DistinctSet>,
    part: Option<SpillReader>,
    pending: Vec<(SpillReader, u32)>,
    input_done: bool,
}

impl Distinct {
    /// Over an input.
    pub fn new(input: Box<dyn Operator>) -> Self {
        Distinct { input, set: None, part: None, pending: Vec::new(), input_done: false }
    }
}

#[async_trait]
impl Operator for Distinct {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Distinct { input } = &plan.node else { return Err(mismatch()) };
        let width = plan.columns.len();
        loop {
            cx.cancel.check()?;
            let batch = match (&mut self.part, self.input_done) {
                (Some(part), _) => part.next()?,
                (None, false) => self.input.next(input, cx).await?,
                (None, true) => None,
            };
            let Some(mut batch) = batch else {
                self.input_done = true;
                self.part = None;
                if let Some(set) = self.set.take() {
                    self.pending.extend(set.finish()?);
                }
                let Some((part, level)) = self.pending.pop() else { return Ok(None) };
                self.part = Some(part);
                self.set = Some(DistinctSet::new(width, level, cx));
                continue;
            };
            if self.set.is_none() {
                self.set = Some(DistinctSet::new(width, 0, cx));
            }
            let mut keep = Vec::with_capacity(batch.len);
            if let Some(set) = &mut self.set {
                for row in batch.rows() {
                    keep.push(set.insert(row, cx)?);
                }
            }
            batch.retain(&keep);
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
    }
}

/// State of a `DistinctOn`.
pub struct DistinctOn {
    input: Box<dyn Operator>,
    last: Option<Vec<Datum>>,
}

impl DistinctOn {
    /// Over an input sorted by the keys.
    pub fn new(input: Box<dyn Operator>) -> Self {
        DistinctOn { input, last: None }
    }
}

#[async_trait]
impl Operator for DistinctOn {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::DistinctOn { input, keys } = &plan.node else { return Err(mismatch()) };
        let exprs: Vec<&Expr> = keys.iter().collect();
        let suspends = walk::any_suspends(keys);
        loop {
            let Some(mut batch) = self.input.next(input, cx).await? else { return Ok(None) };
            let computed = subquery::project(&exprs, suspends, &batch, cx).await?;
            let mut keep = Vec::with_capacity(batch.len);
            for key in computed.rows() {
                let first = !self.last.as_ref().is_some_and(|last| value::equal_rows(last, key));
                if first {
                    self.last = Some(key.to_vec());
                }
                keep.push(first);
            }
            batch.retain(&keep);
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
    }
}
