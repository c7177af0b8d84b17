//! Bulk loading (COPY FROM, and INSERT of many rows): rows written in batches with the checks of INSERT and its foreign key notes.
//!
//! A load that fits one batch is written as an INSERT would: one batched locking read of its unique keys, then the buffer. A longer one is laid early
//! (`KvTxn::lay`): batch after batch goes out as intents that must be new, while the next one is parsed. So an error may come a few batches after the
//! row that is to blame; the last batches are kept to name it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use meridian_storage::Span;
use meridian_txn::api::KvError;

use super::context::{ExecContext, kv_error, table_of};
use super::dml::checks::check_row;
use super::dml::writer::{TableWriter, UniqueKeys};
use super::{fk, value};
use crate::catalog::descriptor::RelationDescriptor;
use crate::error::{Result, SqlError};
use crate::plan::node::RowChecks;
use crate::types::Datum;

/// Rows of a batch.
pub const BULK_ROWS: usize = 4096;
/// Bytes of a batch in memory, about.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes of entries that are laid in one request.
const PORTION_BYTES: usize = 1 << 20;
/// Batches kept to name the row that an error is about: more than can be on their way.
const RECENT_BATCHES: usize = 6;

/// A row and its line in the input, if it has one.
type Line = (Option<u64>, Vec<Datum>);

/// A load in progress. Rows given to [`BulkWriter::push`] are buffered; [`BulkWriter::finish`] writes the rest.
pub struct BulkWriter {
    writer: TableWriter,
    checks: Arc<RowChecks>,
    /// Where the entries of each index lie.
    spans: Vec<Span>,
    rows: Vec<Line>,
    bytes: usize,
    written: u64,
    /// Laid rows must stay visible to the transaction.
    keep: bool,
    laying: bool,
    recent: VecDeque<Vec<Line>>,
}

impl BulkWriter {
    /// For a table. `alone`: the load is the whole transaction.
    pub fn new(relation: &Arc<RelationDescriptor>, checks: Arc<RowChecks>, alone: bool) -> Result<Self> {
        let writer = TableWriter::new(relation)?;
        let table = table_of(relation)?;
        // Foreign key checks may read the rows again.
        let keep = !alone || !table.foreign_keys.is_empty() || !table.referenced_by.is_empty();
        let spans = writer.layouts.iter().map(|l| Span::prefix(l.prefix.clone())).collect();
        let (rows, recent) = (Vec::new(), VecDeque::new());
        Ok(BulkWriter { writer, checks, spans, rows, bytes: 0, written: 0, keep, laying: false, recent })
    }

    /// Adds a full row: all columns in descriptor order, defaults filled in.
    pub async fn push(&mut self, line: Option<u64>, mut row: Vec<Datum>, cx: &mut ExecContext<'_>) -> Result<()> {
        check_row(&self.writer.relation, &self.checks, &mut row, cx)?;
        self.bytes += value::row_size(&row);
        self.rows.push((line, row));
        if self.rows.len() >= BULK_ROWS || self.bytes >= BATCH_BYTES {
            self.laying = self.laying || self.spans.iter().all(|span| cx.txn.can_lay(span));
            self.flush(cx).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, cx: &mut ExecContext<'_>) -> Result<()> {
        cx.cancel.check()?;
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        self.written += rows.len() as u64;
        for (_, row) in &rows {
            fk::note_insert(&self.writer.relation, row, cx)?;
        }
        if self.laying { self.lay(rows, cx).await } else { self.write(rows, cx).await }
    }

    async fn write(&mut self, rows: Vec<Line>, cx: &mut ExecContext<'_>) -> Result<()> {
        let mut entries = Vec::with_capacity(rows.len());
        let mut keys = Vec::new();
        for (_, row) in &rows {
            let of_row = self.writer.entries(row, &self.checks, cx)?;
            keys.extend(of_row.iter().filter(|e| e.unique && !(e.layout == 0 && self.writer.hidden_key)).map(|e| e.key.clone()));
            entries.push(of_row);
        }
        let mut known = UniqueKeys::default();
        self.writer.learn(keys, &mut known, cx).await?;
        for ((line, row), entries) in rows.into_iter().zip(entries) {
            self.writer.insert(&row, entries, &mut known, cx).await.map_err(|e| self.at_line(e, line))?;
        }
        Ok(())
    }

    async fn lay(&mut self, rows: Vec<Line>, cx: &mut ExecContext<'_>) -> Result<()> {
        let mut laid: Vec<Vec<(Bytes, Bytes)>> = vec![Vec::with_capacity(rows.len()); self.spans.len()];
        for (_, row) in &rows {
            for entry in self.writer.entries(row, &self.checks, cx)? {
                laid[entry.layout].push((entry.key, entry.value));
            }
        }
        self.recent.push_back(rows);
        if self.recent.len() > RECENT_BATCHES {
            self.recent.pop_front();
        }
        for (at, mut entries) in laid.into_iter().enumerate() {
            if !entries.is_sorted_by(|a, b| a.0 < b.0) {
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                if let Some(twice) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                    return Err(self.exists(&twice[0].0, cx));
                }
            }
            for portion in portions(entries) {
                if let Err(error) = cx.cancel.run(cx.txn.lay(&self.spans[at], portion, self.keep)).await? {
                    return Err(self.failed(error, cx));
                }
            }
        }
        Ok(())
    }

    fn failed(&self, error: KvError, cx: &mut ExecContext<'_>) -> SqlError {
        match error {
            KvError::KeyExists { key } => self.exists(&key, cx),
            other => kv_error(other),
        }
    }

    /// `23505`, about the last row that has this key.
    fn exists(&self, key: &Bytes, cx: &mut ExecContext<'_>) -> SqlError {
        for (line, row) in self.recent.iter().rev().flat_map(|batch| batch.iter().rev()) {
            let entries = self.writer.entries(row, &self.checks, cx).unwrap_or_default();
            if let Some(entry) = entries.iter().find(|e| e.key == *key) {
                return self.at_line(self.writer.violation(entry, row, cx), *line);
            }
        }
        kv_error(KvError::KeyExists { key: key.clone() })
    }

    fn at_line(&self, mut error: SqlError, line: Option<u64>) -> SqlError {
        if let Some(line) = line.filter(|_| error.kv().is_none()) {
            let place = format!("COPY {}, line {line}", self.writer.relation.name);
            error.more.get_or_insert_default().context.get_or_insert(place);
        }
        error
    }

    /// Writes what is buffered, and waits for what is on its way. Answers the number of rows. Foreign keys are checked when the statement ends.
    pub async fn finish(mut self, cx: &mut ExecContext<'_>) -> Result<u64> {
        self.flush(cx).await?;
        if let Err(error) = cx.cancel.run(cx.txn.settle_laid()).await? {
            return Err(self.failed(error, cx));
        }
        Ok(self.written)
    }
}

/// Entries in portions that fit a request.
fn portions(entries: Vec<(Bytes, Bytes)>) -> Vec<Vec<(Bytes, Bytes)>> {
    let (mut all, mut portion, mut bytes) = (Vec::new(), Vec::new(), 0);
    for entry in entries {
        let size = entry.0.len() + entry.1.len();
        if bytes + size > PORTION_BYTES && !portion.is_empty() {
            all.push(std::mem::take(&mut portion));
            bytes = 0;
        }
        bytes += size;
        portion.push(entry);
    }
    if !portion.is_empty() {
        all.push(portion);
    }
    all
}
