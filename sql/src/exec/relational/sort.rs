//! ORDER BY: in memory while it fits, else sorted runs on disk merged at the end; with a limit only the best rows are kept.
//!
//! Every row carries its computed keys in front, so that keys are evaluated once and travel with the row to disk. Sorting is stable: rows with
//! equal keys keep their order, across runs too (earlier runs win ties).

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use async_trait::async_trait;

use super::basic::mismatch;
use super::limit::count_of;
use crate::error::Result;
use crate::exec::batch::{BATCH_ROWS, RowBatch};
use crate::exec::context::ExecContext;
use crate::exec::memory::Reservation;
use crate::exec::spill::{SpillReader, SpillWriter};
use crate::exec::{Operator, subquery, value, walk};
use crate::plan::expr::Expr;
use crate::plan::node::{Node, Plan, SortKey};
use crate::types::{DataType, Datum};

/// Top-N is done in a heap up to this many rows; above, a full sort is cheaper.
const TOP_ROWS_MAX: u64 = 100_000;
/// Runs merged at once.
const MERGE_FANIN: usize = 64;

/// Direction and NULL placement of one key.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// DESC.
    pub descending: bool,
    /// NULLS FIRST.
    pub nulls_first: bool,
    /// Whether trailing blanks do not count.
    pub blank_padded: bool,
}

impl Order {
    /// Of a sort key.
    pub fn of(key: &SortKey) -> Self {
        Order { descending: key.descending, nulls_first: key.nulls_first, blank_padded: key.expr.ty() == DataType::BPCHAR }
    }

