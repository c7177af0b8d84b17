//! Nested loop: for each left row the whole right side, run anew (LATERAL) or kept from its first run.

use std::sync::Arc;

use async_trait::async_trait;

use super::basic::mismatch;
use super::hash_join::passes;
use crate::error::Result;
use crate::exec::batch::RowBatch;
use crate::exec::context::ExecContext;
use crate::exec::spill::BatchLog;
use crate::exec::{Operator, open_node, walk};
use crate::plan::node::{JoinKind, Node, Plan};

/// State of a `NestedLoop`.
pub struct NestedLoop {
    left: Box<dyn Operator>,
    analyze: bool,
    rows: RowBatch,
    row: usize,
    matched: bool,
    /// The right batch at hand and the next row in it.
    batch: Option<(Arc<RowBatch>, usize)>,
    /// LATERAL: the right side as it runs for the left row at hand.
    running: Option<Box<dyn Operator>>,
    /// Otherwise: the right side, kept.
    kept: Option<BatchLog>,
    /// Next batch of `kept`.
    position: usize,
    /// For FULL: right rows that met a match, by number in `kept`.
    right_matched: Vec<bool>,
    /// Number of the first row of the right batch at hand.
    base: usize,
    left_done: bool,
}

impl NestedLoop {
    /// Over a left side; the right side is opened when needed.
    pub fn new(left: Box<dyn Operator>, analyze: bool) -> Self {
        NestedLoop {
            left,
            analyze,
            rows: RowBatch::new(0),
            row: 0,
            matched: false,
            batch: None,
            running: None,
            kept: None,
            position: 0,
            right_matched: Vec::new(),
            base: 0,
            left_done: false,
        }
    }

    async fn keep_right(&mut self, right: &Plan, cx: &mut ExecContext<'_>) -> Result<()> {
        let mut operator = open_node(right, self.analyze);
        let mut kept = BatchLog::new(right.columns.len(), &cx.memory, &cx.spill);
        let mut rows = 0;
        while let Some(batch) = operator.next(right, cx).await? {
            cx.cancel.check()?;
            if !batch.is_empty() {
                rows += batch.len;
                kept.push(batch)?;
            }
        }
        self.right_matched = vec![false; rows];
        self.kept = Some(kept);
        Ok(())
    }

    /// The next right batch for the left row at hand.
    async fn next_right(&mut self, right: &Plan, lateral: bool, cx: &mut ExecContext<'_>) -> Result<Option<Arc<RowBatch>>> {
        if !lateral {
            let Some(kept) = &self.kept else { return Ok(None) };
            let batch = kept.get(self.position)?;
            self.position += 1;
            return Ok(batch);
        }
        let analyze = self.analyze;
        let operator = self.running.get_or_insert_with(|| open_node(right, analyze));
        cx.state.outer.push(self.rows.row(self.row).to_vec().into());
        let next = operator.next(right, cx).await;
        cx.state.outer.pop();
        Ok(next?.map(Arc::new))
    }

    fn finish_left(&mut self, kind: JoinKind, right_width: usize, out: &mut RowBatch) {
        let row = self.rows.row(self.row);
        match kind {
            JoinKind::Left | JoinKind::Full if !self.matched => out.push_padded(row, right_width),
            JoinKind::Semi if self.matched => out.push(row),
            JoinKind::Anti if !self.matched => out.push(row),
            _ => {}
        }
        self.row += 1;
        self.matched = false;
        self.batch = None;
        self.running = None;
        self.position = 0;
        self.base = 0;
    }

    /// For FULL, after the left side: right rows without a match.
    fn rest(&mut self, left_width: usize, out: &mut RowBatch) -> Result<bool> {
        let Some(kept) = &self.kept else { return Ok(false) };
        let Some(batch) = kept.get(self.position)? else { return Ok(false) };
        for at in (0..batch.len).filter(|at| !self.right_matched[self.base + at]) {
            out.push_padded_left(left_width, batch.row(at));
        }
        self.base += batch.len;
        self.position += 1;
        Ok(true)
    }
}

#[async_trait]
impl Operator for NestedLoop {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::NestedLoop { left, right, kind, predicate, lateral } = &plan.node else { return Err(mismatch()) };
        let suspends = predicate.as_ref().is_some_and(walk::suspends);
        let (left_width, right_width) = (left.columns.len(), right.columns.len());
        let pairs = matches!(kind, JoinKind::Inner | JoinKind::Left | JoinKind::Full);
        let mut out = RowBatch::new(plan.columns.len());
        let mut scratch = Vec::with_capacity(left_width + right_width);
        while !out.is_full() {
            cx.cancel.check()?;
            if self.left_done {
                if *kind != JoinKind::Full || !self.rest(left_width, &mut out)? {
                    break;
                }
                continue;
            }
            if self.row >= self.rows.len {
                match self.left.next(left, cx).await? {
                    Some(rows) => {
                        self.rows = rows;
                        self.row = 0;
                        if !*lateral && self.kept.is_none() && !self.rows.is_empty() {
                            self.keep_right(right, cx).await?;
                        }
                    }
                    None => {
                        self.left_done = true;
                        self.position = 0;
                        self.base = 0;
                        if *kind == JoinKind::Full && self.kept.is_none() {
                            self.keep_right(right, cx).await?;
                        }
                    }
                }
                continue;
            }
            let (batch, mut at) = match self.batch.take() {
                Some(held) => held,
                None => match self.next_right(right, *lateral, cx).await? {
                    Some(batch) => (batch, 0),
                    None => {
                        self.finish_left(*kind, right_width, &mut out);
                        continue;
                    }
                },
            };
            let mut decided = false;
            while at < batch.len && !out.is_full() {
                let row = self.rows.row(self.row);
                if let Some(predicate) = predicate {
                    scratch.clear();
                    scratch.extend_from_slice(row);
                    scratch.extend_from_slice(batch.row(at));
                    if !passes(predicate, suspends, &scratch, cx).await? {
                        at += 1;
                        continue;
                    }
                }
                self.matched = true;
                if let Some(matched) = self.right_matched.get_mut(self.base + at) {
                    *matched = true;
                }
                if pairs {
                    out.push_pair(self.rows.row(self.row), batch.row(at));
                } else {
                    decided = true;
                    break;
                }
                at += 1;
            }
            if decided {
                self.finish_left(*kind, right_width, &mut out);
            } else if at < batch.len {
                self.batch = Some((batch, at));
            } else {
                self.base += batch.len;
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }
}
