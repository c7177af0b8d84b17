//! Lookup join: for a batch of left rows, the matching entries of an index.
//!
//! The bounds of the lookup are evaluated over each left row (its columns are `Column`s there). Equal stretches are read once; all points go in one batched
//! get, all spans in one round of scans, all primary rows in another batched get.

use async_trait::async_trait;
use bytes::Bytes;
use meridian_storage::Key;
use meridian_storage::mvcc::Direction;
use meridian_txn::api::{Get, Got, Locking};
use rustc_hash::FxHashMap;

use super::basic::mismatch;
use super::hash_join::passes;
use crate::error::Result;
use crate::exec::batch::RowBatch;
use crate::exec::context::ExecContext;
use crate::exec::scan::ranges::{self, Stretch};
use crate::exec::scan::{Access, fetch_primary};
use crate::exec::{Operator, walk};
use crate::plan::node::{JoinKind, Node, Plan, Scan};

/// State of a `LookupJoin`.
pub struct LookupJoin {
    left: Box<dyn Operator>,
    filter_suspends: bool,
    current: Option<Current>,
}

/// Left rows with what was found for them.
struct Current {
    left: RowBatch,
    /// Stretch numbers of each left row.
    wanted: Vec<Vec<usize>>,
    /// Rows of each stretch.
    found: Vec<RowBatch>,
    row: usize,
    /// Next stretch of the row at hand and next row in it.
    stretch: usize,
    at: usize,
    matched: bool,
}

impl LookupJoin {
    /// Over a left side.
    pub fn new(left: Box<dyn Operator>, lookup: &Scan) -> Self {
        LookupJoin { left, filter_suspends: lookup.filter.as_ref().is_some_and(walk::suspends), current: None }
    }

    async fn look_up(&mut self, scan: &Scan, left: RowBatch, cx: &mut ExecContext<'_>) -> Result<Current> {
        let access = scan.derived.get(|| Access::new(scan))?;
        let mut numbers: FxHashMap<Stretch, usize> = FxHashMap::default();
        let mut stretches = Vec::new();
        let mut wanted = Vec::with_capacity(left.len);
        {
            let mut ecx = cx.eval();
            let mut of_row = Vec::new();
            for row in left.rows() {
                of_row.clear();
                for range in &scan.ranges {
                    ranges::stretches(&access.layout, range, row, &mut ecx, &mut of_row)?;
                }
                let numbered = of_row.drain(..).map(|stretch| {
                    *numbers.entry(stretch.clone()).or_insert_with(|| {
                        stretches.push(stretch);
                        stretches.len() - 1
                    })
                });
                wanted.push(numbered.collect());
            }
        }
        let lock = scan.lock.map(|l| Locking { strength: l.strength, wait: cx.lock_wait(l.wait) });
        let entries = read_stretches(&access, &stretches, lock, cx).await?;
        let found = Self::decode(self.filter_suspends, scan, &access, stretches.len(), entries, lock, cx).await?;
        Ok(Current { left, wanted, found, row: 0, stretch: 0, at: 0, matched: false })
    }

    /// Output rows of each stretch from its entries.
    async fn decode(
        filter_suspends: bool,
        scan: &Scan,
        access: &Access,
        stretches: usize,
        entries: Vec<(usize, Key, Bytes)>,
        lock: Option<Locking>,
        cx: &mut ExecContext<'_>,
    ) -> Result<Vec<RowBatch>> {
        let width = scan.columns.len();
        let mut rows = RowBatch::with_capacity(width, entries.len());
        let mut owners = Vec::with_capacity(entries.len());
        match &access.primary {
            None => {
                for (stretch, key, value) in &entries {
                    access.reader.read(key, value, &mut rows.datums)?;
                    rows.len += 1;
                    owners.push(*stretch);
                }
            }
            Some((primary, reader)) => {
                let (of, pairs): (Vec<usize>, Vec<(Key, Bytes)>) = entries.into_iter().map(|(s, k, v)| (s, (k, v))).unzip();
                let fetched = fetch_primary(&access.reader, primary, reader, &pairs, lock, cx).await?;
                for (stretch, row) in of.into_iter().zip(fetched) {
                    if let Some(row) = row {
                        rows.push(&row[..width]);
                        owners.push(stretch);
                    }
                }
            }
        }
        let mut found: Vec<RowBatch> = (0..stretches).map(|_| RowBatch::new(width)).collect();
        for (row, owner) in rows.rows().zip(owners) {
            if let Some(filter) = &scan.filter
                && !passes(filter, filter_suspends, row, cx).await?
            {
                continue;
            }
            found[owner].push(row);
        }
        Ok(found)
    }
}

