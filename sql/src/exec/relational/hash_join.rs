//! Hash join: the right side is built into a table, the left side probes it.
//!
//! When the right side does not fit, both sides are split by hash of the key over files, and each pair of parts is joined on its own (splitting again
//! where a part is still too large). A left row meets all its matches within its part, so every join kind works part by part.

use async_trait::async_trait;

use super::basic::mismatch;
use super::partition::{LEVELS_MAX, Partitions};
use crate::error::Result;
use crate::exec::batch::RowBatch;
use crate::exec::context::ExecContext;
use crate::exec::eval::eval_bool;
use crate::exec::memory::Reservation;
use crate::exec::spill::SpillReader;
use crate::exec::{Operator, subquery, value, walk};
use crate::plan::expr::Expr;
use crate::plan::node::{JoinKind, Node, Plan};
use crate::types::Datum;

const NONE: u32 = u32::MAX;

/// Right rows by key.
struct JoinTable {
    keys: value::KeyMap,
    /// First row of each key.
    first: Vec<u32>,
    /// Next row of the same key.
    next: Vec<u32>,
    rows: RowBatch,
    matched: Vec<bool>,
    reservation: Reservation,
}

impl JoinTable {
    fn new(key_width: usize, width: usize, cx: &ExecContext<'_>) -> Self {
        JoinTable {
            keys: value::KeyMap::new(key_width),
            first: Vec::new(),
            next: Vec::new(),
            rows: RowBatch::new(width),
            matched: Vec::new(),
            reservation: cx.memory.reservation(),
        }
    }

    /// Adds a row; answers whether there is room for more.
    fn add(&mut self, hash: u64, key: &[Datum], row: &[Datum]) -> bool {
        let number = self.rows.len as u32;
        self.rows.push(row);
        self.matched.push(false);
        // A NULL key matches nothing: the row is only kept for FULL.
        if key.iter().any(|k| matches!(k, Datum::Null)) {
            self.next.push(NONE);
        } else {
            let (at, new) = self.keys.insert(hash, key);
            if new {
                self.first.push(number);
                self.next.push(NONE);
            } else {
                self.next.push(self.first[at]);
                self.first[at] = number;
            }
        }
        self.reservation.grow(value::row_size(row) + value::row_size(key) + 40)
    }

    fn find(&self, hash: u64, key: &[Datum]) -> u32 {
        if key.iter().any(|k| matches!(k, Datum::Null)) {
            return NONE;
        }
        self.keys.find(hash, key).map_or(NONE, |at| self.first[at])
    }
}

/// The left rows being probed.
struct Probe {
    rows: RowBatch,
    keys: RowBatch,
    row: usize,
    /// Next candidate of the row at hand; `None`: not looked up yet.
    candidate: Option<u32>,
    matched: bool,
}

/// Where left rows come from.
enum LeftSource {
    Operator,
    Part(SpillReader),
}

/// A pair of parts still to be joined.
struct Parts {
    left: Option<SpillReader>,
    right: Option<SpillReader>,
    level: u32,
}

/// State of a `HashJoin`.
pub struct HashJoin {
    left: Box<dyn Operator>,
    right: Box<dyn Operator>,
    table: Option<JoinTable>,
    level: u32,
    source: LeftSource,
    probe: Option<Probe>,
    parts: Vec<Parts>,
    /// Next right row to look at for FULL, once the left side is through.
    unmatched: Option<usize>,
    started: bool,
}

/// What of the node does not change.
struct Shape<'p> {
    kind: JoinKind,
    left: &'p Plan,
    right: &'p Plan,
    left_keys: Vec<&'p Expr>,
    right_keys: Vec<&'p Expr>,
    residual: Option<&'p Expr>,
    suspends: bool,
}

impl HashJoin {
    /// Over two inputs.
    pub fn new(left: Box<dyn Operator>, right: Box<dyn Operator>) -> Self {
        HashJoin {
            left,
            right,
            table: None,
            level: 0,
            source: LeftSource::Operator,
            probe: None,
            parts: Vec::new(),
            unmatched: None,
            started: false,
        }
    }

    /// Builds the table; if it does not fit, splits both sides.
    async fn build(&mut self, shape: &Shape<'_>, cx: &mut ExecContext<'_>) -> Result<()> {
        let (key_width, width) = (shape.right_keys.len(), shape.right.columns.len());
        let suspends = walk::any_suspends(shape.right_keys.iter().copied());
        let mut table = JoinTable::new(key_width, width, cx);
        let mut split: Option<Partitions> = None;
        while let Some(batch) = self.right.next(shape.right, cx).await? {
            cx.cancel.check()?;
            let keys = subquery::project(&shape.right_keys, suspends, &batch, cx).await?;
            for (key, row) in keys.rows().zip(batch.rows()) {
                let hash = value::hash_row(key, 0);
                match &mut split {
                    Some(parts) => parts.push(hash, &joined(key, row))?,
                    None => {
                        if !table.add(hash, key, row) && table.rows.len > 16 {
                            split = Some(Self::spill_table(&mut table, shape, 1, cx).await?);
                        }
                    }
                }
            }
        }
        match split {
            None => self.table = Some(table),
            Some(right) => {
                drop(table);
                let left = self.split_left(shape, 1, cx).await?;
                self.add_parts(left, right)?;
            }
        }
        Ok(())
    }

