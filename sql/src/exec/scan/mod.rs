//! Reading a table through one of its indexes.
//!
//! ```text
//!   bounds → stretches ──┬ points: one batched get for as many as stand in a row
//!                        └ spans:  page by page; filter, projection, limit and partial aggregate go along as a program
//!   entries ── not covering? → batched gets of primary rows → filter
//! ```
//! A page is asked for only when the consumer wants more rows. Locks: of a covering or primary read they are taken by the read itself; of a
//! secondary index the primary row is locked, and since a lock reads the newest version, filter and bounds are checked again on it.

pub mod layout;
pub mod ranges;

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_storage::key::{Key, Span};
use meridian_storage::mvcc::Direction;
use meridian_txn::api::{Columns, Get, Got, Locking};

use self::layout::{EntryReader, IndexLayout, index_of};
use self::ranges::Stretch;
use super::batch::{BATCH_ROWS, RowBatch};
use super::context::{ExecContext, table_of};
use super::program::{self, ScanProgram};
use super::relational::limit::count_of;
use super::{Operator, subquery, walk};
use crate::error::{Result, SqlError, SqlState};
use crate::plan::node::{Node, Plan, Scan};
use crate::types::Datum;

/// Rows of a table, as ANALYZE counted them, from which an aggregation reads it in parts at the same time.
const PARTS_FROM_ROWS: u64 = 50_000;
/// Entries of one batched get.
const POINTS_MAX: usize = 1024;

/// State of a `Scan`.
pub struct ScanOperator {
    state: Option<Box<Started>>,
    filter_suspends: bool,
}

/// What a scan reads, with layouts resolved.
pub struct Access {
    /// The index.
    pub layout: IndexLayout,
    /// From entries to output rows (or to the primary key, when rows are fetched).
    pub reader: EntryReader,
    /// When rows are fetched: primary layout, and from primary entries to output rows; and to full rows, for re-checking bounds.
    pub primary: Option<(IndexLayout, EntryReader)>,
}

struct Started {
    access: Arc<Access>,
    stretches: VecDeque<Stretch>,
    /// All stretches, to check locked rows against; only kept for locking reads through a secondary index.
    bounds: Vec<Stretch>,
    program: Option<PushedProgram>,
    /// The filter still to be applied here.
    filter_here: bool,
    lock: Option<Locking>,
    direction: Direction,
    /// Rows still wanted.
    left: Option<u64>,
    /// All stretches are read at the same time, and their rows come in no order.
    in_parts: bool,
}

struct PushedProgram {
    bytes: Bytes,
    width: usize,
}

impl Access {
    /// Resolves a scan against its table.
    pub fn new(scan: &Scan) -> Result<Self> {
        let table = table_of(&scan.table)?;
        let layout = IndexLayout::new(table, index_of(table, scan.index)?)?;
        if !scan.fetch_primary || layout.primary {
            let reader = layout.reader(table, &scan.columns)?;
            return Ok(Access { layout, reader, primary: None });
        }
        let key: Vec<u32> = table.primary.keys.iter().map(|k| k.column).collect();
        let reader = layout.reader(table, &key)?;
        let primary = IndexLayout::new(table, &table.primary)?;
        let mut columns = scan.columns.clone();
        if scan.lock.is_some() {
            // To compute the index key of the locked version.
            columns.extend(layout.keys.iter().chain(&layout.suffix).map(|k| k.column));
        }
        let primary_reader = primary.reader(table, &columns)?;
        Ok(Access { layout, reader, primary: Some((primary, primary_reader)) })
    }
}

impl ScanOperator {
    /// Nothing read yet.
    pub fn new(scan: &Scan) -> Self {
        ScanOperator { state: None, filter_suspends: scan.filter.as_ref().is_some_and(walk::suspends) }
    }

    async fn start(&self, scan: &Scan, cx: &mut ExecContext<'_>) -> Result<Box<Started>> {
        let access = scan.derived.get(|| Access::new(scan))?;
        let mut stretches = Vec::new();
        if scan.ranges.is_empty() {
            stretches.push(ranges::whole(&access.layout));
        } else if scan.ranges.iter().any(|r| walk::any_suspends(r.equal.iter().chain(r.lower.iter().chain(&r.upper).map(|b| &b.0)))) {
            for range in &scan.ranges {
                let settled = settle_range(range, cx).await?;
                ranges::stretches(&access.layout, &settled, &[], &mut cx.eval(), &mut stretches)?;
            }
        } else {
            let mut ecx = cx.eval();
            for range in &scan.ranges {
                ranges::stretches(&access.layout, range, &[], &mut ecx, &mut stretches)?;
            }
        }
        if scan.reverse {
            stretches.reverse();
        }
        let left = match &scan.limit {
            Some(limit) => count_of(limit, cx).await?,
            None => None,
        };
        let lock = scan.lock.map(|l| Locking { strength: l.strength, wait: cx.lock_wait(l.wait) });
        let program = self.program(scan, &access, cx)?;
        let filter_here = scan.filter.is_some() && program.is_none();
        let bounds = if lock.is_some() && access.primary.is_some() { stretches.clone() } else { Vec::new() };
        let rows = cx.catalog.row_counts.get(&scan.table.id).copied().unwrap_or(0);
        // Groups come in no order, and the final phase merges any number of them.
        let in_parts = scan.aggregate.is_some() && program.is_some() && lock.is_none() && left.is_none() && rows >= PARTS_FROM_ROWS;
        if in_parts && let [Stretch::Span(span)] = &stretches[..] {
            stretches = cx.txn.scan_parts(span).into_iter().map(Stretch::Span).collect();
        }
        let direction = if scan.reverse { Direction::Reverse } else { Direction::Forward };
        Ok(Box::new(Started { access, stretches: stretches.into(), bounds, program, filter_here, lock, direction, left, in_parts }))
    }

