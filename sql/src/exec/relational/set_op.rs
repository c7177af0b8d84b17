//! UNION, INTERSECT and EXCEPT, with and without ALL.
//!
//! The right side is counted by row, the left side consults the counts. Past the budget both sides are split by hash over files and each pair of parts is
//! done on its own. UNION counts nothing: it is DISTINCT over both inputs.

use async_trait::async_trait;

use super::basic::mismatch;
use super::distinct::DistinctSet;
use super::partition::{LEVELS_MAX, Partitions};
use crate::error::Result;
use crate::exec::batch::RowBatch;
use crate::exec::context::ExecContext;
use crate::exec::memory::Reservation;
use crate::exec::spill::SpillReader;
use crate::exec::{Operator, value};
use crate::plan::node::{Node, Plan, SetOpKind};
use crate::types::Datum;

/// How often each right row is there; for the DISTINCT forms −1 marks rows already handed out.
struct Counts {
    rows: value::KeyMap,
    counts: Vec<i64>,
    reservation: Reservation,
    level: u32,
}

impl Counts {
    fn new(width: usize, level: u32, cx: &ExecContext<'_>) -> Self {
        Counts { rows: value::KeyMap::new(width), counts: Vec::new(), reservation: cx.memory.reservation(), level }
    }

    /// Counts a right row; answers whether there is room for more.
    fn add(&mut self, row: &[Datum]) -> bool {
        let (at, new) = self.rows.insert(value::hash_row(row, u64::from(self.level)), row);
        if !new {
            self.counts[at] += 1;
            return true;
        }
        self.counts.push(1);
        self.reservation.grow(value::row_size(row) + 40)
    }

    /// Whether a left row belongs to the result.
    fn take(&mut self, kind: SetOpKind, all: bool, row: &[Datum]) -> Result<bool> {
        let hash = value::hash_row(row, u64::from(self.level));
        let found = self.rows.find(hash, row);
        Ok(match (kind, all, found) {
            (SetOpKind::Intersect, _, None) => false,
            (SetOpKind::Intersect, true, Some(at)) => {
                self.counts[at] -= 1;
                self.counts[at] >= 0
            }
            (SetOpKind::Intersect, false, Some(at)) => std::mem::replace(&mut self.counts[at], -1) > 0,
            (_, true, Some(at)) => {
                self.counts[at] -= 1;
                self.counts[at] < 0
            }
            (_, true, None) => true,
            (_, false, Some(_)) => false,
            (_, false, None) => {
                self.rows.add(hash, row);
                self.counts.push(-1);
                self.reservation.require(value::row_size(row) + 40, "EXCEPT")?;
                true
            }
        })
    }
}

/// State of a `SetOp`.
pub struct SetOp {
    left: Box<dyn Operator>,
    right: Box<dyn Operator>,
    counts: Option<Counts>,
    part: Option<SpillReader>,
    from_part: bool,
    parts: Vec<(Option<SpillReader>, Option<SpillReader>, u32)>,
    started: bool,
    union: Option<UnionState>,
}

struct UnionState {
    set: DistinctSet,
    stage: u8,
    part: Option<SpillReader>,
    pending: Vec<(SpillReader, u32)>,
}

impl SetOp {
    /// Over two inputs.
    pub fn new(left: Box<dyn Operator>, right: Box<dyn Operator>) -> Self {
        SetOp { left, right, counts: None, part: None, from_part: false, parts: Vec::new(), started: false, union: None }
    }

    async fn next_union(
        &mut self,
        plan: &Plan,
        left: &Plan,
        right: &Plan,
        all: bool,
        cx: &mut ExecContext<'_>,
    ) -> Result<Option<RowBatch>> {
        let width = plan.columns.len();
        let mut union = match self.union.take() {
            Some(union) => union,
            None => UnionState { set: DistinctSet::new(width, 0, cx), stage: 0, part: None, pending: Vec::new() },
        };
        loop {
            cx.cancel.check()?;
            let batch = match union.stage {
                0 => self.left.next(left, cx).await?,
                1 => self.right.next(right, cx).await?,
                _ => match &mut union.part {
                    Some(part) => part.next()?,
                    None => None,
                },
            };
            let Some(mut batch) = batch else {
                if union.stage == 0 {
                    union.stage = 1;
                    continue;
                }
                union.stage = 2;
                union.part = None;
                let set = std::mem::replace(&mut union.set, DistinctSet::new(width, 0, cx));
                union.pending.extend(set.finish()?);
                let Some((part, level)) = union.pending.pop() else {
                    self.union = Some(union);
                    return Ok(None);
                };
                union.part = Some(part);
                union.set = DistinctSet::new(width, level, cx);
                continue;
            };
            if !all {
                let mut keep = Vec::with_capacity(batch.len);
                for row in batch.rows() {
                    keep.push(union.set.insert(row, cx)?);
                }
                batch.retain(&keep);
            }
            if !batch.is_empty() {
                self.union = Some(union);
                return Ok(Some(batch));
            }
        }
    }