    fn add_parts(&mut self, left: Partitions, right: Partitions) -> Result<()> {
        let level = left.level;
        for (left, right) in left.finish()?.into_iter().zip(right.finish()?) {
            self.parts.push(Parts { left, right, level });
        }
        Ok(())
    }

    /// Moves a table's rows into parts.
    async fn spill_table(table: &mut JoinTable, shape: &Shape<'_>, level: u32, cx: &mut ExecContext<'_>) -> Result<Partitions> {
        let mut parts = Partitions::new(shape.right_keys.len() + table.rows.width, level, &cx.spill)?;
        let suspends = walk::any_suspends(shape.right_keys.iter().copied());
        let keys = subquery::project(&shape.right_keys, suspends, &table.rows, cx).await?;
        for (key, row) in keys.rows().zip(table.rows.rows()) {
            parts.push(value::hash_row(key, u64::from(level - 1)), &joined(key, row))?;
        }
        *table = JoinTable::new(shape.right_keys.len(), table.rows.width, cx);
        Ok(parts)
    }

    async fn split_left(&mut self, shape: &Shape<'_>, level: u32, cx: &mut ExecContext<'_>) -> Result<Partitions> {
        let mut parts = Partitions::new(shape.left_keys.len() + shape.left.columns.len(), level, &cx.spill)?;
        let suspends = walk::any_suspends(shape.left_keys.iter().copied());
        while let Some(batch) = self.left.next(shape.left, cx).await? {
            cx.cancel.check()?;
            let keys = subquery::project(&shape.left_keys, suspends, &batch, cx).await?;
            for (key, row) in keys.rows().zip(batch.rows()) {
                parts.push(value::hash_row(key, u64::from(level - 1)), &joined(key, row))?;
            }
        }
        Ok(parts)
    }

    /// Takes the next pair of parts; answers whether there was one.
    async fn next_parts(&mut self, shape: &Shape<'_>, cx: &mut ExecContext<'_>) -> Result<bool> {
        let Some(Parts { left, right, level }) = self.parts.pop() else { return Ok(false) };
        let (key_width, width) = (shape.right_keys.len(), shape.right.columns.len());
        let mut table = JoinTable::new(key_width, width, cx);
        let mut split: Option<Partitions> = None;
        if let Some(mut reader) = right {
            while let Some(batch) = reader.next()? {
                for whole in batch.rows() {
                    let (key, row) = whole.split_at(key_width);
                    let hash = value::hash_row(key, u64::from(level));
                    if let Some(parts) = &mut split {
                        parts.push(hash, whole)?;
                        continue;
                    }
                    let fits = table.add(hash, key, row);
                    // At the last level the part is joined as it is: its rows share a key and cannot be told apart.
                    if !fits && table.rows.len > 16 && level < LEVELS_MAX {
                        split = Some(Self::spill_table(&mut table, shape, level + 1, cx).await?);
                    }
                }
            }
        }
        if let Some(right) = split {
            drop(table);
            let mut parts = Partitions::new(shape.left_keys.len() + shape.left.columns.len(), level + 1, &cx.spill)?;
            if let Some(mut reader) = left {
                while let Some(batch) = reader.next()? {
                    for whole in batch.rows() {
                        parts.push(value::hash_row(&whole[..key_width], u64::from(level)), whole)?;
                    }
                }
            }
            self.add_parts(parts, right)?;
            return Ok(true);
        }
        self.table = Some(table);
        self.level = level;
        self.source = match left {
            Some(reader) => LeftSource::Part(reader),
            None => LeftSource::Part(cx.spill.create(shape.left_keys.len() + shape.left.columns.len())?.finish()?),
        };
        Ok(true)
    }

    async fn next_probe(&mut self, shape: &Shape<'_>, cx: &mut ExecContext<'_>) -> Result<Option<Probe>> {
        match &mut self.source {
            LeftSource::Operator => {
                let Some(rows) = self.left.next(shape.left, cx).await? else { return Ok(None) };
                let suspends = walk::any_suspends(shape.left_keys.iter().copied());
                let keys = subquery::project(&shape.left_keys, suspends, &rows, cx).await?;
                Ok(Some(Probe { rows, keys, row: 0, candidate: None, matched: false }))
            }
            LeftSource::Part(reader) => {
                let Some(batch) = reader.next()? else { return Ok(None) };
                let mut keys = RowBatch::with_capacity(shape.left_keys.len(), batch.len);
                let mut rows = RowBatch::with_capacity(shape.left.columns.len(), batch.len);
                for whole in batch.rows() {
                    keys.push(&whole[..shape.left_keys.len()]);
                    rows.push(&whole[shape.left_keys.len()..]);
                }
                Ok(Some(Probe { rows, keys, row: 0, candidate: None, matched: false }))
            }
        }
    }