    /// The program to send along, if it spares rows or bytes and everything in it can be evaluated at the leaseholder.
    fn program(&self, scan: &Scan, access: &Access, cx: &mut ExecContext<'_>) -> Result<Option<PushedProgram>> {
        if access.primary.is_some() || (scan.filter.is_none() && scan.aggregate.is_none()) || self.filter_suspends {
            return Ok(None);
        }
        let Some(program) = ScanProgram::compile(scan, &access.layout, cx)? else { return Ok(None) };
        Ok(Some(PushedProgram { width: program.output_width(), bytes: program.encode()? }))
    }
}

/// A range whose expressions are replaced by their values: they contain subqueries.
async fn settle_range(range: &crate::plan::node::IndexRange, cx: &mut ExecContext<'_>) -> Result<crate::plan::node::IndexRange> {
    use crate::plan::expr::Expr;
    let mut settled = range.clone();
    for expr in settled.equal.iter_mut().chain(settled.lower.iter_mut().chain(&mut settled.upper).map(|b| &mut b.0)) {
        let value = subquery::eval_suspending(expr, &[], cx).await?;
        *expr = Expr::Const { ty: expr.ty(), value };
    }
    Ok(settled)
}

impl Started {
    /// Reads the next entries; `None` when every stretch is read.
    async fn entries(&mut self, cx: &mut ExecContext<'_>) -> Result<Option<Vec<(Key, Bytes)>>> {
        match self.stretches.front() {
            None => Ok(None),
            Some(Stretch::Point(_)) if self.program.is_none() => self.points(cx).await.map(Some),
            Some(_) if self.in_parts && self.stretches.len() > 1 => self.pages(cx).await.map(Some),
            Some(_) => self.page(cx).await.map(Some),
        }
    }

    async fn points(&mut self, cx: &mut ExecContext<'_>) -> Result<Vec<(Key, Bytes)>> {
        let lock = if self.access.primary.is_none() { self.lock } else { None };
        let columns = self.access.reader.dependency();
        let mut keys = Vec::new();
        while let Some(Stretch::Point(key)) = self.stretches.front()
            && keys.len() < POINTS_MAX
        {
            keys.push(key.clone());
            self.stretches.pop_front();
        }
        let gets = keys.iter().map(|key| Get { key: key.clone(), columns: columns.clone(), lock }).collect();
        let got = cx.get(gets).await?;
        Ok(keys
            .into_iter()
            .zip(got)
            .filter_map(|(key, got)| match got {
                Got::Value(Some(value)) => Some((key, value)),
                Got::Value(None) | Got::Skipped => None,
            })
            .collect())
    }

    async fn page(&mut self, cx: &mut ExecContext<'_>) -> Result<Vec<(Key, Bytes)>> {
        let Some(stretch) = self.stretches.pop_front() else { return Ok(Vec::new()) };
        let page = cx.scan(self.scan_of(stretch)).await?;
        if let Some(resume) = page.resume {
            self.stretches.push_front(Stretch::Span(resume));
        }
        Ok(page.rows)
    }

    /// A page of each stretch.
    async fn pages(&mut self, cx: &mut ExecContext<'_>) -> Result<Vec<(Key, Bytes)>> {
        let scans = std::mem::take(&mut self.stretches).into_iter().map(|stretch| self.scan_of(stretch)).collect();
        let mut rows = Vec::new();
        for page in cx.scan_many(scans).await? {
            rows.extend(page.rows);
            self.stretches.extend(page.resume.map(Stretch::Span));
        }
        Ok(rows)
    }

    fn scan_of(&self, stretch: Stretch) -> meridian_txn::api::Scan {
        let span = match stretch {
            Stretch::Span(span) => span,
            Stretch::Point(key) => Span::point(key),
        };
        // A limit counts rows that pass; where the filter runs here, pages are only kept small.
        let limit_rows = match self.left {
            Some(left) if !self.filter_here => left,
            _ if self.program.is_none() => BATCH_ROWS as u64,
            _ => 0,
        };
        meridian_txn::api::Scan {
            span,
            direction: self.direction,
            columns: if self.program.is_some() { Columns::All } else { self.access.reader.dependency() },
            limit_rows,
            limit_bytes: 0,
            program: self.program.as_ref().map(|p| p.bytes.clone()),
            lock: if self.access.primary.is_none() { self.lock } else { None },
        }
    }

