//! Merge join of two inputs sorted by their keys: right rows of one key are held while left rows of that key pass.

use async_trait::async_trait;

use super::basic::mismatch;
use super::hash_join::passes;
use super::sort::{Order, compare_orders};
use crate::error::Result;
use crate::exec::batch::RowBatch;
use crate::exec::context::ExecContext;
use crate::exec::memory::Reservation;
use crate::exec::{Operator, subquery, value, walk};
use crate::plan::expr::Expr;
use crate::plan::node::{JoinKind, Node, Plan, SortKey};
use crate::types::Datum;

/// One input, row by row, with its keys.
struct Cursor {
    operator: Box<dyn Operator>,
    rows: RowBatch,
    keys: RowBatch,
    at: usize,
    done: bool,
}

impl Cursor {
    fn new(operator: Box<dyn Operator>) -> Self {
        Cursor { operator, rows: RowBatch::new(0), keys: RowBatch::new(0), at: 0, done: false }
    }

    /// Sees that a row is at hand; answers whether there is one.
    async fn fill(&mut self, plan: &Plan, keys: &[SortKey], cx: &mut ExecContext<'_>) -> Result<bool> {
        while !self.done && self.at >= self.rows.len {
            match self.operator.next(plan, cx).await? {
                None => self.done = true,
                Some(batch) => {
                    let exprs: Vec<&Expr> = keys.iter().map(|k| &k.expr).collect();
                    self.keys = subquery::project(&exprs, walk::any_suspends(exprs.iter().copied()), &batch, cx).await?;
                    self.rows = batch;
                    self.at = 0;
                }
            }
        }
        Ok(!self.done)
    }

    fn key(&self) -> &[Datum] {
        self.keys.row(self.at)
    }

    fn row(&self) -> &[Datum] {
        self.rows.row(self.at)
    }
}

/// State of a `MergeJoin`.
pub struct MergeJoin {
    left: Cursor,
    right: Cursor,
    /// Key of the right rows held, the rows, and which have met a match.
    group_key: Option<Vec<Datum>>,
    group: RowBatch,
    matched: Vec<bool>,
    /// Next row of the group for the left row at hand.
    candidate: usize,
    left_matched: bool,
    reservation: Option<Reservation>,
}

impl MergeJoin {
    /// Over two sorted inputs.
    pub fn new(left: Box<dyn Operator>, right: Box<dyn Operator>) -> Self {
        MergeJoin {
            left: Cursor::new(left),
            right: Cursor::new(right),
            group_key: None,
            group: RowBatch::new(0),
            matched: Vec::new(),
            candidate: 0,
            left_matched: false,
            reservation: None,
        }
    }

    /// Gives up the rows held; for FULL the unmatched among them go out.
    fn drop_group(&mut self, kind: JoinKind, left_width: usize, out: &mut RowBatch) {
        if kind == JoinKind::Full {
            for at in (0..self.group.len).filter(|at| !self.matched[*at]) {
                out.push_padded_left(left_width, self.group.row(at));
            }
        }
        self.group_key = None;
        self.group = RowBatch::new(0);
        self.matched.clear();
        self.reservation = None;
    }

    /// Holds all right rows that have the key of the one at hand.
    async fn load_group(&mut self, plan: &Plan, keys: &[SortKey], cx: &mut ExecContext<'_>) -> Result<()> {
        let key = self.right.key().to_vec();
        let mut reservation = cx.memory.reservation();
        self.group = RowBatch::new(plan.columns.len());
        while self.right.fill(plan, keys, cx).await? && value::equal_rows(self.right.key(), &key) {
            reservation.require(value::row_size(self.right.row()), "A merge join's group of equal rows")?;
            self.group.push(self.right.rows.row(self.right.at));
            self.right.at += 1;
        }
        self.matched = vec![false; self.group.len];
        self.group_key = Some(key);
        self.reservation = Some(reservation);
        self.candidate = 0;
        Ok(())
    }

    /// Ends the left row at hand.
    fn finish_left(&mut self, kind: JoinKind, right_width: usize, out: &mut RowBatch) {
        let row = self.left.row();
        match kind {
            JoinKind::Left | JoinKind::Full if !self.left_matched => out.push_padded(row, right_width),
            JoinKind::Semi if self.left_matched => out.push(row),
            JoinKind::Anti if !self.left_matched => out.push(row),
            _ => {}
        }
        self.left.at += 1;
        self.left_matched = false;
        self.candidate = 0;
    }
}

#[async_trait]
impl Operator for MergeJoin {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::MergeJoin { left, right, kind, left_keys, right_keys, residual } = &plan.node else { return Err(mismatch()) };
        let orders: Vec<Order> = left_keys.iter().map(Order::of).collect();
        let suspends = residual.as_ref().is_some_and(walk::suspends);
        let (left_width, right_width) = (left.columns.len(), right.columns.len());
        let pairs = matches!(kind, JoinKind::Inner | JoinKind::Left | JoinKind::Full);
        let mut out = RowBatch::new(plan.columns.len());
        let mut scratch = Vec::with_capacity(left_width + right_width);
        while !out.is_full() {
            if !self.left.fill(left, left_keys, cx).await? {
                if self.group_key.is_some() {
                    self.drop_group(*kind, left_width, &mut out);
                    continue;
                }
                if *kind == JoinKind::Full && self.right.fill(right, right_keys, cx).await? {
                    out.push_padded_left(left_width, self.right.row());
                    self.right.at += 1;
                    continue;
                }
                break;
            }
            if self.left.key().iter().any(|k| matches!(k, Datum::Null)) {
                self.finish_left(*kind, right_width, &mut out);
                continue;
            }
            if let Some(key) = &self.group_key {
                if !value::equal_rows(key, self.left.key()) {
                    // The left side has moved past the rows held.
                    self.drop_group(*kind, left_width, &mut out);
                    continue;
                }
                while self.candidate < self.group.len && !out.is_full() {
                    let at = self.candidate;
                    self.candidate += 1;
                    if let Some(residual) = residual {
                        scratch.clear();
                        scratch.extend_from_slice(self.left.row());
                        scratch.extend_from_slice(self.group.row(at));
                        if !passes(residual, suspends, &scratch, cx).await? {
                            continue;
                        }
                    }
                    self.left_matched = true;
                    self.matched[at] = true;
                    if pairs {
                        out.push_pair(self.left.row(), self.group.row(at));
                    } else {
                        self.candidate = self.group.len;
                    }
                }
                if self.candidate >= self.group.len {
                    self.finish_left(*kind, right_width, &mut out);
                }
                continue;
            }
            if !self.right.fill(right, right_keys, cx).await? {
                self.finish_left(*kind, right_width, &mut out);
                continue;
            }
            let right_null = self.right.key().iter().any(|k| matches!(k, Datum::Null));
            match compare_orders(&orders, self.left.key(), self.right.key()) {
                std::cmp::Ordering::Equal if !right_null => self.load_group(right, right_keys, cx).await?,
                std::cmp::Ordering::Less => self.finish_left(*kind, right_width, &mut out),
                _ => {
                    if *kind == JoinKind::Full {
                        out.push_padded_left(left_width, self.right.row());
                    }
                    self.right.at += 1;
                }
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }
}