/// All entries of all stretches, each with the number of its stretch.
async fn read_stretches(
    access: &Access,
    stretches: &[Stretch],
    lock: Option<Locking>,
    cx: &mut ExecContext<'_>,
) -> Result<Vec<(usize, Key, Bytes)>> {
    let columns = access.reader.dependency();
    let lock = if access.primary.is_none() { lock } else { None };
    let mut entries = Vec::new();
    let points: Vec<(usize, &Bytes)> = stretches
        .iter()
        .enumerate()
        .filter_map(|(number, stretch)| match stretch {
            Stretch::Point(key) => Some((number, key)),
            Stretch::Span(_) => None,
        })
        .collect();
    let gets = points.iter().map(|(_, key)| Get { key: (*key).clone(), columns: columns.clone(), lock }).collect();
    for ((number, key), got) in points.iter().zip(cx.get(gets).await?) {
        if let Got::Value(Some(value)) = got {
            entries.push((*number, (*key).clone(), value));
        }
    }
    let mut left: Vec<(usize, meridian_storage::Span)> = stretches
        .iter()
        .enumerate()
        .filter_map(|(number, stretch)| match stretch {
            Stretch::Span(span) => Some((number, span.clone())),
            Stretch::Point(_) => None,
        })
        .collect();
    let mut memory = cx.memory.reservation();
    while !left.is_empty() {
        let scans = left
            .iter()
            .map(|(_, span)| meridian_txn::api::Scan {
                span: span.clone(),
                direction: Direction::Forward,
                columns: columns.clone(),
                limit_rows: 0,
                limit_bytes: 0,
                program: None,
                lock,
            })
            .collect();
        let pages = cx.scan_many(scans).await?;
        let mut rest = Vec::new();
        for ((number, _), page) in left.into_iter().zip(pages) {
            for (key, value) in page.rows {
                memory.require(key.len() + value.len() + 64, "A lookup join's batch")?;
                entries.push((number, key, value));
            }
            if let Some(resume) = page.resume {
                rest.push((number, resume));
            }
        }
        left = rest;
    }
    Ok(entries)
}

impl Current {
    /// Joins until the output is full or the left rows are through.
    async fn join(
        &mut self,
        kind: JoinKind,
        residual: Option<(&crate::plan::expr::Expr, bool)>,
        right_width: usize,
        out: &mut RowBatch,
        cx: &mut ExecContext<'_>,
    ) -> Result<()> {
        let mut scratch = Vec::new();
        while self.row < self.left.len && !out.is_full() {
            let left = self.left.row(self.row);
            while let Some(number) = self.wanted[self.row].get(self.stretch) {
                let found = &self.found[*number];
                while self.at < found.len && !out.is_full() {
                    let right = found.row(self.at);
                    self.at += 1;
                    if let Some((residual, suspends)) = residual {
                        scratch.clear();
                        scratch.extend_from_slice(left);
                        scratch.extend_from_slice(right);
                        if !passes(residual, suspends, &scratch, cx).await? {
                            continue;
                        }
                    }
                    self.matched = true;
                    if matches!(kind, JoinKind::Inner | JoinKind::Left) {
                        out.push_pair(left, right);
                    } else {
                        break;
                    }
                }
                if self.matched && matches!(kind, JoinKind::Semi | JoinKind::Anti) {
                    break;
                }
                if self.at < found.len {
                    return Ok(());
                }
                self.stretch += 1;
                self.at = 0;
            }
            match kind {
                JoinKind::Left if !self.matched => out.push_padded(left, right_width),
                JoinKind::Semi if self.matched => out.push(left),
                JoinKind::Anti if !self.matched => out.push(left),
                _ => {}
            }
            self.row += 1;
            (self.stretch, self.at, self.matched) = (0, 0, false);
        }
        Ok(())
    }
}

#[async_trait]
impl Operator for LookupJoin {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::LookupJoin { left, kind, lookup, residual } = &plan.node else { return Err(mismatch()) };
        let residual = residual.as_ref().map(|r| (r, walk::suspends(r)));
        let mut out = RowBatch::new(plan.columns.len());
        loop {
            cx.cancel.check()?;
            let mut current = match self.current.take() {
                Some(current) => current,
                None => match self.left.next(left, cx).await? {
                    None => return Ok((!out.is_empty()).then_some(out)),
                    Some(batch) => self.look_up(lookup, batch, cx).await?,
                },
            };
            current.join(*kind, residual, lookup.columns.len(), &mut out, cx).await?;
            if current.row < current.left.len {
                self.current = Some(current);
            }
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
    }
}