    async fn build(&mut self, left: &Plan, right: &Plan, cx: &mut ExecContext<'_>) -> Result<()> {
        let width = right.columns.len();
        let mut counts = Counts::new(width, 0, cx);
        let mut split: Option<Partitions> = None;
        while let Some(batch) = self.right.next(right, cx).await? {
            cx.cancel.check()?;
            for row in batch.rows() {
                match &mut split {
                    Some(parts) => parts.push(value::hash_row(row, 0), row)?,
                    None => {
                        if !counts.add(row) && counts.rows.len() > 16 {
                            split = Some(spill(&mut counts, width, 1, cx)?);
                        }
                    }
                }
            }
        }
        let Some(right) = split else {
            self.counts = Some(counts);
            return Ok(());
        };
        let mut parts = Partitions::new(width, 1, &cx.spill)?;
        while let Some(batch) = self.left.next(left, cx).await? {
            cx.cancel.check()?;
            for row in batch.rows() {
                parts.push(value::hash_row(row, 0), row)?;
            }
        }
        self.add_parts(parts, right)
    }

    fn add_parts(&mut self, left: Partitions, right: Partitions) -> Result<()> {
        let level = left.level;
        for (left, right) in left.finish()?.into_iter().zip(right.finish()?) {
            self.parts.push((left, right, level));
        }
        Ok(())
    }

    fn next_part(&mut self, width: usize, cx: &ExecContext<'_>) -> Result<bool> {
        let Some((left, right, level)) = self.parts.pop() else { return Ok(false) };
        let mut counts = Counts::new(width, level, cx);
        let mut split: Option<Partitions> = None;
        if let Some(mut reader) = right {
            while let Some(batch) = reader.next()? {
                for row in batch.rows() {
                    match &mut split {
                        Some(parts) => parts.push(value::hash_row(row, u64::from(level)), row)?,
                        None => {
                            if !counts.add(row) && counts.rows.len() > 16 && level < LEVELS_MAX {
                                split = Some(spill(&mut counts, width, level + 1, cx)?);
                            }
                        }
                    }
                }
            }
        }
        if let Some(right) = split {
            let mut parts = Partitions::new(width, level + 1, &cx.spill)?;
            if let Some(mut reader) = left {
                while let Some(batch) = reader.next()? {
                    for row in batch.rows() {
                        parts.push(value::hash_row(row, u64::from(level)), row)?;
                    }
                }
            }
            self.add_parts(parts, right)?;
            return Ok(true);
        }
        self.counts = Some(counts);
        self.part = left;
        self.from_part = true;
        Ok(true)
    }
}

/// Moves counted rows into parts, as often as they were there.
fn spill(counts: &mut Counts, width: usize, level: u32, cx: &ExecContext<'_>) -> Result<Partitions> {
    let mut parts = Partitions::new(width, level, &cx.spill)?;
    for at in 0..counts.rows.len() {
        let row = counts.rows.key(at);
        for _ in 0..counts.counts[at] {
            parts.push(value::hash_row(row, u64::from(level - 1)), row)?;
        }
    }
    *counts = Counts::new(width, level - 1, cx);
    Ok(parts)
}

#[async_trait]
impl Operator for SetOp {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::SetOp { left, right, kind, all } = &plan.node else { return Err(mismatch()) };
        if *kind == SetOpKind::Union {
            return self.next_union(plan, left, right, *all, cx).await;
        }
        if !std::mem::replace(&mut self.started, true) {
            self.build(left, right, cx).await?;
        }
        loop {
            cx.cancel.check()?;
            if self.counts.is_none() && !self.next_part(plan.columns.len(), cx)? {
                return Ok(None);
            }
            let Some(counts) = &mut self.counts else { continue };
            let batch = match (self.from_part, &mut self.part) {
                (false, _) => self.left.next(left, cx).await?,
                (true, Some(part)) => part.next()?,
                (true, None) => None,
            };
            let Some(mut batch) = batch else {
                self.counts = None;
                if !self.from_part {
                    return Ok(None);
                }
                continue;
            };
            let mut keep = Vec::with_capacity(batch.len);
            for row in batch.rows() {
                keep.push(counts.take(*kind, *all, row)?);
            }
            batch.retain(&keep);
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
    }
}