    /// Decodes entries to output rows, fetching primary rows where needed.
    async fn rows(&self, width: usize, entries: Vec<(Key, Bytes)>, cx: &mut ExecContext<'_>) -> Result<RowBatch> {
        if let Some(program) = &self.program {
            let mut batch = RowBatch::with_capacity(program.width, entries.len());
            for (_, bytes) in &entries {
                super::value::decode_spill(&mut bytes.as_ref(), program.width, &mut batch.datums)?;
                batch.len += 1;
            }
            return Ok(batch);
        }
        let mut batch = RowBatch::with_capacity(width, entries.len());
        match &self.access.primary {
            None => {
                for (key, value) in &entries {
                    self.access.reader.read(key, value, &mut batch.datums)?;
                    batch.len += 1;
                }
            }
            Some((primary, reader)) => {
                let rows = fetch_primary(&self.access.reader, primary, reader, &entries, self.lock, cx).await?;
                for row in rows.iter().flatten() {
                    if self.lock.is_some() && !self.within_bounds(&row[width..])? {
                        continue;
                    }
                    batch.push(&row[..width]);
                }
            }
        }
        Ok(batch)
    }

    /// Whether the locked version of a row, of which `key` are the index key columns, still belongs to this scan.
    fn within_bounds(&self, key: &[Datum]) -> Result<bool> {
        let layout = &self.access.layout;
        let mut encoded = layout.prefix.clone();
        for (part, datum) in layout.keys.iter().zip(key) {
            super::value::encode_key(datum, part.ty, part.descending, part.nulls_first, &mut encoded)?;
        }
        let null = key[..layout.keys.len()].iter().any(|d| matches!(d, Datum::Null));
        if !layout.unique || null {
            for (part, datum) in layout.suffix.iter().zip(&key[layout.keys.len()..]) {
                super::value::encode_key(datum, part.ty, false, false, &mut encoded)?;
            }
        }
        Ok(self.bounds.iter().any(|b| b.contains(&encoded)))
    }
}

/// Fetches the primary rows that secondary entries point to, in order; `None` where the row is gone or skipped.
pub async fn fetch_primary(
    key_reader: &EntryReader,
    primary: &IndexLayout,
    reader: &EntryReader,
    entries: &[(Key, Bytes)],
    lock: Option<Locking>,
    cx: &mut ExecContext<'_>,
) -> Result<Vec<Option<Vec<Datum>>>> {
    let mut keys = Vec::with_capacity(entries.len());
    let mut pk = Vec::new();
    for (key, value) in entries {
        pk.clear();
        key_reader.read(key, value, &mut pk)?;
        keys.push(primary.key_of_values(&pk)?);
    }
    let columns = if lock.is_some() { Columns::All } else { reader.dependency() };
    let gets = keys.iter().map(|key| Get { key: key.clone(), columns: columns.clone(), lock }).collect();
    let got = cx.get(gets).await?;
    let mut rows = Vec::with_capacity(got.len());
    for (key, got) in keys.iter().zip(got) {
        rows.push(match got {
            Got::Value(Some(value)) => {
                let mut row = Vec::with_capacity(reader.width);
                reader.read(key, &value, &mut row)?;
                Some(row)
            }
            Got::Value(None) | Got::Skipped => None,
        });
    }
    Ok(rows)
}

/// A row lock that was not waited for: the message names the table, as PostgreSQL's does.
fn name_relation(mut error: SqlError, relation: &str) -> SqlError {
    if error.code == SqlState::LOCK_NOT_AVAILABLE && error.message == "could not obtain lock" {
        error.message = format!("could not obtain lock on row in relation \"{relation}\"");
    }
    error
}

#[async_trait]
impl Operator for ScanOperator {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::Scan(scan) = &plan.node else { return Err(SqlError::internal("not a scan")) };
        let mut state = match self.state.take() {
            Some(state) => state,
            None => self.start(scan, cx).await?,
        };
        loop {
            if state.left == Some(0) {
                return Ok(None);
            }
            cx.cancel.check()?;
            let Some(entries) = state.entries(cx).await.map_err(|e| name_relation(e, &scan.table.name))? else {
                self.state = Some(state);
                return Ok(None);
            };
            let rows = state.rows(scan.columns.len(), entries, cx).await;
            let mut batch = rows.map_err(|e| name_relation(e, &scan.table.name))?;
            if let (Some(filter), true) = (&scan.filter, state.filter_here) {
                subquery::filter(filter, self.filter_suspends, &mut batch, cx).await?;
            }
            if let Some(left) = &mut state.left {
                batch.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= batch.len as u64;
            }
            if scan.aggregate.is_some() && state.program.is_none() {
                batch = program::aggregate_here(scan, &batch, cx)?;
            }
            if !batch.is_empty() {
                self.state = Some(state);
                return Ok(Some(batch));
            }
        }
    }
}
