//! WITH, WITH RECURSIVE.
//!
//! A CTE is evaluated by whoever reads it first, batch by batch, into a log that all its readers share; so `LIMIT` over an endless recursion ends.
//! A CTE that writes is run to its end after the body, read or not.

use std::sync::Arc;

use async_trait::async_trait;

use super::basic::mismatch;
use super::distinct::DistinctSet;
use crate::error::{Result, SqlError};
use crate::exec::batch::RowBatch;
use crate::exec::context::{ExecContext, node_id};
use crate::exec::spill::BatchLog;
use crate::exec::{Operator, open_node, walk};
use crate::plan::node::{Node, Plan};

/// One CTE's rows so far, and the operator that makes more.
pub struct CteBuffer {
    plan: Arc<Plan>,
    operator: Option<Box<dyn Operator>>,
    rows: BatchLog,
}

/// Sees that batch number `index` of a CTE is there if it exists, and answers it.
async fn pull(cte: usize, index: usize, cx: &mut ExecContext<'_>) -> Result<Option<Arc<RowBatch>>> {
    loop {
        let unknown = || SqlError::internal(format!("CTE {cte} is not in scope"));
        let buffer = cx.state.ctes.get_mut(&cte).ok_or_else(unknown)?;
        if let Some(batch) = buffer.rows.get(index)? {
            return Ok(Some(batch));
        }
        let Some(mut operator) = buffer.operator.take() else { return Ok(None) };
        let plan = buffer.plan.clone();
        // Rows that a CTE writes are not the statement's own.
        let affected = cx.state.affected;
        let next = operator.next(&plan, cx).await?;
        cx.state.affected = affected;
        let buffer = cx.state.ctes.get_mut(&cte).ok_or_else(unknown)?;
        if let Some(batch) = next {
            buffer.operator = Some(operator);
            if !batch.is_empty() {
                buffer.rows.push(batch)?;
            }
        }
    }
}

/// State of a `With`.
pub struct With {
    body: Box<dyn Operator>,
    started: bool,
}

impl With {
    /// Around a body.
    pub fn new(body: Box<dyn Operator>) -> Self {
        With { body, started: false }
    }
}

/// Lets figures of a copied plan be kept under the nodes of the original.
fn alias(original: &Plan, copy: &Plan, pairs: &mut Vec<(usize, usize)>) {
    pairs.push((node_id(copy), node_id(original)));
    for ((a, _), (b, _)) in walk::inputs(original).into_iter().zip(walk::inputs(copy)) {
        alias(a, b, pairs);
    }
}

#[async_trait]
impl Operator for With {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::With { ctes, body } = &plan.node else { return Err(mismatch()) };
        if !self.started {
            self.started = true;
            for cte in ctes {
                // Readers may be anywhere below, where only the CTE's number is known: the plan must be in the state, so it is copied.
                let copy = Arc::new(cte.plan.clone());
                let analyze = cx.state.stats.is_some();
                if analyze {
                    let mut pairs = Vec::new();
                    alias(&cte.plan, &copy, &mut pairs);
                    cx.state.aliases.extend(pairs);
                }
                let buffer = CteBuffer {
                    operator: Some(open_node(&copy, analyze)),
                    rows: BatchLog::new(copy.columns.len(), &cx.memory, &cx.spill),
                    plan: copy,
                };
                cx.state.ctes.insert(cte.id, buffer);
            }
        }
        if let Some(batch) = self.body.next(body, cx).await? {
            return Ok(Some(batch));
        }
        for cte in ctes.iter().filter(|c| c.modifies) {
            let mut index = 0;
            while pull(cte.id, index, cx).await?.is_some() {
                index += 1;
            }
        }
        Ok(None)
    }
}

/// State of a `CteScan`.
#[derive(Default)]
pub struct CteScan {
    position: usize,
}

#[async_trait]
impl Operator for CteScan {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::CteScan { cte } = &plan.node else { return Err(mismatch()) };
        let batch = pull(*cte, self.position, cx).await?;
        self.position += 1;
        Ok(batch.map(|b| (*b).clone()))
    }
}

/// State of a `RecursiveUnion`.
pub struct RecursiveUnion {
    current: Box<dyn Operator>,
    in_step: bool,
    done: bool,
    analyze: bool,
    seen: Option<DistinctSet>,
    /// Rows of the present round, which are the next round's work table.
    produced: Vec<RowBatch>,
}

impl RecursiveUnion {
    /// Over the non-recursive term.
    pub fn new(base: Box<dyn Operator>, analyze: bool) -> Self {
        RecursiveUnion { current: base, in_step: false, done: false, analyze, seen: None, produced: Vec::new() }
    }
}

#[async_trait]
impl Operator for RecursiveUnion {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::RecursiveUnion { id, base, step, distinct } = &plan.node else { return Err(mismatch()) };
        if *distinct && self.seen.is_none() {
            self.seen = Some(DistinctSet::in_memory(plan.columns.len(), cx));
        }
        while !self.done {
            cx.cancel.check()?;
            let running = if self.in_step { step } else { base };
            match self.current.next(running, cx).await? {
                Some(mut batch) => {
                    if let Some(seen) = &mut self.seen {
                        let mut keep = Vec::with_capacity(batch.len);
                        for row in batch.rows() {
                            keep.push(seen.insert(row, cx)?);
                        }
                        batch.retain(&keep);
                    }
                    if !batch.is_empty() {
                        self.produced.push(batch.clone());
                        return Ok(Some(batch));
                    }
                }
                None if self.produced.is_empty() => self.done = true,
                None => {
                    cx.state.work_tables.insert(*id, Arc::new(std::mem::take(&mut self.produced)));
                    self.current = open_node(step, self.analyze);
                    self.in_step = true;
                }
            }
        }
        cx.state.work_tables.remove(id);
        Ok(None)
    }
}

/// State of a `WorkTable`.
#[derive(Default)]
pub struct WorkTable {
    rows: Option<Arc<Vec<RowBatch>>>,
    position: usize,
}

#[async_trait]
impl Operator for WorkTable {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::WorkTable { id } = &plan.node else { return Err(mismatch()) };
        let rows = self.rows.get_or_insert_with(|| cx.state.work_tables.get(id).cloned().unwrap_or_default());
        self.position += 1;
        Ok(rows.get(self.position - 1).cloned())
    }
}