    /// Compares two values.
    #[inline]
    pub fn compare(&self, a: &Datum, b: &Datum) -> Ordering {
        match (a, b) {
            (Datum::Null, Datum::Null) => Ordering::Equal,
            (Datum::Null, _) => {
                if self.nulls_first {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
            (_, Datum::Null) => {
                if self.nulls_first {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
            _ => {
                let ordering = match self.blank_padded {
                    true => crate::types::compare_typed(DataType::BPCHAR, a, b),
                    false => value::compare(a, b),
                };
                if self.descending { ordering.reverse() } else { ordering }
            }
        }
    }
}

/// Compares two rows by their leading keys.
pub fn compare_orders(orders: &[Order], a: &[Datum], b: &[Datum]) -> Ordering {
    orders.iter().zip(a.iter().zip(b)).map(|(o, (x, y))| o.compare(x, y)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

/// Compares computed keys.
pub fn compare_keys(keys: &[SortKey], a: &[Datum], b: &[Datum]) -> Ordering {
    keys.iter().zip(a.iter().zip(b)).map(|(k, (x, y))| Order::of(k).compare(x, y)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

/// The keys of a row.
pub async fn key_exprs(keys: &[SortKey], row: &[Datum], cx: &mut ExecContext<'_>) -> Result<Vec<Datum>> {
    let mut out = Vec::with_capacity(keys.len());
    for key in keys {
        out.push(subquery::eval_suspending(&key.expr, row, cx).await?);
    }
    Ok(out)
}

/// Sorts rows that are `keys ++ payload`, in bounded memory.
pub struct Sorter {
    orders: Arc<[Order]>,
    width: usize,
    rows: Vec<Box<[Datum]>>,
    reservation: Reservation,
    runs: Vec<SpillReader>,
    limit: Option<usize>,
    area: crate::exec::SpillArea,
}

impl Sorter {
    /// For rows of `width` datums of which the first `orders.len()` are keys; with `limit`, only that many rows are wanted.
    pub fn new(orders: Arc<[Order]>, width: usize, limit: Option<u64>, cx: &ExecContext<'_>) -> Self {
        let limit = limit.filter(|l| *l <= TOP_ROWS_MAX).map(|l| l as usize);
        Sorter { orders, width, rows: Vec::new(), reservation: cx.memory.reservation(), runs: Vec::new(), limit, area: cx.spill.clone() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: Vec<Datum>) -> Result<()> {
        let fits = self.reservation.grow(value::row_size(&row) + 32);
        self.rows.push(row.into());
        if let Some(limit) = self.limit
            && self.rows.len() >= limit * 2 + BATCH_ROWS
        {
            self.cut(limit);
        }
        if !fits && self.rows.len() > 16 {
            self.spill_run()?;
        }
        Ok(())
    }

    fn sort_rows(&mut self) {
        let orders = self.orders.clone();
        self.rows.sort_by(|a, b| compare_orders(&orders, a, b));
    }

    fn cut(&mut self, limit: usize) {
        self.sort_rows();
        self.rows.truncate(limit);
        self.reservation.release();
        let bytes = self.rows.iter().map(|r| value::row_size(r) + 32).sum();
        self.reservation.grow(bytes);
    }

    fn spill_run(&mut self) -> Result<()> {
        self.sort_rows();
        let mut writer = self.area.create(self.width)?;
        for row in self.rows.drain(..) {
            writer.push(&row)?;
        }
        self.reservation.release();
        self.runs.push(writer.finish()?);
        Ok(())
    }

    /// Ends input.
    pub fn finish(mut self) -> Result<Sorted> {
        if self.runs.is_empty() {
            self.sort_rows();
            if let Some(limit) = self.limit {
                self.rows.truncate(limit);
            }
            let rows = std::mem::take(&mut self.rows);
            return Ok(Sorted::Memory { rows: rows.into_iter(), _reservation: self.reservation });
        }
        if !self.rows.is_empty() {
            self.spill_run()?;
        }
        while self.runs.len() > MERGE_FANIN {
            let rest = self.runs.split_off(MERGE_FANIN);
            let group = std::mem::replace(&mut self.runs, rest);
            let mut merge = Merge::new(self.orders.clone(), group)?;
            let mut writer: SpillWriter = self.area.create(self.width)?;
            while let Some(row) = merge.next()? {
                writer.push(&row)?;
            }
            // At the front: it holds the earliest rows, and ties go to earlier runs.
            self.runs.insert(0, writer.finish()?);
        }
        Ok(Sorted::Merge(Merge::new(self.orders.clone(), self.runs)?))
    }
}

/// Rows in order.
pub enum Sorted {
    /// Never left memory.
    Memory {
        /// The rows.
        rows: std::vec::IntoIter<Box<[Datum]>>,
        /// Their memory.
        _reservation: Reservation,
    },
    /// Merged from runs.
    Merge(Merge),
}

impl Sorted {
    /// The next row.
    pub fn next(&mut self) -> Result<Option<Box<[Datum]>>> {
        match self {
            Sorted::Memory { rows, .. } => Ok(rows.next()),
            Sorted::Merge(merge) => merge.next(),
        }
    }
}

/// A k-way merge of sorted runs.
pub struct Merge {
    heap: BinaryHeap<Head>,
    runs: Vec<(SpillReader, std::vec::IntoIter<Datum>)>,
    width: usize,
    orders: Arc<[Order]>,
}

struct Head {
    row: Box<[Datum]>,
    run: usize,
    orders: Arc<[Order]>,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest: turned around.
        compare_orders(&self.orders, &other.row, &self.row).then(other.run.cmp(&self.run))
    }
}
impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Head {}

impl Merge {
    fn new(orders: Arc<[Order]>, runs: Vec<SpillReader>) -> Result<Self> {
        let mut merge = Merge { heap: BinaryHeap::new(), runs: Vec::new(), width: 0, orders };
        for reader in runs {
            merge.runs.push((reader, Vec::new().into_iter()));
        }
        for run in 0..merge.runs.len() {
            merge.advance(run)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, run: usize) -> Result<()> {
        let (reader, datums) = &mut self.runs[run];
        if datums.as_slice().is_empty() {
            match reader.next()? {
                None => return Ok(()),
                Some(batch) => {
                    self.width = batch.width;
                    *datums = batch.datums.into_iter();
                }
            }
        }
        let row: Box<[Datum]> = datums.take(self.width).collect();
        self.heap.push(Head { row, run, orders: self.orders.clone() });
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Box<[Datum]>>> {
        let Some(head) = self.heap.pop() else { return Ok(None) };
        self.advance(head.run)?;
        Ok(Some(head.row))
    }
}

/// State of a `Sort`.
pub struct Sort {
    input: Box<dyn Operator>,
    sorted: Option<Sorted>,
    left: Option<u64>,
}

impl Sort {
    /// Over an input.
    pub fn new(input: Box<dyn Operator>) -> Self {
        Sort { input, sorted: None, left: None }
    }

    async fn consume(&mut self, input: &Plan, keys: &[SortKey], cx: &mut ExecContext<'_>) -> Result<Sorted> {
        let orders: Arc<[Order]> = keys.iter().map(Order::of).collect();
        let exprs: Vec<&Expr> = keys.iter().map(|k| &k.expr).collect();
        let suspends = walk::any_suspends(exprs.iter().copied());
        let width = keys.len() + input.columns.len();
        let mut sorter = Sorter::new(orders, width, self.left, cx);
        while let Some(batch) = self.input.next(input, cx).await? {
            cx.cancel.check()?;
            if suspends {
                for row in batch.rows() {
                    let mut keyed = key_exprs(keys, row, cx).await?;
                    keyed.extend_from_slice(row);
                    sorter.push(keyed)?;
                }
                continue;
            }
            let mut ecx = cx.eval();
            for row in batch.rows() {
                let mut keyed = Vec::with_capacity(width);
                for expr in &exprs {
                    keyed.push(crate::exec::eval::eval(expr, row, &mut ecx)?);
                }
                keyed.extend_from_slice(row);
                sorter.push(keyed)?;
            }
        }
        sorter.finish()
    }
}

#[async_trait]
impl Operator for Sort {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Sort { input, keys, limit } = &plan.node else { return Err(mismatch()) };
        if self.sorted.is_none() {
            if let Some(limit) = limit {
                self.left = count_of(limit, cx).await?;
            }
            self.sorted = Some(self.consume(input, keys, cx).await?);
        }
        let Some(sorted) = &mut self.sorted else { return Ok(None) };
        let mut batch = RowBatch::with_capacity(plan.columns.len(), 64);
        while !batch.is_full() && self.left != Some(0) {
            let Some(row) = sorted.next()? else { break };
            batch.push_owned(row.into_iter().skip(keys.len()));
            if let Some(left) = &mut self.left {
                *left -= 1;
            }
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}