    /// Probes until the output is full or the left rows at hand are through.
    async fn run_probe(&mut self, shape: &Shape<'_>, probe: &mut Probe, out: &mut RowBatch, cx: &mut ExecContext<'_>) -> Result<()> {
        let Some(table) = &mut self.table else { return Ok(()) };
        let right_width = shape.right.columns.len();
        let pairs = matches!(shape.kind, JoinKind::Inner | JoinKind::Left | JoinKind::Full);
        let mut scratch = RowBatch::new(probe.rows.width + right_width);
        while probe.row < probe.rows.len && !out.is_full() {
            let left = probe.rows.row(probe.row);
            let mut candidate = match probe.candidate {
                Some(candidate) => candidate,
                None => {
                    let key = probe.keys.row(probe.row);
                    table.find(value::hash_row(key, u64::from(self.level)), key)
                }
            };
            while candidate != NONE && !out.is_full() {
                let at = candidate as usize;
                candidate = table.next[at];
                if let Some(residual) = shape.residual {
                    scratch.datums.clear();
                    scratch.len = 0;
                    scratch.push_pair(left, table.rows.row(at));
                    if !passes(residual, shape.suspends, &scratch.datums, cx).await? {
                        continue;
                    }
                }
                probe.matched = true;
                table.matched[at] = true;
                if pairs {
                    out.push_pair(left, table.rows.row(at));
                } else {
                    candidate = NONE;
                }
            }
            if candidate != NONE {
                probe.candidate = Some(candidate);
                return Ok(());
            }
            match shape.kind {
                JoinKind::Left | JoinKind::Full if !probe.matched => out.push_padded(left, right_width),
                JoinKind::Semi if probe.matched => out.push(left),
                JoinKind::Anti if !probe.matched => out.push(left),
                _ => {}
            }
            probe.row += 1;
            probe.candidate = None;
            probe.matched = false;
        }
        Ok(())
    }

    fn run_unmatched(&mut self, shape: &Shape<'_>, out: &mut RowBatch) {
        let (Some(table), Some(at)) = (&self.table, &mut self.unmatched) else { return };
        while *at < table.rows.len && !out.is_full() {
            if !table.matched[*at] {
                out.push_padded_left(shape.left.columns.len(), table.rows.row(*at));
            }
            *at += 1;
        }
        if *at >= table.rows.len {
            self.unmatched = None;
            self.table = None;
        }
    }
}

fn joined(key: &[Datum], row: &[Datum]) -> Vec<Datum> {
    let mut whole = Vec::with_capacity(key.len() + row.len());
    whole.extend_from_slice(key);
    whole.extend_from_slice(row);
    whole
}

/// Whether a joined row passes a condition.
pub async fn passes(condition: &Expr, suspends: bool, row: &[Datum], cx: &mut ExecContext<'_>) -> Result<bool> {
    if suspends {
        return Ok(matches!(subquery::eval_suspending(condition, row, cx).await?, Datum::Bool(true)));
    }
    eval_bool(condition, row, &mut cx.eval())
}

#[async_trait]
impl Operator for HashJoin {
    async fn next(&mut self, plan: &Plan, cx: &mut ExecContext<'_>) -> Result<Option<RowBatch>> {
        let Node::HashJoin { left, right, kind, left_keys, right_keys, residual } = &plan.node else { return Err(mismatch()) };
        let shape = Shape {
            kind: *kind,
            left,
            right,
            left_keys: left_keys.iter().collect(),
            right_keys: right_keys.iter().collect(),
            residual: residual.as_ref(),
            suspends: residual.as_ref().is_some_and(walk::suspends),
        };
        if !self.started {
            self.started = true;
            self.build(&shape, cx).await?;
        }
        let mut out = RowBatch::new(plan.columns.len());
        loop {
            cx.cancel.check()?;
            if self.table.is_none() {
                if !out.is_empty() {
                    return Ok(Some(out));
                }
                if !self.next_parts(&shape, cx).await? {
                    return Ok(None);
                }
                continue;
            }
            if self.unmatched.is_some() {
                self.run_unmatched(&shape, &mut out);
            } else {
                let probe = match self.probe.take() {
                    Some(probe) => Some(probe),
                    None => self.next_probe(&shape, cx).await?,
                };
                match probe {
                    Some(mut probe) => {
                        self.run_probe(&shape, &mut probe, &mut out, cx).await?;
                        self.probe = (probe.row < probe.rows.len).then_some(probe);
                    }
                    None if *kind == JoinKind::Full => self.unmatched = Some(0),
                    None => self.table = None,
                }
            }
            if out.is_full() {
                return Ok(Some(out));
            }
        }
    }
}
